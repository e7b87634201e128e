//! Everything that must hold before a change is taken, stage by stage.

use clap::ValueEnum;

use crate::step::{Failure, Outcome, Step, exists, in_ci, needs};
use crate::{bench, embed, fuzz, kernel, mutants, packages, programs, sanitize, test, windows};

/// A stage of `cargo xtask ci`, in the order in which they run: cheap ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    Fmt,
    Spelling,
    Deny,
    Clippy,
    Docs,
    Msrv,
    Powerset,
    Packages,
    Api,
    Test,
    Programs,
    Kernel,
    Instructions,
    Windows,
    Embed,
    Mutants,
    Sanitize,
    Fuzz,
}

/// `cargo xtask ci`.
pub(crate) fn run(skip: &[Stage], only: &[Stage], seconds: u32) -> Result<Outcome, Failure> {
    needs(
        "ci",
        "rustfmt, clippy, codespell, cargo-deny, cargo-hack, the oldest Rust, clang, valgrind, the headers of libelf and zlib, mingw-w64 and wine, nightly with rust-src and cargo-fuzz, a kernel's headers, QEMU",
    );
    let mut left_out = Vec::new();
    for stage in Stage::value_variants() {
        let name = format!("{stage:?}").to_lowercase();
        if skip.contains(stage) || !(only.is_empty() || only.contains(stage)) {
            left_out.push(name);
            continue;
        }
        println!("\n== {name}");
        match stage {
            Stage::Fmt => fmt(),
            Stage::Spelling => spelling(),
            Stage::Deny => deny(),
            Stage::Clippy => clippy(),
            Stage::Docs => docs(),
            Stage::Msrv => packages::msrv(),
            Stage::Powerset => packages::powerset(),
            Stage::Packages => packages::run(),
            Stage::Api => packages::api(),
            Stage::Test => test::run(),
            Stage::Programs => programs::run(false),
            Stage::Kernel => kernel::run(None),
            Stage::Instructions => bench::instructions(false),
            Stage::Windows => windows::run(),
            Stage::Embed => embed::all(),
            Stage::Mutants => mutants::run(None),
            Stage::Sanitize => sanitize::run(None, true),
            Stage::Fuzz => fuzz::run(None, seconds),
        }?
        .settle()?;
    }
    let tail =
        if left_out.is_empty() { String::new() } else { format!(" (left out: {})", left_out.join(", ")) };
    Ok(Outcome::Shown(format!("every stage passed{tail}")))
}

fn fmt() -> Result<Outcome, Failure> {
    Step::cargo(&["fmt", "--all", "--check"]).or("cargo fmt --all").run()?;
    Ok(Outcome::Shown("the sources are formatted".to_owned()))
}

fn spelling() -> Result<Outcome, Failure> {
    if !exists("codespell", &["--version"]) {
        return Ok(Outcome::Skipped("apt-get install codespell".to_owned()));
    }
    Step::new("codespell", &[]).or("a word that is right goes into .codespellrc").run()?;
    Ok(Outcome::Shown("no word that is known to be misspelt".to_owned()))
}

fn deny() -> Result<Outcome, Failure> {
    if !exists("cargo", &["deny", "--version"]) {
        return Ok(Outcome::Skipped("cargo install cargo-deny --locked".to_owned()));
    }
    // What was fetched for the build is enough.
    Step::cargo(&["deny", "--offline", "--all-features", "check", "bans", "licenses", "sources"])
        .or("deny.toml says what dependencies may be, and why")
        .run()?;
    Ok(Outcome::Shown(
        "dependencies have the licences, versions and sources that deny.toml allows".to_owned(),
    ))
}

fn clippy() -> Result<Outcome, Failure> {
    let step = workspace("clippy")?.arguments(&["--all-targets", "--all-features", "--", "-D", "warnings"]);
    let advice = "every exception in the code says its reason: #[expect(…, reason = \"…\")]";
    step.or(advice).run()?;
    test::model_clippy(advice)?;
    Ok(Outcome::Shown("no warning in any target".to_owned()))
}

fn docs() -> Result<Outcome, Failure> {
    let step =
        workspace("doc")?.arguments(&["--no-deps", "--all-features"]).variable("RUSTDOCFLAGS", "-D warnings");
    step.or("a public item without documentation, or a link that leads nowhere").run()?;
    Ok(Outcome::Shown("the documentation builds without a warning".to_owned()))
}

/// A cargo command over the workspace; without libelf's headers it leaves out the package that needs them, except in CI.
fn workspace(verb: &str) -> Result<Step, Failure> {
    let step = Step::cargo(&[verb, "--workspace"]);
    match kernel::missing() {
        None => Ok(step),
        Some(missing) if in_ci() => Err(Failure(missing)),
        Some(missing) => {
            println!("skipped: ebpf-conformance ({missing})");
            Ok(step.arguments(&["--exclude", "ebpf-conformance"]))
        }
    }
}
