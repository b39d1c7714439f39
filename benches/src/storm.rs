//! Many bots of one engine in one big meeting: each change of one is a notice to all of them.
//!
//! The local service is a process on a processor of its own, the engine is this one on the other.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use openmic::local::{DEV_APP, DEV_SECRET, DEV_TENANT, LocalConfig, LocalService};
use openmic::{AppId, Bot, BotConfig, Call, Credential, GraphConfig, Join, Phase, TenantId};
use openmic_listen::{Limits, Listener, Running};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use url::Url;

use crate::bots::confirmed;
use crate::fanout::{Cores, Usage};
use crate::memory::resident_of;
use crate::timed::{Timed, processor};

const MEETING: &str = "19:meeting_storm@thread.v2";
/// Who joins at the same time.
const AT_ONCE: usize = 8;
const NOTICES: &str = "openmic_notifications_total";

/// What a service says first, as JSON on a line.
#[derive(Serialize, Deserialize)]
struct Addresses {
    base: Url,
    graph: Url,
    authority: Url,
    keys: Url,
    issuers: Vec<String>,
}

/// Runs the local service until the input ends.
///
/// # Errors
/// When it does not start.
pub fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let served = runtime.block_on(async {
        let metrics = prometheus::Registry::new();
        let service = LocalService::start(LocalConfig::ephemeral(), &metrics).await?;
        // only to be told its addresses as the library would use them
        let config = BotConfig::local(&service, "http://127.0.0.1:1".parse()?);
        let mut line = serde_json::to_string(&Addresses {
            base: service.base_url().parse()?,
            graph: service.graph_url().parse()?,
            authority: service.authority().parse()?,
            keys: config.openid_configuration,
            issuers: config.issuers,
        })?;
        line.push('\n');
        io::stdout().write_all(line.as_bytes())?;
        let until = || io::stdin().read(&mut [0]);
        tokio::task::spawn_blocking(until).await??;
        anyhow::Ok(())
    });
    runtime.shutdown_background();
    served
}

/// The service, the engine, its bots and the humans around them.
#[derive(Debug)]
pub struct Storm {
    service: Child,
    bot: Bot,
    webhook: Running,
    calls: Arc<[Call]>,
    metrics: prometheus::Registry,
    /// How long a bot took from its join to its place in the roster, muted, on average.
    pub joined: Duration,
}

/// What a while of storm was.
#[derive(Debug)]
pub struct Gust {
    /// How long it lasted.
    pub lasted: Duration,
    /// Unmutes, each to its verdict `Confirmed`.
    pub unmutes: Timed,
    /// How many of them there were; each was followed by a mute.
    pub commands: usize,
    /// Notices that the engine took.
    pub notices: u64,
    /// Processor time of the engine.
    pub engine: Duration,
    /// Processor time of the local service.
    pub service: Duration,
    /// Resident memory of the engine, in bytes.
    pub engine_memory: u64,
    /// Resident memory of the local service, in bytes.
    pub service_memory: u64,
}

impl Storm {
    /// Brings all of them into one meeting; the bots are muted.
    ///
    /// # Errors
    /// When one of them does not get in.
    pub async fn gather(
        bots: usize,
        humans: usize,
        role: &str,
        cores: &Cores,
    ) -> anyhow::Result<Self> {
        let mut service = cores.on_the_servers(|| {
            Ok(Command::new(std::env::current_exe()?)
                .arg(role)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?)
        })?;
        let out = service.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let addresses: Addresses = serde_json::from_str(&line)?;

        let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
        let public_url = format!("http://{}", listener.local_addr()).parse()?;
        let credential = Credential {
            tenant: TenantId::parse(DEV_TENANT)?,
            app: AppId::parse(DEV_APP)?,
            secret: DEV_SECRET.into(),
        };
        let graph = GraphConfig::new(addresses.graph, addresses.authority, credential.clone());
        let bot = Bot::new(BotConfig {
            graph,
            openid_configuration: addresses.keys,
            issuers: addresses.issuers,
            allow_loopback_http: true,
            ..BotConfig::public_cloud(credential, public_url)
        })?;
        let metrics = prometheus::Registry::new();
        bot.register(&metrics)?;
        let webhook = listener.serve(bot.callback_routes(), Limits::default());

        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut url = addresses.base;
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("no base URL"))?
            .extend(["lab", "v1", "meetings", MEETING, "participants"]);
        for number in 0..humans {
            let mut url = url.clone();
            url.query_pairs_mut()
                .append_pair("displayName", &format!("Human {number}"));
            http.post(url).send().await?.error_for_status()?;
        }
        let begun = Instant::now();
        let mut calls = Vec::new();
        let mut joining = JoinSet::new();
        for number in 0..bots {
            let engine = bot.engine().clone();
            let tenant = bot.owner().tenant.clone();
            joining.spawn(async move {
                let organizer = "the organizer's directory id";
                let call = engine
                    .join(Join::meeting(MEETING, organizer, tenant))
                    .await?;
                let status = call.until(|status| status.phase == Phase::Muted).await;
                ensure!(status.phase == Phase::Muted, "bot {number}: {status:?}");
                Ok(call)
            });
            if joining.len() == AT_ONCE {
                calls.extend(joining.join_next().await.transpose()?.transpose()?);
            }
        }
        while let Some(joined) = joining.join_next().await {
            calls.push(joined??);
        }
        Ok(Self {
            service,
            bot,
            webhook,
            joined: begun.elapsed() / u32::try_from(bots.max(1))?,
            calls: calls.into(),
            metrics,
        })
    }

    /// So many bots unmute and mute at a time, in turn, for so long.
    ///
    /// # Errors
    /// When a verdict is not `Confirmed`.
    pub async fn blow(&self, at_once: usize, lasts: Duration) -> anyhow::Result<Gust> {
        let service = self.service.id().to_string();
        let (notices, engine) = (self.notices(), processor());
        let service_before = Usage::of(&service)?;
        let begun = Instant::now();
        let mut workers = JoinSet::new();
        for worker in 0..at_once {
            let calls = Arc::clone(&self.calls);
            workers.spawn(async move {
                let mut times = Vec::new();
                for nth in (worker..calls.len()).step_by(at_once).cycle() {
                    if begun.elapsed() >= lasts {
                        break;
                    }
                    let asked = Instant::now();
                    confirmed(&calls[nth].unmute().await?)?;
                    times.push(asked.elapsed());
                    confirmed(&calls[nth].mute().await?)?;
                }
                anyhow::Ok(times)
            });
        }
        let mut times = Vec::new();
        while let Some(done) = workers.join_next().await {
            times.extend(done??);
        }
        let engine = processor().saturating_sub(engine);
        Ok(Gust {
            lasted: begun.elapsed(),
            commands: times.len(),
            unmutes: Timed::of(times, engine),
            notices: self.notices() - notices,
            engine,
            service: Usage::of(&service)?.since(&service_before),
            engine_memory: resident_of("self")?,
            service_memory: resident_of(&service)?,
        })
    }

    fn notices(&self) -> u64 {
        let families = self.metrics.gather();
        let family = families.iter().find(|family| family.name() == NOTICES);
        let counters = family.map(|family| family.get_metric().iter());
        let sum: f64 = counters
            .into_iter()
            .flatten()
            .map(|metric| metric.get_counter().get_value())
            .sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count"
        )]
        let sum = sum as u64;
        sum
    }

    /// Ends both sides; the calls go with them.
    ///
    /// # Errors
    /// When the service's process cannot be ended.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.calls);
        drop(self.bot);
        self.webhook.stop(Duration::from_secs(1)).await;
        drop(self.service.stdin.take());
        self.service.wait()?;
        Ok(())
    }
}
