use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use openmic::local::{LocalConfig, LocalService};
use openmic::{Bot, BotConfig, Call, Durability, Join, Journal, JournalConfig, Phase, Verdict};
use openmic_hub::Subscribe;
use openmic_listen::{Limits, Listener, Running};
use tempfile::TempDir;

use crate::at_once;
use crate::audience::Audience;
use crate::timed::{Rounds, Timed};

/// Bots of one engine, each alone in a meeting of its own on the local calling service, muted.
///
/// Engine and service share nothing but loopback HTTP: commands and tokens one way, signed
/// notifications the other.
#[derive(Debug)]
pub struct Bots {
    calls: Arc<[Call]>,
    bot: Bot,
    webhook: Running,
    service: LocalService,
    /// The journal, and the folder it is in.
    journal: Option<(Journal, TempDir)>,
    /// Who watches the first call.
    audience: Option<Arc<Audience>>,
}

impl Bots {
    /// Starts the service and the engine, and joins `count` calls.
    ///
    /// # Errors
    /// When a part does not start or a call is not established.
    pub async fn join(count: usize) -> anyhow::Result<Self> {
        Self::join_watched(count, None, 0).await
    }

    /// As [`Bots::join`], with a journal in the system's temporary folder.
    ///
    /// # Errors
    /// As [`Bots::join`], or when the journal does not open.
    pub async fn join_durable(count: usize, durability: Durability) -> anyhow::Result<Self> {
        Self::join_watched(count, Some(durability), 0).await
    }

    /// As both, and the first call is watched by so many subscribers.
    ///
    /// # Errors
    /// As [`Bots::join_durable`], or when a subscriber is not taken.
    pub async fn join_watched(
        count: usize,
        durability: Option<Durability>,
        subscribers: usize,
    ) -> anyhow::Result<Self> {
        let metrics = prometheus::Registry::new();
        let service = LocalService::start(LocalConfig::ephemeral(), &metrics).await?;
        let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
        let public_url = format!("http://{}", listener.local_addr()).parse()?;
        let config = BotConfig::local(&service, public_url);
        let (bot, journal) = match durability {
            None => (Bot::new(config)?, None),
            Some(durability) => {
                let folder = tempfile::tempdir()?;
                let (journal, found) = Journal::open(&JournalConfig {
                    durability,
                    ..JournalConfig::new(folder.path())
                })?;
                let kept = journal.clone();
                let bot = Bot::with(config, |engine| engine.journal(kept, found))?;
                (bot, Some((journal, folder)))
            }
        };
        bot.register(&metrics)?;
        let webhook = listener.serve(bot.callback_routes(), Limits::default());
        let mut calls = Vec::new();
        for number in 0..count {
            let meeting = format!("19:meeting_bench{number}@thread.v2");
            let tenant = bot.owner().tenant.clone();
            let call = bot
                .join(Join::meeting(
                    &meeting,
                    "the organizer's directory id",
                    tenant,
                ))
                .await?;
            let status = call.until(|status| status.phase == Phase::Muted).await;
            ensure!(
                status.phase == Phase::Muted,
                "a bench's call ended: {status:?}"
            );
            calls.push(call);
        }
        let audience = match calls.first() {
            Some(call) if subscribers > 0 => {
                let (audience, sockets) = Audience::seat(subscribers)?;
                for socket in sockets {
                    bot.hub()
                        .subscribe(call.id(), socket, Bytes::new(), Subscribe::default())?;
                }
                call.watched();
                Some(Arc::new(audience))
            }
            _ => None,
        };
        Ok(Self {
            audience,
            calls: calls.into(),
            bot,
            webhook,
            service,
            journal,
        })
    }

    /// Every call unmutes at once, then mutes again, `rounds` times. The time from the acceptance
    /// of the unmutes to their last verdict, summed; the mutes are not counted.
    ///
    /// # Errors
    /// When a verdict is not `Confirmed`.
    pub async fn unmute(&self, rounds: u64) -> anyhow::Result<Duration> {
        let calls = Arc::clone(&self.calls);
        let cycles = tokio::spawn(async move {
            let mut sum = Duration::ZERO;
            for _ in 0..rounds {
                let all = calls.iter().cloned();
                sum += at_once(all.map(async |call| confirmed(&call.unmute().await?))).await?;
                let all = calls.iter().cloned();
                at_once(all.map(async |call| confirmed(&call.mute().await?))).await?;
            }
            Ok(sum)
        });
        cycles.await?
    }

    /// Every call unmutes at once, then mutes again, `times` times. Each unmute until its verdict, or
    /// until the last subscriber has the roster that says so; the mutes are not counted. `pause` is
    /// before each. What is begun within `run_in` comes first and is
    /// not counted.
    ///
    /// # Errors
    /// When a verdict is not `Confirmed`.
    pub async fn timed(
        &self,
        times: usize,
        run_in: Duration,
        pause: Option<Duration>,
    ) -> anyhow::Result<Timed> {
        let calls = Arc::clone(&self.calls);
        let audience = self.audience.clone();
        let cycles = tokio::spawn(async move {
            let mut rounds = Rounds::new(times, run_in);
            while !rounds.are_over() {
                let all = calls
                    .iter()
                    .cloned()
                    .zip(std::iter::repeat(audience.clone()));
                let all = all.map(async |(call, audience)| {
                    confirmed(&call.unmute().await?)?;
                    heard(audience.as_deref()).await
                });
                rounds.run(all, pause).await?;
                let all = calls.iter().cloned();
                at_once(all.map(async |call| confirmed(&call.mute().await?))).await?;
                if let Some(audience) = &audience {
                    audience.forget();
                }
            }
            Ok(rounds.timed())
        });
        cycles.await?
    }

    /// Hangs up everything and stops both ends.
    ///
    /// # Errors
    /// When a call does not end.
    pub async fn stop(self) -> anyhow::Result<()> {
        for call in self.calls.iter() {
            let status = call.hang_up().await;
            ensure!(status.phase == Phase::Terminated, "still {}", status.phase);
        }
        drop(self.bot);
        self.webhook.stop(Duration::from_secs(1)).await;
        self.service.stop().await;
        if let Some((journal, folder)) = self.journal {
            journal.close().await;
            folder.close()?;
        }
        Ok(())
    }
}

pub(crate) fn confirmed(verdict: &Verdict) -> anyhow::Result<()> {
    ensure!(
        matches!(verdict, Verdict::Confirmed { .. }),
        "a command was not confirmed but {verdict}"
    );
    Ok(())
}

/// When the last subscriber had it, or now when nobody watches.
async fn heard(audience: Option<&Audience>) -> anyhow::Result<Instant> {
    match audience {
        None => Ok(Instant::now()),
        Some(audience) => audience.hear().await,
    }
}
