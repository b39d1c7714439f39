use proptest::prelude::*;

use super::*;

#[test]
fn no_body_and_no_context_are_the_same() {
    for body in ["", "{}", "{\"clientContext\":null}", "{\"other\":1}"] {
        assert_eq!(decode(body.as_bytes()).unwrap(), None, "{body}");
    }
}

#[test]
fn a_context_is_echoed_byte_for_byte() {
    let text = "d45324c1-fcb5-430a-902c-f20af696537c \u{e9}\u{1f600}\"\\";
    let context = ClientContext::parse(text).unwrap();
    assert_eq!(decode(&encode(&context)).unwrap(), Some(context));
}

#[test]
fn what_is_wrong_is_said() {
    let of = |body: &str| decode(body.as_bytes()).unwrap_err();
    // Blank is not nothing: it is no JSON.
    for none in ["{", "\n", " "] {
        assert!(matches!(of(none), ActionError::Json(_)));
    }
    assert!(matches!(of("[]"), ActionError::NotAnObject));
    assert!(matches!(of("null"), ActionError::NotAnObject));
    assert!(matches!(
        of("{\"clientContext\":7}"),
        ActionError::NotAString
    ));
    let long = format!("{{\"clientContext\":\"{}\"}}", "x".repeat(257));
    let error = of(&long);
    assert!(matches!(error, ActionError::Context(_)));
    assert!(
        error.to_string().contains("at most 256 characters"),
        "{error}"
    );
    let limit = format!("{{\"clientContext\":\"{}\"}}", "\u{1f600}".repeat(128));
    assert!(decode(limit.as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _context = decode(&body);
    }
}
