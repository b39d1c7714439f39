//! The bot's voice: a thread that sends a frame every 20 ms without pause, muted or not.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use openmic_media::rtp::Header;

use super::audio::{FRAME, Source};

/// One packet as it left.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) payload: [u8; FRAME],
}

/// The sending thread.
#[derive(Debug)]
pub(crate) struct Voice {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<Vec<Sent>>>,
}

impl Voice {
    /// Begins to send from `socket` to `to`.
    pub(crate) fn start(socket: UdpSocket, to: SocketAddr, source: Source) -> anyhow::Result<Self> {
        socket
            .connect(to)
            .with_context(|| format!("cannot send RTP to {to}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("demo-voice".to_owned())
            .spawn(move || speak(&socket, source, &until))
            .context("no thread for the bot's voice")?;
        Ok(Self { stop, thread })
    }

    /// Ends the sending and returns every packet that left.
    pub(crate) fn stop(self) -> anyhow::Result<Vec<Sent>> {
        self.stop.store(true, Ordering::Release);
        let sent = self
            .thread
            .join()
            .map_err(|_| anyhow::anyhow!("the bot's voice panicked"))?;
        sent.context("the bot's RTP socket failed")
    }
}

fn speak(socket: &UdpSocket, mut source: Source, stop: &AtomicBool) -> std::io::Result<Vec<Sent>> {
    let begun = Instant::now();
    let mut sent = Vec::new();
    let mut header = Header {
        marker: true,
        payload_type: 0,
        sequence: 7,
        timestamp: 1_000_000,
        ssrc: 0x0b07,
    };
    let mut packet = [0; 12 + FRAME];
    while !stop.load(Ordering::Acquire) {
        let due = begun + Duration::from_millis(20) * u32::try_from(sent.len()).unwrap_or(u32::MAX);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let payload = source.frame();
        packet[..12].copy_from_slice(&header.to_bytes());
        packet[12..].copy_from_slice(&payload);
        let at = Instant::now();
        socket.send(&packet)?;
        sent.push(Sent { at, payload });
        header.marker = false;
        header.sequence = header.sequence.wrapping_add(1);
        header.timestamp = header.timestamp.wrapping_add(160);
    }
    Ok(sent)
}
