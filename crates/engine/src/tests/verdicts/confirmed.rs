use std::time::Duration;

use openmic_machine::Phase;
use openmic_model::{Action, Evidence, RosterSeen, Verdict};
use serde_json::json;

use crate::tests::graph::{Gate, Reply, Route};
use crate::tests::stage::{Leg, Stage, hasty, outcome, patient, verdict};

const fn by(evidence: Evidence) -> Verdict {
    Verdict::Confirmed {
        evidence,
        roster: RosterSeen::Fresh,
    }
}

fn unseen(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Confirmed {
            roster: RosterSeen::Unseen,
            ..
        }
    )
}

/// Ends the call after checking that it is unmuted.
async fn unmuted(leg: &Leg<'_>) {
    assert_eq!(leg.call.state().phase, Phase::Unmuted);
    leg.end().await;
}

#[tokio::test]
async fn completed_and_unmuted_answer_then_roster() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let pending = leg.command(Action::Unmute);
    leg.answered(Route::Unmute, 1).await;
    leg.roster(false);
    assert_eq!(verdict(pending).await, by(Evidence::Roster));
    assert_eq!(stage.graph.count(Route::Unmute), 1);
    assert_eq!(stage.graph.count(Route::Entry), 0);
    unmuted(&leg).await;
}

#[tokio::test]
async fn completed_and_unmuted_mute_goes_the_same_way() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(false).await;
    let pending = leg.command(Action::Mute);
    leg.answered(Route::Mute, 1).await;
    leg.roster(true);
    assert_eq!(verdict(pending).await, by(Evidence::Roster));
    assert_eq!(leg.call.state().phase, Phase::Muted);
    leg.end().await;
}

#[tokio::test]
async fn completed_and_unmuted_roster_before_the_answer() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let gate = Gate::new();
    let answer = Reply::operation("completed").behind(&gate);
    stage.graph.once(Route::Unmute, answer);
    let pending = leg.command(Action::Unmute);
    stage.graph.received(Route::Unmute, 1).await;
    leg.roster(false);
    leg.until(|status| status.version.seq == 2).await;
    assert_eq!(leg.call.state().phase, Phase::Unmuting);
    gate.open();
    let outcome = outcome(pending).await;
    assert_eq!(outcome.verdict, by(Evidence::Http));
    let moments = outcome.moments;
    assert!(moments.roster < moments.answered, "{moments:?}");
    assert!(moments.answered <= Some(moments.verdict), "{moments:?}");
    unmuted(&leg).await;
}

#[tokio::test]
async fn completed_and_unmuted_running_then_notification_then_roster() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    stage.graph.once(Route::Unmute, Reply::operation("running"));
    let pending = leg.command(Action::Unmute);
    let post = leg.answered(Route::Unmute, 1).await;
    leg.tell(&[leg.operation("op-1", Some(post.context()), "completed")]);
    leg.roster(false);
    assert_eq!(verdict(pending).await, by(Evidence::Roster));
    unmuted(&leg).await;
}

#[tokio::test]
async fn completed_and_unmuted_roster_then_notification() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    stage.graph.once(Route::Unmute, Reply::operation("running"));
    let pending = leg.command(Action::Unmute);
    leg.answered(Route::Unmute, 1).await;
    leg.roster(false);
    leg.until(|status| status.version.seq == 2).await;
    assert!(leg.call.state().waits_for.contains(&"operation"));
    // Without a context it is known by its id.
    leg.tell(&[leg.operation("op-1", None, "completed")]);
    assert_eq!(verdict(pending).await, by(Evidence::Operation));
    unmuted(&leg).await;
}

#[tokio::test]
async fn completed_and_unmuted_both_notifications_before_the_answer() {
    for status in ["running", "completed"] {
        let stage = Stage::new(patient).await;
        let mut leg = stage.established(true).await;
        let gate = Gate::new();
        let answer = Reply::operation(status).behind(&gate);
        stage.graph.once(Route::Unmute, answer);
        let pending = leg.command(Action::Unmute);
        let post = stage.graph.received(Route::Unmute, 1).await;
        let operation = leg.operation("op-1", Some(post.context()), "completed");
        let roster = leg.next_delta(false);
        leg.tell(&[operation, roster]);
        leg.until(|status| status.version.seq == 2).await;
        gate.open();
        assert_eq!(verdict(pending).await, by(Evidence::Roster));
        unmuted(&leg).await;
    }
}

#[tokio::test]
async fn completed_and_unmuted_a_notification_by_id_before_the_answer_is_kept() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let gate = Gate::new();
    let answer = Reply::operation("running").behind(&gate);
    stage.graph.once(Route::Unmute, answer);
    let pending = leg.command(Action::Unmute);
    stage.graph.received(Route::Unmute, 1).await;
    leg.tell(&[leg.operation("op-1", None, "completed")]);
    leg.roster(false);
    leg.until(|status| status.version.seq == 2).await;
    gate.open();
    assert_eq!(verdict(pending).await, by(Evidence::Operation));
    unmuted(&leg).await;
}

#[tokio::test]
async fn completed_and_unmuted_notifications_lost_so_both_are_polled() {
    let stage = Stage::new(hasty).await;
    let leg = stage.established(true).await;
    stage.graph.once(Route::Unmute, Reply::operation("running"));
    stage.graph.set_muted(false);
    let pending = leg.command(Action::Unmute);
    let Verdict::Confirmed {
        roster: RosterSeen::Fresh,
        evidence,
    } = verdict(pending).await
    else {
        panic!("not confirmed");
    };
    assert!(matches!(evidence, Evidence::Poll | Evidence::Operation));
    assert!(stage.graph.count(Route::Operation) >= 1);
    assert!(stage.graph.count(Route::Entry) >= 1);
    assert_eq!(stage.graph.count(Route::Unmute), 1);
    unmuted(&leg).await;
}

#[tokio::test]
async fn completed_and_unmuted_everything_said_twice_and_late() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let pending = leg.command(Action::Unmute);
    let post = leg.answered(Route::Unmute, 1).await;
    let roster = leg.next_delta(false);
    leg.tell(&[roster.clone(), roster.clone()]);
    assert_eq!(verdict(pending).await, by(Evidence::Roster));
    let late = leg.operation("op-1", Some(post.context()), "completed");
    leg.tell(&[late.clone(), roster, late]);
    // Everything told before is read before the answer to this command.
    assert_eq!(verdict(leg.command(Action::Unmute)).await, Verdict::Already);
    assert_eq!(stage.engine.metrics().late_evidence.get(), 2);
    unmuted(&leg).await;
}

#[tokio::test]
async fn completed_and_unmuted_a_full_roster_without_numbers_prompts_a_get() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    let pending = leg.command(Action::Unmute);
    leg.answered(Route::Unmute, 1).await;
    leg.reach(Phase::Unmuting).await;
    stage.graph.set_muted(false);
    leg.tell(&[leg.full(false)]);
    assert_eq!(verdict(pending).await, by(Evidence::Poll));
    assert_eq!(stage.graph.count(Route::Entry), 1);
    unmuted(&leg).await;
}

#[tokio::test]
async fn completed_and_unmuted_a_roster_from_before_the_post_proves_nothing() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let early = leg.next_delta(false);
    let muted = leg.next_delta(true);
    leg.tell(&[muted]);
    let pending = leg.command(Action::Unmute);
    leg.answered(Route::Unmute, 1).await;
    leg.tell(&[early]);
    leg.tell(&[leg.state("established")]);
    assert_eq!(leg.call.state().phase, Phase::Unmuting);
    leg.roster(false);
    assert_eq!(verdict(pending).await, by(Evidence::Roster));
    unmuted(&leg).await;
}

#[tokio::test]
async fn lost_operation_and_unmuted_the_answer_named_none() {
    for body in ["", "null", "no json", "{}"] {
        let stage = Stage::new(hasty).await;
        let mut leg = stage.established(true).await;
        stage.graph.once(Route::Unmute, Reply::new(200, body));
        let pending = leg.command(Action::Unmute);
        stage.graph.set_muted(false);
        stage.graph.answered(Route::Unmute, 1).await;
        leg.roster(false);
        // Without an operation only a GET proves that it is not the state from before.
        assert_eq!(verdict(pending).await, by(Evidence::Poll), "{body}");
        assert_eq!(stage.graph.count(Route::Unmute), 1, "{body}");
        assert_eq!(stage.graph.count(Route::Operation), 0, "{body}");
        unmuted(&leg).await;
    }
}

#[tokio::test]
async fn lost_operation_and_unmuted_graph_forgot_it() {
    let missing = [Reply::gone(), Reply::error(405, "BadRequest", "no GET")];
    for reply in missing {
        let stage = Stage::new(hasty).await;
        let mut leg = stage.established(true).await;
        stage.graph.once(Route::Unmute, Reply::operation("running"));
        stage.graph.always(Route::Operation, reply);
        let pending = leg.command(Action::Unmute);
        stage.graph.answered(Route::Unmute, 1).await;
        leg.roster(false);
        stage.graph.set_muted(false);
        assert!(matches!(
            verdict(pending).await,
            Verdict::Confirmed {
                roster: RosterSeen::Fresh,
                ..
            }
        ));
        unmuted(&leg).await;
    }
}

#[tokio::test]
async fn running_operation_and_unmuted_at_the_deadline() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    stage.graph.once(Route::Unmute, Reply::operation("running"));
    stage
        .graph
        .always(Route::Operation, Reply::operation("running"));
    let pending = leg.hurried(Action::Unmute);
    leg.answered(Route::Unmute, 1).await;
    leg.roster(false);
    assert_eq!(verdict(pending).await, by(Evidence::Roster));
    unmuted(&leg).await;
}

#[tokio::test]
async fn unreadable_operation_and_unmuted_the_post_was_reset() {
    for reply in [
        Reply::reset(),
        Reply::cut(),
        Reply::error(502, "BadGateway", "?"),
    ] {
        let stage = Stage::new(patient).await;
        let mut leg = stage.established(true).await;
        let gate = Gate::new();
        stage
            .graph
            .always(Route::Entry, Reply::entry(true).behind(&gate));
        stage.graph.once(Route::Unmute, reply.clone());
        let pending = leg.hurried(Action::Unmute);
        stage.graph.answered(Route::Unmute, 1).await;
        leg.roster(false);
        assert_eq!(verdict(pending).await, by(Evidence::Roster), "{reply:?}");
        assert_eq!(stage.graph.count(Route::Unmute), 1, "{reply:?}");
        unmuted(&leg).await;
    }
}

#[tokio::test]
async fn unknown_operation_and_unmuted_the_post_was_never_answered() {
    let limit = |config: &mut openmic_graph::GraphConfig| {
        config.request_timeout = Duration::from_secs(1);
    };
    let stage = Stage::with(|builder| builder.tune(hasty), limit).await;
    let leg = stage.established(true).await;
    stage.graph.once(Route::Unmute, Reply::silent());
    let pending = leg.command(Action::Unmute);
    stage.graph.received(Route::Unmute, 1).await;
    stage.graph.set_muted(false);
    assert_eq!(verdict(pending).await, by(Evidence::Poll));
    assert_eq!(stage.graph.count(Route::Unmute), 1);
    unmuted(&leg).await;
}

#[tokio::test]
async fn an_ambiguous_post_without_effect_is_sent_again() {
    let stage = Stage::new(hasty).await;
    let mut leg = stage.established(true).await;
    stage
        .graph
        .once(Route::Unmute, Reply::error(500, "oops", "oops"));
    let pending = leg.command(Action::Unmute);
    let second = stage.graph.answered(Route::Unmute, 2).await;
    let first = stage.graph.received(Route::Unmute, 1).await;
    assert_ne!(first.context(), second.context(), "a context is used once");
    leg.roster(false);
    assert!(verdict(pending).await.is_success());
    // Not before it was looked whether the first one had an effect.
    let look = stage.graph.received(Route::Entry, 1).await;
    assert!(first.answered.unwrap() < look.received);
    assert!(look.answered.unwrap() < second.received);
    unmuted(&leg).await;
}

#[tokio::test]
async fn completed_and_entry_cannot_be_read_at_all() {
    let unreadable = [
        Reply::error(500, "oops", "oops"),
        Reply::json(200, &json!({"id": "me"})),
        Reply::reset(),
    ];
    let each = unreadable.map(async |reply| {
        let stage = Stage::new(hasty).await;
        let leg = stage.established(true).await;
        stage.graph.always(Route::Entry, reply.clone());
        let oops = Reply::error(500, "oops", "oops");
        stage.graph.always(Route::List, oops);
        let verdict = verdict(leg.command(Action::Unmute)).await;
        assert!(unseen(&verdict), "{reply:?}: {verdict:?}");
        assert_eq!(stage.graph.count(Route::Entry), 3, "{reply:?}");
        unmuted(&leg).await;
    });
    futures_util::future::join_all(each).await;
}
