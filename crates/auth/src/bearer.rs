use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Why a request carries no usable bearer token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BearerError {
    /// No `Authorization` header.
    #[error("no Authorization header: send `Authorization: Bearer <token>`")]
    Missing,
    /// Another scheme, or no token after the scheme.
    #[error("the Authorization header is no bearer token: send `Authorization: Bearer <token>`")]
    NotBearer,
    /// More than one header or token; which of them counts would be a guess.
    #[error("several Authorization values: send exactly one")]
    Several,
}

/// The one bearer token of a request, unchecked.
///
/// The scheme's case does not matter (RFC 9110 §11.1).
///
/// # Errors
/// [`BearerError`] when there is not exactly one.
pub fn bearer(headers: &HeaderMap) -> Result<&str, BearerError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(BearerError::Missing)?;
    if values.next().is_some() {
        return Err(BearerError::Several);
    }
    let value = std::str::from_utf8(value.as_bytes()).map_err(|_| BearerError::NotBearer)?;
    let (scheme, token) = value.split_once(' ').ok_or(BearerError::NotBearer)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(BearerError::NotBearer);
    }
    let token = token.trim_matches(' ');
    // Without a way out, so that the long token is looked through many bytes at a time.
    let odd = |byte: u8| u8::from(!byte.is_ascii_graphic()) | u8::from(byte == b',');
    if !token.is_empty() && token.bytes().fold(0, |any, byte| any | odd(byte)) == 0 {
        return Ok(token);
    }
    Err(if token.contains(',') && token.is_ascii() {
        BearerError::Several
    } else {
        BearerError::NotBearer
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<String, BearerError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn one_token_in_any_case_of_the_scheme() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c "] {
            assert_eq!(read(&[value.as_bytes()]).as_deref(), Ok("a.b.c"), "{value}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(read(&[]), Err(BearerError::Missing));
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearera.b.c",
            "Basic eDp5",
            "a.b.c",
            "Bearer\ta.b.c",
            "Bearer a b",
            "Bearer a\tb",
        ] {
            let got = read(&[value.as_bytes()]);
            assert_eq!(got, Err(BearerError::NotBearer), "{value:?}");
        }
        assert_eq!(read(&[b"Bearer \xff"]), Err(BearerError::NotBearer));
        assert_eq!(read(&[b"Bearer \xff,"]), Err(BearerError::NotBearer));
        assert_eq!(
            read(&["Bearer \u{e4},".as_bytes()]),
            Err(BearerError::NotBearer)
        );
        assert_eq!(read(&[b"Bearer a\tb,c"]), Err(BearerError::Several));
        assert_eq!(read(&[b"Bearer a, Bearer b"]), Err(BearerError::Several));
        assert_eq!(read(&[b"Bearer a", b"Bearer a"]), Err(BearerError::Several));
    }
}
