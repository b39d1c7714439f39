use std::sync::Arc;

use openmic_model::{CallId, Roster, RosterVersion, Version};

use super::{MAX_EVENTS, MAX_VERSIONS, Pending, Slot, State};
use crate::frame::CallFrame;

fn id() -> CallId {
    CallId::parse("c").unwrap()
}

fn pending(state: &State) -> usize {
    state.live.as_ref().map_or(0, |live| live.pending.len())
}

fn version(seq: u64) -> RosterVersion {
    RosterVersion {
        call: id(),
        version: Version { epoch: 1, seq },
        roster: Arc::new(Roster::default()),
        changes: Arc::new([]),
    }
}

fn call() -> Pending {
    Pending::Call(CallFrame {
        state: "muted",
        result: None,
    })
}

fn sequence(pending: &[Pending]) -> Vec<Option<u64>> {
    let seq = |pending: &Pending| match pending {
        Pending::Version(version, _) => Some(version.version.seq),
        _ => None,
    };
    pending.iter().map(seq).collect()
}

#[test]
fn unwatched_only_the_newest_is_kept() {
    let mut state = State::default();
    for seq in 1..10 {
        assert!(!state.publish(version(seq)).wake);
        assert!(!state.event(call));
    }
    assert!(state.take().is_none());
    assert!(state.live.is_none());
    let start = state.watch(3, &id());
    assert_eq!(start.latest.unwrap().version.seq, 9);
}

#[test]
fn the_shard_is_told_once_and_gets_all_in_order() {
    let mut state = State::default();
    state.watch(3, &id());
    assert!(state.publish(version(1)).wake);
    assert!(!state.event(call));
    assert!(!state.publish(version(2)).wake);
    let taken = state.take().unwrap();
    assert_eq!(taken.feed, 3);
    assert_eq!(sequence(&taken.pending), [Some(1), None, Some(2)]);
    assert!(state.publish(version(3)).wake);
    // taken early, it still stands in the shard's list
    assert_eq!(state.take_early().unwrap().pending.len(), 1);
    assert!(!state.publish(version(4)).wake);
}

#[test]
fn too_many_versions_leave_the_newest_and_the_events() {
    let mut state = State::default();
    state.watch(0, &id());
    let full = MAX_VERSIONS as u64;
    for seq in 1..=full {
        state.publish(version(seq));
    }
    state.event(call);
    assert_eq!(pending(&state), MAX_VERSIONS + 1);
    let published = state.publish(version(full + 1));
    assert_eq!(published.skipped.len(), MAX_VERSIONS);
    let taken = state.take().unwrap();
    assert_eq!(sequence(&taken.pending), [None, Some(full + 1)]);
    assert!(!taken.events_lost);
}

#[test]
fn too_many_events_are_told() {
    let mut state = State::default();
    state.watch(0, &id());
    for _ in 0..=MAX_EVENTS {
        state.event(call);
    }
    let taken = state.take().unwrap();
    assert_eq!(taken.pending.len(), MAX_EVENTS);
    assert!(taken.events_lost);
    assert!(state.event(call), "it goes on");
    assert!(!state.take().unwrap().events_lost);
}

#[test]
fn the_end_is_told_to_watchers() {
    let mut state = State::default();
    assert!(!state.end());
    assert!(state.watch(0, &id()).ended);
    let mut state = State::default();
    state.watch(0, &id());
    assert!(state.end());
    assert!(state.take().unwrap().ended);
}

#[test]
fn who_is_not_watched_keeps_nothing_for_it() {
    let mut state = State::default();
    state.watch(3, &id());
    state.publish(version(1));
    state.event(call);
    assert_eq!(state.unwatch().len(), 2);
    assert!(state.live.is_some(), "it stands in the shard's list");
    assert!(!state.publish(version(2)).wake);
    state.watch(4, &id());
    assert!(!state.publish(version(3)).wake, "and not twice");
    assert_eq!(state.take().unwrap().feed, 4);
    assert!(state.unwatch().is_empty());
    assert!(state.live.is_none());
}

#[test]
fn nothing_is_left_of_a_watch_that_ended_while_the_shard_was_told() {
    let mut state = State::default();
    state.watch(3, &id());
    state.publish(version(1));
    state.unwatch();
    assert!(state.take().is_none());
    assert!(state.live.is_none());
}

#[test]
fn an_unwatched_topic_is_small() {
    assert!(size_of::<Slot>() <= 112, "{}", size_of::<Slot>());
}
