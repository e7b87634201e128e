//! `ebpf-blocks gate`: is it slower? Answered with evidence on both sides, or not at all.

mod commands;
mod compare;
mod history;
mod judge;
mod load;
mod machine;
mod plot;
mod self_test;
mod series;

use std::io;
use std::path::Path;

use bench_gate::{PairGate, Percent, Policy, PolicyError, Reason, Report, Risk, Spread, Verdict};
use serde::Serialize;

use crate::args::{Gate, GatePolicy, GateRisk};
use crate::console::{ALARM, Console, NAME, Status};

/// Every verb.
pub(crate) fn gate(gate: &Gate, console: &mut Console<'_>) -> io::Result<Status> {
    match gate {
        Gate::SelfTest(arguments) => self_test::self_test(arguments, console),
        Gate::Run(arguments) => commands::run(arguments, console),
        Gate::Compare(arguments) => compare::compare(arguments, console),
        Gate::History(arguments) => history::history(arguments, console),
        Gate::Load(arguments) => load::load(arguments, console),
    }
}

/// The policy of the command line.
fn policy(arguments: &GatePolicy) -> Result<Policy, PolicyError> {
    let risk = match arguments.risk {
        GateRisk::Hundredth => Risk::E2,
        GateRisk::Thousandth => Risk::E3,
        GateRisk::TenThousandth => Risk::E4,
    };
    let policy = Policy::new()
        .with_margins(arguments.tolerated, arguments.forbidden)
        .with_risks(risk, risk)
        .with_max_pairs(arguments.max_pairs);
    policy.check().map(|()| policy)
}

/// What a verb says in the end: the verdict and the reason in one line.
struct Answer<'a> {
    /// What was judged.
    subject: &'a str,
    verdict: Verdict,
    /// More than the verdict itself says.
    detail: String,
    /// What pairs have shown, if there were some.
    pairs: Option<(&'a Report, &'a Spread, &'a PairGate)>,
}

impl<'a> Answer<'a> {
    fn of_pairs(subject: &'a str, report: &'a Report, spread: &'a Spread, gate: &'a PairGate) -> Self {
        let Report { pairs, slower, within, voided, .. } = report;
        let margins = (percent(report.tolerated_ppm), percent(report.forbidden_ppm));
        let median =
            spread.median_ppm().map_or(String::new(), |median| format!(", median {}", Percent(median)));
        let detail = format!(
            "of {pairs} pairs {slower} slower by more than {}, {within} by less than {}{median}; {voided} voided",
            margins.0, margins.1
        );
        Self { subject, verdict: report.verdict, detail, pairs: Some((report, spread, gate)) }
    }

    fn unfit(subject: &'a str, reason: Reason, detail: String) -> Self {
        Self { subject, verdict: Verdict::Unfit(reason), detail, pairs: None }
    }

    fn print(&self, console: &mut Console<'_>) -> io::Result<Status> {
        let Self { subject, verdict, detail, pairs } = self;
        let bounds = pairs.map_or((None, None), |(_, spread, gate)| spread.bounds_ppm(gate));
        if console.json() {
            let (lower, upper) = match verdict {
                Verdict::Regressed { lower_ppm } => {
                    (Some(bounds.0.unwrap_or(*lower_ppm).max(*lower_ppm)), bounds.1)
                }
                Verdict::Pass { upper_ppm } => {
                    (bounds.0, Some(bounds.1.unwrap_or(*upper_ppm).min(*upper_ppm)))
                }
                _ => bounds,
            };
            console.line(&Line {
                kind: "verdict",
                subject,
                verdict: verdict.name(),
                reason: verdict.to_string(),
                detail,
                slower_by_at_least_ppm: lower,
                slower_by_at_most_ppm: upper,
                pairs_needed: match verdict {
                    Verdict::TooNoisy { pairs_needed } if *pairs_needed < u32::MAX => Some(*pairs_needed),
                    _ => None,
                },
                pairs: pairs.map(|(report, spread, _)| PairsLine {
                    seed: report.seed,
                    pairs: report.pairs,
                    slower: report.slower,
                    within: report.within,
                    voided: report.voided,
                    short: report.short,
                    tolerated_ppm: report.tolerated_ppm,
                    forbidden_ppm: report.forbidden_ppm,
                    median_ppm: spread.median_ppm(),
                    sigma_ppm: spread.sigma_ppm(),
                }),
            })?;
        } else {
            let style = if matches!(verdict, Verdict::Pass { .. }) { NAME } else { ALARM };
            console.text(format_args!("{subject}: {style}{verdict}{style:#}: {detail}\n"))?;
        }
        Ok(status(verdict))
    }
}

fn status(verdict: &Verdict) -> Status {
    match verdict {
        Verdict::Pass { .. } => Status::Done,
        Verdict::Regressed { .. } => Status::Failed,
        Verdict::TooNoisy { .. } => Status::TooNoisy,
        // What is added later proves nothing either, as far as is known here.
        _ => Status::Unfit,
    }
}

fn percent(ppm: u32) -> Percent {
    Percent(i32::try_from(ppm).unwrap_or(i32::MAX))
}

/// Says that the command line makes no sense.
fn usage(what: &str, error: impl std::fmt::Display, console: &mut Console<'_>) -> io::Result<Status> {
    console.failure(what, error)?;
    Ok(Status::Usage)
}

/// Draws, if there is a place to draw to. A picture that cannot be written changes no verdict, but whoever asked for it is told.
fn draw(
    plot: Option<&Path>,
    console: &mut Console<'_>,
    drawing: impl FnOnce(&Path) -> Result<(), String>,
) -> io::Result<()> {
    match plot.map(|path| (path, drawing(path))) {
        Some((path, Err(error))) => console.failure(&path.to_string_lossy(), error),
        _ => Ok(()),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    kind: &'static str,
    subject: &'a str,
    verdict: &'static str,
    reason: String,
    detail: &'a str,
    slower_by_at_least_ppm: Option<i32>,
    slower_by_at_most_ppm: Option<i32>,
    pairs_needed: Option<u32>,
    #[serde(flatten)]
    pairs: Option<PairsLine>,
}

#[derive(Serialize)]
struct PairsLine {
    seed: u64,
    pairs: u16,
    slower: u16,
    within: u16,
    voided: u16,
    short: u16,
    tolerated_ppm: u32,
    forbidden_ppm: u32,
    median_ppm: Option<i32>,
    sigma_ppm: Option<u32>,
}
