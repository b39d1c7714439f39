//! Which call is which. The only place that knows dashmap: nothing here hands out a guard.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use dashmap::{DashMap, DashSet, Entry};
use openmic_model::{CallId, CallKey};

use crate::call::Shared;

/// Calls by their callback key and, once known, by their id.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    by_key: DashSet<Keyed>,
    by_id: DashMap<CallId, Arc<Shared>>,
}

/// A call as its key tells it from others.
#[derive(Debug)]
struct Keyed(Arc<Shared>);

impl Borrow<CallKey> for Keyed {
    fn borrow(&self) -> &CallKey {
        self.0.flight.key()
    }
}

impl Hash for Keyed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

impl PartialEq for Keyed {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for Keyed {}

impl Registry {
    pub(crate) fn insert(&self, call: &Arc<Shared>) {
        self.by_key.insert(Keyed(Arc::clone(call)));
    }

    /// Makes the call known by `id`; false when another call that is not over has it.
    pub(crate) fn bind(&self, id: CallId, call: &Arc<Shared>) -> bool {
        match self.by_id.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(Arc::clone(call));
            }
            Entry::Occupied(mut entry) => {
                if entry.get().is_live() && !Arc::ptr_eq(entry.get(), call) {
                    return false;
                }
                entry.insert(Arc::clone(call));
            }
        }
        true
    }

    pub(crate) fn remove(&self, call: &Arc<Shared>) {
        self.by_key.remove(&call.key());
        if let Some(id) = call.id.get() {
            self.by_id.remove_if(id, |_, held| Arc::ptr_eq(held, call));
        }
    }

    /// `key` as it stands in the path of a webhook.
    pub(crate) fn by_key(&self, key: &str) -> Option<Arc<Shared>> {
        self.by_call_key(&key_of(key)?)
    }

    pub(crate) fn by_call_key(&self, key: &CallKey) -> Option<Arc<Shared>> {
        let call = self.by_key.get(key)?;
        Some(Arc::clone(&call.0))
    }

    pub(crate) fn by_id(&self, id: &CallId) -> Option<Arc<Shared>> {
        self.by_id.get(id).map(|call| Arc::clone(&call))
    }

    /// Calls that are not over. Walks every shard: not for hot paths.
    pub(crate) fn live(&self) -> Vec<Arc<Shared>> {
        let all = self.by_key.iter();
        all.filter(|call| call.0.is_live())
            .map(|call| Arc::clone(&call.0))
            .collect()
    }

    /// Every call, also those that are over. As [`Registry::live`].
    pub(crate) fn all(&self) -> Vec<Arc<Shared>> {
        self.by_key.iter().map(|call| Arc::clone(&call.0)).collect()
    }

    pub(crate) fn live_count(&self) -> usize {
        self.by_key.iter().filter(|call| call.0.is_live()).count()
    }
}

/// A key has one spelling: 32 hex digits in lower case.
fn key_of(text: &str) -> Option<CallKey> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut digits = text.bytes();
    let bits = digits.try_fold(0, |bits, byte| Some(bits << 4 | u128::from(digit(byte)?)))?;
    (text.len() == 32).then_some(CallKey(bits))
}
