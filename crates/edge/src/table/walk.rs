//! Every row of the table against everybody who may knock.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use openmic_auth::{ApiKey, ApiKeys, KeySource, Metrics, NewKey, Validator, ValidatorConfig};
use openmic_engine::{Engine, Owner};
use openmic_graph::{Credential, GraphClient, GraphConfig};
use openmic_local::{DEV_APP, DEV_SECRET, DEV_TENANT, LocalConfig, LocalService};
use openmic_model::{AppId, TenantId};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use url::Url;

use super::tests::methods;
use super::{TABLE, Who};
use crate::answer::Refusal;
use crate::caller::OPERATOR;
use crate::metrics::EdgeMetrics;
use crate::surface::{Surface, SurfaceConfig, routes};
use crate::{Readiness, admin_routes};

const STRANGER: &str = "33333333-3333-4333-8333-333333333333";
const ELSEWHERE: &str = "99999999-9999-4999-8999-999999999999";

/// Who knocks, in the order of the columns of [`expected`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knock {
    Nobody,
    /// With a key that was never configured.
    Forger,
    /// Another application of the tenant.
    Stranger,
    /// The same application id in another tenant.
    OtherTenant,
    /// An operator's role, granted in another tenant.
    ForeignOperator,
    Owner,
    Operator,
}

const ALL: [Knock; 7] = [
    Knock::Nobody,
    Knock::Forger,
    Knock::Stranger,
    Knock::OtherTenant,
    Knock::ForeignOperator,
    Knock::Owner,
    Knock::Operator,
];

/// How the gate answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// 401
    Unknown,
    /// 403
    Forbidden,
    /// 404, as if there were no such call
    NoCall,
    Open,
}

fn expected(who: Who) -> [Gate; 7] {
    use Gate::{Forbidden, NoCall, Open, Unknown};
    match who {
        Who::Served => [
            Unknown, Unknown, Forbidden, Forbidden, Forbidden, Open, Forbidden,
        ],
        Who::Owner | Who::Keeper | Who::Callee => {
            [Unknown, Unknown, NoCall, NoCall, NoCall, Open, NoCall]
        }
        Who::Watcher | Who::Reader => [Unknown, Unknown, NoCall, NoCall, NoCall, Open, Open],
        Who::Application => [Unknown, Unknown, Open, Open, Open, Open, Open],
    }
}

struct House {
    router: Router,
    keys: [Option<String>; 7],
    metrics: EdgeMetrics,
    _local: LocalService,
}

impl House {
    async fn open() -> Self {
        let registry = prometheus::Registry::new();
        let config = LocalConfig::ephemeral();
        let local = LocalService::start(config, &registry).await.unwrap();
        let owner = Owner {
            app: AppId::parse(DEV_APP).unwrap(),
            tenant: TenantId::parse(DEV_TENANT).unwrap(),
        };
        let credential = Credential {
            tenant: owner.tenant.clone(),
            app: owner.app.clone(),
            secret: DEV_SECRET.into(),
        };
        let upstream = Url::parse(&local.graph_url()).unwrap();
        let authority = Url::parse(local.authority()).unwrap();
        let config = GraphConfig::new(upstream, authority, credential);
        let client = GraphClient::new(&config, &openmic_graph::Metrics::new()).unwrap();
        let nowhere = Url::parse("http://127.0.0.1:9/").unwrap();
        let engine = Engine::builder(client, owner, nowhere).build().unwrap();
        let config = ValidatorConfig::callers(vec!["i".to_owned()], vec!["a".to_owned()]);
        let validator = Validator::new(config, KeySource::fixed([]), Metrics::new()).unwrap();
        let validator = Arc::new(validator);
        let mut held = Vec::new();
        let keys = ALL.map(|knock| {
            let (app, tenant, operator) = match knock {
                Knock::Nobody => return None,
                Knock::Forger => return Some(NewKey::generate().unwrap().secret),
                Knock::Stranger => (STRANGER, DEV_TENANT, false),
                Knock::OtherTenant => (DEV_APP, ELSEWHERE, false),
                Knock::ForeignOperator => (STRANGER, ELSEWHERE, true),
                Knock::Owner => (DEV_APP, DEV_TENANT, false),
                Knock::Operator => (STRANGER, DEV_TENANT, true),
            };
            let new = NewKey::generate().unwrap();
            let mut roles = openmic_local::ALL_ROLES.map(str::to_owned).to_vec();
            if operator {
                roles.push(OPERATOR.to_owned());
            }
            held.push(ApiKey {
                name: format!("{knock:?}"),
                sha256: new.sha256,
                app: AppId::parse(app).unwrap(),
                tenant: TenantId::parse(tenant).unwrap(),
                roles,
            });
            Some(new.secret)
        });
        let metrics = EdgeMetrics::new();
        let router = routes(Surface {
            engine,
            callers: Arc::clone(&validator),
            notifiers: validator,
            config: SurfaceConfig {
                api_keys: ApiKeys::new(held).unwrap(),
                ..SurfaceConfig::default()
            },
            metrics: metrics.clone(),
        });
        Self {
            router,
            keys,
            metrics,
            _local: local,
        }
    }

    fn key(&self, knock: Knock) -> Option<&str> {
        let at = ALL.iter().position(|one| *one == knock).unwrap();
        self.keys[at].as_deref()
    }

    async fn ask(
        &self,
        method: &Method,
        path: &str,
        knock: Knock,
        body: &Value,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(key) = self.key(knock) {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        answer(&self.router, request).await
    }

    async fn call(&self) -> String {
        let body = json!({
            "callbackUri": "http://127.0.0.1:9/bot",
            "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
            "chatInfo": {"threadId": "19:meeting_walk@thread.v2"},
            "meetingInfo": {"@odata.type": "#microsoft.graph.organizerMeetingInfo"},
        });
        let calls = "/v1.0/communications/calls";
        let (status, call) = self.ask(&Method::POST, calls, Knock::Owner, &body).await;
        assert_eq!(status, StatusCode::CREATED, "{call}");
        call["id"].as_str().unwrap().to_owned()
    }
}

async fn answer(router: &Router, request: Request) -> (StatusCode, Value) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// What the gate did, told from what its handler did.
fn gate(status: StatusCode, body: &Value) -> Gate {
    let no_call = Refusal::no_call();
    let error = &body["error"];
    match status {
        StatusCode::UNAUTHORIZED => Gate::Unknown,
        StatusCode::FORBIDDEN => Gate::Forbidden,
        StatusCode::NOT_FOUND if error["message"] == no_call.message.as_ref() => Gate::NoCall,
        _ => Gate::Open,
    }
}

#[tokio::test]
async fn every_row_lets_in_whom_it_names_and_nobody_else() {
    let house = House::open().await;
    let call = house.call().await;
    // What ends the call comes last.
    let mut rows: Vec<_> = TABLE.iter().collect();
    rows.sort_by_key(|rule| {
        let deletes = methods(rule.method).0 == Method::DELETE;
        (deletes, std::cmp::Reverse(rule.path.len()))
    });
    let (mut asked, mut wrong) = (0, Vec::new());
    for rule in rows {
        let path = rule.path.replace("{call}", &call).replace(['{', '}'], "");
        let (method, _) = methods(rule.method);
        // The owner last of all, whom the row may let change something.
        let mut knocks: Vec<_> = ALL.into_iter().zip(expected(rule.who)).collect();
        knocks.sort_by_key(|(knock, _)| *knock == Knock::Owner);
        for (knock, wanted) in knocks {
            let (status, body) = house.ask(&method, &path, knock, &json!({})).await;
            let got = gate(status, &body);
            asked += 1;
            if got != wanted {
                wrong.push(format!(
                    "{method} {path} {knock:?}: {got:?}, {status} {body}"
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(asked, TABLE.len() * ALL.len());
    println!("{asked} knocks at {} routes", TABLE.len());
}

#[tokio::test]
async fn an_operator_sees_all_calls_and_a_stranger_none() {
    let house = House::open().await;
    let call = house.call().await;
    for (knock, total) in [
        (Knock::Owner, 1),
        (Knock::Operator, 1),
        (Knock::Stranger, 0),
        (Knock::OtherTenant, 0),
        (Knock::ForeignOperator, 0),
    ] {
        let (status, list) = house
            .ask(&Method::GET, "/v1/calls", knock, &Value::Null)
            .await;
        assert_eq!(status, StatusCode::OK, "{knock:?}");
        assert_eq!(list["total"], total, "{knock:?}: {list}");
        if total == 1 {
            assert_eq!(list["calls"][0]["id"], call, "{knock:?}");
        }
    }
}

#[tokio::test]
async fn the_public_and_the_admin_listener_have_no_route_in_common() {
    let house = House::open().await;
    let admin = admin_routes(
        prometheus::Registry::new(),
        Readiness::new(),
        &house.metrics,
    );
    for path in ["/metrics", "/livez", "/readyz"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(answer(&admin, request).await.0, StatusCode::OK, "{path}");
        for knock in ALL {
            let (status, body) = house.ask(&Method::GET, path, knock, &Value::Null).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path} {knock:?} {body}");
        }
    }
    let operator = format!("Bearer {}", house.key(Knock::Operator).unwrap());
    let webhook = (Method::POST, "/callbacks/k".to_owned());
    let rows = TABLE.iter().map(|rule| {
        let path = rule.path.replace(['{', '}'], "");
        (methods(rule.method).0, path)
    });
    for (method, path) in rows.chain([webhook]) {
        let request = Request::builder().method(&method).uri(&path);
        let request = request.header("authorization", &operator);
        let request = request.body(Body::empty()).unwrap();
        let (status, body) = answer(&admin, request).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path} {body}");
    }
}
