//! What is done when a fault comes to pass.

use std::sync::Arc;
use std::time::Duration;

use openmic_model::{Action, AppId, CallId, Operation, OperationId, OperationStatus, ResultInfo};
use tokio::time::{sleep, timeout};

use super::calls::{Done, established, new_id, own_participant};
use super::{Cause, World};
use crate::error::CallError;
use crate::faults::{Act, CallFaults, End};
use crate::meeting::{Meeting, Record, State};
use crate::truth::By;

/// Longest wait for notifications that are to come before an answer.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// A mute or unmute that takes place after its answer, or not at all.
#[derive(Debug)]
pub(super) struct Later {
    pub(super) call: CallId,
    pub(super) meeting: Arc<Meeting>,
    pub(super) action: Action,
    pub(super) request: Arc<str>,
    pub(super) after: Duration,
    pub(super) effect: bool,
    pub(super) end: End,
}

impl World {
    /// The faults of `app`'s call; none when there is no such call.
    pub(crate) fn faults_of(&self, app: &AppId, id: &str) -> Option<(CallId, Arc<CallFaults>)> {
        let (id, meeting) = self.find(app, id).ok()?;
        let faults = Arc::clone(&meeting.state.lock().call(&id)?.faults);
        Some((id, faults))
    }

    /// The faults of whosever call, for the lab.
    pub(crate) fn faults_of_any(&self, id: &str) -> Result<Arc<CallFaults>, CallError> {
        let id = CallId::parse(id).map_err(|_| CallError::NoCall)?;
        let meeting = self.registry.lock().any_call(&id)?;
        let state = meeting.state.lock();
        let call = state.call(&id).ok_or(CallError::NoCall)?;
        Ok(Arc::clone(&call.faults))
    }

    /// Others act on a call. What is not there any more is left alone.
    pub(crate) async fn act(&self, call: &CallId, act: Act) {
        let Ok(meeting) = self.registry.lock().any_call(call) else {
            return;
        };
        match act {
            Act::HangUp { code, subcode } => {
                let result = ResultInfo {
                    code,
                    subcode,
                    message: Some("A fault ended the call.".to_owned()),
                };
                self.end_call(&meeting, call, result).await;
            }
            Act::HostMutes => {
                let Ok(own) = own_participant(&meeting.state.lock(), call) else {
                    return;
                };
                let cause = Cause {
                    by: By::Host,
                    request: None,
                    operation: None,
                    context: None,
                };
                let muted = self.switch(&meeting, &own, Action::Mute, cause, |_| Ok(()));
                if !matches!(muted.await, Ok(Ok(()))) {
                    tracing::debug!("the bot was gone before a fault could mute it");
                }
            }
        }
    }

    /// Waits until a call has been told of all that is known now, within limits.
    pub(crate) async fn all_told(&self, call: &CallId) {
        let outbox = {
            let Ok(meeting) = self.registry.lock().any_call(call) else {
                return;
            };
            let state = meeting.state.lock();
            state.call(call).map(|call| Arc::clone(&call.outbox))
        };
        if let Some(outbox) = outbox {
            // The bot may not take it; the request still gets its answer then.
            let told = timeout(TOLD_WITHIN, outbox.settled()).await;
            tracing::debug!(told = told.is_ok(), "an answer goes behind what it led to");
        }
    }

    /// Answers a mute or unmute as running, and sees to the rest.
    pub(super) fn switch_later(
        self: &Arc<Self>,
        later: Later,
        context: Option<openmic_model::ClientContext>,
    ) -> Result<Done, CallError> {
        let record = Record::new(
            later.action.into(),
            Operation {
                id: Some(new_id::<OperationId>()),
                status: OperationStatus::Running,
                client_context: context,
                result: None,
            },
        );
        {
            let mut state = later.meeting.state.lock();
            established(&state, &later.call)?;
            if let Some(call) = state.call_mut(&later.call) {
                let most = self.config.limits.operations;
                call.operations.keep(record.clone(), most);
            }
        }
        let done = Done {
            call: later.call.clone(),
            record: record.clone(),
        };
        let world = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = world.ends.cancelled() => {}
                () = world.come_true(later, record) => {}
            }
        });
        Ok(done)
    }

    async fn come_true(&self, later: Later, record: Record) {
        let Later { call, meeting, .. } = &later;
        sleep(later.after).await;
        if later.effect {
            let Ok(own) = own_participant(&meeting.state.lock(), call) else {
                return;
            };
            let cause = Cause {
                by: By::Bot,
                request: Some(&later.request),
                operation: record.operation.id.as_ref(),
                context: record.operation.client_context.as_ref(),
            };
            let allowed = |state: &State| established(state, call);
            let switched = self.switch(meeting, &own, later.action, cause, allowed);
            if switched.await.is_err() {
                return;
            }
        }
        let failed = match later.end {
            End::Never => return,
            End::Completed => None,
            End::Failed { code, subcode } => Some((code, subcode, "A fault failed it.")),
        };
        meeting.state.lock().end_operation(call, record, failed);
    }
}
