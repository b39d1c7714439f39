//! One human: a socket that hears what the service forwards, and remembers it.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use openmic_media::pcmu;
use openmic_media::rtp::View;

use super::audio::{FRAME, RATE};

/// One packet as it was heard.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) at: Instant,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) payload: Vec<u8>,
}

/// The listening thread.
#[derive(Debug)]
pub(crate) struct Ear {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<Vec<Heard>>>,
}

impl Ear {
    /// Begins to listen. Only what comes from `service` counts.
    pub(crate) fn open(socket: UdpSocket, service: SocketAddr) -> anyhow::Result<Self> {
        socket
            .connect(service)
            .with_context(|| format!("cannot hear RTP from {service}"))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("demo-ear".to_owned())
            .spawn(move || listen(&socket, &until))
            .context("no thread for a human's ear")?;
        Ok(Self { stop, thread })
    }

    /// Ends the listening and returns every packet that came.
    pub(crate) fn stop(self) -> anyhow::Result<Vec<Heard>> {
        self.stop.store(true, Ordering::Release);
        let heard = self
            .thread
            .join()
            .map_err(|_| anyhow::anyhow!("a human's ear panicked"))?;
        heard.context("a human's RTP socket failed")
    }
}

fn listen(socket: &UdpSocket, stop: &AtomicBool) -> std::io::Result<Vec<Heard>> {
    use std::io::ErrorKind::{ConnectionRefused, TimedOut, WouldBlock};
    let mut heard = Vec::new();
    let mut packet = [0; 2048];
    while !stop.load(Ordering::Acquire) {
        let length = match socket.recv(&mut packet) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), WouldBlock | TimedOut | ConnectionRefused) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        let at = Instant::now();
        if let Ok(view) = View::parse(&packet[..length])
            && view.header().payload_type == 0
        {
            let header = view.header();
            heard.push(Heard {
                at,
                sequence: header.sequence,
                timestamp: header.timestamp,
                payload: view.payload().to_vec(),
            });
        }
    }
    Ok(heard)
}

/// Writes what a human heard as it would sound from `begun` to `ended`, silence where nothing came.
pub(crate) fn record(
    path: &Path,
    heard: &[Heard],
    begun: Instant,
    ended: Instant,
) -> anyhow::Result<()> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let shown = path.display();
    let samples = |time: Duration| usize::try_from(time.as_millis()).unwrap_or(0) * 8;
    let mut timeline = vec![0_i16; samples(ended.saturating_duration_since(begun))];
    if let Some(first) = heard.first() {
        // The clock of the packets decides, as in a player; the first one's arrival sets it.
        let origin = samples(first.at.saturating_duration_since(begun));
        for packet in heard {
            let after = packet.timestamp.wrapping_sub(first.timestamp) as usize;
            let Some(room) = timeline.get_mut(origin + after..) else {
                continue;
            };
            for (sample, byte) in room
                .iter_mut()
                .zip(&packet.payload[..packet.payload.len().min(FRAME)])
            {
                *sample = pcmu::decode(*byte);
            }
        }
    }
    let mut writer =
        hound::WavWriter::create(path, spec).with_context(|| format!("cannot write {shown}"))?;
    for sample in timeline {
        writer
            .write_sample(sample)
            .with_context(|| format!("cannot write {shown}"))?;
    }
    writer
        .finalize()
        .with_context(|| format!("cannot write {shown}"))
}
