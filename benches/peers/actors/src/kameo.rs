use std::convert::Infallible;
use std::time::Instant;

use anyhow::Context as _;
use kameo::actor::{Actor, ActorRef, Spawn};
use kameo::mailbox;
use kameo::message::{Context, Message};

use crate::measure::{Measured, Samples, resident};
use crate::{Event, STATE, step};

struct Call([u8; STATE]);

impl Actor for Call {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(call: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(call)
    }
}

struct Command(Event);

impl Message<Command> for Call {
    type Reply = u64;

    async fn handle(&mut self, command: Command, _: &mut Context<Self, u64>) -> u64 {
        step(&mut self.0, &command.0)
    }
}

pub(crate) async fn measure(count: usize) -> anyhow::Result<Measured> {
    let before = resident()?;
    let begun = Instant::now();
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let call = Call([0; STATE]);
        all.push(Call::spawn_with_mailbox(call, mailbox::bounded(8)));
    }
    command(all.last().context("no actor")?.clone()).await?;
    let took = begun.elapsed();
    let bytes = resident()?.saturating_sub(before);
    let samples = tokio::spawn(async move {
        let samples = Samples::of(count, |number| command(all[number].clone()));
        samples.await
    });
    Ok(Measured::new(count, bytes, took, &samples.await??))
}

async fn command(call: ActorRef<Call>) -> anyhow::Result<()> {
    call.ask(Command([1; 40])).await.ok().context("an actor ended")?;
    Ok(())
}
