//! The side of the bench that runs in a process of its own.

use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, bail, ensure};
use openmic::local::{DEV_APP, DEV_SECRET, DEV_TENANT, LocalConfig, LocalService};
use openmic::{Bot, BotConfig, Call, Join, Phase};
use openmic_auth::{Discovery, KeySource, Validator, ValidatorConfig};
use openmic_edge::{EdgeMetrics, Surface, SurfaceConfig, routes};
use openmic_hub::Topic;
use openmic_listen::{Limits, Listener, Tls};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::history::History;
use super::rivals;
use super::server::{Contender, Door};

/// Orders that are read at once.
pub(super) const ORDERS: usize = 4096;
/// Calls that are joined at the same time.
const JOINING: usize = 64;

/// What one process of the bench serves.
#[derive(Debug)]
pub struct Role {
    contender: Contender,
    topics: usize,
    payload: PathBuf,
    bytes: usize,
}

impl Role {
    /// Reads `--serve NAME TOPICS PAYLOAD BYTES`; `None` when that is not what the process is for.
    ///
    /// # Errors
    /// When there is something else behind `--serve`.
    pub fn of(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        if arguments.next().as_deref() != Some("--serve") {
            return Ok(None);
        }
        let mut next = || {
            arguments
                .next()
                .context("--serve NAME TOPICS PAYLOAD BYTES")
        };
        let name = next()?;
        let contender = Contender::ALL
            .into_iter()
            .find(|contender| contender.as_str() == name);
        Ok(Some(Self {
            contender: contender.with_context(|| format!("no server is named {name}"))?,
            topics: next()?.parse()?,
            payload: next()?.into(),
            bytes: next()?.parse()?,
        }))
    }
}

/// Serves until the input ends. A byte of it is a publication; the topics take turns.
///
/// # Errors
/// When the server does not start.
pub fn serve(role: &Role) -> anyhow::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let text = std::fs::read_to_string(&role.payload)?;
    let frame = || {
        let length = u16::try_from(text.len()).expect("payloads are short");
        assert!(length > 125, "a header of four bytes");
        [&[0x81, 126], &length.to_be_bytes()[..], text.as_bytes()].concat()
    };
    match role.contender {
        Contender::Limit => rivals::limit(role.topics, &frame(), false),
        Contender::LimitJoined => rivals::limit(role.topics, &frame(), true),
        Contender::Tungstenite => runtime()?.block_on(rivals::tungstenite(role.topics, text)),
        Contender::Openmic => openmic(role, None),
        Contender::OpenmicTls => {
            let names = [Ipv4Addr::LOCALHOST.to_string()];
            openmic(role, Some(Tls::dev(names)?))
        }
        other => bail!("{other} is no server of this program"),
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Runtime::new()
}

/// The parts of `openmic serve` with their default limits: local service, engine, fan-out and the
/// HTTP surface with its tokens. The versions are put into the fan-out as a call's actor does it,
/// so that as many are under way as the bench wants.
fn openmic(role: &Role, tls: Option<Tls>) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let (house, topics) = runtime.block_on(House::open(role, tls))?;
    let bytes = role.bytes;
    let publishing = thread::spawn(move || publish(topics, bytes));
    announce(&house.door)?;
    let ended = publishing.join();
    drop(house);
    ended.map_err(|_| anyhow::anyhow!("the publisher panicked"))?
}

fn publish(topics: Vec<(Topic, History)>, bytes: usize) -> anyhow::Result<()> {
    ensure!(bytes > 0, "a delta has bytes");
    let mut topics = topics;
    let count = topics.len();
    let mut turn = 0;
    let mut orders = [0; ORDERS];
    loop {
        let got = io::stdin().lock().read(&mut orders)?;
        if got == 0 {
            return Ok(());
        }
        for _ in 0..got {
            let (topic, history) = &mut topics[turn % count];
            topic.publish(history.next());
            turn += 1;
        }
    }
}

struct House {
    door: Door,
    _service: LocalService,
    _bot: Bot,
    _calls: Vec<Call>,
    _public: openmic_listen::Running,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
}

impl House {
    async fn open(role: &Role, tls: Option<Tls>) -> anyhow::Result<(Self, Vec<(Topic, History)>)> {
        let metrics = prometheus::Registry::new();
        let service = LocalService::start(LocalConfig::ephemeral(), &metrics).await?;
        let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
        let address = listener.local_addr();
        let config = BotConfig::local(&service, format!("http://{address}").parse()?);
        let issuers = config.issuers.clone();
        let bot = Bot::new(config)?;
        let owner = bot.owner().clone();

        let auth = openmic_auth::Metrics::new();
        let mut discovery = Discovery::new(service.openid_configuration_url());
        discovery.allow_loopback_http = true;
        let keys = KeySource::discover(discovery, auth.clone())?;
        let accepted = ValidatorConfig::callers(
            vec![service.issuer(&owner.tenant)],
            vec!["https://graph.microsoft.com".to_owned()],
        );
        let callers = Validator::new(accepted, keys.clone(), auth.clone())?;
        let accepted = ValidatorConfig::notifications(issuers, vec![owner.app.to_string()]);
        let notifiers = Validator::new(accepted, keys, auth)?;
        let surface = Surface {
            engine: bot.engine().clone(),
            callers: Arc::new(callers),
            notifiers: Arc::new(notifiers),
            config: SurfaceConfig::default(),
            metrics: EdgeMetrics::new(),
        };
        let authority = tls.as_ref().and_then(Tls::authority).map(str::to_owned);
        let public = listener.tls(tls).serve(routes(surface), Limits::default());

        let calls = join(&bot, role.topics).await?;
        let paths = calls
            .iter()
            .map(|call| format!("/v1/calls/{}/roster", call.id()));
        let door = Door {
            address,
            authorization: Some(format!("Bearer {}", token(&service).await?)),
            authority,
            paths: paths.collect(),
        };
        let topics = calls.iter().map(|call| {
            // it takes the place of the one that the call's actor has
            let topic = bot.hub().topic(call.id().clone());
            let mut history = History::new(call.id().clone(), role.bytes);
            topic.publish(history.next());
            (topic, history)
        });
        let topics = topics.collect();
        let house = Self {
            door,
            _service: service,
            _bot: bot,
            _calls: calls,
            _public: public,
        };
        Ok((house, topics))
    }
}

async fn join(bot: &Bot, count: usize) -> anyhow::Result<Vec<Call>> {
    let mut calls = Vec::with_capacity(count);
    let mut joining = JoinSet::new();
    for number in 0..count {
        let engine = bot.engine().clone();
        let tenant = bot.owner().tenant.clone();
        joining.spawn(async move {
            let meeting = format!("19:meeting_bench{number}@thread.v2");
            let organizer = "the organizer's directory id";
            let call = engine
                .join(Join::meeting(&meeting, organizer, tenant))
                .await?;
            let status = call.until(|status| status.phase == Phase::Muted).await;
            ensure!(
                status.phase == Phase::Muted,
                "a bench's call ended: {status:?}"
            );
            Ok(call)
        });
        if joining.len() == JOINING || number + 1 == count {
            let least = if number + 1 == count { 0 } else { JOINING - 1 };
            while joining.len() > least
                && let Some(joined) = joining.join_next().await
            {
                calls.push(joined??);
            }
        }
    }
    Ok(calls)
}

async fn token(service: &LocalService) -> anyhow::Result<String> {
    let url = format!("{}/{DEV_TENANT}/oauth2/v2.0/token", service.authority());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", DEV_APP),
        ("client_secret", DEV_SECRET),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let answer = reqwest::Client::new().post(url).form(&form).send().await?;
    let granted: Granted = answer.error_for_status()?.json().await?;
    Ok(granted.access_token)
}

/// Tells the bench that subscribers may come.
pub(super) fn announce(door: &Door) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(door)?;
    line.push('\n');
    io::stdout().write_all(line.as_bytes())?;
    Ok(())
}

/// The target of a topic's handshake, of the servers that are not ours.
pub(super) fn topic_path(topic: usize) -> String {
    format!("/{topic}")
}

/// The topic that such a target names.
pub(super) fn topic_of(path: &str) -> Option<usize> {
    path.strip_prefix('/')?.parse().ok()
}
