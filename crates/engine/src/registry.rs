//! Which call is which. The only place that knows dashmap: nothing here hands out a guard.

use std::sync::Arc;

use dashmap::{DashMap, Entry};
use openmic_model::CallId;

use crate::call::Shared;

/// Calls by their callback key and, once known, by their id.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    by_key: DashMap<Arc<str>, Arc<Shared>>,
    by_id: DashMap<CallId, Arc<Shared>>,
}

impl Registry {
    pub(crate) fn insert(&self, call: &Arc<Shared>) {
        self.by_key.insert(Arc::clone(&call.key), Arc::clone(call));
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
        self.by_key.remove(&call.key);
        if let Some(id) = call.id.get() {
            self.by_id.remove_if(id, |_, held| Arc::ptr_eq(held, call));
        }
    }

    pub(crate) fn by_key(&self, key: &str) -> Option<Arc<Shared>> {
        self.by_key.get(key).map(|call| Arc::clone(&call))
    }

    pub(crate) fn by_id(&self, id: &CallId) -> Option<Arc<Shared>> {
        self.by_id.get(id).map(|call| Arc::clone(&call))
    }

    /// Calls that are not over. Walks every shard: not for hot paths.
    pub(crate) fn live(&self) -> Vec<Arc<Shared>> {
        let all = self.by_key.iter();
        all.filter(|entry| entry.value().is_live())
            .map(|entry| Arc::clone(entry.value()))
            .collect()
    }

    /// Every call, also those that are over. As [`Registry::live`].
    pub(crate) fn all(&self) -> Vec<Arc<Shared>> {
        let all = self.by_key.iter();
        all.map(|entry| Arc::clone(entry.value())).collect()
    }

    pub(crate) fn live_count(&self) -> usize {
        let all = self.by_key.iter();
        all.filter(|entry| entry.value().is_live()).count()
    }
}
