//! What the harness sees, in the words of the checker.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use openmic_checker::{Breach, Checker, End, Entry, Limits, What, command_of};
use openmic_model::{Action, ClientContext, CommandId, OperationId};
use serde_json::Value;

/// What `calls.command_deadline` is, in milliseconds.
pub(crate) const WITHIN: u64 = 30_000;

/// Microseconds of the wall clock, which the service's truth log has as well.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_micros()).expect("for long")
}

/// What was seen since it was last judged, from all tasks.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<Entry>>>);

impl Seen {
    pub(crate) fn note(&self, call: &str, what: What) {
        self.note_at(now(), call, what);
    }

    pub(crate) fn note_at(&self, at: u64, call: &str, what: What) {
        let call = call.to_owned();
        self.0.lock().unwrap().push(Entry { at, call, what });
    }

    fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").finish_non_exhaustive()
    }
}

/// The action of a word of the surface or of the truth log.
pub(crate) fn action_of(word: &str) -> Option<Action> {
    match word {
        "mute" => Some(Action::Mute),
        "unmute" => Some(Action::Unmute),
        _ => None,
    }
}

/// The command of an engine's operation.
pub(crate) fn command(operation: &str) -> CommandId {
    let id = OperationId::parse(operation).expect("an operation's id");
    command_of(&id).unwrap_or_else(|| panic!("{operation} is no operation of the engine's"))
}

/// The command and the number in a client context of the engine's.
pub(crate) fn context_of(value: &Value) -> Option<(CommandId, u8)> {
    let context = ClientContext::parse(value.as_str()?).ok()?;
    CommandId::from_context(&context)
}

/// The truth log as it grows.
#[derive(Debug)]
pub(crate) struct Truth {
    path: PathBuf,
    read: u64,
    rest: String,
    /// POSTs that came and are not answered, by request.
    asked: BTreeMap<String, Value>,
    /// Calls that are up, with the bot's own participant, and whether that is muted.
    pub(crate) open: BTreeMap<String, (String, bool)>,
    /// Who was created by which request, to know what nobody learned of.
    pub(crate) posts: u64,
    pub(crate) effects: u64,
}

impl Truth {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: 0,
            rest: String::new(),
            asked: BTreeMap::new(),
            open: BTreeMap::new(),
            posts: 0,
            effects: 0,
        }
    }

    /// Takes what was written since the last time in, and tells it.
    pub(crate) fn poll(&mut self, seen: &Seen) {
        let news = self.news();
        seen.0.lock().unwrap().extend(news);
    }

    fn news(&mut self) -> Vec<Entry> {
        let mut file = File::open(&self.path).expect("the truth log is there");
        file.seek(SeekFrom::Start(self.read)).expect("a file");
        let mut text = std::mem::take(&mut self.rest);
        let count = file.read_to_string(&mut text).expect("lines of text");
        self.read += count as u64;
        let mut entries = Vec::new();
        let mut lines = text.split_inclusive('\n').peekable();
        while let Some(line) = lines.next() {
            if lines.peek().is_none() && !line.ends_with('\n') {
                line.clone_into(&mut self.rest);
                break;
            }
            let line: Value = serde_json::from_str(line).expect("JSON");
            self.fold(&line, &mut entries);
        }
        entries
    }

    fn fold(&mut self, line: &Value, entries: &mut Vec<Entry>) {
        let word = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let at = micros(&word("at"));
        match (word("what").as_str(), word("act").as_str()) {
            ("asked", "mute" | "unmute") => {
                self.asked.insert(word("request"), line.clone());
            }
            ("answered", _) => {
                let Some(asked) = self.asked.remove(&word("request")) else {
                    return;
                };
                let good = line["status"].as_u64().is_none_or(|status| status < 300);
                let act = asked["act"].as_str().unwrap_or_default();
                let context = context_of(&asked["clientContext"]);
                if let (true, Some((lead, number)), Some(action)) = (good, context, action_of(act))
                {
                    self.posts += 1;
                    entries.push(Entry {
                        at: micros(asked["at"].as_str().unwrap_or_default()),
                        call: asked["call"].as_str().unwrap_or_default().to_owned(),
                        what: What::Reached {
                            lead,
                            number,
                            action,
                        },
                    });
                }
            }
            ("effect", "create" | "establish") => {
                let bot = self.open.entry(word("call")).or_default();
                if line["participant"].is_string() {
                    bot.0 = word("participant");
                }
                if line["act"] == "establish" {
                    entries.push(Entry {
                        at,
                        call: word("call"),
                        what: What::Took {
                            by: None,
                            muted: false,
                        },
                    });
                }
            }
            ("effect", act @ ("mute" | "unmute")) => {
                let muted = act == "mute";
                self.effects += 1;
                if let Some(bot) = self.open.get_mut(&word("call")) {
                    bot.1 = muted;
                }
                let by = context_of(&line["clientContext"]);
                entries.push(Entry {
                    at,
                    call: word("call"),
                    what: What::Took { by, muted },
                });
            }
            ("effect", "end" | "gone") => {
                self.open.remove(&word("call"));
            }
            _ => {}
        }
    }
}

/// Microseconds since 1970 of `2026-11-25T21:09:04.123456Z`.
fn micros(text: &str) -> u64 {
    let part = |range: std::ops::Range<usize>| -> i64 {
        let part = text.get(range).and_then(|part| part.parse().ok());
        part.unwrap_or_else(|| panic!("no time: {text}"))
    };
    let (year, month, day) = (part(0..4), part(5..7), part(8..10));
    // days from civil, as in the calendar since 1582
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let era = y.div_euclid(400);
    let yoe = y - era * 400;
    let doy = (153 * m + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    let seconds = days * 86_400 + part(11..13) * 3600 + part(14..16) * 60 + part(17..19);
    u64::try_from(seconds * 1_000_000 + part(20..26)).expect("after 1970")
}

/// Judges what was seen, cycle by cycle.
pub(crate) struct Judge {
    checker: Checker,
    /// The latest entries, for people, when something does not hold.
    latest: Vec<Entry>,
    known: BTreeSet<CommandId>,
    pub(crate) entries: u64,
}

/// A command that was told 404 because its call was hung up, and not what it was called.
#[derive(Debug)]
pub(crate) struct Nameless {
    pub(crate) call: String,
    pub(crate) action: Action,
    pub(crate) asked: u64,
}

impl Judge {
    pub(crate) fn new() -> Self {
        Self {
            // Real processes share the machine and its disk with others.
            checker: Checker::new(Limits {
                settle: 15_000_000,
                end: 5_000_000,
                ..Limits::default()
            }),
            latest: Vec::new(),
            known: BTreeSet::new(),
            entries: 0,
        }
    }

    /// Takes all that was seen.
    ///
    /// # Errors
    /// What does not hold, with the history of its call.
    pub(crate) fn judge(&mut self, seen: &Seen, nameless: Vec<Nameless>) -> Result<(), String> {
        let mut entries = seen.take();
        self.name(nameless, &mut entries);
        superseded_first(&mut entries);
        // stable: what one task saw stays in its order
        entries.sort_by_key(|entry| entry.at);
        self.latest = entries;
        for entry in &self.latest {
            self.entries += 1;
            self.checker
                .take(entry)
                .map_err(|breach| self.tell(&breach))?;
        }
        Ok(())
    }

    /// Says of commands whose names nobody was told that they were accepted, by what is seen of
    /// them. Which request a command came by nobody knows, so it counts from the first of its call.
    fn name(&mut self, mut nameless: Vec<Nameless>, entries: &mut Vec<Entry>) {
        self.known
            .extend(entries.iter().filter_map(|entry| match entry.what {
                What::Accepted { command, .. } => Some(command),
                _ => None,
            }));
        let mut first: BTreeMap<String, u64> = BTreeMap::new();
        for one in &nameless {
            let at = first.entry(one.call.clone()).or_insert(one.asked);
            *at = one.asked.min(*at);
        }
        // A POST tells its action, a verdict does not: those that can be told apart come first.
        let told = |entry: &Entry| match entry.what {
            What::Sent { lead, action, .. } => Some((entry.call.clone(), lead, Some(action))),
            What::Told { command, .. } => Some((entry.call.clone(), command, None)),
            _ => None,
        };
        let (posted, ended): (Vec<_>, Vec<_>) = entries
            .iter()
            .filter_map(told)
            .partition(|(.., action)| action.is_some());
        for (call, command, action) in posted.into_iter().chain(ended) {
            let fits =
                |one: &Nameless| one.call == call && action.is_none_or(|told| told == one.action);
            if !self.known.contains(&command)
                && let Some(at) = nameless.iter().position(fits)
            {
                let one = nameless.swap_remove(at);
                self.known.insert(command);
                entries.push(Entry {
                    at: first[&call],
                    call,
                    what: What::Accepted {
                        command,
                        action: one.action,
                        within: WITHIN,
                    },
                });
            }
        }
    }

    /// The call is over.
    pub(crate) fn close(&mut self, call: &str) -> Result<(), String> {
        self.checker
            .close(call)
            .map_err(|breach| breach.to_string())
    }

    /// The run is over.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        self.checker.finish().map_err(|breach| self.tell(&breach))
    }

    fn tell(&self, breach: &Breach) -> String {
        let of = |entry: &&Entry| {
            entry.call == "*" || breach.call.as_ref().is_none_or(|call| *call == entry.call)
        };
        let lines: Vec<_> = self.latest.iter().filter(of).map(Entry::to_line).collect();
        format!("{breach}\n{}", lines.join("\n"))
    }
}

/// How much later than a POST a verdict may be heard that was given before it: they come by
/// different ways.
const WAY: u64 = 20_000;

/// A command is superseded before the POST of what supersedes it leaves, and subscribers may hear
/// of it after that came by.
fn superseded_first(entries: &mut [Entry]) {
    let accepted: BTreeMap<_, _> = entries
        .iter()
        .filter_map(|entry| match entry.what {
            What::Accepted { command, .. } => Some((command, entry.at)),
            _ => None,
        })
        .collect();
    for entry in entries {
        if let What::Told {
            command,
            end: End::Superseded,
        } = entry.what
        {
            let earliest = accepted.get(&command).map_or(entry.at, |at| at + 1);
            entry.at = entry.at.min(earliest.max(entry.at - WAY));
        }
    }
}
