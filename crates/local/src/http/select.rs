//! `$select`: which members of an answer the caller wants. Source: `OData` 4.01 URL conventions
//! §5.1.4. Whatever else a query asks for is left undone, which no answer here depends on.

use serde_json::{Map, Value};
use url::form_urlencoded;

/// Keeps of an answer what `query` selects; all of it where it selects nothing or everything.
pub(super) fn select(body: Vec<u8>, query: Option<&str>) -> Vec<u8> {
    let Some(wanted) = wanted(query.unwrap_or_default()) else {
        return body;
    };
    let Ok(Value::Object(mut object)) = serde_json::from_slice(&body) else {
        return body;
    };
    match object.get_mut("value") {
        Some(Value::Array(items)) => {
            let objects = items.iter_mut().filter_map(Value::as_object_mut);
            objects.for_each(|item| keep(item, &wanted));
        }
        _ => keep(&mut object, &wanted),
    }
    serde_json::to_vec(&object).unwrap_or(body)
}

fn wanted(query: &str) -> Option<Vec<String>> {
    let (_, listed) =
        form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "$select")?;
    let names = listed.split(',').filter_map(|path| {
        // Of a path into a member the whole member is kept.
        let name = path.split('/').next().unwrap_or_default().trim();
        (!name.is_empty()).then(|| name.to_owned())
    });
    let names: Vec<_> = names.collect();
    let all = names.is_empty() || names.iter().any(|name| name == "*");
    (!all).then_some(names)
}

fn keep(object: &mut Map<String, Value>, wanted: &[String]) {
    object.retain(|name, _| {
        name.starts_with("@odata.")
            || wanted
                .iter()
                .any(|wanted| wanted.eq_ignore_ascii_case(name))
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(query: &str, body: &Value) -> Value {
        let body = select(body.to_string().into_bytes(), Some(query));
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn what_is_selected_stays() {
        let call = json!({"@odata.type": "t", "id": "c", "state": "established", "subject": null});
        for query in [
            "$select=id,State",
            "%24select=id%2Cstate",
            "x=1&$select=%20id,state/x",
        ] {
            let expected = json!({"@odata.type": "t", "id": "c", "state": "established"});
            assert_eq!(read(query, &call), expected, "{query}");
        }
        for query in [
            "",
            "$select=",
            "$select=*",
            "$select=,",
            "select=id",
            "$expand=operations",
            "%zz&%",
        ] {
            assert_eq!(read(query, &call), call, "{query}");
        }
        assert_eq!(read("$select=nothing", &call), json!({"@odata.type": "t"}));
    }

    #[test]
    fn of_a_list_each_entry_is_cut() {
        let list = json!({"@odata.context": "c", "value": [{"id": 1, "a": 2}, {"a": 3}, 4]});
        let expected = json!({"@odata.context": "c", "value": [{"id": 1}, {}, 4]});
        assert_eq!(read("$select=id&$top=1", &list), expected);
    }
}
