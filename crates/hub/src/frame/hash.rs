//! A roster as one number, so that a subscriber can tell whether it has what the hub has.
//!
//! The sum, modulo 2^64, of the FNV-1a hashes (64 bits, `draft-eastlake-fnv`) of the entries, each
//! as the compact JSON text that a frame has of it. A sum: entries come and go without a look at
//! the others, and their order is nothing. It finds mistakes; it is no seal against an attacker.

use std::hash::Hasher;
use std::io;

use fnv::FnvHasher;
use openmic_model::{Participant, Roster};
use serde::Serializer;

use super::json::Entry;

/// What one entry adds to the hash of a roster.
pub(super) fn entry(participant: &Participant) -> u64 {
    let mut text = Text(FnvHasher::default());
    serde_json::to_writer(&mut text, &Entry::new(participant))
        .expect("plain structs always serialise");
    text.0.finish()
}

/// The hash of a whole roster; its time is that of a snapshot.
pub(crate) fn roster(roster: &Roster) -> u64 {
    roster
        .iter()
        .fold(0, |sum, participant| sum.wrapping_add(entry(participant)))
}

/// As frames have it: 16 digits, since JavaScript reads no number of 64 bits.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
pub(super) fn digits<S: Serializer>(hash: &u64, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&format_args!("{hash:016x}"))
}

struct Text(FnvHasher);

impl io::Write for Text {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.write(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
