//! The machine's threads under ThreadSanitizer.

use crate::step::{Failure, Outcome, Step, exists, needs, root};

/// `cargo xtask threads`.
pub(crate) fn run() -> Result<Outcome, Failure> {
    needs("threads", "a nightly toolchain, x86-64 Linux");
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Ok(Outcome::Skipped("ThreadSanitizer is asked for on x86-64 Linux only".to_owned()));
    }
    if !exists("cargo", &["+nightly", "--version"]) {
        return Ok(Outcome::Skipped("no nightly toolchain: rustup toolchain install nightly".to_owned()));
    }
    let suppressions = root().join("crates/vm/tests/threads.supp");
    // The standard library is not built for it, hence the second flag and the list of what is not meant.
    Step::cargo(&[
        "+nightly",
        "test",
        "-p",
        "ebpf-vm",
        "--test",
        "threads",
        "--target",
        "x86_64-unknown-linux-gnu",
    ])
    .variable("RUSTFLAGS", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer")
    .variable("CARGO_TARGET_DIR", "target/tsan")
    .variable("TSAN_OPTIONS", &format!("suppressions={}", suppressions.display()))
    .or("the first two stacks are the two threads that meet; the third says where the memory comes from")
    .run()?;
    Ok(Outcome::Shown("programs on several threads do not race in the machine's memory".to_owned()))
}
