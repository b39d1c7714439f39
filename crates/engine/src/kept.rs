//! What a create was answered with, as long as the call lives.
//!
//! The answers of one bot's calls are nearly the same text: what differs is an id, the callback's
//! key, perhaps a thread. So a call keeps where its answer differs from that of a call before it,
//! and shares the rest.

use std::fmt;
use std::sync::{Arc, OnceLock};

use openmic_model::CallId;
use parking_lot::Mutex;

use crate::join::Created;

/// The answer that others are compared with.
#[derive(Default)]
pub(crate) struct Answers(Mutex<Option<Arc<[u8]>>>);

/// A [`Created`] as a call keeps it, until somebody asks for the tree.
pub(crate) struct Kept {
    media_blob: Option<Box<str>>,
    /// A text of as many [`parts`] as the answer's.
    like: Arc<[u8]>,
    /// Where the answer differs: see [`differences`].
    differs: Box<[u8]>,
    whole: OnceLock<Box<Created>>,
}

impl Kept {
    pub(crate) fn new(created: &Created, answers: &Answers) -> Self {
        let raw = serde_json::to_vec(&created.raw).expect("a tree of JSON can be written");
        let (like, differs) = answers.compare(&raw);
        Self {
            media_blob: created.media_blob.as_deref().map(Into::into),
            like,
            differs,
            whole: OnceLock::new(),
        }
    }

    /// Of the call with that id.
    pub(crate) fn whole(&self, id: &CallId) -> &Created {
        self.whole.get_or_init(|| Box::new(self.anew(id)))
    }

    /// As [`Kept::whole`], and nothing of it is kept.
    pub(crate) fn anew(&self, id: &CallId) -> Created {
        let raw = joined(&self.like, &self.differs);
        Created {
            id: id.clone(),
            media_blob: self.media_blob.as_deref().map(Into::into),
            raw: serde_json::from_slice(&raw).expect("it was written from a tree"),
        }
    }
}

/// It may hold whatever the answer held.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl Answers {
    /// A text like `raw`, and where that differs from it. What is like no answer so far is what the
    /// next ones are compared with.
    fn compare(&self, raw: &[u8]) -> (Arc<[u8]>, Box<[u8]>) {
        let like = self.0.lock().clone();
        if let Some(like) = like
            && let Some(differs) = differences(&like, raw)
            && differs.len() <= raw.len() / 2
        {
            return (like, differs.into());
        }
        let like: Arc<[u8]> = raw.into();
        *self.0.lock() = Some(Arc::clone(&like));
        (like, Box::default())
    }
}

/// A JSON text cut at its quotation marks: strings and what is between them.
fn parts(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'"')
}

/// For each part of `text` that is another one in `like`: its number, how many bytes at its
/// beginning are the same, how many others follow, and these. `None` when `text` has more parts or
/// fewer.
fn differences(like: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let mut differs = Vec::new();
    let (mut theirs, mut ours) = (parts(like), parts(text));
    for at in 0_usize.. {
        match (theirs.next(), ours.next()) {
            (None, None) => break,
            (Some(their), Some(our)) if their == our => {}
            (Some(their), Some(our)) => {
                let pairs = their.iter().zip(our);
                let same = pairs.take_while(|(their, our)| their == our).count();
                for number in [at, same, our.len() - same] {
                    put(number, &mut differs);
                }
                differs.extend_from_slice(&our[same..]);
            }
            _ => return None,
        }
    }
    Some(differs)
}

/// The text that [`differences`] was made of.
fn joined(like: &[u8], mut differs: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(like.len() + differs.len());
    let mut next = take(&mut differs);
    for (at, part) in parts(like).enumerate() {
        if at > 0 {
            text.push(b'"');
        }
        if next != Some(at) {
            text.extend_from_slice(part);
            continue;
        }
        let same = take(&mut differs).and_then(|same| part.get(..same));
        let others = take(&mut differs).and_then(|others| differs.split_off(..others));
        text.extend_from_slice(same.unwrap_or_default());
        text.extend_from_slice(others.unwrap_or_default());
        next = take(&mut differs);
    }
    text
}

/// Seven bits in a byte, the lowest first.
fn put(mut number: usize, to: &mut Vec<u8>) {
    while let low @ 0x80.. = number {
        to.push(low.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    to.push(number.to_le_bytes()[0]);
}

fn take(from: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = *from.split_off_first()?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn created(raw: Value) -> Created {
        let Value::Object(raw) = raw else {
            panic!("{raw} is no object");
        };
        Created {
            id: CallId::parse("call").unwrap(),
            media_blob: None,
            raw,
        }
    }

    #[test]
    fn whatever_came_before_an_answer_comes_back_as_it_was() {
        let answers = Answers::default();
        let long = "x".repeat(300);
        let all = [
            json!({"id": "a1", "callbackUri": "https://bot/1", "state": "establishing", "n": 1}),
            json!({"id": "a2", "callbackUri": "https://bot/22", "state": "establishing", "n": 2}),
            json!({"id": "a2", "callbackUri": "", "state": "quote \" and back\\slash", "n": 3}),
            json!({"id": long, "callbackUri": "é", "state": null, "n": [1, 2]}),
            json!({"id": 7}),
            json!({}),
            json!({"id": long, "more": {"id": long, "other": long}}),
            json!({"id": long, "more": {"id": long, "other": "y"}}),
        ];
        let kept: Vec<_> = all
            .iter()
            .map(|raw| (Kept::new(&created(raw.clone()), &answers), raw))
            .collect();
        for (kept, raw) in kept {
            assert_eq!(
                kept.anew(&CallId::parse("call").unwrap()),
                created(raw.clone())
            );
        }
    }

    #[test]
    fn what_a_call_shares_with_others_it_does_not_keep() {
        let answers = Answers::default();
        let answer = |id: u32| {
            created(json!({
                "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#communications/calls",
                "callbackUri": format!("https://bot.example/callbacks/{id:032x}"),
                "id": format!("{id:032x}"),
                "state": "establishing",
            }))
        };
        let first = Kept::new(&answer(7), &answers);
        let second = Kept::new(&answer(8_000_000), &answers);
        assert!(Arc::ptr_eq(&first.like, &second.like));
        assert!(second.differs.len() < 32, "{}", second.differs.len());
    }
}
