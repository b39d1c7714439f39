//! How requests fail, in lists by what a route is.

use openmic_contract::Failure;

pub(super) const fn way(status: u16, code: &'static str, when: &'static str) -> Failure {
    Failure::new(status, code, when)
}

/// Every path that can be written so that it cannot be read.
pub(super) const PATH: &[Failure] = &[way(
    400,
    "invalidRequest",
    "The path or the query cannot be read; percent-encode them as UTF-8.",
)];
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
];
pub(super) const BODY: &[Failure] = &[
    way(400, "invalidRequest", "The body is no readable JSON."),
    way(
        400,
        "8523",
        "A member is missing, has the wrong type or a value that is not taken.",
    ),
    way(408, "timeout", "The body took too long to come."),
    way(
        413,
        "invalidRequest",
        "The body is larger than the service takes.",
    ),
    way(
        415,
        "notSupported",
        "The body is not declared as what is wanted.",
    ),
];
pub(super) const WORK: &[Failure] = &[way(
    500,
    "generalException",
    "A fault of the service; its log has it.",
)];
/// What names a call, a participant or an operation.
pub(super) const NAMED: &[Failure] = &[way(
    404,
    "8522",
    "It does not exist, is over, or is another application's.",
)];
pub(super) const CREATE: &[Failure] = &[
    way(400, "8526", "A meeting cannot be joined by a token here."),
    way(403, "7504", "The token lacks a role that the call needs."),
    way(
        429,
        "8530",
        "The service takes no more calls or participants.",
    ),
    way(
        503,
        "serviceNotAvailable",
        "The media path could not be set up.",
    ),
];
pub(super) const SWITCH: &[Failure] = &[
    way(400, "8501", "The call is not established."),
    way(400, "8528", "The call is terminating."),
    way(
        400,
        "8548",
        "The call has one other side and so no server mute.",
    ),
    way(
        504,
        "9002",
        "It is muted, but that was not confirmed in time.",
    ),
];
pub(super) const LAB: &[Failure] = &[way(
    404,
    "itemNotFound",
    "There is no such meeting, application or media.",
)];
