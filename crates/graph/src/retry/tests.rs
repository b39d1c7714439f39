use proptest::prelude::*;

use super::*;

fn read(raw: &str) -> Option<Duration> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    retry_after(raw, None, now)
}

#[test]
fn every_form_is_read() {
    for (raw, expected) in [
        ("0", Some(0.0)),
        ("120", Some(120.0)),
        (" 2.128 ", Some(2.128)),
        // 784111777 is 1994-11-06 08:49:37 UTC
        ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10.0)),
        ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10.0)),
        ("Sun Nov  6 08:49:47 1994", Some(10.0)),
        ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0.0)),
        ("99999999999", Some(86_400.0)),
        ("-1", None),
        ("NaN", None),
        ("inf", None),
        ("1e400", None),
        ("soon", None),
        ("", None),
    ] {
        assert_eq!(read(raw), expected.map(Duration::from_secs_f64), "{raw}");
    }
}

#[test]
fn a_date_counts_from_the_answers_own_clock() {
    let skewed = SystemTime::UNIX_EPOCH;
    let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
    let pause = retry_after("Sun, 06 Nov 1994 08:49:40 GMT", date, skewed);
    assert_eq!(pause, Some(Duration::from_secs(3)));
}

proptest! {
    #[test]
    fn any_text_is_read_within_bounds(raw in "\\PC{0,40}", number in any::<f64>()) {
        for text in [raw, number.to_string()] {
            prop_assert!(read(&text).is_none_or(|pause| pause <= LONGEST));
        }
    }
}
