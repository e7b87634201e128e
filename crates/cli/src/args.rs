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
    /// Load an object, run its programs, print every record that comes out of its rings
    Run(Run),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
