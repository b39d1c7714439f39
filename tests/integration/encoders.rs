//! Two real encoders, ffmpeg and gstreamer, send Opus into a meeting and receive it. What they
//! received is silent where the speaker was muted and not silent where it was not.

use std::time::{Duration, Instant};

use openmic_tests::{Program, Service, missing_gst_elements, missing_programs, offer, silences};

const THREAD: &str = "19:meeting_encoders@thread.v2";
/// What encoders, buffers and players may blur an edge by, on a starved machine.
const BLUR: f64 = 0.6;

/// What is needed; `tests/run` installs it.
fn ready(programs: &[&str], elements: &[&str]) -> bool {
    let mut missing = missing_programs(programs);
    missing.extend(missing_gst_elements(elements));
    if missing.is_empty() {
        return true;
    }
    assert!(
        std::env::var_os("OPENMIC_REQUIRE_PROGRAMS").is_none(),
        "missing: {missing:?}"
    );
    println!("skipped: {} not installed", missing.join(", "));
    false
}

/// Seconds from `begun` at which the speaker was unmuted and muted again.
struct Cut {
    unmuted: f64,
    muted: f64,
}

/// Mute, 1.5 s, unmute, 2.5 s, mute, 1.5 s: the bot's Graph calls, while its encoder never stops.
async fn speak_in_the_middle(service: &Service, bot: &openmic_tests::Bot, begun: Instant) -> Cut {
    service.act(bot, "mute").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    service.act(bot, "unmute").await;
    let unmuted = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    service.act(bot, "mute").await;
    let muted = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    Cut { unmuted, muted }
}

/// The one sounding stretch of the recording is as long as the speaker was unmuted, and there is
/// silence behind it.
fn assert_heard(silences: &[(f64, f64)], cut: &Cut, who: &str) {
    let wanted = cut.muted - cut.unmuted;
    // Between the end of one silence and the start of the next somebody was heard.
    let sounding: Vec<_> = silences
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].1)
        .filter(|time| *time > 0.2)
        .collect();
    assert_eq!(
        sounding.len(),
        1,
        "{who} heard {sounding:?} between {silences:?}"
    );
    assert!(
        (sounding[0] - wanted).abs() < BLUR,
        "{who}: {} of {wanted} s",
        sounding[0]
    );
    println!(
        "{who}: heard {:.2} s of {wanted:.2} s unmuted; silences {silences:.2?}",
        sounding[0]
    );
}

fn opus_offer(port: u16) -> String {
    format!(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\na=sendrecv\r\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ffmpeg_speaks_and_ffmpeg_records() {
    if !ready(&["ffmpeg"], &[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start().await;
    let (socket, _) = offer("opus/48000/2", 111);
    let port = socket.local_addr().unwrap().port();
    let bot = service.bot_joins(THREAD, &opus_offer(port)).await;
    service.act(&bot, "mute").await;
    drop(socket);
    let to = format!("rtp://{}?localrtpport={port}", bot.media());
    let arguments = [
        "-nostdin",
        "-loglevel",
        "error",
        "-re",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=48000:duration=60",
        "-ac",
        "1",
        "-c:a",
        "libopus",
        "-b:a",
        "32k",
        "-frame_duration",
        "20",
        "-application",
        "voip",
        "-payload_type",
        "111",
        "-f",
        "rtp",
        &to,
    ];
    let _speaker = Program::start("ffmpeg", &arguments);

    let heard = folder.path().join("heard.wav");
    let sdp = folder.path().join("heard.sdp");
    let (socket, person_offer) = {
        let (socket, _) = offer("opus/48000/2", 111);
        let port = socket.local_addr().unwrap().port();
        (socket, opus_offer(port))
    };
    let person = service.person_joins(THREAD, "ffmpeg", &person_offer).await;
    std::fs::write(&sdp, service.sdp_of(&person).await).unwrap();
    drop(socket);
    let begun = Instant::now();
    let arguments = [
        "-hide_banner",
        "-nostdin",
        "-protocol_whitelist",
        "file,udp,rtp",
        "-i",
        sdp.to_str().unwrap(),
        "-af",
        "aresample=async=1:first_pts=0",
        "-ar",
        "48000",
        "-y",
        heard.to_str().unwrap(),
    ];
    let recorder = Program::start("ffmpeg", &arguments);
    let cut = speak_in_the_middle(&service, &bot, begun).await;
    recorder.interrupt();
    let printed = recorder.ends(Duration::from_secs(20));
    assert!(
        !printed.contains("missed"),
        "ffmpeg missed packets: {printed}"
    );
    assert_heard(&silences(&heard), &cut, "ffmpeg from ffmpeg");
    service.local.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gstreamer_speaks_and_gstreamer_records() {
    let elements = [
        "opusenc",
        "rtpopuspay",
        "rtpjitterbuffer",
        "audiorate",
        "wavenc",
    ];
    if !ready(&["gst-launch-1.0", "ffmpeg"], &elements) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start().await;
    let (socket, _) = offer("opus/48000/2", 111);
    let port = socket.local_addr().unwrap().port();
    let bot = service.bot_joins(THREAD, &opus_offer(port)).await;
    service.act(&bot, "mute").await;
    drop(socket);
    let launch = format!(
        "audiotestsrc is-live=true wave=sine freq=440 volume=0.5 ! audio/x-raw,rate=48000,channels=1 \
         ! opusenc bitrate=32000 frame-size=20 ! rtpopuspay pt=111 ssrc=1001 \
         ! udpsink host=127.0.0.1 port={} bind-address=127.0.0.1 bind-port={port}",
        bot.media().port()
    );
    let words: Vec<_> = ["-q"]
        .into_iter()
        .chain(launch.split_whitespace())
        .collect();
    let _speaker = Program::start("gst-launch-1.0", &words);

    let heard = folder.path().join("heard.wav");
    let (socket, _) = offer("opus/48000/2", 111);
    let port = socket.local_addr().unwrap().port();
    service
        .person_joins(THREAD, "gstreamer", &opus_offer(port))
        .await;
    drop(socket);
    // audiorate keeps the wall clock: what did not come is silence, as a person would hear it.
    let launch = format!(
        "udpsrc address=127.0.0.1 port={port} \
         caps=application/x-rtp,media=audio,clock-rate=48000,encoding-name=OPUS,payload=111 \
         ! rtpjitterbuffer latency=60 ! rtpopusdepay ! opusdec plc=true ! audioconvert \
         ! audioresample ! audiorate ! audio/x-raw,format=S16LE,rate=48000,channels=1 ! wavenc \
         ! filesink location={}",
        heard.display()
    );
    let words: Vec<_> = ["-e", "-q"]
        .into_iter()
        .chain(launch.split_whitespace())
        .collect();
    let begun = Instant::now();
    let recorder = Program::start("gst-launch-1.0", &words);
    let cut = speak_in_the_middle(&service, &bot, begun).await;
    recorder.interrupt();
    recorder.ends(Duration::from_secs(20));
    assert_heard(&silences(&heard), &cut, "gstreamer from gstreamer");
    service.local.stop().await;
}
