use std::time::Duration;

use openmic_wire::DecodeError;

use crate::TokenError;

/// A definite no by Graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Graph answered {status}, {code}: {message}")]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Graph's word, or the calling platform's code in digits; `http{status}` when it gave none.
    pub code: String,
    /// The calling platform's code, when there is one.
    pub subcode: Option<i32>,
    /// For people.
    pub message: String,
    /// Graph's id of the request, for a support case.
    pub request_id: Option<String>,
}

/// Why a request never left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent {
    /// There is no token to send.
    #[error("no token could be had")]
    Token(#[source] TokenError),
    /// There is no connection.
    #[error("no connection to Graph; check the base URL and the network")]
    Connect(#[source] reqwest::Error),
    /// The request cannot be put together.
    #[error("the request could not be made")]
    Request(#[source] reqwest::Error),
    /// Graph did not answer the last requests, or turned their tokens down; it is left alone for
    /// a few seconds.
    #[error(
        "Graph did not answer the last requests or turned fresh tokens down, and is left alone \
         for a few seconds"
    )]
    Circuit,
    /// The deadline came first.
    #[error("the time for the request was over before it could be sent")]
    TooLate,
}

/// Why nobody knows whether a request took effect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ambiguity {
    /// No answer in time.
    #[error("no answer in time")]
    Timeout(#[source] reqwest::Error),
    /// The connection broke before the answer.
    #[error("the connection broke before the answer")]
    Broken(#[source] reqwest::Error),
    /// An answer that leaves it open: 408, 500, 502, 504 and the like.
    #[error("Graph answered {0}, which leaves open whether the request took effect")]
    Status(u16),
}

/// Why a request, other than mute and unmute, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It never left.
    #[error("the request was not sent")]
    NotSent(#[source] NotSent),
    /// 429 or 503: it had no effect, come again.
    #[error("Graph throttles")]
    Throttled {
        /// What Graph said; its status is 429 or 503.
        #[source]
        refusal: Refusal,
        /// `Retry-After`, when the answer had one.
        retry_after: Option<Duration>,
    },
    /// A definite no.
    #[error("Graph refused the request")]
    Refused(#[source] Refusal),
    /// The call does not exist, or not any more.
    #[error("the call does not exist any more")]
    Gone,
    /// Nobody knows whether it took effect.
    #[error("the request has no certain outcome")]
    Ambiguous(#[source] Ambiguity),
    /// It took effect, but the answer says nothing.
    #[error("the answer could not be read")]
    Unreadable(#[source] DecodeError),
    /// It took effect, but the answer broke off or is too long.
    #[error("the answer broke off or is longer than {0} bytes")]
    Cut(usize),
    /// The list goes on somewhere we do not follow: another host, another call, too many pages.
    #[error("the list goes on at a place that is not followed")]
    NextLink,
}

/// Whether and when to repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Never,
    Backoff,
    After(Duration),
}

impl RequestError {
    /// True when it is certain that the request changed nothing.
    pub const fn had_no_effect(&self) -> bool {
        matches!(
            self,
            Self::NotSent(_) | Self::Throttled { .. } | Self::Refused(_) | Self::Gone
        )
    }

    /// Whether a repeat is harmless and may help.
    pub(crate) const fn repeat(&self) -> Repeat {
        match self {
            Self::Throttled {
                retry_after: Some(after),
                ..
            } => Repeat::After(*after),
            // a wrong secret stays wrong; whoever waits should hear of it at once
            Self::NotSent(NotSent::Token(TokenError::Refused {
                status: 400 | 401 | 403,
                ..
            })) => Repeat::Never,
            Self::NotSent(NotSent::Token(_) | NotSent::Connect(_) | NotSent::Circuit)
            | Self::Throttled { .. } => Repeat::Backoff,
            _ => Repeat::Never,
        }
    }

    /// Whether Graph was bothered, so that a repeat is one more of the same.
    pub(crate) const fn bothered(&self) -> bool {
        !matches!(self, Self::NotSent(NotSent::Token(_) | NotSent::Circuit))
    }
}
