//! One producer, one consumer.

use std::ops::ControlFlow;
use std::time::Instant;

use bbqueue::nicknames::YakiNiku;
use bbqueue::prod_cons::framed::{FramedConsumer, FramedProducer};
use bbqueue::traits::storage::BoxedSlice;
use crossbeam_queue::ArrayQueue;
use ebpf_ringbuf::{Consumer, ExclusiveProducer, FlatRing, Mapped, PageOffset, SubmitFlags};
use ringbuf::traits::{Consumer as _, Producer as _, Split as _};

use super::many::FLOOR;
use super::{CAPACITY, Consume, Produce, leak, record};
use crate::floor::take_turns_with_a_line;
use crate::measure::{Contender, Gate, Seen, Stopwatch, cpus, find, pin, take_turns};
use crate::report::Report;

pub(crate) fn run(report: &mut Report, turns: usize, filter: &str) {
    if cpus() >= 2 {
        report.table("one producer, one consumer, a CPU each, millions of records a second");
        size::<8>(report, turns, filter, across);
        size::<64>(report, turns, filter, across);
        size::<256>(report, turns, filter, across);
        size::<1024>(report, turns, filter, across);
    } else {
        report.skip("one producer and one consumer on a CPU each: there is one CPU".to_owned());
    }
    report.table("the same, both in one thread: 16 pushed, 16 popped");
    size::<8>(report, turns, filter, alone);
    size::<64>(report, turns, filter, alone);
    size::<256>(report, turns, filter, alone);
    size::<1024>(report, turns, filter, alone);
}

/// How a pair is driven: gives nanoseconds per record.
type Drive<const N: usize> = fn(&mut dyn Pair<N>) -> f64;

fn size<const N: usize>(report: &mut Report, turns: usize, filter: &str, drive: Drive<N>) {
    let name = format!("{N} B, one producer");
    if !name.contains(filter) {
        return;
    }
    let mut pairs = pairs::<N>();
    let mut contenders: Vec<Contender<'_>> =
        pairs.iter_mut().map(|(name, pair)| Contender::new(name, move || drive(&mut **pair))).collect();
    if !std::ptr::fn_addr_eq(drive, across::<N> as Drive<N>) {
        return report.rates(&name, &take_turns(&mut contenders, turns));
    }
    let (series, line) = take_turns_with_a_line(contenders, turns);
    report.rates(&name, &series);
    report.line(name, line);
    // Peers have one way to read, ours has two: whichever is faster here counts, both are shown.
    let own = ["ours", "ours, one by one"].map(|name| find(&series, name));
    let against = |peer| own.iter().map(|own| own.against(find(&series, peer))).fold(0.0, f64::max);
    let floor = find(&series, FLOOR);
    let mut goal = |peer, wanted| {
        let possible = ("without a ring", floor.against(find(&series, peer)));
        report.goal_below(
            format!("in process, one producer, {N} B: {peer}"),
            against(peer),
            wanted,
            possible,
        );
    };
    goal("bbqueue", 2.0);
    if N == 64 {
        goal("rtrb", 0.9);
    }
}

fn pairs<const N: usize>() -> Vec<(&'static str, Box<dyn Pair<N>>)> {
    let mut pairs: Vec<(&'static str, Box<dyn Pair<N>>)> = vec![
        ("ours", Box::new(ours(SubmitFlags::NO_WAKEUP))),
        ("ours, adaptive", Box::new(ours(SubmitFlags::empty()))),
        ("ours, one by one", Box::new(one_by_one())),
        ("bbqueue", Box::new(bbqueue())),
        ("rtrb", Box::new(rtrb::<N>())),
        ("ringbuf", Box::new(ringbuf::<N>())),
        ("ArrayQueue", Box::new(array_queue::<N>())),
    ];
    pairs.extend(super::many::single());
    pairs
}

/// A contender: both ends, driven without a call in between that the compiler cannot see through.
pub(super) trait Pair<const N: usize> {
    fn across(&mut self, records: u64) -> f64;
    fn alone(&mut self, records: u64) -> f64;
}

fn across<const N: usize>(pair: &mut dyn Pair<N>) -> f64 {
    // Short, so that most turns pass without anybody being preempted.
    pair.across(20_000)
}

fn alone<const N: usize>(pair: &mut dyn Pair<N>) -> f64 {
    pair.alone(if N <= 64 { 400_000 } else { 100_000 })
}

impl<const N: usize, P: Produce<N>, C: Consume<N>> Pair<N> for (P, C) {
    fn across(&mut self, records: u64) -> f64 {
        let (producer, consumer) = self;
        let gate = Gate::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(1);
                gate.pass(2);
                for number in 0..records {
                    let record = record(number);
                    while !producer.push(&record) {
                        std::hint::spin_loop();
                    }
                }
            });
            pin(0);
            let mut seen = Seen::default();
            gate.pass(2);
            let start = Instant::now();
            while seen.records < records {
                if consumer.pop(&mut seen) == 0 {
                    std::hint::spin_loop();
                }
            }
            let nanoseconds = start.elapsed().as_nanos() as f64;
            seen.keep();
            nanoseconds / records as f64
        })
    }

    fn alone(&mut self, records: u64) -> f64 {
        const BATCH: u64 = 16;
        let (producer, consumer) = self;
        pin(0);
        let mut seen = Seen::default();
        let watch = Stopwatch::start();
        for batch in 0..records / BATCH {
            for number in 0..BATCH {
                let pushed = producer.push(&record(batch + number));
                debug_assert!(pushed, "16 records fit");
            }
            while consumer.pop(&mut seen) != 0 {}
        }
        let nanoseconds = watch.nanoseconds();
        assert_eq!(seen.keep().records, records);
        nanoseconds / records as f64
    }
}

// ---- ours ----

struct Ours {
    producer: ExclusiveProducer<Mapped<'static>>,
    flags: SubmitFlags,
}

struct OursDrain(Consumer<Mapped<'static>>);
struct OursOneByOne(Consumer<Mapped<'static>>);

fn ours(flags: SubmitFlags) -> (Ours, OursDrain) {
    let data = leak(vec![0u64; CAPACITY / 8]).as_mut_slice();
    let (producer, consumer) = leak(FlatRing::<0>::new())
        .split_exclusive(data, 4096, PageOffset::FromRing)
        .expect("sizes of a ring");
    (Ours { producer, flags }, OursDrain(consumer))
}

fn one_by_one() -> (Ours, OursOneByOne) {
    let (producer, OursDrain(consumer)) = ours(SubmitFlags::NO_WAKEUP);
    (producer, OursOneByOne(consumer))
}

impl<const N: usize> Produce<N> for Ours {
    #[inline]
    fn push(&mut self, record: &[u8; N]) -> bool {
        // Nobody sleeps here: the verdict is made and not used.
        self.producer
            .output(record, self.flags)
            .map(|wakeup| std::hint::black_box(wakeup.is_needed()))
            .is_ok()
    }
}

impl<const N: usize> Consume<N> for OursDrain {
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

impl<const N: usize> Consume<N> for OursOneByOne {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        match self.0.next_record() {
            Ok(record) => {
                if let Some(payload) = record.first_chunk::<N>() {
                    seen.read(payload);
                }
                1
            }
            Err(_) => 0,
        }
    }
}

// ---- bbqueue ----

struct BbProducer(FramedProducer<&'static YakiNiku>);
struct BbConsumer(FramedConsumer<&'static YakiNiku>);

fn bbqueue() -> (BbProducer, BbConsumer) {
    let queue: &'static YakiNiku = leak(YakiNiku::new_with_storage(BoxedSlice::new(CAPACITY)));
    (BbProducer(queue.framed_producer()), BbConsumer(queue.framed_consumer()))
}

impl<const N: usize> Produce<N> for BbProducer {
    #[inline]
    fn push(&mut self, record: &[u8; N]) -> bool {
        let Ok(mut grant) = self.0.grant(N as u16) else { return false };
        grant[..N].copy_from_slice(record);
        grant.commit(N as u16);
        true
    }
}

impl<const N: usize> Consume<N> for BbConsumer {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        let Ok(grant) = self.0.read() else { return 0 };
        if let Some(payload) = grant.first_chunk::<N>() {
            seen.read(payload);
        }
        grant.release();
        1
    }
}

// ---- rtrb ----

struct RtrbProducer<const N: usize>(rtrb::Producer<[u8; N]>);
struct RtrbConsumer<const N: usize>(rtrb::Consumer<[u8; N]>);

fn rtrb<const N: usize>() -> (RtrbProducer<N>, RtrbConsumer<N>) {
    let (producer, consumer) = rtrb::RingBuffer::new(CAPACITY / N);
    (RtrbProducer(producer), RtrbConsumer(consumer))
}

impl<const N: usize> Produce<N> for RtrbProducer<N> {
    #[inline]
    fn push(&mut self, record: &[u8; N]) -> bool {
        self.0.push(*record).is_ok()
    }
}

impl<const N: usize> Consume<N> for RtrbConsumer<N> {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        match self.0.pop() {
            Ok(record) => {
                seen.read(&record);
                1
            }
            Err(_) => 0,
        }
    }
}

// ---- ringbuf ----

struct RingbufProducer<const N: usize>(ringbuf::HeapProd<[u8; N]>);
struct RingbufConsumer<const N: usize>(ringbuf::HeapCons<[u8; N]>);

fn ringbuf<const N: usize>() -> (RingbufProducer<N>, RingbufConsumer<N>) {
    let (producer, consumer) = ringbuf::HeapRb::new(CAPACITY / N).split();
    (RingbufProducer(producer), RingbufConsumer(consumer))
}

impl<const N: usize> Produce<N> for RingbufProducer<N> {
    #[inline]
    fn push(&mut self, record: &[u8; N]) -> bool {
        self.0.try_push(*record).is_ok()
    }
}

impl<const N: usize> Consume<N> for RingbufConsumer<N> {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        match self.0.try_pop() {
            Some(record) => {
                seen.read(&record);
                1
            }
            None => 0,
        }
    }
}

// ---- ArrayQueue ----

#[derive(Clone, Copy)]
pub(super) struct Array<const N: usize>(&'static ArrayQueue<[u8; N]>);

fn array_queue<const N: usize>() -> (Array<N>, Array<N>) {
    let queue = Array::new(CAPACITY);
    (queue, queue)
}

impl<const N: usize> Array<N> {
    pub(super) fn new(bytes: usize) -> Self {
        Self(leak(ArrayQueue::new(bytes / N)))
    }
}

impl<const N: usize> Produce<N> for Array<N> {
    #[inline]
    fn push(&mut self, record: &[u8; N]) -> bool {
        self.0.push(*record).is_ok()
    }
}

impl<const N: usize> Consume<N> for Array<N> {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        match self.0.pop() {
            Some(record) => {
                seen.read(&record);
                1
            }
            None => 0,
        }
    }
}
