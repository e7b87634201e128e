//! What no ring can beat: the same bytes copied, the same cache line handed over.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::measure::{Contender, Stopwatch, cpus, pin, take_turns};
use crate::report::Report;

pub(crate) fn run(report: &mut Report, turns: usize) {
    report.table("floors of the same run");
    pin(0);
    let mut contenders = [
        Contender::new("8 B", copy::<8>),
        Contender::new("64 B", copy::<64>),
        Contender::new("256 B", copy::<256>),
        Contender::new("1024 B", copy::<1024>),
    ];
    report.rates("memcpy into 128 KiB, M/s", &take_turns(&mut contenders, turns));
    if cpus() >= 2 {
        let series = take_turns(&mut [Contender::new("one way", one_way)], turns);
        let nanoseconds = series.iter().map(|series| (series.name, 1e3 / series.rate())).collect();
        report.row("a cache line, ns", nanoseconds, false);
    }
}

/// Records of `N` bytes, one after the other into 128 KiB.
fn copy<const N: usize>() -> f64 {
    const ROUNDS: u64 = 20;
    let mut target = vec![0u8; 128 * 1024];
    let source = black_box([7u8; N]);
    let watch = Stopwatch::start();
    let mut count = 0u64;
    for _ in 0..ROUNDS {
        for slot in target.as_chunks_mut::<N>().0 {
            slot.copy_from_slice(black_box(&source));
            count += 1;
        }
        black_box(&mut target);
    }
    watch.nanoseconds() / count as f64
}

/// A cache line between two CPUs, half a round trip.
fn one_way() -> f64 {
    const ROUNDS: u64 = 20_000;
    #[repr(align(128))]
    struct Line(AtomicU64);
    let line = Line(AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            for round in 0..ROUNDS {
                while line.0.load(Ordering::Acquire) != 2 * round + 1 {
                    spin_loop();
                }
                line.0.store(2 * round + 2, Ordering::Release);
            }
        });
        pin(0);
        let start = Instant::now();
        for round in 0..ROUNDS {
            line.0.store(2 * round + 1, Ordering::Release);
            while line.0.load(Ordering::Acquire) != 2 * round + 2 {
                spin_loop();
            }
        }
        start.elapsed().as_nanos() as f64 / (2 * ROUNDS) as f64
    })
}
