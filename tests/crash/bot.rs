//! The bot: it asks, and asks again with the same key until it knows.

use std::time::{Duration, Instant};

use http::Method;
use openmic_checker::{End, What};
use openmic_local::DEV_TENANT;
use openmic_model::Action;
use serde_json::{Value, json};

use crate::history::{Nameless, WITHIN, command, now};
use crate::house::House;
use crate::road::Point;

/// How long a verdict may take, restart included.
const PATIENCE: Duration = Duration::from_mins(1);

/// One command of the bot's.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) call: String,
    pub(crate) action: Action,
    key: String,
    /// When it was first sent.
    asked: u64,
    /// The engine's operation for it, once told.
    pub(crate) operation: Option<String>,
    /// How it ended, once told.
    pub(crate) end: Option<End>,
    /// It was said that there is no such call.
    pub(crate) gone: bool,
}

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// There was no answer.
    Nothing,
    /// The engine takes no commands now.
    Busy,
    Running,
    Ended,
    /// There is no such call any more.
    Gone,
}

impl Command {
    pub(crate) fn new(call: &str, action: Action, key: String) -> Self {
        Self {
            call: call.to_owned(),
            action,
            key,
            asked: 0,
            operation: None,
            end: None,
            gone: false,
        }
    }

    /// What is known of it when it was told 404 and never its name.
    pub(crate) fn nameless(&self) -> Option<Nameless> {
        let nameless = self.gone && self.operation.is_none();
        nameless.then(|| Nameless {
            call: self.call.clone(),
            action: self.action,
            asked: self.asked,
        })
    }

    fn path(&self) -> String {
        format!("/v1.0/communications/calls/{}/{}", self.call, self.action)
    }

    /// Sends it, the first time or again.
    ///
    /// # Errors
    /// When the answer is another than the one before, or none that may come.
    pub(crate) async fn send(&mut self, house: &House, prefer: &str) -> Result<Reply, String> {
        if self.asked == 0 {
            self.asked = now();
        }
        let headers = [("idempotency-key", self.key.as_str()), ("prefer", prefer)];
        let body = json!({"clientContext": self.key});
        let path = self.path();
        let answer = house.ask(Method::POST, &path, &headers, Some(&body));
        let Some((status, told)) = answer.await else {
            return Ok(Reply::Nothing);
        };
        match status {
            200 | 202 => self.told(house, &told),
            429 | 503 => Ok(Reply::Busy),
            404 if told["error"]["code"] == "8522" => Ok(Reply::Gone),
            _ => Err(format!("{self:?} was answered {status} {told}")),
        }
    }

    /// Takes in what an operation says.
    fn told(&mut self, house: &House, told: &Value) -> Result<Reply, String> {
        let id = told["id"].as_str().ok_or("an operation without an id")?;
        match &self.operation {
            None => {
                let accepted = What::Accepted {
                    command: command(id),
                    action: self.action,
                    within: WITHIN,
                };
                house.seen.note_at(self.asked, &self.call, accepted);
                let acknowledged = What::Acknowledged {
                    command: command(id),
                };
                house.seen.note(&self.call, acknowledged);
                self.operation = Some(id.to_owned());
            }
            Some(known) if known == id => {}
            Some(known) => {
                return Err(format!(
                    "I-1: a repeat of {} is operation {id}, and was {known}",
                    self.key
                ));
            }
        }
        let end = match told["status"].as_str().unwrap_or_default() {
            "completed" => End::Completed,
            "failed" => {
                let code = told["resultInfo"]["code"].as_u64();
                let code = code.and_then(|code| u16::try_from(code).ok());
                End::of_failed(code.ok_or("a failure without a code")?)
            }
            _ => {
                house.trap.passes(Point::Accepted);
                return Ok(Reply::Running);
            }
        };
        let what = What::Told {
            command: command(id),
            end,
        };
        house.seen.note(&self.call, what);
        house.trap.passes(Point::Verdict);
        match self.end {
            Some(known) if known != end => {
                Err(format!("I-2: {self:?} ended otherwise now: {told}"))
            }
            _ => {
                self.end = Some(end);
                Ok(Reply::Ended)
            }
        }
    }

    /// Asks until it has its verdict: by a repeat until its operation is known, then by GET.
    ///
    /// # Errors
    /// As [`Command::send`], and when there is none in time.
    pub(crate) async fn settle(&mut self, house: &House) -> Result<(), String> {
        let start = Instant::now();
        let (mut replies, mut asked) = (Vec::new(), start.elapsed());
        while self.end.is_none() && !self.gone {
            if start.elapsed() > PATIENCE {
                let last = replies.iter().rev().take(8).collect::<Vec<_>>();
                return Err(format!(
                    "I-3: {self:?} has no verdict; asked {} times, at last after {asked:?}; the \
                     latest answers, last first: {last:?}",
                    replies.len()
                ));
            }
            asked = start.elapsed();
            let reply = match &self.operation {
                None => self.send(house, "wait=10").await?,
                Some(_) => self.read(house).await?,
            };
            replies.push(reply);
            self.gone |= reply == Reply::Gone;
            if reply != Reply::Ended {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    /// GET of its operation.
    async fn read(&mut self, house: &House) -> Result<Reply, String> {
        let id = self.operation.clone().ok_or("no operation to read")?;
        let path = format!("/v1.0/communications/calls/{}/operations/{id}", self.call);
        match house.ask(Method::GET, &path, &[], None).await {
            None => Ok(Reply::Nothing),
            Some((200, told)) => {
                let known = self.end;
                match self.told(house, &told)? {
                    Reply::Running if known.is_some() => {
                        Err(format!("{self:?} runs again: {told}"))
                    }
                    reply => Ok(reply),
                }
            }
            Some((404, told)) if told["error"]["code"] == "8522" => Ok(Reply::Gone),
            Some((404, told)) => {
                let forgotten = What::Forgotten {
                    command: command(&id),
                };
                house.seen.note(&self.call, forgotten);
                Err(format!("I-1: {self:?} is not known any more: {told}"))
            }
            Some((429 | 503, _)) => Ok(Reply::Busy),
            Some((status, told)) => Err(format!("{self:?} reads {status} {told}")),
        }
    }

    /// Reads its operation, and sends it once more: both tell of what was told before.
    ///
    /// # Errors
    /// When they do not.
    pub(crate) async fn read_again(&mut self, house: &House) -> Result<(), String> {
        match self.read(house).await? {
            Reply::Ended => {}
            // nobody asks for a verdict again whose call is over
            Reply::Gone => {
                self.gone = true;
                return Ok(());
            }
            other => return Err(format!("{self:?} reads as {other:?}")),
        }
        // a repeat is answered what the first was, which may be that it runs
        match self.send(house, "wait=10").await? {
            Reply::Ended | Reply::Running => Ok(()),
            Reply::Gone if self.end == Some(End::CallEnded) => Ok(()),
            other => Err(format!("a repeat of {self:?} is answered {other:?}")),
        }
    }
}

/// Creates a call. `None` when there was no answer, or one that says to come again.
///
/// # Errors
/// When the answer is none that may come.
pub(crate) async fn create(
    house: &House,
    thread: &str,
    key: &str,
) -> Result<Option<String>, String> {
    let body = json!({
        "@odata.type": "#microsoft.graph.call",
        "callbackUri": "http://127.0.0.1:9/nobody",
        "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "chatInfo": {"threadId": thread, "messageId": "0"},
        "meetingInfo": {
            "@odata.type": "#microsoft.graph.organizerMeetingInfo",
            "organizer": {"user": {"id": "33333333-3333-4333-8333-333333333333"}}
        },
        "tenantId": DEV_TENANT
    });
    let path = "/v1.0/communications/calls";
    let headers = [("idempotency-key", key)];
    match house.ask(Method::POST, path, &headers, Some(&body)).await {
        Some((201, call)) => {
            let id = call["id"].as_str().ok_or("a call without an id")?;
            Ok(Some(id.to_owned()))
        }
        None | Some((429 | 500..600, _)) => Ok(None),
        // a repeat: what the first may have made was hung up
        Some((404, told)) if told["error"]["code"] == "8522" => Ok(None),
        Some((status, told)) => Err(format!("a create was answered {status} {told}")),
    }
}

/// Waits until the bot is in the meeting and the engine knows whether it is muted.
pub(crate) async fn established(house: &House, call: &str) -> Result<(), String> {
    let path = format!("/v1/calls/{call}");
    let start = Instant::now();
    loop {
        let answer = house.ask(Method::GET, &path, &[], None).await;
        if let Some((200, view)) = &answer
            && matches!(view["state"].as_str(), Some("muted" | "unmuted"))
        {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{call} is not established: {answer:?}"));
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}
