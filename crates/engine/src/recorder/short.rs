//! What comes with every command, written down in a tenth of the time that a line of JSON takes.
//! Whoever reads it gets that line.

use std::borrow::Cow;
use std::time::Duration;

use openmic_machine::{Effect, Event, Machine, Phase, Timer};
use openmic_model::{Action, CommandId, OperationId, Origin, Verdict, WallTime};

use super::entry::{Act, Asked, Entry, Stand, Step, What, nanos, since};

/// What no JSON begins with.
const ASKED: u8 = 1;
const STEP: u8 = 2;

/// Verdicts that say nothing but themselves.
const VERDICTS: [Verdict; 4] = [
    Verdict::Already,
    Verdict::Unconfirmed,
    Verdict::Expired,
    Verdict::Superseded,
];
/// The records that a command leaves.
const RECORDS: [&str; 3] = ["accepted", "attempt", "verdict"];

const RECORD: u8 = 0;
const SETTLE: u8 = 1;

/// Writes a line to `to`, which holds nothing of use when that is not possible.
pub(super) fn put(entry: &Entry<Short<'_>>, to: &mut Vec<u8>) -> Option<()> {
    let mut to = Writer(to);
    let tag = match entry.what {
        Short::Asked(_) => ASKED,
        Short::Step { .. } => STEP,
    };
    to.bytes(&[tag]);
    to.bytes(&entry.at.to_le_bytes());
    to.bytes(&entry.wall.0.to_le_bytes());
    match &entry.what {
        Short::Asked(asked) => to.asked(asked),
        Short::Step {
            event,
            held,
            acts,
            machine,
        } => to.step(event, *held, acts, machine),
    }
}

/// What may be written.
pub(super) enum Short<'a> {
    Asked(&'a Asked),
    /// A step of the machine whose event took no time.
    Step {
        event: &'a Event,
        held: bool,
        acts: &'a [Effect],
        machine: &'a Machine,
    },
}

/// Line `n` as JSON; `None` when it is that already.
pub(super) fn text(n: u64, line: &[u8]) -> Option<Vec<u8>> {
    let mut from = Reader(line);
    let tag = from.byte()?;
    if tag != ASKED && tag != STEP {
        return None;
    }
    let entry = Entry {
        n,
        at: from.u64()?,
        wall: WallTime(from.u64()?),
        what: match tag {
            ASKED => What::Asked(from.asked()?),
            _ => What::Step(Box::new(from.step()?)),
        },
    };
    serde_json::to_vec(&entry).ok()
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn command(&mut self, command: CommandId) {
        self.bytes(&command.bits().to_le_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.bytes(&[u8::from(flag)]);
    }

    fn action(&mut self, action: Action) {
        self.flag(action == Action::Unmute);
    }

    fn duration(&mut self, duration: Duration) {
        self.bytes(&duration.as_secs().to_le_bytes());
        self.bytes(&duration.subsec_nanos().to_le_bytes());
    }

    fn maybe(&mut self, duration: Option<Duration>) {
        self.flag(duration.is_some());
        if let Some(duration) = duration {
            self.duration(duration);
        }
    }

    /// The number of one of `all`.
    fn one_of<T: PartialEq>(&mut self, one: &T, all: &[T]) -> Option<()> {
        let at = all.iter().position(|other| other == one)?;
        self.bytes(&[u8::try_from(at).ok()?]);
        Some(())
    }

    fn asked(&mut self, asked: &Asked) -> Option<()> {
        let Asked {
            command,
            action,
            operation,
            within,
            speak_for,
            context,
        } = asked;
        if context.is_some() || !operation.is_guid(command.bits()) {
            return None;
        }
        self.command(*command);
        self.action(*action);
        self.duration(*within);
        self.maybe(*speak_for);
        Some(())
    }

    fn step(
        &mut self,
        event: &Event,
        held: bool,
        acts: &[Effect],
        machine: &Machine,
    ) -> Option<()> {
        let Event::Command {
            id,
            action,
            within,
            speak_for,
        } = event
        else {
            return None;
        };
        self.command(*id);
        self.action(*action);
        self.duration(*within);
        self.maybe(*speak_for);
        self.flag(held);
        self.bytes(&[u8::try_from(acts.len()).ok()?]);
        for act in acts {
            self.act(act)?;
        }
        self.one_of(&machine.phase(), &Phase::ALL)?;
        if !machine.waits_for().is_empty() {
            return None;
        }
        let due = machine.armed();
        for (timer, at) in due {
            self.one_of(&timer, &Timer::ALL)?;
            self.bytes(&since(at).to_le_bytes());
        }
        Some(())
    }

    fn act(&mut self, act: &Effect) -> Option<()> {
        match act {
            Effect::Record(record) => {
                self.bytes(&[RECORD]);
                self.one_of(&record.name(), &RECORDS)
            }
            Effect::Settle {
                command,
                action,
                origin,
                verdict,
                took,
            } => {
                self.bytes(&[SETTLE]);
                self.command(*command);
                self.action(*action);
                self.flag(*origin == Origin::Machine);
                self.bytes(&nanos(*took).to_le_bytes());
                self.one_of(verdict, &VERDICTS)
            }
            _ => None,
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        Some(self.byte()? == 1)
    }

    fn command(&mut self) -> Option<CommandId> {
        let bits = u128::from_le_bytes(self.array()?);
        Some(CommandId::new(bits))
    }

    fn action(&mut self) -> Option<Action> {
        Some(if self.flag()? {
            Action::Unmute
        } else {
            Action::Mute
        })
    }

    fn duration(&mut self) -> Option<Duration> {
        let seconds = self.u64()?;
        let nanos = u32::from_le_bytes(self.array()?);
        Some(Duration::new(seconds, nanos))
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(usize::from(self.byte()?))
    }

    fn asked(&mut self) -> Option<Asked> {
        let command = self.command()?;
        Some(Asked {
            command,
            action: self.action()?,
            operation: OperationId::of_guid(command.bits()),
            within: self.duration()?,
            speak_for: if self.flag()? {
                Some(self.duration()?)
            } else {
                None
            },
            context: None,
        })
    }

    fn step(&mut self) -> Option<Step> {
        let event = Event::Command {
            id: self.command()?,
            action: self.action()?,
            within: self.duration()?,
            speak_for: if self.flag()? {
                Some(self.duration()?)
            } else {
                None
            },
        };
        let held = self.flag()?;
        let acts = self.byte()?;
        let acts = (0..acts).map(|_| self.act()).collect::<Option<_>>()?;
        let phase = *self.one_of(&Phase::ALL)?;
        let mut due = Vec::new();
        while !self.0.is_empty() {
            due.push((*self.one_of(&Timer::ALL)?, self.u64()?));
        }
        Some(Step {
            name: Cow::Borrowed(event.name()),
            event: Some(event),
            took: None,
            held,
            stand: Stand {
                acts,
                phase,
                waits: Vec::new(),
                due,
            },
        })
    }

    fn act(&mut self) -> Option<Act> {
        Some(match self.byte()? {
            RECORD => Act::Record {
                kind: Cow::Borrowed(self.one_of(&RECORDS)?),
            },
            _ => Act::Settle {
                command: self.command()?,
                action: self.action()?,
                origin: if self.flag()? {
                    Origin::Machine
                } else {
                    Origin::Bot
                },
                took: self.u64()?,
                verdict: self.one_of(&VERDICTS)?.clone(),
            },
        })
    }
}
