//! How packets come and go. One way so far: plain RTP/AVP over UDP.

pub(crate) mod plain;
