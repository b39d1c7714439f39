//! Bodies that name participants of a call: invite and muteAll.
//! Source: Graph `participant: invite`, `participant: muteAll` (beta).

use std::fmt;

use openmic_model::{ClientContext, Identity, IdentityKind, ParticipantId};
use serde_json::{Map, Value};

use crate::action::{self, ActionError};
use crate::identity;
use crate::json::{self, DecodeError};

/// Most participants of one invite, Graph's limit.
pub const MAX_INVITED: usize = 5;

/// Why the body of an invite or a muteAll is refused; Graph's surface answers it 400.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// What is wrong with the body of any action.
    #[error("the body cannot be read")]
    Action(#[source] ActionError),
    /// No list, or too long a one.
    #[error("the participants cannot be read")]
    List(#[source] DecodeError),
    /// An empty list.
    #[error("participants is missing or empty; name at least one")]
    Nobody,
    /// Over Graph's limit.
    #[error("participants holds more than {MAX_INVITED} entries; send several invites")]
    TooMany,
    /// An entry that names nobody.
    #[error("participant {0} names nobody; give identity with a user, guest or phone and its id")]
    Identity(usize),
    /// An entry whose id is none.
    #[error("participant {0} has no usable id")]
    Id(usize),
}

/// One whom a bot invites. Its `Debug` shows no names.
#[derive(Clone, PartialEq)]
pub struct Invitation {
    /// Who.
    pub identity: Identity,
    /// The id that the bot wants for the roster entry.
    pub participant: Option<ParticipantId>,
    body: Map<String, Value>,
}

/// The body of an invite.
#[derive(Debug, Clone, PartialEq)]
pub struct InviteParticipants {
    /// Whom, 1 to [`MAX_INVITED`].
    pub invitations: Vec<Invitation>,
    /// The bot's own context.
    pub context: Option<ClientContext>,
}

impl InviteParticipants {
    /// Reads the body of `POST participants/invite`. Of several of which one replaces a call, the
    /// first counts, as documented.
    ///
    /// # Errors
    /// [`InviteError`]; with its source it may be shown to the caller.
    pub fn decode(body: &[u8]) -> Result<Self, InviteError> {
        let (context, listed) = participants(body)?;
        let mut invitations = Vec::new();
        for (at, value) in listed.into_iter().enumerate() {
            if at == MAX_INVITED {
                return Err(InviteError::TooMany);
            }
            let Value::Object(body) = value else {
                return Err(InviteError::Identity(at));
            };
            let identity = identity::decode(&body);
            if identity.id.as_deref().unwrap_or_default().is_empty() {
                return Err(InviteError::Identity(at));
            }
            let participant = json::text(&body, "participantId").map(ParticipantId::parse);
            let participant = participant.transpose().map_err(|_| InviteError::Id(at))?;
            invitations.push(Invitation {
                identity,
                participant,
                body,
            });
        }
        let replaces = |one: &Invitation| json::text(&one.body, "replacesCallId").is_some();
        if invitations.iter().any(replaces) {
            invitations.truncate(1);
        }
        Ok(Self {
            invitations,
            context,
        })
    }
}

impl Invitation {
    /// The invitation as its operation shows it, with the id of the roster entry to come.
    pub fn to_json(&self, participant: &ParticipantId) -> Value {
        let mut body = self.body.clone();
        let kind = "#microsoft.graph.invitationParticipantInfo";
        body.insert("@odata.type".to_owned(), kind.into());
        body.insert("participantId".to_owned(), participant.as_str().into());
        body.into()
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation")
            .field("participant", &self.participant)
            .finish_non_exhaustive()
    }
}

/// The body of a muteAll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MuteAll {
    /// Whom, at least one.
    pub participants: Vec<ParticipantId>,
    /// The bot's own context.
    pub context: Option<ClientContext>,
}

impl MuteAll {
    /// Reads the body of `POST participants/muteAll`.
    ///
    /// # Errors
    /// [`InviteError`]; with its source it may be shown to the caller.
    pub fn decode(body: &[u8]) -> Result<Self, InviteError> {
        let (context, listed) = participants(body)?;
        let id = |(at, value): (usize, &Value)| {
            let id = value
                .as_str()
                .and_then(|raw| ParticipantId::parse(raw).ok());
            id.ok_or(InviteError::Id(at))
        };
        Ok(Self {
            participants: listed
                .iter()
                .enumerate()
                .map(id)
                .collect::<Result<_, _>>()?,
            context,
        })
    }
}

fn participants(body: &[u8]) -> Result<(Option<ClientContext>, Vec<Value>), InviteError> {
    let body = action::object(body).map_err(InviteError::Action)?;
    let context = action::context(&body).map_err(InviteError::Action)?;
    let listed = json::list(&body, "participants").map_err(InviteError::List)?;
    if listed.is_empty() {
        return Err(InviteError::Nobody);
    }
    Ok((context, listed.to_vec()))
}

/// Whom the body of a 1:1 call calls.
pub fn only_target(call: &Map<String, Value>) -> Option<Identity> {
    let targets = call.get("targets")?.as_array()?;
    let identity = identity::decode(targets.first()?.as_object()?);
    let named = identity.kind != IdentityKind::Other || identity.id.is_some();
    (targets.len() == 1 && named).then_some(identity)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(id: &str) -> Value {
        json!({"identity": {"user": {"id": id, "displayName": "Ann"}}, "new": 1})
    }

    fn invite(body: &Value) -> Result<InviteParticipants, InviteError> {
        InviteParticipants::decode(body.to_string().as_bytes())
    }

    #[test]
    fn an_invite_names_one_to_five() {
        let body = json!({"participants": [user("u1"), user("u2")], "clientContext": "c"});
        let read = invite(&body).unwrap();
        assert_eq!(read.context.unwrap().as_str(), "c");
        let ids: Vec<_> = read
            .invitations
            .iter()
            .map(|one| &one.identity.id)
            .collect();
        assert_eq!(ids, [&Some("u1".to_owned()), &Some("u2".to_owned())]);
        let id = ParticipantId::parse("p1").unwrap();
        let shown = read.invitations[0].to_json(&id);
        assert_eq!(shown["new"], 1);
        assert_eq!(shown["participantId"], "p1");
        assert!(!format!("{:?}", read.invitations).contains("Ann"));

        let many = |count| json!({"participants": vec![user("u"); count]});
        assert!(invite(&many(5)).is_ok());
        assert!(matches!(invite(&many(6)), Err(InviteError::TooMany)));
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for (body, kind) in [
            (json!({}), "Nobody"),
            (json!({"participants": null}), "Nobody"),
            (json!({"participants": []}), "Nobody"),
            (json!({"participants": "all"}), "List"),
            (json!({"participants": [7]}), "Identity(0)"),
            (json!({"participants": [user("u"), {}]}), "Identity(1)"),
            (json!({"participants": [user("")]}), "Identity(0)"),
            (json!([]), "Action"),
            (
                json!({"participants": [user("u")], "clientContext": 1}),
                "Action",
            ),
        ] {
            let error = invite(&body).unwrap_err();
            assert!(format!("{error:?}").starts_with(kind), "{body} {error:?}");
        }
        let mut bad = user("u");
        bad["participantId"] = "a/b".into();
        let error = invite(&json!({"participants": [bad]})).unwrap_err();
        assert!(matches!(error, InviteError::Id(0)), "{error:?}");
    }

    #[test]
    fn of_those_that_replace_a_call_the_first_counts() {
        let mut first = user("u1");
        first["replacesCallId"] = "c2".into();
        let read = invite(&json!({"participants": [first, user("u2")]})).unwrap();
        assert_eq!(read.invitations.len(), 1);
    }

    #[test]
    fn a_mute_of_several_names_them_by_id() {
        let read = MuteAll::decode(br#"{"participants":["p1","p2"],"clientContext":"c"}"#);
        let read = read.unwrap();
        assert_eq!(read.participants.len(), 2);
        assert_eq!(read.context.unwrap().as_str(), "c");
        for bad in [&br#"{"participants":[1]}"#[..], b"{}", b"[]"] {
            assert!(MuteAll::decode(bad).is_err());
        }
    }

    #[test]
    fn the_one_target_of_a_call_is_found() {
        let Value::Object(one) = json!({"targets": [user("u1")]}) else {
            unreachable!()
        };
        assert_eq!(only_target(&one).unwrap().id.as_deref(), Some("u1"));
        let Value::Object(two) = json!({"targets": [user("u1"), user("u2")]}) else {
            unreachable!()
        };
        assert_eq!(only_target(&two), None);
    }
}
