use openmic_model::ParticipantId;

use super::*;
use crate::handle::Codec;
use crate::transport::plain::PortPlan;

fn entry(id: LegId) -> Entry {
    let config = MediaConfig::default();
    let opened = PortPlan::new(config.bind, None).open(None, &[]).unwrap();
    Entry {
        id,
        meeting: "meeting".into(),
        spec: JoinSpec::new(ParticipantId::parse("bot").unwrap(), Codec::Pcmu),
        gate: Arc::new(Gate::new(false, Duration::ZERO)),
        transport: opened.transport,
    }
}

fn shard() -> (Arc<Link>, Shard) {
    let config = MediaConfig::default();
    Shard::new(&config, &MediaMetrics::new(), Instant::now()).unwrap()
}

#[test]
fn a_join_that_was_swept_before_its_turn_does_not_come_in() {
    let (link, mut shard) = shard();
    let entry = entry(LegId(1));
    // the asker gave up, and the queue was full: the sweep overtakes the join
    let (reply, answer) = oneshot::channel();
    drop(answer);
    link.abandon(&entry.gate);
    shard.commands(Instant::now());
    let entry = Box::new(entry);
    shard.command(Command::Join { entry, reply }, Instant::now());
    assert_eq!(shard.table.position(LegId(1)), None);
}

#[test]
fn a_join_that_is_waited_for_comes_in_and_is_swept_later() {
    let (link, mut shard) = shard();
    let entry = Box::new(entry(LegId(1)));
    let gate = Arc::clone(&entry.gate);
    let (reply, mut answer) = oneshot::channel();
    shard.command(Command::Join { entry, reply }, Instant::now());
    assert!(answer.try_recv().unwrap().is_ok());
    assert!(shard.table.position(LegId(1)).is_some());
    link.abandon(&gate);
    shard.commands(Instant::now());
    assert_eq!(shard.table.position(LegId(1)), None);
}
