//! The local service's faults through the real engine: what a bot is told when things go wrong,
//! held against the service's truth log. `f_g1_` and the like are the faults of `tests/FAULTS.md`.

use std::time::Duration;

use axum::Router;
use openmic::local::{Fault, FaultPlan, LocalConfig, LocalService, SigningPem};
use openmic::{
    Action, Bot, BotConfig, Call, CommandOptions, Evidence, Join, Phase, RosterSeen, Verdict,
};
use openmic_listen::{Limits, Listener, Running};
use serde_json::{Value, json};

use crate::door::signer::OURS;

const THREAD: &str = "19:meeting_scenarios@thread.v2";
const PATIENCE: Duration = Duration::from_secs(20);
/// What the bot's HTTP client waits for an answer.
const ANSWER: Duration = Duration::from_millis(700);

/// A bot whose call is up and muted, on a service that can go wrong.
struct Stage {
    service: LocalService,
    _bot: Bot,
    call: Call,
    _server: Running,
}

impl Stage {
    /// Without faults to begin with.
    async fn new() -> Self {
        Self::under(&[]).await
    }

    /// With faults from before the call.
    async fn under(faults: &[&str]) -> Self {
        let metrics = prometheus::Registry::new();
        // To make one takes longer than most of what is tested here.
        let key = SigningPem(OURS.pem());
        let config = LocalConfig {
            signing_key: Some(key),
            ..LocalConfig::ephemeral()
        };
        let service = LocalService::start(config, &metrics).await.unwrap();
        if !faults.is_empty() {
            let plan = FaultPlan::of(faults).unwrap();
            println!("seed {}", service.set_faults(plan).unwrap());
        }
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let public = format!("http://{}", listener.local_addr()).parse().unwrap();
        let mut config = BotConfig::local(&service, public);
        config.graph.request_timeout = ANSWER;
        let bot = Bot::with(config, |engine| {
            engine.tune(|machine| {
                machine.post_limit = ANSWER;
                machine.operation_grace = Duration::from_millis(250);
                machine.roster_grace = Duration::from_millis(150);
                machine.settle_time = Duration::from_millis(100);
                machine.gap_patience = Duration::from_millis(50);
            })
        })
        .unwrap();
        let routes = Router::new().merge(bot.callback_routes());
        let server = listener.serve(routes, Limits::default());
        let tenant = bot.owner().tenant.clone();
        let join = Join::meeting(THREAD, "organizer", tenant);
        let call = bot.join(join).await.unwrap();
        let stage = Self {
            service,
            _bot: bot,
            call,
            _server: server,
        };
        stage.reaches(Phase::Muted).await;
        stage
    }

    /// From now on, in its call.
    async fn afflict(&self, faults: &[&str]) {
        let base = self.service.base_url();
        let url = format!("{base}/lab/v1/calls/{}/faults", self.call.id());
        let body = json!({ "faults": faults, "seed": 1 });
        let answer = reqwest::Client::new().put(url).json(&body).send().await;
        assert_eq!(answer.unwrap().status().as_u16(), 200, "{faults:?}");
    }

    async fn reaches(&self, phase: Phase) {
        let there = self.call.until(|status| status.phase == phase);
        let status = tokio::time::timeout(PATIENCE, there).await;
        assert_eq!(status.expect("in time").phase, phase);
    }

    async fn unmute(&self) -> Verdict {
        tokio::time::timeout(PATIENCE, self.call.unmute())
            .await
            .expect("in time")
            .unwrap()
    }

    /// The lines of the truth log that say so of unmuting: `asked`, `effect`.
    fn unmutes(&self, what: &str) -> Vec<Value> {
        let text = self.service.truth(0);
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let ours = |line: &Value| line["what"] == what && line["act"] == "unmute";
        lines.filter(ours).collect()
    }

    /// What really took place with regard to the bot's mute, in order.
    fn switches(&self) -> Vec<String> {
        let text = self.service.truth(0);
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let switch = |line: Value| {
            let act = line["act"].as_str()?.to_owned();
            (line["what"] == "effect" && line["by"].is_string()).then_some(act)
        };
        lines.filter_map(switch).collect()
    }
}

/// Unmutes under `faults` and gives the verdict, after so many POSTs that came to Graph, and effects.
async fn unmuted_under(faults: &[&str], posts: usize, effects: usize) -> (Stage, Verdict) {
    let stage = Stage::new().await;
    stage.afflict(faults).await;
    let verdict = stage.unmute().await;
    assert_eq!(
        stage.unmutes("asked").len(),
        posts,
        "POSTs, {faults:?}: {verdict}"
    );
    assert_eq!(
        stage.unmutes("effect").len(),
        effects,
        "{faults:?}: {verdict}"
    );
    (stage, verdict)
}

/// It is confirmed, and so it is.
async fn confirmed_under(faults: &[&str], posts: usize) -> Stage {
    let (stage, verdict) = unmuted_under(faults, posts, 1).await;
    assert!(matches!(verdict, Verdict::Confirmed { .. }), "{verdict}");
    assert_eq!(stage.switches().last().unwrap(), "unmute");
    stage
}

/// As [`confirmed_under`], by a read: nothing else could tell.
async fn confirmed_by_poll_under(faults: &[&str], posts: usize) -> Stage {
    let (stage, verdict) = unmuted_under(faults, posts, 1).await;
    let wanted = Verdict::Confirmed {
        evidence: Evidence::Poll,
        roster: RosterSeen::Fresh,
    };
    assert_eq!(verdict, wanted, "{faults:?}");
    stage
}

async fn refused_under(faults: &[&str], posts: usize, wanted: (u16, &str)) {
    let (_, verdict) = unmuted_under(faults, posts, 0).await;
    let Verdict::Refused { status, code, .. } = &verdict else {
        panic!("{faults:?}: {verdict}")
    };
    assert_eq!((*status, &**code), wanted, "{faults:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g1_the_effect_is_found_and_nothing_sent_again() {
    for lost in ["effect_without_response nth=1", "effect_then_silence nth=1"] {
        confirmed_under(&[lost], 1).await;
        confirmed_by_poll_under(&[lost, "drop on=told_roster"], 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g1_a_post_that_acts_after_the_client_gave_up_is_still_the_only_one_that_counts() {
    let (stage, verdict) = {
        let stage = Stage::new().await;
        stage.afflict(&["slow nth=1 ms=900"]).await;
        let verdict = stage.unmute().await;
        (stage, verdict)
    };
    assert!(matches!(verdict, Verdict::Confirmed { .. }), "{verdict}");
    assert_eq!(stage.switches().last().unwrap(), "unmute");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g2_without_an_effect_it_is_sent_once_more() {
    for lost in ["no_response nth=1", "silence nth=1"] {
        let stage = confirmed_under(&[lost], 2).await;
        let asked = stage.unmutes("asked");
        assert_ne!(
            asked[0]["clientContext"], asked[1]["clientContext"],
            "a context is never used again"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g3_retry_after_is_kept_to_in_every_form() {
    for (fault, least) in [
        ("throttled nth=1 retry=1", 1000),
        ("throttled nth=1 retry=0.3", 300),
        ("unavailable nth=1 retry=0.25", 250),
        // A date has whole seconds: of 2 s at least 1 is left.
        ("throttled nth=1 retry=date+2", 900),
    ] {
        let stage = confirmed_under(&[fault], 2).await;
        let asked = stage.unmutes("asked");
        let moment = |at: usize| asked[at]["us"].as_u64().unwrap();
        let waited = (moment(1) - moment(0)) / 1000;
        assert!(waited >= least, "{fault}: after {waited} ms");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g4_a_5xx_leaves_it_open() {
    for status in [500, 502, 504] {
        confirmed_under(&[&format!("error_with_effect nth=1 status={status}")], 1).await;
        confirmed_under(&[&format!("error nth=1 status={status}")], 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g6_a_401_is_answered_with_a_new_token_once() {
    confirmed_under(&["unauthorized nth=1"], 2).await;
    refused_under(&["unauthorized"], 2, (401, "InvalidAuthenticationToken")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g7_the_old_token_serves_while_the_token_endpoint_is_down() {
    let stage = Stage::new().await;
    let plan = FaultPlan::of(["token_endpoint_down"]).unwrap();
    stage.service.set_faults(plan).unwrap();
    assert!(stage.unmute().await.is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g8_a_definite_no_is_passed_on_with_its_code() {
    refused_under(&["forbidden"], 1, (403, "8566")).await;
    refused_under(&["conflict"], 1, (409, "conflict")).await;
    refused_under(&["conflict status=400 code=8501"], 1, (400, "8501")).await;
    refused_under(
        &["conflict status=405 code=notAllowed"],
        1,
        (405, "notAllowed"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g9_a_404_ends_the_commands_of_a_call_that_is_gone() {
    let (_, verdict) = unmuted_under(&["gone", "gone on=get_call"], 1, 0).await;
    assert!(matches!(verdict, Verdict::CallEnded { .. }), "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g11_running_first() {
    confirmed_under(&["running_first nth=1 ms=30..60"], 1).await;
    let lost = "drop on=told_operation";
    confirmed_under(&["running_first nth=1 ms=30", lost], 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g12_completed_and_the_roster_never_comes() {
    let dropped = "drop on=told_roster";
    confirmed_by_poll_under(&[dropped], 1).await;
    let (_, verdict) = unmuted_under(&["response_without_effect"], 1, 0).await;
    assert_eq!(verdict, Verdict::Unconfirmed, "honest");
    let (_, verdict) = unmuted_under(&[dropped, "error on=participants"], 1, 1).await;
    let Verdict::Confirmed { roster, .. } = verdict else {
        panic!("{verdict}")
    };
    assert_eq!(roster, RosterSeen::Unseen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g13_the_operation_never_completes() {
    let stage = Stage::new().await;
    stage.afflict(&["never_completes"]).await;
    let options = CommandOptions {
        within: Some(Duration::from_secs(3)),
        ..CommandOptions::default()
    };
    let unmute = stage.call.command(Action::Unmute, options).unwrap();
    let outcome = unmute.outcome().await.unwrap();
    let verdict = outcome.verdict;
    assert!(matches!(verdict, Verdict::Confirmed { .. }), "{verdict}");
    assert_eq!(stage.unmutes("asked").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g14_an_operation_that_fails() {
    refused_under(&["fails_after_running ms=30"], 1, (403, "8566")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g15_operations_cannot_be_read() {
    for unreadable in [
        "operation_unreadable",
        "operation_unreadable status=405 code=notAllowed",
    ] {
        let lost = "drop on=told_operation";
        confirmed_under(&["running_first ms=30", lost, unreadable], 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g16_the_other_side_hangs_up_in_the_middle() {
    for when in ["then", "after ms=20"] {
        let hang_up = format!("remote_hang_up subcode=5001 when={when}");
        let (stage, verdict) = unmuted_under(&["never_completes effect=no", &hang_up], 1, 0).await;
        let Verdict::CallEnded { result } = verdict else {
            panic!("{when}: {verdict}")
        };
        assert_eq!(result.unwrap().subcode, 5001);
        stage.reaches(Phase::Terminated).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g17_a_host_that_mutes_at_once_is_not_fought() {
    let stage = Stage::new().await;
    stage
        .afflict(&["host_re_mute nth=1 when=after ms=50"])
        .await;
    let verdict = stage.unmute().await;
    assert!(matches!(verdict, Verdict::Confirmed { .. }), "{verdict}");
    stage.reaches(Phase::Muted).await;
    assert_eq!(stage.switches(), ["mute", "unmute", "mute"]);
    assert_eq!(stage.unmutes("asked").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g18_an_old_read_and_one_that_lacks_the_bot() {
    let dropped = "drop on=told_roster nth=1";
    confirmed_under(&[dropped, "stale_participants nth=1"], 1).await;
    confirmed_under(&[dropped, "partial_participants nth=1"], 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g19_members_that_are_missing() {
    for faults in [
        &["missing_id on=unmute"][..],
        &["missing_context on=unmute", "missing_server_muted"],
        &["running_first ms=20", "missing_id on=told_operation"],
        &["running_first ms=20", "missing_context"],
    ] {
        confirmed_under(faults, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g21_the_end_is_lost_and_found_by_keep_alive() {
    let stage = Stage::new().await;
    stage
        .afflict(&["drop on=told_call", "keep_alive_404", "gone on=get_call"])
        .await;
    assert!(stage.call.keep_alive().await.is_err());
    stage.reaches(Phase::Terminated).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_w1_every_notification_is_lost() {
    confirmed_by_poll_under(&["drop"], 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_w2_every_notification_comes_four_times() {
    confirmed_under(&["duplicate times=3"], 1).await;
    let stage = Stage::under(&["duplicate times=3"]).await;
    assert!(stage.unmute().await.is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_w3_what_comes_late_is_no_news() {
    confirmed_under(&["delay ms=300..400"], 1).await;
    let stage = confirmed_under(&["replay on=told_roster nth=1 ms=600"], 1).await;
    assert!(stage.call.mute().await.unwrap().is_success());
    // The replay of the unmute's roster has come and gone.
    told(&stage, "roster", 4).await;
    assert_eq!(stage.call.state().phase, Phase::Muted);
    assert_eq!(stage.switches(), ["mute", "unmute", "mute"]);
}

/// Waits until so many notifications of a kind have been told.
async fn told(stage: &Stage, of: &str, count: usize) {
    let enough = async {
        let ours = |line: &&str| line.contains("\"told\"") && line.contains(of);
        while stage.service.truth(0).lines().filter(ours).count() < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, enough)
        .await
        .expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_w4_out_of_order() {
    let stage = Stage::under(&["swap ms=100"]).await;
    for _ in 0..3 {
        assert!(stage.unmute().await.is_success());
        assert!(stage.call.mute().await.unwrap().is_success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_w5_told_before_the_answer() {
    let early = "notification_before_response";
    confirmed_under(&[early], 1).await;
    confirmed_under(&[early, "missing_context on=switch"], 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_w6_told_before_the_create_is_answered() {
    let stage = Stage::under(&["notification_before_response on=create"]).await;
    assert!(stage.unmute().await.is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_w7_many_in_one_post() {
    let stage = Stage::under(&["batch size=3 ms=60"]).await;
    assert!(stage.unmute().await.is_success());
    assert!(stage.call.mute().await.unwrap().is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_w9_a_forged_token_says_nothing() {
    confirmed_by_poll_under(&["forged_token"], 1).await;
    let stage = confirmed_under(&["false_end token=forged"], 1).await;
    assert!(stage.call.mute().await.unwrap().is_success(), "it lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_w10_another_tenants_token_says_nothing() {
    confirmed_by_poll_under(&["foreign_tenant"], 1).await;
    let stage = confirmed_under(&["false_end token=foreign"], 1).await;
    assert!(stage.call.mute().await.unwrap().is_success(), "it lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_w13_an_end_that_is_none_ends_nothing() {
    let stage = confirmed_under(&["false_end nth=1"], 1).await;
    told(&stage, "terminated", 1).await;
    assert!(stage.call.mute().await.unwrap().is_success(), "it lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rosters_with_holes_old_ones_and_none_with_numbers() {
    confirmed_under(&["roster_gap", "stale_roster"], 1).await;
    confirmed_under(&["missing_numbers"], 1).await;
    let stage = Stage::under(&["full_rosters"]).await;
    assert!(stage.unmute().await.is_success());
    assert!(stage.call.mute().await.unwrap().is_success());
}

/// Everything at once, by the dice of a seed: each command ends in one verdict, and what is
/// confirmed was so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_day() {
    let some = [
        "drop",
        "duplicate",
        "delay ms=0..300",
        "swap ms=50",
        "batch ms=50",
        "replay ms=0..500",
        "forged_token",
        "stale_roster",
        "roster_gap",
    ];
    let more = [
        "effect_without_response",
        "error_with_effect",
        "no_response",
        "error",
        "running_first",
        "throttled retry=0.2",
        "conflict",
        "response_without_effect",
        "notification_before_response",
    ];
    let mut faults: Vec<_> = some
        .iter()
        .map(|fault| format!("{fault} rate=0.05"))
        .collect();
    faults.extend(
        more.iter()
            .map(|fault| format!("{fault} on=switch rate=0.05")),
    );
    let stage = Stage::new().await;
    let faults: Vec<_> = faults.iter().map(String::as_str).collect();
    stage.afflict(&faults).await;
    let mut verdicts = std::collections::BTreeMap::new();
    for at in 0..30 {
        let before = stage.switches().len();
        let (word, deed) = if at % 2 == 1 {
            ("mute", Action::Mute)
        } else {
            ("unmute", Action::Unmute)
        };
        let command = stage.call.command(deed, CommandOptions::default()).unwrap();
        let outcome = tokio::time::timeout(PATIENCE * 2, command.outcome()).await;
        let verdict = outcome.expect("one verdict").unwrap().verdict;
        if verdict.is_success() {
            // It was so at some moment of the command.
            let switches = stage.switches();
            let meanwhile = &switches[before - 1..];
            assert!(
                meanwhile.iter().any(|act| act == word),
                "{at}: {verdict}, {meanwhile:?}"
            );
        }
        *verdicts.entry(verdict.as_str()).or_insert(0) += 1;
    }
    println!("{verdicts:?}");
    // Only a Graph that lies leaves it open.
    let truth = stage.service.truth(0);
    let lies = truth
        .lines()
        .filter(|line| line.contains("\"response_without_effect\""));
    let open = verdicts.get("unconfirmed").copied().unwrap_or(0);
    assert!(open <= lies.count(), "{verdicts:?}");
    assert!(verdicts["confirmed"] >= 10, "{verdicts:?}");
}

/// Every fault is in some scenario above.
#[test]
fn no_fault_is_without_a_scenario() {
    let text = include_str!("scenarios.rs");
    for (name, _) in Fault::all() {
        let word = |text: &str| text.split(' ').next() == Some(name);
        assert!(text.split('"').any(word), "{name}");
    }
}
