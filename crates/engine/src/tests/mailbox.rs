//! Handing over webhooks and commands, also when there is no room.

use openmic_machine::Phase;
use openmic_model::{Action, TenantId, Verdict};
use openmic_wire::notification;
use serde_json::json;

use super::graph::Route;
use super::stage::{Stage, call_state, participant, patient, verdict, within};
use crate::mail::{CAPACITY, RESERVED};
use crate::{CommandError, CommandOptions, DeliverError, Delivered};

fn counted(stage: &Stage, resource: &str, result: &str) -> u64 {
    let notifications = &stage.engine.metrics().notifications;
    notifications.with_label_values(&[resource, result]).get()
}

#[tokio::test]
async fn unknown_key_and_wrong_tenant() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    let entry = leg.state("terminated");
    let unknown = stage.deliver("0123", std::slice::from_ref(&entry));
    assert_eq!(unknown, Err(DeliverError::Unknown));
    assert_eq!(counted(&stage, "call", "unknown_call"), 1);

    let body = json!({"value": [entry]}).to_string();
    let batch = notification::decode(body.as_bytes()).unwrap();
    let other = TenantId::parse("99999999-1111-4111-8111-111111111111").unwrap();
    let wrong = stage
        .engine
        .deliver(&leg.key, Some(&other), batch.notifications);
    assert_eq!(wrong, Err(DeliverError::Unknown));
    assert_eq!(counted(&stage, "call", "wrong_tenant"), 1);
    assert_eq!(verdict(leg.command(Action::Mute)).await, Verdict::Already);
    leg.end().await;
}

#[tokio::test]
async fn entries_of_other_calls_are_left_out() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    let foreign = call_state("call-2", "terminated");
    let nobodys = json!({"changeType": "updated", "resourceUrl": "/somewhere/else"});
    let ours = leg.state("established");
    let delivered = stage.deliver(&leg.key, &[foreign, ours, nobodys]).unwrap();
    assert_eq!(
        delivered,
        Delivered {
            queued: 1,
            foreign: 2
        }
    );
    let none = stage.deliver(&leg.key, &[call_state("call-2", "terminated")]);
    assert_eq!(
        none,
        Ok(Delivered {
            queued: 0,
            foreign: 1
        })
    );
    assert_eq!(verdict(leg.command(Action::Mute)).await, Verdict::Already);
    leg.end().await;
}

#[tokio::test]
async fn entries_of_other_calls_are_left_out_while_the_id_is_not_known() {
    let stage = Stage::new(patient).await;
    stage.graph.set_muted(true);
    let gate = super::graph::Gate::new();
    let answer = super::graph::Reply::json(201, &json!({"id": "$call"})).behind(&gate);
    stage.graph.once(Route::Create, answer);
    let telling = async {
        let key = stage.key(1).await;
        // All of these are queued: nobody knows the id before the first one is read.
        let entries = [
            call_state("call-1", "establishing"),
            call_state("call-2", "terminated"),
        ];
        let delivered = stage.deliver(&key, &entries).unwrap();
        assert_eq!(
            delivered,
            Delivered {
                queued: 2,
                foreign: 0
            }
        );
        gate.open();
    };
    let joining = stage.engine.join(super::stage::join(None));
    let (call, ()) = within(async { tokio::join!(joining, telling) }).await;
    assert_eq!(call.unwrap().state().phase, Phase::Establishing);
}

#[tokio::test]
async fn busy_for_commands_first_and_for_webhooks_when_full() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    // The first is taken up at once; from then on the call has a task, which runs only when this
    // test waits.
    let options = CommandOptions::default;
    let pending: Vec<_> = (0..=CAPACITY - RESERVED)
        .map(|_| leg.call.command(Action::Unmute, options()).unwrap())
        .collect();
    let refused = leg.call.command(Action::Unmute, options());
    assert!(matches!(refused, Err(CommandError::Busy)));
    assert_eq!(stage.engine.metrics().busy.get(), 1);
    assert_eq!(stage.in_flight(), i64::try_from(pending.len()).unwrap());

    let up = leg.state("established");
    for _ in 0..RESERVED - 1 {
        leg.tell(&[up.clone(), up.clone()]);
    }
    let roster = leg.next_delta(false);
    leg.tell(&[roster]);
    let full = stage.deliver(&leg.key, &[leg.state("terminated"), up]);
    assert_eq!(full, Err(DeliverError::Busy));
    assert_eq!(counted(&stage, "call", "busy"), 2);

    // Everything that was taken is read, and nothing of what was not.
    let mut verdicts = Vec::new();
    for pending in pending {
        verdicts.push(verdict(pending).await);
    }
    let joined = verdicts.iter().filter(|verdict| verdict.is_success());
    assert_eq!(joined.count(), 32, "{verdicts:?}");
    let refused = |verdict: &&Verdict| matches!(verdict, Verdict::Refused { status: 409, .. });
    assert_eq!(verdicts.iter().filter(refused).count(), 33);
    assert_eq!(leg.call.state().phase, Phase::Unmuted);
    assert_eq!(stage.graph.count(Route::Unmute), 1);
    leg.end().await;
}

#[tokio::test]
async fn a_hang_up_waits_for_room() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    // From here on it has a task, which runs only when this test waits.
    let unmute = leg.command(Action::Unmute);
    for _ in 0..CAPACITY {
        leg.tell(&[leg.state("established")]);
    }
    leg.call.request_hang_up().await;
    leg.tell(&[leg.state("terminated")]);
    leg.reach(Phase::Terminated).await;
    assert!(matches!(verdict(unmute).await, Verdict::CallEnded { .. }));
}

#[tokio::test]
async fn the_longest_webhook_fits_and_all_of_it_or_nothing() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    // From here on it has a task, which runs only when this test waits.
    let unmute = leg.command(Action::Unmute);
    let mut entries = vec![leg.state("established"); openmic_wire::MAX_ITEMS - 1];
    entries.push(leg.next_delta(false));
    leg.tell(&entries);
    // The second one finds some room, but not enough.
    let unheard = leg.next_delta(true);
    entries.pop();
    entries.push(unheard);
    assert_eq!(stage.deliver(&leg.key, &entries), Err(DeliverError::Busy));
    assert!(verdict(unmute).await.is_success());
    assert_eq!(verdict(leg.command(Action::Unmute)).await, Verdict::Already);
    assert_eq!(leg.call.state().version.seq, 2);
    leg.end().await;
}

#[tokio::test]
async fn a_hole_in_the_numbers_is_repaired_by_a_get() {
    let stage = Stage::new(super::stage::hasty).await;
    let leg = stage.established(true).await;
    stage.graph.set_muted(false);
    leg.tell(&[leg.delta_of(7, &[participant("late", false, Some(300))])]);
    leg.reach(Phase::Unmuted).await;
    assert_eq!(stage.engine.metrics().resyncs.get(), 1);
    leg.end().await;
}
