use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use openmic_auth::{Claims, Discovery, KeySource, Validator, ValidatorConfig, bearer};
use openmic_listen::{Limits as ListenLimits, Listener, Running};
use openmic_model::{AppId, TenantId};
use parking_lot::Mutex;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::config::{ALL_ROLES, App, DEV_APP, DEV_SECRET, DEV_TENANT, LocalConfig};
use crate::service::LocalService;

pub(super) const THREAD: &str = "19:meeting_test@thread.v2";
pub(super) const OTHER_APP: &str = "33333333-3333-4333-8333-333333333333";
const OTHER_SECRET: &str = "other-secret";

/// Longest wait for something that is to come; far above what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service and a client of it.
pub(super) struct Rig {
    pub(super) service: LocalService,
    pub(super) registry: prometheus::Registry,
    pub(super) http: reqwest::Client,
}

/// A config with two apps of all roles.
pub(super) fn config() -> LocalConfig {
    let mut config = LocalConfig::ephemeral();
    config.apps.push(App {
        id: AppId::parse(OTHER_APP).unwrap(),
        secret: OTHER_SECRET.to_owned(),
        tenant: TenantId::parse(DEV_TENANT).unwrap(),
        roles: ALL_ROLES.map(str::to_owned).to_vec(),
        display_name: "Other bot".to_owned(),
    });
    config
}

impl Rig {
    pub(super) async fn start(config: LocalConfig) -> Self {
        let registry = prometheus::Registry::new();
        Self {
            service: LocalService::start(config, &registry).await.unwrap(),
            registry,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.service.base_url())
    }

    pub(super) async fn token_answer(&self, tenant: &str, form: &[(&str, &str)]) -> Response {
        let url = self.url(&format!("/{tenant}/oauth2/v2.0/token"));
        self.http.post(url).form(form).send().await.unwrap()
    }

    pub(super) async fn token_of(&self, app: &str, secret: &str) -> String {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", app),
            ("client_secret", secret),
            ("scope", "https://graph.microsoft.com/.default"),
        ];
        let answer = self.token_answer(DEV_TENANT, &form).await;
        assert_eq!(answer.status(), 200);
        let body: Value = answer.json().await.unwrap();
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub(super) async fn bot(&self) -> Bot<'_> {
        Bot {
            rig: self,
            token: self.token_of(DEV_APP, DEV_SECRET).await,
            inbox: Inbox::open(self, DEV_APP),
        }
    }

    pub(super) async fn other_bot(&self) -> Bot<'_> {
        Bot {
            rig: self,
            token: self.token_of(OTHER_APP, OTHER_SECRET).await,
            inbox: Inbox::open(self, OTHER_APP),
        }
    }

    /// A token of the other bot, from a service that is not only on loopback.
    pub(super) async fn other_bot_at(&self, port: u16) -> String {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", OTHER_APP),
            ("client_secret", OTHER_SECRET),
            ("scope", "https://graph.microsoft.com/.default"),
        ];
        let url = format!("http://127.0.0.1:{port}/{DEV_TENANT}/oauth2/v2.0/token");
        let answer = self.http.post(url).form(&form).send().await.unwrap();
        let body: Value = answer.json().await.unwrap();
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub(super) async fn claims(&self, token: &str) -> Arc<Claims> {
        let validator = &self.service.world.validator;
        validator.validate(token, SystemTime::now()).await.unwrap()
    }

    /// A value of one metric, by the labels that tell it from its siblings.
    pub(super) fn metric(&self, name: &str, label: Option<(&str, &str)>) -> i64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .unwrap_or_else(|| panic!("no metric {name}"));
        let metric = family.get_metric().iter().find(|metric| {
            label.is_none_or(|(key, value)| {
                let mut labels = metric.get_label().iter();
                labels.any(|pair| pair.name() == key && pair.value() == value)
            })
        });
        let metric = metric.unwrap_or_else(|| panic!("no {label:?} of {name}"));
        let value = metric.get_counter().get_value() + metric.get_gauge().get_value();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "counts of a test are small"
        )]
        let whole = value.round() as i64;
        whole
    }

    /// Waits until `condition` holds; it is looked at again after every millisecond.
    pub(super) async fn until(&self, what: &str, mut condition: impl AsyncFnMut(&Self) -> bool) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !condition(self).await {
            assert!(
                tokio::time::Instant::now() < end,
                "waited in vain for {what}"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// A human of the lab; gives the `Location`, and the answer to the offer.
    pub(super) async fn human(&self, thread: &str, offer: Option<String>) -> (String, String) {
        let thread = thread.replace(':', "%3A").replace('@', "%40");
        let url = self.url(&format!(
            "/lab/v1/meetings/{thread}/participants?displayName=Ann%20B"
        ));
        let mut request = self.http.post(url);
        if let Some(offer) = offer {
            request = request
                .header("content-type", "application/sdp")
                .body(offer);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 201);
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        (location, answer.text().await.unwrap())
    }

    /// The lab rings a bot; gives what it says of the ring, and its `Location`.
    pub(super) async fn ring(&self, asked: &Value) -> (Value, String) {
        let url = self.url("/lab/v1/calls");
        let answer = self.http.post(url).json(asked).send().await.unwrap();
        let location = answer.headers().get("location").cloned();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(status, 201, "{body}");
        (body, location.unwrap().to_str().unwrap().to_owned())
    }

    pub(super) async fn host(&self, location: &str, muted: bool) {
        let body = json!({ "serverMuted": muted });
        let answer = self.http.patch(location).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let entry: Value = answer.json().await.unwrap();
        assert_eq!(entry["isMuted"], muted);
    }

    pub(super) async fn look(&self, location: &str) -> Value {
        let answer = self.http.get(location).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }
}

/// A bot: a token and a callback.
pub(super) struct Bot<'a> {
    pub(super) rig: &'a Rig,
    pub(super) token: String,
    pub(super) inbox: Inbox,
}

impl Bot<'_> {
    pub(super) fn join(&self, thread: &str) -> Value {
        json!({
            "@odata.type": "#microsoft.graph.call",
            "callbackUri": self.inbox.url,
            "requestedModalities": ["audio"],
            "mediaConfig": { "@odata.type": "#microsoft.graph.serviceHostedMediaConfig" },
            "chatInfo": { "threadId": thread, "messageId": "0" },
            "meetingInfo": { "@odata.type": "#microsoft.graph.organizerMeetingInfo",
                "organizer": { "user": { "id": "o", "tenantId": DEV_TENANT } } },
            "tenantId": DEV_TENANT,
        })
    }

    pub(super) fn peer(&self) -> Value {
        let mut body = self.join("x");
        let object = body.as_object_mut().unwrap();
        object.remove("chatInfo");
        object.remove("meetingInfo");
        body["targets"] = json!([{ "identity": { "user": { "id": "u1" } } }]);
        body
    }

    pub(super) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Response {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            self.rig.url(path)
        };
        let mut request = self.rig.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.unwrap()
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Response {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, None).await
    }

    pub(super) async fn create(&self, body: &Value) -> Value {
        let answer = self.post("/v1.0/communications/calls", body).await;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(status, 201, "{body}");
        body
    }

    /// Creates and reads notifications up to the first roster; gives the call's path.
    pub(super) async fn established(&mut self, body: &Value) -> (String, Value) {
        let call = self.create(body).await;
        let path = format!(
            "/v1.0/communications/calls/{}",
            call["id"].as_str().unwrap()
        );
        self.inbox.state("establishing").await;
        self.inbox.state("established").await;
        self.inbox.roster().await;
        (path, call)
    }

    /// Posts to the call's `action`; gives the operation.
    pub(super) async fn act(&self, call: &str, action: &str, context: &str) -> Value {
        let body = json!({ "clientContext": context });
        let answer = self.post(&format!("{call}/{action}"), &body).await;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["status"], "completed");
        assert_eq!(body["clientContext"], context);
        body
    }

    /// Status and code of a refusal, and that it has the whole envelope.
    pub(super) async fn refused(&self, answer: Response) -> (u16, String) {
        let status = answer.status().as_u16();
        let request_id = answer.headers()["request-id"].to_str().unwrap().to_owned();
        let body: Value = answer.json().await.unwrap();
        let error = &body["error"];
        assert_eq!(error["innerError"]["request-id"], request_id.as_str());
        let date = error["innerError"]["date"].as_str().unwrap();
        assert_eq!(date.len(), 19, "{date}");
        let message = error["message"].as_str().unwrap();
        assert!(message.len() > 10, "{message}");
        (status, error["code"].as_str().unwrap().to_owned())
    }
}

/// One notification POST as the bot got it, its token checked.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    /// What is wrong with its token.
    pub(super) wrong: Option<String>,
}

impl Got {
    pub(super) fn entry(&self) -> &Value {
        let value = self.body["value"].as_array().unwrap();
        assert_eq!(value.len(), 1);
        &value[0]
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A bot's callback: checks the token of what comes, answers as told, else 202.
pub(super) struct Inbox {
    pub(super) url: String,
    got: mpsc::UnboundedReceiver<Got>,
    shared: Arc<Shared>,
    _running: Running,
}

struct Shared {
    validator: Validator,
    push: mpsc::UnboundedSender<Got>,
    answers: Mutex<VecDeque<StatusCode>>,
}

impl Inbox {
    pub(super) fn open(rig: &Rig, app: &str) -> Self {
        let mut discovery = Discovery::new(rig.service.openid_configuration_url());
        discovery.allow_loopback_http = true;
        let metrics = openmic_auth::Metrics::new();
        let keys = KeySource::discover(discovery, metrics.clone()).unwrap();
        let config = ValidatorConfig::notifications(
            vec!["https://api.botframework.com".to_owned()],
            vec![app.to_owned()],
        );
        let (push, got) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            validator: Validator::new(config, keys, metrics).unwrap(),
            push,
            answers: Mutex::default(),
        });
        let router = Router::new()
            .route("/callbacks/{key}", post(take))
            .with_state(Arc::clone(&shared));
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let running = listener.serve(router, ListenLimits::default());
        Self {
            url: format!("http://{}/callbacks/7f3a?x=1", running.local_addr()),
            got,
            shared,
            _running: running,
        }
    }

    /// What the next POSTs are answered.
    pub(super) fn will_answer(&self, answers: &[u16]) {
        let answers = answers
            .iter()
            .map(|code| StatusCode::from_u16(*code).unwrap());
        self.shared.answers.lock().extend(answers);
    }

    pub(super) async fn next(&mut self) -> Got {
        let got = self.whatever().await;
        assert_eq!(got.wrong, None, "the token holds");
        got
    }

    /// The next one, whatever its token.
    pub(super) async fn whatever(&mut self) -> Got {
        let got = tokio::time::timeout(PATIENCE, self.got.recv()).await;
        got.expect("a notification comes").unwrap()
    }

    /// What came and was not read yet.
    pub(super) fn waiting(&self) -> usize {
        self.got.len()
    }

    /// The next one, which must be of the call's own state.
    pub(super) async fn state(&mut self, state: &str) -> Value {
        let got = self.next().await;
        let data = &got.entry()["resourceData"];
        assert_eq!(data["state"], state, "{}", got.body);
        data.clone()
    }

    /// The next one, which must be a roster; its entries, or the delta.
    pub(super) async fn roster(&mut self) -> Value {
        let got = self.next().await;
        let entry = got.entry();
        let url = entry["resourceUrl"].as_str().unwrap();
        assert!(url.ends_with("/participants"), "{}", got.body);
        assert_eq!(entry["changeType"], "updated");
        let data = &entry["resourceData"];
        if data[0]["@odata.type"] == "#microsoft.graph.deltaParticipants" {
            assert_eq!(data.as_array().unwrap().len(), 1);
            return data[0].clone();
        }
        data.clone()
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let token = bearer(&headers).expect("a notification carries a token");
    let checked = shared.validator.validate(token, SystemTime::now()).await;
    let tenant = Some(TenantId::parse(DEV_TENANT).unwrap());
    let wrong = match checked {
        Ok(claims) if claims.tenant == tenant => None,
        Ok(_) => Some("another tenant's".to_owned()),
        Err(error) => Some(error.to_string()),
    };
    let answer = match &wrong {
        None => shared.answers.lock().pop_front(),
        Some(_) => Some(StatusCode::UNAUTHORIZED),
    };
    let got = Got {
        body: serde_json::from_slice(&body).expect("a notification is JSON"),
        headers,
        wrong,
    };
    shared.push.send(got).expect("the test still listens");
    answer.unwrap_or(StatusCode::ACCEPTED)
}

/// The entry of `id` in a roster.
pub(super) fn entry_of<'a>(roster: &'a Value, id: &Value) -> &'a Value {
    let entries = roster.as_array().unwrap();
    entries.iter().find(|entry| entry["id"] == *id).unwrap()
}
