//! Margins that adapt to the environment, and say so when they cannot.

use core::fmt;

use crate::policy::Policy;
use crate::rank::nth;

/// Differences between runs of the same code, of which the margin of a gate follows.
///
/// What is tolerated grows to the third quartile of the last 30 and three times their interquartile range. It is capped at half of what is forbidden: where the environment
/// alone differs by more, there is no margin, rather than one that lets everything pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    ppm: [u32; KEPT],
    /// How many there were, all told.
    pushed: u32,
}

const KEPT: usize = 30;
/// All places taken, the first one next: what [`MANY`] and one more is taken as.
const FULL: u32 = 31;
const MANY: u32 = 60;
/// Quartiles of fewer say nothing.
const FEWEST: usize = 8;

impl Threshold {
    /// Nothing known: the policy's own margins.
    #[must_use]
    pub const fn new() -> Self {
        Self { ppm: [0; KEPT], pushed: 0 }
    }

    /// Takes by how much the same code differed from itself, in millionths, either way.
    pub fn push(&mut self, difference_ppm: i32) {
        let slot = usize::try_from(self.pushed).unwrap_or(0) % KEPT;
        if let Some(place) = self.ppm.get_mut(slot) {
            *place = difference_ppm.unsigned_abs();
        }
        // Twice the number kept is as good as more: only the slot and "all known" follow from it.
        self.pushed = if self.pushed >= MANY { FULL } else { self.pushed.saturating_add(1) };
    }

    /// What the environment alone may make of a difference, in millionths; 0 while fewer than eight are known.
    #[must_use]
    pub fn wanted_ppm(&self) -> u32 {
        let known = usize::try_from(self.pushed).unwrap_or(KEPT).min(KEPT);
        let values = self.ppm.iter().take(known).copied();
        let quartile = |numerator: usize| {
            nth(values.clone(), known.saturating_sub(1).saturating_mul(numerator) / 4).unwrap_or(0)
        };
        if known < FEWEST {
            return 0;
        }
        let (first, third) = (quartile(1), quartile(3));
        third.saturating_add(third.saturating_sub(first).saturating_mul(3))
    }

    /// The policy with the margin that this environment allows.
    ///
    /// # Errors
    /// When that would be more than half of what is forbidden: too noisy.
    pub fn adapt(&self, policy: Policy) -> Result<Policy, TooWide> {
        let wanted_ppm = self.wanted_ppm();
        let cap_ppm = policy.forbidden_ppm / 2;
        if wanted_ppm <= policy.tolerated_ppm {
            Ok(policy)
        } else if wanted_ppm > cap_ppm {
            Err(TooWide { wanted_ppm, cap_ppm })
        } else {
            Ok(policy.with_margins(wanted_ppm, policy.forbidden_ppm))
        }
    }
}

impl Default for Threshold {
    fn default() -> Self {
        Self::new()
    }
}

/// The environment needs a wider margin than the policy allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooWide {
    /// The margin that it needs, in millionths.
    pub wanted_ppm: u32,
    /// The widest that is allowed.
    pub cap_ppm: u32,
}

impl fmt::Display for TooWide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted_ppm, cap_ppm } = self;
        write!(
            f,
            "the same code differs by {wanted_ppm} ppm from run to run, and at most {cap_ppm} ppm may be tolerated"
        )
    }
}

impl core::error::Error for TooWide {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_machine_keeps_the_margin_and_a_noisy_one_widens_it_up_to_the_cap() {
        let mut threshold = Threshold::new();
        (0..30).for_each(|index| threshold.push(index * 100 - 1500));
        let policy = Policy::new().with_margins(1_000, 12_000);
        let adapted = threshold.adapt(policy).unwrap();
        // Of |100 i - 1500| the quartiles are 300 or 400 and 1100 or so.
        assert!((3_000..5_000).contains(&adapted.tolerated_ppm), "{adapted:?}");
        assert_eq!(adapted.forbidden_ppm, 12_000, "what is forbidden stays forbidden");
        assert_eq!(
            threshold.adapt(policy.with_margins(5_000, 12_000)),
            Ok(policy.with_margins(5_000, 12_000))
        );
        let error = threshold.adapt(policy.with_margins(1_000, 4_000)).unwrap_err();
        assert_eq!(error.cap_ppm, 2_000);
    }

    #[test]
    fn one_odd_run_does_not_widen_it_and_few_runs_say_nothing() {
        let mut threshold = Threshold::new();
        (0..7).for_each(|_| threshold.push(i32::MIN));
        assert_eq!(threshold.wanted_ppm(), 0);
        let mut threshold = Threshold::new();
        (0..29).for_each(|_| threshold.push(10));
        threshold.push(i32::MAX);
        assert_eq!(threshold.wanted_ppm(), 10);
        // The oldest go.
        (0..30).for_each(|_| threshold.push(-20));
        assert_eq!(threshold.wanted_ppm(), 20);
    }
}
