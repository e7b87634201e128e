//! One benchmark, a turn at a time: for each line it reads it does its work once and answers with the nanoseconds that took. `turns NAME OBJECT`; without a name it lists them.
//!
//! `cargo xtask gate` builds this file with the crates of two commits and asks both in turn, so it uses nothing that changes often.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a turn that goes wrong must not count")]

#[path = "../idle.rs"]
#[allow(dead_code, reason = "what others need of it")]
mod idle;

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::ops::ControlFlow;
use std::time::Instant;

use ebpf_progtable::ObjectFile;
use ebpf_ringbuf::{FlatRing, PageOffset, SubmitFlags, marks_for};

/// A turn takes some tens of microseconds: many times what the clock can tell, and less than the scheduler's tick.
const RECORDS: usize = 1000;
const SIZE: usize = 256 * 1024;

type Turn = Box<dyn FnMut()>;
/// A name, and what makes the turns, given an object file.
type Benchmark = (&'static str, fn(&'static [u8]) -> Turn);

const BENCHMARKS: [Benchmark; 6] = [
    ("ring/exclusive-push-drain", |_| {
        let ring = Box::leak(Box::new(FlatRing::<0>::new()));
        let (mut producer, mut consumer) =
            ring.split_exclusive(vec![0; SIZE / 8].leak(), 4096, PageOffset::FromRing).expect("a ring");
        Box::new(move || {
            for _ in 0..RECORDS {
                let _ = producer.output(black_box(&[7; 64]), SubmitFlags::NO_WAKEUP).expect("space");
            }
            let _ = black_box(consumer.drain(usize::MAX, |record| {
                black_box(record);
                ControlFlow::Continue(())
            }));
        })
    }),
    ("ring/shared-push-drain", |_| {
        let ring = Box::leak(Box::new(FlatRing::<{ marks_for(SIZE) }>::new()));
        let (producer, mut consumer) =
            ring.split(vec![0; SIZE / 8].leak(), 4096, PageOffset::FromRing).expect("a ring");
        Box::new(move || {
            for _ in 0..RECORDS {
                let _ = producer.output(black_box(&[7; 64]), SubmitFlags::NO_WAKEUP).expect("space");
            }
            let _ = black_box(consumer.drain(usize::MAX, |record| {
                black_box(record);
                ControlFlow::Continue(())
            }));
        })
    }),
    ("ring/exclusive-reserve-pop", |_| {
        let ring = Box::leak(Box::new(FlatRing::<0>::new()));
        let (mut producer, mut consumer) =
            ring.split_exclusive(vec![0; SIZE / 8].leak(), 4096, PageOffset::FromRing).expect("a ring");
        Box::new(move || {
            for _ in 0..RECORDS {
                let mut record = producer.reserve(black_box(64)).expect("space");
                record.copy_from_slice(black_box(&[7; 64]));
                let _ = black_box(record.submit(SubmitFlags::empty()));
                black_box(consumer.next_record().expect("a record").len());
            }
        })
    }),
    ("table/open", |object| {
        Box::new(move || {
            for _ in 0..8 {
                let file = ObjectFile::<'_, 64, 64>::open(black_box(object)).expect("an object");
                black_box(file.programs().count());
            }
        })
    }),
    ("transactions/serialized", |_| {
        let strategy = idle::serialized();
        Box::new(move || (0..RECORDS).for_each(|_| idle::transaction(&strategy)))
    }),
    ("transactions/grouped", |_| {
        let strategy = idle::grouped();
        Box::new(move || (0..RECORDS).for_each(|_| idle::transaction(&strategy)))
    }),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for (name, _) in BENCHMARKS {
            println!("{name}");
        }
        return;
    };
    let object = arguments.next().map_or_else(Vec::new, |path| std::fs::read(path).expect("an object file"));
    let (_, benchmark) =
        BENCHMARKS.iter().find(|(known, _)| *known == name).expect("a benchmark of the list");
    let mut turn = benchmark(object.leak());
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            return;
        }
        let start = Instant::now();
        turn();
        let nanoseconds = start.elapsed().as_nanos();
        // Whoever asked may have heard enough.
        if writeln!(output, "{nanoseconds}").and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}
