//! RTCP (RFC 3550 §6), as far as a forwarder that ends it has to understand it.
//!
//! Reports speak of the SSRCs and counters of one leg, so they are never forwarded.

/// Whether a datagram on the RTP port is RTCP: packet types 192 to 223 (RFC 5761 §4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.len() >= 8 && datagram[0] >> 6 == 2 && (192..=223).contains(&datagram[1])
}

/// What a sender report says of the clock: which RTP timestamp goes with which wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// Whose stream.
    pub ssrc: u32,
    /// NTP time, 32 bits of seconds and 32 bits of fraction.
    pub ntp: u64,
    /// The same moment in the stream's own units.
    pub rtp_timestamp: u32,
    /// Packets sent since the start.
    pub packets: u32,
}

/// What one compound packet holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// The last sender report's clock.
    pub sender: Option<SenderInfo>,
    /// Sender reports.
    pub sender_reports: u32,
    /// Receiver reports.
    pub receiver_reports: u32,
    /// Report blocks in both.
    pub report_blocks: u32,
    /// Sources that said goodbye.
    pub byes: u32,
    /// Packets of other types.
    pub others: u32,
}

/// Why bytes are no RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The version is not 2 or the type is none of RTCP's.
    #[error("a packet of the compound is no RTCP of version 2")]
    Header,
    /// A length reaches beyond the end.
    #[error("the datagram ends inside an RTCP packet")]
    Length,
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const BYE: u8 = 203;
const REPORT_BLOCK: usize = 24;

/// Walks a compound packet.
///
/// # Errors
/// [`Malformed`] when a part is no RTCP or does not fit.
pub fn parse(mut datagram: &[u8]) -> Result<Summary, Malformed> {
    let mut sum = Summary::default();
    while !datagram.is_empty() {
        let head = datagram.first_chunk::<4>().ok_or(Malformed::Length)?;
        if head[0] >> 6 != 2 || !(192..=223).contains(&head[1]) {
            return Err(Malformed::Header);
        }
        let count = usize::from(head[0] & 0x1f);
        let len = 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (packet, rest) = datagram.split_at_checked(len).ok_or(Malformed::Length)?;
        datagram = rest;
        let blocks = u32::try_from(count).expect("five bits");
        match head[1] {
            SENDER_REPORT => {
                if packet.len() < 28 + count * REPORT_BLOCK {
                    return Err(Malformed::Length);
                }
                sum.sender_reports += 1;
                sum.report_blocks += blocks;
                sum.sender = Some(SenderInfo {
                    ssrc: word(packet, 4),
                    ntp: (u64::from(word(packet, 8)) << 32) | u64::from(word(packet, 12)),
                    rtp_timestamp: word(packet, 16),
                    packets: word(packet, 20),
                });
            }
            RECEIVER_REPORT => {
                if packet.len() < 8 + count * REPORT_BLOCK {
                    return Err(Malformed::Length);
                }
                sum.receiver_reports += 1;
                sum.report_blocks += blocks;
            }
            BYE => {
                if packet.len() < 4 + count * 4 {
                    return Err(Malformed::Length);
                }
                sum.byes += blocks;
            }
            _ => sum.others += 1,
        }
    }
    Ok(sum)
}

/// The caller has checked that `packet` holds `at + 4` bytes.
fn word(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

#[cfg(test)]
mod tests;
