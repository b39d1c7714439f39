//! Subscribers that stay, whatever becomes of the engine.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::Request;
use openmic_checker::{End, What};
use openmic_model::{Evidence, RosterSeen, Version};
use openmic_tests::{HeldRoster, Random};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::history::command;
use crate::house::House;
use crate::road::Point;

/// What a subscriber has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    pub(crate) version: Option<Version>,
    pub(crate) hash: u64,
    /// Told that the call is over.
    pub(crate) over: bool,
    /// Told that there is no such call, which there is.
    pub(crate) unknown: Option<String>,
    pub(crate) connections: u32,
    pub(crate) deltas: u64,
    pub(crate) snapshots: u64,
}

/// One subscriber of one call.
pub(crate) struct Watcher {
    pub(crate) held: watch::Receiver<Held>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// It connects, is cut now and then by itself, and comes back with what it has.
    pub(crate) fn watch(house: &Arc<House>, call: &str, number: u32, seed: u64) -> Self {
        let (tell, held) = watch::channel(Held::default());
        let task = Task {
            house: Arc::clone(house),
            call: call.to_owned(),
            number,
            random: Random::new(seed),
            roster: HeldRoster::default(),
            tell,
        };
        Self {
            held,
            task: tokio::spawn(task.run()),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    house: Arc<House>,
    call: String,
    number: u32,
    random: Random,
    roster: HeldRoster,
    tell: watch::Sender<Held>,
}

impl Task {
    async fn run(mut self) {
        while !self.tell.borrow().over && !self.tell.is_closed() {
            self.connection().await;
            let left = What::Left {
                subscriber: self.number,
            };
            self.house.seen.note(&self.call, left);
            // a client's own pause; the engine may be away
            let pause = 5 + self.random.below(20);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    fn request(&self) -> Request<()> {
        let version = self.tell.borrow().version;
        let since = version.map_or_else(String::new, |version| format!("?since={version}"));
        let (engine, call) = (self.house.engine, &self.call);
        let url = format!("ws://{engine}/v1/calls/{call}/roster{since}");
        let mut request = url.into_client_request().expect("a URL");
        let bearer = House::bearer().parse().expect("a header");
        request
            .headers_mut()
            .insert(http::header::AUTHORIZATION, bearer);
        request
    }

    async fn connection(&mut self) {
        let mut socket = match tokio_tungstenite::connect_async(self.request()).await {
            Ok((socket, _)) => socket,
            Err(Error::Http(answer)) if answer.status() == 404 => {
                let body = answer.body().as_deref().unwrap_or_default();
                let said = String::from_utf8_lossy(body).into_owned();
                self.tell.send_modify(|held| held.unknown = Some(said));
                return;
            }
            Err(_) => return,
        };
        self.tell.send_modify(|held| held.connections += 1);
        let joined = What::Joined {
            subscriber: self.number,
        };
        self.house.seen.note(&self.call, joined);
        let mut frames = 1 + self.random.below(60);
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) => self.frame(&serde_json::from_str(&text).expect("JSON")),
                Message::Close(close) => {
                    let over = close.is_some_and(|close| u16::from(close.code) == 4004);
                    self.tell.send_modify(|held| held.over |= over);
                    socket.flush().await.ok();
                    return;
                }
                _ => continue,
            }
            frames -= 1;
            if frames == 0 {
                return;
            }
        }
    }

    fn frame(&mut self, frame: &Value) {
        match frame["type"].as_str() {
            Some("snapshot" | "delta") => self.roster(frame),
            Some("operation") => {
                if let Some(end) = end_of(frame) {
                    let command = command(frame["id"].as_str().expect("an id"));
                    let told = What::Told { command, end };
                    self.house.seen.note(&self.call, told);
                    self.house.trap.passes(Point::Verdict);
                }
            }
            _ => {}
        }
    }

    fn roster(&mut self, frame: &Value) {
        self.roster.apply(frame);
        let number = |name: &str| frame[name].as_u64().expect("a number");
        let version = Version {
            epoch: number("epoch"),
            seq: number("seq"),
        };
        let stated = frame["hash"].as_str().expect("a hash");
        let hash = self.roster.hash();
        let whole = frame["type"] == "snapshot";
        let what = What::Frame {
            subscriber: self.number,
            version,
            whole,
            stated: u64::from_str_radix(stated, 16).ok(),
            holds: Some(hash),
        };
        self.house.seen.note(&self.call, what);
        self.tell.send_modify(|held| {
            held.version = Some(version);
            held.hash = hash;
            held.snapshots += u64::from(whole);
            held.deltas += u64::from(!whole);
        });
    }
}

/// The verdict in an operation's frame.
fn end_of(frame: &Value) -> Option<End> {
    Some(match frame["verdict"].as_str()? {
        "confirmed" => End::Confirmed {
            evidence: match frame["evidence"].as_str()? {
                "http" => Evidence::Http,
                "operation" => Evidence::Operation,
                "roster" => Evidence::Roster,
                _ => Evidence::Poll,
            },
            roster: if frame["roster"] == "unseen" {
                RosterSeen::Unseen
            } else {
                RosterSeen::Fresh
            },
        },
        "already" => End::Already,
        "refused" => End::Refused {
            status: u16::try_from(frame["httpStatus"].as_u64()?).ok()?,
        },
        "unconfirmed" => End::Unconfirmed,
        "expired" => End::Expired,
        "superseded" => End::Superseded,
        _ => End::CallEnded,
    })
}
