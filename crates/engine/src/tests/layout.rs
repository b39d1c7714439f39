//! What an idle call takes in memory, part by part. A million of them is what a machine should hold.

use std::mem::size_of;

use openmic_machine::{Config, Machine};
use openmic_model::{Book, CallIntent, Participant, RosterVersion};

use crate::actor::Actor;
use crate::call::Shared;
use crate::mail::Mail;
use crate::supervise::{Body, Lanes, supervise};
use crate::told::Told;

fn size_of_future<F>(_: impl Fn(Box<Body>) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_call_is_small() {
    let task = size_of_future(supervise);
    let parts = [
        // Only while it is awake; the runtime's own part comes on top.
        ("task", task, 448),
        ("body", size_of::<Body>(), 384),
        ("of which actor", size_of::<Actor>(), 296),
        ("of which machine", size_of::<Machine>(), 216),
        ("of which its config", size_of::<Config>(), 256),
        ("of which lanes", size_of::<Lanes>(), 88),
        // Of which 48 are there for tests only.
        ("shared", size_of::<Shared>(), 400),
        ("status and roster", size_of::<Told>(), 96),
        ("roster version", size_of::<RosterVersion>(), 64),
        ("participant", size_of::<Participant>(), 128),
        ("book of the journal", size_of::<Book>(), 136),
        ("intent", size_of::<CallIntent>(), 72),
        ("letter", size_of::<Mail>(), 32),
    ];
    for (part, bytes, most) in parts {
        println!("{part}: {bytes}");
        assert!(bytes <= most, "{part} grew to {bytes}; {most} at most");
    }
}
