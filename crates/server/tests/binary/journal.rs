//! The journal of the real binary: its folder, its failure, its full disk.

use super::*;

/// Joins a meeting; the status and body of the answer, or nothing when the server is gone.
async fn join(engine: &Program, thread: &str) -> Option<(u16, Value)> {
    let request = reqwest::Client::new()
        .post(engine.url("public", "/v1.0/communications/calls"))
        .bearer_auth(token(engine).await)
        .json(&create(thread));
    let answer = request.send().await.ok()?;
    Some((answer.status().as_u16(), answer.json().await.ok()?))
}

fn folder_flag(folder: &TempDir) -> String {
    format!("journal.folder={}", folder.path().display())
}

/// F-N7.
#[test]
fn a_second_process_on_the_folder_is_refused_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder_flag(&folder);
    let flags = ["--public", "127.0.0.1:0", "--set", &flag];
    let _first = Program::start("serve", &flags);
    let ports = ["--admin", "127.0.0.1:0", "--local", "127.0.0.1:0"];
    let (code, _, stderr) = output(&[&["serve"], &ports[..], &flags[..]].concat());
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.contains("openmic: journal.folder: the journal in")
            && stderr.contains("is in use by another process. Stop that one"),
        "{stderr}"
    );
}

/// F-D6.
#[test]
fn config_check_looks_at_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder_flag(&folder);
    let (code, stdout, _) = output(&["config", "check", "--set", &flag]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("(new), durability power-loss"), "{stdout}");

    let first = Program::start("serve", &["--public", "127.0.0.1:0", "--set", &flag]);
    let (code, stdout, _) = output(&["config", "check", "--set", &flag]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("in use by a running process"), "{stdout}");
    drop(first);

    // what cannot be opened for writing, by root neither
    std::fs::remove_file(folder.path().join("lock")).unwrap();
    std::fs::create_dir(folder.path().join("lock")).unwrap();
    for command in [&["config", "check"][..], &["serve"]] {
        let (code, _, stderr) = output(&[command, &["--set", &flag]].concat());
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("cannot be written"), "{stderr}");
    }

    let (code, _, stderr) = output(&["config", "check", "--set", "journal.folder=/dev/null/a"]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.starts_with("openmic: journal.folder: the journal's folder /dev/null/a cannot be"),
        "{stderr}"
    );
}

/// F-D1.
#[tokio::test]
async fn without_room_on_the_disk_a_create_is_507_and_nothing_is_sent() {
    let engine = Program::start(
        "serve",
        &[
            "--public",
            "127.0.0.1:0",
            "--set",
            "journal.min_free=9999999GiB",
        ],
    );
    let (status, body) = join(&engine, "19:full@thread.v2").await.unwrap();
    assert_eq!(status, 507, "{body}");
    assert_eq!(body["error"]["code"], "storage_full", "{body}");
    let (_, metrics) = get(engine.url("admin", "/metrics")).await;
    assert!(metrics.contains("\nopenmic_local_calls 0\n"), "{metrics}");
    assert!(metrics.contains("\nopenmic_journal_full 1\n"), "{metrics}");
    let (status, reason) = get(engine.url("admin", "/readyz")).await;
    assert_eq!(status, 503);
    assert!(reason.contains("storage_full"), "{reason}");
}

/// F-D2: the system refuses a write, the process ends with 74 and hangs nothing up; started again
/// where the disk works it goes on from what is durable.
#[tokio::test]
async fn a_write_that_fails_ends_the_process_with_74_and_a_restart_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder_flag(&folder);
    let flags = ["--public", "127.0.0.1:0", "--set", &flag];
    // 150 kB in a file and no more: what would be the signal becomes an error of the write
    let mut limited = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 300; exec \"$@\"";
    limited.args(["-c", script, "sh", BINARY]);
    let mut engine = Program::start_by(limited, "serve", &flags);
    let mut joined = 0;
    for number in 0..1000 {
        match join(&engine, &format!("19:{number}@thread.v2")).await {
            Some((201, _)) => joined += 1,
            _ => break,
        }
    }
    assert_eq!(engine.exit_code(), Some(74));
    assert!((1..1000).contains(&joined), "{joined}");

    let mut engine = Program::start("serve", &flags);
    let done = engine.event("the calls of before are taken up");
    // this local service is new and has none of them
    let count = |of| done[of].as_u64().unwrap();
    assert!(count("open") >= joined, "{done}");
    // nobody knows the id of one whose create was under way
    assert_eq!(count("closed") + count("lost"), count("open"), "{done}");
    assert!(count("lost") <= 1, "{done}");
    assert_eq!(get(engine.url("admin", "/readyz")).await.0, 200);
    assert_eq!(join(&engine, "19:again@thread.v2").await.unwrap().0, 201);
}

/// F-D2, while it drains: what ends the calls cannot be written down any more.
#[tokio::test]
async fn a_write_that_fails_while_draining_is_74_too() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder_flag(&folder);
    let mut deaf = Command::new("sh");
    deaf.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", BINARY]);
    let flags = ["--public", "127.0.0.1:0", "--set", &flag];
    let mut engine = Program::start_by(deaf, "serve", &flags);
    assert_eq!(join(&engine, "19:last@thread.v2").await.unwrap().0, 201);
    let pid = engine.child.id().to_string();
    let mut limit = Command::new("prlimit");
    limit.args(["--fsize=1", "--pid", &pid]);
    assert!(limit.status().unwrap().success());
    engine.signal("-TERM");
    assert_eq!(engine.exit_code(), Some(74));
}

/// F-D4: nobody can mute a call whose records are damaged, so it is hung up, and its log says why.
#[tokio::test]
async fn a_call_with_a_damaged_record_is_not_taken_up_and_its_log_is_410() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder_flag(&folder);
    let flags = ["--public", "127.0.0.1:0", "--set", &flag];
    let engine = Program::start("serve", &flags);
    let (_, damaged) = join(&engine, "19:damaged@thread.v2").await.unwrap();
    let (_, whole) = join(&engine, "19:whole@thread.v2").await.unwrap();
    drop(engine);

    let store = rusqlite::Connection::open(folder.path().join("journal.db")).unwrap();
    let id = damaged["id"].as_str().unwrap();
    let changed = store.execute(
        "UPDATE recent SET sum = sum + 1 WHERE number = 1 AND call IN (SELECT call FROM recent \
         WHERE body LIKE ?1)",
        [format!("%{id}%")],
    );
    assert_eq!(changed, Ok(1));
    store.close().unwrap();

    let mut engine = Program::start("serve", &flags);
    let done = engine.event("the calls of before are taken up");
    assert_eq!(done["open"], 1, "{done}");
    let log = async |call: &Value| {
        let path = format!("/v1/calls/{}/log", call["id"].as_str().unwrap());
        let request = reqwest::Client::new().get(engine.url("public", &path));
        let answer = request.bearer_auth(token(&engine).await).send().await;
        let answer = answer.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, body) = log(&damaged).await;
    assert_eq!(status, 410, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["error"]["code"], "recordsDamaged", "{body}");
    assert_eq!(log(&whole).await.0, 200);
}

#[test]
fn calls_cannot_be_left_to_a_journal_that_may_be_gone() {
    let leave = ["--set", "calls.at_end=leave"];
    let none = ["--set", "journal.durability=none"];
    let (code, _, stderr) = output(&[&["config", "check"], &leave[..], &none[..]].concat());
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.contains("calls.at_end") && stderr.contains("journal.durability"),
        "{stderr}"
    );
}

/// Everything that the server sends on a roster's WebSocket, to the end.
fn subscribe(engine: &Program, call: &str, token: &str) -> std::thread::JoinHandle<Vec<u8>> {
    use std::io::Read as _;
    let host = engine.listening["public"].as_str().unwrap();
    let host = host.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "GET /v1/calls/{call}/roster HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 101");
    std::thread::spawn(move || {
        let mut all = Vec::new();
        // The server cuts who does not answer its close.
        stream.read_to_end(&mut all).map(drop).unwrap_or_default();
        all
    })
}

/// A calling service that outlives the engines, and the settings of an engine that leaves its calls.
struct Stay {
    service: Program,
    _folder: TempDir,
    public: String,
    settings: Vec<String>,
    token: String,
    http: reqwest::Client,
}

impl Stay {
    async fn begin(deadline: &str) -> Self {
        let service = Program::start("local", &["--set", "local.establish=1ms"]);
        let graph = service.url("local", "");
        let folder = tempfile::tempdir().unwrap();
        let public = free_address();
        let openid = format!("{graph}/v1/.well-known/OpenIdConfiguration");
        let settings = [
            folder_flag(&folder),
            "calls.at_end=leave".to_owned(),
            format!("calls.drain_deadline={deadline}"),
            "upstream.kind=graph".to_owned(),
            format!("upstream.base_url={graph}/v1.0"),
            format!("upstream.authority={graph}"),
            format!("upstream.openid_configuration_url={openid}"),
            format!("upstream.tenant={TENANT}"),
            format!("upstream.app={APP}"),
            "upstream.secret=local-dev-secret".to_owned(),
            "auth.audiences=https://graph.microsoft.com".to_owned(),
            format!("upstream.public_url=http://{public}"),
            format!("auth.openid_configuration_url={openid}"),
            "relay.enabled=false".to_owned(),
        ];
        let token = token(&service).await;
        Self {
            service,
            _folder: folder,
            public,
            settings: settings.into(),
            token,
            // The next engine has the address of the one before, and not its connections.
            http: reqwest::Client::builder()
                .pool_max_idle_per_host(0)
                .build()
                .unwrap(),
        }
    }

    fn flags(&self) -> Vec<&str> {
        let settings = self.settings.iter();
        let settings = settings.flat_map(|setting| ["--set", setting.as_str()]);
        ["--public", &self.public]
            .into_iter()
            .chain(settings)
            .collect()
    }

    async fn join(&self, engine: &Program) -> String {
        let base = engine.url("public", "/v1.0/communications/calls");
        let request = self.http.post(&base).bearer_auth(&self.token);
        let answer = request.json(&create("19:left@thread.v2")).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 201);
        let call: Value = answer.json().await.unwrap();
        call["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a call is in a state.
    async fn shows(&self, engine: &Program, call: &str, state: &str) {
        let begun = std::time::Instant::now();
        loop {
            let url = engine.url("public", &format!("/v1/calls/{call}"));
            let answer = self.http.get(url).bearer_auth(&self.token).send().await;
            let now: Value = answer.unwrap().json().await.unwrap();
            if now["state"] == state {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{now}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks for the one mute, as often as it likes.
    async fn mute(&self, engine: &Program, call: &str, prefer: &str) -> Value {
        let url = engine.url("public", &format!("/v1.0/communications/calls/{call}/mute"));
        let request = self.http.post(url).bearer_auth(&self.token);
        let request = request
            .header("idempotency-key", "mute")
            .header("prefer", prefer);
        let answer = request.json(&json!({})).send().await.unwrap();
        answer.json().await.unwrap()
    }
}

/// A restart that nobody in the meeting notices: the call stays up, its subscribers are told to
/// come back, and the next process has it.
#[tokio::test]
async fn calls_that_are_left_stay_up_and_the_next_process_adopts_them() {
    let stay = Stay::begin("20s").await;
    let mut engine = Program::start("serve", &stay.flags());
    let call = stay.join(&engine).await;
    stay.shows(&engine, &call, "unmuted").await;
    let watcher = subscribe(&engine, &call, &stay.token);

    engine.signal("-TERM");
    let drained = engine.event("drained");
    assert_eq!(drained["calls_left"], 1, "{drained}");
    assert_eq!(engine.exit_code(), Some(0));
    let told = watcher.join().unwrap();
    let closed = |code: u16| {
        let [high, low] = code.to_be_bytes();
        told.windows(4)
            .any(|frame| frame[0] == 0x88 && frame[2..] == [high, low])
    };
    assert!(closed(1012) && !closed(4004));
    let (_, metrics) = get(stay.service.url("admin", "/metrics")).await;
    assert!(metrics.contains("\nopenmic_local_calls 1\n"), "{metrics}");

    let engine = Program::start("serve", &stay.flags());
    stay.shows(&engine, &call, "unmuted").await;
    let muted = stay.mute(&engine, &call, "wait=30").await;
    assert_eq!(muted["status"], "completed", "{muted}");
}

/// The drain's deadline comes before the verdict.
#[tokio::test]
async fn a_command_that_is_left_gets_its_verdict_from_the_next_process() {
    let stay = Stay::begin("1s").await;
    let mut engine = Program::start("serve", &stay.flags());
    let call = stay.join(&engine).await;
    stay.shows(&engine, &call, "unmuted").await;
    let faults = stay
        .service
        .url("local", &format!("/lab/v1/calls/{call}/faults"));
    let plan = json!({"faults": ["effect_then_silence on=mute", "drop"]});
    let planned = stay.http.put(faults).json(&plan).send().await.unwrap();
    assert_eq!(planned.status(), 200);
    let running = stay.mute(&engine, &call, "respond-async").await;
    assert_eq!(running["status"], "running", "{running}");

    engine.signal("-TERM");
    let left = engine.event("commands are left to the next process");
    assert_eq!(left["open"], 1, "{left}");
    let drained = engine.event("drained");
    assert_eq!(drained["calls_left"], 1, "{drained}");
    assert_eq!(engine.exit_code(), Some(0));

    let engine = Program::start("serve", &stay.flags());
    let muted = stay.mute(&engine, &call, "wait=30").await;
    assert_eq!(
        (&muted["id"], &muted["status"]),
        (&running["id"], &json!("completed")),
        "{muted}"
    );
    stay.shows(&engine, &call, "muted").await;
}
