//! A crate outside the workspace that model-checks itself together with three blocks.

use crate::step::{Failure, Outcome, Step, needs, target};

const MANIFEST: &str = "crates/embed/downstream/Cargo.toml";

/// `cargo xtask embed model`.
pub(crate) fn run() -> Result<Outcome, Failure> {
    needs("embed model", "cargo only");
    Step::cargo(&["fmt", "--check", "--manifest-path", MANIFEST]).run()?;
    let modelled = |arguments: &[&str]| {
        Step::cargo(arguments).variable("RUSTFLAGS", "--cfg loom").target(&target().join("embed/model"))
    };
    let lints = ["--all-targets", "--manifest-path", MANIFEST, "--", "-D", "warnings"];
    modelled(&["clippy", "--release", "--quiet"]).arguments(&lints).run()?;
    let test = ["test", "--release", "--quiet", "--locked", "--manifest-path", MANIFEST, "--test", "model"];
    modelled(&test)
        .arguments(&["--", "--nocapture"])
        .or("what a reader may find has changed, or a mistake is no longer found")
        .run()?;
    Ok(Outcome::Shown(
        "a crate outside the workspace models itself together with the ring, the perf rings and the serializer; both seeded mistakes are found".to_owned(),
    ))
}
