//! Every event worth telling apart.

use openmic_model::{
    Action, CallFacts, CallKind, CallState, CommandId, OperationStatus, Participant, RosterUpdate,
};

use super::super::rig::{
    Rig, created, delta, entry, facts, full, operation, own, person, plain_roster, secs, terminated,
};
use crate::{Ack, Event, PostOutcome, Read, Refusal, Timer};

/// Names that [`Event::name`] knows, but for `Tick`'s timers that are listed one by one.
pub(super) const NAMES: &[&str] = &[
    "Created",
    "CreateFailed",
    "Command(Mute)",
    "Command(Unmute)",
    "HangUp",
    "Posted",
    "OperationRead",
    "SelfRead",
    "RosterRead",
    "CallRead",
    "KeptAlive",
    "HungUp",
    "CallNotice",
    "RosterNotice",
    "OperationNotice",
    "Tick",
    "Timer(Patience)",
    "Timer(Operation)",
    "Timer(Roster)",
    "Timer(Backoff)",
    "Timer(LastLook)",
    "Timer(Command)",
    "Timer(KeepAlive)",
    "Timer(Window)",
    "Timer(Audit)",
    "Timer(Verify)",
    "Watched",
    "Timer(Gap)",
    "Timer(Parting)",
];

pub(crate) struct Trigger {
    pub(super) name: &'static str,
    /// What the diagram calls it.
    pub(super) arrow: &'static str,
    pub(crate) make: Box<dyn Fn(&Rig) -> Event>,
}

impl Trigger {
    pub(super) fn event_name(&self) -> &'static str {
        (self.make)(&Rig::at_rest(true)).name()
    }
}

pub(crate) fn create_failed(definite: bool) -> Event {
    Event::CreateFailed {
        refusal: Refusal::new(504, "timeout", "no answer"),
        definite,
    }
}

fn trigger(
    name: &'static str,
    arrow: &'static str,
    make: impl Fn(&Rig) -> Event + 'static,
) -> Trigger {
    Trigger {
        name,
        arrow,
        make: Box::new(make),
    }
}

fn command(action: Action) -> Event {
    Event::Command {
        id: CommandId::new(99),
        action,
        within: secs(30),
        speak_for: None,
    }
}

fn posted(rig: &Rig, outcome: PostOutcome) -> Event {
    Event::Posted {
        attempt: rig.last_post().0,
        outcome,
    }
}

fn answer(status: OperationStatus) -> impl Fn(&Rig) -> Event {
    move |rig| posted(rig, PostOutcome::Answered(rig.operation(status)))
}

fn operation_read(rig: &Rig, read: Read<openmic_model::Operation>) -> Event {
    Event::OperationRead {
        query: rig.last_query(),
        read,
    }
}

fn self_read(rig: &Rig, read: Read<Box<Participant>>) -> Event {
    Event::SelfRead {
        query: rig.last_query(),
        read,
    }
}

fn roster_read(rig: &Rig, read: Read<Vec<Participant>>) -> Event {
    Event::RosterRead {
        query: rig.last_query(),
        read,
    }
}

fn call_read(rig: &Rig, read: Read<CallFacts>) -> Event {
    Event::CallRead {
        query: rig.last_query(),
        read,
    }
}

pub(crate) fn triggers() -> Vec<Trigger> {
    let mut all = answers();
    all.extend(reads());
    all.extend(notices());
    all.extend(timers());
    all
}

fn answers() -> Vec<Trigger> {
    use OperationStatus::{Completed, Failed, Running};
    vec![
        trigger("Created(group)", "created", |_| {
            created(CallState::Establishing, CallKind::Group)
        }),
        trigger("Created(group, established)", "established", |_| {
            created(CallState::Established, CallKind::Group)
        }),
        trigger("Created(1:1, established)", "established, 1:1", |_| {
            created(CallState::Established, CallKind::PeerToPeer)
        }),
        trigger("CreateFailed(definite)", "create refused", |_| {
            create_failed(true)
        }),
        trigger("CreateFailed(perhaps)", "create lost", |_| {
            create_failed(false)
        }),
        trigger("Command(mute)", "mute", |_| command(Action::Mute)),
        trigger("Command(unmute)", "unmute", |_| command(Action::Unmute)),
        trigger("HangUp", "hang up", |_| Event::HangUp),
        trigger(
            "Posted(completed)",
            "operation completed",
            answer(Completed),
        ),
        trigger("Posted(running)", "operation running", answer(Running)),
        trigger("Posted(failed)", "operation failed", answer(Failed)),
        trigger("Posted(refused)", "POST refused", |rig| {
            posted(
                rig,
                PostOutcome::Refused(Refusal::new(403, "8566", "not allowed")),
            )
        }),
        trigger("Posted(gone)", "404", |rig| posted(rig, PostOutcome::Gone)),
        trigger("Posted(throttled)", "POST without effect", |rig| {
            posted(
                rig,
                PostOutcome::Throttled {
                    after: Some(secs(2)),
                    refusal: Refusal::throttled(),
                },
            )
        }),
        trigger("Posted(not sent)", "POST without effect", |rig| {
            posted(rig, PostOutcome::NotSent)
        }),
        trigger("Posted(ambiguous)", "POST ambiguous", |rig| {
            posted(rig, PostOutcome::Ambiguous)
        }),
        trigger("Posted(another's)", "none", |rig| Event::Posted {
            attempt: 1000,
            outcome: PostOutcome::Answered(rig.operation(Completed)),
        }),
        trigger("KeptAlive(done)", "kept alive", |_| {
            Event::KeptAlive(Ack::Done)
        }),
        trigger("KeptAlive(gone)", "404", |_| Event::KeptAlive(Ack::Gone)),
        trigger("KeptAlive(failed)", "kept alive", |_| {
            Event::KeptAlive(Ack::Failed)
        }),
        trigger("HungUp(done)", "hung up", |_| Event::HungUp(Ack::Done)),
        trigger("HungUp(gone)", "404", |_| Event::HungUp(Ack::Gone)),
        trigger("HungUp(failed)", "hung up", |_| Event::HungUp(Ack::Failed)),
    ]
}

fn reads() -> Vec<Trigger> {
    use OperationStatus::{Completed, Failed, Running};
    let read = |status| move |rig: &Rig| operation_read(rig, Read::Found(rig.operation(status)));
    let own_read = |muted| move |rig: &Rig| self_read(rig, Read::Found(Box::new(own(muted, 20))));
    let listed = |muted| {
        move |rig: &Rig| roster_read(rig, Read::Found(vec![own(muted, 20), person("ann", 9)]))
    };
    vec![
        trigger(
            "OperationRead(completed)",
            "operation completed",
            read(Completed),
        ),
        trigger("OperationRead(running)", "operation running", read(Running)),
        trigger("OperationRead(failed)", "operation failed", read(Failed)),
        trigger("OperationRead(absent)", "operation lost", |rig| {
            operation_read(rig, Read::Absent)
        }),
        trigger("OperationRead(gone)", "404", |rig| {
            operation_read(rig, Read::Gone)
        }),
        trigger("OperationRead(unread)", "none", |rig| {
            operation_read(rig, Read::Failed)
        }),
        trigger("SelfRead(muted)", "own entry muted", own_read(true)),
        trigger("SelfRead(unmuted)", "own entry unmuted", own_read(false)),
        trigger("SelfRead(absent)", "none", |rig| {
            self_read(rig, Read::Absent)
        }),
        trigger("SelfRead(gone)", "404", |rig| self_read(rig, Read::Gone)),
        trigger("SelfRead(unread)", "own entry unseen", |rig| {
            self_read(rig, Read::Failed)
        }),
        trigger("RosterRead(own muted)", "own entry muted", listed(true)),
        trigger(
            "RosterRead(own unmuted)",
            "own entry unmuted",
            listed(false),
        ),
        trigger("RosterRead(without own)", "own entry unseen", |rig| {
            roster_read(rig, Read::Found(vec![person("ann", 9)]))
        }),
        trigger("RosterRead(absent)", "own entry unseen", |rig| {
            roster_read(rig, Read::Absent)
        }),
        trigger("RosterRead(gone)", "404", |rig| {
            roster_read(rig, Read::Gone)
        }),
        trigger("RosterRead(unread)", "own entry unseen", |rig| {
            roster_read(rig, Read::Failed)
        }),
        trigger("CallRead(established)", "established", |rig| {
            call_read(rig, Read::Found(facts(CallState::Established)))
        }),
        trigger("CallRead(terminated)", "terminated", |rig| {
            call_read(rig, Read::Found(terminated()))
        }),
        trigger("CallRead(absent)", "none", |rig| {
            call_read(rig, Read::Absent)
        }),
        trigger("CallRead(gone)", "404", |rig| call_read(rig, Read::Gone)),
        trigger("CallRead(unread)", "none", |rig| {
            call_read(rig, Read::Failed)
        }),
    ]
}

fn notices() -> Vec<Trigger> {
    use OperationStatus::{Completed, Failed, Running};
    let call = |state| move |_: &Rig| Event::CallNotice(facts(state));
    let op = |status| move |rig: &Rig| Event::OperationNotice(rig.operation(status));
    vec![
        trigger(
            "CallNotice(establishing)",
            "none",
            call(CallState::Establishing),
        ),
        trigger(
            "CallNotice(established)",
            "established",
            call(CallState::Established),
        ),
        trigger(
            "CallNotice(terminating)",
            "none",
            call(CallState::Terminating),
        ),
        trigger("CallNotice(terminated)", "terminated", |_| {
            Event::CallNotice(terminated())
        }),
        trigger("RosterNotice(own muted)", "own entry muted", |_| {
            delta(2, &[own(true, 21)])
        }),
        trigger("RosterNotice(own unmuted)", "own entry unmuted", |_| {
            delta(2, &[own(false, 21)])
        }),
        trigger("RosterNotice(own muted, old)", "own entry muted", |_| {
            delta(1, &[own(true, 3)])
        }),
        trigger(
            "RosterNotice(own unmuted, old)",
            "own entry unmuted",
            |_| delta(1, &[own(false, 3)]),
        ),
        trigger("RosterNotice(others)", "none", |_| {
            delta(2, &[person("bob", 21)])
        }),
        trigger("RosterNotice(after a gap)", "none", |_| {
            delta(7, &[person("bob", 21)])
        }),
        trigger(
            "RosterNotice(own muted, no number)",
            "own entry muted",
            |_| plain_roster(true),
        ),
        trigger(
            "RosterNotice(own unmuted, no number)",
            "own entry unmuted",
            |_| plain_roster(false),
        ),
        trigger("RosterNotice(without own)", "none", |_| {
            full(&[person("ann", 21), person("bob", 22)])
        }),
        trigger("RosterNotice(empty)", "none", |_| {
            Event::RosterNotice(RosterUpdate::Full(Vec::new()))
        }),
        trigger("RosterNotice(somebody without number)", "none", |_| {
            Event::RosterNotice(RosterUpdate::Delta {
                sequence_number: None,
                entries: vec![openmic_model::DeltaEntry {
                    participant: entry("bob", false, None),
                    removed: false,
                }],
            })
        }),
        trigger(
            "OperationNotice(completed)",
            "operation completed",
            op(Completed),
        ),
        trigger("OperationNotice(running)", "operation running", op(Running)),
        trigger("OperationNotice(failed)", "operation failed", op(Failed)),
        trigger("OperationNotice(another's)", "none", |_| {
            let context = CommandId::new(77).context(1);
            Event::OperationNotice(operation(77, Some(context), Completed))
        }),
    ]
}

fn timers() -> Vec<Trigger> {
    let timer = |timer| move |_: &Rig| Event::Timer(timer);
    vec![
        trigger("Watched(yes)", "none", |_| Event::Watched(true)),
        trigger("Watched(no)", "none", |_| Event::Watched(false)),
        trigger("Tick", "none", |_| Event::Tick),
        trigger("Timer(Patience)", "patience", timer(Timer::Patience)),
        trigger(
            "Timer(Operation)",
            "operation lost",
            timer(Timer::Operation),
        ),
        trigger("Timer(Roster)", "none", timer(Timer::Roster)),
        trigger("Timer(Backoff)", "none", timer(Timer::Backoff)),
        trigger("Timer(LastLook)", "none", timer(Timer::LastLook)),
        trigger("Timer(Command)", "deadline", timer(Timer::Command)),
        trigger("Timer(KeepAlive)", "none", timer(Timer::KeepAlive)),
        trigger("Timer(Gap)", "none", timer(Timer::Gap)),
        trigger("Timer(Window)", "time to speak over", timer(Timer::Window)),
        trigger("Timer(Audit)", "none", timer(Timer::Audit)),
        trigger("Timer(Verify)", "none", timer(Timer::Verify)),
        trigger("Timer(Parting)", "parting", timer(Timer::Parting)),
    ]
}
