//! A notification that is ready to go, and what faults make of it.

use bytes::Bytes;
use openmic_model::{CallId, CallState, ResultInfo};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::{CallNews, Courier, News, Recipient};
use crate::faults::{Hold, Token};
use crate::metrics::Delivery;
use crate::truth::Fact;
use crate::wording;

/// One POST: a notification, or several in one.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    /// What is in it, with the number of the last delta.
    news: Vec<(News, u64)>,
    pub(super) message: String,
    pub(super) body: Bytes,
    pub(super) token: Token,
}

impl Parcel {
    pub(super) fn new(to: &Recipient, news: News, deltas: u64, message: String) -> Self {
        Self {
            body: wording::notification(to, &news, deltas).into(),
            news: vec![(news, deltas)],
            message,
            token: Token::Good,
        }
    }

    /// What says that the call has ended, which it has not.
    pub(super) fn false_end(to: &Recipient, token: Token) -> Self {
        let news = News::Call(CallNews {
            state: CallState::Terminated,
            audio_active: None,
            result: Some(ResultInfo {
                code: 200,
                subcode: 5001,
                message: None,
            }),
        });
        Self {
            token,
            ..Self::new(to, news, 0, Uuid::new_v4().to_string())
        }
    }

    /// Leaves members out: an id of the resource itself, others wherever they are in it.
    pub(super) fn leave_out(&mut self, members: &[&str]) {
        self.edit(members, |entries| {
            for entry in entries {
                let data = &mut entry["resourceData"];
                for member in members {
                    leave_out(data, member);
                }
            }
        });
    }

    fn join(&mut self, other: Self) {
        let theirs = serde_json::from_slice::<Value>(&other.body).ok();
        let theirs = theirs.and_then(|mut body| Some(body["value"].as_array_mut()?.split_off(0)));
        self.edit(&[()], |entries| entries.extend(theirs.unwrap_or_default()));
        self.news.extend(other.news);
    }

    /// Edits its entries, if there is `why`.
    fn edit<T>(&mut self, why: &[T], how: impl FnOnce(&mut Vec<Value>)) {
        if why.is_empty() {
            return;
        }
        let Ok(mut body) = serde_json::from_slice::<Value>(&self.body) else {
            return;
        };
        if let Some(entries) = body["value"].as_array_mut() {
            how(entries);
        }
        self.body = body.to_string().into();
    }

    /// Counts and logs what became of it.
    pub(super) fn settle(&self, call: &CallId, courier: &Courier, result: Delivery, attempts: u32) {
        for (news, deltas) in &self.news {
            courier.metrics.notification(result).inc();
            courier.truth.write(&Fact::Told {
                call,
                told: wording::told(news, *deltas),
                message: &self.message,
                result: result.as_str(),
                attempts,
            });
        }
    }
}

/// Leaves a member out: `id` of the resource itself, another wherever it is in it.
pub(crate) fn leave_out(value: &mut Value, member: &str) {
    match value {
        Value::Object(object) => {
            object.remove(member);
            if member != "id" {
                object
                    .values_mut()
                    .for_each(|value| leave_out(value, member));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| leave_out(item, member)),
        _ => {}
    }
}

/// What waits for others.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) parcel: Parcel,
    pub(super) until: Instant,
    /// How many there are to be in one POST; none when it goes after the next one.
    size: Option<usize>,
}

impl Held {
    pub(super) fn new(hold: Hold, parcel: Parcel) -> Self {
        let (size, wait) = match hold {
            Hold::Swap(wait) => (None, wait),
            Hold::Batch(size, wait) => (Some(size), wait),
        };
        Self {
            parcel,
            until: Instant::now() + wait,
            size,
        }
    }

    pub(super) fn is_batch(&self) -> bool {
        self.size.is_some()
    }

    /// Puts one more into it; true when it is full.
    pub(super) fn add(&mut self, parcel: Parcel) -> bool {
        self.parcel.join(parcel);
        self.size.is_none_or(|size| self.parcel.news.len() >= size)
    }
}
