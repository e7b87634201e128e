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
use core::ops::{ControlFlow, Deref};

use crate::geometry::Mapping;
use crate::header::{BUSY_BIT, DISCARD_BIT, HEADER_SIZE, record_size};
use crate::memory::{Contiguous, Extent, Length, Memory, Position};
use crate::order::sites;
use crate::query::{self, Query};

/// Reads a ring: one consumer, as many records at a time as it likes.
#[derive(Debug)]
pub struct Consumer<M> {
    memory: M,
    /// The next record to read.
    position: usize,
    /// `producer_pos` as last read.
    producer: usize,
    /// `consumer_pos` as last stored.
    released: usize,
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
        Ok(Self { memory, position, producer: position, released: position, unfenced: true })
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

    /// Gives up to `limit` records to `each`, and says what it did and why it stopped.
    ///
    /// `consumer_pos` is stored after every [`RELEASE_BYTES`] and at the end, so a payload is good during the call of `each` only.
    /// Discarded records count towards nothing but [`Drained::discarded`].
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(Payload<'_, M>) -> ControlFlow<()>) -> Drained {
        let mut drained = Drained { records: 0, discarded: 0, bytes: 0, stopped: Stopped::Limit };
        loop {
            if drained.records >= limit {
                drained.stopped = self.at_limit();
                break;
            }
            match self.step() {
                Ok(Step::Discarded) => drained.discarded = drained.discarded.wrapping_add(1),
                Ok(Step::Record(extent)) => {
                    drained.records = drained.records.wrapping_add(1);
                    drained.bytes = drained.bytes.wrapping_add(extent.length());
                    if each(Payload { memory: &self.memory, extent: &extent }).is_break() {
                        drained.stopped = Stopped::Asked;
                        break;
                    }
                }
                Err(stopped) => {
                    drained.stopped = stopped;
                    break;
                }
            }
            if self.position.wrapping_sub(self.released) >= RELEASE_BYTES {
                self.release();
            }
        }
        self.release();
        drained
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
    fn step(&mut self) -> Result<Step, Stopped> {
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
    fn refresh(&mut self) -> Result<bool, Stopped> {
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
    fn settle(&mut self) -> bool {
        self.release();
        if !self.unfenced {
            return false;
        }
        self.memory.fence(sites::FENCE_CONSUMED);
        self.unfenced = false;
        true
    }

    fn release(&mut self) {
        if self.position != self.released {
            self.memory.consumer_position().store(self.position, sites::CONSUMER_RELEASE);
            self.released = self.position;
            self.unfenced = true;
        }
    }

    /// The limit is reached: is there more, so that the caller must not wait, or is the ring empty at the same time?
    fn at_limit(&mut self) -> Stopped {
        self.settle();
        match self.refresh() {
            Ok(false) => Stopped::Empty,
            Ok(true) => Stopped::Limit,
            Err(stopped) => stopped,
        }
    }
}

enum Step {
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
        Payload { memory: &self.consumer.memory, extent: &self.extent }.copy_to(bytes)
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
        f.debug_struct("Record").field("position", &self.position()).field("payload_len", &self.payload_len()).finish()
    }
}

/// The payload of a record that is being drained.
pub struct Payload<'c, M> {
    memory: &'c M,
    extent: &'c Extent,
}

impl<'c, M: Memory> Payload<'c, M> {
    /// Copies the payload's beginning into `bytes`, as much as fits; gives how many bytes that were.
    pub fn copy_to(&self, bytes: &mut [u8]) -> usize {
        let length = self.extent.length().min(bytes.len());
        if let Some(bytes) = bytes.get_mut(..length) {
            self.memory.read(self.extent, 0, bytes);
        }
        length
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

impl<M: Contiguous> Deref for Payload<'_, M> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.memory.published(self.extent)
    }
}

impl<M: Memory> fmt::Debug for Payload<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("position", &self.position()).field("payload_len", &self.payload_len()).finish()
    }
}

/// What a [`Consumer::drain`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "whether more is there, and whether the memory is corrupt, stands in `stopped`"]
pub struct Drained {
    /// Records given to the callback.
    pub records: usize,
    /// Records skipped because their producer gave them up.
    pub discarded: usize,
    /// Payload bytes of `records`.
    pub bytes: usize,
    /// Why it stopped.
    pub stopped: Stopped,
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
            Self::ConsumerPosition { position } => write!(f, "consumer_pos {position} is not a multiple of eight"),
            Self::Length { position, word, available } => {
                write!(f, "the record at position {position} (length word {word:#010x}) does not end in the {available} bytes there are")
            }
            Self::ProducerPosition { position, producer } => {
                write!(f, "producer_pos {producer} cannot be, with the consumer at {position}")
            }
        }
    }
}

impl core::error::Error for Corrupt {}

/// How many bytes [`Consumer::drain`] reads before it gives their space back: often enough that a full ring takes new records soon, seldom
/// enough that the line of `consumer_pos` does not travel for each.
pub const RELEASE_BYTES: usize = 4096;
