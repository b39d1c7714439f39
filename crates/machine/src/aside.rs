//! What a call has none of while nothing is under way.

use std::ops::Deref;

use openmic_model::{CommandId, Operation};

use crate::attempt::Attempt;
use crate::desk::Intent;
use crate::doubt::Doubts;
use crate::effect::QueryId;
use crate::facts::Asked;
use crate::held::Held;
use crate::model::Outstanding;
use crate::part::Parting;
use crate::recover::Remains;
use crate::rumour::Rumour;
use crate::time::Time;
use crate::window::Window;

/// The facts of a [`Model`](crate::model::Model) that are as here in nearly all calls nearly all
/// the time.
#[derive(Debug)]
pub(crate) struct Rare {
    /// With which command the bot is to be muted on joining, until it was wanted.
    pub(crate) join_mute: Option<CommandId>,
    /// Of a call that rang: until when an answer whose outcome was lost may show itself.
    pub(crate) lost_until: Option<Time>,
    /// Commands that cannot be sent yet: one action, the latest.
    pub(crate) waiting: Option<Intent>,
    pub(crate) outstanding: Option<Outstanding>,
    /// No POST before this moment: Graph's `Retry-After`.
    pub(crate) not_until: Option<Time>,
    /// How long Graph itself asked to wait, and with what words.
    pub(crate) held: Option<Box<Held>>,
    pub(crate) doubts: Doubts,
    /// Notifications about operations that wait for the answer to their POST.
    pub(crate) parked: Vec<Operation>,
    /// The latest GETs that are not answered.
    pub(crate) asked: Vec<Asked>,
    pub(crate) last_unnumbered: Option<Time>,
    /// The own entry stands as a notification left it that may be older than what it replaced,
    /// until a GET from this number on tells.
    pub(crate) hearsay: Option<QueryId>,
    /// The roster GET that a doubt made necessary.
    pub(crate) resync: Option<QueryId>,
    /// What a recovered call is taken up from, until it begins.
    pub(crate) remains: Option<Box<Remains>>,
    /// The attempt that was under way when the process ended, until it goes on.
    pub(crate) resumed: Option<Box<Attempt>>,
    /// The time to speak in that is still to end.
    pub(crate) window: Option<Window>,
    /// That the call is over, as long as only a notification says so.
    pub(crate) rumour: Option<Box<Rumour>>,
    pub(crate) parting: Parting,
}

impl Rare {
    const NOTHING: Self = Self {
        join_mute: None,
        lost_until: None,
        waiting: None,
        outstanding: None,
        not_until: None,
        held: None,
        doubts: Doubts::NONE,
        parked: Vec::new(),
        asked: Vec::new(),
        last_unnumbered: None,
        hearsay: None,
        resync: None,
        remains: None,
        resumed: None,
        window: None,
        rumour: None,
        parting: Parting::NONE,
    };

    fn is_nothing(&self) -> bool {
        let Self {
            join_mute,
            lost_until,
            waiting,
            outstanding,
            not_until,
            held,
            doubts,
            parked,
            asked,
            last_unnumbered,
            hearsay,
            resync,
            remains,
            resumed,
            window,
            rumour,
            parting,
        } = self;
        join_mute.is_none()
            && lost_until.is_none()
            && waiting.is_none()
            && outstanding.is_none()
            && not_until.is_none()
            && held.is_none()
            && *doubts == Doubts::NONE
            && parked.is_empty()
            && asked.is_empty()
            && last_unnumbered.is_none()
            && hearsay.is_none()
            && resync.is_none()
            && remains.is_none()
            && resumed.is_none()
            && window.is_none()
            && rumour.is_none()
            && *parting == Parting::NONE
    }
}

static NOTHING: Rare = Rare::NOTHING;

/// [`Rare`] facts, which take memory only while there are any: a million calls are idle.
#[derive(Debug, Default)]
pub(crate) struct Aside(Option<Box<Rare>>);

impl Deref for Aside {
    type Target = Rare;

    fn deref(&self) -> &Rare {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl Aside {
    /// To put something in.
    pub(crate) fn open(&mut self) -> &mut Rare {
        self.0.get_or_insert_with(|| Box::new(Rare::NOTHING))
    }

    /// To change or take what is there; `None` when there is nothing.
    pub(crate) fn get_mut(&mut self) -> Option<&mut Rare> {
        self.0.as_deref_mut()
    }

    /// Whether it takes memory.
    pub(crate) const fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Takes something out.
    pub(crate) fn take<T>(&mut self, take: impl FnOnce(&mut Rare) -> Option<T>) -> Option<T> {
        self.get_mut().and_then(take)
    }

    /// Gives the memory back when nothing is left.
    pub(crate) fn tidy(&mut self) {
        self.0.take_if(|rare| rare.is_nothing());
    }
}
