//! Reading a ring that overwrites its oldest records.
//!
//! The head stands at the newest record, and behind it the others follow, newest first, up to the oldest, whose end was overwritten. The writer does not wait, so a record may
//! be overwritten while it is read. As with a sequence lock, the reader copies first and believes the copy only if the head has not come round to it meanwhile:
//!
//! ```text
//! read(buffer):
//!   head = data_head;  position = head
//!   until position is a lap from head, or where the head stood at the last read:
//!       copy the header, then the record;  acquire fence
//!       data_head has come round to the record's end: stop      // torn, and all older ones too
//!       size 0: never written, stop;   not within the lap: its end is overwritten, stop
//!       give it;  position += size
//! ```

use core::fmt;
use core::ops::ControlFlow;

use crate::geometry::{Direction, GeometryError};
use crate::memory::{Position, Racy};
use crate::order::sites;
use crate::reader::Corrupt;
use crate::record::{HEADER_SIZE, Header, LOST_SIZE, Lost, RECORD_LOST, RECORD_SAMPLE, field};

/// Reads one ring that is written backward, newest records first.
#[derive(Debug)]
pub struct BackwardReader<M> {
    memory: M,
    /// Where the head stood at the last read.
    seen: Option<usize>,
    in_flight: usize,
}

/// A record that was copied out of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Copied<'b> {
    /// A sample: its raw data, padding included, as much as the buffer held.
    Sample {
        /// The raw data.
        raw: &'b [u8],
        /// How long it is.
        raw_size: usize,
    },
    /// So many records were refused, while the ring was paused, before the record that was given last.
    Lost(Lost),
    /// A record of another kind: what follows its header, as much as the buffer held.
    Other {
        /// Its header.
        header: Header,
        /// What follows.
        body: &'b [u8],
    },
}

impl<M: Racy> BackwardReader<M> {
    /// Reads a ring whose output is paused whenever [`read`](Self::read) is called, so that nobody writes meanwhile.
    ///
    /// # Errors
    /// When the ring is written forward.
    pub fn new(memory: M) -> Result<Self, GeometryError> {
        match memory.geometry().direction() {
            Direction::Backward => Ok(Self { memory, seen: None, in_flight: 0 }),
            direction => Err(GeometryError::Direction(direction)),
        }
    }

    /// Reads while the ring is written to as well: `bytes` is what the longest record takes, a lost record included, which is what a write that has just
    /// begun may have overwritten without the head showing it. So much of the oldest data is not looked at.
    ///
    /// This is for a [`Writer`](crate::Writer) of ours. Linux does not order its head before the data it writes next: there, pause.
    #[must_use]
    pub fn with_writes_under_way(mut self, bytes: usize) -> Self {
        self.in_flight = bytes;
        self
    }

    /// Gives the records that are newer than at the last read to `each`, newest first, copied through `buffer`, and says why it stopped.
    ///
    /// Whatever stopped it, what is older now is not given any more by the next read.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        mut each: impl FnMut(Copied<'_>) -> ControlFlow<()>,
    ) -> BackwardRead {
        let head = self.memory.head().load(sites::BACKWARD_HEAD);
        let size = self.memory.geometry().size();
        let mut read = BackwardRead { records: 0, bytes: 0, stopped: BackwardStopped::Complete };
        if !head.is_multiple_of(HEADER_SIZE) {
            read.stopped = BackwardStopped::Corrupt(Corrupt::Head { position: head, head });
            return read;
        }
        let last = self.seen.replace(head).map(|seen| seen.wrapping_sub(head));
        read.stopped = loop {
            if last == Some(read.bytes) {
                break BackwardStopped::Complete;
            }
            let room =
                size.saturating_sub(read.bytes).min(last.unwrap_or(usize::MAX).saturating_sub(read.bytes));
            if room < HEADER_SIZE {
                break BackwardStopped::Overwritten;
            }
            let position = head.wrapping_add(read.bytes);
            let header = self.memory.copy_header(position);
            let record = usize::from(header.size());
            let wanted = record.saturating_sub(HEADER_SIZE).min(buffer.len());
            let Some(body) = buffer.get_mut(..wanted) else { break BackwardStopped::Overwritten };
            self.memory.copy(position.wrapping_add(HEADER_SIZE), body);
            self.memory.fence(sites::FENCE_COPIED);
            let now = self.memory.head().load(sites::BACKWARD_RECHECK);
            // Bytes from the lowest that may be overwritten, by what is written or under way, to the end of this record.
            let end = read.bytes.saturating_add(record.max(HEADER_SIZE));
            let span = end.saturating_add(head.wrapping_sub(now)).saturating_add(self.in_flight);
            if span > size {
                break BackwardStopped::Overwritten;
            }
            if record == 0 && last.is_none() {
                break BackwardStopped::Complete;
            }
            if record < HEADER_SIZE || !record.is_multiple_of(HEADER_SIZE) || record > room {
                break BackwardStopped::Corrupt(Corrupt::Size { position, header, available: room });
            }
            read.bytes = read.bytes.wrapping_add(record);
            read.records = read.records.wrapping_add(1);
            if each(Copied::of(header, body)).is_break() {
                break BackwardStopped::Asked;
            }
        };
        read
    }

    /// The ring's memory as this side sees it.
    pub fn memory(&self) -> &M {
        &self.memory
    }
}

impl<'b> Copied<'b> {
    /// The record with this header, of which `body` was copied.
    fn of(header: Header, body: &'b [u8]) -> Self {
        const RAW: usize = field::RAW - HEADER_SIZE;
        let longest = usize::from(header.size()).saturating_sub(field::RAW);
        match (header.kind(), body.split_first_chunk::<RAW>(), body.first_chunk()) {
            (RECORD_SAMPLE, Some((raw_size, raw)), _) => {
                let raw_size = (u32::from_ne_bytes(*raw_size) as usize).min(longest);
                Self::Sample { raw: raw.get(..raw_size).unwrap_or(raw), raw_size }
            }
            (RECORD_LOST, _, Some(lost)) if usize::from(header.size()) >= LOST_SIZE => {
                Self::Lost(Lost::from_body(*lost))
            }
            _ => Self::Other { header, body },
        }
    }
}

/// What a read of an overwriting ring did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "whether older records were missed stands in `stopped`"]
pub struct BackwardRead {
    /// Records given.
    pub records: usize,
    /// Bytes they take in the ring.
    pub bytes: usize,
    /// Why it stopped.
    pub stopped: BackwardStopped,
}

/// Why a read of an overwriting ring ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackwardStopped {
    /// The callback asked for it.
    Asked,
    /// Everything is read that was written since the last read, or ever.
    Complete,
    /// The memory does not hold a ring from here on.
    Corrupt(Corrupt),
    /// Older records were written since the last read, and overwritten.
    Overwritten,
}

impl fmt::Display for BackwardStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("the callback asked to stop"),
            Self::Complete => f.write_str("everything is read"),
            Self::Corrupt(corrupt) => corrupt.fmt(f),
            Self::Overwritten => f.write_str("what is older was overwritten"),
        }
    }
}

impl core::error::Error for BackwardStopped {}
