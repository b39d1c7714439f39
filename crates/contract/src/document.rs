use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde_json::Value;
use utoipa::openapi::example::Example;
use utoipa::openapi::header::Header;
use utoipa::openapi::info::License;
use utoipa::openapi::path::{PathItem, Paths};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::Tag;
use utoipa::openapi::{
    ContentBuilder, Info, OpenApi, OpenApiBuilder, OpenApiVersion, Ref, RefOr, Schema,
};

use crate::answers::{Failure, envelope, phrase};
use crate::route::{Route, answer};

/// A schema and the name it is referred to by.
pub type Named = (String, RefOr<Schema>);

/// Headers of every answer.
pub(crate) const REQUEST_ID: [&str; 2] = ["request-id", "client-request-id"];
const SCHEME: &str = "bearer";

/// What a document is made of.
#[derive(Clone)]
pub struct Contract {
    /// Its title.
    pub title: &'static str,
    /// What is to be known of the whole; Markdown.
    pub about: &'static str,
    /// How a caller shows who it is.
    pub token: &'static str,
    /// Groups of routes: where their paths start, the name, what they are. The first that fits.
    pub groups: &'static [(&'static str, &'static str, &'static str)],
    /// What the names in braces stand for.
    pub parameters: &'static [(&'static str, &'static str)],
    /// Every operation.
    pub routes: Vec<Route>,
    /// Every schema they name, and `ErrorEnvelope`.
    pub schemas: Vec<Named>,
}

impl fmt::Debug for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract")
            .field("title", &self.title)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

impl Contract {
    /// The document.
    pub fn document(&self) -> OpenApi {
        let mut failures: BTreeMap<String, RefOr<Response>> = BTreeMap::new();
        let mut paths = Paths::new();
        for route in &self.routes {
            let failed = |ways: &[Failure]| {
                let (name, response) = failed(ways);
                let response = RefOr::T(response);
                // the same codes for another reason
                let mut names = std::iter::successors(Some(name), |name| Some(format!("{name}_")));
                let free = |name: &String| failures.get(name).is_none_or(|held| *held == response);
                let name = names.find(free).unwrap_or_default();
                failures.insert(name.clone(), response);
                Ref::from_response_name(name)
            };
            let tag = self.group(route.path);
            let operation = route.operation(tag, self.parameters, SCHEME, failed);
            let item = PathItem::new(route.method.clone(), operation);
            match paths.paths.get_mut(route.path) {
                Some(known) => known.merge_operations(item),
                None => {
                    paths.paths.insert(route.path.to_owned(), item);
                }
            }
        }
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(self.token))
            .build();
        let mut components = ComponentsBuilder::new()
            .schemas_from_iter(self.schemas.iter().cloned())
            .responses_from_iter(failures)
            .security_scheme(SCHEME, SecurityScheme::Http(token));
        for (name, about) in REQUEST_ID.into_iter().zip([
            "The service's id of the request; its log has it.",
            "The caller's id of the request, or the service's where the caller sent none.",
        ]) {
            let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String));
            header.description = Some(about.to_owned());
            components = components.header(name, header);
        }
        let mut info = Info::new(self.title, env!("CARGO_PKG_VERSION"));
        info.description = Some(self.about.to_owned());
        let mut license = License::new("MIT OR Apache-2.0");
        license.identifier = Some("MIT OR Apache-2.0".to_owned());
        info.license = Some(license);
        let mut seen = BTreeSet::new();
        let tags = self.groups.iter().filter(|(_, name, _)| seen.insert(*name));
        let tags = tags.map(|(_, name, about)| {
            let mut tag = Tag::new(name);
            tag.description = Some((*about).to_owned());
            tag
        });
        OpenApiBuilder::new()
            .openapi(OpenApiVersion::Version31)
            .info(info)
            .paths(paths)
            .components(Some(components.build()))
            .tags(Some(tags))
            .build()
    }

    fn group(&self, path: &str) -> &'static str {
        let group = self
            .groups
            .iter()
            .find(|(start, _, _)| path.starts_with(start));
        group.map_or("other", |(_, name, _)| *name)
    }

    /// What of `served`, pairs of method and path, has no [`Route`], and what has one and is not
    /// served: lines for the one who has to mend it. Empty when all is well.
    pub fn missing(&self, served: &[(String, String)]) -> Vec<String> {
        let described: BTreeSet<(String, String)> = self
            .routes
            .iter()
            .map(|route| (route.method().to_owned(), route.path.to_owned()))
            .collect();
        let served: BTreeSet<(String, String)> = served.iter().cloned().collect();
        let undescribed = served.difference(&described).map(|(method, path)| {
            let call = method.to_lowercase();
            format!(
                "{method} {path} is served and not described; add:\n    \
                     {call}(\"{path}\", \"operationId\", \"What it does.\").gives(..),"
            )
        });
        let gone = described.difference(&served).map(|(method, path)| {
            format!("{method} {path} is described and not served; remove it")
        });
        let unnamed = self.routes.iter().flat_map(|route| {
            let names = route.names();
            let unknown =
                names.filter(|name| !self.parameters.iter().any(|(known, _)| known == name));
            unknown.map(|name| format!("{}: say in `parameters` what {{{name}}} is", route.path))
        });
        undescribed.chain(gone).chain(unnamed).collect()
    }
}

/// The answer for the failures of one status, under a name made of it and their codes.
fn failed(ways: &[Failure]) -> (String, Response) {
    let status = ways.first().map_or(0, |way| way.status);
    let mut name = status.to_string();
    let mut about = phrase(status).to_owned();
    let mut examples = Vec::new();
    for way in ways {
        name.push('_');
        name.push_str(way.code);
        about.push_str("\n\n- `");
        about.push_str(way.code);
        about.push_str("`: ");
        about.push_str(way.when);
        let mut example = Example::new();
        way.code.clone_into(&mut example.summary);
        example.value = Some(envelope(way.code, way.when));
        examples.push((format!("{}_{}", way.code, examples.len()), example));
    }
    let mut response = answer(&about);
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ErrorEnvelope")))
        .examples_from_iter(examples);
    let content = content.build();
    response
        .content
        .insert("application/json".to_owned(), content.into());
    for (on, header, about) in [
        (
            &[401][..],
            "WWW-Authenticate",
            "`Bearer`, with what is wrong with the token (RFC 6750).",
        ),
        (
            &[429, 503][..],
            "Retry-After",
            "Seconds after which the request may come again.",
        ),
        (&[405][..], "Allow", "The methods that the path takes."),
    ] {
        if on.contains(&status) {
            let mut value = Header::new(ObjectBuilder::new().schema_type(Type::String));
            value.description = Some(about.to_owned());
            response.headers.insert(header.to_owned(), value.into());
        }
    }
    (name, response)
}

/// Holds `document`, as JSON, against the committed `file`, or rewrites it when `UPDATE` is set.
/// For tests.
///
/// # Errors
/// A text that says where they differ and how to renew the file.
pub fn committed(document: &impl serde::Serialize, file: &Path) -> Result<(), String> {
    let mut text = serde_json::to_string_pretty(document).map_err(|error| error.to_string())?;
    text.push('\n');
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(file, text).map_err(|error| error.to_string());
    }
    let was = std::fs::read_to_string(file).unwrap_or_default();
    if was == text {
        return Ok(());
    }
    let same = was.lines().zip(text.lines()).take_while(|(a, b)| a == b);
    Err(format!(
        "{} is not what the code says, from line {} on; the same test with UPDATE=1 renews it",
        file.display(),
        same.count() + 1
    ))
}

/// The schema `Document` of a contract document itself.
pub fn document_schema() -> Named {
    let object = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("A document of OpenAPI or AsyncAPI."));
    ("Document".to_owned(), object.into())
}

/// The local references of `document` that lead nowhere. For tests.
pub fn dangling(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    references(document, &mut found);
    found.retain(|to| {
        to.strip_prefix('#')
            .and_then(|at| document.pointer(at))
            .is_none()
    });
    found
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(to)) = object.get("$ref") {
                found.push(to.clone());
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
