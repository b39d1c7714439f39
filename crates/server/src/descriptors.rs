//! The limit of open files.

use std::io;

/// Descriptors for what is neither a client's nor a subscriber's: listeners, event queues, RTP,
/// connections to the service.
const OWN: u64 = 256;

/// Raises the soft limit of open files to the hard one and returns what holds then.
///
/// # Errors
/// When the system does not tell its limits or refuses.
pub(crate) fn raise() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// How many connections and subscribers fit under `limit` open files. Subscribers give way first,
/// but keep three quarters of what there is.
pub(crate) fn fit(connections: usize, subscribers: usize, limit: u64) -> (usize, usize) {
    let room = usize::try_from(limit.saturating_sub(OWN)).unwrap_or(usize::MAX);
    if connections.saturating_add(subscribers) <= room {
        return (connections, subscribers);
    }
    let connections = connections.min((room / 4).max(1));
    (
        connections,
        subscribers.min(room.saturating_sub(connections).max(1)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_files_change_nothing() {
        assert_eq!(fit(16_384, 20_000, 1_048_576), (16_384, 20_000));
        assert_eq!(fit(16_384, 20_000, 16_384 + 20_000 + OWN), (16_384, 20_000));
    }

    #[test]
    fn few_files_scale_down_and_leave_room_for_requests() {
        assert_eq!(fit(16_384, 20_000, 1_256), (250, 750));
        assert_eq!(fit(100, 20_000, 1_256), (100, 900));
        assert_eq!(fit(16_384, 20_000, 10), (1, 1));
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let limit = raise().unwrap();
        let (soft, hard) = rlimit::Resource::NOFILE.get().unwrap();
        assert_eq!((soft, limit), (hard, hard));
    }
}
