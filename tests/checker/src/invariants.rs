//! The invariants, each one function over what is known of a call and the next event.

use std::fmt;

use crate::call::Call;
use crate::history::{Gauge, What};

mod posts;
mod process;
mod rosters;
mod truth;
mod verdicts;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Breach {
    /// Which: `I-2`.
    pub invariant: &'static str,
    /// What was seen.
    pub why: String,
    /// Of which call, where the checker judges many.
    pub call: Option<String>,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.why)?;
        if let Some(call) = &self.call {
            write!(f, " (call {call})")?;
        }
        Ok(())
    }
}

impl Breach {
    pub(crate) fn of(self, call: &str) -> Self {
        Self {
            call: Some(call.to_owned()),
            ..self
        }
    }
}

/// What is bounded, and how long what takes time may take. All times in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Beyond a command's own time, with the process up and nothing broken. Default 5 s.
    pub settle: u64,
    /// From the last change to the roster that every subscriber holds. Default 60 s, as when every
    /// notification was lost.
    pub converge: u64,
    /// From learning that the call is over to the end of its commands. Default 1 s.
    pub end: u64,
    /// POSTs for one command that may have reached Graph. Default 3.
    pub attempts: u8,
    /// Commands open at once. Default 33: the machine's own beside 32 of the bot's.
    pub open: u32,
    /// Parked notifications. Default 16.
    pub parked: u32,
    /// Deltas in the ring. Default 256.
    pub ring: u32,
    /// Effects behind a record. Default 1,024.
    pub outbox: u32,
    /// Events that wait. Default 64.
    pub mailbox: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            settle: 5_000_000,
            converge: 60_000_000,
            end: 1_000_000,
            attempts: 3,
            open: 33,
            parked: 16,
            ring: 256,
            outbox: 1024,
            mailbox: 64,
        }
    }
}

impl Limits {
    pub(crate) const fn of(&self, gauge: Gauge) -> u32 {
        match gauge {
            Gauge::Open => self.open,
            Gauge::Parked => self.parked,
            Gauge::Ring => self.ring,
            Gauge::Outbox => self.outbox,
            Gauge::Mailbox => self.mailbox,
        }
    }
}

/// One invariant, for people.
#[derive(Debug, Clone, Copy)]
pub struct Invariant {
    /// Its number.
    pub id: &'static str,
    /// What must hold.
    pub says: &'static str,
}

/// Every invariant that is judged here.
///
/// What cannot be judged on a history is judged elsewhere: that merging commutes (I-13) by
/// property tests of the machine, that memory and times stay bounded (I-20 to I-22) by benches,
/// that tenants are kept apart and secrets unseen (I-24 to I-27) by the tests of the edge.
pub const INVARIANTS: [Invariant; 22] = [
    say(
        "I-1",
        "what was acknowledged is durable, and never forgotten",
    ),
    say(
        "I-2",
        "a command has one verdict, durable before anybody is told",
    ),
    say(
        "I-3",
        "no command stays open longer than it may, once nothing breaks",
    ),
    say(
        "I-4",
        "every POST has a durable intent, and no client context is used twice",
    ),
    say(
        "I-5",
        "three POSTs at most for one command, and none blindly after another",
    ),
    say(
        "I-6",
        "confirmed and already are true, and no older POST undoes them",
    ),
    say("I-7", "expired was never sent, refused was refused"),
    say("I-8", "no POST without a command that waits for it"),
    say("I-9", "one mute or unmute of a call at a time"),
    say("I-10", "no subscriber goes backwards"),
    say("I-11", "no delta skips a version"),
    say(
        "I-12",
        "whoever applies the deltas holds the roster of the frame",
    ),
    say("I-14", "every subscriber comes to hold the true roster"),
    say("I-15", "who left does not come back by older news"),
    say(
        "I-16",
        "epochs never fall along the journal, and frames are of the latest",
    ),
    say("I-19", "what is bounded stays within its bound"),
    say("I-23", "no POST before Graph's Retry-After"),
    say("I-28", "recovering again changes nothing"),
    say(
        "I-30",
        "nothing is sent for a call that is over, and its commands end at once",
    ),
    say(
        "I-31",
        "a jump of the wall clock shortens no command that no crash interrupted",
    ),
    say(
        "I-34",
        "with the disk full what was accepted still gets its recorded verdict",
    ),
    say(
        "W-1",
        "the bot is muted once the time its unmute may speak is over",
    ),
];

const fn say(id: &'static str, says: &'static str) -> Invariant {
    Invariant { id, says }
}

/// What an invariant answers.
pub(crate) type Judged = Result<(), Breach>;

/// `Ok` when `holds`; else a breach that says why.
#[inline]
pub(crate) fn demand(holds: bool, invariant: &'static str, why: impl FnOnce() -> String) -> Judged {
    if holds {
        return Ok(());
    }
    Err(Breach {
        invariant,
        why: why(),
        call: None,
    })
}

/// Every invariant that `what` may break, before it is folded into `call`.
#[inline]
pub(crate) fn judge(call: &Call, limits: &Limits, what: &What) -> Judged {
    match what {
        What::Acknowledged { .. } => verdicts::i1_acknowledged_is_durable(call, what),
        What::Forgotten { .. } => verdicts::i1_never_forgotten(call, what),
        What::Told { .. } => {
            verdicts::i2_one_verdict(call, what)?;
            verdicts::i2_durable_before_told(call, what)?;
            verdicts::i34_recorded_though_full(call, what)?;
            decided(call, limits, what)
        }
        What::Written(_) => {
            verdicts::i2_one_verdict(call, what)?;
            rosters::i16_epochs_never_fall(call, what)?;
            decided(call, limits, what)
        }
        What::Sent { .. } => {
            posts::i4_intent_before_post(call, what)?;
            posts::i5_no_blind_repeat(call, limits, what)?;
            posts::i8_somebody_waits(call, what)?;
            posts::i9_one_in_flight(call, what)?;
            posts::i23_retry_after(call, what)?;
            process::i30_nothing_after_the_end(call, what)
        }
        What::Reached { .. } => posts::i4_graph_saw_an_intent(call, what),
        What::Took { .. } => truth::i6_nothing_undoes_it(call, what),
        What::Frame { .. } => {
            rosters::i10_never_backwards(call, what)?;
            rosters::i11_no_gap(call, what)?;
            rosters::i12_same_roster(call, what)?;
            rosters::i16_frames_of_the_epoch(call, what)
        }
        What::Shown { .. } => rosters::i15_the_gone_stay_gone(call, what),
        What::Level { .. } => process::i19_bounded(limits, what),
        What::Recovered { .. } => process::i28_recovery_is_idempotent(call, what),
        What::Accepted { .. }
        | What::Answered { .. }
        | What::Operation { .. }
        | What::Asked { .. }
        | What::Showed { .. }
        | What::Lied { .. }
        | What::Durable { .. }
        | What::DiskFull(_)
        | What::Roster { .. }
        | What::Ended
        | What::Crashed { .. }
        | What::Jumped(_)
        | What::Calm
        | What::Joined { .. }
        | What::Left { .. } => Ok(()),
    }
}

/// What is judged when a verdict is first seen, written or told.
fn decided(call: &Call, limits: &Limits, what: &What) -> Judged {
    let Some(decision) = verdicts::Decision::of(call, what) else {
        return Ok(());
    };
    truth::i6_confirmed_is_true(call, &decision)?;
    truth::i6_already_is_true(call, &decision)?;
    truth::i7_expired_was_never_sent(call, &decision)?;
    truth::i7_refused_was_refused(call, &decision)?;
    verdicts::i3_in_time(call, limits, &decision)?;
    process::i30_ended_at_once(call, limits, &decision)?;
    verdicts::i31_no_jump_shortens(call, &decision)
}

/// What is judged when a history is over.
pub(crate) fn at_the_end(call: &Call, limits: &Limits) -> Judged {
    verdicts::i3_nothing_stays_open(call, limits)?;
    verdicts::i34_all_recorded(call, limits)?;
    rosters::i14_converged(call, limits)?;
    truth::w1_muted_when_its_time_is_over(call, limits)
}
