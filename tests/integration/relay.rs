//! A bot that was written against Graph, with a webhook of its own: what it is told when the
//! engine stands between is what it is told without, in the same order.

use std::collections::{BTreeMap, BTreeSet};

use openmic_local::{DEV_APP, DEV_SECRET, DEV_TENANT};
use openmic_tests::{Hook, Posted, Server};
use reqwest::Method;
use serde_json::{Value, json};

/// One way of the bot to its calls.
struct Way<'a> {
    /// Tells the runs apart.
    name: &'static str,
    /// Where its Graph is.
    base: String,
    lab: String,
    token: &'a str,
    http: &'a reqwest::Client,
    hook: &'a Hook,
    delta: Option<bool>,
}

/// What a bot saw of one scripted call.
struct Seen {
    posts: Vec<Posted>,
    created: Value,
    read: Value,
}

async fn token(http: &reqwest::Client, server: &Server) -> String {
    let url = format!("http://{}/{DEV_TENANT}/oauth2/v2.0/token", server.local());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", DEV_APP),
        ("client_secret", DEV_SECRET),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let answer = http.post(url).form(&form).send().await.unwrap();
    let body: Value = answer.json().await.unwrap();
    body["access_token"].as_str().unwrap().to_owned()
}

impl Way<'_> {
    async fn ask(&self, method: Method, url: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.http.request(method, url).bearer_auth(self.token);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    async fn said(&self, what: &str, enough: impl Fn(&Story) -> bool) {
        let told = |posts: &[Posted]| enough(&Story::of(posts));
        self.hook.until(self.name, what, told).await;
    }

    /// The script: a meeting with two humans who come and go, a host, and a bot that mutes,
    /// unmutes and hangs up.
    async fn run(&self, thread: &str) -> Seen {
        let calls = format!("{}/communications/calls", self.base);
        let mut body = json!({
            "@odata.type": "#microsoft.graph.call",
            "callbackUri": self.hook.url(self.name),
            "requestedModalities": ["audio"],
            "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
            "chatInfo": {"threadId": thread, "messageId": "0"},
            "meetingInfo": {
                "@odata.type": "#microsoft.graph.organizerMeetingInfo",
                "organizer": {"user": {"id": "33333333-3333-4333-8333-333333333333"}}
            },
            "tenantId": DEV_TENANT
        });
        if let Some(delta) = self.delta {
            body["callOptions"] = json!({
                "@odata.type": "#microsoft.graph.outgoingCallOptions",
                "isDeltaRosterEnabled": delta,
            });
        }
        let (status, created) = self.ask(Method::POST, &calls, Some(body)).await;
        assert_eq!(status, 201, "{created}");
        let call = format!("{calls}/{}", created["id"].as_str().unwrap());
        let me = created["myParticipantId"].as_str().unwrap().to_owned();
        self.said("established and a roster", |story| {
            story.state() == "established" && story.people() == 1
        })
        .await;

        let people = format!("{}/lab/v1/meetings/{thread}/participants", self.lab);
        let (status, ada) = self
            .ask(Method::POST, &format!("{people}?displayName=Ada"), None)
            .await;
        assert_eq!(status, 201, "{ada}");
        self.said("Ada", |story| story.people() == 2).await;

        self.act(&call, "mute").await;
        self.said("muted", |story| story.muted(&me)).await;
        self.act(&call, "unmute").await;
        self.said("unmuted", |story| !story.muted(&me)).await;

        let mine = format!("{people}/{me}");
        let mute = json!({"serverMuted": true});
        let (status, body) = self.ask(Method::PATCH, &mine, Some(mute)).await;
        assert_eq!(status, 200, "{body}");
        self.said("muted by the host", |story| story.muted(&me))
            .await;
        self.act(&call, "unmute").await;
        self.said("unmuted again", |story| !story.muted(&me)).await;

        let (_, grace) = self
            .ask(Method::POST, &format!("{people}?displayName=Grace"), None)
            .await;
        self.said("Grace", |story| story.people() == 3).await;
        let gone = format!("{people}/{}", ada["id"].as_str().unwrap());
        let (status, _) = self.ask(Method::DELETE, &gone, None).await;
        assert_eq!(status, 204);
        self.said("Ada gone", |story| story.people() == 2).await;
        assert!(grace["id"].is_string(), "{grace}");

        let (status, read) = self.ask(Method::GET, &call, None).await;
        assert_eq!(status, 200, "{read}");
        let (status, _) = self.ask(Method::DELETE, &call, None).await;
        assert_eq!(status, 204);
        self.said("terminated", |story| story.state() == "terminated")
            .await;
        Seen {
            posts: self.hook.got(self.name),
            created,
            read,
        }
    }

    async fn act(&self, call: &str, action: &str) {
        let context = json!({"clientContext": format!("{action}-1")});
        let (status, body) = self
            .ask(Method::POST, &format!("{call}/{action}"), Some(context))
            .await;
        let state = body["status"].as_str().unwrap_or_default();
        assert_eq!((status, &*state.to_lowercase()), (200, "completed"));
    }
}

/// What notifications add up to, read as a bot reads them: full rosters replace, deltas merge.
#[derive(Default)]
struct Story {
    state: String,
    roster: BTreeMap<String, bool>,
}

impl Story {
    fn of(posts: &[Posted]) -> Self {
        let mut story = Self::default();
        for entry in entries(posts) {
            let data = &entry["resourceData"];
            if let Some(state) = data["state"].as_str() {
                state.clone_into(&mut story.state);
            }
            let Some(items) = data.as_array() else {
                continue;
            };
            let delta = items
                .first()
                .is_some_and(|item| item["participants"].is_array());
            let everybody: Vec<&Value> = if delta {
                let deltas = items.iter();
                deltas
                    .flat_map(|delta| delta["participants"].as_array().unwrap())
                    .collect()
            } else {
                story.roster.clear();
                items.iter().collect()
            };
            for one in everybody {
                let id = one["id"].as_str().unwrap().to_owned();
                if one["removedState"].is_object() {
                    story.roster.remove(&id);
                } else {
                    story.roster.insert(id, one["isMuted"].as_bool().unwrap());
                }
            }
        }
        story
    }

    fn state(&self) -> &str {
        &self.state
    }

    fn people(&self) -> usize {
        self.roster.len()
    }

    fn muted(&self, id: &str) -> bool {
        self.roster.get(id).copied().unwrap_or_default()
    }
}

fn entries(posts: &[Posted]) -> impl Iterator<Item = &Value> {
    posts
        .iter()
        .flat_map(|post| post.body["value"].as_array().unwrap())
}

/// Replaces each GUID by the order in which it first appeared, and the run's own words by neutral
/// ones. Everything else must be the same.
struct Normal<'a> {
    replaced: Vec<(&'a str, &'a str)>,
    known: Vec<String>,
}

impl Normal<'_> {
    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => {
                let members = members.iter();
                let each = members.map(|(name, member)| (name.clone(), self.value(member)));
                Value::Object(each.collect())
            }
            other => other.clone(),
        }
    }

    fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in &self.replaced {
            text = text.replace(from, to);
        }
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(next) = rest.chars().next() {
            let (shown, taken) = match rest.get(..36).filter(|part| is_guid(part)) {
                Some(guid) => (self.guid(guid), 36),
                None => (next.to_string(), next.len_utf8()),
            };
            out.push_str(&shown);
            rest = &rest[taken..];
        }
        out
    }

    fn guid(&mut self, guid: &str) -> String {
        let known = self.known.iter().position(|known| known == guid);
        let at = known.unwrap_or_else(|| {
            self.known.push(guid.to_owned());
            self.known.len() - 1
        });
        format!("<{at}>")
    }
}

fn is_guid(text: &str) -> bool {
    text.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

fn header_names(post: &Posted) -> BTreeSet<String> {
    post.headers.keys().map(ToString::to_string).collect()
}

async fn nobody_can_tell(delta: Option<bool>, pascal: bool) {
    let arguments = [
        "serve",
        "--set",
        if pascal {
            "local.pascal_case=true"
        } else {
            "local.pascal_case=false"
        },
    ];
    let server = tokio::task::spawn_blocking(move || Server::start(&arguments))
        .await
        .unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let token = token(&http, &server).await;
    let hook = Hook::start();
    let way = |name, base: &str| Way {
        name,
        base: format!("http://{base}/v1.0"),
        lab: format!("http://{}", server.local()),
        token: &token,
        http: &http,
        hook: &hook,
        delta,
    };
    let direct = way("direct", server.local())
        .run("19:direct@thread.v2")
        .await;
    let relayed = way("relayed", server.public())
        .run("19:relayed@thread.v2")
        .await;

    let normal = |name: &'static str, base: &str, seen: &Seen| {
        let (service, hook) = (format!("http://{base}"), hook.url(name));
        let thread = format!("19:{name}@thread.v2");
        let mut normal = Normal {
            replaced: vec![(&*hook, "HOOK"), (&*service, "GRAPH"), (&*thread, "THREAD")],
            known: Vec::new(),
        };
        let created = normal.value(&seen.created);
        let posts: Vec<Value> = seen
            .posts
            .iter()
            .map(|post| normal.value(&post.body))
            .collect();
        (created, posts, normal.value(&seen.read))
    };
    let expected = normal("direct", server.local(), &direct);
    let got = normal("relayed", server.public(), &relayed);
    for (at, (got, expected)) in got.1.iter().zip(&expected.1).enumerate() {
        assert_eq!(got, expected, "notification {at}");
    }
    assert_eq!(got.1.len(), expected.1.len());
    assert_eq!(got.0, expected.0, "the created call");
    assert_eq!(got.2, expected.2, "the call as read");
    assert!(got.1.len() >= 10, "{}", got.1.len());

    let mut messages = BTreeSet::new();
    for (got, expected) in relayed.posts.iter().zip(&direct.posts) {
        assert_eq!(header_names(got), header_names(expected));
        for same in ["authorization", "user-agent", "content-type", "accept"] {
            assert_eq!(got.headers[same], expected.headers[same], "{same}");
        }
        let message = &got.headers["x-microsoft-skype-message-id"];
        assert!(
            messages.insert(message.to_str().unwrap().to_owned()),
            "twice"
        );
    }
    let scenario = |post: &Posted| post.headers["scenario-id"].clone();
    assert!(
        relayed
            .posts
            .iter()
            .all(|post| scenario(post) == scenario(&relayed.posts[0]))
    );
    // Our own key is the second factor of our webhook.
    let whole = format!("{:?}{}{}", relayed.posts, relayed.created, relayed.read);
    assert!(!whole.contains("/callbacks/"), "{whole}");
    let stopped =
        tokio::task::spawn_blocking(move || server.stops(std::time::Duration::from_secs(20)));
    assert_eq!(stopped.await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_bot_that_asked_for_nothing_gets_whole_rosters_as_from_graph() {
    nobody_can_tell(None, false).await;
}

#[tokio::test]
async fn a_bot_that_asked_for_deltas_gets_deltas_as_from_graph() {
    nobody_can_tell(Some(true), true).await;
}

#[tokio::test]
async fn a_bot_that_asked_for_no_deltas_gets_none() {
    nobody_can_tell(Some(false), false).await;
}
