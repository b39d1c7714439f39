//! F-N2: a process that stands still in the middle of a command, as when its machine is paused.

use std::time::Instant;

use reqwest::{Client, Method};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// How long a command may take here.
const DEADLINE: Duration = Duration::from_secs(2);

/// An engine and a calling service in processes of their own, and one call that is muted.
struct Pair {
    local: Program,
    engine: Program,
    http: Client,
    token: String,
    /// The call's URL on the engine.
    call: String,
    thread: String,
}

/// A process that stands still; it goes on when this is dropped.
struct Frozen(u32);

impl Frozen {
    fn new(program: &Program) -> Self {
        let pid = program.child.id();
        assert!(signal(pid, "-STOP"));
        let begun = Instant::now();
        // the state stands behind the name, which is in brackets
        while !std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .unwrap()
            .contains(") T ")
        {
            assert!(begun.elapsed() < PATIENCE, "{pid} does not stop");
            std::thread::yield_now();
        }
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal(self.0, "-CONT");
    }
}

impl Pair {
    async fn start(thread: &str, settings: &[&str]) -> Self {
        let local = Program::start("local", &[]);
        let public = free_address();
        let mut wiring = apart(&local, &local.url("local", "/v1.0"), &public);
        wiring.push("relay.enabled=false".to_owned());
        let mut flags = vec!["--public", &public];
        let settings = settings.iter().copied();
        let all = wiring.iter().map(String::as_str).chain(settings);
        flags.extend(all.flat_map(|setting| ["--set", setting]));
        let engine = Program::start("serve", &flags);
        let mut pair = Self {
            token: token(&local).await,
            local,
            call: engine.url("public", "/v1.0/communications/calls"),
            engine,
            http: Client::new(),
            thread: thread.to_owned(),
        };
        let url = pair.call.clone();
        let (status, call) = pair.says(Method::POST, &url, &create(thread)).await;
        assert_eq!(status, 201, "{call}");
        pair.call = format!("{url}/{}", call["id"].as_str().unwrap());
        let muted = async |pair: &Self| {
            let (_, said) = pair.asks("mute", "wait=20").await;
            // 8501 until the service said established
            said["status"] == "completed"
        };
        pair.until("it is muted", muted).await;
        pair
    }

    async fn says(&self, method: Method, url: &str, body: &Value) -> (u16, Value) {
        self.prefers(method, url, body, "wait=20").await
    }

    async fn prefers(&self, method: Method, url: &str, body: &Value, prefer: &str) -> (u16, Value) {
        let request = self.http.request(method, url).bearer_auth(&self.token);
        let answer = request.header("prefer", prefer).json(body).send().await;
        let answer = answer.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn asks(&self, action: &str, prefer: &str) -> (u16, Value) {
        let url = format!("{}/{action}", self.call);
        self.prefers(Method::POST, &url, &json!({}), prefer).await
    }

    /// Puts a fault in force for the call.
    async fn fault(&self, fault: &str) {
        let id = self.call.rsplit('/').next().unwrap();
        let url = self
            .local
            .url("local", &format!("/lab/v1/calls/{id}/faults"));
        let plan = json!({"faults": [fault]});
        let (status, shown) = self.says(Method::PUT, &url, &plan).await;
        assert_eq!(status, 200, "{shown}");
    }

    /// Asks for an unmute and does not wait; the URL of its operation.
    async fn unmute(&self) -> String {
        let (status, operation) = self.asks("unmute", "respond-async").await;
        assert_eq!(status, 202, "{operation}");
        assert_eq!(operation["status"], "running", "{operation}");
        format!(
            "{}/operations/{}",
            self.call,
            operation["id"].as_str().unwrap()
        )
    }

    /// The verdict of an operation, once it has one.
    async fn settled(&self, operation: &str) -> Value {
        let ended = async |pair: &Self| {
            let (_, now) = pair.says(Method::GET, operation, &Value::Null).await;
            now["status"] != "running" && now["status"] != "notStarted"
        };
        self.until("a verdict", ended).await;
        self.says(Method::GET, operation, &Value::Null).await.1
    }

    /// Lines of the truth log that have all these members.
    async fn truth(&self, members: &[(&str, &str)]) -> Vec<Value> {
        let (_, text) = get(self.local.url("local", "/lab/v1/truth")).await;
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| members.iter().all(|(name, is)| line[*name] == *is))
            .collect()
    }

    /// POSTs of an unmute that reached the service.
    async fn posts(&self) -> usize {
        self.truth(&[("what", "asked"), ("act", "unmute")])
            .await
            .len()
    }

    /// Unmutes by the bot that took place.
    async fn effects(&self) -> Vec<Value> {
        self.truth(&[("what", "effect"), ("act", "unmute"), ("by", "bot")])
            .await
    }

    async fn metrics(&self) -> String {
        get(self.engine.url("admin", "/metrics")).await.1
    }

    /// Waits until nothing is open; the verdicts of unmutes there were, each as often as it was.
    async fn verdicts(&self) -> Vec<String> {
        let none = "\nopenmic_commands_in_flight 0\n";
        let settled = async |pair: &Self| pair.metrics().await.contains(none);
        self.until("nothing is open", settled).await;
        let begin = "openmic_commands_total{command=\"unmute\",verdict=\"";
        let metrics = self.metrics().await;
        let counts = metrics.lines().filter_map(|line| {
            let (verdict, count) = line.strip_prefix(begin)?.split_once("\"} ")?;
            Some((verdict.to_owned(), count.parse::<usize>().unwrap()))
        });
        counts
            .flat_map(|(verdict, count)| std::iter::repeat_n(verdict, count))
            .collect()
    }

    /// Waits until the engine shows the call so.
    async fn shows(&self, state: &str) {
        let line = format!("\nopenmic_calls{{state=\"{state}\"}} 1\n");
        let so = async |pair: &Self| pair.metrics().await.contains(&line);
        self.until(state, so).await;
    }

    async fn until(&self, what: &str, met: impl AsyncFn(&Self) -> bool) {
        let waiting = async {
            while !met(self).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }
}

fn deadline() -> String {
    format!("calls.command_deadline={}s", DEADLINE.as_secs())
}

/// The unmute takes effect, and the host mutes the bot again, while the engine stands still for
/// longer than the command may take. Its notifications wait at the engine's door.
#[tokio::test]
async fn f_n2_frozen_with_a_command_open_it_wakes_to_one_true_verdict() {
    let thread = "19:frozen@thread.v2";
    let pair = Pair::start(thread, &[&deadline()]).await;
    pair.fault("running_first on=unmute nth=1 ms=500").await;
    let asked = tokio::time::Instant::now();
    let operation = pair.unmute().await;
    let arrived = async |pair: &Pair| pair.posts().await == 1;
    pair.until("the POST", arrived).await;

    let frozen = Frozen::new(&pair.engine);
    let done = async |pair: &Pair| pair.effects().await.len() == 1;
    pair.until("the effect", done).await;
    let effect = pair.effects().await.remove(0);
    let bot = effect["participant"].as_str().unwrap();
    let place = format!("/lab/v1/meetings/{}/participants/{bot}", pair.thread);
    let host = pair.local.url("local", &place);
    let (status, _) = pair
        .says(Method::PATCH, &host, &json!({"serverMuted": true}))
        .await;
    assert_eq!(status, 200);
    // the time itself is what is tested
    tokio::time::sleep_until(asked + 2 * DEADLINE).await;
    drop(frozen);

    let verdict = pair.settled(&operation).await;
    pair.shows("muted").await;
    assert_eq!(pair.settled(&operation).await, verdict, "a verdict changed");
    let verdicts = pair.verdicts().await;
    // what was done may be known or not; another thing it may not be
    let said = (verdict["status"].as_str().unwrap(), &*verdicts);
    let (confirmed, unconfirmed) = (["confirmed".to_owned()], ["unconfirmed".to_owned()]);
    assert!(
        said == ("completed", &confirmed[..]) || said == ("failed", &unconfirmed[..]),
        "{verdict} {verdicts:?}"
    );
    assert_eq!(pair.posts().await, 1, "something was sent late");

    // and it serves as before
    let (status, again) = pair.asks("unmute", "wait=20").await;
    assert_eq!(
        (status, &again["status"]),
        (200, &json!("completed")),
        "{again}"
    );
    pair.shows("unmuted").await;
}

/// The POST had no effect and no answer, and would be sent again: not by one whose time is over.
#[tokio::test]
async fn f_n2_what_was_to_be_sent_when_it_froze_is_not_sent_when_it_wakes() {
    let pair = Pair::start("19:not_late@thread.v2", &[&deadline()]).await;
    pair.fault("no_response on=unmute nth=1").await;
    let asked = tokio::time::Instant::now();
    let operation = pair.unmute().await;
    let arrived = async |pair: &Pair| pair.posts().await == 1;
    pair.until("the POST", arrived).await;
    let frozen = Frozen::new(&pair.engine);
    let before = pair.posts().await;
    tokio::time::sleep_until(asked + 2 * DEADLINE).await;
    drop(frozen);

    let verdict = pair.settled(&operation).await;
    assert_eq!(verdict["status"], "failed", "{verdict}");
    assert_eq!(pair.verdicts().await, ["unconfirmed"]);
    pair.shows("muted").await;
    // nothing of the call is sent after its end
    let (status, ended) = pair
        .prefers(Method::DELETE, &pair.call, &Value::Null, "")
        .await;
    assert_eq!(status, 204, "{ended}");
    assert_eq!(pair.posts().await, before, "it was sent late");
    assert_eq!(pair.effects().await, Vec::<Value>::new());
}

/// The service stands still with the POST on its way, until the engine has given that up; what was
/// asked then still takes place.
#[tokio::test]
async fn f_n2_a_service_that_froze_is_asked_what_became_of_it() {
    let settings = ["upstream.request_timeout=1s"];
    let pair = Pair::start("19:frozen_service@thread.v2", &settings).await;
    let frozen = Frozen::new(&pair.local);
    let operation = pair.unmute().await;
    let given_up = async |pair: &Pair| {
        let lost = "route=\"unmute\",status_class=\"none\"} 1\n";
        pair.metrics().await.contains(lost)
    };
    pair.until("the POST is given up", given_up).await;
    drop(frozen);

    let verdict = pair.settled(&operation).await;
    assert_eq!(verdict["status"], "completed", "{verdict}");
    assert_eq!(pair.verdicts().await, ["confirmed"]);
    pair.shows("unmuted").await;
    assert_eq!(pair.settled(&operation).await, verdict, "a verdict changed");
    let effects = pair.effects().await;
    assert!(!effects.is_empty(), "confirmed, and nothing was done");
    let mut contexts: Vec<_> = effects.iter().map(|one| &one["clientContext"]).collect();
    contexts.dedup();
    assert_eq!(
        contexts.len(),
        effects.len(),
        "one context twice: {effects:?}"
    );
    assert!(pair.posts().await <= 3);
}
