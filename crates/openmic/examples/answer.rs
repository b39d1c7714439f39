//! Somebody calls a bot into a meeting; it answers, unmutes, is confirmed, and hangs up.
//! `cargo run -p openmic --example answer`

use openmic::local::{LocalConfig, LocalService};
use openmic::{Answer, Bot, BotConfig, Phase};
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let metrics = prometheus::Registry::new();
    let service = LocalService::start(LocalConfig::ephemeral(), &metrics).await?;

    // The bot's own HTTP server, with the engine's webhook among its routes.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let public_url = format!("http://{}", listener.local_addr()?).parse()?;
    let config = BotConfig::local(&service, public_url);
    // The key stands in the bot's registration, so a real bot keeps it.
    let key = "c2a1f0b4e6d84f5f9b7a3e21d0c9b8a7";
    let bot = Bot::with(config, |engine| engine.incoming_key(key))?;
    let routes = axum::Router::new().merge(bot.callback_routes());
    tokio::spawn(async { axum::serve(listener, routes).await });

    // The lab plays the caller. On Graph, Teams rings the webhook of the bot's registration.
    let asked = json!({
        "appId": bot.owner().app.as_str(),
        "callbackUri": bot.incoming_callback(),
        "threadId": "19:meeting_answer@thread.v2",
        "displayName": "Ann",
    });
    let lab = format!("{}/lab/v1/calls", service.base_url());
    let rung = reqwest::Client::new().post(lab).json(&asked).send();
    rung.await?.error_for_status()?;

    let mut rings = bot.incoming();
    let ring = rings.next().await.expect("the engine is not draining");
    let caller = ring.caller().and_then(|who| who.display_name.as_deref());
    println!("rings: {}", caller.unwrap_or("somebody"));
    let call = ring.answer(Answer::default()).await?;
    let status = call.until(|status| status.phase == Phase::Muted).await;
    println!("answered: {}", status.phase);
    println!("unmute: {}", call.unmute().await?);
    if let Some(version) = call.roster_now() {
        println!("roster: {} there", version.roster.len());
    }
    println!("hang up: {}", call.hang_up().await.phase);
    service.stop().await;
    Ok(())
}
