//! The tests under sanitizers: memory that is not ours, memory that is left behind, accesses that race.

use clap::ValueEnum;

use crate::kernel;
use crate::step::{Failure, Outcome, Step, exists, in_ci, needs, root, target};

/// What looks on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sanitizer {
    /// Out of bounds, after free, leaks
    Address,
    /// Data races
    Thread,
}

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Measures how far down the stack goes, which a sanitizer changes.
const STACK: [&str; 3] =
    ["an_array_is_seen", "by_value_there_is_a_table_more", "in_place_the_capacity_does_not_matter"];

/// `cargo xtask sanitize [SANITIZER]`. What is `quick` is the part for every day: the two packages in which positions become addresses.
///
/// What they do not see: memory that the kernel has mapped has no bounds for AddressSanitizer; ThreadSanitizer knows nothing of fences that stand alone, of
/// another process, nor of the kernel. Orderings are for the models.
pub(crate) fn run(sanitizer: Option<Sanitizer>, quick: bool) -> Result<Outcome, Failure> {
    needs("sanitize", "nightly with rust-src; llvm-symbolizer; root for the tests on the kernel");
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Ok(Outcome::Skipped(format!("the sanitizers are for {TARGET}")));
    }
    if !exists("cargo", &["+nightly", "--version"]) {
        return Ok(Outcome::Skipped("rustup toolchain install nightly --component rust-src".to_owned()));
    }
    if !exists("llvm-symbolizer", &["--version"]) {
        // Without it no exception is recognised.
        return Ok(Outcome::Skipped("apt-get install llvm".to_owned()));
    }
    if quick {
        tests(Sanitizer::Address, &["-p", "ebpf-perfbuf", "-p", "ebpf-ringbuf", "--lib", "--tests"]).run()?;
        return Ok(Outcome::Shown("the rings touch no memory but their own".to_owned()));
    }
    let mut shown = Vec::new();
    for chosen in Sanitizer::value_variants().iter().filter(|one| sanitizer.is_none_or(|only| only == **one))
    {
        match chosen {
            Sanitizer::Address => {
                address()?;
                shown.push("no memory is touched that is not ours, and none is left behind");
            }
            Sanitizer::Thread => {
                thread()?;
                shown.push("no data race between threads, but for those in xtask/suppressions/thread.txt");
            }
        }
    }
    Ok(Outcome::Shown(shown.join("; ")))
}

fn address() -> Result<(), Failure> {
    let packages = [
        "-p",
        "bench-gate",
        "-p",
        "ebpf-loader",
        "-p",
        "ebpf-perfbuf",
        "-p",
        "ebpf-progtable",
        "-p",
        "ebpf-ringbuf",
        "-p",
        "ebpf-vm",
        "-p",
        "wfp-txn",
        "--lib",
        "--tests",
        "--",
    ];
    let skipped: Vec<&str> = STACK.iter().flat_map(|test| ["--skip", test]).collect();
    tests(Sanitizer::Address, &packages).arguments(&skipped).run()?;
    match kernel::unprivileged() {
        None => {}
        Some(why) if in_ci() => return Err(Failure(why)),
        Some(why) => {
            println!("skipped: ebpf-linux ({why})");
            return Ok(());
        }
    }
    let on_kernel = ["attach", "loaded", "maps", "programs", "rings", "waiting"].map(|test| ["--test", test]);
    tests(Sanitizer::Address, &["-p", "ebpf-linux", "--lib"]).arguments(on_kernel.as_flattened()).run()
}

fn thread() -> Result<(), Failure> {
    let concurrent = [
        ("ebpf-loader", &["all_or_nothing"][..]),
        ("ebpf-progtable", &["compiled"]),
        ("ebpf-ringbuf", &["modes", "threads"]),
        ("ebpf-vm", &["threads"]),
        ("wfp-txn", &["behaviour", "serial_order", "shared_handle", "waiting"]),
    ];
    let mut arguments = vec!["-Zbuild-std"];
    for (package, names) in concurrent {
        arguments.extend(["-p", package]);
        arguments.extend(names.iter().flat_map(|name| ["--test", *name]));
    }
    // Two tests at once may be given the same addresses by mmap(2), of which the sanitizer is not told.
    arguments.extend(["--", "--test-threads=1"]);
    tests(Sanitizer::Thread, &arguments).run()
}

fn tests(sanitizer: Sanitizer, arguments: &[&str]) -> Step {
    let suppressions =
        |file: &str| format!("suppressions={}", root().join("xtask/suppressions").join(file).display());
    let step = Step::cargo(&["+nightly", "test", "--target", TARGET, "--all-features", "--no-fail-fast"]);
    // A directory for each, whose builds would otherwise throw each other away.
    let step = match sanitizer {
        Sanitizer::Address => step
            .variable("RUSTFLAGS", "-Zsanitizer=address")
            .variable("ASAN_OPTIONS", "detect_stack_use_after_return=1")
            .variable("LSAN_OPTIONS", &suppressions("leaks.txt"))
            .target(&target().join("sanitize-address")),
        // The library of Rust is built with it too: its locks would seem to be none otherwise.
        Sanitizer::Thread => step
            .variable("RUSTFLAGS", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer")
            .variable("TSAN_OPTIONS", &suppressions("thread.txt"))
            .target(&target().join("sanitize-thread")),
    };
    step.variable("CARGO_INCREMENTAL", "0")
        .arguments(arguments)
        .or("the report names both places; what is known to be harmless goes into xtask/suppressions with its reason")
}
