//! A pause that Graph asks for, and who has no time for it.

use crate::desk::Open;
use crate::event::Refusal;
use crate::model::{Model, Turn};
use crate::time::Time;

/// No POST before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    until: Time,
    refusal: Refusal,
}

impl Held {
    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.until <= now
    }
}

impl Model {
    /// Graph asked for a pause until `until`; the longest one counts.
    pub(crate) fn hold(&mut self, until: Time, refusal: &Refusal) {
        let held = self.aside.held.as_ref();
        if held.is_none_or(|held| held.until < until) {
            let refusal = refusal.clone();
            self.aside.open().held = Some(Box::new(Held { until, refusal }));
        }
    }

    /// Takes out those whose time is over before Graph lets them be sent, and says so now: to let
    /// them wait for it would tell them less, and later.
    pub(crate) fn refuse_held(&mut self, commands: &mut Vec<Open>, context: &mut Turn<'_>) {
        let held = self.aside.held.as_deref();
        let Some(held) = held.filter(|held| held.until > context.now) else {
            return;
        };
        let Held { until, mut refusal } = held.clone();
        let seconds = until.since(context.now).as_millis().div_ceil(1000);
        refusal.message = format!(
            "{} Graph asks to come again in {seconds} s, and the command's time is over before.",
            refusal.message
        );
        let verdict = refusal.into_verdict();
        let late: Vec<Open> = commands
            .extract_if(.., |open| open.send_until <= until)
            .collect();
        for open in late {
            self.settle(open, verdict.clone(), false, context);
        }
    }
}
