//! What can be written on the command line.

#![expect(
    clippy::doc_markdown,
    reason = "the doc comments become the text of --help"
)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use openmic_model::{AppId, CallId, TenantId};
use url::Url;

/// Unmutes meeting bots, knows that they really are, and shows it to everybody who watches.
#[derive(Debug, Parser)]
#[command(
    name = "openmic",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "\
Examples:
  openmic demo                         a bot is unmuted and heard, on this machine, in 20 s
  openmic serve                        engine and local calling service, on loopback
  openmic serve --config graph.toml    the engine in front of Microsoft Graph
  openmic explain CALL                 where a call stands, why, and what it waits for
  openmic config print --defaults      every key of the configuration, explained"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows the whole way of an unmute on this machine and checks it; exit code 0 if all held.
    Demo(DemoArgs),
    /// Runs the engine, by default with the local calling service beside it.
    #[command(after_help = "\
Examples:
  openmic serve
  openmic serve --tls dev              https; the log says which CA certificate to trust
  openmic serve --set upstream.request_timeout=5s --log-level debug
  OPENMIC__LISTEN__PUBLIC=127.0.0.1:0 openmic serve     any free port; the log says which

SIGTERM or Ctrl-C ends it gracefully, a second one at once.")]
    Serve(ServeArgs),
    /// Runs the local Graph-compatible calling service alone.
    #[command(after_help = "\
Examples:
  openmic local
  openmic local --local 127.0.0.1:9081
  openmic local --fault 'drop rate=0.1' --fault effect_without_response

A bot's Graph SDK then uses http://127.0.0.1:7081/v1.0 in the place of Graph, and
http://127.0.0.1:7081/{tenant}/oauth2/v2.0/token to get its token.")]
    Local(LocalArgs),
    /// Looks a configuration over.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Says in words where a call stands, why, and what it waits for.
    #[command(after_help = "\
It reads the flight recorder of the engine that the configuration names, by default the one on this
machine with its dev credentials, also for a while after the call has ended. What is in it:
commands, requests and their answers, notifications, what the engine made of them, deliveries; no
names and no tokens.

Examples:
  openmic explain 0c1f5e00-abcd-4000-8000-000000000001
  openmic explain CALL --config graph.toml --save call.ndjson
  openmic explain --log call.ndjson --replay     steps the state machine anew, and compares
  OPENMIC_TOKEN=omk_... openmic explain CALL --url https://engine.example

How to read it: 'How it came here' has the facts that changed something, with -> what was done on
each; 'Commands' has each verdict with its evidence; 'Unusual' has what was late, came twice, was
missing, was throttled or repeated. Times are UTC; #7 is the line of the log.

Exit code 0: told; 1: --replay found that the machine does something else; 2: nothing to tell.")]
    Explain(ExplainArgs),
    /// Makes what callers show to be let in.
    Auth {
        #[command(subcommand)]
        command: AuthCommand,
    },
}

/// `openmic explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Graph's id of the call, as `GET /v1/calls` lists it
    #[arg(value_name = "CALL", required_unless_present = "log")]
    pub(crate) call: Option<CallId>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Address of the engine, when it is not the one of the configuration
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<Url>,
    /// Reads a saved log instead of asking an engine
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "save"])]
    pub(crate) log: Option<PathBuf>,
    /// Writes the lines down besides, for --log and for tests
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Steps the state machine through the log anew and compares what it does
    #[arg(long)]
    pub(crate) replay: bool,
    /// Shows every line, not only what led to where the call stands
    #[arg(long)]
    pub(crate) all: bool,
    /// The same as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `openmic auth`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthCommand {
    /// Makes an API key, prints it once, and prints the lines of the configuration that take it
    #[command(after_help = "\
The key is kept nowhere: copy it now. Callers send it as `Authorization: Bearer omk_...`.
The configuration holds its hash only, from which nobody gets the key.")]
    NewKey(NewKeyArgs),
}

/// `openmic auth new-key`.
#[derive(Debug, Args)]
pub(crate) struct NewKeyArgs {
    /// What the log calls it
    #[arg(long, value_name = "NAME", default_value = "key-1")]
    pub(crate) name: String,
    /// Application (client) id it calls as
    #[arg(long, value_name = "ID", default_value = openmic_local::DEV_APP)]
    pub(crate) app: AppId,
    /// Directory (tenant) id of that application
    #[arg(long, value_name = "ID", default_value = openmic_local::DEV_TENANT)]
    pub(crate) tenant: TenantId,
    /// A role it has, such as Calls.JoinGroupCall.All or openmic.operator; may be repeated
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Vec<String>,
}

/// `openmic demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  openmic demo
  openmic demo --report r.json --record heard.wav
  openmic demo --audio speech.wav --subscribers 5000
  openmic demo --keep                  stays up afterwards, with lines to play with")]
pub(crate) struct DemoArgs {
    /// What the bot says, a WAV file; without, a chime that the program makes
    #[arg(long, value_name = "FILE.wav")]
    pub(crate) audio: Option<PathBuf>,
    /// Writes what the first human heard
    #[arg(long, value_name = "FILE.wav")]
    pub(crate) record: Option<PathBuf>,
    /// Writes the figures as JSON
    #[arg(long, value_name = "FILE.json")]
    pub(crate) report: Option<PathBuf>,
    /// WebSockets that watch the roster
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) subscribers: usize,
    /// Humans that listen
    #[arg(long, value_name = "N", default_value_t = 3,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100))]
    pub(crate) humans: usize,
    /// Times the bot is unmuted and muted again
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub(crate) cycles: usize,
    /// Leaves everything running and prints commands to play with
    #[arg(long)]
    pub(crate) keep: bool,
}

/// `openmic serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Address of the engine's HTTP surface [listen.public]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) public: Option<String>,
    /// Address of /metrics, /livez and /readyz [listen.admin]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) admin: Option<String>,
    /// Address of the local calling service [local.bind]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) local: Option<String>,
    /// https: "dev" makes a certificate, "files" takes yours, "off" is plain http [listen.tls]
    #[arg(long, value_name = "MODE", value_parser = ["off", "dev", "files"])]
    pub(crate) tls: Option<String>,
}

/// `openmic local`.
#[derive(Debug, Args)]
pub(crate) struct LocalArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Address of the local calling service [local.bind]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) local: Option<String>,
    /// Address of /metrics, /livez and /readyz [listen.admin]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) admin: Option<String>,
    /// https: "dev" makes a certificate, "files" takes yours, "off" is plain http [listen.tls]
    #[arg(long, value_name = "MODE", value_parser = ["off", "dev", "files"])]
    pub(crate) tls: Option<String>,
    /// Lets it happen in every call, for tests of bots: a name, with key=value after it; several
    /// times for several. A name that is none lists those there are [local.faults]
    #[arg(long, value_name = "FAULT")]
    pub(crate) fault: Vec<String>,
}

/// `openmic config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Says whether a configuration can be run, secrets' files included
    #[command(after_help = "\
Examples:
  openmic config check --config graph.toml
  openmic config check --config graph.toml --live

What --live tries, each without changing anything:
  token endpoint         does the credential get a token; if not, Entra's number in words
  permissions            which Calls.* permissions the token has, and what each missing one prevents
  keys of notifications  the OpenID configuration: reachable, keys usable, issuer as expected
  keys of callers        the same for whoever calls this engine
  admission to calls     a GET of a call that cannot exist; 7503, 7504 and 7505 explained
  callback               upstream.public_url: https, DNS, certificate, and that it leads to this
                         engine; best while nothing runs on listen.public, which is then used

Exit code 0: nothing failed (warnings may be there); 1: something failed; 2: the configuration
cannot be run at all.")]
    Check {
        #[command(flatten)]
        config: ConfigArgs,
        /// Tries for real: token, permissions, keys, admission, callback
        #[arg(long)]
        live: bool,
    },
    /// Prints what holds in the end and where it comes from, secrets left out
    Print {
        #[command(flatten)]
        config: ConfigArgs,
        /// Prints instead every key with its documentation and default value, a file to start from
        #[arg(long)]
        defaults: bool,
    },
}

/// What every command that has a configuration takes.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file, TOML; without, the defaults: everything on this machine
    #[arg(long, value_name = "FILE", env = "OPENMIC_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one key, over file and environment; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// What is logged: error, warn, info, debug, trace, or per crate [log.level]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// How it is logged [log.format]
    #[arg(long, value_name = "FORMAT", value_parser = ["auto", "text", "json"])]
    pub(crate) log_format: Option<String>,
}
