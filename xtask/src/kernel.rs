//! What needs the running kernel: the platform on it, and our answers beside libbpf's and its own.

use crate::step::{Failure, Outcome, Step, exists, needs};

/// `cargo xtask kernel`.
pub(crate) fn run() -> Result<Outcome, Failure> {
    needs(
        "kernel",
        "root; libelf and zlib with their headers, pkg-config, make; real objects from xdp-tools",
    );
    Step::cargo(&["test", "-p", "ebpf-linux"])
        .or("the error names the call, the program or map and the error number; `ebpf-blocks doctor` says what this machine allows")
        .run()?;
    if let Some(missing) = missing() {
        return Ok(Outcome::Skipped(missing));
    }
    Step::cargo(&["test", "-p", "ebpf-conformance"])
        .or("the test names the object and the field in which the two answers differ")
        .run()?;
    Ok(Outcome::Shown(
        "maps, programs, links and rings work on the kernel that runs here; our tables of programs and maps equal libbpf's, and our rings the kernel's"
            .to_owned(),
    ))
}

/// What is not installed, and how to install it.
pub(crate) fn missing() -> Option<String> {
    const INSTALL: &str = "apt-get install libelf-dev zlib1g-dev pkg-config make";
    if !exists("pkg-config", &["--version"]) {
        return Some(format!("pkg-config is missing: {INSTALL}"));
    }
    ["libelf", "zlib"]
        .into_iter()
        .find(|library| !exists("pkg-config", &["--exists", library]))
        .map(|library| format!("the headers of {library} are missing: {INSTALL}"))
}
