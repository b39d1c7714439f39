//! What the demo's bot says: a chime, or a WAV file, as 20 ms frames of PCMU at 8 kHz.

use std::f32::consts::TAU;
use std::path::Path;

use anyhow::{Context as _, bail};
use openmic_media::pcmu;
use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Resampler as _};

/// Samples per second (RFC 3551 §4.5.14).
pub(crate) const RATE: u32 = 8000;
/// Samples, and with PCMU bytes, of one frame: 20 ms.
pub(crate) const FRAME: usize = 160;
/// Longest file taken, in seconds: it is held in memory.
const LONGEST: u32 = 600;

/// An endless source of frames, no two alike.
///
/// A faint noise, some 66 dB below full scale, is laid under the sound, so that every frame can be
/// recognised where it is heard, in silent passages too.
#[derive(Debug)]
pub(crate) struct Source {
    samples: Vec<f32>,
    at: usize,
    noise: u32,
}

impl Source {
    /// Three soft notes over and over, never quiet for as long as a listener would call silence.
    pub(crate) fn chime() -> Self {
        let notes = [523.25_f32, 659.25, 783.99, 659.25];
        let length = RATE as usize * 2 / 5;
        let mut samples = Vec::with_capacity(notes.len() * length);
        for note in notes {
            for sample in 0..length {
                let time = sample_f32(sample) / sample_f32(RATE as usize);
                let swell = (time * 40.0).min(1.0) * (0.35 * (-time * 3.0).exp() + 0.1);
                let tone = (TAU * note * time).sin() + 0.3 * (TAU * 2.0 * note * time).sin();
                samples.push(swell * tone);
            }
        }
        Self {
            samples,
            at: 0,
            noise: 0x9e37_79b9,
        }
    }

    /// A WAV file of any rate and channels, played over and over.
    pub(crate) fn wav(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let mut reader = hound::WavReader::open(path).with_context(|| {
            format!(
                "{shown} cannot be read as a PCM WAV file; convert it with \
                 ffmpeg -i {shown} -c:a pcm_s16le out.wav"
            )
        })?;
        let spec = reader.spec();
        if reader.duration() == 0 {
            bail!("{shown} holds no sound");
        }
        if reader.duration() / spec.sample_rate.max(1) > LONGEST {
            bail!("{shown} is longer than {LONGEST} s; give a shorter file");
        }
        let interleaved: Vec<f32> = match spec.sample_format {
            hound::SampleFormat::Float => reader.samples::<f32>().collect::<Result<_, _>>(),
            hound::SampleFormat::Int => {
                let full = f32::from(i16::MAX) * f32::exp2(f32::from(spec.bits_per_sample) - 16.0);
                let read = reader.samples::<i32>();
                read.map(|sample| sample.map(|sample| whole_f32(sample) / full))
                    .collect()
            }
        }
        .with_context(|| format!("{shown} breaks off"))?;
        let channels = usize::from(spec.channels.max(1));
        let mono: Vec<f32> = interleaved
            .chunks_exact(channels)
            .map(|frame| frame.iter().sum::<f32>() / sample_f32(channels))
            .collect();
        let samples = resample(mono, spec.sample_rate)
            .with_context(|| format!("{shown} cannot be brought to {RATE} Hz"))?;
        Ok(Self {
            samples,
            at: 0,
            noise: 0x9e37_79b9,
        })
    }

    /// The next 20 ms.
    pub(crate) fn frame(&mut self) -> [u8; FRAME] {
        std::array::from_fn(|_| {
            // xorshift32: a repeatable hiss is all that is wanted.
            self.noise ^= self.noise << 13;
            self.noise ^= self.noise >> 17;
            self.noise ^= self.noise << 5;
            let hiss = f32::from(self.noise.to_le_bytes()[3]) / 255.0 - 0.5;
            let sample = self.samples[self.at] * 0.9 + hiss / 1000.0;
            self.at = (self.at + 1) % self.samples.len();
            pcmu::encode(to_pcm(sample))
        })
    }
}

fn resample(mono: Vec<f32>, rate: u32) -> anyhow::Result<Vec<f32>> {
    if rate == RATE {
        return Ok(mono);
    }
    let length = mono.len();
    let mut converter = Fft::<f32>::new(rate as usize, RATE as usize, 1024, 1, FixedSync::Input)?;
    let input = InterleavedOwned::new_from(mono, 1, length)?;
    let output = converter.process_all(&input, length, None)?;
    Ok(output.take_data())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "clamped to the range of i16"
)]
fn to_pcm(sample: f32) -> i16 {
    (sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)) as i16
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^24")]
fn sample_f32(count: usize) -> f32 {
    count as f32
}

#[expect(
    clippy::cast_precision_loss,
    reason = "audio needs no more than 24 bits"
)]
fn whole_f32(sample: i32) -> f32 {
    sample as f32
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_frames_are_alike() {
        let mut source = Source::chime();
        let frames: HashSet<_> = (0..2000).map(|_| source.frame()).collect();
        assert_eq!(frames.len(), 2000);
    }

    #[test]
    fn silence_is_recognisable_and_stays_below_minus_60_db() {
        let mut source = Source {
            samples: vec![0.0; 100],
            at: 0,
            noise: 1,
        };
        let frames: HashSet<_> = (0..500).map(|_| source.frame()).collect();
        assert_eq!(frames.len(), 500);
        let loudest = frames
            .iter()
            .flatten()
            .map(|byte| pcmu::decode(*byte).unsigned_abs())
            .max();
        assert!(loudest.unwrap() < 33, "{loudest:?}");
    }

    #[test]
    fn a_wav_of_another_rate_keeps_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tone.wav");
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 44_100,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        for at in 0..44_100_u32 {
            let sample = to_pcm((sample_f32(at as usize) * 0.05).sin() * 0.5);
            writer.write_sample(sample).unwrap();
            writer.write_sample(sample).unwrap();
        }
        writer.finalize().unwrap();
        let source = Source::wav(&path).unwrap();
        assert!(
            source.samples.len().abs_diff(RATE as usize) < 200,
            "{}",
            source.samples.len()
        );
        let loudest = source
            .samples
            .iter()
            .fold(0.0_f32, |max, sample| max.max(sample.abs()));
        assert!((0.4..0.6).contains(&loudest), "{loudest}");
    }

    #[test]
    fn what_is_no_wav_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.wav");
        std::fs::write(&path, b"no wav").unwrap();
        assert!(
            Source::wav(&path)
                .unwrap_err()
                .to_string()
                .contains("x.wav")
        );
    }
}
