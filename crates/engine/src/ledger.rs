//! A call's side of the journal.

use openmic_journal::{Journal, Ticket};
use openmic_model::{Book, CallKey, Record};

/// Writes a call's records down. Without a journal it does nothing.
pub(crate) struct Ledger {
    journal: Option<Journal>,
    key: CallKey,
    /// What was written so far.
    book: Book,
}

impl Ledger {
    /// For the call whose callback key is `key`; `book` is what earlier processes wrote of it.
    pub(crate) fn new(journal: Option<Journal>, key: &str, book: Book) -> Self {
        Self {
            journal,
            key: CallKey(u128::from_str_radix(key, 16).unwrap_or_default()),
            book,
        }
    }

    /// Whether anything is written down at all.
    pub(crate) const fn is_kept(&self) -> bool {
        self.journal.is_some()
    }

    /// What was written so far.
    pub(crate) const fn book(&self) -> &Book {
        &self.book
    }

    /// Writes records, in their order and behind those before. `None` when nothing that follows
    /// has to wait for them: there are none, or they only spare a question after a crash.
    pub(crate) fn write(&mut self, records: impl IntoIterator<Item = Record>) -> Option<Ticket> {
        let journal = self.journal.as_ref()?;
        let now = Journal::now();
        let mut awaited = false;
        let mut batch = Vec::new();
        for record in records {
            // What comes after the end is nothing that anybody has to find again.
            if self.book.ended().is_some() {
                break;
            }
            if let Err(contradiction) = self.book.apply(now, &record) {
                // The next process would put the whole call aside.
                tracing::error!(%contradiction, "a record that contradicts the journal is left out");
                debug_assert!(false, "{contradiction}: {record:?}");
                continue;
            }
            awaited |= !matches!(record, Record::Outcome { .. } | Record::Leaving);
            batch.push((now, record));
        }
        if batch.is_empty() {
            return None;
        }
        let mut ticket = journal.append(self.key, &batch);
        if ticket.now() == Some(Ok(())) {
            return None;
        }
        awaited.then_some(ticket)
    }
}
