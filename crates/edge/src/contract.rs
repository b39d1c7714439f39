//! The contract documents: `OpenAPI` of every route, `AsyncAPI` of the roster's WebSocket.
//!
//! **A new route** needs one line in [`operations`] below. What everybody is refused for, and what
//! its [`Who`] in the table implies, is added by itself. `UPDATE=1 cargo test -p openmic-edge
//! contract` then renews the committed files in `config/contracts/`.

use std::sync::LazyLock;

use axum::routing::MethodFilter;
use bytes::Bytes;
use http::Method;
use openmic_contract::{Body, Contract, Named, Route, delete, get, post};
use openmic_wire::schema::create_example;
use serde_json::json;

use crate::log::NDJSON;
use crate::table::{TABLE, Who};

mod asyncapi;
mod failures;

use failures::{
    BODY, CALL, ERRAND, LOG, NOTIFICATION, PATH, READ, REPLAYED, RINGING, SENT, SERVED, TOKEN,
    UPGRADE,
};

/// The document of the public listener, as `/openapi.json` has it.
pub(crate) static OPENAPI: LazyLock<Bytes> = LazyLock::new(|| encode(&contract().document()));

/// The document of the roster's WebSocket, as `/asyncapi.json` has it.
pub(crate) static ASYNCAPI: LazyLock<Bytes> = LazyLock::new(|| encode(&asyncapi::document()));

fn encode(document: &impl serde::Serialize) -> Bytes {
    let text = serde_json::to_vec(document);
    text.expect("documents hold string keys and finite numbers only")
        .into()
}

const ABOUT: &str = "\
Unmutes meeting bots, knows that they really are, and shows it to everybody who watches.

Paths below `/v1.0/communications/` are Microsoft Graph's. They are also taken as Graph spells them \
otherwise: `/beta` for `/v1.0`, `/app` for `/communications`, `calls('{call}')` for `calls/{call}`, \
`microsoft.graph.unmute` for `unmute`. Every failed request is answered in Graph's error envelope: \
branch on `error.code`, show `error.message`. A `client-request-id` that a request carries is echoed.

A caller sees the calls of its own application and tenant; any other is 404 as if unknown. Schemas \
are open: expect members that are not named here. The frames of a roster's WebSocket are in \
`/asyncapi.json`.";

const GROUPS: &[(&str, &str, &str)] = &[
    ("/v1.0/", "calls", "Graph's surface."),
    (
        "/callbacks",
        "webhook",
        "Where Graph's notifications come in.",
    ),
    ("/v1/", "own views", "The engine's own view of its calls."),
    ("/", "documents", "These documents."),
];

const PARAMETERS: &[(&str, &str)] = &[
    ("call", "Id of a call, from the answer that created it."),
    (
        "operation",
        "Id of an operation, from the answer to mute or unmute.",
    ),
    (
        "participant",
        "Id of a participant, from the list of participants.",
    ),
    (
        "key",
        "The key of a callback address that the engine gave out; it is a secret.",
    ),
];

const PREFER: &str = "`respond-async` answers 202 at once, `wait=N` after N seconds at most; else \
                      the answer comes with the verdict (RFC 7240).";

const PREFER_SPEAK: &str = "`respond-async` answers 202 at once, `wait=N` after N seconds at most; \
                            else the answer comes with the verdict (RFC 7240). `speak=N`: the bot \
                            is muted again N seconds after the verdict, 1 to 3600, also when the \
                            engine was started anew meanwhile; another unmute renews it.";

const IDEMPOTENCY_KEY: &str = "Makes the request safe to repeat: the same key, path and body get \
                               the first answer, also when the engine was started anew meanwhile, \
                               for `journal.retention` after the \
                               answer, by default 24 hours. Of the latest command of a call \
                               that is up it is remembered longer, until the next. `Prefer` is no \
                               part of the request: with another `speak=N` or `wait=N` the first \
                               answer comes too, and its `speak` stays. Use a key once.";

/// One line for each route.
fn operations() -> Vec<Route> {
    let call = &[("call", "path.call")][..];
    vec![
        post("/v1.0/communications/calls", "createCall", "Creates a call, or joins a meeting.")
            .says("The notifications come to `callbackUri`; the roles that the call needs are checked here.")
            .takes_like(Body::Json("CreateCall"), create_example())
            .gives(201, Body::Json("Call"), "The call, `establishing`.")
            .with_header("Location", "The call.")
            .leads_to("getCall", &[("call", "id")])
            .leads_to("muteCall", &[("call", "id")])
            .leads_to("unmuteCall", &[("call", "id")])
            .leads_to("listParticipants", &[("call", "id")])
            .leads_to("getCallView", &[("call", "id")])
            .leads_to("getRoster", &[("call", "id")])
            .leads_to("hangUpCall", &[("call", "id")])
            .fails(&[BODY, SENT].concat()),
        get("/v1.0/communications/calls/{call}", "getCall", "Reads a call, as Graph shows it.")
            .gives(200, Body::Json("Call"), "The call.")
            .fails(READ),
        delete("/v1.0/communications/calls/{call}", "hangUpCall", "Hangs a call up.")
            .says("One that rings is turned down.")
            .gives_nothing(204, "It is being ended; the call's state tells when it has.")
            .leads_to("getCall", call)
            .fails(SENT),
        post("/v1.0/communications/calls/{call}/keepAlive", "keepCallAlive", "Keeps a call alive; the engine does so by itself besides.")
            .gives_nothing(200, "Graph was told.")
            .fails(SENT),
        post("/v1.0/communications/calls/{call}/answer", "answerCall", "Takes a call that rings.")
            .says("Within 15 s. The notifications come to `callbackUri`, without it to the bot's webhook for incoming calls; those tell when the call is up.")
            .takes_like(
                Body::Json("AnswerCall"),
                json!({
                    "callbackUri": "https://bot.example/callbacks",
                    "acceptedModalities": ["audio"],
                    "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
                }),
            )
            .gives_nothing(202, "The call is being set up.")
            .leads_to("getCall", call)
            .fails(&[BODY, SENT, RINGING].concat()),
        post("/v1.0/communications/calls/{call}/reject", "rejectCall", "Turns a call down that rings.")
            .takes_like(Body::Json("RejectCall"), json!({"reason": "busy"}))
            .or_nothing()
            .gives_nothing(202, "It rings no more.")
            .fails(&[BODY, SENT, RINGING].concat()),
        switch("/v1.0/communications/calls/{call}/mute", "muteCall", "Mutes the bot for everybody."),
        switch("/v1.0/communications/calls/{call}/unmute", "unmuteCall", "Unmutes the bot, and answers when everybody can hear it."),
        get("/v1.0/communications/calls/{call}/operations/{operation}", "getOperation", "Reads how what was asked stands or ended.")
            .says("The engine's own of mute and unmute; every other is read of Graph.")
            .gives(200, Body::Json("CommsOperation"), "The operation.")
            .fails(READ),
        get("/v1.0/communications/calls/{call}/participants", "listParticipants", "Lists who is in the call, as Graph shows it.")
            .gives(200, Body::Json("ParticipantList"), "Everybody.")
            .leads_to("getParticipant", &[("call", "path.call"), ("participant", "value/0/id")])
            .fails(READ),
        get("/v1.0/communications/calls/{call}/participants/{participant}", "getParticipant", "Reads one participant, as Graph shows it.")
            .gives(200, Body::Json("Participant"), "The participant.")
            .fails(READ),
        errand("/v1.0/communications/calls/logTeleconferenceDeviceQuality", "logDeviceQuality", "Reports the quality of a conference device to Graph."),
        errand("/v1.0/communications/calls/{call}/redirect", "redirectCall", "Sends an incoming call elsewhere."),
        errand("/v1.0/communications/calls/{call}/transfer", "transferCall", "Transfers a call."),
        errand("/v1.0/communications/calls/{call}/playPrompt", "playPrompt", "Plays prompts; of service-hosted media."),
        errand("/v1.0/communications/calls/{call}/recordResponse", "recordResponse", "Records a response; of service-hosted media."),
        errand("/v1.0/communications/calls/{call}/cancelMediaProcessing", "cancelMediaProcessing", "Ends prompts and recordings that wait or run."),
        errand("/v1.0/communications/calls/{call}/subscribeToTone", "subscribeToTone", "Has tones told by notification."),
        errand("/v1.0/communications/calls/{call}/sendDtmfTones", "sendDtmfTones", "Sends tones."),
        errand("/v1.0/communications/calls/{call}/updateRecordingStatus", "updateRecordingStatus", "Tells everybody whether the call is recorded."),
        errand("/v1.0/communications/calls/{call}/changeScreenSharingRole", "changeScreenSharingRole", "Begins or ends sharing a screen."),
        errand("/v1.0/communications/calls/{call}/addLargeGalleryView", "addLargeGalleryView", "Adds the large gallery to the call's video."),
        errand("/v1.0/communications/calls/{call}/participants/invite", "inviteParticipants", "Invites people into a group call."),
        errand("/v1.0/communications/calls/{call}/participants/muteAll", "muteAllParticipants", "Mutes everybody in the call."),
        errand("/v1.0/communications/calls/{call}/participants/{participant}/mute", "muteParticipant", "Mutes somebody for everybody."),
        errand("/v1.0/communications/calls/{call}/participants/{participant}/startHoldMusic", "startHoldMusic", "Plays music to somebody who waits."),
        errand("/v1.0/communications/calls/{call}/participants/{participant}/stopHoldMusic", "stopHoldMusic", "Ends that music."),
        delete("/v1.0/communications/calls/{call}/participants/{participant}", "removeParticipant", "Removes somebody from the call.")
            .gives_nothing(204, "They are removed.")
            .gives_nothing(200, "Graph's answer, passed on.")
            .gives_nothing(202, "Graph's answer, passed on.")
            .fails(SENT)
            .fails(ERRAND),
        get("/v1/calls", "listCalls", "Lists the caller's calls that are not over, an operator's view of all; 1000 at most.")
            .gives(200, Body::Json("CallViews"), "The calls."),
        get("/v1/calls/{call}", "getCallView", "Tells a call's state, why it is in it, and what it waits for; also for a while after its end.")
            .gives(200, Body::Json("CallView"), "The call."),
        get("/v1/calls/{call}/log", "getCallLog", "What the flight recorder holds of a call, a JSON text on each line: what was asked of it, what was sent and told, and what the engine made of it.")
            .says("Also of a call that ended, while its lines are there. Oldest first, about 4 MiB at once; `Link` leads to more. No names, no tokens; `openmic explain` reads it.")
            .query("since", "Only lines above this `n`.", "41")
            .gives(200, Body::Text(NDJSON), "The lines.")
            .with_header("Link", "To the lines that follow, where there are more (RFC 8288).")
            .fails(LOG),
        get("/v1/calls/{call}/roster", "getRoster", "The roster as one document, or a WebSocket of its changes on upgrade.")
            .says("Asked to upgrade, it answers 101 and then sends the frames of `/asyncapi.json`.")
            .query("ticket", "On upgrade, in the place of a token: one of `POST .../ticket`. It is used up by it.", "0b4b8e5a6d0f4c0c9f570d1f5d6c7e21")
            .query("since", "On upgrade: `epoch:seq` of the last roster frame, to get what changed since.", "1:4")
            .gives(200, Body::Json("SnapshotFrame"), "The roster.")
            .gives_nothing(101, "On upgrade: the socket sends the roster and each change of it.")
            .fails(UPGRADE),
        post("/v1/calls/{call}/roster/ticket", "issueTicket", "Gives a ticket that opens the roster's WebSocket once, within 30 s, for clients that cannot send a token.")
            .gives(201, Body::Json("Ticket"), "The ticket."),
        post("/callbacks/{key}", "notify", "Takes notifications. Its caller is Graph, with a token of its own.")
            .takes(Body::Json("Notifications"))
            .gives_nothing(202, "They are queued.")
            .gives_nothing(204, "They are in the format of before Graph: to be sent again.")
            .fails(NOTIFICATION),
        get("/openapi.json", "getOpenApi", "This document.")
            .open()
            .gives(200, Body::Json("Document"), "OpenAPI 3.1."),
        get("/asyncapi.json", "getAsyncApi", "The frames, handshake and close codes of the roster's WebSocket.")
            .open()
            .gives(200, Body::Json("Document"), "AsyncAPI 3.0."),
    ]
}

/// Mute and unmute: the engine's own.
fn switch(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    let operation = &[("call", "path.call"), ("operation", "id")];
    let (prefer, applied) = if id == "unmuteCall" {
        (
            PREFER_SPEAK,
            "What of `Prefer` took effect, such as `speak=30`.",
        )
    } else {
        (PREFER, "What of `Prefer` took effect.")
    };
    post(path, id, summary)
        .header("Prefer", prefer, "respond-async")
        .takes_like(Body::Json("Action"), json!({"clientContext": "attempt-1"}))
        .or_nothing()
        .gives(
            200,
            Body::Json("Operation"),
            "How it ended: `completed`, or `failed` with a `resultInfo`.",
        )
        .with_header("Location", "The operation.")
        .with_header("Preference-Applied", applied)
        .leads_to("getOperation", operation)
        .leads_to("getCall", &operation[..1])
        .gives(202, Body::Json("Operation"), "It is `running`.")
        .with_header("Location", "The operation.")
        .with_header("Preference-Applied", applied)
        .leads_to("getOperation", operation)
        .fails(BODY)
        .fails(failures::SWITCH)
}

/// What is passed on to Graph and answered as it answers.
fn errand(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    post(path, id, summary)
        .says(
            "Passed on to Graph with the engine's own token, and so is the answer. The local \
             service lacks most of these and answers 405 or 501.",
        )
        .takes_like(Body::Json("Errand"), json!({"clientContext": "attempt-1"}))
        .or_nothing()
        .gives(
            200,
            Body::Json("CommsOperation"),
            "Graph's answer; as a rule an operation.",
        )
        .with_header("Location", "The operation, where there is one.")
        .gives(201, Body::Json("CommsOperation"), "Graph's answer.")
        .gives_nothing(202, "Graph has begun.")
        .gives_nothing(204, "Graph has done it.")
        .fails(BODY)
        .fails(SENT)
        .fails(ERRAND)
}

/// What the document is made of.
fn contract() -> Contract {
    let routes = operations().into_iter().map(|route| {
        if route.is_open() {
            return route;
        }
        let rule = rule(&route);
        let failures = match rule.map(|rule| rule.who) {
            Some(Who::Served) => SERVED,
            Some(Who::Owner | Who::Keeper | Who::Watcher | Who::Callee) => CALL,
            // Of one that rings there is no log.
            Some(Who::Reader) => &CALL[..1],
            Some(Who::Application) | None => &[][..],
        };
        let route = match rule {
            Some(rule) if rule.is_replayed() => route
                .header("Idempotency-Key", IDEMPOTENCY_KEY, "")
                .matching("^[ -~]{1,128}$")
                .fails(REPLAYED),
            _ => route,
        };
        let named = if route.path().contains('{') {
            PATH
        } else {
            &[]
        };
        route.fails(TOKEN).fails(named).fails(failures)
    });
    Contract {
        title: "openmic engine",
        about: ABOUT,
        token: "An application's token of a configured issuer, by client credentials, or an API key.",
        groups: GROUPS,
        parameters: PARAMETERS,
        routes: routes.collect(),
        schemas: schemas(),
    }
}

/// The line of the table that a route is about.
fn rule(route: &Route) -> Option<&'static crate::table::Rule> {
    let mut rules = TABLE.iter();
    rules.find(|rule| rule.path == route.path() && word(rule.method) == route.method())
}

fn schemas() -> Vec<Named> {
    let mut all = openmic_wire::schema::schemas();
    all.extend(openmic_hub::schema::schemas());
    all.extend(crate::calls::schemas());
    all.push(openmic_contract::document_schema());
    all
}

/// The word of a method of the table.
fn word(method: MethodFilter) -> &'static str {
    let all = [Method::GET, Method::POST, Method::PATCH, Method::DELETE];
    let words = ["GET", "POST", "PATCH", "DELETE"];
    let same = |one: Method| MethodFilter::try_from(one).is_ok_and(|one| one == method);
    let found = all
        .into_iter()
        .zip(words)
        .find(|(one, _)| same(one.clone()));
    found.map_or("other", |(_, word)| word)
}

#[cfg(test)]
mod tests;
