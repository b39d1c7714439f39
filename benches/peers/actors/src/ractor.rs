use std::time::Instant;

use anyhow::Context as _;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use crate::measure::{Measured, Samples, resident};
use crate::{Event, STATE, step};

struct Call;

struct Command(Event, RpcReplyPort<u64>);

impl Actor for Call {
    type Msg = Command;
    type State = [u8; STATE];
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<Command>,
        (): (),
    ) -> Result<[u8; STATE], ActorProcessingErr> {
        Ok([0; STATE])
    }

    async fn handle(
        &self,
        _: ActorRef<Command>,
        Command(event, reply): Command,
        state: &mut [u8; STATE],
    ) -> Result<(), ActorProcessingErr> {
        reply.send(step(state, &event))?;
        Ok(())
    }
}

pub(crate) async fn measure(count: usize) -> anyhow::Result<Measured> {
    let before = resident()?;
    let begun = Instant::now();
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let (call, _) = Actor::spawn(None, Call, ()).await?;
        all.push(call);
    }
    let took = begun.elapsed();
    let bytes = resident()?.saturating_sub(before);
    let samples = tokio::spawn(async move {
        let samples = Samples::of(count, |number| command(all[number].clone()));
        samples.await
    });
    Ok(Measured::new(count, bytes, took, &samples.await??))
}

async fn command(call: ActorRef<Command>) -> anyhow::Result<()> {
    let (reply, answer) = ractor::concurrency::oneshot();
    call.send_message(Command([1; 40], reply.into()))
        .ok()
        .context("an actor ended")?;
    answer.await?;
    Ok(())
}
