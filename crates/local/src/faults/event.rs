//! Where a fault may strike.

/// Something that happens between a bot and the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Create,
    GetCall,
    HangUp,
    KeepAlive,
    Mute,
    Unmute,
    MuteOther,
    Participants,
    Operation,
    Answer,
    Token,
    ToldCall,
    ToldOperation,
    ToldRoster,
}

use Event as E;

/// The events and the groups of events that `on=` may name.
const WORDS: &[(&str, &[Event])] = &[
    ("create", &[E::Create]),
    ("get_call", &[E::GetCall]),
    ("hang_up", &[E::HangUp]),
    ("keep_alive", &[E::KeepAlive]),
    ("mute", &[E::Mute]),
    ("unmute", &[E::Unmute]),
    ("mute_other", &[E::MuteOther]),
    ("participants", &[E::Participants]),
    ("operation", &[E::Operation]),
    ("answer", &[E::Answer]),
    ("token", &[E::Token]),
    ("told_call", &[E::ToldCall]),
    ("told_operation", &[E::ToldOperation]),
    ("told_roster", &[E::ToldRoster]),
    ("switch", SWITCH),
    ("reads", &[E::GetCall, E::Participants, E::Operation]),
    ("requests", REQUESTS),
    ("told", TOLD),
];

pub(super) const SWITCH: &[Event] = &[E::Mute, E::Unmute];
pub(super) const REQUESTS: &[Event] = &[
    E::Create,
    E::GetCall,
    E::HangUp,
    E::KeepAlive,
    E::Mute,
    E::Unmute,
    E::MuteOther,
    E::Participants,
    E::Operation,
    E::Answer,
];
/// Those of a call that is there.
pub(super) const OF_CALL: &[Event] = REQUESTS.split_at(1).1;
pub(super) const ALL_REQUESTS: &[Event] = &[
    E::Create,
    E::GetCall,
    E::HangUp,
    E::KeepAlive,
    E::Mute,
    E::Unmute,
    E::MuteOther,
    E::Participants,
    E::Operation,
    E::Answer,
    E::Token,
];
pub(super) const TOLD: &[Event] = &[E::ToldCall, E::ToldOperation, E::ToldRoster];
pub(super) const ROSTER: &[Event] = &[E::ToldRoster];
pub(super) const LISTED: &[Event] = &[E::Participants];

impl Event {
    pub(crate) fn as_str(self) -> &'static str {
        let mut alone = WORDS.iter().filter(|(_, events)| events.len() == 1);
        let word = alone.find(|(_, events)| events[0] == self);
        word.expect("every event has a word of its own").0
    }
}

/// The words of `on=`, for a text.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|(word, _)| *word)
}

/// A word of `on=`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Where(&'static (&'static str, &'static [Event]));

impl Where {
    pub(super) fn parse(word: &str) -> Option<Self> {
        WORDS.iter().find(|(known, _)| *known == word).map(Self)
    }

    pub(super) fn covers(self, event: Event) -> bool {
        self.0.1.contains(&event)
    }

    /// Whether all of it is in `place`.
    pub(super) fn is_within(self, place: &[Event]) -> bool {
        self.0.1.iter().all(|event| place.contains(event))
    }
}
