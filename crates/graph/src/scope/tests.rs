use openmic_wire::errand::Errand;
use proptest::prelude::*;

use super::*;

fn scope() -> Scope {
    Scope::new(Metrics::new())
}

fn refusal(code: &str, subcode: Option<i32>) -> Refusal {
    Refusal {
        status: 429,
        code: code.to_owned(),
        subcode,
        message: "slow down".to_owned(),
        request_id: None,
    }
}

fn throttle(scope: &Scope, endpoint: Endpoint, code: i32, seconds: f64, now: Instant) {
    let refusal = refusal(&code.to_string(), Some(code));
    let pause = Duration::from_secs_f64(seconds);
    scope.throttled(endpoint, &refusal, Some(pause), now);
}

fn admitted(scope: &Scope, endpoint: Endpoint, now: Instant) -> bool {
    scope.admit(endpoint, now).is_ok()
}

#[tokio::test(start_paused = true)]
async fn all_requests_keep_the_pause_that_one_was_asked_for_and_hang_ups_do_not() {
    let scope = scope();
    let now = Instant::now();
    throttle(&scope, Endpoint::Operation, 8516, 2.5, now);
    let just_before = now + Duration::from_millis(2_499);
    for endpoint in [
        Endpoint::Unmute,
        Endpoint::Mute,
        Endpoint::GetCall,
        Endpoint::CreateCall,
    ] {
        let held = scope.admit(endpoint, just_before).err();
        let Some(RequestError::Throttled {
            refusal,
            retry_after,
        }) = held
        else {
            panic!("{endpoint:?}: {held:?}");
        };
        assert_eq!((refusal.status, &*refusal.code), (429, "8516"));
        assert_eq!(retry_after, Some(Duration::from_millis(1)));
    }
    assert!(admitted(&scope, Endpoint::DeleteCall, just_before));
    let after = now + Duration::from_millis(2_500);
    assert_eq!(scope.held_until(just_before), Some(after));
    assert!(admitted(&scope, Endpoint::Unmute, after));
    assert_eq!(scope.held_until(after), None);
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_calls_does_not_silence_the_calls_there_are() {
    let now = Instant::now();
    for code in [8529, 8530] {
        let scope = scope();
        throttle(&scope, Endpoint::CreateCall, code, 3600.0, now);
        assert!(!admitted(&scope, Endpoint::CreateCall, now));
        assert!(!admitted(&scope, Endpoint::Answer, now));
        assert!(admitted(&scope, Endpoint::Unmute, now));
        assert!(admitted(&scope, Endpoint::KeepAlive, now));
    }
    // a create that is told of too many requests speaks of all
    let scope = scope();
    throttle(&scope, Endpoint::CreateCall, 8516, 1.0, now);
    assert!(!admitted(&scope, Endpoint::Unmute, now));
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_never_shortened_and_none_is_asked_of_others_without_a_time() {
    let scope = scope();
    let now = Instant::now();
    scope.throttled(Endpoint::Unmute, &refusal("x", None), None, now);
    assert!(admitted(&scope, Endpoint::Unmute, now));
    throttle(&scope, Endpoint::Unmute, 8516, 0.0, now);
    assert!(!admitted(&scope, Endpoint::Unmute, now + SHORTEST / 2));
    assert!(admitted(&scope, Endpoint::Unmute, now + SHORTEST));
    throttle(&scope, Endpoint::Unmute, 8516, 5.0, now);
    throttle(&scope, Endpoint::Unmute, 8516, 1.0, now);
    assert!(!admitted(
        &scope,
        Endpoint::Unmute,
        now + Duration::from_secs(4)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_lets_the_next_one_through() {
    let scope = scope();
    let now = Instant::now();
    for _ in 0..10 {
        scope
            .admit(Endpoint::GetCall, now)
            .ok()
            .unwrap()
            .unanswered(now);
    }
    let held = scope.admit(Endpoint::Unmute, now).err();
    assert!(
        matches!(held, Some(RequestError::NotSent(NotSent::Circuit))),
        "{held:?}"
    );
    assert!(
        admitted(&scope, Endpoint::DeleteCall, now),
        "a hang-up is tried all the same"
    );
    let later = now + Duration::from_secs(5);
    let probe = scope.admit(Endpoint::Unmute, later).ok().unwrap();
    assert!(!admitted(&scope, Endpoint::GetCall, later));
    drop(probe);
    let probe = scope.admit(Endpoint::GetCall, later).ok().unwrap();
    probe.answered();
    assert!(admitted(&scope, Endpoint::Unmute, later));
}

#[tokio::test(start_paused = true)]
async fn repeats_are_a_share_of_what_is_sent() {
    let scope = scope();
    let now = Instant::now();
    for _ in 0..2_000 {
        assert!(admitted(&scope, Endpoint::GetCall, now));
    }
    let repeats = (0..2_000).take_while(|_| scope.may_repeat()).count();
    // 10 % of 2,000, and 10 s of 10 a second
    assert_eq!(repeats, 200 + 100);
    assert!(!scope.may_repeat());
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(scope.may_repeat(), "what was long ago does not count");
}

proptest! {
    /// I-23: whatever was asked by whom, nothing but a hang-up leaves before its time.
    #[test]
    fn nothing_leaves_before_the_time_it_was_asked_to_wait_for(
        steps in prop::collection::vec((0_u8..2, 0.1_f64..20.0, 0_u64..3_000, 0_usize..6), 1..100),
    ) {
        let endpoints = [
            Endpoint::Unmute, Endpoint::GetCall, Endpoint::CreateCall, Endpoint::KeepAlive,
            Endpoint::Errand(Errand::Invite), Endpoint::DeleteCall,
        ];
        let scope = scope();
        let mut now = Instant::now();
        let mut until = now;
        for (what, seconds, gap, which) in steps {
            now += Duration::from_millis(gap);
            if what == 0 {
                throttle(&scope, endpoints[which], 8516, seconds, now);
                until = until.max(now + Duration::from_secs_f64(seconds));
            }
            let sent = admitted(&scope, endpoints[which], now);
            let free = endpoints[which] == Endpoint::DeleteCall || until <= now;
            prop_assert!(!sent || free);
            prop_assert_eq!(scope.held_until(now).is_none(), until <= now);
        }
    }
}
