use proptest::option::of;
use proptest::prelude::*;

use super::*;

fn entry(id: &str, sequence: Option<u64>, streams: Vec<MediaStream>) -> Participant {
    Participant {
        id: ParticipantId::parse(id).unwrap(),
        identity: Identity {
            kind: IdentityKind::Guest,
            id: Some(format!("{id}:person")),
            display_name: Some("Ädele".to_owned()),
        },
        is_muted: id.len().is_multiple_of(2),
        in_lobby: sequence.is_none(),
        roster_sequence_number: sequence,
        streams,
    }
}

fn audio(server_muted: Option<bool>, label: Option<&str>) -> MediaStream {
    MediaStream {
        media_type: "audio".to_owned(),
        label: label.map(str::to_owned),
        source_id: "17".to_owned(),
        direction: String::new(),
        server_muted,
    }
}

fn roster(entries: impl IntoIterator<Item = Participant>) -> (Roster, Arc<[Change]>) {
    let changes: Vec<_> = entries
        .into_iter()
        .map(|entry| Change::Upsert(Arc::new(entry)))
        .collect();
    let mut roster = Roster::default();
    for change in &changes {
        roster.apply(change);
    }
    (roster, changes.into())
}

/// A GUID, something like one, a word that has a number, or any text.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "[0-9a-fA-F-]{36}",
        proptest::sample::select(&WORDS[..]).prop_map(str::to_owned),
        "\\PC{0,200}",
    ]
}

fn any_stream() -> impl Strategy<Value = MediaStream> {
    let texts = (any_text(), any_text(), any_text());
    (texts, of(any_text()), of(any::<bool>())).prop_map(
        |((media_type, source_id, direction), label, server_muted)| MediaStream {
            media_type,
            label,
            source_id,
            direction,
            server_muted,
        },
    )
}

fn any_entry() -> impl Strategy<Value = Participant> {
    let id = any_text().prop_filter_map("no id", |text| ParticipantId::parse(&text).ok());
    let identity = (0..KINDS.len(), of(any_text()), of(any_text()));
    let flags = any::<(bool, bool, Option<u64>)>();
    let streams = proptest::collection::vec(any_stream(), 0..3);
    (id, identity, flags, streams).prop_map(|(id, (kind, known, name), flags, streams)| {
        Participant {
            id,
            identity: Identity {
                kind: KINDS[kind],
                id: known,
                display_name: name,
            },
            is_muted: flags.0,
            in_lobby: flags.1,
            roster_sequence_number: flags.2,
            streams,
        }
    })
}

proptest! {
    #[test]
    fn any_roster_comes_back_as_it_was(
        entries in proptest::collection::vec(any_entry(), 0..6),
        same in any::<bool>(),
    ) {
        let mut entries = entries;
        // as most are: all with the streams of the first
        if same && let Some((first, rest)) = entries.split_first_mut() {
            for entry in rest {
                entry.streams.clone_from(&first.streams);
            }
        }
        let (roster, _) = roster(entries);
        let packed = PackedRoster::pack(&roster).unwrap();
        prop_assert_eq!(&packed.unpack(), &roster);
        for entry in roster.iter() {
            prop_assert_eq!(packed.is_muted(&entry.id), Some(entry.is_muted));
        }
    }
}

#[test]
fn a_roster_comes_back_as_it_was() {
    let guid = "0c1f5e00-abcd-4000-8000-00000000000f";
    let mut bare = entry("8:Live:Echo_123", Some(u64::MAX), Vec::new());
    bare.identity.id = Some(guid.to_owned());
    bare.identity.display_name = None;
    let mut odd = entry("p", Some(0), vec![audio(None, None)]);
    // A spelling of a GUID that is not the canonical one stays as it is.
    odd.identity.id = Some(guid.to_uppercase());
    odd.identity.display_name = Some(String::new());
    let mut strange = entry(
        "0c1f5e00-abcd-4000-8000-0000000000-1",
        None,
        vec![audio(Some(true), None)],
    );
    strange.identity.kind = IdentityKind::Other;
    strange.identity.display_name = Some("x".repeat(5000));
    let both = vec![
        audio(Some(true), Some("main-audio")),
        audio(None, Some("é")),
    ];
    let (roster, _) = roster([
        bare,
        odd,
        strange,
        entry(guid, Some(7), both.clone()),
        entry("q", Some(128), both),
    ]);
    let packed = PackedRoster::pack(&roster).unwrap();
    assert_eq!(packed.unpack(), roster);
    for entry in roster.iter() {
        assert_eq!(
            packed.is_muted(&entry.id),
            Some(entry.is_muted),
            "{entry:?}"
        );
    }
    assert_eq!(packed.is_muted(&ParticipantId::parse("r").unwrap()), None);
    let nobody = PackedRoster::pack(&Roster::default()).unwrap();
    assert!(nobody.unpack().is_empty());
}

#[test]
fn a_version_comes_back_with_its_changes_in_their_order() {
    let call = CallId::parse("call").unwrap();
    let (roster, all) = roster(["c", "a", "b"].map(|id| entry(id, Some(3), Vec::new())));
    let gone = Change::Remove(ParticipantId::parse("d").unwrap());
    let older = Change::Upsert(Arc::new(entry("a", Some(2), Vec::new())));
    let roster = Arc::new(roster);
    for changes in [
        Arc::clone(&all),
        [].into(),
        all[1..2].into(),
        [all[0].clone(), gone].into(),
        [older, all[1].clone()].into(),
    ] {
        let version = RosterVersion {
            call: call.clone(),
            version: Version { epoch: 7, seq: 9 },
            roster: Arc::clone(&roster),
            changes,
        };
        let mut kept = KeptVersion::from(version.clone());
        assert_eq!(kept.whole(&version.call), version);
        let packed = PackedRoster::pack(&roster).unwrap();
        kept.pack(Version { epoch: 7, seq: 8 }, &packed);
        assert!(!kept.is_packed(), "that is the roster of another version");
        kept.pack(version.version, &packed);
        assert!(kept.is_packed());
        assert_eq!(kept.version(), version.version);
        assert_eq!(kept.whole(&version.call), version);
    }
}

#[test]
fn a_roster_of_three_takes_less_than_200_bytes() {
    let person = |number: u8| {
        let id = format!("{number}c1f5e00-abcd-4000-8000-000000000001");
        let mut entry = entry(&id, Some(1), vec![audio(Some(false), Some("main-audio"))]);
        entry.identity.id = Some(id);
        entry
    };
    let (roster, _) = roster((0..3).map(person));
    let length = PackedRoster::pack(&roster).unwrap().0.len();
    assert!(length < 200, "{length}");
}

#[test]
fn what_is_long_is_not_packed() {
    let people = |count: usize| roster((0..count).map(|n| entry(&n.to_string(), None, vec![])));
    let (most, changes) = people(LONGEST);
    let version = RosterVersion {
        call: CallId::parse("call").unwrap(),
        version: Version { epoch: 1, seq: 1 },
        roster: Arc::new(most),
        changes,
    };
    let packed = PackedRoster::pack(&version.roster).unwrap();
    let mut kept = KeptVersion::from(version.clone());
    kept.pack(version.version, &packed);
    assert!(matches!(kept.kept, Kept::Apart(_)), "one change too many");
    assert_eq!(kept.whole(&version.call), version);
    let version = RosterVersion {
        changes: version.changes[1..].into(),
        ..version
    };
    let mut kept = KeptVersion::from(version.clone());
    kept.pack(version.version, &packed);
    assert!(matches!(kept.kept, Kept::Packed { .. }));
    assert_eq!(kept.whole(&version.call), version);
    assert_eq!(PackedRoster::pack(&people(LONGEST + 1).0), None);
}
