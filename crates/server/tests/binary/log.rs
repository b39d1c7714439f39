//! T-14: what strangers, bots and people in a meeting send stands in no log line as more than text.

use std::fs::File;
use std::io::Read as _;

use reqwest::{Client, RequestBuilder, StatusCode};

use super::*;

/// The beginning of a line that only a forger writes.
const FORGED: &str = "2026-01-01T00:00:00.000000Z";

/// What makes lines, paints, or turns text round.
const HOSTILE: &str = "a\r\n2026-01-01T00:00:00.000000Z  INFO all is well\n\
                       {\"message\":\"drained\"}\n\x1b[2J\x07\x7f\u{85}\u{9b}31m\u{2028}\u{202e}z";

/// A hostile request, at trace level all over the log; its status is its own business.
async fn sent(request: RequestBuilder) -> StatusCode {
    request.send().await.unwrap().status()
}

/// Sends [`HOSTILE`] wherever text is taken.
async fn attacked(public: &str, local: &str) {
    let http = Client::new();
    let grant = |app: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", app),
            ("client_secret", "local-dev-secret"),
            ("scope", "https://graph.microsoft.com/.default"),
        ];
        http.post(format!("{local}/{TENANT}/oauth2/v2.0/token"))
            .form(&form)
    };
    assert!(sent(grant(HOSTILE)).await.is_client_error());
    let token: Value = grant(APP).send().await.unwrap().json().await.unwrap();
    let token = token["access_token"].as_str().unwrap();
    let calls = "v1.0/communications/calls";
    let segment: String = url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    for base in [public, local] {
        let post = |path: &str, body: &Value| {
            let request = http.post(format!("{base}/{path}")).bearer_auth(token);
            // as much as a header takes
            request
                .header("client-request-id", "\u{85}\u{9b}31m all is well")
                .json(body)
        };
        let mut body = create(HOSTILE);
        body["subject"] = json!(HOSTILE);
        body["source"] = json!({"identity": {"application": {"id": APP, "displayName": HOSTILE}}});
        let created = post(calls, &body).send().await.unwrap();
        let call: Value = created.json().await.unwrap();
        let id = call["id"].as_str().unwrap_or("none").to_owned();
        for member in [
            "tenantId",
            "callbackUri",
            "requestedModalities",
            "@odata.type",
        ] {
            let mut body = create("19:log@thread.v2");
            body[member] = json!(HOSTILE);
            sent(post(calls, &body)).await;
        }
        let said = json!({"clientContext": HOSTILE});
        sent(post(&format!("{calls}/{id}/unmute"), &said)).await;
        sent(post(&format!("{calls}/{segment}/mute"), &said)).await;
        sent(post(&format!("callbacks/{segment}"), &said)).await;
        for path in [
            format!("{calls}/{segment}"),
            format!("{calls}/{id}/operations/{segment}"),
            format!("v1/calls/{segment}/roster?since={segment}"),
            format!("v1/calls/{id}/roster?ticket={segment}"),
            segment.clone(),
        ] {
            let read = http.get(format!("{base}/{path}")).bearer_auth(token);
            sent(read).await;
        }
    }
    let join = format!("{local}/lab/v1/meetings/{segment}/participants?displayName={segment}");
    assert_eq!(sent(http.post(join)).await, StatusCode::CREATED);
    let plan = json!({"faults": [HOSTILE]});
    let faults = http.put(format!("{local}/lab/v1/faults")).json(&plan);
    assert_eq!(sent(faults).await, StatusCode::BAD_REQUEST);
}

/// A Graph that says no, in words that are no words.
struct Hostile(std::net::SocketAddr);

impl Hostile {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // ends with the process of the tests
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                Self::refuses(&stream.unwrap());
            }
        });
        Self(address)
    }

    fn refuses(mut stream: &TcpStream) {
        let mut lines = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap() < 3 {
                break;
            }
            let line = line.to_ascii_lowercase();
            if let Some(is) = line.strip_prefix("content-length:") {
                length = is.trim().parse().unwrap();
            }
        }
        std::io::copy(&mut lines.take(length), &mut std::io::sink()).unwrap();
        let body = json!({"error": {"code": HOSTILE, "message": HOSTILE}}).to_string();
        let head = "HTTP/1.1 403 No\r\ncontent-type: application/json\r\nconnection: close\r\n";
        // one that has gone needs no answer
        drop(write!(
            stream,
            "{head}content-length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
}

/// A program with everything in its log.
struct Talkative {
    child: std::process::Child,
    log: std::path::PathBuf,
    public: String,
    local: Option<String>,
    _folder: TempDir,
}

impl Talkative {
    async fn start(format: &str, settings: &[String], public: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let child = openmic()
            .env("OPENMIC__JOURNAL__FOLDER", folder.path().join("journal"))
            .args(["serve", "--public", public, "--admin", "127.0.0.1:0"])
            .args(["--local", "127.0.0.1:0", "--set", "local.rtp_ports=any"])
            .args(["--log-level", "trace", "--log-format", format])
            .args(["--set", "relay.enabled=false"])
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let begun = std::time::Instant::now();
        let listening = loop {
            let text = std::fs::read_to_string(&log).unwrap();
            let mut lines = text.split_inclusive('\n');
            let whole = |line: &&str| line.contains("listening") && line.ends_with('\n');
            if let Some(line) = lines.find(whole) {
                break line.to_owned();
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let address = |part: &str| {
            let after = listening.split_once(part)?.1;
            let from = after.find("http://")?;
            let end = after[from..].find('"')?;
            Some(after[from..from + end].to_owned())
        };
        Self {
            public: address("public").unwrap(),
            local: address("local"),
            child,
            log,
            _folder: folder,
        }
    }

    /// Ends it; its log, after a look at each line.
    fn ends(mut self) -> String {
        assert!(signal(self.child.id(), "-TERM"));
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let log = std::fs::read_to_string(&self.log).unwrap();
        assert!(log.contains("TRACE") && log.contains("DEBUG"), "{log}");
        for line in log.split_terminator('\n') {
            let speaks = |letter: char| letter.is_control() || "\u{2028}\u{202e}".contains(letter);
            assert!(!line.contains(speaks), "{line:?}");
            assert!(!line.trim_start().starts_with(FORGED), "{line}");
        }
        log
    }
}

/// Each line is an event, and only we have said that it drained.
fn are_events(log: &str) {
    let events = log.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        event
    });
    let drained = events.filter(|event| event["message"] == "drained");
    assert_eq!(drained.count(), 1);
}

#[tokio::test]
async fn what_strangers_send_forges_no_log_line() {
    for format in ["text", "json"] {
        let program = Talkative::start(format, &[], "127.0.0.1:0").await;
        attacked(&program.public, program.local.as_deref().unwrap()).await;
        let log = program.ends();
        if format == "json" {
            are_events(&log);
        }
    }
}

#[tokio::test]
async fn what_graph_answers_forges_no_log_line() {
    let local = Program::start("local", &[]);
    let graph = Hostile::open();
    let token = token(&local).await;
    for format in ["text", "json"] {
        let public = free_address();
        let settings = apart(&local, &format!("http://{}/v1.0", graph.0), &public);
        let program = Talkative::start(format, &settings, &public).await;
        let calls = format!("{}/v1.0/communications/calls", program.public);
        let request = Client::new().post(calls).bearer_auth(&token);
        let answer = request.json(&create("19:refused@thread.v2")).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        let log = program.ends();
        assert!(log.contains("all is well"), "Graph's code is logged: {log}");
        if format == "json" {
            are_events(&log);
        }
    }
}
