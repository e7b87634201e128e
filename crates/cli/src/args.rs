//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Inspect and run eBPF object files: on any machine without privileges, or on the kernel.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit status: 0 all well, 1 something failed, 2 wrong usage (also: a program name that the object does not have); `gate` also: 3 too noisy, 4 unfit."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Say what this machine allows, and what to do about each no
    Doctor(Doctor),
    /// Print programs and maps of object files, what each program refers to, and what the object needs of a kernel
    Inspect(Inspect),
    /// Say where a ring of the running kernel stands, or take records out of it
    Ring(Ring),
    /// Load an object, run its programs, print every record that comes out of its rings
    Run(Run),
    /// Judge whether something got slower, with evidence on both sides: exit status 0 pass, 1 regressed, 3 too noisy, 4 unfit
    #[command(subcommand)]
    Gate(Gate),
    /// Transactions of the Windows Filtering Platform, on a model of its engine
    #[command(subcommand)]
    Wfp(Wfp),
}

/// What programs are loaded onto.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(clippy::exhaustive_enums, reason = "not an API: see the crate's documentation")]
pub enum PlatformName {
    /// The embedded machine: anywhere, without privileges
    #[default]
    Vm,
    /// The running kernel: on Linux, with privileges (see `doctor`)
    Linux,
}

#[derive(Args)]
pub(crate) struct Doctor {
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// Object files, as clang makes them with `-target bpf -g`
    #[arg(required = true, value_name = "OBJECT")]
    pub(crate) objects: Vec<PathBuf>,
    /// Whose names of sections say what programs are
    #[arg(long, value_enum, default_value_t = Table::Linux, value_name = "SYSTEM")]
    pub(crate) table: Table,
    /// Also print what loading each program takes, and what is saved for those that are off (creates the maps on the embedded
    /// machine, one at a time, to know their memory)
    #[arg(long)]
    pub(crate) cost: bool,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// A table of section names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Table {
    /// Those of Linux, as libbpf knows them
    #[default]
    Linux,
    /// Those of eBPF for Windows
    Windows,
}

#[derive(Args)]
pub(crate) struct Ring {
    /// The map: its number (`bpftool map`), or where it is pinned
    #[arg(value_name = "MAP")]
    pub(crate) map: String,
    /// Take the records out and print them; whoever else reads the ring does not get them
    #[arg(long)]
    pub(crate) read: bool,
    /// Records to take, at most
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true, requires = "read")]
    pub(crate) limit: usize,
    /// Go on until no record came for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0, requires = "read")]
    pub(crate) wait: u64,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Run {
    /// Object file, as clang makes it with `-target bpf -g`
    #[arg(value_name = "OBJECT")]
    pub(crate) object: PathBuf,
    /// What runs the programs
    #[arg(long, value_enum, value_name = "PLATFORM", default_value_t = PlatformName::Vm)]
    pub(crate) platform: PlatformName,
    /// Load these programs and no others (also those that are off by themselves: `SEC("?…")`)
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Do not load these programs
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub(crate) skip: Vec<String>,
    /// How many times to run each program
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) repeat: u64,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Wfp {
    /// Threads load, attach, invoke, detach and unload IPv4 and IPv6 connection programs; fails if anything fails or is left behind
    Stress(WfpStress),
}

#[derive(Args)]
pub(crate) struct WfpStress {
    /// How threads share the engine
    #[arg(long, value_enum, default_value_t = WfpStrategy::Serialized)]
    pub(crate) strategy: WfpStrategy,
    /// Threads, every other one with the IPv6 program; the number of CPUs, but at least two, if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) threads: Option<u64>,
    /// How long to run
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Milliseconds that a program stays attached
    #[arg(long, value_name = "MS", default_value_t = 10)]
    pub(crate) attach_detach_delay: u64,
    /// Restart the engine again and again
    #[arg(long)]
    pub(crate) restart: bool,
    /// Milliseconds between restarts; ten times the attach-detach delay if not given, and at least twice that delay
    #[arg(long, value_name = "MS")]
    pub(crate) restart_delay: Option<u64>,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// How threads share the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WfpStrategy {
    /// One handle for all, and nothing else: fails
    Shared,
    /// One session, first come, first served
    Serialized,
    /// A pool of four sessions
    Sessions,
    /// One session; whoever waits joins the transaction of those before
    Grouped,
    /// One handle for all; whoever finds another's transaction in it tries again
    Retry,
}

impl WfpStrategy {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Serialized => "serialized",
            Self::Sessions => "sessions",
            Self::Grouped => "grouped",
            Self::Retry => "retry",
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Gate {
    /// Say what clock, CPU and memory are worth for measuring
    SelfTest(GateSelfTest),
    /// Run two commands in turn, pinned, until there is an answer
    Run(GateRun),
    /// Judge two stored series that were measured in turns
    Compare(GateCompare),
    /// Judge the newest runs of a series against the window before them
    History(GateHistory),
    /// Measure this project's own path: opening and loading an object on the embedded machine and, where allowed, on the kernel
    Load(GateLoad),
}

impl Gate {
    pub(crate) const fn json(&self) -> bool {
        match self {
            Self::SelfTest(arguments) => arguments.json,
            Self::Run(arguments) => arguments.json,
            Self::Compare(arguments) => arguments.json,
            Self::History(arguments) => arguments.json,
            Self::Load(arguments) => arguments.json,
        }
    }
}

#[derive(Args)]
pub(crate) struct GateSelfTest {
    /// CPU to measure on; the last one this process may use, if not given
    #[arg(long, value_name = "N")]
    pub(crate) cpu: Option<u32>,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What pairs are judged by.
#[derive(Args)]
pub(crate) struct GatePolicy {
    /// Slowdown that is none, in percent
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = percent)]
    pub(crate) tolerated: u32,
    /// Slowdown that must not pass, in percent
    #[arg(long, value_name = "PERCENT", default_value = "3", value_parser = percent)]
    pub(crate) forbidden: u32,
    /// How often the answer may be wrong, on either side
    #[arg(long, value_enum, default_value_t = GateRisk::Thousandth)]
    pub(crate) risk: GateRisk,
    /// Pairs after which it is too noisy
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) max_pairs: u16,
    /// What the order of the sides comes from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// How often an answer may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GateRisk {
    /// Once in a hundred
    #[value(name = "1e-2")]
    Hundredth,
    /// Once in a thousand
    #[value(name = "1e-3")]
    Thousandth,
    /// Once in ten thousand
    #[value(name = "1e-4")]
    TenThousandth,
}

#[derive(Args)]
pub(crate) struct GateRun {
    /// The command as it was
    #[arg(long, value_name = "COMMAND")]
    pub(crate) baseline: String,
    /// The command as it is now
    #[arg(long, value_name = "COMMAND")]
    pub(crate) candidate: String,
    /// The commands stay: for each line they read they do their work once and answer with the time it took, in nanoseconds, on a line
    #[arg(long)]
    pub(crate) turns: bool,
    /// What to call it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Runs of each side that do not count
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) warm_up: u16,
    /// Do not judge the baseline against itself first
    #[arg(long)]
    pub(crate) no_preflight: bool,
    /// CPU to run on; the last one this process may use, if not given
    #[arg(long, value_name = "N")]
    pub(crate) cpu: Option<u32>,
    /// Run on any CPU
    #[arg(long, conflicts_with = "cpu")]
    pub(crate) no_pin: bool,
    /// Write both series to PREFIX.baseline.json and PREFIX.candidate.json
    #[arg(long, value_name = "PREFIX")]
    pub(crate) save: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) policy: GatePolicy,
    /// Draw pairs, margins, boundaries and verdict
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct GateCompare {
    /// Series of the baseline: JSON, an object with `values` or the values alone
    #[arg(value_name = "A.json")]
    pub(crate) baseline: PathBuf,
    /// Series of the candidate
    #[arg(value_name = "B.json")]
    pub(crate) candidate: PathBuf,
    /// They were measured in turns, the n-th values of both side by side and in random order, although the files do not say so
    #[arg(long)]
    pub(crate) paired: bool,
    /// Rates, not times
    #[arg(long)]
    pub(crate) higher_is_better: bool,
    #[command(flatten)]
    pub(crate) policy: GatePolicy,
    /// Draw pairs, margins, boundaries and verdict
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct GateHistory {
    /// Runs, the newest one last: CSV, `time,value`
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Rates, not times
    #[arg(long)]
    pub(crate) higher_is_better: bool,
    /// Slowdown that is none, in percent; grows with the spread of the window up to half of what is forbidden
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = percent)]
    pub(crate) tolerated: u32,
    /// Slowdown that must not pass, in percent
    #[arg(long, value_name = "PERCENT", default_value = "10", value_parser = percent)]
    pub(crate) forbidden: u32,
    /// How many of the newest runs have to agree
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) newest: u8,
    /// Leave out what was before the run of this time: a change was seen and taken
    #[arg(long, value_name = "TIME")]
    pub(crate) accept: Option<String>,
    /// Draw the runs, the window, thresholds and verdict
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct GateLoad {
    /// Object file; one that is built in, if none is given
    #[arg(value_name = "OBJECT")]
    pub(crate) object: Option<PathBuf>,
    /// Object file to compare it with; itself, if none is given, which says how well this machine measures
    #[arg(long, value_name = "OBJECT")]
    pub(crate) baseline: Option<PathBuf>,
    /// CPU to run on; the last one this process may use, if not given
    #[arg(long, value_name = "N")]
    pub(crate) cpu: Option<u32>,
    #[command(flatten)]
    pub(crate) policy: GatePolicy,
    /// Draw pairs, margins, boundaries and verdict of the last platform
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Percent as millionths.
fn percent(text: &str) -> Result<u32, String> {
    let value: f64 = text.trim_end_matches('%').trim().parse().map_err(|error| format!("{error}"))?;
    if !(0.0..=400_000.0).contains(&value) {
        return Err("between 0 and 400000 percent".to_owned());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the range just looked at"
    )]
    Ok((value * 1e4).round() as u32)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
