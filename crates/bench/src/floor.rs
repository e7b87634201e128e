//! What no ring can beat: the same bytes copied, the same cache line handed over, lines written that another CPU has read.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::measure::{Contender, Gate, Line, Series, Stopwatch, cpus, pin, take_turns};
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
        let series = take_turns(&mut [line()], turns);
        report.nanoseconds("a cache line, ns", &series);
        let mut contenders = [
            Contender::new("nothing locked", written::<0>),
            Contender::new("one locked instruction", written::<1>),
            Contender::new("two", written::<2>),
        ];
        let series = take_turns(&mut contenders, turns);
        report.nanoseconds("64 B and a header, written where another CPU has read, ns", &series);
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

/// Lets contenders that need two CPUs take turns, and a cache line that goes from one to the other between them; gives what that took beside the rest.
///
/// A virtual machine's CPUs are moved about under it, and what two of them can do for each other depends on where they are more than on anything else: two
/// threads of one core have the line at once, cores that share a cache in twice that time, others in ten times.
pub(crate) fn take_turns_with_a_line(
    mut contenders: Vec<Contender<'_>>,
    turns: usize,
) -> (Vec<Series>, Series) {
    contenders.push(line());
    let mut series = take_turns(&mut contenders, turns);
    let line = series.pop().expect("one for each contender");
    (series, line)
}

fn line<'a>() -> Contender<'a> {
    Contender::new("one way", one_way)
}

/// A cache line between two CPUs, half a round trip.
fn one_way() -> f64 {
    const ROUNDS: u64 = 5_000;
    let line = Line(AtomicU64::new(0));
    let gate = Gate::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            gate.pass(2);
            for round in 0..ROUNDS {
                while line.0.load(Ordering::Acquire) != 2 * round + 1 {
                    spin_loop();
                }
                line.0.store(2 * round + 2, Ordering::Release);
            }
        });
        pin(0);
        // The other thread begins on this CPU: until it has moved, what passes is no line's time.
        gate.pass(2);
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

/// Records one after the other into 128 KiB that another CPU reads after each lap, with so many locked instructions for each, of a line that nobody else has.
///
/// A line that was read elsewhere has to be taken back before it is written. On the machine this was found on (Zen 4) that goes on for several records at
/// once where nothing is locked, for two with one locked instruction for each, and for one with two, the second of which waits until it is over. A ring for
/// many producers needs one to claim space and one, or a full fence, to publish it; one that lets its producers wait for each other needs one in all.
fn written<const LOCKED: usize>() -> f64 {
    const ROUNDS: usize = 20;
    const RECORD: usize = 9;
    let words: Vec<AtomicU64> = (0..16 * 1024).map(AtomicU64::new).collect();
    let own = Line(AtomicU64::new(0));
    let gate = Gate::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            for round in 0..ROUNDS {
                black_box(words.iter().fold(0, |sum, word| sum ^ word.load(Ordering::Relaxed)));
                gate.pass(4 * round + 2);
                gate.pass(4 * round + 4);
            }
        });
        pin(0);
        let mut nanoseconds = 0;
        for round in 0..ROUNDS {
            gate.pass(4 * round + 2);
            let start = Instant::now();
            for (number, record) in words.as_chunks::<RECORD>().0.iter().enumerate() {
                for word in record {
                    word.store(number as u64, Ordering::Relaxed);
                }
                for _ in 0..LOCKED {
                    own.0.fetch_add(1, Ordering::SeqCst);
                }
            }
            nanoseconds += start.elapsed().as_nanos();
            gate.pass(4 * round + 4);
        }
        nanoseconds as f64 / (ROUNDS * (words.len() / RECORD)) as f64
    })
}
