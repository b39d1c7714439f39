use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tempfile::NamedTempFile;

use super::values::{Bytes, LogFormat, Period, PeriodError, PortRange, UpstreamKind};
use super::*;

fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::with_suffix(".toml").unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

fn env(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn flags(flags: &[(&str, &str)]) -> Vec<(String, String)> {
    flags
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn from_file(text: &str) -> Result<Loaded, ConfigError> {
    load(Some(file(text).path()), [], &[])
}

fn from_env(variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    load(None, env(variables), &[])
}

/// What a person reads; the name of a file is taken out.
fn refusal(result: Result<Loaded, ConfigError>) -> String {
    let error = format!("{:#}", anyhow::Error::new(result.unwrap_err()));
    match error.split_once(".toml") {
        Some((_, rest)) => format!("FILE{rest}"),
        None => error,
    }
}

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

#[test]
fn flags_win_over_environment_and_environment_over_file() {
    let file =
        file("[listen]\npublic = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\nkeep_alive = \"1min\"");
    let env = env(&[
        ("OPENMIC__LISTEN__PUBLIC", "127.0.0.1:11"),
        ("OPENMIC__LISTEN__ADMIN", "127.0.0.1:12"),
        ("PATH", "/bin"),
    ]);
    let loaded = load(
        Some(file.path()),
        env,
        &flags(&[("listen.public", "127.0.0.1:21")]),
    )
    .unwrap();
    let listen = &loaded.settings.listen;
    let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert_eq!(listen.public, addr("127.0.0.1:21"));
    assert_eq!(listen.admin, addr("127.0.0.1:12"));
    assert_eq!(listen.keep_alive, Period(Duration::from_mins(1)));
    assert_eq!(listen.header_timeout, Period(Duration::from_secs(5)));
    assert_eq!(loaded.origins["listen.public"], Origin::Flag);
    assert_eq!(loaded.origins["listen.admin"], Origin::Env);
    assert_eq!(
        loaded.origins["listen.keep_alive"],
        Origin::File(file.path().to_owned())
    );
    assert!(!loaded.origins.contains_key("listen.header_timeout"));
}

#[test]
fn a_later_flag_of_the_same_key_wins() {
    let twice = flags(&[("log.level", "warn"), ("log.level", "debug")]);
    assert_eq!(load(None, [], &twice).unwrap().settings.log.level, "debug");
}

#[test]
fn a_secret_in_the_environment_wins_over_a_secret_file_in_the_file() {
    let file = file("[upstream]\nsecret_file = \"/a\"");
    let env = env(&[("OPENMIC__UPSTREAM__SECRET", "s")]);
    let upstream = load(Some(file.path()), env, &[]).unwrap().settings.upstream;
    assert_eq!(
        (upstream.secret.is_some(), upstream.secret_file),
        (true, None)
    );
    let flag = flags(&[("upstream.secret_file", "/b")]);
    let env = self::env(&[("OPENMIC__UPSTREAM__SECRET", "s")]);
    let upstream = load(Some(file.path()), env, &flag)
        .unwrap()
        .settings
        .upstream;
    assert_eq!(upstream.secret_file, Some(PathBuf::from("/b")));
    assert!(upstream.secret.is_none());
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let cases = [
        (
            "[listen]\npubic = 1",
            "FILE: unknown key 'listen.pubic': did you mean 'listen.public'?",
        ),
        (
            "[lisen]\npublic = 1",
            "FILE: unknown key 'lisen': did you mean 'listen'?",
        ),
        (
            "max_subscribers = 1",
            "FILE: unknown key 'max_subscribers': did you mean 'hub.max_subscribers'?",
        ),
        (
            "[listen]\nlevel = \"info\"",
            "FILE: unknown key 'listen.level': did you mean 'log.level'?",
        ),
        (
            "[hub]\nzebra = 1",
            "FILE: unknown key 'hub.zebra': `openmic config print --defaults` lists all keys",
        ),
        (
            "[[local.apps]]\nsecret_fil = \"x\"",
            "FILE: unknown key 'local.apps.secret_fil': did you mean 'local.apps.secret_file'?",
        ),
        (
            "[[auth.api_keys]]\nsha265 = \"x\"",
            "FILE: unknown key 'auth.api_keys.sha265': did you mean 'auth.api_keys.sha256'?",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(from_file(text)), expected);
    }
}

#[test]
fn an_unknown_variable_or_flag_names_the_nearest() {
    assert_eq!(
        refusal(from_env(&[("OPENMIC__LISTEN__PUBIC", "x")])),
        "environment: unknown key 'OPENMIC__LISTEN__PUBIC': did you mean 'OPENMIC__LISTEN__PUBLIC'?"
    );
    assert_eq!(
        refusal(load(None, [], &flags(&[("log.levl", "info")]))),
        "command line: unknown key 'log.levl': did you mean 'log.level'?"
    );
}

#[test]
fn a_bad_value_names_its_source_and_key() {
    assert_eq!(
        refusal(from_file("[listen]\npublic = \"7080\"")),
        "FILE: listen.public: \"7080\" is no address; write an IP address and a port, as in \"127.0.0.1:7080\""
    );
    let refused = refusal(from_env(&[("OPENMIC__HUB__THREADS", "many")]));
    assert!(
        refused.starts_with("environment: OPENMIC__HUB__THREADS: "),
        "{refused}"
    );
    assert_eq!(
        refusal(from_file("[calls]\nretention = \"60\"")),
        "FILE: calls.retention: \"60\" has no unit; write a time as \"250ms\", \"30s\", \"10min\" or \"2h\""
    );
    assert_eq!(
        refusal(from_file("listen = 3")),
        "FILE: listen: is a section; write [listen] and its keys below"
    );
    assert!(refusal(from_file("[log]\nlevel = \"in")).starts_with("FILE, line 2: not TOML: "));
    let missing = load(Some(Path::new("/nowhere/openmic.toml")), [], &[]).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "cannot read the configuration file /nowhere/openmic.toml"
    );
}

#[test]
fn the_environment_gives_every_kind_of_value() {
    let loaded = from_env(&[
        ("OPENMIC__HUB__MAX_SUBSCRIBERS", "12"),
        ("OPENMIC__CALLS__JOIN_MUTED", "true"),
        ("OPENMIC__CALLS__RETENTION", "1h 30min"),
        (
            "OPENMIC__AUTH__ISSUERS",
            "https://a.example, https://b.example",
        ),
        ("OPENMIC__AUTH__AUDIENCES", "[\"one\", \"two\"]"),
        ("OPENMIC__LOG__FORMAT", "json"),
        ("OPENMIC__UPSTREAM__KIND", "graph"),
        // Digits only, and still the text that it is.
        ("OPENMIC__UPSTREAM__SECRET", "123456"),
        (
            "OPENMIC__LOCAL__APPS",
            "[{ id = \"a\", tenant = \"t\", secret = \"s\", roles = [] }]",
        ),
    ])
    .unwrap()
    .settings;
    assert_eq!(loaded.hub.max_subscribers, 12);
    assert!(loaded.calls.join_muted);
    assert_eq!(loaded.calls.retention, Period(Duration::from_mins(90)));
    assert_eq!(
        loaded.auth.issuers.unwrap(),
        ["https://a.example", "https://b.example"]
    );
    assert_eq!(loaded.auth.audiences.unwrap(), ["one", "two"]);
    assert_eq!(loaded.log.format, LogFormat::Json);
    assert_eq!(loaded.upstream.kind, UpstreamKind::Graph);
    assert_eq!(loaded.upstream.secret.unwrap().expose_secret(), "123456");
    let app = &loaded.local.apps[0];
    assert_eq!(
        (app.id.as_str(), app.display_name.as_str()),
        ("a", "Local bot")
    );
}

#[test]
fn no_error_and_no_print_holds_a_secret() {
    let leaks = [
        "[upstream]\nsecret = 8675309",
        "[upstream]\nsecret = \"8675309",
        "[upstream]\nsecret = [\"8675309\"]",
        "[[local.apps]]\nid = \"a\"\ntenant = \"t\"\nsecret = 8675309",
    ];
    for text in leaks {
        let error = from_file(text).unwrap_err();
        let debug = format!("{error:?}");
        let shown = format!("{debug} {:#}", anyhow::Error::new(error));
        assert!(!shown.contains("8675309"), "{shown}");
    }
    let loaded = from_file(
        "[upstream]\nsecret = \"8675309\"\n[[local.apps]]\nid = \"a\"\ntenant = \"t\"\nsecret = \"8675309\"",
    )
    .unwrap();
    let shown = effective(&loaded);
    assert!(
        !shown.contains("8675309") && !format!("{loaded:?}").contains("8675309"),
        "{shown}"
    );
    assert_eq!(shown.matches(values::REDACTED).count(), 2, "{shown}");
}

#[test]
fn print_shows_every_key_and_its_origin() {
    let loaded = from_env(&[("OPENMIC__LISTEN__PUBLIC", "127.0.0.1:9")]).unwrap();
    let shown = effective(&loaded);
    assert!(
        shown.contains("public = \"127.0.0.1:9\"  # environment\n"),
        "{shown}"
    );
    assert!(shown.contains("admin = \"127.0.0.1:7090\"\n"), "{shown}");
    assert!(shown.contains("# base_url is not set\n"), "{shown}");
    for (section, meta) in keys::sections() {
        assert!(shown.contains(&format!("[{}]\n", section.name)), "{shown}");
        for field in meta.fields {
            let name = field.name;
            let there = shown.contains(&format!("\n{name} = "))
                || shown.contains(&format!("\n# {name} is not set"));
            assert!(there, "{name} is missing in\n{shown}");
        }
    }
    shown.parse::<Table>().unwrap();
}

#[test]
fn the_committed_default_is_what_the_documentation_makes() {
    let path = repository("config/openmic.toml");
    let made = template();
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "config/openmic.toml differs from the doc comments in config/settings.rs; renew it with: \
         cargo run -p openmic-server -- config print --defaults > config/openmic.toml"
    );
}

#[test]
fn the_committed_default_changes_nothing() {
    let file = repository("config/openmic.toml");
    let written = load(Some(&file), [], &[]).unwrap();
    let built_in = load(None, [], &[]).unwrap();
    let plain = |loaded: Loaded| Value::try_from(&loaded.settings).unwrap();
    assert_eq!(plain(written), plain(built_in));
}

#[test]
fn every_key_is_documented() {
    for (section, meta) in keys::sections() {
        assert!(!section.doc.is_empty(), "{}", section.name);
        for field in meta.fields {
            assert!(!field.doc.is_empty(), "{}.{}", section.name, field.name);
        }
    }
}

#[test]
fn the_graph_example_parses() {
    let loaded = load(Some(&repository("config/graph.toml")), [], &[]).unwrap();
    assert_eq!(loaded.settings.upstream.kind, UpstreamKind::Graph);
    assert_eq!(loaded.settings.log.format, LogFormat::Json);
}

#[test]
fn sizes_are_written_with_their_unit() {
    for (text, bytes) in [
        ("64MiB", 64 << 20),
        ("2 GiB", 2 << 30),
        ("0B", 0),
        ("1023KiB", 1023 << 10),
    ] {
        let size: Bytes = text.parse().unwrap();
        assert_eq!(size, Bytes(bytes), "{text}");
        assert_eq!(size.to_string(), text.replace(' ', ""));
    }
    for text in ["64", "64MB", "MiB", "-1MiB", "1.5GiB", "99999999999999GiB"] {
        let refused = text.parse::<Bytes>().unwrap_err().to_string();
        assert!(refused.contains("write it as \"64MiB\""), "{refused}");
    }
}

#[test]
fn periods_are_written_as_people_do() {
    let cases = [
        ("250ms", 250),
        ("30s", 30_000),
        ("10min", 600_000),
        ("10m", 600_000),
        ("2h", 7_200_000),
        ("1h 30min", 5_400_000),
        ("1h30min", 5_400_000),
        ("1 d", 86_400_000),
        ("0s", 0),
    ];
    for (text, millis) in cases {
        let period: Period = text.parse().unwrap();
        assert_eq!(period, Period(Duration::from_millis(millis)), "{text}");
        assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
    }
    for text in ["", " ", "s", "-1s", "1.5s", "30 parsecs", "1s2", "١s"] {
        let error = text.parse::<Period>().unwrap_err();
        assert!(matches!(error, PeriodError::Shape(_)), "{text}: {error}");
    }
    assert!(matches!(
        "30".parse::<Period>(),
        Err(PeriodError::NoUnit(_))
    ));
    let long = ["99999999999999999999s", "999999999999999999d"];
    for text in long {
        assert!(
            matches!(text.parse::<Period>(), Err(PeriodError::TooLong(_))),
            "{text}"
        );
    }
}

#[test]
fn ranges_of_ports_are_checked() {
    assert_eq!("7100-7999".parse(), Ok(PortRange(Some((7100, 7999)))));
    assert_eq!("any".parse(), Ok(PortRange(None)));
    for text in ["", "7100", "0-5", "9-8", "1-99999", "a-b"] {
        assert!(text.parse::<PortRange>().is_err(), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reading(text: String) {
        text.parse::<Period>().map(|period| period.to_string()).unwrap_or_default();
        text.parse::<PortRange>().map(|range| range.0).unwrap_or_default();
        from_file(&text).map(|loaded| effective(&loaded)).unwrap_or_default();
        let env = [("OPENMIC__LOCAL__APPS", text.as_str()), ("OPENMIC__AUTH__ISSUERS", text.as_str())];
        from_env(&env).map(|loaded| effective(&loaded)).unwrap_or_default();
    }
}
