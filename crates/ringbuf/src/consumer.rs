//! The consuming side.
//!
//! ```text
//! next_record():
//!   if position == producer_pos as last read:  read it again
//!   length word busy: stop; never wait
//!   length within [position, producer_pos): or the memory is corrupt
//!   position += record size; discarded: go on; else give the payload
//!
//! before saying that nothing is there:
//!   store consumer_pos; full fence; look once more
//! ```
//!
//! The fence is what libbpf leaves out: without it, a producer that commits just now may read the old `consumer_pos` and not wake, while we read
//! the old `producer_pos` and sleep. With it, edge-triggered waiting loses nothing.

use core::fmt;
use core::ops::Deref;

use crate::cursor::{Cursor, Step};
use crate::drain::copy_payload;
use crate::memory::{Contiguous, Extent, Memory};
use crate::query::{self, Query};

/// Reads a ring: one consumer, as many records at a time as it likes.
#[derive(Debug)]
pub struct Consumer<M> {
    pub(crate) memory: M,
    pub(crate) cursor: Cursor,
}

impl<M: Memory> Consumer<M> {
    /// Takes over the consuming side, which goes on where the ring's `consumer_pos` stands.
    ///
    /// # Errors
    /// When `consumer_pos` is not a multiple of eight.
    pub fn new(memory: M) -> Result<Self, Corrupt> {
        let cursor = Cursor::new(&memory)?;
        Ok(Self { memory, cursor })
    }

    /// Lets [`drain`](Self::drain) give space back after every `bytes` read: 0 for after every record, as libbpf does. Unless told, an eighth of the
    /// ring, at most 64 KiB.
    ///
    /// Often is good for producers that wait for space, seldom for the cache line of `consumer_pos`, which travels for each.
    #[must_use]
    pub fn with_release(mut self, bytes: usize) -> Self {
        self.cursor.release_bytes = bytes;
        self
    }

    /// How many spin-loop hints are spent before another look for records, when at each of the last two looks there were some, but few: then a producer is at work,
    /// and left alone for a moment it has more to give at once. Who finds nothing is told so at once in any case.
    ///
    /// Unless told none; [`FlatRing::split_exclusive`](crate::FlatRing::split_exclusive) tells 16, some tenths of a microsecond. One producer that is followed
    /// closely gets through up to three times as many short records. With many, those that wait for space or for each other may gain less than they lose: measure.
    #[must_use]
    pub fn with_spins(mut self, spins: u32) -> Self {
        self.cursor.spins = spins;
        self
    }

    /// Gives the next record; its space goes back to the producers when the record is dropped.
    ///
    /// # Errors
    /// Why there is none right now. After [`Stopped::Empty`] and [`Stopped::Busy`] the producer will ask for a wakeup, so
    /// waiting is safe, edge-triggered too.
    #[inline]
    pub fn next_record(&mut self) -> Result<Record<'_, M>, Stopped> {
        let extent = match self.cursor.plain(&self.memory) {
            Some(extent) => extent,
            None => self.next_special()?,
        };
        Ok(Record { consumer: self, extent })
    }

    /// The next record, once what stands before it is dealt with.
    #[inline(never)]
    fn next_special(&mut self) -> Result<Extent, Stopped> {
        loop {
            match self.cursor.step(&self.memory)? {
                Step::Discarded => self.cursor.release(&self.memory),
                Step::Record(extent) => return Ok(extent),
            }
        }
    }

    /// What `bpf_ringbuf_query` answers: an estimate while producers are at work.
    pub fn query(&self, query: Query) -> usize {
        query::answer(&self.memory, query)
    }

    /// The ring's memory as this side sees it.
    pub fn memory(&self) -> &M {
        &self.memory
    }
}

/// A record that is being read. Dropping it gives its space back.
pub struct Record<'c, M: Memory> {
    consumer: &'c mut Consumer<M>,
    extent: Extent,
}

impl<M: Memory> Record<'_, M> {
    /// Copies the payload's beginning into `bytes`, as much as fits; gives how many bytes that were.
    pub fn copy_to(&self, bytes: &mut [u8]) -> usize {
        copy_payload(&self.consumer.memory, &self.extent, bytes)
    }

    /// Payload bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.extent.length()
    }

    /// Position of the record's header.
    #[must_use]
    pub fn position(&self) -> usize {
        self.extent.position()
    }
}

impl<M: Memory> Drop for Record<'_, M> {
    #[inline]
    fn drop(&mut self) {
        self.consumer.cursor.release(&self.consumer.memory);
    }
}

impl<M: Contiguous> Deref for Record<'_, M> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        M::published(self.consumer.memory.area(), &self.extent)
    }
}

impl<M: Memory> fmt::Debug for Record<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("position", &self.position())
            .field("payload_len", &self.payload_len())
            .finish()
    }
}

/// Why a consumer gives no further record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// The callback asked for it. There may be more.
    Asked,
    /// The next record is still being written; its commit will ask for a wakeup.
    Busy,
    /// The memory does not hold a ring; nothing was moved over. See [`Corrupt`].
    Corrupt(Corrupt),
    /// Everything is read; the next commit will ask for a wakeup.
    Empty,
    /// The limit is reached, and there is more: do not wait, drain again.
    Limit,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("the callback asked to stop"),
            Self::Busy => f.write_str("the next record is still being written"),
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
    /// `consumer_pos` is not a multiple of eight.
    ConsumerPosition {
        /// `consumer_pos`.
        position: usize,
    },
    /// A record reaches past `producer_pos`, or over the end of a flat ring.
    Length {
        /// Position of its header.
        position: usize,
        /// Its length word.
        word: u32,
        /// Bytes up to `producer_pos`.
        available: usize,
    },
    /// `overwrite_pos` is not a multiple of eight, or beyond `producer_pos`.
    OverwritePosition {
        /// Where the reader stands.
        position: usize,
        /// `overwrite_pos`.
        overwrite: usize,
    },
    /// `producer_pos` is not a multiple of eight, or more than a lap ahead.
    ProducerPosition {
        /// Where the consumer stands.
        position: usize,
        /// `producer_pos`.
        producer: usize,
    },
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsumerPosition { position } => {
                write!(f, "consumer_pos {position} is not a multiple of eight")
            }
            Self::Length { position, word, available } => {
                write!(
                    f,
                    "the record at position {position} (length word {word:#010x}) does not end in the {available} bytes there are"
                )
            }
            Self::OverwritePosition { position, overwrite } => {
                write!(f, "overwrite_pos {overwrite} cannot be, with the reader at {position}")
            }
            Self::ProducerPosition { position, producer } => {
                write!(f, "producer_pos {producer} cannot be, with the consumer at {position}")
            }
        }
    }
}

impl core::error::Error for Corrupt {}
