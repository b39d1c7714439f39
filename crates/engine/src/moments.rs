//! When what became known of a POST, for whoever asks.

use std::sync::Arc;

use openmic_machine::{Event, Machine, PostOutcome, Read};
use openmic_model::{Action, CommandId, Operation, OperationStatus};
use tokio::time::Instant;

use crate::command::Moments;

/// The latest POST of a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    post: Option<Arc<Post>>,
}

#[derive(Debug, Clone)]
struct Post {
    action: Action,
    lead: CommandId,
    posted: Instant,
    answered: Option<Instant>,
    operation: Option<Instant>,
    roster: Option<Instant>,
}

impl Timeline {
    /// A POST leaves.
    pub(crate) fn posted(&mut self, action: Action, lead: CommandId, now: Instant) {
        self.post = Some(Arc::new(Post {
            action,
            lead,
            posted: now,
            answered: None,
            operation: None,
            roster: None,
        }));
    }

    /// Takes in an event that `machine` has handled.
    pub(crate) fn note(&mut self, event: &Event, machine: &Machine, now: Instant) {
        let Some(post) = &mut self.post else { return };
        let post = Arc::make_mut(post);
        match event {
            Event::Posted { outcome, .. } => {
                post.answered.get_or_insert(now);
                if let PostOutcome::Answered(operation) = outcome {
                    post.told(operation, now);
                }
            }
            Event::OperationNotice(operation)
            | Event::OperationRead {
                read: Read::Found(operation),
                ..
            } => post.told(operation, now),
            Event::RosterNotice(_) | Event::RosterRead { .. } | Event::SelfRead { .. } => {
                let own = machine.me().and_then(|me| machine.roster().get(me));
                if own.is_some_and(|own| own.is_muted == post.action.wants_muted()) {
                    post.roster.get_or_insert(now);
                }
            }
            _ => {}
        }
    }

    /// What a command that was accepted at `accepted` is told.
    pub(crate) fn moments(&self, action: Action, accepted: Instant, now: Instant) -> Moments {
        let post = self.post.as_ref().filter(|post| post.action == action);
        let since = |at: Option<Instant>| at?.checked_duration_since(accepted);
        Moments {
            posted: since(post.map(|post| post.posted)),
            answered: since(post.and_then(|post| post.answered)),
            operation: since(post.and_then(|post| post.operation)),
            roster: since(post.and_then(|post| post.roster)),
            verdict: now.saturating_duration_since(accepted),
        }
    }
}

impl Post {
    fn told(&mut self, operation: &Operation, now: Instant) {
        let context = operation.client_context.as_ref();
        let named = context.and_then(CommandId::from_context);
        let ours = named.is_none_or(|(lead, _)| lead == self.lead);
        if ours && operation.status == OperationStatus::Completed {
            self.operation.get_or_insert(now);
        }
    }
}
