//! JSON of strangers: no object names a member twice, and nothing nests much deeper than Graph's
//! own. How long an array may be depends on its name, so that is looked at where it is read.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting; a roster in a notification has eight.
const MAX_DEPTH: usize = 32;

/// Parses a whole document.
///
/// # Errors
/// When it is no JSON, or against one of the rules above; the message says which.
pub(crate) fn value(body: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Level(MAX_DEPTH).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// A value that may hold so many levels of objects and arrays.
#[derive(Clone, Copy)]
struct Level(usize);

impl Level {
    fn below<E: Error>(self) -> Result<Self, E> {
        let below = self.0.checked_sub(1);
        below.map(Self).ok_or_else(|| {
            E::custom(format_args!(
                "objects and arrays nest deeper than {MAX_DEPTH} levels"
            ))
        })
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(below)?;
            if object.insert(name, value).is_some() {
                // Which of them the sender meant would be a guess. The name is theirs, and not
                // repeated here.
                return Err(A::Error::custom("an object names a member twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(open: &str, middle: &str, close: &str, depth: usize) -> String {
        format!("{}{middle}{}", open.repeat(depth), close.repeat(depth))
    }

    #[test]
    fn depth_is_limited_to_the_level() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            assert!(value(nested(open, "1", close, MAX_DEPTH).as_bytes()).is_ok());
            let deep = value(nested(open, "1", close, MAX_DEPTH + 1).as_bytes());
            let message = deep.unwrap_err().to_string();
            assert!(message.contains("deeper than 32 levels"), "{message}");
        }
        assert!(value("[".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn a_member_named_twice_is_refused_at_every_level() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":[{"a":null,"c":0,"a":null}]}"#,
        ] {
            let message = value(text.as_bytes()).unwrap_err().to_string();
            assert!(message.contains("twice"), "{message}");
        }
        assert!(value(br#"{"a":{"a":1},"b":{"a":1},"A":1}"#).is_ok());
    }

    #[test]
    fn what_is_no_json_is_none() {
        for text in [
            &b""[..],
            b"{",
            b"{}{}",
            b"{} x",
            b"{\"a\":\"\0\"}",
            b"\0",
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\\ud800\"}",
            b"{'a':1}",
            b"{\"a\":NaN}",
            b"{\"a\":1e999}",
            b"{\"a\":01}",
            b"{\"a\":1,}",
            b"// {}",
        ] {
            assert!(value(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn it_reads_what_serde_json_reads(text in r#"[\[\]{}",:0-9a-e.\-ntrufls ]{0,40}"#) {
            let plain = serde_json::from_str::<Value>(&text);
            match value(text.as_bytes()) {
                Ok(strict) => prop_assert_eq!(strict, plain.unwrap()),
                Err(error) => prop_assert!(plain.is_err() || error.to_string().contains("twice")),
            }
        }
    }
}
