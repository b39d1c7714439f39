//! A small roster in one piece of memory, for calls in which nothing happens.

use std::fmt;
use std::sync::Arc;

use crate::id::{guid, guid_bytes};
use crate::{
    CallId, Change, Identity, IdentityKind, MediaStream, Participant, ParticipantId, Roster,
    RosterVersion, Version,
};

/// Entries of a roster that is packed. A longer one is of a meeting in which something happens.
const LONGEST: usize = 16;

/// What stands in most entries as it is here.
const WORDS: [&str; 12] = [
    "audio",
    "main-audio",
    "sendReceive",
    "receiveOnly",
    "sendOnly",
    "inactive",
    "video",
    "main-video",
    "videoBasedScreenSharing",
    "applicationsharing-video",
    "data",
    "",
];
const GUID: u64 = 0;
/// A text that is no GUID and no word: so much and its length.
const PLAIN: u64 = 1 + WORDS.len() as u64;

/// A roster of few entries as a tenth of the memory that [`Roster`] takes. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct PackedRoster(
    /// Of each entry how long it is, twice that and one more where its id is a GUID, and what it says.
    Arc<[u8]>,
);

/// It holds names.
impl fmt::Debug for PackedRoster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackedRoster").finish_non_exhaustive()
    }
}

impl PackedRoster {
    /// `None` when it has too many entries.
    pub fn pack(roster: &Roster) -> Option<Self> {
        if roster.len() > LONGEST {
            return None;
        }
        let mut all = Vec::new();
        let mut one = Vec::new();
        let mut before = Before::default();
        for entry in roster.iter() {
            one.clear();
            let is_guid = put_entry(entry, &before, &mut one);
            put((one.len() as u64) << 1 | u64::from(is_guid), &mut all);
            all.extend_from_slice(&one);
            before = Before::of(entry);
        }
        Some(Self(all.into()))
    }

    /// The roster that it was made of.
    pub fn unpack(&self) -> Roster {
        let mut roster = Roster::default();
        let mut last: Option<Arc<Participant>> = None;
        for (is_guid, entry) in self.entries() {
            let before = last.as_deref().map(Before::of).unwrap_or_default();
            let entry = Arc::new(entry_of(is_guid, entry, &before).expect(PACKED));
            last = Some(Arc::clone(&entry));
            roster.apply(&Change::Upsert(entry));
        }
        roster
    }

    /// `isMuted` of the entry of `id`.
    pub fn is_muted(&self, id: &ParticipantId) -> Option<bool> {
        let mut wanted = Vec::with_capacity(40);
        let is_guid = put_id(id, &mut wanted);
        self.entries().find_map(|(has_guid, entry)| {
            let (flags, rest) = entry.split_first()?;
            let is_it = has_guid == is_guid && rest.starts_with(&wanted);
            is_it.then_some(flags & MUTED > 0)
        })
    }

    fn entries(&self) -> impl Iterator<Item = (bool, &[u8])> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || (!rest.is_empty()).then(|| piece(&mut rest).expect(PACKED)))
    }
}

/// What an entry mostly has like the one before it.
#[derive(Default)]
struct Before<'a> {
    number: Option<u64>,
    streams: &'a [MediaStream],
}

impl<'a> Before<'a> {
    fn of(entry: &'a Participant) -> Self {
        Self {
            number: entry.roster_sequence_number,
            streams: &entry.streams,
        }
    }
}

/// A [`RosterVersion`] as whoever keeps the latest one of a call has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptVersion {
    version: Version,
    kept: Kept,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    /// As it came.
    Open {
        roster: Arc<Roster>,
        changes: Arc<[Change]>,
    },
    /// Since nothing happens in the call.
    Packed { roster: PackedRoster, shown: Shown },
    /// The same where the roster does not show what changed.
    Apart(Box<(PackedRoster, Arc<[Change]>)>),
}

impl From<RosterVersion> for KeptVersion {
    fn from(version: RosterVersion) -> Self {
        let RosterVersion {
            version,
            roster,
            changes,
            ..
        } = version;
        let kept = Kept::Open { roster, changes };
        Self { version, kept }
    }
}

impl KeptVersion {
    /// Where in the history of the call's roster.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The version itself, of `call`.
    pub fn whole(&self, call: &CallId) -> RosterVersion {
        let (roster, changes) = match &self.kept {
            Kept::Open { roster, changes } => (Arc::clone(roster), Arc::clone(changes)),
            Kept::Packed { roster, shown } => {
                let roster = roster.unpack();
                let changes = shown.changes(&roster);
                (Arc::new(roster), changes)
            }
            Kept::Apart(apart) => {
                let (roster, changes) = &**apart;
                (Arc::new(roster.unpack()), Arc::clone(changes))
            }
        };
        RosterVersion {
            call: call.clone(),
            version: self.version,
            roster,
            changes,
        }
    }

    /// Packs it, when it is `version`, of which `roster` is the packed roster.
    pub fn pack(&mut self, version: Version, roster: &PackedRoster) {
        if let Kept::Open {
            roster: open,
            changes,
        } = &self.kept
            && self.version == version
        {
            let roster = roster.clone();
            self.kept = match Shown::of(open, changes) {
                Some(shown) => Kept::Packed { roster, shown },
                None => Kept::Apart(Box::new((roster, Arc::clone(changes)))),
            };
        }
    }

    /// Whether it is packed.
    pub const fn is_packed(&self) -> bool {
        !matches!(self.kept, Kept::Open { .. })
    }
}

/// Changes that put in what the roster shows: in the lowest four bits how many, above them the
/// numbers of the entries, four bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown(u64);

impl Shown {
    const MOST: usize = 15;

    fn of(roster: &Roster, changes: &[Change]) -> Option<Self> {
        if roster.len() > LONGEST || changes.len() > Self::MOST {
            return None;
        }
        let mut shown = changes.len() as u64;
        for (at, change) in (1..).zip(changes) {
            let Change::Upsert(changed) = change else {
                return None;
            };
            let entry = roster.iter().position(|entry| entry == changed)?;
            shown |= (entry as u64) << (4 * at);
        }
        Some(Self(shown))
    }

    fn changes(self, roster: &Roster) -> Arc<[Change]> {
        let four_bits = |at: u64| usize::from((self.0 >> (4 * at)).to_le_bytes()[0] & 15);
        let entries = (1..).map(four_bits).take(four_bits(0));
        entries
            .map(|entry| {
                let entry = roster.iter().nth(entry).expect(PACKED);
                Change::Upsert(Arc::clone(entry))
            })
            .collect()
    }
}

const PACKED: &str = "nobody else packs rosters";

const MUTED: u8 = 1;
const LOBBY: u8 = 2;
const NUMBERED: u8 = 4;
const KNOWN: u8 = 8;
const NAMED: u8 = 16;
/// The kind of the identity stands above it.
const KIND: u32 = 5;

const KINDS: [IdentityKind; 5] = [
    IdentityKind::User,
    IdentityKind::Application,
    IdentityKind::Guest,
    IdentityKind::Phone,
    IdentityKind::Other,
];

/// Whether its id is a GUID.
fn put_entry(entry: &Participant, before: &Before<'_>, to: &mut Vec<u8>) -> bool {
    let Participant {
        id,
        identity,
        is_muted,
        in_lobby,
        roster_sequence_number,
        streams,
    } = entry;
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let kind = KINDS.iter().position(|kind| *kind == identity.kind);
    let kind = u8::try_from(kind.unwrap_or_default()).unwrap_or_default();
    to.push(
        flag(*is_muted, MUTED)
            | flag(*in_lobby, LOBBY)
            | flag(roster_sequence_number.is_some(), NUMBERED)
            | flag(identity.id.is_some(), KNOWN)
            | flag(identity.display_name.is_some(), NAMED)
            | kind << KIND,
    );
    let is_guid = put_id(id, to);
    for text in [&identity.id, &identity.display_name].into_iter().flatten() {
        put_text(text, to);
    }
    let same_streams = streams == before.streams;
    if same_streams && *roster_sequence_number == before.number {
        put(0, to);
        return is_guid;
    }
    let count = if same_streams {
        0
    } else {
        streams.len() as u64 + 1
    };
    put(count + 1, to);
    if let Some(number) = roster_sequence_number {
        put(*number, to);
    }
    for stream in streams.iter().filter(|_| !same_streams) {
        let MediaStream {
            media_type,
            label,
            source_id,
            direction,
            server_muted,
        } = stream;
        let muted = server_muted.map_or(2, u8::from);
        to.push(muted | flag(label.is_some(), NAMED));
        for text in [media_type, source_id, direction].into_iter().chain(label) {
            put_text(text, to);
        }
    }
    is_guid
}

fn entry_of(is_guid: bool, mut from: &[u8], before: &Before<'_>) -> Option<Participant> {
    let from = &mut from;
    let flags = *from.split_off_first()?;
    let has = |flag: u8| flags & flag > 0;
    let id = if is_guid {
        guid_text(from)?
    } else {
        text(from)?
    };
    let identity = Identity {
        kind: *KINDS.get(usize::from(flags >> KIND))?,
        id: if has(KNOWN) { Some(text(from)?) } else { None },
        display_name: if has(NAMED) { Some(text(from)?) } else { None },
    };
    let streams = take(from)?.checked_sub(1);
    let number = match streams {
        None => before.number,
        Some(_) if has(NUMBERED) => Some(take(from)?),
        Some(_) => None,
    };
    Some(Participant {
        id: ParticipantId::parse(&id).ok()?,
        identity,
        is_muted: has(MUTED),
        in_lobby: has(LOBBY),
        roster_sequence_number: number,
        streams: match streams.and_then(|streams| streams.checked_sub(1)) {
            None => before.streams.to_vec(),
            Some(count) => (0..count).map(|_| stream(from)).collect::<Option<_>>()?,
        },
    })
}

fn stream(from: &mut &[u8]) -> Option<MediaStream> {
    let flags = *from.split_off_first()?;
    let [media_type, source_id, direction] = [text(from)?, text(from)?, text(from)?];
    Some(MediaStream {
        media_type,
        label: if flags & NAMED > 0 {
            Some(text(from)?)
        } else {
            None
        },
        source_id,
        direction,
        server_muted: match flags & 3 {
            2 => None,
            muted => Some(muted == 1),
        },
    })
}

/// Whether it is a GUID, which is put without a word that says so.
fn put_id(id: &ParticipantId, to: &mut Vec<u8>) -> bool {
    let bytes = guid_bytes(id.as_str());
    match bytes {
        Some(bytes) => to.extend_from_slice(&bytes),
        None => put_text(id.as_str(), to),
    }
    bytes.is_some()
}

fn put_text(text: &str, to: &mut Vec<u8>) {
    if let Some(bytes) = guid_bytes(text) {
        put(GUID, to);
        to.extend_from_slice(&bytes);
    } else if let Some(word) = WORDS.iter().position(|word| *word == text) {
        put(word as u64 + 1, to);
    } else {
        put(text.len() as u64 + PLAIN, to);
        to.extend_from_slice(text.as_bytes());
    }
}

fn text(from: &mut &[u8]) -> Option<String> {
    let kind = take(from)?;
    if kind == GUID {
        return guid_text(from);
    }
    match kind.checked_sub(PLAIN) {
        None => Some((*WORDS.get(usize::try_from(kind - 1).ok()?)?).to_owned()),
        Some(length) => {
            let bytes = from.split_off(..usize::try_from(length).ok()?)?;
            Some(str::from_utf8(bytes).ok()?.to_owned())
        }
    }
}

fn guid_text(from: &mut &[u8]) -> Option<String> {
    let bytes = from.split_off(..16)?;
    let text = guid(u128::from_be_bytes(bytes.try_into().ok()?));
    Some(str::from_utf8(&text).ok()?.to_owned())
}

/// Seven bits in a byte, the lowest first.
fn put(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    to.push(number.to_le_bytes()[0]);
}

fn take(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *from.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// As many bytes as half the number in front of them says, and whether that is odd.
fn piece<'a>(from: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
    let number = take(from)?;
    let length = usize::try_from(number >> 1).ok()?;
    Some((number & 1 == 1, from.split_off(..length)?))
}

#[cfg(test)]
mod tests;
