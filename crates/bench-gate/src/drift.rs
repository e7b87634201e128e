//! Slow changes, each too small to be seen: a cumulative sum over nights.

use crate::history::Better;

/// A one-sided cumulative sum whose steps are clipped, so that no single run can raise the alarm.
///
/// The reference is a median and a spread (median absolute deviation) of runs that were taken as good, and does not move with the runs: a window that moves along with
/// a creeping change never sees it. Values are compared in units of the reference's standard deviation: a step adds what a run lies above it, less a half, three at
/// most; the alarm is at five. Runs that differ by chance alone raise it once in about 900, normal ones; a slowdown by one standard deviation is found after about ten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift {
    better: Better,
    median: u64,
    deviation: u64,
    /// In 256ths of a standard deviation.
    sum: i32,
    peak: i32,
    runs: u32,
}

const UNIT: i32 = 256;
const SLACK: i32 = UNIT / 2;
const CLIP: i32 = 3 * UNIT;
const ALARM: i32 = 5 * UNIT;

impl Drift {
    /// With a reference: the median of good runs, and the median of their distances from it. A distance of less than a thousandth of the median is taken as that: values that are
    /// all alike, as rounded ones may be, would make a drift of the last digit.
    #[must_use]
    pub const fn new(better: Better, median: u64, deviation: u64) -> Self {
        let least = if median < 1000 { 1 } else { median / 1000 };
        let deviation = if deviation < least { least } else { deviation };
        Self { better, median, deviation, sum: 0, peak: 0, runs: 0 }
    }

    /// Takes a run; gives whether the sum is beyond the alarm now.
    pub fn push(&mut self, value: u64) -> bool {
        let above = i128::from(value).wrapping_sub(i128::from(self.median));
        let worse = match self.better {
            Better::Lower => above,
            Better::Higher => above.wrapping_neg(),
        };
        // A standard deviation is 1.483 times the median distance.
        let deviations = worse
            .saturating_mul(i128::from(UNIT).wrapping_mul(1000))
            .checked_div(i128::from(self.deviation).saturating_mul(1483))
            .unwrap_or(0);
        let step = i32::try_from(deviations.clamp(CLIP.wrapping_neg().into(), CLIP.into())).unwrap_or(0);
        // Where an alarm is left standing for years the sum must not run away.
        self.sum = self.sum.saturating_add(step).saturating_sub(SLACK).clamp(0, 4 * ALARM);
        self.peak = self.peak.max(self.sum);
        self.runs = self.runs.saturating_add(1);
        self.is_alarmed()
    }

    /// Whether the sum is beyond the alarm.
    #[must_use]
    pub const fn is_alarmed(&self) -> bool {
        self.sum > ALARM
    }

    /// The sum in hundredths of what raises the alarm.
    #[must_use]
    pub const fn percent(&self) -> i32 {
        self.sum.wrapping_mul(100) / ALARM
    }

    /// Runs taken since the reference.
    #[must_use]
    pub const fn runs(&self) -> u32 {
        self.runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_of_any_size_raises_no_alarm_and_a_creeping_change_does() {
        let mut drift = Drift::new(Better::Lower, 1_000_000, 10_000);
        assert!(!drift.push(u64::MAX));
        assert_eq!(drift.percent(), 50);
        for _ in 0..20 {
            assert!(!drift.push(1_000_000));
        }
        assert_eq!(drift.percent(), 0);
        // 0.1 % more each night, a tenth of what nights differ by.
        let nights = (1..).position(|night: u64| drift.push(1_000_000 + night * 1_000)).unwrap();
        assert!((15..30).contains(&nights), "{nights}");
        // Left standing, and gone again.
        (0..10_000).for_each(|_| assert!(drift.push(u64::MAX)));
        assert!((0..100).any(|_| !drift.push(1_000_000)));
    }

    #[test]
    fn rates_drift_downwards() {
        let mut drift = Drift::new(Better::Higher, 1_000_000, 10_000);
        assert!((0..50).all(|_| !drift.push(1_100_000)));
        assert!((0..10).any(|_| drift.push(950_000)));
    }

    #[test]
    fn values_without_spread_or_without_size_are_no_error() {
        let mut drift = Drift::new(Better::Lower, 0, 0);
        assert!((0..100).all(|_| !drift.push(0)));
        let mut drift = Drift::new(Better::Lower, 1_000_000, 0);
        assert!((0..100).all(|index| !drift.push(1_000_000 + index % 2)));
    }
}
