//! The user ring: our producer is drained by the running kernel, and our drain gives the kernel's answers, on well-formed rings and on others.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: what goes wrong here is to stop it"
)]

#[path = "../../ringbuf/tests/support/mod.rs"]
mod support;

use std::cell::Cell;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use ebpf_conformance::bpf::{LoadedObject, Pages, not_possible, run};
use ebpf_conformance::corpus::{self, Package, Sample};
use ebpf_conformance::kernel_ring::{KernelRing, Role, Waiter};
use ebpf_ringbuf::memory::Memory;
use ebpf_ringbuf::{
    BUSY_BIT, DISCARD_BIT, MAX_USER_SAMPLE, MAX_USER_SAMPLES, SubmitFlags, UserConsumer, UserProducer,
    UserReserveError,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use rustix::event::epoll::EventFlags;
use rustix::mm::ProtFlags;
use support::Mirrored;

const PAGE: usize = 4096;
const ADAPTIVE: u64 = 0;
const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;

#[test]
fn samples_arrive_in_order_and_discarded_ones_do_not() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    let mut producer = UserProducer::new(kernel.ring.side()).unwrap();
    let mut expected = vec![];
    for number in 0..40u8 {
        let mut sample = producer.reserve(usize::from(number)).unwrap();
        sample.fill(number);
        if number % 3 == 1 {
            sample.discard();
        } else {
            expected.push(vec![number; usize::from(number)]);
            sample.submit();
        }
    }
    let drained = kernel.drain(ADAPTIVE, u64::MAX);
    assert_eq!((drained.answer, &drained.samples), (expected.len() as i64, &expected));
    assert_eq!(kernel.ring.available(), 0);
    assert_eq!(kernel.drain(ADAPTIVE, u64::MAX).answer, 0, "nothing is left");
    Ok(())
}

/// Eight laps of samples of every length that fits, some of them over the end of the ring.
#[test]
fn laps_of_samples_arrive_whole() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    let mut producer = UserProducer::new(kernel.ring.side()).unwrap();
    let (mut made, mut wrapped) = (0, 0);
    while kernel.ring.producer_position().load(SeqCst) < 200 * PAGE {
        let mut expected = vec![];
        loop {
            let length = made * 37 % (PAGE - 7);
            let start = kernel.ring.producer_position().load(SeqCst);
            let mut sample = match producer.reserve(length) {
                Ok(sample) => sample,
                Err(UserReserveError::NoSpace { .. }) => break,
                Err(error) => return Err(error.to_string()),
            };
            wrapped += usize::from(start % PAGE + 8 + length > PAGE);
            let payload: Vec<u8> = (0..length).map(|index| (index * 7 + made) as u8).collect();
            sample.copy_from_slice(&payload);
            sample.submit();
            expected.push(payload);
            made += 1;
        }
        assert!(!expected.is_empty(), "nothing fits although everything was drained");
        let drained = kernel.drain(ADAPTIVE, u64::MAX);
        assert_eq!(drained.answer, expected.len() as i64);
        assert_eq!(drained.samples, expected);
    }
    println!("{made} samples, {wrapped} of them over the end");
    assert!(wrapped > 100);
    Ok(())
}

#[test]
fn a_user_ring_can_be_really_full() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    let mut producer = UserProducer::new(kernel.ring.side()).unwrap();
    let longest = PAGE - 8;
    assert_eq!(
        producer.reserve(longest + 1).unwrap_err(),
        UserReserveError::TooLong { length: longest + 1, max: longest }
    );
    for lap in 0..3 {
        let mut sample = producer.reserve(longest).unwrap();
        sample.fill(lap);
        assert_eq!(kernel.drain(ADAPTIVE, u64::MAX).answer, 0, "it is busy");
        // The kernel left it where it was, so it can still be written and submitted.
        sample[0] = 100;
        sample.submit();
        assert_eq!(producer.reserve(0).unwrap_err(), UserReserveError::NoSpace { needed: 8, free: 0 });
        let drained = kernel.drain(ADAPTIVE, u64::MAX);
        assert_eq!((drained.answer, drained.samples.len()), (1, 1));
        assert_eq!(
            (drained.samples[0].len(), drained.samples[0][0], drained.samples[0][longest - 1]),
            (longest, 100, lap)
        );
    }
    // Small ones until nothing fits: as many as the kernel then reads.
    let mut made = 0;
    while let Ok(sample) = producer.reserve(16) {
        sample.submit();
        made += 1;
    }
    assert_eq!(made, PAGE / 24);
    assert_eq!(kernel.drain(ADAPTIVE, u64::MAX).answer, made as i64);
    Ok(())
}

/// Space comes back sample by sample: a drain that stops early frees what it took, and what it discarded before.
#[test]
fn a_drain_stops_when_it_is_asked_to() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    let mut producer = UserProducer::new(kernel.ring.side()).unwrap();
    for number in 0..10u8 {
        let mut sample = producer.reserve(1).unwrap();
        sample[0] = number;
        if number % 2 == 0 { sample.submit() } else { sample.discard() }
    }
    let drained = kernel.drain(ADAPTIVE, 3);
    assert_eq!((drained.answer, drained.samples), (3, vec![vec![0], vec![2], vec![4]]));
    assert_eq!(
        kernel.ring.consumer_position().load(SeqCst),
        5 * 16,
        "the one discarded after the last is still there"
    );
    assert_eq!(kernel.drain(ADAPTIVE, u64::MAX).samples, [[6], [8]]);
    assert_eq!(kernel.ring.available(), 0);
    Ok(())
}

/// One drain looks at so many samples, discarded ones included.
#[test]
fn one_drain_takes_so_many_and_no_more() -> Result<(), String> {
    const SIZE: usize = 4 << 20;
    let Some(kernel) = Kernel::new(SIZE)? else { return Ok(()) };
    let mirrored = Mirrored::new(SIZE, 0);
    let mut producers =
        [kernel.ring.side(), mirrored.side(PAGE)].map(|side| UserProducer::new(side).unwrap());
    let count = MAX_USER_SAMPLES + 1000;
    let discarded = |number: usize| number % 4 == 3;
    for producer in &mut producers {
        for number in 0..count {
            let sample = producer.reserve(0).unwrap();
            if discarded(number) { sample.discard() } else { sample.submit() }
        }
    }
    let mut consumer = UserConsumer::new(mirrored.side(PAGE));
    for _ in 0..3 {
        let ours = consumer.drain(SubmitFlags::empty(), |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(kernel.drain_unseen(ADAPTIVE, u64::MAX), ours.samples as i64);
        assert_eq!(kernel.ring.consumer_position().load(SeqCst), mirrored.consumer_position().load(SeqCst));
    }
    assert_eq!(kernel.ring.consumer_position().load(SeqCst), 8 * count);
    Ok(())
}

/// A sample may be no longer than a dynptr, however large the ring is.
#[test]
fn a_sample_is_no_longer_than_a_dynptr() -> Result<(), String> {
    const SIZE: usize = 32 << 20;
    let Some(kernel) = Kernel::new(SIZE)? else { return Ok(()) };
    let mirrored = Mirrored::new(SIZE, 0);
    let mut producers =
        [kernel.ring.side(), mirrored.side(PAGE)].map(|side| UserProducer::new(side).unwrap());
    let mut consumer = UserConsumer::new(mirrored.side(PAGE));
    for (length, answer) in [(MAX_USER_SAMPLE, 1), (MAX_USER_SAMPLE + 1, -i64::from(E2BIG))] {
        for producer in &mut producers {
            producer.reserve(length).unwrap().submit();
        }
        assert_eq!(kernel.drain_unseen(ADAPTIVE, u64::MAX), answer, "{length} bytes");
        let ours = consumer.drain(SubmitFlags::empty(), |_| ControlFlow::Continue(()));
        assert_eq!(
            ours.map_or_else(|error| -i64::from(error.error.errno()), |drained| drained.samples as i64),
            answer
        );
    }
    Ok(())
}

/// The malformed rings of the kernel's own tests.
#[test]
fn malformed_rings_get_the_kernels_error() -> Result<(), String> {
    let Some(mut kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    // What the header says, producer_pos, the answer.
    let cases = [
        (39, 47, -EINVAL),                        // producer_pos in the middle of eight bytes
        (32, 16, -EINVAL),                        // it stands before the sample's end
        (PAGE as u32, PAGE + 8, -E2BIG),          // longer than the ring, and producer_pos says so too
        (PAGE as u32 - 8, PAGE, 1),               // the longest
        (BUSY_BIT | 8, 16, 0),                    // not committed
        (DISCARD_BIT | 8, 16, 0),                 // skipped
        (BUSY_BIT | DISCARD_BIT | 8, 16, 0),      // discarded counts more than busy
        (BUSY_BIT | 32, 16, -EINVAL),             // a busy one is checked all the same
        (DISCARD_BIT | 0x3fff_ffff, 16, -EINVAL), // and a discarded one
        (0, 8, 1),                                // empty
        (0, 0, 0),                                // nothing
    ];
    for (word, producer, answer) in cases {
        // Each on a ring of its own: consumer_pos cannot be set back.
        kernel = Kernel::new(PAGE)?.unwrap_or(kernel);
        kernel.write_header(0, word);
        kernel.set_producer(producer);
        let (theirs, ours) = kernel.drain_both(ADAPTIVE, u64::MAX)?;
        assert_eq!(theirs.answer, i64::from(answer), "length word {word:#x}, producer_pos {producer}");
        assert_eq!(ours, theirs);
    }
    Ok(())
}

/// Random headers, positions and flags: the kernel's result, what it took, where it stopped and whether it woke are ours.
#[test]
fn random_rings_are_drained_alike() -> Result<(), String> {
    for size in [4096, 8192] {
        let Some(kernel) = Kernel::new(size)? else { return Ok(()) };
        drop(kernel);
        let config = Config {
            cases: 400,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(0x0075_7365_7200 + size as u64),
            ..Config::default()
        };
        let count = Cell::new([0usize; 5]);
        TestRunner::new(config)
            .run(&prop::collection::vec(step(size), 1..40), |steps| {
                random_ring(size, &steps, &count).map_err(TestCaseError::fail)
            })
            .map_err(|error| error.to_string())?;
        let [drains, samples, invalid, too_big, wakeups] = count.get();
        println!(
            "{size} bytes: {drains} drains, {samples} samples, {invalid} EINVAL, {too_big} E2BIG, {wakeups} wakeups"
        );
        assert!(samples > 0 && invalid > 0 && too_big > 0 && wakeups > 0);
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Step {
    /// A header where the last one that was written ends (or nearly), and producer_pos behind it (or nearly).
    Sample {
        length: u32,
        bits: u32,
        gap: i64,
        end: i64,
    },
    /// Any header anywhere.
    Header {
        offset: usize,
        word: u32,
    },
    /// producer_pos so far from consumer_pos.
    Producer {
        distance: i64,
    },
    Drain {
        flags: u64,
        limit: u64,
    },
}

fn step(size: usize) -> impl Strategy<Value = Step> {
    let limit = size as u32;
    let length = prop_oneof![6 => 0..64u32, 2 => 0..limit / 2, 1 => limit - 24..limit + 24, 1 => any::<u32>().prop_map(|word| word >> 2)];
    let bits = prop_oneof![6 => Just(0), 2 => Just(DISCARD_BIT), 1 => Just(BUSY_BIT), 1 => Just(BUSY_BIT | DISCARD_BIT)];
    let near = || prop_oneof![12 => Just(0i64), 1 => Just(8), 1 => Just(-8), 1 => -64..64i64];
    let flags = prop_oneof![4 => Just(ADAPTIVE), 1 => Just(NO_WAKEUP), 1 => Just(FORCE_WAKEUP), 1 => Just(3)];
    let far = size as i64 * 3;
    prop_oneof![
        6 => (length, bits, near(), near()).prop_map(|(length, bits, gap, end)| Step::Sample { length, bits, gap, end }),
        1 => (0..size / 8, any::<u32>()).prop_map(|(offset, word)| Step::Header { offset: offset * 8, word }),
        1 => prop_oneof![2 => (-far / 8..far / 8).prop_map(|words| words * 8), 1 => -far..far].prop_map(|distance| Step::Producer { distance }),
        4 => (flags, prop_oneof![3 => Just(u64::MAX), 1 => 1..5u64]).prop_map(|(flags, limit)| Step::Drain { flags, limit }),
    ]
}

fn random_ring(size: usize, steps: &[Step], count: &Cell<[usize; 5]>) -> Result<(), String> {
    let mut kernel = Kernel::new(size)?.ok_or("the kernel has no more rings")?;
    // What stands between the headers that are written on purpose: payload, or another header.
    for offset in (0..size).step_by(8) {
        kernel.write_header(offset, (offset / 8 * 7 % 64) as u32);
    }
    let mut next = 0usize;
    for (index, step) in steps.iter().enumerate() {
        match *step {
            Step::Sample { length, bits, gap, end } => {
                let start = next.wrapping_add_signed(gap as isize) & !7;
                kernel.write_header(start, length | bits);
                next = start.wrapping_add((length as usize + 8).next_multiple_of(8));
                kernel.set_producer(below_the_middle(next.wrapping_add_signed(end as isize)));
            }
            Step::Header { offset, word } => kernel.write_header(offset, word),
            Step::Producer { distance } => {
                let consumer = kernel.ring.consumer_position().load(SeqCst);
                kernel.set_producer(below_the_middle(consumer.wrapping_add_signed(distance as isize)));
            }
            Step::Drain { flags, limit } => {
                let (theirs, ours) = kernel.drain_both(flags, limit)?;
                if ours != theirs {
                    return Err(format!(
                        "step {index}, {step:?}:\nours         {ours:?}\nthe kernel's {theirs:?}"
                    ));
                }
                next = kernel.ring.consumer_position().load(SeqCst);
                let mut numbers = count.get();
                numbers[0] += 1;
                numbers[1] += theirs.seen;
                numbers[2] += usize::from(theirs.answer == -i64::from(EINVAL));
                numbers[3] += usize::from(theirs.answer == -i64::from(E2BIG));
                numbers[4] += usize::from(theirs.woken);
                count.set(numbers);
            }
        }
    }
    Ok(())
}

/// Positions here start at 0. One below that would be one just before the wrap, which the kernel takes for far ahead: see
/// `positions_are_compared_by_distance`.
fn below_the_middle(position: usize) -> usize {
    if position > usize::MAX / 2 { 0 } else { position }
}

/// The departure: the kernel asks `cons >= prod`, we ask for the distance, so that a ring works where positions wrap. A producer that lies by half of
/// all there is gets nothing from us, and samples made of whatever stands in the ring from the kernel.
#[test]
fn positions_are_compared_by_distance() -> Result<(), String> {
    let Some(mut kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    kernel.write_header(0, 8);
    kernel.write_header(16, BUSY_BIT | 8);
    kernel.set_producer(0usize.wrapping_sub(8));
    let (theirs, ours) = kernel.drain_both(ADAPTIVE, u64::MAX)?;
    assert_eq!((theirs.answer, ours.answer), (1, 0));
    Ok(())
}

/// What a producer may map: the consumer's page to read, all the rest to write.
#[test]
fn mappings_allow_a_producer_and_no_more() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    let (read, write) = (ProtFlags::READ, ProtFlags::READ | ProtFlags::WRITE);
    let map =
        |offset, length, protection| Pages::map(kernel.ring.as_fd(), offset, length, protection).map(drop);
    assert_eq!(map(0, PAGE, write).map_err(|error| error.0), Err(EPERM));
    assert_eq!(map(0, PAGE, read), Ok(()));
    assert_eq!(map(PAGE, PAGE, write), Ok(()));
    assert_eq!(map(PAGE, 3 * PAGE, write), Ok(()));
    Ok(())
}

/// What a drain did, on either side.
#[derive(Debug, PartialEq)]
struct Drained {
    /// Samples taken, or the negative error.
    answer: i64,
    /// How often the callback was called.
    seen: usize,
    /// What it was given, the first so many bytes of it.
    samples: Vec<Vec<u8>>,
    /// `consumer_pos` afterwards.
    consumer: usize,
    woken: bool,
}

/// A user ring of the running kernel and the program that drains it.
struct Kernel {
    object: LoadedObject,
    ring: KernelRing,
    /// What is written by hand is written here too.
    copy: Mirrored,
    samples: Pages,
    size: usize,
}

impl Kernel {
    fn new(size: usize) -> Result<Option<Self>, String> {
        static OBJECT: OnceLock<Result<Option<Sample>, String>> = OnceLock::new();
        let object =
            OBJECT.get_or_init(|| corpus::source("ring_user.bpf.c")).as_ref().map_err(Clone::clone)?;
        let Some(object) = object else {
            return corpus::missing(Package::Clang).map(|()| None);
        };
        let object = match LoadedObject::load(&object.bytes, &[("ring", size as u32)]) {
            Ok(object) => object,
            Err(error) => return not_possible("programs cannot be loaded here", error).map(|()| None),
        };
        let ring = KernelRing::open(object.map("ring").unwrap(), size, Role::KernelConsumes).unwrap();
        let samples = Pages::map(
            object.map("samples").unwrap(),
            0,
            (LOG + 8 + LONGEST).next_multiple_of(PAGE),
            ProtFlags::READ | ProtFlags::WRITE,
        )
        .unwrap();
        Ok(Some(Self { object, ring, copy: Mirrored::new(size, 0), samples, size }))
    }

    fn drain(&self, flags: u64, limit: u64) -> Drained {
        let (answer, seen) = self.run("empty", flags, limit);
        let mut at = 0;
        let samples = (0..seen).map_while(|_| {
            let length = (at < LOG).then(|| self.samples.word(at) as usize)?;
            let sample = self.samples.bytes(at + 8, length);
            at += 8 + length.next_multiple_of(8);
            Some(sample)
        });
        let samples = samples.collect();
        Drained { answer, seen, samples, consumer: self.ring.consumer_position().load(SeqCst), woken: false }
    }

    fn drain_unseen(&self, flags: u64, limit: u64) -> i64 {
        self.run("empty_unseen", flags, limit).0
    }

    fn run(&self, program: &str, flags: u64, limit: u64) -> (i64, usize) {
        let mut context = [flags, limit, 0, 0].map(u64::to_ne_bytes).concat();
        run(self.object.program(program).unwrap(), &mut context).unwrap();
        let word = |index: usize| u64::from_ne_bytes(context[index * 8..][..8].try_into().unwrap());
        (word(2).cast_signed(), word(3) as usize)
    }

    /// Drains this ring by the kernel, and its copy by us.
    fn drain_both(&self, flags: u64, limit: u64) -> Result<(Drained, Drained), String> {
        let mut ours = Drained { answer: 0, seen: 0, samples: vec![], consumer: 0, woken: false };
        let result =
            UserConsumer::new(self.copy.side(PAGE)).drain(SubmitFlags::from_bits_retain(flags), |sample| {
                ours.samples.push(sample.to_vec());
                if ours.samples.len() as u64 >= limit {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
        match result {
            Ok(drained) => {
                ours.answer = drained.samples as i64;
                ours.woken = drained.wakeup.is_needed();
            }
            Err(failed) => {
                ours.answer = -i64::from(failed.error.errno());
                ours.woken = failed.drained.wakeup.is_needed();
            }
        }
        ours.seen = ours.samples.len();
        ours.consumer = self.copy.consumer_position().load(Relaxed);
        let waiter =
            Waiter::new(&self.ring, EventFlags::OUT | EventFlags::ET).map_err(|error| error.to_string())?;
        // What is there already is told once; only what the drain does counts.
        waiter.wait(Duration::ZERO).map_err(|error| error.to_string())?;
        let mut theirs = self.drain(flags, limit);
        theirs.woken = waiter.wait(Duration::ZERO).map_err(|error| error.to_string())?;
        if theirs.samples.len() < theirs.seen {
            // More laps than the log holds.
            ours.samples.truncate(theirs.samples.len());
        }
        // An event is told only while there is space.
        ours.woken &= self.ring.available() < self.size;
        Ok((theirs, ours))
    }

    fn write_header(&mut self, position: usize, word: u32) {
        let offset = PAGE + (position & (self.size - 1) & !7);
        self.ring.producer_pages_mut().write(offset, &word.to_ne_bytes());
        self.copy.side(PAGE).length(position).store(word, Relaxed);
    }

    fn set_producer(&mut self, position: usize) {
        self.ring.producer_position().store(position, SeqCst);
        self.copy.producer_position().store(position, Relaxed);
    }
}

/// As in the program.
const LOG: usize = 65536;
const LONGEST: usize = 16384;

const EPERM: i32 = 1;
const E2BIG: i32 = 7;
const EINVAL: i32 = 22;
