//! The gate over pairs.

use crate::looks::{bets_decide, deciding_wins, look};
use crate::policy::{FEWEST_PAIRS, Policy, PolicyError, Risk, Rule};
use crate::verdict::{Reason, Report, Step, Verdict};

/// Which side of a pair runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Turn {
    /// The baseline.
    BaselineFirst,
    /// The candidate.
    CandidateFirst,
}

/// Why a pair does not count. Never because of the times it took: leaving those out that look odd is how one finds what one wants to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VoidReason {
    /// Something else ran on the CPU meanwhile.
    Disturbed,
    /// It was moved to another CPU.
    Migrated,
    /// Sides that were to run side by side did not begin together.
    Skew,
    /// The machine slept meanwhile.
    Suspended,
}

/// Judges pairs of samples, one of the baseline and one of the candidate, as they come.
///
/// A coin, of the seed, decides which side runs first. Without a change each sign is therefore that of a fair coin, whatever the noise is: drifting, heavy-tailed, or
/// in step with the measuring. A sample of any size moves a counter by one at most. There is no division, no float, and no unit: ticks are compared with ticks.
///
/// ```
/// use bench_gate::{PairGate, Policy, Step, Turn, Verdict};
///
/// let mut gate = PairGate::new(Policy::new(), 7)?;
/// let mut now = 0_u64; // a machine that gets slower and slower
/// let mut sample = |ticks: u64| {
///     now += 1;
///     ticks + now
/// };
/// let verdict = loop {
///     let (baseline, candidate) = match gate.turn() {
///         Turn::BaselineFirst => {
///             let first = sample(100_000);
///             (first, sample(104_000))
///         }
///         _ => {
///             let first = sample(104_000);
///             (sample(100_000), first)
///         }
///     };
///     if let Step::Done(verdict) = gate.push(baseline, candidate) {
///         break verdict;
///     }
/// };
/// assert_eq!(verdict, Verdict::Regressed { lower_ppm: 10_000 });
/// assert_eq!(gate.report().pairs, 16);
/// # Ok::<(), bench_gate::PolicyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairGate {
    seed: u64,
    /// Samples of fewer ticks are short.
    shortest: u64,
    /// `u64::MAX` is no bound.
    ticks_left: u64,
    tolerated_ppm: u32,
    forbidden_ppm: u32,
    /// Pairs and voided ones: each has a coin of its own.
    tossed: u32,
    max_pairs: u16,
    pairs: u16,
    slower: u16,
    within: u16,
    voided: u16,
    short: u16,
    /// Pairs with the sign of the one before.
    alike: u16,
    /// With how many pairs there is something to look at: a boundary, or the end.
    look_pairs: u16,
    /// The next boundary.
    next_look: u8,
    false_alarm: Risk,
    false_pass: Risk,
    rule: Rule,
    max_void_percent: u8,
    was_slower: bool,
    state: State,
}

const _: () = assert!(size_of::<PairGate>() <= 64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Passed,
    Regressed,
    Exhausted,
    Unfit(Reason),
}

/// From how many pairs on signs are looked at for dependence, and voided pairs counted.
const ENOUGH_SIGNS: u16 = 64;
const PPM: u64 = 1_000_000;

impl PairGate {
    /// A gate; the seed decides in which order sides run.
    ///
    /// # Errors
    /// What is wrong with the policy.
    pub const fn new(policy: Policy, seed: u64) -> Result<Self, PolicyError> {
        if let Err(error) = policy.check() {
            return Err(error);
        }
        Ok(Self {
            seed,
            shortest: policy.shortest_sample(),
            ticks_left: match policy.budget_ticks {
                Some(ticks) => ticks.get(),
                None => u64::MAX,
            },
            tolerated_ppm: policy.tolerated_ppm,
            forbidden_ppm: policy.forbidden_ppm,
            tossed: 0,
            max_pairs: policy.max_pairs,
            pairs: 0,
            slower: 0,
            within: 0,
            voided: 0,
            short: 0,
            alike: 0,
            look_pairs: FEWEST_PAIRS,
            next_look: 0,
            false_alarm: policy.false_alarm,
            false_pass: policy.false_pass,
            rule: policy.rule,
            max_void_percent: policy.max_void_percent,
            was_slower: false,
            state: State::Open,
        })
    }

    /// Which side of the next pair runs first. A coin: whoever does not follow it loses the guarantee.
    #[inline]
    #[must_use]
    pub const fn turn(&self) -> Turn {
        if coin(self.seed, self.tossed) { Turn::BaselineFirst } else { Turn::CandidateFirst }
    }

    /// Takes a pair: ticks of the baseline, ticks of the candidate. After the answer nothing changes any more.
    #[inline]
    pub const fn push(&mut self, baseline: u64, candidate: u64) -> Step {
        if !matches!(self.state, State::Open) {
            return self.step();
        }
        self.tossed = self.tossed.wrapping_add(1);
        // None of the counts passes the number of pairs, which is at most `max_pairs`.
        self.pairs = self.pairs.wrapping_add(1);
        let is_slower = exceeds(candidate, baseline, self.tolerated_ppm);
        self.slower = self.slower.wrapping_add(is_slower as u16);
        self.within = self.within.wrapping_add(falls_short(candidate, baseline, self.forbidden_ppm) as u16);
        self.short = self.short.wrapping_add(self.is_short(baseline, candidate) as u16);
        self.alike = self.alike.wrapping_add((is_slower == self.was_slower) as u16);
        self.was_slower = is_slower;
        if self.ticks_left != u64::MAX {
            self.ticks_left = self.ticks_left.saturating_sub(baseline).saturating_sub(candidate);
        }
        if self.pairs >= self.look_pairs || self.ticks_left == 0 { self.look() } else { Step::More }
    }

    /// Takes note of a pair that does not count. The next one has an order of its own.
    pub const fn void(&mut self, reason: VoidReason) -> Step {
        // All count alike; what they are called is for whoever reads the code that voids.
        let _: VoidReason = reason;
        if matches!(self.state, State::Open) {
            self.tossed = self.tossed.wrapping_add(1);
            self.voided = self.voided.saturating_add(1);
            let all = (self.pairs as u32).wrapping_add(self.voided as u32);
            let limit = all.wrapping_mul(self.max_void_percent as u32);
            if all >= FEWEST_PAIRS as u32 && (self.voided as u32).wrapping_mul(100) > limit {
                self.state = State::Unfit(Reason::Voided);
            }
        }
        self.step()
    }

    /// Ends it: what was measured does not count. An answer that is there already stays.
    pub const fn refuse(&mut self, reason: Reason) -> Step {
        if matches!(self.state, State::Open) {
            self.state = State::Unfit(reason);
        }
        self.step()
    }

    /// The answer, or what it would be if nothing more came.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match self.state {
            State::Passed => Verdict::Pass { upper_ppm: saturated(self.forbidden_ppm) },
            State::Regressed => Verdict::Regressed { lower_ppm: saturated(self.tolerated_ppm) },
            State::Unfit(reason) => Verdict::Unfit(reason),
            State::Open | State::Exhausted => Verdict::TooNoisy { pairs_needed: self.pairs_needed() },
        }
    }

    /// Whether there is an answer.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        !matches!(self.state, State::Open)
    }

    /// All that is known.
    #[must_use]
    pub const fn report(&self) -> Report {
        Report {
            verdict: self.verdict(),
            seed: self.seed,
            pairs: self.pairs,
            slower: self.slower,
            within: self.within,
            voided: self.voided,
            short: self.short,
            tolerated_ppm: self.tolerated_ppm,
            forbidden_ppm: self.forbidden_ppm,
        }
    }

    /// Wins that would show a slowdown, and wins that would show its absence, at the number of pairs so far: what order statistics of the ratios bound it by.
    #[must_use]
    pub const fn deciding(&self) -> (u16, u16) {
        (
            deciding_wins(self.rule, self.false_alarm, self.pairs),
            deciding_wins(self.rule, self.false_pass, self.pairs),
        )
    }

    #[cold]
    const fn step(&self) -> Step {
        if self.is_over() { Step::Done(self.verdict()) } else { Step::More }
    }

    /// One tick would be more than an eighth of the space between the margins.
    const fn is_short(&self, baseline: u64, candidate: u64) -> bool {
        (if baseline < candidate { baseline } else { candidate }) < self.shortest
    }

    /// Decides, if this is where one decides, and ends, if this is the end.
    #[inline(never)]
    const fn look(&mut self) -> Step {
        let (at, alarm_wins, pass_wins) = look(self.next_look, self.false_alarm, self.false_pass);
        let is_boundary = match self.rule {
            Rule::Looks => self.pairs == at,
            Rule::Bets => self.pairs >= FEWEST_PAIRS,
        };
        if is_boundary {
            self.state = if self.short > self.pairs / 4 {
                State::Unfit(Reason::TooShort)
            } else if self.is_dependent() {
                State::Unfit(Reason::Dependent)
            } else if self.has(self.slower, alarm_wins, self.false_alarm) {
                // Between the margins both may be shown at once: then it is slower than tolerated.
                State::Regressed
            } else if self.has(self.within, pass_wins, self.false_pass) {
                State::Passed
            } else {
                State::Open
            };
            if matches!(self.rule, Rule::Looks) {
                self.next_look = self.next_look.saturating_add(1);
                let (next, ..) = look(self.next_look, self.false_alarm, self.false_pass);
                self.look_pairs = if next < self.max_pairs { next } else { self.max_pairs };
            }
        }
        if matches!(self.state, State::Open) && (self.pairs >= self.max_pairs || self.ticks_left == 0) {
            self.state = State::Exhausted;
        }
        self.step()
    }

    const fn has(&self, wins: u16, deciding: u16, risk: Risk) -> bool {
        match self.rule {
            Rule::Looks => wins >= deciding,
            Rule::Bets => bets_decide(risk, self.pairs, wins),
        }
    }

    /// Coins of which fewer than a fifth fall as the one before, or otherwise than it, although neither side is much more frequent, are no coins: five
    /// standard deviations at 64 pairs, and more later.
    const fn is_dependent(&self) -> bool {
        let (quarter, fifth) = (self.pairs / 4, self.pairs / 5);
        let changes = self.pairs.saturating_sub(self.alike);
        self.pairs >= ENOUGH_SIGNS
            && self.slower > quarter
            && self.slower < self.pairs.wrapping_sub(quarter)
            && (changes < fifth || self.alike < fifth)
    }

    /// A walk with the drift seen so far meets a boundary of z standard deviations after (z / drift)² steps.
    const fn pairs_needed(&self) -> u32 {
        let wins = if self.slower > self.within { self.slower } else { self.within } as u64;
        let pairs = self.pairs as u64;
        let ahead = wins.wrapping_mul(2).saturating_sub(pairs);
        if ahead == 0 {
            return u32::MAX;
        }
        let squared = match if self.slower > self.within { self.false_alarm } else { self.false_pass } {
            Risk::E2 => 11,
            Risk::E3 => 15,
            Risk::E4 => 20,
        };
        let needed = pairs.wrapping_mul(pairs).wrapping_mul(squared).div_ceil(ahead.wrapping_mul(ahead));
        let floor = if needed < FEWEST_PAIRS as u64 { FEWEST_PAIRS as u64 } else { needed };
        if floor >= u32::MAX as u64 { u32::MAX } else { clipped(floor) }
    }
}

/// Is `candidate` more than `baseline` by more than `ppm` millionths? Exact for all values.
#[inline]
pub(crate) const fn exceeds(candidate: u64, baseline: u64, ppm: u32) -> bool {
    if is_usual(candidate, baseline) {
        candidate.wrapping_mul(PPM) > baseline.wrapping_mul(PPM.wrapping_add(ppm as u64))
    } else {
        (candidate as u128).wrapping_mul(PPM as u128) > raised(baseline, ppm)
    }
}

/// Is `candidate` less than `baseline` and `ppm` millionths more?
#[inline]
pub(crate) const fn falls_short(candidate: u64, baseline: u64, ppm: u32) -> bool {
    if is_usual(candidate, baseline) {
        candidate.wrapping_mul(PPM) < baseline.wrapping_mul(PPM.wrapping_add(ppm as u64))
    } else {
        (candidate as u128).wrapping_mul(PPM as u128) < raised(baseline, ppm)
    }
}

/// Products with less than 2³³ fit in 64 bits.
#[inline]
const fn is_usual(candidate: u64, baseline: u64) -> bool {
    (candidate | baseline) >> 31 == 0
}

const fn raised(baseline: u64, ppm: u32) -> u128 {
    (baseline as u128).wrapping_mul(PPM.wrapping_add(ppm as u64) as u128)
}

pub(crate) const fn saturated(ppm: u32) -> i32 {
    if ppm > i32::MAX.unsigned_abs() { i32::MAX } else { ppm.cast_signed() }
}

#[expect(clippy::cast_possible_truncation, reason = "callers have compared it with the largest value")]
const fn clipped(value: u64) -> u32 {
    value as u32
}

/// The coin of one pair: a bit of SplitMix64, which depends on the seed and the number alone.
const fn coin(seed: u64, number: u32) -> bool {
    let mut state = seed.wrapping_add((number as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (state ^ (state >> 31)) >> 63 == 0
}
