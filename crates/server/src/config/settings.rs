//! Every key there is. The doc comments are what `config/openmic.toml` says of them.

#![expect(
    unused_qualifications,
    reason = "confique's derive writes types with their path"
)]
#![expect(
    clippy::doc_markdown,
    clippy::doc_link_with_quotes,
    clippy::struct_field_names,
    reason = "the doc comments and the names become those of a TOML file"
)]

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use confique::Config;
use openmic_model::{AppId, TenantId};
use secrecy::SecretString;
use serde::Serialize;
use url::Url;

use super::values::{self, Bytes, LogFormat, Period, PortRange, Sha256, TlsMode, UpstreamKind};

/// Configuration of openmic.
///
/// This file holds every key with its default value, so it changes nothing as it stands: keep the
/// keys you change. A key is also an environment variable, `listen.public` is
/// `OPENMIC__LISTEN__PUBLIC`, and a flag, `--set listen.public=127.0.0.1:8080`. The file yields to
/// the environment and the environment to flags. A key that does not exist is an error.
///
/// Times are written "250ms", "30s", "10min", "2h", or together, "1h 30min".
/// `openmic config check --config FILE` looks a file over; `openmic config print --config FILE`
/// shows what holds in the end and where it comes from.
///
/// As it stands it is the dev profile: everything runs on this machine and is reached from this
/// machine only.
#[derive(Debug, Config, Serialize)]
pub(crate) struct Settings {
    /// What the program says, on stderr.
    #[config(nested)]
    pub(crate) log: Log,

    /// Where the engine listens; and how it and the local service treat connections.
    #[config(nested)]
    pub(crate) listen: Listen,

    /// The calling service that the bots' calls live on.
    #[config(nested)]
    pub(crate) upstream: Upstream,

    /// The local calling service: `openmic local`, and `openmic serve` with `upstream.kind` "local".
    #[config(nested)]
    pub(crate) local: Local,

    /// How the engine treats calls.
    #[config(nested)]
    pub(crate) calls: Calls,

    /// Notifications of calls made through the Graph surface, passed on to the `callbackUri` that
    /// their bot named.
    #[config(nested)]
    pub(crate) relay: Relay,

    /// What of calls outlives a crash of this program: accepted commands, what was sent for them,
    /// their verdicts.
    #[config(nested)]
    pub(crate) journal: Journal,

    /// The fan-out of rosters to WebSocket subscribers.
    #[config(nested)]
    pub(crate) hub: Hub,

    /// What happened to the calls of late: `openmic explain` and `GET /v1/calls/{id}/log` show it.
    #[config(nested)]
    pub(crate) recorder: Recorder,

    /// How much one caller may take: an application of a tenant, however it shows who it is.
    #[config(nested)]
    pub(crate) callers: Callers,

    /// Whose bearer tokens and API keys the engine's own HTTP surface takes.
    #[config(nested)]
    pub(crate) auth: Auth,
}

#[derive(Debug, Config, Serialize)]
pub(crate) struct Log {
    /// Least severe level shown: "error", "warn", "info", "debug" or "trace", for all or per crate:
    /// "info,openmic_engine=debug".
    #[config(default = "info")]
    pub(crate) level: String,

    /// "text" for people, "json" for machines: one object per line. "auto" is text on a terminal
    /// and JSON elsewhere. Colours only on a terminal, and never when NO_COLOR is set.
    #[config(default = "auto")]
    pub(crate) format: LogFormat,
}

#[derive(Debug, Config, Serialize)]
pub(crate) struct Listen {
    /// Address of the Graph surface, the own API, the webhook and the roster WebSockets. Port 0
    /// takes any free one; the log says which.
    #[config(default = "127.0.0.1:7080", deserialize_with = values::address)]
    pub(crate) public: SocketAddr,

    /// Address of /metrics, /livez and /readyz. They ask for no token, so keep it where only
    /// operators get.
    #[config(default = "127.0.0.1:7090", deserialize_with = values::address)]
    pub(crate) admin: SocketAddr,

    /// What callers reach the public address by, for `Location` headers, where a proxy stands
    /// before it. Without: http:// or https:// and the Host of each request.
    pub(crate) public_url: Option<Url>,

    /// "off": plain http. "dev": https with a certificate made at start for localhost, the loopback
    /// addresses, and the hosts of `public`, `local.bind` and every `public_url`. "files": https
    /// with yours. For the engine and the local service; `admin` stays plain http.
    #[config(default = "off")]
    pub(crate) tls: TlsMode,

    /// For "files": the certificate chain, PEM, the server's own first. It and the key are looked
    /// at every 2 s; a changed pair is taken without a restart, a bad one is logged and not taken.
    pub(crate) tls_cert_file: Option<PathBuf>,

    /// For "files": the private key, PEM, not encrypted.
    pub(crate) tls_key_file: Option<PathBuf>,

    /// For "dev": where the certificate of the authority is written that clients have to trust. Its
    /// key is written nowhere, so each start makes a new one. Without: openmic-dev-ca.pem in the
    /// directory the program runs in.
    pub(crate) tls_ca_file: Option<PathBuf>,

    /// Web origins whose pages may open a roster WebSocket, such as "https://ops.example". Pages
    /// from this machine may, while `public` is a loopback address.
    #[config(default = [])]
    pub(crate) origins: Vec<String>,

    /// From a new connection to its first complete request header. Also how long the rest of a body may
    /// take to come after a refusal; else the connection is closed.
    #[config(default = "5s")]
    pub(crate) header_timeout: Period,

    /// From an answer to the next complete request header on the same connection.
    #[config(default = "75s")]
    pub(crate) keep_alive: Period,

    /// From a request's header to the end of its body; a slower one is answered 408.
    #[config(default = "20s")]
    pub(crate) body_timeout: Period,

    /// Bytes of a body that must come in each second, on average over 5 s; a slower one is answered
    /// 408. 0 for none.
    #[config(default = 500)]
    pub(crate) min_body_rate: u32,

    /// How long a client may take no byte of its answer before its connection is cut.
    #[config(default = "30s")]
    pub(crate) stuck_after: Period,

    /// Longest request header, in bytes; a longer one is answered 431.
    #[config(default = 16_384)]
    pub(crate) max_header_bytes: usize,

    /// HTTP connections at one time, WebSockets not counted. Above it new ones wait.
    #[config(default = 16_384)]
    pub(crate) max_connections: usize,

    /// HTTP connections of one address, of one /64 in IPv6, at one time; further ones are closed at
    /// once. 0 for no limit. This machine's own addresses have none; raise it where a proxy on
    /// another machine brings all clients.
    #[config(default = 1024)]
    pub(crate) max_connections_per_address: usize,
}

#[derive(Debug, Config, Serialize)]
pub(crate) struct Upstream {
    /// "local": the program's own calling service, started with it; the other keys of this section
    /// then have values of their own and only `tenant`, `app` and the times may be set. "graph":
    /// Microsoft Graph, or another service that speaks as it does.
    #[config(default = "local")]
    pub(crate) kind: UpstreamKind,

    /// Root of the service with its version. For "graph": https://graph.microsoft.com/v1.0.
    pub(crate) base_url: Option<Url>,

    /// Root of the token endpoint; /{tenant}/oauth2/v2.0/token is added. For "graph":
    /// https://login.microsoftonline.com.
    pub(crate) authority: Option<Url>,

    /// Where the keys are described that notifications are signed with. For "graph":
    /// https://api.aps.skype.com/v1/.well-known/OpenIdConfiguration.
    pub(crate) openid_configuration_url: Option<Url>,

    /// Hosts, besides that of `openid_configuration_url`, that the signing keys may be read from.
    #[config(default = [])]
    pub(crate) key_hosts: Vec<String>,

    /// Issuers of the tokens that come with notifications.
    #[config(default = ["https://api.botframework.com", "https://graph.microsoft.com"])]
    pub(crate) notification_issuers: Vec<String>,

    /// Directory (tenant) id of the bot. For "local": that of the first of `local.apps`.
    #[config(deserialize_with = values::parsed)]
    #[serde(serialize_with = "values::shown")]
    pub(crate) tenant: Option<TenantId>,

    /// Application (client) id of the bot. For "local": the first of `local.apps`.
    #[config(deserialize_with = values::parsed)]
    #[serde(serialize_with = "values::shown")]
    pub(crate) app: Option<AppId>,

    /// The application's client secret. Better in OPENMIC__UPSTREAM__SECRET or in `secret_file`
    /// than here.
    #[serde(serialize_with = "values::redacted")]
    pub(crate) secret: Option<SecretString>,

    /// A file that holds the client secret and nothing else.
    pub(crate) secret_file: Option<PathBuf>,

    /// What to ask a token for.
    #[config(default = "https://graph.microsoft.com/.default")]
    pub(crate) scope: String,

    /// What the service reaches this engine by, for notifications; /callbacks/{key} is added. For
    /// "graph" it must be https and reachable from the internet. For "local": http:// or https://,
    /// as `listen.tls` says, and `listen.public`.
    pub(crate) public_url: Option<Url>,

    /// Certificates of authorities, PEM, to trust besides the system's, in everything this program
    /// asks of others by https: the service, its tokens and keys, and, from the local service, the
    /// bots' callbacks.
    pub(crate) ca_file: Option<PathBuf>,

    /// How long a connection to the service may take to be made.
    #[config(default = "2s")]
    pub(crate) connect_timeout: Period,

    /// How long a request to the service may take, its answer included.
    #[config(default = "10s")]
    pub(crate) request_timeout: Period,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
#[derive(Debug, Config, Serialize)]
pub(crate) struct Local {
    /// Address of its Graph surface, token endpoint and lab. Port 0 takes any free one.
    #[config(default = "127.0.0.1:7081", deserialize_with = values::address)]
    pub(crate) bind: SocketAddr,

    /// What it is reached by, when that is not http:// or https:// and `bind`. No path.
    pub(crate) public_url: Option<Url>,

    /// The dev profile: callbacks over plain http to this machine, and a lab without a token.
    /// Refused when `bind` is not a loopback address.
    #[config(default = true)]
    pub(crate) dev: bool,

    /// Ports that an https callback may have besides 443.
    #[config(default = [])]
    pub(crate) callback_ports: Vec<u16>,

    /// Address that RTP is received on, and that participants are told to send to.
    #[config(default = "127.0.0.1")]
    pub(crate) rtp_bind: IpAddr,

    /// First and last UDP port of RTP (even ports) and RTCP (the odd one above); "any" for ports
    /// the system chooses.
    #[config(default = "7100-7999")]
    pub(crate) rtp_ports: PortRange,

    /// Silence frames that end a participant's sound when it is muted, for plain receivers; 0
    /// for none.
    #[config(default = 3)]
    pub(crate) silence_tail: u32,

    /// While muted, each so-manyth dropped packet becomes silence, so that receivers do not time
    /// out; 0 for none.
    #[config(default = 20)]
    pub(crate) mute_keepalive: u32,

    /// From the creation of a call to its `established`.
    #[config(default = "20ms")]
    pub(crate) establish: Period,

    /// How long a call to a bot rings before it ends unanswered, 408/1106. Graph: 15 s.
    #[config(default = "15s")]
    pub(crate) ring: Period,

    /// A call that got no keepAlive for so long is ended. Graph: 45 min.
    #[config(default = "45min")]
    pub(crate) keep_alive_expiry: Period,

    /// Also a mute or unmute that changes nothing is followed by a roster notification.
    #[config(default = true)]
    pub(crate) announce_unchanged: bool,

    /// A bot's call ends, 200/5002, when everybody else has left the meeting.
    #[config(default = false)]
    pub(crate) end_when_alone: bool,

    /// Answers spell an operation's status "Completed" and not "completed"; Graph was seen to do
    /// both.
    #[config(default = false)]
    pub(crate) pascal_case: bool,

    /// Calls at one time.
    #[config(default = 10_000)]
    pub(crate) max_calls: usize,

    /// Meetings at one time.
    #[config(default = 10_000)]
    pub(crate) max_meetings: usize,

    /// Participants of one meeting. Teams: 1000.
    #[config(default = 1000)]
    pub(crate) max_participants: usize,

    /// What goes wrong on purpose in every call, for tests of bots, such as ["drop rate=0.1",
    /// "effect_without_response on=unmute nth=1"]. What there is stands in the service's
    /// /openapi.json, at `PUT /lab/v1/faults`. Refused unless `bind` is a loopback address and
    /// `dev` is on.
    #[config(default = [])]
    pub(crate) faults: Vec<String>,

    /// Seed of the dice of `faults`. Without: one that the log tells.
    pub(crate) fault_seed: Option<u64>,

    /// A file that every line of the truth log is appended to: what reached the service, what
    /// really took effect, what was answered and told. The newest lines are at /lab/v1/truth in
    /// any case; what a line has stands in /openapi.json there. Without: no file.
    pub(crate) truth_log: Option<PathBuf>,

    /// Bots that may ask for a token. Without an entry: the dev credentials, refused when `bind` is
    /// not a loopback address. An entry looks so:
    ///
    /// [[local.apps]]
    /// id = "22222222-2222-4222-8222-222222222222"
    /// tenant = "11111111-1111-4111-8111-111111111111"
    /// secret_file = "/run/secrets/bot"       # or: secret = "..."
    /// roles = ["Calls.JoinGroupCall.All"]    # without: all of them
    /// display_name = "Minutes bot"
    #[config(default = [])]
    pub(crate) apps: Vec<AppEntry>,
}

/// One bot that the local service knows.
#[derive(Debug, Config, Serialize)]
pub(crate) struct AppEntry {
    /// Application (client) id.
    #[config(deserialize_with = values::parsed)]
    #[serde(serialize_with = "values::shown_one")]
    pub(crate) id: AppId,

    /// Tenant whose token endpoint issues its tokens.
    #[config(deserialize_with = values::parsed)]
    #[serde(serialize_with = "values::shown_one")]
    pub(crate) tenant: TenantId,

    /// Client secret.
    #[serde(serialize_with = "values::redacted")]
    pub(crate) secret: Option<SecretString>,

    /// A file that holds the client secret and nothing else.
    pub(crate) secret_file: Option<PathBuf>,

    /// Roles of its tokens.
    pub(crate) roles: Option<Vec<String>>,

    /// Its name in rosters.
    #[config(default = "Local bot")]
    pub(crate) display_name: String,
}

#[derive(Debug, Config, Serialize)]
pub(crate) struct Calls {
    /// Mute the bot as the first act of a call that is made through the Graph surface. Graph itself
    /// does not, hence off; the library, whose default this is not, does.
    #[config(default = false)]
    pub(crate) join_muted: bool,

    /// How long a mute or unmute may take to its verdict; 1 s to 5 min.
    #[config(default = "30s")]
    pub(crate) command_deadline: Period,

    /// Calls at one time; above it a create is answered 503.
    #[config(default = 100_000)]
    pub(crate) max_calls: usize,

    /// How long a call may ring before it is forgotten. Graph: 15 s, for policy-based recording 5 s.
    #[config(default = "15s")]
    pub(crate) ring_deadline: Period,

    /// Routing token of the webhook for incoming calls, 16 to 128 letters, digits, - and _:
    /// `upstream.public_url` with /callbacks/{incoming_key} goes into the calling settings of the
    /// bot's Teams channel. Better in a file than here. Without: a new one at each start, which is
    /// printed on stdout.
    #[serde(serialize_with = "values::redacted")]
    pub(crate) incoming_key: Option<SecretString>,

    /// A file that holds `incoming_key` and nothing else.
    pub(crate) incoming_key_file: Option<PathBuf>,

    /// The bot's own webhook for incoming calls, when it speaks HTTP: it is their `callbackUri`, and
    /// afterwards that of calls whose answer names no other.
    pub(crate) incoming_callback_uri: Option<Url>,

    /// How long an ended call and its operations can still be read.
    #[config(default = "1min")]
    pub(crate) retention: Period,

    /// What becomes of the calls at a graceful end. "hang-up" ends them. "leave" keeps them up for
    /// the next process on the same journal, which adopts them: for a restart that nobody in a
    /// meeting notices. Until it is up nobody can mute them, so start it soon; open commands have
    /// until `drain_deadline`, then the next process settles them. Needs a journal that outlives the
    /// process, and an upstream that does: calls of the local service in the same process end with
    /// it.
    #[config(default = "hang-up")]
    pub(crate) at_end: values::AtEnd,

    /// How long a graceful end may take, from the first SIGTERM or Ctrl-C on. A second one ends at
    /// once.
    #[config(default = "1min")]
    pub(crate) drain_deadline: Period,
}

#[derive(Debug, Config, Serialize)]
pub(crate) struct Relay {
    /// Pass them on at all. Off, bots learn of their calls by GET and by WebSocket only.
    #[config(default = true)]
    pub(crate) enabled: bool,

    /// Ports that an https callback may have besides 443.
    #[config(default = [])]
    pub(crate) ports: Vec<u16>,

    /// Callbacks on this machine, over plain http and with any port, as when the bot runs beside
    /// the engine. Without: only in front of the local service, in its dev profile, while
    /// `listen.public` is a loopback address.
    pub(crate) loopback: Option<bool>,

    /// One POST, from the look-up of the name to the end of the answer.
    #[config(default = "5s")]
    pub(crate) timeout: Period,

    /// The waits before the second and each further POST, where one timed out, found no connection
    /// or was answered 408, 429 or 5xx. After the last one the notification is dropped and counted.
    #[config(default = ["250ms", "500ms", "1s", "2s", "4s"])]
    pub(crate) retries: Vec<Period>,

    /// Roster notifications that wait for one bot; over it they are joined into one. As many
    /// others may wait; over it the oldest is dropped and counted.
    #[config(default = 256)]
    pub(crate) queue: usize,

    /// Bytes that wait for one bot, with the same effect.
    #[config(default = 4_194_304)]
    pub(crate) queue_bytes: usize,

    /// How long is still sent to a bot whose call has ended and is past `calls.retention`.
    #[config(default = "15s")]
    pub(crate) drain: Period,
}

#[derive(Debug, Config, Serialize)]
pub(crate) struct Journal {
    /// The folder it is in, made when it is missing, readable for this user alone. On a local disk,
    /// and for one process at a time. A relative one is where the program runs.
    #[config(default = "openmic-data")]
    pub(crate) folder: PathBuf,

    /// What an accepted command and its verdict survive. "power-loss": a killed process, a crash of
    /// the system and loss of power, not the loss of the disk; two syncs of the disk for each
    /// command, shared by all that run at once. "process-crash": a killed process only. "none": that
    /// too, but after a crash of the system the whole journal may be damaged; for tests.
    #[config(default = "power-loss")]
    pub(crate) durability: values::Durability,

    /// Below so much free space on its disk new calls and commands are answered 507, until there is
    /// room again. What was accepted is still brought to its end.
    #[config(default = "64MiB")]
    pub(crate) min_free: Bytes,

    /// How long ended calls, settled commands and first answers are kept, for whoever asks again
    /// also after a restart; 1 h to 30 d.
    #[config(default = "1d")]
    pub(crate) retention: Period,
}

#[derive(Debug, Config, Serialize)]
pub(crate) struct Hub {
    /// Threads that write to subscribers; 0 for one per processor, at most 2.
    #[config(default = 0)]
    pub(crate) threads: usize,

    /// Subscribers of all calls together. Lowered at start when the limit of open files is too low
    /// for it.
    #[config(default = 20_000)]
    pub(crate) max_subscribers: usize,

    /// Subscribers of one call.
    #[config(default = 20_000)]
    pub(crate) max_subscribers_per_call: usize,

    /// Time between two pings of a subscriber; one that sends nothing for two of them is dropped.
    #[config(default = "25s")]
    pub(crate) ping_interval: Period,

    /// How long a subscriber may take no byte of what is due to it before it is closed.
    #[config(default = "10s")]
    pub(crate) slow_after: Period,

    /// How long a subscriber may take to answer a close.
    #[config(default = "5s")]
    pub(crate) close_timeout: Period,
}

#[derive(Debug, Config, Serialize)]
pub(crate) struct Recorder {
    /// Memory for it, in bytes, of all calls together; the oldest lines go first. Commands,
    /// requests, notifications and what the engine made of them, without names and tokens. At
    /// least 1 MiB, or 0 for no recorder.
    #[config(default = 16_777_216)]
    pub(crate) bytes: usize,
}

#[derive(Debug, Config, Serialize)]
pub(crate) struct Callers {
    /// Roster WebSockets of one caller; above it a further one is answered 503.
    #[config(default = 15_000)]
    pub(crate) max_websockets: usize,

    /// Requests of one caller in a second, after a burst of two seconds' worth; above it they are
    /// answered 429. 0 for no limit.
    #[config(default = 0)]
    pub(crate) max_requests_per_second: u32,
}

#[derive(Debug, Config, Serialize)]
pub(crate) struct Auth {
    /// Issuers whose tokens are taken. Without: of "local" its token endpoint, of "graph" Microsoft
    /// Entra's for `upstream.tenant`.
    pub(crate) issuers: Option<Vec<String>>,

    /// Audiences that a token may be for. Without: https://graph.microsoft.com for "local", so that
    /// one token is good on both; `upstream.app` and api://{app} for "graph".
    pub(crate) audiences: Option<Vec<String>>,

    /// Where the issuers' keys are described. Without: as the issuers.
    pub(crate) openid_configuration_url: Option<Url>,

    /// Hosts, besides that of `openid_configuration_url`, that the signing keys may be read from.
    #[config(default = [])]
    pub(crate) key_hosts: Vec<String>,

    /// API keys, for callers that have no issuer. `openmic auth new-key` makes one and prints the
    /// lines to put here. An entry looks so:
    ///
    /// [[auth.api_keys]]
    /// name = "dashboard"                     # for the log
    /// sha256 = "64 hex digits"               # of the key; the key itself is written nowhere
    /// app = "22222222-2222-4222-8222-222222222222"
    /// tenant = "11111111-1111-4111-8111-111111111111"
    /// roles = ["openmic.operator"]           # without: none; this one sees the calls of all
    #[config(default = [])]
    pub(crate) api_keys: Vec<ApiKeyEntry>,
}

/// One API key, by its hash.
#[derive(Debug, Config, Serialize)]
pub(crate) struct ApiKeyEntry {
    /// What the log calls it.
    pub(crate) name: String,

    /// SHA-256 of the key, in hex.
    pub(crate) sha256: Sha256,

    /// The application it calls as.
    #[config(deserialize_with = values::parsed)]
    #[serde(serialize_with = "values::shown_one")]
    pub(crate) app: AppId,

    /// That application's tenant.
    #[config(deserialize_with = values::parsed)]
    #[serde(serialize_with = "values::shown_one")]
    pub(crate) tenant: TenantId,

    /// What it may do, spelled as in the roles of a token.
    #[config(default = [])]
    pub(crate) roles: Vec<String>,
}
