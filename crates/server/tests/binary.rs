//! The real binary, from the outside: probes, metrics, graceful end, exit codes, plain words.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "binary/freeze.rs"]
mod freeze;
#[path = "binary/journal.rs"]
mod journal;
#[path = "binary/log.rs"]
mod log;
#[path = "binary/program.rs"]
mod program;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use program::{BINARY, Program, openmic, output, signal};

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const APP: &str = "22222222-2222-4222-8222-222222222222";

/// An address that was free a moment ago, for what must be known before the start.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

async fn get(url: String) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn serve_answers_its_probes_and_drains_on_sigterm() {
    let mut program = Program::start("serve", &["--public", "127.0.0.1:0"]);
    assert_eq!(get(program.url("admin", "/livez")).await.0, 200);
    let (status, body) = get(program.url("admin", "/readyz")).await;
    assert_eq!(
        (status, body.contains("\"ready\":true")),
        (200, true),
        "{body}"
    );
    let (status, metrics) = get(program.url("admin", "/metrics")).await;
    assert_eq!(status, 200);
    for name in [
        "openmic_build_info{version=",
        "process_open_fds ",
        "openmic_calls{state=\"muted\"} 0",
        "openmic_subscribers 0",
        "openmic_rtp_packets_total{",
        "openmic_local_calls 0",
        "openmic_graph_requests_total{",
        "openmic_token_validations_total{",
        "openmic_http_requests_total{",
    ] {
        assert!(metrics.contains(name), "{name} is missing");
    }
    let calls = program.url("public", "/v1.0/communications/calls/none");
    assert_eq!(get(calls).await.0, 401);
    let keys = program.url("local", "/v1/.well-known/OpenIdConfiguration");
    assert_eq!(get(keys).await.0, 200);

    program.signal("-TERM");
    let drained = program.event("drained");
    assert_eq!(
        (&drained["calls_left"], &drained["connections_cut"]),
        (&0.into(), &0.into())
    );
    assert_eq!(program.exit_code(), Some(0));
}

#[tokio::test]
async fn local_runs_alone_and_ends_on_ctrl_c() {
    let mut program = Program::start("local", &[]);
    assert!(program.listening["public"].is_null());
    let keys = program.url("local", "/v1/.well-known/OpenIdConfiguration");
    assert_eq!(get(keys).await.0, 200);
    let (status, metrics) = get(program.url("admin", "/metrics")).await;
    assert_eq!(status, 200);
    assert!(metrics.contains("openmic_local_calls 0"), "{metrics}");
    program.signal("-INT");
    assert_eq!(program.exit_code(), Some(0));
}

#[tokio::test]
async fn local_goes_wrong_when_asked_and_writes_its_truth_down() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("truth.ndjson");
    let log = format!("local.truth_log={}", file.display());
    let faults = ["--fault", "drop rate=0.1", "--fault", "conflict"];
    let flags = [&faults[..], &["--set", &log, "--set", "local.fault_seed=7"]].concat();
    let program = Program::start("local", &flags);
    let (status, shown) = get(program.url("local", "/lab/v1/faults")).await;
    assert_eq!(status, 200);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["seed"], 7);
    assert_eq!(shown["faults"][0]["fault"], "drop rate=0.1");
    assert_eq!(shown["faults"][1]["fault"], "conflict");
    let (status, truth) = get(program.url("local", "/lab/v1/truth")).await;
    assert_eq!(
        (status, truth),
        (200, std::fs::read_to_string(&file).unwrap())
    );

    let (code, _, said) = output(&["local", "--fault", "drip"]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("\"drip\" is no fault; there are drop, duplicate,"),
        "{said}"
    );
}

#[tokio::test]
async fn while_draining_it_is_not_ready_and_a_second_signal_ends_at_once() {
    let mut program = Program::start("serve", &["--public", "127.0.0.1:0"]);
    // A request whose body never comes keeps the drain busy; 100 Continue says that it is read.
    let address = program.listening["local"]
        .as_str()
        .unwrap()
        .trim_start_matches("http://");
    let mut slow = TcpStream::connect(address).unwrap();
    let head = "POST /lab/v1/meetings/19%3Aslow%40thread.v2/participants HTTP/1.1\r\nHost: a\r\n\
                Content-Type: application/sdp\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    slow.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(&slow).read_line(&mut answer).unwrap();
    assert_eq!(answer, "HTTP/1.1 100 Continue\r\n");
    program.signal("-TERM");
    program.event("draining; a second signal ends at once");
    let (status, body) = get(program.url("admin", "/readyz")).await;
    assert_eq!((status, body.contains("going down")), (503, true), "{body}");
    assert_eq!(get(program.url("admin", "/livez")).await.0, 200);
    // Signals within a second are one; a person who means it comes again.
    let pid = program.child.id();
    let insist = std::thread::spawn(move || {
        while signal(pid, "-TERM") {
            std::thread::park_timeout(Duration::from_millis(200));
        }
    });
    program.event("second signal: ending at once");
    assert_eq!(program.exit_code(), Some(1));
    insist.join().unwrap();
}

/// Settings of an engine on `public` that trusts `local` and makes its calls at `graph`.
fn apart(local: &Program, graph: &str, public: &str) -> Vec<String> {
    let keys = local.url("local", "/v1/.well-known/OpenIdConfiguration");
    vec![
        "upstream.kind=graph".to_owned(),
        format!("upstream.tenant={TENANT}"),
        format!("upstream.app={APP}"),
        "upstream.secret=local-dev-secret".to_owned(),
        format!("upstream.base_url={graph}"),
        format!("upstream.authority={}", local.url("local", "")),
        format!("upstream.openid_configuration_url={keys}"),
        format!("upstream.public_url=http://{public}"),
        format!("auth.openid_configuration_url={keys}"),
        "auth.audiences=https://graph.microsoft.com".to_owned(),
    ]
}

/// A token of the local service's dev app.
async fn token(local: &Program) -> String {
    let url = local.url("local", &format!("/{TENANT}/oauth2/v2.0/token"));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", APP),
        ("client_secret", "local-dev-secret"),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let answer = reqwest::Client::new()
        .post(url)
        .form(&form)
        .send()
        .await
        .unwrap();
    let body: Value = answer.error_for_status().unwrap().json().await.unwrap();
    body["access_token"].as_str().unwrap().to_owned()
}

/// What a bot says to join a meeting.
fn create(thread: &str) -> Value {
    json!({
        "callbackUri": "http://127.0.0.1:9/",
        "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "chatInfo": {"threadId": thread, "messageId": "0"},
        "meetingInfo": {
            "@odata.type": "#microsoft.graph.organizerMeetingInfo",
            "organizer": {"user": {"id": "33333333-3333-4333-8333-333333333333"}}
        },
        "tenantId": TENANT
    })
}

#[tokio::test]
async fn the_graph_file_leads_to_a_service_in_another_process() {
    let mut local = Program::start("local", &[]);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "local-dev-secret\n").unwrap();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/graph.toml");
    let keys = local.url("local", "/v1/.well-known/OpenIdConfiguration");
    // The file's own values give way to those of the test's Graph, as they would to a person's.
    let public = free_address();
    let settings = [
        format!("upstream.tenant={TENANT}"),
        format!("upstream.app={APP}"),
        format!("upstream.secret_file={}", secret.path().display()),
        format!("upstream.base_url={}", local.url("local", "/v1.0")),
        format!("upstream.authority={}", local.url("local", "")),
        format!("upstream.openid_configuration_url={keys}"),
        format!("upstream.public_url=http://{public}"),
        format!("auth.openid_configuration_url={keys}"),
        "auth.audiences=https://graph.microsoft.com".to_owned(),
    ];
    let mut flags = vec!["--config", config, "--public", &public];
    flags.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let mut engine = Program::start("serve", &flags);
    assert!(engine.listening["local"].is_null());

    let token = token(&local).await;
    let http = reqwest::Client::new();
    let calls = engine.url("public", "/v1.0/communications/calls");
    let create = create("19:two_processes@thread.v2");
    let answer = http
        .post(&calls)
        .bearer_auth(&token)
        .json(&create)
        .send()
        .await
        .unwrap();
    let call: Value = answer.error_for_status().unwrap().json().await.unwrap();
    let id = call["id"].as_str().unwrap().to_owned();
    let call = format!("{calls}/{id}");
    let unmute = loop {
        let body = json!({"clientContext": "two-processes"});
        let request = http
            .post(format!("{call}/unmute"))
            .bearer_auth(&token)
            .json(&body);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        // 8501 until the service said established: each try is a round trip, no spin.
        if body["error"]["code"] != "8501" {
            assert_eq!(status, 200, "{body}");
            break body;
        }
    };
    assert_eq!(unmute["status"], "completed", "{unmute}");

    // With the credential of the same configuration.
    let explain = [&["explain", &id, "--replay"][..], &flags[..]].concat();
    let explain: Vec<_> = explain
        .into_iter()
        .filter(|flag| *flag != "--public" && *flag != public)
        .collect();
    let at = format!("listen.public={public}");
    let explain = [&explain[..], &["--set", &at]].concat();
    let (code, told, wrong) = output(&explain);
    assert_eq!((code, wrong.as_str()), (Some(0), ""), "{told}");
    assert!(told.starts_with(&format!("Call {id}: unmuted\n")), "{told}");
    assert!(told.contains("the bot asks to be unmuted"), "{told}");
    assert!(told.contains("each did what the log says"), "{told}");
    let foreign = [&["explain", "none-such"][..], &explain[2..]].concat();
    let (code, _, wrong) = output(&foreign);
    assert_eq!(code, Some(2), "{wrong}");
    assert!(wrong.contains("GET /v1/calls lists the calls"), "{wrong}");

    engine.signal("-TERM");
    assert_eq!(engine.event("drained")["calls_left"], 0);
    assert_eq!(engine.exit_code(), Some(0));
    let (_, metrics) = get(local.url("admin", "/metrics")).await;
    assert!(
        metrics.contains("\nopenmic_local_calls 0\n"),
        "the call was not hung up"
    );
    local.signal("-TERM");
    assert_eq!(local.exit_code(), Some(0));
}

#[tokio::test]
async fn without_signing_keys_it_lives_and_is_not_ready() {
    let nowhere = format!("http://{}", free_address());
    let settings = [
        "upstream.kind=graph".to_owned(),
        "upstream.tenant=t".to_owned(),
        "upstream.app=a".to_owned(),
        "upstream.secret=tell-nobody".to_owned(),
        format!("upstream.base_url={nowhere}/v1.0"),
        format!("upstream.authority={nowhere}"),
        format!("upstream.openid_configuration_url={nowhere}/keys"),
    ];
    let mut flags = vec!["--public", "127.0.0.1:0"];
    flags.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let mut program = Program::start("serve", &flags);
    assert_eq!(get(program.url("admin", "/livez")).await.0, 200);
    let (status, body) = get(program.url("admin", "/readyz")).await;
    assert_eq!(status, 503);
    assert!(
        body.contains("notification_keys") && body.contains("caller_keys"),
        "{body}"
    );
    program.signal("-TERM");
    assert_eq!(program.exit_code(), Some(0));
}

#[test]
fn for_people_there_is_a_banner_and_no_colour_in_a_pipe() {
    let arguments = ["serve", "--public", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let journal = tempfile::tempdir().unwrap();
    let mut child = openmic()
        .env("OPENMIC__JOURNAL__FOLDER", journal.path())
        .args(arguments)
        .args([
            "--local",
            "127.0.0.1:0",
            "--set",
            "local.rtp_ports=any",
            "--log-format",
            "text",
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("listening") {
        assert!(log.read_line(&mut text).unwrap() > 0, "{text}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text.contains("DEV CREDENTIALS"), "{text}");
    assert!(text.contains("http://127.0.0.1:"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn without_arguments_it_prints_help() {
    let (code, stdout, stderr) = output(&[]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    for word in ["demo", "serve", "local", "config", "auth", "Examples:"] {
        assert!(stderr.contains(word), "{stderr}");
    }
}

#[test]
fn a_new_key_is_shown_once_and_its_lines_are_a_configuration() {
    let make = || {
        let (code, stdout, stderr) = output(&["auth", "new-key", "--role", "openmic.operator"]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        stdout
    };
    let text = make();
    let key = text
        .split_whitespace()
        .find(|word| word.starts_with("omk_"));
    let key = key.unwrap();
    assert_eq!(text.matches(key).count(), 1, "{text}");
    assert!(!make().contains(key), "two keys are the same");

    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(path, &text).unwrap();
    let (code, stdout, stderr) = output(&["config", "check", "--config", path]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let (_, shown, _) = output(&["config", "print", "--config", path]);
    assert!(shown.contains("openmic.operator"), "{shown}");

    // The key in the place of its hash: the error does not repeat it.
    let hash = text
        .lines()
        .find(|line| line.starts_with("sha256"))
        .unwrap();
    std::fs::write(path, text.replace(hash, &format!("sha256 = \"{key}\""))).unwrap();
    let (code, _, stderr) = output(&["config", "check", "--config", path]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("sha256 is not 64 hex digits"), "{stderr}");
    assert!(!stderr.contains(key), "{stderr}");

    // Twice the same.
    let lines = &text[text.find("[[").unwrap()..];
    std::fs::write(path, format!("{lines}{lines}")).unwrap();
    let (code, _, stderr) = output(&["config", "check", "--config", path]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.starts_with("openmic: auth.api_keys: two keys are called key-1"),
        "{stderr}"
    );
}

#[test]
fn what_is_wrong_is_said_in_one_line_and_exit_code_2() {
    let cases: [(&[&str], &str); 5] = [
        (
            &["serve", "--set", "listen.pubic=1"],
            "openmic: command line: unknown key 'listen.pubic': did you mean 'listen.public'?\n",
        ),
        (
            &["config", "check", "--set", "public"],
            "openmic: --set public: write it as section.key=value\n",
        ),
        (
            &["config", "check", "--set", "upstream.kind=graph"],
            "openmic: upstream.tenant: is missing; give the directory (tenant) id of the bot's app \
             registration\n",
        ),
        (
            &["config", "check", "--log-level", "loud=very"],
            "openmic: log.level \"loud=very\" cannot be read; ",
        ),
        (
            &["serve", "--config", "/nowhere/openmic.toml"],
            "openmic: cannot read the configuration file /nowhere/openmic.toml: No such file",
        ),
    ];
    for (arguments, expected) in cases {
        let (code, _, stderr) = output(arguments);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.starts_with(expected), "{stderr}");
    }
    let (code, _, stderr) = output(&["serve", "--public", "0.0.0.0:0"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("dev credentials are public"), "{stderr}");
}

#[test]
fn config_prints_what_it_reads() {
    let (code, defaults, _) = output(&["config", "print", "--defaults"]);
    assert_eq!(code, Some(0));
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), defaults).unwrap();
    let path = file.path().to_str().unwrap();
    let (code, stdout, _) = output(&["config", "check", "--config", path]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.starts_with("ok: engine on 127.0.0.1:7080"),
        "{stdout}"
    );
    let (code, stdout, _) = output(&[
        "config",
        "print",
        "--config",
        path,
        "--set",
        "upstream.secret=tell-nobody",
    ]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("secret = \"(secret)\"  # command line"),
        "{stdout}"
    );
    assert!(!stdout.contains("tell-nobody"), "{stdout}");
}

#[test]
fn a_demo_that_is_interrupted_ends_at_once() {
    let mut demo = openmic()
        .args(["demo", "--subscribers", "10"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    lines
        .find(|line| line.as_ref().unwrap().contains("the bot speaks"))
        .unwrap()
        .unwrap();
    assert!(signal(demo.id(), "-INT"));
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert_eq!(demo.wait().unwrap().code(), Some(130), "{rest:#?}");
    assert!(
        rest.iter().any(|line| line.contains("interrupted")),
        "{rest:#?}"
    );
    assert!(
        !rest.iter().any(|line| line.contains("everything held")),
        "{rest:#?}"
    );
}

#[test]
fn what_the_demo_cannot_write_is_told_before_it_plays() {
    let output = openmic()
        .args(["demo", "--record", "no/such/folder/x.wav"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("no/such/folder/x.wav"), "{text}");
    assert!(output.stdout.is_empty(), "it had begun to play");
}

#[test]
fn a_log_level_that_is_none_is_refused() {
    for level in ["inof", "loud", "info,loud"] {
        let output = openmic()
            .args(["config", "check", "--log-level", level])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{level}: {text}");
        assert!(
            text.contains("error, warn, info, debug and trace"),
            "{text}"
        );
    }
    for level in [
        "info",
        "WARN",
        "off",
        "info,openmic_engine=debug",
        "openmic_hub=trace",
    ] {
        let output = openmic()
            .args(["config", "check", "--log-level", level])
            .output()
            .unwrap();
        assert!(output.status.success(), "{level}: {output:?}");
    }
}
