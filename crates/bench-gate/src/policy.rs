//! What is asked of a change, and how sure the answer has to be.

use core::fmt;
use core::num::NonZeroU64;

/// How often an answer may be wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Risk {
    /// Once in a hundred.
    E2,
    /// Once in a thousand.
    #[default]
    E3,
    /// Once in ten thousand.
    E4,
}

/// When a gate looks at what it has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Rule {
    /// At 25 numbers of pairs from 16 to 1024, with a boundary for each that spends all of the risk. The default.
    #[default]
    Looks,
    /// After every pair, by two bets whose product is a supermartingale if there is nothing to find: the risk holds however long it goes on and whenever it is
    /// stopped. Takes about as many pairs.
    Bets,
}

/// What a [`PairGate`](crate::PairGate) decides by.
///
/// Two margins split the truth in three. A slowdown up to [`tolerated_ppm`](Self::tolerated_ppm) may be called a regression no more often than
/// [`false_alarm`](Self::false_alarm) says; one from [`forbidden_ppm`](Self::forbidden_ppm) on may pass no more often than [`false_pass`](Self::false_pass) says;
/// between them either answer is right. The wider the space between them is, the fewer pairs it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Policy {
    /// Slowdown that is none, in millionths.
    pub tolerated_ppm: u32,
    /// Slowdown that must not pass, in millionths.
    pub forbidden_ppm: u32,
    /// The risk of calling a tolerated slowdown a regression.
    pub false_alarm: Risk,
    /// The risk of letting a forbidden slowdown pass.
    pub false_pass: Risk,
    /// When to look.
    pub rule: Rule,
    /// Pairs after which the answer is *too noisy*.
    pub max_pairs: u16,
    /// Pairs that may be voided, in hundredths of all; at more the answer is *unfit*.
    pub max_void_percent: u8,
    /// Ticks that all samples together may take.
    pub budget_ticks: Option<NonZeroU64>,
}

impl Policy {
    /// 1 % is tolerated, 3 % is forbidden, each is wrong once in a thousand; at most 1024 pairs, a quarter of which may be voided.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tolerated_ppm: 10_000,
            forbidden_ppm: 30_000,
            false_alarm: Risk::E3,
            false_pass: Risk::E3,
            rule: Rule::Looks,
            max_pairs: 1024,
            max_void_percent: 25,
            budget_ticks: None,
        }
    }

    /// With other margins, in millionths.
    #[must_use]
    pub const fn with_margins(self, tolerated_ppm: u32, forbidden_ppm: u32) -> Self {
        Self { tolerated_ppm, forbidden_ppm, ..self }
    }

    /// With other risks.
    #[must_use]
    pub const fn with_risks(self, false_alarm: Risk, false_pass: Risk) -> Self {
        Self { false_alarm, false_pass, ..self }
    }

    /// Looking at other times.
    #[must_use]
    pub const fn with_rule(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }

    /// With another number of pairs.
    #[must_use]
    pub const fn with_max_pairs(self, max_pairs: u16) -> Self {
        Self { max_pairs, ..self }
    }

    /// With another part that may be voided.
    #[must_use]
    pub const fn with_max_void_percent(self, max_void_percent: u8) -> Self {
        Self { max_void_percent, ..self }
    }

    /// With a bound on the ticks of all samples.
    #[must_use]
    pub const fn with_budget_ticks(self, ticks: NonZeroU64) -> Self {
        Self { budget_ticks: Some(ticks), ..self }
    }

    /// The ticks that a sample should take at least: with fewer, one tick is more than an eighth of the space between the margins, and differences that matter
    /// round to nothing.
    #[must_use]
    pub const fn shortest_sample(&self) -> u64 {
        match self.forbidden_ppm.checked_sub(self.tolerated_ppm) {
            None | Some(0) => u64::MAX,
            Some(zone) => 8_000_000_u64.div_ceil(zone as u64),
        }
    }

    /// Whether it can be decided by.
    ///
    /// # Errors
    /// What is wrong with it.
    pub const fn check(&self) -> Result<(), PolicyError> {
        if self.tolerated_ppm >= self.forbidden_ppm {
            return Err(PolicyError::Margins {
                tolerated_ppm: self.tolerated_ppm,
                forbidden_ppm: self.forbidden_ppm,
            });
        }
        if self.max_pairs < FEWEST_PAIRS || (matches!(self.rule, Rule::Looks) && self.max_pairs > MOST_PAIRS)
        {
            return Err(PolicyError::Pairs { max_pairs: self.max_pairs });
        }
        if self.max_void_percent > 90 {
            return Err(PolicyError::Void { max_void_percent: self.max_void_percent });
        }
        Ok(())
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

/// Fewer cannot decide anything.
pub(crate) const FEWEST_PAIRS: u16 = 16;
/// The last look.
const MOST_PAIRS: u16 = 1024;

/// Why a [`Policy`] is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// What is tolerated must be less than what is forbidden.
    Margins {
        /// Slowdown that is none.
        tolerated_ppm: u32,
        /// Slowdown that must not pass.
        forbidden_ppm: u32,
    },
    /// Fewer than 16 pairs decide nothing; the looks end at 1024.
    Pairs {
        /// The number asked for.
        max_pairs: u16,
    },
    /// With more than nine in ten voided, nothing is measured.
    Void {
        /// The part asked for.
        max_void_percent: u8,
    },
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Margins { tolerated_ppm, forbidden_ppm } => write!(
                f,
                "{tolerated_ppm} ppm are to be tolerated and {forbidden_ppm} ppm forbidden: the second must be more"
            ),
            Self::Pairs { max_pairs } => {
                write!(f, "at most {max_pairs} pairs: 16 are the fewest that decide, and looks end at 1024")
            }
            Self::Void { max_void_percent } => {
                write!(f, "{max_void_percent} % voided: at most 90 % can be allowed")
            }
        }
    }
}

impl core::error::Error for PolicyError {}
