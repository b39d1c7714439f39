//! Plans at work: counters and dice of each call, and the plan of calls without one of their own.

use std::sync::Arc;

use openmic_model::CallId;
use parking_lot::Mutex;

use super::event::Event;
use super::fault::{FaultPlan, Kind};
use crate::metrics::Metrics;
use crate::truth::{Fact, Truth};

/// `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). Our own,
/// so that a seed means the same for ever.
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below 1.
    fn fraction(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}

/// A plan with its counters.
#[derive(Debug, Clone)]
pub(crate) struct Active {
    seed: u64,
    plan: Arc<FaultPlan>,
    dice: Dice,
    /// Of each fault: the events it might have struck, and those it did.
    counts: Vec<(u32, u32)>,
}

impl Active {
    /// `which` call it is of, so that calls of one plan fare differently.
    pub(crate) fn new(plan: Arc<FaultPlan>, seed: u64, which: u64) -> Self {
        let mut spread = Dice(seed);
        spread.0 ^= Dice(which).next();
        Self {
            seed,
            counts: vec![(0, 0); plan.faults.len()],
            plan,
            dice: spread,
        }
    }

    /// What comes to pass at an event.
    pub(crate) fn strike(&mut self, event: Event) -> Vec<(&'static str, Kind)> {
        let mut struck = Vec::new();
        for (fault, (seen, done)) in self.plan.faults.iter().zip(&mut self.counts) {
            if !fault.strikes(event) {
                continue;
            }
            *seen = seen.saturating_add(1);
            let due = fault.nth.is_none_or(|nth| nth == *seen);
            let left = fault.count.is_none_or(|count| *done < count);
            // Thrown at every event, so that counts do not shift what follows.
            let lucky = fault.rate < 1.0 && self.dice.fraction() >= fault.rate;
            if due && left && !lucky {
                *done = done.saturating_add(1);
                let kind = fault.kind.clone().chosen(|| self.dice.fraction());
                struck.push((fault.name, kind));
            }
        }
        struck
    }

    fn has(&self, kind: &Kind) -> bool {
        let mut faults = self.plan.faults.iter();
        faults.any(|fault| fault.kind == *kind)
    }
}

/// A plan as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    pub(crate) seed: u64,
    /// Each fault and how often it struck.
    pub(crate) faults: Vec<(String, u32)>,
}

impl Shown {
    fn of(active: &Active) -> Self {
        let texts = active.plan.faults.iter().map(ToString::to_string);
        let struck = active.counts.iter().map(|(_, done)| *done);
        Self {
            seed: active.seed,
            faults: texts.zip(struck).collect(),
        }
    }
}

/// The faults of one call.
#[derive(Debug)]
pub(crate) struct CallFaults {
    active: Mutex<Option<Active>>,
    truth: Arc<Truth>,
    metrics: Metrics,
}

impl CallFaults {
    fn new(active: Option<Active>, truth: &Arc<Truth>, metrics: &Metrics) -> Self {
        Self {
            active: Mutex::new(active),
            truth: Arc::clone(truth),
            metrics: metrics.clone(),
        }
    }

    /// What comes to pass at an event, which is logged. `by` is the request or the message.
    pub(crate) fn strike(&self, event: Event, call: Option<&CallId>, by: &str) -> Vec<Kind> {
        let struck = match &mut *self.active.lock() {
            None => return Vec::new(),
            Some(active) => active.strike(event),
        };
        let log = |(name, kind)| {
            self.metrics.fault(name).inc();
            self.truth.write(&Fact::Fault {
                fault: name,
                on: event.as_str(),
                call,
                by,
            });
            kind
        };
        struck.into_iter().map(log).collect()
    }

    /// Whether its rosters are to be told whole.
    pub(crate) fn full_rosters(&self) -> bool {
        self.has(&Kind::FullRosters)
    }

    /// Whether a roster may be told once more when the next one is.
    pub(crate) fn stale_rosters(&self) -> bool {
        self.has(&Kind::StaleRoster)
    }

    fn has(&self, kind: &Kind) -> bool {
        let active = self.active.lock();
        active.as_ref().is_some_and(|active| active.has(kind))
    }

    /// Puts a plan of its own in force; gives its seed.
    pub(crate) fn set(&self, plan: FaultPlan) -> Shown {
        let seed = plan.seed.unwrap_or_else(fresh_seed);
        let active = Active::new(Arc::new(plan), seed, 0);
        let shown = Shown::of(&active);
        *self.active.lock() = Some(active);
        shown
    }

    pub(crate) fn clear(&self) {
        *self.active.lock() = None;
    }

    pub(crate) fn shown(&self) -> Option<Shown> {
        self.active.lock().as_ref().map(Shown::of)
    }
}

/// A seed a person can copy: below 2^32.
fn fresh_seed() -> u64 {
    let (high, _) = uuid::Uuid::new_v4().as_u64_pair();
    high >> 32
}

/// Which of the calls to come a plan is for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Scope {
    /// At most so many.
    pub(crate) calls: Option<u32>,
    /// In this meeting only.
    pub(crate) thread: Option<String>,
}

/// The plan of calls that begin without one of their own.
#[derive(Debug)]
pub(crate) struct Defaults {
    /// Requests before there is a call, as its creation, count here.
    outside: CallFaults,
    state: Mutex<Option<Standing>>,
}

#[derive(Debug)]
struct Standing {
    plan: Arc<FaultPlan>,
    seed: u64,
    scope: Scope,
    begun: u64,
}

impl Defaults {
    pub(crate) fn new(truth: &Arc<Truth>, metrics: &Metrics) -> Self {
        Self {
            outside: CallFaults::new(None, truth, metrics),
            state: Mutex::default(),
        }
    }

    /// The faults of a call that begins.
    pub(crate) fn begin(&self, thread: &str) -> Arc<CallFaults> {
        let mut state = self.state.lock();
        let active = state.as_mut().and_then(|default| default.begin(thread));
        let outside = &self.outside;
        Arc::new(CallFaults::new(active, &outside.truth, &outside.metrics))
    }

    /// What comes to pass at a request outside a call.
    pub(crate) fn strike(&self, event: Event, request: &str) -> Vec<Kind> {
        self.outside.strike(event, None, request)
    }

    /// Puts a plan in force for calls that begin from now on; gives its seed.
    pub(crate) fn set(&self, mut plan: FaultPlan, scope: Scope) -> Shown {
        let mut state = self.state.lock();
        let seed = *plan.seed.get_or_insert_with(fresh_seed);
        let shown = self.outside.set(plan.clone());
        *state = Some(Standing {
            plan: Arc::new(plan),
            seed,
            scope,
            begun: 0,
        });
        shown
    }

    pub(crate) fn clear(&self) {
        *self.state.lock() = None;
        self.outside.clear();
    }

    /// The plan and whom it is for; what it shows as struck is what struck outside calls.
    pub(crate) fn shown(&self) -> Option<(Shown, Scope)> {
        let scope = self.state.lock().as_ref()?.scope.clone();
        Some((self.outside.shown()?, scope))
    }
}

impl Standing {
    fn begin(&mut self, thread: &str) -> Option<Active> {
        let here = self.scope.thread.as_deref().is_none_or(|own| own == thread);
        let left = self
            .scope
            .calls
            .is_none_or(|most| self.begun < u64::from(most));
        if !here || !left {
            return None;
        }
        self.begun += 1;
        Some(Active::new(Arc::clone(&self.plan), self.seed, self.begun))
    }
}
