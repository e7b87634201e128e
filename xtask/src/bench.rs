//! The project's goals in figures.

use std::fs;

use clap::{Args, Subcommand};

use crate::figures::{self, PARTS, Part};
use crate::kernel;
use crate::step::{Failure, Outcome, Step, exists, in_ci, needs, root};

/// What `cargo xtask bench` measures.
#[derive(Subcommand)]
pub(crate) enum Figures {
    /// Instructions per step, beside the committed table (needs valgrind)
    Instructions {
        /// Replace the table
        #[arg(long)]
        write: bool,
    },
    /// The performance gate: false alarms and detections beside the rules of others, under hogs; fails where a goal is missed
    Gate {
        /// Fewer gates: for a look, not for a verdict
        #[arg(long)]
        quick: bool,
        /// 10,000 gates without a change, as the goal says: takes minutes
        #[arg(long, conflicts_with = "quick")]
        full: bool,
        /// Write the figures to this file too
        #[arg(long, value_name = "FILE")]
        json: Option<String>,
    },
    /// Opening objects beside the peers, and how its price grows; fails where a goal is missed (real objects need libelf,
    /// zlib, xdp-tools and libbpf-tools)
    Open {
        /// Only objects whose names contain this
        filter: Option<String>,
        #[command(flatten)]
        taking: Taking,
    },
    /// Draining the kernel's perf rings beside libbpf; fails where a goal is missed (root, clang, libelf and zlib)
    Perf {
        /// Only rows whose names contain this
        filter: Option<String>,
        #[command(flatten)]
        taking: Taking,
    },
    /// Loading k of 64 programs into the kernel, beside libbpf; fails where a goal is missed (root, clang, libelf and zlib)
    Load {
        #[command(flatten)]
        taking: Taking,
    },
    /// The ring's speed beside the peers; fails where a goal is missed (the kernel's ring needs root, clang, libelf and zlib)
    Ring {
        /// Only rows whose names contain this
        filter: Option<String>,
        #[command(flatten)]
        taking: Taking,
    },
    /// The machine beside rbpf's interpreter and compilers to machine code, and how its prices grow; fails where a goal is missed (the
    /// kernel's compiler needs root, clang, libelf and zlib)
    Vm {
        /// Only programs whose names contain this
        filter: Option<String>,
        #[command(flatten)]
        taking: Taking,
    },
    /// Transactions of the filter engine: how many a second, how long they wait, what the serializer costs
    Wfp {
        #[command(flatten)]
        taking: Taking,
    },
}

/// How figures are taken.
#[derive(Args)]
pub(crate) struct Taking {
    /// Fewer turns: for a look, not for a verdict
    #[arg(long)]
    quick: bool,
    /// Write the figures to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
}

/// `cargo xtask bench`.
pub(crate) fn run(
    figures: Option<&Figures>,
    write: Option<&[String]>,
    quick: bool,
    busy: bool,
) -> Result<Outcome, Failure> {
    let Some(figures) = figures else {
        return match write {
            Some(only) => all(only, quick, busy),
            None => Err(Failure("which figures? `cargo xtask bench --help`, or --write".to_owned())),
        };
    };
    match figures {
        Figures::Gate { quick, full, json } => gate(*quick, *full, json.as_deref()),
        Figures::Instructions { write } => instructions(*write),
        Figures::Open { filter, taking } => open(filter.as_deref(), taking),
        Figures::Load { taking } => load(taking),
        Figures::Perf { filter, taking } => perf(filter.as_deref(), taking),
        Figures::Ring { filter, taking } => ring(filter.as_deref(), taking),
        Figures::Vm { filter, taking } => vm(filter.as_deref(), taking),
        Figures::Wfp { taking } => wfp(taking),
    }
}

/// `cargo xtask bench --write`: figures of speed, into README.md. What was missed is said there, and is no failure here.
fn all(only: &[String], quick: bool, busy: bool) -> Result<Outcome, Failure> {
    needs("bench --write", "what all the others need, and a machine that nobody else uses, for some minutes");
    if let Some(unknown) = only.iter().find(|name| !PARTS.contains(&name.as_str())) {
        return Err(Failure(format!("no part `{unknown}`; there are: {}", PARTS.join(", "))));
    }
    let (load, cpus) = figures::load();
    // Half of one CPU is what a desktop does by itself.
    if load > 0.5 && !busy {
        return Err(Failure(format!(
            "the machine is busy (load {load:.1} on {cpus} CPUs): its figures would say nothing of the contenders. Wait, or add --busy; what is written says so"
        )));
    }
    let turns = if quick { "a dozen turns (a quick run)" } else { "41 turns" };
    let machine = figures::machine(turns)?;
    let features = peers("the kernel's rings and loaders")?;
    optimised("build").arguments(&["--bins"]).arguments(features).run()?;
    let directory = root().join("target/figures");
    fs::create_dir_all(&directory).map_err(|error| Failure(format!("{}: {error}", directory.display())))?;
    let mut parts = Vec::new();
    for name in PARTS.into_iter().filter(|name| only.is_empty() || only.iter().any(|only| only == name)) {
        let file = directory.join(name).with_extension("json");
        // What an earlier run found is not to be taken for this one's.
        let _ = fs::remove_file(&file);
        let taking = Taking { quick, json: Some(file.to_string_lossy().into_owned()) };
        let ran = figures(name, features, None, &taking);
        let text = fs::read_to_string(&file);
        match (ran, text.map(|text| serde_json::from_str(&text))) {
            (_, Ok(Ok(json))) => parts.push(Part { name, json, machine: machine.clone() }),
            (Err(failure), _) => return Err(failure),
            (Ok(_), _) => return Err(Failure(format!("{}: no figures", file.display()))),
        }
    }
    figures::write(&parts)
}

/// `cargo xtask bench instructions`: the part that does not depend on how busy the machine is.
pub(crate) fn instructions(write: bool) -> Result<Outcome, Failure> {
    needs("bench instructions", "valgrind, x86-64");
    if !cfg!(target_arch = "x86_64") {
        return Ok(Outcome::Skipped("the table is for x86-64".to_owned()));
    }
    if !exists("valgrind", &["--version"]) {
        return Ok(Outcome::Skipped("valgrind is missing: apt-get install valgrind".to_owned()));
    }
    // The steps are a binary of their own, which `run` does not build.
    optimised("build").arguments(&["--bins"]).run()?;
    let write: &[&str] = if write { &["--write"] } else { &[] };
    bench(&[])
        .arguments(&["--", "instructions"])
        .arguments(write)
        .or("make the step cheaper, or take its price into the table and say why: cargo xtask bench instructions --write")
        .run()?;
    Ok(Outcome::Shown("no step takes more instructions than the table says".to_owned()))
}

fn open(filter: Option<&str>, taking: &Taking) -> Result<Outcome, Failure> {
    needs("bench open", "libelf and zlib with their headers, xdp-tools, libbpf-tools, valgrind");
    let features = peers("real objects beside libbpf and aya")?;
    // What valgrind runs is a binary of its own, which `run` does not build.
    optimised("build").arguments(&["--bins"]).arguments(features).run()?;
    figures("open", features, filter, taking)
}

fn load(taking: &Taking) -> Result<Outcome, Failure> {
    needs("bench load", "root, clang, libelf and zlib");
    figures("load", peers("loading into the kernel")?, None, taking)
}

fn ring(filter: Option<&str>, taking: &Taking) -> Result<Outcome, Failure> {
    needs("bench ring", "two CPUs that nobody else uses; for the kernel's ring root, clang, libelf and zlib");
    figures("ring", peers("the kernel's ring")?, filter, taking)
}

/// The feature that brings the peers in which need libelf, if it is there.
fn peers(what: &str) -> Result<&'static [&'static str], Failure> {
    match kernel::missing() {
        None => Ok(&["--features", "kernel"]),
        Some(missing) if in_ci() => Err(Failure(missing)),
        Some(missing) => {
            println!("skipped: {what} ({missing})");
            Ok(&[])
        }
    }
}

fn perf(filter: Option<&str>, taking: &Taking) -> Result<Outcome, Failure> {
    needs("bench perf", "root, clang, libelf and zlib; CPUs that nobody else uses");
    figures("perf", peers("the kernel's perf rings")?, filter, taking)
}

fn vm(filter: Option<&str>, taking: &Taking) -> Result<Outcome, Failure> {
    needs("bench vm", "x86-64; a CPU that nobody else uses; for the kernel's compiler root, libelf and zlib");
    figures("vm", peers("the kernel's compiler")?, filter, taking)
}

fn figures(
    which: &str,
    features: &[&str],
    filter: Option<&str>,
    taking: &Taking,
) -> Result<Outcome, Failure> {
    let mut arguments = vec!["--", which];
    arguments.extend(filter);
    arguments.extend(taking.quick.then_some("--quick"));
    arguments.extend(taking.json.iter().flat_map(|file| ["--json", file]));
    let step = bench(features);
    let step = if which == "vm" { aligned(step) } else { step };
    step.arguments(&arguments)
        .or("a goal is missed: run it again when the machine is quiet, then look for the reason")
        .run()?;
    Ok(Outcome::Shown("every goal is reached".to_owned()))
}

fn gate(quick: bool, full: bool, json: Option<&str>) -> Result<Outcome, Failure> {
    needs("bench gate", "the series of ../shared/data/vm-noise for histories; it makes its own noise");
    if in_ci() && !root().join("../shared/data/vm-noise").is_dir() {
        return Err(Failure("skipped in CI: ../shared/data/vm-noise is missing".to_owned()));
    }
    let mut arguments = vec!["--", "gate"];
    arguments.extend(quick.then_some("--quick"));
    arguments.extend(full.then_some("--full"));
    arguments.extend(json.iter().flat_map(|file| ["--json", file]));
    bench(&[]).arguments(&arguments).or("a goal is missed: run it again, then look for the reason").run()?;
    Ok(Outcome::Shown("every goal is reached".to_owned()))
}

fn wfp(taking: &Taking) -> Result<Outcome, Failure> {
    needs("bench wfp", "a machine that is not busy otherwise");
    figures("wfp", &[], None, taking)
}

fn bench(features: &[&str]) -> Step {
    optimised("run").arguments(features)
}

/// For the interpreters loops begin on cache lines, ours and the peer's: where the one that counts happens to lie changes their figures by up to a half, with
/// every line that is added anywhere.
fn aligned(step: Step) -> Step {
    let own = std::env::var("RUSTFLAGS").unwrap_or_default();
    step.variable("RUSTFLAGS", format!("{own} -C llvm-args=-align-loops=64").trim())
}

/// Whoever compiles incrementally gets other code, a third slower.
fn optimised(verb: &str) -> Step {
    Step::cargo(&[verb, "--profile", "bench", "-p", "ebpf-bench"]).variable("CARGO_INCREMENTAL", "0")
}
