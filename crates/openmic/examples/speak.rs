//! A bot joins a meeting, unmutes for a second, is confirmed, and hangs up. `cargo run -p openmic --example speak`

use std::time::Duration;

use openmic::local::{LocalConfig, LocalService};
use openmic::{Bot, BotConfig, Join, Phase, RosterEvent};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let metrics = prometheus::Registry::new();
    let service = LocalService::start(LocalConfig::ephemeral(), &metrics).await?;

    // The bot's own HTTP server, with the engine's webhook among its routes.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let public_url = format!("http://{}", listener.local_addr()?).parse()?;
    let bot = Bot::new(BotConfig::local(&service, public_url))?;
    let routes = axum::Router::new().merge(bot.callback_routes());
    tokio::spawn(async { axum::serve(listener, routes).await });

    let (meeting, organizer) = ("19:meeting_speak@thread.v2", "the organizer's directory id");
    let join = Join::meeting(meeting, organizer, bot.owner().tenant.clone());
    let call = bot.join(join).await?;
    let status = call.until(|status| status.phase == Phase::Muted).await;
    println!("joined: {}", status.phase);
    println!("unmute: {}", call.unmute_for(Duration::from_secs(1)).await?);
    if let Some(RosterEvent::Snapshot(version)) = call.roster().next().await {
        let muted = version.roster.iter().filter(|someone| someone.is_muted);
        println!(
            "roster: {} there, {} muted",
            version.roster.len(),
            muted.count()
        );
    }
    // Its time to speak is over by itself; a bot that dies before is muted by the next process.
    let status = call.until(|status| status.phase == Phase::Muted).await;
    println!("a second later: {}", status.phase);
    println!("hang up: {}", call.hang_up().await.phase);
    service.stop().await;
    Ok(())
}
