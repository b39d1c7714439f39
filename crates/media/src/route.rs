//! The numbers one receiver sees of one source. Pure: no sockets, no clock.
//!
//! The rule: subtract what we dropped on purpose, touch nothing else. A receiver then sees a mute as
//! it sees a sender's own pause (contiguous numbers, running timestamps, a marker), and sees loss on
//! the way to us as loss.

/// How much silence stands in for dropped packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Silence {
    /// The first so many dropped packets of a mute.
    pub(crate) tail: u32,
    /// Then every so-manieth; 0 for none.
    pub(crate) every: u32,
}

/// What to do with a packet on this route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Forward it under these numbers.
    Send { seq: u16, ts: u32, marker: bool },
    /// Send silence in its place.
    Tail { seq: u16, ts: u32 },
    /// Nothing: it belongs to the muted time, or came before it and too late.
    Late,
    /// Nothing: the gate is closed.
    Gated,
}

/// The state of one (source, receiver) pair.
#[derive(Debug)]
pub(crate) struct Route {
    /// Out number = in number - this, modulo 2^64 and then 2^16.
    seq_off: u64,
    /// Out timestamp = in timestamp + this. Changes with the source's SSRC only.
    ts_off: u32,
    /// The highest in number so far.
    highest: Option<u64>,
    /// The out timestamp that went, or would have gone, with `highest`.
    last_ts: u32,
    /// In numbers below this never leave any more: theirs are used.
    open_from: u64,
    was_open: bool,
    /// Packets dropped since the gate closed, or since the start: a receiver that joins during a mute
    /// gets the tail as a sign that there is a source.
    closed_for: u32,
    /// Ticks since the last packet of the SSRC before, when the next one starts a new clock.
    new_clock: Option<u32>,
    first_seq: u16,
}

impl Route {
    /// Out numbers start at `first_seq`.
    pub(crate) fn new(first_seq: u16) -> Self {
        Self {
            seq_off: 0,
            ts_off: 0,
            highest: None,
            last_ts: 0,
            open_from: 0,
            was_open: false,
            closed_for: 0,
            new_clock: None,
            first_seq,
        }
    }

    /// The next packet comes from a new SSRC, `ticks` of the clock rate after the last one.
    pub(crate) fn new_clock(&mut self, ticks: u32) {
        if self.highest.is_some() {
            self.new_clock = Some(ticks);
        }
    }

    /// A packet in the source's numbering that is not audio and goes nowhere.
    pub(crate) fn omit(&mut self, ext: u64) {
        let advance = self.advance(ext);
        if advance > 0 {
            self.seq_off = self.seq_off.wrapping_add(advance);
            self.highest = Some(ext);
            // an earlier one that comes now would get a number already used
            self.open_from = ext + 1;
        }
    }

    /// One packet of audio, in the order of arrival; `ext` never repeats.
    pub(crate) fn step(&mut self, ext: u64, in_ts: u32, open: bool, silence: Silence) -> Step {
        let advance = self.advance(ext);
        let mut marker = false;
        if advance > 0 {
            if let Some(ticks) = self.new_clock.take() {
                self.ts_off = self.last_ts.wrapping_add(ticks).wrapping_sub(in_ts);
                marker = true;
            }
            self.highest = Some(ext);
            self.last_ts = in_ts.wrapping_add(self.ts_off);
        }
        let ts = in_ts.wrapping_add(self.ts_off);
        if open {
            if !self.was_open {
                if advance == 0 {
                    return Step::Late;
                }
                // numbers missing here were lost in the muted time, or will be late
                self.seq_off = self.seq_off.wrapping_add(advance - 1);
                self.open_from = ext;
                self.was_open = true;
                marker = true;
            }
            if ext < self.open_from {
                return Step::Late;
            }
            let seq = self.out(ext);
            return Step::Send { seq, ts, marker };
        }
        if self.was_open {
            self.was_open = false;
            self.closed_for = 0;
        }
        if advance == 0 {
            return Step::Gated;
        }
        self.closed_for = self.closed_for.saturating_add(1);
        let in_tail = self.closed_for <= silence.tail;
        let kept_alive = silence.every > 0 && self.closed_for.is_multiple_of(silence.every);
        if in_tail || kept_alive {
            // what was lost just before it counts as dropped: during a mute nothing is missed
            self.seq_off = self.seq_off.wrapping_add(advance - 1);
            let seq = self.out(ext);
            return Step::Tail { seq, ts };
        }
        self.seq_off = self.seq_off.wrapping_add(advance);
        Step::Gated
    }

    /// How many numbers lie between the highest and `ext`, that one included; 0 when it is late.
    fn advance(&mut self, ext: u64) -> u64 {
        if let Some(highest) = self.highest {
            ext.saturating_sub(highest)
        } else {
            self.seq_off = ext.wrapping_sub(u64::from(self.first_seq));
            1
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the wire's number is the low half"
    )]
    fn out(&self, ext: u64) -> u16 {
        ext.wrapping_sub(self.seq_off) as u16
    }
}

#[cfg(test)]
mod tests;
