//! `identitySet`: one member filled per participant. Source: Graph `identitySet` and
//! `communicationsIdentitySet` resources.

use openmic_model::{Identity, IdentityKind};
use serde::Serialize;

use crate::json;
use crate::tree::{Members, Node as _};

/// Members of an identity set in the order they are looked for.
const MEMBERS: [(&str, IdentityKind); 4] = [
    ("user", IdentityKind::User),
    ("application", IdentityKind::Application),
    ("guest", IdentityKind::Guest),
    ("phone", IdentityKind::Phone),
];

/// Reads `identity` of an object such as `info`, `source` or a target.
pub(crate) fn decode(holder: &impl Members) -> Identity {
    let set = json::member(holder, "identity");
    let known = set.and_then(|set| {
        MEMBERS
            .iter()
            .find_map(|(name, kind)| Some((*kind, json::member(set, name)?)))
    });
    let other = || {
        let members = set?.members();
        let objects = members.filter_map(|(name, value)| Some((name, value.as_members()?)));
        objects
            .min_by_key(|(name, _)| *name)
            .map(|(_, object)| object)
    };
    let (kind, found) = match known {
        Some((kind, found)) => (kind, Some(found)),
        None => (IdentityKind::Other, other()),
    };
    let part = |name| Some(json::prose(json::text(found?, name)?));
    Identity {
        kind,
        id: part("id"),
        display_name: part("displayName"),
    }
}

/// Who it is; one member is filled.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = IdentitySet))]
pub(crate) struct IdentitySetJson<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    user: Option<IdentityJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    application: Option<IdentityJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    guest: Option<IdentityJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    phone: Option<IdentityJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    device: Option<IdentityJson<'a>>,
}

/// One identity.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Identity))]
struct IdentityJson<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    #[cfg_attr(feature = "schema", schema(required))]
    id: Option<&'a str>,
    #[serde(rename = "displayName")]
    #[cfg_attr(feature = "schema", schema(required))]
    display_name: Option<&'a str>,
}

impl<'a> From<&'a Identity> for IdentitySetJson<'a> {
    fn from(identity: &'a Identity) -> Self {
        let one = Some(IdentityJson {
            odata_type: "#microsoft.graph.identity",
            id: identity.id.as_deref(),
            display_name: identity.display_name.as_deref(),
        });
        let mut set = Self {
            odata_type: "#microsoft.graph.identitySet",
            ..Self::default()
        };
        match identity.kind {
            IdentityKind::User => set.user = one,
            IdentityKind::Application => set.application = one,
            IdentityKind::Guest => set.guest = one,
            IdentityKind::Phone => set.phone = one,
            IdentityKind::Other => {
                // of a set's three declared members the one that is neither person nor bot
                let named = identity.id.is_some() || identity.display_name.is_some();
                set.device = one.filter(|_| named);
            }
        }
        set
    }
}
