//! What the README says can be typed, typed as it stands.

use std::process::Command;
use std::time::Duration;

use openmic_tests::{Server, missing_programs, root};

/// The shell session between the README's markers.
fn session() -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let from = readme.split("<!-- session -->").nth(1).unwrap();
    let block = from.split("<!-- /session -->").next().unwrap().trim();
    block
        .trim_start_matches("```sh")
        .trim_end_matches("```")
        .to_owned()
}

#[test]
fn the_shell_session_works_as_it_stands() {
    let missing = missing_programs(&["bash", "curl", "sed", "npx"]);
    if !missing.is_empty() {
        println!(
            "skipped: the README's shell session ({} not installed)",
            missing.join(", ")
        );
        return;
    }
    let server = Server::start(&["serve"]);
    // The ports are the only thing that a test must change: the default ones may be taken.
    let session = session()
        .replace("127.0.0.1:7080", server.public())
        .replace("127.0.0.1:7081", server.local())
        .replace("127.0.0.1:7090", server.admin());
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("bash")
        .arg("-c")
        .arg(&session)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    if printed.contains("\"verdict\":\"confirmed\"") || !complaints.contains("npm error") {
        assert!(output.status.success(), "{printed}\n{complaints}");
        assert!(printed.contains("HTTP/1.1 200 OK"), "{printed}");
        assert!(
            printed.contains("#microsoft.graph.unmuteParticipantOperation"),
            "{printed}"
        );
        for frame in [
            "\"type\":\"snapshot\"",
            "\"type\":\"delta\"",
            "\"state\":\"unmuted\"",
            "\"action\":\"unmute\"",
        ] {
            assert!(
                printed.contains(frame),
                "no {frame} in {printed}\n{complaints}"
            );
        }
    } else {
        println!("skipped: the README's WebSocket client (npm cannot fetch wscat)");
    }
    let counted = "openmic_commands_total{command=\"unmute\",verdict=\"confirmed\"} 1";
    assert!(printed.contains(counted), "{printed}\n{complaints}");
    assert_eq!(server.stops(Duration::from_secs(20)), Some(0));
}

#[test]
fn the_demo_holds_and_its_recording_is_silent_where_its_report_says() {
    let folder = tempfile::tempdir().unwrap();
    let (report, record) = (
        folder.path().join("r.json"),
        folder.path().join("heard.wav"),
    );
    let output = Command::new(Server::binary())
        .args(["demo", "--cycles", "2", "--subscribers", "200", "--report"])
        .arg(&report)
        .arg("--record")
        .arg(&record)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{printed}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!printed.contains('\u{1b}'), "colours in a pipe");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!(report["passed"], true);
    assert_eq!(report["subscribers"]["atFinalVersion"], 200);
    if !missing_programs(&["ffmpeg"]).is_empty() {
        println!("skipped: silencedetect on the demo's recording (ffmpeg not installed)");
        return;
    }
    let silences = openmic_tests::silences(&record);
    let muted: Vec<_> = report["mutedInRecording"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| (span["from"].as_f64().unwrap(), span["to"].as_f64().unwrap()))
        .collect();
    assert_eq!(silences.len(), muted.len(), "{silences:?} {muted:?}");
    for (silence, muted) in silences.iter().zip(&muted) {
        assert!((silence.0 - muted.0).abs() < 0.35, "{silences:?} {muted:?}");
        assert!(
            silence.1.is_infinite() || (silence.1 - muted.1).abs() < 0.35,
            "{silences:?} {muted:?}"
        );
    }
}
