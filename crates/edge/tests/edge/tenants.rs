use openmic_engine::{Call, Owner, Phase};
use openmic_model::TenantId;
use openmic_wire::create::CreateCall;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{Answer, OTHER_TENANT, Plan, Rig, meeting, one_to_one, read};

/// What an application sees of a call that is not its own, against a call that nobody has.
async fn is_as_if_unknown(rig: &Rig, token: &str, call: &Call) {
    let id = call.id();
    let own = format!("/v1.0/communications/calls/{id}");
    for (method, path) in [
        (Method::GET, own.clone()),
        (Method::DELETE, own.clone()),
        (Method::POST, format!("{own}/keepAlive")),
        (Method::POST, format!("{own}/mute")),
        (Method::POST, format!("{own}/unmute")),
        (Method::GET, format!("{own}/participants")),
        (Method::GET, format!("{own}/participants/x")),
        (Method::GET, format!("{own}/operations/x")),
        (Method::GET, format!("/v1/calls/{id}")),
        (Method::GET, format!("/v1/calls/{id}/roster")),
        (Method::GET, format!("/v1/calls/{id}/log")),
    ] {
        let ask = |path: &str| {
            let url = format!("{}{path}", rig.base);
            read(rig.http.request(method.clone(), url).bearer_auth(token))
        };
        let foreign = ask(&path).await;
        let unknown = path.replace(id.as_str(), "0c1f5e00-0000-4000-8000-000000000009");
        let unknown = ask(&unknown).await;
        assert_eq!(foreign.status, StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(foreign.code(), "8522", "{method} {path}");
        let words = |answer: &Answer| answer.body["error"]["message"].clone();
        assert_eq!(words(&foreign), words(&unknown), "{method} {path}");
    }
    let list = rig.http.get(format!("{}/v1/calls", rig.base));
    let list = read(list.bearer_auth(token)).await;
    assert_eq!(list.body, json!({"calls": [], "total": 0}));
}

#[tokio::test]
async fn a_call_of_another_application_is_as_if_unknown() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_foreign@thread.v2").await;
    is_as_if_unknown(&rig, &rig.other_app().await, &call).await;
    assert_eq!(rig.get("/v1/calls").await.body["total"], 1);
    assert_eq!(call.state().phase, Phase::Unmuted);
}

#[tokio::test]
async fn a_call_of_another_tenant_is_as_if_unknown() {
    let rig = Rig::start().await;
    let body = meeting("19:meeting_tenant@thread.v2").to_string();
    let body = CreateCall::decode(body.as_bytes()).unwrap();
    let owner = Owner {
        tenant: TenantId::parse(OTHER_TENANT).unwrap(),
        ..rig.engine.owner().clone()
    };
    let call = rig.engine.create(body, owner, false, None).await.unwrap();
    is_as_if_unknown(&rig, &rig.token, &call).await;
}

#[tokio::test]
async fn only_a_served_application_creates_calls() {
    let rig = Rig::start().await;
    let elsewhere = Rig::with(Plan {
        tenant: OTHER_TENANT,
        ..Plan::default()
    })
    .await;
    for (rig, token, code) in [
        (&rig, rig.other_app().await, "7503"),
        (&elsewhere, elsewhere.token.clone(), "7505"),
    ] {
        let url = format!("{}/v1.0/communications/calls", rig.base);
        let request = rig.http.post(url).bearer_auth(token);
        let answer = read(request.json(&meeting("19:meeting_x@thread.v2"))).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
        assert_eq!(answer.code(), code);
        assert!(rig.engine.calls().is_empty());
    }
}

#[tokio::test]
async fn the_engine_lends_its_credential_only_to_the_roles_graph_asks_for() {
    let mut plan = Plan::default();
    plan.local.apps[0].roles = vec!["Calls.JoinGroupCall.All".to_owned()];
    let rig = Rig::with(plan).await;
    let mut app_hosted = meeting("19:meeting_roles@thread.v2");
    app_hosted["mediaConfig"] = json!({
        "@odata.type": "#microsoft.graph.appHostedMediaConfig",
        "blob": "b",
    });
    for (body, role) in [
        (app_hosted, "Calls.AccessMedia.All"),
        (one_to_one(), "Calls.Initiate.All"),
    ] {
        let answer = rig.post("/v1.0/communications/calls", body).await;
        let seen = (answer.status, answer.code());
        assert_eq!(seen, (StatusCode::FORBIDDEN, "7504"), "{answer:?}");
        let words = format!("The token lacks the role {role}. Grant it to the application.");
        assert_eq!(answer.body["error"]["message"], words);
    }
    rig.established("19:meeting_roles@thread.v2").await;
}
