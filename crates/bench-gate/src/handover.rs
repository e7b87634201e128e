//! Samples from the thread that measures to the one that judges.

use core::sync::atomic::AtomicU32;

use crate::measure::Pair;
use crate::order::sites;
use crate::pair::{Turn, VoidReason};
use crate::word::Word;

/// Where one pair lies on its way. Read and written by one thread at a time, which the hand-over sees to.
pub trait Place {
    /// Writes it.
    fn write(&self, pair: Pair);

    /// Reads it.
    fn read(&self) -> Pair;
}

/// `N` places between one thread that measures and one that judges. Neither waits for the other: where there is no place, the giver is told, and measures on.
///
/// Each place has a word that says whose it is. The two sides go over the places in the same order and share nothing else, so what passes between the CPUs is the line
/// of the place itself.
#[derive(Debug)]
pub struct Handover<W, P, const N: usize> {
    slots: [Slot<W, P>; N],
}

/// One place, and whose it is.
#[derive(Debug, Default)]
pub struct Slot<W, P> {
    state: W,
    place: P,
}

const FREE: u32 = 0;
const GIVEN: u32 = 1;

impl<W: Word, P: Place> Slot<W, P> {
    /// On a word that is 0.
    #[must_use]
    pub const fn new(state: W, place: P) -> Self {
        Self { state, place }
    }
}

impl<const N: usize> Handover<AtomicU32, AtomicPair, N> {
    /// Empty places.
    #[must_use]
    pub const fn new() -> Self {
        Self::on([const { Slot { state: AtomicU32::new(FREE), place: AtomicPair::new() } }; N])
    }
}

impl<const N: usize> Default for Handover<AtomicU32, AtomicPair, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Word, P: Place, const N: usize> Handover<W, P, N> {
    /// On these places, which are free.
    #[must_use]
    pub const fn on(slots: [Slot<W, P>; N]) -> Self {
        Self { slots }
    }

    /// The two sides. While they live there are no others.
    pub const fn split(&mut self) -> (Giver<'_, W, P, N>, Taker<'_, W, P, N>) {
        (Giver { slots: &self.slots, next: 0 }, Taker { slots: &self.slots, next: 0 })
    }
}

/// The side that measures.
#[derive(Debug)]
pub struct Giver<'h, W, P, const N: usize> {
    slots: &'h [Slot<W, P>; N],
    next: usize,
}

impl<W: Word, P: Place, const N: usize> Giver<'_, W, P, N> {
    /// Hands a pair over. If there is no place, it comes back.
    ///
    /// # Errors
    /// The pair.
    pub fn give(&mut self, pair: Pair) -> Result<(), Pair> {
        let Some(slot) = self.slots.get(self.next) else { return Err(pair) };
        if slot.state.load(sites::GIVER_LOOKS) != FREE {
            return Err(pair);
        }
        slot.place.write(pair);
        slot.state.store(GIVEN, sites::GIVER_GIVES);
        self.next = following::<N>(self.next);
        Ok(())
    }
}

/// The side that judges.
#[derive(Debug)]
pub struct Taker<'h, W, P, const N: usize> {
    slots: &'h [Slot<W, P>; N],
    next: usize,
}

impl<W: Word, P: Place, const N: usize> Taker<'_, W, P, N> {
    /// The next pair, if there is one: in the order in which they were given.
    pub fn take(&mut self) -> Option<Pair> {
        let slot = self.slots.get(self.next)?;
        if slot.state.load(sites::TAKER_LOOKS) != GIVEN {
            return None;
        }
        let pair = slot.place.read();
        slot.state.store(FREE, sites::TAKER_FREES);
        self.next = following::<N>(self.next);
        Some(pair)
    }
}

fn following<const N: usize>(index: usize) -> usize {
    index.checked_add(1).filter(|next| *next < N).unwrap_or(0)
}

/// A [`Place`] of plain words, whose order is that of the hand-over.
#[derive(Debug, Default)]
pub struct AtomicPair {
    words: [AtomicU32; 5],
}

impl AtomicPair {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: [const { AtomicU32::new(0) }; 5] }
    }
}

impl Place for AtomicPair {
    fn write(&self, pair: Pair) {
        let flags = u32::from(pair.turn == Turn::CandidateFirst) | void_code(pair.void) << 1;
        let values = halves(pair.baseline).into_iter().chain(halves(pair.candidate)).chain([flags]);
        for (word, value) in self.words.iter().zip(values) {
            Word::store(word, value, sites::PAIR);
        }
    }

    fn read(&self) -> Pair {
        let [a, b, c, d, flags] = self.words.each_ref().map(|word| Word::load(word, sites::PAIR));
        let turn = if flags & 1 == 0 { Turn::BaselineFirst } else { Turn::CandidateFirst };
        Pair::new(whole(a, b), whole(c, d), turn, void_of(flags >> 1))
    }
}

const VOIDS: [VoidReason; 4] =
    [VoidReason::Disturbed, VoidReason::Migrated, VoidReason::Skew, VoidReason::Suspended];

fn void_code(void: Option<VoidReason>) -> u32 {
    void.and_then(|void| (1..).zip(VOIDS).find(|(_, known)| *known == void)).map_or(0, |(code, _)| code)
}

fn void_of(code: u32) -> Option<VoidReason> {
    (1..).zip(VOIDS).find(|(known, _)| *known == code).map(|(_, void)| void)
}

fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

fn whole(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_arrive_whole_and_in_order() {
        let mut handover = Handover::<_, _, 3>::new();
        let (mut giver, mut taker) = handover.split();
        let voids = [None, Some(VoidReason::Disturbed), Some(VoidReason::Skew), Some(VoidReason::Suspended)];
        let pairs: std::vec::Vec<Pair> = (0..100_u64)
            .map(|index| {
                let turn = if index % 3 == 0 { Turn::BaselineFirst } else { Turn::CandidateFirst };
                Pair::new(
                    u64::MAX / (index + 1),
                    index << 40,
                    turn,
                    voids[usize::try_from(index).unwrap() % 4],
                )
            })
            .collect();
        let mut taken = std::vec::Vec::new();
        let mut waiting = pairs.iter().copied();
        let mut next = waiting.next();
        while taken.len() < pairs.len() {
            while let Some(pair) = next {
                match giver.give(pair) {
                    Ok(()) => next = waiting.next(),
                    Err(back) => {
                        assert_eq!(back, pair, "what has no place comes back");
                        break;
                    }
                }
            }
            taken.extend(taker.take());
        }
        assert_eq!((taken, taker.take()), (pairs, None));
        let mut nowhere = Handover::<_, _, 0>::new();
        assert!(nowhere.split().0.give(Pair::new(1, 2, Turn::BaselineFirst, None)).is_err());
    }
}
