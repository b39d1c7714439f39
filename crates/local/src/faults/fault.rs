//! One fault as it is written: `throttled on=unmute nth=2 retry=1.5`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::event::{Event, Where, words};
use super::names::{NAMES, Named};
use super::twist::{Act, Retry, Token, When};

/// A stretch of time that dice choose within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    // told
    Drop,
    Duplicate(u32),
    Delay(Span),
    Swap(Span),
    Batch {
        size: usize,
        span: Span,
    },
    FullRosters,
    RosterGap,
    StaleRoster,
    Replay(Span),
    WrongToken(Token),
    FalseEnd(Token),
    // told and answered
    Missing(&'static str),
    // asked
    Refuse {
        status: u16,
        code: String,
        retry: Option<Retry>,
    },
    NoResponse,
    Silence,
    ErrorWithEffect(u16),
    EffectWithoutResponse,
    EffectThenSilence,
    ResponseWithoutEffect,
    RunningFirst(Span),
    NeverCompletes {
        effect: bool,
    },
    FailsAfterRunning {
        span: Span,
        code: i32,
        subcode: i32,
    },
    NotificationBeforeResponse,
    Slow(Span),
    Partial,
    StaleParticipants,
    // done by others
    Acts {
        act: Act,
        when: When,
        span: Span,
    },
}

impl Kind {
    /// The same with its time chosen; `dice` gives a number from 0 to 1.
    pub(super) fn chosen(mut self, mut dice: impl FnMut() -> f64) -> Self {
        if let Self::Delay(span)
        | Self::Swap(span)
        | Self::Batch { span, .. }
        | Self::Replay(span)
        | Self::RunningFirst(span)
        | Self::FailsAfterRunning { span, .. }
        | Self::Slow(span)
        | Self::Acts { span, .. } = &mut self
            && let Some(more) = span.to.checked_sub(span.from)
            && !more.is_zero()
        {
            span.from += more.mul_f64(dice());
            span.to = span.from;
        }
        self
    }
}

/// A fault, and at which events it comes to pass.
///
/// Written as its name and, where they differ from what goes without saying, `key=value` after it:
/// `on=` the events (`unmute`, `told_roster`, ..), `nth=` the one of them, counted from 1, `count=`
/// how often at most, `rate=` how likely, from 0 to 1; and what belongs to the fault, as `ms=50` or
/// `ms=50..200`, `status=`, `code=`, `subcode=`, `retry=1.5` or `retry=date+2`.
///
/// ```
/// use openmic_local::Fault;
/// let second: Fault = "throttled on=unmute nth=2 retry=1.5".parse().unwrap();
/// let seldom: Fault = "drop rate=0.05".parse().unwrap();
/// assert_eq!(seldom.to_string(), "drop rate=0.05");
/// # drop(second);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    text: String,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) on: Where,
    pub(super) nth: Option<u32>,
    pub(super) count: Option<u32>,
    pub(super) rate: f64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What goes wrong in a call: faults, and the seed of their dice.
///
/// The same plan with the same seed makes the same calls fare the same, as long as the same things
/// happen in the same order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FaultPlan {
    /// None: one is chosen, and told.
    pub seed: Option<u64>,
    /// At one event all of them are looked at, in this order.
    pub faults: Vec<Fault>,
}

impl FaultPlan {
    /// Most faults of a plan.
    pub const MOST: usize = 64;

    /// A plan of one fault or several, with a seed that is chosen.
    ///
    /// # Errors
    /// [`FaultError`] says which text is wrong in what.
    pub fn of<T: AsRef<str>>(faults: impl IntoIterator<Item = T>) -> Result<Self, FaultError> {
        let faults = faults.into_iter().map(|text| text.as_ref().parse());
        let faults = faults.collect::<Result<Vec<Fault>, _>>()?;
        if faults.len() > Self::MOST {
            return Err(FaultError::TooMany(faults.len()));
        }
        Ok(Self { seed: None, faults })
    }
}

/// A text that is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// No fault of that name.
    #[error("\"{0}\" is no fault; there are {names}", names = list(NAMES.iter().map(|one| one.name)))]
    Name(String),
    /// Not `key=value`, or a key the fault does not have.
    #[error("\"{word}\" is nothing of {name}; it takes {keys}")]
    Key {
        /// The fault.
        name: &'static str,
        /// What was written.
        word: String,
        /// What may be.
        keys: String,
    },
    /// A value that cannot be.
    #[error("{key}={value} cannot be: {wanted}")]
    Value {
        /// Of what.
        key: &'static str,
        /// What was written.
        value: String,
        /// What may be.
        wanted: String,
    },
    /// Faults beyond the limit.
    #[error("{0} faults are too many for one plan; take at most {most}", most = FaultPlan::MOST)]
    TooMany(usize),
    /// The service is open to others than this machine, or not in the dev profile.
    #[error(
        "faults are for loopback in the dev profile only; bind 127.0.0.1 and switch dev on, or \
         take the faults away"
    )]
    NotHere,
}

pub(super) fn list(words: impl IntoIterator<Item = &'static str>) -> String {
    let words: Vec<_> = words.into_iter().collect();
    words.join(", ")
}

const COMMON: [&str; 4] = ["on", "nth", "count", "rate"];

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut words = text.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let named = NAMES.iter().find(|one| one.name == name);
        let named = named.ok_or_else(|| FaultError::Name(name.to_owned()))?;
        let mut args = Args {
            named,
            given: Vec::new(),
        };
        for word in words {
            let keys = || COMMON.iter().chain(named.keys).copied();
            let pair = word.split_once('=').and_then(|(key, value)| {
                let key = keys().find(|known| *known == key)?;
                let again = args.given.iter().any(|(given, _)| *given == key);
                (!again).then_some((key, value))
            });
            let pair = pair.ok_or_else(|| FaultError::Key {
                name: named.name,
                word: word.to_owned(),
                keys: list(keys()),
            })?;
            args.given.push(pair);
        }
        let one = |number: &u32| *number > 0;
        Ok(Self {
            text: text.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
            name: named.name,
            kind: (named.build)(&args)?,
            on: args.place()?,
            nth: args.number("nth", "1 or more", one)?,
            count: args.number("count", "1 or more", one)?,
            rate: args
                .number("rate", "from 0 to 1", |rate| (0.0..=1.0).contains(rate))?
                .unwrap_or(1.0),
        })
    }
}

/// What was written behind a name.
pub(super) struct Args<'a> {
    named: &'static Named,
    given: Vec<(&'static str, &'a str)>,
}

impl Args<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut given = self.given.iter();
        given
            .find(|(known, _)| *known == key)
            .map(|(_, value)| *value)
    }

    fn wrong(&self, key: &'static str, wanted: impl Into<String>) -> FaultError {
        FaultError::Value {
            key,
            value: self.get(key).unwrap_or_default().to_owned(),
            wanted: wanted.into(),
        }
    }

    fn place(&self) -> Result<Where, FaultError> {
        let on = match self.get("on") {
            None => Where::parse(self.named.on).expect("the table's words are words"),
            Some(word) => {
                let known = Where::parse(word);
                known.ok_or_else(|| self.wrong("on", format!("say {}", list(words()))))?
            }
        };
        if on.is_within(self.named.place) {
            return Ok(on);
        }
        let fits =
            |word: &&str| Where::parse(word).is_some_and(|word| word.is_within(self.named.place));
        let fitting = list(words().filter(fits));
        Err(self.wrong("on", format!("{} is for {fitting}", self.named.name)))
    }

    pub(super) fn number<T: FromStr>(
        &self,
        key: &'static str,
        wanted: &str,
        good: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, FaultError> {
        let Some(text) = self.get(key) else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(good);
        number.map(Some).ok_or_else(|| self.wrong(key, wanted))
    }

    /// `status=`, a failure.
    pub(super) fn status(&self, default: u16) -> Result<u16, FaultError> {
        let failed = |status: &u16| (400..600).contains(status);
        let status = self.number("status", "400 to 599", failed)?;
        Ok(status.unwrap_or(default))
    }

    /// `code=`, a word of Graph's errors.
    pub(super) fn word(&self, default: &str) -> Result<String, FaultError> {
        let Some(code) = self.get("code") else {
            return Ok(default.to_owned());
        };
        let plain = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if plain && !code.is_empty() {
            return Ok(code.to_owned());
        }
        Err(self.wrong("code", "up to 64 letters and digits"))
    }

    /// `code=` and `subcode=` of a `resultInfo`.
    pub(super) fn result(&self, default: (i32, i32)) -> Result<(i32, i32), FaultError> {
        let any = |_: &i32| true;
        let code = self.number("code", "a whole number", any)?;
        let subcode = self.number("subcode", "a whole number", any)?;
        Ok((code.unwrap_or(default.0), subcode.unwrap_or(default.1)))
    }

    /// `ms=`, up to an hour: `50`, or `50..200`.
    pub(super) fn span(&self, default: u64) -> Result<Span, FaultError> {
        const MOST: u64 = 3_600_000;
        let text = self.get("ms");
        let Some(text) = text else {
            return Ok(Span::of(default, default));
        };
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        match (from.parse(), to.parse()) {
            (Ok(from), Ok(to)) if from <= to && to <= MOST => Ok(Span::of(from, to)),
            _ => Err(self.wrong("ms", "milliseconds up to 3600000, as 50 or 50..200")),
        }
    }

    /// `retry=`: `1`, `1.5`, `date+2`, or `none`.
    pub(super) fn retry(&self, default: Option<u64>) -> Result<Option<Retry>, FaultError> {
        let seconds = |text: &str| -> Option<Duration> {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let plain = text.split('.').all(digits) && text.len() <= 8;
            Duration::try_from_secs_f64(text.parse().ok().filter(|_| plain)?).ok()
        };
        let retry = match self.get("retry") {
            None => return Ok(default.map(|s| Retry::Seconds(Duration::from_secs(s)))),
            Some("none") => return Ok(None),
            Some(text) => match text.strip_prefix("date+") {
                Some(rest) => seconds(rest).map(Retry::Date),
                None => seconds(text).map(Retry::Seconds),
            },
        };
        let wanted = "seconds, as 1 or 1.5, or date+2, or none";
        retry.map(Some).ok_or_else(|| self.wrong("retry", wanted))
    }

    /// `when=`, of somebody who acts.
    pub(super) fn when(&self, default: When) -> Result<When, FaultError> {
        match self.get("when") {
            None => Ok(default),
            Some("before") => Ok(When::Before),
            Some("then") => Ok(When::Then),
            Some("after") => Ok(When::After),
            Some(_) => Err(self.wrong(
                "when",
                "before (the effect), then (between effect and answer) or after (the answer)",
            )),
        }
    }

    /// `effect=`, yes or no.
    pub(super) fn effect(&self) -> Result<bool, FaultError> {
        match self.get("effect") {
            None | Some("yes") => Ok(true),
            Some("no") => Ok(false),
            Some(_) => Err(self.wrong("effect", "yes or no")),
        }
    }

    /// `token=`.
    pub(super) fn token(&self) -> Result<Token, FaultError> {
        match self.get("token") {
            None | Some("good") => Ok(Token::Good),
            Some("forged") => Ok(Token::Forged),
            Some("foreign") => Ok(Token::Foreign),
            Some(_) => Err(self.wrong("token", "good, forged or foreign")),
        }
    }
}

impl Span {
    const fn of(from: u64, to: u64) -> Self {
        Self {
            from: Duration::from_millis(from),
            to: Duration::from_millis(to),
        }
    }
}

impl Fault {
    /// Every fault there is: its name, and what it does.
    pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
        NAMES.iter().map(|named| (named.name, named.about))
    }

    pub(super) fn strikes(&self, event: Event) -> bool {
        self.on.covers(event)
    }
}
