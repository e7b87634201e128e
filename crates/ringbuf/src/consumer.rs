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

use crate::drain::Payload;
use crate::geometry::Mapping;
use crate::header::{BUSY_BIT, DISCARD_BIT, HEADER_SIZE, record_size};
use crate::memory::{Contiguous, Extent, Length, Memory, Position};
use crate::order::sites;
use crate::query::{self, Query};

/// Reads a ring: one consumer, as many records at a time as it likes.
#[derive(Debug)]
pub struct Consumer<M> {
    pub(crate) memory: M,
    /// The next record to read.
    pub(crate) position: usize,
    /// `producer_pos` as last read.
    pub(crate) producer: usize,
    /// `consumer_pos` as last stored.
    pub(crate) released: usize,
    /// A drain stores `consumer_pos` when it is this far behind.
    pub(crate) release_bytes: usize,
    /// Has `consumer_pos` moved since the last fence?
    unfenced: bool,
}

impl<M: Memory> Consumer<M> {
    /// Takes over the consuming side, which goes on where the ring's `consumer_pos` stands.
    ///
    /// # Errors
    /// When `consumer_pos` is not a multiple of eight.
    pub fn new(memory: M) -> Result<Self, Corrupt> {
        let position = memory.consumer_position().load(sites::SETUP);
        if !position.is_multiple_of(HEADER_SIZE) {
            return Err(Corrupt::ConsumerPosition { position });
        }
        let release_bytes = (memory.geometry().size() / 8).min(RELEASE_BYTES);
        Ok(Self { memory, position, producer: position, released: position, release_bytes, unfenced: true })
    }

    /// Lets [`drain`](Self::drain) give space back after every `bytes` read: 0 for after every record, as libbpf does. Unless told, an eighth of the
    /// ring, at most 4096 bytes.
    ///
    /// Often is good for producers that wait for space, seldom for the cache line of `consumer_pos`, which travels for each.
    #[must_use]
    pub fn with_release(mut self, bytes: usize) -> Self {
        self.release_bytes = bytes;
        self
    }

    /// Gives the next record; its space goes back to the producers when the record is dropped.
    ///
    /// # Errors
    /// Why there is none right now. After [`Stopped::Empty`] and [`Stopped::Busy`] the producer will ask for a wakeup, so
    /// waiting is safe, edge-triggered too.
    pub fn next_record(&mut self) -> Result<Record<'_, M>, Stopped> {
        loop {
            match self.step()? {
                Step::Discarded => self.release(),
                Step::Record(extent) => return Ok(Record { consumer: self, extent }),
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

    /// Reads one header, moves over its record, releases nothing.
    pub(crate) fn step(&mut self) -> Result<Step, Stopped> {
        if self.position == self.producer && !self.refresh()? && (!self.settle() || !self.refresh()?) {
            return Err(Stopped::Empty);
        }
        let mut word = self.memory.length(self.position).load(sites::CONSUMER_LENGTH);
        if word & BUSY_BIT != 0 && self.settle() {
            word = self.memory.length(self.position).load(sites::CONSUMER_LENGTH);
        }
        if word & BUSY_BIT != 0 {
            return Err(Stopped::Busy);
        }
        let total = record_size(word);
        let available = self.producer.wrapping_sub(self.position);
        // Behind a long record the bytes there are rather payload than a header.
        if total <= AHEAD / 16 && available > AHEAD {
            self.memory.prefetch(self.position.wrapping_add(AHEAD));
        }
        let geometry = self.memory.geometry();
        let crosses = geometry.mapping() == Mapping::Flat && total > geometry.until_end(self.position);
        if total > available || crosses {
            return Err(Stopped::Corrupt(Corrupt::Length { position: self.position, word, available }));
        }
        let extent = Extent::new(self.position, (word & !(BUSY_BIT | DISCARD_BIT)) as usize);
        self.position = self.position.wrapping_add(total);
        Ok(if word & DISCARD_BIT != 0 { Step::Discarded } else { Step::Record(extent) })
    }

    /// Reads `producer_pos`; is there anything behind `position`?
    pub(crate) fn refresh(&mut self) -> Result<bool, Stopped> {
        let producer = self.memory.producer_position().load(sites::CONSUMER_PRODUCER);
        let available = producer.wrapping_sub(self.position);
        if available > self.memory.geometry().size() || !producer.is_multiple_of(HEADER_SIZE) {
            return Err(Stopped::Corrupt(Corrupt::ProducerPosition { position: self.position, producer }));
        }
        self.producer = producer;
        Ok(available != 0)
    }

    /// Tells producers where we stand, for good: what they commit from here on they will ask a wakeup for. False when they knew already, and
    /// whatever was read since then was read after the fence.
    pub(crate) fn settle(&mut self) -> bool {
        self.release();
        if !self.unfenced {
            return false;
        }
        self.memory.fence(sites::FENCE_CONSUMED);
        self.unfenced = false;
        true
    }

    pub(crate) fn release(&mut self) {
        if self.position != self.released {
            self.memory.consumer_position().store(self.position, sites::CONSUMER_RELEASE);
            self.released = self.position;
            self.unfenced = true;
        }
    }
}

pub(crate) enum Step {
    Discarded,
    Record(Extent),
}

/// A record that is being read. Dropping it gives its space back.
pub struct Record<'c, M: Memory> {
    consumer: &'c mut Consumer<M>,
    extent: Extent,
}

impl<M: Memory> Record<'_, M> {
    /// Copies the payload's beginning into `bytes`, as much as fits; gives how many bytes that were.
    pub fn copy_to(&self, bytes: &mut [u8]) -> usize {
        Payload::new(&self.consumer.memory, &self.extent).copy_to(bytes)
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
    fn drop(&mut self) {
        self.consumer.release();
    }
}

impl<M: Contiguous> Deref for Record<'_, M> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.consumer.memory.published(&self.extent)
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

const RELEASE_BYTES: usize = 4096;

/// How far ahead of its position a consumer has memory fetched, if that much is there: two pages, so that translations are looked up in time too.
/// Never beyond what is there: a producer would have to fetch those lines back.
pub(crate) const AHEAD: usize = 8192;
