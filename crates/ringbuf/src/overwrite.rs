//! Reading a ring that overwrites its oldest records.
//!
//! The producer does not wait for such a reader, so a record may be overwritten while it is read. As with a sequence lock, the reader copies first and
//! believes the copy only if `overwrite_pos` has not passed the record meanwhile:
//!
//! ```text
//! next_record(buffer):
//!   overwrite_pos, producer_pos
//!   overwrite_pos ahead of position: count the gap as missed, position = overwrite_pos
//!   position == producer_pos: nothing there;  length word busy: stop
//!   copy the payload; acquire fence
//!   overwrite_pos ahead of position: start over              // what was copied may be torn
//!   position += record size, and tell it in consumer_pos
//! ```

use core::fmt;

use crate::consumer::{Corrupt, Stopped};
use crate::header::{BUSY_BIT, DISCARD_BIT, HEADER_SIZE, record_size};
use crate::memory::{Length, Position, Racy};
use crate::order::sites;
use crate::query::{self, Query};

/// Reads an overwriting ring: copies records out, never torn, and counts what it missed.
#[derive(Debug)]
pub struct OverwriteReader<M> {
    memory: M,
    position: usize,
    missed: usize,
    unfenced: bool,
}

/// A record copied out of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// Payload bytes of the record; more than the buffer holds when it was too short, and then the copy is the payload's beginning.
    pub payload_len: usize,
    /// Position of the record's header.
    pub position: usize,
}

impl<M: Racy> OverwriteReader<M> {
    /// Takes over the consuming side, which goes on where the ring's `consumer_pos` stands.
    ///
    /// # Errors
    /// When `consumer_pos` is not a multiple of eight.
    pub fn new(memory: M) -> Result<Self, Corrupt> {
        let position = memory.consumer_position().load(sites::SETUP);
        if !position.is_multiple_of(HEADER_SIZE) {
            return Err(Corrupt::ConsumerPosition { position });
        }
        Ok(Self { memory, position, missed: 0, unfenced: true })
    }

    /// Copies the oldest record that is still whole into `buffer`.
    ///
    /// # Errors
    /// Why there is none, as for [`Consumer::next_record`](crate::Consumer::next_record). A producer that overwrites faster than this copies
    /// makes it start over; after some thousand tries it gives up with [`Stopped::Limit`].
    pub fn next_record(&mut self, buffer: &mut [u8]) -> Result<Copied, Stopped> {
        for _ in 0..TRIES {
            match self.attempt(buffer)? {
                Attempt::Copied(copied) => return Ok(copied),
                Attempt::Again => {}
            }
        }
        Err(Stopped::Limit)
    }

    /// Bytes of records that were overwritten before they were read, headers and padding included.
    #[must_use]
    pub fn missed(&self) -> usize {
        self.missed
    }

    /// What `bpf_ringbuf_query` answers: an estimate while producers are at work.
    pub fn query(&self, query: Query) -> usize {
        query::answer(&self.memory, query)
    }

    fn attempt(&mut self, buffer: &mut [u8]) -> Result<Attempt, Stopped> {
        let overwrite = self.memory.overwrite_position().load(sites::READER_OVERWRITE);
        let producer = self.memory.producer_position().load(sites::CONSUMER_PRODUCER);
        if is_ahead(overwrite, self.position) {
            // The oldest record begins at a multiple of eight, and not beyond the end of the newest.
            if !overwrite.is_multiple_of(HEADER_SIZE) || is_ahead(overwrite, producer) {
                let position = self.position;
                return Err(Stopped::Corrupt(Corrupt::OverwritePosition { position, overwrite }));
            }
            self.missed = self.missed.wrapping_add(overwrite.wrapping_sub(self.position));
            self.move_to(overwrite);
        }
        let available = producer.wrapping_sub(self.position);
        if available == 0 {
            return if self.settle() { Ok(Attempt::Again) } else { Err(Stopped::Empty) };
        }
        let word = self.memory.length(self.position).load(sites::CONSUMER_LENGTH);
        let payload_len = (word & !(BUSY_BIT | DISCARD_BIT)) as usize;
        let copied = payload_len.min(buffer.len()).min(self.memory.geometry().size());
        if let Some(buffer) = buffer.get_mut(..copied)
            && word & (BUSY_BIT | DISCARD_BIT) == 0
        {
            self.memory.copy(self.position, buffer);
        }
        self.memory.fence(sites::FENCE_COPIED);
        if is_ahead(self.memory.overwrite_position().load(sites::READER_RECHECK), self.position) {
            return Ok(Attempt::Again);
        }
        // The record was whole all the while, so what it says counts.
        if word & BUSY_BIT != 0 {
            return if self.settle() { Ok(Attempt::Again) } else { Err(Stopped::Busy) };
        }
        let total = record_size(word);
        if total > available || available > self.memory.geometry().size() {
            let position = self.position;
            return Err(Stopped::Corrupt(Corrupt::Length { position, word, available }));
        }
        let position = self.position;
        self.move_to(position.wrapping_add(total));
        let discarded = word & DISCARD_BIT != 0;
        Ok(if discarded { Attempt::Again } else { Attempt::Copied(Copied { payload_len, position }) })
    }

    fn move_to(&mut self, position: usize) {
        self.position = position;
        self.memory.consumer_position().store(position, sites::CONSUMER_RELEASE);
        self.unfenced = true;
    }

    /// As for the plain consumer: what is committed from here on asks for a wakeup. False when producers knew already.
    fn settle(&mut self) -> bool {
        let unfenced = self.unfenced;
        if unfenced {
            self.memory.fence(sites::FENCE_CONSUMED);
            self.unfenced = false;
        }
        unfenced
    }
}

enum Attempt {
    Again,
    Copied(Copied),
}

/// How often a record may slip away, or be discarded, before the reader says so.
const TRIES: usize = 4096;

#[inline]
fn is_ahead(position: usize, of: usize) -> bool {
    let distance = position.wrapping_sub(of);
    distance != 0 && distance <= usize::MAX / 2
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at position {}", self.payload_len, self.position)
    }
}
