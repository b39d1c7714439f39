//! From a ring to a handle, and every way in which it can go wrong.

mod webhook;

use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use openmic_machine::Phase;
use openmic_model::{CallId, CallKind, Verdict};
use openmic_wire::answer::AnswerCall;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::graph::{Gate, Reply, Route};
use super::stage::{Stage, TENANT, call_state, entry, outcome, participant, patient, within};
use crate::{
    Answer, AnswerError, Call, CommandOptions, DeliverError, Incoming, JoinError, Media,
    RejectReason, RingEnd,
};

/// What Graph tells when somebody calls the bot into a meeting.
fn ring(call: &str) -> Value {
    let data = json!({
        "@odata.type": "#microsoft.graph.call", "id": call, "state": "incoming",
        "direction": "incoming", "callbackUri": "https://bot.example/base/callbacks/app",
        "source": {"identity": {"user": {"id": "u1", "displayName": "Ann B"}}},
        "targets": [{"identity": {"application": {"id": "a"}}}],
        "chatInfo": {"threadId": "19:x@thread.v2"}, "myParticipantId": "me", "tenantId": TENANT,
    });
    entry(call, "", "created", &data)
}

fn ended(call: &str) -> Value {
    let data = json!({"@odata.type": "#microsoft.graph.call", "state": "terminated",
        "resultInfo": {"code": 408, "subcode": 1106}});
    entry(call, "", "deleted", &data)
}

fn roster(call: &str, number: u64, muted: bool) -> Value {
    let me = participant("me", muted, Some(number));
    let data = json!([{"@odata.type": "#microsoft.graph.deltaParticipants",
        "sequenceNumber": number, "participants": [me]}]);
    entry(call, "/participants", "updated", &data)
}

fn app_key(stage: &Stage) -> String {
    let url = stage.engine.incoming_callback();
    url.path().rsplit('/').next().unwrap().to_owned()
}

/// A call that rings, as the stream hands it out.
async fn rung(stage: &Stage, call: &str) -> Incoming {
    let delivered = stage.deliver(&app_key(stage), &[ring(call)]).unwrap();
    assert_eq!((delivered.queued, delivered.foreign), (1, 0));
    let next = within(stage.engine.incoming().next()).await;
    next.expect("the engine is not draining")
}

fn ends(stage: &Stage, result: &str) -> u64 {
    let ends = &stage.engine.metrics().incoming;
    ends.with_label_values(&[result]).get()
}

/// The key that an answer named.
async fn own_key(stage: &Stage, number: usize) -> String {
    let answer = stage.graph.received(Route::Answer, number).await;
    let callback = answer.body["callbackUri"].as_str().unwrap();
    let (base, key) = callback.rsplit_once('/').unwrap();
    assert_eq!(base, "https://bot.example/base/callbacks");
    key.to_owned()
}

async fn reach(call: &Call, phase: Phase) {
    let status = within(call.until(|status| status.phase == phase)).await;
    assert_eq!(status.phase, phase);
}

fn unmuted() -> Answer {
    Answer {
        join_muted: Some(false),
        ..Answer::default()
    }
}

fn over(result: &Result<Call, AnswerError>) {
    assert!(matches!(result, Err(AnswerError::Over)), "{result:?}");
}

#[tokio::test]
async fn a_ring_is_answered_by_a_key_of_its_own_and_unmuted() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    assert_eq!(incoming.id().as_str(), "c1");
    assert_eq!(incoming.kind(), CallKind::Group);
    assert_eq!(incoming.thread_id(), Some("19:x@thread.v2"));
    let caller = incoming.caller().unwrap();
    assert_eq!(caller.display_name.as_deref(), Some("Ann B"));
    assert_eq!(
        incoming.tenant().map(openmic_model::TenantId::as_str),
        Some(TENANT)
    );
    assert!(!format!("{incoming:?}").contains("Ann"));
    assert_eq!(stage.engine.metrics().ringing.get(), 1);

    let call = within(incoming.answer(Answer::default())).await.unwrap();
    assert_eq!(call.id().as_str(), "c1");
    assert_eq!(within(incoming.over()).await, RingEnd::Answered);
    let answer = stage.graph.received(Route::Answer, 1).await.body;
    assert_eq!(answer["callOptions"]["isDeltaRosterEnabled"], true);
    assert_eq!(answer["acceptedModalities"], json!(["audio"]));
    let key = own_key(&stage, 1).await;
    assert_ne!(key, app_key(&stage));
    assert!(stage.engine.awaits(&key) && stage.engine.awaits(&app_key(&stage)));

    // As in a created call, the first act is to mute, and then the bot does as it likes.
    stage
        .deliver(
            &key,
            &[call_state("c1", "established"), roster("c1", 1, false)],
        )
        .unwrap();
    stage.graph.received(Route::Mute, 1).await;
    stage.deliver(&key, &[roster("c1", 2, true)]).unwrap();
    reach(&call, Phase::Muted).await;
    let unmute = call.command(openmic_model::Action::Unmute, CommandOptions::default());
    stage.graph.received(Route::Unmute, 1).await;
    stage.deliver(&key, &[roster("c1", 3, false)]).unwrap();
    let verdict = outcome(unmute.unwrap()).await.verdict;
    assert!(matches!(verdict, Verdict::Confirmed { .. }), "{verdict}");
    call.request_hang_up().await;
    stage.graph.received(Route::Delete, 1).await;
    stage
        .deliver(&key, &[call_state("c1", "terminated")])
        .unwrap();
    reach(&call, Phase::Terminated).await;
    assert_eq!(stage.gauge(), 0);
    assert_eq!(ends(&stage, "answered"), 1);
}

#[tokio::test]
async fn a_ring_told_again_is_one_call() {
    let stage = Stage::new(patient).await;
    let key = app_key(&stage);
    let mut incoming = stage.engine.incoming();
    let first = rung(&stage, "c1").await;
    stage
        .deliver(&key, &[ring("c1"), ring("c1"), ring("c2")])
        .unwrap();
    assert_eq!(within(incoming.next()).await.unwrap().id().as_str(), "c2");
    // Answered, it does not ring either; nor when it is over.
    let call = within(first.answer(unmuted())).await.unwrap();
    stage.deliver(&key, &[ring("c1"), ring("c3")]).unwrap();
    assert_eq!(within(incoming.next()).await.unwrap().id().as_str(), "c3");
    let own = own_key(&stage, 1).await;
    stage
        .deliver(&own, &[call_state("c1", "terminated")])
        .unwrap();
    reach(&call, Phase::Terminated).await;
    stage
        .deliver(&key, &[ended("c2"), ring("c1"), ring("c2"), ring("c4")])
        .unwrap();
    assert_eq!(within(incoming.next()).await.unwrap().id().as_str(), "c4");
    let notified = &stage.engine.metrics().notifications;
    let labels = ["call", "duplicate"];
    assert_eq!(notified.with_label_values(&labels).get(), 5);
}

#[tokio::test]
async fn a_caller_who_gives_up_takes_the_ring_away() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    stage.deliver(&app_key(&stage), &[ended("c1")]).unwrap();
    let end = within(incoming.over()).await;
    assert!(
        matches!(&end, RingEnd::GaveUp(Some(result)) if result.subcode == 1106),
        "{end:?}"
    );
    assert!(stage.engine.ringing(incoming.id()).is_none());
    over(&within(incoming.answer(unmuted())).await);
    let rejected = within(incoming.reject(RejectReason::Busy, None)).await;
    assert!(matches!(rejected, Err(AnswerError::Over)), "{rejected:?}");
    assert_eq!(stage.graph.count(Route::Answer), 0);
    // One that nobody was handed yet is handed to nobody.
    let key = app_key(&stage);
    stage
        .deliver(&key, &[ring("c2"), ended("c2"), ring("c3")])
        .unwrap();
    let mut stream = stage.engine.incoming();
    assert_eq!(within(stream.next()).await.unwrap().id().as_str(), "c3");
}

#[tokio::test]
async fn a_ring_nobody_takes_goes_with_its_time_and_is_forgotten_later() {
    let short = Duration::from_millis(20);
    let stage = Stage::with(
        |builder| builder.ring_deadline(short).retention(short),
        |_| (),
    )
    .await;
    let incoming = rung(&stage, "c1").await;
    assert_eq!(within(incoming.over()).await, RingEnd::TimedOut);
    over(&within(incoming.answer(unmuted())).await);
    let forgotten = async {
        while stage.engine.inner.rings.find(incoming.id()).is_some() {
            tokio::task::yield_now().await;
        }
    };
    within(forgotten).await;
    assert_eq!(stage.engine.metrics().ringing.get(), 0);
    assert_eq!(ends(&stage, "timed_out"), 1);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_says_so_and_leaves_no_call() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    stage.graph.once(Route::Answer, Reply::gone());
    over(&within(incoming.answer(unmuted())).await);
    assert!(matches!(
        within(incoming.over()).await,
        RingEnd::GaveUp(None)
    ));
    assert!(stage.engine.calls().is_empty());
    assert_eq!(stage.gauge(), 0);
    assert_eq!(stage.graph.count(Route::Delete), 0);
}

#[tokio::test]
async fn a_refused_answer_lets_it_ring_on() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    let no = Reply::error(403, "7504", "the role Calls.AccessMedia.All is missing");
    stage.graph.once(Route::Answer, no);
    let media = Media::AppHosted {
        blob: "v=0".to_owned(),
    };
    let refused = within(incoming.answer(Answer::with(media))).await;
    let Err(AnswerError::Join(JoinError::Refused { status, code, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((status, code.as_str()), (403, "7504"));
    assert!(stage.engine.ringing(incoming.id()).is_some());
    // The news of the ring are still the ring's, although a call with its id came to nothing.
    let call = within(incoming.answer(unmuted())).await.unwrap();
    assert_eq!(stage.engine.call(call.id()).unwrap().state().ending, None);
    assert_eq!(stage.graph.count(Route::Answer), 2);
    assert_eq!(stage.graph.count(Route::Delete), 0);
    assert_ne!(own_key(&stage, 1).await, own_key(&stage, 2).await);

    let second = rung(&stage, "c2").await;
    stage
        .graph
        .once(Route::Answer, Reply::error(400, "8523", "no"));
    assert!(within(second.answer(unmuted())).await.is_err());
    stage.deliver(&app_key(&stage), &[ended("c2")]).unwrap();
    assert!(matches!(
        within(second.over()).await,
        RingEnd::GaveUp(Some(_))
    ));
}

/// Looks where the call stands at the very moment of its wake-up.
struct Look {
    call: Mutex<Option<Call>>,
    seen: Mutex<Option<Phase>>,
}

impl Wake for Look {
    fn wake(self: Arc<Self>) {
        let call = self.call.lock();
        *self.seen.lock() = call.as_ref().map(|call| call.state().phase);
    }
}

#[tokio::test]
async fn whoever_hears_of_a_refused_answer_can_answer_anew_at_once() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    let gate = Gate::new();
    let no = Reply::error(403, "7504", "no");
    stage.graph.once(Route::Answer, no.behind(&gate));
    let look = Arc::new(Look {
        call: Mutex::default(),
        seen: Mutex::default(),
    });
    let waker = Waker::from(Arc::clone(&look));
    let mut answering = Box::pin(incoming.answer(unmuted()));
    let first = answering.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(first.is_pending());
    stage.graph.received(Route::Answer, 1).await;
    *look.call.lock() = stage.engine.call(incoming.id());
    gate.open();
    let told = async {
        while look.seen.lock().is_none() {
            tokio::task::yield_now().await;
        }
    };
    within(told).await;
    assert_eq!(*look.seen.lock(), Some(Phase::Terminated));
    assert!(within(answering).await.is_err());
    within(incoming.answer(unmuted())).await.unwrap();
}

#[tokio::test]
async fn two_who_answer_do_not_both_have_it() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    let gate = Gate::new();
    stage
        .graph
        .once(Route::Answer, Reply::new(202, "").behind(&gate));
    let mut one = Box::pin(incoming.answer(unmuted()));
    assert!(one.as_mut().poll_once().is_none());
    stage.graph.received(Route::Answer, 1).await;
    let other = within(incoming.answer(unmuted())).await;
    assert!(matches!(other, Err(AnswerError::Taken)), "{other:?}");
    let rejected = within(incoming.reject(RejectReason::None, None)).await;
    assert!(matches!(rejected, Err(AnswerError::Taken)), "{rejected:?}");
    gate.open();
    within(one).await.unwrap();
    let late = within(incoming.answer(unmuted())).await;
    assert!(matches!(late, Err(AnswerError::Taken)), "{late:?}");
    assert_eq!(stage.graph.count(Route::Answer), 1);
}

#[tokio::test]
async fn notifications_that_beat_the_answers_answer_are_the_calls() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    let gate = Gate::new();
    stage
        .graph
        .once(Route::Answer, Reply::new(202, "").behind(&gate));
    let mut answering = Box::pin(incoming.answer(unmuted()));
    assert!(answering.as_mut().poll_once().is_none());
    let key = own_key(&stage, 1).await;
    let early = [
        call_state("c1", "establishing"),
        call_state("c1", "established"),
    ];
    stage.deliver(&key, &early).unwrap();
    // Some that Graph still sends to the app's address are the call's as well.
    stage
        .deliver(&app_key(&stage), &[roster("c1", 1, false)])
        .unwrap();
    let call = stage.engine.call(&CallId::parse("c1").unwrap()).unwrap();
    reach(&call, Phase::Unmuted).await;
    gate.open();
    let call = within(answering).await.unwrap();
    assert_eq!(call.state().phase, Phase::Unmuted);
    assert!(call.state().own_entry_seen);
}

#[tokio::test]
async fn an_answer_whose_answer_is_lost_is_found_by_a_notification_or_a_read() {
    let stage = Stage::new(patient).await;
    for (number, reply) in [Reply::reset(), Reply::error(502, "x", "y")]
        .into_iter()
        .enumerate()
    {
        let name = format!("c{number}");
        let incoming = rung(&stage, &name).await;
        stage.graph.once(Route::Answer, reply);
        let still = json!({"id": "$call", "state": "incoming"});
        stage.graph.once(Route::Read, Reply::json(200, &still));
        let mut answering = Box::pin(incoming.answer(unmuted()));
        assert!(answering.as_mut().poll_once().is_none());
        let key = own_key(&stage, number + 1).await;
        if number == 0 {
            // It is read until something tells: "incoming" does not.
            stage.graph.answered(Route::Read, 1).await;
            stage
                .deliver(&key, &[call_state(&name, "established")])
                .unwrap();
        }
        let call = within(answering).await.unwrap();
        assert_eq!(call.created().unwrap().raw["state"], "established");
        assert_eq!(stage.graph.count(Route::Delete), 0);
    }
}

#[tokio::test]
async fn a_lost_answer_to_a_call_that_ended_meanwhile_is_reported() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    stage.graph.once(Route::Answer, Reply::reset());
    stage.graph.always(Route::Read, Reply::gone());
    let lost = within(incoming.answer(unmuted())).await;
    assert!(matches!(lost, Err(AnswerError::Lost { .. })), "{lost:?}");
    assert!(matches!(
        within(incoming.over()).await,
        RingEnd::GaveUp(None)
    ));
    assert_eq!(stage.gauge(), 0);
}

#[tokio::test]
async fn an_answer_that_is_given_up_hangs_the_call_up() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    let gate = Gate::new();
    stage
        .graph
        .once(Route::Answer, Reply::new(202, "").behind(&gate));
    let mut answering = Box::pin(incoming.answer(unmuted()));
    assert!(answering.as_mut().poll_once().is_none());
    stage.graph.received(Route::Answer, 1).await;
    drop(answering);
    let delete = stage.graph.received(Route::Delete, 1).await;
    assert_eq!(delete.call, "c1", "without waiting for the answer");
    gate.open();
    over(&within(incoming.answer(unmuted())).await);
}

#[tokio::test]
async fn the_offers_answer_is_read_once_the_call_is_answered() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    let read = json!({"id": "$call", "state": "establishing", "unheardOf": 1,
        "mediaConfig": {"@odata.type": "#microsoft.graph.appHostedMediaConfig", "blob": "answer"}});
    stage.graph.once(Route::Read, Reply::json(200, &read));
    let media = Media::AppHosted {
        blob: "offer".to_owned(),
    };
    let call = within(incoming.answer(Answer::with(media))).await.unwrap();
    let asked = stage.graph.received(Route::Answer, 1).await;
    assert_eq!(asked.body["mediaConfig"]["blob"], "offer");
    let created = call.created().unwrap();
    assert_eq!(created.media_blob.as_deref(), Some("answer"));
    assert_eq!(created.raw["unheardOf"], 1);
}

#[tokio::test]
async fn a_rejected_ring_is_over_and_says_why_upstream() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    let wanted = Some("https://bot.example/end".to_owned());
    within(incoming.reject(RejectReason::Forbidden, wanted.clone()))
        .await
        .unwrap();
    let asked = stage.graph.received(Route::Reject, 1).await;
    assert_eq!(
        asked.body,
        json!({"reason": "forbidden"}),
        "the end is to be heard of here"
    );
    let named = incoming.named().map(|named| named.callback_uri);
    assert_eq!(named, wanted);
    assert_eq!(within(incoming.over()).await, RingEnd::Rejected);
    over(&within(incoming.answer(unmuted())).await);
    // The notification of its end is no surprise.
    let delivered = stage.deliver(&app_key(&stage), &[ended("c1")]).unwrap();
    assert_eq!((delivered.queued, delivered.foreign), (1, 0));

    let second = rung(&stage, "c2").await;
    stage
        .graph
        .once(Route::Reject, Reply::error(403, "7504", "no"));
    assert!(
        within(second.reject(RejectReason::None, None))
            .await
            .is_err()
    );
    assert!(stage.engine.ringing(second.id()).is_some(), "it rings on");
    assert_eq!(ends(&stage, "rejected"), 1);
}

#[tokio::test]
async fn a_caller_who_gives_up_while_a_rejection_fails_is_heard_of() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    let gate = Gate::new();
    let no = Reply::error(403, "7504", "no").behind(&gate);
    stage.graph.once(Route::Reject, no);
    let ring = incoming.clone();
    let rejecting = tokio::spawn(async move { ring.reject(RejectReason::Busy, None).await });
    stage.graph.received(Route::Reject, 1).await;
    stage.deliver(&app_key(&stage), &[ended("c1")]).unwrap();
    gate.open();
    assert!(within(rejecting).await.unwrap().is_err());
    assert!(stage.engine.ringing(incoming.id()).is_none());
    let end = within(incoming.over()).await;
    assert!(
        matches!(&end, RingEnd::GaveUp(Some(result)) if result.subcode == 1106),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_rejection_that_is_refused_moves_nothing() {
    let stage = Stage::relaying_rings(patient).await;
    let incoming = rung(&stage, "c1").await;
    let own = incoming.named().map(|named| named.callback_uri);
    assert!(own.is_some());
    let end = Some("https://bot.example/end".to_owned());
    let no = Reply::error(403, "7504", "no");
    stage.graph.once(Route::Reject, no.clone());
    let rejected = within(incoming.reject(RejectReason::Busy, end.clone())).await;
    assert!(
        matches!(rejected, Err(AnswerError::Join(_))),
        "{rejected:?}"
    );
    assert_eq!(incoming.named().map(|named| named.callback_uri), own);
    let body = json!({"callbackUri": end}).to_string();
    let body = openmic_wire::errand::Body::decode(body.as_bytes()).unwrap();
    stage.graph.always(Route::Other, no);
    let redirected = within(incoming.redirect(body, false)).await;
    assert_eq!(redirected.unwrap_err().status, 403);
    assert_eq!(incoming.named().map(|named| named.callback_uri), own);
}

#[tokio::test]
async fn a_refusal_that_repeats_our_callback_does_not_show_it() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    let ours = stage.engine.incoming_callback();
    for status in [400, 429] {
        let no = Reply::error(status, "7505", &format!("{ours} is none, not {ours}"));
        stage.graph.once(Route::Other, no);
        let body = openmic_wire::errand::Body::default();
        let refused = within(incoming.redirect(body, false)).await.unwrap_err();
        assert_eq!(refused.status, status);
        let callback = "(the engine's callback)";
        assert_eq!(
            refused.message,
            format!("{callback} is none, not {callback}")
        );
    }
}

#[tokio::test]
async fn a_body_of_graphs_own_surface_keeps_its_members() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    let body = json!({"callbackUri": "https://caller/", "acceptedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "participantCapacity": 5, "unheardOf": [1]});
    let body = AnswerCall::decode(body.to_string().as_bytes()).unwrap();
    let call = within(incoming.pass(body, false, None)).await.unwrap();
    assert_eq!(call.named().unwrap().callback_uri, "https://caller/");
    let asked = stage.graph.received(Route::Answer, 1).await.body;
    assert_eq!(asked["unheardOf"], json!([1]));
    assert_eq!(asked["participantCapacity"], 5);
    own_key(&stage, 1).await;
    let read = within(incoming.read(Some("$select=id"))).await.unwrap();
    assert_eq!(read["id"], "c1");
    assert_eq!(
        stage.graph.received(Route::Read, 1).await.query.as_deref(),
        Some("$select=id")
    );
}

/// One poll, so that a request is under way while the test goes on.
trait PollOnce: Future {
    fn poll_once(self: std::pin::Pin<&mut Self>) -> Option<Self::Output> {
        let mut context = Context::from_waker(Waker::noop());
        match self.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}

impl<F: Future> PollOnce for F {}
