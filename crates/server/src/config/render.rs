//! The configuration as a file: the defaults with their documentation, or what holds.

use std::fmt::Write as _;

use confique::Config as _;
use confique::meta::{Expr, FieldKind, LeafKind};
use toml::Value;

use super::settings::Settings;
use super::{Loaded, keys};

/// Every key with its documentation and its default: `config/openmic.toml`.
pub(crate) fn template() -> String {
    let mut out = String::new();
    comment(&mut out, Settings::META.doc);
    for (section, meta) in keys::sections() {
        out.push('\n');
        comment(&mut out, section.doc);
        writeln!(out, "[{}]", section.name).expect("a String takes all");
        for (at, field) in meta.fields.iter().enumerate() {
            if at > 0 {
                out.push('\n');
            }
            comment(&mut out, field.doc);
            let default = match &field.kind {
                FieldKind::Leaf {
                    kind: LeafKind::Required { default },
                    ..
                } => default.as_ref(),
                _ => None,
            };
            match default {
                // The documentation has an entry; `apps = []` would forbid it.
                Some(Expr::Array([])) if keys::is_tables(section.name, field.name) => Ok(()),
                Some(value) => writeln!(out, "{} = {}", field.name, toml_of(value)),
                None => writeln!(out, "# {} =", field.name),
            }
            .expect("a String takes all");
        }
    }
    out
}

fn comment(out: &mut String, lines: &[&str]) {
    for line in lines {
        let line = line.trim_end();
        writeln!(out, "#{line}").expect("a String takes all");
    }
}

fn toml_of(value: &Expr) -> String {
    let value = Value::try_from(value).expect("defaults are strings, numbers and lists");
    value.to_string()
}

/// What holds, secrets left out, with the origin of what is not the default.
pub(crate) fn effective(loaded: &Loaded) -> String {
    let values = Value::try_from(&loaded.settings).expect("the settings fit TOML");
    let mut out = String::new();
    for (at, (section, meta)) in keys::sections().enumerate() {
        let gap = if at == 0 { "" } else { "\n" };
        writeln!(out, "{gap}[{}]", section.name).expect("a String takes all");
        for field in meta.fields {
            let key = format!("{}.{}", section.name, field.name);
            let value = values
                .get(section.name)
                .and_then(|inner| inner.get(field.name));
            let line = match value {
                Some(value) => format!("{} = {value}", field.name),
                None => format!("# {} is not set", field.name),
            };
            match loaded.origins.get(&key) {
                Some(origin) => writeln!(out, "{line}  # {origin}"),
                None => writeln!(out, "{line}"),
            }
            .expect("a String takes all");
        }
    }
    out
}
