//! The same bytes written and read by one or two producers with nothing between them to agree on.
//!
//! Each has a lane of its own: every record of the same memory, or every other one, at a place known beforehand. There is no order between the two, no
//! lock and no read-modify-write, so this is no ring; what it takes is what the memory takes, laid out as it is. It is no strict bound either: of two that
//! wait for each other, one that is a little slower sometimes meets more at once.
//!
//! Or with two locked instructions for each record, of a line that nobody else has: what a ring of many producers who never wait cannot do without. One claims the
//! space; the other, or a full fence, stands between publishing the record and looking for those who came meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};

use ebpf_ringbuf::record_size;

use super::baselines::Pages;
use super::{Consume, Produce, leak};
use crate::measure::{Line, Seen};

/// The producers' and the consumer's counters, each on cache lines of its own.
struct Lanes {
    pages: Pages,
    count: usize,
    clones: AtomicUsize,
    written: [Line<AtomicUsize>; 2],
    read: [Line<AtomicUsize>; 2],
    /// For locked instructions, which hand nothing over.
    own: [Line<AtomicUsize>; 2],
    is_locked: bool,
}

/// A producer; a clone gets the other lane.
pub(super) struct Writer {
    lanes: &'static Lanes,
    lane: usize,
    written: usize,
    read: usize,
}

/// The consumer of all lanes.
pub(super) struct Reader {
    lanes: &'static Lanes,
    read: [usize; 2],
}

/// As many lanes, one or two, in `size` bytes; with the two locked instructions for each record, or without.
pub(super) fn lanes(size: usize, count: usize, is_locked: bool) -> (Writer, Reader) {
    let line = || Line(AtomicUsize::new(0));
    let lanes = leak(Lanes {
        pages: Pages::new(size),
        count,
        clones: AtomicUsize::new(0),
        written: [line(), line()],
        read: [line(), line()],
        own: [line(), line()],
        is_locked,
    });
    (Writer { lanes, lane: 0, written: 0, read: 0 }, Reader { lanes, read: [0; 2] })
}

impl Clone for Writer {
    fn clone(&self) -> Self {
        let lane = self.lanes.clones.fetch_add(1, Ordering::Relaxed) % self.lanes.count;
        let written = self.lanes.written[lane].0.load(Ordering::Acquire);
        Self { lanes: self.lanes, lane, written, read: self.read }
    }
}

/// Where a record of a lane stands.
fn position<const N: usize>(lanes: usize, lane: usize, number: usize) -> usize {
    (lanes * number + lane) * record_size(N as u32)
}

impl<const N: usize> Produce<N> for Writer {
    #[inline]
    fn push(&mut self, record: &[u8; N]) -> bool {
        let room = self.lanes.pages.size() / record_size(N as u32) / self.lanes.count;
        if self.written - self.read >= room {
            self.read = self.lanes.read[self.lane].0.load(Ordering::Acquire);
            if self.written - self.read >= room {
                return false;
            }
        }
        self.lock();
        let position = position::<N>(self.lanes.count, self.lane, self.written);
        self.lanes.pages.write_page_offset(position);
        self.lanes.pages.write_payload(position, record);
        self.lanes.pages.commit(position, N, false);
        self.written += 1;
        self.lanes.written[self.lane].0.store(self.written, Ordering::Release);
        self.lock();
        true
    }
}

impl Writer {
    #[inline]
    fn lock(&self) {
        if self.lanes.is_locked {
            self.lanes.own[self.lane].0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl<const N: usize> Consume<N> for Reader {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        let before = seen.records;
        for lane in 0..self.lanes.count {
            let written = self.lanes.written[lane].0.load(Ordering::Acquire);
            for number in self.read[lane]..written {
                seen.read(self.lanes.pages.payload::<N>(position::<N>(self.lanes.count, lane, number)));
            }
            self.read[lane] = written;
            self.lanes.read[lane].0.store(written, Ordering::Release);
        }
        seen.records - before
    }
}
