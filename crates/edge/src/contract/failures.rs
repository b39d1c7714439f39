//! How requests fail, in lists by what a route is.

use openmic_contract::Failure;

const fn way(status: u16, code: &'static str, when: &'static str) -> Failure {
    Failure::new(status, code, when)
}

/// Whoever must show who it is.
pub(super) const TOKEN: &[Failure] = &[
    way(
        401,
        "InvalidAuthenticationToken",
        "There is no token, or none that can be accepted; the message says why.",
    ),
    way(
        403,
        "7500",
        "The token is a user's. Ask for the application's own by client credentials.",
    ),
    way(
        503,
        "serviceNotAvailable",
        "Tokens cannot be checked at present, or the engine is busy or ending. Come again.",
    ),
    way(
        429,
        "TooManyRequests",
        "The application sends more requests than it may. Come again when Retry-After has passed.",
    ),
];

/// Whose calls the engine makes with a credential of its own.
pub(super) const SERVED: &[Failure] = &[
    way(
        403,
        "7503",
        "The engine has no upstream credential for this application.",
    ),
    way(403, "7504", "The token lacks a role that the call needs."),
    way(
        403,
        "7505",
        "The token is of another tenant than the engine's credential.",
    ),
];

/// What has names in its path.
pub(super) const PATH: &[Failure] = &[way(
    400,
    "invalidRequest",
    "The path cannot be read; percent-encode it as UTF-8.",
)];

/// What names a call.
pub(super) const CALL: &[Failure] = &[
    way(
        404,
        "8522",
        "The call has ended, or no call of this application has this id.",
    ),
    way(400, "8501", "The call rings and is not answered yet."),
];

/// What is for calls that ring.
pub(super) const RINGING: &[Failure] = &[way(
    400,
    "8585",
    "The call does not ring: it was answered, or is being answered or rejected.",
)];

/// What takes a body.
pub(super) const BODY: &[Failure] = &[
    way(
        400,
        "invalidRequest",
        "The body is not the JSON that is wanted; the message says what is wrong.",
    ),
    way(408, "timeout", "The body took too long to come."),
    way(413, "invalidRequest", "The body is longer than 256 KiB."),
    way(
        415,
        "notSupported",
        "The body is not declared as application/json.",
    ),
];

/// What Graph is asked for: its own refusals are passed on.
pub(super) const READ: &[Failure] = &[
    way(400, "badRequest", "Graph's refusal, passed on."),
    way(403, "7504", "Graph's refusal, passed on."),
    way(404, "8522", "Graph does not know it."),
    way(409, "conflict", "Graph's refusal, passed on."),
    way(
        429,
        "9012",
        "Graph throttles. Come again when Retry-After has passed.",
    ),
    way(500, "generalException", "A fault, Graph's or ours."),
    way(
        502,
        "generalException",
        "Graph gave no usable answer, or refuses the engine's credential.",
    ),
    way(503, "serviceNotAvailable", "Graph is not available."),
    way(504, "timeout", "Graph did not answer in time."),
];

/// What Graph is told. Once it may have been sent there is no 503 or 504: middlewares repeat a POST
/// on those.
pub(super) const SENT: &[Failure] = &[
    way(400, "8523", "Graph's refusal, passed on."),
    way(403, "7504", "Graph's refusal, passed on."),
    way(404, "8522", "Graph's refusal, passed on."),
    way(409, "conflict", "Graph's refusal, passed on."),
    way(
        429,
        "8530",
        "Graph throttles and has done nothing. Come again when Retry-After has passed.",
    ),
    way(500, "generalException", "A fault, Graph's or ours."),
    way(
        502,
        "generalException",
        "Graph gave no usable answer; what was asked may have been done.",
    ),
    way(
        502,
        "serviceNotAvailable",
        "Graph cannot be reached; nothing was sent.",
    ),
];

/// Mute and unmute: these refusals of Graph are passed on, all others are in `resultInfo`.
pub(super) const SWITCH: &[Failure] = &[
    way(400, "8501", "The call is not established."),
    way(
        400,
        "8523",
        "`clientContext` is no string of at most 256 UTF-16 units.",
    ),
    way(
        400,
        "8548",
        "The call has one other side and so no server mute.",
    ),
    way(403, "7504", "Graph's refusal, passed on."),
    way(405, "notAllowed", "Graph's refusal, passed on."),
    way(409, "conflict", "Graph's refusal, passed on."),
];

/// What is passed on as it is.
pub(super) const ERRAND: &[Failure] = &[
    way(
        400,
        "8523",
        "Graph's refusal, passed on, or a `clientContext` that is no string of at most 256 UTF-16 units.",
    ),
    way(405, "notAllowed", "Not on this service."),
    way(
        501,
        "8520",
        "The local calling service lacks it; Graph has it.",
    ),
    way(
        503,
        "serviceNotAvailable",
        "Graph is not available; nothing was sent.",
    ),
];

/// What the flight recorder is asked for.
pub(super) const LOG: &[Failure] = &[
    way(400, "invalidRequest", "`since` is no whole number."),
    way(404, "itemNotFound", "The engine has no flight recorder."),
    way(
        410,
        "recordsDamaged",
        "The call outlived another process, and its records are damaged: it is hung up, and its \
         records stay.",
    ),
];

/// The handshake of a WebSocket.
pub(super) const UPGRADE: &[Failure] = &[
    way(
        400,
        "invalidRequest",
        "The handshake is not RFC 6455's, or `since` cannot be read.",
    ),
    way(
        403,
        "accessDenied",
        "Pages of this origin may not watch rosters.",
    ),
    way(426, "notSupported", "The WebSocket version is not 13."),
];

/// Notifications.
pub(super) const NOTIFICATION: &[Failure] = &[
    way(400, "invalidRequest", "The notifications cannot be read."),
    way(404, "itemNotFound", "No call takes notifications here."),
    way(408, "timeout", "The body took too long to come."),
    way(413, "invalidRequest", "The body is longer than 4 MiB."),
];

/// What is answered once however often it comes.
pub(super) const REPLAYED: &[Failure] = &[
    way(400, "invalidRequest", "`Idempotency-Key` cannot be read."),
    way(
        422,
        "idempotency_mismatch",
        "The same `Idempotency-Key` came with another request.",
    ),
    way(
        503,
        "serviceNotAvailable",
        "As many requests run as are remembered for repeats. Come again.",
    ),
];
