//! When the reader of one ring is woken: Linux's rule, as arithmetic.
//!
//! ```text
//! a record moves the head to `head`:
//!     head - wakeup > watermark:   wakeup += watermark        // at most once for each record
//! it is a sample, and events are counted:
//!     events += 1;  events >= wanted:   events -= wanted;  wakeup += 1
//! wakeup changed: the reader is woken
//! ```
//!
//! What surprises: the watermark is half the ring unless the policy names one, *also when events are counted*; the counter belongs to one ring, which is one
//! CPU's; nothing that the reader does resets it, so what is left over counts for the next round; and a wakeup by bytes counts from where the last one was
//! due, by bytes or by events, not from where the reader stands.

use core::fmt;
use core::num::NonZeroU32;

use crate::geometry::Geometry;
use crate::memory::Position;
use crate::order::sites;

/// What a ring was told about waking its reader: `wakeup_events`, `wakeup_watermark` and the bit `watermark` of `perf_event_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WakeupPolicy {
    /// After so many samples of this ring, and whenever half the ring was written.
    Events(NonZeroU32),
    /// Whenever more than so many bytes were written; at most the ring's size counts.
    Watermark(NonZeroU32),
    /// Whenever half the ring was written: what a zero in either field means.
    #[default]
    HalfFull,
}

impl WakeupPolicy {
    /// After `events` samples; zero is [`WakeupPolicy::HalfFull`], as in Linux.
    #[must_use]
    pub const fn events(events: u32) -> Self {
        match NonZeroU32::new(events) {
            Some(events) => Self::Events(events),
            None => Self::HalfFull,
        }
    }

    /// After more than `bytes` bytes; zero is [`WakeupPolicy::HalfFull`], as in Linux.
    #[must_use]
    pub const fn watermark(bytes: u32) -> Self {
        match NonZeroU32::new(bytes) {
            Some(bytes) => Self::Watermark(bytes),
            None => Self::HalfFull,
        }
    }
}

/// What a write asks of the embedder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a reader that sleeps stays asleep unless somebody wakes it"]
#[expect(clippy::exhaustive_enums, reason = "a wakeup is due or it is not")]
pub enum Wakeup {
    /// Wake the reader.
    Needed,
    /// Not yet.
    NotNeeded,
}

impl Wakeup {
    /// Is a wakeup due?
    #[inline]
    #[must_use]
    pub const fn is_needed(self) -> bool {
        matches!(self, Self::Needed)
    }

    /// Either of two.
    pub const fn or(self, other: Self) -> Self {
        if self.is_needed() { self } else { other }
    }
}

/// The rule for one ring, and what it has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WakeupRule {
    watermark: usize,
    /// 0: events are not counted.
    wanted: u32,
    events: u32,
    /// Where the last wakeup by bytes was due, moved on by one for each wakeup by events.
    wakeup: usize,
}

impl WakeupRule {
    /// The rule of a ring that nothing was written to.
    ///
    /// # Errors
    /// When more events are asked for than Linux can count.
    pub const fn new(geometry: Geometry, policy: WakeupPolicy) -> Result<Self, PolicyError> {
        let half = geometry.size() / 2;
        let (watermark, wanted) = match policy {
            WakeupPolicy::HalfFull => (half, 0),
            WakeupPolicy::Events(events) if events.get() > i32::MAX.cast_unsigned() => {
                return Err(PolicyError(events.get()));
            }
            WakeupPolicy::Events(events) => (half, events.get()),
            WakeupPolicy::Watermark(bytes) => {
                let bytes = bytes.get() as usize;
                (if bytes < geometry.size() { bytes } else { geometry.size() }, 0)
            }
        };
        Ok(Self { watermark, wanted, events: 0, wakeup: 0 })
    }

    /// The same rule for a ring that was written up to `written` before anybody counted.
    #[must_use]
    pub const fn starting_at(self, written: usize) -> Self {
        Self { wakeup: written, ..self }
    }

    /// A sample, and what came with it, moved the end of all that was written to `written`.
    #[inline]
    pub const fn sample(&mut self, written: usize) -> Wakeup {
        let before = self.wakeup;
        if written.wrapping_sub(self.wakeup) > self.watermark {
            self.wakeup = self.wakeup.wrapping_add(self.watermark);
        }
        if self.wanted != 0 {
            self.events = self.events.wrapping_add(1);
            if self.events >= self.wanted {
                self.events = self.events.wrapping_sub(self.wanted);
                self.wakeup = self.wakeup.wrapping_add(1);
            }
        }
        if self.wakeup == before { Wakeup::NotNeeded } else { Wakeup::Needed }
    }

    /// Samples that count towards the next wakeup by events.
    #[must_use]
    pub const fn counted(&self) -> u32 {
        self.events
    }

    /// How many samples more the next wakeup by events takes; `None` when events are not counted.
    #[must_use]
    pub const fn until_wakeup(&self) -> Option<u32> {
        if self.wanted == 0 { None } else { Some(self.wanted.wrapping_sub(self.events)) }
    }
}

/// More events asked for than Linux counts: the number is signed there, and a negative one wakes at every sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyError(u32);

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a wakeup after {} events: the most is {}", self.0, i32::MAX)
    }
}

impl core::error::Error for PolicyError {}

/// Whether poll(2) would say that a ring is ready, for writers of our own: it becomes so by a wakeup, and stops being so by being asked. Whether
/// anything is unread does not enter into it.
#[derive(Debug, Default)]
pub struct Readiness<P>(P);

impl<P: Position> Readiness<P> {
    /// Uses a word that is zero.
    pub const fn new(word: P) -> Self {
        Self(word)
    }

    /// A wakeup is due: the next [`take`](Self::take) says so.
    pub fn raise(&self) {
        self.0.swap(1, sites::READY_RAISE);
    }

    /// Is the ring ready? Asking consumes the answer.
    #[must_use = "the answer is given once"]
    pub fn take(&self) -> bool {
        self.0.swap(0, sites::READY_TAKE) != 0
    }
}

/// A counter that the writers of a set share: what Linux lacks. N events wake the reader wherever they were written, once for each N.
///
/// It counts on its own, beside the rule of each ring, and like that rule it is not reset by reading.
#[derive(Debug)]
pub struct SetCounter<P> {
    events: P,
    wanted: usize,
}

impl<P: Position> SetCounter<P> {
    /// Asks for a wakeup after every `wanted` events of the set; uses a word that is zero.
    pub const fn new(word: P, wanted: NonZeroU32) -> Self {
        Self { events: word, wanted: wanted.get() as usize }
    }

    /// Counts one event, which is written already. Whoever is told to wake has seen, and shows to the reader, all events counted before.
    pub fn count(&self) -> Wakeup {
        // Where the word wraps a round is cut short, never drawn out.
        let events = self.events.fetch_add(1, sites::SET_COUNT).wrapping_add(1);
        if events.checked_rem(self.wanted) == Some(0) { Wakeup::Needed } else { Wakeup::NotNeeded }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;
    use crate::Direction;
    use std::vec::Vec;

    fn rule(size: usize, policy: WakeupPolicy) -> WakeupRule {
        WakeupRule::new(Geometry::new(size, Direction::Forward).unwrap(), policy).unwrap()
    }

    /// Numbers, from 1, of those of `count` samples of `size` bytes that wake.
    fn woken_by(rule: &mut WakeupRule, first: usize, count: usize, size: usize) -> Vec<usize> {
        (first..first + count).filter(|number| rule.sample(number * size).is_needed()).collect()
    }

    /// All four as seen on Linux 6.18, with samples of 24 bytes in a ring of 4096.
    #[test]
    fn wakeups_are_those_of_the_kernel() {
        let by_bytes = woken_by(&mut rule(4096, WakeupPolicy::watermark(100)), 1, 17, 24);
        assert_eq!(by_bytes.iter().map(|number| number * 24).collect::<Vec<_>>(), [120, 216, 312, 408]);
        assert_eq!(woken_by(&mut rule(4096, WakeupPolicy::events(3)), 1, 10, 24), [3, 6, 9]);
        // Half the ring wakes although a thousand events are asked for.
        assert_eq!(woken_by(&mut rule(4096, WakeupPolicy::events(1000)), 1, 90, 24), [86]);
        assert_eq!(woken_by(&mut rule(4096, WakeupPolicy::HalfFull), 1, 172, 24), [86, 171]);
    }

    #[test]
    fn what_is_left_over_counts_for_the_next_round() {
        let mut rule = rule(4096, WakeupPolicy::events(3));
        assert_eq!(woken_by(&mut rule, 1, 4, 24), [3]);
        assert_eq!((rule.counted(), rule.until_wakeup()), (1, Some(2)));
        // The reader has read everything meanwhile; two more are enough nevertheless.
        assert_eq!(woken_by(&mut rule, 5, 2, 24), [6]);
    }

    #[test]
    fn a_watermark_beyond_the_ring_is_the_ring() {
        let mut large = rule(4096, WakeupPolicy::watermark(u32::MAX));
        assert_eq!(large, rule(4096, WakeupPolicy::watermark(4096)));
        assert_eq!(woken_by(&mut large, 1, 300, 24), [171]);
    }

    #[test]
    fn counting_crosses_the_end_of_the_word() {
        let start = 0usize.wrapping_sub(48);
        let mut rule = rule(4096, WakeupPolicy::watermark(100)).starting_at(start);
        let woken: Vec<usize> =
            (1..=9).filter(|number| rule.sample(start.wrapping_add(number * 24)).is_needed()).collect();
        assert_eq!(woken, [5, 9]);
    }

    #[test]
    fn more_events_than_linux_counts_are_refused() {
        let geometry = Geometry::new(4096, Direction::Forward).unwrap();
        let refused = WakeupRule::new(geometry, WakeupPolicy::events(1 << 31));
        assert_eq!(refused, Err(PolicyError(1 << 31)));
        assert!(WakeupRule::new(geometry, WakeupPolicy::events((1 << 31) - 1)).is_ok());
    }
}
