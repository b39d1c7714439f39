//! The spellings of a Graph path. Sources: `contract.md` §1.0; `OData` 4.01 URL conventions §4.3.1
//! (keys in parentheses) and §4.8 (actions qualified by their namespace).

/// A Graph path as the table of routes spells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GraphPath {
    /// `/v1.0/communications/calls/...`
    pub(crate) canonical: String,
    /// The version the caller addressed, `v1.0` or `beta`; answers repeat it.
    pub(crate) version: &'static str,
}

/// Reads `/beta` beside `/v1.0`, `/app` beside `/communications`, `calls('{id}')` beside
/// `calls/{id}`, `microsoft.graph.unmute` beside `unmute`. `None` where it is no Graph path.
pub(crate) fn graph(path: &str) -> Option<GraphPath> {
    let (version, rest) = match path.split_once('/')? {
        ("", rest) => rest.split_once('/')?,
        _ => return None,
    };
    let version = match version {
        "v1.0" => "v1.0",
        "beta" => "beta",
        _ => return None,
    };
    // A base URL that ends in a slash gives two of them.
    let (root, rest) = rest.trim_start_matches('/').split_once('/')?;
    if root != "communications" && root != "app" {
        return None;
    }
    let mut canonical = String::from("/v1.0/communications");
    for segment in rest.trim_end_matches('/').split('/') {
        let plain = segment.strip_prefix("microsoft.graph.").unwrap_or(segment);
        canonical.push('/');
        if let Some((collection, key)) = keyed(plain) {
            canonical.push_str(&collection);
            canonical.push('/');
            canonical.push_str(&key);
        } else {
            canonical.push_str(plain);
        }
    }
    Some(GraphPath { canonical, version })
}

/// Takes `calls('x')` apart. Quotes and parentheses may be percent-encoded; a quote inside of the
/// key stands doubled (`OData` 4.01 ABNF, `SQUOTE-in-string`).
fn keyed(segment: &str) -> Option<(String, String)> {
    let marks = [("%28", "("), ("%29", ")"), ("%27", "'")];
    let plain = marks.iter().fold(segment.to_owned(), |text, (from, to)| {
        text.replace(from, to)
    });
    let (collection, rest) = plain.split_once("('")?;
    let key = rest.strip_suffix("')")?;
    let known = ["calls", "participants", "operations"].contains(&collection);
    let whole = !key.is_empty() && !key.replace("''", "").contains('\'');
    (known && whole).then(|| (collection.to_owned(), key.replace("''", "'")))
}

/// Whether every `%` begins an escape, and what is escaped is UTF-8 (RFC 3986 §2.1).
pub(crate) fn is_well_encoded(path: &str) -> bool {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else {
            return false;
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
            return false;
        };
        decoded.extend(u8::try_from(high * 16 + low));
        rest = tail;
    }
    std::str::from_utf8(&decoded).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_whole_and_utf8() {
        for good in ["", "/", "/a", "/%20", "/%C3%A9", "/a%2fb", "/%00", "/é"] {
            assert!(is_well_encoded(good), "{good}");
        }
        for bad in [
            "/%", "/%2", "/%zz", "/%2g", "/%ff", "/%C3", "/%C3%28", "/%%20",
        ] {
            assert!(!is_well_encoded(bad), "{bad}");
        }
    }

    #[test]
    fn all_spellings_of_an_unmute_are_one() {
        for (path, version) in [
            ("/v1.0/communications/calls/a/unmute", "v1.0"),
            ("/v1.0/communications/calls/a/unmute/", "v1.0"),
            (
                "/v1.0/communications/calls/a/microsoft.graph.unmute",
                "v1.0",
            ),
            ("/v1.0/app/calls/a/unmute", "v1.0"),
            (
                "/beta/communications/calls('a')/microsoft.graph.unmute",
                "beta",
            ),
            ("/beta/app/calls(%27a%27)/unmute", "beta"),
            ("/beta/app/calls%28%27a%27%29/unmute", "beta"),
            ("/v1.0//communications/calls/a/unmute//", "v1.0"),
        ] {
            let read = graph(path).unwrap();
            assert_eq!(
                read.canonical, "/v1.0/communications/calls/a/unmute",
                "{path}"
            );
            assert_eq!(read.version, version, "{path}");
        }
    }

    #[test]
    fn other_paths_are_not_touched() {
        for path in [
            "",
            "/",
            "/v1/calls",
            "/v2.0/communications/calls",
            "/v1.0/me",
            "/v1.0/me/calls",
            "/callbacks/abc",
            "v1.0/communications/calls",
        ] {
            assert_eq!(graph(path), None, "{path}");
        }
    }

    #[test]
    fn a_key_in_parentheses_needs_quotes_and_content() {
        for (path, canonical) in [
            (
                "/v1.0/app/calls('a')/participants('b')",
                "/calls/a/participants/b",
            ),
            (
                "/v1.0/app/calls('o''neil')/participants",
                "/calls/o'neil/participants",
            ),
            ("/v1.0/app/calls(%27o%27%27neil%27)", "/calls/o'neil"),
            ("/v1.0/app/calls('o'neil')", "/calls('o'neil')"),
            ("/v1.0/app/calls('''')", "/calls/'"),
            ("/v1.0/app/calls(''')", "/calls(''')"),
            ("/v1.0/app/calls('')", "/calls('')"),
            ("/v1.0/app/calls(a)", "/calls(a)"),
            ("/v1.0/app/people('a')", "/people('a')"),
        ] {
            let read = graph(path).unwrap();
            assert_eq!(
                read.canonical,
                format!("/v1.0/communications{canonical}"),
                "{path}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read_without_panic(rest in "\\PC{0,80}") {
            graph(&rest);
            let path = format!("/beta/app/{rest}");
            let read = graph(&path).unwrap();
            prop_assert!(read.canonical.starts_with("/v1.0/communications/"));
        }
    }
}
