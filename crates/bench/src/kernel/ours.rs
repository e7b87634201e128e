//! Our consumer over the kernel's ring.

use std::hint::black_box;
use std::ops::ControlFlow;

use ebpf_ringbuf::{Consumer, Geometry, Mapped, Mapping, PageOffset, Stopped};

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

fn consumer(ring: &KernelRing) -> Consumer<Mapped<'_>> {
    let page = rustix::param::page_size();
    let geometry = Geometry::new(black_box(SIZE), page, Mapping::Mirrored, PageOffset::FromRing)
        .expect("a size of a ring");
    // SAFETY: the data follows the producer's page, in the same mapping.
    let data = unsafe { ring.producer_page.add(page) };
    // SAFETY: the kernel mapped its pages as a ring is laid out, for as long as `ring` lives; contenders take turns, so there is one consumer.
    let mapped = unsafe { Mapped::new(ring.consumer_page, ring.producer_page, data, geometry) };
    Consumer::new(mapped).expect("a position of the kernel's")
}
