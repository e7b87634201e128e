//! The project's commands: `cargo xtask VERB`.
//!
//! A verb is thin: it says what it needs, runs what a person would type (and prints it), stops at the first failure with
//! what to do next, and says at the end what has been shown. Where a verb cannot run because the machine lacks something
//! it says `skipped:` and why; with `CI` set in the environment that is a failure, because nobody reads the log of a
//! green run.

mod bench;
mod ci;
mod embed;
mod figures;
mod fuzz;
mod gate;
mod kernel;
mod mutants;
mod packages;
mod programs;
mod readme;
mod sanitize;
mod step;
mod test;
mod windows;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use ci::Stage;
use step::Outcome;

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Bench { figures, write, quick, busy } => {
            bench::run(figures.as_ref(), write.as_deref(), quick, busy)
        }
        Verb::Ci { skip, only, seconds } => ci::run(&skip, &only, seconds),
        Verb::Embed { host } => embed::run(&host),
        Verb::Fuzz { target, seconds, keep } => match (target.as_deref(), &*keep) {
            (Some(target), [file, name]) => fuzz::keep(target, file, name),
            (target, _) => fuzz::run(target, seconds),
        },
        Verb::Gate { baseline, only } => gate::run(&baseline, only.as_deref()),
        Verb::Kernel { soak, ring, perf } => kernel::run(soak.then_some([ring, perf])),
        Verb::Loom { package, preemptions } => test::loom(package.as_deref(), preemptions),
        Verb::Mutants { package } => mutants::run(package.as_deref()),
        Verb::Programs { write } => programs::run(write),
        Verb::Readmes => readme::write(),
        Verb::Sanitize { sanitizer, quick } => sanitize::run(sanitizer, quick),
        Verb::Test => test::run(),
        Verb::Windows => windows::run(),
    };
    match result.and_then(Outcome::settle) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The project's commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// The goals in figures: speed beside the peers, instructions per step
    #[command(args_conflicts_with_subcommands = true)]
    Bench {
        #[command(subcommand)]
        figures: Option<bench::Figures>,
        /// Take figures of speed and write them into README.md: all, or the parts named (ring, perf, open, load, wfp, vm, gate)
        #[arg(long, value_name = "PART", num_args = 0.., value_delimiter = ',')]
        write: Option<Vec<String>>,
        /// Fewer turns: for a look, not for a verdict
        #[arg(long, requires = "write")]
        quick: bool,
        /// Also on a machine that does other things meanwhile
        #[arg(long, requires = "write")]
        busy: bool,
    },
    /// Everything that must hold before a change is taken, stage by stage
    Ci {
        /// Stages to leave out (because they have just been run)
        #[arg(long, value_name = "STAGE", num_args = 1.., value_delimiter = ',')]
        skip: Vec<Stage>,
        /// These stages and no others
        #[arg(long, value_name = "STAGE", num_args = 1.., value_delimiter = ',', conflicts_with = "skip")]
        only: Vec<Stage>,
        /// Seconds for each fuzz target
        #[arg(long, default_value_t = 12)]
        seconds: u32,
    },
    /// The blocks inside other people's code: a Linux module, bare metal, a Windows driver
    Embed {
        #[command(subcommand)]
        host: embed::Host,
    },
    /// Fuzz one target, or all of them in turn (needs nightly and cargo-fuzz)
    Fuzz {
        /// Name of a target in fuzz/fuzz_targets
        target: Option<String>,
        /// Seconds for each target; with 0 the committed seeds are run, and nothing else
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Make a crash that was found a seed of that name, which every later run begins with
        #[arg(long, num_args = 2, value_names = ["FILE", "NAME"], requires = "target", conflicts_with = "seconds")]
        keep: Vec<String>,
    },
    /// Judge the benchmarks of rings, table and transactions: this working tree against a commit, in turns
    Gate {
        /// The commit to compare with
        #[arg(default_value = "HEAD~1")]
        baseline: String,
        /// Only benchmarks whose names contain this
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
    },
    /// Run the platform on the kernel, compare our answers with libbpf's (needs root, the headers of libelf and zlib)
    Kernel {
        /// Instead of the tests: numbered records through rings for minutes, with a reader that is paused, killed and started again
        #[arg(long)]
        soak: bool,
        /// Records to be read from a BPF ring buffer
        #[arg(long, value_name = "RECORDS", default_value_t = 1_000_000_000, requires = "soak")]
        ring: u64,
        /// Records to be read from perf rings
        #[arg(long, value_name = "RECORDS", default_value_t = 100_000_000, requires = "soak")]
        perf: u64,
    },
    /// Explore the concurrency models further than `test` does
    Loom {
        /// Package whose models to run; all that have some, if none is given
        package: Option<String>,
        /// Preemptions in a schedule, at most; a model's own bound holds where it is higher
        #[arg(long, value_name = "N", default_value_t = 2)]
        preemptions: u32,
    },
    /// Weaken one memory ordering, or leave out one step, after the other: some concurrency model must notice each
    Mutants {
        /// Package whose orderings and steps to go over; all that have models, if none is given
        package: Option<String>,
    },
    /// Rebuild the BPF programs of crates/cli/programs and compare them with the committed objects (needs clang)
    Programs {
        /// Replace the committed objects by what their sources give
        #[arg(long)]
        write: bool,
    },
    /// Rewrite the packages' front pages from what their documentation begins with
    Readmes,
    /// The tests under AddressSanitizer and ThreadSanitizer (needs nightly with rust-src)
    Sanitize {
        /// Both, if none is given
        sanitizer: Option<sanitize::Sanitizer>,
        /// The rings under AddressSanitizer, and nothing else
        #[arg(long, conflicts_with = "sanitizer")]
        quick: bool,
    },
    /// Everything that needs nothing but cargo: unit, integration and doc tests, bounded concurrency models
    Test,
    /// The Windows parts, without Windows: the compiler for its target, and one executable under Wine
    Windows,
}
