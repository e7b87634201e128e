//! `gate compare`: two stored series.

use std::io;

use bench_gate::{Pair, Reason, Step, Turn};

use super::judge::Judge;
use super::series::{fixed, series};
use super::{Answer, draw, plot, policy, usage};
use crate::args::GateCompare;
use crate::console::{Console, Status};

pub(super) fn compare(arguments: &GateCompare, console: &mut Console<'_>) -> io::Result<Status> {
    let policy = match policy(&arguments.policy) {
        Ok(policy) => policy,
        Err(error) => return usage("gate compare", error, console),
    };
    let mut sides = Vec::new();
    for path in [&arguments.baseline, &arguments.candidate] {
        match series(path) {
            Ok(series) => sides.push(series),
            Err(error) => return usage(&path.to_string_lossy(), error, console),
        }
    }
    let [baseline, candidate] = sides.as_slice() else { return Ok(Status::Usage) };
    let subject = arguments.candidate.to_string_lossy();
    // Figures taken one series after the other carry everything that happened between: no test on them says anything about the code.
    let is_paired = baseline.interleaved.is_some() && baseline.interleaved == candidate.interleaved;
    if !is_paired && !arguments.paired {
        let detail = "the series were not measured in turns (`gate run --save` does, and says so in the file); \
                      if they were, say --paired; for one run after the other there is `gate history`";
        return Answer::unfit(&subject, Reason::Dependent, detail.to_owned()).print(console);
    }
    if baseline.values.len() != candidate.values.len() {
        let lengths =
            format!("{} and {} values: pairs need both sides", baseline.values.len(), candidate.values.len());
        return Answer::unfit(&subject, Reason::NoValues, lengths).print(console);
    }
    if baseline.unit != candidate.unit {
        let error = format!("`{}` cannot be compared with `{}`", candidate.unit, baseline.unit);
        return usage(&subject, error, console);
    }
    // Both with one scale: the same numbers whatever the unit is.
    let (all, scale) = fixed(baseline.values.iter().chain(&candidate.values));
    let (a, b) = all.split_at_checked(baseline.values.len()).unwrap_or((&[], &[]));
    let seed = baseline.interleaved.unwrap_or(arguments.policy.seed);
    let mut judge = match Judge::new(policy, seed) {
        Ok(judge) => judge,
        Err(error) => return usage("gate compare", error, console),
    };
    for (baseline, candidate) in a.iter().zip(b) {
        let (baseline, candidate) =
            if arguments.higher_is_better { (candidate, baseline) } else { (baseline, candidate) };
        let turn = if is_paired { judge.gate.turn() } else { Turn::BaselineFirst };
        if let Step::Done(_) = judge.push(Pair::new(*baseline, *candidate, turn, None)) {
            break;
        }
    }
    let _ = scale;
    let report = judge.gate.report();
    draw(arguments.plot.as_deref(), console, |path| plot::pairs(path, &subject, &report, &judge.pairs))?;
    Answer::of_pairs(&subject, &report, &judge.spread, &judge.gate).print(console)
}
