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
mod idle;
mod instructions;
#[cfg(feature = "kernel")]
mod kernel;
mod measure;
mod process;
mod report;
mod wfp;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use report::Report;

/// Figures; fails where a goal is missed.
#[derive(Parser)]
#[command(name = "ebpf-bench")]
enum Arguments {
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
    /// Transactions of the filter engine: how many a second, how long they wait, what the serializer costs
    Wfp {
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
    let reached = match Arguments::parse() {
        Arguments::Ring { filter, quick, json } => {
            ring(filter.as_deref().unwrap_or_default(), if quick { 11 } else { 41 }, json)
        }
        Arguments::Wfp { quick, json } => wfp(if quick { 11 } else { 41 }, json),
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

fn ring(filter: &str, turns: usize, json: Option<PathBuf>) -> Result<bool, String> {
    println!("{} CPUs, medians of {turns} turns", measure::cpus());
    let mut report = Report::default();
    #[cfg(feature = "kernel")]
    kernel::run(&mut report, turns, filter);
    #[cfg(not(feature = "kernel"))]
    report.skip(
        "the kernel's ring: built without the feature `kernel`, which needs libelf and zlib with headers"
            .to_owned(),
    );
    process::run_one(&mut report, turns, filter);
    process::run_many(&mut report, turns, filter);
    floor::run(&mut report, turns);
    settle(&report, json)
}

fn wfp(turns: usize, json: Option<PathBuf>) -> Result<bool, String> {
    println!("{} CPUs, medians of {turns} turns", measure::cpus());
    let mut report = Report::default();
    wfp::run(&mut report, turns);
    settle(&report, json)
}

fn settle(report: &Report, json: Option<PathBuf>) -> Result<bool, String> {
    let reached = report.settle();
    if let Some(file) = json {
        let text = format!("{:#}\n", report.json());
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(reached)
}
