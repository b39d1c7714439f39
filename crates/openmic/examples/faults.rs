//! A bot's own test of a bad day: Graph does what it was asked, its answer is lost on the way, and so
//! is the notification. `cargo run -p openmic --example faults`
//!
//! In a test of yours this is the body of a `#[tokio::test]`, with `assert!` for `println!`.

use openmic::local::{Fault, FaultPlan, LocalConfig, LocalService};
use openmic::{Bot, BotConfig, Join, Phase};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let metrics = prometheus::Registry::new();
    let service = LocalService::start(LocalConfig::ephemeral(), &metrics).await?;

    // What goes wrong, in every call that begins from now on. The seed makes it repeatable.
    let mut plan = FaultPlan::of([
        "effect_without_response on=unmute nth=1",
        "drop on=told_roster rate=0.5",
    ])?;
    plan.seed = Some(7);
    service.set_faults(plan)?;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let public_url = format!("http://{}", listener.local_addr()?).parse()?;
    let bot = Bot::new(BotConfig::local(&service, public_url))?;
    let routes = axum::Router::new().merge(bot.callback_routes());
    tokio::spawn(async { axum::serve(listener, routes).await });

    let tenant = bot.owner().tenant.clone();
    let call = bot
        .join(Join::meeting(
            "19:meeting_faults@thread.v2",
            "organizer",
            tenant,
        ))
        .await?;
    call.until(|status| status.phase == Phase::Muted).await;

    // The code under test.
    let verdict = call.unmute().await?;
    println!("unmute: {verdict}");
    anyhow::ensure!(verdict.is_success(), "the bot was to find out");

    // What really happened, to hold it against: one POST, and its effect.
    let truth = service.truth(0);
    let unmutes = truth.lines().filter(|line| line.contains("\"unmute\""));
    unmutes.for_each(|line| println!("{line}"));

    println!("\nWhat else can go wrong:");
    Fault::all().for_each(|(name, about)| println!("  {name:28} {about}"));
    service.stop().await;
    Ok(())
}
