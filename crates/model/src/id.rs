use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest id taken from outside, in bytes. Graph's are GUIDs of 36; some call ids are longer.
const MAX_ID: usize = 256;

/// Why a string is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Nothing was given.
    #[error("the id is empty")]
    Empty,
    /// Longer than the limit.
    #[error("the id is longer than {MAX_ID} bytes")]
    TooLong,
    /// A character that cannot stand in one path segment as it is.
    #[error("the id holds a character other than letters, digits and -_.:@~!$'()*+,=")]
    BadCharacter,
    /// A client context over Graph's limit.
    #[error("clientContext is longer than {} characters", ClientContext::MAX_UTF16)]
    ContextTooLong,
}

/// Which bytes an id may have.
const FITS: [bool; 256] = {
    let mut fits = [false; 256];
    let signs = b"-_.:@~!$'()*+,=";
    let mut at = 0;
    while at < signs.len() {
        fits[signs[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0;
    while byte < 128_u8 {
        fits[byte as usize] |= byte.is_ascii_alphanumeric();
        byte += 1;
    }
    fits
};

/// Graph prints one GUID in several ways (upper case, no dashes); one spelling is kept inside, so
/// that ids compare. What is no GUID is opaque and kept as it is.
fn canonical(raw: &str) -> Result<Arc<str>, IdError> {
    if let Some(text) = as_guid(raw) {
        return Ok(str::from_utf8(&text).expect("digits and dashes").into());
    }
    if raw.is_empty() {
        return Err(IdError::Empty);
    }
    if raw.len() > MAX_ID {
        return Err(IdError::TooLong);
    }
    if !raw.bytes().all(|byte| FITS[usize::from(byte)]) || raw == "." || raw == ".." {
        return Err(IdError::BadCharacter);
    }
    Ok(raw.into())
}

/// The canonical spelling of what is a GUID.
fn as_guid(raw: &str) -> Option<[u8; 36]> {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let mut text = match raw.len() {
        36 => raw.as_bytes().try_into().ok()?,
        32 => {
            let mut text = [b'-'; 36];
            let mut rest = raw.bytes();
            for (at, digit) in text.iter_mut().enumerate() {
                if !DASHES.contains(&at) {
                    *digit = rest.next()?;
                }
            }
            text
        }
        _ => return None,
    };
    // Without a way out in between, so that many digits are looked at at a time.
    let mut digits: [u8; 36] = text;
    for at in DASHES {
        digits[at] = b'0';
    }
    let odd = digits.iter().filter(|digit| !digit.is_ascii_hexdigit());
    if odd.count() > 0 || DASHES.iter().any(|at| text[*at] != b'-') {
        return None;
    }
    text.make_ascii_lowercase();
    Some(text)
}

/// The canonical spelling of a GUID.
pub(crate) fn guid(bits: u128) -> [u8; 36] {
    /// Where each byte's two digits stand, between the dashes.
    const AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let digit = |four: u8| b"0123456789abcdef"[usize::from(four)];
    let mut text = [b'-'; 36];
    for (byte, at) in bits.to_be_bytes().into_iter().zip(AT) {
        text[at] = digit(byte >> 4);
        text[at + 1] = digit(byte & 15);
    }
    text
}

/// The bytes of a GUID in its canonical spelling.
pub(crate) fn guid_bytes(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut guid = [0; 16];
    let mut digits = 0;
    for (at, byte) in text.iter().enumerate() {
        let digit = match byte {
            b'-' if matches!(at, 8 | 13 | 18 | 23) => continue,
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        let byte = guid.get_mut(digits / 2)?;
        *byte = *byte << 4 | digit;
        digits += 1;
    }
    (digits == 32).then_some(guid)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes an id as it came from outside; a GUID in any spelling becomes lower case with
            /// dashes.
            ///
            /// # Errors
            /// [`IdError`] when it is empty, over 256 bytes, or not fit for one path segment.
            pub fn parse(raw: &str) -> Result<Self, IdError> {
                canonical(raw).map(Self)
            }

            /// The GUID of these 128 bits.
            pub fn of_guid(bits: u128) -> Self {
                let text = guid(bits);
                Self(str::from_utf8(&text).expect("digits and dashes").into())
            }

            /// Whether it is the GUID of these 128 bits.
            pub fn is_guid(&self, bits: u128) -> bool {
                self.0.as_bytes() == guid(bits)
            }

            /// The 128 bits of a GUID; `None` of any other id.
            pub fn to_guid(&self) -> Option<u128> {
                guid_bytes(&self.0).map(u128::from_be_bytes)
            }

            /// The canonical spelling.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(raw: &str) -> Result<Self, IdError> {
                Self::parse(raw)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let raw = std::borrow::Cow::<str>::deserialize(from)?;
                Self::parse(&raw).map_err(de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// A call as Graph names it: one bot's leg in a meeting.
    CallId
}
id! {
    /// One entry of a roster. The bot's own is `call.myParticipantId`.
    ParticipantId
}
id! {
    /// Graph's record of an asynchronous action, or the engine's own twin of it.
    OperationId
}
id! {
    /// The tenant a call or token belongs to.
    TenantId
}
id! {
    /// An application (bot) registration.
    AppId
}

/// The text a bot attaches to an action to recognise its operation.
///
/// At most [`ClientContext::MAX_UTF16`] UTF-16 units, echoed byte for byte. Source: Graph
/// `call: unmute`, parameter `clientContext`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientContext(Arc<str>);

impl ClientContext {
    /// Graph's limit, in UTF-16 code units.
    pub const MAX_UTF16: usize = 256;

    /// Takes any text within the limit, the empty one too.
    ///
    /// # Errors
    /// [`IdError::ContextTooLong`] over 256 UTF-16 units.
    pub fn parse(raw: &str) -> Result<Self, IdError> {
        // No character has more UTF-16 units than bytes.
        if raw.len() > Self::MAX_UTF16 && raw.encode_utf16().count() > Self::MAX_UTF16 {
            return Err(IdError::ContextTooLong);
        }
        Ok(Self(raw.into()))
    }

    /// The text as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for ClientContext {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ClientContext {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = std::borrow::Cow::<str>::deserialize(from)?;
        Self::parse(&raw).map_err(de::Error::custom)
    }
}

impl fmt::Display for ClientContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClientContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientContext({:?})", self.0)
    }
}

/// One accepted command, 128 random bits chosen by whoever accepts it.
///
/// It carries no tenant or user data, because Graph logs the client contexts made of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(
    /// In network order: whatever holds one is not laid out for the alignment of a number.
    [u8; 16],
);

/// RFC 4648 base32 without padding, in lower case: 26 characters for 128 bits.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl CommandId {
    /// Wraps 128 random bits.
    pub const fn new(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }

    /// The bits.
    pub const fn bits(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// The client context of attempt `attempt` (from 1) of this command: `u1.<base32>.<attempt>`.
    ///
    /// Never the same twice, because what Graph does with a repeated one is undocumented.
    pub fn context(self, attempt: u8) -> ClientContext {
        let text = self.base32();
        let text = std::str::from_utf8(&text).expect("letters and digits");
        ClientContext(["u1.", text, ".", &attempt.to_string()].concat().into())
    }

    /// Reads back what [`CommandId::context`] wrote: the command and the attempt.
    pub fn from_context(context: &ClientContext) -> Option<(Self, u8)> {
        let rest = context.as_str().strip_prefix("u1.")?;
        let (text, attempt) = rest.split_once('.')?;
        Some((Self::from_base32(text)?, attempt.parse().ok()?))
    }

    fn base32(self) -> [u8; 26] {
        let mut text = [0; 26];
        let bits = self.bits();
        for (at, digit) in text.iter_mut().rev().enumerate() {
            *digit = BASE32[((bits >> (at * 5)) & 31) as usize];
        }
        text
    }

    fn from_base32(text: &str) -> Option<Self> {
        if text.len() != 26 {
            return None;
        }
        let mut bits: u128 = 0;
        for (at, byte) in text.bytes().enumerate() {
            let digit = match byte {
                b'a'..=b'z' => byte - b'a',
                b'2'..=b'7' => byte - b'2' + 26,
                _ => return None,
            };
            if at == 0 && digit > 7 {
                return None;
            }
            bits = (bits << 5) | u128::from(digit);
        }
        Some(Self::new(bits))
    }
}

/// The 16 bytes of a [`CommandId`], borrowed or not.
struct Bits;

impl de::Visitor<'_> for Bits {
    type Value = [u8; 16];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("16 bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<[u8; 16], E> {
        let bits = bytes.try_into();
        bits.map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

/// As text for people, as bits where nobody reads them.
impl Serialize for CommandId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(self)
        } else {
            // Half the work of a number of this length in most forms, and not longer.
            to.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for CommandId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if !from.is_human_readable() {
            return from.deserialize_bytes(Bits).map(Self);
        }
        let raw = std::borrow::Cow::<str>::deserialize(from)?;
        Self::from_base32(&raw).ok_or_else(|| de::Error::custom("no command id"))
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.base32()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_in_any_spelling_is_the_same_id() {
        let dashed = CallId::parse("0c1f5e00-ABCD-4000-8000-000000000001").unwrap();
        let bare = CallId::parse("0C1F5E00ABCD40008000000000000001").unwrap();
        assert_eq!(dashed, bare);
        assert_eq!(dashed.as_str(), "0c1f5e00-abcd-4000-8000-000000000001");
    }

    #[test]
    fn the_id_of_a_guid_s_bits_is_that_of_its_text() {
        let bits = 0x0c1f_5e00_abcd_4000_8000_0000_0000_00ff;
        let id = CallId::parse("0c1f5e00-abcd-4000-8000-0000000000ff").unwrap();
        assert_eq!(CallId::of_guid(bits), id);
        assert!(id.is_guid(bits));
        assert!(!id.is_guid(bits + 1));
        assert_eq!(id.to_guid(), Some(bits));
        for other in ["00000000-0000-4000-8000-00000000000g", "op-1"] {
            assert_eq!(CallId::parse(other).unwrap().to_guid(), None);
        }
    }

    #[test]
    fn what_is_no_guid_stays_as_it_is() {
        let id = ParticipantId::parse("8:Live:Echo_123").unwrap();
        assert_eq!(id.as_str(), "8:Live:Echo_123");
        for near in [
            "0C1F5E00-ABCD-4000-8000-00000000000G",
            "0C1F5E00-ABCD-4000-80000-00000000001",
            "0C1F5E00-ABCD-4000-8000-0000000001-2",
            "0C1F5E00ABCD4000800000000000000-",
            "0C1F5E00ABCD400080000000000000001",
            "0C1F5E00-ABCD-4000-8000-00000000001",
        ] {
            assert_eq!(CallId::parse(near).unwrap().as_str(), near);
        }
    }

    #[test]
    fn ids_that_cannot_stand_in_a_path_are_refused() {
        assert_eq!(CallId::parse(""), Err(IdError::Empty));
        assert_eq!(CallId::parse(".."), Err(IdError::BadCharacter));
        assert_eq!(CallId::parse("a/b"), Err(IdError::BadCharacter));
        assert_eq!(CallId::parse("a?b"), Err(IdError::BadCharacter));
        assert_eq!(CallId::parse("é"), Err(IdError::BadCharacter));
        assert_eq!(CallId::parse(&"a".repeat(257)), Err(IdError::TooLong));
    }

    #[test]
    fn the_context_limit_counts_utf16_units() {
        assert!(ClientContext::parse(&"a".repeat(256)).is_ok());
        assert_eq!(
            ClientContext::parse(&"a".repeat(257)),
            Err(IdError::ContextTooLong)
        );
        assert!(ClientContext::parse(&"😀".repeat(128)).is_ok());
        assert_eq!(
            ClientContext::parse(&"😀".repeat(129)),
            Err(IdError::ContextTooLong)
        );
    }

    #[test]
    fn a_context_names_its_command_and_attempt() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let id = CommandId::new(bits);
            let context = id.context(3);
            assert_eq!(CommandId::from_context(&context), Some((id, 3)));
            assert!(context.as_str().len() <= 64);
        }
        for bad in [
            "",
            "u1.",
            "u1.abc.1",
            "call-id",
            "u1.zzzzzzzzzzzzzzzzzzzzzzzzzz.1",
        ] {
            let context = ClientContext::parse(bad).unwrap();
            assert_eq!(CommandId::from_context(&context), None, "{bad}");
        }
    }
}
