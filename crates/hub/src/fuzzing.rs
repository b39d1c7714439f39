//! What the fuzz targets of `tests/fuzz` reach of this crate's parsers. No part of the API.

use crate::reader::{Inbound, Reader};

/// What a subscriber's bytes mean, in words, when they come in these pieces; nothing is fed after a
/// violation or a close, as on a shard.
pub fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut reader = Reader::default();
    let mut said = Vec::new();
    for piece in pieces {
        let mut closed = false;
        let mut piece = piece.to_vec();
        let fed = reader.feed(&mut piece, |inbound| {
            closed |= matches!(inbound, Inbound::Close(_));
            said.push(format!("{inbound:?}"));
        });
        if let Err(violation) = fed {
            said.push(format!("{violation:?}"));
            break;
        }
        if closed {
            break;
        }
    }
    said
}
