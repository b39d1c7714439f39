//! `openmic config check --live`, from the outside: against the local service, and against a server
//! that answers as Entra and Graph do when something is wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openmic_listen::{Limits, Listener, Running, Tls};
use serde_json::{Value, json};

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const APP: &str = "22222222-2222-4222-8222-222222222222";
const SECRET: &str = "k4nar1-live-secret";

type Reply = (u16, Value);

/// What the server says.
#[derive(Debug, Clone)]
struct Script {
    token: Reply,
    call: Reply,
    issuer: &'static str,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            token: grant(&["Calls.JoinGroupCall.All", "Calls.Initiate.All"]),
            call: coded(404, "8522"),
            issuer: "https://graph.microsoft.com",
        }
    }
}

fn grant(roles: &[&str]) -> Reply {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"tid": TENANT, "appid": APP, "roles": roles});
    let token = format!("{}.{}.k4nar1", part(json!({"alg": "RS256"})), part(claims));
    (
        200,
        json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token}),
    )
}

fn entra(status: u16, number: u32, error: &str) -> Reply {
    let description = format!("AADSTS{number}: words of Entra.\r\nTrace ID: x");
    (
        status,
        json!({"error": error, "error_description": description, "error_codes": [number]}),
    )
}

fn coded(status: u16, code: &str) -> Reply {
    (
        status,
        json!({"error": {"code": code, "message": "words of Graph"}}),
    )
}

fn answer((status, body): Reply) -> impl IntoResponse {
    (StatusCode::from_u16(status).unwrap(), Json(body))
}

/// Entra, Graph and the two descriptions of keys on one port.
fn serve(script: Script) -> (Running, String) {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let base = format!("http://{}", listener.local_addr());
    let document = json!({"issuer": script.issuer, "jwks_uri": format!("{base}/keys")});
    let modulus = URL_SAFE_NO_PAD.encode([0xc5; 256]);
    let keys = json!({"keys": [{"kid": "k", "kty": "RSA", "n": modulus, "e": "AQAB"}]});
    let routes = Router::new()
        .route(
            &format!("/{TENANT}/oauth2/v2.0/token"),
            post(async |State(script): State<Script>| answer(script.token)),
        )
        .route(
            "/v1.0/communications/calls/{id}",
            get(async |State(script): State<Script>| answer(script.call)),
        )
        .route("/openid", get(async || Json(document)))
        .route("/keys", get(async || Json(keys)))
        .with_state(script);
    (listener.serve(routes, Limits::default()), base)
}

/// Runs the check; exit code, table, progress.
async fn run(flags: Vec<String>) -> (Option<i32>, String, String) {
    let output = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openmic"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OPENMIC_") {
                command.env_remove(name);
            }
        }
        command
            .args(["config", "check", "--live"])
            .args(flags)
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (table, progress) = (text(output.stdout), text(output.stderr));
    for printed in [&table, &progress] {
        assert!(
            !printed.contains("k4nar1"),
            "a secret is printed: {printed}"
        );
        assert!(
            !printed.contains('\x1b'),
            "colours without a terminal: {printed}"
        );
    }
    (output.status.code(), table, progress)
}

fn upstream(base: &str, more: &[(&str, &str)]) -> Vec<String> {
    let url = |path: &str| format!("{base}{path}");
    let mut set = vec![
        ("upstream.kind", "graph".to_owned()),
        ("upstream.base_url", url("/v1.0")),
        ("upstream.authority", url("")),
        ("upstream.openid_configuration_url", url("/openid")),
        ("auth.openid_configuration_url", url("/openid?of=callers")),
        ("auth.issuers", "https://graph.microsoft.com".to_owned()),
        ("upstream.tenant", TENANT.to_owned()),
        ("upstream.app", APP.to_owned()),
        ("upstream.secret", SECRET.to_owned()),
        ("listen.public", "127.0.0.1:0".to_owned()),
    ];
    set.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
    let set = set.into_iter();
    set.flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")])
        .collect()
}

/// The line of a check, with what to do below it.
fn line<'a>(table: &'a str, check: &str) -> &'a str {
    let at = table
        .find(check)
        .unwrap_or_else(|| panic!("no {check} in {table}"));
    let mut end = table[at..].find('\n').unwrap() + at;
    if table[end + 1..].trim_start().starts_with('→') {
        end += 1 + table[end + 1..].find('\n').unwrap();
    }
    &table[at..end]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_configuration_passes_on_the_local_service() {
    let (code, table, progress) = run(Vec::new()).await;
    assert_eq!(code, Some(0), "{table}{progress}");
    for check in [
        "token endpoint",
        "permissions",
        "keys of notifications",
        "keys of callers",
        "admission to calls",
        "callback address",
    ] {
        assert!(line(&table, check).contains(" ok "), "{table}");
    }
    assert!(
        line(&table, "permissions").contains("Calls.AccessMedia.All"),
        "{table}"
    );
    assert!(progress.contains("… asking"), "{progress}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_gets_no_token_is_explained() {
    for (reply, words, next) in [
        (
            entra(401, 7_000_215, "invalid_client"),
            "the client secret is wrong",
            "not its Secret ID",
        ),
        (
            entra(401, 7_000_222, "invalid_client"),
            "has expired",
            "make a new one",
        ),
        (
            entra(400, 700_016, "unauthorized_client"),
            "knows no such application",
            "upstream.app",
        ),
        (
            entra(400, 90_002, "invalid_request"),
            "no such tenant",
            "upstream.tenant",
        ),
        (
            entra(400, 99_999, "odd"),
            "AADSTS99999: words of Entra.",
            "look its error up",
        ),
        (
            (
                401,
                json!({"error": "invalid_client", "error_description": format!("no: {SECRET}")}),
            ),
            "withheld",
            "upstream.secret",
        ),
        (
            (401, json!({"error": SECRET, "error_description": "no"})),
            "withheld",
            "look its error up",
        ),
        ((404, Value::Null), "404", "upstream.authority"),
        (
            (200, json!({"html": "a proxy's page"})),
            "neither a token nor an OAuth error",
            "no token endpoint of Microsoft's form",
        ),
    ] {
        let (_server, base) = serve(Script {
            token: reply,
            ..Script::default()
        });
        let (code, table, _) = run(upstream(&base, &[])).await;
        assert_eq!(code, Some(1), "{table}");
        let said = line(&table, "token endpoint");
        assert!(
            said.contains("FAILED") && said.contains(words) && said.contains(next),
            "{table}"
        );
        assert!(
            line(&table, "admission to calls").contains("unknown"),
            "{table}"
        );
        assert!(line(&table, "keys of callers").contains(" ok "), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_permissions_allow_is_told() {
    let scp = {
        let (status, mut body) = grant(&[]);
        let claims = URL_SAFE_NO_PAD.encode(json!({"scp": "User.Read"}).to_string());
        body["access_token"] = json!(format!("e30.{claims}.k4nar1"));
        (status, body)
    };
    let opaque = (200, json!({"access_token": "k4nar1-opaque-token"}));
    for (token, code, outcome, words) in [
        (
            grant(&["Calls.JoinGroupCalls.All"]),
            0,
            "warning",
            "Calls.AccessMedia.All, so no app-hosted",
        ),
        (
            grant(&["User.Read.All"]),
            1,
            "FAILED",
            "no calling permission",
        ),
        (scp, 1, "FAILED", "delegated"),
        (opaque, 0, "unknown", "no JWT"),
    ] {
        let (_server, base) = serve(Script {
            token,
            ..Script::default()
        });
        let (exit, table, _) = run(upstream(&base, &[])).await;
        let said = line(&table, "permissions");
        assert_eq!(exit, Some(code), "{table}");
        assert!(said.contains(outcome) && said.contains(words), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_an_application_is_not_admitted_is_explained() {
    let Script { token, .. } = Script::default();
    let said_back = format!("no: Bearer {}", token.1["access_token"].as_str().unwrap());
    for (call, words, next) in [
        (
            (401, json!({"error": {"code": "c", "message": said_back}})),
            "no: Bearer (withheld)",
            "same cloud",
        ),
        (
            coded(403, "7503"),
            "not registered for calls",
            "Microsoft Teams > Calling",
        ),
        (coded(403, "7504"), "has not permitted", "grant consent"),
        (coded(403, "7505"), "of another tenant", "upstream.tenant"),
        (
            coded(401, "InvalidAuthenticationToken"),
            "not taken",
            "same cloud",
        ),
    ] {
        let (_server, base) = serve(Script {
            call,
            ..Script::default()
        });
        let (code, table, _) = run(upstream(&base, &[])).await;
        assert_eq!(code, Some(1), "{table}");
        let said = line(&table, "admission to calls");
        assert!(
            said.contains("FAILED") && said.contains(words) && said.contains(next),
            "{table}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_cannot_be_read_and_issuers_nobody_expects_are_named() {
    let (_server, base) = serve(Script {
        issuer: "https://elsewhere.example",
        ..Script::default()
    });
    let (code, table, _) = run(upstream(&base, &[])).await;
    assert_eq!(code, Some(0), "{table}");
    let said = line(&table, "keys of notifications");
    assert!(
        said.contains("warning") && said.contains("https://elsewhere.example"),
        "{table}"
    );
    let nowhere = format!("{base}/nowhere");
    let (code, table, _) = run(upstream(
        &base,
        &[("auth.openid_configuration_url", &nowhere)],
    ))
    .await;
    assert_eq!(code, Some(1), "{table}");
    assert!(line(&table, "keys of callers").contains("404"), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callback_is_followed_to_this_engine() {
    let (_server, base) = serve(Script::default());
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let own = format!("http://{free}/");
    // (public_url, listen.public), and what is found
    let taken = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let taken = (
        taken.local_addr().to_string(),
        taken.serve(Router::new(), Limits::default()),
    );
    for (url, public, code, outcome, words) in [
        (
            own.as_str(),
            free.as_str(),
            0,
            " ok ",
            "leads to this engine",
        ),
        (
            base.as_str(),
            free.as_str(),
            1,
            "FAILED",
            "it is not this engine",
        ),
        (
            "http://127.0.0.1:1/",
            free.as_str(),
            1,
            "FAILED",
            "cannot be asked",
        ),
        (
            base.as_str(),
            taken.0.as_str(),
            1,
            "FAILED",
            "not as an engine does",
        ),
        (
            "https://no-such-host.invalid/",
            free.as_str(),
            1,
            "unknown",
            "for want of an address",
        ),
    ] {
        let flags = upstream(
            &base,
            &[("upstream.public_url", url), ("listen.public", public)],
        );
        let (exit, table, _) = run(flags).await;
        let said = line(&table, "callback reached");
        assert_eq!(exit, Some(code), "{table}");
        assert!(
            said.contains(outcome) && said.contains(words),
            "{url}: {table}"
        );
    }
    taken.1.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callback_is_followed_over_tls_and_its_certificate_is_checked() {
    let (_server, base) = serve(Script::default());
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let own = format!("https://{free}/");
    let tls = Tls::dev(["127.0.0.1".to_owned()]).unwrap();
    let other = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let strange = format!("https://{}/", other.local_addr());
    let _other = other.tls(Some(tls)).serve(Router::new(), Limits::default());
    for (url, code, words) in [
        (&own, 0, "leads to this engine"),
        (
            &strange,
            1,
            "Graph takes a valid certificate of a public authority only",
        ),
    ] {
        let set = [
            ("upstream.public_url", url.as_str()),
            ("listen.public", &free),
            ("listen.tls", "dev"),
        ];
        let (exit, table, progress) = run(upstream(&base, &set)).await;
        assert_eq!(exit, Some(code), "{table}{progress}");
        assert!(line(&table, "callback reached").contains(words), "{table}");
    }
    assert!(
        !std::path::Path::new("openmic-dev-ca.pem").exists(),
        "a check writes nothing"
    );
}
