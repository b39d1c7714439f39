use openmic_machine::Phase;
use openmic_model::{Action, Verdict};

use crate::tests::graph::{Reply, Route};
use crate::tests::stage::{Stage, hasty, patient, verdict};

#[tokio::test]
async fn completed_and_still_muted_after_three_gets() {
    let stage = Stage::new(hasty).await;
    let leg = stage.established(true).await;
    let verdict = verdict(leg.command(Action::Unmute)).await;
    assert_eq!(verdict, Verdict::Unconfirmed);
    assert_eq!(stage.graph.count(Route::Entry), 3);
    assert_eq!(stage.graph.count(Route::Unmute), 1);
    assert_eq!(leg.call.state().phase, Phase::Muted);
    leg.end().await;
}

#[tokio::test]
async fn completed_and_still_muted_by_numbered_rosters_too() {
    let stage = Stage::new(hasty).await;
    let mut leg = stage.established(true).await;
    let pending = leg.command(Action::Unmute);
    stage.graph.answered(Route::Unmute, 1).await;
    leg.roster(true);
    assert_eq!(verdict(pending).await, Verdict::Unconfirmed);
    leg.end().await;
}

#[tokio::test]
async fn unknown_and_unknown_nothing_can_be_read() {
    let stage = Stage::new(hasty).await;
    let leg = stage.established(true).await;
    let oops = Reply::error(500, "oops", "oops");
    for route in [Route::Entry, Route::List, Route::Operation] {
        stage.graph.always(route, oops.clone());
    }
    for reply in [Reply::reset(), oops, Reply::silent()] {
        stage.graph.once(Route::Unmute, reply);
        let verdict = verdict(leg.hurried(Action::Unmute)).await;
        assert_eq!(verdict, Verdict::Unconfirmed);
    }
    assert_eq!(stage.graph.count(Route::Unmute), 3);
    leg.end().await;
}

#[tokio::test]
async fn unknown_and_unknown_running_for_ever() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    stage.graph.once(Route::Unmute, Reply::operation("running"));
    let pending = leg.hurried(Action::Unmute);
    assert_eq!(verdict(pending).await, Verdict::Unconfirmed);
    leg.end().await;
}

#[tokio::test]
async fn unknown_and_still_muted_after_three_posts() {
    let stage = Stage::new(hasty).await;
    let leg = stage.established(true).await;
    let oops = Reply::error(504, "oops", "oops");
    stage.graph.always(Route::Unmute, oops);
    let pending = leg.command(Action::Unmute);
    assert_eq!(verdict(pending).await, Verdict::Unconfirmed);
    let posts = stage.graph.seen(Route::Unmute);
    let mut contexts: Vec<_> = posts.iter().map(|post| post.context().to_owned()).collect();
    contexts.dedup();
    assert_eq!(contexts.len(), 3, "{contexts:?}");
    leg.end().await;
}
