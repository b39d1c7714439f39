//! RTP, the mute gate and the forwarder, on threads of their own.
