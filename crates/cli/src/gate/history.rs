//! `gate history`: the newest runs of a series against the window before them.

use std::io;

use bench_gate::{Better, Drift, History, HistoryPolicy, Judgement, Verdict};
use serde::Serialize;

use super::series::{Run, fixed, history as read};
use super::{draw, percent, plot, status, usage};
use crate::args::GateHistory;
use crate::console::{ALARM, Console, NAME, Status};

/// Runs that are kept: a window of 32, and the newest 4.
pub(super) const KEPT: usize = 36;

pub(super) fn history(arguments: &GateHistory, console: &mut Console<'_>) -> io::Result<Status> {
    let path = arguments.file.to_string_lossy();
    let better = if arguments.higher_is_better { Better::Higher } else { Better::Lower };
    let policy = HistoryPolicy::new()
        .with_better(better)
        .with_margins(arguments.tolerated, arguments.forbidden)
        .with_newest(arguments.newest);
    let mut history = match History::<KEPT>::new(policy) {
        Ok(history) => history,
        Err(error) => return usage("gate history", error, console),
    };
    let runs = match read(&arguments.file) {
        Ok(runs) => runs,
        Err(error) => return usage(&path, error, console),
    };
    let first = match &arguments.accept {
        None => 0,
        Some(time) => match runs.iter().position(|run| run.time == *time) {
            Some(first) => first,
            None => return usage(&path, format!("no run has the time `{time}`"), console),
        },
    };
    let recent = runs.get(first..).unwrap_or_default();
    let (values, scale) = fixed(recent.iter().map(|run| &run.value));
    values.iter().for_each(|value| history.push(*value));
    let judgement = history.judge();
    let drift = drift(better, &values);
    let found = Found { path: &path, runs: recent, judgement, scale, drift, newest: arguments.newest.into() };
    draw(arguments.plot.as_deref(), console, |path| plot::history(path, &found))?;
    found.print(console)
}

/// What became of the runs since the first ones that were enough for a reference.
fn drift(better: Better, values: &[u64]) -> Option<Drift> {
    let (reference, later) = values.split_at_checked(KEPT)?;
    let median = |values: &[u64]| {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(0)
    };
    let middle = median(reference);
    let distances: Vec<u64> = reference.iter().map(|value| value.abs_diff(middle)).collect();
    let mut drift = Drift::new(better, middle, median(&distances));
    for value in later {
        drift.push(*value);
    }
    Some(drift)
}

/// Everything that is to be said of a history.
pub(super) struct Found<'a> {
    pub(super) path: &'a str,
    pub(super) runs: &'a [Run],
    pub(super) judgement: Judgement,
    /// What one of the file's unit is to the gate.
    pub(super) scale: f64,
    drift: Option<Drift>,
    pub(super) newest: usize,
}

impl Found<'_> {
    /// In the unit of the file.
    pub(super) fn own(&self, value: u64) -> f64 {
        value as f64 / self.scale
    }

    fn print(&self, console: &mut Console<'_>) -> io::Result<Status> {
        let Self { path, runs, judgement, drift, .. } = self;
        let Judgement { verdict, window, beyond, within, tolerated_ppm, .. } = judgement;
        let (best, median, worst) =
            (self.own(judgement.best), self.own(judgement.median), self.own(judgement.worst));
        let time = |index: Option<usize>| {
            index.and_then(|index| runs.get(index)).map_or("", |run| run.time.as_str())
        };
        let newest_from = runs.len().checked_sub(self.newest);
        let from = newest_from.and_then(|from| from.checked_sub(*window));
        let last_of_window = newest_from.and_then(|from| from.checked_sub(1));
        if console.json() {
            console.line(&Line {
                kind: "verdict",
                subject: path,
                verdict: verdict.name(),
                reason: verdict.to_string(),
                runs: runs.len(),
                window: *window,
                window_from: time(from),
                window_to: time(last_of_window),
                newest: self.newest,
                beyond: *beyond,
                within: *within,
                median,
                best,
                worst,
                tolerated_ppm: *tolerated_ppm,
                regressed_beyond: self.own(judgement.regressed_beyond),
                pass_within: self.own(judgement.pass_within),
                drift_percent: drift.map(|drift| drift.percent()),
            })?;
        } else {
            let style = if matches!(verdict, Verdict::Pass { .. }) { NAME } else { ALARM };
            console.text(format_args!(
                "{path}: {style}{verdict}{style:#}: of the {} newest runs {beyond} beyond {:.6}, {within} within {:.6}; window of {window} from {} to {}: {best:.6} to {worst:.6}, median {median:.6}, {} tolerated\n",
                self.newest,
                self.own(judgement.regressed_beyond),
                self.own(judgement.pass_within),
                time(from),
                time(last_of_window),
                percent(*tolerated_ppm),
            ))?;
            if let Some(drift) = drift.filter(Drift::is_alarmed) {
                console.text(format_args!(
                    "note: over the {} runs since the first {KEPT} the series has drifted to the worse ({} % of what is worth a look); the window has moved with it\n",
                    drift.runs(),
                    drift.percent()
                ))?;
            }
        }
        Ok(status(verdict))
    }
}

#[derive(Serialize)]
struct Line<'a> {
    kind: &'static str,
    subject: &'a str,
    verdict: &'static str,
    reason: String,
    runs: usize,
    window: usize,
    window_from: &'a str,
    window_to: &'a str,
    newest: usize,
    beyond: u8,
    within: u8,
    median: f64,
    best: f64,
    worst: f64,
    tolerated_ppm: u32,
    regressed_beyond: f64,
    pass_within: f64,
    drift_percent: Option<i32>,
}
