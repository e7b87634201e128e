//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Inspect and run eBPF object files: on any machine without privileges, or on the kernel.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit status: 0 all well, 1 something failed, 2 wrong usage (also: a program name that the object does not have)."
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
