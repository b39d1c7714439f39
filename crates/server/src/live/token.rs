//! The credential: does it get a token, and what is in it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openmic_graph::repeats_secret;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{Finding, answer_to, client, shown};
use crate::resolve::{Endpoints, Plan};

const TOKEN: &str = "token endpoint";
const PERMISSIONS: &str = "permissions";

/// What a token endpoint may answer (RFC 6749 §5.1, §5.2), and Entra's numbers of errors.
#[derive(Default, Deserialize)]
struct Reply {
    access_token: Option<SecretString>,
    expires_in: Option<Value>,
    error: Option<String>,
    error_description: Option<String>,
    #[serde(default)]
    error_codes: Vec<u32>,
}

/// Entra's numbers: what each means and what to do. Source: Microsoft Entra, authentication and
/// authorization error codes.
const ENTRA: [(u32, &str, &str); 10] = [
    (
        7_000_215,
        "the client secret is wrong",
        "give the secret's Value, which is shown once when it is made, and not its Secret ID; make \
         a new one under App registrations > Certificates & secrets",
    ),
    (
        7_000_222,
        "the client secret has expired",
        "make a new one under App registrations > Certificates & secrets",
    ),
    (
        700_016,
        "the tenant knows no such application",
        "compare upstream.app with the Application (client) ID of the app registration, and \
         upstream.tenant with the tenant it is registered in or was consented to in",
    ),
    (
        90_002,
        "there is no such tenant",
        "compare upstream.tenant with the Directory (tenant) ID under Microsoft Entra ID > Overview",
    ),
    (
        900_023,
        "upstream.tenant is neither a tenant's id nor a domain",
        "give the Directory (tenant) ID",
    ),
    (
        70_011,
        "the scope is not taken",
        "leave upstream.scope at https://graph.microsoft.com/.default",
    ),
    (
        1_002_012,
        "the scope does not end in /.default",
        "leave upstream.scope at https://graph.microsoft.com/.default",
    ),
    (
        500_011,
        "the tenant knows no such resource as upstream.scope names",
        "leave upstream.scope at https://graph.microsoft.com/.default",
    ),
    (
        7_000_112,
        "the application is disabled in this tenant",
        "enable it under Enterprise applications > Properties",
    ),
    (
        53_003,
        "a Conditional Access policy blocks the application",
        "exempt the application's workload identity, or this machine's address",
    ),
];

/// The permissions that calls need: what each is for, which is what its absence prevents. Source:
/// Graph, cloud communications permissions.
const CALLING: [(&str, &str); 5] = [
    ("Calls.Initiate.All", "calling one person"),
    ("Calls.InitiateGroupCall.All", "calling several people"),
    ("Calls.JoinGroupCall.All", "joining meetings"),
    (
        "Calls.JoinGroupCallAsGuest.All",
        "joining meetings as a guest",
    ),
    (
        "Calls.AccessMedia.All",
        "app-hosted media: the bot's own audio",
    ),
];

/// Whether a role is the permission; the docs' plural spelling counts too.
fn is(role: &str, permission: &str) -> bool {
    let singular: Cow<'_, str> = match role.strip_prefix("Calls.") {
        Some(rest) => rest.replacen("GroupCalls", "GroupCall", 1).into(),
        None => role.into(),
    };
    permission.strip_prefix("Calls.") == Some(&singular)
}

/// Asks for a token. What was found, and the token.
///
/// # Errors
/// When no request can be made.
pub(super) async fn check(
    plan: &Plan,
    endpoints: &Endpoints,
) -> anyhow::Result<(Vec<Finding>, Option<SecretString>)> {
    let credential = &plan.credential;
    let root = endpoints.authority.as_str().trim_end_matches('/');
    let url: Url = format!("{root}/{}/oauth2/v2.0/token", credential.tenant).parse()?;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", credential.app.as_str()),
        ("client_secret", credential.secret.expose_secret()),
        ("scope", plan.scope.as_str()),
    ];
    let request = client(plan, &url, &plan.authorities)?
        .post(url.clone())
        .form(&form);
    let (status, body) = match answer_to(request).await {
        Ok(answer) => answer,
        Err(why) => {
            let finding = Finding::failed(TOKEN, format!("{url} does not answer: {why}"))
                .next("check upstream.authority, this machine's DNS, proxy and firewall");
            return Ok((vec![finding], None));
        }
    };
    let reply: Reply = serde_json::from_slice(&body).unwrap_or_default();
    let Some(token) = reply.access_token.as_ref().filter(|_| status == 200) else {
        return Ok((vec![denied(status, &reply, &credential.secret)], None));
    };
    let life = match &reply.expires_in {
        Some(Value::Number(seconds)) => format!(" for {seconds} s"),
        Some(Value::String(seconds)) => format!(" for {} s", shown(seconds)),
        _ => String::new(),
    };
    let granted = Finding::ok(
        TOKEN,
        format!("it gives app {} a token{life}", credential.app),
    );
    let found = vec![granted, permissions(token.expose_secret(), plan)];
    Ok((found, Some(token.clone())))
}

/// A refusal in words.
fn denied(status: u16, reply: &Reply, secret: &SecretString) -> Finding {
    let description = reply.error_description.as_deref().unwrap_or_default();
    let number = reply.error_codes.first().copied().or_else(|| {
        let digits = description.split("AADSTS").nth(1)?;
        let end = digits.find(|c: char| !c.is_ascii_digit());
        digits[..end.unwrap_or(digits.len())].parse().ok()
    });
    if let Some((number, what, next)) = ENTRA.iter().find(|(known, ..)| Some(*known) == number) {
        return Finding::failed(TOKEN, format!("{what} (AADSTS{number})")).next(*next);
    }
    // an endpoint that repeats the form must not get the secret onto a terminal
    let clean = |text: &str| {
        if repeats_secret(text, secret) {
            return "(what it says is withheld, it repeats the secret)".to_owned();
        }
        shown(text.lines().next().unwrap_or_default())
    };
    let seen = match (reply.error.as_deref(), clean(description)) {
        (None, said) if said.is_empty() => {
            format!("it answers {status}, with neither a token nor an OAuth error")
        }
        (error, said) => {
            let error = error.map_or_else(|| "no OAuth error".to_owned(), clean);
            format!("it answers {status}, {error}: {said}")
        }
    };
    let next = match (status, reply.error.as_deref()) {
        (200..=399 | 404 | 405, None) => {
            "upstream.authority names no token endpoint of Microsoft's form"
        }
        (_, Some("invalid_client")) => "check upstream.app and upstream.secret",
        _ => {
            "look its error up; check upstream.authority, upstream.tenant, upstream.app and secret"
        }
    };
    Finding::failed(TOKEN, seen).next(next)
}

/// What a token's claims allow.
fn permissions(token: &str, plan: &Plan) -> Finding {
    let claims = token.split('.').nth(1).and_then(|payload| {
        let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
        serde_json::from_slice::<Value>(&json).ok()
    });
    let Some(claims) = claims else {
        let seen = "the token is no JWT, so its permissions cannot be read";
        return Finding::unknown(PERMISSIONS, seen);
    };
    if claims.get("scp").is_some() {
        let seen =
            "the token is a user's, with delegated permissions; calls need the application's";
        return Finding::failed(PERMISSIONS, seen)
            .next("grant application permissions, and leave upstream.scope at .../.default");
    }
    let tenant = &plan.credential.tenant;
    if let Some(tid) = claims["tid"]
        .as_str()
        .filter(|tid| !tid.eq_ignore_ascii_case(tenant.as_str()))
    {
        let seen = format!("the token is of tenant {}, not of {tenant}", shown(tid));
        return Finding::failed(PERMISSIONS, seen).next("compare upstream.tenant");
    }
    let roles: Vec<&str> = claims["roles"]
        .as_array()
        .map(|roles| roles.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let (there, missing): (Vec<_>, Vec<_>) = CALLING
        .iter()
        .partition(|(permission, _)| roles.iter().any(|role| is(role, permission)));
    let grant = "add it under App registrations > API permissions > Microsoft Graph > Application \
                 permissions, then Grant admin consent; a new token has it after some minutes";
    if there.is_empty() {
        let seen = "the token has no calling permission: no call can be made or joined";
        return Finding::failed(PERMISSIONS, seen).next(grant);
    }
    let names: Vec<_> = there.iter().map(|(permission, _)| *permission).collect();
    let seen = names.join(", ");
    if missing.is_empty() {
        return Finding::ok(PERMISSIONS, seen);
    }
    let lacks: Vec<_> = missing
        .iter()
        .map(|(permission, what)| format!("{permission}, so no {what}"))
        .collect();
    Finding::warning(
        PERMISSIONS,
        format!("{seen}; missing: {}", lacks.join("; ")),
    )
    .next(format!("where the bot needs one: {grant}"))
}
