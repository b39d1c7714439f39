//! Instructions of what happens most: a step of the machine, a merge, a decoded notification, an
//! encoded roster, a publication, a forwarded packet. Counted, not timed: noise cannot blur them.
//!
//! `cargo bench -p openmic-benches --bench instructions` compares with `benches/instructions.txt` and
//! fails above 3 %; `UPDATE=1` before it writes the file. `tests/run` does the same in the tests' own
//! profile: `cargo test --workspace --test instructions`. Needs valgrind; takes a quarter of a minute.

fn main() -> anyhow::Result<()> {
    openmic_benches::count()
}
