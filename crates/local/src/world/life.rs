//! How calls come up and end.

use std::sync::Arc;

use openmic_model::{CallId, CallState, Identity, Participant, ParticipantId, ResultInfo};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Registry, World};
use crate::leg::audio_stream;
use crate::meeting::{Meeting, Member};
use crate::sdp::Direction;
use crate::truth::{Act, Fact};

impl World {
    /// One call from its creation to its last notification.
    pub(super) async fn look_after(
        self: Arc<Self>,
        meeting: Arc<Meeting>,
        id: CallId,
        callees: Vec<Member>,
        ends: CancellationToken,
    ) {
        tokio::select! {
            biased;
            () = ends.cancelled() => {}
            () = self.live(&meeting, &id, callees) => {}
        }
        self.bury(&meeting, &id).await;
    }

    /// A call that rings, until it is answered or over.
    pub(super) async fn look_after_ring(
        self: Arc<Self>,
        meeting: Arc<Meeting>,
        id: CallId,
        answered: CancellationToken,
        ends: CancellationToken,
    ) {
        tokio::select! {
            biased;
            // Whoever answered looks after it from here on.
            () = answered.cancelled() => return,
            () = ends.cancelled() => {}
            () = sleep(self.config.timing.ring) => {
                let mut state = meeting.state.lock();
                match state.call(&id).map(|call| call.phase) {
                    Some(CallState::Incoming) => {
                        drop(self.terminate(&mut state, &id, unanswered()));
                    }
                    Some(phase) if phase.rank() < CallState::Terminating.rank() => return,
                    _ => {}
                }
            }
        }
        self.bury(&meeting, &id).await;
    }

    /// What is left to do for a call that has begun to end.
    async fn bury(&self, meeting: &Meeting, id: &CallId) {
        if self.ends.is_cancelled() {
            // The service goes down: nothing more is said, but what waits is still delivered.
            if let Some(call) = meeting.state.lock().call(id) {
                call.outbox.close();
            }
            return;
        }
        sleep(self.config.timing.terminate).await;
        self.remove_call(meeting, id);
    }

    /// Brings a call up, then waits until it has not been kept alive for too long and ends it.
    async fn live(&self, meeting: &Meeting, id: &CallId, callees: Vec<Member>) {
        sleep(self.config.timing.establish).await;
        let media = {
            let state = meeting.state.lock();
            let waiting = state.call(id).and_then(|call| call.waiting.as_ref());
            waiting.and_then(|member| member.media.clone())
        };
        if let Some(media) = media {
            media.open().await;
        }
        {
            let mut state = meeting.state.lock();
            // Nothing but this establishes it, and the state is locked.
            let due = state.call(id).map(|call| call.phase) == Some(CallState::Establishing);
            if !due {
                return;
            }
            self.truth.write(&Fact::life(Act::Establish, id));
            state.establish(id, meeting.kind());
            for member in callees {
                state.join(member);
                self.metrics.humans.inc();
            }
        }
        let life = self.config.timing.keep_alive;
        loop {
            let Some(kept_alive) = meeting.state.lock().call(id).map(|call| call.kept_alive) else {
                return;
            };
            if kept_alive.elapsed() >= life {
                break;
            }
            sleep_until(kept_alive + life).await;
        }
        let result = ResultInfo {
            code: 408,
            subcode: 8537,
            message: Some("No keepAlive came in time.".to_owned()),
        };
        self.end_call(meeting, id, result).await;
    }

    /// Begins to end a call: it is told, leaves the roster and is no longer heard.
    pub(super) async fn end_call(&self, meeting: &Meeting, id: &CallId, result: ResultInfo) {
        let gone = {
            let mut state = meeting.state.lock();
            let Some(gone) = self.terminate(&mut state, id, result) else {
                return;
            };
            gone
        };
        self.after_leave(meeting);
        if let Some(media) = gone.media {
            media.leave().await;
        }
    }

    /// Ends the call of somebody who is alone now, if the rules say so.
    pub(super) fn after_leave(&self, meeting: &Meeting) {
        if !self.config.rules.end_when_alone {
            return;
        }
        let mut state = meeting.state.lock();
        let Some(id) = state.alone() else { return };
        let gone = self.terminate(
            &mut state,
            &id,
            ResultInfo {
                code: 200,
                subcode: 5002,
                message: Some("Everybody else left.".to_owned()),
            },
        );
        drop(state);
        // Dropping the media closes its gate and takes it out of the meeting.
        drop(gone);
    }

    /// The last word of a call, then it is not found any more.
    fn remove_call(&self, meeting: &Meeting, id: &CallId) {
        let mut registry = self.registry.lock();
        registry.forget(self.config.timing.operations_kept);
        let removed = {
            let mut state = meeting.state.lock();
            if state.call(id).is_none() {
                return;
            }
            self.truth.write(&Fact::life(Act::Gone, id));
            state.remove(id)
        };
        let Some((call, simulated)) = removed else {
            return;
        };
        registry.remove(id, call.operations);
        registry.tidy(meeting);
        self.metrics.calls.dec();
        self.metrics.bots.dec();
        self.metrics
            .humans
            .sub(i64::try_from(simulated).unwrap_or(i64::MAX));
        self.count(&registry);
    }

    pub(super) fn count(&self, registry: &Registry) {
        let meetings = i64::try_from(registry.meetings()).unwrap_or(i64::MAX);
        self.metrics.meetings.set(meetings);
    }
}

/// Nobody took the call in time. Source: `contract.md` §5.3.
fn unanswered() -> ResultInfo {
    ResultInfo {
        code: 408,
        subcode: 1106,
        message: Some("The bot did not answer the call in time.".to_owned()),
    }
}

/// Whom a bot called, or who called it: somebody without media who answers at once and stays as
/// long as a bot does.
pub(super) fn callee(id: ParticipantId, identity: Identity) -> Member {
    Member {
        entry: Arc::new(Participant {
            id,
            identity,
            is_muted: false,
            in_lobby: false,
            roster_sequence_number: None,
            streams: vec![audio_stream(1, Direction::SendRecv)],
        }),
        call: None,
        media: None,
        turn: Arc::default(),
        simulated: true,
    }
}
