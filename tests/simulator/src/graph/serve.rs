//! Requests that are served: the create, GETs, keepAlive, the hang-up.

use openmic_checker::What;
use openmic_machine::{Ack, Event, QueryId, Read, Refusal};
use openmic_model::{CallKind, CallState, OperationId};

use super::{Graph, ME, Person, Style, facts};
use crate::faults::Fault;
use crate::world::{Doing, World};

fn reply(world: &mut World, life: u32, event: Event) {
    let delay = world.delay();
    world.later(delay, Doing::Reply(life, event));
}

impl Graph {
    /// The create, or the answer to a ring.
    pub(crate) fn establish(&mut self, world: &mut World, life: u32) {
        let failed = |status, code: &str, definite| Event::CreateFailed {
            refusal: Refusal::new(status, code, "no"),
            definite,
        };
        if self.is_over() {
            // It rang, and was hung up before the answer came.
            return reply(world, life, failed(404, "8522", true));
        }
        if world.strikes(Fault::Refused) && world.random.percent(10) {
            return reply(world, life, failed(403, "7505", true));
        }
        if world.strikes(Fault::LostPost) && world.random.percent(30) {
            return reply(world, life, failed(504, "timeout", false));
        }
        self.state = Some(CallState::Establishing);
        let me = self.tells_me.then(|| self.me());
        if world.random.percent(50) {
            self.up(world);
        } else {
            let pause = world.random.between(5, 3000);
            world.later(pause, Doing::Up);
            if world.random.percent(50) {
                let notice = facts(CallState::Establishing, me.clone());
                Self::notify(world, Event::CallNotice(notice));
            }
        }
        if world.strikes(Fault::LostAnswer) {
            return reply(world, life, failed(504, "timeout", false));
        }
        let event = Event::Created {
            facts: facts(self.state.unwrap_or(CallState::Establishing), me),
            kind: self.kind,
        };
        reply(world, life, event);
    }

    /// The call is up, and the bot in it: unmuted, as Graph lets bots in.
    pub(crate) fn up(&mut self, world: &mut World) {
        if self.state != Some(CallState::Establishing) {
            return;
        }
        self.state = Some(CallState::Established);
        let notice = facts(CallState::Established, Some(self.me()));
        Self::notify(world, Event::CallNotice(notice));
        if self.kind == CallKind::PeerToPeer {
            return;
        }
        self.number += 1;
        self.people[ME] = Some(Person {
            muted: false,
            number: self.number,
        });
        world.note(&What::Took {
            by: None,
            muted: false,
        });
        let hash = self.hash();
        world.note(&What::Roster { hash });
        let roster = self.whole_update();
        Self::notify(world, roster);
    }

    fn numbered(&self) -> bool {
        self.style == Style::Deltas
    }

    pub(crate) fn serve_self(&self, world: &mut World, life: u32, query: QueryId) {
        let read = if self.is_over() {
            Read::Gone
        } else if world.strikes(Fault::RosterUnread) {
            if world.random.percent(30) {
                Read::Absent
            } else {
                Read::Failed
            }
        } else {
            match self.people[ME] {
                Some(me) => Read::Found(Box::new(self.participant(ME, me, self.numbered()))),
                None => Read::Absent,
            }
        };
        reply(world, life, Event::SelfRead { query, read });
    }

    pub(crate) fn serve_roster(&self, world: &mut World, life: u32, query: QueryId) {
        let read = if self.is_over() {
            Read::Gone
        } else if world.strikes(Fault::RosterUnread) {
            Read::Failed
        } else if self.people[ME].is_some() {
            Read::Found(self.everybody(self.numbered()))
        } else {
            Read::Absent
        };
        reply(world, life, Event::RosterRead { query, read });
    }

    pub(crate) fn serve_call(&self, world: &mut World, life: u32, query: QueryId) {
        let read = match self.state {
            None | Some(CallState::Terminated) => Read::Gone,
            Some(_) if world.strikes(Fault::CallUnread) => Read::Failed,
            Some(state) => Read::Found(facts(state, Some(self.me()))),
        };
        reply(world, life, Event::CallRead { query, read });
    }

    pub(crate) fn serve_operation(
        &self,
        world: &mut World,
        life: u32,
        query: QueryId,
        id: &OperationId,
    ) {
        let at = id.as_str().strip_prefix("op-");
        let at = at.and_then(|at| at.parse::<usize>().ok());
        let known = at.filter(|at| *at < self.posts.len());
        let read = if self.is_over() {
            Read::Gone
        } else if world.strikes(Fault::OperationUnread) {
            if world.random.percent(50) {
                Read::Absent
            } else {
                Read::Failed
            }
        } else {
            known.map_or(Read::Absent, |at| Read::Found(self.shown(at)))
        };
        reply(world, life, Event::OperationRead { query, read });
    }

    pub(crate) fn serve_keep_alive(&self, world: &mut World, life: u32) {
        let ack = if !self.exists() {
            Ack::Gone
        } else if world.strikes(Fault::KeepAliveFails) {
            Ack::Failed
        } else {
            Ack::Done
        };
        reply(world, life, Event::KeptAlive(ack));
    }

    pub(crate) fn serve_hang_up(&mut self, world: &mut World, life: u32) {
        let ack = if self.is_over() || self.state.is_none() {
            Ack::Gone
        } else if world.strikes(Fault::LostPost) {
            Ack::Failed
        } else {
            if self.state == Some(CallState::Incoming) {
                self.state = Some(CallState::Terminated);
            }
            self.end(world);
            Ack::Done
        };
        reply(world, life, Event::HungUp(ack));
    }
}
