//! Validation of bearer tokens: callers' and notifications'.
