//! What a line must not hold: names, telephone numbers, contexts of others, long texts.
//!
//! Names and directory ids become a hash with a salt of this engine: it tells a change, which the
//! machine looks for, and nothing else. Ids of participants, operations and commands stay.

use std::borrow::Cow;

use openmic_machine::{Event, PostOutcome, Read, Refusal};
use openmic_model::{
    CallFacts, ClientContext, CommandId, Operation, Participant, ResultInfo, RosterUpdate, Verdict,
};

use super::Recorder;

/// The longest text of Graph's that is kept, in bytes.
const WORDS: usize = 256;
/// A roster of more entries is too long, whatever they hold.
const ENTRIES: usize = 96;

impl Recorder {
    /// `event` as it may be written; `None` when it is too long for sure.
    pub(super) fn redacted<'a>(&self, event: &'a Event) -> Option<Cow<'a, Event>> {
        let redacted = match event {
            Event::RosterNotice(RosterUpdate::Full(entries)) => {
                Event::RosterNotice(RosterUpdate::Full(self.entries(entries)?))
            }
            Event::RosterNotice(RosterUpdate::Delta {
                sequence_number,
                entries,
            }) => {
                if entries.len() > ENTRIES {
                    return None;
                }
                let mut entries = entries.clone();
                for entry in &mut entries {
                    self.forget_name(&mut entry.participant);
                }
                Event::RosterNotice(RosterUpdate::Delta {
                    sequence_number: *sequence_number,
                    entries,
                })
            }
            Event::RosterRead {
                query,
                read: Read::Found(entries),
            } => Event::RosterRead {
                query: *query,
                read: Read::Found(self.entries(entries)?),
            },
            Event::SelfRead {
                query,
                read: Read::Found(entry),
            } => {
                let mut entry = entry.clone();
                self.forget_name(&mut entry);
                Event::SelfRead {
                    query: *query,
                    read: Read::Found(entry),
                }
            }
            Event::OperationNotice(operation) if self.tells(operation) => {
                Event::OperationNotice(self.operation(operation))
            }
            Event::OperationRead {
                query,
                read: Read::Found(operation),
            } if self.tells(operation) => Event::OperationRead {
                query: *query,
                read: Read::Found(self.operation(operation)),
            },
            Event::Posted {
                attempt,
                outcome: PostOutcome::Answered(operation),
            } if self.tells(operation) => Event::Posted {
                attempt: *attempt,
                outcome: PostOutcome::Answered(self.operation(operation)),
            },
            Event::Posted {
                attempt,
                outcome: PostOutcome::Refused(refusal),
            } => Event::Posted {
                attempt: *attempt,
                outcome: PostOutcome::Refused(shorter(refusal)),
            },
            Event::CreateFailed { refusal, definite } => Event::CreateFailed {
                refusal: shorter(refusal),
                definite: *definite,
            },
            Event::CallNotice(facts) if facts.result.is_some() => {
                Event::CallNotice(facts_of(facts))
            }
            Event::CallRead {
                query,
                read: Read::Found(facts),
            } if facts.result.is_some() => Event::CallRead {
                query: *query,
                read: Read::Found(facts_of(facts)),
            },
            Event::Created { facts, kind } if facts.result.is_some() => Event::Created {
                facts: facts_of(facts),
                kind: *kind,
            },
            _ => return Some(Cow::Borrowed(event)),
        };
        Some(Cow::Owned(redacted))
    }

    fn entries(&self, entries: &[Participant]) -> Option<Vec<Participant>> {
        if entries.len() > ENTRIES {
            return None;
        }
        let mut entries = entries.to_vec();
        for entry in &mut entries {
            self.forget_name(entry);
        }
        Some(entries)
    }

    fn forget_name(&self, entry: &mut Participant) {
        let identity = &mut entry.identity;
        let told = [&mut identity.id, &mut identity.display_name];
        for text in told.into_iter().flatten() {
            *text = self.mark(text);
        }
    }

    /// Tells `text` from others, and no more.
    pub(super) fn mark(&self, text: &str) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut mark = String::with_capacity(17);
        mark.push('#');
        for byte in self.hash(text).to_be_bytes() {
            for digit in [byte >> 4, byte & 15] {
                mark.push(char::from(DIGITS[usize::from(digit)]));
            }
        }
        mark
    }

    /// The bot's own context: how long it is, and its mark.
    pub(crate) fn context(&self, context: &ClientContext) -> String {
        let text = context.as_str();
        format!("{} bytes {}", text.len(), self.mark(text))
    }

    /// Whether an operation tells what must not be written.
    fn tells(&self, operation: &Operation) -> bool {
        let context = operation.client_context.as_ref();
        let foreign = context.is_some_and(|context| CommandId::from_context(context).is_none());
        foreign || operation.result.is_some()
    }

    fn operation(&self, operation: &Operation) -> Operation {
        let context = operation.client_context.as_ref();
        Operation {
            id: operation.id.clone(),
            status: operation.status,
            client_context: context.map(|context| {
                if CommandId::from_context(context).is_some() {
                    return context.clone();
                }
                ClientContext::parse(&self.mark(context.as_str())).expect("a mark is short")
            }),
            result: operation.result.as_ref().map(result),
        }
    }
}

pub(super) fn facts_of(facts: &CallFacts) -> CallFacts {
    CallFacts {
        result: facts.result.as_ref().map(result),
        ..facts.clone()
    }
}

pub(super) fn verdict(verdict: &Verdict) -> Verdict {
    match verdict {
        Verdict::Refused {
            status,
            code,
            message,
        } => Verdict::Refused {
            status: *status,
            code: cut(code),
            message: cut(message),
        },
        Verdict::CallEnded { result: Some(why) } => Verdict::CallEnded {
            result: Some(result(why)),
        },
        other => other.clone(),
    }
}

fn result(result: &ResultInfo) -> ResultInfo {
    ResultInfo {
        message: result.message.as_deref().map(cut),
        ..result.clone()
    }
}

fn shorter(refusal: &Refusal) -> Refusal {
    Refusal {
        status: refusal.status,
        code: cut(&refusal.code),
        message: cut(&refusal.message),
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(WORDS)].to_owned()
}
