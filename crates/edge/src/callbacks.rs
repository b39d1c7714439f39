use std::collections::HashMap;
use std::sync::Arc;

use openmic_engine::Call;
use openmic_model::CallId;
use parking_lot::Mutex;

/// The `callbackUri` each creator named before ours took its place. As many as there are calls.
#[derive(Default)]
pub(crate) struct Callbacks(Arc<Mutex<HashMap<CallId, Arc<str>>>>);

impl Callbacks {
    /// Keeps it until the call is over.
    pub(crate) fn keep(&self, call: &Call, named: &Arc<str>) {
        self.0.lock().insert(call.id().clone(), Arc::clone(named));
        let (call, kept) = (call.clone(), Arc::clone(&self.0));
        tokio::spawn(async move {
            call.until(|_| false).await;
            kept.lock().remove(call.id());
        });
    }

    /// What the creator of `call` named; `None` when it was not created here, or is over.
    pub(crate) fn of(&self, call: &CallId) -> Option<Arc<str>> {
        self.0.lock().get(call).cloned()
    }
}
