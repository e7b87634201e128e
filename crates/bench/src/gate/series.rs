//! Histories of machines on which no code ever changed: every alarm is false. A change is put in by scaling the newest runs.

use std::path::{Path, PathBuf};

use bench_gate::{History, HistoryPolicy, Verdict};

use super::rules::{TWO_SAMPLE, two_sigma};
use crate::report::Report;

/// Where the series are, beside the checkout.
const FOLDER: &str = "../shared/data/vm-noise";
const WINDOW: usize = 32;
const NEWEST: usize = 4;
const KEPT: usize = WINDOW + NEWEST;
/// What the original rule looks at.
const ORIGINAL: usize = 30;
const CHANGES: [f64; 4] = [0.0, 0.03, 0.05, 0.10];

pub(super) fn run(report: &mut Report) {
    let series = match read() {
        Ok(series) => series,
        Err(why) => return report.skip(format!("histories: {why}")),
    };
    let mut ours = Tally::default();
    let mut peers = [Tally::default(), Tally::default(), Tally::default(), Tally::default()];
    for costs in &series {
        for end in KEPT..=costs.len() {
            let runs = &costs[end - KEPT..end];
            for (change, hits) in CHANGES.into_iter().zip(0..) {
                let mut runs = runs.to_vec();
                runs[WINDOW..].iter_mut().for_each(|cost| *cost *= 1.0 + change);
                ours.count(hits, judged(&runs));
                let (window, newest) = runs.split_at(WINDOW);
                peers[0].count(hits, Some(two_sigma(&runs[KEPT - ORIGINAL..])));
                for (tally, (_, rule)) in peers[1..].iter_mut().zip(TWO_SAMPLE) {
                    tally.count(hits, Some(rule(window, newest)));
                }
            }
        }
    }
    report.table(format!(
        "{} histories without any change, {} verdicts; percent called regressed: as it is (all false), and with the {NEWEST} newest runs slower by so much",
        series.len(),
        ours.verdicts
    ));
    let names = ["the original rule", "Welch", "Mann-Whitney", "criterion"];
    for (name, tally) in std::iter::once("this gate").chain(names).zip(std::iter::once(&ours).chain(&peers)) {
        let share = |hits: usize| 100.0 * tally.alarms[hits] as f64 / tally.verdicts as f64;
        let figures =
            vec![("as it is", share(0)), ("+3 %", share(1)), ("+5 %", share(2)), ("+10 %", share(3))];
        report.row(name, figures, false);
        println!(
            "  {:<22} {} of {} false, no answer to {:.1} %",
            "",
            tally.alarms[0],
            tally.verdicts,
            tally.unanswered()
        );
    }
    let judged = ours.verdicts - ours.silent;
    report.limit(
        "histories: false alarms, % of those answered",
        100.0 * ours.alarms[0] as f64 / judged as f64,
        0.1,
    );
    report.goal(
        "histories: +5 % found, % of all",
        100.0 * ours.alarms[2] as f64 / ours.verdicts as f64,
        55.0,
    );
    report.goal(
        "histories: +10 % found, % of all",
        100.0 * ours.alarms[3] as f64 / ours.verdicts as f64,
        75.0,
    );
    report.limit("histories: too noisy to answer, %", ours.unanswered(), 25.0);
}

#[derive(Default)]
struct Tally {
    verdicts: usize,
    /// Verdicts that say nothing about any change, as things are.
    silent: usize,
    alarms: [usize; CHANGES.len()],
}

impl Tally {
    /// None where there is no answer.
    fn count(&mut self, change: usize, regressed: Option<bool>) {
        if change == 0 {
            self.verdicts += 1;
            self.silent += usize::from(regressed.is_none());
        }
        self.alarms[change] += usize::from(regressed == Some(true));
    }

    fn unanswered(&self) -> f64 {
        100.0 * self.silent as f64 / self.verdicts as f64
    }
}

fn judged(costs: &[f64]) -> Option<bool> {
    let mut history = History::<KEPT>::new(HistoryPolicy::new()).expect("a policy");
    // Nine digits of what is usual, as long as nothing is a billion times that.
    let usual = costs[WINDOW / 2];
    costs.iter().for_each(|cost| history.push((cost / usual * 1e9) as u64));
    match history.judge().verdict {
        Verdict::Regressed { .. } => Some(true),
        Verdict::Pass { .. } => Some(false),
        _ => None,
    }
}

/// Costs: times, or one over rates.
fn read() -> Result<Vec<Vec<f64>>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(FOLDER);
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{FOLDER}: {error}"))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "csv"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(format!("{FOLDER}: no series"));
    }
    files.iter().map(|path| costs(path)).collect()
}

fn costs(path: &Path) -> Result<Vec<f64>, String> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    // The unit ends the name; an average latency without one is a time as well.
    let is_time =
        ["-ns", "-ms", "us-per-event"].iter().any(|unit| name.ends_with(unit)) || name.contains("latency");
    text.lines()
        .skip(1)
        .map(|line| {
            let value = line.rsplit_once(',').and_then(|(_, value)| value.parse::<f64>().ok());
            let value = value.filter(|value| value.is_finite() && *value > 0.0);
            let value = value.ok_or_else(|| format!("{name}: `{line}` is no run"))?;
            Ok(if is_time { value } else { 1.0 / value })
        })
        .collect()
}
