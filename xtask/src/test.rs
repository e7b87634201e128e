//! What needs nothing but cargo: tests, and the concurrency models.

use crate::mutants::Modelled;
use crate::step::{Failure, Outcome, Step, needs, target};

/// `cargo xtask test`.
pub(crate) fn run() -> Result<Outcome, Failure> {
    needs("test", "cargo only");
    Step::cargo(&["test", "--workspace", "--all-features", "--exclude", "ebpf-conformance"])
        .or("run the failing test alone: cargo test -p PACKAGE NAME")
        .run()?;
    // What is said of the stack holds for optimised code.
    Step::cargo(&["test", "--release", "-p", "ebpf-progtable", "--test", "stack"])
        .or("opening an object takes more stack than its documentation says")
        .run()?;
    // A few thousand ran above, with every check that the compiler can put in.
    Step::cargo(&["test", "--release", "-p", "ebpf-blocks", "--test", "mutations"])
        .variable("EBPF_BLOCKS_MUTATIONS", "100000")
        .or("the failing test says which seed and number repeat it")
        .run()?;
    let models = models(None, None)?;
    Ok(Outcome::Shown(format!(
        "unit, integration and documentation tests pass; {models} concurrency models hold, each within its own bound of preemptions"
    )))
}

/// `cargo xtask loom [PACKAGE] --preemptions N`.
pub(crate) fn loom(package: Option<&str>, preemptions: u32) -> Result<Outcome, Failure> {
    needs("loom", "cargo only, and patience: each preemption more multiplies the schedules");
    let models = models(package, Some(preemptions))?;
    Ok(Outcome::Shown(format!(
        "{models} concurrency models hold for every schedule with at most {preemptions} preemptions"
    )))
}

/// Explores them.
const HARNESS: &str = "ebpf-loom-harness";

/// Packages with models, which are tests in a module `models` that exists under `--cfg loom`, and in one of
/// the same name in `tests/downstream.rs`, which shows how others model themselves with the package.
const MODELLED: [Modelled; 6] = [
    Modelled {
        package: "bench-gate",
        variable: "BENCH_GATE_MUTANT",
        sites: "crates/bench-gate/src/order.rs",
        // Not in the library: cells that the model checker looks at are unsafe code, which the library forbids.
        target: &["--test", "models"],
        others: &[],
    },
    Modelled {
        package: "ebpf-perfbuf",
        variable: "EBPF_PERFBUF_MUTANT",
        sites: "crates/perfbuf/src/order.rs",
        target: &["--lib"],
        others: &["--test", "downstream"],
    },
    Modelled {
        package: "ebpf-progtable",
        variable: "EBPF_PROGTABLE_MUTANT",
        sites: "crates/progtable/src/order.rs",
        target: &["--lib"],
        others: &["--test", "downstream"],
    },
    Modelled {
        package: "ebpf-ringbuf",
        variable: "EBPF_RINGBUF_MUTANT",
        sites: "crates/ringbuf/src/order.rs",
        target: &["--lib"],
        others: &["--test", "downstream"],
    },
    Modelled {
        package: "ebpf-vm",
        variable: "EBPF_VM_MUTANT",
        sites: "crates/vm/src/maps/order.rs",
        target: &["--lib"],
        others: &[],
    },
    Modelled {
        package: "wfp-txn",
        variable: "WFP_TXN_MUTANT",
        sites: "crates/wfp-txn/src/mutant.rs",
        // Not in the library: a lock for the model checker is unsafe code, which the library forbids.
        target: &["--test", "models"],
        others: &[],
    },
];

/// The packages to go over: all with models, or the one named, with or without `ebpf-`.
pub(crate) fn modelled(package: Option<&str>) -> Result<Vec<&'static Modelled>, Failure> {
    let is_meant = |modelled: &&Modelled| {
        package.is_none_or(|package| {
            modelled.package.strip_prefix("ebpf-") == Some(package) || modelled.package == package
        })
    };
    let meant: Vec<_> = MODELLED.iter().filter(is_meant).collect();
    if meant.is_empty() {
        let known = MODELLED.each_ref().map(|modelled| modelled.package);
        let package = package.unwrap_or_default();
        return Err(Failure(format!("{package} has no models; these packages have: {}", known.join(", "))));
    }
    Ok(meant)
}

/// Compiles the models of a package and gives the path of the test binary.
pub(crate) fn model_binary(modelled: &Modelled) -> Result<String, Failure> {
    let package = modelled.package;
    let output = under_loom(&["test", "-p", package, "--profile", "loom", "--no-run"])
        .arguments(modelled.target)
        .arguments(&["--message-format=json"])
        .output()?;
    // One JSON object a line; the last executable is the one asked for.
    let executable = output.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        Some(rest.split_once('"')?.0.to_owned())
    });
    executable.ok_or_else(|| Failure(format!("{package}: cargo named no test binary")))
}

/// Clippy over the code that only exists under `--cfg loom`.
pub(crate) fn model_clippy(advice: &str) -> Result<(), Failure> {
    let modelled = MODELLED.iter().map(|modelled| modelled.package);
    for package in modelled.chain([HARNESS]) {
        let step = under_loom(&["clippy", "-p", package, "--lib", "--tests", "--", "-D", "warnings"]);
        step.or(advice).run()?;
    }
    Ok(())
}

fn under_loom(arguments: &[&str]) -> Step {
    Step::cargo(arguments)
        .variable("RUSTFLAGS", "--cfg loom")
        // Its own directory: other flags would otherwise throw away the build of everything else.
        .target(&target().join("loom"))
}

fn model_step(modelled: &Modelled) -> Step {
    under_loom(&["test", "-p", modelled.package, "--profile", "loom"])
        .arguments(modelled.target)
        .arguments(modelled.others)
        .arguments(&["models::"])
        .or("run the failing model alone: the command above with the model's name")
}

/// Runs the models and returns how many there were. `preemptions` raises the bound that each model has of its own.
fn models(package: Option<&str>, preemptions: Option<u32>) -> Result<usize, Failure> {
    let mut total: usize = 0;
    if package.is_none() {
        under_loom(&["test", "-p", HARNESS, "--profile", "loom", "--lib"])
            .or("what explores all models does not notice what it is to notice")
            .run()?;
    }
    for modelled in modelled(package)? {
        let test = |last: &[&str]| {
            let step = model_step(modelled).arguments(last);
            match preemptions {
                Some(bound) => step.variable("LOOM_MAX_PREEMPTIONS", &bound.to_string()),
                None => step,
            }
        };
        test(&[]).run()?;
        // A filter that matches nothing passes: count what ran.
        let listed = test(&["--", "--list"]).output()?;
        let count = listed.lines().filter(|line| line.ends_with(": test")).count();
        if count == 0 {
            return Err(Failure(format!(
                "{}: no test in a module `models`: nothing was explored",
                modelled.package
            )));
        }
        total = total.saturating_add(count);
    }
    Ok(total)
}
