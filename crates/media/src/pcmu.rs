//! G.711: 8-bit logarithmic PCM at 8 kHz, µ-law (payload type 0) and A-law (8).
//!
//! Source: ITU-T G.711 (11/88); payload types and the sample rate from RFC 3551 §4.5.14.

/// Samples per second.
pub const SAMPLE_RATE: u32 = 8000;

/// The static payload type of µ-law.
pub const PAYLOAD_TYPE: u8 = 0;

/// The µ-law byte of digital silence.
pub const SILENCE: u8 = 0xff;

/// The A-law byte nearest to silence; A-law has no zero.
pub const SILENCE_A: u8 = 0xd5;

/// The added offset that makes every segment start at a power of two.
const BIAS: u16 = 0x84;

/// The largest magnitude that is coded.
const CLIP: u16 = 32_635;

/// One sample of 16 bits as µ-law.
pub const fn encode(sample: i16) -> u8 {
    let sign: u8 = if sample < 0 { 0x80 } else { 0 };
    let magnitude = sample.unsigned_abs();
    let biased = if magnitude > CLIP { CLIP } else { magnitude } + BIAS;
    // bits 7 to 14: the highest set one names the segment
    let segment = 8 - biased.leading_zeros();
    let mantissa = (biased >> (segment + 3)) & 0x0f;
    // mantissa and segment are seven bits together
    !(sign | (segment.to_le_bytes()[0] << 4) | mantissa.to_le_bytes()[0])
}

/// µ-law to 16 bits, by table.
pub const fn decode(byte: u8) -> i16 {
    DECODE[byte as usize]
}

/// A-law to 16 bits.
pub const fn decode_a(byte: u8) -> i16 {
    let code = byte ^ 0x55;
    let segment = (code >> 4) & 7;
    let step = ((code & 0x0f) as i16) << 4;
    let magnitude = match segment {
        0 => step + 8,
        s => (step + 0x108) << (s - 1),
    };
    if code & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }
}

static DECODE: [i16; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    let mut byte = 0_u8;
    while at < table.len() {
        let code = !byte;
        let step = ((code & 0x0f) as u16) << 3;
        let magnitude = (((step + BIAS) << ((code >> 4) & 7)) - BIAS).cast_signed();
        table[at] = if code & 0x80 != 0 {
            -magnitude
        } else {
            magnitude
        };
        byte = byte.wrapping_add(1);
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_codes_of_the_standard() {
        for (sample, code) in [
            (0, 0xff),
            (7, 0xfe),
            (-7, 0x7e),
            (32_124, 0x80),
            (-32_124, 0x00),
            (i16::MAX, 0x80),
            (i16::MIN, 0x00),
            (132, 0xef),
            (1000, 0xce),
        ] {
            assert_eq!(encode(sample), code, "{sample}");
        }
        assert_eq!(decode(0x80), 32_124);
        assert_eq!(decode(0x00), -32_124);
        assert_eq!(decode(SILENCE), 0);
        assert_eq!(decode(0x7f), 0);
    }

    #[test]
    fn every_code_survives_a_round_trip() {
        for byte in 0..=255 {
            // there are two zeros, and the encoder writes the positive one
            let expected = if byte == 0x7f { 0xff } else { byte };
            assert_eq!(encode(decode(byte)), expected, "{byte:#x}");
        }
    }

    #[test]
    fn the_error_stays_below_half_a_step() {
        for sample in i16::MIN..=i16::MAX {
            let back = i32::from(decode(encode(sample)));
            let sample = i32::from(sample).clamp(-i32::from(CLIP), i32::from(CLIP));
            let step = (sample.abs() + i32::from(BIAS)) >> 4;
            assert!(
                (sample - back).abs() <= step.max(8),
                "{sample} became {back}"
            );
        }
    }

    #[test]
    fn a_law_spans_its_range() {
        assert_eq!(decode_a(SILENCE_A), 8);
        assert_eq!(decode_a(0x55), -8);
        assert_eq!(decode_a(0xaa), 32_256);
        assert_eq!(decode_a(0x2a), -32_256);
    }
}
