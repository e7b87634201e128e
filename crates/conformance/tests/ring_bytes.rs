//! The same calls on a ring of the running kernel and on ours: the same answers, the same bytes, the same wakeups, after every call.
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
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use ebpf_conformance::bpf::not_possible;
use ebpf_conformance::kernel_ring::{KernelRing, OVERWRITE, Waiter};
use ebpf_conformance::ring_program::{Call, Desk, MAX_CALLS, QUERIES, SLOTS, Seen};
use ebpf_ringbuf::{
    Consumer, ExclusiveProducer, HEADER_SIZE, Header, Mapped, Producer, Query, Reservation, ReserveError,
    Stopped, SubmitFlags,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use rustix::event::epoll::EventFlags;
use support::Mirrored;

const SIZES: [usize; 3] = [4096, 8192, 65536];

/// Sequences for each size and each kind of test, unless `EBPF_CONFORMANCE_CASES` says otherwise. They are the same on every run.
const CASES: u32 = 100;

#[test]
fn many_outstanding_records() -> Result<(), String> {
    compare("Producer, up to four outstanding", Kind::Many)
}

#[test]
fn one_outstanding_record() -> Result<(), String> {
    compare("ExclusiveProducer", Kind::One)
}

/// A consumer that stores any position it likes changes what is admitted and who is woken, in the same way on both sides.
#[test]
fn a_consumer_that_lies() -> Result<(), String> {
    compare("Producer, a lying consumer", Kind::Lies)
}

#[test]
fn overwriting() -> Result<(), String> {
    match KernelRing::overwriting(SIZES[0]) {
        Ok(None) => return Ok(()),
        Ok(Some(_)) => {}
        Err(error) => return not_possible("ring maps cannot be made and mapped here", error),
    }
    compare("Producer, overwriting", Kind::Overwriting)
}

/// The bytes that `ebpf-ringbuf` takes for Linux's: 8 submitted, 8 discarded, 13 by `bpf_ringbuf_output`, none; 4000 in the second page of two.
#[test]
fn golden_headers() -> Result<(), String> {
    let call = |length, discard| {
        [
            Call::Reserve { slot: 0, length, dynptr: false, payload: 0 },
            Call::Commit { slot: 0, dynptr: false, discard, flags: 0 },
        ]
    };
    let output = [Call::Output { length: 13, flags: 0, payload: 0 }];
    let one_page: [(&[Call], usize, [u8; 8]); 4] = [
        (&call(8, false), 0, [8, 0, 0, 0, 3, 0, 0, 0]),
        (&call(8, true), 16, [8, 0, 0, 0x40, 3, 0, 0, 0]),
        (&output, 32, [13, 0, 0, 0, 3, 0, 0, 0]),
        (&call(0, false), 56, [0, 0, 0, 0, 3, 0, 0, 0]),
    ];
    let two_pages: [(&[Call], usize, [u8; 8]); 2] = [
        (&call(4088, false), 0, [0xf8, 0x0f, 0, 0, 3, 0, 0, 0]),
        (&call(4000, false), 4096, [0xa0, 0x0f, 0, 0, 4, 0, 0, 0]),
    ];
    for (size, cases) in [(4096, &one_page[..]), (8192, &two_pages)] {
        let ring = match KernelRing::new(size, 0) {
            Ok(ring) => ring,
            Err(error) => return not_possible("ring maps cannot be made and mapped here", error),
        };
        let desk = Desk::new(size, &payload(size)).map_err(|error| error.to_string())?;
        for (calls, position, header) in cases {
            desk.run(&ring, calls, |_| Ok(()))?;
            assert_eq!(ring.bytes(*position, 8), header, "at {position} of {size}");
        }
    }
    Ok(())
}

/// `consumer_pos` set far ahead lets no second record into the first one while that is being written.
#[test]
fn a_forged_consumer_position_gets_no_overlap() -> Result<(), String> {
    const SIZE: usize = 0x4000;
    let kernel = match KernelRing::new(SIZE, 0) {
        Ok(ring) => ring,
        Err(error) => return not_possible("ring maps cannot be made and mapped here", error),
    };
    let desk = Desk::new(SIZE, &payload(SIZE)).map_err(|error| error.to_string())?;
    kernel.consumer_position().store(0x3000, SeqCst);
    let reserve = |slot| Call::Reserve { slot, length: 0x3000, dynptr: false, payload: 0 };
    let commit = |slot| Call::Commit { slot, dynptr: false, discard: false, flags: 0 };
    let seen = desk.run(&kernel, &[reserve(0), reserve(1), commit(0), commit(1)], |_| Ok(()))?;
    assert_eq!(seen.iter().map(|seen| seen.answer).collect::<Vec<_>>(), [0, -1, 0, 0]);
    assert_eq!(seen[1].positions, [0x3000, 0x3008, 0, 0]);

    let ours = Mirrored::new(SIZE, 0);
    ours.consumer_position().store(0x3000, SeqCst);
    let producer = Producer::new(ours.side(rustix::param::page_size()), ours.marks()).unwrap();
    let first = producer.reserve(0x3000).unwrap();
    assert!(matches!(producer.reserve(0x3000), Err(ReserveError::Outstanding { pending: 0, .. })));
    assert_eq!(ours.producer_position().load(SeqCst), 0x3008);
    drop(first);
    Ok(())
}

/// What a test is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Many,
    One,
    Lies,
    Overwriting,
}

/// What a test asks for; becomes a [`Call`] or two, or none if it makes no sense at that point.
#[derive(Clone, Debug)]
enum Wish {
    Reserve {
        length: u64,
        dynptr: bool,
    },
    Commit {
        which: usize,
        discard: bool,
        flags: u64,
    },
    Output {
        length: u64,
        flags: u64,
    },
    /// A reservation that ends where the ring would be exactly full, or eight bytes before or behind: counted from the oldest record outstanding, or,
    /// if there is none, from the consumer.
    Fill {
        short: u64,
        dynptr: bool,
    },
    Consume {
        count: usize,
        batch: bool,
    },
    Lie {
        position: usize,
    },
}

/// One program's run, and how many records both consumers read after it.
#[derive(Clone, Debug)]
struct Round {
    wishes: Vec<Wish>,
    read: usize,
}

fn rounds(size: usize, kind: Kind) -> impl Strategy<Value = Vec<Round>> {
    let limit = size as u64;
    let lengths = prop_oneof![
        6 => 0..64u64,
        4 => 0..limit / 4,
        2 => 0..limit,
        2 => limit - 40..limit + 17,
        1 => prop_oneof![0xff_fff8..0x100_0008u64, 0x3fff_fff0..0x4000_0010u64, 0xffff_fff0..0x1_0000_0020u64],
    ];
    let short = prop_oneof![4 => 0..limit / 4, 1 => limit - 40..limit + 17];
    let flags = || prop_oneof![6 => Just(0u64), 1 => Just(1), 1 => Just(2), 1 => Just(3)];
    let wish = prop_oneof![
        5 => (lengths, any::<bool>()).prop_map(|(length, dynptr)| {
            // The helper for a dynptr takes 32 bits.
            Wish::Reserve { length: if dynptr { length & 0xffff_ffff } else { length }, dynptr }
        }),
        5 => (any::<usize>(), any::<bool>(), flags())
            .prop_map(|(which, discard, flags)| Wish::Commit { which, discard, flags }),
        1 => (0..32u64, any::<bool>()).prop_map(|(short, dynptr)| Wish::Fill { short, dynptr }),
        3 => (short, flags()).prop_map(|(length, flags)| Wish::Output { length, flags }),
        if kind == Kind::Lies { 3 } else { 0 } =>
            (0..4 * size).prop_map(|position| Wish::Lie { position: position & !7 }),
        if kind == Kind::Lies { 0 } else { 3 } =>
            (1..12usize, any::<bool>()).prop_map(|(count, batch)| Wish::Consume { count, batch }),
    ];
    // A wish is at most two calls, and what is left outstanding at the end is committed.
    let wishes = prop::collection::vec(wish, 1..(MAX_CALLS - SLOTS) / 2);
    let read = prop_oneof![Just(0usize), 0..8usize, Just(usize::MAX)];
    let round = (wishes, read).prop_map(|(wishes, read)| Round { wishes, read });
    prop::collection::vec(round, 1..5)
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    sequences: usize,
    programs: usize,
    calls: usize,
    refused: usize,
    records: usize,
    bytes: usize,
    most_outstanding: usize,
    laps: usize,
    wakeups: usize,
    read: usize,
    busy: usize,
}

fn compare(name: &str, kind: Kind) -> Result<(), String> {
    if let Err(error) = KernelRing::new(SIZES[0], 0) {
        return not_possible("ring maps cannot be made and mapped here", error);
    }
    let cases = std::env::var("EBPF_CONFORMANCE_CASES").ok().and_then(|cases| cases.parse().ok());
    for size in SIZES {
        let start = Instant::now();
        let desk = Desk::new(size, &payload(size)).map_err(|error| error.to_string())?;
        let config = Config {
            cases: cases.unwrap_or(CASES),
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(0x0072_696e_6700 + size as u64),
            max_shrink_time: 20_000,
            ..Config::default()
        };
        let count = Cell::new(Count::default());
        TestRunner::new(config)
            .run(&rounds(size, kind), |rounds| {
                let comparison = Comparison::new(&desk, size, kind);
                let result = comparison.run(&rounds);
                count.set(comparison.count.get().plus(count.get()));
                result.map_err(TestCaseError::fail)
            })
            .map_err(|error| error.to_string())?;
        let count = count.get();
        println!("{name}, {size} bytes: {count}; {:?}", start.elapsed());
        assert!(count.refused > 0 && count.wakeups > 0 && count.laps > 0, "{count:?}");
        assert!(kind == Kind::One || count.most_outstanding == SLOTS, "{count:?}");
    }
    Ok(())
}

/// One sequence on two rings.
struct Comparison<'desk> {
    desk: &'desk Desk,
    payload: Vec<u8>,
    kind: Kind,
    kernel: KernelRing,
    waiter: Waiter,
    ours: Mirrored,
    count: Cell<Count>,
}

impl<'desk> Comparison<'desk> {
    fn new(desk: &'desk Desk, size: usize, kind: Kind) -> Self {
        let kernel = KernelRing::new(size, if kind == Kind::Overwriting { OVERWRITE } else { 0 }).unwrap();
        let waiter = Waiter::new(&kernel, EventFlags::IN | EventFlags::ET).unwrap();
        let count = Cell::new(Count { sequences: 1, ..Count::default() });
        Self { desk, payload: desk.payload(), kind, kernel, waiter, ours: Mirrored::new(size, 0), count }
    }

    fn run(&self, rounds: &[Round]) -> Result<(), String> {
        match self.kind {
            Kind::One => {
                let mut producer = ExclusiveProducer::new(self.our_side()).unwrap();
                self.each_round(rounds, |round, wishes| self.run_one(&mut producer, round, wishes))
            }
            Kind::Many | Kind::Lies | Kind::Overwriting => {
                let producer = Producer::new(self.our_side(), self.ours.marks()).unwrap();
                self.each_round(rounds, |round, wishes| self.run_many(&producer, round, wishes))
            }
        }
    }

    /// Our side first: it says where the consumer gets, which the kernel's program is then written for.
    fn each_round(
        &self,
        rounds: &[Round],
        mut ours: impl FnMut(usize, &[Wish]) -> Script,
    ) -> Result<(), String> {
        for (number, round) in rounds.iter().enumerate() {
            let script = ours(number, &round.wishes);
            let seen = self
                .desk
                .run(&self.kernel, &script.calls, |index| self.consume_theirs(&script, index))
                .map_err(|error| format!("round {number}: {error}"))?;
            for (index, (call, (ours, theirs))) in
                script.calls.iter().zip(script.seen.iter().zip(&seen)).enumerate()
            {
                self.same(call, ours, theirs)
                    .map_err(|difference| format!("round {number}, call {index}, {call:?}: {difference}"))?;
            }
            self.same_wakeup(&script).map_err(|difference| format!("round {number}: {difference}"))?;
            if self.kind == Kind::Many || self.kind == Kind::One {
                self.read_both(round.read)
                    .map_err(|difference| format!("after round {number}: {difference}"))?;
            }
            self.add(|count| {
                count.programs += 1;
                count.calls += script.calls.len();
                count.most_outstanding = count.most_outstanding.max(script.most_outstanding);
                count.wakeups += usize::from(script.woken);
            });
        }
        let laps = self.ours.producer_position().load(Relaxed) / self.kernel.geometry().size();
        self.add(|count| count.laps += laps);
        Ok(())
    }

    fn run_many(
        &self,
        producer: &Producer<Mapped<'_>, ebpf_ringbuf::SharedMarks<'_>>,
        round: usize,
        wishes: &[Wish],
    ) -> Script {
        let mut script = Script::default();
        let mut open: [Option<Option<Reservation<'_, Mapped<'_>>>>; SLOTS] = Default::default();
        let mut kinds = [false; SLOTS];
        let rest = [true; SLOTS].map(|discard| Wish::Commit { which: 0, discard, flags: 0 });
        for wish in wishes.iter().chain(&rest) {
            let payload = cut(round, script.calls.len());
            let oldest = open.iter().flatten().flatten().map(Reservation::position).min();
            match self.settled(wish, oldest) {
                Wish::Reserve { length, dynptr } => {
                    let Some(slot) = open.iter().position(Option::is_none) else { continue };
                    let reservation = producer.reserve(length as usize).ok().map(|mut reservation| {
                        reservation.copy_from_slice(&self.payload[payload..][..length as usize]);
                        reservation
                    });
                    let accepted = reservation.is_some();
                    open[slot] = Some(reservation);
                    kinds[slot] = dynptr;
                    script.saw(Call::Reserve { slot, length, dynptr, payload }, self.see(accepted));
                }
                Wish::Commit { which, discard, flags } => {
                    let taken: Vec<usize> = (0..SLOTS).filter(|slot| open[*slot].is_some()).collect();
                    if taken.is_empty() {
                        continue;
                    }
                    let slot = taken[which % taken.len()];
                    if let Some(Some(reservation)) = open[slot].take() {
                        script.woken |= commit(reservation, discard, flags);
                    }
                    script.saw(Call::Commit { slot, dynptr: kinds[slot], discard, flags }, self.see(true));
                }
                Wish::Output { length, flags } => {
                    let bytes = &self.payload[payload..][..length as usize];
                    let answer = producer.output(bytes, SubmitFlags::from_bits_truncate(flags));
                    script.woken |= answer.is_ok_and(|wakeup| wakeup.is_needed());
                    script.saw(Call::Output { length, flags, payload }, self.see(answer.is_ok()));
                }
                Wish::Fill { .. } => {}
                Wish::Consume { .. } | Wish::Lie { .. } => {
                    let outcome = self.consume(self.our_side(), self.ours.consumer_position(), wish);
                    script.pauses.push((script.calls.len(), wish.clone(), outcome));
                    script.saw(Call::Pause, self.see(true));
                }
            }
            let outstanding = open.iter().flatten().flatten().count();
            script.most_outstanding = script.most_outstanding.max(outstanding);
        }
        script
    }

    fn run_one(&self, producer: &mut ExclusiveProducer<Mapped<'_>>, round: usize, wishes: &[Wish]) -> Script {
        let mut script = Script::default();
        for wish in wishes {
            let payload = cut(round, script.calls.len());
            match self.settled(wish, None) {
                Wish::Reserve { length, dynptr } => {
                    let reserve = Call::Reserve { slot: 0, length, dynptr, payload };
                    let (discard, flags) = (payload.is_multiple_of(3), [0, 0, 1, 2, 3][payload % 5]);
                    if let Ok(mut reservation) = producer.reserve(length as usize) {
                        reservation.copy_from_slice(&self.payload[payload..][..length as usize]);
                        script.saw(reserve, self.see(true));
                        script.woken |= commit(reservation, discard, flags);
                    } else {
                        script.saw(reserve, self.see(false));
                    }
                    script.saw(Call::Commit { slot: 0, dynptr, discard, flags }, self.see(true));
                }
                Wish::Output { length, flags } => {
                    let bytes = &self.payload[payload..][..length as usize];
                    let answer = producer.output(bytes, SubmitFlags::from_bits_truncate(flags));
                    script.woken |= answer.is_ok_and(|wakeup| wakeup.is_needed());
                    script.saw(Call::Output { length, flags, payload }, self.see(answer.is_ok()));
                }
                Wish::Consume { .. } | Wish::Lie { .. } => {
                    let outcome = self.consume(self.our_side(), self.ours.consumer_position(), wish);
                    script.pauses.push((script.calls.len(), wish.clone(), outcome));
                    script.saw(Call::Pause, self.see(true));
                }
                Wish::Commit { .. } | Wish::Fill { .. } => {}
            }
        }
        script
    }

    /// The wish with its length known.
    fn settled(&self, wish: &Wish, oldest: Option<usize>) -> Wish {
        let Wish::Fill { short, dynptr } = *wish else { return wish.clone() };
        let from = oldest.unwrap_or_else(|| self.ours.consumer_position().load(Relaxed));
        let used = self.ours.producer_position().load(Relaxed).wrapping_sub(from);
        // A consumer that lies may seem to leave no space at all, or more than there is.
        let free = self.kernel.geometry().size().wrapping_sub(used).min(self.kernel.geometry().size());
        Wish::Reserve { length: (free as u64).saturating_sub(short), dynptr }
    }

    /// While the program holds its records: the same consumer on the kernel's ring. It reads the same, and stops for the same reason.
    fn consume_theirs(&self, script: &Script, index: usize) -> Result<(), String> {
        let pause = script.pauses.iter().find(|pause| pause.0 == index);
        let (_, wish, ours) = pause.ok_or_else(|| format!("call {index} is no pause"))?;
        let theirs = self.consume(self.kernel.side(), self.kernel.consumer_position(), wish);
        self.add(|count| {
            count.read += theirs.payloads.len();
            count.busy += usize::from(theirs.stopped == Some(Stopped::Busy));
        });
        field(&format!("call {index}, {wish:?}, what was read"), ours, &theirs)
    }

    /// Moves `consumer_pos` of either ring.
    fn consume(&self, side: Mapped<'_>, position: &AtomicUsize, wish: &Wish) -> Outcome {
        let mut outcome = Outcome::default();
        match *wish {
            Wish::Lie { position: lie } => position.store(lie, SeqCst),
            // A plain consumer does not know of records that were overwritten; any honest position will do.
            Wish::Consume { .. } if self.kind == Kind::Overwriting => {
                let consumer = Consumer::new(side).unwrap();
                position.fetch_max(consumer.query(Query::OverwritePosition), SeqCst);
            }
            Wish::Consume { count, batch: true } => {
                let mut consumer = Consumer::new(side).unwrap();
                let drained = consumer.drain(count, |payload| {
                    outcome.payloads.push(payload.to_vec());
                    ControlFlow::Continue(())
                });
                outcome.stopped = Some(drained.stopped);
                outcome.discarded = drained.discarded;
            }
            Wish::Consume { count, batch: false } => {
                let mut consumer = Consumer::new(side).unwrap();
                for _ in 0..count {
                    match consumer.next_record() {
                        Ok(record) => outcome.payloads.push(record.to_vec()),
                        Err(stopped) => {
                            outcome.stopped = Some(stopped);
                            break;
                        }
                    }
                }
            }
            Wish::Reserve { .. } | Wish::Commit { .. } | Wish::Output { .. } | Wish::Fill { .. } => {}
        }
        outcome
    }

    /// Our ring as it stands.
    fn see(&self, accepted: bool) -> Seen {
        let overwrite = self.our_side_query(Query::OverwritePosition);
        Seen {
            answer: if accepted { 0 } else { -1 },
            queries: QUERIES.map(|number| {
                Query::from_number(number).map_or(0, |query| self.our_side_query(query) as u64)
            }),
            positions: [
                self.ours.consumer_position().load(Relaxed) as u64,
                self.ours.producer_position().load(Relaxed) as u64,
                self.ours.pending_position().load(Relaxed) as u64,
                overwrite as u64,
            ],
            image: self.ours.bytes(0, self.kernel.geometry().size()),
        }
    }

    fn our_side(&self) -> Mapped<'_> {
        let page = rustix::param::page_size();
        if self.kind == Kind::Overwriting { self.ours.overwriting_side(page) } else { self.ours.side(page) }
    }

    fn our_side_query(&self, query: Query) -> usize {
        // A producer's answer is the same function of the same memory.
        Consumer::new(self.our_side()).unwrap().query(query)
    }

    fn same(&self, call: &Call, ours: &Seen, theirs: &Seen) -> Result<(), String> {
        let refusal = match call {
            Call::Reserve { dynptr: false, .. } => -1,
            Call::Reserve { length, .. } if *length > 0xff_ffff => -E2BIG,
            Call::Reserve { .. } => -EINVAL,
            Call::Output { .. } => -EAGAIN,
            Call::Commit { .. } | Call::Pause => 0,
        };
        let answer = if ours.answer == 0 { 0 } else { refusal };
        field("the answer", &answer, &theirs.answer)?;
        field("consumer_pos, producer_pos, pending_pos, overwrite_pos", &ours.positions, &theirs.positions)?;
        field("AVAIL, SIZE, CONS, PROD, OVERWRITE, no query", &ours.queries, &theirs.queries)?;
        self.add(|count| count.refused += usize::from(ours.answer != 0));
        let [consumer, producer, pending, overwrite] = ours.positions.map(|position| position as usize);
        // The oldest record that must be whole: read or not, nothing may have touched it.
        let mut position = match self.kind {
            Kind::Many | Kind::One => producer - (producer - consumer).max(producer - pending),
            Kind::Lies => pending,
            Kind::Overwriting => overwrite,
        };
        while position != producer {
            let header: [u8; HEADER_SIZE] = wrapped(&ours.image, position, HEADER_SIZE).try_into().unwrap();
            let length = HEADER_SIZE + Header::from_bytes(header).payload_len();
            // Looking closer takes time, and only tells where they differ.
            if ours.image != theirs.image {
                let [ours, theirs] = [ours, theirs].map(|seen| wrapped(&seen.image, position, length));
                same_bytes(&format!("the record at {position}"), &ours, &theirs)?;
            }
            self.add(|count| {
                count.records += 1;
                count.bytes += length;
            });
            position += length.next_multiple_of(HEADER_SIZE);
        }
        // More than is promised: nothing but headers and payloads was ever written, padding and free space included.
        same_bytes("the data outside of any record", &ours.image, &theirs.image)
    }

    /// Edge-triggered: one event if any commit of the round woke, none if none did. Epoll asks the ring before it tells, so an empty one stays silent.
    fn same_wakeup(&self, script: &Script) -> Result<(), String> {
        let expected = script.woken && self.kernel.available() != 0;
        let patience = if expected { Duration::from_millis(500) } else { Duration::ZERO };
        let event = self.waiter.wait(patience).map_err(|error| error.to_string())?;
        field("a wakeup", &expected, &event)
    }

    /// Our consumer on both rings, the kernel's through its mapping.
    fn read_both(&self, limit: usize) -> Result<(), String> {
        let [ours, theirs] = [self.our_side(), self.kernel.side()].map(|side| {
            let mut consumer = Consumer::new(side).unwrap();
            let mut payloads = vec![];
            let drained = consumer.drain(limit, |payload| {
                payloads.push(payload.to_vec());
                ControlFlow::Continue(())
            });
            (drained, payloads)
        });
        field("what a drain did", &ours.0, &theirs.0)?;
        field("payloads", &ours.1, &theirs.1)?;
        self.add(|count| count.read += ours.0.records);
        let position = self.ours.consumer_position().load(Relaxed);
        field("consumer_pos", &position, &self.kernel.consumer_position().load(Relaxed))
    }

    fn add(&self, change: impl FnOnce(&mut Count)) {
        let mut count = self.count.get();
        change(&mut count);
        self.count.set(count);
    }
}

/// The calls of one round, and our ring after each.
#[derive(Default)]
struct Script {
    calls: Vec<Call>,
    seen: Vec<Seen>,
    woken: bool,
    most_outstanding: usize,
    /// The calls at which the consumer is at work, and what it did to our ring.
    pauses: Vec<(usize, Wish, Outcome)>,
}

/// What a consumer did.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    payloads: Vec<Vec<u8>>,
    discarded: usize,
    stopped: Option<Stopped>,
}

impl Script {
    fn saw(&mut self, call: Call, seen: Seen) {
        self.calls.push(call);
        self.seen.push(seen);
    }
}

fn commit(reservation: Reservation<'_, Mapped<'_>>, discard: bool, flags: u64) -> bool {
    let flags = SubmitFlags::from_bits_truncate(flags);
    let wakeup = if discard { reservation.discard(flags) } else { reservation.submit(flags) };
    wakeup.is_needed()
}

fn field<T: PartialEq + fmt::Debug>(name: &str, ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("{name}: ours {ours:?}, the kernel's {theirs:?}")) }
}

fn same_bytes(name: &str, ours: &[u8], theirs: &[u8]) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    let at = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs).unwrap();
    let show = |bytes: &[u8]| format!("{:02x?}", &bytes[at..bytes.len().min(at + 16)]);
    Err(format!("{name}, byte {at}: ours {}, the kernel's {}", show(ours), show(theirs)))
}

fn wrapped(image: &[u8], position: usize, length: usize) -> Vec<u8> {
    let start = position & (image.len() - 1);
    image[start..].iter().chain(image).take(length).copied().collect()
}

/// Bytes that payloads are cut from: no two cuts begin alike.
fn payload(size: usize) -> Vec<u8> {
    let mut state = 1u64;
    let random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(random).take(size + 64 + cut(8, 0)).collect()
}

/// Where the payload of a round's call starts.
fn cut(round: usize, call: usize) -> usize {
    (round * MAX_CALLS + call) * 13
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self {
            sequences: self.sequences + other.sequences,
            programs: self.programs + other.programs,
            calls: self.calls + other.calls,
            refused: self.refused + other.refused,
            records: self.records + other.records,
            bytes: self.bytes + other.bytes,
            most_outstanding: self.most_outstanding.max(other.most_outstanding),
            laps: self.laps + other.laps,
            wakeups: self.wakeups + other.wakeups,
            read: self.read + other.read,
            busy: self.busy + other.busy,
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequences, programs, calls, refused, records, bytes, laps, wakeups, read, busy, .. } =
            self;
        write!(f, "{sequences} sequences, {programs} programs, {calls} calls ({refused} refused), ")?;
        write!(f, "{records} records with {bytes} bytes compared, {laps} laps, {wakeups} wakeups, ")?;
        write!(f, "{read} records read, {busy} times up to a busy one")
    }
}

const E2BIG: i64 = 7;
const EAGAIN: i64 = 11;
const EINVAL: i64 = 22;
