//! Two producers.
//!
//! Two CPUs take two producers; a consumer beside them makes three threads. So there are two measurements: producers alone, in rounds that fit the
//! ring, which is emptied in between; and all three, the consumer beside one of the producers, which is where waiting for a producer
//! that was preempted shows.

use std::ops::ControlFlow;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use ebpf_ringbuf::{Consumer, Mapped, Producer, SharedMarks, SubmitFlags, marks_for};

use super::baselines::{Pages, SpinlockRing, TurnRing};
use super::lanes::lanes;
use super::one::{Array, Pair};
use super::{CAPACITY, Consume, Produce, leak, record};
use crate::floor::take_turns_with_a_line;
use crate::measure::{Contender, Gate, Line, Seen, Series, cpus, find, median, pin};
use crate::report::Report;

pub(crate) fn run(report: &mut Report, turns: usize, filter: &str) {
    if cpus() < 2 {
        return report.skip("two producers: there is one CPU".to_owned());
    }
    report.table("two producers on a CPU each, no consumer, millions of records a second");
    size::<8>(report, turns, filter, Drive::Alone);
    size::<64>(report, turns, filter, Drive::Alone);
    size::<256>(report, turns, filter, Drive::Alone);
    size::<1024>(report, turns, filter, Drive::Alone);
    report
        .table("two producers on a CPU each and a consumer beside one of them, millions of records a second");
    size::<8>(report, turns, filter, Drive::WithConsumer);
    size::<64>(report, turns, filter, Drive::WithConsumer);
    size::<256>(report, turns, filter, Drive::WithConsumer);
    size::<1024>(report, turns, filter, Drive::WithConsumer);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Drive {
    Alone,
    WithConsumer,
}

/// Do the two producers work at the same time?
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    AtOnce,
    OneAfterTheOther,
}

fn size<const N: usize>(report: &mut Report, turns: usize, filter: &str, drive: Drive) {
    let name = format!("{N} B, two producers");
    if !name.contains(filter) {
        return;
    }
    let (series, line) = series::<N>(turns, drive);
    report.rates(&name, &series);
    let (own, floor) = (find(&series, "ours"), find(&series, LOCKED_FLOOR));
    let how = match drive {
        Drive::Alone => "alone",
        Drive::WithConsumer => "and a consumer",
    };
    report.line(format!("{name} {how}"), line);
    for baseline in ["spinlock", "turns"] {
        let baseline_series = find(&series, baseline);
        let what = format!("in process, two producers {how}, {N} B: {baseline}");
        report.goal_below(
            what,
            own.against(baseline_series),
            2.0,
            ("no ring, locked twice", floor.against(baseline_series)),
        );
    }
}

/// No ring: see [`lanes`](super::lanes).
pub(super) const FLOOR: &str = "(lanes)";
const LOCKED_FLOOR: &str = "(lanes, locked)";
/// Our ring, by one producer at a time: what two come to who are never in each other's way, and never at work at the same time.
const ALTERNATIVE: &str = "(ours, one after the other)";

/// The producing sides for many, with one producer.
pub(super) fn single<const N: usize>() -> Vec<(&'static str, Box<dyn Pair<N>>)> {
    vec![
        ("ours, shared", Box::new(ours(CAPACITY, SubmitFlags::NO_WAKEUP))),
        ("spinlock", Box::new(spinlock(CAPACITY, false))),
        ("turns", Box::new(turn(CAPACITY))),
        (FLOOR, Box::new(lanes(CAPACITY, 1, false))),
    ]
}

fn series<const N: usize>(turns: usize, drive: Drive) -> (Vec<Series>, Series) {
    let mut groups: Vec<(&'static str, Box<dyn Group<N>>)> = vec![
        ("ours", Box::new(ours(CAPACITY, SubmitFlags::NO_WAKEUP))),
        ("ours, adaptive", Box::new(ours(CAPACITY, SubmitFlags::empty()))),
        (ALTERNATIVE, Box::new(ours(CAPACITY, SubmitFlags::NO_WAKEUP))),
        ("spinlock", Box::new(spinlock(CAPACITY, false))),
        ("spinlock, adaptive", Box::new(spinlock(CAPACITY, true))),
        ("turns", Box::new(turn(CAPACITY))),
        ("ArrayQueue", Box::new(array_queue::<N>(CAPACITY))),
        (FLOOR, Box::new(lanes(CAPACITY, 2, false))),
        (LOCKED_FLOOR, Box::new(lanes(CAPACITY, 2, true))),
    ];
    let records = match drive {
        Drive::Alone => (CAPACITY / (N + 16) / 2 - 16) as u64,
        Drive::WithConsumer => 50_000,
    };
    let contenders = groups
        .iter_mut()
        .map(|(name, group)| {
            let when = if *name == ALTERNATIVE { When::OneAfterTheOther } else { When::AtOnce };
            Contender::new(name, move || match drive {
                Drive::Alone => group.alone(records, when),
                Drive::WithConsumer => group.with_consumer(records, when),
            })
        })
        .collect();
    take_turns_with_a_line(contenders, turns)
}

/// A contender: as many producing ends as wanted, and the consuming end. `records` are each producer's; nanoseconds per record of all.
trait Group<const N: usize> {
    fn alone(&mut self, records: u64, when: When) -> f64;
    fn with_consumer(&mut self, records: u64, when: When) -> f64;
}

impl<const N: usize, P: Produce<N> + Clone, C: Consume<N>> Group<N> for (P, C) {
    fn alone(&mut self, records: u64, when: When) -> f64 {
        const ROUNDS: usize = 20;
        let (producer, consumer) = self;
        let (gate, first) = (&Gate::new(), &Gate::new());
        let produce = move |producer: &mut P, round: usize, is_second: bool| {
            gate.pass(4 * round + 2);
            if is_second && when == When::OneAfterTheOther {
                first.pass(2 * round + 2);
            }
            let start = Instant::now();
            for number in 0..records {
                let pushed = producer.push(&record(number));
                debug_assert!(pushed, "a round fits");
            }
            let end = Instant::now();
            if !is_second && when == When::OneAfterTheOther {
                first.pass(2 * round + 2);
            }
            gate.pass(4 * round + 4);
            (start, end)
        };
        let (mut one, mut two) = (producer.clone(), producer.clone());
        let other = std::thread::scope(|scope| {
            let other = scope.spawn(move || {
                pin(1);
                (0..ROUNDS).map(|round| produce(&mut two, round, true)).collect::<Vec<_>>()
            });
            pin(0);
            let mut seen = Seen::default();
            let own: Vec<_> = (0..ROUNDS)
                .map(|round| {
                    let times = produce(&mut one, round, false);
                    while consumer.pop(&mut seen) != 0 {}
                    times
                })
                .collect();
            assert_eq!(seen.keep().records, 2 * ROUNDS as u64 * records);
            own.into_iter()
                .zip(other.join().expect("a producer"))
                .map(|(one, two)| (one.1.max(two.1) - one.0.min(two.0)).as_nanos() as f64)
                .collect::<Vec<_>>()
        });
        median(other) / (2 * records) as f64
    }

    fn with_consumer(&mut self, records: u64, when: When) -> f64 {
        let (producer, consumer) = self;
        // Who waits at the second one sleeps, because the consumer wants that CPU.
        let (gate, first) = (Gate::new(), Barrier::new(2));
        let work = |cpu: usize, mut producer: P| {
            pin(cpu);
            gate.pass(3);
            if cpu == 1 && when == When::OneAfterTheOther {
                first.wait();
            }
            for number in 0..records {
                let record = record(number);
                while !producer.push(&record) {
                    std::thread::yield_now();
                }
            }
            if cpu == 0 && when == When::OneAfterTheOther {
                first.wait();
            }
        };
        let work = &work;
        std::thread::scope(|scope| {
            let (one, two) = (producer.clone(), producer.clone());
            scope.spawn(move || work(0, one));
            scope.spawn(move || work(1, two));
            pin(1);
            let mut seen = Seen::default();
            gate.pass(3);
            let start = Instant::now();
            while seen.records < 2 * records {
                if consumer.pop(&mut seen) == 0 {
                    std::thread::yield_now();
                }
            }
            let nanoseconds = start.elapsed().as_nanos() as f64;
            seen.keep();
            nanoseconds / (2 * records) as f64
        })
    }
}

/// The consumer of every ring of the format.
struct Reader(Consumer<Mapped<'static>>);

impl<const N: usize> Consume<N> for Reader {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        let drained = self.0.drain(usize::MAX, |payload| {
            if let Some(payload) = payload.first_chunk::<N>() {
                seen.read(payload);
            }
            ControlFlow::Continue(())
        });
        drained.records as u64
    }
}

#[derive(Clone, Copy)]
struct Ours {
    producer: &'static Producer<Mapped<'static>, SharedMarks<'static>>,
    flags: SubmitFlags,
}

fn ours(bytes: usize, flags: SubmitFlags) -> (Ours, Reader) {
    let pages = Pages::new(bytes);
    let marks: Vec<AtomicUsize> = (0..marks_for(bytes)).map(|_| AtomicUsize::new(0)).collect();
    let marks = SharedMarks::new(&leak(Line(AtomicUsize::new(0))).0, leak(marks)).expect("a power of two");
    let producer = leak(Producer::new(pages.side(), marks).expect("a new ring"));
    (Ours { producer, flags }, Reader(pages.consumer()))
}

impl<const N: usize> Produce<N> for Ours {
    #[inline]
    fn push(&mut self, record: &[u8; N]) -> bool {
        self.producer
            .output(record, self.flags)
            .map(|wakeup| std::hint::black_box(wakeup.is_needed()))
            .is_ok()
    }
}

#[derive(Clone, Copy)]
struct Spinlock {
    ring: SpinlockRing,
    adaptive: bool,
}

fn spinlock(bytes: usize, adaptive: bool) -> (Spinlock, Reader) {
    let ring = SpinlockRing::new(bytes);
    (Spinlock { ring, adaptive }, Reader(ring.pages().consumer()))
}

impl<const N: usize> Produce<N> for Spinlock {
    #[inline]
    fn push(&mut self, record: &[u8; N]) -> bool {
        self.ring.output(record, self.adaptive).map(std::hint::black_box).is_some()
    }
}

#[derive(Clone, Copy)]
struct Turns(TurnRing);

fn turn(bytes: usize) -> (Turns, Reader) {
    let ring = TurnRing::new(bytes);
    (Turns(ring), Reader(ring.pages().consumer()))
}

impl<const N: usize> Produce<N> for Turns {
    #[inline]
    fn push(&mut self, record: &[u8; N]) -> bool {
        self.0.output(record).map(std::hint::black_box).is_some()
    }
}

fn array_queue<const N: usize>(bytes: usize) -> (Array<N>, Array<N>) {
    let queue = Array::new(bytes);
    (queue, queue)
}
