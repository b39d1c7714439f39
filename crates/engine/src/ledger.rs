//! A call's side of the journal.

use std::sync::LazyLock;

use openmic_journal::{Journal, Ticket};
use openmic_model::{Book, CallKey, Contradiction, Record};

/// Writes a call's records down. Without a journal it does nothing.
pub(crate) struct Ledger(Option<Box<Kept>>);

struct Kept {
    journal: Journal,
    key: CallKey,
    /// What was written so far.
    book: Book,
}

/// What is written of a call where nothing is.
static NOTHING: LazyLock<Book> = LazyLock::new(Book::default);

impl Ledger {
    /// For the call whose callback key is `key`; `book` is what earlier processes wrote of it.
    pub(crate) fn new(journal: Option<Journal>, key: CallKey, book: Book) -> Self {
        Self(journal.map(|journal| Box::new(Kept { journal, key, book })))
    }

    /// Whether anything is written down at all.
    pub(crate) const fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Whether what follows `record` waits until it is durable. The others only spare a question
    /// after a crash.
    pub(crate) const fn is_awaited(record: &Record) -> bool {
        !matches!(record, Record::Outcome { .. } | Record::Leaving)
    }

    /// What was written so far.
    pub(crate) fn book(&self) -> &Book {
        self.0.as_ref().map_or(&*NOTHING, |kept| &kept.book)
    }

    /// Writes records, in their order and behind those before. `None` when nothing that follows
    /// has to wait for them: there are none, or they only spare a question after a crash.
    ///
    /// # Errors
    /// The [`Contradiction`] of the first record that cannot follow those before it. That one and
    /// those behind it are not written: the next process would put the whole call aside for it. So
    /// nothing that rests on any of them may happen.
    pub(crate) fn write(
        &mut self,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Option<Ticket>, Contradiction> {
        let Some(kept) = &mut self.0 else {
            return Ok(None);
        };
        let Kept { journal, key, book } = &mut **kept;
        let now = Journal::now();
        let mut awaited = false;
        let mut contradicts = Ok(());
        let mut batch = Vec::new();
        for record in records {
            // What comes after the end is nothing that anybody has to find again.
            if book.ended().is_some() {
                break;
            }
            contradicts = book.apply(now, &record);
            if contradicts.is_err() {
                break;
            }
            awaited |= Self::is_awaited(&record);
            batch.push((now, record));
        }
        if batch.is_empty() {
            return contradicts.map(|()| None);
        }
        let mut ticket = if awaited {
            journal.append(*key, &batch)
        } else {
            journal.append_in_passing(*key, &batch)
        };
        contradicts?;
        if ticket.now() == Some(Ok(())) {
            return Ok(None);
        }
        Ok(awaited.then_some(ticket))
    }
}
