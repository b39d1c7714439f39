//! The merged roster: order, holes, leaves, and rosters that say little.

use openmic_model::{
    Action, Change, DeltaEntry, Evidence, OperationStatus, Participant, RosterUpdate,
};
use proptest::prelude::*;

use super::rig::{
    Rig, confirmed, count, delta, entry, full, me, millis, own, person, plain_roster, secs,
};
use crate::merge::Merge;
use crate::{Effect, Event, Phase, Read, Timer};

fn left(id: &str, number: u64) -> Event {
    Event::RosterNotice(RosterUpdate::Delta {
        sequence_number: None,
        entries: vec![DeltaEntry {
            participant: person(id, number),
            removed: true,
        }],
    })
}

fn joined(id: &str, number: u64) -> Event {
    Event::RosterNotice(RosterUpdate::Delta {
        sequence_number: None,
        entries: vec![DeltaEntry {
            participant: person(id, number),
            removed: false,
        }],
    })
}

fn has(rig: &Rig, id: &str) -> bool {
    rig.machine.roster().get(&person(id, 0).id).is_some()
}

fn rereads(rig: &mut Rig) -> usize {
    let reads = |effect: &Effect| matches!(effect, Effect::ReadRoster { .. });
    let effects = rig.pass(secs(1));
    count(&effects, reads)
}

#[test]
fn who_left_does_not_come_back_by_an_older_update() {
    let mut rig = Rig::at_rest(true);
    rig.fire(joined("bob", 11));
    rig.fire(left("bob", 13));
    rig.fire(joined("bob", 12));
    assert!(!has(&rig, "bob"));
    rig.fire(joined("bob", 14));
    assert!(has(&rig, "bob"));
    rig.fire(left("bob", 13));
    assert!(has(&rig, "bob"), "an older leave says nothing");
}

#[test]
fn numbers_that_went_back_are_believed_when_two_gets_say_so() {
    let mut rig = Rig::at_rest(true);
    // The meeting's numbers stood high; then it moved to a server that counts anew.
    rig.roster(&[own(false, 9_007_199_254_740_000)]);
    assert_eq!(rig.phase(), Phase::Unmuted);
    rig.command(Action::Mute);
    rig.answered(OperationStatus::Completed);
    rig.pass(secs(2));
    rig.own_read(true, 12);
    rig.open(rig.latest);
    assert!(
        rig.machine
            .roster()
            .get(&me())
            .is_some_and(|own| !own.is_muted),
        "one may lag"
    );
    rig.pass(millis(500));
    rig.own_read(true, 12);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Poll));
    assert_eq!(rig.phase(), Phase::Muted);
    // From here on the new numbers count.
    rig.roster(&[own(false, 13)]);
    assert_eq!(rig.phase(), Phase::Unmuted);
}

#[test]
fn one_get_with_an_older_number_changes_nothing_but_asks_again() {
    let mut rig = Rig::at_rest(true);
    rig.roster(&[person("bob", 40)]);
    rig.fire(Event::Tick);
    let query = {
        rig.pass(secs(700));
        rig.last_query()
    };
    let read = Read::Found(vec![own(true, 1), person("bob", 39)]);
    rig.fire(Event::RosterRead { query, read });
    let bob = person("bob", 0).id;
    let number = rig
        .machine
        .roster()
        .get(&bob)
        .unwrap()
        .roster_sequence_number;
    assert_eq!(number, Some(40));
    assert_eq!(rereads(&mut rig), 1);
}

#[test]
fn who_was_never_seen_and_left_does_not_come_either() {
    let mut rig = Rig::at_rest(true);
    rig.fire(left("bob", 13));
    rig.fire(joined("bob", 12));
    assert!(!has(&rig, "bob"));
}

#[test]
fn a_whole_roster_buries_those_it_does_not_list() {
    let mut rig = Rig::at_rest(true);
    rig.fire(full(&[own(true, 10), person("cat", 20)]));
    assert!(!has(&rig, "ann"));
    rig.fire(joined("ann", 12));
    rig.fire(joined("dan", 15));
    assert!(!has(&rig, "ann") && !has(&rig, "dan"), "gone by then");
    rig.fire(joined("ann", 21));
    assert!(has(&rig, "ann"));
    rig.fire(full(&[own(true, 10), person("eve", 18)]));
    assert!(has(&rig, "ann") && has(&rig, "cat") && !has(&rig, "eve"));
}

#[test]
fn the_own_entry_does_not_leave_by_absence() {
    let mut rig = Rig::at_rest(true);
    rig.fire(full(&[person("ann", 30)]));
    assert!(has(&rig, "me"));
    assert_eq!(rereads(&mut rig), 1, "but it is asked for");
    rig.fire(left("me", 31));
    assert!(!has(&rig, "me"), "by word it does");
    assert_eq!(rig.phase(), Phase::Muted);
}

#[test]
fn an_array_that_may_be_shortened_is_checked_and_undone() {
    let mut rig = Rig::at_rest(true);
    rig.fire(joined("bob", 12));
    rig.fire(full(&[own(true, 13)]));
    assert_eq!(rereads(&mut rig), 1);
    let query = rig.last_query();
    let read = Read::Found(vec![own(true, 13), person("ann", 9), person("bob", 12)]);
    rig.fire(Event::RosterRead { query, read });
    assert!(has(&rig, "ann") && has(&rig, "bob"));
}

#[test]
fn the_newest_who_leaves_in_a_whole_roster_is_checked() {
    let mut rig = Rig::at_rest(true);
    rig.fire(full(&[own(true, 10), person("ann", 9), person("bob", 12)]));
    rig.pass(secs(1));
    rig.fire(full(&[own(true, 10), person("ann", 9)]));
    assert!(
        has(&rig, "bob"),
        "bob may have come after this array was made"
    );
    assert_eq!(rereads(&mut rig), 1);
    let query = rig.last_query();
    let read = Read::Found(vec![own(true, 10), person("ann", 9)]);
    rig.fire(Event::RosterRead { query, read });
    assert!(!has(&rig, "bob"));
}

#[test]
fn a_hole_in_the_deltas_is_repaired_by_a_read_unless_it_fills() {
    let mut rig = Rig::at_rest(true);
    rig.fire(delta(3, &[person("bob", 12)]));
    assert!(has(&rig, "bob"), "merged at once");
    rig.pass(millis(400));
    rig.fire(delta(2, &[person("cat", 11)]));
    assert_eq!(rereads(&mut rig), 0);

    rig.fire(delta(5, &[person("dan", 14)]));
    let effects = rig.pass(millis(500));
    assert!(effects.contains(&Effect::Resync));
    // The read fails; it is needed, so it is made again.
    let query = rig.last_query();
    rig.fire(Event::RosterRead {
        query,
        read: Read::Failed,
    });
    rig.pass(millis(4900));
    assert_eq!(rereads(&mut rig), 1);
    let query = rig.last_query();
    let read = Read::Found(vec![own(true, 10), person("eve", 13), person("dan", 14)]);
    rig.fire(Event::RosterRead { query, read });
    assert!(has(&rig, "eve"));
    assert_eq!(rereads(&mut rig), 0);
}

#[test]
fn a_hole_too_wide_to_remember_needs_a_read() {
    let mut rig = Rig::at_rest(true);
    rig.fire(delta(100, &[person("bob", 12)]));
    for number in 2..40 {
        rig.fire(delta(number, &[]));
    }
    assert_eq!(rereads(&mut rig), 1);
    rig.fire(delta(u64::MAX, &[]));
    rig.fire(delta(u64::MAX, &[]));
    assert_eq!(rereads(&mut rig), 1);
}

#[test]
fn a_doubt_before_established_is_looked_at_too() {
    let mut rig = Rig::start(Rig::plain());
    rig.fire(delta(4, &[person("bob", 12)]));
    assert_eq!(rereads(&mut rig), 1);
}

#[test]
fn two_rosters_without_numbers_within_a_second_are_doubtful() {
    let mut rig = Rig::at_rest(true);
    rig.fire(plain_roster(true));
    assert_eq!(rereads(&mut rig), 0);
    rig.fire(plain_roster(true));
    rig.fire(plain_roster(false));
    assert_eq!(rereads(&mut rig), 1);
    let query = rig.last_query();
    // Another one overtakes the GET: nothing tells which is newer, so it is asked again.
    rig.fire(plain_roster(true));
    let read = Read::Found(vec![entry("me", false, None), entry("ann", false, None)]);
    rig.fire(Event::RosterRead {
        query,
        read: read.clone(),
    });
    assert_eq!(rig.phase(), Phase::Muted);
    assert!(rereads(&mut rig) >= 1);
    let query = rig.last_query();
    rig.fire(Event::RosterRead { query, read });
    assert_eq!(rig.phase(), Phase::Unmuted);
}

#[test]
fn what_a_read_without_numbers_states_is_older_than_what_came_meanwhile() {
    let mut rig = Rig::at_rest(true);
    rig.fire(Event::Timer(Timer::Gap));
    let query = rig.last_query();
    rig.roster(&[own(false, 11), person("bob", 12)]);
    let read = Read::Found(vec![entry("me", true, None), entry("ann", false, None)]);
    rig.fire(Event::RosterRead { query, read });
    assert_eq!(rig.phase(), Phase::Unmuted);
    assert!(has(&rig, "bob"));
    // And newer than what was sent before it.
    rig.fire(Event::Timer(Timer::Gap));
    let query = rig.last_query();
    let read = Read::Found(vec![entry("me", true, None), entry("ann", false, None)]);
    rig.fire(Event::RosterRead { query, read });
    assert_eq!(rig.phase(), Phase::Muted);
    rig.fire(delta(1, &[own(false, 11), person("bob", 12)]));
    assert_eq!(rig.phase(), Phase::Muted);
    assert!(!has(&rig, "bob"));
}

/// A history of one meeting: at each number one participant changed or left.
#[derive(Debug, Clone)]
struct Meeting {
    steps: Vec<(usize, bool, bool)>,
}

const IDS: [&str; 5] = ["me", "ann", "bob", "cat", "dan"];

impl Meeting {
    /// Everybody after the first `upto` steps.
    fn after(&self, upto: usize) -> Vec<Participant> {
        let mut all: [Option<Participant>; IDS.len()] = [const { None }; IDS.len()];
        for (at, (who, muted, leaves)) in self.steps.iter().take(upto).enumerate() {
            let leaves = *leaves && *who != 0;
            all[*who] = (!leaves).then(|| entry(IDS[*who], *muted, Some(at as u64 + 1)));
        }
        all.into_iter().flatten().collect()
    }

    /// The update that step `at` sends: a delta, or everybody. A leave shows in no number of
    /// those who stay, so only a delta orders it.
    fn update(&self, at: usize, whole: bool) -> RosterUpdate {
        let number = at as u64 + 1;
        let (who, muted, leaves) = self.steps[at];
        let everybody = self.after(at + 1);
        if whole && !(leaves && who != 0) {
            return RosterUpdate::Full(everybody);
        }
        RosterUpdate::Delta {
            sequence_number: Some(number),
            entries: vec![DeltaEntry {
                participant: entry(IDS[who], muted, Some(number)),
                removed: leaves && who != 0,
            }],
        }
    }
}

fn meetings() -> impl Strategy<Value = Meeting> {
    proptest::collection::vec((0..IDS.len(), any::<bool>(), any::<bool>()), 1..14)
        .prop_map(|steps| Meeting { steps })
}

fn held(merge: &Merge) -> Vec<Participant> {
    merge.roster().iter().map(|held| (**held).clone()).collect()
}

fn sorted(mut all: Vec<Participant>) -> Vec<Participant> {
    all.sort_by(|one, other| one.id.cmp(&other.id));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Any order with any repetition gives the roster of the meeting, and never somebody who
    /// left by what was already merged.
    #[test]
    fn numbered_updates_commute_and_are_idempotent(
        meeting in meetings(),
        wholes in proptest::collection::vec(any::<bool>(), 14),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
        shuffle in any::<u64>(),
    ) {
        let mut updates: Vec<RosterUpdate> = (0..meeting.steps.len())
            .map(|at| meeting.update(at, wholes[at]))
            .collect();
        for index in order {
            let again = index.get(&updates).clone();
            updates.push(again);
        }
        let mut random = shuffle;
        for at in (1..updates.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let other = usize::try_from(random >> 33).unwrap() % (at + 1);
            updates.swap(at, other);
        }
        let mut merge = Merge::default();
        let mine = me();
        for update in &updates {
            let mut after = (**merge.roster()).clone();
            let merged = merge.notice(update, Some(&mine));
            for change in &merged.changes {
                after.apply(change);
            }
            prop_assert_eq!(&after, &**merge.roster());
            let again = merge.notice(update, Some(&mine));
            prop_assert_eq!(again.changes, Vec::<Change>::new());
        }
        prop_assert_eq!(held(&merge), sorted(meeting.after(meeting.steps.len())));
    }

    /// Updates are lost at will; one GET begun after them gives everybody.
    #[test]
    fn a_read_repairs_whatever_was_lost(
        meeting in meetings(),
        come in proptest::collection::vec(any::<(bool, bool)>(), 14),
        numbered in any::<bool>(),
    ) {
        let mut rig = Rig::at_rest(true);
        for (at, (comes, whole)) in come.into_iter().enumerate().take(meeting.steps.len()) {
            if comes {
                rig.fire(Event::RosterNotice(shifted(meeting.update(at, whole))));
            }
        }
        rig.pass(secs(3));
        rig.fire(Event::Timer(Timer::Gap));
        let query = rig.last_query();
        let mut truth: Vec<Participant> = meeting
            .after(meeting.steps.len())
            .into_iter()
            .map(raised)
            .collect();
        if !truth.iter().any(|entry| entry.id == me()) {
            truth.push(own(true, 10));
        }
        if !numbered {
            for entry in &mut truth {
                entry.roster_sequence_number = None;
            }
        }
        rig.fire(Event::RosterRead { query, read: Read::Found(truth.clone()) });
        let muted = |all: Vec<Participant>| -> Vec<_> {
            sorted(all).into_iter().map(|one| (one.id, one.is_muted)).collect()
        };
        let seen = rig.machine.roster().iter().map(|one| (**one).clone()).collect();
        prop_assert_eq!(muted(seen), muted(truth));
        rig.pass(secs(1));
    }
}

/// The rig's own call begins with numbers up to 10.
fn raised(mut entry: Participant) -> Participant {
    entry.roster_sequence_number = entry.roster_sequence_number.map(|number| number + 20);
    entry
}

fn shifted(update: RosterUpdate) -> RosterUpdate {
    match update {
        RosterUpdate::Full(entries) => {
            RosterUpdate::Full(entries.into_iter().map(raised).collect())
        }
        RosterUpdate::Delta {
            sequence_number,
            entries,
        } => RosterUpdate::Delta {
            sequence_number: sequence_number.map(|number| number + 1),
            entries: entries
                .into_iter()
                .map(|entry| DeltaEntry {
                    participant: raised(entry.participant),
                    removed: entry.removed,
                })
                .collect(),
        },
    }
}

#[test]
fn more_who_left_than_can_be_remembered_need_a_read_and_none_comes_back() {
    let mut rig = Rig::at_rest(true);
    for number in 0..256 {
        rig.fire(left(&format!("p{number}"), 100 + number));
    }
    assert_eq!(rereads(&mut rig), 0);
    rig.fire(left("p256", 400));
    rig.fire(joined("p0", 99));
    assert!(!has(&rig, "p0"), "forgotten, and gone nevertheless");
    assert_eq!(rereads(&mut rig), 1);
    // Somebody whose update came late was kept out by it; the read brings them.
    rig.fire(joined("late", 98));
    assert!(!has(&rig, "late"));
    let query = rig.last_query();
    let read = Read::Found(vec![own(true, 10), person("ann", 9), person("late", 98)]);
    rig.fire(Event::RosterRead { query, read });
    assert!(has(&rig, "late") && !has(&rig, "p0"));
    // What the read settled is remembered by one number: there is room again.
    for number in 0..250 {
        rig.fire(left(&format!("q{number}"), 500 + number));
    }
    assert_eq!(rereads(&mut rig), 0);
}

#[test]
fn while_somebody_watches_the_roster_is_read_every_minute() {
    let mut rig = Rig::at_rest(true);
    assert_eq!(rig.pass(secs(200)), [], "nobody watches");
    rig.fire(Event::Watched(true));
    let reads = |effects: &[Effect]| count(effects, |e| matches!(e, Effect::ReadRoster { .. }));
    assert_eq!(reads(&rig.pass(secs(59))), 0);
    // A second one who watches changes nothing.
    rig.fire(Event::Watched(true));
    assert_eq!(reads(&rig.pass(secs(1))), 1);
    // The lost notification is found.
    let query = rig.last_query();
    let read = Read::Found(vec![own(false, 20), person("ann", 9)]);
    rig.fire(Event::RosterRead { query, read });
    assert_eq!(rig.phase(), Phase::Unmuted);
    assert_eq!(reads(&rig.pass(secs(60))), 1);
    let query = rig.last_query();
    rig.fire(Event::RosterRead {
        query,
        read: Read::Failed,
    });
    assert_eq!(
        reads(&rig.pass(secs(5))),
        1,
        "one that failed is made again"
    );
    rig.fire(Event::Watched(false));
    let query = rig.last_query();
    let read = Read::Found(vec![own(false, 20), person("ann", 9)]);
    rig.fire(Event::RosterRead { query, read });
    assert_eq!(reads(&rig.pass(secs(120))), 0);
}
