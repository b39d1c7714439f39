use std::ffi::OsString;
use std::fs;
use std::path::Path;

use openmic_local::{DEV_APP, DEV_TENANT};
use tempfile::NamedTempFile;

use super::*;
use crate::config;

const APP: &str = "[{ id = \"a\", tenant = \"t\", secret = \"s\" }]";

fn resolved(flags: &[(&str, &str)]) -> Result<Plan, Invalid> {
    let flags: Vec<_> = flags
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    serve(
        config::load(None, Vec::<(OsString, OsString)>::new(), &flags)
            .unwrap()
            .settings,
    )
}

fn refusal(flags: &[(&str, &str)]) -> String {
    format!("{:#}", anyhow::Error::new(resolved(flags).unwrap_err()))
}

#[test]
fn the_default_is_the_dev_profile_on_loopback() {
    let plan = resolved(&[]).unwrap();
    assert!(plan.dev);
    assert_eq!(plan.owner().app.as_str(), DEV_APP);
    assert_eq!(plan.owner().tenant.as_str(), DEV_TENANT);
    assert!(plan.public.ip().is_loopback() && plan.admin.ip().is_loopback());
    let Place::Local(local) = plan.place else {
        panic!("not local")
    };
    let built_in = LocalConfig::default();
    assert_eq!(
        (local.bind, local.rtp_ports),
        (built_in.bind, built_in.rtp_ports)
    );
    assert_eq!(local.timing.keep_alive, built_in.timing.keep_alive);
    assert_eq!(local.timing.establish, built_in.timing.establish);
    assert_eq!(local.limits.calls, built_in.limits.calls);
    assert_eq!(local.limits.meetings, built_in.limits.meetings);
    assert_eq!(local.limits.participants, built_in.limits.participants);
    let hub = HubConfig::default();
    assert_eq!(plan.hub.shards, hub.shards);
    assert_eq!(plan.hub.max_subscribers, hub.max_subscribers);
    assert_eq!(plan.hub.ping_interval, hub.ping_interval);
    assert_eq!(plan.hub.slow_after, hub.slow_after);
    assert_eq!(plan.surface.limits, CallerLimits::default());
    let listen = openmic_listen::Limits::default();
    assert_eq!(plan.listen.header_timeout, listen.header_timeout);
    assert_eq!(plan.listen.max_connections, listen.max_connections);
    assert_eq!(plan.listen.max_header_bytes, listen.max_header_bytes);
}

#[test]
fn faults_stay_on_loopback_in_the_dev_profile() {
    let faults = ("local.faults", "[\"drop\"]");
    let open = refusal(&[faults, ("local.dev", "false"), ("local.apps", APP)]);
    assert_eq!(
        open,
        "local.faults: faults are for loopback in the dev profile only; bind 127.0.0.1 and switch \
         dev on, or take the faults away"
    );
    let unknown = refusal(&[("local.faults", "[\"drip\"]")]);
    assert!(
        unknown.starts_with("local.faults: \"drip\" is no fault; there are drop, "),
        "{unknown}"
    );
    let plan = resolved(&[faults, ("local.fault_seed", "7")]).unwrap();
    let Place::Local(local) = plan.place else {
        panic!("not local")
    };
    assert_eq!(local.faults.unwrap().seed, Some(7));
}

#[test]
fn the_journal_is_as_configured() {
    let Records::Kept(default) = resolved(&[]).unwrap().records else {
        panic!("it is kept")
    };
    let built_in = Keeping::default();
    assert_eq!(default.folder, Path::new("openmic-data"));
    assert_eq!(default.durability, Durability::PowerLoss);
    assert_eq!(default.keeping.min_free, built_in.min_free);
    assert_eq!(default.keeping.retention, built_in.retention);
    let other = resolved(&[
        ("journal.folder", "/srv/openmic"),
        ("journal.durability", "process-crash"),
        ("journal.min_free", "2GiB"),
        ("journal.retention", "2d"),
    ]);
    let Records::Kept(other) = other.unwrap().records else {
        panic!("it is kept")
    };
    assert_eq!(other.folder, Path::new("/srv/openmic"));
    assert_eq!(other.durability, Durability::ProcessCrash);
    assert_eq!(other.keeping.min_free, 2 << 30);
    assert_eq!(other.keeping.retention, Duration::from_hours(48));
    let short = refusal(&[("journal.retention", "59min")]);
    assert_eq!(short, "journal.retention: must be from 1h to 30d");
    assert!(refusal(&[("journal.folder", "")]).starts_with("journal.folder: is empty"));
}

#[test]
fn dev_credentials_stay_on_loopback() {
    let open = refusal(&[("listen.public", "0.0.0.0:7080")]);
    assert!(
        open.starts_with("listen.public: 0.0.0.0:7080 is open to the network"),
        "{open}"
    );
    let open = refusal(&[("local.bind", "0.0.0.0:7081")]);
    assert!(open.contains("local.dev is on"), "{open}");
    let open = refusal(&[("local.bind", "0.0.0.0:7081"), ("local.dev", "false")]);
    assert!(open.contains("dev credentials are public"), "{open}");
    let plan = resolved(&[
        ("local.bind", "0.0.0.0:7081"),
        ("listen.public", "0.0.0.0:7080"),
        ("local.dev", "false"),
        ("local.apps", APP),
    ])
    .unwrap();
    assert!(!plan.dev);
    // The published secret under another name is still the published secret.
    let same = APP.replace("\"s\"", "\"local-dev-secret\"");
    let open = refusal(&[("listen.public", "0.0.0.0:7080"), ("local.apps", &same)]);
    assert!(open.contains("dev credentials are public"), "{open}");
}

#[test]
fn the_engine_speaks_for_an_app_of_the_local_service() {
    let two = "[{ id = \"a\", tenant = \"t\", secret = \"s\" }, { id = \"b\", tenant = \"u\", secret = \"r\" }]";
    let owner = |flags: &[(&str, &str)]| resolved(flags).unwrap().owner();
    assert_eq!(owner(&[("local.apps", two)]).app.as_str(), "a");
    let chosen = owner(&[("local.apps", two), ("upstream.app", "b")]);
    assert_eq!((chosen.app.as_str(), chosen.tenant.as_str()), ("b", "u"));
    let unknown = refusal(&[("local.apps", two), ("upstream.app", "c")]);
    assert!(unknown.contains("does not know c"), "{unknown}");
    let other = refusal(&[("local.apps", two), ("upstream.tenant", "u")]);
    assert!(
        other.starts_with("upstream.tenant: u is not the tenant of app a"),
        "{other}"
    );
    let twice = two.replace("\"b\"", "\"a\"");
    assert!(refusal(&[("local.apps", &twice)]).contains("a is there twice"));
}

#[test]
fn keys_without_effect_are_refused() {
    for key in [
        "upstream.base_url",
        "upstream.authority",
        "upstream.openid_configuration_url",
    ] {
        let error = refusal(&[(key, "https://graph.example/v1.0")]);
        assert!(
            error.starts_with(&format!("{key}: has no effect")),
            "{error}"
        );
    }
    assert!(refusal(&[("upstream.secret", "s")]).starts_with("upstream.secret: has no effect"));
}

const GRAPH: [(&str, &str); 5] = [
    ("upstream.kind", "graph"),
    ("upstream.tenant", "t"),
    ("upstream.app", "a"),
    ("upstream.secret", "s"),
    ("upstream.public_url", "https://bot.example"),
];

#[test]
fn graph_has_built_in_addresses() {
    let plan = resolved(&GRAPH).unwrap();
    let Place::Graph(endpoints) = &plan.place else {
        panic!("not Graph")
    };
    assert_eq!(
        endpoints.base_url.as_str(),
        "https://graph.microsoft.com/v1.0"
    );
    assert_eq!(
        endpoints.authority.as_str(),
        "https://login.microsoftonline.com/"
    );
    assert!(!endpoints.notification_keys.allow_loopback_http);
    assert_eq!(
        endpoints.callers.keys.configuration.as_str(),
        "https://login.microsoftonline.com/t/v2.0/.well-known/openid-configuration"
    );
    assert_eq!(
        endpoints.callers.issuers[0],
        "https://login.microsoftonline.com/t/v2.0"
    );
    assert_eq!(endpoints.callers.audiences, ["a", "api://a"]);
}

#[test]
fn a_tenant_that_no_notification_names_is_refused() {
    let domain = GRAPH.map(|(key, value)| match key {
        "upstream.tenant" => (key, "contoso.onmicrosoft.com"),
        _ => (key, value),
    });
    let error = refusal(&domain);
    assert!(
        error.starts_with("upstream.tenant: contoso.onmicrosoft.com is a domain"),
        "{error}"
    );
}

#[test]
fn what_graph_needs_is_asked_for_by_name() {
    for missing in [
        "upstream.tenant",
        "upstream.app",
        "upstream.secret",
        "upstream.public_url",
    ] {
        let rest: Vec<_> = GRAPH
            .into_iter()
            .filter(|(key, _)| *key != missing)
            .collect();
        let error = refusal(&rest);
        assert!(
            error.starts_with(&format!("{missing}: is missing; ")),
            "{error}"
        );
    }
    let http = GRAPH.map(|(key, value)| (key, value.replace("https", "http")));
    let http: Vec<_> = http
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    assert!(refusal(&http).starts_with("upstream.public_url: must be https"));
}

#[test]
fn a_local_service_in_another_process_is_reached_as_graph_is() {
    let mut flags = GRAPH.to_vec();
    flags.retain(|(key, _)| *key != "upstream.public_url");
    flags.extend([
        ("upstream.base_url", "http://127.0.0.1:7081/v1.0"),
        ("upstream.authority", "http://127.0.0.1:7081"),
        (
            "upstream.openid_configuration_url",
            "http://127.0.0.1:7081/v1/.well-known/OpenIdConfiguration",
        ),
        (
            "auth.openid_configuration_url",
            "http://127.0.0.1:7081/v1/.well-known/OpenIdConfiguration",
        ),
        ("auth.audiences", "https://graph.microsoft.com"),
    ]);
    let plan = resolved(&flags).unwrap();
    let Place::Graph(endpoints) = &plan.place else {
        panic!("not Graph")
    };
    assert!(endpoints.notification_keys.allow_loopback_http);
    assert!(endpoints.callers.keys.allow_loopback_http);
    assert_eq!(endpoints.callers.issuers[0], "http://127.0.0.1:7081/t/v2.0");
    assert_eq!(endpoints.callers.audiences, ["https://graph.microsoft.com"]);
}

#[test]
fn secrets_come_from_files() {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), "from-file\n").unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let mut flags = GRAPH.to_vec();
    flags.push(("upstream.secret_file", &path));
    assert!(refusal(&flags).contains("both the secret and a file"));
    flags.retain(|(key, _)| *key != "upstream.secret");
    let plan = resolved(&flags).unwrap();
    assert_eq!(plan.credential.secret.expose_secret(), "from-file");
    assert!(!format!("{plan:?}").contains("from-file"));

    let app = format!("[{{ id = \"a\", tenant = \"t\", secret_file = \"{path}\" }}]");
    let plan = resolved(&[("local.apps", &app)]).unwrap();
    assert_eq!(plan.credential.secret.expose_secret(), "from-file");

    fs::write(file.path(), "\n").unwrap();
    assert!(refusal(&flags).ends_with("upstream.secret: the secret is empty"));
    drop(file);
    let gone = refusal(&flags);
    assert!(
        gone.starts_with("upstream.secret_file: cannot read /"),
        "{gone}"
    );
    let none = refusal(&[("local.apps", "[{ id = \"a\", tenant = \"t\" }]")]);
    assert!(none.contains("a has no secret"), "{none}");
}

#[test]
fn the_deadline_of_commands_has_bounds() {
    for text in ["999ms", "301s"] {
        let error = refusal(&[("calls.command_deadline", text)]);
        assert_eq!(error, "calls.command_deadline: must be from 1s to 5min");
    }
}

#[test]
fn the_switches_of_the_local_service_reach_it() {
    let switched = [
        ("local.announce_unchanged", "false"),
        ("local.end_when_alone", "true"),
        ("local.pascal_case", "true"),
    ];
    let rules = |flags: &[(&str, &str)]| match resolved(flags).unwrap().place {
        Place::Local(config) => {
            let rules = config.rules;
            [
                rules.announce_unchanged,
                rules.end_when_alone,
                rules.pascal_case,
            ]
        }
        Place::Graph(_) => panic!("not local"),
    };
    assert_eq!(rules(&[]), [true, false, false]);
    assert_eq!(rules(&switched), [false, true, true]);
}

#[test]
fn participants_are_not_told_to_send_to_all_addresses() {
    for all in ["0.0.0.0", "::"] {
        let error = refusal(&[("local.rtp_bind", all)]);
        assert!(
            error.starts_with(&format!("local.rtp_bind: {all} is")),
            "{error}"
        );
    }
}

#[test]
fn what_is_resolved_prints_no_secret() {
    let app = "[{ id = \"a\", tenant = \"t\", secret = \"k4nar1-secret\" }]";
    let flags = [("local.apps".to_owned(), app.to_owned())];
    let loaded = config::load(None, Vec::<(OsString, OsString)>::new(), &flags).unwrap();
    let loaded_shown = format!("{loaded:?}");
    let plan = serve(loaded.settings).unwrap();
    assert_eq!(plan.credential.secret.expose_secret(), "k4nar1-secret");
    let printed = format!("{loaded_shown} {plan:?} {}", plan.summary());
    assert!(printed.contains("Credential"), "{printed}");
    assert!(!printed.contains("k4nar1"), "{printed}");
}

#[test]
fn what_nothing_works_with_is_refused() {
    let origin = "is no origin, and no page would be let in";
    for (key, value, problem) in [
        ("listen.max_connections", "0", "at least 1"),
        ("listen.max_header_bytes", "100", "at least 4096"),
        ("listen.origins", r#"["ops.example"]"#, origin),
        ("listen.origins", r#"["https://ops.example/"]"#, origin),
        ("listen.origins", r#"["https://ops.example:443"]"#, origin),
        ("listen.origins", r#"["*"]"#, origin),
        ("listen.admin", "127.0.0.1:7080", "taken by listen.public"),
        ("local.bind", "127.0.0.1:7090", "taken by listen.admin"),
        ("listen.admin", "0.0.0.0:7080", "taken by listen.public"),
        ("recorder.bytes", "65536", "at least 1048576, or 0"),
        ("calls.incoming_key", "short", "16 to 128 letters"),
        ("calls.incoming_key", "sixteen-letters/or-more", "16 to 128"),
        ("auth.audiences", "[]", "name at least one"),
        ("auth.issuers", r#"[""]"#, "name at least one"),
    ] {
        let error = refusal(&[(key, value)]);
        assert!(error.starts_with(&format!("{key}: ")), "{error}");
        assert!(error.contains(problem), "{error}");
    }
    for (key, value) in [
        (
            "listen.origins",
            r#"["https://ops.example", "http://[::1]:3000"]"#,
        ),
        ("listen.origins", r#"["chrome-extension://abcdefgh"]"#),
        ("listen.admin", "127.0.0.1:0"),
        ("listen.admin", "127.0.0.2:7080"),
        ("calls.incoming_key", "sixteen-letters_"),
    ] {
        assert!(resolved(&[(key, value)]).is_ok(), "{key} {value}");
    }
}

#[test]
fn a_password_in_an_address_is_neither_taken_nor_shown() {
    for url in [
        "https://u:canary@bot.example/",
        "https://:canary@bot.example/",
    ] {
        let error = refusal(&[("listen.public_url", url)]);
        assert!(error.contains("leave them out"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}
