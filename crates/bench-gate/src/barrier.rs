//! A place where threads begin together, or find that they cannot.

use core::fmt;
use core::num::NonZeroU16;
use core::sync::atomic::AtomicU32;

use crate::machine::Clock;
use crate::order::sites;
use crate::word::Exchange;

/// A sense-reversing barrier on one word that spins, for so long and no longer.
///
/// The low half of the word counts who is here, the high half how often it has opened: its lowest bit is the sense. The last one to come changes both in one step, so that
/// nobody can give up between the count being full and the barrier opening, and whoever was too slow for one round cannot be taken for part of the next.
///
/// Nobody sleeps, so nobody has to be woken: those on CPUs of their own leave within the time that a cache line takes to travel. Where there are more threads than CPUs it
/// only wastes time, until the limit.
#[derive(Debug, Default)]
pub struct Barrier<W = AtomicU32> {
    word: W,
}

/// Passing a [`Barrier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passed {
    /// When this thread left, in ticks.
    pub at: u64,
    /// Whether it was the one that opened.
    pub is_last: bool,
}

const ONE: u32 = 1;
const COUNT: u32 = 0xffff;
const ROUND: u32 = 0x1_0000;

impl Barrier {
    /// A barrier that nobody waits at.
    #[must_use]
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(0) }
    }
}

impl<W: Exchange> Barrier<W> {
    /// On a word that is 0.
    #[must_use]
    pub const fn on(word: W) -> Self {
        Self { word }
    }

    /// Waits until `parties` threads are here, for `limit` ticks at most. All of them must say the same number.
    ///
    /// # Errors
    /// When the others did not come in time. This thread is not counted any more; the others may still be.
    pub fn wait(&self, parties: NonZeroU16, clock: &impl Clock, limit: u64) -> Result<Passed, Timeout> {
        let mut seen = self.word.load(sites::BARRIER_LOOK);
        let round = loop {
            let here = (seen & COUNT).wrapping_add(ONE);
            let is_last = here >= u32::from(parties.get());
            let next = if is_last { next_round(seen) } else { seen.wrapping_add(ONE) };
            match self.word.compare_exchange_weak(seen, next, sites::BARRIER_ARRIVE) {
                Ok(_) if is_last => return Ok(Passed { at: clock.ticks(), is_last }),
                Ok(_) => break seen & !COUNT,
                Err(now) => seen = now,
            }
        };
        let start = clock.ticks();
        loop {
            let now = self.word.load(sites::BARRIER_SEE);
            if now & !COUNT != round {
                return Ok(Passed { at: clock.ticks(), is_last: false });
            }
            // A clock that goes back must not keep anyone here.
            if clock.ticks().wrapping_sub(start) >= limit {
                let without = now.wrapping_sub(ONE);
                if self.word.compare_exchange_weak(now, without, sites::BARRIER_WITHDRAW).is_ok() {
                    return Err(Timeout { limit, here: now & COUNT, parties });
                }
                // Somebody came, or left, or it opened: look again. There are only so many.
            } else {
                self.word.pause();
            }
        }
    }
}

/// Nobody here, another round.
const fn next_round(word: u32) -> u32 {
    (word & !COUNT).wrapping_add(ROUND)
}

/// How far apart the last and the first of some threads began, in ticks. Where it is more than a sixteenth of what a sample takes, the samples were not taken side by side, and
/// the pair is void: [`VoidReason::Skew`](crate::VoidReason::Skew).
#[must_use]
pub fn skew(starts: &[u64]) -> u64 {
    let first = starts.iter().copied().min().unwrap_or(0);
    starts.iter().copied().max().unwrap_or(0).saturating_sub(first)
}

/// The others did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeout {
    /// How long this thread waited, in ticks.
    pub limit: u64,
    /// How many were here, this one included.
    pub here: u32,
    /// How many were to come.
    pub parties: NonZeroU16,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} threads were at the barrier after {} ticks", self.here, self.parties, self.limit)
    }
}

impl core::error::Error for Timeout {}
