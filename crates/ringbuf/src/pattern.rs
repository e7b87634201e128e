//! Which headers to expect in a batch, and whether expecting them pays.

/// The lengths of a few records in a row, looked at now and then, and what to expect after them.
pub(crate) struct Pattern {
    /// The last length, and the one before it.
    last: [u32; 2],
    /// How many were as long as the one two before.
    repeats: u32,
    /// Records still to be looked at.
    look: u32,
    /// Passes until records are looked at again.
    rest: u32,
    /// Passes between two looks.
    pause: u32,
    expected: Option<[u32; 2]>,
}

/// No length: those of plain records are below 2^30.
const NONE: u32 = u32::MAX;
/// Records that are looked at in a row. All but the first two have one to repeat.
const LOOK: u32 = 6;
/// Passes between two looks at most: in records of random sizes each look costs a little, and now and then a wrong guess.
const MOST: u32 = 64;
/// Rounds that pay for the wrong guess at their end: it costs a mispredicted branch, a right one saves half a step.
pub(crate) const LONG: usize = 16;

impl Pattern {
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self { last: [NONE; 2], repeats: 0, look: LOOK, rest: 0, pause: 1, expected: None }
    }

    /// A record of that length. Whoever walks says so for each: there has to be next to nothing to it.
    #[inline(always)]
    pub(crate) fn note(&mut self, length: u32) {
        if self.look != 0 {
            let [last, before] = self.last;
            self.repeats = self.repeats.wrapping_add(u32::from(length == before));
            self.last = [length, last];
            self.look = self.look.wrapping_sub(1);
        }
    }

    /// A pass ends: were lengths regular enough to expect two of them, in turn, from here on? Which one of the two comes next is not known.
    #[inline(always)]
    pub(crate) fn learn(&mut self) -> bool {
        if self.look != 0 {
            return false;
        }
        if self.rest != 0 {
            self.rest = self.rest.wrapping_sub(1);
            if self.rest == 0 {
                self.look = LOOK;
            }
            return false;
        }
        let is_regular = self.repeats == LOOK - 2;
        if is_regular {
            self.expected = Some(self.last);
        }
        (self.last, self.repeats, self.rest) = ([NONE; 2], 0, self.pause);
        is_regular
    }

    /// The next two lengths, if they are to be expected: once.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> Option<[u32; 2]> {
        self.expected.take()
    }

    /// Another length came than was expected, after so many rounds.
    #[inline(always)]
    pub(crate) fn was_wrong(&mut self, rounds: usize) {
        self.pause = if rounds >= LONG { 1 } else { self.pause.wrapping_mul(2).min(MOST) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is expected after a pass over records of those lengths.
    fn learned(lengths: &[u32]) -> Option<[u32; 2]> {
        let mut pattern = Pattern::new();
        lengths.iter().for_each(|length| pattern.note(*length));
        let learned = pattern.learn();
        let expected = pattern.take();
        assert_eq!((expected.is_some(), pattern.take()), (learned, None));
        expected
    }

    #[test]
    fn what_repeats_is_expected_to_go_on() {
        assert_eq!(learned(&[]), None);
        assert_eq!(learned(&[8; 5]), None);
        assert_eq!(learned(&[8; 6]), Some([8, 8]));
        assert_eq!(learned(&[8, 16, 8, 16, 8]), None);
        assert_eq!(learned(&[8, 16, 8, 16, 8, 16]), Some([16, 8]));
        assert_eq!(learned(&[1, 9, 17, 1, 9, 17, 1, 9, 17, 1, 9, 17]), None);
        assert_eq!(learned(&[8, 8, 8, 8, 8, 16]), None);
    }

    #[test]
    fn after_guesses_that_do_not_pay_looks_are_further_apart() {
        let mut pattern = Pattern::new();
        let mut passes = || {
            let passes = (1..1000).find(|_| {
                (0..LOOK).for_each(|_| pattern.note(8));
                pattern.learn()
            });
            pattern.was_wrong(LONG - 1);
            passes
        };
        let found: [Option<u32>; 9] = core::array::from_fn(|_| passes());
        assert_eq!(found, [1, 2, 3, 5, 9, 17, 33, 65, 65].map(Some));
        pattern.was_wrong(LONG);
        assert_eq!((pattern.pause, MOST), (1, 64));
    }
}
