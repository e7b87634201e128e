//! The producing side, for many producers at once.
//!
//! Linux takes a spinlock here and refuses in an NMI that interrupted the holder; eBPF for Windows claims space without a lock but then waits for
//! its turn to move `producer_pos`. This one never waits:
//!
//! ```text
//! claim(len):
//!   start = the private reserve position
//!   if producer_pos is a little behind `start`, spin a little, once
//!   from consumer_pos and from pending_pos to `end` there must be less than a lap;
//!     if not, advance pending_pos over committed records and look again before refusing
//!   claim [start, end) by compare-exchange on the reserve position, or begin again
//!
//! reserve(len):  claim(len); write the header, busy;                   publish(start, end)
//! output(bytes): claim(len); write the header, committed, and `bytes`; publish(start, end)
//!
//! publish(start, end):                             // the header at `start` is initialised
//!   if producer_pos != start:                      // somebody before us is not done
//!     leave mark(start)
//!     if producer_pos == start: publish_marked(start)
//!     return                                       // else whoever moves it to `start` finds the mark
//!   producer_pos = end                             // the right to move it from `start` is ours
//!   advance pending_pos over committed records before `start`; full fence
//!   if the reserve position is `end`: return       // nobody is there yet: whoever comes finds producer_pos
//!   publish_marked(end)
//!
//! publish_marked(at):
//!   while take(mark(at)):                          // else its owner is not ready yet, or somebody took it
//!     if producer_pos != at:                       // we were lapped: that was another record's
//!       leave mark(at)                             // ... and may have been looked for meanwhile
//!       if producer_pos is not at that slot: return
//!       at = producer_pos, and try again
//!     at += size of the record at `at`
//!     producer_pos = at; full fence
//!
//! leave mark(at): set it; full fence
//! ```
//!
//! 1. *Nobody waits.* A producer whose predecessor is not marked leaves its mark and goes. A producer stopped anywhere holds back its own record and
//!    what was claimed after it, because the format demands order, and nothing else.
//! 2. *A mark is taken before `producer_pos` moves*, so it cannot be the mark of the next lap that is wiped.
//! 3. *A publisher may be lapped.* An output, and the filler before a record, are committed when they become visible: they may be read and their space claimed again
//!    while their producer still looks for marks. So a mark that was taken counts only if `producer_pos` still stands there: nobody is let into a slot
//!    again before `pending_pos`, and so `producer_pos`, has left it. Until it is given back, the mark of the later record is missed
//!    by whoever comes there; hence the fence and the second look.
//! 4. *Who publishes for others owes their wakeup*, because the consumer may have read its own record, found nothing and gone to sleep: the verdict of an
//!    output covers all it has published. After a reservation the producer's own busy record stands before theirs, and its commit decides.
//! 5. *Making way is not waiting.* Who finds a predecessor between its claim and its publication spins a bounded number of times before its own claim
//!    ([`Publication::spins`]), and then goes on whatever the other one did. It does so only while fewer than [`CLOSE`] records are
//!    claimed and not published: a producer that was stopped for good costs the others that many pauses, all together, and then none.
//! 6. *`pending_pos`* limits space by the oldest uncommitted record, because `consumer_pos` belongs to somebody who may lie. It only grows,
//!    by compare-exchange; a walker that was overtaken reads lengths of another lap, and its compare-exchange fails.
//! 7. *Two locked instructions for a record*, and no fewer: one claims its space; the other, which advances `pending_pos` or is a fence, stands between
//!    publishing it and looking for who left a mark meanwhile, and for where the consumer stands. The adaptive commit of a reservation is a third, as in Linux.

use crate::header::{self, record_size};
use crate::memory::{Length, Marks, Memory, Position, Publication, make_way};
use crate::order::sites;
use crate::query::{self, Query};
use crate::reservation::{Habits, Reservation};
use crate::space::{self, Place, ProducerError, ReserveError};
use crate::tally::{self, Tally};
use crate::{Order, SubmitFlags, Wakeup, Watermark};

/// Produces into a ring from any number of threads, interrupts included.
///
/// Reserving and [`output`](Self::output) are inlined wherever they are called, because half of them falls away where the payload's length is known: wrap them in a
/// function if that is in many places.
#[derive(Debug)]
pub struct Producer<M, P> {
    memory: M,
    publication: P,
    habits: Habits,
}

impl<M: Memory, P: Publication> Producer<M, P> {
    /// Takes over the producing side of a ring, which goes on where its `producer_pos` stands.
    ///
    /// # Errors
    /// When `publication` has too few marks for the ring, or the ring's positions are not those of a ring at rest.
    pub fn new(memory: M, publication: P) -> Result<Self, ProducerError> {
        let needed = memory.geometry().size() / header::HEADER_SIZE;
        if publication.slots() < needed {
            return Err(ProducerError::TooFewMarks { needed, given: publication.slots() });
        }
        let start = space::resting_position(&memory)?;
        publication.reserve_position().store(start, sites::SETUP);
        Ok(Self { memory, publication, habits: Habits::default() })
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
    #[inline(always)]
    pub fn reserve(&self, length: usize) -> Result<Reservation<'_, M>, ReserveError> {
        self.reserve_at(length, self.habits.watermark)
    }

    /// Reserves space for a record that wakes by a watermark of its own.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    #[inline(always)]
    pub fn reserve_at(
        &self,
        length: usize,
        watermark: Watermark,
    ) -> Result<Reservation<'_, M>, ReserveError> {
        let place = self.claim(length)?;
        let claim = place.reserve(&self.memory, length);
        self.publish(place.record, place.end);
        Ok(Reservation::new(&self.memory, claim, place.start, Habits { watermark, ..self.habits }))
    }

    /// Copies `payload` into a record of its own and submits it.
    ///
    /// The record is committed when it becomes visible: no consumer meets it busy. Others that came while it was not leave theirs to be published here; that
    /// may go on for as long as they keep coming, where a [`reserve`](Self::reserve) publishes a lap of them at most.
    ///
    /// # Errors
    /// Why there is no space for it.
    #[inline(always)]
    pub fn output(&self, payload: &[u8], flags: SubmitFlags) -> Result<Wakeup, ReserveError> {
        let place = self.claim(payload.len())?;
        Ok(self.output_at(&place, payload, flags))
    }

    /// What `bpf_ringbuf_query` answers: an estimate while others are at work.
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

    /// Space for a record, claimed; a filler before it is written and published already.
    #[inline(always)]
    pub(crate) fn claim(&self, length: usize) -> Result<Place, ReserveError> {
        // The geometry is asked for where it is needed: kept over the compare-exchange, it would lie on the stack.
        let (header, total) =
            space::admissible(&self.memory.geometry(), length).map_err(|error| self.refused(error))?;
        let mut spins = self.publication.spins();
        let (start, filler) = loop {
            let start = self.publication.reserve_position().load_for_update(sites::RESERVE_START);
            if spins != 0 && self.is_close_to_a_predecessor(start, total) {
                make_way(spins);
                spins = 0;
                continue;
            }
            let consumer = self.memory.consumer_position().load(sites::RESERVE_CONSUMER);
            let pending = self.memory.pending_position().load(sites::PENDING_LOAD);
            let filler = space::filler(&self.memory.geometry(), start, total);
            let needed = filler.wrapping_add(total);
            if !space::admits(&self.memory.geometry(), start, needed, pending, consumer) {
                match self.look_again(start, needed, consumer) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(error) => return Err(error),
                }
            }
            let end = start.wrapping_add(needed);
            let reserve = self.publication.reserve_position();
            if reserve.compare_exchange_weak(start, end, sites::RESERVE_CLAIM).is_ok() {
                break (start, filler);
            }
        };
        let record = start.wrapping_add(filler);
        let end = record.wrapping_add(total);
        space::overwrite(&self.memory, end);
        if filler != 0 {
            self.fill(start, filler);
        }
        let header = header.at(self.memory.geometry().page_offset(record));
        Ok(Place { start, record, end, header })
    }

    #[inline(always)]
    pub(crate) fn output_at(&self, place: &Place, payload: &[u8], flags: SubmitFlags) -> Wakeup {
        let claim = place.output(&self.memory, payload);
        let through = self.publish(place.record, place.end);
        // Publishing has fenced already.
        Reservation::new(&self.memory, claim, place.start, self.habits).published(flags, Some(through), || {})
    }

    /// There seems to be no space: `pending_pos` moves when a record is published, so it is a little old. Up to date it may say something else.
    ///
    /// False if `start` is no longer where the next record begins: what was read last may belong to a later start, and look like no space at all.
    #[cold]
    #[inline(never)]
    fn look_again(&self, start: usize, needed: usize, consumer: usize) -> Result<bool, ReserveError> {
        let geometry = self.memory.geometry();
        let published = self.memory.producer_position().load(sites::PENDING_END);
        let Pending { position, .. } = self.advance_pending(published);
        match space::check(&geometry, start, needed, position, consumer) {
            Ok(()) => Ok(true),
            Err(_) if self.publication.reserve_position().load(sites::RESERVE_START) != start => Ok(false),
            Err(error) => Err(self.refused(error)),
        }
    }

    #[inline(always)]
    fn refused(&self, error: ReserveError) -> ReserveError {
        tally::refused(self.memory.private(), error)
    }

    #[cold]
    #[inline(never)]
    fn fill(&self, start: usize, filler: usize) {
        space::fill(&self.memory, start, filler);
        self.publish(start, start.wrapping_add(filler));
    }

    /// Has somebody claimed space before `start` who has not published it yet, and not for long?
    #[inline(always)]
    fn is_close_to_a_predecessor(&self, start: usize, total: usize) -> bool {
        let behind = start.wrapping_sub(self.memory.producer_position().load(sites::RESERVE_PRODUCER));
        behind != 0 && behind / CLOSE <= total
    }

    /// Moves `pending_pos` over committed records before `end`, which is published.
    #[inline]
    fn advance_pending(&self, end: usize) -> Pending {
        let position = self.memory.pending_position();
        let mut pending = position.load(sites::PENDING_LOAD);
        loop {
            let reached = space::committed_until(&self.memory, pending, end);
            if reached == pending {
                return Pending { position: pending, swapped: false };
            }
            match position.compare_exchange_weak(pending, reached, sites::PENDING_ADVANCE) {
                Ok(_) => return Pending { position: reached, swapped: true },
                // Somebody else advanced it, perhaps less far: what we found may rest on headers of another lap.
                Err(_) => pending = position.load(sites::PENDING_LOAD),
            }
        }
    }

    /// Publishes the record from `start` to `end`, and those behind it that are marked. Gives where that ends, `start` if that is left to others.
    ///
    /// A full barrier lies between the publication and the return.
    #[inline(always)]
    fn publish(&self, start: usize, end: usize) -> usize {
        let turn = self.memory.producer_position();
        if turn.load(sites::PUBLISH_TURN) != start {
            return self.publish_out_of_turn(start);
        }
        turn.store(end, sites::PUBLISH);
        // Here and not before the claim, because the compare-exchange is most of the fence that is due anyway.
        if self.advance_pending(start).swapped {
            self.memory.fence_after_swap(sites::FENCE_PUBLISHED);
        } else {
            self.memory.fence(sites::FENCE_PUBLISHED);
        }
        if self.publication.reserve_position().load(sites::CLAIM_PEEK) == end {
            end
        } else {
            self.publish_marked(end)
        }
    }

    /// Leaves a mark for whoever moves `producer_pos` to `start`. If that is done, this producer may be the one who takes it.
    #[cold]
    #[inline(never)]
    fn publish_out_of_turn(&self, start: usize) -> usize {
        let (marks, bit) = self.mark(start);
        if self.leave(marks, bit, sites::FENCE_MARKED) == start { self.publish_marked(start) } else { start }
    }

    /// Publishes for those that left their marks, from `position` on, to which `producer_pos` was moved. Gives where the last one ends.
    #[cold]
    #[inline(never)]
    pub(crate) fn publish_marked(&self, mut position: usize) -> usize {
        let turn = self.memory.producer_position();
        loop {
            let (marks, bit) = self.mark(position);
            if marks.load(sites::MARK_PEEK) & bit == 0 || !take(marks, bit) {
                return position;
            }
            if turn.load(sites::MARK_CHECK) != position {
                // Somebody else published what was here, and this is the mark of a later lap.
                let now = self.leave(marks, bit, sites::FENCE_RETURNED);
                let geometry = self.memory.geometry();
                if geometry.offset(now) != geometry.offset(position) {
                    return position;
                }
                position = now;
                continue;
            }
            let length = self.memory.length(position).load(sites::HEADER_INIT);
            position = position.wrapping_add(record_size(length));
            turn.store(position, sites::PUBLISH);
            self.memory.fence(sites::FENCE_PUBLISHED);
        }
    }

    /// Leaves a mark and gives `producer_pos`: whoever moves that to the marked record later finds the mark.
    fn leave(&self, marks: &P::Marks, bit: usize, fence: Order) -> usize {
        marks.fetch_or(bit, sites::MARK_SET);
        self.memory.fence_after_swap(fence);
        self.memory.producer_position().load(sites::PUBLISH_TURN)
    }

    #[inline]
    fn mark(&self, position: usize) -> (&P::Marks, usize) {
        self.publication.mark(self.memory.geometry().offset(position) / header::HEADER_SIZE)
    }
}

/// So many records (of the size to be reserved) claimed but not published are a crowd; more are a producer that was stopped.
const CLOSE: usize = 8;

/// `pending_pos`, and whether it was this producer who moved it there.
struct Pending {
    position: usize,
    swapped: bool,
}

fn take(marks: &impl Marks, bit: usize) -> bool {
    marks.fetch_and(!bit, sites::MARK_TAKE) & bit != 0
}
