//! No secret shows anywhere (threat T-13): the real binary does all it can at log level trace, with
//! a canary for every kind of secret, and nothing it prints, serves or refuses with holds one.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use openmic_tests::{CANARY, Server, offer};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const APP: &str = "22222222-2222-4222-8222-222222222222";
const OTHER: &str = "33333333-3333-4333-8333-333333333333";
const THREAD: &str = "19:meeting_canary@thread.v2";
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a secret may be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allowed {
    /// Nowhere.
    Nowhere,
    /// In rosters and answers about them, as a display name must; never in a log or a metric.
    Rosters,
}

/// What must not be seen, by name, and where it may be nevertheless.
#[derive(Debug, Default)]
struct Secrets(Vec<(&'static str, String, Allowed)>);

impl Secrets {
    fn add(&mut self, name: &'static str, value: impl Into<String>) -> String {
        self.keep(name, value.into(), Allowed::Nowhere)
    }

    fn keep(&mut self, name: &'static str, value: String, allowed: Allowed) -> String {
        assert!(value.len() >= 8, "{name} is too short to be recognised");
        self.0.push((name, value.clone(), allowed));
        value
    }

    /// A token is a secret as a whole and by each of its parts; its header is everybody's.
    fn token(&mut self, name: &'static str, token: &str) {
        for part in token.split('.').skip(1).filter(|part| part.len() > 16) {
            self.add(name, part);
        }
    }

    /// What is seen of them, and where.
    fn seen_in(&self, places: &[Place]) -> Vec<String> {
        let mut seen = Vec::new();
        for place in places {
            for (name, value, allowed) in &self.0 {
                let may = *allowed == Allowed::Rosters && place.roster;
                if !may && let Some(at) = place.text.find(value.as_str()) {
                    let line = place.text[..at].rfind('\n').map_or(0, |at| at + 1);
                    let line = place.text[line..].lines().next().unwrap_or_default();
                    seen.push(format!("{name} in {}: {line}", place.name));
                }
            }
        }
        seen
    }
}

/// Something that came out of the program.
#[derive(Debug)]
struct Place {
    name: String,
    text: String,
    /// It shows rosters to those who may see them.
    roster: bool,
}

/// Collects places.
#[derive(Debug)]
struct Witness {
    http: reqwest::Client,
    places: Vec<Place>,
}

impl Witness {
    fn new() -> Self {
        Self {
            http: reqwest::Client::builder()
                .timeout(PATIENCE)
                .build()
                .unwrap(),
            places: Vec::new(),
        }
    }

    fn saw(&mut self, name: impl Into<String>, text: impl Into<String>, roster: bool) {
        self.places.push(Place {
            name: name.into(),
            text: text.into(),
            roster,
        });
    }

    /// Runs the binary to its end.
    fn runs(&mut self, arguments: &[&str]) -> String {
        let output = Command::new(Server::binary())
            .args(arguments)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        // an operator wrote down how the bots are called
        self.saw(arguments.join(" "), text.clone(), true);
        text
    }

    /// Sends a request and remembers head and body of the answer.
    async fn sends(&mut self, request: reqwest::RequestBuilder, roster: bool) -> (u16, Value) {
        let request = request.build().unwrap();
        let name = format!("{} {}", request.method(), request.url().path());
        let answer = self.http.execute(request).await.unwrap();
        let status = answer.status().as_u16();
        let mut text = format!("{:?}\n", answer.headers());
        let body = answer.text().await.unwrap();
        text.push_str(&body);
        self.saw(format!("the answer {status} to {name}"), text, roster);
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }
}

/// What a bot and a stranger know.
struct Scene {
    public: String,
    local: String,
    admin: String,
    token: String,
}

async fn token(witness: &Witness, local: &str, app: &str, secret: &str) -> (u16, Value) {
    let url = format!("http://{local}/{TENANT}/oauth2/v2.0/token");
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", app),
        ("client_secret", secret),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let answer = witness.http.post(url).form(&form).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn create(callback: &str, name: &str) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.call",
        "callbackUri": callback,
        "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "source": {"identity": {"application": {"id": APP, "displayName": name}}},
        "chatInfo": {"threadId": THREAD, "messageId": "0"},
        "meetingInfo": {
            "@odata.type": "#microsoft.graph.organizerMeetingInfo",
            "organizer": {"user": {"id": OTHER}}
        },
        "tenantId": TENANT
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_seen_anywhere_at_log_level_trace() {
    let mut secrets = Secrets::default();
    let mut witness = Witness::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let filed = secrets.add(
        "the client secret of a file",
        format!("{CANARY}-filed-secret"),
    );
    std::fs::write(&file, format!("{filed}\n")).unwrap();
    let direct = secrets.add("the client secret", format!("{CANARY}-direct-secret"));
    let bot = format!("{CANARY} bot of a name");
    let bot = secrets.keep("a bot's display name", bot, Allowed::Rosters);

    // the one place that shows a key
    let made = Command::new(Server::binary())
        .args([
            "auth", "new-key", "--name", "canary", "--app", APP, "--tenant", TENANT,
        ])
        .args(["--role", "openmic.operator"])
        .output()
        .unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    let key = made
        .split_whitespace()
        .find(|word| word.starts_with("omk_"));
    let key = secrets.add("an API key", key.unwrap());
    let entry = made.split_once("[[auth.api_keys]]").unwrap().1;

    let mut text = "[log]\nlevel = \"trace\"\n[local]\nrtp_ports = \"any\"\n".to_owned();
    let file = file.to_str().unwrap();
    for (id, secret) in [
        (APP, format!("secret_file = {file:?}")),
        (OTHER, format!("secret = {direct:?}")),
    ] {
        write!(
            text,
            "[[local.apps]]\nid = \"{id}\"\ntenant = \"{TENANT}\"\n{secret}\ndisplay_name = {bot:?}\n"
        )
        .unwrap();
    }
    write!(text, "[[auth.api_keys]]{entry}").unwrap();
    let config = folder.path().join("openmic.toml");
    std::fs::write(&config, &text).unwrap();
    let config = config.to_str().unwrap();
    refuses_configurations(&mut witness, &folder, &text, &direct, config);

    let server = Server::start(&["serve", "--config", config]);
    let said = server.said();
    let (status, grant) = token(&witness, server.local(), APP, &filed).await;
    assert_eq!(status, 200, "{}", grant["error"]);
    let scene = Scene {
        public: format!("http://{}", server.public()),
        local: format!("http://{}", server.local()),
        admin: format!("http://{}", server.admin()),
        token: grant["access_token"].as_str().unwrap().to_owned(),
    };
    secrets.token("a caller's token", &scene.token);
    strangers_come(&mut secrets, &mut witness, &scene, &server).await;
    a_call_is_made(&mut secrets, &mut witness, &scene, &key).await;
    for path in ["/metrics", "/livez", "/readyz"] {
        let request = witness.http.get(format!("{}{path}", scene.admin));
        assert_eq!(witness.sends(request, false).await.0, 200, "{path}");
    }

    assert_eq!(server.stops(PATIENCE), Some(0));
    let said = said.text();
    for level in ["\"level\":\"TRACE\"", "\"level\":\"DEBUG\"", "drained"] {
        assert!(said.contains(level), "the log was captured: no {level}");
    }
    witness.saw("the log", said, false);
    let seen = secrets.seen_in(&witness.places);
    assert!(seen.is_empty(), "{seen:#?}");
    assert!(secrets.0.len() > 10 && witness.places.len() > 30);
}

/// Good and bad configurations with secrets in them, checked and printed.
fn refuses_configurations(
    witness: &mut Witness,
    folder: &tempfile::TempDir,
    good: &str,
    secret: &str,
    config: &str,
) {
    assert!(
        witness
            .runs(&["config", "check", "--config", config])
            .contains("ok:")
    );
    let printed = witness.runs(&["config", "print", "--config", config]);
    assert!(printed.contains("local"), "{printed}");
    let bad = folder.path().join("bad.toml");
    for (name, text) in [
        (
            "unterminated",
            good.replace(&format!("{secret:?}"), &format!("\"{secret}")),
        ),
        (
            "a key that is none",
            good.replace("secret = ", "secrets = "),
        ),
        (
            "no string",
            good.replace(&format!("{secret:?}"), &format!("[{secret:?}]")),
        ),
        (
            "for another kind",
            format!("{good}\n[upstream]\nsecret = {secret:?}\n"),
        ),
        (
            "two of them",
            good.replace("secret = ", "secret_file = \"/none\"\nsecret = "),
        ),
    ] {
        std::fs::write(&bad, text).unwrap();
        let said = witness.runs(&["config", "check", "--config", bad.to_str().unwrap()]);
        assert!(said.starts_with("openmic: "), "{name}: {said}");
    }
    let flag = format!("upstream.secret={secret}");
    let said = witness.runs(&["config", "check", "--set", &flag]);
    assert!(said.contains("upstream.secret: has no effect"), "{said}");
}

/// Wrong secrets, wrong tokens, tokens in the wrong place.
async fn strangers_come(
    secrets: &mut Secrets,
    witness: &mut Witness,
    scene: &Scene,
    server: &Server,
) {
    let wrong = secrets.add("a wrong client secret", format!("{CANARY}-wrong-secret"));
    for app in [APP, OTHER, TENANT] {
        let (status, body) = token(witness, server.local(), app, &wrong).await;
        assert!((400..500).contains(&status));
        witness.saw("the refusal of a client secret", body.to_string(), false);
    }
    let rubbish = [
        secrets.add("a token that is none", format!("{CANARY}-no-token")),
        secrets.add(
            "a token of three parts",
            format!("{CANARY}.{CANARY}-b.{CANARY}-c"),
        ),
        secrets.add("a wrong API key", format!("omk_{CANARY}{}", "x".repeat(37))),
        {
            let (head, _) = scene.token.rsplit_once('.').unwrap();
            format!(
                "{head}.{}",
                secrets.add("a forged signature", "Zm9yZ2VkLWs0bmFyMQ")
            )
        },
    ];
    let query = secrets.add("a token in a URL", format!("{CANARY}-in-the-url"));
    for base in [&scene.public, &scene.local] {
        for token in &rubbish {
            for path in [
                "/v1.0/communications/calls/none",
                "/v1/calls/none/roster",
                "/v1/calls",
            ] {
                let request = witness.http.get(format!("{base}{path}")).bearer_auth(token);
                let (status, _) = witness.sends(request, false).await;
                assert!((400..500).contains(&status), "{status} for {path}");
            }
        }
        for path in [
            "/v1.0/communications/calls/none",
            "/nowhere",
            "/v1/calls/none/roster",
        ] {
            let url = format!("{base}{path}?access_token={query}&ticket={query}");
            let request = witness.http.get(url).header("cookie", &query);
            assert!(witness.sends(request, false).await.0 >= 400);
        }
        let broken = format!("{{\"clientContext\": \"{query}");
        let url = format!("{base}/v1.0/communications/calls");
        let request = witness.http.post(url).bearer_auth(&scene.token);
        let request = request
            .header("content-type", "application/json")
            .body(broken);
        assert_eq!(witness.sends(request, false).await.0, 400);
    }
}

/// The text frames up to one that is `wanted`, or to the close.
async fn frames_until(socket: &mut Socket, wanted: impl Fn(&Value) -> bool) -> String {
    let reading = async {
        let mut text = String::new();
        while let Some(Ok(message)) = socket.next().await {
            let frame = message.into_text().unwrap_or_default();
            text.push_str(&frame);
            text.push('\n');
            if wanted(&serde_json::from_str(&frame).unwrap_or(Value::Null)) {
                break;
            }
        }
        text
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("frames come in time")
}

/// Everything a call can do, watched over a WebSocket.
async fn a_call_is_made(secrets: &mut Secrets, witness: &mut Witness, scene: &Scene, key: &str) {
    let calls = format!("{}/v1.0/communications/calls", scene.public);
    let callback = format!("https://bot.example/{CANARY}-callback?sig={CANARY}-signature");
    secrets.add(
        "the query of a bot's callback",
        format!("{CANARY}-signature"),
    );
    let name = format!("{CANARY} source of a name");
    let name = secrets.keep("the source's display name", name, Allowed::Rosters);
    let request = witness.http.post(&calls).bearer_auth(&scene.token);
    // the bot is told what it said itself
    let answer = request
        .json(&create(&callback, &name))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    let call: Value = answer.json().await.unwrap();
    let id = call["id"].as_str().unwrap();

    // what the engine told the service, a secret between the two
    let url = format!("{}/v1.0/communications/calls/{id}", scene.local);
    let told = witness
        .http
        .get(url)
        .bearer_auth(&scene.token)
        .send()
        .await
        .unwrap();
    let told: Value = told.json().await.unwrap();
    let webhook = told["callbackUri"].as_str().unwrap().to_owned();
    let callback_key = webhook.rsplit('/').next().unwrap();
    secrets.add("a callback key", callback_key);

    let watched = format!(
        "{}/v1/calls/{id}/roster",
        scene.public.replacen("http", "ws", 1)
    );
    let mut request = watched.as_str().into_client_request().unwrap();
    let bearer = format!("Bearer {key}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    let mut socket = connect_async(request).await.unwrap().0;
    let inbound = secrets.add(
        "what a subscriber sends",
        format!("{CANARY}-from-a-subscriber"),
    );
    socket.send(Message::text(inbound)).await.unwrap();

    let ticket = format!("{}/v1/calls/{id}/roster/ticket", scene.public);
    let request = witness.http.post(ticket).bearer_auth(key).json(&json!({}));
    let ticket: Value = request.send().await.unwrap().json().await.unwrap();
    let ticket = secrets.add("a ticket", ticket["ticket"].as_str().unwrap());
    let url = format!("{watched}?ticket={ticket}");
    connect_async(url.as_str())
        .await
        .expect("a ticket opens one");
    let again = connect_async(url.as_str()).await.unwrap_err();
    witness.saw("the refusal of a used ticket", format!("{again:?}"), false);

    let human = format!("{CANARY} human of a name");
    let human = secrets.keep("a human's display name", human, Allowed::Rosters);
    let (_ear, sdp) = offer("PCMU/8000", 0);
    let url = format!("{}/lab/v1/meetings/{THREAD}/participants", scene.local);
    let request = witness.http.post(url).query(&[("displayName", &human)]);
    let request = request.header("content-type", "application/sdp").body(sdp);
    assert_eq!(witness.sends(request, true).await.0, 201);

    let frames = frames_until(&mut socket, |frame| {
        frame["type"] == "call" && frame["state"] == "unmuted"
    })
    .await;
    for action in ["mute", "unmute", "unmute"] {
        let request = witness.http.post(format!("{calls}/{id}/{action}"));
        let request = request
            .bearer_auth(&scene.token)
            .json(&json!({"clientContext": "c"}));
        let (status, operation) = witness.sends(request, false).await;
        assert_eq!((status, &operation["status"]), (200, &json!("completed")));
        let of = format!(
            "{calls}/{id}/operations/{}",
            operation["id"].as_str().unwrap()
        );
        let request = witness.http.get(of).bearer_auth(&scene.token);
        assert_eq!(witness.sends(request, false).await.0, 200);
    }
    for path in ["", "/participants"] {
        let request = witness
            .http
            .get(format!("{calls}/{id}{path}"))
            .bearer_auth(&scene.token);
        let answer = request.send().await.unwrap();
        let text = answer.text().await.unwrap().replace(&callback, "");
        witness.saw(format!("GET of the call{path}"), text, true);
    }
    for path in [
        "/v1/calls".to_owned(),
        format!("/v1/calls/{id}"),
        format!("/v1/calls/{id}/roster"),
    ] {
        let request = witness
            .http
            .get(format!("{}{path}", scene.public))
            .bearer_auth(key);
        assert_eq!(witness.sends(request, true).await.0, 200, "{path}");
    }

    // a notification with a wrong token, one with a caller's, one that is none
    let forged = secrets.add(
        "a notification's token",
        format!("{CANARY}.{CANARY}-of-a.webhook"),
    );
    for (token, body) in [
        (&forged, "{}"),
        (&scene.token, "{\"value\":"),
        (&scene.token, "{}"),
    ] {
        let request = witness.http.post(&webhook).bearer_auth(token);
        let request = request
            .header("content-type", "application/json")
            .body(body);
        assert!(witness.sends(request, false).await.0 >= 400);
    }
    let request = witness
        .http
        .delete(format!("{calls}/{id}"))
        .bearer_auth(&scene.token);
    assert_eq!(witness.sends(request, false).await.0, 204);
    let rest = frames_until(&mut socket, |_| false).await;
    let frames = [frames, rest].concat();
    assert!(frames.contains("\"action\":\"unmute\""), "{frames}");
    assert!(frames.contains(&human), "a roster shows who is there");
    witness.saw("WebSocket frames", frames, true);
}

#[test]
fn a_leak_would_be_seen() {
    let mut secrets = Secrets::default();
    secrets.add("a secret", "k4nar1-one");
    secrets.keep("a name", "k4nar1 two".to_owned(), Allowed::Rosters);
    secrets.token(
        "a token",
        "head.payload-of-a-token-k4nar1.signature-of-a-token",
    );
    let place = |text: &str, roster| Place {
        name: "here".to_owned(),
        text: text.to_owned(),
        roster,
    };
    for (text, roster, seen) in [
        ("nothing", false, 0),
        ("x\nlog k4nar1-one\ny", false, 1),
        ("k4nar1-one", true, 1),
        ("k4nar1 two", false, 1),
        ("k4nar1 two", true, 0),
        ("Bearer a.payload-of-a-token-k4nar1.b", false, 1),
        ("signature-of-a-token", true, 1),
    ] {
        assert_eq!(
            secrets.seen_in(&[place(text, roster)]).len(),
            seen,
            "{text}"
        );
    }
    let seen = secrets.seen_in(&[place("x\nlog k4nar1-one\ny", false)]);
    assert_eq!(seen, ["a secret in here: log k4nar1-one"]);
}
