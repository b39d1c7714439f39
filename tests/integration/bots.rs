//! Bots that embed the engine, on the local service, over real sockets and signed webhooks.

use std::time::Duration;

use axum::Router;
use openmic::local::{LocalConfig, LocalService};
use openmic::{Bot, BotConfig, Call, Join, Phase, RosterEvent, Verdict};
use openmic_listen::{Limits, Listener, Running};
use serde_json::json;

const THREAD: &str = "19:meeting_bots@thread.v2";
const PATIENCE: Duration = Duration::from_secs(20);

/// A bot with a server of its own, as an embedder has it.
struct Embedded {
    bot: Bot,
    _server: Running,
}

async fn service() -> LocalService {
    service_as(LocalConfig::ephemeral()).await
}

async fn service_as(config: LocalConfig) -> LocalService {
    LocalService::start(config, &prometheus::Registry::new())
        .await
        .unwrap()
}

fn embed(service: &LocalService) -> Embedded {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let public = format!("http://{}", listener.local_addr()).parse().unwrap();
    let bot = Bot::new(BotConfig::local(service, public)).unwrap();
    let routes = Router::new().merge(bot.callback_routes());
    let server = listener.serve(routes, Limits::default());
    Embedded {
        bot,
        _server: server,
    }
}

async fn joined(embedded: &Embedded) -> Call {
    let tenant = embedded.bot.owner().tenant.clone();
    let call = embedded
        .bot
        .join(Join::meeting(THREAD, "organizer", tenant))
        .await
        .unwrap();
    reaches(&call, Phase::Muted).await;
    call
}

async fn reaches(call: &Call, phase: Phase) {
    let status = tokio::time::timeout(PATIENCE, call.until(|status| status.phase == phase)).await;
    assert_eq!(status.expect("in time").phase, phase);
}

/// The lab's URL of a participant, percent-encoded.
fn lab(service: &LocalService, participant: &str) -> url::Url {
    let mut url = url::Url::parse(service.base_url()).unwrap();
    let path = ["lab", "v1", "meetings", THREAD, "participants", participant];
    url.path_segments_mut().unwrap().extend(path);
    url
}

async fn host_mutes(service: &LocalService, call: &Call, muted: bool) {
    let me = call
        .state()
        .me
        .expect("an established call knows its participant");
    let url = lab(service, me.as_str());
    let request = reqwest::Client::new()
        .patch(url)
        .json(&json!({"serverMuted": muted}));
    assert_eq!(request.send().await.unwrap().status().as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_joins_muted_unmutes_and_mutes() {
    let mut config = LocalConfig::ephemeral();
    goes_all_the_way(config.clone()).await;
    config.rules.pascal_case = true;
    goes_all_the_way(config).await;
}

async fn goes_all_the_way(config: LocalConfig) {
    let service = service_as(config).await;
    let embedded = embed(&service);
    let call = joined(&embedded).await;
    for _ in 0..20 {
        assert!(matches!(
            call.unmute().await.unwrap(),
            Verdict::Confirmed { .. }
        ));
        assert_eq!(call.unmute().await.unwrap(), Verdict::Already);
        assert!(matches!(
            call.mute().await.unwrap(),
            Verdict::Confirmed { .. }
        ));
    }
    let ended = call.hang_up().await;
    assert_eq!(ended.phase, Phase::Terminated);
    assert!(matches!(
        call.unmute().await.unwrap(),
        Verdict::CallEnded { .. }
    ));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_machine_follows_a_host_that_mutes_the_bot() {
    let service = service().await;
    let embedded = embed(&service);
    let call = joined(&embedded).await;
    assert!(call.unmute().await.unwrap().is_success());
    host_mutes(&service, &call, true).await;
    reaches(&call, Phase::Muted).await;
    assert!(matches!(
        call.unmute().await.unwrap(),
        Verdict::Confirmed { .. }
    ));
    assert_eq!(call.state().phase, Phase::Unmuted);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bot_in_the_meeting_sees_the_others_unmute() {
    let service = service().await;
    let (one, other) = (embed(&service), embed(&service));
    let (speaker, watcher) = (joined(&one).await, joined(&other).await);
    let me = speaker.state().me.unwrap();
    let mut roster = watcher.roster();
    assert!(speaker.unmute().await.unwrap().is_success());
    let seen = async {
        let mut seq = 0;
        while let Some(event) = roster.next().await {
            let (RosterEvent::Snapshot(version) | RosterEvent::Delta(version)) = event;
            assert!(version.version.seq > seq, "versions rise");
            seq = version.version.seq;
            if version.roster.get(&me).is_some_and(|entry| !entry.is_muted) {
                return true;
            }
        }
        false
    };
    assert!(tokio::time::timeout(PATIENCE, seen).await.expect("in time"));
    speaker.hang_up().await;
    let gone = async {
        while let Some(event) = roster.next().await {
            let (RosterEvent::Snapshot(version) | RosterEvent::Delta(version)) = event;
            if version.roster.get(&me).is_none() {
                return true;
            }
        }
        false
    };
    assert!(tokio::time::timeout(PATIENCE, gone).await.expect("in time"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_latest_intent_wins() {
    let service = service().await;
    let embedded = embed(&service);
    let call = joined(&embedded).await;
    for _ in 0..10 {
        let (unmute, mute) = tokio::join!(call.unmute(), call.mute());
        let (unmute, mute) = (unmute.unwrap(), mute.unwrap());
        assert!(
            matches!(unmute, Verdict::Superseded | Verdict::Confirmed { .. }),
            "unmute: {unmute}"
        );
        assert!(mute.is_success(), "mute: {mute}");
        reaches(&call, Phase::Muted).await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_calls_at_once_are_all_confirmed() {
    let service = service().await;
    let embedded = embed(&service);
    let tenant = embedded.bot.owner().tenant.clone();
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..50 {
        let engine = embedded.bot.engine().clone();
        let join = Join::meeting(
            &format!("19:meeting_{number}@thread.v2"),
            "organizer",
            tenant.clone(),
        );
        calls.spawn(async move {
            let call = engine.join(join).await.unwrap();
            reaches(&call, Phase::Muted).await;
            let verdict = call.unmute().await.unwrap();
            assert!(matches!(verdict, Verdict::Confirmed { .. }), "{verdict}");
            call.hang_up().await;
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    assert_eq!(embedded.bot.drain(PATIENCE).await, 0);
    service.stop().await;
}
