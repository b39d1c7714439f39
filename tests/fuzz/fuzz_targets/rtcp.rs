//! A compound packet counts no more than it can hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openmic_media::rtcp;

fuzz_target!(|data: &[u8]| {
    let is = rtcp::is_rtcp(data);
    if let Ok(sum) = rtcp::parse(data) {
        let most = u32::try_from(data.len() / 4).expect("inputs are short");
        assert!(sum.sender_reports + sum.receiver_reports + sum.others <= most);
        assert!(sum.report_blocks <= most && sum.byes <= most);
        assert_eq!(sum.sender.is_some(), sum.sender_reports > 0);
        assert_eq!(is, data.len() >= 8);
    }
});
