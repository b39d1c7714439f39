//! Letters are read where they are brought, and those that come at once are read all the same.

use std::sync::Barrier;

use futures_util::FutureExt as _;
use openmic_machine::Phase;
use openmic_model::{Action, Verdict};

use super::graph::Route;
use super::stage::{Stage, patient, verdict, within};
use crate::CommandOptions;
use crate::mail::CAPACITY;

#[tokio::test]
async fn the_last_evidence_settles_where_it_is_brought() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let unmute = leg.command(Action::Unmute);
    leg.answered(Route::Unmute, 1).await;
    assert!(!leg.call.shared.mail.is_asleep(), "it waits for the roster");
    leg.roster(false);
    let outcome = unmute.outcome().now_or_never().expect("nothing ran since");
    assert!(outcome.unwrap().verdict.is_success());
    // Also where there is no runtime.
    let mute = leg.command(Action::Mute);
    leg.answered(Route::Mute, 1).await;
    let mute = std::thread::scope(|scope| {
        let brought = scope.spawn(|| {
            leg.roster(true);
            mute.outcome().now_or_never().expect("nothing ran since")
        });
        brought.join().unwrap()
    });
    assert!(mute.unwrap().verdict.is_success());
    leg.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_comes_at_once_is_read_by_somebody() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 50;
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let unmute = leg.command(Action::Unmute);
    leg.answered(Route::Unmute, 1).await;
    // They wait for the same roster, as many as may.
    let mut others = Vec::new();
    for _ in 0..ROUNDS {
        let barrier = Barrier::new(THREADS);
        let call = &leg.call;
        let brought = std::thread::scope(|scope| {
            let bring = || {
                barrier.wait();
                call.command(Action::Unmute, CommandOptions::default())
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(bring)).collect();
            let brought = threads.into_iter().map(|thread| thread.join().unwrap());
            brought.collect::<Result<Vec<_>, _>>().unwrap()
        });
        others.extend(brought);
        within(async {
            while call.shared.mail.capacity() < CAPACITY {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    leg.roster(false);
    assert!(verdict(unmute).await.is_success());
    for other in others {
        let verdict = verdict(other).await;
        let too_many = matches!(verdict, Verdict::Refused { status: 409, .. });
        assert!(too_many || verdict.is_success(), "{verdict:?}");
    }
    leg.reach(Phase::Unmuted).await;
    leg.end().await;
}
