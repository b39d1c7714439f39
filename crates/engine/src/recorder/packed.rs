//! How a line is kept: as postcard, which takes a fraction of the time and the room of its JSON.
//! Whoever reads it gets that JSON.

use std::borrow::Cow;

use openmic_machine::Event;
use openmic_model::WallTime;
use serde::{Deserialize, Serialize};

use super::entry::{Begun, Entry, Stand, Step, What};

/// An [`Entry`] without its number, which stands in front of it.
#[derive(Serialize, Deserialize)]
struct Kept<L> {
    at: u64,
    wall: WallTime,
    line: L,
}

/// What a line tells; postcard wants each member there, also where JSON has none.
#[derive(Serialize, Deserialize)]
pub(super) enum Line<E = Event, S = Stand, W = What> {
    Begun(Box<Begun<S>>),
    Step {
        name: Cow<'static, str>,
        event: Option<E>,
        took: Option<u64>,
        held: bool,
        stand: S,
    },
    /// Anything else.
    Note(W),
}

/// What is noted in passing.
pub(super) type Note<'a> = Line<(), (), &'a What>;

impl From<Line> for What {
    fn from(line: Line) -> Self {
        match line {
            Line::Begun(begun) => Self::Begun(begun),
            Line::Step {
                name,
                event,
                took,
                held,
                stand,
            } => Self::Step(Box::new(Step {
                name,
                event,
                took,
                held,
                stand,
            })),
            Line::Note(mut what) => {
                if let Self::Asked(asked) = &mut what {
                    asked.name();
                }
                what
            }
        }
    }
}

/// Writes a line to the beginning of `to` and returns it.
///
/// # Errors
/// When it is longer; `to` holds nothing of use then.
pub(super) fn put<'a, E, S, W>(
    (at, wall): (u64, WallTime),
    line: &Line<E, S, W>,
    to: &'a mut [u8],
) -> postcard::Result<&'a [u8]>
where
    Line<E, S, W>: Serialize,
{
    let written = postcard::to_slice(&Kept { at, wall, line }, to)?;
    Ok(written)
}

/// Line `n` as JSON.
pub(super) fn text(n: u64, line: &[u8]) -> Option<Vec<u8>> {
    let Kept { at, wall, line } = postcard::from_bytes::<Kept<Line>>(line).ok()?;
    let what = What::from(line);
    serde_json::to_vec(&Entry { n, at, wall, what }).ok()
}
