//! What answers a repeat after a restart: the journal.
//!
//! | request | what is found again |
//! |---|---|
//! | mute, unmute | the command by its records; a repeat gets its operation, and waits for a verdict that is not there yet |
//! | create | the answer as it was given; without one the call, when it came to be; told to come again, it may |
//! | any other | the answer as it was given; begun and not answered, nobody knows what came of it: 502, and nothing is sent |
//!
//! Whole answers hold whatever Graph answered; they lie in the journal's folder for a day.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use axum::response::IntoResponse as _;
use http::{HeaderMap, HeaderValue, StatusCode};
use openmic_engine::{CommandError, Engine, OperationRecord, Part};
use openmic_journal::{Journal, KeptCall, KeptCommand, LookupError, Repeated};
use openmic_model::{CallId, OperationId, Repeat};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::{Kept, Key, REPEATED, Scope};
use crate::answer::{Answer, Refusal};
use crate::surface::Base;
use crate::{command, graph};

/// The longest answer that is kept, in bytes; of a longer one only that there was one.
const LONGEST: usize = 1024 * 1024;
/// Between two looks at a command that has no verdict yet.
const LOOK: Duration = Duration::from_millis(25);
/// How much longer than its own time a command may take to its verdict after a restart.
const SLACK: Duration = Duration::from_secs(15);

/// What kind of request it is, by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Makes a call.
    Create,
    /// Mute or unmute of the bot.
    Command,
    /// Passed on to Graph; it must not take effect twice.
    Errand,
    /// Does no harm when it takes effect twice.
    Harmless,
}

impl Kind {
    /// Of a path as the table of routes spells it.
    pub(super) fn of(path: &str) -> Self {
        let path = path.split('?').next().unwrap_or("");
        let mut below = path.trim_end_matches('/').split('/').skip(4);
        match (below.next(), below.next(), below.next()) {
            (None, ..) => Self::Create,
            (Some(_), Some("mute" | "unmute"), None) => Self::Command,
            (Some(_), Some("keepAlive"), None)
            | (Some("logTeleconferenceDeviceQuality"), None, None) => Self::Harmless,
            _ => Self::Errand,
        }
    }
}

/// By what the journal knows a request again.
pub(super) fn repeat_of(scope: &Scope, print: [u8; 32]) -> Repeat {
    let mut context = Context::new(&SHA256);
    let mut part = |text: &[u8]| {
        context.update(&text.len().to_be_bytes());
        context.update(text);
    };
    part(scope.tenant.as_str().as_bytes());
    part(scope.app.as_str().as_bytes());
    part(scope.call.as_ref().map_or("", CallId::as_str).as_bytes());
    match &scope.key {
        Key::Idempotency(text) => {
            part(b"idempotency-key");
            part(text.as_bytes());
        }
        Key::Request(text) => {
            part(b"client-request-id");
            part(text.as_bytes());
        }
    }
    part(scope.print.as_ref().map_or(&[][..], |print| &print[..]));
    let mut scope = [0; 32];
    scope.copy_from_slice(context.finish().as_ref());
    Repeat { scope, print }
}

/// An answer as the journal keeps it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    /// The request was begun, and not answered yet.
    Begun,
    /// It came to nothing, and may come again.
    Free,
    /// Its answer.
    Whole {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
        /// Code and message of a refusal, and in how many milliseconds to come again.
        refusal: Option<(String, String, Option<u64>)>,
    },
}

impl Stored {
    /// `None` of what cannot be kept.
    fn of(kept: &Kept) -> Option<Self> {
        if kept.asks_to_come_again() {
            return Some(Self::Free);
        }
        if kept.bytes() > LONGEST {
            return None;
        }
        let headers = kept.headers.iter().map(|(name, value)| {
            let value = value.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        Some(Self::Whole {
            status: kept.status.as_u16(),
            headers: headers.collect::<Option<_>>()?,
            body: String::from_utf8(kept.body.to_vec()).ok()?,
            refusal: kept.refusal.as_ref().map(|refusal| {
                let wait = refusal.retry_after.map(|wait| wait.as_millis());
                let wait = wait.and_then(|wait| u64::try_from(wait).ok());
                (refusal.code.to_string(), refusal.message.to_string(), wait)
            }),
        })
    }

    /// The answer again; `None` where the request may be done.
    fn again(self) -> Option<Kept> {
        let (status, headers, body, refusal) = match self {
            Self::Free => return None,
            Self::Begun => return Some(Kept::refused(in_doubt())),
            Self::Whole {
                status,
                headers,
                body,
                refusal,
            } => (status, headers, body, refusal),
        };
        let status = StatusCode::from_u16(status).ok()?;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let known = REPEATED.into_iter().find(|known| known.as_str() == name);
            if let (Some(name), Ok(value)) = (known, HeaderValue::try_from(value)) {
                map.insert(name, value);
            }
        }
        let refusal = refusal.map(|(code, message, wait)| {
            let mut refusal = Refusal::new(status, code, message);
            refusal.retry_after = wait.map(Duration::from_millis);
            match status {
                StatusCode::METHOD_NOT_ALLOWED => refusal.header("allow", ""),
                _ => refusal,
            }
        });
        Some(Kept {
            status,
            headers: map,
            body: body.into(),
            refusal,
            again: true,
            fleeting: false,
        })
    }
}

fn in_doubt() -> Refusal {
    Refusal::new(
        StatusCode::BAD_GATEWAY,
        "generalException",
        "The engine was started anew while the first request of this key was under way, and nobody \
         knows what came of it. Nothing was sent now. Look at the call, and use a new key to ask \
         anew.",
    )
}

fn call_in_doubt() -> Refusal {
    Refusal::new(
        StatusCode::BAD_GATEWAY,
        "generalException",
        "The engine was started anew while the call of this key was being created, and nobody \
         knows whether it came to be; should it, it is hung up. Nothing was sent now. Use a new \
         key to create another.",
    )
}

/// Nothing was done, and it is right to come again.
fn not_asked(error: &LookupError) -> Refusal {
    Refusal::unavailable(
        format!("The journal cannot be asked whether this came before: {error}. Nothing was done."),
        Duration::from_secs(1),
    )
}

/// A request that may have come before.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) kind: Kind,
    pub(super) repeat: Repeat,
    pub(super) base: Option<Base>,
    /// How long the caller waits for a verdict, where it says so.
    pub(super) patience: Option<Duration>,
}

/// The journal, as far as repeats go.
#[derive(Debug, Clone)]
pub(crate) struct Durable {
    engine: Engine,
    journal: Journal,
}

impl Durable {
    /// `None` of an engine without a journal.
    pub(crate) fn of(engine: &Engine) -> Option<Self> {
        Some(Self {
            engine: engine.clone(),
            journal: engine.journal()?.clone(),
        })
    }

    /// The answer to a request that came before; `None` when it did not.
    pub(super) async fn earlier(&self, asked: &Asked) -> Option<Kept> {
        match self.look(asked).await {
            Ok(found) => found,
            Err(error) => Some(Kept::fleeting(not_asked(&error))),
        }
    }

    async fn look(&self, asked: &Asked) -> Result<Option<Kept>, LookupError> {
        let Repeat { scope, print } = asked.repeat;
        let mut free = None;
        if let Some(kept) = self.journal.answer(scope).await? {
            match serde_json::from_slice::<Stored>(&kept.body) {
                // Nothing came of it, so that another request may have its key.
                Ok(Stored::Free) => free = Some(kept.at),
                _ if kept.print != print => {
                    return Ok(Some(Kept::fleeting(super::mismatch())));
                }
                Ok(stored) => {
                    if let Some(again) = stored.again() {
                        return Ok(Some(again));
                    }
                }
                Err(error) => tracing::warn!(%error, "a kept answer cannot be read"),
            }
        }
        let Some(repeated) = self.engine.repeated(scope).await? else {
            return Ok(None);
        };
        if let (Repeated::Call(call), Some(free)) = (&repeated, free)
            && call.at <= free
        {
            // It came to nothing, and the caller was told to come again.
            return Ok(None);
        }
        if repeated
            .repeat()
            .is_some_and(|repeat| repeat.print != print)
        {
            return Ok(Some(Kept::fleeting(super::mismatch())));
        }
        let answer = match repeated {
            Repeated::Command(command) => self.command(*command, asked).await?,
            Repeated::Call(call) => self.call(*call, asked).await,
        };
        let mut kept = match answer {
            Ok(response) => Kept::of(response).await,
            Err(refusal) => Kept::of(refusal.into_response()).await,
        };
        kept.again = true;
        // One that still runs has another answer later.
        kept.fleeting = kept.status == StatusCode::ACCEPTED;
        Ok(Some(kept))
    }

    /// The operation of a command that was accepted before.
    async fn command(&self, kept: KeptCommand, asked: &Asked) -> Result<Answer, LookupError> {
        let (Some(call), Some(named)) = (kept.call, kept.accepted.asked) else {
            return Ok(Err(Refusal::no_call()));
        };
        let Some(base) = &asked.base else {
            return Ok(Err(Refusal::internal()));
        };
        let limit = asked.patience.unwrap_or(kept.accepted.within + SLACK);
        let record = self.settled(&call, &named.operation, limit).await?;
        Ok(match record {
            Some(record) => command::answer(&record, &call, base),
            None => Err(Refusal::no_call()),
        })
    }

    /// Waits for the verdict of an operation, `limit` at most.
    async fn settled(
        &self,
        call: &CallId,
        operation: &OperationId,
        limit: Duration,
    ) -> Result<Option<OperationRecord>, LookupError> {
        let until = Instant::now() + limit;
        loop {
            let record = self.engine.operation(call, operation).await?;
            let open = record
                .as_ref()
                .is_some_and(|record| record.verdict.is_none());
            if !open || Instant::now() >= until {
                return Ok(record);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A call whose creator was not answered before the engine was started anew.
    async fn call(&self, kept: KeptCall, asked: &Asked) -> Answer {
        let Some(id) = kept.call else {
            return Err(call_in_doubt());
        };
        let base = asked.base.as_ref().ok_or_else(Refusal::internal)?;
        let call = self.engine.call(&id).ok_or_else(Refusal::no_call)?;
        graph::still_there(&call)?;
        let Value::Object(read) = call.read(Part::Call, None).await? else {
            return Err(Refusal::internal());
        };
        Ok(graph::created(&call, read, base))
    }

    /// Writes down that a request is begun, where only that tells it after a crash.
    ///
    /// # Errors
    /// A refusal when that cannot be done; nothing must be sent then.
    pub(super) async fn begin(&self, asked: &Asked) -> Result<(), Refusal> {
        if asked.kind != Kind::Errand {
            return Ok(());
        }
        self.journal.admits().map_err(CommandError::from)?;
        self.keep(asked.repeat, &Stored::Begun)
            .await
            .map_err(|()| Refusal::from(CommandError::StorageFailed))
    }

    /// Keeps the answer of a request, where the journal would not know it otherwise.
    pub(super) async fn end(&self, asked: &Asked, kept: &Kept) {
        let worth = match asked.kind {
            Kind::Harmless => false,
            // One that came to nothing, too: that a call was wanted is written down before.
            Kind::Errand | Kind::Create => true,
            // Its records tell the rest.
            Kind::Command => kept.refusal.is_some() && !kept.asks_to_come_again(),
        };
        let Some(stored) = Stored::of(kept).filter(|_| worth) else {
            return;
        };
        if self.keep(asked.repeat, &stored).await.is_err() {
            tracing::warn!("an answer could not be kept; its repeat after a restart is in doubt");
        }
    }

    async fn keep(&self, repeat: Repeat, stored: &Stored) -> Result<(), ()> {
        let body = serde_json::to_vec(stored).expect("text and numbers serialise into memory");
        let Repeat { scope, print } = repeat;
        let kept = self.journal.keep_answer(Journal::now(), scope, print, body);
        kept.await.map_err(drop)
    }
}
