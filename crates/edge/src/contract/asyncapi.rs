use std::fmt::Write as _;

use openmic_hub::schema::{frames, schemas};
use openmic_hub::{CLOSE_CODES, HubConfig};
use serde_json::{Map, Value, json};

/// The roster's WebSocket. Source: `AsyncAPI` 3.0 and version 0.1.0 of its binding `ws`.
pub(super) fn document() -> Value {
    let mut messages = Map::new();
    let mut held = Map::new();
    for frame in frames() {
        let name = frame.kind;
        let about = frame.about;
        messages.insert(
            name.to_owned(),
            json!({"$ref": format!("#/components/messages/{name}")}),
        );
        held.insert(
            name.to_owned(),
            json!({
                "name": name,
                "title": frame.schema,
                "summary": about,
                "contentType": "application/json",
                "payload": {"$ref": format!("#/components/schemas/{}", frame.schema)},
                "examples": [{"name": name, "payload": frame.example}],
            }),
        );
    }
    let of_channel: Vec<Value> = messages
        .keys()
        .map(|name| json!({"$ref": format!("#/channels/roster/messages/{name}")}))
        .collect();
    let named: Map<String, Value> = schemas()
        .into_iter()
        .map(|(name, schema)| {
            let schema = serde_json::to_value(schema);
            (name, schema.expect("a schema is written as JSON"))
        })
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "openmic roster",
            "version": env!("CARGO_PKG_VERSION"),
            "description": about(),
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "engine": {
                "host": "127.0.0.1:7080",
                "protocol": "ws",
                "description": "The engine's public listener; `wss` where it serves TLS.",
                "security": [{"$ref": "#/components/securitySchemes/bearer"}],
            },
        },
        "channels": {
            "roster": {
                "address": "/v1/calls/{call}/roster",
                "title": "The roster of one call",
                "description": channel(),
                "parameters": {
                    "call": {"description": "Id of a call, from the answer that created it."},
                },
                "messages": messages,
                "bindings": {"ws": {
                    "method": "GET",
                    "query": {
                        "type": "object",
                        "properties": {
                            "since": {
                                "type": "string",
                                "pattern": "^[0-9]+:[0-9]+$",
                                "description": "`epoch:seq` of the last roster frame: resume there.",
                            },
                            "ticket": {
                                "type": "string",
                                "description": "In the place of a token, once: \
                                                `POST /v1/calls/{call}/roster/ticket` gives it.",
                            },
                        },
                    },
                    "headers": {
                        "type": "object",
                        "properties": {
                            "Authorization": {
                                "type": "string",
                                "description": "`Bearer` and a token or API key; or none, with a ticket.",
                            },
                            "Origin": {
                                "type": "string",
                                "description": "Browsers send it; it must be one of \
                                                `listen.origins` or a loopback page's.",
                            },
                        },
                    },
                    "bindingVersion": "0.1.0",
                }},
                "x-close-codes": closes(),
            },
        },
        "operations": {
            "watch": {
                "action": "send",
                "title": "What a subscriber is sent",
                "channel": {"$ref": "#/channels/roster"},
                "messages": of_channel,
            },
        },
        "components": {
            "messages": held,
            "schemas": named,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token that the HTTP surface takes.",
                },
            },
        },
    })
}

fn about() -> &'static str {
    "Frames are JSON text, one message each. The first roster frame is a snapshot, or after `since` \
     the deltas after that version while they are held; a frame of the call's state follows. From \
     then on versions strictly rise, and a delta always follows what the subscriber has. Who falls \
     behind, or comes back after a restart or too late, gets a snapshot instead, with `reset`. Versions \
     of a call rise over restarts of the service too. Schemas are open: expect members and kinds of frame \
     that are not named here, and skip them."
}

fn channel() -> String {
    let HubConfig {
        ping_interval,
        slow_after,
        ..
    } = HubConfig::default();
    let mut text = format!(
        "Open it by a WebSocket handshake (RFC 6455, HTTP/1.1). A refused handshake is an HTTP \
         answer in Graph's error envelope: 400, 401, 403 (role or Origin), 404 (no such call), 426, \
         503 (full). A subscriber has nothing it must say; its pings are answered, messages over \
         16 KiB or too many of them close it. It is pinged every {} s, with `epoch:seq` of what it was \
         sent, and may say in a text message, in the same form, what it has. It is dropped after two silent rounds, \
         or when its socket takes no byte for {} s; it finds its connection gone then, without a \
         close frame.\n\n| close code | what happened | what a subscriber does |\n|--:|---|---|\n",
        ping_interval.as_secs(),
        slow_after.as_secs(),
    );
    for close in CLOSE_CODES {
        let (code, reason, advice) = (close.code, close.meaning, close.remedy);
        writeln!(text, "| {code} | {reason} | {advice} |").expect("a String takes all");
    }
    text
}

fn closes() -> Vec<Value> {
    let told = CLOSE_CODES
        .iter()
        .map(|close| json!({"code": close.code, "meaning": close.meaning, "remedy": close.remedy}));
    told.collect()
}
