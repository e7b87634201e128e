//! What a drain did, and why it ended.

use core::fmt;

use super::guess::First;
use crate::record::Header;

/// What a drain did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "whether more is there, and whether the memory is corrupt, stands in `stopped`"]
pub struct Drained {
    /// Samples given, those cut short included.
    pub samples: usize,
    /// Bytes of raw data in them, padding included.
    pub bytes: usize,
    /// Records that were lost, as the lost records say that were read.
    pub lost: u64,
    /// Lost records.
    pub lost_records: usize,
    /// Records of other kinds.
    pub other: usize,
    /// Why it stopped.
    pub stopped: Stopped,
}

impl Drained {
    pub(crate) const fn nothing(stopped: Stopped) -> Self {
        Self { samples: 0, bytes: 0, lost: 0, lost_records: 0, other: 0, stopped }
    }

    /// Counts `rounds` of these samples, and `part` samples of one round more. Outside of the loop over them: every register counts there.
    #[inline(always)]
    pub(super) fn count<const N: usize>(&mut self, round: &[First; N], rounds: usize, part: usize) {
        let sum =
            |part: &[First]| part.iter().fold(0, |sum: usize, first| sum.wrapping_add(first.raw as usize));
        self.samples = self.samples.wrapping_add(rounds.wrapping_mul(N)).wrapping_add(part);
        self.bytes = self.bytes.wrapping_add(rounds.wrapping_mul(sum(round)));
        self.bytes = self.bytes.wrapping_add(sum(round.get(..part).unwrap_or_default()));
    }

    /// Records of any kind.
    #[inline(always)]
    #[must_use]
    pub const fn records(&self) -> usize {
        self.samples.wrapping_add(self.lost_records).wrapping_add(self.other)
    }
}

/// Why a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// The callback asked for it. There may be more.
    Asked,
    /// The memory does not hold a ring from here on. Nothing was moved over; [`Reader::resync`](crate::Reader::resync) does.
    Corrupt(Corrupt),
    /// Everything is read that was there when the drain began.
    Empty,
    /// The limit is reached, and there is more.
    Limit,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("the callback asked to stop"),
            Self::Corrupt(corrupt) => corrupt.fmt(f),
            Self::Empty => f.write_str("everything is read"),
            Self::Limit => f.write_str("the limit is reached"),
        }
    }
}

impl core::error::Error for Stopped {}

/// What the memory says cannot be true of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corrupt {
    /// The head is more than a lap ahead, or it or the tail is not a multiple of eight.
    Head {
        /// Where the reader stands.
        position: usize,
        /// `data_head`.
        head: usize,
    },
    /// A record is shorter than its header, no multiple of eight, or reaches past the head. Linux writes such sizes for samples longer than
    /// [`MAX_PAYLOAD`](crate::MAX_PAYLOAD).
    Size {
        /// Position of the record.
        position: usize,
        /// Its header.
        header: Header,
        /// Bytes up to the head.
        available: usize,
    },
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head { position, head } => {
                write!(f, "data_head {head} cannot be, with the reader at {position}")
            }
            Self::Size { position, header, available } => write!(
                f,
                "the record at {position} (type {}, size {}) is none within the {available} bytes there are",
                header.kind(),
                header.size()
            ),
        }
    }
}

impl core::error::Error for Corrupt {}
