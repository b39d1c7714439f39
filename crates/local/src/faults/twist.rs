//! What is to be done: faults that came to pass at one event, put together.

use std::time::Duration;

use super::fault::Kind;

/// `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Retry {
    /// In seconds, with a fraction where there is one.
    Seconds(Duration),
    /// As an HTTP date, so far from now.
    Date(Duration),
}

/// A request that is not carried out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Instead {
    Refuse {
        status: u16,
        code: String,
        retry: Option<Retry>,
    },
    /// The connection is cut.
    Cut,
    /// No answer comes.
    Silence,
}

/// How a mute or unmute takes place.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum How {
    /// As asked.
    #[default]
    Now,
    /// Answered as completed, and not done.
    Not,
    /// Answered as running.
    Later {
        after: Duration,
        /// It is done after that time.
        effect: bool,
        end: End,
    },
}

/// How an operation that runs ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Never,
    Completed,
    Failed { code: i32, subcode: i32 },
}

/// What others do to a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Act {
    HangUp { code: i32, subcode: i32 },
    HostMutes,
}

/// What becomes of an answer to a request that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum Answering {
    #[default]
    AsIs,
    Status(u16),
    Cut,
    Silence,
}

/// What is to be done about one request.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Asking {
    /// First of all.
    pub(crate) slow: Duration,
    /// Then.
    pub(crate) before: Vec<Act>,
    pub(crate) instead: Option<Instead>,
    pub(crate) how: How,
    /// Between effect and answer.
    pub(crate) then: Vec<Act>,
    /// So long after the answer.
    pub(crate) after: Vec<(Duration, Act)>,
    /// The answer waits until the bot has been told of what came of the request.
    pub(crate) told_first: bool,
    pub(crate) answering: Answering,
    /// Members that are missing from the answer.
    pub(crate) missing: Vec<&'static str>,
    /// The bot's own entry is missing from the list.
    pub(crate) partial: bool,
    /// The roster before its last change is shown.
    pub(crate) stale: bool,
}

/// When somebody acts, of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    Then,
    After,
}

impl Asking {
    /// Puts together what happened to come to pass; where two contradict, the first counts.
    pub(crate) fn of(faults: &[Kind]) -> Self {
        let mut all = Self::default();
        for fault in faults {
            all.add(fault);
        }
        all
    }

    fn add(&mut self, fault: &Kind) {
        let instead = |instead: Instead, all: &mut Self| {
            all.instead.get_or_insert(instead);
        };
        match fault {
            Kind::Refuse {
                status,
                code,
                retry,
            } => {
                let (status, code, retry) = (*status, code.clone(), *retry);
                instead(
                    Instead::Refuse {
                        status,
                        code,
                        retry,
                    },
                    self,
                );
            }
            Kind::NoResponse => instead(Instead::Cut, self),
            Kind::Silence => instead(Instead::Silence, self),
            Kind::ErrorWithEffect(status) => self.answer(Answering::Status(*status)),
            Kind::EffectWithoutResponse => self.answer(Answering::Cut),
            Kind::EffectThenSilence => self.answer(Answering::Silence),
            Kind::ResponseWithoutEffect => self.take_place(How::Not),
            Kind::RunningFirst(span) => self.take_place(How::Later {
                after: span.from,
                effect: true,
                end: End::Completed,
            }),
            Kind::NeverCompletes { effect } => self.take_place(How::Later {
                after: Duration::ZERO,
                effect: *effect,
                end: End::Never,
            }),
            Kind::FailsAfterRunning {
                span,
                code,
                subcode,
            } => self.take_place(How::Later {
                after: span.from,
                effect: false,
                end: End::Failed {
                    code: *code,
                    subcode: *subcode,
                },
            }),
            Kind::NotificationBeforeResponse => self.told_first = true,
            Kind::Slow(span) => self.slow += span.from,
            Kind::Acts { act, when, span } => match when {
                When::Before => self.before.push(*act),
                When::Then => self.then.push(*act),
                When::After => self.after.push((span.from, *act)),
            },
            Kind::Missing(member) => self.missing.push(member),
            Kind::Partial => self.partial = true,
            Kind::StaleParticipants => self.stale = true,
            // What is told is another matter.
            Kind::Drop
            | Kind::Duplicate(_)
            | Kind::Delay(_)
            | Kind::Swap(_)
            | Kind::Batch { .. }
            | Kind::FullRosters
            | Kind::RosterGap
            | Kind::StaleRoster
            | Kind::Replay(_)
            | Kind::WrongToken(_)
            | Kind::FalseEnd(_) => {}
        }
    }

    fn answer(&mut self, answering: Answering) {
        if self.answering == Answering::AsIs {
            self.answering = answering;
        }
    }

    fn take_place(&mut self, how: How) {
        if self.how == How::Now {
            self.how = how;
        }
    }
}

/// Whose token a notification carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Token {
    /// The service's, for this bot.
    #[default]
    Good,
    /// One whose signature does not hold.
    Forged,
    /// The service's, for another tenant.
    Foreign,
}

/// A notification that waits for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Sent after the next one, or after that time.
    Swap(Duration),
    /// Sent with those that follow, as one POST of so many, or after that time.
    Batch(usize, Duration),
}

/// What is to be done about one notification.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Telling {
    pub(crate) dropped: bool,
    /// Further deliveries, right behind it.
    pub(crate) again: u32,
    /// It comes so much later; others overtake it.
    pub(crate) late: Option<Duration>,
    pub(crate) hold: Option<Hold>,
    pub(crate) missing: Vec<&'static str>,
    pub(crate) token: Token,
    /// A number of the delta roster is left out.
    pub(crate) gap: bool,
    /// The roster before it comes once more behind it.
    pub(crate) stale: bool,
    /// It comes once more so much later.
    pub(crate) replay: Option<Duration>,
    /// A false end of the call comes behind it, with this token.
    pub(crate) false_end: Option<Token>,
}

impl Telling {
    /// As [`Asking::of`].
    pub(crate) fn of(faults: &[Kind]) -> Self {
        let mut all = Self::default();
        for fault in faults {
            match fault {
                Kind::Drop => all.dropped = true,
                Kind::Duplicate(times) => all.again += times,
                Kind::Delay(span) => {
                    all.late.get_or_insert(span.from);
                }
                Kind::Swap(span) => {
                    all.hold.get_or_insert(Hold::Swap(span.from));
                }
                Kind::Batch { size, span } => {
                    all.hold.get_or_insert(Hold::Batch(*size, span.from));
                }
                Kind::Missing(member) => all.missing.push(member),
                Kind::WrongToken(token) => all.token = *token,
                Kind::FullRosters => all.missing.push("rosterSequenceNumber"),
                Kind::RosterGap => all.gap = true,
                Kind::StaleRoster => all.stale = true,
                Kind::Replay(span) => {
                    all.replay.get_or_insert(span.from);
                }
                Kind::FalseEnd(token) => {
                    all.false_end.get_or_insert(*token);
                }
                _ => {}
            }
        }
        all
    }
}
