use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::time::Duration;

/// How media is carried. The default is for one machine and free ports.
#[derive(Debug, Clone)]
pub struct MediaConfig {
    /// The local address of all sockets, also the one in [`crate::Joined`]; whoever binds to all
    /// addresses has to tell participants a reachable one. Loopback by default.
    pub bind: IpAddr,
    /// Ports to take: RTP on even ones, RTCP on the odd one above. `None`: any free pair.
    pub ports: Option<RangeInclusive<u16>>,
    /// Threads; a meeting lives on one. At most cores - 1 are of use. Default 1.
    pub shards: NonZeroUsize,
    /// How many packets after a mute are replaced by silence. Default 3; 0 with
    /// [`MediaConfig::mute_keepalive`] 0 sends nothing at all while muted.
    pub silence_tail: u32,
    /// Every so-manieth packet of a mute is replaced by silence, so that receivers do not give up
    /// (ffmpeg does after 10 s). Default 20; 0 for never.
    pub mute_keepalive: u32,
    /// Packets a participant may send per second, with a burst of one second. Default 200; `None`
    /// for no limit. What is above is dropped and counted.
    pub rate_limit: Option<NonZeroU32>,
    /// How long [`crate::Leg::close`] and the other calls wait for the media thread. Default 1 s.
    pub fence_limit: Duration,
    /// How long a sender must be silent before its SSRC may come from another address. Default 2 s.
    pub relatch_after: Duration,
    /// Commands that wait for one thread. When it is full, callers wait up to the fence limit.
    /// Default 1024.
    pub queue: NonZeroUsize,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: None,
            shards: NonZeroUsize::MIN,
            silence_tail: 3,
            mute_keepalive: 20,
            rate_limit: NonZeroU32::new(200),
            fence_limit: Duration::from_secs(1),
            relatch_after: Duration::from_secs(2),
            queue: NonZeroUsize::MIN.saturating_add(1023),
        }
    }
}
