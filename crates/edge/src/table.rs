//! Which route there is and who may use it. What is not here does not exist.

use std::sync::Arc;

use axum::routing::{MethodFilter, MethodRouter, on};

use crate::surface::Api;
use crate::{calls, command, errand, graph, log, ring, ticket};

/// Who may use a route. Everybody needs a good token or API key first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// An application that the engine has an upstream credential for; what the call needs of
    /// roles is checked with its body.
    Served,
    /// The application, of the same tenant, whose call is named by `{call}`. An operator is not:
    /// what can be done to a call is its bot's.
    Owner,
    /// As `Owner`; also of a call that is forgotten but for what the journal keeps: then the handler
    /// asks whose it was.
    Keeper,
    /// As `Owner`; the call may also ring, and not be answered yet.
    Callee,
    /// The owner of the call named by `{call}`, or an operator.
    Watcher,
    /// As `Watcher`; also of a call that is forgotten but for its log.
    Reader,
    /// Any application; it sees its own calls only, an operator all.
    Application,
}

/// One line of the table.
pub(crate) struct Rule {
    pub(crate) method: MethodFilter,
    pub(crate) path: &'static str,
    pub(crate) who: Who,
    pub(crate) handler: fn(MethodFilter) -> MethodRouter<Arc<Api>>,
}

impl Rule {
    /// Whether a request that comes again gets the first answer (`replay.rs`): every POST of the
    /// Graph surface, since SDK middlewares repeat them.
    pub(crate) fn is_replayed(&self) -> bool {
        self.method == POST && self.path.starts_with("/v1.0/")
    }

    /// Whether a one-time ticket does where there is no token (`ticket.rs`).
    pub(crate) fn takes_ticket(&self) -> bool {
        self.path == ROSTER
    }
}

const ROSTER: &str = "/v1/calls/{call}/roster";

const GET: MethodFilter = MethodFilter::GET;
const POST: MethodFilter = MethodFilter::POST;
const DELETE: MethodFilter = MethodFilter::DELETE;

macro_rules! table {
    ($($method:ident $path:literal $who:ident $handler:path;)*) => {
        /// Every route but the webhook, whose caller is Graph (`webhook.rs`).
        pub(crate) static TABLE: &[Rule] = &[$(
            Rule {
                method: $method,
                path: $path,
                who: Who::$who,
                handler: |method| on(method, $handler),
            },
        )*];
    };
}

table! {
    POST   "/v1.0/communications/calls"                                                  Served      graph::create;
    POST   "/v1.0/communications/calls/logTeleconferenceDeviceQuality"                   Served      errand::log_device_quality;
    GET    "/v1.0/communications/calls/{call}"                                           Callee      graph::get;
    DELETE "/v1.0/communications/calls/{call}"                                           Callee      graph::hang_up;
    POST   "/v1.0/communications/calls/{call}/answer"                                    Callee      ring::answer;
    POST   "/v1.0/communications/calls/{call}/reject"                                    Callee      ring::reject;
    POST   "/v1.0/communications/calls/{call}/keepAlive"                                 Owner       graph::keep_alive;
    POST   "/v1.0/communications/calls/{call}/mute"                                      Owner       command::mute;
    POST   "/v1.0/communications/calls/{call}/unmute"                                    Owner       command::unmute;
    POST   "/v1.0/communications/calls/{call}/redirect"                                  Callee      ring::redirect;
    POST   "/v1.0/communications/calls/{call}/transfer"                                  Owner       errand::transfer;
    POST   "/v1.0/communications/calls/{call}/playPrompt"                                Owner       errand::play_prompt;
    POST   "/v1.0/communications/calls/{call}/recordResponse"                            Owner       errand::record_response;
    POST   "/v1.0/communications/calls/{call}/cancelMediaProcessing"                     Owner       errand::cancel_media_processing;
    POST   "/v1.0/communications/calls/{call}/subscribeToTone"                           Owner       errand::subscribe_to_tone;
    POST   "/v1.0/communications/calls/{call}/sendDtmfTones"                             Owner       errand::send_dtmf_tones;
    POST   "/v1.0/communications/calls/{call}/updateRecordingStatus"                     Owner       errand::update_recording_status;
    POST   "/v1.0/communications/calls/{call}/changeScreenSharingRole"                   Owner       errand::change_screen_sharing_role;
    POST   "/v1.0/communications/calls/{call}/addLargeGalleryView"                       Owner       errand::add_large_gallery_view;
    GET    "/v1.0/communications/calls/{call}/operations/{operation}"                    Keeper      command::operation;
    GET    "/v1.0/communications/calls/{call}/participants"                              Owner       graph::participants;
    POST   "/v1.0/communications/calls/{call}/participants/invite"                       Owner       errand::invite;
    POST   "/v1.0/communications/calls/{call}/participants/muteAll"                      Owner       errand::mute_all;
    GET    "/v1.0/communications/calls/{call}/participants/{participant}"                Owner       graph::participant;
    DELETE "/v1.0/communications/calls/{call}/participants/{participant}"                Owner       errand::remove_participant;
    POST   "/v1.0/communications/calls/{call}/participants/{participant}/mute"           Owner       errand::mute_participant;
    POST   "/v1.0/communications/calls/{call}/participants/{participant}/startHoldMusic" Owner       errand::start_hold_music;
    POST   "/v1.0/communications/calls/{call}/participants/{participant}/stopHoldMusic"  Owner       errand::stop_hold_music;
    GET    "/v1/calls"                                                                   Application calls::list;
    GET    "/v1/calls/{call}"                                                            Watcher     calls::get;
    GET    "/v1/calls/{call}/roster"                                                     Watcher     calls::roster;
    GET    "/v1/calls/{call}/log"                                                        Reader      log::get;
    POST   "/v1/calls/{call}/roster/ticket"                                              Watcher     ticket::issue;
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walk;
