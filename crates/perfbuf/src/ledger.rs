//! What a ring does with each record, without the ring: space, losses and wakeups as arithmetic.
//!
//! [`Writer`](crate::Writer) runs on it. On its own it predicts what a ring of the running kernel will do with a sequence of records: which of them it refuses,
//! before which it reports losses, and which of them wake the reader.

use core::fmt;

use crate::geometry::{Direction, Geometry};
use crate::record::{LOST_SIZE, MAX_PAYLOAD, sample_size};
use crate::wakeup::{PolicyError, Wakeup, WakeupPolicy, WakeupRule};

/// The state of the writing side of one ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    geometry: Geometry,
    head: usize,
    /// Records refused since one was last taken.
    lost: u64,
    is_paused: bool,
    rule: WakeupRule,
}

/// A record that was taken: where it goes, and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placed {
    /// Where it begins: with the lost record if there is one, else with the sample.
    pub position: usize,
    /// How many records a lost record before the sample has to report.
    pub lost: Option<u64>,
    /// Where the head is afterwards.
    pub head: usize,
    /// Does it wake the reader?
    pub wakeup: Wakeup,
}

impl Ledger {
    /// The ledger of a ring whose head stands at `head`.
    ///
    /// # Errors
    /// When the policy is none.
    pub const fn new(geometry: Geometry, policy: WakeupPolicy, head: usize) -> Result<Self, PolicyError> {
        let rule = match WakeupRule::new(geometry, policy) {
            Ok(rule) => rule.starting_at(written(geometry, head)),
            Err(error) => return Err(error),
        };
        Ok(Self { geometry, head, lost: 0, is_paused: false, rule })
    }

    /// Takes a sample of `payload_len` bytes, or refuses it, with the reader at `tail` (which an overwriting ring does not look at).
    ///
    /// # Errors
    /// Why it is refused; it is counted as lost then.
    #[inline]
    pub const fn sample(&mut self, payload_len: usize, tail: usize) -> Result<Placed, Refused> {
        if self.is_paused {
            return Err(self.refuse(Refused::Paused));
        }
        if payload_len > MAX_PAYLOAD {
            return Err(self.refuse(Refused::TooLong { payload_len }));
        }
        let reported = if self.lost == 0 { 0 } else { LOST_SIZE };
        let size = sample_size(payload_len).wrapping_add(reported);
        let (position, head) = match self.geometry.direction() {
            Direction::Forward => {
                // The kernel keeps one byte free, so that full and empty differ.
                let room = tail.wrapping_sub(self.head).wrapping_sub(1) & self.geometry.mask();
                if room < size {
                    return Err(self.refuse(Refused::Full));
                }
                (self.head, self.head.wrapping_add(size))
            }
            Direction::Backward => {
                if size > self.geometry.size() {
                    return Err(self.refuse(Refused::Full));
                }
                let head = self.head.wrapping_sub(size);
                (head, head)
            }
        };
        let lost = if self.lost == 0 { None } else { Some(self.lost) };
        self.lost = 0;
        self.head = head;
        let wakeup = self.rule.sample(written(self.geometry, head));
        Ok(Placed { position, lost, head, wakeup })
    }

    /// From here on every record is refused and counted as lost (`PERF_EVENT_IOC_PAUSE_OUTPUT`), or no more.
    pub const fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Records that were refused and that no lost record has reported yet: at the end these are missing from all that the reader has counted.
    #[must_use]
    pub const fn unreported(&self) -> u64 {
        self.lost
    }

    /// Where the head stands.
    #[must_use]
    pub const fn head(&self) -> usize {
        self.head
    }

    /// The rule for wakeups, and what it has counted.
    #[must_use]
    pub const fn rule(&self) -> &WakeupRule {
        &self.rule
    }

    /// The size and direction.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    const fn refuse(&mut self, reason: Refused) -> Refused {
        self.lost = self.lost.saturating_add(1);
        reason
    }
}

/// Bytes written so far, as the wakeup rule counts them.
const fn written(geometry: Geometry, head: usize) -> usize {
    match geometry.direction() {
        Direction::Forward => head,
        Direction::Backward => 0usize.wrapping_sub(head),
    }
}

/// Why a sample was not written. It counts as lost, and the next one that is written reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The reader has not made room for it, and for the lost record if one is due; or it is longer than the ring.
    Full,
    /// The ring is paused.
    Paused,
    /// Its size does not fit the 16 bits of a record header. Linux writes such a record, with a size that is wrong.
    TooLong {
        /// Bytes of the payload.
        payload_len: usize,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the ring has no room for the record"),
            Self::Paused => f.write_str("the ring is paused"),
            Self::TooLong { payload_len } => {
                write!(f, "a payload of {payload_len} bytes: a record holds {MAX_PAYLOAD}")
            }
        }
    }
}

impl core::error::Error for Refused {}
