//! The ring buffer map: the ring of [`ebpf_ringbuf`] over memory that this machine owns.
//!
//! The memory is made of the same shared words as map values, behind the ring's own seam, so it needs no `unsafe`. An
//! offset is masked at every access, which makes the data area meet itself at the end without being mapped twice: the
//! ring holds byte for byte what Linux's would, and takes the same longest record. The price is that a payload is no
//! slice: the consumer is handed a copy.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ebpf_ringbuf::{Consumer, Drained, Producer, Query, Tally, marks_for};
use spin::Mutex;

use self::memory::{RingMarks, Shared};
use crate::maps::VmMap;
use crate::memory::index;

mod memory;
mod record;
mod user;

pub use self::memory::RingMemory;
pub(crate) use self::record::{Books, RingReservation, Window};
pub(crate) use self::user::UserRing;

/// A ring buffer map's ring: programs produce, the embedder drains.
pub struct RingMap {
    producer: Producer<RingMemory, RingMarks>,
    reader: Mutex<Reader>,
    /// Commits that asked for a wakeup. Relaxed, as the next two: it says nothing about other memory.
    wakeups: AtomicU64,
    /// Records, as [`Books`] tell of them.
    submitted: AtomicUsize,
    discarded: AtomicUsize,
}

struct Reader {
    consumer: Consumer<RingMemory>,
    /// The payload that is being shown.
    payload: Vec<u8>,
}

impl RingMap {
    /// Shows up to `limit` records, oldest first, to `each` and gives their space back.
    ///
    /// `each` is called under the lock of the consuming side: it may use other maps, but neither drain this ring again nor ask for its memory. It sees a
    /// copy, in a buffer that stays as long as the longest record so far and is not charged to the ring. While a consumer has the memory that
    /// [`Platform::ring`](ebpf_loader::Platform::ring) gave, it alone reads: this gives nothing, whatever the limit.
    pub fn drain(&self, limit: usize, mut each: impl FnMut(&[u8])) -> Drained {
        let mut reader = self.reader.lock();
        let Reader { consumer, payload } = &mut *reader;
        let limit = if self.producer.memory().shared.lent.load(Ordering::Acquire) { 0 } else { limit };
        // Somebody else may have read since then.
        if let Ok(fresh) = Consumer::new(RingMemory::own(&self.producer.memory().shared)) {
            *consumer = fresh;
        }
        consumer.drain(limit, |record| {
            let length = record.payload_len();
            if payload.len() < length {
                // A record is at most as long as the ring, whose memory was there; should this much be missing now, the record
                // is left out of the copy rather than the process aborted.
                if payload.try_reserve(length.saturating_sub(payload.len())).is_err() {
                    return ControlFlow::Continue(());
                }
                payload.resize(length, 0);
            }
            if let Some(payload) = payload.get_mut(..length) {
                record.copy_to(payload);
                each(payload);
            }
            ControlFlow::Continue(())
        })
    }

    /// The memory for a consumer elsewhere; `None` while there is one. `map` is the map that `self` is the ring of.
    pub(crate) fn lend(&self, map: &VmMap) -> Option<RingMemory> {
        // Not in the middle of a drain.
        let _reader = self.reader.lock();
        RingMemory::lend(&self.producer.memory().shared, map)
    }

    /// Unread bytes, headers and padding included.
    #[must_use]
    pub fn available(&self) -> usize {
        self.producer.query(Query::AvailableData)
    }

    /// What became of every reservation so far. What a program left uncommitted is discarded. Reservations and their commits are counted when the run
    /// that made them is over, wakes the consumer, or comes to another ring; refusals at once. What a host's panic in the middle of a run
    /// discards is not counted.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = self.producer.tally();
        tally.submitted = self.submitted.load(Ordering::Relaxed);
        tally.discarded = self.discarded.load(Ordering::Relaxed);
        tally.reserved = tally.submitted.wrapping_add(tally.discarded);
        tally
    }

    /// Commits so far that asked to wake the consumer.
    #[must_use]
    pub fn wakeups(&self) -> u64 {
        self.wakeups.load(Ordering::Relaxed)
    }

    /// Bytes that a ring of `size` bytes of data takes.
    pub(crate) fn bytes(size: u32) -> u64 {
        let marks = marks_for(index(size)).saturating_mul(size_of::<usize>()) as u64;
        u64::from(size).saturating_add(marks).saturating_add(size_of::<Shared>() as u64)
    }

    /// An empty ring; `None` when the allocator has no room, or for a size that no ring has.
    pub(crate) fn new(size: u32, page_size: u32) -> Option<Self> {
        let mut marks = Vec::new();
        marks.try_reserve_exact(marks_for(index(size))).ok()?;
        marks.resize_with(marks_for(index(size)), AtomicUsize::default);
        let marks = RingMarks {
            reserve: AtomicUsize::new(0),
            marks: marks.into_boxed_slice(),
            spare: AtomicUsize::new(0),
        };
        let memory = RingMemory::own(&Arc::new(Shared::new(size, page_size)?));
        let consumer = Consumer::new(RingMemory::own(&memory.shared)).ok()?;
        let reader = Reader { consumer, payload: Vec::new() };
        Some(Self {
            producer: Producer::new(memory, marks).ok()?,
            reader: Mutex::new(reader),
            wakeups: AtomicU64::new(0),
            submitted: AtomicUsize::new(0),
            discarded: AtomicUsize::new(0),
        })
    }

    /// `bpf_ringbuf_query`: 0 for what it does not know.
    pub(crate) fn query(&self, number: u64) -> u64 {
        Query::from_number(number).map_or(0, |query| self.producer.query(query) as u64)
    }
}

impl fmt::Debug for RingMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingMap").field("available", &self.available()).field("tally", &self.tally()).finish()
    }
}
