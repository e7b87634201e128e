//! The producing side, for one producer: no read-modify-write but the one that the wakeup rule needs.

use crate::geometry::Mapping;
use crate::header::{BUSY_BIT, Header, record_size};
use crate::memory::{Length, Memory, Position};
use crate::order::sites;
use crate::query::{self, Query};
use crate::reservation::{Habits, Reservation};
use crate::space::{self, Place, ProducerError, ReserveError};
use crate::tally::{self, Tally};
use crate::{SubmitFlags, Wakeup, Watermark};

/// Produces into a ring that nobody else produces into; `&mut` proves it. One reservation at a time.
///
/// The image it leaves is the one Linux leaves for the same calls, `pending_pos` included.
///
/// [`output`](Self::output) is inlined wherever it is called, as [`Producer`](crate::Producer)'s is and for the same reason.
#[derive(Debug)]
pub struct ExclusiveProducer<M> {
    memory: M,
    /// `producer_pos`, which only this producer writes.
    end: usize,
    /// The last record reserved: still busy only if its reservation was forgotten.
    last: usize,
    /// Up to here records may be placed before anything but this is looked at: all is free, and none of them needs a filler.
    limit: usize,
    /// `consumer_pos` as last read: old, so space looks smaller than it is.
    consumer: usize,
    /// Was the last record reserved, so that it may be busy still?
    is_reserved: bool,
    habits: Habits,
}

impl<M: Memory> ExclusiveProducer<M> {
    /// Takes over the producing side of a ring, which goes on where its `producer_pos` stands.
    ///
    /// # Errors
    /// When the ring's positions are not those of a ring at rest, or a record in it is still busy.
    pub fn new(memory: M) -> Result<Self, ProducerError> {
        let end = space::resting_position(&memory)?;
        let pending = memory.pending_position().load(sites::SETUP);
        let last = space::committed_until(&memory, pending, end);
        if last != end {
            return Err(ProducerError::Busy { position: last });
        }
        let consumer = memory.consumer_position().load(sites::RESERVE_CONSUMER);
        Ok(Self { memory, end, last, limit: end, consumer, is_reserved: false, habits: Habits::default() })
    }

    /// Lets adaptive commits wait for a watermark.
    #[must_use]
    pub fn with_watermark(mut self, watermark: Watermark) -> Self {
        self.habits.watermark = watermark;
        self
    }

    /// Counts reservations and commits too; see [`Tally`].
    #[must_use]
    pub fn counting(mut self) -> Self {
        self.habits.counting = true;
        self
    }

    /// Reserves space for a payload of `length` bytes.
    ///
    /// # Errors
    /// Why there is none; nothing has changed then but `pending_pos`, which Linux moves on a refusal too.
    #[inline]
    pub fn reserve(&mut self, length: usize) -> Result<Reservation<'_, M>, ReserveError> {
        let (place, pending) = match self.roomy(length) {
            Some(place @ Place { start, .. }) => (place, start),
            None => self.admitted(length)?,
        };
        let claim = place.reserve(&self.memory, length);
        self.publish(&place, pending);
        (self.last, self.is_reserved) = (place.record, true);
        Ok(Reservation::new(&self.memory, claim, place.start, self.habits))
    }

    /// Copies `payload` into a record of its own and submits it.
    ///
    /// What it leaves is what [`reserve`](Self::reserve) and a submit leave, at less cost: with one producer there is nobody to let past, so the record
    /// is published when it is written, and no consumer ever meets it busy.
    ///
    /// # Errors
    /// Why there is no space for it.
    #[inline(always)]
    pub fn output(&mut self, payload: &[u8], flags: SubmitFlags) -> Result<Wakeup, ReserveError> {
        match self.roomy(payload.len()) {
            Some(place) => Ok(self.output_at(&place, place.start, payload, flags)),
            None => self.output_admitted(payload, flags),
        }
    }

    #[inline(never)]
    fn output_admitted(&mut self, payload: &[u8], flags: SubmitFlags) -> Result<Wakeup, ReserveError> {
        let (place, pending) = self.admitted(payload.len())?;
        Ok(self.output_at(&place, pending, payload, flags))
    }

    #[inline(always)]
    fn output_at(&mut self, place: &Place, pending: usize, payload: &[u8], flags: SubmitFlags) -> Wakeup {
        let claim = place.output(&self.memory, payload);
        self.publish(place, pending);
        let fence = || self.memory.fence(sites::FENCE_COMMITTED);
        Reservation::new(&self.memory, claim, place.start, self.habits).published(flags, None, fence)
    }

    /// What `bpf_ringbuf_query` answers: an estimate while the consumer is at work.
    pub fn query(&self, query: Query) -> usize {
        query::answer(&self.memory, query)
    }

    /// What became of every reservation.
    pub fn tally(&self) -> Tally {
        Tally::of(self.memory.private())
    }

    /// The ring's memory as this side sees it.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// What [`admitted`](Self::admitted) comes to while there is room enough and no record is busy.
    #[inline(always)]
    fn roomy(&mut self, length: usize) -> Option<Place> {
        let header = Header::busy(length, 0)?;
        let total = record_size(header.length_word());
        let geometry = self.memory.geometry();
        let start = self.end;
        if total > self.limit.wrapping_sub(start) || self.pending() != start {
            return None;
        }
        let header = header.at(geometry.page_offset(start));
        Some(Place { start, record: start, end: start.wrapping_add(total), header })
    }

    /// Finds space for a record, and writes the filler before it; gives the oldest record that is busy too, or `start`. Nothing of it is visible yet.
    #[inline(never)]
    fn admitted(&mut self, length: usize) -> Result<(Place, usize), ReserveError> {
        self.admit(length).map_err(|error| tally::refused(self.memory.private(), error))
    }

    fn admit(&mut self, length: usize) -> Result<(Place, usize), ReserveError> {
        let geometry = self.memory.geometry();
        let (header, total) = space::admissible(&geometry, length)?;
        let start = self.end;
        let pending = self.pending();
        // For those that are refused.
        self.memory.pending_position().store(pending, sites::PENDING_ADVANCE);
        let filler = space::filler(&geometry, start, total);
        let needed = filler.wrapping_add(total);
        if !space::admits(&geometry, start, needed, pending, self.consumer) {
            self.consumer = self.memory.consumer_position().load(sites::RESERVE_CONSUMER);
            space::check(&geometry, start, needed, pending, self.consumer)?;
        }
        let end = start.wrapping_add(needed);
        space::overwrite(&self.memory, end);
        let record = start.wrapping_add(filler);
        if filler != 0 {
            space::fill(&self.memory, start, filler);
        }
        self.limit = end.wrapping_add(self.room_behind(end));
        let header = header.at(geometry.page_offset(record));
        Ok((Place { start, record, end, header }, pending))
    }

    /// The oldest record that is busy, or the end. What was reserved before is committed, because `&mut self` is free again, unless it was forgotten.
    #[inline(always)]
    fn pending(&mut self) -> usize {
        if self.is_reserved {
            self.is_reserved = self.memory.length(self.last).load(sites::HEADER_INIT) & BUSY_BIT != 0;
            if self.is_reserved {
                return self.last;
            }
        }
        self.end
    }

    /// Bytes behind `end` that are free as far as is known, at most those of the longest record. In an overwriting ring none are: each record may have to
    /// take the place of others.
    fn room_behind(&self, end: usize) -> usize {
        let geometry = self.memory.geometry();
        let free = geometry.mask().wrapping_sub(end.wrapping_sub(self.consumer)).min(geometry.max_record());
        match geometry.mapping() {
            _ if geometry.overwrites() => 0,
            Mapping::Flat => free.min(geometry.until_end(end)),
            Mapping::Mirrored => free,
        }
    }

    /// Both positions at once: a consumer that waits for the record fetches their cache line again and again, and each store that comes alone has to get it
    /// back first, as do all stores behind it.
    #[inline]
    fn publish(&mut self, place: &Place, pending: usize) {
        self.memory.pending_position().store(pending, sites::PENDING_ADVANCE);
        self.memory.producer_position().store(place.end, sites::PUBLISH);
        self.end = place.end;
    }
}
