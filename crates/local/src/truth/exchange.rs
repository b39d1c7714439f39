use std::sync::Arc;

use openmic_model::ClientContext;

use super::{Act, Fact, Truth};

/// A request that is in the log, until its answer is as well. Dropped before: its caller has gone
/// and gets none.
#[derive(Debug)]
pub(crate) struct Exchange {
    truth: Arc<Truth>,
    request: Arc<str>,
    open: bool,
}

impl Exchange {
    /// Logs that a request came. `about` is the call and the participant it names.
    pub(crate) fn begin(
        truth: &Arc<Truth>,
        request: &Arc<str>,
        act: Act,
        about: (Option<&str>, Option<&str>),
        client_context: Option<&ClientContext>,
    ) -> Self {
        let (call, participant) = about;
        truth.write(&Fact::Asked {
            request,
            act,
            call,
            participant,
            client_context,
        });
        Self {
            truth: Arc::clone(truth),
            request: Arc::clone(request),
            open: true,
        }
    }

    /// Logs its answer, which goes out next.
    pub(crate) fn answered(mut self, status: u16, code: Option<&str>) {
        self.close(Some(status), code);
    }

    fn close(&mut self, status: Option<u16>, code: Option<&str>) {
        self.open = false;
        self.truth.write(&Fact::Answered {
            request: &self.request,
            status,
            code,
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.open {
            self.close(None, None);
        }
    }
}
