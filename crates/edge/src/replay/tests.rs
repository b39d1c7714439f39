use proptest::prelude::*;

use super::*;

fn scope(key: &str) -> Arc<Scope> {
    Arc::new(Scope::new(
        TenantId::parse("11111111-1111-4111-8111-111111111111").unwrap(),
        AppId::parse("22222222-2222-4222-8222-222222222222").unwrap(),
        None,
        Key::Idempotency(key.into()),
    ))
}

fn named(scope: &Scope) -> Named {
    Named {
        key: scope.key.clone(),
        repeat: true,
    }
}

fn kept(status: u16, body: &'static str) -> Kept {
    Kept {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(body.as_bytes()),
        refusal: None,
        again: false,
        fleeting: false,
    }
}

fn store(records: usize, bytes: usize) -> Store {
    let replays = Replays::new(Bounds { records, bytes }, EdgeMetrics::new(), None);
    Arc::into_inner(replays).unwrap().store.into_inner()
}

const PRINT: [u8; 32] = [7; 32];

/// Begins one and, with a body, ends it.
fn put(store: &mut Store, key: &str, body: Option<&'static str>, now: Instant) -> bool {
    let scope = scope(key);
    match store.turn(&scope, &named(&scope), PRINT, now) {
        Turn::First { number, answer } => {
            if let Some(body) = body {
                let kept = kept(200, body);
                store.finish(&scope, number, &kept, now);
                answer.send_replace(Some(kept));
            }
            true
        }
        _ => false,
    }
}

fn holds(store: &Store, key: &str) -> bool {
    store.records.contains_key(&scope(key))
}

#[test]
fn the_oldest_finished_goes_first_and_a_running_one_never() {
    let (mut store, now) = (store(3, usize::MAX), Instant::now());
    assert!(put(&mut store, "running", None, now));
    assert!(put(&mut store, "one", Some("1"), now));
    assert!(put(&mut store, "two", Some("2"), now));
    assert!(put(&mut store, "three", Some("3"), now));
    assert!(holds(&store, "running") && !holds(&store, "one"));
    assert!(holds(&store, "two") && holds(&store, "three"));
    assert!(put(&mut store, "four", None, now));
    assert!(put(&mut store, "five", None, now));
    let scope = scope("six");
    let full = store.turn(&scope, &named(&scope), PRINT, now);
    assert!(matches!(full, Turn::Full), "three run, none can go");
    assert!(holds(&store, "running"));
}

#[test]
fn bytes_are_bounded_and_one_large_answer_is_still_kept() {
    let (mut store, now) = (store(100, 4 * (OVERHEAD + 100)), Instant::now());
    for key in ["a", "b", "c", "d", "e", "f"] {
        assert!(put(&mut store, key, Some("0123456789"), now));
        assert!(store.bytes <= store.bounds.bytes);
    }
    assert!(!holds(&store, "a") && !holds(&store, "b") && holds(&store, "f"));
    let large = "x".repeat(100_000).leak();
    assert!(put(&mut store, "large", Some(large), now));
    assert!(holds(&store, "large"));
    assert_eq!(store.records.len(), 1);
    assert!(put(&mut store, "small", Some("1"), now));
    assert!(!holds(&store, "large") && holds(&store, "small"));
}

#[test]
fn nothing_is_kept_for_longer_than_a_day() {
    let (mut store, now) = (store(100, usize::MAX), Instant::now());
    assert!(put(&mut store, "old", Some("1"), now));
    assert!(put(&mut store, "running", None, now));
    let later = now + Duration::from_hours(23);
    assert!(!put(&mut store, "old", None, later), "it is still there");
    assert!(put(&mut store, "old", None, now + KEPT), "it is new");
    assert!(holds(&store, "running"));
}

#[test]
fn an_answer_that_asks_to_come_again_is_not_kept() {
    let (mut store, now) = (store(100, usize::MAX), Instant::now());
    let mut holds = |status, code: &'static str| {
        let scope = scope("again");
        let Turn::First { number, .. } = store.turn(&scope, &named(&scope), PRINT, now) else {
            panic!("{status}: it is no repeat")
        };
        let mut kept = kept(status, "");
        kept.refusal = Some(Refusal::new(kept.status, code, "m"));
        store.finish(&scope, number, &kept, now);
        let holds = !store.records.is_empty();
        store.forget(&scope);
        holds
    };
    for status in [408, 413, 415, 429, 503] {
        assert!(!holds(status, "c"), "{status}");
    }
    assert!(!holds(403, "7504") && !holds(502, "serviceNotAvailable"));
    // What was refused must not take effect later, and what may have had an effect not twice.
    assert!(holds(403, "8566") && holds(400, "8501") && holds(502, "generalException"));
    assert_eq!((store.records.len(), store.bytes), (0, 0));
}

#[test]
fn a_request_id_used_for_all_names_the_newest_of_each_request() {
    let (mut store, now) = (store(100, usize::MAX), Instant::now());
    let scope = |print| {
        let bare = Scope {
            key: Key::Request("always".into()),
            ..(*scope("")).clone()
        };
        Arc::new(bare.printed(print))
    };
    let name = |repeat| Named {
        key: Key::Request("always".into()),
        repeat,
    };
    let mut turn = |print, repeat| store.turn(&scope(print), &name(repeat), print, now);
    let Turn::First { number: first, .. } = turn(PRINT, false) else {
        panic!("it is new")
    };
    // Not said to be a repeat, so it is none, although it is the same.
    let Turn::First { number, .. } = turn(PRINT, false) else {
        panic!("it is new too")
    };
    // Another one: what a middleware repeats may still be the one before.
    let other = [8; 32];
    assert!(matches!(turn(other, false), Turn::First { .. }));
    assert!(matches!(turn(PRINT, true), Turn::Again(_)));
    let finished = store.finished.len();
    store.finish(&scope(PRINT), first, &kept(200, "first"), now);
    assert_eq!(
        store.finished.len(),
        finished,
        "the first one is not the newest"
    );
    store.finish(&scope(PRINT), number, &kept(200, "second"), now);
    assert_eq!(store.finished.len(), finished + 1);
    let mut turn = |print, repeat| store.turn(&scope(print), &name(repeat), print, now);
    assert!(matches!(turn(PRINT, true), Turn::Again(_)));
    assert!(matches!(turn(other, true), Turn::Again(_)));
    assert!(matches!(turn([9; 32], true), Turn::First { .. }));
}

#[test]
fn a_name_is_read_from_the_headers() {
    let read = |pairs: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        Named::of(&headers)
    };
    let longest = "k".repeat(128);
    for key in ["a", "a b", "~", "\"quoted\"", &longest] {
        let read = read(&[("idempotency-key", key), ("client-request-id", "c")]).unwrap();
        assert_eq!(read.unwrap().key, Key::Idempotency(key.into()));
    }
    for key in ["", "é", &format!("{longest}k"), "a\tb"] {
        let refusal = read(&[("idempotency-key", key)]).unwrap_err();
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{key}");
    }
    let twice = read(&[("idempotency-key", "a"), ("idempotency-key", "a")]);
    assert!(twice.is_err());
    assert_eq!(read(&[]).unwrap(), None);
    assert_eq!(read(&[("retry-attempt", "1")]).unwrap(), None);
    for (attempt, repeat) in [("1", true), ("12", true), ("0", false), ("x", false)] {
        let pairs = [("client-request-id", "c"), ("retry-attempt", attempt)];
        assert_eq!(read(&pairs).unwrap().unwrap().repeat, repeat, "{attempt}");
    }
}

proptest! {
    /// Whatever comes in whatever order, the store's books are right.
    #[test]
    fn the_books_agree(steps in prop::collection::vec((0..12_u8, 0..3_u8, any::<bool>()), 0..200)) {
        let mut store = store(6, 6 * (OVERHEAD + 8));
        let mut running = Vec::new();
        let now = Instant::now();
        for (key, print, finish) in steps {
            let scope = scope(&key.to_string());
            if finish && !running.is_empty() {
                let (scope, number) = running.remove(usize::from(key) % running.len());
                store.finish(&scope, number, &kept(200, "0123456789"), now);
            } else if let Turn::First { number, .. } =
                store.turn(&scope, &named(&scope), [print; 32], now)
            {
                running.push((scope, number));
            }
            let sum: usize = store.records.values().map(|record| record.bytes).sum();
            prop_assert_eq!(sum, store.bytes);
            prop_assert!(store.records.len() <= 6);
            let done = store.records.values().filter(|record| record.done.is_some()).count();
            prop_assert_eq!(done, store.finished.len());
            prop_assert_eq!(store.records.len() - done, running.len());
        }
    }
}

#[test]
fn what_a_request_is_follows_from_its_path() {
    let calls = "/v1.0/communications/calls";
    for (below, kind) in [
        ("", Kind::Create),
        ("/", Kind::Create),
        ("/c/mute", Kind::Command),
        ("/c/unmute", Kind::Command),
        ("/c/keepAlive", Kind::Harmless),
        ("/logTeleconferenceDeviceQuality", Kind::Harmless),
        ("/c/answer", Kind::Errand),
        ("/c/playPrompt", Kind::Errand),
        ("/c/participants/p/mute", Kind::Errand),
        ("/c/participants/muteAll", Kind::Errand),
    ] {
        assert_eq!(Kind::of(&format!("{calls}{below}")), kind, "{below}");
    }
}

#[test]
fn the_journal_s_name_of_a_request_tells_each_part_of_it() {
    let of = |tenant: &str, call: Option<&str>, key: Key| {
        let scope = Scope::new(
            TenantId::parse(tenant).unwrap(),
            AppId::parse("app").unwrap(),
            call.map(|call| CallId::parse(call).unwrap()),
            key,
        );
        durable::repeat_of(&scope.printed(PRINT), PRINT).scope
    };
    let key = |text: &str| Key::Idempotency(text.into());
    let names = [
        of("t", None, key("k")),
        of("u", None, key("k")),
        of("t", Some("c"), key("k")),
        of("t", None, key("ck")),
        of("t", None, Key::Request("k".into())),
    ];
    for (at, name) in names.iter().enumerate() {
        assert!(!names[..at].contains(name), "{at}");
    }
    assert_eq!(names[0], of("t", None, key("k")));
}
