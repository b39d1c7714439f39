use std::borrow::Cow;

/// The one spelling of a Graph path that is routed, for all that Graph takes: `/beta` beside
/// `/v1.0`, `/app` beside `/communications`, `calls('{id}')` beside `calls/{id}`, and
/// `microsoft.graph.unmute` beside `unmute`. `None` where the path is no Graph path.
///
/// Sources: `contract.md` §1.0; `OData` 4.01 URL conventions §4.3.1 (keys) and §4.8 (bound actions).
pub(crate) fn canonical(path: &str) -> Option<String> {
    let rest = path
        .strip_prefix("/v1.0/")
        .or_else(|| path.strip_prefix("/beta/"))?;
    let rest = rest
        .strip_prefix("communications/")
        .or_else(|| rest.strip_prefix("app/"))?;
    let mut out = String::with_capacity(path.len() + 16);
    out.push_str("/v1.0/communications");
    for segment in rest.strip_suffix('/').unwrap_or(rest).split('/') {
        let segment = segment.strip_prefix("microsoft.graph.").unwrap_or(segment);
        let (name, key) = keyed(segment).map_or((segment, None), |(name, key)| (name, Some(key)));
        out.push('/');
        out.push_str(name);
        if let Some(key) = key {
            out.push('/');
            out.push_str(&key);
        }
    }
    Some(out)
}

/// Takes `calls('x')` apart. Clients may encode the quotes.
fn keyed(segment: &str) -> Option<(&str, Cow<'_, str>)> {
    let (name, key) = segment.split_once('(')?;
    let key = key.strip_suffix(')')?;
    if !matches!(name, "calls" | "participants" | "operations") {
        return None;
    }
    let key = match key
        .strip_prefix('\'')
        .and_then(|key| key.strip_suffix('\''))
    {
        Some(key) => Cow::Borrowed(key),
        None => Cow::Borrowed(key.strip_prefix("%27")?.strip_suffix("%27")?),
    };
    (!key.is_empty()).then_some((name, key))
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
        assert_eq!(
            canonical("/v1.0/communications/calls()").as_deref(),
            Some("/v1.0/communications/calls()")
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
