//! The truth log: what reached the service, what really took effect, what was answered and what was
//! told. A test holds it against what a bot believes.
//!
//! One JSON object per line. Every line has
//! - `n`: its number, from 1, without gaps, since the service started;
//! - `at`: the wall clock, RFC 3339, UTC, microseconds; `us`: microseconds since the service started,
//!   by a clock that never jumps;
//! - `what`: `started`, `asked`, `effect`, `answered`, `told` or `fault`, and the members of [`Fact`]'s variant
//!   of that name. A member without a value is left out. Readers ignore members they do not know.
//!
//! A line of an effect is written while its meeting is locked, so the order of the lines is the
//! order in which things took effect. Names of people and tokens are in none.

mod exchange;
mod line;
mod lines;
#[cfg(test)]
mod tests;

pub(crate) use exchange::Exchange;
use line::Members;
use lines::Lines;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use openmic_model::{Action, CallId, ClientContext, OperationId, ParticipantId, ResultInfo};
use parking_lot::Mutex;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Written into `started`; rises when a member changes its meaning.
const FORMAT: u8 = 1;

const SECOND: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");

/// What a request asks, or what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A call was created by its bot.
    Create,
    /// A bot is rung.
    Ring,
    Answer,
    Reject,
    /// A call came up.
    Establish,
    Mute,
    Unmute,
    /// Several at a stroke.
    MuteAll,
    /// A participant was removed.
    Remove,
    HangUp,
    /// A call began to end: from here on it is `terminating`.
    End,
    /// A call is no longer found.
    Gone,
}

impl Act {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Ring => "ring",
            Self::Answer => "answer",
            Self::Reject => "reject",
            Self::Establish => "establish",
            Self::Mute => "mute",
            Self::Unmute => "unmute",
            Self::MuteAll => "mute_all",
            Self::Remove => "remove",
            Self::HangUp => "hang_up",
            Self::End => "end",
            Self::Gone => "gone",
        }
    }
}

impl From<Action> for Act {
    fn from(action: Action) -> Self {
        match action {
            Action::Mute => Self::Mute,
            Action::Unmute => Self::Unmute,
        }
    }
}

/// Who muted or unmuted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The bot itself.
    Bot,
    /// Another bot, as a host.
    Other,
    /// The host: the lab.
    Host,
}

impl By {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Other => "other",
            Self::Host => "host",
        }
    }
}

/// One line, but for what all lines have.
#[derive(Debug)]
pub(crate) enum Fact<'a> {
    /// The first line of each start; numbers begin anew.
    Started { format: u8, base_url: &'a str },
    /// A POST or DELETE came, by a caller whose token holds. It may not have had an effect.
    Asked {
        /// The `request-id` of its answer.
        request: &'a str,
        act: Act,
        call: Option<&'a str>,
        /// Whom it is about, when it is not the bot itself.
        participant: Option<&'a str>,
        client_context: Option<&'a ClientContext>,
    },
    /// Somebody's mute was set: gate and roster say so from here on.
    Effect {
        act: Act,
        by: By,
        /// The call of the bot that it was done to; none for a human.
        call: Option<&'a CallId>,
        participant: &'a ParticipantId,
        /// Whether the roster said otherwise before.
        changed: bool,
        request: Option<&'a str>,
        operation: Option<&'a OperationId>,
        client_context: Option<&'a ClientContext>,
    },
    /// A call got on in its life: create, ring, establish, end or gone. Also `effect`.
    Life {
        act: Act,
        call: &'a CallId,
        /// The bot's own entry.
        participant: Option<&'a ParticipantId>,
        request: Option<&'a str>,
        /// Of an end, as in `resultInfo`.
        code: Option<i32>,
        subcode: Option<i32>,
    },
    /// What an `asked` was answered.
    Answered {
        request: &'a str,
        /// None when the caller got no answer.
        status: Option<u16>,
        /// `error.code` of a failure.
        code: Option<&'a str>,
    },
    /// A fault came to pass.
    Fault {
        fault: &'a str,
        /// At what, as `on=` of the plan has it.
        on: &'a str,
        call: Option<&'a CallId>,
        /// The request, or the notification's message id.
        by: &'a str,
    },
    /// A notification is dealt with.
    Told {
        call: &'a CallId,
        told: Told<'a>,
        /// Its `x-microsoft-skype-message-id`.
        message: &'a str,
        /// `delivered`, `refused`, `rejected`, `failed`, `abandoned`, as the metric counts, or
        /// `dropped`.
        result: &'static str,
        /// POSTs that were made for it.
        attempts: u32,
    },
}

/// What a notification says.
#[derive(Debug)]
pub(crate) enum Told<'a> {
    Call {
        state: &'static str,
    },
    Operation {
        operation: Option<&'a OperationId>,
        status: &'static str,
        client_context: Option<&'a ClientContext>,
    },
    Roster {
        /// Of a delta; a full roster has none.
        sequence_number: Option<u64>,
        /// How many entries it has.
        entries: usize,
        /// Those of the entries that say muted.
        muted: Vec<&'a ParticipantId>,
    },
}

impl<'a> Fact<'a> {
    /// A step of a call's life.
    pub(crate) fn life(act: Act, call: &'a CallId) -> Self {
        Self::Life {
            act,
            call,
            participant: None,
            request: None,
            code: None,
            subcode: None,
        }
    }

    /// A call begins to end.
    pub(crate) fn end(call: &'a CallId, result: &ResultInfo) -> Self {
        Self::Life {
            act: Act::End,
            call,
            participant: None,
            request: None,
            code: Some(result.code),
            subcode: Some(result.subcode),
        }
    }
}

/// The log: the newest lines in memory, and all of them in a file where one is named.
#[derive(Debug)]
pub(crate) struct Truth {
    started: Instant,
    kept: Mutex<Kept>,
    most: usize,
}

#[derive(Debug, Default)]
struct Kept {
    /// Number of the newest line.
    last: u64,
    lines: Lines,
    file: Option<File>,
    /// The line that is being written.
    line: Vec<u8>,
    clock: Clock,
}

/// The wall clock in words. Most lines are of the second of the line before.
#[derive(Debug, Default)]
struct Clock {
    second: Option<u64>,
    words: String,
}

/// Bytes of the words up to the second.
const UP_TO_SECOND: usize = "2026-11-25T21:09:04".len();

impl Clock {
    fn read(&mut self) -> io::Result<&str> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        if self.second != Some(now.as_secs()) {
            let second = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
            self.words = second.format(&SECOND).map_err(io::Error::other)?;
            self.second = Some(now.as_secs());
        }
        self.words.truncate(UP_TO_SECOND);
        self.words.push('.');
        let mut unit = 100_000;
        while unit > 0 {
            let digit = now.subsec_micros() / unit % 10;
            self.words.push(char::from_digit(digit, 10).unwrap_or('0'));
            unit /= 10;
        }
        self.words.push('Z');
        Ok(&self.words)
    }
}

impl Truth {
    /// Begins a log of at most `most` lines in memory. What `file` holds already stays in it.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub(crate) fn begin(most: usize, file: Option<&Path>, base_url: &str) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        let truth = Self {
            started: Instant::now(),
            kept: Mutex::new(Kept {
                file: file.map(open).transpose()?,
                ..Kept::default()
            }),
            most: most.max(1),
        };
        truth.write(&Fact::Started {
            format: FORMAT,
            base_url,
        });
        Ok(truth)
    }

    /// Adds a line. It is in the file when this returns; a file that takes no more is given up,
    /// which is logged once.
    pub(crate) fn write(&self, fact: &Fact<'_>) {
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        let written = self.line(kept, fact);
        written.expect("memory takes JSON of string keys");
        kept.last += 1;
        if let Some(file) = &mut kept.file
            && let Err(error) = file.write_all(&kept.line)
        {
            tracing::error!(%error, "the truth log's file takes no more; it ends here");
            kept.file = None;
        }
        if kept.lines.len() >= self.most {
            kept.lines.forget_oldest();
        }
        kept.lines.push(&kept.line);
    }

    /// What all lines have, then the members of the fact, in the braces of one object.
    fn line(&self, kept: &mut Kept, fact: &Fact<'_>) -> io::Result<()> {
        let us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let line = &mut kept.line;
        line.clear();
        let mut members = Members(line);
        members.number("n", kept.last + 1);
        members.plain("at", kept.clock.read()?);
        members.number("us", us);
        members.fact(fact);
        // In the place of the first member's comma.
        line[0] = b'{';
        line.extend_from_slice(b"}\n");
        Ok(())
    }

    /// The lines with a number above `since` that are still in memory. A first number above
    /// `since + 1` says that some have gone.
    pub(crate) fn since(&self, since: u64) -> String {
        let kept = self.kept.lock();
        let new = kept.last.saturating_sub(since);
        let new = usize::try_from(new).unwrap_or(usize::MAX);
        let skipped = kept.lines.len().saturating_sub(new);
        let text = String::from_utf8(kept.lines.after(skipped));
        text.expect("JSON is UTF-8, and no line is cut")
    }
}
