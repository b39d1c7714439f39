//! The body of create call, read by the service and the edge, made by the client.
//! Source: Graph `Create call`.

use std::fmt;

use openmic_model::{CallKind, Identity, TenantId};
use serde_json::{Map, Value, json};

use crate::call;
use crate::identity;
use crate::json::{self, DecodeError, Object};
use crate::shape::{self, Kind, Member};

/// What is looked at of a create, or repeated by its call.
pub(crate) const MEMBERS: &[Member] = &[
    member("@odata.type", Kind::Text, "`#microsoft.graph.call`."),
    member(
        "callbackUri",
        Kind::Text,
        "Where the call's notifications go, an absolute http or https address.",
    ),
    member("direction", Kind::Text, ""),
    member("subject", Kind::Text, "What the call is about."),
    member(
        "tenantId",
        Kind::Text,
        "The tenant of the meeting, from its join URL.",
    ),
    member(
        "requestedModalities",
        Kind::List(&Kind::Text),
        "`audio` and others.",
    ),
    member("mediaConfig", MEDIA, "Who handles the media."),
    member("chatInfo", CHAT, "The meeting's chat, from its join URL."),
    member(
        "meetingInfo",
        MEETING,
        "The meeting: its organizer, its join id, or a token.",
    ),
    member("targets", Kind::List(&PARTY), "Whom to call, at most 5."),
    member(
        "source",
        PARTY,
        "Who the bot says it is; a guest may have a name.",
    ),
    member("callOptions", OPTIONS, ""),
];

/// What a create cannot do without.
#[cfg(feature = "schema")]
pub(crate) const REQUIRED: &[(&str, Kind)] = &[("callbackUri", Kind::Text), ("mediaConfig", MEDIA)];

pub(crate) const MEDIA: Kind = Kind::Object(&[
    member(
        "@odata.type",
        Kind::Text,
        "`#microsoft.graph.appHostedMediaConfig` or `#microsoft.graph.serviceHostedMediaConfig`.",
    ),
    member(
        "blob",
        Kind::Text,
        "Of app-hosted media: the bot's side; on the local service an SDP offer, answered in the \
         created call.",
    ),
]);
const CHAT: Kind = Kind::Object(&[
    member("@odata.type", Kind::Text, ""),
    member("threadId", Kind::Text, ""),
    member("messageId", Kind::Text, ""),
    member("replyChainMessageId", Kind::Text, ""),
]);
const MEETING: Kind = Kind::Object(&[
    member("@odata.type", Kind::Text, ""),
    member("organizer", Kind::Object(&[]), "An identity set."),
    member("allowConversationWithoutHost", Kind::Flag, ""),
    member("joinMeetingId", Kind::Text, "What people type in."),
    member("passcode", Kind::Text, ""),
    member("token", Kind::Text, ""),
]);
const PARTY: Kind = Kind::Object(&[
    member("@odata.type", Kind::Text, ""),
    member(
        "identity",
        Kind::Object(&[]),
        "An identity set: one of user, application, guest, phone.",
    ),
]);
pub(crate) const OPTIONS: Kind = Kind::Object(&[
    member("@odata.type", Kind::Text, ""),
    member(
        "isDeltaRosterEnabled",
        Kind::Flag,
        "Rosters come as changes.",
    ),
    member("hideBotAfterEscalation", Kind::Flag, ""),
    member("isContentSharingNotificationEnabled", Kind::Flag, ""),
]);

pub(crate) const fn member(name: &'static str, kind: Kind, about: &'static str) -> Member {
    Member { name, kind, about }
}

/// Most targets of one create, Graph's limit.
const MAX_TARGETS: usize = 5;

/// Why a create is refused; Graph's surface answers it 400.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Not readable, or a member of the wrong type.
    #[error("the call cannot be read")]
    Decode(#[source] DecodeError),
    /// Nobody to call and nothing to join.
    #[error(
        "the call leads nowhere; give targets, or chatInfo.threadId with organizerMeetingInfo, \
         or meetingInfo with a join id or token"
    )]
    NoDestination,
    /// A meeting without its thread.
    #[error("organizerMeetingInfo needs chatInfo.threadId besides; take both from the join URL")]
    NoThread,
    /// Over Graph's limit.
    #[error("targets holds more than {MAX_TARGETS} entries; invite the others later")]
    TooManyTargets,
    /// A media config of neither kind.
    #[error(
        "mediaConfig is neither appHostedMediaConfig nor serviceHostedMediaConfig; set its \
         @odata.type to one of them"
    )]
    MediaConfig,
    /// A tenant that is no id.
    #[error("tenantId is no usable id; give the directory (tenant) id, or leave it out")]
    Tenant,
}

/// Where a call leads.
#[derive(Clone, PartialEq, Eq)]
pub enum Destination {
    /// One other side.
    Peer(Identity),
    /// A new group call of several.
    Group(Vec<Identity>),
    /// A meeting by its chat thread.
    Meeting {
        /// `chatInfo.threadId`.
        thread_id: String,
    },
    /// A meeting by the id people type in.
    JoinId {
        /// `joinMeetingId`.
        id: String,
        /// `passcode`, a secret.
        passcode: Option<String>,
    },
    /// A meeting by the token of an incoming call; a secret.
    Token(String),
}

/// Who handles the media of a call.
#[derive(Clone, PartialEq, Eq)]
pub enum MediaConfig {
    /// The bot itself; the blob describes its side (an SDP offer on the local service).
    AppHosted {
        /// `appHostedMediaConfig.blob`.
        blob: Option<String>,
    },
    /// The service; the bot asks it to play and record.
    ServiceHosted,
}

/// A create as sent or received.
///
/// The JSON is what counts; the rest was read from it, so members we do not know survive. It may
/// hold secrets and names, and its `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct CreateCall {
    callback_uri: String,
    destination: Destination,
    media: MediaConfig,
    tenant: Option<TenantId>,
    source: Option<Identity>,
    delta_roster: bool,
    body: Map<String, Value>,
}

/// What a client says to join a meeting.
#[derive(Clone)]
pub struct Join<'a> {
    /// Where the notifications of this call shall go.
    pub callback_uri: &'a str,
    /// The meeting's chat thread, from the join URL.
    pub thread_id: &'a str,
    /// The organizer's directory id, from the join URL.
    pub organizer: &'a str,
    /// The meeting's tenant, from the join URL.
    pub tenant: &'a TenantId,
    /// Who handles the media.
    pub media: MediaConfig,
    /// The name to show, for a guest; Graph ignores it for a registered bot.
    pub display_name: Option<&'a str>,
}

impl CreateCall {
    /// Reads the body of `POST /communications/calls`.
    ///
    /// # Errors
    /// [`CreateError`]; with its source it may be shown to the caller.
    pub fn decode(body: &[u8]) -> Result<Self, CreateError> {
        let body = json::object(body, "the call").map_err(CreateError::Decode)?;
        Self::from_object(body)
    }

    fn from_object(body: Object) -> Result<Self, CreateError> {
        shape::check(&body, MEMBERS).map_err(CreateError::Decode)?;
        let missing = |name| CreateError::Decode(DecodeError::Missing(name));
        let callback_uri = json::text(&body, "callbackUri")
            .filter(|uri| !uri.is_empty())
            .ok_or_else(|| missing("callbackUri"))?
            .to_owned();
        let media = json::member(&body, "mediaConfig").ok_or_else(|| missing("mediaConfig"))?;
        let media = media_config(media)?;
        let tenant = match body.get("tenantId") {
            None | Some(Value::Null) => None,
            Some(raw) => {
                let id = raw.as_str().and_then(|raw| TenantId::parse(raw).ok());
                Some(id.ok_or(CreateError::Tenant)?)
            }
        };
        let options = json::member(&body, "callOptions");
        Ok(Self {
            callback_uri,
            destination: destination(&body)?,
            media,
            tenant,
            source: call::identity_of(&body, "source"),
            delta_roster: options
                .and_then(|options| json::flag(options, "isDeltaRosterEnabled"))
                .unwrap_or(false),
            body,
        })
    }

    /// A create that joins a meeting by its coordinates, with delta rosters.
    ///
    /// # Errors
    /// [`CreateError`] when the callback or the thread is empty.
    pub fn join(join: &Join<'_>) -> Result<Self, CreateError> {
        let tenant = join.tenant.as_str();
        let mut body = json!({
            "@odata.type": "#microsoft.graph.call",
            "direction": "outgoing",
            "callbackUri": join.callback_uri,
            "requestedModalities": ["audio"],
            "mediaConfig": media_json(&join.media),
            "chatInfo": {
                "@odata.type": "#microsoft.graph.chatInfo",
                "threadId": join.thread_id,
                "messageId": "0",
            },
            "meetingInfo": {
                "@odata.type": "#microsoft.graph.organizerMeetingInfo",
                "organizer": {
                    "@odata.type": "#microsoft.graph.identitySet",
                    "user": {
                        "@odata.type": "#microsoft.graph.identity",
                        "id": join.organizer,
                        "tenantId": tenant,
                    },
                },
            },
            "callOptions": {
                "@odata.type": "#microsoft.graph.outgoingCallOptions",
                "isDeltaRosterEnabled": true,
            },
            "tenantId": tenant,
        });
        if let Some(name) = join.display_name {
            body["source"] = call::participant_info(&Identity {
                kind: openmic_model::IdentityKind::Guest,
                id: None,
                display_name: Some(name.to_owned()),
            });
        }
        let Value::Object(body) = body else {
            unreachable!("the literal above is an object");
        };
        Self::from_object(body)
    }

    /// Where notifications go.
    pub fn callback_uri(&self) -> &str {
        &self.callback_uri
    }

    /// Sends notifications elsewhere.
    pub fn set_callback_uri(&mut self, uri: &str) {
        uri.clone_into(&mut self.callback_uri);
        self.body.insert("callbackUri".into(), uri.into());
    }

    /// Where the call leads.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Whether it is a 1:1 call or one with a roster.
    pub fn kind(&self) -> CallKind {
        match self.destination {
            Destination::Peer(_) => CallKind::PeerToPeer,
            _ => CallKind::Group,
        }
    }

    /// Who handles the media.
    pub fn media(&self) -> &MediaConfig {
        &self.media
    }

    /// `tenantId`.
    pub fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    /// `source`: who the bot says it is.
    pub fn source(&self) -> Option<&Identity> {
        self.source.as_ref()
    }

    /// `subject`.
    pub fn subject(&self) -> Option<&str> {
        json::text(&self.body, "subject")
    }

    /// `callOptions`.
    pub fn call_options(&self) -> Option<&Map<String, Value>> {
        json::member(&self.body, "callOptions")
    }

    /// Whether rosters come as deltas.
    pub fn delta_roster(&self) -> bool {
        self.delta_roster
    }

    /// Asks for rosters as deltas or whole; other call options stay.
    pub fn set_delta_roster(&mut self, delta: bool) {
        self.delta_roster = delta;
        let options = self.body.entry("callOptions").or_insert(Value::Null);
        if !options.is_object() {
            *options = json!({"@odata.type": "#microsoft.graph.outgoingCallOptions"});
        }
        options["isDeltaRosterEnabled"] = delta.into();
    }

    /// The whole body.
    pub fn body(&self) -> &Map<String, Value> {
        &self.body
    }

    /// The whole body as sent.
    pub fn encode(&self) -> Vec<u8> {
        json::bytes(&self.body)
    }
}

pub(crate) fn media_config(media: &Object) -> Result<MediaConfig, CreateError> {
    let blob = json::text(media, "blob").map(str::to_owned);
    if json::is_type(media, "appHostedMediaConfig") {
        Ok(MediaConfig::AppHosted { blob })
    } else if json::is_type(media, "serviceHostedMediaConfig") {
        Ok(MediaConfig::ServiceHosted)
    } else if !media.contains_key("@odata.type") && blob.is_some() {
        Ok(MediaConfig::AppHosted { blob })
    } else {
        Err(CreateError::MediaConfig)
    }
}

pub(crate) fn media_json(media: &MediaConfig) -> Value {
    match media {
        MediaConfig::AppHosted { blob } => {
            json!({"@odata.type": "#microsoft.graph.appHostedMediaConfig", "blob": blob})
        }
        MediaConfig::ServiceHosted => {
            json!({"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"})
        }
    }
}

/// A meeting, however named, wins over targets: those are then invited by the service later.
fn destination(body: &Object) -> Result<Destination, CreateError> {
    let owned = |raw: &str| raw.to_owned();
    let thread = call::thread_id(body).filter(|thread| !thread.is_empty());
    if let Some(thread_id) = thread {
        return Ok(Destination::Meeting { thread_id });
    }
    if let Some(meeting) = json::member(body, "meetingInfo") {
        if let Some(id) = json::text(meeting, "joinMeetingId") {
            return Ok(Destination::JoinId {
                id: json::prose(id),
                passcode: json::text(meeting, "passcode").map(owned),
            });
        }
        return json::text(meeting, "token")
            .map(|token| Destination::Token(token.to_owned()))
            .ok_or(CreateError::NoThread);
    }
    let targets = json::list(body, "targets").map_err(CreateError::Decode)?;
    if targets.len() > MAX_TARGETS {
        return Err(CreateError::TooManyTargets);
    }
    let mut identities = targets
        .iter()
        .map(|target| target.as_object().map(identity::decode))
        .collect::<Option<Vec<_>>>()
        .ok_or(CreateError::Decode(DecodeError::NotAnObject("a target")))?;
    match identities.pop() {
        None => Err(CreateError::NoDestination),
        Some(only) if identities.is_empty() => Ok(Destination::Peer(only)),
        Some(last) => {
            identities.push(last);
            Ok(Destination::Group(identities))
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peer(_) => "Peer",
            Self::Group(_) => "Group",
            Self::Meeting { .. } => "Meeting",
            Self::JoinId { .. } => "JoinId",
            Self::Token(_) => "Token",
        })
    }
}

impl fmt::Debug for MediaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AppHosted { .. } => "AppHosted",
            Self::ServiceHosted => "ServiceHosted",
        })
    }
}

impl fmt::Debug for CreateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateCall")
            .field("destination", &self.destination)
            .field("media", &self.media)
            .field("delta_roster", &self.delta_roster)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Join<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join")
            .field("media", &self.media)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
