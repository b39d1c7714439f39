use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc;
use std::thread;

use anyhow::Context as _;
use tokio::sync::oneshot;

/// What a commit writes, roughly: two pages.
const RECORD: usize = 8 * 1024;
/// The part of the file that is written over and over.
const RING: u64 = 1024 * RECORD as u64;

/// The least that durability takes: a thread that writes to a file whose blocks are there, syncs
/// its data once for all who wait, and tells them.
#[derive(Debug)]
pub(crate) struct Disk {
    asked: mpsc::Sender<oneshot::Sender<()>>,
}

impl Disk {
    /// In the system's temporary folder, where the journal of the benches is as well.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let file = tempfile::tempfile()?;
        for at in (0..RING).step_by(RECORD) {
            file.write_all_at(&[1; RECORD], at)?;
        }
        file.sync_all()?;
        let (asked, asking) = mpsc::channel();
        // It ends with the last who could ask.
        thread::Builder::new()
            .name("chain-disk".to_owned())
            .spawn(move || write(&file, &asking))?;
        Ok(Self { asked })
    }

    /// Returns once something is on the disk.
    pub(crate) async fn durable(&self) -> anyhow::Result<()> {
        let (told, wait) = oneshot::channel();
        self.asked.send(told).context("the disk's thread ended")?;
        wait.await.context("a write of the chain failed")
    }
}

fn write(file: &File, asking: &mpsc::Receiver<oneshot::Sender<()>>) {
    let mut at = 0;
    while let Ok(first) = asking.recv() {
        let waiting: Vec<_> = std::iter::once(first).chain(asking.try_iter()).collect();
        let written = file.write_all_at(&[2; RECORD], at);
        if let Err(error) = written.and_then(|()| file.sync_data()) {
            eprintln!("the chain cannot write to its disk: {error}");
            return;
        }
        at = (at + RECORD as u64) % RING;
        for told in waiting {
            told.send(()).unwrap_or_default();
        }
    }
}
