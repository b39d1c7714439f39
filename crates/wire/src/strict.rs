//! JSON of strangers: no object names a member twice, and nothing nests much deeper than Graph's
//! own. How long an array may be depends on its name, so that is looked at where it is read.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::tree::{Borrowed, Json};

/// Deepest nesting; a roster in a notification has eight.
const MAX_DEPTH: usize = 32;

/// Members of most of Graph's objects.
const USUAL: usize = 8;

/// Members up to which each new name is compared with all; Graph's objects have fewer.
const FEW: usize = 32;

/// Parses a whole document.
///
/// # Errors
/// When it is no JSON, or against one of the rules above; the message says which.
pub(crate) fn value(body: &[u8]) -> Result<Json<'_>, serde_json::Error> {
    match std::str::from_utf8(body) {
        // As a whole it is checked more cheaply than text by text.
        Ok(text) => whole(serde_json::Deserializer::from_str(text)),
        // Says where.
        Err(_) => whole(serde_json::Deserializer::from_slice(body)),
    }
}

fn whole<'de, R: serde_json::de::Read<'de>>(
    mut deserializer: serde_json::Deserializer<R>,
) -> Result<Json<'de>, serde_json::Error> {
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
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        let below = self.below()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let below = self.below()?;
        let mut object = Vec::new();
        let mut many = None;
        while let Some(name) = members.next_key_seed(Name)? {
            let value = members.next_value_seed(below)?;
            if is_known(&object, &mut many, &name) {
                // Which of them the sender meant would be a guess. The name is theirs, and not
                // repeated here.
                return Err(A::Error::custom("an object names a member twice"));
            }
            if object.is_empty() {
                object = Vec::with_capacity(USUAL);
            }
            object.push((name, value));
        }
        Ok(Json::Object(Borrowed(object)))
    }
}

/// Whether `object` has that name; `many` are its names once they are too many to look through.
fn is_known(
    object: &[(Cow<'_, str>, Json<'_>)],
    many: &mut Option<BTreeSet<String>>,
    name: &str,
) -> bool {
    if object.len() < FEW {
        return object.iter().any(|(known, _)| known == name);
    }
    let names = || object.iter().map(|(known, _)| known.as_ref().to_owned());
    let many = many.get_or_insert_with(|| names().collect());
    !many.insert(name.to_owned())
}

/// The name of a member.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn nested(open: &str, middle: &str, close: &str, depth: usize) -> String {
        format!("{}{middle}{}", open.repeat(depth), close.repeat(depth))
    }

    #[test]
    fn depth_is_limited_to_the_level() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            assert!(value(nested(open, "1", close, MAX_DEPTH).as_bytes()).is_ok());
            let deep = nested(open, "1", close, MAX_DEPTH + 1);
            let message = value(deep.as_bytes()).unwrap_err().to_string();
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
    fn a_member_named_twice_is_refused_wherever_the_two_stand_among_many() {
        let many = 3 * FEW;
        let named = |at: usize, name: usize| {
            let names = (0..many).map(|nth| if nth == at { name } else { nth });
            let members: Vec<_> = names.map(|name| format!("\"{name}\":{name}")).collect();
            format!("{{{}}}", members.join(","))
        };
        let text = named(0, 0);
        let plain: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(Value::from(&value(text.as_bytes()).unwrap()), plain);
        for at in 1..many {
            for first in [0, at / 2, at - 1] {
                let message = value(named(at, first).as_bytes()).unwrap_err().to_string();
                assert!(
                    message.contains("twice"),
                    "{first} again at {at}: {message}"
                );
            }
        }
    }

    #[test]
    fn texts_are_the_bodys_own_unless_they_are_spelt_with_escapes() {
        let Ok(Json::Object(object)) = value(br#"{"a":"plain","\u0062":"a\n"}"#) else {
            panic!("no object");
        };
        let [(a, plain), (b, escaped)] = &object.0[..] else {
            panic!("{object:?}");
        };
        assert!(matches!(a, Cow::Borrowed("a")));
        assert!(matches!(plain, Json::Text(Cow::Borrowed("plain"))));
        assert_eq!(b, "b");
        assert!(matches!(escaped, Json::Text(text) if text == "a\n"));
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
                Ok(strict) => prop_assert_eq!(Value::from(&strict), plain.unwrap()),
                Err(error) => prop_assert!(plain.is_err() || error.to_string().contains("twice")),
            }
        }
    }
}
