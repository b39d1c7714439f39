//! The bench of the same name, as tests are compiled: see `benches/instructions.rs`.

fn main() -> anyhow::Result<()> {
    openmic_benches::count()
}
