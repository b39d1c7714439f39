//! What the bot of a call made through the Graph surface is told at its own callback.

use http::HeaderMap;
use openmic_machine::Phase;
use openmic_model::{Action, ClientContext, TenantId};
use openmic_wire::answer::AnswerCall;
use openmic_wire::create::CreateCall;
use openmic_wire::notification;
use serde_json::{Value, json};

use super::graph::{Gate, Reply, Route};
use super::stage::{Stage, TENANT, call_state, entry, participant, patient, verdict, within};
use crate::{Call, CommandOptions, JoinError, Pending};

/// A call whose notifications are relayed.
struct Leg {
    stage: Stage,
    call: Call,
    key: String,
    numbers: u64,
}

fn body(stage: &Stage) -> CreateCall {
    let body = json!({
        "callbackUri": format!("{}/bot/hook/of/it", stage.graph.origin),
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "chatInfo": {"threadId": "19:meeting_x@thread.v2", "messageId": "0"},
        "callOptions": {"isDeltaRosterEnabled": true},
        "tenantId": TENANT,
    });
    CreateCall::decode(body.to_string().as_bytes()).unwrap()
}

/// Delivers a POST as the webhook does.
fn post(stage: &Stage, key: &str, entries: &[Value]) {
    let body = json!({"value": entries}).to_string();
    let batch = notification::decode(body.as_bytes()).unwrap();
    let tenant = TenantId::parse(TENANT).unwrap();
    let headers = HeaderMap::new();
    stage
        .engine
        .deliver_post(key, Some(&tenant), batch, &headers, body.len())
        .unwrap();
}

/// The entries that the bot got so far.
fn told(stage: &Stage) -> Vec<Value> {
    let posts = stage.graph.seen(Route::Other);
    posts
        .iter()
        .flat_map(|post| post.body["value"].as_array().unwrap().clone())
        .collect()
}

impl Leg {
    /// Established and unmuted.
    async fn up(join_muted: bool) -> Self {
        let stage = Stage::relaying(patient).await;
        stage.graph.always(Route::Other, Reply::new(202, ""));
        let owner = stage.engine.owner().clone();
        let create = stage.engine.create(body(&stage), owner, join_muted, None);
        let call = within(create).await.unwrap();
        let key = stage.key(1).await;
        let mut leg = Self {
            stage,
            call,
            key,
            numbers: 0,
        };
        leg.tell(&[call_state("call-1", "established")]);
        leg.roster(false);
        leg
    }

    fn tell(&self, entries: &[Value]) {
        post(&self.stage, &self.key, entries);
    }

    fn roster(&mut self, muted: bool) {
        self.numbers += 1;
        let delta = json!([{"@odata.type": "#microsoft.graph.deltaParticipants",
            "sequenceNumber": self.numbers,
            "participants": [participant("me", muted, Some(self.numbers))]}]);
        self.tell(&[entry("call-1", "/participants", "updated", &delta)]);
    }

    async fn reach(&self, phase: Phase) {
        let status = within(self.call.until(|status| status.phase == phase)).await;
        assert_eq!(status.phase, phase);
    }

    fn command(&self, action: Action, context: Option<&str>) -> Pending {
        let options = CommandOptions {
            client_context: context.map(|raw| ClientContext::parse(raw).unwrap()),
            ..CommandOptions::default()
        };
        self.call.command(action, options).unwrap()
    }

    fn operation(&self, id: &str, context: Option<&str>, kind: &str) {
        let data = json!({"@odata.type": format!("#microsoft.graph.{kind}"),
            "id": id, "status": "completed", "clientContext": context, "unheardOf": 1});
        let mut told = entry("call-1", &format!("/operations/{id}"), "deleted", &data);
        told["resource"] = format!("/app/calls/call-1/operations/{id}").into();
        self.tell(&[told]);
    }

    /// Ends the call, and returns the operations that the bot was told of.
    async fn operations(mut self) -> Vec<Value> {
        self.roster(false);
        self.stage.graph.end("call-1");
        self.tell(&[call_state("call-1", "terminated")]);
        self.reach(Phase::Terminated).await;
        self.stage.engine.drain(super::graph::PATIENCE).await;
        let told = told(&self.stage);
        assert_eq!(told.last().unwrap()["resourceData"]["state"], "terminated");
        let key = format!("{told:?}");
        assert!(!key.contains(&self.key), "our key is shown");
        let is = |told: &Value| {
            told["resourceUrl"]
                .as_str()
                .unwrap()
                .contains("/operations/")
        };
        told.into_iter().filter(is).collect()
    }
}

#[tokio::test]
async fn an_operation_of_the_engine_is_told_as_the_bot_knows_it() {
    let mut leg = Leg::up(false).await;
    leg.reach(Phase::Unmuted).await;
    leg.stage
        .graph
        .once(Route::Mute, Reply::operation("running"));
    let pending = leg.command(Action::Mute, Some("the bot's own"));
    let id = pending.operation().clone();
    let sent = leg.stage.graph.answered(Route::Mute, 1).await;
    leg.operation("op-1", Some(sent.context()), "muteParticipantOperation");
    leg.roster(true);
    assert!(verdict(pending).await.is_success());

    let told = leg.operations().await;
    assert_eq!(told.len(), 1, "{told:#?}");
    let told = &told[0];
    assert_eq!(
        told["resourceUrl"],
        format!("/communications/calls/call-1/operations/{id}")
    );
    assert_eq!(
        told["resource"],
        format!("/app/calls/call-1/operations/{id}")
    );
    assert_eq!(told["changeType"], "deleted");
    let data = json!({"@odata.type": "#microsoft.graph.muteParticipantOperation", "id": id.as_str(),
        "status": "completed", "clientContext": "the bot's own", "unheardOf": 1});
    assert_eq!(told["resourceData"], data);
}

#[tokio::test]
async fn commands_that_joined_one_attempt_are_each_told_of() {
    let mut leg = Leg::up(false).await;
    leg.reach(Phase::Unmuted).await;
    let gate = Gate::new();
    let running = Reply::operation("running").behind(&gate);
    leg.stage.graph.once(Route::Mute, running);
    let first = leg.command(Action::Mute, Some("one"));
    let sent = leg.stage.graph.received(Route::Mute, 1).await;
    let second = leg.command(Action::Mute, None);
    let ids = [
        first.operation().to_string(),
        second.operation().to_string(),
    ];
    // Not before the second one has joined it.
    let context = ClientContext::parse(sent.context()).unwrap();
    let operations = &leg.call.shared.operations;
    let joined = async {
        while operations.behind(Some(&context), None).unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    within(joined).await;
    gate.open();
    // By its id, as it says nothing of the context: known once the POST is answered.
    leg.stage.graph.answered(Route::Mute, 1).await;
    within(
        leg.call
            .until(|status| status.waits_for.contains(&"operation")),
    )
    .await;
    leg.operation("op-1", None, "muteParticipantOperation");
    leg.roster(true);
    assert!(verdict(first).await.is_success());
    assert!(verdict(second).await.is_success());
    // Told again, late, it is theirs still.
    leg.operation("op-1", Some(sent.context()), "muteParticipantOperation");

    let told = leg.operations().await;
    let data: Vec<_> = told
        .iter()
        .map(|told| {
            (
                told["resourceData"]["id"].clone(),
                told["resourceData"]["clientContext"].clone(),
            )
        })
        .collect();
    let both = [(json!(ids[0]), json!("one")), (json!(ids[1]), Value::Null)];
    assert_eq!(data, [both.clone(), both].concat());
}

#[tokio::test]
async fn a_mute_of_the_engines_own_is_nobodys_business() {
    let mut leg = Leg::up(true).await;
    let sent = leg.stage.graph.answered(Route::Mute, 1).await;
    leg.operation("op-1", Some(sent.context()), "muteParticipantOperation");
    leg.roster(true);
    leg.reach(Phase::Muted).await;
    assert_eq!(leg.operations().await, Vec::<Value>::new());
}

#[tokio::test]
async fn operations_that_the_bot_began_itself_pass_as_they_are() {
    let leg = Leg::up(false).await;
    leg.reach(Phase::Unmuted).await;
    leg.operation("op-77", Some("prompt 1"), "playPromptOperation");
    leg.operation("op-78", None, "muteParticipantOperation");
    let told = leg.operations().await;
    let ids: Vec<_> = told
        .iter()
        .map(|told| &told["resourceData"]["id"])
        .collect();
    assert_eq!(ids, ["op-77", "op-78"]);
    assert_eq!(told[0]["resourceData"]["clientContext"], "prompt 1");
}

#[tokio::test]
async fn what_beats_the_created_call_is_told_after_it_in_order() {
    let stage = Stage::relaying(patient).await;
    stage.graph.always(Route::Other, Reply::new(202, ""));
    let gate = Gate::new();
    let created = json!({"id": "call-1", "state": "establishing"});
    stage
        .graph
        .once(Route::Create, Reply::json(201, &created).behind(&gate));
    let owner = stage.engine.owner().clone();
    let (engine, create) = (stage.engine.clone(), body(&stage));
    let creating = tokio::spawn(async move { engine.create(create, owner, false, None).await });
    let key = stage.key(1).await;
    post(&stage, &key, &[call_state("call-1", "establishing")]);
    post(&stage, &key, &[call_state("call-1", "established")]);
    assert_eq!(stage.graph.count(Route::Other), 0);
    gate.open();
    within(creating).await.unwrap().unwrap();
    stage.graph.answered(Route::Other, 2).await;
    let told = told(&stage);
    let states: Vec<_> = told
        .iter()
        .map(|told| &told["resourceData"]["state"])
        .collect();
    assert_eq!(states, ["establishing", "established"]);
}

#[tokio::test]
async fn of_a_call_that_its_bot_was_told_is_none_it_hears_nothing() {
    let stage = Stage::relaying(patient).await;
    stage.graph.always(Route::Other, Reply::new(202, ""));
    let gate = Gate::new();
    stage
        .graph
        .once(Route::Create, Reply::reset().behind(&gate));
    let owner = stage.engine.owner().clone();
    let (engine, create) = (stage.engine.clone(), body(&stage));
    let creating = tokio::spawn(async move { engine.create(create, owner, false, None).await });
    let key = stage.key(1).await;
    post(&stage, &key, &[call_state("call-1", "establishing")]);
    gate.open();
    let created = within(creating).await.unwrap();
    assert!(
        matches!(created, Err(JoinError::Unknown { .. })),
        "{created:?}"
    );
    // It shows itself after all, and is hung up.
    post(&stage, &key, &[call_state("call-1", "established")]);
    stage.graph.answered(Route::Delete, 1).await;
    stage.engine.drain(super::graph::PATIENCE).await;
    assert_eq!(stage.graph.count(Route::Other), 0);
}

#[tokio::test]
async fn a_bot_that_hangs_keeps_neither_webhook_nor_actor_waiting() {
    let leg = Leg::up(false).await;
    leg.reach(Phase::Unmuted).await;
    leg.stage.graph.always(Route::Other, Reply::silent());
    for _ in 0..300 {
        leg.tell(&[call_state("call-1", "established")]);
        within(leg.call.until(|_| true)).await;
    }
    let mut leg = leg;
    let pending = leg.command(Action::Mute, None);
    leg.stage.graph.answered(Route::Mute, 1).await;
    leg.roster(true);
    assert!(verdict(pending).await.is_success());
}

/// What Graph tells when somebody calls the bot.
fn ring(call: &str) -> Value {
    let data = json!({"@odata.type": "#microsoft.graph.call", "id": call, "state": "incoming",
        "chatInfo": {"threadId": "19:x@thread.v2"}});
    entry(call, "", "created", &data)
}

fn gave_up(call: &str) -> Value {
    let data = json!({"@odata.type": "#microsoft.graph.call", "state": "terminated"});
    entry(call, "", "deleted", &data)
}

/// Where the bot's own webhook is, a stage that relays rings there, and the key of the app.
async fn ringing() -> (Stage, String) {
    let stage = Stage::relaying_rings(patient).await;
    stage.graph.always(Route::Other, Reply::new(202, ""));
    let url = stage.engine.incoming_callback();
    let key = url.path().rsplit('/').next().unwrap().to_owned();
    (stage, key)
}

fn changes(told: &[Value]) -> Vec<(&str, &str)> {
    let told = told.iter().map(|entry| {
        let (what, how) = (&entry["resourceUrl"], &entry["changeType"]);
        (what.as_str().unwrap(), how.as_str().unwrap())
    });
    told.collect()
}

#[tokio::test]
async fn what_comes_of_a_ring_in_one_post_is_told_once() {
    let (stage, key) = ringing().await;
    post(&stage, &key, &[ring("c1"), ring("c2"), gave_up("c1")]);
    stage.engine.drain(super::graph::PATIENCE).await;
    let mut posts: Vec<Vec<Value>> = stage
        .graph
        .seen(Route::Other)
        .iter()
        .map(|post| post.body["value"].as_array().unwrap().clone())
        .collect();
    posts.sort_by_key(|entries| std::cmp::Reverse(entries.len()));
    assert_eq!(posts.len(), 2, "{posts:#?}");
    let (first, second) = ("/communications/calls/c1", "/communications/calls/c2");
    assert_eq!(changes(&posts[0]), [(first, "created"), (first, "deleted")]);
    assert_eq!(changes(&posts[1]), [(second, "created")]);
}

#[tokio::test]
async fn a_bot_whose_answer_came_too_late_is_told_that_the_caller_gave_up() {
    let (stage, key) = ringing().await;
    post(&stage, &key, &[ring("c1")]);
    let incoming = stage.engine.incoming().next().await.unwrap();
    let gate = Gate::new();
    stage.graph.once(Route::Answer, Reply::gone().behind(&gate));
    let answer = json!({"callbackUri": format!("{}/bot/call", stage.graph.origin),
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"}});
    let answer = AnswerCall::decode(answer.to_string().as_bytes()).unwrap();
    let answering = tokio::spawn(async move { incoming.pass(answer, false, None).await });
    stage.graph.received(Route::Answer, 1).await;
    post(&stage, &key, &[gave_up("c1")]);
    gate.open();
    assert!(within(answering).await.unwrap().is_err());
    stage.engine.drain(super::graph::PATIENCE).await;
    let told = told(&stage);
    let call = "/communications/calls/c1";
    assert_eq!(changes(&told), [(call, "created"), (call, "deleted")]);
}
