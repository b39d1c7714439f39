//! Whether the service admits the application: a GET that cannot do anything.

use openmic_wire::error;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use uuid::Uuid;

use super::{Finding, answer_to, client, shown};
use crate::resolve::Plan;

pub(super) const CHECK: &str = "admission to calls";

/// The calling platform's refusals of an application: code, what it means, what to do next.
const REFUSALS: [(&str, &str, &str); 3] = [
    (
        "7503",
        "the application is not registered for calls",
        "create an Azure Bot resource for this app id, open Channels > Microsoft Teams > Calling, \
         enable calling and give the webhook {public_url}/callbacks/{key} of this engine; it takes \
         effect after some minutes",
    ),
    (
        "7504",
        "the tenant has not permitted the application to call",
        "add the Calls.* application permissions under App registrations > API permissions and let \
         an administrator of the meeting's tenant grant consent; then wait for a new token",
    ),
    (
        "7505",
        "the token is of another tenant than the one the call is in",
        "set upstream.tenant to the tenant that owns the meetings, and let its administrator \
         consent to the application there",
    ),
];

/// Asks for a call that cannot exist: not found is what should come.
///
/// # Errors
/// When no request can be made.
pub(super) async fn check(
    plan: &Plan,
    base: &Url,
    token: &SecretString,
) -> anyhow::Result<Finding> {
    let root = base.as_str().trim_end_matches('/');
    let url: Url = format!("{root}/communications/calls/{}", Uuid::new_v4()).parse()?;
    let request = client(plan, &url, &plan.authorities)?
        .get(url)
        .bearer_auth(token.expose_secret());
    Ok(match answer_to(request).await {
        // a service that says back what it was sent must not get the token onto a terminal
        Ok((status, body)) => {
            let said = String::from_utf8_lossy(&body);
            judge(
                status,
                said.replace(token.expose_secret(), "(withheld)").as_bytes(),
            )
        }
        Err(why) => Finding::failed(CHECK, format!("{base} does not answer: {why}"))
            .next("check upstream.base_url, this machine's DNS, proxy and firewall"),
    })
}

/// What an answer to that GET tells.
pub(super) fn judge(status: u16, body: &[u8]) -> Finding {
    let envelope = error::decode(body);
    let code = envelope.as_ref().map_or("", |error| error.code.as_str());
    if let Some((code, what, next)) = REFUSALS.iter().find(|(known, ..)| *known == code) {
        return Finding::failed(CHECK, format!("{what} ({status}/{code})")).next(*next);
    }
    let message = envelope.as_ref().map_or("", |error| error.message.as_str());
    let seen = format!("{status} {} {}", shown(code), shown(message));
    match (status, &envelope) {
        (404, Some(_)) => Finding::ok(CHECK, format!("a call that cannot exist is not found ({})", seen.trim())),
        (404, None) => Finding::failed(CHECK, "404, and not as Graph says it")
            .next("upstream.base_url is no root of Graph with its version, such as .../v1.0"),
        (401, _) => Finding::failed(CHECK, format!("the token is not taken: {seen}"))
            .next("upstream.scope and upstream.base_url must be of the same cloud"),
        (403, _) => Finding::failed(CHECK, format!("refused: {seen}"))
            .next("grant the Calls.* application permissions with admin consent; check the Azure Bot's Teams channel"),
        (429 | 500..=599, _) => Finding::unknown(CHECK, format!("the service has trouble: {seen}"))
            .next("try again in a minute"),
        _ => Finding::unknown(CHECK, format!("an answer nobody expects: {seen}")),
    }
}
