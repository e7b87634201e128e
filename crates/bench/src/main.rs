//! The project's goals in figures, beside the peers.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measurement that goes wrong should stop"
)]

mod floor;
mod gate;
mod idle;
mod instructions;
#[cfg(feature = "kernel")]
mod kernel;
mod measure;
mod open;
#[cfg(feature = "kernel")]
mod perf;
mod process;
mod report;
mod vm;
mod wfp;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use report::Report;

/// Figures; fails where a goal is missed.
#[derive(Parser)]
#[command(name = "ebpf-bench")]
enum Arguments {
    /// The performance gate: false alarms and detections beside the rules of others, under hogs
    Gate {
        /// Fewer gates: for a look, not for a verdict
        #[arg(long)]
        quick: bool,
        /// 10,000 gates without a change: takes minutes
        #[arg(long, conflicts_with = "quick")]
        full: bool,
        /// Write the figures to this file too
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Opening objects, beside the peers
    Open {
        /// Only objects whose names contain this
        filter: Option<String>,
        /// Fewer turns: for a look, not for a verdict
        #[arg(long)]
        quick: bool,
        /// Write the figures to this file too
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Speed beside the peers
    Ring {
        /// Only rows whose names contain this
        filter: Option<String>,
        /// Fewer turns: for a look, not for a verdict
        #[arg(long)]
        quick: bool,
        /// Write the figures to this file too
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Loading k of 64 programs into the kernel, beside libbpf
    Load {
        /// Fewer turns: for a look, not for a verdict
        #[arg(long)]
        quick: bool,
        /// Write the figures to this file too
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Transactions of the filter engine: how many a second, how long they wait, what the serializer costs
    Wfp {
        /// Fewer turns: for a look, not for a verdict
        #[arg(long)]
        quick: bool,
        /// Write the figures to this file too
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// The kernel's perf rings: speed beside libbpf
    Perf {
        /// Only rows whose names contain this
        filter: Option<String>,
        /// Fewer turns: for a look, not for a verdict
        #[arg(long)]
        quick: bool,
        /// Write the figures to this file too
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// The machine: beside rbpf, and how its prices grow
    Vm {
        /// Only programs whose names contain this
        filter: Option<String>,
        /// Fewer turns: for a look, not for a verdict
        #[arg(long)]
        quick: bool,
        /// Write the figures to this file too
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Instructions per step, beside the committed table
    Instructions {
        /// Replace the table
        #[arg(long)]
        write: bool,
    },
}

fn main() -> ExitCode {
    let turns = |quick| if quick { 11 } else { 41 };
    let reached = match Arguments::parse() {
        Arguments::Gate { quick, full, json } => {
            let extent = match (quick, full) {
                (true, _) => gate::Extent::Quick,
                (_, true) => gate::Extent::Full,
                _ => gate::Extent::Usual,
            };
            figures(json, 21, |report, _| gate::run(report, extent))
        }
        Arguments::Open { filter, quick, json } => {
            figures(json, turns(quick), |report, turns| open::run(report, turns, &filter.unwrap_or_default()))
        }
        Arguments::Ring { filter, quick, json } => {
            figures(json, turns(quick), |report, turns| ring(report, turns, &filter.unwrap_or_default()))
        }
        Arguments::Load { quick, json } => figures(json, if quick { 5 } else { 31 }, load),
        Arguments::Perf { filter, quick, json } => {
            figures(json, turns(quick), |report, turns| perf(report, turns, &filter.unwrap_or_default()))
        }
        Arguments::Wfp { quick, json } => figures(json, turns(quick), wfp::run),
        Arguments::Vm { filter, quick, json } => {
            figures(json, turns(quick), |report, turns| vm::run(report, turns, &filter.unwrap_or_default()))
        }
        Arguments::Instructions { write } => instructions::run(write),
    };
    match reached {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ebpf-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, says whether every goal is reached, and writes the figures to a file if there is to be one.
fn figures(
    json: Option<PathBuf>,
    turns: usize,
    measure: impl FnOnce(&mut Report, usize),
) -> Result<bool, String> {
    println!("{} CPUs, medians of {turns} turns", measure::cpus());
    let mut report = Report::default();
    measure(&mut report, turns);
    let reached = report.settle();
    if let Some(file) = json {
        let text = format!("{:#}\n", report.json());
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(reached)
}

fn load(report: &mut Report, turns: usize) {
    #[cfg(feature = "kernel")]
    kernel::load::run(report, turns);
    #[cfg(not(feature = "kernel"))]
    {
        let _ = turns;
        report.skip(
            "loading: built without the feature `kernel`, which needs libelf and zlib with headers"
                .to_owned(),
        );
    }
}

fn perf(report: &mut Report, turns: usize, filter: &str) {
    #[cfg(feature = "kernel")]
    perf::run(report, turns, filter);
    #[cfg(not(feature = "kernel"))]
    {
        let _ = turns;
        report.skip(format!(
            "the kernel's perf rings (`{filter}`): built without the feature `kernel`, which needs libelf and zlib with headers"
        ));
    }
}

fn ring(report: &mut Report, turns: usize, filter: &str) {
    #[cfg(feature = "kernel")]
    kernel::run(report, turns, filter);
    #[cfg(not(feature = "kernel"))]
    report.skip(
        "the kernel's ring: built without the feature `kernel`, which needs libelf and zlib with headers"
            .to_owned(),
    );
    process::run_one(report, turns, filter);
    process::run_many(report, turns, filter);
    report.lines();
    if filter.is_empty() {
        floor::run(report, turns);
    }
}
