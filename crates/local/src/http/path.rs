/// The one spelling of a Graph path that is routed, for all that Graph takes: `/beta` beside
/// `/v1.0`, `/app` beside `/communications`, `calls('{id}')` beside `calls/{id}`, and
/// `microsoft.graph.unmute` beside `unmute`. `None` where the path is no Graph path.
///
/// Sources: `contract.md` §1.0; `OData` 4.01 URL conventions §4.3.1 (keys) and §4.8 (bound actions).
pub(crate) fn canonical(path: &str) -> Option<String> {
    let rest = path
        .strip_prefix("/v1.0/")
        .or_else(|| path.strip_prefix("/beta/"))?;
    // A base URL that ends in a slash doubles it.
    let rest = rest.trim_start_matches('/');
    let rest = rest
        .strip_prefix("communications/")
        .or_else(|| rest.strip_prefix("app/"))?;
    let mut out = String::with_capacity(path.len() + 16);
    out.push_str("/v1.0/communications");
    for segment in rest.trim_end_matches('/').split('/') {
        let segment = segment.strip_prefix("microsoft.graph.").unwrap_or(segment);
        out.push('/');
        match keyed(segment) {
            None => out.push_str(segment),
            Some((name, key)) => {
                out.push_str(name);
                out.push('/');
                out.push_str(&key);
            }
        }
    }
    Some(out)
}

const COLLECTIONS: [&str; 3] = ["calls", "participants", "operations"];

/// Takes `calls('x')` apart. Clients may percent-encode quotes and parentheses, and write a quote
/// that belongs to the key twice.
fn keyed(segment: &str) -> Option<(&'static str, String)> {
    let name = COLLECTIONS.into_iter().find(|n| segment.starts_with(n))?;
    let rest = mark(&segment[name.len()..], "(", "%28")?;
    let mut rest = mark(rest, "'", "%27")?;
    let mut key = String::new();
    loop {
        if let Some(after) = mark(rest, "'", "%27") {
            if let Some(again) = mark(after, "'", "%27") {
                key.push('\'');
                rest = again;
                continue;
            }
            let end = mark(after, ")", "%29")?;
            return (end.is_empty() && !key.is_empty()).then_some((name, key));
        }
        let next = rest.chars().next()?;
        key.push(next);
        rest = &rest[next.len_utf8()..];
    }
}

/// What follows a mark, be it plain or encoded.
fn mark<'a>(text: &'a str, plain: &str, encoded: &str) -> Option<&'a str> {
    text.strip_prefix(plain)
        .or_else(|| text.strip_prefix(encoded))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_leads_to_one() {
        for path in [
            "/v1.0/communications/calls/a/unmute",
            "/beta/communications/calls/a/unmute",
            "/v1.0/app/calls/a/unmute",
            "/v1.0/communications/calls/a/microsoft.graph.unmute",
            "/v1.0/communications/calls('a')/microsoft.graph.unmute",
            "/beta/app/calls(%27a%27)/unmute/",
            "/beta/app/calls%28%27a%27%29/microsoft.graph.unmute//",
            "/v1.0//communications/calls%28'a'%29/unmute",
        ] {
            assert_eq!(
                canonical(path).as_deref(),
                Some("/v1.0/communications/calls/a/unmute"),
                "{path}"
            );
        }
        assert_eq!(
            canonical("/v1.0/app/calls('a')/participants('b')/mute").as_deref(),
            Some("/v1.0/communications/calls/a/participants/b/mute")
        );
    }

    #[test]
    fn what_is_not_graph_is_left_alone() {
        for path in [
            "/",
            "/lab/v1/meetings/x/participants",
            "/v1/keys",
            "/v1.0/me",
        ] {
            assert_eq!(canonical(path), None, "{path}");
        }
        for odd in [
            "calls()",
            "calls('')",
            "calls('a'b')",
            "calls('a",
            "calls('a')b",
            "callsx('a')",
        ] {
            let path = format!("/v1.0/communications/{odd}");
            assert_eq!(canonical(&path).as_deref(), Some(&*path));
        }
        assert_eq!(
            canonical("/beta/app/calls('it''s')/operations(%27%27%27%27)").as_deref(),
            Some("/v1.0/communications/calls/it's/operations/'")
        );
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(rest in "[ -~]{0,60}") {
            let first = canonical(&format!("/beta/app/{rest}"));
            prop_assert!(first.is_some());
        }
    }
}
