use std::collections::HashMap;

use crate::call::CallChecker;
use crate::history::Entry;
use crate::invariants::{Breach, Limits};

/// Judges a history of many calls.
#[derive(Debug)]
pub struct Checker {
    limits: Limits,
    calls: HashMap<String, CallChecker>,
}

impl Checker {
    /// With nothing judged yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            calls: HashMap::new(),
        }
    }

    /// Takes the next entry. One of the call `*` happens to every call known so far: a crash, the
    /// end of the faults.
    ///
    /// # Errors
    /// [`Breach`] of the first invariant that does not hold any more, with the call's name.
    pub fn take(&mut self, entry: &Entry) -> Result<(), Breach> {
        if entry.call == "*" {
            for (name, call) in &mut self.calls {
                let judged = call.take(entry.at, &entry.what);
                judged.map_err(|breach| breach.of(name))?;
            }
            return Ok(());
        }
        let call = match self.calls.get_mut(&entry.call) {
            Some(call) => call,
            None => self
                .calls
                .entry(entry.call.clone())
                .or_insert_with(|| CallChecker::new(self.limits)),
        };
        let judged = call.take(entry.at, &entry.what);
        judged.map_err(|breach| breach.of(&entry.call))
    }

    /// Forgets a call whose history is over, once it is judged.
    ///
    /// # Errors
    /// As [`Checker::finish`], for this call.
    pub fn close(&mut self, call: &str) -> Result<(), Breach> {
        match self.calls.remove(call) {
            Some(judged) => judged.finish().map_err(|breach| breach.of(call)),
            None => Ok(()),
        }
    }

    /// The history ends here: what takes time and had it since [`What::Calm`] must have come.
    ///
    /// # Errors
    /// [`Breach`] of the first invariant that does not hold.
    ///
    /// [`What::Calm`]: crate::What::Calm
    pub fn finish(&self) -> Result<(), Breach> {
        for (name, call) in &self.calls {
            call.finish().map_err(|breach| breach.of(name))?;
        }
        Ok(())
    }

    /// Calls seen so far.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }
}
