//! The contract document: `OpenAPI` of every route, the lab's included.
//!
//! **A new route** needs one line in [`operations`] below. What everybody is refused for, and what
//! its path implies, is added by itself. `UPDATE=1 cargo test -p openmic-local contract` then renews
//! the committed file in `config/contracts/`.

mod failures;
mod texts;

use std::sync::LazyLock;

use axum::body::Bytes;
use openmic_contract::{Body, Contract, Failure, Named, Route, delete, get, patch, post, put};
use openmic_wire::schema::create_example;
use serde_json::json;
use utoipa::{PartialSchema, ToSchema};

use super::{faults, lab, oauth, ring};
use failures::{BODY, CREATE, LAB, NAMED, PATH, SWITCH, TOKEN, WORK, way};
use texts::{ABOUT, FAULTS, GROUPS, PARAMETERS, TRUTH};

/// The document, as `/openapi.json` has it.
pub(super) static OPENAPI: LazyLock<Bytes> = LazyLock::new(|| {
    let text = serde_json::to_vec(&contract().document());
    text.expect("documents hold string keys and finite numbers only")
        .into()
});

/// One line for each route.
fn operations() -> Vec<Route> {
    vec![
        post(
            "/v1.0/communications/calls",
            "createCall",
            "Creates a call, or joins a meeting.",
        )
        .takes_like(Body::Json("CreateCall"), create_example())
        .gives(201, Body::Json("Call"), "The call, `establishing`.")
        .with_header("Location", "The call.")
        .leads_to("getCall", &[("call", "id")])
        .leads_to("muteCall", &[("call", "id")])
        .leads_to("unmuteCall", &[("call", "id")])
        .leads_to("listParticipants", &[("call", "id")])
        .leads_to("hangUpCall", &[("call", "id")])
        .fails(CREATE),
        get(
            "/v1.0/communications/calls/{call}",
            "getCall",
            "Reads a call.",
        )
        .gives(200, Body::Json("Call"), "The call."),
        delete(
            "/v1.0/communications/calls/{call}",
            "hangUpCall",
            "Hangs a call up.",
        )
        .gives_nothing(204, "It is being ended.")
        .leads_to("getCall", &[("call", "path.call")]),
        post(
            "/v1.0/communications/calls/{call}/answer",
            "answerCall",
            "Answers a call that rings.",
        )
        .takes_like(
            Body::Json("AnswerCall"),
            json!({
                "callbackUri": "http://127.0.0.1:9441/callbacks",
                "acceptedModalities": ["audio"],
                "mediaConfig": {"@odata.type": "#microsoft.graph.appHostedMediaConfig", "blob": ""},
            }),
        )
        .gives_nothing(202, "It is being set up.")
        .fails(CREATE)
        .fails(&[
            way(400, "8585", "The call does not ring."),
            way(400, "8528", "The call is terminating."),
        ]),
        post(
            "/v1.0/communications/calls/{call}/reject",
            "rejectCall",
            "Rejects a call that rings.",
        )
        .takes_like(Body::Json("RejectCall"), json!({"reason": "busy"}))
        .or_nothing()
        .gives_nothing(202, "It is being ended.")
        .fails(&[
            way(400, "8585", "The call does not ring."),
            way(400, "8528", "The call is terminating."),
        ]),
        post(
            "/v1.0/communications/calls/{call}/keepAlive",
            "keepCallAlive",
            "Keeps a call alive.",
        )
        .gives_nothing(200, "It lives on."),
        switch(
            "/v1.0/communications/calls/{call}/mute",
            "muteCall",
            "Mutes the bot for everybody.",
        ),
        switch(
            "/v1.0/communications/calls/{call}/unmute",
            "unmuteCall",
            "Unmutes the bot.",
        ),
        get(
            "/v1.0/communications/calls/{call}/participants",
            "listParticipants",
            "Lists who is in the call.",
        )
        .gives(200, Body::Json("ParticipantList"), "Everybody.")
        .leads_to(
            "getParticipant",
            &[("call", "path.call"), ("participant", "value/0/id")],
        )
        .leads_to(
            "muteParticipant",
            &[("call", "path.call"), ("participant", "value/0/id")],
        ),
        get(
            "/v1.0/communications/calls/{call}/participants/{participant}",
            "getParticipant",
            "Reads one participant.",
        )
        .gives(200, Body::Json("Participant"), "The participant."),
        switch(
            "/v1.0/communications/calls/{call}/participants/{participant}/mute",
            "muteParticipant",
            "Mutes somebody for everybody.",
        ),
        get(
            "/v1.0/communications/calls/{call}/operations/{operation}",
            "getOperation",
            "Reads an operation.",
        )
        .gives(200, Body::Json("Operation"), "The operation."),
        post(
            "/v1.0/communications/calls/{call}/participants/invite",
            "inviteParticipants",
            "Invites people into a group call; they come at once.",
        )
        .takes_like(
            Body::Json("InviteParticipants"),
            json!({"participants": [
                {"identity": {"user": {"id": "44444444-4444-4444-8444-444444444444"}}},
            ]}),
        )
        .gives(200, Body::Json("Operation"), "They are being invited.")
        .with_header("Location", "The operation.")
        .leads_to(
            "getOperation",
            &[("call", "path.call"), ("operation", "id")],
        )
        .fails(CREATE)
        .fails(SWITCH),
        post(
            "/v1.0/communications/calls/{call}/participants/muteAll",
            "muteAllParticipants",
            "Mutes several; in beta only, by /beta.",
        )
        .takes_like(Body::Json("MuteAll"), json!({"participants": ["dd5ecf32"]}))
        .gives(200, Body::Json("Operation"), "It is done.")
        .with_header("Location", "The operation.")
        .fails(SWITCH)
        .fails(&[way(404, "itemNotFound", "It is not in v1.0.")]),
        delete(
            "/v1.0/communications/calls/{call}/participants/{participant}",
            "removeParticipant",
            "Removes somebody from the call.",
        )
        .gives_nothing(204, "They are gone.")
        .fails(SWITCH)
        .fails(&[way(403, "7504", "The token lacks a role that it needs.")]),
        lacking(
            "/v1.0/communications/calls/logTeleconferenceDeviceQuality",
            "logDeviceQuality",
        ),
        lacking("/v1.0/communications/calls/{call}/redirect", "redirectCall"),
        lacking("/v1.0/communications/calls/{call}/transfer", "transferCall"),
        lacking("/v1.0/communications/calls/{call}/playPrompt", "playPrompt"),
        lacking(
            "/v1.0/communications/calls/{call}/recordResponse",
            "recordResponse",
        ),
        lacking(
            "/v1.0/communications/calls/{call}/cancelMediaProcessing",
            "cancelMediaProcessing",
        ),
        lacking(
            "/v1.0/communications/calls/{call}/subscribeToTone",
            "subscribeToTone",
        ),
        lacking(
            "/v1.0/communications/calls/{call}/sendDtmfTones",
            "sendDtmfTones",
        ),
        lacking(
            "/v1.0/communications/calls/{call}/updateRecordingStatus",
            "updateRecordingStatus",
        ),
        lacking(
            "/v1.0/communications/calls/{call}/changeScreenSharingRole",
            "changeScreenSharingRole",
        ),
        lacking(
            "/v1.0/communications/calls/{call}/addLargeGalleryView",
            "addLargeGalleryView",
        ),
        lacking(
            "/v1.0/communications/calls/{call}/participants/{participant}/startHoldMusic",
            "startHoldMusic",
        ),
        lacking(
            "/v1.0/communications/calls/{call}/participants/{participant}/stopHoldMusic",
            "stopHoldMusic",
        ),
        token(
            "/{tenant}/oauth2/v2.0/token",
            "getToken",
            "Gives an application a token, by client credentials.",
        ),
        get(
            "/{tenant}/v2.0/.well-known/openid-configuration",
            "getTenantOpenIdConfiguration",
            "Says by which keys access tokens are checked.",
        )
        .open()
        .gives(200, Body::Json("OpenIdConfiguration"), "The configuration.")
        .gives(
            400,
            Body::Json("TokenError"),
            "No application is in that tenant.",
        ),
        get(
            "/v1/.well-known/OpenIdConfiguration",
            "getOpenIdConfiguration",
            "Says by which keys the tokens of notifications are checked.",
        )
        .open()
        .gives(200, Body::Json("OpenIdConfiguration"), "The configuration."),
        get("/v1/keys", "getKeys", "The public keys.").open().gives(
            200,
            Body::Json("JsonWebKeys"),
            "The keys.",
        ),
        post(
            "/lab/v1/calls",
            "ring",
            "Rings a bot: its webhook is told of an incoming call.",
        )
        .takes_like(
            Body::Json("LabRing"),
            json!({
                "appId": "22222222-2222-4222-8222-222222222222",
                "callbackUri": "http://127.0.0.1:9441/callbacks",
            }),
        )
        .gives(201, Body::Json("LabCall"), "It rings.")
        .with_header("Location", "The call, as its caller sees it.")
        .leads_to("lookAtRing", &[("call", "id")])
        .leads_to("answerCall", &[("call", "id")])
        .leads_to("rejectCall", &[("call", "id")])
        .leads_to("giveUpRing", &[("call", "id")])
        .fails(CREATE),
        get(
            "/lab/v1/calls/{call}",
            "lookAtRing",
            "What became of a call that rang.",
        )
        .gives(200, Body::Json("LabCall"), "The call."),
        delete("/lab/v1/calls/{call}", "giveUpRing", "The caller hangs up.")
            .gives_nothing(204, "It did."),
        post(
            "/lab/v1/meetings/{thread}/participants",
            "joinAsHuman",
            "A human joins, with an SDP offer to be heard and to hear.",
        )
        .says("An offer is as short as `m=audio 45000 RTP/AVP 0` after the lines `v=0`, `o=- 0 0 IN IP4 127.0.0.1`, `s=-`, `c=IN IP4 127.0.0.1` and `t=0 0`, each ended by CR LF.")
            .query(
            "displayName",
            "Name in the roster, at most 256 characters.",
            "Ada",
        )
        .takes(Body::Text("application/sdp"))
        .or_nothing()
        .gives(
            201,
            Body::Json("LabParticipant"),
            "The human, without sound; or the SDP answer.",
        )
        .gives(201, Body::Text("application/sdp"), "")
        .with_header("Location", "The human.")
        .leads_to(
            "lookAtHuman",
            &[("thread", "path.thread"), ("participant", "id")],
        )
        .leads_to(
            "patchHuman",
            &[("thread", "path.thread"), ("participant", "id")],
        )
        .leads_to(
            "leaveAsHuman",
            &[("thread", "path.thread"), ("participant", "id")],
        )
        .fails(CREATE),
        get(
            "/lab/v1/meetings/{thread}/participants/{participant}",
            "lookAtHuman",
            "Shows a participant, with what its media path counts.",
        )
        .gives(200, Body::Json("LabParticipantInFull"), "The participant."),
        patch(
            "/lab/v1/meetings/{thread}/participants/{participant}",
            "patchHuman",
            "Mutes or unmutes a participant, as the host.",
        )
        .takes_like(Body::Json("LabPatch"), json!({"serverMuted": true}))
        .gives(200, Body::Json("LabParticipant"), "The participant.")
        .fails(SWITCH),
        delete(
            "/lab/v1/meetings/{thread}/participants/{participant}",
            "leaveAsHuman",
            "A participant leaves.",
        )
        .gives_nothing(204, "It has left."),
        get(
            "/lab/v1/meetings/{thread}/participants/{participant}/sdp",
            "getHumanSdp",
            "An SDP file for players, of what the participant hears.",
        )
        .gives(200, Body::Text("application/sdp"), "The file.")
        .fails(&[way(
            409,
            "8583",
            "Nothing is known of where the participant listens.",
        )]),
        get(
            "/lab/v1/truth",
            "readTruth",
            "What reached the service, what really took effect, what was answered and told.",
        )
        .says(TRUTH)
        .query("since", "Only lines with a number above it.", "0")
        .gives(200, Body::Text("application/x-ndjson"), "The lines, the oldest first.")
        .fails(PATH),
        put(
            "/lab/v1/faults",
            "setFaults",
            "Lets things go wrong in calls that begin from now on.",
        )
        .says(&FAULTS)
        .takes_like(
            Body::Json("LabFaults"),
            json!({"seed": 7, "faults": ["drop rate=0.1", "throttled nth=2 retry=1.5"]}),
        )
        .gives(200, Body::Json("LabFaultsInForce"), "They are in force."),
        get(
            "/lab/v1/faults",
            "showFaults",
            "What goes wrong in calls that begin.",
        )
        .gives(200, Body::Json("LabFaultsInForce"), "The faults."),
        delete(
            "/lab/v1/faults",
            "clearFaults",
            "Nothing goes wrong in calls that begin from now on.",
        )
        .gives_nothing(204, "So it is."),
        put(
            "/lab/v1/calls/{call}/faults",
            "setFaultsOfCall",
            "Lets things go wrong in a call, in the place of what went wrong in it before.",
        )
        .takes_like(
            Body::Json("LabFaults"),
            json!({"faults": ["effect_without_response on=unmute nth=1"]}),
        )
        .gives(200, Body::Json("LabFaultsInForce"), "They are in force."),
        get(
            "/lab/v1/calls/{call}/faults",
            "showFaultsOfCall",
            "What goes wrong in a call, and how often it did.",
        )
        .gives(200, Body::Json("LabFaultsInForce"), "The faults."),
        delete(
            "/lab/v1/calls/{call}/faults",
            "clearFaultsOfCall",
            "Nothing more goes wrong in a call.",
        )
        .gives_nothing(204, "So it is."),
        get("/openapi.json", "getOpenApi", "This document.")
            .open()
            .gives(200, Body::Json("Document"), "OpenAPI 3.1."),
    ]
}

/// Mute and unmute.
fn switch(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    let operation = &[("call", "path.call"), ("operation", "id")];
    post(path, id, summary)
        .takes_like(Body::Json("Action"), json!({"clientContext": "attempt-1"}))
        .or_nothing()
        .gives(200, Body::Json("Operation"), "It is done.")
        .with_header("Location", "The operation.")
        .leads_to("getOperation", operation)
        .fails(SWITCH)
}

/// What Graph can do and the service cannot.
fn lacking(path: &'static str, id: &'static str) -> Route {
    post(path, id, "Of Graph; lacking here.").fails(&[way(
        501,
        "8520",
        "The service cannot do it. Test what comes of it against Microsoft Graph.",
    )])
}

/// The token endpoint: its errors are OAuth's.
fn token(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    post(path, id, summary)
        .open()
        .takes_like(
            Body::Form("TokenRequest"),
            json!({
                "grant_type": "client_credentials",
                "client_id": "22222222-2222-4222-8222-222222222222",
                "client_secret": "local-dev-secret",
                "scope": "https://graph.microsoft.com/.default",
            }),
        )
        .gives(200, Body::Json("Token"), "The token.")
        .gives(
            400,
            Body::Json("TokenError"),
            "The request is not one that gets a token.",
        )
        .gives(
            401,
            Body::Json("TokenError"),
            "The secret is not the application's.",
        )
        .gives(
            500,
            Body::Json("TokenError"),
            "The token could not be signed.",
        )
        .fails(&BODY[2..4])
}

/// What the document is made of.
fn contract() -> Contract {
    let routes = operations().into_iter().map(|route| {
        if route.is_open() {
            return route;
        }
        let path = route.path();
        let of = |applies: bool, failures: &'static [Failure]| {
            if applies { failures } else { &[] }
        };
        let names = path.contains('{');
        let lab = path.starts_with("/lab/");
        let route = if lab { route.open_in_dev() } else { route };
        let body = of(route.takes_body(), BODY);
        route
            .fails(TOKEN)
            .fails(of(names, PATH))
            .fails(of(names, NAMED))
            .fails(of(lab, LAB))
            .fails(body)
            .fails(WORK)
    });
    Contract {
        title: "openmic local calling service",
        about: ABOUT,
        token: "An application's token from this service's token endpoint.",
        groups: GROUPS,
        parameters: PARAMETERS,
        routes: routes.collect(),
        schemas: schemas(),
    }
}

fn schemas() -> Vec<Named> {
    let mut all = openmic_wire::schema::schemas();
    named::<lab::Shown>(&mut all);
    named::<lab::InFull>(&mut all);
    named::<lab::Patch>(&mut all);
    named::<ring::Asked>(&mut all);
    named::<ring::Shown>(&mut all);
    named::<faults::Wanted>(&mut all);
    named::<faults::InForce>(&mut all);
    named::<oauth::Granted>(&mut all);
    named::<oauth::TokenError>(&mut all);
    named::<oauth::TokenRequest>(&mut all);
    named::<oauth::OpenIdConfiguration>(&mut all);
    named::<oauth::JsonWebKeys>(&mut all);
    all.push(openmic_contract::document_schema());
    all
}

fn named<T: ToSchema + PartialSchema>(all: &mut Vec<Named>) {
    all.push((T::name().into_owned(), T::schema()));
    T::schemas(all);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::http::Method;
    use axum::routing::MethodFilter;

    use super::{OPENAPI, contract};
    use crate::http::table::{FAULTS, GRAPH, LAB};

    fn word(method: MethodFilter) -> String {
        let all = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ];
        let same = |one: &&Method| MethodFilter::try_from((*one).clone()).unwrap() == method;
        all.iter()
            .find(same)
            .expect("a method of the table")
            .to_string()
    }

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let table = GRAPH.iter().chain(LAB).chain(FAULTS);
        let mut served: Vec<_> = table
            .map(|rule| (word(rule.method), rule.path.to_owned()))
            .collect();
        served.push(("GET".to_owned(), "/openapi.json".to_owned()));
        let wrong = contract().missing(&served);
        assert!(
            wrong.is_empty(),
            "mend `operations` in crates/local/src/http/contract.rs, then run this with UPDATE=1:\n{}",
            wrong.join("\n")
        );
    }

    #[test]
    fn the_committed_document_is_what_the_code_says() {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/contracts/local.openapi.json");
        openmic_contract::committed(&contract().document(), &file).unwrap();
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = serde_json::from_slice(&OPENAPI).unwrap();
        assert_eq!(openmic_contract::dangling(&document), [""; 0]);
    }
}
