//! Which keys there are, and the nearest one to a key that is none.

use confique::Config as _;
use confique::meta::{Field, FieldKind, Meta};
use toml::{Table, Value};

use super::settings::{ApiKeyEntry, AppEntry, Settings};
use super::{ConfigError, Origin};

/// The keys whose value is a list of tables, and what is in one.
const TABLES: [(&str, &Meta); 2] = [
    ("local.apps", &AppEntry::META),
    ("auth.api_keys", &ApiKeyEntry::META),
];

/// How alike two keys must be for one to be a slip of the other.
const ALIKE: f64 = 0.6;

/// The sections and what is in them.
pub(super) fn sections() -> impl Iterator<Item = (&'static Field, &'static Meta)> {
    const META: &Meta = &Settings::META;
    META.fields.iter().filter_map(|field| match &field.kind {
        FieldKind::Nested { meta } => Some((field, *meta)),
        FieldKind::Leaf { .. } => None,
    })
}

fn all() -> Vec<String> {
    let keys = sections().flat_map(|(section, meta)| {
        meta.fields
            .iter()
            .map(|field| format!("{}.{}", section.name, field.name))
    });
    keys.collect()
}

/// Whether there is a key of that name, section included.
pub(super) fn exists(key: &str) -> bool {
    all().iter().any(|known| known == key)
}

/// Whether the value of a key is a list of tables.
pub(super) fn is_tables(section: &str, name: &str) -> bool {
    let here = Some((section, name));
    TABLES.iter().any(|(key, _)| key.split_once('.') == here)
}

/// The key, or the section, that was most likely meant.
pub(super) fn nearest(key: &str) -> Option<String> {
    let sections = sections().map(|(field, _)| field.name.to_owned());
    let candidates = sections.chain(all());
    best(key, candidates).or_else(|| {
        // The right name in the wrong section, or in none.
        let last = key.rsplit('.').next()?;
        let same = |known: &String| known.rsplit('.').next() == Some(last);
        let mut found = all().into_iter().filter(same);
        found.next().filter(|_| found.next().is_none())
    })
}

fn best(key: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let scored = candidates
        .map(|known| (strsim::normalized_damerau_levenshtein(key, &known), known))
        .filter(|(score, _)| *score >= ALIKE);
    scored
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, known)| known)
}

/// The keys of a file with their values.
///
/// # Errors
/// [`ConfigError`] for a key that does not exist.
pub(super) fn leaves(file: Table, origin: &Origin) -> Result<Vec<(String, Value)>, ConfigError> {
    let mut found = Vec::new();
    for (section, inner) in file {
        let unknown = |key: String| ConfigError::UnknownKey {
            origin: origin.clone(),
            nearest: nearest(&key),
            key,
        };
        if !sections().any(|(field, _)| field.name == section) {
            return Err(unknown(section));
        }
        let Value::Table(inner) = inner else {
            return Err(ConfigError::Value {
                origin: origin.clone(),
                message: format!("is a section; write [{section}] and its keys below"),
                key: section,
            });
        };
        for (name, value) in inner {
            let key = format!("{section}.{name}");
            if !exists(&key) {
                return Err(unknown(key));
            }
            check(&key, &value, origin)?;
            found.push((key, value));
        }
    }
    Ok(found)
}

/// Looks into a value that has keys of its own.
pub(super) fn check(key: &str, value: &Value, origin: &Origin) -> Result<(), ConfigError> {
    let Some((list, meta)) = TABLES.into_iter().find(|(list, _)| *list == key) else {
        return Ok(());
    };
    let names = || meta.fields.iter().map(|field| field.name);
    let tables = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_table);
    for (name, value) in tables.flatten() {
        if !names().any(|known| known == name) {
            return Err(ConfigError::UnknownKey {
                origin: origin.clone(),
                key: format!("{list}.{name}"),
                nearest: best(name, names().map(str::to_owned))
                    .map(|known| format!("{list}.{known}")),
            });
        }
        if name == "secret" && !value.is_str() {
            return Err(ConfigError::Value {
                origin: origin.clone(),
                key: format!("{list}.{name}"),
                message: "a secret must be a string".to_owned(),
            });
        }
    }
    Ok(())
}
