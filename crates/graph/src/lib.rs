//! Everything that speaks HTTP outward for a bot: tokens, retry, throttling, operations.
