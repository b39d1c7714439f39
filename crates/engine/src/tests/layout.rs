//! What an idle call takes in memory, part by part. A million of them is what a machine should hold.

use std::mem::size_of;

use openmic_machine::{Config, Machine};
use openmic_model::{Book, Participant, RosterVersion};

use crate::actor::{Actor, Step};
use crate::call::{Shared, Status};
use crate::join::Created;
use crate::mail::Mail;
use crate::supervise::{Lanes, supervise};

fn size_of_future<F>(_: impl Fn(Box<Actor>, Box<Lanes>) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_call_is_small() {
    let task = size_of_future(|actor, lanes| supervise(actor, lanes, std::time::Duration::ZERO));
    println!("task {task}");
    println!("actor {}", size_of::<Actor>());
    println!("machine {}", size_of::<Machine>());
    println!("config {}", size_of::<Config>());
    println!("lanes {}", size_of::<Lanes>());
    println!("book {}", size_of::<Book>());
    println!("shared {}", size_of::<Shared>());
    println!("status {}", size_of::<Status>());
    println!("version {}", size_of::<RosterVersion>());
    println!("created {}", size_of::<Created>());
    println!("mail {}", size_of::<Mail>());
    println!("step {}", size_of::<Step>());
    println!("participant {}", size_of::<Participant>());
    assert!(task <= 2048, "{task}");
}
