use http::Uri;

/// Whether path and query are percent-encoded UTF-8 (RFC 3986, 2.1). Routers pass on what is not,
/// or answer in their own words; refuse it with 400 first.
pub fn is_well_encoded(uri: &Uri) -> bool {
    is_utf8(uri.path()) && uri.query().is_none_or(is_utf8)
}

fn is_utf8(text: &str) -> bool {
    if !text.contains('%') {
        return true;
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            decoded.push(*first);
            rest = after;
            continue;
        }
        let Some((digits, after)) = after.split_first_chunk::<2>() else {
            return false;
        };
        let value = |digit: u8| char::from(digit).to_digit(16);
        let (Some(high), Some(low)) = (value(digits[0]), value(digits[1])) else {
            return false;
        };
        decoded.extend(u8::try_from(high * 16 + low));
        rest = after;
    }
    std::str::from_utf8(&decoded).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_decoded_is_told() {
        for (uri, well) in [
            ("/", true),
            ("/a%20b?c=%C3%A4+d", true),
            ("/calls('%27')", true),
            ("/%", false),
            ("/%2", false),
            ("/%zz", false),
            ("/a%2", false),
            ("/%C3", false),
            ("/%ff%fe", false),
            ("/a?b=%", false),
            ("/a?b=%C3%28", false),
            ("/a?b=%+1", false),
        ] {
            let parsed: Uri = uri.parse().unwrap();
            assert_eq!(is_well_encoded(&parsed), well, "{uri}");
        }
    }
}
