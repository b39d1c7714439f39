//! The `openmic` binary.

fn main() {}
