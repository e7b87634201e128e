//! The gate over runs: the newest few against the window before them.

use core::fmt;

use crate::pair::{exceeds, falls_short, saturated};
use crate::rank::nth;
use crate::verdict::{Reason, Verdict};

/// Which values are good ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Better {
    /// Times.
    #[default]
    Lower,
    /// Rates.
    Higher,
}

/// What a [`History`] decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HistoryPolicy {
    /// Which values are good ones.
    pub better: Better,
    /// Slowdown that is none, in millionths; grows with the spread of the window.
    pub tolerated_ppm: u32,
    /// Slowdown that must not pass, in millionths. Half of it caps what is tolerated.
    pub forbidden_ppm: u32,
    /// How many of the newest runs have to agree.
    pub newest: u8,
    /// How many of the window's runs are set aside at either end.
    pub trimmed: u8,
}

impl HistoryPolicy {
    /// Lower is better, 1 % is tolerated, 10 % is forbidden, the 4 newest runs decide, the 2 most extreme of the window at either end do not count.
    #[must_use]
    pub const fn new() -> Self {
        Self { better: Better::Lower, tolerated_ppm: 10_000, forbidden_ppm: 100_000, newest: 4, trimmed: 2 }
    }

    /// For rates, or for times.
    #[must_use]
    pub const fn with_better(self, better: Better) -> Self {
        Self { better, ..self }
    }

    /// With other margins.
    #[must_use]
    pub const fn with_margins(self, tolerated_ppm: u32, forbidden_ppm: u32) -> Self {
        Self { tolerated_ppm, forbidden_ppm, ..self }
    }

    /// With another number of runs that decide.
    #[must_use]
    pub const fn with_newest(self, newest: u8) -> Self {
        Self { newest, ..self }
    }

    /// With another number set aside.
    #[must_use]
    pub const fn with_trimmed(self, trimmed: u8) -> Self {
        Self { trimmed, ..self }
    }

    /// Whether it can be decided by, with `window` runs kept.
    ///
    /// # Errors
    /// What is wrong with it.
    pub const fn check(&self, window: usize) -> Result<(), HistoryPolicyError> {
        let Self { tolerated_ppm, forbidden_ppm, newest, trimmed, .. } = *self;
        if tolerated_ppm >= forbidden_ppm {
            return Err(HistoryPolicyError::Margins { tolerated_ppm, forbidden_ppm });
        }
        let least = (newest as usize).wrapping_add(4).wrapping_add((trimmed as usize).wrapping_mul(2));
        if newest == 0 || window < least {
            return Err(HistoryPolicyError::Window { window, newest, trimmed });
        }
        Ok(())
    }
}

impl Default for HistoryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a [`HistoryPolicy`] is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryPolicyError {
    /// What is tolerated must be less than what is forbidden.
    Margins {
        /// Slowdown that is none.
        tolerated_ppm: u32,
        /// Slowdown that must not pass.
        forbidden_ppm: u32,
    },
    /// At least one run decides, and at least four remain of the window.
    Window {
        /// Runs kept, the newest included.
        window: usize,
        /// How many decide.
        newest: u8,
        /// How many are set aside at either end.
        trimmed: u8,
    },
}

impl fmt::Display for HistoryPolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Margins { tolerated_ppm, forbidden_ppm } => write!(
                f,
                "{tolerated_ppm} ppm are to be tolerated and {forbidden_ppm} ppm forbidden: the second must be more"
            ),
            Self::Window { window, newest, trimmed } => write!(
                f,
                "{window} runs of which the {newest} newest decide and {trimmed} are set aside at either end: too few are left to compare with"
            ),
        }
    }
}

impl core::error::Error for HistoryPolicyError {}

/// The last `N` runs of one benchmark, and what the newest of them say.
///
/// *Regressed* if each of the newest runs is slower than all of the window that counts, and by more than is tolerated. If runs are exchangeable that happens by chance
/// once in C(N, newest) / C(newest + trimmed, newest) verdicts: for 36 runs, 4 newest, 2 set aside, once in 3927. *Pass* if all of the newest but one would lie below the
/// window had they been faster by what is forbidden. A run of any value is one run: alone it decides nothing.
///
/// What is tolerated is a fifth of the window's spread, if that is more than the policy's; where it would be more than half of what is forbidden, the answer is
/// *too noisy*, never a wider gate.
///
/// ```
/// use bench_gate::{History, HistoryPolicy, Verdict};
///
/// let mut history = History::<36>::new(HistoryPolicy::new())?;
/// // Runs of 1 s, give or take 1 %.
/// for night in 0..36_u64 {
///     history.push(1_000_000 + night * 7919 % 20_000);
/// }
/// assert_eq!(history.judge().verdict.name(), "pass");
/// // Whatever happened in one night.
/// history.push(9_000_000);
/// assert_eq!(history.judge().verdict.name(), "pass");
/// // Slower by 5 % from some night on.
/// for _ in 0..4 {
///     history.push(1_060_000);
/// }
/// assert!(matches!(history.judge().verdict, Verdict::Regressed { .. }));
/// # Ok::<(), bench_gate::HistoryPolicyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History<const N: usize> {
    policy: HistoryPolicy,
    /// A ring; `next` is the oldest once it is full.
    runs: [u64; N],
    next: usize,
    len: usize,
}

/// What a [`History`] says, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Judgement {
    /// The answer, about the newest runs.
    pub verdict: Verdict,
    /// Runs in the window, without the newest.
    pub window: usize,
    /// The window's median.
    pub median: u64,
    /// The best of the window that counts.
    pub best: u64,
    /// The worst of it.
    pub worst: u64,
    /// What was tolerated, after the spread was looked at; in millionths.
    pub tolerated_ppm: u32,
    /// Each of the newest runs is worse than this: regressed.
    pub regressed_beyond: u64,
    /// All of the newest runs but one are better than this: pass.
    pub pass_within: u64,
    /// How many of the newest are beyond the first of these.
    pub beyond: u8,
    /// How many are within the second.
    pub within: u8,
}

impl<const N: usize> History<N> {
    /// Without runs.
    ///
    /// # Errors
    /// What is wrong with the policy.
    pub const fn new(policy: HistoryPolicy) -> Result<Self, HistoryPolicyError> {
        match policy.check(N) {
            Ok(()) => Ok(Self { policy, runs: [0; N], next: 0, len: 0 }),
            Err(error) => Err(error),
        }
    }

    /// Takes the newest run: its median in any unit.
    pub fn push(&mut self, value: u64) {
        if let Some(place) = self.runs.get_mut(self.next) {
            *place = value;
        }
        self.next = self.next.checked_add(1).filter(|next| *next < N).unwrap_or(0);
        self.len = self.len.saturating_add(1).min(N);
    }

    /// Forgets the window and keeps the newest runs: a change was seen and taken, compare with what came after it.
    pub fn accept(&mut self) {
        self.len = self.len.min(self.policy.newest.into());
    }

    /// Runs that are kept.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the newest runs say.
    #[must_use]
    pub fn judge(&self) -> Judgement {
        let newest = usize::from(self.policy.newest);
        let window = self.len.saturating_sub(newest);
        let runs = self.by_age();
        let (new, old) = (runs.clone().take(newest), runs.skip(newest));
        let trimmed = usize::from(self.policy.trimmed);
        let last = window.saturating_sub(1);
        let rank = |rank: usize| nth(old.clone(), rank).unwrap_or(0);
        let (low, median, high) = (rank(trimmed), rank(window / 2), rank(last.saturating_sub(trimmed)));
        let better = self.policy.better;
        let (best, worst) = match better {
            Better::Lower => (low, high),
            Better::Higher => (high, low),
        };
        // Of 32 the second at either end: nineteen in twenty lie between them.
        let edge = window / 20;
        let range = rank(last.saturating_sub(edge)).saturating_sub(rank(edge));
        let adapted = parts_per_million(range, median) / 5;
        let tolerated_ppm = self.policy.tolerated_ppm.max(adapted);
        let forbidden_ppm = self.policy.forbidden_ppm;
        let is_beyond = |value: &u64| is_worse(better, *value, worst, tolerated_ppm);
        let is_within = |value: &u64| is_better(better, *value, best, forbidden_ppm);
        let count = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        let beyond = count(new.clone().filter(is_beyond).count());
        let within = count(new.filter(is_within).count());
        let needed = u32::try_from(N).unwrap_or(u32::MAX);
        // What could be told apart at all: as many as decide, and half of the window.
        let verdict = if window < newest.saturating_add(trimmed.saturating_mul(2)).max(N / 2) {
            Verdict::Unfit(Reason::TooFewRuns)
        } else if median == 0 {
            Verdict::Unfit(Reason::NoValues)
        } else if tolerated_ppm > forbidden_ppm / 2 {
            Verdict::TooNoisy { pairs_needed: u32::MAX }
        } else if beyond == self.policy.newest {
            Verdict::Regressed { lower_ppm: saturated(tolerated_ppm) }
        } else if within >= self.policy.newest.saturating_sub(1).max(1) {
            Verdict::Pass { upper_ppm: saturated(forbidden_ppm) }
        } else {
            // The runs that disagree have to leave: as many more as decide.
            Verdict::TooNoisy { pairs_needed: needed.saturating_add(self.policy.newest.into()) }
        };
        Judgement {
            verdict,
            window,
            median,
            best,
            worst,
            tolerated_ppm,
            regressed_beyond: limit(better, worst, tolerated_ppm),
            pass_within: limit(better, best, forbidden_ppm),
            beyond,
            within,
        }
    }

    /// The runs, the newest first.
    fn by_age(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        let (before, after) = self.runs.split_at_checked(self.next).unwrap_or((&self.runs, &[]));
        before.iter().rev().chain(after.iter().rev()).copied().take(self.len)
    }
}

fn is_worse(better: Better, value: u64, reference: u64, ppm: u32) -> bool {
    match better {
        Better::Lower => exceeds(value, reference, ppm),
        Better::Higher => exceeds(reference, value, ppm),
    }
}

fn is_better(better: Better, value: u64, reference: u64, ppm: u32) -> bool {
    match better {
        Better::Lower => falls_short(value, reference, ppm),
        Better::Higher => falls_short(reference, value, ppm),
    }
}

/// A value that is worse than `reference` by so much, for people to see.
fn limit(better: Better, reference: u64, ppm: u32) -> u64 {
    let (million, raised) = (1_000_000_u128, u128::from(ppm).saturating_add(1_000_000));
    let (times, over) = match better {
        Better::Lower => (raised, million),
        Better::Higher => (million, raised),
    };
    let value = u128::from(reference).saturating_mul(times).checked_div(over).unwrap_or(0);
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn parts_per_million(part: u64, whole: u64) -> u32 {
    let parts = u128::from(part).saturating_mul(1_000_000).checked_div(whole.into()).unwrap_or(0);
    u32::try_from(parts).unwrap_or(u32::MAX)
}
