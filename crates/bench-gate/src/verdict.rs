//! Answers.

use core::fmt;

/// What a gate says. *Pass* and *regressed* are both evidence; what is neither is said to be neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The slowdown is less than this.
    Pass {
        /// Upper bound of the slowdown, in millionths; negative where it is faster.
        upper_ppm: i32,
    },
    /// The slowdown is more than this.
    Regressed {
        /// Lower bound of the slowdown, in millionths.
        lower_ppm: i32,
    },
    /// Neither is shown.
    TooNoisy {
        /// Pairs (or runs, for gates over runs) that would be needed in all, going by what was seen; `u32::MAX` where nothing points either way.
        pairs_needed: u32,
    },
    /// Nothing that was measured counts.
    Unfit(Reason),
}

impl Verdict {
    /// One word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pass { .. } => "pass",
            Self::Regressed { .. } => "regressed",
            Self::TooNoisy { .. } => "too noisy",
            Self::Unfit(_) => "unfit",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass { upper_ppm } => write!(f, "pass: slower by less than {}", Percent(*upper_ppm)),
            Self::Regressed { lower_ppm } => {
                write!(f, "regressed: slower by more than {}", Percent(*lower_ppm))
            }
            Self::TooNoisy { pairs_needed: u32::MAX } => f.write_str("too noisy: nothing points either way"),
            Self::TooNoisy { pairs_needed } => write!(f, "too noisy: about {pairs_needed} needed"),
            Self::Unfit(reason) => write!(f, "unfit: {reason}"),
        }
    }
}

/// Millionths as hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(
    /// Millionths.
    pub i32,
);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02} %", size / 10_000, size % 10_000 / 100)
    }
}

/// Why nothing that was measured counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Reason {
    /// Too many pairs had to be voided.
    Voided = 1,
    /// Samples take too few ticks of the clock: see [`Policy::shortest_sample`](crate::Policy::shortest_sample).
    TooShort,
    /// The signs of neighbouring pairs depend on each other: the order that the gate asked for was not kept, or what is measured alternates with it.
    Dependent,
    /// The clock went back.
    ClockBackward,
    /// The clock stands still.
    ClockStopped,
    /// A tick of the clock is too long.
    ClockCoarse,
    /// Fewer CPUs than needed.
    Cpus,
    /// The thread could not be bound to a CPU.
    Pin,
    /// Less free memory than needed.
    Memory,
    /// Too much else runs on this machine: a loop of fixed length takes very different times.
    Busy,
    /// The baseline was found to be slower than itself.
    Preflight,
    /// One side could not be carried out.
    Failed,
    /// Too few runs to say anything.
    TooFewRuns,
    /// Values that are none: all zero, or not there.
    NoValues,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Voided => "too many pairs were disturbed",
            Self::TooShort => "samples are too short for the clock",
            Self::Dependent => "neighbouring pairs depend on each other",
            Self::ClockBackward => "the clock went back",
            Self::ClockStopped => "the clock stands still",
            Self::ClockCoarse => "the clock is too coarse",
            Self::Cpus => "too few CPUs",
            Self::Pin => "the thread cannot be bound to a CPU",
            Self::Memory => "too little free memory",
            Self::Busy => "the machine is too busy",
            Self::Preflight => "the baseline seems slower than itself",
            Self::Failed => "one side failed",
            Self::TooFewRuns => "too few runs",
            Self::NoValues => "no values",
        })
    }
}

impl core::error::Error for Reason {}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[must_use]
pub enum Step {
    /// Another pair.
    More,
    /// There is an answer.
    Done(Verdict),
}

/// Everything that a gate knows in the end. The same samples and the same seed give the same report, bit for bit, on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Report {
    /// The answer.
    pub verdict: Verdict,
    /// What the order of sides came from.
    pub seed: u64,
    /// Pairs that count.
    pub pairs: u16,
    /// Pairs in which the candidate was slower by more than is tolerated.
    pub slower: u16,
    /// Pairs in which the candidate was slower by less than is forbidden.
    pub within: u16,
    /// Pairs that were voided.
    pub voided: u16,
    /// Pairs with a sample that was too short for the clock.
    pub short: u16,
    /// The margin below which a slowdown is tolerated.
    pub tolerated_ppm: u32,
    /// The margin from which on it is forbidden.
    pub forbidden_ppm: u32,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, pairs, slower, within, voided, .. } = self;
        write!(f, "{verdict} ({pairs} pairs: {slower} slower, {within} within, {voided} voided)")
    }
}
