//! Windows, as far as it goes without it: the compiler's opinion for its own target, and one executable under Wine.

use std::fs;
use std::path::Path;

use crate::step::{Failure, Outcome, Step, exists, in_ci, needs, root, target};

pub(crate) const MSVC: &str = "x86_64-pc-windows-msvc";
pub(crate) const GNU: &str = "x86_64-pc-windows-gnu";
pub(crate) const MINGW: &str = "x86_64-w64-mingw32-gcc";

/// `cargo xtask windows`.
pub(crate) fn run() -> Result<Outcome, Failure> {
    needs("windows", "rustup's targets x86_64-pc-windows-msvc and -gnu, mingw-w64, wine");
    let installed = Step::new("rustup", &["target", "list", "--installed"])
        .or("rustup, with which targets are added")
        .output()
        .unwrap_or_default();
    let has = |target: &str| installed.lines().any(|line| line == target);
    if !has(MSVC) {
        return Ok(Outcome::Skipped(format!("rustup target add {MSVC} {GNU}")));
    }
    let features = ["--all-targets", "--all-features", "--target", MSVC, "--", "-D", "warnings"];
    Step::cargo(&["clippy", "-p", "ebpf-windows"]).arguments(&features).run()?;
    let checked = "ebpf-windows compiles for Windows without a warning";
    let missing = [
        (has(GNU), GNU),
        (exists(MINGW, &["--version"]), "mingw-w64"),
        (exists("wine", &["--version"]), "wine"),
    ];
    if let Some((_, missing)) = missing.iter().find(|(there, _)| !there) {
        let why = format!("{missing} is missing: no executable was run");
        if in_ci() {
            return Err(Failure(why));
        }
        println!("skipped: {why}");
        return Ok(Outcome::Shown(checked.to_owned()));
    }
    under_wine()?;
    Ok(Outcome::Shown(format!(
        "{checked}; under Wine, on a stand-in for fwpuclnt.dll, its calls arrive with the right arguments in the right order. THIS TESTS THE ABI AND THE \
         ORDER OF CALLS, NOT WINDOWS: the stand-in is no filter engine"
    )))
}

/// Builds an example for Windows and runs it under Wine, beside stand-ins for libraries; what it has written.
pub(crate) fn example(name: &str, features: &str, libraries: &[&str]) -> Result<String, Failure> {
    let sources = root().join("crates/windows/wine");
    let target = target();
    let stage = target.join("wine");
    fs::create_dir_all(&stage).map_err(|error| failure(&stage, &error))?;
    for library in libraries {
        let source = sources.join(library).with_extension("c");
        let output = stage.join(library).with_extension("dll");
        let files = ["-o", &*output.to_string_lossy(), &*source.to_string_lossy()].map(str::to_owned);
        Step::new(MINGW, &["-Wall", "-Wextra", "-Werror", "-O1", "-shared"])
            .arguments(&files.each_ref().map(String::as_str))
            .run()?;
    }
    Step::cargo(&["build", "-p", "ebpf-windows", "--example", name, "--features", features, "--target", GNU])
        .run()?;
    let executable = format!("{name}.exe");
    let built = target.join(GNU).join("debug/examples").join(&executable);
    fs::copy(&built, stage.join(&executable)).map_err(|error| failure(&built, &error))?;
    Step::new("wine", &[&format!("./{executable}")])
        .directory(&stage)
        .variable("WINEPREFIX", &stage.join("prefix").to_string_lossy())
        .variable("WINEDEBUG", "-all")
        .variable("WINEDLLOVERRIDES", "fwpuclnt=n;bcryptprimitives=n;mscoree,mshtml=")
        .or("run it by hand: the example's own assertions say what went wrong")
        .output()
}

/// Runs `examples/calls.rs` beside the stand-ins, and compares what they have written down.
fn under_wine() -> Result<(), Failure> {
    let written = example("calls", "std", &["fwpuclnt", "bcryptprimitives"])?;
    let expected = root().join("crates/windows/wine/calls.txt");
    let known = fs::read_to_string(&expected).map_err(|error| failure(&expected, &error))?;
    for (number, (written, known)) in written.lines().zip(known.lines()).enumerate() {
        if written.trim_end() != known {
            return Err(Failure(format!("call {number} is `{}`, should be `{known}`", written.trim_end())));
        }
    }
    let (calls, wanted) = (written.lines().count(), known.lines().count());
    if calls != wanted {
        return Err(Failure(format!("{calls} calls were made, should be {wanted}: {}", expected.display())));
    }
    println!("{calls} calls, as expected");
    Ok(())
}

fn failure(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}
