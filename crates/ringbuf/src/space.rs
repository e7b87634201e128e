//! Is there space: the admission rules that both kinds of producer share.

use core::fmt;

use crate::geometry::{Geometry, Mapping};
use crate::header::{BUSY_BIT, HEADER_SIZE, Header, MAX_PAYLOAD, record_size};
use crate::memory::{Claim, Length, Memory, Position};
use crate::order::sites;

/// There is no space for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReserveError {
    /// The consumer has not read enough yet.
    Full {
        /// Bytes the record takes, header, padding and filler included.
        needed: usize,
        /// Bytes that were free.
        free: usize,
    },
    /// Consumed space is held back by an older record that is not committed yet: it and all after it must fit into one lap.
    Outstanding {
        /// Bytes the record takes, header, padding and filler included.
        needed: usize,
        /// Position of the oldest record that may still be busy.
        pending: usize,
    },
    /// No such record ever fits this ring.
    TooLong {
        /// Payload bytes asked for.
        length: usize,
        /// The longest payload that fits.
        max: usize,
    },
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { needed, free } => write!(f, "the ring is full: {needed} bytes needed, {free} free"),
            Self::Outstanding { needed, pending } => {
                write!(
                    f,
                    "{needed} bytes needed, but the record at position {pending} is still being written"
                )
            }
            Self::TooLong { length, max } => {
                write!(f, "a record of {length} bytes never fits: this ring takes up to {max}")
            }
        }
    }
}

impl core::error::Error for ReserveError {}

/// A ring cannot be produced into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProducerError {
    /// A record that an earlier producer reserved is still busy.
    Busy {
        /// Its position.
        position: usize,
    },
    /// A position is not a multiple of eight, or more than a lap lies between them.
    Positions {
        /// `producer_pos`.
        producer: usize,
        /// `pending_pos`.
        pending: usize,
    },
    /// Every eight bytes of the ring need a mark.
    TooFewMarks {
        /// Marks needed.
        needed: usize,
        /// Marks there are.
        given: usize,
    },
}

impl fmt::Display for ProducerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { position } => write!(f, "the record at position {position} is still being written"),
            Self::Positions { producer, pending } => {
                write!(f, "producer_pos {producer} and pending_pos {pending} are not those of a ring at rest")
            }
            Self::TooFewMarks { needed, given } => {
                write!(f, "the ring needs {needed} marks, it was given {given}")
            }
        }
    }
}

impl core::error::Error for ProducerError {}

/// Space for one record.
pub(crate) struct Place {
    /// Where the filler before it starts, if there is one.
    pub(crate) start: usize,
    pub(crate) record: usize,
    pub(crate) end: usize,
    /// Busy.
    pub(crate) header: Header,
}

impl Place {
    /// Writes the header of a record that is not committed yet.
    #[inline(always)]
    pub(crate) fn reserve(&self, memory: &impl Memory, length: usize) -> Claim {
        let mut claim = Claim::new(self.record, length);
        memory.initialise(&mut claim, self.header);
        claim
    }

    /// Writes a whole record, committed.
    #[inline(always)]
    pub(crate) fn output(&self, memory: &impl Memory, payload: &[u8]) -> Claim {
        let mut claim = Claim::new(self.record, payload.len());
        memory.initialise(&mut claim, self.header.committed());
        memory.write(&mut claim, 0, payload);
        claim
    }
}

/// The header of a record of `length` payload bytes (for page 0) and the bytes it takes in the ring, at most all of it.
#[inline]
pub(crate) fn admissible(geometry: &Geometry, length: usize) -> Result<(Header, usize), ReserveError> {
    let header = Header::busy(length, 0).ok_or_else(|| too_long(geometry, length))?;
    let total = record_size(header.length_word());
    let limit = match geometry.mapping() {
        Mapping::Flat => geometry.max_record(),
        // Linux lets a record as long as the ring come this far, moves `pending_pos`, and only then refuses it.
        Mapping::Mirrored => geometry.size(),
    };
    if total > limit { Err(too_long(geometry, length)) } else { Ok((header, total)) }
}

#[cold]
fn too_long(geometry: &Geometry, length: usize) -> ReserveError {
    let max = geometry.max_record().saturating_sub(HEADER_SIZE).min(MAX_PAYLOAD);
    ReserveError::TooLong { length, max }
}

/// Bytes to skip so that a record of `total` bytes does not cross the end of a flat ring. A multiple of eight, 0 in a mirrored ring.
#[inline]
pub(crate) fn filler(geometry: &Geometry, start: usize, total: usize) -> usize {
    match geometry.mapping() {
        Mapping::Flat if total > geometry.until_end(start) => geometry.until_end(start),
        Mapping::Flat | Mapping::Mirrored => 0,
    }
}

/// Linux's two-part admission: from the oldest uncommitted record, and from the oldest unread byte, to the new end there must
/// be less than a lap. Positions are compared by wrapping difference: a consumer that claims to be ahead looks more than a lap behind.
#[inline(always)]
pub(crate) fn admits(
    geometry: &Geometry,
    start: usize,
    needed: usize,
    pending: usize,
    consumer: usize,
) -> bool {
    let end = start.wrapping_add(needed);
    needed <= geometry.mask()
        && end.wrapping_sub(pending) <= geometry.mask()
        && (geometry.overwrites() || end.wrapping_sub(consumer) <= geometry.mask())
}

/// Why a record is not [admitted](admits).
#[inline]
pub(crate) fn check(
    geometry: &Geometry,
    start: usize,
    needed: usize,
    pending: usize,
    consumer: usize,
) -> Result<(), ReserveError> {
    if admits(geometry, start, needed, pending, consumer) {
        Ok(())
    } else if needed > geometry.mask() {
        Err(too_long(geometry, needed.saturating_sub(HEADER_SIZE)))
    } else if start.wrapping_add(needed).wrapping_sub(pending) > geometry.mask() {
        Err(ReserveError::Outstanding { needed, pending })
    } else {
        let free = geometry.size().saturating_sub(HEADER_SIZE).saturating_sub(start.wrapping_sub(consumer));
        Err(ReserveError::Full { needed, free })
    }
}

/// Gives up the oldest records of an overwriting ring until there is less than a lap from the oldest one left to `end`.
///
/// Called after the space is claimed and before it is written. Only committed records are given up, because admission kept `end` within a lap
/// of `pending_pos`. A walk that was overtaken is thrown away by its compare-exchange.
#[inline]
pub(crate) fn overwrite(memory: &impl Memory, end: usize) {
    let geometry = memory.geometry();
    if !geometry.overwrites() {
        return;
    }
    let position = memory.overwrite_position();
    loop {
        let oldest = position.load(sites::OVERWRITE_LOAD);
        let mut kept = oldest;
        // `end - kept` shrinks by at least eight each step, or wraps and ends the walk.
        while end.wrapping_sub(kept) > geometry.mask()
            && end.wrapping_sub(kept) <= geometry.size().wrapping_mul(2)
        {
            kept = kept.wrapping_add(record_size(memory.length(kept).load(sites::OVERWRITE_LENGTH)));
        }
        if kept == oldest || position.compare_exchange_weak(oldest, kept, sites::OVERWRITE_ADVANCE).is_ok() {
            break;
        }
    }
    memory.fence(sites::FENCE_OVERWRITING);
}

/// Writes the discarded record that fills a flat ring up to its end.
pub(crate) fn fill(memory: &impl Memory, start: usize, filler: usize) {
    let length = filler.saturating_sub(HEADER_SIZE);
    if let Some(header) = Header::discarded(length, memory.geometry().page_offset(start)) {
        memory.initialise(&mut Claim::new(start, length), header);
    }
}

/// The end of the committed records from `pending` on, at most `end`.
///
/// A walk that was overtaken by a lap reads lengths that mean nothing: it still ends, after at most one step for each eight bytes of the ring, and what it
/// finds is only ever used when nobody has moved `pending_pos` meanwhile.
pub(crate) fn committed_until(memory: &impl Memory, pending: usize, end: usize) -> usize {
    let size = memory.geometry().size();
    let mut reached = pending;
    loop {
        let left = end.wrapping_sub(reached);
        if left == 0 || left > size {
            return reached;
        }
        let word = memory.length(reached).load(sites::PENDING_LENGTH);
        if word & BUSY_BIT != 0 || record_size(word) > left {
            return reached;
        }
        reached = reached.wrapping_add(record_size(word));
    }
}

/// Where a producer that takes over goes on.
pub(crate) fn resting_position(memory: &impl Memory) -> Result<usize, ProducerError> {
    let producer = memory.producer_position().load(sites::SETUP);
    let pending = memory.pending_position().load(sites::SETUP);
    let aligned = producer.is_multiple_of(HEADER_SIZE) && pending.is_multiple_of(HEADER_SIZE);
    if !aligned || producer.wrapping_sub(pending) > memory.geometry().size() {
        return Err(ProducerError::Positions { producer, pending });
    }
    Ok(producer)
}
