//! Short words for what happens in a call.

use openmic_model::{Action, CommandId, Evidence, RosterSeen, Version};

use crate::{Answer, End, Note, What};

pub(super) const ONE: CommandId = CommandId::new(1);
pub(super) const TWO: CommandId = CommandId::new(2);
pub(super) const CONFIRMED: End = End::Confirmed {
    evidence: Evidence::Roster,
    roster: RosterSeen::Fresh,
};

/// What happened, each so many milliseconds after the one before.
pub(super) type Story = Vec<(u64, What)>;

pub(super) fn now(what: impl IntoIterator<Item = What>) -> Story {
    what.into_iter().map(|what| (1, what)).collect()
}

pub(super) fn after(millis: u64, what: What) -> Story {
    vec![(millis, what)]
}

pub(super) fn accepted(command: CommandId, action: Action) -> What {
    What::Accepted {
        command,
        action,
        within: 30_000,
    }
}

/// Accepted, its record and the intent of its first POST durable.
pub(super) fn begun(command: CommandId, action: Action) -> Story {
    now([
        accepted(command, action),
        What::Written(Note::Accepted { command }),
        What::Written(Note::Attempt {
            lead: command,
            number: 1,
        }),
        What::Durable { records: 2 },
        What::Acknowledged { command },
    ])
}

pub(super) fn intent(lead: CommandId, number: u8) -> Story {
    now([
        What::Written(Note::Attempt { lead, number }),
        What::Durable { records: 1 },
    ])
}

pub(super) fn sent(lead: CommandId, number: u8) -> What {
    What::Sent {
        lead,
        number,
        action: Action::Unmute,
    }
}

pub(super) fn answered(lead: CommandId, number: u8, answer: Answer) -> What {
    What::Answered {
        lead,
        number,
        answer,
    }
}

pub(super) fn took(lead: CommandId, muted: bool) -> What {
    What::Took {
        by: Some((lead, 1)),
        muted,
    }
}

/// The start: muted, by nobody.
pub(super) fn muted() -> What {
    What::Took {
        by: None,
        muted: true,
    }
}

pub(super) fn decided(command: CommandId, end: End) -> Story {
    now([
        What::Written(Note::Verdict { command, end }),
        What::Durable { records: 1 },
    ])
}

pub(super) fn ended(command: CommandId, end: End) -> Story {
    [decided(command, end), now([What::Told { command, end }])].concat()
}

/// A whole unmute, well done.
pub(super) fn unmuted() -> Story {
    [
        now([muted()]),
        begun(ONE, Action::Unmute),
        now([
            sent(ONE, 1),
            What::Reached {
                lead: ONE,
                number: 1,
                action: Action::Unmute,
            },
            took(ONE, false),
            answered(ONE, 1, Answer::Completed),
        ]),
        ended(ONE, CONFIRMED),
    ]
    .concat()
}

pub(super) fn frame(seq: u64, whole: bool, stated: u64, holds: u64) -> What {
    What::Frame {
        subscriber: 7,
        version: Version { epoch: 5, seq },
        whole,
        stated: Some(stated),
        holds: Some(holds),
    }
}

pub(super) fn shown(number: u64, there: bool) -> What {
    What::Shown {
        participant: 3,
        number: Some(number),
        there,
    }
}
