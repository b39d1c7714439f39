//! Taking up many calls, in the right order and no faster than allowed; and what comes for them
//! meanwhile.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use openmic_journal::{Faults, Journal};
use openmic_machine::{Config, Phase};
use openmic_model::{
    Accepted, Action, AppId, Asked, CallId, CallIntent, CallKey, CallKind, CommandId, EndCause,
    Evidence, NamedCallback, OperationId, Origin, Record, RosterSeen, TenantId, Verdict, WallTime,
};
use openmic_wire::notification;
use serde_json::json;
use tokio::time::Instant;

use super::graph::{Gate, Reply, Route};
use super::house::{House, Life, brisk, roster};
use super::stage::{APP, TENANT, call_state, within};
use crate::{CommandOptions, Recovered};

fn wall(ago: Duration) -> WallTime {
    let ago = u64::try_from(ago.as_millis()).unwrap();
    WallTime(Journal::now().0 - ago)
}

fn id(number: usize) -> CallId {
    CallId::parse(&format!("call-{number}")).unwrap()
}

/// The records of an established call as another process left them, a second ago.
fn opened(number: usize, named: Option<&str>) -> Vec<(WallTime, Record)> {
    let at = wall(Duration::from_secs(1));
    let records = [
        Record::Intent(Box::new(CallIntent {
            app: AppId::parse(APP).unwrap(),
            tenant: TenantId::parse(TENANT).unwrap(),
            kind: CallKind::Group,
            offered: None,
            join_muted: false,
            named: named.map(|callback| {
                Box::new(NamedCallback {
                    callback_uri: callback.to_owned(),
                    call_options: None,
                })
            }),
            repeat: None,
        })),
        Record::Epoch(7),
        Record::Opened {
            id: id(number),
            kind: CallKind::Group,
            me: None,
        },
    ];
    records.map(|record| (at, record)).to_vec()
}

/// An unmute that was accepted and not sent.
fn accepted(number: u128) -> (WallTime, Record) {
    let accepted = Accepted {
        command: CommandId::new(number),
        action: Action::Unmute,
        origin: Origin::Bot,
        within: Duration::from_secs(30),
        speak_for: None,
        asked: Some(Asked {
            operation: OperationId::parse(&format!("op-{number}")).unwrap(),
            client_context: None,
            repeat: None,
        }),
    };
    (
        wall(Duration::from_secs(1)),
        Record::Accepted(Box::new(accepted)),
    )
}

/// An unmute whose time to speak is over.
fn lapsed() -> [(WallTime, Record); 3] {
    let unmuted = Record::Verdict {
        command: CommandId::new(3),
        action: Action::Unmute,
        verdict: Verdict::Confirmed {
            evidence: Evidence::Roster,
            roster: RosterSeen::Fresh,
        },
    };
    let lapsed = Record::Window {
        until: Some(wall(Duration::from_millis(500))),
    };
    let at = wall(Duration::from_secs(1));
    [accepted(3), (at, unmuted), (at, lapsed)]
}

fn key(number: usize) -> CallKey {
    CallKey(0xabc0_0000 + number as u128)
}

impl House {
    /// Writes calls down as another process did.
    async fn left(&self, calls: impl IntoIterator<Item = (usize, Vec<(WallTime, Record)>)>) {
        let (journal, _) = self.journal(&Faults::new());
        let mut last = None;
        for (number, records) in calls {
            last = Some(journal.append(key(number), &records));
        }
        within(last.unwrap()).await.unwrap();
        within(journal.close()).await;
    }
}

fn looked_at(life: &Life) -> Vec<String> {
    let seen = life.stage.graph.seen(Route::Read).into_iter();
    seen.map(|seen| seen.call).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_microphone_first_then_those_that_somebody_waits_for() {
    let house = House::new().await;
    house
        .left((1..=80).map(|number| {
            let mut records = opened(number, None);
            match number {
                79 => records.push(accepted(2)),
                80 => records.extend(lapsed()),
                _ => {}
            }
            (number, records)
        }))
        .await;
    let slow = NonZeroU32::new(1).unwrap();
    let life = house.open_with(|builder| builder.tune(brisk).recovery_rate(slow), |_| ());
    let mut progress = life.recovering();
    assert_eq!(progress.borrow().pending, 1);
    within(progress.wait_for(Recovered::is_ready))
        .await
        .unwrap();
    // Its time is over, so it is muted, and nothing else is sent for it.
    let mute = house.graph.received(Route::Mute, 1).await;
    assert_eq!(mute.call, "call-80");
    let unmutes = house.graph.seen(Route::Unmute).into_iter();
    assert!(unmutes.map(|seen| seen.call).all(|call| call == "call-79"));
    // The last two are among the first that a second has room for.
    assert!(!progress.borrow().is_done());
    assert!(looked_at(&life).len() < 40);
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_somebody_asks_for_has_its_turn_sooner() {
    let house = House::new().await;
    house
        .left((1..=200).map(|number| (number, opened(number, None))))
        .await;
    house.graph.set_muted(true);
    let rate = NonZeroU32::new(100).unwrap();
    let life = house.open_with(|builder| builder.tune(brisk).recovery_rate(rate), |_| ());
    life.recovering();
    let call = life.call(&id(200));
    let (_, pending) = life.accepted(&call, Action::Mute).await;
    assert_eq!(
        within(pending.outcome()).await.unwrap().verdict,
        Verdict::Already
    );
    assert!(!life.recovering().borrow().is_done());
    assert!(looked_at(&life).len() < 150);
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_asks_goes_before_a_hot_microphone() {
    let house = House::new().await;
    let lapsed = (1..=80).map(|number| (number, [opened(number, None), lapsed().into()].concat()));
    house.left(lapsed.chain([(81, opened(81, None))])).await;
    let rate = NonZeroU32::new(50).unwrap();
    let life = house.open_with(|builder| builder.tune(brisk).recovery_rate(rate), |_| ());
    let mut progress = life.recovering();
    let key = format!("{:032x}", key(81).0);
    life.tell(&key, &roster(&id(81), 1, true));
    within(progress.wait_for(Recovered::is_done)).await.unwrap();
    let before: BTreeSet<_> = looked_at(&life)
        .into_iter()
        .take_while(|call| call != "call-81")
        .collect();
    assert!(before.len() > 70, "{}", before.len());
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_d4_a_call_whose_records_break_the_machine_is_put_aside_and_the_others_start() {
    fn tune(config: &mut Config) {
        brisk(config);
        assert!(!config.join_muted, "a test asked for it");
    }
    let house = House::new().await;
    let mut broken = opened(1, None);
    if let Record::Intent(intent) = &mut broken[0].1 {
        intent.join_muted = true;
    }
    broken.push(accepted(1));
    house.left([(1, broken), (2, opened(2, None))]).await;
    for _ in 0..2 {
        let life = house.open(tune);
        let recovered = life.recovered().await;
        assert_eq!(
            (recovered.adopted, recovered.quarantined, recovered.pending),
            (1, 1, 0)
        );
        assert!(life.engine().call(&id(1)).is_none());
        assert!(life.engine().damaged(&id(1)).is_some());
        assert!(life.engine().call(&id(2)).is_some());
        assert_eq!((life.stage.gauge(), life.stage.in_flight()), (1, 0));
        life.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_d4_a_call_whose_records_contradict_each_other_is_hung_up_and_the_others_go_on() {
    let house = House::new().await;
    let mut broken = opened(1, None);
    broken.push((
        wall(Duration::ZERO),
        Record::Verdict {
            command: CommandId::new(9),
            action: Action::Unmute,
            verdict: Verdict::Already,
        },
    ));
    let mut over = opened(3, None);
    let verdict = broken[3].clone();
    let cause = EndCause::HungUp;
    over.extend([verdict, (wall(Duration::ZERO), Record::Closed { cause })]);
    house
        .left([(1, broken), (2, opened(2, None)), (3, over)])
        .await;
    let life = house.open(brisk);
    let recovered = life.recovered().await;
    assert_eq!((recovered.adopted, recovered.quarantined), (1, 2));
    let seen = house.graph.answered(Route::Delete, 1).await;
    assert_eq!(seen.call, "call-1");
    assert!(life.engine().call(&id(2)).is_some());
    let why = life.engine().damaged(&id(1)).unwrap();
    assert!(why.contains("not open"), "{why}");
    // That one is over.
    assert_eq!(life.engine().damaged(&id(3)), None);
    life.crash().await;
    assert_eq!(house.graph.count(Route::Delete), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_g22_no_faster_than_the_pace_and_no_request_before_retry_after() {
    let house = House::new().await;
    house
        .left((1..=80).map(|number| (number, opened(number, None))))
        .await;
    house.graph.once(Route::Read, Reply::throttled("1"));
    let rate = NonZeroU32::new(100).unwrap();
    let life = house.open_with(|builder| builder.tune(brisk).recovery_rate(rate), |_| ());
    let begun = Instant::now();
    let mut progress = life.recovering();
    house.graph.answered(Route::Read, 1).await;
    let asked = house.graph.count(Route::Read);
    let recovered = *within(progress.wait_for(Recovered::is_done)).await.unwrap();
    assert_eq!(recovered.adopted, 80, "{recovered:?}");
    // 32 at once, the rest at a hundred a second, and a second's pause.
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert!(asked < 80, "{asked}");
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_for_a_call_that_waits_for_its_turn_waits_with_it() {
    let house = House::new().await;
    house.left([(1, opened(1, None))]).await;
    let gate = Gate::new();
    let read = json!({"id": "$call", "state": "established", "myParticipantId": "me"});
    house
        .graph
        .always(Route::Read, Reply::json(200, &read).behind(&gate));
    house.graph.set_muted(true);
    let life = house.open(brisk);
    let mut progress = life.recovering();
    // At once: found by its id, told of by its key, and commanded.
    let call = life.call(&id(1));
    let key = format!("{:032x}", key(1).0);
    life.tell(&key, &roster(&id(1), 1, true));
    let mut pending = call
        .command(Action::Unmute, CommandOptions::default())
        .unwrap();
    let operation = pending.operation().clone();
    gate.open();
    within(pending.accepted()).await.unwrap();
    within(progress.wait_for(Recovered::is_done)).await.unwrap();
    house.graph.received(Route::Unmute, 1).await;
    house.graph.set_muted(false);
    life.tell(&key, &roster(&id(1), 2, false));
    assert!(life.verdict(&id(1), &operation).await.is_success());
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bots_callback_is_told_of_again() {
    use openmic_graph::relay::{Relay, RelayConfig, RelayMetrics};

    let house = House::new().await;
    let bot = format!("{}/bot/hook", house.graph.origin);
    house.left([(1, opened(1, Some(&bot)))]).await;
    let client = house.graph.client(|_| ());
    let life = house.open_with(
        |builder| {
            let config = RelayConfig {
                dev: true,
                ..RelayConfig::default()
            };
            let relay = Relay::new(config, client, &RelayMetrics::new()).unwrap();
            builder.tune(brisk).relay(relay)
        },
        |_| (),
    );
    life.recovered().await;
    let named = life.call(&id(1)).named().unwrap().callback_uri.clone();
    assert_eq!(named, bot);
    let entry = call_state("call-1", "established");
    let body = json!({"value": [entry]}).to_string();
    let tenant = TenantId::parse(TENANT).unwrap();
    let engine = life.engine().clone();
    let key = format!("{:032x}", key(1).0);
    life.run(async move {
        let batch = notification::decode(body.as_bytes()).unwrap();
        let headers = http::HeaderMap::new();
        engine
            .deliver_post(&key, Some(&tenant), batch, &headers, body.len())
            .unwrap();
    })
    .await;
    let told = house.graph.received(Route::Other, 1).await;
    assert_eq!(told.line, "POST /bot/hook");
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_to_speak_in_ends_by_itself_and_also_when_the_engine_dies() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    let key = life.stage.key(1).await;
    let (engine_call, id) = (call.clone(), call.id().clone());
    let spoken = life.spawn(async move { engine_call.unmute_for(Duration::from_secs(1)).await });
    house.graph.answered(Route::Unmute, 1).await;
    life.tell(&key, &roster(&id, 2, false));
    assert!(within(spoken).await.unwrap().unwrap().is_success());
    // By itself.
    house.graph.answered(Route::Mute, 1).await;
    life.tell(&key, &roster(&id, 3, true));
    within(call.until(|status| status.phase == Phase::Muted)).await;

    let engine_call = call.clone();
    let spoken = life.spawn(async move { engine_call.unmute_for(Duration::from_secs(1)).await });
    house.graph.answered(Route::Unmute, 2).await;
    life.tell(&key, &roster(&id, 4, false));
    assert!(within(spoken).await.unwrap().unwrap().is_success());
    house.graph.set_muted(false);
    life.crash().await;
    let over = Instant::now() + Duration::from_millis(1100);
    tokio::time::sleep_until(over).await;
    assert_eq!(house.graph.count(Route::Mute), 1);
    let life = house.open(brisk);
    life.recovering();
    house.graph.answered(Route::Mute, 2).await;
    house.graph.set_muted(true);
    life.tell(&key, &roster(&id, 5, true));
    within(life.call(&id).until(|status| status.phase == Phase::Muted)).await;
    life.crash().await;
}

/// `OPENMIC_CALLS=10000 cargo test --release -p openmic-engine many_calls -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn many_calls_are_taken_up_in_seconds() {
    let calls = std::env::var("OPENMIC_CALLS").map_or(1000, |calls| calls.parse().unwrap());
    let with_command = calls / 10;
    let rate = NonZeroU32::new(100_000).unwrap();
    for (disk, house) in [
        ("SQLite", House::new().await),
        ("memory", House::in_memory().await),
    ] {
        let left = (1..=calls).map(|number| {
            let mut records = opened(number, None);
            if number <= with_command {
                records.push(accepted(number as u128));
            }
            (number, records)
        });
        house.left(left).await;
        house.graph.set_muted(false);
        let begun = Instant::now();
        let life = house.open_with(|builder| builder.tune(brisk).recovery_rate(rate), |_| ());
        let opened = begun.elapsed();
        let mut progress = life.recovering();
        let known = begun.elapsed();
        let first = OperationId::parse("op-1").unwrap();
        let verdict = life.verdict(&id(1), &first).await;
        let told = begun.elapsed();
        let ready = *within(progress.wait_for(Recovered::is_ready))
            .await
            .unwrap();
        let is_ready = begun.elapsed();
        // Longer than a test may take: in a debug build on a busy machine.
        let done = *progress.wait_for(Recovered::is_done).await.unwrap();
        println!(
            "{disk}: {calls} calls, {with_command} with a command: opened {opened:?}, known \
             {known:?}, first verdict {told:?} ({verdict:?}), ready {is_ready:?} ({} probed), all \
             {:?} ({done:?})",
            ready.probed,
            begun.elapsed(),
        );
        drop(life);
    }
}

/// As many of them as may be asked for at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_cannot_be_read_do_not_keep_the_others_waiting() {
    const SILENT: usize = 128;
    let house = House::new().await;
    house
        .left((1..=SILENT + 1).map(|number| (number, opened(number, None))))
        .await;
    for _ in 0..SILENT {
        house.graph.once(Route::Read, Reply::silent());
    }
    let life = house.open(brisk);
    let mut progress = life.recovering();
    let begun = Instant::now();
    within(progress.wait_for(|progress| progress.adopted == 1))
        .await
        .unwrap();
    // Before any of the others was given up or asked for again.
    assert!(begun.elapsed() < Duration::from_secs(8));
    assert_eq!(house.graph.count(Route::Read), SILENT + 1);
    life.crash().await;
}
