//! The two servers, each with a call of every kind.

use std::sync::Arc;
use std::time::Duration;

use openmic::local::{App, DEV_APP, DEV_SECRET, DEV_TENANT, LocalConfig, LocalService, SigningPem};
use openmic::{AppId, CallId, CallState, Credential, Engine, GraphConfig, Owner, Phase, TenantId};
use openmic_auth::{Discovery, KeySource, Validator, ValidatorConfig};
use openmic_edge::{EdgeMetrics, Surface, SurfaceConfig, routes};
use openmic_graph::GraphClient;
use openmic_hub::{Hub, HubConfig};
use openmic_listen::{Limits, Listener, Running};
use openmic_tests::Between;
use openmic_wire::create::CreateCall;
use prometheus::Registry;
use serde_json::{Value, json};
use url::Url;

use super::signer::{OURS, now};
use super::wire::Request;

pub(super) const CALLS: &str = "/v1.0/communications/calls";
const OTHER_APP: &str = "33333333-3333-4333-8333-333333333333";
pub(super) const OTHER_TENANT: &str = "99999999-9999-4999-8999-999999999999";
const PATIENCE: Duration = Duration::from_secs(20);

/// Which server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Engine,
    Local,
}

pub(super) struct House {
    pub(super) side: Side,
    /// `host:port` of the server in question.
    pub(super) host: String,
    /// The `kid` that both servers know [`OURS`] by.
    pub(super) kid: String,
    /// Claims of the owner's token, good on both.
    pub(super) claims: Value,
    pub(super) token: String,
    pub(super) calls: Calls,
    local: LocalService,
    engine: Option<Engine>,
    registry: Registry,
    /// Between the engine and upstream, and between upstream and the webhook.
    between: Option<(Between, Between)>,
    _running: Option<Running>,
}

/// Ids of calls.
#[derive(Default)]
pub(super) struct Calls {
    /// In a meeting, established, muted.
    pub(super) group: String,
    /// With one other side.
    pub(super) peer: String,
    /// Over.
    pub(super) ended: String,
    /// Somebody else's.
    pub(super) foreign: String,
}

pub(super) fn meeting(thread: &str) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.call",
        "callbackUri": "http://127.0.0.1:9/bot",
        "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "chatInfo": {"threadId": thread, "messageId": "0"},
        "meetingInfo": {
            "@odata.type": "#microsoft.graph.organizerMeetingInfo",
            "organizer": {"user": {"id": "organizer-1"}},
        },
        "tenantId": DEV_TENANT,
    })
}

fn peer() -> Value {
    let mut body = meeting("none");
    let map = body.as_object_mut().unwrap();
    map.remove("chatInfo");
    map.remove("meetingInfo");
    let target = json!({"identity": {"user": {"id": "user-1"}}});
    map.insert("targets".to_owned(), json!([target]));
    body
}

impl House {
    /// `establish` is how long calls take to be up.
    pub(super) async fn open(side: Side, establish: Duration) -> Self {
        Self::build(side, establish, false).await
    }

    /// An engine that a test stands on both sides of: it sees all requests to upstream and all
    /// notifications, and can hold them.
    pub(super) async fn watched() -> Self {
        let house = Self::build(Side::Engine, Duration::from_millis(20), true).await;
        house.furnish().await
    }

    async fn build(side: Side, establish: Duration, watched: bool) -> Self {
        let registry = Registry::new();
        let mut config = LocalConfig::ephemeral();
        config.signing_key = Some(SigningPem(OURS.pem()));
        config.timing.establish = establish;
        config.apps.push(App {
            id: AppId::parse(OTHER_APP).unwrap(),
            ..App::dev()
        });
        let local = LocalService::start(config, &registry).await.unwrap();
        let local_host = local.base_url().trim_start_matches("http://").to_owned();
        let keys = Request::new("GET", "/v1/keys").send(&local_host).await;
        let kid = keys.body["keys"][0]["kid"].as_str().unwrap().to_owned();
        let tenant = TenantId::parse(DEV_TENANT).unwrap();
        let claims = json!({
            "iss": local.issuer(&tenant), "aud": "https://graph.microsoft.com",
            "tid": DEV_TENANT, "appid": DEV_APP, "azp": DEV_APP,
            "nbf": now() - 60, "exp": now() + 3600, "roles": App::dev().roles,
        });
        let token = OURS.token(&kid, &claims);
        let between = watched.then(|| (Between::start(&local_host), Between::start("")));
        let (host, engine, running) = match side {
            Side::Local => (local_host, None, None),
            Side::Engine => {
                let (host, engine, running) = engine(&local, between.as_ref());
                engine.metrics().register(&registry).unwrap();
                (host, Some(engine), Some(running))
            }
        };
        Self {
            side,
            host,
            kid,
            claims,
            token,
            calls: Calls::default(),
            local,
            engine,
            registry,
            between,
            _running: running,
        }
    }

    /// What passes from the engine to upstream.
    pub(super) fn upstream(&self) -> &Between {
        &self.between.as_ref().expect("it is watched").0
    }

    /// What passes from upstream to the webhook.
    pub(super) fn hooks(&self) -> &Between {
        &self.between.as_ref().expect("it is watched").1
    }

    pub(super) fn local(&self) -> &LocalService {
        &self.local
    }

    pub(super) fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("it is the engine's side")
    }

    /// With a call of every kind.
    pub(super) async fn furnished(side: Side) -> Self {
        let house = Self::open(side, Duration::from_millis(20)).await;
        house.furnish().await
    }

    async fn furnish(self) -> Self {
        let mut house = self;
        house.calls.group = house.create(&meeting("19:meeting_group@thread.v2")).await;
        house.calls.peer = house.create(&peer()).await;
        house.calls.ended = house.create(&meeting("19:meeting_ended@thread.v2")).await;
        house.calls.foreign = house.foreign().await;
        for call in [&house.calls.group, &house.calls.peer, &house.calls.ended] {
            house.established(call).await;
        }
        let mute = format!("{CALLS}/{}/mute", house.calls.group);
        let muted = house.post(&mute, &json!({})).await;
        assert_eq!(muted["status"], "completed", "{muted}");
        let ended = format!("{CALLS}/{}", house.calls.ended);
        let gone = Request::new("DELETE", &ended).bearer(&house.token);
        assert_eq!(gone.send(&house.host).await.status, 204);
        let read = Request::new("GET", &ended).bearer(&house.token);
        let over = async { while read.send(&house.host).await.status != 404 {} };
        tokio::time::timeout(PATIENCE, over).await.unwrap();
        house.at_rest().await;
        house
    }

    /// Waits until the ended call has left the engine: its last notification may come after the
    /// GET that no longer finds it.
    async fn at_rest(&self) {
        let Some(engine) = &self.engine else { return };
        let ended = CallId::parse(&self.calls.ended).unwrap();
        let left = async {
            while engine.calls().iter().any(|call| *call.id() == ended) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, left).await.expect("left");
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = Request::new("POST", path).bearer(&self.token);
        request.json(body.to_string()).send(&self.host).await.body
    }

    pub(super) async fn create(&self, body: &Value) -> String {
        let call = self.post(CALLS, body).await;
        call["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{call}"))
            .to_owned()
    }

    /// A call that the owner's token must not see.
    async fn foreign(&self) -> String {
        let body = meeting("19:meeting_foreign@thread.v2").to_string();
        if let Some(engine) = &self.engine {
            let owner = Owner {
                tenant: TenantId::parse(OTHER_TENANT).unwrap(),
                ..engine.owner().clone()
            };
            let body = CreateCall::decode(body.as_bytes()).unwrap();
            let call = engine.create(body, owner, false, None).await.unwrap();
            return call.id().to_string();
        }
        let mut claims = self.claims.clone();
        claims["appid"] = json!(OTHER_APP);
        claims["azp"] = json!(OTHER_APP);
        let token = OURS.token(&self.kid, &claims);
        let request = Request::new("POST", CALLS).bearer(&token).json(body);
        let call = request.send(&self.host).await.body;
        call["id"].as_str().unwrap().to_owned()
    }

    async fn established(&self, call: &str) {
        let up = async {
            if let Some(engine) = &self.engine {
                let call = engine.call(&CallId::parse(call).unwrap()).unwrap();
                call.until(|status| {
                    let up = status.graph == Some(CallState::Established);
                    up && status.phase == Phase::Unmuted
                })
                .await;
                return;
            }
            let request = Request::new("GET", format!("{CALLS}/{call}")).bearer(&self.token);
            while request.send(&self.host).await.body["state"] != "established" {}
        };
        tokio::time::timeout(PATIENCE, up)
            .await
            .expect("established");
    }

    /// The webhook that upstream has for the group call, without its origin.
    pub(super) async fn webhook(&self) -> String {
        self.webhook_of(&self.calls.group).await
    }

    /// The webhook that upstream has for one of the calls.
    pub(super) async fn webhook_of(&self, call: &str) -> String {
        let upstream = self.local.base_url().trim_start_matches("http://");
        let path = format!("{CALLS}/{call}");
        let call = Request::new("GET", path)
            .bearer(&self.token)
            .send(upstream)
            .await;
        let url = Url::parse(call.body["callbackUri"].as_str().unwrap()).unwrap();
        url.path().to_owned()
    }

    /// All that a request could change: calls, rosters, operations, on both sides of the engine.
    pub(super) async fn state(&self) -> Vec<String> {
        let mut seen = Vec::new();
        if let Some(engine) = &self.engine {
            let mut calls = engine.calls();
            calls.sort_by(|one, other| one.id().cmp(other.id()));
            for call in calls {
                let state = call.state();
                seen.push(format!(
                    "{} {:?} {:?}",
                    call.id(),
                    state.phase,
                    state.version
                ));
            }
        }
        let upstream = self.local.base_url().trim_start_matches("http://");
        for call in [&self.calls.group, &self.calls.peer] {
            for part in ["", "/participants"] {
                let path = format!("{CALLS}/{call}{part}");
                let request = Request::new("GET", path).bearer(&self.token);
                seen.push(request.send(upstream).await.body.to_string());
            }
        }
        for name in [
            "openmic_local_calls",
            "openmic_local_meetings",
            "openmic_local_operations_total",
            "openmic_commands_in_flight",
            "openmic_notifications_total",
        ] {
            seen.push(format!("{name} {:?}", self.sum(name)));
        }
        seen
    }

    fn sum(&self, name: &str) -> Option<f64> {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name)?;
        let values = family
            .get_metric()
            .iter()
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value());
        Some(values.sum())
    }
}

/// An engine in front of `local`, with its public listener.
fn engine(local: &LocalService, between: Option<&(Between, Between)>) -> (String, Engine, Running) {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let host = listener.local_addr().to_string();
    let (graph, reached) = match between {
        None => (local.graph_url(), host.clone()),
        Some((upstream, hooks)) => {
            hooks.leads_to(&host);
            (format!("http://{}/v1.0", upstream.host), hooks.host.clone())
        }
    };
    let owner = Owner {
        app: AppId::parse(DEV_APP).unwrap(),
        tenant: TenantId::parse(DEV_TENANT).unwrap(),
    };
    let credential = Credential {
        tenant: owner.tenant.clone(),
        app: owner.app.clone(),
        secret: DEV_SECRET.into(),
    };
    let upstream = Url::parse(&graph).unwrap();
    let authority = Url::parse(local.authority()).unwrap();
    let config = GraphConfig::new(upstream, authority, credential);
    let client = GraphClient::new(&config, &openmic_graph::Metrics::new()).unwrap();
    let issuer = local.issuer(&owner.tenant);
    let public = Url::parse(&format!("http://{reached}")).unwrap();
    let hub = Hub::start(HubConfig {
        shards: 1,
        ping_interval: Duration::from_secs(2),
        ..HubConfig::default()
    });
    let engine = Engine::builder(client, owner, public)
        .hub(hub.unwrap())
        .build()
        .unwrap();
    let metrics = openmic_auth::Metrics::new();
    let mut discovery = Discovery::new(local.openid_configuration_url());
    discovery.allow_loopback_http = true;
    let keys = KeySource::discover(discovery, metrics.clone()).unwrap();
    let graph = vec!["https://graph.microsoft.com".to_owned()];
    let callers = ValidatorConfig::callers(vec![issuer], graph);
    let framework = vec!["https://api.botframework.com".to_owned()];
    let notifiers = ValidatorConfig::notifications(framework, vec![DEV_APP.to_owned()]);
    let surface = routes(Surface {
        engine: engine.clone(),
        callers: Arc::new(Validator::new(callers, keys.clone(), metrics.clone()).unwrap()),
        notifiers: Arc::new(Validator::new(notifiers, keys, metrics).unwrap()),
        config: SurfaceConfig::default(),
        metrics: EdgeMetrics::new(),
    });
    (host, engine, listener.serve(surface, Limits::default()))
}
