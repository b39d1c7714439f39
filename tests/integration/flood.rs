//! T-5: a flood of webhooks that are garbage or forged, against the real binary. What is real still
//! gets through, and memory does not grow with it.
//!
//! The long one gives figures, best of a release program with nothing beside it:
//!
//! `cargo test --release -p openmic-tests --test integration -- --ignored --nocapture flood`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use openmic_local::{DEV_APP, DEV_SECRET, DEV_TENANT};
use openmic_tests::Server;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(30);

/// Requests that go out at once on one connection.
const BURST: u64 = 16;

const CONNECTIONS: usize = 32;

/// What the flood may cost in memory, in KiB: buffers of its connections, whatever its length.
const MOST_MEMORY: u64 = 64 * 1024;

/// A call of a bot, and its host, behind the engine under attack.
struct Scene {
    server: Server,
    http: Client,
    token: String,
    /// The call as the engine's own API shows it.
    shown: String,
    /// The bot in the lab.
    bot: String,
    /// The path that its notifications come to.
    webhook: String,
}

impl Scene {
    async fn new() -> Self {
        let server = Server::start(&["serve", "--set", "relay.enabled=false"]);
        let http = Client::new();
        let local = format!("http://{}", server.local());
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", DEV_APP),
            ("client_secret", DEV_SECRET),
            ("scope", "https://graph.microsoft.com/.default"),
        ];
        let url = format!("{local}/{DEV_TENANT}/oauth2/v2.0/token");
        let grant = http.post(url).form(&form).send().await.unwrap();
        let grant: Value = grant.json().await.unwrap();
        let token = grant["access_token"].as_str().unwrap().to_owned();
        let thread = "19:flooded@thread.v2";
        let body = json!({
            "callbackUri": "http://127.0.0.1:9/",
            "requestedModalities": ["audio"],
            "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
            "chatInfo": {"threadId": thread, "messageId": "0"},
            "meetingInfo": {
                "@odata.type": "#microsoft.graph.organizerMeetingInfo",
                "organizer": {"user": {"id": "33333333-3333-4333-8333-333333333333"}}
            },
            "tenantId": DEV_TENANT
        });
        let calls = "v1.0/communications/calls";
        let create = http.post(format!("http://{}/{calls}", server.public()));
        let create = create.bearer_auth(&token).json(&body);
        let call: Value = create.send().await.unwrap().json().await.unwrap();
        let id = call["id"].as_str().unwrap();
        // what upstream was told, which no caller of the engine is
        let read = http
            .get(format!("{local}/{calls}/{id}"))
            .bearer_auth(&token);
        let told: Value = read.send().await.unwrap().json().await.unwrap();
        let webhook = url::Url::parse(told["callbackUri"].as_str().unwrap()).unwrap();
        let bot = told["myParticipantId"].as_str().unwrap();
        let scene = Self {
            shown: format!("http://{}/v1/calls/{id}", server.public()),
            bot: format!("{local}/lab/v1/meetings/{thread}/participants/{bot}"),
            webhook: webhook.path().to_owned(),
            server,
            http,
            token,
        };
        scene.is("unmuted").await;
        scene
    }

    /// Waits until the engine knows the call so; how long that took. Nothing but a notification tells
    /// it in time: it looks by itself once a minute.
    async fn is(&self, state: &str) -> Duration {
        let begun = Instant::now();
        let waiting = async {
            loop {
                let read = self.http.get(&self.shown).bearer_auth(&self.token);
                let call: Value = read.send().await.unwrap().json().await.unwrap();
                if call["state"] == state {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("no notification said {state}"));
        begun.elapsed()
    }

    /// The host mutes the bot, and unmutes it; how long the engine took to know of each.
    async fn host_acts(&self) -> [Duration; 2] {
        [self.host_says(true).await, self.host_says(false).await]
    }

    async fn host_says(&self, muted: bool) -> Duration {
        let act = self.http.patch(&self.bot);
        let act = act.json(&json!({"serverMuted": muted})).send().await;
        assert_eq!(act.unwrap().status(), 200);
        self.is(if muted { "muted" } else { "unmuted" }).await
    }

    /// Resident memory, in KiB: `VmRSS` now, `VmHWM` the most there was.
    fn memory(&self, which: &str) -> u64 {
        let path = format!("/proc/{}/status", self.server.pid());
        let status = std::fs::read_to_string(path).unwrap();
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix(which)).unwrap();
        line.trim_matches(|letter: char| !letter.is_ascii_digit())
            .parse()
            .unwrap()
    }

    /// Requests of every kind that must not get in, each as it stands on the wire.
    fn requests(&self) -> Vec<Vec<u8>> {
        let (rest, signature) = self.token.rsplit_once('.').unwrap();
        let turned: String = signature.chars().rev().collect();
        let forged = format!("{rest}.{turned}");
        let end = r##"{"value":[{"changeType":"deleted","resourceData":{"@odata.type":"#microsoft.graph.call","state":"terminated"}}]}"##;
        let garbage = "\u{1}{[\"".repeat(8 * 1024);
        let one = |path: &str, token: Option<&str>, body: &str| {
            let bearer = token.map(|token| format!("authorization: Bearer {token}\r\n"));
            format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\n{}content-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                bearer.unwrap_or_default(),
                body.len()
            )
            .into_bytes()
        };
        vec![
            one(&self.webhook, None, end),
            one(&self.webhook, Some("none.of.these"), end),
            // the key is known, the signature does not hold: as dear as it gets
            one(&self.webhook, Some(&forged), end),
            // it does hold, and is a caller's
            one(&self.webhook, Some(&self.token), end),
            one("/callbacks/nobodys-key-at-all", Some(&forged), end),
            one(&self.webhook, None, &garbage),
        ]
    }
}

/// What became of the flood so far, and whether it is to end.
#[derive(Default)]
struct Tally {
    over: AtomicBool,
    /// Answers 401.
    refused: AtomicU64,
    /// All others.
    other: AtomicU64,
}

impl Tally {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn add(&self, answers: &[u8]) {
        let (all, refused) = (
            count(answers, b"HTTP/1.1 "),
            count(answers, b"HTTP/1.1 401 "),
        );
        self.refused.fetch_add(refused, Ordering::Relaxed);
        self.other.fetch_add(all - refused, Ordering::Relaxed);
    }
}

/// Who floods, until told to stop.
struct Flood {
    tally: Arc<Tally>,
    crowd: JoinSet<()>,
}

impl Flood {
    fn begin(scene: &Scene) -> Self {
        let tally = Arc::new(Tally::default());
        let mut crowd = JoinSet::new();
        let requests = scene.requests();
        for number in 0..CONNECTIONS {
            let one = &requests[number % requests.len()];
            let burst = one.repeat(usize::try_from(BURST).unwrap());
            let host = scene.server.public().to_owned();
            let tally = Arc::clone(&tally);
            crowd.spawn(async move {
                while !tally.is_over() {
                    exchange(&host, &burst, &tally).await;
                }
            });
        }
        Self { tally, crowd }
    }

    async fn end(mut self) {
        self.tally.over.store(true, Ordering::Relaxed);
        while let Some(done) = self.crowd.join_next().await {
            done.unwrap();
        }
        let other = self.tally.other.load(Ordering::Relaxed);
        assert_eq!(other, 0, "not all were 401");
    }
}

/// Floods over one connection until it is closed.
async fn exchange(host: &str, burst: &[u8], tally: &Tally) {
    let Ok(mut socket) = TcpStream::connect(host).await else {
        return;
    };
    let mut answers = Vec::new();
    let mut open = true;
    while open && !tally.is_over() {
        answers.clear();
        // a server that has had enough closes while it is written to
        open = socket.write_all(burst).await.is_ok();
        while open && count(&answers, b"HTTP/1.1 ") < BURST {
            open = socket
                .read_buf(&mut answers)
                .await
                .is_ok_and(|read| read > 0);
        }
        tally.add(&answers);
    }
}

fn count(text: &[u8], what: &[u8]) -> u64 {
    text.windows(what.len())
        .filter(|here| *here == what)
        .count() as u64
}

/// Floods for at least so many posts and so long; what it came to, for people.
async fn flooded(posts: u64, time: Duration) -> String {
    let scene = Scene::new().await;
    let calm = scene.host_acts().await;
    let before = scene.memory("VmRSS:");
    let flood = Flood::begin(&scene);
    let begun = Instant::now();
    let under_way = async {
        while flood.tally.refused() == 0 {
            tokio::task::yield_now().await;
        }
    };
    let under_way = tokio::time::timeout(PATIENCE, under_way).await;
    under_way.expect("the flood is answered");
    let mut took = Vec::new();
    while flood.tally.refused() < posts || begun.elapsed() < time || took.len() < 10 {
        took.extend(scene.host_acts().await);
        assert!(
            begun.elapsed() < time + PATIENCE,
            "too slow: {} posts refused, the host was heard {} times: {took:?}",
            flood.tally.refused(),
            took.len()
        );
    }
    let (refused, lasted) = (flood.tally.refused(), begun.elapsed());
    flood.end().await;
    let most = scene.memory("VmHWM:");
    assert!(
        most < before + MOST_MEMORY,
        "{before} KiB before, {most} KiB under {refused} posts"
    );
    took.sort_unstable();
    let at = |part: usize| took[(took.len() - 1) * part / 100];
    let text = format!(
        "flood: {refused} posts refused in {lasted:.1?}, {:.0} a second; {} changes by the host \
         were known after p50 {:.1?}, p99 {:.1?}, max {:.1?} (calm {:.1?}); memory {before} KiB \
         before, {most} KiB at most",
        f64::from(u32::try_from(refused).unwrap()) / lasted.as_secs_f64(),
        took.len(),
        at(50),
        at(99),
        at(100),
        calm[0].max(calm[1]),
    );
    let lines = scene.server.said().text().lines().count();
    // each change by the host is told in a few
    let few = 100 + 4 * took.len();
    assert!(lines < few, "{lines} lines of log of {text}");
    assert_eq!(scene.server.stops(PATIENCE), Some(0));
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_forged_webhooks_keeps_no_real_one_out() {
    println!("{}", flooded(3_000, Duration::ZERO).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes most of a machine for a while; the module says how to run it"]
async fn a_long_flood_of_forged_webhooks_in_figures() {
    println!("{}", flooded(20_000, Duration::from_secs(20)).await);
}
