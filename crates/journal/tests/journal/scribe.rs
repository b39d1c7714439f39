//! Writes records as a call would, in any order that can come about.

use std::collections::BTreeMap;
use std::time::Duration;

use openmic_model::{
    Accepted, Action, Asked, CallId, CallKind, ClientContext, CommandId, EndCause, Evidence,
    OperationId, Origin, ParticipantId, Posted, Record, Repeat, ResultInfo, RosterSeen, Verdict,
    WallTime,
};
use proptest::prelude::*;

use crate::facts::{AT, intent};

/// What may happen to a call next. Numbers choose among what is possible.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Opened {
        me: bool,
    },
    Epoch,
    Command {
        unmute: bool,
        machine: bool,
        speak: bool,
        repeat: bool,
    },
    Post,
    Outcome {
        which: u8,
    },
    Settle {
        which: u8,
        how: u8,
    },
    Window {
        open: bool,
    },
    Wait {
        minutes: u16,
    },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flag = any::<bool>;
    let command = (flag(), flag(), flag(), flag()).prop_map(|(unmute, machine, speak, repeat)| {
        Step::Command {
            unmute,
            machine,
            speak,
            repeat,
        }
    });
    let settle = (any::<u8>(), 0..9_u8).prop_map(|(which, how)| Step::Settle { which, how });
    let step = prop_oneof![
        1 => flag().prop_map(|me| Step::Opened { me }),
        1 => Just(Step::Epoch),
        4 => command,
        4 => Just(Step::Post),
        3 => (0..4_u8).prop_map(|which| Step::Outcome { which }),
        4 => settle,
        1 => flag().prop_map(|open| Step::Window { open }),
        2 => (0..600_u16).prop_map(|minutes| Step::Wait { minutes }),
    ];
    proptest::collection::vec(step, 0..80)
}

/// A call that is written down.
#[derive(Debug)]
pub(crate) struct Scribe {
    pub(crate) records: Vec<(WallTime, Record)>,
    now: WallTime,
    commands: u128,
    open: Vec<(CommandId, Action)>,
    /// The series under way, and its latest number.
    series: Option<(CommandId, Action, u8)>,
    /// The latest number used of each.
    numbers: BTreeMap<CommandId, u8>,
    epoch: u64,
}

impl Scribe {
    pub(crate) fn new(number: u128) -> Self {
        Self {
            records: vec![(AT, intent())],
            now: AT,
            // commands have ids of their own over all calls
            commands: number << 64,
            open: Vec::new(),
            series: None,
            numbers: BTreeMap::new(),
            epoch: 0,
        }
    }

    pub(crate) fn of(number: u128, steps: &[Step]) -> Self {
        let mut scribe = Self::new(number);
        for step in steps {
            scribe.step(number, step);
        }
        scribe
    }

    pub(crate) fn now(&self) -> WallTime {
        self.now
    }

    fn write(&mut self, record: Record) {
        self.records.push((self.now, record));
    }

    pub(crate) fn step(&mut self, call: u128, step: &Step) {
        match step {
            Step::Opened { me } => self.write(Record::Opened {
                id: CallId::parse(&format!("call-{call}")).unwrap(),
                kind: CallKind::Group,
                me: me.then(|| ParticipantId::parse("me").unwrap()),
            }),
            Step::Epoch => {
                self.epoch += 1;
                self.write(Record::Epoch(self.epoch));
            }
            Step::Command {
                unmute,
                machine,
                speak,
                repeat,
            } => self.accept(*unmute, *machine, (*speak, *repeat)),
            Step::Post => self.post(),
            Step::Outcome { which } => {
                let Some((lead, _, number)) = self.series else {
                    return;
                };
                let outcome = match which {
                    0 => Posted::Ambiguous,
                    1 => Posted::NoEffect,
                    2 => Posted::Answered { operation: None },
                    _ => Posted::Answered {
                        operation: Some(OperationId::parse("of-graph").unwrap()),
                    },
                };
                self.write(Record::Outcome {
                    lead,
                    number,
                    outcome,
                });
            }
            Step::Settle { which, how } => {
                if !self.open.is_empty() {
                    let which = usize::from(*which) % self.open.len();
                    self.settle(which, *how);
                }
            }
            Step::Window { open } => {
                let until = open.then(|| self.now.after(Duration::from_secs(20)));
                self.write(Record::Window { until });
            }
            Step::Wait { minutes } => {
                self.now = self.now.after(Duration::from_mins(u64::from(*minutes)));
            }
        }
    }

    fn accept(&mut self, unmute: bool, machine: bool, (speak, repeat): (bool, bool)) {
        self.commands += 1;
        let command = CommandId::new(self.commands);
        let action = if unmute { Action::Unmute } else { Action::Mute };
        let low = self.commands.to_be_bytes()[15];
        let asked = Asked {
            operation: OperationId::parse(&format!("o-{command}")).unwrap(),
            client_context: Some(ClientContext::parse("\"é\\\n😀").unwrap()),
            repeat: repeat.then_some(Repeat {
                scope: [low; 32],
                print: [!low; 32],
            }),
        };
        self.open.push((command, action));
        self.write(Record::Accepted(Box::new(Accepted {
            command,
            action,
            origin: if machine {
                Origin::Machine
            } else {
                Origin::Bot
            },
            within: Duration::from_millis(30_001),
            speak_for: speak.then(|| Duration::from_secs(20)),
            asked: (!machine).then_some(asked),
        })));
    }

    fn post(&mut self) {
        let Some((newest, action)) = self.open.last().copied() else {
            return;
        };
        let lead = match self.series {
            Some((lead, of, number)) if of == action && number < 3 => lead,
            // a series that another followed is never taken up again
            _ if self.numbers.contains_key(&newest) => return,
            _ => newest,
        };
        let number = self.numbers.entry(lead).or_default();
        *number += 1;
        let number = *number;
        self.series = Some((lead, action, number));
        self.write(Record::Attempt {
            lead,
            number,
            action,
        });
    }

    fn settle(&mut self, which: usize, how: u8) {
        let (command, action) = self.open.remove(which);
        let verdict = match how {
            0 => Verdict::Already,
            1 => Verdict::Refused {
                status: 403,
                code: "8566".to_owned(),
                message: "the policy says \"no\"".to_owned(),
            },
            2 => Verdict::Unconfirmed,
            3 => Verdict::Expired,
            4 => Verdict::Superseded,
            5 => Verdict::CallEnded {
                result: Some(ResultInfo {
                    code: 200,
                    subcode: 5300,
                    message: None,
                }),
            },
            _ => Verdict::Confirmed {
                evidence: Evidence::Roster,
                roster: RosterSeen::Fresh,
            },
        };
        self.write(Record::Verdict {
            command,
            action,
            verdict,
        });
    }

    /// Settles what is open and ends the call.
    pub(crate) fn end(&mut self, cause: EndCause) {
        while !self.open.is_empty() {
            self.settle(0, 5);
        }
        self.write(Record::Closed { cause });
    }
}
