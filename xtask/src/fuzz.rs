//! Fuzzing, one target after the other.

use std::fs;

use crate::step::{Failure, Outcome, Step, exists, needs, root};

/// `cargo xtask fuzz [TARGET] --seconds N`.
pub(crate) fn run(target: Option<&str>, seconds: u32) -> Result<Outcome, Failure> {
    needs("fuzz", "a nightly toolchain and cargo-fuzz");
    if !exists("cargo", &["+nightly", "fuzz", "--version"]) {
        return Ok(Outcome::Skipped(
            "no nightly toolchain with cargo-fuzz: rustup toolchain install nightly && cargo install cargo-fuzz".to_owned(),
        ));
    }
    let listed = Step::cargo(&["+nightly", "fuzz", "list"]).or("is fuzz/Cargo.toml there?").output()?;
    let known: Vec<&str> = listed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let chosen: Vec<&str> =
        known.iter().copied().filter(|name| target.is_none_or(|target| target == *name)).collect();
    if chosen.is_empty() {
        let target = target.unwrap_or("any");
        return Err(Failure(format!("no fuzz target `{target}`; there are: {}", known.join(", "))));
    }
    let limit = format!("-max_total_time={seconds}");
    for name in &chosen {
        // What a run finds goes into the first directory; the committed seeds are only read.
        let found = root().join("target/fuzz").join(name);
        fs::create_dir_all(&found).map_err(|error| Failure(format!("{}: {error}", found.display())))?;
        let seeds = format!("fuzz/corpus/{name}");
        Step::cargo(&["+nightly", "fuzz", "run", name, &found.to_string_lossy(), &seeds, "--", &limit])
            .or("the input is kept in fuzz/artifacts; make it a unit test, then a fix")
            .run()?;
    }
    Ok(Outcome::Shown(format!("no crash in {seconds} s of fuzzing each: {}", chosen.join(", "))))
}
