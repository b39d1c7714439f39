//! Who is calling, and whether they may.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use axum::extract::{FromRequestParts as _, Path, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;
use http::header::AUTHORIZATION;
use http::request::Parts;
use openmic_auth::{ApiKey, ApiKeys, BearerError, Claims, TokenError, bearer};
use openmic_engine::{Call, Engine, Owner, Phase};
use openmic_model::{AppId, CallId, CallKind, TenantId};
use openmic_wire::create::{CreateCall, Destination, MediaConfig};
use openmic_wire::errand::Errand;

use crate::answer::{Answer, Refusal, chain};
use crate::metrics::Rejected;
use crate::replay::{Named, Scope};
use crate::ring::{self, Callee};
use crate::surface::Api;
use crate::table::Who;
use crate::{log, ticket, upgrade};

/// Who has it, in the engine's own tenant, sees every call in the own API.
pub(crate) const OPERATOR: &str = "openmic.operator";

/// An application that has shown who it is.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) app: AppId,
    pub(crate) tenant: TenantId,
    proof: Proof,
}

/// By what it has.
#[derive(Debug, Clone)]
enum Proof {
    Token(Arc<Claims>),
    Key(Arc<ApiKey>),
}

/// What guards one route.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) api: Arc<Api>,
    pub(crate) who: Who,
    pub(crate) replayed: bool,
    pub(crate) ticketed: bool,
}

/// What a caller was let in to.
enum Entered {
    /// No call in particular.
    All,
    Call(Call),
    Callee(Callee),
    Log(log::Asked),
}

/// Lets a request through when its caller may use the route. The handler finds the [`Caller`] in
/// the extensions, and the [`Call`] where the route names one, or the [`Callee`] where it may ring.
pub(crate) async fn authorize(State(gate): State<Gate>, request: Request, next: Next) -> Answer {
    let (mut parts, body) = request.into_parts();
    let api = &gate.api;
    let id = named_call(&mut parts).await;
    let caller = match gate.ticket(&parts) {
        Some(ticket) => api.tickets.take(&ticket, id.as_ref(), Instant::now()).ok_or_else(|| {
            api.metrics.turned_away(Rejected::Ticket);
            let message = "the ticket is used up, older than 30 s, or another roster's: get a new \
                           one by POST /v1/calls/{call}/roster/ticket";
            unauthenticated(message.to_owned(), BAD_TOKEN)
        })?,
        None => Caller::of(&parts, api).await.inspect_err(|refusal| {
            if refusal.status.is_client_error() {
                api.metrics.turned_away(Rejected::Unauthenticated);
            }
        })?,
    };
    api.accounts.count(&caller, Instant::now())?;
    let named = if gate.replayed {
        Named::of(&parts.headers)?
    } else {
        None
    };
    let entered = gate.enter(&caller, id.as_ref());
    let scope = named.map(|named| {
        let key = named.key.clone();
        let scope = Scope::new(caller.tenant.clone(), caller.app.clone(), id, key);
        (scope, named)
    });
    let entered = match (entered, scope) {
        (Ok(entered), None) => entered,
        (Ok(entered), Some((scope, named))) => {
            let request = admitted(parts, body, caller, entered);
            return api.replays.once(scope, named, request, next).await;
        }
        (Err(refusal), None) => return Err(refusal),
        (Err(refusal), Some((scope, named))) => {
            let request = Request::from_parts(parts, body);
            let earlier = api.replays.earlier(scope, &named, request).await;
            return earlier.unwrap_or(Err(refusal));
        }
    };
    let response: Response = next.run(admitted(parts, body, caller, entered)).await;
    Ok(response)
}

fn admitted(mut parts: Parts, body: Body, caller: Caller, entered: Entered) -> Request {
    match entered {
        Entered::All => {}
        Entered::Call(call) => drop(parts.extensions.insert(call)),
        Entered::Callee(callee) => drop(parts.extensions.insert(callee)),
        Entered::Log(asked) => drop(parts.extensions.insert(asked)),
    }
    parts.extensions.insert(caller);
    Request::from_parts(parts, body)
}

impl Gate {
    /// The ticket of a request that has no token but one, where it opens a WebSocket.
    fn ticket(&self, parts: &Parts) -> Option<String> {
        let may = self.ticketed
            && !parts.headers.contains_key(AUTHORIZATION)
            && upgrade::is_wanted(&parts.headers);
        may.then(|| ticket::of_query(parts.uri.query())).flatten()
    }

    /// The call that the route names, where it names one and the caller may do this with it.
    fn enter(&self, caller: &Caller, id: Option<&CallId>) -> Result<Entered, Refusal> {
        let engine = &self.api.engine;
        match self.who {
            Who::Application => Ok(Entered::All),
            Who::Served => caller.check_served(engine).map(|()| Entered::All),
            Who::Reader => {
                let id = id.ok_or_else(Refusal::no_call)?;
                let sees = |owner: &Owner| caller.sees(owner, engine);
                if let Some(log) = engine.log(id).filter(|log| sees(log.owner())) {
                    tracing::Span::current().record("call", id.as_str());
                    let path = format!("/v1/calls/{id}/log");
                    return Ok(Entered::Log(log::Asked { path, log }));
                }
                if let Some(why) = engine.damaged(id).filter(|_| sees(engine.owner())) {
                    return Err(log::damaged(&why));
                }
                let call = engine.call(id).filter(|call| sees(call.owner()));
                Err(call.map_or_else(Refusal::no_call, |_| log::off()))
            }
            Who::Owner | Who::Keeper | Who::Watcher | Who::Callee => {
                let may = |call: &Call| match self.who {
                    Who::Watcher => caller.sees(call.owner(), engine),
                    _ => caller.owns(call.owner()),
                };
                let id = id.ok_or_else(Refusal::no_call)?;
                let there = engine.call(id);
                let forgotten = there.is_none() && matches!(self.who, Who::Keeper);
                let call = there.filter(may);
                let rings = engine.ringing(id).filter(|_| caller.owns(engine.owner()));
                if call.is_some() || rings.is_some() {
                    tracing::Span::current().record("call", id.as_str());
                }
                // A call whose answer was refused is over, and may still ring.
                let over = |call: &Call| call.state().phase == Phase::Terminated;
                let call = call.filter(|call| rings.is_none() || !over(call));
                match (self.who, call, rings) {
                    (Who::Callee, Some(call), _) => Ok(Entered::Callee(Callee::Call(call))),
                    (Who::Callee, None, Some(rings)) => Ok(Entered::Callee(Callee::Rings(rings))),
                    (_, Some(call), _) => Ok(Entered::Call(call)),
                    (_, None, Some(_)) => Err(ring::not_answered()),
                    (_, None, None) if forgotten => Ok(Entered::All),
                    (_, None, None) => Err(Refusal::no_call()),
                }
            }
        }
    }
}

async fn named_call(parts: &mut Parts) -> Option<CallId> {
    let Path(named): Path<HashMap<String, String>> =
        Path::from_request_parts(parts, &()).await.ok()?;
    CallId::parse(named.get("call")?).ok()
}

/// 401 as Graph words it. Source: RFC 6750 §3 for the challenge.
fn unauthenticated(message: String, challenge: &'static str) -> Refusal {
    Refusal::new(
        StatusCode::UNAUTHORIZED,
        "InvalidAuthenticationToken",
        message,
    )
    .header("www-authenticate", challenge)
}

const NO_TOKEN: &str = "Bearer";
const BAD_TOKEN: &str = r#"Bearer error="invalid_token""#;

impl From<BearerError> for Refusal {
    fn from(error: BearerError) -> Self {
        unauthenticated(error.to_string(), NO_TOKEN)
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        if matches!(error, TokenError::KeysUnavailable(_)) {
            tracing::warn!(error = chain(&error), "no token can be checked");
            return Self::unavailable(error.to_string(), Duration::from_secs(5));
        }
        unauthenticated(error.to_string(), BAD_TOKEN)
    }
}

impl Caller {
    async fn of(parts: &Parts, api: &Api) -> Result<Self, Refusal> {
        let token = bearer(&parts.headers)?;
        if ApiKeys::is_one(token) {
            return Self::of_key(token, &api.config.api_keys);
        }
        let claims = api.callers.validate(token, SystemTime::now()).await?;
        if claims.scopes.is_some() && claims.roles.is_empty() {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "7500",
                "The token is a user's. Ask for the application's own by client credentials.",
            ));
        }
        let (Some(app), Some(tenant)) = (claims.app.clone(), claims.tenant.clone()) else {
            let message = "the token names no application or no tenant: ask for one by client \
                           credentials";
            return Err(unauthenticated(message.to_owned(), BAD_TOKEN));
        };
        Ok(Self {
            app,
            tenant,
            proof: Proof::Token(claims),
        })
    }

    fn of_key(text: &str, keys: &ApiKeys) -> Result<Self, Refusal> {
        let key = keys.find(text).ok_or_else(|| {
            let message = "the API key is none of those configured: send it as `openmic auth \
                           new-key` printed it, and its sha256 in auth.api_keys";
            unauthenticated(message.to_owned(), BAD_TOKEN)
        })?;
        tracing::debug!(key = key.name, "called by API key");
        Ok(Self {
            app: key.app.clone(),
            tenant: key.tenant.clone(),
            proof: Proof::Key(key),
        })
    }

    /// Until when what it has shown is good; an API key is good until it is taken out of the
    /// configuration.
    pub(crate) fn expires(&self) -> Option<SystemTime> {
        match &self.proof {
            Proof::Token(claims) => Some(claims.expires),
            Proof::Key(_) => None,
        }
    }

    fn has_any_role(&self, wanted: &[&str]) -> bool {
        match &self.proof {
            Proof::Token(claims) => claims.has_any_role(wanted),
            Proof::Key(key) => key.roles.iter().any(|role| wanted.contains(&role.as_str())),
        }
    }

    /// Whether a call of `owner` is this caller's.
    pub(crate) fn owns(&self, owner: &Owner) -> bool {
        self.app == owner.app && self.tenant == owner.tenant
    }

    /// Whether a call of `owner` is shown to this caller in the own API. The role counts in the
    /// engine's own tenant only: another tenant's administrator could grant it to an application
    /// of theirs.
    pub(crate) fn sees(&self, owner: &Owner, engine: &Engine) -> bool {
        self.owns(owner) || (self.tenant == engine.owner().tenant && self.has_any_role(&[OPERATOR]))
    }

    /// Nothing of the caller's token goes upstream, so the engine must have a credential for it.
    fn check_served(&self, engine: &Engine) -> Result<(), Refusal> {
        if !engine.serves(&self.app) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "7503",
                "The engine has no upstream credential for this application. Add it to the \
                 configuration.",
            ));
        }
        if self.tenant != engine.owner().tenant {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "7505",
                "The token is of another tenant than the engine's credential for this \
                 application. Ask for one of that tenant.",
            ));
        }
        Ok(())
    }

    /// The engine lends its own credential, so the caller must have the roles that Graph would
    /// ask of it. Source: `contract.md` §6.2; the plural spellings are in Graph's docs too.
    pub(crate) fn check_roles(&self, call: &CreateCall) -> Result<(), Refusal> {
        let wanted: &[&str] = match call.destination() {
            Destination::Peer(_) => &INITIATE[..1],
            Destination::Group(_) => INITIATE,
            _ => JOIN,
        };
        self.check_role(wanted)?;
        self.check_media(call.media())
    }

    /// The same of an answer: none for a call from one other side.
    pub(crate) fn check_answer(&self, kind: CallKind, media: &MediaConfig) -> Result<(), Refusal> {
        if kind == CallKind::Group {
            self.check_role(JOIN)?;
        }
        self.check_media(media)
    }

    fn check_media(&self, media: &MediaConfig) -> Result<(), Refusal> {
        match media {
            MediaConfig::AppHosted { .. } => self.check_role(&[ACCESS_MEDIA]),
            MediaConfig::ServiceHosted => Ok(()),
        }
    }

    /// The same of an errand. Source: `contract.md` §6.1, §6.2; what has no role there needs none.
    pub(crate) fn check_errand(&self, errand: Errand) -> Result<(), Refusal> {
        match errand {
            Errand::Redirect | Errand::Transfer => self.check_role(&INITIATE[..1]),
            Errand::Invite => self.check_role(&INITIATE[1..]),
            Errand::RemoveParticipant => self.check_role(JOIN),
            Errand::RecordResponse
            | Errand::SubscribeToTone
            | Errand::UpdateRecordingStatus
            | Errand::ChangeScreenSharingRole => self.check_role(&[ACCESS_MEDIA]),
            Errand::AddLargeGalleryView => self
                .check_role(JOIN)
                .or_else(|lacks| self.check_role(&INITIATE[1..]).map_err(|_| lacks)),
            _ => Ok(()),
        }
    }

    fn check_role(&self, wanted: &[&str]) -> Result<(), Refusal> {
        if self.has_any_role(wanted) {
            return Ok(());
        }
        let missing = wanted[0];
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "7504",
            format!("The token lacks the role {missing}. Grant it to the application."),
        ))
    }
}

const ACCESS_MEDIA: &str = "Calls.AccessMedia.All";
/// The first alone is enough for a call to one other side.
const INITIATE: &[&str] = &[
    "Calls.Initiate.All",
    "Calls.InitiateGroupCall.All",
    "Calls.InitiateGroupCalls.All",
];
const JOIN: &[&str] = &[
    "Calls.JoinGroupCall.All",
    "Calls.JoinGroupCalls.All",
    "Calls.JoinGroupCallAsGuest.All",
    "Calls.JoinGroupCallasGuest.All",
    "Calls.JoinGroupCallsAsGuest.All",
    "Calls.JoinGroupCallsasGuest.All",
];

#[cfg(test)]
impl Caller {
    /// One that has shown a key without roles.
    pub(crate) fn for_test(app: &str, tenant: &str) -> Self {
        let (app, tenant) = (AppId::parse(app).unwrap(), TenantId::parse(tenant).unwrap());
        let key = ApiKey {
            name: "test".to_owned(),
            sha256: [0; 32],
            app: app.clone(),
            tenant: tenant.clone(),
            roles: Vec::new(),
        };
        Self {
            app,
            tenant,
            proof: Proof::Key(Arc::new(key)),
        }
    }
}
