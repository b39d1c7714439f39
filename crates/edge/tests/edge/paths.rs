//! Every API of the contract in every spelling that Graph takes, on both servers.

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Rig, meeting, read};

/// Method and path of every API, below the version.
const CONTRACT: &str = include_str!("../contract.txt");

/// One of the two servers, and a call on it.
struct Server<'a> {
    name: &'static str,
    base: &'a str,
    token: &'a str,
    http: &'a Client,
    call: String,
}

/// What of an answer must not depend on how the request was spelt.
#[derive(Debug, PartialEq)]
struct Seen {
    status: StatusCode,
    code: Value,
    message: Value,
    id: Value,
}

impl Server<'_> {
    async fn ask(&self, method: &Method, path: &str) -> (Seen, HeaderMap) {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method.clone(), url);
        request = request.bearer_auth(self.token);
        if *method == Method::POST {
            request = request.json(&json!({}));
        }
        let answer = read(request).await;
        let error = &answer.body["error"];
        let seen = Seen {
            status: answer.status,
            code: error["code"].clone(),
            message: error["message"].clone(),
            id: if *method == Method::GET {
                answer.body["id"].clone()
            } else {
                Value::Null
            },
        };
        (seen, answer.headers)
    }
}

/// Every way to write a path: whose key is written how, the action with its namespace or not.
fn spellings(path: &str, version: &str, call: &str) -> Vec<String> {
    let keys = ["/?", "('?')", "(%27?%27)", "%28%27?%27%29"];
    let mut all = Vec::new();
    for root in ["communications", "app"] {
        for key in keys {
            for qualified in [false, true] {
                for end in ["", "/"] {
                    let mut out = format!("/{version}/{root}");
                    let parts = path.trim_start_matches("/communications").split('/');
                    for part in parts.skip(1) {
                        if let Some(name) = part.strip_prefix('{') {
                            let id = match name {
                                "call}" => call,
                                _ => "nobody",
                            };
                            out.push_str(&key.replace('?', id));
                            continue;
                        }
                        out.push('/');
                        if qualified && !["calls", "participants", "operations"].contains(&part) {
                            out.push_str("microsoft.graph.");
                        }
                        out.push_str(part);
                    }
                    out.push_str(end);
                    all.push(out);
                }
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

#[tokio::test]
async fn every_api_answers_in_every_spelling_on_both_servers() {
    let rig = Rig::start().await;
    let ours = rig.established("19:meeting_paths@thread.v2").await;
    let body = meeting("19:meeting_paths@thread.v2");
    let theirs = format!("{}/v1.0/communications/calls", rig.local.base_url());
    let theirs = read(rig.request(Method::POST, &theirs).json(&body)).await;
    let theirs = theirs.body["id"].as_str().unwrap().to_owned();
    let (http, token) = (&rig.http, rig.token.as_str());
    let servers = [
        Server {
            name: "engine",
            base: &rig.base,
            token,
            http,
            call: ours.id().to_string(),
        },
        Server {
            name: "local",
            base: rig.local.base_url(),
            token,
            http,
            call: theirs,
        },
    ];
    let (mut asked, mut wrong) = (0, Vec::new());
    for server in &servers {
        for row in CONTRACT.lines() {
            let (method, path) = row.split_once(' ').unwrap();
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            // Hanging up ends the call: that of somebody else is as good.
            let hangs_up = method == Method::DELETE && path.ends_with("{call}");
            let call = if hangs_up { "no-call" } else { &server.call };
            for version in ["v1.0", "beta"] {
                let plain = path.replace("{call}", call);
                let plain = plain
                    .replace("{participant}", "nobody")
                    .replace("{operation}", "nobody");
                let (expected, _) = server.ask(&method, &format!("/{version}{plain}")).await;
                // Graph has it in beta only, and so has the local service; the engine asks it.
                let lacking = path.ends_with("muteAll") && version == "v1.0";
                let known = expected.code != "itemNotFound"
                    && expected.status != StatusCode::METHOD_NOT_ALLOWED;
                if known == lacking {
                    wrong.push(format!("{} {row}: {expected:?}", server.name));
                }
                for spelling in spellings(path, version, call) {
                    asked += 1;
                    let (seen, headers) = server.ask(&method, &spelling).await;
                    let marked = headers.contains_key("request-id")
                        && headers.contains_key("client-request-id")
                        && headers.get("odata-version").is_some_and(|v| v == "4.0");
                    if seen != expected || !marked {
                        wrong.push(format!(
                            "{} {method} {spelling}: {seen:?} {headers:?}",
                            server.name
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!(
        "{asked} requests, {} APIs, 2 servers",
        CONTRACT.lines().count()
    );
    assert!(asked > 2 * 2 * 28 * 8, "{asked}");
}

#[tokio::test]
async fn odd_keys_are_read_as_they_are_meant_on_both_servers() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_keys@thread.v2").await;
    let upper = call.id().as_str().to_ascii_uppercase();
    let bare = call.id().as_str().replace('-', "");
    for id in [&upper, &bare] {
        for path in [
            format!("/v1.0/communications/calls/{id}"),
            format!("/v1.0/communications/calls('{id}')"),
            format!("/v1.0//communications/calls/{id}"),
        ] {
            for base in [&rig.base, rig.local.base_url()] {
                let answer = rig.get(&format!("{base}{path}")).await;
                assert_eq!(answer.status, StatusCode::OK, "{base}{path} {answer:?}");
                assert_eq!(answer.body["id"], call.id().as_str());
            }
        }
    }
    // A quote in a key is written twice; written once it ends the key too early.
    for (key, code) in [
        ("('it''s')", "8522"),
        ("(%27it%27%27s%27)", "8522"),
        ("('it's')", "itemNotFound"),
        ("('')", "itemNotFound"),
        ("(x)", "itemNotFound"),
    ] {
        for base in [&rig.base, rig.local.base_url()] {
            let path = format!("{base}/v1.0/communications/calls{key}/participants");
            let answer = rig.get(&path).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(answer.code(), code, "{path}");
        }
    }
}

#[tokio::test]
async fn other_methods_and_queries_do_no_harm_on_both_servers() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_queries@thread.v2").await;
    let path = format!("/v1.0/communications/calls/{}", call.id());
    let me = call.state().me.unwrap();
    for base in [&rig.base, rig.local.base_url()] {
        let url = format!("{base}{path}");
        let cut = rig.get(&format!("{url}?$select=id,state")).await;
        assert_eq!(cut.status, StatusCode::OK, "{cut:?}");
        assert_eq!(cut.body["id"], call.id().as_str());
        assert!(cut.body.get("myParticipantId").is_none(), "{cut:?}");
        let cut = rig
            .get(&format!("{url}/participants?%24select=isMuted"))
            .await;
        assert_eq!(cut.body["value"], json!([cut.body["value"][0]]), "{cut:?}");
        assert!(cut.body["value"][0].get("id").is_none(), "{cut:?}");
        for query in [
            "$expand=operations",
            "$top=1&$skip=0",
            "$filter=a%20eq%20'b'",
            "&&=",
        ] {
            for tail in ["", "/participants", &format!("/participants/{me}")] {
                let url = format!("{url}{tail}?{query}");
                let answer = rig.get(&url).await;
                assert_eq!(answer.status, StatusCode::OK, "{url} {answer:?}");
                let head = read(rig.request(Method::HEAD, &url)).await;
                assert_eq!((head.status, &head.body), (StatusCode::OK, &Value::Null));
                assert_eq!(head.header("odata-version"), "4.0");
            }
        }
        for (method, tail, allow) in [
            (Method::OPTIONS, "", "GET"),
            (Method::OPTIONS, "/unmute", "POST"),
            (Method::HEAD, "/unmute", "POST"),
            (Method::PATCH, "/participants/x", "DELETE"),
            (Method::PUT, "/operations/x", "GET"),
            (Method::POST, "/operations", ""),
            (Method::GET, "/participants/invite", "POST"),
        ] {
            let request = rig
                .request(method.clone(), &format!("{url}{tail}"))
                .header("client-request-id", "mine")
                .header("scenario-id", "s-1");
            let answer = read(request).await;
            let seen = (answer.status, answer.header("client-request-id"));
            let refused = StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(seen, (refused, "mine"), "{method} {url}{tail}");
            let allowed = answer.headers.get("allow").unwrap().to_str().unwrap();
            assert!(allowed.contains(allow), "{method} {tail}: {allowed}");
            if method != Method::HEAD {
                let inner = &answer.body["error"]["innerError"];
                assert_eq!(inner["client-request-id"], "mine");
                assert_eq!(inner["request-id"], answer.header("request-id"));
            }
        }
    }
}
