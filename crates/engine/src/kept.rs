//! What a create was answered with, as long as the call lives.
//!
//! The answers of one bot's calls are nearly the same text: what differs is an id and the callback's
//! key, which the call has anyhow, perhaps a thread. So a call keeps where else its answer differs
//! from that of a call before it, and shares the rest.

use std::fmt;
use std::sync::{Arc, OnceLock};

use openmic_model::{CallId, CallKey};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::join::Created;

/// The answer that others are compared with.
#[derive(Default)]
pub(crate) struct Answers(Mutex<Option<Arc<Box<[u8]>>>>);

/// A [`Created`] as a call keeps it, until somebody asks for the tree.
pub(crate) struct Kept {
    /// A text of as many [`parts`] as the answer's.
    like: Arc<Box<[u8]>>,
    /// Where the answer differs: see [`differences`].
    differs: Box<[u8]>,
    whole: OnceLock<Box<Created>>,
}

impl Kept {
    /// Of the call with that callback key.
    pub(crate) fn new(created: &Created, key: CallKey, answers: &Answers) -> Self {
        let Created {
            id,
            media_blob,
            raw,
        } = created;
        let text = serde_json::to_vec(&(media_blob, raw)).expect("a tree of JSON can be written");
        let text = replaced(&text, id.as_str().as_bytes(), ID);
        let text = replaced(&text, spelt(key).as_bytes(), KEY);
        let (like, differs) = answers.compare(&text);
        Self {
            like,
            differs,
            whole: OnceLock::new(),
        }
    }

    /// Of the call with that id and that callback key.
    pub(crate) fn whole(&self, id: &CallId, key: CallKey) -> &Created {
        self.whole.get_or_init(|| Box::new(self.anew(id, key)))
    }

    /// As [`Kept::whole`], and nothing of it is kept.
    pub(crate) fn anew(&self, id: &CallId, key: CallKey) -> Created {
        let short = joined(&self.like, &self.differs);
        let mut text = Vec::with_capacity(short.len() + 100);
        for byte in short {
            match byte {
                ID => text.extend_from_slice(id.as_str().as_bytes()),
                KEY => text.extend_from_slice(spelt(key).as_bytes()),
                byte => text.push(byte),
            }
        }
        let (media_blob, raw): (Option<String>, Map<String, Value>) =
            serde_json::from_slice(&text).expect("it was written from a tree");
        Created {
            id: id.clone(),
            media_blob,
            raw,
        }
    }
}

/// Stand for the call's id and for its key; JSON has control characters nowhere.
const ID: u8 = 1;
const KEY: u8 = 2;

fn spelt(key: CallKey) -> String {
    format!("{:032x}", key.0)
}

/// `text` with `byte` for each `what`, which is not empty.
fn replaced(mut text: &[u8], what: &[u8], byte: u8) -> Vec<u8> {
    let mut short = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        if let Some(behind) = text.strip_prefix(what) {
            short.push(byte);
            text = behind;
        } else {
            short.push(*first);
            text = rest;
        }
    }
    short
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
    fn compare(&self, raw: &[u8]) -> (Arc<Box<[u8]>>, Box<[u8]>) {
        let like = self.0.lock().clone();
        if let Some(like) = like
            && let Some(differs) = differences(&like, raw)
            && differs.len() <= raw.len() / 2
        {
            return (like, differs.into());
        }
        let like = Arc::new(Box::from(raw));
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

    const KEY_OF_IT: CallKey = CallKey(0xabc);

    fn created(raw: Value) -> Created {
        created_as("call", raw)
    }

    fn created_as(id: &str, raw: Value) -> Created {
        let Value::Object(raw) = raw else {
            panic!("{raw} is no object");
        };
        let blob = raw.get("blob").and_then(Value::as_str).map(str::to_owned);
        Created {
            id: CallId::parse(id).unwrap(),
            media_blob: blob,
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
            json!({"id": 7, "blob": "a call's \u{1}\u{2} and recall"}),
            json!({"id": 7, "blob": "other"}),
            json!({"id": "call", "callbackUri": "https://bot/00000000000000000000000000000abc"}),
            json!({}),
            json!({"id": long, "more": {"id": long, "other": long}}),
            json!({"id": long, "more": {"id": long, "other": "y"}}),
        ];
        let kept: Vec<_> = all
            .iter()
            .map(|raw| (Kept::new(&created(raw.clone()), KEY_OF_IT, &answers), raw))
            .collect();
        for (kept, raw) in kept {
            assert_eq!(
                kept.anew(&CallId::parse("call").unwrap(), KEY_OF_IT),
                created(raw.clone())
            );
        }
    }

    #[test]
    fn what_a_call_shares_with_others_it_does_not_keep() {
        let answers = Answers::default();
        let kept = |number: u128, thread: &str| {
            let id = format!("{number:x}-4000");
            let answer = json!({
                "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#communications/calls",
                "callbackUri": format!("https://bot.example/callbacks/{number:032x}"),
                "id": id,
                "chatInfo": {"threadId": thread},
                "state": "establishing",
            });
            let (created, key) = (created_as(&id, answer), CallKey(number));
            let kept = Kept::new(&created, key, &answers);
            assert_eq!(kept.anew(&created.id, key), created);
            kept
        };
        let first = kept(7, "19:one");
        let second = kept(8_000_000, "19:one");
        assert!(Arc::ptr_eq(&first.like, &second.like));
        assert!(second.differs.is_empty(), "{}", second.differs.len());
        let third = kept(9_000_000, "19:another");
        assert!(Arc::ptr_eq(&first.like, &third.like));
        assert!(third.differs.len() < 16, "{}", third.differs.len());
    }
}
