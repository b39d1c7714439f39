//! Real folders: locks, rights, formats, damaged files. F-D4, F-D6, F-N6, F-N7.

#[cfg(target_os = "linux")]
use std::ffi::CStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use openmic_journal::{Full, Journal, JournalConfig, Keeping, Look, OpenError};
#[cfg(target_os = "linux")]
use rustix::mount::{MountFlags, UnmountFlags};

use crate::facts::{AT, at, begun, closed, key, unmuting, verdict};

async fn write_one(folder: &Path) {
    let (journal, _) = Journal::open(&JournalConfig::new(folder)).unwrap();
    journal.append(key(1), &begun(1)).await.unwrap();
    journal.close().await;
}

/// Why it cannot be opened; who only looks is told the same.
fn refused(folder: &Path) -> OpenError {
    let seen = Look::at(folder);
    let error = open_error(folder);
    match seen {
        Ok(seen) => assert_eq!((seen, in_use(&error)), (Look::InUse, true), "{error}"),
        Err(seen) => assert_eq!(kind(&seen), kind(&error), "{seen}"),
    }
    error
}

fn in_use(error: &OpenError) -> bool {
    matches!(error, OpenError::InUse { .. })
}

fn kind(error: &OpenError) -> std::mem::Discriminant<OpenError> {
    std::mem::discriminant(error)
}

fn open_error(folder: &Path) -> OpenError {
    Journal::open(&JournalConfig::new(folder)).unwrap_err()
}

#[tokio::test]
async fn what_nobody_waits_for_becomes_durable_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&JournalConfig::new(folder.path())).unwrap();
    journal.append(key(1), &unmuting(1, 10)).await.unwrap();
    let passing = journal.append_in_passing(key(1), &at(AT, &[verdict(10)]));
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, passing)
        .await
        .unwrap()
        .unwrap();
    // the last one goes with the end
    let last = journal.append_in_passing(key(1), &at(AT, &[closed()]));
    journal.close().await;
    assert_eq!(last.await, Ok(()));
}

#[tokio::test]
async fn a_folder_is_made_for_this_user_alone() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("a/b");
    let (journal, _) = Journal::open(&JournalConfig::new(&folder)).unwrap();
    journal.append(key(1), &begun(1)).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

/// F-N7.
#[tokio::test]
async fn a_second_one_on_the_folder_is_refused_until_the_first_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = Journal::open(&JournalConfig::new(folder.path())).unwrap();
    let error = refused(folder.path());
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains("another process"), "{error}");
    first.append(key(1), &begun(1)).await.unwrap();
    first.close().await;
    let (_, recovery) = Journal::open(&JournalConfig::new(folder.path())).unwrap();
    assert_eq!(recovery.calls.len(), 1);
}

/// F-N6.
#[tokio::test]
async fn a_newer_format_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    write_one(folder.path()).await;
    let file = folder.path().join("journal.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    let before = std::fs::read(&file).unwrap();
    let error = refused(folder.path());
    assert!(
        matches!(error, OpenError::Newer { found: 99, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("format 99"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_database_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    database.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(database);
    assert!(matches!(refused(folder.path()), OpenError::NotOurs { .. }));
}

/// F-D4: where SQLite's own structure is broken, no call can be told from another.
#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    write_one(folder.path()).await;
    let file = folder.path().join("journal.db");
    let mut bytes = std::fs::read(&file).unwrap();
    for byte in &mut bytes[..100] {
        *byte ^= 0x55;
    }
    std::fs::write(&file, &bytes).unwrap();
    let error = refused(folder.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(".recover"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

/// F-D4, in the file itself: no flipped bit of a record goes unseen, and none harms another call.
#[tokio::test]
async fn a_bit_flipped_in_the_file_quarantines_its_call() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&JournalConfig::new(folder.path())).unwrap();
    for number in 1..=3 {
        journal.append(key(number), &begun(number)).await.unwrap();
    }
    journal.close().await;
    let file = folder.path().join("journal.db");
    let bytes = std::fs::read(&file).unwrap();
    let places: Vec<_> = (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(b"call-2"))
        .collect();
    assert_eq!(places.len(), 1);
    for offset in 0..6 {
        let mut damaged = bytes.clone();
        damaged[places[0] + offset] ^= 4;
        std::fs::write(&file, &damaged).unwrap();
        let (journal, recovery) = Journal::open(&JournalConfig::new(folder.path())).unwrap();
        let open: Vec<_> = recovery.calls.iter().map(|call| call.key).collect();
        assert_eq!(open, [key(1), key(3)]);
        assert_eq!(recovery.quarantined[0].0, key(2));
        journal.close().await;
    }
    std::fs::write(&file, &bytes).unwrap();
    let (_, recovery) = Journal::open(&JournalConfig::new(folder.path())).unwrap();
    assert_eq!(recovery.calls.len(), 3);
}

/// F-D4: a row whose damage is in its call's key leaves a gap in that call.
#[tokio::test]
async fn a_row_that_lies_with_another_call_quarantines_the_one_that_misses_it() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&JournalConfig::new(folder.path())).unwrap();
    for number in [1, 4] {
        journal.append(key(number), &begun(number)).await.unwrap();
    }
    journal.close().await;
    let database = rusqlite::Connection::open(folder.path().join("journal.db")).unwrap();
    let (from, to) = (4_u128.to_be_bytes(), 5_u128.to_be_bytes());
    let moved = database.execute(
        "UPDATE recent SET call = ?1 WHERE call = ?2 AND number = 3",
        [to, from],
    );
    assert_eq!(moved, Ok(1));
    drop(database);
    let (_, recovery) = Journal::open(&JournalConfig::new(folder.path())).unwrap();
    let quarantined: Vec<_> = recovery.quarantined.iter().map(|(key, _)| *key).collect();
    assert_eq!(quarantined, [key(4), key(5)]);
    assert_eq!(recovery.calls.len(), 1);
}

/// F-D6.
#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = refused(&file.join("journal"));
    assert!(matches!(error, OpenError::Folder { .. }), "{error}");
    assert!(error.to_string().contains("cannot be written"), "{error}");
}

/// Also where the newer version's mark is in its log only.
#[tokio::test]
async fn who_looks_finds_what_opening_would_meet() {
    let folder = tempfile::tempdir().unwrap();
    write_one(folder.path()).await;
    let database = rusqlite::Connection::open(folder.path().join("journal.db")).unwrap();
    let log = "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0";
    database.execute_batch(log).unwrap();
    assert!(matches!(Look::at(folder.path()), Ok(Look::Journal { .. })));
    database.pragma_update(None, "user_version", 99).unwrap();
    let error = Look::at(folder.path()).unwrap_err();
    assert!(
        matches!(error, OpenError::Newer { found: 99, .. }),
        "{error}"
    );
    database.pragma_update(None, "user_version", 1).unwrap();
    assert!(matches!(Look::at(folder.path()), Ok(Look::Journal { .. })));
    database.pragma_update(None, "application_id", 5).unwrap();
    let error = Look::at(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::NotOurs { .. }), "{error}");
    drop(database);

    for name in ["lock", "journal.db", "journal.db-wal"] {
        let folder = tempfile::tempdir().unwrap();
        // nobody may write it as a file, root neither
        std::fs::create_dir(folder.path().join(name)).unwrap();
        let error = Look::at(folder.path()).unwrap_err();
        assert!(matches!(error, OpenError::Folder { .. }), "{name}: {error}");
        open_error(folder.path());
    }
}

#[tokio::test]
async fn who_looks_changes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("a/b");
    assert_eq!(Look::at(&folder).unwrap(), Look::New);
    assert!(!parent.path().join("a").exists());
    write_one(&folder).await;
    let seen = Look::at(&folder).unwrap();
    assert!(matches!(seen, Look::Journal { bytes: 1.. }), "{seen:?}");
    let (_journal, recovery) = Journal::open(&JournalConfig::new(&folder)).unwrap();
    assert_eq!(recovery.incarnation, 2);
}

/// A file system of its own, which only root can have. Without a child process: one would hold the
/// locks of all journals that are open here until it runs `mount`.
#[cfg(target_os = "linux")]
struct Mount(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl Mount {
    fn new(options: &CStr) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let flags = MountFlags::empty();
        match rustix::mount::mount("tmpfs", folder.path(), "tmpfs", flags, options) {
            Ok(()) => Some(Self(folder)),
            Err(error) => {
                eprintln!("skipped: a tmpfs cannot be mounted here ({error}); root can");
                None
            }
        }
    }

    fn let_nobody_write(&self) {
        rustix::mount::mount_remount(self.0.path(), MountFlags::RDONLY, c"").unwrap();
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mount {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0.path(), UnmountFlags::DETACH).unwrap();
    }
}

/// F-D6.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_read_only_folder_is_named() {
    let Some(mount) = Mount::new(c"size=4m") else {
        return;
    };
    let folder = mount.0.path().join("journal");
    write_one(&folder).await;
    mount.let_nobody_write();
    for place in [folder, mount.0.path().join("new")] {
        let error = refused(&place);
        assert!(matches!(error, OpenError::Folder { .. }), "{error}");
        assert!(error.to_string().contains("Read-only"), "{error}");
    }
}

/// F-D1, I-34, on a disk that really is full.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn on_a_full_disk_verdicts_are_recorded_and_new_commands_refused_until_there_is_room() {
    let Some(mount) = Mount::new(c"size=4m") else {
        return;
    };
    let config = JournalConfig {
        keeping: Keeping {
            min_free: 1 << 20,
            reserve: 512 << 10,
            ..Keeping::default()
        },
        ..JournalConfig::new(mount.0.path().join("journal"))
    };
    let (journal, _) = Journal::open(&config).unwrap();
    for number in 1..=64 {
        journal.admits().unwrap();
        let unmute = unmuting(number, number);
        journal.append(key(number), &unmute).await.unwrap();
    }

    // somebody else fills it to the last byte
    let filler = mount.0.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let filled = std::io::copy(&mut std::io::repeat(1), &mut file).unwrap_err();
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    for number in 1..=64 {
        let settled = at(AT, &[verdict(number)]);
        let recorded = journal.append(key(number), &settled);
        let recorded = tokio::time::timeout(Duration::from_secs(20), recorded).await;
        recorded.expect("there is room for it").unwrap();
    }
    let full = journal.admits().unwrap_err();
    assert!(matches!(full, Full::Disk { .. }), "{full}");
    assert!(!config.folder.join("reserve").exists());

    // what is open keeps its room
    drop(file);
    std::fs::remove_file(filler).unwrap();
    while journal.admits().is_err() {
        tokio::task::yield_now().await;
    }
    assert!(config.folder.join("reserve").exists(), "it is held again");
    journal.close().await;
    let (_, recovery) = Journal::open(&config).unwrap();
    assert_eq!((recovery.calls.len(), recovery.quarantined.len()), (64, 0));
    for call in recovery.calls {
        assert_eq!(call.book.open(), []);
    }
}
