//! A call that is awake has a task, for what it waits for besides letters. A letter is read where
//! it is brought: whoever brings it runs the call, and the task sleeps on.
//!
//! What a letter asks for is short and never waits, and so are the ways of a command and of its
//! webhook a task shorter each.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::baton::Baton;
use crate::call::Shared;
use crate::mailbox::Task;
use crate::supervise::{Body, supervise};

/// A call until it sleeps or is over.
type Supervised = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A call that is awake. Its task holds it, the mailbox knows it.
pub(crate) struct Awake {
    this: Weak<Self>,
    call: Arc<Shared>,
    runtime: Handle,
    /// None once it sleeps or is over.
    supervised: Baton<Option<Supervised>>,
    /// Of the task.
    waker: Mutex<Waker>,
}

impl Awake {
    /// Gives the call a task.
    pub(crate) fn begin(body: Box<Body>, call: Arc<Shared>, runtime: &Handle) {
        Self::go_on(Box::pin(supervise(body)), call, runtime);
    }

    /// Gives a task to a call that has run already.
    pub(crate) fn go_on(supervised: Supervised, call: Arc<Shared>, runtime: &Handle) {
        let awake = Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            call,
            runtime: runtime.clone(),
            supervised: Baton::new(Some(supervised)),
            waker: Mutex::new(Waker::noop().clone()),
        });
        runtime.spawn(poll_fn(move |context| {
            awake.waker.lock().clone_from(context.waker());
            awake.poll(context)
        }));
    }

    /// Runs the call, unless somebody else does: then it is run once more there.
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let over = self.supervised.run(|supervised| {
            let Some(running) = supervised else {
                return ControlFlow::Break(());
            };
            // What is wrong with the call is no fault of whoever brought a letter.
            let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context)));
            if let Ok(Poll::Pending) = polled {
                // While nobody else runs it: once it sleeps, its mailbox is not this task's any more.
                self.call.mail.lend(&self.this);
                return ControlFlow::Continue(());
            }
            if polled.is_err() {
                broke_off();
            }
            *supervised = None;
            ControlFlow::Break(())
        });
        over.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Task for Awake {
    fn run(&self) {
        let waker = self.waker.lock().clone();
        let _inside = self.runtime.enter();
        if self.poll(&mut Context::from_waker(&waker)).is_ready() {
            // The task ends.
            waker.wake();
        }
    }
}

/// Says that a call is gone although nothing ended it.
pub(crate) fn broke_off() {
    tracing::error!("a call broke off by a fault of openmic");
}
