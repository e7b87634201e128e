//! How pairs differ: bounds that are tighter than the margins.

use crate::pair::PairGate;

/// The ratios of pairs, in 128 buckets of 0.195 % from -12.5 % to +12.5 %.
///
/// Fed with the same pairs as a [`PairGate`], it bounds the slowdown by order statistics. The bounds hold together, at all looks, with the gate's own risks: that
/// many ratios above a value are as improbable as that many wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    buckets: [u16; BUCKETS],
    pairs: u16,
}

const _: () = assert!(size_of::<Spread>() + size_of::<PairGate>() <= 384);

const BUCKETS: usize = 128;
const HALF: i32 = 64;
/// A bucket is 2⁻⁹ wide.
const WIDTH_LOG: u32 = 9;

impl Spread {
    /// Without pairs.
    #[must_use]
    pub const fn new() -> Self {
        Self { buckets: [0; BUCKETS], pairs: 0 }
    }

    /// Takes a pair. One with a sample of no ticks has no ratio and is left out.
    pub fn push(&mut self, baseline: u64, candidate: u64) {
        let difference = i128::from(candidate).wrapping_sub(i128::from(baseline));
        let scaled = difference.wrapping_mul(1 << WIDTH_LOG);
        // Rounded down, so that a bucket begins at its lower edge.
        let Some(bucket) = scaled.checked_div_euclid(i128::from(baseline)) else { return };
        let bucket = bucket.saturating_add(i128::from(HALF)).clamp(0, 127);
        if let Some(count) = usize::try_from(bucket).ok().and_then(|bucket| self.buckets.get_mut(bucket)) {
            *count = count.saturating_add(1);
            self.pairs = self.pairs.saturating_add(1);
        }
    }

    /// The median of the ratios less one, in millionths, to within a bucket; outside ±12.5 % that bound.
    #[must_use]
    pub fn median_ppm(&self) -> Option<i32> {
        self.quantile_ppm(1, 2)
    }

    /// The quantile `numerator / denominator`, likewise.
    #[must_use]
    pub fn quantile_ppm(&self, numerator: u16, denominator: u16) -> Option<i32> {
        let rank =
            u32::from(self.pairs).checked_mul(u32::from(numerator))?.checked_div(denominator.into())?;
        let mut seen: u32 = 0;
        for (index, count) in self.edges() {
            seen = seen.saturating_add(count);
            if seen > rank {
                // The middle of the bucket.
                return Some(edge_ppm(index).midpoint(edge_ppm(index.saturating_add(1))));
            }
        }
        None
    }

    /// The standard deviation that a normal distribution with these quartiles would have, in millionths.
    #[must_use]
    pub fn sigma_ppm(&self) -> Option<u32> {
        let range = self.quantile_ppm(3, 4)?.checked_sub(self.quantile_ppm(1, 4)?)?;
        u32::try_from(range).ok()?.checked_mul(741).map(|range| range / 1000)
    }

    /// What the slowdown is at least and at most, with the risks of `gate`, which has taken the same pairs. None where there are too few of them, or where it lies
    /// outside the range.
    #[must_use]
    pub fn bounds_ppm(&self, gate: &PairGate) -> (Option<i32>, Option<i32>) {
        let (alarm, pass) = gate.deciding();
        let mut above: u32 = 0;
        let lower = self
            .edges()
            .rev()
            .find(|(_, count)| {
                above = above.saturating_add(*count);
                above >= u32::from(alarm)
            })
            .map(|(index, _)| index)
            .filter(|index| *index > 0)
            .map(edge_ppm);
        let mut below: u32 = 0;
        let upper = self
            .edges()
            .find(|(_, count)| {
                below = below.saturating_add(*count);
                below >= u32::from(pass)
            })
            .map(|(index, _)| index.saturating_add(1))
            .filter(|index| *index < 128)
            .map(edge_ppm);
        (lower, upper)
    }

    fn edges(&self) -> impl DoubleEndedIterator<Item = (i32, u32)> {
        // Not a zip with a range: what goes backward over one panics when the lengths differ, and the compiler keeps that.
        let edge =
            |(index, count): (usize, &u16)| (i32::try_from(index).unwrap_or(i32::MAX), u32::from(*count));
        self.buckets.iter().enumerate().map(edge)
    }
}

impl Default for Spread {
    fn default() -> Self {
        Self::new()
    }
}

/// The lower edge of a bucket.
fn edge_ppm(index: i32) -> i32 {
    // 64 buckets are 125,000 ppm: always within range.
    index.saturating_sub(HALF).saturating_mul(15_625) >> 3
}
