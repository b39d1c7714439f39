//! What comes by the app's key, and what does not.

use super::*;

#[tokio::test]
async fn more_rings_than_there_is_room_for_come_again() {
    let stage = Stage::with(|builder| builder.max_ringing(1), |_| ()).await;
    let key = app_key(&stage);
    let first = rung(&stage, "c1").await;
    let full = stage.deliver(&key, &[ring("c2")]);
    assert_eq!(full.unwrap_err(), DeliverError::Busy);
    // What is no new ring is still heard, and makes room.
    let full = stage.deliver(&key, &[ring("c2"), ring("c1"), ended("c1")]);
    assert_eq!(full.unwrap_err(), DeliverError::Busy);
    let end = within(first.over()).await;
    assert!(matches!(end, RingEnd::GaveUp(_)), "{end:?}");
    let quiet = async {
        while stage.engine.metrics().ringing.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within(quiet).await;
    rung(&stage, "c2").await;
    assert_eq!(ends(&stage, "refused"), 2);
}

#[tokio::test]
async fn an_engine_that_drains_takes_no_ring_and_ends_the_stream() {
    let stage = Stage::new(patient).await;
    let incoming = rung(&stage, "c1").await;
    let mut stream = stage.engine.incoming();
    let mut next = Box::pin(stream.next());
    assert!(next.as_mut().poll_once().is_none());
    stage.engine.drain(Duration::from_secs(5)).await;
    assert!(within(next).await.is_none());
    let refused = within(incoming.answer(unmuted())).await;
    assert!(
        matches!(refused, Err(AnswerError::Join(JoinError::Draining))),
        "{refused:?}"
    );
    let busy = stage.deliver(&app_key(&stage), &[ring("c2")]);
    assert_eq!(busy.unwrap_err(), DeliverError::Busy);
}

#[tokio::test]
async fn a_call_the_bot_made_is_not_ended_by_the_apps_key() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(false).await;
    let id = leg.call.id().to_string();
    let delivered = stage.deliver(&app_key(&stage), &[ended(&id)]).unwrap();
    assert_eq!((delivered.queued, delivered.foreign), (0, 1));
}

#[tokio::test]
async fn another_tenants_ring_and_news_of_strangers_are_not_heard() {
    let stage = Stage::new(patient).await;
    let key = app_key(&stage);
    let tenant = openmic_model::TenantId::parse("99999999-9999-4999-8999-999999999999").unwrap();
    let body = json!({ "value": [ring("c1")] }).to_string();
    let batch = openmic_wire::notification::decode(body.as_bytes()).unwrap();
    let wrong = stage
        .engine
        .deliver(&key, Some(&tenant), batch.notifications);
    assert_eq!(wrong.unwrap_err(), DeliverError::Unknown);
    assert!(
        stage
            .engine
            .ringing(&CallId::parse("c1").unwrap())
            .is_none()
    );
    let delivered = stage
        .deliver(&key, &[ended("c9"), roster("c9", 1, true)])
        .unwrap();
    assert_eq!((delivered.queued, delivered.foreign), (0, 2));
}

#[tokio::test]
async fn the_apps_key_can_be_given_and_must_be_one() {
    let stage = Stage::with(
        |builder| builder.incoming_key("0123456789abcdef-_X"),
        |_| (),
    )
    .await;
    let url = stage.engine.incoming_callback();
    assert_eq!(
        url.as_str(),
        "https://bot.example/base/callbacks/0123456789abcdef-_X"
    );
    let other = Stage::new(patient).await;
    assert_eq!(app_key(&other).len(), 32, "without one it is random");
    for bad in [
        "",
        "short",
        "with/slash-0123456789",
        "with space 0123456789",
        &"x".repeat(129),
    ] {
        let built = Stage::try_with(|builder| builder.incoming_key(bad), |_| ()).await;
        let refused = matches!(built, Err(crate::BuildError::IncomingKey));
        assert!(refused, "{bad}");
    }
}
