//! A thousand mutes and unmutes with packets flowing: what arrives after a mute's answer is not
//! forwarded, what arrives after an unmute's answer is, and a real receiver sees no loss.

use std::collections::BTreeSet;
use std::time::Duration;

use openmic_tests::{Ear, Program, Service, Voice, missing_gst_elements, offer, service_address};

const CYCLES: usize = 1000;
const THREAD: &str = "19:meeting_cycles@thread.v2";
/// A packet between two sockets of one machine takes microseconds; this is for starved ones.
const PATIENCE: Duration = Duration::from_secs(5);

/// Counts what gstreamer's jitter buffer makes of the stream and prints it at the end.
const GST_LOSS: &str = r#"
import gi, signal, sys
gi.require_version("Gst", "1.0")
from gi.repository import Gst, GLib
Gst.init(None)
pipe = Gst.parse_launch(
    "udpsrc address=127.0.0.1 port=%s caps=application/x-rtp,media=audio,clock-rate=8000,"
    "encoding-name=PCMU,payload=0 ! rtpjitterbuffer name=buffer latency=60 do-lost=true "
    "! rtppcmudepay ! fakesink sync=false" % sys.argv[1])
loop = GLib.MainLoop()
GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGINT, loop.quit)
pipe.set_state(Gst.State.PLAYING)
pipe.get_state(Gst.SECOND * 10)
print("ready", flush=True)
loop.run()
stats = pipe.get_by_name("buffer").get_property("stats")
for name in ("num-pushed", "num-lost", "num-late", "num-duplicates"):
    print(name, stats.get_value(name), flush=True)
pipe.set_state(Gst.State.NULL)
"#;

fn figure(printed: &str, name: &str) -> u64 {
    let line = printed.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {name} in: {printed}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_cycles_leak_nothing_and_lose_nothing() {
    let service = Service::start().await;
    let (bot_socket, bot_offer) = offer("PCMU/8000", 0);
    let bot = service.bot_joins(THREAD, &bot_offer).await;
    let (ear_socket, ear_offer) = offer("PCMU/8000", 0);
    let person = service.person_joins(THREAD, "Ann", &ear_offer).await;
    ear_socket.connect(service_address(&person.answer)).unwrap();
    let ear = Ear::open(ear_socket);
    let gst = gstreamer_joins(&service).await;

    let mut voice = Voice::new(bot_socket, bot.media());
    let mut must_be_heard = BTreeSet::new();
    let mut must_not_be_heard = BTreeSet::new();
    for _ in 0..CYCLES {
        service.act(&bot, "mute").await;
        // Of every four dropped packets some are replaced by silence, which must carry nothing.
        must_not_be_heard.extend([voice.send(), voice.send(), voice.send(), voice.send()]);
        service.act(&bot, "unmute").await;
        let first = voice.send();
        must_be_heard.extend([first, voice.send()]);
        // Both are through before the next mute is asked for, so none is on its way then.
        assert!(
            ear.hears(first, PATIENCE),
            "packet {first} after an unmute's answer is lost"
        );
        assert!(
            ear.hears(first + 1, PATIENCE),
            "packet {} is lost",
            first + 1
        );
    }
    let heard = ear.numbers();
    let leaked: Vec<_> = heard.intersection(&must_not_be_heard).collect();
    assert!(
        leaked.is_empty(),
        "{} packets of muted time were forwarded: {leaked:?}",
        leaked.len()
    );
    assert_eq!(must_be_heard.difference(&heard).count(), 0);
    assert_eq!(must_be_heard.len(), CYCLES * 2);
    let packets = ear.packets();
    for pair in packets.windows(2) {
        assert_eq!(
            pair[1].sequence,
            pair[0].sequence.wrapping_add(1),
            "{pair:?}"
        );
    }
    let reopened: Vec<_> = packets.iter().filter(|packet| packet.marker).collect();
    assert_eq!(reopened.len(), CYCLES, "each reopening is marked");
    println!(
        "{CYCLES} cycles: {} payloads sent while muted, 0 forwarded; {} of {} sent after an \
         unmute's answer heard; {} silence packets",
        must_not_be_heard.len(),
        must_be_heard.len(),
        CYCLES * 2,
        packets
            .iter()
            .filter(|packet| packet.number.is_none())
            .count(),
    );
    match gst {
        None => println!("skipped: gstreamer's loss counter (python3-gi or gstreamer missing)"),
        Some(gst) => {
            gst.interrupt();
            let printed = gst.ends(Duration::from_secs(20));
            println!("gstreamer: {}", printed.replace('\n', "; "));
            assert_eq!(figure(&printed, "num-lost"), 0, "{printed}");
            assert_eq!(figure(&printed, "num-late"), 0, "{printed}");
            assert!(
                figure(&printed, "num-pushed") >= (CYCLES * 2) as u64,
                "{printed}"
            );
        }
    }
    service.local.stop().await;
}

/// A human whose ear is a gstreamer pipeline; `None` when the machine has none.
async fn gstreamer_joins(service: &Service) -> Option<Program> {
    let script = "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst";
    let python = "/usr/bin/python3";
    let there = std::process::Command::new(python)
        .args(["-c", script])
        .output()
        .is_ok_and(|output| output.status.success())
        && missing_gst_elements(&["rtpjitterbuffer", "rtppcmudepay"]).is_empty();
    if !there {
        assert!(
            std::env::var_os("OPENMIC_REQUIRE_PROGRAMS").is_none(),
            "gstreamer is missing"
        );
        return None;
    }
    let (socket, offer) = offer("PCMU/8000", 0);
    let port = socket.local_addr().unwrap().port().to_string();
    drop(socket);
    let mut gst = Program::start(python, &["-c", GST_LOSS, &port]);
    gst.prints("ready", Duration::from_secs(30));
    service.person_joins(THREAD, "gstreamer", &offer).await;
    Some(gst)
}
