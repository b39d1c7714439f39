use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};
use utoipa::openapi::header::Header;
use utoipa::openapi::link::Link;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, Parameter, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, ContentBuilder, Ref, RefOr, Required, Schema};

use crate::answers::Failure;
use crate::document::REQUEST_ID;

/// What a route takes or answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// JSON after the schema of this name.
    Json(&'static str),
    /// A form after the schema of this name.
    Form(&'static str),
    /// Text of this type.
    Text(&'static str),
}

impl Body {
    fn kind(self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Form(_) => "application/x-www-form-urlencoded",
            Self::Text(kind) => kind,
        }
    }

    fn content(self, example: Option<Value>) -> Content {
        let schema: RefOr<Schema> = match self {
            Self::Json(name) | Self::Form(name) => Ref::from_schema_name(name).into(),
            Self::Text(_) => ObjectBuilder::new().schema_type(Type::String).into(),
        };
        ContentBuilder::new()
            .schema(Some(schema))
            .example(example)
            .build()
    }
}

/// One operation of a document: what a method does at a path.
#[derive(Clone)]
pub struct Route {
    pub(crate) method: HttpMethod,
    pub(crate) path: &'static str,
    pub(crate) id: &'static str,
    summary: &'static str,
    description: Option<&'static str>,
    open: bool,
    in_dev: bool,
    parameters: Vec<Parameter>,
    takes: Vec<(Body, Option<Value>)>,
    takes_needed: bool,
    gives: BTreeMap<u16, Response>,
    last: u16,
    pub(crate) failures: Vec<Failure>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("path", &self.path)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn route(method: HttpMethod, path: &'static str, id: &'static str, summary: &'static str) -> Route {
    Route {
        method,
        path,
        id,
        summary,
        description: None,
        open: false,
        in_dev: false,
        parameters: Vec::new(),
        takes: Vec::new(),
        takes_needed: true,
        gives: BTreeMap::new(),
        last: 0,
        failures: Vec::new(),
    }
}

/// `GET path`, with the operation's id and what it does in one sentence.
pub fn get(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    route(HttpMethod::Get, path, id, summary)
}

/// `POST path`.
pub fn post(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    route(HttpMethod::Post, path, id, summary)
}

/// `PUT path`.
pub fn put(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    route(HttpMethod::Put, path, id, summary)
}

/// `PATCH path`.
pub fn patch(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    route(HttpMethod::Patch, path, id, summary)
}

/// `DELETE path`.
pub fn delete(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    route(HttpMethod::Delete, path, id, summary)
}

impl Route {
    /// What is to be known besides; Markdown.
    #[must_use]
    pub fn says(mut self, description: &'static str) -> Self {
        self.description = Some(description);
        self
    }

    /// It asks for no token.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// It asks for no token in the dev profile.
    #[must_use]
    pub fn open_in_dev(mut self) -> Self {
        self.in_dev = true;
        self
    }

    /// It takes a body of this kind; said twice, either.
    #[must_use]
    pub fn takes(mut self, body: Body) -> Self {
        self.takes.push((body, None));
        self
    }

    /// As [`takes`](Self::takes), with an example.
    #[must_use]
    pub fn takes_like(mut self, body: Body, example: Value) -> Self {
        self.takes.push((body, Some(example)));
        self
    }

    /// The body may be left out.
    #[must_use]
    pub fn or_nothing(mut self) -> Self {
        self.takes_needed = false;
        self
    }

    /// A header or query parameter that is text and may be left out.
    fn parameter(mut self, place: ParameterIn, name: &str, about: &str, example: &str) -> Self {
        let examples = Some(example)
            .filter(|text| !text.is_empty())
            .map(|text| json!(text));
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .examples(examples);
        let mut parameter = Parameter::new(name);
        parameter.parameter_in = place;
        parameter.required = Required::False;
        parameter.description = Some(about.to_owned());
        parameter.schema = Some(schema.into());
        self.parameters.push(parameter);
        self
    }

    /// A query parameter that is text and may be left out.
    #[must_use]
    pub fn query(self, name: &str, about: &str, example: &str) -> Self {
        self.parameter(ParameterIn::Query, name, about, example)
    }

    /// A header that is text and may be left out.
    #[must_use]
    pub fn header(self, name: &str, about: &str, example: &str) -> Self {
        self.parameter(ParameterIn::Header, name, about, example)
    }

    /// What the parameter named last must look like.
    #[must_use]
    pub fn matching(mut self, pattern: &str) -> Self {
        if let Some(parameter) = self.parameters.last_mut()
            && let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema
        {
            object.pattern = Some(pattern.to_owned());
        }
        self
    }

    /// It may answer `status` with this body.
    #[must_use]
    pub fn gives(mut self, status: u16, body: Body, about: &str) -> Self {
        let response = self.gives.entry(status).or_insert_with(|| answer(about));
        response
            .content
            .insert(body.kind().to_owned(), body.content(None).into());
        self.last = status;
        self
    }

    /// It may answer `status` without a body.
    #[must_use]
    pub fn gives_nothing(mut self, status: u16, about: &str) -> Self {
        self.gives.insert(status, answer(about));
        self.last = status;
        self
    }

    /// The answer named last has this header.
    #[must_use]
    pub fn with_header(mut self, name: &str, about: &str) -> Self {
        let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String));
        header.description = Some(about.to_owned());
        if let Some(response) = self.gives.get_mut(&self.last) {
            response.headers.insert(name.to_owned(), header.into());
        }
        self
    }

    /// The answer named last leads to the operation `id`: each pair is a path parameter of it and
    /// the member of this answer's body it comes from, or `path.NAME` for this request's own.
    #[must_use]
    pub fn leads_to(mut self, id: &str, parameters: &[(&str, &str)]) -> Self {
        let mut link = Link::builder().operation_id(id);
        for (name, from) in parameters {
            let expression = match from.strip_prefix("path.") {
                Some(own) => format!("$request.path.{own}"),
                None => format!("$response.body#/{from}"),
            };
            link = link.parameter(*name, expression);
        }
        if let Some(response) = self.gives.get_mut(&self.last) {
            response.links.insert(id.to_owned(), link.build().into());
        }
        self
    }

    /// It may fail in these ways.
    #[must_use]
    pub fn fails(mut self, failures: &[Failure]) -> Self {
        for failure in failures {
            if !self.failures.contains(failure) {
                self.failures.push(*failure);
            }
        }
        self
    }

    /// Whether it asks for no token.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether it takes a body.
    pub fn takes_body(&self) -> bool {
        !self.takes.is_empty()
    }

    /// Its path.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// Its method.
    pub fn method(&self) -> &'static str {
        match self.method {
            HttpMethod::Get => "GET",
            HttpMethod::Post => "POST",
            HttpMethod::Put => "PUT",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Delete => "DELETE",
            _ => "other",
        }
    }

    /// The names in braces of its path.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let parts = self.path.split('/');
        parts.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// The operation; `failed` refers to the answer for all failures of one status.
    pub(crate) fn operation(
        &self,
        tag: &str,
        parameters: &[(&str, &str)],
        scheme: &str,
        mut failed: impl FnMut(&[Failure]) -> Ref,
    ) -> Operation {
        let mut operation = OperationBuilder::new()
            .operation_id(Some(self.id))
            .summary(Some(self.summary))
            .description(self.description)
            .tag(tag);
        for name in self.names() {
            let about = parameters.iter().find(|(known, _)| *known == name);
            let mut parameter = Parameter::new(name);
            parameter.parameter_in = ParameterIn::Path;
            parameter.description = about.map(|(_, about)| (*about).to_owned());
            let text = ObjectBuilder::new()
                .schema_type(Type::String)
                .min_length(Some(1));
            parameter.schema = Some(text.into());
            operation = operation.parameter(parameter);
        }
        for parameter in &self.parameters {
            operation = operation.parameter(parameter.clone());
        }
        if !self.takes.is_empty() {
            let needed = if self.takes_needed {
                Required::True
            } else {
                Required::False
            };
            let mut body = RequestBodyBuilder::new().required(Some(needed));
            for (kind, example) in &self.takes {
                body = body.content(kind.kind(), kind.content(example.clone()));
            }
            operation = operation.request_body(Some(body.build()));
        }
        for (status, response) in &self.gives {
            operation = operation.response(status.to_string(), response.clone());
        }
        let mut by_status: BTreeMap<u16, Vec<Failure>> = BTreeMap::new();
        for failure in &self.failures {
            by_status.entry(failure.status).or_default().push(*failure);
        }
        for (status, failures) in by_status {
            operation = operation.response(status.to_string(), failed(&failures));
        }
        if self.open {
            operation.securities(Some([])).build()
        } else if self.in_dev {
            let none: [&str; 0] = [];
            let token = SecurityRequirement::new(scheme, none);
            operation
                .securities(Some([SecurityRequirement::default(), token]))
                .build()
        } else {
            let none: [&str; 0] = [];
            operation
                .security(SecurityRequirement::new(scheme, none))
                .build()
        }
    }
}

/// An answer with the headers that every one has.
pub(crate) fn answer(about: &str) -> Response {
    let mut builder = ResponseBuilder::new().description(about);
    for name in REQUEST_ID {
        builder = builder.header_ref(name, Ref::new(format!("#/components/headers/{name}")));
    }
    builder.build()
}
