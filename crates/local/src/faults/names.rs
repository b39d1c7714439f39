//! Every fault there is.

use super::event::{ALL_REQUESTS, Event, LISTED, OF_CALL, REQUESTS, ROSTER, SWITCH, TOLD};
use super::fault::{Args, FaultError, Kind};
use super::twist::{Act, Token, When};

/// A fault as it is called.
pub(crate) struct Named {
    pub(crate) name: &'static str,
    /// What it does, for people.
    pub(crate) about: &'static str,
    /// Where it strikes when nothing is said.
    pub(super) on: &'static str,
    /// Where it may strike.
    pub(super) place: &'static [Event],
    /// What it takes besides what all take.
    pub(super) keys: &'static [&'static str],
    pub(super) build: fn(&Args<'_>) -> Result<Kind, FaultError>,
}

/// Call and operation notifications, and answers to a mute.
const WITH_ID: &[Event] = &[
    Event::ToldCall,
    Event::ToldOperation,
    Event::Mute,
    Event::Unmute,
];
const WITH_CONTEXT: &[Event] = &[Event::ToldOperation, Event::Mute, Event::Unmute];
const WITH_ENTRIES: &[Event] = &[Event::ToldRoster, Event::Participants];

macro_rules! faults {
    ($($name:literal $about:literal $on:literal in $place:ident [$($key:literal)*] $build:expr;)*) => {
        &[$(Named {
            name: $name,
            about: $about,
            on: $on,
            place: $place,
            keys: &[$($key),*],
            build: $build,
        }),*]
    };
}

/// A refusal of one status, whose code goes without saying.
fn refused(
    args: &Args<'_>,
    status: u16,
    code: &str,
    retry: Option<u64>,
) -> Result<Kind, FaultError> {
    Ok(Kind::Refuse {
        status: args.status(status)?,
        code: args.word(code)?,
        retry: args.retry(retry)?,
    })
}

pub(crate) const NAMES: &[Named] = faults![
    // what is told
    "drop" "The notification is not sent." "told" in TOLD [] |_| Ok(Kind::Drop);
    "duplicate" "The notification is sent again at once, `times=` times (1)." "told" in TOLD ["times"]
        |a| Ok(Kind::Duplicate(a.number("times", "1 to 1000", |n| (1..=1000).contains(n))?.unwrap_or(1)));
    "delay" "The notification comes `ms=` later (200); those behind it overtake it." "told" in TOLD ["ms"]
        |a| Ok(Kind::Delay(a.span(200)?));
    "swap" "The notification comes after the next one, or after `ms=` (500) when none comes." "told" in TOLD ["ms"]
        |a| Ok(Kind::Swap(a.span(500)?));
    "batch" "The notification waits until there are `size=` (2), or for `ms=` (500); they come in one POST." "told" in TOLD ["size" "ms"]
        |a| Ok(Kind::Batch {
            size: a.number("size", "2 to 100", |n| (2..=100).contains(n))?.unwrap_or(2),
            span: a.span(500)?,
        });
    "replay" "The notification comes once more `ms=` later (2000), behind others." "told" in TOLD ["ms"]
        |a| Ok(Kind::Replay(a.span(2000)?));
    "forged_token" "The notification's token has a signature that does not hold." "told" in TOLD []
        |_| Ok(Kind::WrongToken(Token::Forged));
    "foreign_tenant" "The notification's token is good, and another tenant's." "told" in TOLD []
        |_| Ok(Kind::WrongToken(Token::Foreign));
    "false_end" "Behind the notification comes one that says the call has ended, which it has not; `token=` good, forged or foreign." "told_roster" in TOLD ["token"]
        |a| Ok(Kind::FalseEnd(a.token()?));
    "roster_gap" "A number of the delta roster is left out." "told_roster" in ROSTER [] |_| Ok(Kind::RosterGap);
    "stale_roster" "The roster before it comes once more behind it." "told_roster" in ROSTER [] |_| Ok(Kind::StaleRoster);
    "full_rosters" "Rosters are told whole and without numbers, also when deltas were asked for; each is." "told_roster" in ROSTER []
        |_| Ok(Kind::FullRosters);
    "missing_numbers" "Roster entries come without rosterSequenceNumber." "told_roster" in WITH_ENTRIES []
        |_| Ok(Kind::Missing("rosterSequenceNumber"));
    "missing_server_muted" "Roster entries come without serverMuted." "told_roster" in WITH_ENTRIES []
        |_| Ok(Kind::Missing("serverMuted"));
    "missing_id" "The call or the operation comes without its id." "told_call" in WITH_ID [] |_| Ok(Kind::Missing("id"));
    "missing_context" "The operation comes without its clientContext." "told_operation" in WITH_CONTEXT []
        |_| Ok(Kind::Missing("clientContext"));
    // what is asked: with effect, and what comes back is not what it should be
    "effect_without_response" "It is done, and the connection is cut." "unmute" in REQUESTS [] |_| Ok(Kind::EffectWithoutResponse);
    "effect_then_silence" "It is done, and no answer comes." "unmute" in REQUESTS [] |_| Ok(Kind::EffectThenSilence);
    "error_with_effect" "It is done, and answered `status=` (504)." "unmute" in REQUESTS ["status"]
        |a| Ok(Kind::ErrorWithEffect(a.status(504)?));
    "notification_before_response" "It is done; the answer comes after the notifications of it." "unmute" in REQUESTS []
        |_| Ok(Kind::NotificationBeforeResponse);
    "slow" "It is done `ms=` later (200), and answered then, also when nobody waits any more." "unmute" in ALL_REQUESTS ["ms"]
        |a| Ok(Kind::Slow(a.span(200)?));
    "running_first" "It is answered as running, done `ms=` later (50), and its end is told." "unmute" in SWITCH ["ms"]
        |a| Ok(Kind::RunningFirst(a.span(50)?));
    "never_completes" "It is answered as running and stays so; `effect=` yes or no." "unmute" in SWITCH ["effect"]
        |a| Ok(Kind::NeverCompletes { effect: a.effect()? });
    // without effect
    "response_without_effect" "It is answered as completed, and not done." "unmute" in SWITCH [] |_| Ok(Kind::ResponseWithoutEffect);
    "fails_after_running" "It is answered as running, not done, and `ms=` later (50) told as failed; `code=` (403), `subcode=` (8566)." "unmute" in SWITCH ["ms" "code" "subcode"]
        |a| {
            let (code, subcode) = a.result((403, 8566))?;
            Ok(Kind::FailsAfterRunning { span: a.span(50)?, code, subcode })
        };
    "no_response" "It is not done, and the connection is cut." "unmute" in ALL_REQUESTS [] |_| Ok(Kind::NoResponse);
    "silence" "It is not done, and no answer comes." "unmute" in ALL_REQUESTS [] |_| Ok(Kind::Silence);
    "throttled" "429, with Retry-After `retry=` (1): seconds, with a fraction or not, date+2, or none." "unmute" in ALL_REQUESTS ["status" "code" "retry"]
        |a| refused(a, 429, "tooManyRequests", Some(1));
    "unavailable" "503, with Retry-After `retry=` (1)." "unmute" in ALL_REQUESTS ["status" "code" "retry"]
        |a| refused(a, 503, "serviceNotAvailable", Some(1));
    "error" "`status=` (500), not done." "unmute" in ALL_REQUESTS ["status" "code" "retry"]
        |a| refused(a, 500, "generalException", None);
    "unauthorized" "401, as when the token is out of time." "unmute" in OF_CALL ["status" "code" "retry"]
        |a| refused(a, 401, "InvalidAuthenticationToken", None);
    "forbidden" "403 with subcode 8566: unmuting is not allowed." "unmute" in OF_CALL ["status" "code" "retry"]
        |a| refused(a, 403, "8566", None);
    "conflict" "409." "unmute" in OF_CALL ["status" "code" "retry"] |a| refused(a, 409, "conflict", None);
    "gone" "404 with subcode 8522, as when the call had ended." "unmute" in OF_CALL ["status" "code" "retry"]
        |a| refused(a, 404, "8522", None);
    "keep_alive_404" "404 with subcode 8522 to a keepAlive." "keep_alive" in OF_CALL ["status" "code" "retry"]
        |a| refused(a, 404, "8522", None);
    "operation_unreadable" "`status=` (404; or 405) to a GET of an operation." "operation" in OF_CALL ["status" "code" "retry"]
        |a| refused(a, 404, "8522", None);
    "token_endpoint_down" "503 from the token endpoint; of the plan for all calls." "token" in ALL_REQUESTS ["status" "code" "retry"]
        |a| refused(a, 503, "temporarilyUnavailable", Some(1));
    "partial_participants" "The list of participants lacks the bot." "participants" in LISTED [] |_| Ok(Kind::Partial);
    "stale_participants" "A GET shows the roster before its last change." "participants" in LISTED [] |_| Ok(Kind::StaleParticipants);
    // what others do
    "remote_hang_up" "The call is ended by the other side, `code=` (200), `subcode=` (5001); `when=` before the effect, then (between effect and answer, as is) or after the answer, `ms=` (0)." "unmute" in REQUESTS ["code" "subcode" "when" "ms"]
        |a| {
            let (code, subcode) = a.result((200, 5001))?;
            let act = Act::HangUp { code, subcode };
            Ok(Kind::Acts { act, when: a.when(When::Then)?, span: a.span(0)? })
        };
    "host_re_mute" "The host mutes the bot, `when=` before the effect, then (between effect and answer, as is) or after the answer, `ms=` (0)." "unmute" in OF_CALL ["when" "ms"]
        |a| Ok(Kind::Acts { act: Act::HostMutes, when: a.when(When::Then)?, span: a.span(0)? });
];
