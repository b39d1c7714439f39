use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use openmic_listen::Tls;
use openmic_model::{AppId, TenantId};
use openmic_outbound::Certificate;
use url::Url;

use crate::faults::FaultPlan;

/// What the local calling service needs to know before it starts.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// Where HTTP is served; port 0 lets the kernel choose. Default `127.0.0.1:7081`.
    pub bind: SocketAddr,
    /// What HTTP clients may cost. Default as [`openmic_listen::Limits`].
    pub listen: openmic_listen::Limits,
    /// Serve https instead of http. Default none.
    pub tls: Option<Tls>,
    /// What callers reach the service by, when it is not `http(s)://<bind>`: `Location`s, the issuer of
    /// access tokens and the documents of the token endpoint are made of it. No path.
    pub public_url: Option<Url>,
    /// The bots that may ask for a token.
    pub apps: Vec<App>,
    /// Where RTP is bound. Default `127.0.0.1`.
    pub rtp_ip: IpAddr,
    /// First and last UDP port of RTP and RTCP, RTP on the even ones; `None` lets the kernel
    /// choose. Default 7100 to 7999.
    pub rtp_ports: Option<(u16, u16)>,
    /// Packets a participant may send per second, with a burst of one second; `None` for no limit.
    /// What is above is dropped and counted. Default 200, four times what Opus needs.
    pub rtp_rate: Option<NonZeroU32>,
    /// Silence frames that end a participant's sound when it is muted, for plain receivers.
    /// Default 3; 0 sends nothing.
    pub silence_tail: u32,
    /// While muted, each so-manyth dropped packet is replaced by silence, so that receivers do not
    /// time out. Default 20; 0 sends nothing.
    pub mute_keepalive: u32,
    /// Loopback callbacks over plain http, and the lab without a token. Refused at start unless
    /// `bind` is loopback. Default on.
    pub dev: bool,
    /// Ports that an https callback may have besides 443. Default none.
    pub callback_ports: Vec<u16>,
    /// Certificates that callbacks may be signed by besides those the system trusts. Default none.
    pub callback_roots: Vec<Certificate>,
    /// The key that tokens are signed with. Default: none, then one is made at each start. With it
    /// tokens stay good over a restart, and a test can sign what the service never would.
    pub signing_key: Option<SigningPem>,
    /// How long things take.
    pub timing: Timing,
    /// How much the service takes on before it refuses.
    pub limits: Limits,
    /// What the documentation leaves open.
    pub rules: Rules,
    /// What goes wrong in calls. Refused at start unless `bind` is loopback and `dev` is on. Default
    /// nothing.
    pub faults: Option<FaultPlan>,
    /// Where every line of the truth log is appended to as well, at once; see
    /// [`LocalService::truth`](crate::LocalService::truth). Default none.
    pub truth_log: Option<PathBuf>,
}

/// An RSA private key, PKCS#8 in PEM; never shown.
#[derive(Clone)]
pub struct SigningPem(pub String);

impl fmt::Debug for SigningPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningPem").finish_non_exhaustive()
    }
}

/// A bot known to the service.
#[derive(Clone)]
pub struct App {
    /// Its application (client) id.
    pub id: AppId,
    /// Its client secret; compared in constant time, never shown.
    pub secret: String,
    /// The tenant whose token endpoint issues its tokens.
    pub tenant: TenantId,
    /// What the `roles` claim of its tokens holds.
    pub roles: Vec<String>,
    /// Its name in rosters.
    pub display_name: String,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("id", &self.id)
            .field("tenant", &self.tenant)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// How long things take.
#[derive(Debug, Clone)]
pub struct Timing {
    /// From the 201 of a created call to its `established`. Default 20 ms.
    pub establish: Duration,
    /// How long a call rings before it ends unanswered, 408/1106. Default 15 s, as Graph.
    pub ring: Duration,
    /// From `terminating` to `terminated`. Default 20 ms.
    pub terminate: Duration,
    /// From the answer of an invite to the end of its operation, when those invited come in.
    /// Default 20 ms.
    pub invite: Duration,
    /// A call without a keepAlive for so long is ended, 408/8537. Default 45 min, as Graph.
    pub keep_alive: Duration,
    /// How long operations stay readable after their call is gone. Default 60 s.
    pub operations_kept: Duration,
    /// One attempt to deliver a notification. Default 5 s.
    pub delivery: Duration,
    /// The waits before the second and each further attempt. Default 0.25, 0.5, 1, 2, 4 s.
    pub redelivery: Vec<Duration>,
    /// The body of one request, from its header on. Default 20 s.
    pub body: Duration,
    /// How long [`crate::LocalService::stop`] waits for answers and notifications. Default 5 s.
    pub drain: Duration,
}

/// How much the service takes on. Over a limit the request is refused with the limit's name.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Calls at a time. Default 10,000.
    pub calls: usize,
    /// Meetings at a time. Default 10,000.
    pub meetings: usize,
    /// Participants of one meeting. Default 1,000, as Teams.
    pub participants: usize,
    /// Bytes of a request's body. Default 256 KiB.
    pub body: usize,
    /// Roster notifications waiting for one call. When so many wait, the newest is merged into
    /// the last one waiting, so nothing is lost but the steps between. Default 256.
    pub waiting: usize,
    /// Operations kept for one call; the oldest go first. Default 4,096.
    pub operations: usize,
    /// Lines of the truth log kept in memory; the oldest go first. Default 16,384.
    pub truth: usize,
}

/// What the documentation leaves open.
#[derive(Debug, Clone)]
pub struct Rules {
    /// A mute or unmute that changes nothing is still followed by a roster notification. Default
    /// on: it unblocks a client that waits for the roster.
    pub announce_unchanged: bool,
    /// The call of the last participant ends, 200/5002, when everybody else has left. Default
    /// off: a bot under test would be gone between two test humans.
    pub end_when_alone: bool,
    /// Answers spell an operation's status `Completed` and not `completed`, as Graph was seen to do
    /// in some; notifications keep the small letter. Default off.
    pub pascal_case: bool,
}

/// The tenant of the dev credentials.
pub const DEV_TENANT: &str = "11111111-1111-4111-8111-111111111111";
/// The app of the dev credentials.
pub const DEV_APP: &str = "22222222-2222-4222-8222-222222222222";
/// The secret of the dev credentials; refused outside loopback.
pub const DEV_SECRET: &str = "local-dev-secret";

/// Every role the service knows. Source: Graph permissions reference, Calls permissions.
pub const ALL_ROLES: [&str; 5] = [
    "Calls.Initiate.All",
    "Calls.InitiateGroupCall.All",
    "Calls.JoinGroupCall.All",
    "Calls.JoinGroupCallAsGuest.All",
    "Calls.AccessMedia.All",
];

impl App {
    /// The bot of the dev profile, with every role.
    pub fn dev() -> Self {
        Self {
            id: AppId::parse(DEV_APP).expect("the constant is a GUID"),
            secret: DEV_SECRET.to_owned(),
            tenant: TenantId::parse(DEV_TENANT).expect("the constant is a GUID"),
            roles: ALL_ROLES.map(str::to_owned).to_vec(),
            display_name: "Local bot".to_owned(),
        }
    }
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 7081),
            listen: openmic_listen::Limits::default(),
            tls: None,
            public_url: None,
            apps: vec![App::dev()],
            rtp_ip: Ipv4Addr::LOCALHOST.into(),
            rtp_ports: Some((7100, 7999)),
            rtp_rate: NonZeroU32::new(200),
            silence_tail: 3,
            mute_keepalive: 20,
            dev: true,
            signing_key: None,
            callback_ports: Vec::new(),
            callback_roots: Vec::new(),
            timing: Timing::default(),
            limits: Limits::default(),
            rules: Rules::default(),
            faults: None,
            truth_log: None,
        }
    }
}

impl LocalConfig {
    /// The dev profile on ports the kernel chooses: what a test or a demo wants.
    pub fn ephemeral() -> Self {
        Self {
            bind: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
            rtp_ports: None,
            ..Self::default()
        }
    }

    /// Bound to loopback, in the dev profile.
    pub(crate) fn is_for_this_machine(&self) -> bool {
        self.dev && self.bind.ip().is_loopback()
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let loopback = self.bind.ip().is_loopback();
        if self.dev && !loopback {
            return Err(ConfigError::DevOutsideLoopback(self.bind));
        }
        if self.faults.is_some() && !self.is_for_this_machine() {
            return Err(ConfigError::FaultsOutside);
        }
        if self.apps.is_empty() {
            return Err(ConfigError::NoApps);
        }
        for (at, app) in self.apps.iter().enumerate() {
            if app.secret.is_empty() {
                return Err(ConfigError::EmptySecret(app.id.clone()));
            }
            if !loopback && app.secret == DEV_SECRET {
                return Err(ConfigError::DevSecret(app.id.clone()));
            }
            if self.apps[..at].iter().any(|other| other.id == app.id) {
                return Err(ConfigError::AppTwice(app.id.clone()));
            }
        }
        if let Some((first, last)) = self.rtp_ports
            && (first == 0 || last.saturating_sub(first) < 1)
        {
            return Err(ConfigError::RtpPorts(first, last));
        }
        if let Some(url) = &self.public_url
            && (!matches!(url.scheme(), "http" | "https")
                || url.host().is_none()
                || url.path() != "/")
        {
            return Err(ConfigError::PublicUrl(url.clone()));
        }
        Ok(())
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            establish: Duration::from_millis(20),
            ring: Duration::from_secs(15),
            terminate: Duration::from_millis(20),
            invite: Duration::from_millis(20),
            keep_alive: Duration::from_mins(45),
            operations_kept: Duration::from_mins(1),
            delivery: Duration::from_secs(5),
            redelivery: [250, 500, 1000, 2000, 4000]
                .map(Duration::from_millis)
                .to_vec(),
            body: Duration::from_secs(20),
            drain: Duration::from_secs(5),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 10_000,
            meetings: 10_000,
            participants: 1_000,
            body: 256 * 1024,
            waiting: 256,
            operations: 4_096,
            truth: 16_384,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            announce_unchanged: true,
            end_when_alone: false,
            pascal_case: false,
        }
    }
}

/// A configuration that cannot be run.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The dev profile would be open to the network.
    #[error(
        "the dev profile is for loopback only and bind is {0}; bind 127.0.0.1 or switch dev off"
    )]
    DevOutsideLoopback(SocketAddr),
    /// The published secret would be open to the network.
    #[error(
        "app {0} has the published dev secret and bind is not loopback; give it another secret"
    )]
    DevSecret(AppId),
    /// Strangers' calls would go wrong.
    #[error(
        "faults are for loopback in the dev profile only; bind 127.0.0.1 and switch dev on, or \
         take the faults away"
    )]
    FaultsOutside,
    /// Nobody could get a token.
    #[error("no app is registered; add one with its id, secret and tenant")]
    NoApps,
    /// An app anybody could be.
    #[error("the secret of app {0} is empty; set one")]
    EmptySecret(AppId),
    /// Two entries for one id.
    #[error("app {0} is registered twice; remove one entry")]
    AppTwice(AppId),
    /// No room for one pair of ports.
    #[error(
        "RTP ports {0} to {1} hold no pair of ports; give a first port above 0 and a last one above it"
    )]
    RtpPorts(u16, u16),
    /// Not a base address.
    #[error("public_url {0} is not http(s)://host[:port]; leave out path and query")]
    PublicUrl(Url),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_run() {
        LocalConfig::default().check().unwrap();
        LocalConfig::ephemeral().check().unwrap();
    }

    #[test]
    fn what_is_for_loopback_stays_there() {
        let mut config = LocalConfig {
            bind: "0.0.0.0:7081".parse().unwrap(),
            ..LocalConfig::default()
        };
        assert!(matches!(
            config.check(),
            Err(ConfigError::DevOutsideLoopback(_))
        ));
        config.dev = false;
        assert!(matches!(config.check(), Err(ConfigError::DevSecret(_))));
        config.apps[0].secret = "another".to_owned();
        config.check().unwrap();
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert!(!format!("{:?}", LocalConfig::default()).contains(DEV_SECRET));
    }

    #[test]
    fn apps_are_known_by_their_id() {
        let twice = LocalConfig {
            apps: vec![App::dev(), App::dev()],
            ..LocalConfig::default()
        };
        assert!(matches!(twice.check(), Err(ConfigError::AppTwice(_))));
    }
}
