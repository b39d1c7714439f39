//! Every request that is wrong although its token is good.

use serde_json::{Value, json};

use super::house::{CALLS, House, Side, meeting};
use super::wire::Request;

/// A row: its name, the request without its token, and the status and code it must get.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) request: Request,
    pub(super) status: u16,
    pub(super) code: &'static str,
}

const UNKNOWN: &str = "0c1f5e00-0000-4000-8000-000000000009";
const BAD: &str = "invalidRequest";

fn row(name: impl Into<String>, request: Request, status: u16, code: &'static str) -> Row {
    Row {
        name: name.into(),
        request,
        status,
        code,
    }
}

pub(super) fn all(house: &House) -> Vec<Row> {
    let mut rows = bodies(house);
    rows.extend(contexts(house));
    rows.extend(creates(house));
    rows.extend(calls(house));
    rows.extend(paths(house));
    if house.side == Side::Engine {
        rows.extend(keys(house));
    }
    rows
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    let inner = format!("{}1{}", open.repeat(depth), close.repeat(depth));
    format!("{{\"clientContext\":\"c\",\"x\":{inner}}}")
}

fn unmute(house: &House) -> Request {
    let path = format!("{CALLS}/{}/unmute", house.calls.group);
    Request::new("POST", path)
}

fn bodies(house: &House) -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in [
        "",
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json-patch+json",
        "application/jsonx",
        "json",
        "*/*",
    ] {
        let request = unmute(house).body(kind, "{}");
        rows.push(row(format!("type {kind:?}"), request, 415, "notSupported"));
    }
    for coding in ["gzip", "br", "deflate", "identity, gzip", "x"] {
        let request = unmute(house).header("content-encoding", coding);
        let request = request.json(b"\x1f\x8b\x08\0\0\0\0\0".to_vec());
        rows.push(row(
            format!("coding {coding}"),
            request,
            415,
            "notSupported",
        ));
    }
    let broken: [(&str, Vec<u8>); 24] = [
        ("white space", b" \r\n\t ".to_vec()),
        ("half an object", b"{".to_vec()),
        ("half a string", b"{\"clientContext\":\"a".to_vec()),
        ("a word", b"nope".to_vec()),
        ("a list", b"[]".to_vec()),
        ("a list of objects", b"[{}]".to_vec()),
        ("a string", b"\"{}\"".to_vec()),
        ("a number", b"7".to_vec()),
        ("null", b"null".to_vec()),
        ("true", b"true".to_vec()),
        ("two objects", b"{}{}".to_vec()),
        ("a tail", b"{} x".to_vec()),
        ("a comment", b"{/**/}".to_vec()),
        ("single quotes", b"{'clientContext':'a'}".to_vec()),
        ("a comma too many", b"{\"clientContext\":\"a\",}".to_vec()),
        ("not a number", b"{\"x\":NaN}".to_vec()),
        ("a zero byte", b"\0".to_vec()),
        (
            "a zero byte in a string",
            b"{\"clientContext\":\"\0\"}".to_vec(),
        ),
        ("not UTF-8", b"{\"clientContext\":\"\xff\xfe\"}".to_vec()),
        ("UTF-16", b"\xff\xfe{\0}\0".to_vec()),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("half a pair", b"{\"clientContext\":\"\\ud83d\"}".to_vec()),
        (
            "a member twice",
            b"{\"clientContext\":\"a\",\"clientContext\":\"b\"}".to_vec(),
        ),
        (
            "a member twice, escaped",
            b"{\"x\":1,\"\\u0078\":2}".to_vec(),
        ),
    ];
    for (name, body) in broken {
        rows.push(row(name, unmute(house).json(body), 400, BAD));
    }
    for (name, body) in [
        ("33 levels of objects", nested("{\"a\":", "}", 32)),
        ("33 levels of lists", nested("[", "]", 32)),
        ("10,000 levels", nested("[", "]", 10_000)),
        ("10,000 levels without an end", "[".repeat(10_000)),
    ] {
        rows.push(row(name, unmute(house).json(body), 400, BAD));
    }
    let large = json!({"clientContext": "x".repeat(300 * 1024)}).to_string();
    let claimed = unmute(house).json("{").claims_length(1 << 30);
    rows.extend([
        row("300 KiB", unmute(house).json(large.clone()), 413, BAD),
        row(
            "300 KiB in chunks",
            unmute(house).json(large).chunked(),
            413,
            BAD,
        ),
        row("1 GiB, so it says", claimed, 413, BAD),
    ]);
    rows
}

/// `clientContext` and what it may not be.
fn contexts(house: &House) -> Vec<Row> {
    let contexts = [
        ("context a number", json!(7)),
        ("context true", json!(true)),
        ("context a list", json!(["a"])),
        ("context an object", json!({"a": "b"})),
        ("context of 257", json!("x".repeat(257))),
        (
            "context of 257, the last an emoji",
            json!(format!("{}\u{1f600}", "x".repeat(255))),
        ),
        ("context of 129 emojis", json!("\u{1f600}".repeat(129))),
        ("context of 257 accents", json!("é".repeat(257))),
    ];
    let rows = contexts.into_iter().map(|(name, context)| {
        let body = json!({"clientContext": context}).to_string();
        row(name, unmute(house).json(body), 400, "8523")
    });
    rows.collect()
}

fn creates(house: &House) -> Vec<Row> {
    let create = |body: String| Request::new("POST", CALLS).json(body);
    let argument = match house.side {
        Side::Engine => BAD,
        Side::Local => "8523",
    };
    let mut rows = vec![
        row("create: half an object", create("{".into()), 400, BAD),
        row("create: a list", create("[]".into()), 400, BAD),
        row("create: no body", Request::new("POST", CALLS), 400, BAD),
        row("create: {}", create("{}".into()), 400, argument),
        row(
            "create: text",
            Request::new("POST", CALLS).body("text/plain", "{}"),
            415,
            "notSupported",
        ),
    ];
    let target = json!({"identity": {"user": {"id": "u"}}});
    let members = [
        ("callbackUri", Value::Null),
        ("callbackUri", json!("")),
        ("callbackUri", json!("/relative")),
        ("callbackUri", json!("ftp://bot.example/")),
        ("callbackUri", json!("not a url")),
        ("callbackUri", json!(7)),
        ("mediaConfig", Value::Null),
        ("mediaConfig", json!("x")),
        (
            "mediaConfig",
            json!({"@odata.type": "#microsoft.graph.other"}),
        ),
        ("tenantId", json!(5)),
        ("tenantId", json!("../x")),
        ("chatInfo", Value::Null),
    ];
    for (member, value) in members {
        let mut body = meeting("19:meeting_bad@thread.v2");
        body[member] = value.clone();
        let name = format!("create: {member} {value}");
        rows.push(row(name, create(body.to_string()), 400, argument));
    }
    for (name, targets) in [
        ("create: six targets", Value::Array(vec![target; 6])),
        ("create: no target", json!([])),
        ("create: a target that is none", json!(["u"])),
        ("create: targets no list", json!("u")),
    ] {
        let mut body = meeting("x");
        let map = body.as_object_mut().unwrap();
        map.remove("chatInfo");
        map.remove("meetingInfo");
        map.insert("targets".to_owned(), targets);
        rows.push(row(name, create(body.to_string()), 400, argument));
    }
    rows
}

/// What can be asked of a call, and what it answers when there is no such call.
pub(super) fn of_a_call(call: &str) -> Vec<Request> {
    let at = |method, rest: &str| Request::new(method, format!("{CALLS}/{call}{rest}"));
    vec![
        at("GET", ""),
        at("POST", "/keepAlive"),
        at("POST", "/mute"),
        at("POST", "/unmute").json("{}"),
        at("GET", "/participants"),
        at("GET", "/participants/x"),
        at("POST", "/participants/x/mute"),
        at("GET", "/operations/x"),
        at("DELETE", ""),
    ]
}

fn calls(house: &House) -> Vec<Row> {
    let calls = &house.calls;
    let mut rows = Vec::new();
    for (whose, call) in [
        ("unknown", UNKNOWN),
        ("foreign", &calls.foreign),
        ("ended", &calls.ended),
    ] {
        for request in of_a_call(call) {
            let name = format!("{whose} call: {} {}", request.method, request.path);
            rows.push(row(name, request, 404, "8522"));
        }
    }
    for action in ["mute", "unmute"] {
        let path = format!("{CALLS}/{}/{action}", calls.peer);
        let request = Request::new("POST", path).json("{}");
        rows.push(row(format!("1:1 {action}"), request, 400, "8548"));
    }
    for (name, method, rest) in [
        (
            "unknown operation",
            "GET",
            "/operations/0c1f5e00-0000-4000-8000-00000000000e",
        ),
        ("operation that is no id", "GET", "/operations/a%20b"),
        (
            "unknown participant",
            "GET",
            "/participants/0c1f5e00-0000-4000-8000-00000000000e",
        ),
        ("participant that is no id", "GET", "/participants/a%20b"),
        (
            "mute of an unknown participant",
            "POST",
            "/participants/nobody/mute",
        ),
    ] {
        let request = Request::new(method, format!("{CALLS}/{}{rest}", calls.group));
        rows.push(row(name, request, 404, "8522"));
    }
    rows
}

fn paths(house: &House) -> Vec<Row> {
    let group = format!("{CALLS}/{}", house.calls.group);
    let at = |method, rest: &str| Request::new(method, format!("{group}{rest}"));
    let mut rows = Vec::new();
    for (method, rest) in [
        ("PUT", ""),
        ("PATCH", ""),
        ("POST", ""),
        ("GET", "/unmute"),
        ("PUT", "/unmute"),
        ("DELETE", "/mute"),
        ("GET", "/keepAlive"),
        ("POST", "/participants"),
        ("BREW", "/unmute"),
    ] {
        let name = format!("method {method} {rest}");
        rows.push(row(name, at(method, rest), 405, "notAllowed"));
    }
    rows.push(row(
        "method GET of calls",
        Request::new("GET", CALLS),
        405,
        "notAllowed",
    ));
    for path in [
        "/",
        "/v1.0",
        "/v1.0/me",
        "/v1.0/users/x",
        "/v2.0/communications/calls",
        "/metrics",
        "/v1.0/communications",
        "/v1.0/communications/call/x/unmute",
        "//v1.0/communications/calls/x/y/z",
        "/..%2f..%2fetc%2fpasswd",
        "/../../../etc/passwd",
        "/v1.0/communications/calls/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/.env",
        "/index.php",
    ] {
        rows.push(row(
            format!("path {path}"),
            Request::new("GET", path),
            404,
            "itemNotFound",
        ));
    }
    for path in [
        "/%",
        "/%2",
        "/%zz",
        "/%ff",
        "/%C3%28",
        "/%C0%AF",
        "/v1.0/%E0%80%80",
    ] {
        rows.push(row(
            format!("escape {path}"),
            Request::new("GET", path),
            400,
            BAD,
        ));
    }
    for id in ["%", "%4", "%gg", "%ff", "%ED%A0%80"] {
        let request = Request::new("POST", format!("{CALLS}/{id}/unmute"));
        rows.push(row(format!("escape in an id {id}"), request, 400, BAD));
    }
    let long = "a".repeat(8000);
    for (name, id) in [
        ("a slash", "a%2Fb"),
        ("a zero byte", "%00"),
        ("a line end", "x%0d%0aset-cookie:%20a"),
        ("dots", ".."),
        ("dots, escaped", "%2e%2e"),
        ("another alphabet", "%C3%A9"),
        ("8,000 letters", long.as_str()),
        ("a pattern", "*"),
        ("a quote", "%27%20or%20%271%27=%271"),
    ] {
        let request = Request::new("POST", format!("{CALLS}/{id}/unmute"));
        rows.push(row(format!("id with {name}"), request, 404, "8522"));
    }
    rows
}

/// Only the engine promises anything of `Idempotency-Key`.
fn keys(house: &House) -> Vec<Row> {
    let keys: [(&str, Vec<u8>); 4] = [
        ("empty", Vec::new()),
        ("of 129", b"k".repeat(129)),
        ("not ASCII", "é".into()),
        ("with a tab", b"a\tb".to_vec()),
    ];
    let mut rows: Vec<_> = keys
        .into_iter()
        .map(|(name, key)| {
            let request = unmute(house).header("idempotency-key", key).json("{}");
            row(format!("Idempotency-Key {name}"), request, 400, BAD)
        })
        .collect();
    let twice = unmute(house).header("idempotency-key", "a");
    let twice = twice.header("idempotency-key", "b").json("{}");
    rows.push(row("Idempotency-Key twice", twice, 400, BAD));
    rows
}

/// What looks odd and is right. Each unmutes or mutes the group call, which is `completed`.
pub(super) fn taken(house: &House) -> Vec<(String, Request)> {
    let post = |action: &str| {
        let path = format!("{CALLS}/{}/{action}", house.calls.group);
        Request::new("POST", path)
    };
    let context =
        |context: String| post("unmute").json(json!({"clientContext": context}).to_string());
    let mut rows = vec![
        ("no body", post("mute")),
        (
            "no body, with a type",
            post("unmute").header("content-type", "application/json"),
        ),
        (
            "no body, with another type",
            post("mute").header("content-type", "text/plain"),
        ),
        ("{}", post("unmute").json("{}")),
        (
            "a null context",
            post("unmute").json("{\"clientContext\":null}"),
        ),
        ("an empty context", context(String::new())),
        ("a context of 256", context("x".repeat(256))),
        ("a context of 128 emojis", context("\u{1f600}".repeat(128))),
        ("a context of 256 accents", context("é".repeat(256))),
        (
            "a member nobody knows",
            post("mute").json("{\"x\":{\"y\":[1,null]}}"),
        ),
        ("31 levels", post("unmute").json(nested("[", "]", 31))),
        (
            "a type with a charset",
            post("mute").body("Application/JSON; charset=utf-8", "{}"),
        ),
        ("in chunks", post("unmute").json("{}").chunked()),
        (
            "coding identity",
            post("mute")
                .header("content-encoding", "identity")
                .json("{}"),
        ),
        ("another spelling", {
            let path = format!(
                "/beta/app/calls('{}')/microsoft.graph.unmute",
                house.calls.group
            );
            Request::new("POST", path).json("{}")
        }),
        ("a slash behind", post("mute/").json("{}")),
        ("a slash at the base", {
            let path = format!("/v1.0//communications/calls/{}/mute", house.calls.group);
            Request::new("POST", path)
        }),
    ];
    for prefer in [
        "wait=-1",
        "wait=soon",
        "respond",
        ";;;",
        "wait=",
        "handling=strict, wait=\"",
        "\u{1f600}",
    ] {
        rows.push((
            "a Prefer that means nothing",
            post("unmute").header("prefer", prefer),
        ));
    }
    let named = |(name, request): (&str, Request)| (name.to_owned(), request);
    rows.into_iter().map(named).collect()
}
