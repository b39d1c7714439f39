//! JSON that is read and not kept: its texts are the body's own wherever they can be.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

/// A value, its texts borrowed from the body.
#[derive(Debug)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Borrowed<'a>),
}

/// An object of such values, its members in the order in which they came. No two have one name.
#[derive(Debug, Default)]
pub(crate) struct Borrowed<'a>(pub(crate) Vec<(Cow<'a, str>, Json<'a>)>);

/// A value, whether its texts are its own or another's.
pub(crate) trait Node: Sized {
    type Object: Members<Node = Self>;

    fn is_null(&self) -> bool;
    fn as_bool(&self) -> Option<bool>;
    fn as_number(&self) -> Option<&Number>;
    fn as_str(&self) -> Option<&str>;
    fn as_items(&self) -> Option<&[Self]>;
    fn as_members(&self) -> Option<&Self::Object>;
}

/// An object of such values.
pub(crate) trait Members {
    type Node: Node<Object = Self>;

    fn member(&self, name: &str) -> Option<&Self::Node>;

    /// All of them, in any order.
    fn members(&self) -> impl Iterator<Item = (&str, &Self::Node)>;
}

impl<'a> Node for Json<'a> {
    type Object = Borrowed<'a>;

    fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    fn as_number(&self) -> Option<&Number> {
        match self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }

    fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn as_items(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    fn as_members(&self) -> Option<&Borrowed<'a>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }
}

impl<'a> Borrowed<'a> {
    pub(crate) fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }
}

impl<'a> Members for Borrowed<'a> {
    type Node = Json<'a>;

    fn member(&self, name: &str) -> Option<&Json<'a>> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value)
    }

    fn members(&self) -> impl Iterator<Item = (&str, &Json<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl Node for Value {
    type Object = Map<String, Value>;

    fn is_null(&self) -> bool {
        self.is_null()
    }

    fn as_bool(&self) -> Option<bool> {
        self.as_bool()
    }

    fn as_number(&self) -> Option<&Number> {
        self.as_number()
    }

    fn as_str(&self) -> Option<&str> {
        self.as_str()
    }

    fn as_items(&self) -> Option<&[Self]> {
        self.as_array().map(Vec::as_slice)
    }

    fn as_members(&self) -> Option<&Map<String, Value>> {
        self.as_object()
    }
}

impl Members for Map<String, Value> {
    type Node = Value;

    fn member(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }

    fn members(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// The same with texts of its own, to be kept.
impl From<&Json<'_>> for Value {
    fn from(value: &Json<'_>) -> Self {
        match value {
            Json::Null => Self::Null,
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => Self::Number(number.clone()),
            Json::Text(text) => Self::String(text.as_ref().to_owned()),
            Json::Array(items) => items.iter().map(Self::from).collect(),
            Json::Object(object) => Self::Object(object.into()),
        }
    }
}

impl From<&Borrowed<'_>> for Map<String, Value> {
    fn from(object: &Borrowed<'_>) -> Self {
        let members = object.0.iter();
        members
            .map(|(name, value)| (name.as_ref().to_owned(), value.into()))
            .collect()
    }
}
