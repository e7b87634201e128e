//! What the next records are expected to begin with.

/// The first twelve bytes of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct First {
    pub(super) word: u64,
    pub(super) raw: u32,
}

impl First {
    /// 1 if it is the same, else 0.
    #[inline(always)]
    pub(super) fn is_like(self, other: Self) -> u32 {
        let differs = (self.word ^ other.word) | u64::from(self.raw ^ other.raw);
        u32::from(differs == 0)
    }
}

/// What the next records are expected to begin with, and whether expecting it pays.
///
/// A wrong guess costs a mispredicted branch, a right one saves most of a step; so a guess needs a run of equal records first (or of two kinds in turn), and after a
/// short run the next guess waits for longer.
#[derive(Default)]
pub(super) struct Guess {
    /// The last sample, and the one before it.
    pub(super) last: [First; 2],
    /// How many in a row began as the one before.
    pub(super) same: u32,
    /// How many in a row began as the one two before.
    pub(super) alternating: u32,
    /// Samples not to look at now.
    pub(super) pause: usize,
    /// How many that will be when looking leads to nothing again.
    pub(super) penalty: usize,
}

/// How many in a row it takes to guess.
pub(super) const ENOUGH: u32 = 4;
/// How many samples to look at before it is given up for a while.
pub(super) const LOOKS: usize = 32;
/// The shortest and the longest such while: among records of random sizes looking, and a wrong guess, costs next to nothing then.
pub(super) const LEAST: usize = 16;
pub(super) const MOST: usize = 1024;
/// A run that pays for the wrong guess at its end.
pub(super) const LONG: usize = 16;

impl Guess {
    #[inline(always)]
    pub(super) fn note(&mut self, first: First) {
        // Without a branch: among records of random sizes it would be mispredicted.
        let [last, before] = self.last.map(|known| first.is_like(known));
        self.same = self.same.wrapping_add(1).wrapping_mul(last);
        self.alternating = self.alternating.wrapping_add(1).wrapping_mul(before);
        self.last = [first, self.last[0]];
    }

    #[inline(always)]
    pub(super) fn is_certain(&self) -> bool {
        self.same.max(self.alternating) >= ENOUGH
    }

    /// The next two, if they are certain.
    #[inline(always)]
    pub(super) fn next(&self) -> [First; 2] {
        if self.same >= ENOUGH { [self.last[0]; 2] } else { [self.last[1], self.last[0]] }
    }

    #[inline(always)]
    pub(super) fn pause(&self) -> usize {
        self.pause
    }

    /// Looked for long enough, or paused for long enough.
    pub(super) fn turn(&mut self) {
        (self.same, self.alternating) = (0, 0);
        if self.pause == 0 {
            self.penalty = self.penalty.wrapping_mul(2).clamp(LEAST, MOST);
            self.pause = self.penalty;
        } else {
            self.pause = 0;
        }
    }

    pub(super) fn was_wrong(&mut self, records: usize) {
        if records >= LONG {
            (self.same, self.alternating) = (0, 0);
            self.penalty = 0;
        } else {
            self.turn();
        }
    }
}
