use super::admitted::judge;
use super::table::render;
use super::*;

#[test]
fn an_answer_to_the_call_that_cannot_exist_is_judged() {
    let wrapped = r#"{"error":{"code":"UnknownError","message":"{\"errorCode\":\"7503\",\"message\":\"no\"}"}}"#;
    let coded = |code: &str| format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#);
    for (status, body, outcome, word) in [
        (404, coded("8522"), Outcome::Ok, "not found"),
        (404, coded("itemNotFound"), Outcome::Ok, "not found"),
        (403, coded("7503"), Outcome::Failed, "not registered"),
        (403, wrapped.to_owned(), Outcome::Failed, "not registered"),
        (403, coded("7504"), Outcome::Failed, "not permitted"),
        (403, coded("7505"), Outcome::Failed, "another tenant"),
        (403, coded("Forbidden"), Outcome::Failed, "refused"),
        (
            401,
            coded("InvalidAuthenticationToken"),
            Outcome::Failed,
            "not taken",
        ),
        (404, "<html>".to_owned(), Outcome::Failed, "not as Graph"),
        (503, String::new(), Outcome::Unknown, "trouble"),
        (200, "{}".to_owned(), Outcome::Unknown, "nobody expects"),
    ] {
        let found = judge(status, body.as_bytes());
        assert_eq!(found.outcome, outcome, "{status} {body}");
        assert!(found.seen.contains(word), "{found:?}");
        assert_eq!(
            found.next.is_some(),
            outcome == Outcome::Failed || status == 503,
            "{found:?}"
        );
    }
}

#[test]
fn the_table_is_plain_without_a_terminal() {
    let findings = [
        Finding::ok("one", "good"),
        Finding::failed("two", "bad").next("mend it"),
        Finding::unknown("three", "who knows"),
    ];
    let plain = render(&findings, false);
    assert!(!plain.contains('\x1b'));
    assert!(
        plain.contains("two                    FAILED   bad\n"),
        "{plain}"
    );
    assert!(plain.contains("→ mend it"), "{plain}");
    assert!(
        plain.contains("1 of 3 checks failed, warnings: 0, could not be told: 1"),
        "{plain}"
    );
    assert!(render(&findings, true).contains("\x1b[31mFAILED"));
}

#[test]
fn what_comes_from_outside_cannot_paint_the_terminal() {
    let text = shown(&format!("a\x1b[31mb\nc{}", "x".repeat(1000)));
    assert!(!text.contains(char::is_control), "{text}");
    assert_eq!(text.chars().count(), 300);
}
