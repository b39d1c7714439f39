//! An engine on a scripted Graph, and calls on it.

use std::time::Duration;

use openmic_graph::relay::{Relay, RelayConfig, RelayMetrics};
use openmic_graph::{Credential, GraphClient, GraphConfig};
use openmic_machine::{Config, Phase};
use openmic_model::{Action, AppId, TenantId, Verdict};
use openmic_wire::notification;
use serde_json::{Value, json};
use url::Url;

use super::graph::{Graph, PATIENCE, Route, Seen};
use crate::{
    BuildError, Call, CommandOptions, DeliverError, Delivered, Engine, EngineBuilder, Join, Media,
    Outcome, Owner, Pending, Status,
};

pub(crate) const TENANT: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const APP: &str = "22222222-2222-4222-8222-222222222222";

/// Grace times so long that nothing is asked for by itself.
pub(crate) fn patient(config: &mut Config) {
    config.operation_grace = Duration::from_mins(1);
    config.roster_grace = Duration::from_mins(1);
    config.gap_patience = Duration::from_mins(1);
    config.last_look = Duration::ZERO;
}

/// Grace times so short that everything is asked for at once.
pub(crate) fn hasty(config: &mut Config) {
    let soon = Duration::from_millis(20);
    config.operation_grace = soon;
    config.roster_grace = soon;
    config.settle_time = soon;
    config.gap_patience = soon;
    config.parting_patience = soon;
}

/// A scripted Graph and an engine that uses it.
pub(crate) struct Stage {
    pub(crate) graph: Graph,
    pub(crate) engine: Engine,
}

impl Stage {
    pub(crate) async fn new(tune: fn(&mut Config)) -> Self {
        Self::with(|builder| builder.tune(tune), |_| ()).await
    }

    pub(crate) async fn with(
        build: impl FnOnce(EngineBuilder) -> EngineBuilder,
        client: impl FnOnce(&mut GraphConfig),
    ) -> Self {
        Self::try_with(build, client).await.unwrap()
    }

    pub(crate) async fn try_with(
        build: impl FnOnce(EngineBuilder) -> EngineBuilder,
        client: impl FnOnce(&mut GraphConfig),
    ) -> Result<Self, BuildError> {
        Self::assemble(|builder, _| build(builder), client).await
    }

    /// With a relay to bots on loopback.
    pub(crate) async fn relaying(tune: fn(&mut Config)) -> Self {
        Self::relaying_with(tune, |builder, _| builder).await
    }

    /// The same, and calls that ring are told to a bot's webhook at the scripted Graph.
    pub(crate) async fn relaying_rings(tune: fn(&mut Config)) -> Self {
        Self::relaying_with(tune, |builder, origin| {
            builder.relay_incoming(&format!("{origin}/bot/app"))
        })
        .await
    }

    async fn relaying_with(
        tune: fn(&mut Config),
        build: impl FnOnce(EngineBuilder, &str) -> EngineBuilder,
    ) -> Self {
        let build = |builder: EngineBuilder, client: &GraphClient| {
            let config = RelayConfig {
                dev: true,
                timeout: PATIENCE,
                ..RelayConfig::default()
            };
            let relay = Relay::new(config, client.clone(), &RelayMetrics::new()).unwrap();
            let origin = client.base().trim_end_matches("/v1.0");
            build(builder.tune(tune).relay(relay), origin)
        };
        Self::assemble(build, |_| ()).await.unwrap()
    }

    async fn assemble(
        build: impl FnOnce(EngineBuilder, &GraphClient) -> EngineBuilder,
        client: impl FnOnce(&mut GraphConfig),
    ) -> Result<Self, BuildError> {
        Self::on(Graph::start().await, build, client)
    }

    /// On a Graph that is there already.
    pub(crate) fn on(
        graph: Graph,
        build: impl FnOnce(EngineBuilder, &GraphClient) -> EngineBuilder,
        client: impl FnOnce(&mut GraphConfig),
    ) -> Result<Self, BuildError> {
        let client = graph.client(client);
        let tenant = TenantId::parse(TENANT).unwrap();
        let app = AppId::parse(APP).unwrap();
        let public = Url::parse("https://bot.example/base/").unwrap();
        let builder = Engine::builder(client.clone(), Owner { app, tenant }, public);
        let engine = build(builder.retention(Duration::from_mins(1)), &client).build()?;
        Ok(Self { graph, engine })
    }

    /// Calls that ended for `reason`, by the metrics.
    pub(crate) fn ended(&self, reason: &str) -> u64 {
        let ended = &self.engine.metrics().ended;
        ended.with_label_values(&[reason]).get()
    }

    /// Calls that the gauge counts, in whatever state.
    pub(crate) fn gauge(&self) -> i64 {
        let calls = &self.engine.metrics().calls;
        Phase::ALL
            .iter()
            .filter(|phase| **phase != Phase::Terminated)
            .map(|phase| calls.with_label_values(&[phase.as_str()]).get())
            .sum()
    }

    pub(crate) fn in_flight(&self) -> i64 {
        self.engine.metrics().in_flight.get()
    }

    /// The key of the `number`th call, as Graph was told it.
    pub(crate) async fn key(&self, number: usize) -> String {
        let create = self.graph.received(Route::Create, number).await;
        let callback = create.body["callbackUri"].as_str().unwrap();
        callback.rsplit('/').next().unwrap().to_owned()
    }

    /// Delivers entries to `key`, decoded as the webhook does it.
    pub(crate) fn deliver(&self, key: &str, entries: &[Value]) -> Result<Delivered, DeliverError> {
        // What says that a call is over is true.
        for entry in entries {
            if entry["resourceData"]["state"] == "terminated" {
                let url = entry["resourceUrl"].as_str().unwrap_or_default();
                self.graph.end(url.rsplit('/').next().unwrap_or_default());
            }
        }
        let body = json!({"@odata.type": "#microsoft.graph.commsNotifications", "value": entries});
        let body = body.to_string();
        let batch = notification::decode(body.as_bytes()).unwrap();
        assert!(batch.faults.is_empty(), "{:?}", batch.faults);
        let tenant = TenantId::parse(TENANT).unwrap();
        self.engine.deliver(key, Some(&tenant), batch.notifications)
    }

    /// A call that Graph accepted and that is not established yet.
    pub(crate) async fn joined(&self) -> Leg<'_> {
        self.leg(Some(false)).await
    }

    pub(crate) async fn leg(&self, join_muted: Option<bool>) -> Leg<'_> {
        let number = self.graph.count(Route::Create) + 1;
        let call = within(self.engine.join(join(join_muted))).await.unwrap();
        let key = self.key(number).await;
        Leg {
            stage: self,
            call,
            key,
            delta: 0,
            number: 100,
        }
    }

    /// An established call whose own entry was seen as `muted`.
    pub(crate) async fn established(&self, muted: bool) -> Leg<'_> {
        self.graph.set_muted(muted);
        let mut leg = self.joined().await;
        leg.tell(&[leg.state("established")]);
        leg.roster(muted);
        let wanted = if muted { Phase::Muted } else { Phase::Unmuted };
        leg.reach(wanted).await;
        leg
    }
}

impl Graph {
    /// A client of it, for the app of the tests.
    pub(crate) fn client(&self, tune: impl FnOnce(&mut GraphConfig)) -> GraphClient {
        let url = |path: &str| Url::parse(&format!("{}{path}", self.origin)).unwrap();
        let credential = Credential {
            tenant: TenantId::parse(TENANT).unwrap(),
            app: AppId::parse(APP).unwrap(),
            secret: "secret".into(),
        };
        let mut config = GraphConfig::new(url("/v1.0"), url(""), credential);
        tune(&mut config);
        GraphClient::new(&config, &openmic_graph::Metrics::new()).unwrap()
    }
}

pub(crate) fn join(join_muted: Option<bool>) -> Join {
    Join {
        thread_id: "19:meeting_x@thread.v2".to_owned(),
        organizer: "33333333-3333-4333-8333-333333333333".to_owned(),
        tenant: TenantId::parse(TENANT).unwrap(),
        media: Media::ServiceHosted,
        join_muted,
    }
}

/// Fails the test when `future` takes too long.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, future).await;
    ended.expect("it takes too long")
}

/// One call and its side of the webhook.
pub(crate) struct Leg<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) call: Call,
    pub(crate) key: String,
    delta: u64,
    number: u64,
}

impl Leg<'_> {
    /// Delivers entries, all of which must be taken.
    pub(crate) fn tell(&self, entries: &[Value]) {
        let delivered = self.stage.deliver(&self.key, entries).unwrap();
        assert_eq!(delivered.queued, entries.len());
    }

    /// A delta roster with new numbers: the bot, and a human in the first one.
    pub(crate) fn roster(&mut self, muted: bool) {
        let entry = self.next_delta(muted);
        self.tell(&[entry]);
    }

    pub(crate) fn next_delta(&mut self, muted: bool) -> Value {
        self.delta += 1;
        self.number += 1;
        let mut entries = vec![participant("me", muted, Some(self.number))];
        if self.delta == 1 {
            entries.push(participant("human", false, Some(self.number)));
        }
        self.delta_of(self.delta, &entries)
    }

    pub(crate) fn delta_of(&self, number: u64, entries: &[Value]) -> Value {
        let data = json!([{"@odata.type": "#microsoft.graph.deltaParticipants",
            "sequenceNumber": number, "participants": entries}]);
        self.entry("/participants", "updated", &data)
    }

    /// A full roster without numbers.
    pub(crate) fn full(&self, muted: bool) -> Value {
        let everybody = json!([
            participant("me", muted, None),
            participant("human", false, None)
        ]);
        self.entry("/participants", "updated", &everybody)
    }

    /// The call as Graph's notification states it.
    pub(crate) fn state(&self, state: &str) -> Value {
        call_state(self.call.id().as_str(), state)
    }

    /// The end of an operation, known by its context or, without one, by its id.
    pub(crate) fn operation(&self, id: &str, context: Option<&str>, status: &str) -> Value {
        let mut data = json!({"@odata.type": "#microsoft.graph.commsOperation",
            "id": id, "status": status, "clientContext": context});
        if status == "failed" {
            data["resultInfo"] = json!({"code": 500, "subcode": 8541, "message": "no"});
        }
        self.entry(&format!("/operations/{id}"), "deleted", &data)
    }

    fn entry(&self, tail: &str, change: &str, data: &Value) -> Value {
        entry(self.call.id().as_str(), tail, change, data)
    }

    pub(crate) fn command(&self, action: Action) -> Pending {
        self.call
            .command(action, CommandOptions::default())
            .unwrap()
    }

    /// A command that has only a second.
    pub(crate) fn hurried(&self, action: Action) -> Pending {
        let options = CommandOptions {
            within: Some(Duration::from_secs(1)),
            ..CommandOptions::default()
        };
        self.call.command(action, options).unwrap()
    }

    /// Waits for the phase, and fails when the call ends first.
    pub(crate) async fn reach(&self, phase: Phase) -> Status {
        let status = within(self.call.until(|status| status.phase == phase)).await;
        assert_eq!(status.phase, phase, "{status:?}");
        status
    }

    /// Waits until the call is as wanted, or over.
    pub(crate) async fn until(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        within(self.call.until(wanted)).await
    }

    /// Waits until the engine has the answer to the `number`th POST of `route`, which must leave
    /// the attempt open.
    pub(crate) async fn answered(&self, route: Route, number: usize) -> Seen {
        let seen = self.stage.graph.answered(route, number).await;
        let collecting = |status: &Status| {
            status.waits_for.contains(&"fresh own roster entry")
                || status.waits_for.contains(&"operation")
        };
        let status = within(self.call.until(collecting)).await;
        assert!(collecting(&status), "{status:?}");
        seen
    }

    /// Ends the call as Graph would, and checks that nothing is left of it in the gauges.
    pub(crate) async fn end(&self) {
        self.tell(&[self.state("terminated")]);
        self.reach(Phase::Terminated).await;
        assert_eq!(self.stage.gauge(), 0);
        assert_eq!(self.stage.in_flight(), 0);
    }
}

pub(crate) fn call_state(call: &str, state: &str) -> Value {
    let change = if state == "terminated" {
        "deleted"
    } else {
        "updated"
    };
    let data = json!({"@odata.type": "#microsoft.graph.call", "id": call, "state": state,
        "myParticipantId": "me"});
    entry(call, "", change, &data)
}

pub(crate) fn entry(call: &str, tail: &str, change: &str, data: &Value) -> Value {
    json!({"changeType": change, "resourceUrl": format!("/communications/calls/{call}{tail}"),
        "resourceData": data})
}

pub(crate) fn participant(id: &str, muted: bool, number: Option<u64>) -> Value {
    let mut entry = json!({"id": id, "isMuted": muted, "isInLobby": false, "info": {}});
    if let Some(number) = number {
        entry["rosterSequenceNumber"] = number.into();
    }
    entry
}

/// The verdict, which must come soon.
pub(crate) async fn verdict(pending: Pending) -> Verdict {
    outcome(pending).await.verdict
}

pub(crate) async fn outcome(pending: Pending) -> Outcome {
    within(pending.outcome()).await.unwrap()
}
