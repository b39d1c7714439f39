//! Journals of earlier versions, read for ever (I-29, F-N6).
//!
//! `tests/golden/NAME.db` is a journal as a version of the program left it, `NAME.txt` what it adds
//! up to. `UPDATE=1 cargo test -p openmic-journal golden` writes the texts anew, to be looked at
//! in the diff, and makes the journals that are missing; one that is there is never made again.
//! Whoever changes what a released version writes adds a new name to [`NAMES`].

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openmic_journal::{Durability, Keeping, Log, Recovery, SqliteStore};
use openmic_model::{CallId, EndCause, NamedCallback, ParticipantId, Posted, Record, WallTime};

use crate::facts::{AT, accepted, at, attempt, begun, intent, key, opened, scope, verdict};
use crate::scribe::{Scribe, Step};

/// The journals, the latest format last.
const NAMES: [&str; 2] = ["format-1", "format-2"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Kept for as long as it is in the repository.
fn keeping() -> Keeping {
    Keeping {
        retention: Duration::from_hours(24 * 365 * 1000),
        ..Keeping::default()
    }
}

/// Opens a copy, because opening counts.
fn read(name: &str) -> Recovery {
    let folder_of_copy = tempfile::tempdir().unwrap();
    let copy = folder_of_copy.path().join("journal.db");
    std::fs::copy(folder().join(format!("{name}.db")), copy).unwrap();
    let store = SqliteStore::open(folder_of_copy.path(), Durability::None).unwrap();
    let (_, recovery) = Log::open(Box::new(store), keeping()).unwrap();
    recovery
}

fn told(recovery: &Recovery) -> String {
    let mut told = format!("opened {} times\n", recovery.incarnation);
    for call in &recovery.calls {
        let book = &call.book;
        writeln!(
            told,
            "\ncall {:?}, {} records",
            call.key,
            call.records.len()
        )
        .unwrap();
        writeln!(told, "id {:?}, epoch {:?}", book.id(), book.epoch()).unwrap();
        writeln!(told, "{:#?}\n{:#?}", book.intent(), book.restored()).unwrap();
    }
    for (key, why) in &recovery.quarantined {
        writeln!(told, "\nquarantined {key:?}: {why}").unwrap();
    }
    told
}

fn open(folder: &Path) -> Log {
    let store = SqliteStore::open(folder, Durability::PowerLoss).unwrap();
    Log::open(Box::new(store), keeping()).unwrap().0
}

/// One of everything that can be written; some of it filed, and some recent.
fn make(file: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    // idle
    log.append(key(1), &begun(1));
    // an unmute whose second POST came to nobody knows what, and a later command that joined it
    log.append(key(2), &begun(2));
    let outcome = |lead, number, outcome| Record::Outcome {
        lead: openmic_model::CommandId::new(lead),
        number,
        outcome,
    };
    let of_graph = openmic_model::OperationId::parse("of-graph").unwrap();
    let records = [
        accepted(20, Some(scope(2))),
        attempt(20, 1),
        outcome(20, 1, Posted::NoEffect),
        attempt(20, 2),
        outcome(20, 2, Posted::Ambiguous),
        accepted(21, None),
    ];
    log.append(key(2), &at(WallTime(AT.0 + 1), &records));
    log.commit().unwrap();
    drop(log);
    let mut log = open(folder.path());
    // one that rang, with a speak window
    let Record::Intent(mut rang) = intent() else {
        unreachable!()
    };
    rang.offered = Some(CallId::parse("0c1f5e00-abcd-4000-8000-000000000001").unwrap());
    rang.named = Some(Box::new(NamedCallback {
        callback_uri: "https://bot.example/callbacks".to_owned(),
        call_options: Some("{}".to_owned()),
    }));
    rang.repeat = Some(Box::new(openmic_model::Repeat {
        scope: scope(3),
        print: scope(4),
    }));
    let records = [
        Record::Intent(rang),
        Record::Opened {
            id: CallId::parse("0c1f5e00-abcd-4000-8000-000000000001").unwrap(),
            kind: openmic_model::CallKind::PeerToPeer,
            me: Some(ParticipantId::parse("me").unwrap()),
        },
        Record::Epoch(u64::MAX >> 12),
        accepted(30, None),
        attempt(30, 1),
        outcome(
            30,
            1,
            Posted::Answered {
                operation: Some(of_graph),
            },
        ),
        verdict(30),
        Record::Window {
            until: Some(WallTime(AT.0 + 20_000)),
        },
        Record::Leaving,
    ];
    log.append(key(3), &at(AT, &records));
    // every verdict, origin and outcome, and the end of each kind
    for (number, cause) in (4..).zip(EndCause::ALL) {
        let mut scribe = Scribe::new(number);
        scribe.step(number, &Step::Opened { me: true });
        for how in 0..9 {
            scribe.step(
                number,
                &Step::Command {
                    unmute: how % 2 == 0,
                    machine: how == 3,
                    speak: how == 4,
                    repeat: how == 5,
                },
            );
            scribe.step(number, &Step::Post);
            scribe.step(number, &Step::Outcome { which: how % 4 });
            scribe.step(number, &Step::Settle { which: 0, how });
        }
        if number > 4 {
            scribe.end(cause);
        }
        log.append(key(number), &scribe.records);
    }
    // intended and never sent, and one whose records contradict each other
    log.append(key(u128::MAX), &at(AT, &[intent()]));
    log.append(key(9), &at(AT, &[intent(), opened(9), opened(10)]));
    log.keep_answer(AT, scope(9), scope(8), b"201 Created".to_vec());
    log.commit().unwrap();
    drop(log);
    std::fs::copy(folder.path().join("journal.db"), file).unwrap();
}

#[test]
fn golden_journals_add_up_to_what_they_always_did() {
    let update = std::env::var_os("UPDATE").is_some();
    for name in NAMES {
        let (journal, text) = (format!("{name}.db"), folder().join(format!("{name}.txt")));
        let journal = folder().join(journal);
        if update && !journal.exists() {
            make(&journal);
        }
        let told = told(&read(name));
        if update {
            std::fs::write(&text, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&text).unwrap();
        assert!(
            told == expected,
            "{name} adds up to\n{told}\nand not to\n{expected}"
        );
    }
}

/// What is written today is what the latest golden journal holds: a change of the format does not
/// slip in.
#[test]
fn what_is_written_today_is_in_the_latest_golden_journal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("today.db");
    make(&file);
    let bodies = |file: &Path| {
        let database = rusqlite::Connection::open(file).unwrap();
        let bodies = |table| {
            let sql = format!("SELECT body FROM {table} ORDER BY call, number");
            let mut rows = database.prepare(&sql).unwrap();
            let bodies = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
            bodies.map(Result::unwrap).collect::<Vec<_>>()
        };
        let bodies = [bodies("records"), bodies("recent")];
        assert!(bodies.iter().all(|bodies| !bodies.is_empty()));
        bodies
    };
    let latest = format!("{}.db", NAMES[NAMES.len() - 1]);
    let copy = folder.path().join("latest.db");
    std::fs::copy(self::folder().join(latest), &copy).unwrap();
    assert_eq!(
        bodies(&file),
        bodies(&copy),
        "what is written has changed: add a name to NAMES and run with UPDATE=1"
    );
}
