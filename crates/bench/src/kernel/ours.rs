//! Our consumer over the kernel's ring.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use ebpf_ringbuf::memory::{Area, Memory};
use ebpf_ringbuf::{Consumer, Geometry, HEADER_SIZE, Mapped, Mapping, PageOffset, Stopped, record_size};

use super::ring::{KernelRing, SIZE};
use crate::measure::{Seen, Stopwatch};

/// Everything there is, in one batch.
pub(super) fn drain(ring: &KernelRing) -> (f64, Seen) {
    ring.rewind();
    let mut consumer = consumer(ring);
    let mut seen = Seen::default();
    let start = Stopwatch::start();
    let drained = consumer.drain(usize::MAX, |payload| {
        seen.glance(&payload);
        ControlFlow::Continue(())
    });
    let nanoseconds = start.nanoseconds();
    assert_eq!(drained.stopped, Stopped::Empty);
    (nanoseconds, seen.keep())
}

/// Each record on its own, its space released before the next.
pub(super) fn one_by_one(ring: &KernelRing) -> (f64, Seen) {
    ring.rewind();
    let mut consumer = consumer(ring);
    let mut seen = Seen::default();
    let start = Stopwatch::start();
    while let Ok(record) = consumer.next_record() {
        seen.glance(&record);
    }
    let nanoseconds = start.nanoseconds();
    (nanoseconds, seen.keep())
}

/// Not a consumer, but what one cannot be faster than: it knows where each record is, for one or two sizes in turn, and looks at its header and its
/// first bytes, nothing else.
pub(super) fn known(ring: &KernelRing, sizes: &[u32]) -> (f64, Seen) {
    ring.rewind();
    let (mut position, end) = (ring.consumer_position(), ring.producer_position());
    let words = [sizes[0], sizes[sizes.len() - 1]];
    let [one, other] = words.map(record_size);
    let ahead = (32 << 10) / (one + other) * (one + other);
    let memory = mapped(ring);
    let (area, data, mask) = (memory.area(), ring.data(), black_box(SIZE) - 1);
    let mut seen = Seen::default();
    let mut look = |position: usize, length: u32| {
        area.prefetch(position.wrapping_add(ahead));
        let word = area.length(position).load(Ordering::Relaxed);
        // SAFETY: the position is masked into the data, which is mapped twice and as long as `ring` lives.
        let payload = unsafe { data.add((position & mask) + HEADER_SIZE) };
        // SAFETY: no record here is shorter than eight bytes.
        let first: u64 = unsafe { payload.cast().read() };
        seen.count(length as usize, first);
        seen.sum = seen.sum.wrapping_add(u64::from(word ^ length));
    };
    let start = Stopwatch::start();
    let rounds = end.wrapping_sub(position) / (one + other);
    for _ in 0..rounds {
        look(position, words[0]);
        look(position.wrapping_add(one), words[1]);
        position = position.wrapping_add(one + other);
    }
    if end.wrapping_sub(position) >= one {
        look(position, words[0]);
    }
    let nanoseconds = start.nanoseconds();
    (nanoseconds, seen.keep())
}

fn consumer(ring: &KernelRing) -> Consumer<Mapped<'_>> {
    Consumer::new(mapped(ring)).expect("a position of the kernel's")
}

fn mapped(ring: &KernelRing) -> Mapped<'_> {
    let page = rustix::param::page_size();
    let geometry = Geometry::new(black_box(SIZE), page, Mapping::Mirrored, PageOffset::FromRing)
        .expect("a size of a ring");
    // SAFETY: the kernel mapped its pages as a ring is laid out, for as long as `ring` lives; contenders take turns, so there is one consumer.
    unsafe { Mapped::new(ring.consumer_page, ring.producer_page, ring.data(), geometry) }
}
