use serde_json::Value;

use super::harness::{Rig, config};
use crate::config::{DEV_APP, DEV_SECRET, DEV_TENANT};
use crate::keys::{AccessClaims, GRAPH_AUDIENCE, SigningKey, unix_now};

const SCOPE: &str = "https://graph.microsoft.com/.default";
const GRANT: &str = "client_credentials";

#[tokio::test]
async fn client_credentials_give_a_token_with_the_apps_roles() {
    let rig = Rig::start(config()).await;
    for tenant in [DEV_TENANT, "common"] {
        let form = [
            ("grant_type", GRANT),
            ("client_id", DEV_APP),
            ("client_secret", DEV_SECRET),
            ("scope", SCOPE),
        ];
        let answer = rig.token_answer(tenant, &form).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(body["expires_in"], 3599);
        let claims = rig.claims(body["access_token"].as_str().unwrap()).await;
        assert_eq!(claims.app.as_ref().unwrap().as_str(), DEV_APP);
        assert_eq!(claims.tenant.as_ref().unwrap().as_str(), DEV_TENANT);
        assert!(claims.has_any_role(&["Calls.JoinGroupCall.All"]));
    }
    rig.service.stop().await;
}

#[tokio::test]
async fn bad_requests_for_a_token_are_refused_as_entra_does() {
    let rig = Rig::start(config()).await;
    let good = [GRANT, DEV_APP, DEV_SECRET, SCOPE];
    let elsewhere = "99999999-9999-4999-8999-999999999999";
    let cases = [
        (DEV_TENANT, 2, "wrong", 401, "invalid_client", 7_000_215),
        (
            DEV_TENANT,
            1,
            elsewhere,
            400,
            "unauthorized_client",
            700_016,
        ),
        (elsewhere, 0, GRANT, 400, "invalid_request", 90_002),
        (
            DEV_TENANT,
            0,
            "password",
            400,
            "unsupported_grant_type",
            70_003,
        ),
        (DEV_TENANT, 0, "", 400, "invalid_request", 900_144),
        (DEV_TENANT, 3, "User.Read", 400, "invalid_scope", 1_002_012),
    ];
    for (tenant, at, value, status, error, number) in cases {
        let mut form = good;
        form[at] = value;
        let names = ["grant_type", "client_id", "client_secret", "scope"];
        let form: Vec<_> = names.into_iter().zip(form).collect();
        let answer = rig.token_answer(tenant, &form).await;
        assert_eq!(answer.status(), status, "{error}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"], error);
        assert_eq!(body["error_codes"][0], number);
        let text = body["error_description"].as_str().unwrap();
        assert!(text.starts_with(&format!("AADSTS{number}: ")), "{text}");
        assert!(!text.contains(DEV_SECRET));
    }
    let url = rig.url(&format!("/{DEV_TENANT}/oauth2/v2.0/token"));
    let answer = rig.http.post(url).body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn the_documents_lead_to_the_keys() {
    let rig = Rig::start(config()).await;
    let url = rig.service.openid_configuration_url();
    let document: Value = rig
        .http
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(document["issuer"], "https://api.botframework.com");
    let keys = document["jwks_uri"].as_str().unwrap();
    let keys: Value = rig
        .http
        .get(keys)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let key = &keys["keys"][0];
    assert_eq!(
        (key["kty"].as_str(), key["alg"].as_str()),
        (Some("RSA"), Some("RS256"))
    );
    assert_eq!(key["use"], "sig");
    assert!(key["kid"].is_string() && key["n"].is_string() && key["e"].is_string());
    assert!(key.get("d").is_none(), "the private half stays here");
    let url = rig.url(&format!(
        "/{DEV_TENANT}/v2.0/.well-known/openid-configuration"
    ));
    let document: Value = rig
        .http
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let tenant = crate::config::App::dev().tenant;
    assert_eq!(document["issuer"], rig.service.issuer(&tenant));
    // All that OpenID Connect Discovery §3 requires: Microsoft's own libraries fail where one lacks.
    for required in [
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "response_types_supported",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
    ] {
        assert!(!document[required].is_null(), "no {required}: {document}");
    }
}

#[tokio::test]
async fn only_our_own_application_tokens_pass() {
    let rig = Rig::start(config()).await;
    let bot = rig.bot().await;
    let url = rig.url("/v1.0/communications/calls/x");
    let forger = tokio::task::spawn_blocking(SigningKey::generate)
        .await
        .unwrap()
        .unwrap();
    let app = crate::config::App::dev();
    let issuer = rig.service.issuer(&app.tenant);
    let forged = forger
        .access(&issuer, &app.id, &app.tenant, &app.roles)
        .unwrap();
    let notification = rig
        .service
        .world
        .keys
        .notification(&app.id, &app.tenant)
        .unwrap();
    for header in [
        None,
        Some("Basic eDp5".to_owned()),
        Some("Bearer nonsense".to_owned()),
        Some(format!("Bearer {forged}")),
        Some(format!("Bearer {notification}")),
    ] {
        let mut request = rig.http.get(&url);
        if let Some(header) = &header {
            request = request.header("authorization", header);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        let (status, code) = bot.refused(answer).await;
        assert_eq!(
            (status, code.as_str()),
            (401, "InvalidAuthenticationToken"),
            "{header:?}"
        );
    }
    let now = unix_now();
    let delegated = AccessClaims {
        iss: &issuer,
        aud: GRAPH_AUDIENCE,
        iat: now,
        nbf: now,
        exp: now + 60,
        appid: app.id.as_str(),
        azp: app.id.as_str(),
        sub: "a user",
        tid: app.tenant.as_str(),
        roles: None,
        scp: Some("User.Read"),
    };
    let delegated = rig.service.world.keys.sign(&delegated).unwrap();
    let answer = rig
        .http
        .get(&url)
        .bearer_auth(delegated)
        .send()
        .await
        .unwrap();
    assert_eq!(bot.refused(answer).await, (403, "7500".to_owned()));
}
