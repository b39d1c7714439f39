//! The actor per call, the registry and the supervision; performs the machine's effects.
