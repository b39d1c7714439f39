//! Bodies of what is passed on to Graph go on as they came; invitations and mutes of many are bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openmic_model::ParticipantId;
use openmic_wire::errand::Body;
use openmic_wire::invite::{InviteParticipants, MuteAll};

fuzz_target!(|data: &[u8]| {
    if let Ok(mut body) = Body::decode(data) {
        assert!(Body::decode(&body.encode()).expect("we wrote it") == body);
        body.set_callback_uri("https://engine.example/callbacks/k");
        let again = Body::decode(&body.encode()).expect("we wrote it");
        assert_eq!(
            again.callback_uri(),
            Some("https://engine.example/callbacks/k")
        );
    }
    if let Ok(invite) = InviteParticipants::decode(data) {
        assert!(!invite.invitations.is_empty() && invite.invitations.len() <= 100);
        let id = ParticipantId::parse("p").expect("an id");
        for one in &invite.invitations {
            assert_eq!(one.to_json(&id)["participantId"], "p");
        }
    }
    if let Ok(mute) = MuteAll::decode(data) {
        assert!(!mute.participants.is_empty());
    }
});
