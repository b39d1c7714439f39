//! graph-rs-sdk, which nobody at Microsoft or here wrote, against one of our servers.
//!
//! Environment: `BASE` (root with its version), `AUTHORITY` (root of the token endpoint), `SERVER`
//! (its name, for the lines printed), `MAX_CALLS` (what the server takes at one time), and
//! `SSL_CERT_FILE` for its certificate.

use std::time::{Duration, Instant};

use graph_rs_sdk::error::ErrorMessage;
use graph_rs_sdk::http::ResponseExt as _;
use graph_rs_sdk::{GraphClient, GraphClientConfiguration, ODataQuery as _};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Response, Url};
use serde_json::{Value, json};
use uuid::Uuid;

const STEPS: &str = include_str!("../../steps.txt");
const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const APP: &str = "22222222-2222-4222-8222-222222222222";

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The server and how far we are.
struct Run {
    base: String,
    authority: String,
    server: String,
    max_calls: usize,
    passed: usize,
}

impl Run {
    /// Prints one line for what was done under this name.
    fn step<T>(&mut self, name: &str, outcome: Outcome<T>) -> Outcome<T> {
        let next = STEPS.lines().nth(self.passed);
        assert_eq!(
            Some(name),
            next,
            "the steps are those of steps.txt, in their order"
        );
        let server = &self.server;
        match &outcome {
            Ok(_) => {
                self.passed += 1;
                println!("ok      rust        {server:6}  {name}");
            }
            Err(error) => println!("FAILED  rust        {server:6}  {name}: {error}"),
        }
        outcome
    }

    fn client(&self, token: &str) -> GraphClient {
        Self::at(
            &self.base,
            GraphClientConfiguration::new().access_token(token),
        )
    }

    fn at(base: &str, configuration: GraphClientConfiguration) -> GraphClient {
        let mut client = GraphClient::from(configuration);
        client.use_test_endpoint(&Url::parse(base).expect("BASE is an address"));
        client
    }
}

fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// Fails with what was seen, unless it is what was wanted.
fn is<T: PartialEq + std::fmt::Debug>(seen: T, wanted: T) -> Outcome {
    if seen == wanted {
        Ok(())
    } else {
        Err(format!("{seen:?} is not {wanted:?}").into())
    }
}

async fn body(answer: Response, status: u16) -> Outcome<Value> {
    let seen = answer.status().as_u16();
    let text = answer.text().await?;
    if seen != status {
        return Err(format!("{seen}: {text}").into());
    }
    Ok(serde_json::from_str(&text)?)
}

/// The SDK's own error, with our status, code, words and ids.
async fn refused(answer: Response, status: u16, code: &str) -> Outcome {
    is(answer.status().as_u16(), status)?;
    let id = answer
        .headers()
        .get("request-id")
        .ok_or("no request-id")?
        .to_str()?
        .to_owned();
    let error: ErrorMessage = answer.into_graph_error_message().await?;
    is(error.code_property().as_deref(), Some(code))?;
    is(
        error.message().is_some_and(|message| message.len() > 10),
        true,
    )?;
    is(error.request_id(), Some(id))?;
    is(error.date().is_some_and(|date| date.len() >= 19), true)
}

fn meeting() -> Value {
    json!({
        "@odata.type": "#microsoft.graph.call",
        "callbackUri": "https://bot.example/callbacks",
        "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "chatInfo": {"threadId": format!("19:meeting_{}@thread.v2", Uuid::new_v4()), "messageId": "0"},
        "meetingInfo": {
            "@odata.type": "#microsoft.graph.organizerMeetingInfo",
            "organizer": {"user": {"id": "33333333-3333-4333-8333-333333333333"}}
        },
        "tenantId": TENANT
    })
}

fn one_to_one() -> Value {
    json!({
        "@odata.type": "#microsoft.graph.call",
        "callbackUri": "https://bot.example/callbacks",
        "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "targets": [{"identity": {"user": {"id": "44444444-4444-4444-8444-444444444444"}}}],
        "tenantId": TENANT
    })
}

async fn fetch_token(authority: &str) -> Outcome<String> {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", APP),
        ("client_secret", "local-dev-secret"),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let url = format!("{authority}/{TENANT}/oauth2/v2.0/token");
    let answer = body(
        reqwest::Client::new().post(url).form(&form).send().await?,
        200,
    )
    .await?;
    Ok(answer["access_token"]
        .as_str()
        .ok_or("no token")?
        .to_owned())
}

/// Creates a call and returns its id.
async fn create(graph: &GraphClient, call: &Value) -> Outcome<String> {
    let call = body(
        graph
            .communications()
            .calls()
            .create_calls(call)
            .send()
            .await?,
        201,
    )
    .await?;
    is(&call["@odata.type"], &json!("#microsoft.graph.call"))?;
    is(&call["state"], &json!("establishing"))?;
    Ok(call["id"].as_str().ok_or("no id")?.to_owned())
}

async fn get(graph: &GraphClient, id: &str) -> Outcome<Value> {
    body(
        graph.communications().call(id).get_calls().send().await?,
        200,
    )
    .await
}

async fn established(graph: &GraphClient, id: &str) -> Outcome<Value> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let call = get(graph, id).await?;
        if call["state"] == "established" {
            return Ok(call);
        }
    }
    Err("not established in 10 s".into())
}

async fn hang_up(graph: &GraphClient, id: &str) -> Outcome {
    is(
        graph
            .communications()
            .call(id)
            .delete_calls()
            .send()
            .await?
            .status()
            .as_u16(),
        204,
    )
}

async fn act(graph: &GraphClient, id: &str, action: &str, body: &Value) -> Outcome<Response> {
    let call = graph.communications().call(id);
    let request = if action == "mute" {
        call.mute(body)
    } else {
        call.unmute(body)
    };
    Ok(request.send().await?)
}

/// Mutes or unmutes and reads the completed operation.
async fn done(
    graph: &GraphClient,
    id: &str,
    action: &str,
    context: Option<&str>,
) -> Outcome<Value> {
    let sent = context.map_or(json!({}), |context| json!({"clientContext": context}));
    let answer = act(graph, id, action, &sent).await?;
    let place = answer
        .headers()
        .get("location")
        .ok_or("no Location")?
        .to_str()?
        .to_owned();
    let operation = body(answer, 200).await?;
    is(
        &operation["@odata.type"],
        &json!(format!("#microsoft.graph.{action}ParticipantOperation")),
    )?;
    is(&operation["status"], &json!("completed"))?;
    is(operation["clientContext"].as_str(), context)?;
    let own = format!(
        "/communications/calls/{id}/operations/{}",
        operation["id"].as_str().unwrap_or("?")
    );
    is(place.ends_with(&own), true)?;
    Ok(operation)
}

async fn own(graph: &GraphClient, id: &str, me: &str) -> Outcome<Value> {
    let request = graph.communications().call(id).get_participants(me);
    body(request.send().await?, 200).await
}

async fn is_muted(graph: &GraphClient, id: &str, me: &str, muted: bool) -> Outcome {
    is(&own(graph, id, me).await?["isMuted"], &json!(muted))
}

async fn invite(graph: &GraphClient, id: &str) -> Outcome {
    let call = graph.communications().call(id);
    let sent = json!({"participants": one_to_one()["targets"], "clientContext": "invite by rust"});
    let mut invited = body(call.invite(&sent).send().await?, 200).await?;
    let operation = invited["id"].as_str().ok_or("no id")?.to_owned();
    let end = Instant::now() + Duration::from_secs(10);
    while invited["status"] != "completed" && Instant::now() < end {
        invited = body(call.get_operations(&operation).send().await?, 200).await?;
    }
    is(
        &invited["@odata.type"],
        &json!("#microsoft.graph.inviteParticipantsOperation"),
    )?;
    is(&invited["status"], &json!("completed"))?;
    is(&invited["clientContext"], &json!("invite by rust"))
}

async fn mute_one_to_one(graph: &GraphClient) -> Outcome {
    let id = create(graph, &one_to_one()).await?;
    established(graph, &id).await?;
    refused(act(graph, &id, "mute", &json!({})).await?, 400, "8548").await?;
    hang_up(graph, &id).await?;
    gone(graph, &id).await;
    Ok(())
}

/// A hang-up is answered before the call is over.
async fn gone(graph: &GraphClient, id: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while get(graph, id).await.is_ok() && Instant::now() < end {}
}

/// Fills the service, is refused, and is let in by the SDK's own repeat once there is room.
async fn full(run: &Run, graph: &GraphClient, token: &str) -> Outcome {
    let mut others = Vec::new();
    while others.len() + 1 < run.max_calls {
        others.push(create(graph, &meeting()).await?);
    }
    // From here: where an engine holds the bot's requests back, the time that is left is told.
    let begun = Instant::now();
    let answer = graph
        .communications()
        .calls()
        .create_calls(&meeting())
        .send()
        .await?;
    let wait = answer
        .headers()
        .get("retry-after")
        .ok_or("no Retry-After")?
        .to_str()?;
    let wait = Duration::from_secs(wait.parse()?);
    refused(answer, 429, "8530").await?;
    let configuration = GraphClientConfiguration::new().access_token(token);
    let patient = Run::at(&run.base, configuration.wait_for_retry_after_headers(true));
    let room = others.remove(0);
    let call = meeting();
    let (made, gone) = tokio::join!(create(&patient, &call), async {
        tokio::time::sleep(wait / 2).await;
        hang_up(graph, &room).await
    });
    gone?;
    others.push(made?);
    is(begun.elapsed() >= wait, true)?;
    for other in others {
        hang_up(graph, &other).await?;
    }
    Ok(())
}

/// The bot repeats a request whose answer it lost. This SDK marks no repeat of its own, so the bot
/// gives both the same key.
async fn twice(run: &Run, graph: &GraphClient, id: &str, me: &str) -> Outcome {
    done(graph, id, "mute", None).await?;
    let key = HeaderValue::from_str(&Uuid::new_v4().to_string())?;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let request = graph
            .communications()
            .call(id)
            .unmute(&json!({"clientContext": "once"}));
        let request = request.header(HeaderName::from_static("idempotency-key"), key.clone());
        answers.push(body(request.send().await?, 200).await?);
    }
    for answer in &answers {
        is(&answer["status"], &json!("completed"))?;
        is(&answer["clientContext"], &json!("once"))?;
    }
    // The engine promises the first answer to a repeated request; Graph and its twin do not.
    if run.server == "engine" {
        is(&answers[1]["id"], &answers[0]["id"])?;
    }
    is_muted(graph, id, me, false).await
}

async fn over(graph: &GraphClient, id: &str) -> Outcome {
    gone(graph, id).await;
    let calls = graph.communications();
    refused(calls.call(id).get_calls().send().await?, 404, "8522").await?;
    refused(act(graph, id, "unmute", &json!({})).await?, 404, "8522").await?;
    refused(calls.call(id).delete_calls().send().await?, 404, "8522").await
}

async fn all(run: &mut Run) -> Outcome {
    let token = fetch_token(&run.authority).await;
    let token = run.step("get a token", token)?;
    let graph = run.client(&token);
    let id = create(&graph, &meeting()).await;
    let id = run.step("create a call", id)?;
    let call = established(&graph, &id).await;
    let call = run.step("get the call until it is established", call)?;
    let me = call["myParticipantId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let some = async {
        let request = graph
            .communications()
            .call(&id)
            .get_calls()
            .select(&["id", "state"]);
        is(
            &body(request.send().await?, 200).await?["state"],
            &json!("established"),
        )
    };
    run.step("get the call with $select", some.await)?;
    let beta = async {
        let configuration = GraphClientConfiguration::new().access_token(&token);
        let beta = Run::at(&run.base.replace("/v1.0", "/beta"), configuration);
        is(&get(&beta, &id).await?["id"], &json!(id))
    };
    let beta = beta.await;
    run.step("get the call through /beta", beta)?;
    let listed = async {
        let list = graph
            .communications()
            .call(&id)
            .list_participants()
            .send()
            .await?;
        let list = body(list, 200).await?;
        let entries = list["value"].as_array().ok_or("no value")?;
        is(entries.iter().filter(|entry| entry["id"] == *me).count(), 1)
    };
    run.step("list the participants", listed.await)?;
    let mine = async {
        let own = own(&graph, &id, &me).await?;
        is(&own["info"]["identity"]["application"]["id"], &json!(APP))?;
        is(&own["isMuted"], &json!(false))
    };
    run.step("get the own participant", mine.await)?;
    run.step(
        "mute",
        done(&graph, &id, "mute", Some("mute by rust")).await,
    )?;
    run.step(
        "the own participant is muted",
        is_muted(&graph, &id, &me, true).await,
    )?;
    let operation = done(&graph, &id, "unmute", Some("unmute by rust")).await;
    let operation = run.step("unmute", operation)?;
    run.step(
        "the own participant is unmuted",
        is_muted(&graph, &id, &me, false).await,
    )?;
    let read = async {
        let at = operation["id"].as_str().unwrap_or_default();
        let answer = graph
            .communications()
            .call(&id)
            .get_operations(at)
            .send()
            .await?;
        let read = body(answer, 200).await?;
        let told = |operation: &Value| {
            ["id", "status", "clientContext"].map(|name| operation[name].clone())
        };
        is(told(&read), told(&operation))
    };
    run.step("read the operation", read.await)?;
    run.step(
        "mute without a clientContext",
        done(&graph, &id, "mute", None).await,
    )?;
    let longest = "x".repeat(256);
    let longest = done(&graph, &id, "unmute", Some(&longest)).await;
    run.step("unmute with 256 characters of clientContext", longest)?;
    let alive = async {
        let answer = graph.communications().call(&id).keep_alive().send().await?;
        is(answer.status().as_u16(), 200)
    };
    run.step("keep the call alive", alive.await)?;
    let invited = invite(&graph, &id).await;
    run.step(
        "invite somebody and read the operation until it is completed",
        invited,
    )?;
    let listed = graph.communications().calls().list_calls().send().await?;
    let listed = refused(listed, 405, "notAllowed").await;
    run.step("list all calls, which nobody may: 405", listed)?;
    let stranger = Uuid::new_v4().to_string();
    let unknown = async {
        let answer = graph
            .communications()
            .call(&stranger)
            .get_calls()
            .send()
            .await?;
        refused(answer, 404, "8522").await?;
        refused(
            act(&graph, &stranger, "unmute", &json!({})).await?,
            404,
            "8522",
        )
        .await
    };
    run.step("unknown call: 404, 8522", unknown.await)?;
    let unknown = graph
        .communications()
        .call(&id)
        .get_participants(&stranger)
        .send()
        .await?;
    run.step(
        "unknown participant: 404, 8522",
        refused(unknown, 404, "8522").await,
    )?;
    let unknown = graph
        .communications()
        .call(&id)
        .get_operations(&stranger)
        .send()
        .await?;
    run.step(
        "unknown operation: 404, 8522",
        refused(unknown, 404, "8522").await,
    )?;
    let long = act(
        &graph,
        &id,
        "unmute",
        &json!({"clientContext": "x".repeat(257)}),
    )
    .await?;
    run.step(
        "257 characters of clientContext: 400, 8523",
        refused(long, 400, "8523").await,
    )?;
    let denied = run
        .client("no.token.atall")
        .communications()
        .call(&id)
        .get_calls()
        .send()
        .await?;
    let denied = refused(denied, 401, "InvalidAuthenticationToken").await;
    run.step("a token that is none: 401", denied)?;
    let (rest, signature) = token.rsplit_once('.').ok_or("no JWT")?;
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let other = run.client(&format!("{rest}.{first}{}", &signature[1..]));
    let denied = other.communications().call(&id).get_calls().send().await?;
    let denied = refused(denied, 401, "InvalidAuthenticationToken").await;
    run.step("a token with another signature: 401", denied)?;
    run.step(
        "mute on a 1:1 call: 400, 8548",
        mute_one_to_one(&graph).await,
    )?;
    let let_in = full(run, &graph, &token).await;
    run.step("a full service: the SDK comes again and is let in", let_in)?;
    let twice = twice(run, &graph, &id, &me).await;
    run.step("an unmute that comes twice", twice)?;
    run.step("hang up", hang_up(&graph, &id).await)?;
    run.step("a call that is over: 404, 8522", over(&graph, &id).await)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut run = Run {
        base: environment("BASE"),
        authority: environment("AUTHORITY"),
        server: environment("SERVER"),
        max_calls: environment("MAX_CALLS")
            .parse()
            .expect("MAX_CALLS is a number"),
        passed: 0,
    };
    if let Err(error) = all(&mut run).await {
        println!("{error}");
    }
    let steps = STEPS.lines().count();
    println!(
        "{} of {steps} steps passed: rust, {}",
        run.passed, run.server
    );
    std::process::exit(i32::from(run.passed != steps));
}
