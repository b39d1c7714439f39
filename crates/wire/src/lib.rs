//! Graph's JSON twins of the model and the conversions between them.
//!
//! The only crate that knows `@odata.type` and Graph's member names. Both sides use it: the client
//! encodes requests and decodes answers and notifications, the local service does the reverse.
//!
//! Decoding is lenient, because what Graph sends differs from what it documents: enum words in any
//! case, ids in any spelling, missing ids, numbers as strings, `#` left out of types, members
//! nobody knows. It is bounded too: JSON nests at most 32 deep and names no member
//! twice, an array holds at most [`MAX_ITEMS`] entries, and the size of a body is for the caller to limit. Encoding is strict:
//! camelCase words, `#microsoft.graph.` types.
//!
//! ```
//! let body = br#"{"value":[{"changeType":"Deleted","resource":"/app/calls/0C1F5E00"}]}"#;
//! let batch = openmic_wire::notification::decode(body)?;
//! assert_eq!(batch.notifications.len(), 1);
//! # Ok::<(), openmic_wire::DecodeError>(())
//! ```

pub mod action;
pub mod answer;
pub mod call;
pub mod create;
pub mod errand;
pub mod error;
mod identity;
pub mod invite;
mod json;
pub mod notification;
pub mod operation;
pub mod participant;
pub mod raw;
pub mod resource;
mod result_info;
#[cfg(feature = "schema")]
pub mod schema;
mod shape;
mod strict;
mod tree;

pub use json::{DecodeError, MAX_ITEMS};

#[cfg(test)]
mod secrecy {
    //! Types of a body that may hold a secret print none of it.

    use openmic_model::CallId;

    use crate::answer::{AnswerCall, RejectCall};
    use crate::create::CreateCall;
    use crate::notification::{ChangeType, Data, Outgoing};
    use crate::raw::Named;
    use crate::{call, notification};

    #[test]
    fn no_address_name_or_passcode_of_a_body_is_printed() {
        let body = br##"{"id": "c1", "state": "incoming", "reason": "busy",
            "callbackUri": "https://bot.example/k4nar1?sig=k4nar1",
            "subject": "k4nar1", "tenantId": "t1",
            "source": {"identity": {"user": {"id": "u1", "displayName": "k4nar1"}}},
            "mediaConfig": {"@odata.type": "#microsoft.graph.appHostedMediaConfig",
                            "blob": "v=0 k4nar1"},
            "meetingInfo": {"@odata.type": "#microsoft.graph.joinMeetingIdMeetingInfo",
                            "joinMeetingId": "123", "passcode": "k4nar1"}}"##;
        let create = CreateCall::decode(body).unwrap();
        let answer = AnswerCall::decode(body).unwrap();
        let reject = RejectCall::decode(body).unwrap();
        let read = call::decode(body).unwrap();
        assert!(read.callback_uri.is_some() && read.media_blob.is_some());
        let entry = br#"{"value": [{"changeType": "created", "resource": "/app/calls/c1",
            "resourceData": {"state": "incoming",
                "source": {"identity": {"user": {"id": "u1", "displayName": "k4nar1"}}}}}]}"#;
        let offered = notification::decode(entry).unwrap();
        let id = CallId::parse("c1").unwrap();
        let outgoing = Outgoing {
            call: &id,
            callback_uri: "https://bot.example/k4nar1",
            change: ChangeType::Updated,
            data: Data::Facts(&read.facts),
        };
        let named = Named {
            callback_uri: outgoing.callback_uri.to_owned(),
            call_options: None,
        };
        let printed =
            format!("{create:?} {answer:?} {reject:?} {read:?} {offered:?} {outgoing:?} {named:?}");
        for name in [
            "CreateCall",
            "AnswerCall",
            "RejectCall",
            "CallAnswer",
            "Incoming",
            "Outgoing",
            "Named",
        ] {
            assert!(printed.contains(name), "{name} in {printed}");
        }
        assert!(!printed.contains("k4nar1"), "{printed}");
    }
}
