use std::time::Instant;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use super::measure::{Measured, Samples, resident};

/// The state of a call's machine, as small as it could be.
const STATE: usize = 208;

struct Command {
    event: [u8; 40],
    reply: oneshot::Sender<u64>,
}

/// Bare tasks, each with a mailbox of eight and 208 bytes of state: what an actor costs that does
/// nothing.
///
/// # Errors
/// When a task ends.
pub async fn measure(count: usize) -> anyhow::Result<Measured> {
    let before = resident()?;
    let begun = Instant::now();
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let (mail, inbox) = mpsc::channel(8);
        tokio::spawn(run(inbox));
        all.push(mail);
    }
    command(all.last().context("no task")?.clone()).await?;
    let took = begun.elapsed();
    let bytes = resident()?.saturating_sub(before);
    let samples = tokio::spawn(async move {
        let samples = Samples::of(count, |number| command(all[number].clone()));
        samples.await
    });
    Ok(Measured::new(count, bytes, took, &samples.await??))
}

async fn command(mail: mpsc::Sender<Box<Command>>) -> anyhow::Result<()> {
    let (reply, answer) = oneshot::channel();
    let event = [1; 40];
    let sent = mail.send(Box::new(Command { event, reply })).await;
    sent.ok().context("a task ended")?;
    answer.await?;
    Ok(())
}

async fn run(mut inbox: mpsc::Receiver<Box<Command>>) {
    let mut state = [0_u8; STATE];
    while let Some(command) = inbox.recv().await {
        for (held, said) in state.iter_mut().zip(command.event) {
            *held = held.wrapping_add(said);
        }
        if command.reply.send(u64::from(state[0])).is_err() {
            return;
        }
    }
}
