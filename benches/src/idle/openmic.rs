use std::env;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use openmic::{
    AppId, Bot, BotConfig, Call, Credential, Durability, GraphConfig, Join, Journal, JournalConfig,
    Phase, Recovery, TenantId, Verdict,
};
use openmic_wire::notification;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::measure::{Measured, Samples, resident};

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const APP: &str = "22222222-2222-4222-8222-222222222222";
/// Joins under way at one time.
const AT_ONCE: usize = 32;
/// Calls that are there before anything is measured.
const WARM_UP: usize = 500;
/// How long nothing happens before a call counts as idle.
const QUIET: Duration = Duration::from_secs(3);
/// Commands whose lines fill the flight recorder.
const RECORDED: usize = 100_000;

/// Established, muted calls of one bot with the default settings, nobody watching: each with a
/// roster of three, as its webhook tells it.
///
/// `graph` is what to start this program with to have a Graph, see [`super::serve_graph`]; it is
/// another process, so that its memory does not count.
///
/// A command is a mute of a muted call: the whole way through mailbox, machine, records and flight
/// recorder to the verdict `Already`, without a request to Graph.
///
/// `durability` is that of a journal in the system's temporary folder; without it there is none.
///
/// # Errors
/// When a call is not established, or a command has another verdict.
pub async fn measure(
    count: usize,
    graph: &str,
    durability: Option<Durability>,
) -> anyhow::Result<Measured> {
    let graph = Graph::start(graph)?;
    let folder = tempfile::tempdir()?;
    let journal = durability.map(|durability| {
        Journal::open(&JournalConfig {
            durability,
            ..JournalConfig::new(folder.path())
        })
    });
    let bot = bot(graph.port, WARM_UP + count, journal.transpose()?)?;
    let bot = Arc::new(bot);
    let warm = join_all(&bot, WARM_UP).await?;
    // The flight recorder has its 16 MiB then, which do not grow with the calls.
    let busy = warm.first().context("no call to warm up with")?;
    for _ in 0..RECORDED {
        busy.mute().await?;
    }
    let before = resident()?;
    let begun = Instant::now();
    let calls = join_all(&bot, count).await?;
    let took = begun.elapsed();
    // Idle is a call in which nothing happened for a while.
    tokio::time::sleep(QUIET).await;
    let bytes = resident()?.saturating_sub(before);
    let samples = tokio::spawn(async move {
        let samples = Samples::of(count, |number| {
            let call = calls[number].clone();
            async move {
                let verdict = call.mute().await?;
                ensure!(verdict == Verdict::Already, "not already but {verdict}");
                Ok(())
            }
        });
        samples.await
    });
    let samples = samples.await??;
    drop(warm);
    Ok(Measured::new(count, bytes, took, &samples))
}

pub(crate) fn bot(
    port: u16,
    calls: usize,
    journal: Option<(Journal, Recovery)>,
) -> anyhow::Result<Bot> {
    let origin = format!("http://127.0.0.1:{port}");
    let credential = Credential {
        tenant: TenantId::parse(TENANT)?,
        app: AppId::parse(APP)?,
        secret: "secret".into(),
    };
    let graph = GraphConfig::new(
        format!("{origin}/v1.0").parse()?,
        origin.parse()?,
        credential.clone(),
    );
    let config = BotConfig {
        graph,
        allow_loopback_http: true,
        openid_configuration: format!("{origin}/keys").parse()?,
        ..BotConfig::public_cloud(credential, "https://bot.example/".parse()?)
    };
    let limit = calls.max(100_000);
    let bot = Bot::with(config, |engine| {
        let engine = engine.max_calls(limit);
        match journal {
            Some((journal, found)) => engine.journal(journal, found),
            None => engine,
        }
    });
    Ok(bot?)
}

async fn join_all(bot: &Arc<Bot>, count: usize) -> anyhow::Result<Vec<Call>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (bot, next) = (Arc::clone(bot), Arc::clone(&next));
        workers.spawn(async move {
            let mut calls = Vec::with_capacity(count / AT_ONCE);
            while next.fetch_add(1, Ordering::Relaxed) < count {
                calls.push(join(&bot).await?);
            }
            anyhow::Ok(calls)
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(calls) = workers.join_next().await {
        all.append(&mut calls??);
    }
    Ok(all)
}

/// One more call, established and muted.
pub(crate) async fn join(bot: &Bot) -> anyhow::Result<Call> {
    let tenant = bot.owner().tenant.clone();
    let join = Join::meeting(
        "19:meeting_bench@thread.v2",
        "the organizer's directory id",
        tenant,
    );
    let call = bot.join(join).await?;
    let body = established(call.id().as_str()).to_string();
    let batch = notification::decode(body.as_bytes())?;
    ensure!(batch.faults.is_empty(), "{:?}", batch.faults);
    let key = call.id().as_str().replace('-', "");
    bot.deliver(&key, Some(&bot.owner().tenant), batch.notifications)?;
    let status = call.until(|status| status.phase == Phase::Muted).await;
    ensure!(status.phase == Phase::Muted, "a call ended: {status:?}");
    Ok(call)
}

/// One webhook: the call is up, and who is in it.
fn established(call: &str) -> Value {
    // The organizer, a guest and the bot: ids as long as Graph's, the same in no two calls.
    let part = |number: u8| format!("{number}{}", &call[1..]);
    let person = |number: u8, name: &str| json!({"user": {"id": part(number + 4), "displayName": name, "tenantId": TENANT}});
    let own = json!({"application": {"id": APP, "displayName": "Bot"}});
    let participant = |number: u8, identity: Value, muted: bool| {
        json!({
            "id": part(number),
            "isMuted": muted,
            "isInLobby": false,
            "rosterSequenceNumber": 1,
            "info": {"identity": identity},
            "mediaStreams": [{"mediaType": "audio", "label": "main-audio", "sourceId": "1",
                "direction": "sendReceive", "serverMuted": false}]
        })
    };
    let entries = json!([
        participant(1, person(1, "Adele Vance"), false),
        participant(2, person(2, "Alex Wilber"), true),
        participant(3, own, true)
    ]);
    json!({
        "@odata.type": "#microsoft.graph.commsNotifications",
        "value": [
            {
                "changeType": "updated",
                "resourceUrl": format!("/communications/calls/{call}"),
                "resourceData": {"@odata.type": "#microsoft.graph.call", "id": call,
                    "state": "established", "myParticipantId": part(3)}
            },
            {
                "changeType": "updated",
                "resourceUrl": format!("/communications/calls/{call}/participants"),
                "resourceData": [{"@odata.type": "#microsoft.graph.deltaParticipants",
                    "sequenceNumber": 1, "participants": entries}]
            }
        ]
    })
}

/// A callback's key as a GUID; `None` when it is no key.
pub(super) fn guid(key: &str) -> Option<String> {
    let fits = key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| {
        let parts = [
            &key[..8],
            &key[8..12],
            &key[12..16],
            &key[16..20],
            &key[20..],
        ];
        parts.join("-")
    })
}

/// The process that plays Graph. It ends when this is dropped.
pub(crate) struct Graph {
    process: Child,
    port: u16,
}

impl Graph {
    pub(crate) fn start(argument: &str) -> anyhow::Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = process.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let port = line.trim().parse().context("the Graph did not start")?;
        Ok(Self { process, port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.process.stdin = None;
        if let Err(error) = self.process.wait() {
            eprintln!("the Graph's process: {error}");
        }
    }
}
