//! A call that is awake has a task, for what it waits for besides letters. A letter is read where
//! it is brought: whoever brings it runs the call, and the task sleeps on.
//!
//! What a letter asks for is short and never waits. A command and its webhook each have a task less
//! on their way.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::baton::{Baton, Ran};
use crate::call::Shared;
use crate::mailbox::Task;
use crate::supervise::{Body, broke_off, supervise};

/// How often whoever brings a letter runs the call for others who bring theirs meanwhile, before
/// that is left to the task.
const ROUNDS: usize = 4;

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
    /// There is no task any more.
    over: AtomicBool,
}

/// The task's part. With the task goes the call: the runtime is over, and whoever brings a letter
/// must not run it on.
struct Owned(Arc<Awake>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

impl Awake {
    /// Gives the call a task.
    pub(crate) fn begin(body: Box<Body>, call: Arc<Shared>, runtime: &Handle) {
        Self::go_on(Box::pin(supervise(body)), call, runtime);
    }

    /// Gives a task to a call that has run already.
    pub(crate) fn go_on(supervised: Supervised, call: Arc<Shared>, runtime: &Handle) {
        let owned = Owned(Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            call,
            runtime: runtime.clone(),
            supervised: Baton::new(Some(supervised)),
            waker: Mutex::new(Waker::noop().clone()),
            over: AtomicBool::new(false),
        }));
        runtime.spawn(poll_fn(move |context| {
            let Owned(awake) = &owned;
            awake.waker.lock().clone_from(context.waker());
            awake.poll(context)
        }));
    }

    /// Runs the call, unless somebody else does: then it is run once more there.
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let ran = self.supervised.run(ROUNDS, |supervised| {
            if self.over.load(Ordering::Acquire) {
                self.let_go(supervised);
            }
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
                broke_off(&self.call);
            }
            self.let_go(supervised);
            ControlFlow::Break(())
        });
        match ran {
            Ran::Seen => Poll::Pending,
            Ran::Due => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Ran::Broke(()) => Poll::Ready(()),
        }
    }

    fn let_go(&self, supervised: &mut Option<Supervised>) {
        let gone = supervised.take();
        if catch_unwind(AssertUnwindSafe(|| drop(gone))).is_err() {
            broke_off(&self.call);
        }
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
