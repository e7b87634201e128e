//! What became of every reservation.

use core::fmt;

use crate::memory::{Position, Private};
use crate::order::sites;
use crate::space::ReserveError;

/// Counts of the producing side since it was set up. They wrap like positions.
///
/// Refusals are always counted. The others cost a producer an addition each, so they are counted only by a producer made `counting`, and are zero otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Reservations made.
    pub reserved: usize,
    /// Of these, submitted.
    pub submitted: usize,
    /// Of these, discarded.
    pub discarded: usize,
    /// Reservations refused because the consumer had not read enough.
    pub full: usize,
    /// Reservations refused because an older record was not committed.
    pub outstanding_refusals: usize,
    /// Reservations refused because no such record ever fits.
    pub too_long: usize,
}

impl Tally {
    /// Reservations that are neither submitted nor discarded: `reserved = submitted + discarded + outstanding`.
    #[must_use]
    pub const fn outstanding(&self) -> usize {
        self.reserved.wrapping_sub(self.submitted).wrapping_sub(self.discarded)
    }

    /// All refusals.
    #[must_use]
    pub const fn refused(&self) -> usize {
        self.full.wrapping_add(self.outstanding_refusals).wrapping_add(self.too_long)
    }

    /// Commits first, so that a reservation that goes on meanwhile counts as outstanding, not as a debt.
    pub(crate) fn of<P: Position>(private: &Private<P>) -> Self {
        Self {
            submitted: private.submitted.load(sites::TALLY),
            discarded: private.discarded.load(sites::TALLY),
            reserved: private.reserved.load(sites::TALLY),
            full: private.full.load(sites::TALLY),
            outstanding_refusals: private.outstanding.load(sites::TALLY),
            too_long: private.too_long.load(sites::TALLY),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reserved, submitted, discarded, full, outstanding_refusals, too_long } = self;
        write!(
            f,
            "{reserved} reserved, {submitted} submitted, {discarded} discarded, {} outstanding; ",
            self.outstanding()
        )?;
        write!(f, "refused: {full} full, {outstanding_refusals} held back, {too_long} too long")
    }
}

#[cold]
pub(crate) fn refused<P: Position>(private: &Private<P>, error: ReserveError) -> ReserveError {
    let count = match error {
        ReserveError::Full { .. } => &private.full,
        ReserveError::Outstanding { .. } => &private.outstanding,
        ReserveError::TooLong { .. } => &private.too_long,
    };
    count.fetch_add(1, sites::TALLY);
    error
}
