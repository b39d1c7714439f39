//! The configuration: file, then environment, then flags, each checked key by key.
//!
//! The schema is [`settings::Settings`]; its doc comments make `config/openmic.toml`. What is
//! loaded is turned into what the crates take by `crate::resolve`, which also reads secrets from
//! their files.

pub(crate) mod settings;
pub(crate) mod values;

mod keys;
mod render;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use confique::{Config as _, Layer as _};
use serde::Deserialize;
use settings::{ApiKeyEntry, AppEntry, Settings};
use toml::{Table, Value};

pub(crate) use render::{effective, template};

type SettingsLayer = <Settings as confique::Config>::Layer;

/// What the names of our environment variables begin with.
pub(crate) const ENV_PREFIX: &str = "OPENMIC__";

/// Where the value of a key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The file.
    File(PathBuf),
    /// The environment.
    Env,
    /// The command line.
    Flag,
}

impl Origin {
    /// Which one wins.
    const fn rank(&self) -> u8 {
        match self {
            Self::File(_) => 1,
            Self::Env => 2,
            Self::Flag => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Env => f.write_str("environment"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}, line {line}: not TOML: {message}", path.display())]
    Syntax {
        path: PathBuf,
        line: usize,
        message: String,
    },
    #[error("{origin}: unknown key '{key}'{}", hint(nearest.as_deref()))]
    UnknownKey {
        origin: Origin,
        key: String,
        nearest: Option<String>,
    },
    #[error("{origin}: {key}: {message}")]
    Value {
        origin: Origin,
        key: String,
        message: String,
    },
    #[error("environment: {0} is not UTF-8")]
    NotUnicode(String),
    #[error("the configuration is incomplete")]
    Incomplete(#[source] confique::Error),
}

fn hint(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!(": did you mean '{name}'?"),
        None => ": `openmic config print --defaults` lists all keys".to_owned(),
    }
}

/// A complete configuration.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The values.
    pub(crate) settings: Settings,
    /// Where the values come from that are not the default.
    origins: BTreeMap<String, Origin>,
}

/// Reads `file`, then the variables of `env` that begin with [`ENV_PREFIX`], then `flags`; later
/// ones win.
///
/// # Errors
/// [`ConfigError`] names the source, the key and what to do. It never holds a value of a secret.
pub(crate) fn load(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &[(String, String)],
) -> Result<Loaded, ConfigError> {
    let mut sum = Sum {
        layer: SettingsLayer::empty(),
        origins: BTreeMap::new(),
    };
    for (key, text) in flags.iter().rev() {
        let origin = Origin::Flag;
        if !keys::exists(key) {
            let nearest = keys::nearest(key);
            return Err(ConfigError::UnknownKey {
                origin,
                key: key.clone(),
                nearest,
            });
        }
        sum.add(key, from_text(&origin, key, text)?, origin);
    }
    for (name, key, text) in variables(env)? {
        let origin = Origin::Env;
        if !keys::exists(&key) {
            let nearest = keys::nearest(&key).map(|key| variable(&key));
            return Err(ConfigError::UnknownKey {
                origin,
                key: name,
                nearest,
            });
        }
        sum.add(&key, from_text(&origin, &key, &text)?, origin);
    }
    if let Some(path) = file {
        let read = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let text = fs::read_to_string(path).map_err(read)?;
        let origin = Origin::File(path.to_owned());
        for (key, value) in keys::leaves(table(path, &text)?, &origin)? {
            let layer = leaf(&key, value).map_err(|message| ConfigError::Value {
                origin: origin.clone(),
                key: key.clone(),
                message,
            })?;
            sum.add(&key, layer, origin.clone());
        }
    }
    let layer = sum.layer.with_fallback(SettingsLayer::default_values());
    let mut settings = Settings::from_layer(layer).map_err(ConfigError::Incomplete)?;
    let mut origins = sum.origins;
    // Two ways to say one thing: the one with the higher rank counts, as for a single key.
    let rank = |key| origins.get(key).map(Origin::rank);
    match rank("upstream.secret").cmp(&rank("upstream.secret_file")) {
        Ordering::Greater => {
            settings.upstream.secret_file = None;
            origins.remove("upstream.secret_file");
        }
        Ordering::Less => {
            settings.upstream.secret = None;
            origins.remove("upstream.secret");
        }
        Ordering::Equal => {}
    }
    Ok(Loaded { settings, origins })
}

struct Sum {
    layer: SettingsLayer,
    origins: BTreeMap<String, Origin>,
}

impl Sum {
    /// Adds a value that yields to those already there.
    fn add(&mut self, key: &str, value: SettingsLayer, origin: Origin) {
        let before = std::mem::replace(&mut self.layer, SettingsLayer::empty());
        self.layer = before.with_fallback(value);
        self.origins.entry(key.to_owned()).or_insert(origin);
    }
}

/// Our variables: name, key, value.
fn variables(
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String, String)>, ConfigError> {
    let mut found = Vec::new();
    for (name, value) in env {
        let name = name.to_string_lossy().into_owned();
        let Some(path) = name.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        let key = path.replace("__", ".").to_lowercase();
        let text = value
            .into_string()
            .map_err(|_| ConfigError::NotUnicode(name.clone()))?;
        found.push((name, key, text));
    }
    found.sort();
    Ok(found)
}

/// The environment variable of a key.
fn variable(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

fn table(path: &Path, text: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| {
        // Its own Display shows the whole line, which may be that of a secret.
        let start = error.span().map_or(0, |span| span.start);
        ConfigError::Syntax {
            path: path.to_owned(),
            line: text.get(..start).unwrap_or(text).matches('\n').count() + 1,
            message: error.message().to_owned(),
        }
    })
}

/// A layer that holds one key.
fn leaf(key: &str, value: Value) -> Result<SettingsLayer, String> {
    let (section, name) = key.split_once('.').expect("every key has a section");
    if name.ends_with("secret") && !value.is_str() {
        return Err("a secret must be a string".to_owned());
    }
    let inner = Table::from_iter([(name.to_owned(), value)]);
    let table = Table::from_iter([(section.to_owned(), Value::Table(inner))]);
    SettingsLayer::deserialize(table).map_err(|error| error.message().to_owned())
}

/// A value as a shell gives it: the text itself where that fits, else as TOML (`10`, `true`,
/// `["a"]`), else a list with commas.
fn from_text(origin: &Origin, key: &str, text: &str) -> Result<SettingsLayer, ConfigError> {
    let refused = |message| ConfigError::Value {
        origin: origin.clone(),
        key: match origin {
            Origin::Env => variable(key),
            _ => key.to_owned(),
        },
        message,
    };
    let first = match leaf(key, Value::String(text.to_owned())) {
        Ok(layer) => return Ok(layer),
        Err(message) => message,
    };
    let parsed = format!("value = {text}").parse::<Table>().ok();
    let message = match parsed.and_then(|mut table| table.remove("value")) {
        Some(value) if !value.is_str() => {
            keys::check(key, &value, origin)?;
            match leaf(key, value) {
                Ok(layer) => return Ok(layer),
                Err(message) => message,
            }
        }
        _ => first,
    };
    let parts = text
        .split(',')
        .map(|part| Value::String(part.trim().to_owned()));
    leaf(key, Value::Array(parts.collect())).map_err(|_| refused(message))
}

impl<'de> Deserialize<'de> for AppEntry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type AppLayer = <AppEntry as confique::Config>::Layer;
        let layer = AppLayer::deserialize(deserializer)?;
        Self::from_layer(layer.with_fallback(AppLayer::default_values()))
            .map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ApiKeyEntry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type EntryLayer = <ApiKeyEntry as confique::Config>::Layer;
        let layer = EntryLayer::deserialize(deserializer)?;
        Self::from_layer(layer.with_fallback(EntryLayer::default_values()))
            .map_err(serde::de::Error::custom)
    }
}
