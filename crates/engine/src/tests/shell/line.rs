//! The way to the simulated Graph: what the graph client would have made of it.

use std::sync::Arc;
use std::time::Duration;

use openmic_checker::{Answer, What};
use openmic_graph::{Ambiguity, NotSent, RequestError};
use openmic_machine::{Ack, Event, PostOutcome, Read, Refusal};
use openmic_model::{
    Action, CallFacts, CallId, ClientContext, CommandId, Operation, OperationId, Participant,
    ParticipantId,
};
use openmic_wire::create::CreateCall;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use super::world::{Acted, Due, Fate, World};
use crate::Created;
use crate::upstream::PATIENCE;

/// Everything that is outside of the process.
#[derive(Debug, Clone)]
pub(crate) struct Line(pub(super) Arc<Mutex<World>>);

/// Why there is no answer to go by.
enum Trouble {
    NotSent,
    Throttled(Option<Duration>),
    Ambiguous,
}

impl From<Trouble> for RequestError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NotSent => Self::NotSent(NotSent::TooLate),
            // What throttles a create is told to its maker as any refusal is.
            Trouble::Throttled(_) => Self::NotSent(NotSent::Circuit),
            Trouble::Ambiguous => Self::Ambiguous(Ambiguity::Status(500)),
        }
    }
}

impl Line {
    pub(super) fn note(&self, call: &CallId, what: What) {
        self.0.lock().note_call(call.as_str(), what);
    }

    /// One request: there, what it does, and back, as far as it gets.
    async fn exchange<T: Send + 'static>(
        &self,
        until: Instant,
        act: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> Result<T, Trouble> {
        let (fate, there, back) = self.0.lock().fate();
        let arrives = Instant::now() + there;
        match fate {
            Fate::NotSent => {
                sleep_until(arrives.min(until)).await;
                return Err(Trouble::NotSent);
            }
            Fate::Throttled(after) => {
                sleep_until((arrives + back).min(until)).await;
                return Err(Trouble::Throttled(after));
            }
            Fate::Failed => {
                sleep_until((arrives + back).min(until)).await;
                return Err(Trouble::Ambiguous);
            }
            Fate::Late(after) => {
                // The client gives up; the request gets there all the same, within its time.
                let after = after.min(until.saturating_duration_since(Instant::now()));
                let late = Due::Effect(Box::new(move |world: &mut World| drop(act(world))));
                self.0.lock().schedule(after, late);
                sleep_until(until).await;
                return Err(Trouble::Ambiguous);
            }
            Fate::Lost => {
                sleep_until(until).await;
                return Err(Trouble::Ambiguous);
            }
            Fate::Good | Fate::Cut => {}
        }
        if arrives >= until {
            sleep_until(until).await;
            return Err(Trouble::Ambiguous);
        }
        sleep(there).await;
        let done = act(&mut self.0.lock());
        if matches!(fate, Fate::Cut) {
            return Err(Trouble::Ambiguous);
        }
        if arrives + back >= until {
            sleep_until(until).await;
            return Err(Trouble::Ambiguous);
        }
        sleep(back).await;
        Ok(done)
    }

    pub(crate) async fn create(&self, body: &CreateCall) -> Result<(Created, Event), RequestError> {
        let kind = body.kind();
        let key = body.callback_uri().rsplit('/').next().unwrap_or_default();
        let key = key.to_owned();
        let until = Instant::now() + 2 * PATIENCE;
        let made = self.exchange(until, move |world| world.create(&key)).await;
        let id = made.map_err(RequestError::from)?;
        let created = Created {
            id,
            media_blob: None,
            raw: serde_json::Map::new(),
        };
        let facts = CallFacts::default();
        Ok((created, Event::Created { facts, kind }))
    }

    pub(crate) async fn post(
        &self,
        call: &CallId,
        action: Action,
        context: &ClientContext,
        until: Instant,
    ) -> PostOutcome {
        let (lead, number) = CommandId::from_context(context).expect("a context of ours");
        self.note(
            call,
            What::Sent {
                lead,
                number,
                action,
            },
        );
        let id = call.clone();
        let in_time = Instant::now() + PATIENCE / 2;
        let act = move |world: &mut World| {
            let late = Instant::now() > in_time;
            world.act(&id, action, lead, number, late)
        };
        let acted = self.exchange(until, act).await;
        let (outcome, answer) = match acted {
            Ok(Acted::Gone) => (PostOutcome::Gone, Answer::Gone),
            Ok(Acted::Refused) => {
                let refusal = Refusal::new(403, "8566", "not allowed here");
                (PostOutcome::Refused(refusal), Answer::Refused)
            }
            Ok(Acted::Operation(operation, answer)) => (PostOutcome::Answered(operation), answer),
            Err(Trouble::NotSent) => (PostOutcome::NotSent, Answer::NotSent),
            Err(Trouble::Throttled(after)) => {
                let millis = after.map(|after| u64::try_from(after.as_millis()).unwrap());
                let answer = Answer::Throttled { after: millis };
                let refusal = Refusal::throttled();
                (PostOutcome::Throttled { after, refusal }, answer)
            }
            Err(Trouble::Ambiguous) => (PostOutcome::Ambiguous, Answer::Ambiguous),
        };
        self.note(
            call,
            What::Answered {
                lead,
                number,
                answer,
            },
        );
        outcome
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut World) -> Read<T> + Send + 'static,
    ) -> Read<T> {
        let until = Instant::now() + PATIENCE;
        self.exchange(until, read).await.unwrap_or(Read::Failed)
    }

    pub(crate) async fn operation(&self, call: &CallId, id: &OperationId) -> Read<Operation> {
        let (of, id) = (call.clone(), id.clone());
        let found = self.read(move |world| world.operation(&of, &id)).await;
        if let Read::Found(operation) = &found {
            self.0.lock().told_of(call.as_str(), operation);
        }
        found
    }

    /// A GET that may show the own entry, between its two notes.
    async fn look<T: Send + 'static>(
        &self,
        call: &CallId,
        read: impl FnOnce(&mut World) -> Read<T> + Send + 'static,
        shows: impl FnOnce(&T) -> Option<bool>,
    ) -> Read<T> {
        let query = {
            let mut world = self.0.lock();
            let query = world.next_query();
            world.note_call(call.as_str(), What::Asked { query });
            query
        };
        let found = self.read(read).await;
        let muted = match &found {
            Read::Found(found) => shows(found),
            _ => None,
        };
        self.note(call, What::Showed { query, muted });
        found
    }

    pub(crate) async fn own_entry(
        &self,
        call: &CallId,
        me: &ParticipantId,
    ) -> Read<Box<Participant>> {
        let (of, me) = (call.clone(), me.clone());
        let read = move |world: &mut World| world.entry(&of, &me);
        self.look(call, read, |entry| Some(entry.is_muted)).await
    }

    pub(crate) async fn roster(&self, call: &CallId) -> Read<Vec<Participant>> {
        let of = call.clone();
        let read = move |world: &mut World| world.roster(&of);
        let shows = |roster: &Vec<Participant>| {
            let own = roster.iter().find(|entry| entry.id.as_str() == "me");
            own.map(|own| own.is_muted)
        };
        self.look(call, read, shows).await
    }

    pub(crate) async fn call(&self, call: &CallId) -> Read<CallFacts> {
        let of = call.clone();
        self.read(move |world| world.facts(&of)).await
    }

    pub(crate) async fn hang_up(&self, call: &CallId) -> Ack {
        let of = call.clone();
        let until = Instant::now() + PATIENCE;
        match self.exchange(until, move |world| world.end(&of)).await {
            Ok(true) => Ack::Done,
            Ok(false) => Ack::Gone,
            Err(_) => Ack::Failed,
        }
    }

    pub(crate) async fn keep_alive(&self, call: &CallId) -> Result<(), RequestError> {
        let of = call.clone();
        let until = Instant::now() + PATIENCE;
        let up = self.exchange(until, move |world| world.is_up(&of)).await?;
        if up { Ok(()) } else { Err(RequestError::Gone) }
    }
}
