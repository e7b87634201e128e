//! What needs the running kernel: the platform on it, and our answers beside libbpf's and its own.

use crate::step::{Failure, Outcome, Step, exists, needs};

/// `cargo xtask kernel [--soak]`; `soak` is how many records of each kind of ring are to be read.
pub(crate) fn run(soak: Option<[u64; 2]>) -> Result<Outcome, Failure> {
    if let Some(records) = soak {
        return long_soak(records);
    }
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
    // As the tests are built, and so much that it takes seconds.
    Step::cargo(&["run", "-p", "ebpf-conformance", "--bin", "soak", "--"])
        .arguments(&["--ring", "1000000", "--perf", "1000000"])
        .run()?;
    Ok(Outcome::Shown(
        "maps, programs, links and rings work on the kernel that runs here; our tables of programs and maps equal libbpf's, and our rings the kernel's"
            .to_owned(),
    ))
}

/// As many records as asked for.
fn long_soak(counts: [u64; 2]) -> Result<Outcome, Failure> {
    needs(
        "kernel --soak",
        "root; two CPUs; libelf and zlib with their headers, pkg-config, make; some minutes",
    );
    if let Some(missing) = missing() {
        return Ok(Outcome::Skipped(missing));
    }
    let [ring, perf] = counts.map(|count| count.to_string());
    Step::cargo(&["run", "--release", "-p", "ebpf-conformance", "--bin", "soak", "--"])
        .arguments(&["--ring", &ring, "--perf", &perf])
        .arguments(&["--disturbances", "100"])
        .or("the message says which numbers disagree: those of the programs, of the kernel, or of the reader")
        .run()?;
    Ok(Outcome::Shown(
        "two CPUs wrote, a reader was paused, killed and started again on what was pinned: each record was read, or is one that the kernel counted as lost"
            .to_owned(),
    ))
}

/// Why this process may not use bpf(2), if it may not.
pub(crate) fn unprivileged() -> Option<String> {
    let is_root = Step::new("id", &["-u"]).output().is_ok_and(|id| id.trim() == "0");
    (!is_root).then(|| "the tests on the kernel need root".to_owned())
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
