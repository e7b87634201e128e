//! The performance gate, and rules that others judge by, on the same figures: false alarms and detections.

mod cost;
mod live;
mod rules;
mod series;

use crate::report::Report;

/// How much to measure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// For a look.
    Quick,
    /// Half a minute under hogs.
    Usual,
    /// What the goals say, to the letter: 10,000 gates.
    Full,
}

pub(crate) fn run(report: &mut Report, extent: Extent) {
    cost::run(report);
    series::run(report);
    live::run(report, extent);
}
