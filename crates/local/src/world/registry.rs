use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use openmic_model::{AppId, CallId, CallKind};
use tokio::time::Instant;

use crate::error::CallError;
use crate::meeting::{Meeting, Operations, Record};

/// Calls and meetings by their names.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    meetings: HashMap<String, Arc<Meeting>>,
    calls: HashMap<CallId, Found>,
    /// Calls that are gone and whose operations can still be read, the oldest first.
    gone: VecDeque<(Instant, CallId)>,
    operations: HashMap<CallId, (AppId, Operations)>,
}

#[derive(Debug)]
struct Found {
    meeting: Arc<Meeting>,
    app: AppId,
}

impl Registry {
    /// The meeting of `app`'s call. Somebody else's call is as unknown as none.
    pub(crate) fn call(&self, id: &CallId, app: &AppId) -> Result<Arc<Meeting>, CallError> {
        self.calls
            .get(id)
            .filter(|found| found.app == *app)
            .map(|found| Arc::clone(&found.meeting))
            .ok_or(CallError::NoCall)
    }

    /// The meeting of a call, whosever it is: for the lab, which plays the caller.
    pub(crate) fn any_call(&self, id: &CallId) -> Result<Arc<Meeting>, CallError> {
        let found = self.calls.get(id).map(|found| Arc::clone(&found.meeting));
        found.ok_or(CallError::NoCall)
    }

    pub(crate) fn meeting(&self, thread: &str) -> Option<Arc<Meeting>> {
        self.meetings.get(thread).cloned()
    }

    /// The meeting of a chat thread, made if there is none.
    pub(crate) fn meet(&mut self, thread: &str, limit: usize) -> Result<Arc<Meeting>, CallError> {
        if let Some(meeting) = self.meetings.get(thread) {
            return Ok(Arc::clone(meeting));
        }
        if self.meetings.len() >= limit {
            return Err(CallError::Limit {
                what: "meetings",
                limit,
            });
        }
        let meeting = Arc::new(Meeting::new(thread.to_owned(), CallKind::Group));
        self.meetings
            .insert(thread.to_owned(), Arc::clone(&meeting));
        Ok(meeting)
    }

    /// A 1:1 call has become a group call: whoever knows its thread may come in.
    pub(crate) fn adopt(&mut self, meeting: &Arc<Meeting>) {
        self.meetings
            .insert(meeting.thread.clone(), Arc::clone(meeting));
    }

    pub(crate) fn add(&mut self, id: CallId, meeting: Arc<Meeting>, app: AppId) {
        self.calls.insert(id, Found { meeting, app });
    }

    /// Forgets a meeting in which nobody is left. Call it with the meeting unlocked.
    pub(crate) fn tidy(&mut self, meeting: &Meeting) {
        if meeting.state.lock().is_empty() {
            self.meetings.remove(&meeting.thread);
        }
    }

    /// A call is gone; its operations stay for a while.
    pub(crate) fn remove(&mut self, id: &CallId, operations: Operations) {
        let now = Instant::now();
        if let Some(found) = self.calls.remove(id) {
            self.operations.insert(id.clone(), (found.app, operations));
            self.gone.push_back((now, id.clone()));
        }
    }

    /// Forgets the operations of calls that have been gone for `kept`.
    pub(crate) fn forget(&mut self, kept: Duration) {
        while let Some((since, _)) = self.gone.front()
            && since.elapsed() >= kept
        {
            if let Some((_, id)) = self.gone.pop_front() {
                self.operations.remove(&id);
            }
        }
    }

    /// An operation of a call that is gone.
    pub(crate) fn operation(&self, call: &CallId, app: &AppId, id: &str) -> Option<Record> {
        let (owner, operations) = self.operations.get(call)?;
        (owner == app).then(|| operations.get(id))?
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn meetings(&self) -> usize {
        self.meetings.len()
    }
}
