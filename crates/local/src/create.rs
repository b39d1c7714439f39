use openmic_auth::Claims;
use openmic_model::{CallKind, Identity, IdentityKind};
use openmic_wire::call::Direction;
use openmic_wire::create::{CreateCall, Destination, MediaConfig};
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;

use crate::deliver::Callback;
use crate::error::CallError;
use crate::sdp::Offer;

/// What a call keeps of its creation, to answer GET and to tell its bot of changes.
#[derive(Debug, Clone)]
pub(crate) struct Created {
    /// What the bot sent, with the chat thread filled in where the service found or made it; of an
    /// incoming call what the caller asked, and then what the bot answered.
    pub(crate) body: Map<String, Value>,
    pub(crate) direction: Direction,
    /// Who began the call: the bot itself, or its caller.
    pub(crate) source: Identity,
    pub(crate) chain: String,
    pub(crate) delta_roster: bool,
    /// The SDP answer of app-hosted media.
    pub(crate) media_answer: Option<String>,
}

impl Created {
    /// The call leads to a chat thread now.
    pub(crate) fn meet(&mut self, thread: &str) {
        self.body.insert("chatInfo".to_owned(), chat(thread));
    }
}

fn chat(thread: &str) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.chatInfo",
        "threadId": thread,
        "messageId": "0",
        "replyChainMessageId": null,
    })
}

/// A create that was found good: what is to be done for it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) request: CreateCall,
    pub(crate) kind: CallKind,
    /// The chat thread, or for a 1:1 call a name nobody can join by.
    pub(crate) thread: String,
    /// Whom a new group call rings; they answer at once.
    pub(crate) callees: Vec<Identity>,
    pub(crate) offer: Option<Offer>,
    pub(crate) callback: Callback,
}

impl Plan {
    /// What GET repeats of the create. Graph fills `chatInfo` in where the bot named no thread.
    pub(crate) fn body(&self) -> Map<String, Value> {
        let mut body = self.request.body().clone();
        if matches!(
            self.request.destination(),
            Destination::JoinId { .. } | Destination::Group(_)
        ) {
            body.insert("chatInfo".to_owned(), chat(&self.thread));
        }
        body
    }

    /// Checks a create and its caller's roles.
    pub(crate) fn new(request: CreateCall, claims: &Claims) -> Result<Self, CallError> {
        let callback = callback(request.callback_uri())?;
        authorize(&request, claims)?;
        let mut callees = Vec::new();
        let thread = match request.destination() {
            Destination::Meeting { thread_id } => thread_id.clone(),
            Destination::JoinId { id, .. } => {
                let plain: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
                if plain.is_empty() {
                    return Err(CallError::Argument(
                        "joinMeetingId holds no digit or letter; give the id people type in",
                    ));
                }
                format!("19:meeting_{plain}@thread.v2")
            }
            Destination::Group(targets) => {
                callees.clone_from(targets);
                format!("19:meeting_{}@thread.v2", Uuid::new_v4().simple())
            }
            Destination::Peer(_) => format!("1:1:{}", Uuid::new_v4().simple()),
            Destination::Token(_) => return Err(CallError::JoinToken),
        };
        let kind = request.kind();
        let offer = offer(request.media())?;
        Ok(Self {
            request,
            kind,
            thread,
            callees,
            offer,
            callback,
        })
    }

    /// Who the bot is in the roster: a guest when it says so, else its registration.
    pub(crate) fn identity(&self, registered: Identity) -> Identity {
        match self.request.source() {
            Some(source) if source.kind == IdentityKind::Guest => Identity {
                id: source
                    .id
                    .clone()
                    .or_else(|| Some(Uuid::new_v4().to_string())),
                ..source.clone()
            },
            _ => registered,
        }
    }
}

/// Roles are checked here and nowhere else, as Graph does. The docs spell some in the plural.
fn authorize(request: &CreateCall, claims: &Claims) -> Result<(), CallError> {
    let wanted: &[&str] = match request.destination() {
        Destination::Peer(_) => &["Calls.Initiate.All"],
        Destination::Group(_) => &[
            "Calls.Initiate.All",
            "Calls.InitiateGroupCall.All",
            "Calls.InitiateGroupCalls.All",
        ],
        Destination::Meeting { .. } | Destination::JoinId { .. } | Destination::Token(_) => JOIN,
    };
    if !claims.has_any_role(wanted) {
        return Err(CallError::Role(wanted[0]));
    }
    authorize_media(request.media(), claims)
}

/// Answering asks for no role in a 1:1 call, and in a group call for the same as joining it.
/// Source: `contract.md` §6.2.
pub(crate) fn authorize_answer(
    kind: CallKind,
    media: &MediaConfig,
    claims: &Claims,
) -> Result<(), CallError> {
    if kind == CallKind::Group && !claims.has_any_role(JOIN) {
        return Err(CallError::Role(JOIN[0]));
    }
    authorize_media(media, claims)
}

fn authorize_media(media: &MediaConfig, claims: &Claims) -> Result<(), CallError> {
    let role = "Calls.AccessMedia.All";
    if matches!(media, MediaConfig::AppHosted { .. }) && !claims.has_any_role(&[role]) {
        return Err(CallError::Role(role));
    }
    Ok(())
}

const JOIN: &[&str] = &[
    "Calls.JoinGroupCall.All",
    "Calls.JoinGroupCalls.All",
    "Calls.JoinGroupCallAsGuest.All",
    "Calls.JoinGroupCallsAsGuest.All",
    "Calls.JoinGroupCallasGuest.All",
    "Calls.JoinGroupCallsasGuest.All",
];

/// Where notifications are to go.
pub(crate) fn callback(uri: &str) -> Result<Callback, CallError> {
    let url = Url::parse(uri)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or(CallError::Argument(
            "callbackUri is not an absolute http(s) URL; give the address the bot serves",
        ))?;
    Ok(Callback {
        url,
        uri: uri.to_owned(),
    })
}

/// The SDP offer of app-hosted media; an empty blob is none.
pub(crate) fn offer(media: &MediaConfig) -> Result<Option<Offer>, CallError> {
    let blob = match media {
        MediaConfig::AppHosted { blob } => blob.as_deref().unwrap_or_default().trim(),
        MediaConfig::ServiceHosted => "",
    };
    match blob {
        "" => Ok(None),
        blob => Ok(Some(Offer::parse(blob)?)),
    }
}
