//! What the contract document says in words.

use std::sync::LazyLock;

use crate::faults::Fault;

pub(super) const ABOUT: &str = "\
A calling service on this machine that speaks as Microsoft Graph does, with a token endpoint like \
Entra ID's and a lab where a test plays the humans. Muted by the server, a bot is not heard here: \
the packets stop.

Paths below `/v1.0/communications/` are also taken as Graph spells them otherwise: `/beta` for \
`/v1.0`, `/app` for `/communications`, `calls('{call}')` for `calls/{call}`, \
`microsoft.graph.unmute` for `unmute`. Every failed request but those for tokens is answered in \
Graph's error envelope: branch on `error.code`, show `error.message`. A `client-request-id` that a \
request carries is echoed.

Schemas are open: expect members that are not named here. The lab is there on loopback only, and \
asks for no token in the dev profile.";

pub(super) const TRUTH: &str = "\
One JSON object per line: `n`, its number from 1; `at`, the wall clock; `us`, microseconds since the \
service started, by a clock that never jumps; and `what`. `started` begins each start of the \
service. `asked`: a POST or DELETE came (`request`, `act`, `call`, `participant`, `clientContext`), \
with or without effect. `effect`: somebody was muted or unmuted (`act`, `by`, `call`, \
`participant`, `changed`, `request`, `operation`, `clientContext`), or a call got on in its life \
(`create`, `ring`, `establish`, `end` with `code` and `subcode`, `gone`). `answered`: what `request` \
was answered; without `status` it got no answer. `told`: a notification was dealt with (`call`, \
`of`, `message`, `result`, `attempts`). `fault`: one came to pass (`fault`, `on`, `call`, `by`, the \
request or the message).

The newest lines are kept in memory; a first `n` above `since` + 1 says that some have gone.";

/// How faults are written, and all there are.
pub(super) static FAULTS: LazyLock<String> = LazyLock::new(|| {
    let mut text = String::from(HOW_FAULTS);
    for (name, about) in Fault::all() {
        for part in ["\n- `", name, "`: ", about] {
            text.push_str(part);
        }
    }
    text
});

const HOW_FAULTS: &str = "\
In the dev profile on loopback only; elsewhere there is no such path.

A fault is written as its name and, where they differ from what goes without saying, `key=value` \
after it: `on=` the events it strikes at, `nth=` the one of them, counted from 1, `count=` how often at \
most, `rate=` how likely, from 0 to 1, and what belongs to the fault; `ms=` is `50` or `50..200`, which \
dice choose within. The same seed throws the same dice. Events are the requests `create`, `get_call`, \
`hang_up`, `keep_alive`, `mute`, `unmute`, `mute_other`, `participants`, `operation`, `answer` and \
`token`, and the notifications `told_call`, `told_operation` and `told_roster`; groups of them are \
`switch` (mute and unmute), `reads`, `requests` and `told`. Requests outside a call, as creates, are \
counted over all calls; everything else in each call for itself. The truth log has a line of each \
fault that came to pass.

What there is:
";

pub(super) const GROUPS: &[(&str, &str, &str)] = &[
    ("/v1.0/", "calls", "Graph's surface."),
    (
        "/lab/",
        "lab",
        "Where a test plays the humans. Not Graph; on loopback only.",
    ),
    (
        "/{tenant}/",
        "tokens",
        "Tokens and the documents that say which keys sign.",
    ),
    ("/v1/", "tokens", ""),
    ("/", "documents", "This document."),
];

pub(super) const PARAMETERS: &[(&str, &str)] = &[
    ("call", "Id of a call, from the answer that created it."),
    (
        "operation",
        "Id of an operation, from the answer that began it.",
    ),
    ("participant", "Id of a participant."),
    (
        "tenant",
        "Id of a tenant, or `common` or `organizations` where a token is asked for.",
    ),
    (
        "thread",
        "Chat thread of a meeting; the first to join makes it.",
    ),
];
