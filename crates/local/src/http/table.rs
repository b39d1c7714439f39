//! Which route there is. What is not here does not exist.

use std::sync::Arc;

use axum::routing::{MethodFilter, MethodRouter, on};

use super::{faults, graph, lab, oauth, ring};
use crate::world::World;

/// One line of a table.
pub(super) struct Rule {
    pub(super) method: MethodFilter,
    pub(super) path: &'static str,
    pub(super) handler: fn(MethodFilter) -> MethodRouter<Arc<World>>,
}

const GET: MethodFilter = MethodFilter::GET;
const POST: MethodFilter = MethodFilter::POST;
const PUT: MethodFilter = MethodFilter::PUT;
const PATCH: MethodFilter = MethodFilter::PATCH;
const DELETE: MethodFilter = MethodFilter::DELETE;

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident { $($method:ident $path:literal $handler:path;)* })*) => {$(
        $(#[$doc])*
        pub(super) static $name: &[Rule] = &[$(
            Rule {
                method: $method,
                path: $path,
                handler: |method| on(method, $handler),
            },
        )*];
    )*};
}

table! {
    /// What Graph and Entra ID have as well.
    GRAPH {
    POST   "/v1.0/communications/calls"                                                  graph::create;
    POST   "/v1.0/communications/calls/logTeleconferenceDeviceQuality"                   graph::lacking;
    GET    "/v1.0/communications/calls/{call}"                                           graph::get;
    DELETE "/v1.0/communications/calls/{call}"                                           graph::hang_up;
    POST   "/v1.0/communications/calls/{call}/answer"                                    ring::answer;
    POST   "/v1.0/communications/calls/{call}/reject"                                    ring::reject;
    POST   "/v1.0/communications/calls/{call}/redirect"                                  graph::lacking;
    POST   "/v1.0/communications/calls/{call}/transfer"                                  graph::lacking;
    POST   "/v1.0/communications/calls/{call}/keepAlive"                                 graph::keep_alive;
    POST   "/v1.0/communications/calls/{call}/mute"                                      graph::mute;
    POST   "/v1.0/communications/calls/{call}/unmute"                                    graph::unmute;
    POST   "/v1.0/communications/calls/{call}/playPrompt"                                graph::lacking;
    POST   "/v1.0/communications/calls/{call}/recordResponse"                            graph::lacking;
    POST   "/v1.0/communications/calls/{call}/cancelMediaProcessing"                     graph::lacking;
    POST   "/v1.0/communications/calls/{call}/subscribeToTone"                           graph::lacking;
    POST   "/v1.0/communications/calls/{call}/sendDtmfTones"                             graph::lacking;
    POST   "/v1.0/communications/calls/{call}/updateRecordingStatus"                     graph::lacking;
    POST   "/v1.0/communications/calls/{call}/changeScreenSharingRole"                   graph::lacking;
    POST   "/v1.0/communications/calls/{call}/addLargeGalleryView"                       graph::lacking;
    GET    "/v1.0/communications/calls/{call}/participants"                              graph::participants;
    POST   "/v1.0/communications/calls/{call}/participants/invite"                       graph::invite;
    POST   "/v1.0/communications/calls/{call}/participants/muteAll"                      graph::mute_all;
    GET    "/v1.0/communications/calls/{call}/participants/{participant}"                graph::participant;
    DELETE "/v1.0/communications/calls/{call}/participants/{participant}"                graph::remove_participant;
    POST   "/v1.0/communications/calls/{call}/participants/{participant}/mute"           graph::mute_participant;
    POST   "/v1.0/communications/calls/{call}/participants/{participant}/startHoldMusic" graph::lacking;
    POST   "/v1.0/communications/calls/{call}/participants/{participant}/stopHoldMusic"  graph::lacking;
    GET    "/v1.0/communications/calls/{call}/operations/{operation}"                    graph::operation;
    POST   "/{tenant}/oauth2/v2.0/token"                                                 oauth::token;
    GET    "/{tenant}/v2.0/.well-known/openid-configuration"                             oauth::tenant_configuration;
    GET    "/v1/.well-known/OpenIdConfiguration"                                         oauth::configuration;
    GET    "/v1/keys"                                                                    oauth::keys;
    }
    /// The lab, on loopback only.
    LAB {
    POST   "/lab/v1/calls"                                                               ring::ring;
    GET    "/lab/v1/calls/{call}"                                                        ring::look;
    DELETE "/lab/v1/calls/{call}"                                                        ring::give_up;
    POST   "/lab/v1/meetings/{thread}/participants"                                      lab::join;
    GET    "/lab/v1/meetings/{thread}/participants/{participant}"                        lab::get;
    PATCH  "/lab/v1/meetings/{thread}/participants/{participant}"                        lab::patch;
    DELETE "/lab/v1/meetings/{thread}/participants/{participant}"                        lab::leave;
    GET    "/lab/v1/meetings/{thread}/participants/{participant}/sdp"                    lab::sdp;
    GET    "/lab/v1/truth"                                                               lab::truth;
    }
    /// What goes wrong on purpose, on loopback in the dev profile only.
    FAULTS {
    GET    "/lab/v1/faults"                                                              faults::show;
    PUT    "/lab/v1/faults"                                                              faults::set;
    DELETE "/lab/v1/faults"                                                              faults::clear;
    GET    "/lab/v1/calls/{call}/faults"                                                 faults::show_call;
    PUT    "/lab/v1/calls/{call}/faults"                                                 faults::set_call;
    DELETE "/lab/v1/calls/{call}/faults"                                                 faults::clear_call;
    }
}
