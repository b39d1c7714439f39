use proptest::prelude::*;

use super::*;

fn call() -> CallId {
    CallId::parse("c1").unwrap()
}

#[test]
fn every_form_of_a_path_is_read() {
    let participant = ParticipantId::parse("p1").unwrap();
    let operation = OperationId::parse("o1").unwrap();
    for (raw, expected) in [
        ("/communications/calls/c1", Resource::Call(call())),
        ("/app/calls/c1/", Resource::Call(call())),
        ("communications/calls('c1')", Resource::Call(call())),
        ("/communications/calls/c1?x=y#z", Resource::Call(call())),
        (
            "https://h:1/v1.0/communications/calls/c1",
            Resource::Call(call()),
        ),
        (
            "/beta/app/Calls('c1')/Participants",
            Resource::Participants(call()),
        ),
        (
            "/communications/calls/c1/participants",
            Resource::Participants(call()),
        ),
        (
            "/communications/calls/c1/participants/p1",
            Resource::Participant(call(), participant.clone()),
        ),
        (
            "/communications/calls/c1/participants('p%31')",
            Resource::Participant(call(), participant),
        ),
        (
            "/communications/calls/c1/operations/o1",
            Resource::Operation(call(), Some(operation)),
        ),
        (
            "/communications/calls/c1/operations",
            Resource::Operation(call(), None),
        ),
        (
            "/communications/calls/c1/operations/participants",
            Resource::Operation(call(), None),
        ),
        (
            "/communications/calls/c1/audioRoutingGroups",
            Resource::OfCall(call()),
        ),
        (
            "/communications/calls/c1/participants/p%2F1",
            Resource::OfCall(call()),
        ),
        ("/communications/calls", Resource::Other),
        ("/communications/callsx/c1", Resource::Other),
        ("/communications/calls('c1", Resource::Other),
        ("/users/c1", Resource::Other),
        ("https://h", Resource::Other),
        // found by the fuzz target `next_page`: what follows was taken for the path
        (
            "/communications/calls/c1/h://x/communications/calls/c1/participants",
            Resource::OfCall(call()),
        ),
        ("/users/h://x/app/calls/c1", Resource::Other),
        ("", Resource::Other),
    ] {
        assert_eq!(Resource::parse(raw), expected, "{raw}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_and_what_is_named_reads_back(raw in "[/a-zA-Z('.)%A-F0-9:?#é]{0,80}") {
        let read = Resource::parse(&raw);
        if let Some(path) = read.path() {
            prop_assert_eq!(Resource::parse(&path), read);
        }
    }

    #[test]
    fn ids_survive_their_path(id in "[a-zA-Z0-9:@_.~!$()*+,=-]{1,40}", other in "[a-z0-9-]{1,36}") {
        prop_assume!(CallId::parse(&id).is_ok() && OperationId::parse(&other).is_ok());
        prop_assume!(!other.eq_ignore_ascii_case("participants"));
        let call = CallId::parse(&id).unwrap();
        let operation = OperationId::parse(&other).ok();
        let resource = Resource::Operation(call, operation);
        let path = resource.path().unwrap();
        prop_assert_eq!(Resource::parse(&path), resource);
    }
}

/// A host or a call of that name was taken for the collection, which the fuzz target `relay` asks
/// for.
#[test]
fn an_operation_is_renamed_where_its_id_stands() {
    let id = OperationId::parse("new").unwrap();
    for (raw, renamed) in [
        (
            "/app/calls/c1/operations/o1",
            Some("/app/calls/c1/operations/new"),
        ),
        (
            "/app/calls/c1/Operations('o1')/x?y",
            Some("/app/calls/c1/Operations('new')/x?y"),
        ),
        (
            "https://operations.example/app/calls/c1/operations/o1#z",
            Some("https://operations.example/app/calls/c1/operations/new#z"),
        ),
        (
            "/app/calls/operations/operations/o1",
            Some("/app/calls/operations/operations/new"),
        ),
        (
            "/app/calls/c1/operations/o1/operations/o2",
            Some("/app/calls/c1/operations/new/operations/o2"),
        ),
        ("/app/calls/c1/operations", None),
        ("/app/calls/c1", None),
    ] {
        assert_eq!(with_operation(raw, &id).as_deref(), renamed, "{raw}");
    }
}
