use std::collections::{BTreeMap, BTreeSet};

use openmic_model::{CallId, ClientContext, OperationId};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Gap, Named, RawEntry, RawRoster, decode_page, encode};
use crate::notification;

fn entries(value: &Value) -> Vec<RawEntry> {
    let body = json!({"value": value}).to_string();
    let batch = notification::decode(body.as_bytes()).unwrap();
    batch.raw.entries(|_| true)
}

fn one(value: &Value) -> RawEntry {
    entries(&json!([value])).pop().unwrap()
}

fn written(entry: &RawEntry) -> Value {
    let body: Value = serde_json::from_slice(&encode([entry])).unwrap();
    assert_eq!(body["@odata.type"], "#microsoft.graph.commsNotifications");
    body["value"][0].clone()
}

#[test]
fn what_is_not_touched_stays_as_it_came() {
    let odd = json!([
        {"changeType": "Updated", "resource": "/app/calls/c1", "x": [1, {"y": null}],
            "resourceData": {"state": "Established", "big": 12_345_678_901_234_567_u64}},
        {"no": "resource"},
        // Unreadable to us, and still the bot's.
        {"changeType": "updated", "resourceUrl": "/communications/calls/c1/participants",
            "resourceData": [{"id": "a"}]},
        {"changeType": "created", "resourceUrl": "/communications/calls/c1/contentsharingsessions",
            "resourceData": []},
        7,
    ]);
    let raw = entries(&odd);
    let named: Vec<_> = raw
        .iter()
        .map(|entry| entry.call().map(CallId::as_str))
        .collect();
    assert_eq!(named, [Some("c1"), None, Some("c1"), Some("c1")]);
    for (entry, came) in raw.iter().zip(odd.as_array().unwrap()) {
        assert_eq!(written(entry), *came);
    }
    let rosters: Vec<_> = raw.iter().map(RawEntry::is_roster).collect();
    assert_eq!(rosters, [false, false, true, false]);
}

#[test]
fn an_operation_is_renamed_wherever_its_id_stands() {
    let id = OperationId::parse("ours").unwrap();
    let context = ClientContext::parse("mine").unwrap();
    for (path, renamed) in [
        (
            "/communications/calls/c1/operations/up",
            "/communications/calls/c1/operations/ours",
        ),
        (
            "/app/calls/c1/operations/up",
            "/app/calls/c1/operations/ours",
        ),
        (
            "https://graph.microsoft.com/v1.0/communications/calls/c1/operations/up?x=operations",
            "https://graph.microsoft.com/v1.0/communications/calls/c1/operations/ours?x=operations",
        ),
        (
            "communications/calls('c1')/operations('up')",
            "communications/calls('c1')/operations('ours')",
        ),
        (
            "/Communications/Calls/c1/Operations/up/",
            "/Communications/Calls/c1/Operations/ours/",
        ),
    ] {
        let came = json!({"changeType": "deleted", "resourceUrl": path, "resource": path,
            "resourceData": {"@odata.id": path, "id": "up", "clientContext": "u1.x.1",
                "status": "failed", "resultInfo": {"code": 400, "subcode": 8566}}});
        let entry = one(&came);
        let told = entry.operation().unwrap();
        assert_eq!(told.1.unwrap().as_str(), "up", "{path}");
        let renamed = json!({"changeType": "deleted", "resourceUrl": renamed, "resource": renamed,
            "resourceData": {"@odata.id": renamed, "id": "ours", "clientContext": "mine",
                "status": "failed", "resultInfo": {"code": 400, "subcode": 8566}}});
        let entry = entry.about(&id, Some(&context));
        assert_eq!(written(&entry), renamed, "{path}");
        assert_eq!(entry.operation().unwrap().1, Some(id.clone()));
    }
}

#[test]
fn an_operation_that_hardly_says_anything_is_told_from_its_address() {
    let bare = json!({"changeType": "deleted",
        "resourceUrl": "/communications/calls/c1/operations/up"});
    let entry = one(&bare);
    let (context, id) = entry.operation().unwrap();
    assert_eq!((context, id.unwrap().as_str()), (None, "up"));
    let id = OperationId::parse("ours").unwrap();
    let renamed = json!({"changeType": "deleted",
        "resourceUrl": "/communications/calls/c1/operations/ours"});
    assert_eq!(written(&entry.about(&id, None)), renamed);
    let roster = json!({"changeType": "updated",
        "resourceUrl": "/communications/calls/c1/operations/participants", "resourceData": []});
    assert!(one(&roster).is_roster());
    assert_eq!(one(&roster).operation(), None);
}

#[test]
fn a_bot_is_shown_what_it_said_itself() {
    let ours = "https://engine/callbacks/key";
    let call = json!({"changeType": "created", "resourceUrl": "/communications/calls/c1",
        "callbackUri": ours, "resourceData": {"callbackUri": ours, "state": "incoming",
            "resultInfo": {"message": format!("{ours} does not answer")}, "callOptions": {"isDeltaRosterEnabled": true, "hideBotAfterEscalation": true}}});
    let shown = |options: Value| {
        let mut entry = one(&call);
        let named = Named {
            callback_uri: "https://bot/".to_owned(),
            call_options: options.as_object().cloned(),
        };
        entry.readdress(ours, &named);
        let shown = written(&entry);
        assert_eq!(shown["callbackUri"], "https://bot/");
        assert_eq!(shown["resourceData"]["callbackUri"], "https://bot/");
        assert_eq!(shown["resourceData"]["state"], "incoming");
        let said = &shown["resourceData"]["resultInfo"]["message"];
        assert_eq!(said, "https://bot/ does not answer");
        shown["resourceData"].get("callOptions").cloned()
    };
    assert_eq!(shown(Value::Null), None);
    let hide = json!({"hideBotAfterEscalation": true});
    assert_eq!(shown(hide.clone()), Some(hide));
    for delta in [true, false] {
        let mine = json!({"isDeltaRosterEnabled": delta});
        let both = json!({"isDeltaRosterEnabled": delta, "hideBotAfterEscalation": true});
        assert_eq!(shown(mine), Some(both));
    }
}

#[test]
fn a_roster_is_what_upstream_says_whole_or_in_parts() {
    let somebody =
        |id: &str, number: u64| json!({"id": id, "isMuted": false, "rosterSequenceNumber": number});
    let roster = |data: Value| {
        one(&json!({"changeType": "updated",
        "resourceUrl": "/communications/calls/c1/participants", "resourceData": data}))
    };
    let delta = |number: Value, people: Value| {
        roster(json!([{"sequenceNumber": number, "participants": people}]))
    };
    let ids = |kept: &RawRoster| {
        let whole = written(&kept.whole(&roster(json!([]))));
        let people = whole["resourceData"].as_array().unwrap();
        people
            .iter()
            .map(|one| one["id"].as_str().unwrap())
            .collect::<Vec<_>>()
            .join("+")
    };
    let mut kept = RawRoster::default();
    // The first is not number 1: something came before it.
    assert_eq!(
        kept.apply(&delta(json!(4), json!([somebody("b", 4)]))),
        Gap::Hole
    );
    kept.read(vec![somebody("a", 1), somebody("b", 3), somebody("c", 2)]);
    assert_eq!(ids(&kept), "a+b+c");
    assert_eq!(kept.len(), 3);
    // Numbers as text, and none.
    assert_eq!(
        kept.apply(&delta(json!("5"), json!([somebody("d", 5)]))),
        Gap::None
    );
    assert_eq!(
        kept.apply(&delta(Value::Null, json!([somebody("e", 5)]))),
        Gap::None
    );
    assert_eq!(ids(&kept), "a+b+c+d+e");
    // Late, and known already.
    assert_eq!(
        kept.apply(&delta(json!(3), json!([somebody("c", 1)]))),
        Gap::None
    );
    // One entry by its own address.
    let gone = one(&json!({"changeType": "deleted",
        "resourceUrl": "/communications/calls/c1/participants/a", "resourceData": somebody("a", 6)}));
    assert_eq!(kept.apply(&gone), Gap::None);
    assert_eq!(ids(&kept), "b+c+d+e");
    // All of them at once.
    assert_eq!(kept.apply(&roster(json!([somebody("x", 1)]))), Gap::None);
    assert_eq!(ids(&kept), "x");
    // Nothing of use changes nothing.
    assert_eq!(kept.apply(&roster(Value::Null)), Gap::None);
    assert_eq!(kept.apply(&roster(json!([7, {"id": 7}]))), Gap::None);
    assert_eq!(ids(&kept), "x");
}

#[test]
fn nobody_comes_back_by_a_delta_that_a_read_overtook() {
    let delta = |number: u64, people: Value| {
        one(&json!({"changeType": "updated",
            "resourceUrl": "/communications/calls/c1/participants",
            "resourceData": [{"sequenceNumber": number, "participants": people}]}))
    };
    let somebody = |id: &str, number: u64| json!({"id": id, "rosterSequenceNumber": number});
    let left = json!({"id": "b", "rosterSequenceNumber": 3, "removedState": {"reason": "left"}});
    let (second, fourth) = (somebody("b", 2), somebody("c", 4));
    let mut kept = RawRoster::default();
    assert_eq!(kept.apply(&delta(1, json!([somebody("a", 1)]))), Gap::None);
    assert_eq!(kept.apply(&delta(3, json!([left]))), Gap::Hole);
    kept.read(vec![somebody("a", 1)]);
    // What filled the hole comes after all: b had left by then.
    assert_eq!(kept.apply(&delta(2, json!([second]))), Gap::None);
    assert_eq!(kept.len(), 1);
    // Of c it is known by a read only, and the delta is sent again.
    kept.apply(&delta(4, json!([fourth])));
    assert_eq!(kept.apply(&delta(6, json!([]))), Gap::Hole);
    kept.read(vec![somebody("a", 1)]);
    kept.apply(&delta(4, json!([fourth])));
    assert_eq!(kept.len(), 1);
    // Who does come back has a newer number.
    kept.apply(&delta(7, json!([somebody("b", 7)])));
    assert_eq!(kept.len(), 2);
    // Of d, who came and went, only the coming comes, and late.
    assert_eq!(kept.apply(&delta(10, json!([]))), Gap::Hole);
    kept.read(vec![somebody("a", 10), somebody("b", 7)]);
    kept.apply(&delta(8, json!([somebody("d", 8)])));
    assert_eq!(kept.len(), 2);
    kept.apply(&delta(11, json!([somebody("d", 11)])));
    assert_eq!(kept.len(), 3);
}

#[test]
fn two_long_deltas_are_joined_in_no_time() {
    let delta = |number: usize| {
        let many = 0..crate::MAX_ITEMS;
        let who = many.map(|who| json!({"id": format!("p{who}"), "rosterSequenceNumber": number}));
        let people: Vec<_> = who.collect();
        one(&json!({"changeType": "updated",
            "resourceUrl": "/communications/calls/c1/participants",
            "resourceData": [{"sequenceNumber": number, "participants": people}]}))
    };
    let (older, mut newer) = (delta(1), delta(2));
    let begun = std::time::Instant::now();
    newer.join(&older);
    // Each with each other would take a hundred times as long.
    assert!(begun.elapsed() < std::time::Duration::from_secs(1));
    let joined = written(&newer);
    let people = joined["resourceData"][0]["participants"]
        .as_array()
        .unwrap();
    assert_eq!(people.len(), crate::MAX_ITEMS);
    assert!(people.iter().all(|one| one["rosterSequenceNumber"] == 2));
}

#[test]
fn who_left_is_forgotten_in_the_end_and_a_roster_is_bounded() {
    let mut kept = RawRoster::default();
    let delta = |number: usize, removed: bool| {
        let mut who = json!({"id": format!("p{number}"), "isMuted": false});
        if removed {
            who["removedState"] = json!({"reason": "left"});
        }
        one(
            &json!({"changeType": "updated", "resourceUrl": "/communications/calls/c1/participants",
            "resourceData": [{"participants": [who]}]}),
        )
    };
    for number in 0..3 * crate::MAX_ITEMS {
        kept.apply(&delta(number, false));
        kept.apply(&delta(number, true));
    }
    assert!(kept.is_empty());
    assert!(kept.entries.len() <= 2 * crate::MAX_ITEMS);
    for number in 0..crate::MAX_ITEMS + 10 {
        kept.apply(&delta(number, false));
    }
    assert_eq!(kept.len(), crate::MAX_ITEMS);
}

#[test]
fn a_page_keeps_its_entries_as_they_are() {
    let people = json!([{"id": "a", "unheardOf": 1}, 7]);
    let body = json!({"value": people, "@odata.nextLink": "https://graph/next"}).to_string();
    let page = decode_page(body.as_bytes()).unwrap();
    assert_eq!(Value::from(page.participants), people);
    assert_eq!(page.next.as_deref(), Some("https://graph/next"));
    for bad in ["[]", "{}", r#"{"value": 7}"#, "no"] {
        assert!(decode_page(bad.as_bytes()).is_err(), "{bad}");
    }
}

proptest! {
    /// In whatever order deltas come, some of them twice, and whatever a read sees of what is yet
    /// to come: in the end the roster is upstream's.
    #[test]
    fn a_roster_is_upstreams_in_the_end(
        steps in prop::collection::vec((0..4_u8, any::<bool>()), 1..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 24),
        ahead in prop::collection::vec(0..3_usize, 24),
    ) {
        // The states of the roster by number, and the deltas between them.
        let mut states: Vec<BTreeMap<String, usize>> = vec![BTreeMap::new()];
        let mut deltas = Vec::new();
        for (at, (who, leaves)) in steps.iter().enumerate() {
            let (number, id) = (at + 1, format!("p{who}"));
            let mut state = states[at].clone();
            let mut entry = json!({"id": id, "rosterSequenceNumber": number});
            if *leaves && state.remove(&id).is_some() {
                entry["removedState"] = json!({"reason": "left"});
            } else {
                state.insert(id, number);
            }
            states.push(state);
            deltas.push(one(&json!({"changeType": "updated",
                "resourceUrl": "/communications/calls/c1/participants",
                "resourceData": [{"sequenceNumber": number, "participants": [entry]}]})));
        }
        let mut kept = RawRoster::default();
        let (mut told, mut waiting) = (0, (0..deltas.len()).collect::<Vec<_>>());
        for (index, ahead) in order.iter().zip(ahead) {
            let Some(&at) = waiting.get(index.index(waiting.len().max(1))) else { break };
            // Every third one comes again.
            if ahead != 2 {
                waiting.retain(|other| *other != at);
            }
            told = told.max(at + 1);
            if kept.apply(&deltas[at]) == Gap::Hole {
                let seen = &states[(told + ahead).min(deltas.len())];
                let listed = seen.iter();
                kept.read(listed.map(|(id, number)| json!({"id": id,
                    "rosterSequenceNumber": number})).collect());
            }
        }
        for at in waiting {
            kept.apply(&deltas[at]);
        }
        let whole = written(&kept.whole(&deltas[0]));
        let people = whole["resourceData"].as_array().unwrap();
        let ids: BTreeSet<_> = people.iter().map(|one| one["id"].as_str().unwrap()).collect();
        let last = states.last().unwrap();
        prop_assert_eq!(ids, last.keys().map(String::as_str).collect::<BTreeSet<_>>());
    }
}
