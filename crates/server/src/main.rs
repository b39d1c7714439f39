//! The binary `openmic`: configuration, logging, wiring, run, drain.

mod banner;
mod cli;
mod config;
mod demo;
mod descriptors;
mod explain;
mod live;
mod local;
mod new_key;
mod records;
mod resolve;
mod serve;
mod signals;
mod telemetry;
mod tls;
mod trace;
mod wiring;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;

use cli::{AuthCommand, Cli, Command, ConfigArgs, ConfigCommand};
use config::Loaded;
use tokio::runtime;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a blocking task that nobody waits for may hold up the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("openmic: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    // Before any thread: what comes later inherits it.
    let files = descriptors::raise().context("the limit of open files cannot be read")?;
    match command {
        Command::Serve(args) => {
            let flags = [
                ("listen.public", &args.public),
                ("listen.admin", &args.admin),
                ("local.bind", &args.local),
                ("listen.tls", &args.tls),
            ];
            let loaded = load(&args.config, &flags)?;
            trace::start(&loaded.settings.log)?;
            return block_on(serve::run(loaded, files));
        }
        Command::Demo(args) => return block_on(demo::run(args, files)),
        Command::Local(args) => {
            let faults =
                (!args.fault.is_empty()).then(|| toml::Value::from(args.fault).to_string());
            let flags = [
                ("local.bind", &args.local),
                ("local.faults", &faults),
                ("listen.admin", &args.admin),
                ("listen.tls", &args.tls),
            ];
            let loaded = load(&args.config, &flags)?;
            trace::start(&loaded.settings.log)?;
            block_on(local::run(loaded))?;
        }
        Command::Config {
            command: ConfigCommand::Check { config, live },
        } => {
            let loaded = load(&config, &[])?;
            trace::filter(&loaded.settings.log.level)?;
            let plan = resolve::serve(loaded.settings)?;
            let journal = records::look(&plan.records)?;
            println!("ok: {}, {journal}", plan.summary());
            if live && !block_on(live::run(plan))? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Config {
            command: ConfigCommand::Print { defaults: true, .. },
        } => {
            print!("{}", config::template());
        }
        Command::Config {
            command: ConfigCommand::Print { config, .. },
        } => {
            print!("{}", config::effective(&load(&config, &[])?));
        }
        Command::Explain(args) => {
            let source = explain::Source::of(&args, || load(&args.config, &[]))?;
            if !block_on(explain::run(&args, source))? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Auth {
            command: AuthCommand::NewKey(args),
        } => {
            print!("{}", new_key::text(args)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `main` on one worker per processor.
fn block_on<T>(main: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("the runtime's threads cannot be started")?;
    let result = runtime.block_on(main);
    runtime.shutdown_timeout(LAST_WORDS);
    result
}

/// Loads the configuration; `flags` are those of the command that stand for a key.
fn load(args: &ConfigArgs, flags: &[(&str, &Option<String>)]) -> anyhow::Result<Loaded> {
    let common = [
        ("log.level", &args.log_level),
        ("log.format", &args.log_format),
    ];
    let named = common.iter().chain(flags).filter_map(|(key, value)| {
        let value = value.as_ref()?;
        Some(((*key).to_owned(), value.clone()))
    });
    let mut overrides: Vec<_> = named.collect();
    for set in &args.set {
        let (key, value) = set
            .split_once('=')
            .with_context(|| format!("--set {set}: write it as section.key=value"))?;
        overrides.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(config::load(
        args.config.as_deref(),
        std::env::vars_os(),
        &overrides,
    )?)
}
