//! Those who are invited and not in yet.

use openmic_model::{CallId, OperationId, OperationStatus, ParticipantId, ResultInfo};

use super::{Member, Record, State};
use crate::deliver::News;

/// Why an operation failed whose participants were all removed before they came. Source:
/// `contract.md` §7.3.
const CANCELLED: (i32, i32, &str) = (400, 8508, "Operation cancelled.");
const CALL_ENDED: (i32, i32, &str) = (404, 8522, "The call ended first.");

/// An invite under way.
#[derive(Debug)]
pub(crate) struct Invite {
    /// Who invites.
    pub(crate) call: CallId,
    pub(crate) record: Record,
    /// Who will come in.
    pub(crate) members: Vec<Member>,
}

impl State {
    /// Takes an invite in: its operation runs from now on. `kept` is how many operations the call
    /// may keep.
    pub(crate) fn invite(&mut self, invite: Invite, kept: usize) {
        if let Some(call) = self.calls.get_mut(&invite.call) {
            call.operations.keep(invite.record.clone(), kept);
            self.invites.push(invite);
        }
    }

    pub(crate) fn is_invited(&self, id: &ParticipantId) -> bool {
        let mut members = self.invites.iter().flat_map(|invite| &invite.members);
        members.any(|member| member.entry.id == *id)
    }

    /// Invites of one call whose end it was not told yet: they run, or their end waits.
    pub(crate) fn open_invites(&self, call: &CallId) -> usize {
        let waiting = self.calls.get(call).map(|call| call.outbox.operations());
        let run = self.invites.iter().filter(|invite| invite.call == *call);
        run.count() + waiting.unwrap_or_default()
    }

    /// The time of an invite has come: its operation is completed and its bot is told so. Gives
    /// who is to come in now; `None` when it was cancelled or its call has ended.
    pub(crate) fn complete_invite(&mut self, id: &OperationId) -> Option<(CallId, Vec<Member>)> {
        let ours = |invite: &Invite| invite.record.operation.id.as_ref() == Some(id);
        let at = self.invites.iter().position(ours)?;
        let Invite {
            call,
            record,
            members,
        } = self.invites.remove(at);
        self.end_operation(&call, record, None);
        Some((call, members))
    }

    /// Somebody who is invited shall not come. When it was the last one of the invite, its
    /// operation fails. False when nobody who is invited has this id.
    pub(crate) fn cancel_invited(&mut self, id: &ParticipantId) -> bool {
        let is = |member: &Member| member.entry.id == *id;
        let Some(at) = self
            .invites
            .iter()
            .position(|invite| invite.members.iter().any(is))
        else {
            return false;
        };
        self.invites[at].members.retain(|member| !is(member));
        if self.invites[at].members.is_empty() {
            let invite = self.invites.remove(at);
            self.end_operation(&invite.call, invite.record, Some(CANCELLED));
        }
        true
    }

    /// A call ends, and with it what it has under way.
    pub(super) fn drop_invites(&mut self, call: &CallId) {
        let ended: Vec<Invite> = self
            .invites
            .extract_if(.., |invite| invite.call == *call)
            .collect();
        for invite in ended {
            self.end_operation(call, invite.record, Some(CALL_ENDED));
        }
    }

    pub(crate) fn end_operation(
        &mut self,
        call: &CallId,
        mut record: Record,
        failed: Option<(i32, i32, &str)>,
    ) {
        let operation = &mut record.operation;
        operation.status = match failed {
            None => OperationStatus::Completed,
            Some(_) => OperationStatus::Failed,
        };
        operation.result = failed.map(|(code, subcode, message)| ResultInfo {
            code,
            subcode,
            message: Some(message.to_owned()),
        });
        if let Some(call) = self.calls.get_mut(call) {
            call.operations.replace(&record);
            call.outbox.push(News::Operation(Box::new(record)));
        }
    }
}
