//! How long a start takes with very many open calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use http::Method;
use openmic_model::Action;
use openmic_tests::{Random, Server};
use serde_json::json;

use crate::bot::{Command, create, established};
use crate::house::{Furnishing, House};
use crate::number;

/// Requests under way at a time.
const WIDTH: usize = 64;

/// `CALLS=n` open calls, of which every hundredth has a command without a verdict, outlive a
/// SIGKILL. Prints how long the next start takes; `OPENMIC_BINARY` names an optimised program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes with an unoptimised program; run it by its name"]
async fn ten_thousand_open_calls_are_taken_up() {
    Server::binary();
    let calls = usize::try_from(number("CALLS").unwrap_or(10_000)).unwrap();
    let mut random = Random::new(7);
    let room = (calls + 10).to_string();
    let furnishing = Furnishing {
        local: vec![
            ("OPENMIC__LOCAL__MAX_CALLS", room.clone()),
            ("OPENMIC__LOCAL__MAX_MEETINGS", room),
        ],
        direct: true,
    };
    let house = Arc::new(House::build(&mut random, furnishing).await);
    house.start();
    house.ready().await;
    let begun = Instant::now();
    let ids: Vec<String> = stream::iter(0..calls)
        .map(|call| join(Arc::clone(&house), call))
        .buffer_unordered(WIDTH)
        .collect()
        .await;
    println!(
        "{calls} calls made in {:.1} s",
        begun.elapsed().as_secs_f64()
    );

    let mut commands: Vec<_> = ids
        .iter()
        .step_by(100)
        .enumerate()
        .map(|(number, id)| Command::new(id, Action::Mute, format!("command-{number}")))
        .collect();
    let sent = commands
        .iter_mut()
        .map(|command| command.send(&house, "respond-async"));
    let sent = futures_util::future::join_all(sent).await;
    let taken = sent.iter().filter(|reply| reply.is_ok()).count();
    house.trap.kill();

    let start = Instant::now();
    house.start();
    let waiting = async {
        let said = house.ready().await;
        (start.elapsed(), said)
    };
    let settling = async {
        let mut first = None;
        for command in &mut commands {
            command.settle(&house).await.unwrap();
            first.get_or_insert_with(|| start.elapsed());
        }
        (first.unwrap_or_default(), start.elapsed())
    };
    let ((ready, said), (first, settled)) = tokio::join!(waiting, settling);
    let adopted = async {
        stream::iter(&ids)
            .for_each_concurrent(WIDTH, |id| async {
                established(&house, id).await.unwrap();
            })
            .await;
    };
    tokio::time::timeout(Duration::from_mins(5), adopted)
        .await
        .expect("all are looked at");
    let all = start.elapsed();
    let list = house.ask(Method::GET, "/v1/calls", &[], None).await;
    assert_eq!(list.unwrap().1["total"], calls, "every call is there");
    for command in &mut commands {
        command.read_again(&house).await.unwrap();
    }
    let report = json!({
        "calls": calls,
        "open_commands": taken,
        "ready_s": ready.as_secs_f64(),
        "first_verdict_s": first.as_secs_f64(),
        "last_verdict_s": settled.as_secs_f64(),
        "all_looked_at_s": all.as_secs_f64(),
        // Nothing, when it was ready before it was asked.
        "readyz_said": said,
    });
    println!("{}", serde_json::to_string_pretty(&report).unwrap());
}

async fn join(house: Arc<House>, number: usize) -> String {
    let thread = format!("19:meeting_crowd_{number}@thread.v2");
    let key = format!("create-{number}");
    let id = create(&house, &thread, &key).await.unwrap().unwrap();
    established(&house, &id).await.unwrap();
    id
}
