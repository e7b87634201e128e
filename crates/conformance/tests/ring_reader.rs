//! Our consumer on rings of the running kernel: what other consumers' tests ask of theirs.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: what goes wrong here is to stop it"
)]

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ebpf_conformance::bpf::{Pages, create_map, not_possible};
use ebpf_conformance::kernel_ring::{KernelRing, Role, Waiter};
use ebpf_conformance::libbpf::Errno;
use ebpf_conformance::ring_program::{Call, Desk, MAX_CALLS, Seen};
use ebpf_ringbuf::{Consumer, Mapped, Query, Stopped};
use rustix::event::epoll::EventFlags;
use rustix::mm::{MprotectFlags, ProtFlags, mprotect};

const PAGE: usize = 4096;
const ADAPTIVE: u64 = 0;
const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;

#[test]
fn records_come_in_order_and_discarded_ones_do_not() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    // Lengths, and which are discarded.
    let cases: [&[(u64, bool)]; 4] = [
        &[(5, false)],
        &[(5, false), (10, true), (15, false)],
        &[(5, false), (10, true), (15, false), (20, true), (25, false)],
        &[(7, true), (7, true)],
    ];
    for records in cases {
        let mut consumer = kernel.consumer();
        assert_eq!(consumer.query(Query::AvailableData), 0);
        let start = consumer.query(Query::ConsumerPosition);
        kernel.make(
            &records.iter().enumerate().flat_map(|(index, record)| whole(index, *record)).collect::<Vec<_>>(),
        );
        let sizes: Vec<usize> =
            records.iter().map(|record| 8 + (record.0 as usize).next_multiple_of(8)).collect();
        assert_eq!(consumer.query(Query::AvailableData), sizes.iter().sum::<usize>(), "discarded ones count");
        assert_eq!(consumer.query(Query::RingSize), PAGE);
        for (index, (length, _)) in records.iter().enumerate().filter(|(_, record)| !record.1) {
            let record = consumer.next_record().unwrap();
            assert_eq!(*record, *kernel.payload(index, *length));
            let position = record.position();
            assert_eq!(position, start + sizes[..index].iter().sum::<usize>());
            drop(record);
            assert_eq!(consumer.query(Query::ConsumerPosition), position + sizes[index]);
        }
        assert_eq!(consumer.next_record().unwrap_err(), Stopped::Empty);
        assert_eq!(consumer.query(Query::AvailableData), 0);
    }
    Ok(())
}

/// 512 times 16 bytes hold 511 records of 1 to 8 bytes, and 1023 empty ones: eight bytes always stay free.
#[test]
fn a_full_ring_drops_and_the_rest_is_whole() -> Result<(), String> {
    let Some(kernel) = Kernel::new(2 * PAGE)? else { return Ok(()) };
    for (length, capacity) in [(8, 511), (1, 511), (0, 1023)] {
        for count in [0, 1, capacity / 2, capacity - 1, capacity, 8 * capacity] {
            let discarded = |number: usize| number % 2 == 1;
            let mut refused = 0;
            for first in (0..count).step_by(MAX_CALLS / 2) {
                let numbers = first..count.min(first + MAX_CALLS / 2);
                let calls: Vec<Call> =
                    numbers.flat_map(|number| whole(number % 50, (length, discarded(number)))).collect();
                // A reservation, then its commit: every other answer is that of a reservation.
                refused += kernel.make(&calls).iter().step_by(2).filter(|seen| seen.answer != 0).count();
            }
            assert_eq!(refused, count - count.min(capacity), "{count} records of {length} bytes");
            let mut kept = (0..capacity.min(count)).filter(|number| !discarded(*number));
            let drained = kernel.consumer().drain(usize::MAX, |payload| {
                let number = kept.next().unwrap();
                assert_eq!(*payload, *kernel.payload(number % 50, length), "record {number}");
                ControlFlow::Continue(())
            });
            assert_eq!(kept.next(), None);
            assert_eq!(
                (drained.stopped, drained.records + drained.discarded),
                (Stopped::Empty, count.min(capacity))
            );
        }
    }
    Ok(())
}

#[test]
fn a_limit_is_kept_exactly() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    kernel.make(&(0..32).flat_map(|number| whole(number, (16, false))).collect::<Vec<_>>());
    let mut consumer = kernel.consumer();
    for batch in 1..=8 {
        let drained = consumer.drain(4, |_| ControlFlow::Continue(()));
        assert_eq!((drained.records, drained.bytes), (4, 64));
        // There is more, so that nobody waits; and at the end there is not.
        assert_eq!(drained.stopped, if batch == 8 { Stopped::Empty } else { Stopped::Limit });
        assert_eq!(consumer.query(Query::ConsumerPosition), batch * 4 * 24, "given back at once");
    }
    assert_eq!(consumer.drain(4, |_| ControlFlow::Continue(())).records, 0);
    Ok(())
}

/// Two samples of 32 bytes submitted and one discarded, as the kernel's own test has it.
#[test]
fn a_record_that_stops_the_callback_is_consumed() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    let seen = kernel.make(&[whole(0, (32, false)), whole(1, (32, true)), whole(2, (32, false))].concat());
    // Asked in the kernel, and by us.
    assert_eq!(seen.last().unwrap().queries, [120, PAGE as u64, 0, 120, 0, 0]);
    let mut consumer = kernel.consumer();
    let queries = [Query::AvailableData, Query::RingSize, Query::ConsumerPosition, Query::ProducerPosition];
    assert_eq!(queries.map(|query| consumer.query(query)), [120, PAGE, 0, 120]);
    assert_eq!(consumer.query(Query::OverwritePosition), 0);
    let stop = |consumer: &mut Consumer<Mapped<'_>>| consumer.drain(usize::MAX, |_| ControlFlow::Break(()));
    let first = stop(&mut consumer);
    assert_eq!((first.records, first.discarded, first.stopped), (1, 0, Stopped::Asked));
    assert_eq!(consumer.query(Query::ConsumerPosition), 40);
    let second = stop(&mut consumer);
    assert_eq!((second.records, second.discarded, second.stopped), (1, 1, Stopped::Asked));
    assert_eq!(consumer.query(Query::ConsumerPosition), 120);
    assert_eq!(stop(&mut consumer).stopped, Stopped::Empty);
    Ok(())
}

/// What was written before there was a reader is read; a second reader, of a mapping of its own, goes on where the first stopped.
#[test]
fn opening_again_keeps_positions() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    kernel.make(&(0..4).flat_map(|number| whole(number, (8, number == 2))).collect::<Vec<_>>());
    let mut first = kernel.consumer();
    assert_eq!(*first.next_record().unwrap(), *kernel.payload(0, 8));
    // Its mapping stays; it is not asked again.
    kernel.make(&whole(4, (8, false)));
    let again = KernelRing::open(kernel.ring.as_fd(), PAGE, Role::KernelProduces)
        .map_err(|error| error.to_string())?;
    let mut second = Consumer::new(again.side()).unwrap();
    assert_eq!(second.query(Query::AvailableData), 64);
    for number in [1, 3, 4] {
        assert_eq!(*second.next_record().unwrap(), *kernel.payload(number, 8));
    }
    assert_eq!(second.next_record().unwrap_err(), Stopped::Empty);
    assert_eq!(kernel.ring.consumer_position().load(SeqCst), 80);
    Ok(())
}

/// A payload that runs over the end stands in one piece, because the data is mapped twice.
#[test]
fn a_payload_over_the_end_is_one_slice() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    for lap in 0..40 {
        kernel.make(&whole(lap, (3000, false)));
        let mut consumer = kernel.consumer();
        let record = consumer.next_record().unwrap();
        assert_eq!(record.position(), lap * 3008);
        assert_eq!(*record, *kernel.payload(lap, 3000));
    }
    Ok(())
}

/// The program is stopped while it holds records; user space sees them busy and waits for none.
#[test]
fn a_busy_record_stops_the_consumer_until_it_is_committed() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    let reserve = |slot, number| reserve(slot, number, 8);
    let commit = |slot, discard| Call::Commit { slot, dynptr: false, discard, flags: ADAPTIVE };
    let calls = [
        reserve(0, 0),
        reserve(1, 1),
        reserve(2, 2),
        commit(1, false),
        Call::Pause, // 4: the first is busy, the second is not
        commit(0, false),
        Call::Pause, // 6: both can be read, the third is busy
        commit(2, true),
        Call::Pause, // 8: the third is discarded
    ];
    let waiter = Waiter::new(&kernel.ring, EventFlags::IN | EventFlags::ET).unwrap();
    let event = || waiter.wait(Duration::ZERO).unwrap();
    let mut consumer = kernel.consumer();
    let mut read = vec![];
    kernel.desk.run(&kernel.ring, &calls, |call| {
        let mut take = |consumer: &mut Consumer<Mapped<'_>>| {
            consumer.drain(usize::MAX, |payload| {
                read.push(payload.to_vec());
                ControlFlow::Continue(())
            })
        };
        let answers = (consumer.next_record().map(|record| record.to_vec()), event(), take(&mut consumer));
        match call {
            4 => {
                // Something is there, says the ring's own count, but nobody has been woken for it: the oldest is busy.
                assert_eq!(
                    (answers.0, answers.1, answers.2.stopped),
                    (Err(Stopped::Busy), false, Stopped::Busy)
                );
                assert_eq!(consumer.query(Query::AvailableData), 48);
                assert_eq!(consumer.query(Query::ConsumerPosition), 0);
            }
            6 => {
                assert_eq!(
                    (answers.0, answers.1, answers.2.stopped),
                    (Ok(kernel.payload(0, 8).to_vec()), true, Stopped::Busy)
                );
                assert_eq!(answers.2.records, 1);
                assert_eq!(consumer.query(Query::ConsumerPosition), 32);
            }
            _ => {
                // The consumer stood before it when it was discarded, so it was woken; by then it had looked already.
                assert_eq!((answers.0, answers.2.stopped), (Err(Stopped::Empty), Stopped::Empty));
                assert_eq!(consumer.query(Query::ConsumerPosition), 48);
            }
        }
        Ok(())
    })?;
    assert_eq!(read, [kernel.payload(1, 8)]);
    Ok(())
}

/// What these tests rest on: a test that fails while the program is stopped ends, and the ring goes on.
#[test]
fn a_stopped_program_goes_on_when_the_test_fails() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    let commit = Call::Commit { slot: 0, dynptr: false, discard: false, flags: ADAPTIVE };
    let calls = [reserve(0, 0, 8), Call::Pause, Call::Pause, commit];
    let failed = kernel.desk.run(&kernel.ring, &calls, |call| Err(format!("at call {call}")));
    assert_eq!(failed.unwrap_err(), "at call 1");
    assert_eq!(*kernel.consumer().next_record().unwrap(), *kernel.payload(0, 8));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        kernel.desk.run(&kernel.ring, &calls, |_| std::panic::resume_unwind(Box::new("as it should")))
    }));
    assert!(panicked.is_err());
    assert_eq!(*kernel.consumer().next_record().unwrap(), *kernel.payload(0, 8));
    Ok(())
}

#[test]
fn a_wakeup_comes_when_the_consumer_has_caught_up_and_not_before() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    let edge = Waiter::new(&kernel.ring, EventFlags::IN | EventFlags::ET).unwrap();
    // Waiting by level differs in one thing: what is not empty when it is first asked, or was not when it last told, is asked again.
    let by_level = || Waiter::new(&kernel.ring, EventFlags::IN).unwrap();
    let level = by_level();
    let mut consumer = kernel.consumer();
    let submit = |flags| kernel.make(&record(0, 8, false, flags));
    let soon = Duration::from_secs(5);
    let (none, now) = (Duration::from_millis(20), Duration::ZERO);

    submit(ADAPTIVE);
    assert!(edge.wait(soon).unwrap(), "the consumer had read everything");
    submit(ADAPTIVE);
    assert!(!edge.wait(none).unwrap(), "it is behind");
    assert_eq!(consumer.next_record().unwrap().position(), 0);
    submit(ADAPTIVE);
    assert!(!edge.wait(none).unwrap(), "it is before the second while the third is committed");
    while consumer.next_record().is_ok() {}
    assert!(!level.wait(now).unwrap(), "nothing is there any more");
    submit(NO_WAKEUP);
    assert!(!edge.wait(none).unwrap(), "nobody wanted to be woken");
    assert!(!level.wait(now).unwrap(), "by level neither, once the ring was found empty");
    assert!(by_level().wait(now).unwrap(), "who asks anew is told");
    submit(ADAPTIVE);
    assert!(!edge.wait(none).unwrap(), "it is behind, by one it was not told of");
    submit(FORCE_WAKEUP);
    assert!(edge.wait(soon).unwrap(), "forced");
    submit(NO_WAKEUP | FORCE_WAKEUP);
    assert!(edge.wait(soon).unwrap(), "force wins");
    assert_eq!(consumer.drain(usize::MAX, |_| ControlFlow::Continue(())).records, 4);
    kernel.make(&record(0, 8, true, ADAPTIVE));
    assert!(edge.wait(soon).unwrap(), "a discarded record wakes too: its space is to be given back");
    kernel.make(&record(0, 8, true, NO_WAKEUP));
    assert!(!edge.wait(none).unwrap());
    let drained = consumer.drain(usize::MAX, |_| ControlFlow::Continue(()));
    assert_eq!((drained.records, drained.discarded), (0, 2));
    Ok(())
}

/// A reader that waits is woken by a commit; not before.
#[test]
fn a_sleeping_reader_is_woken() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    let waiter = Waiter::new(&kernel.ring, EventFlags::IN | EventFlags::ET).unwrap();
    assert!(!waiter.wait(Duration::from_millis(100)).unwrap(), "nothing was written");
    let ring = &kernel.ring;
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let woken = waiter.wait(Duration::from_secs(20)).unwrap();
            let mut consumer = Consumer::new(ring.side()).unwrap();
            (woken, consumer.next_record().map(|record| record.to_vec()))
        });
        std::thread::sleep(Duration::from_millis(50));
        assert!(!reader.is_finished(), "woken by nothing");
        kernel.make(&record(3, 8, false, ADAPTIVE));
        assert_eq!(reader.join().unwrap(), (true, Ok(kernel.payload(3, 8).to_vec())));
    });
    Ok(())
}

/// What a consumer may map: its page to write, all the rest to read; nothing more, and nothing later.
#[test]
fn mappings_allow_a_consumer_and_no_more() -> Result<(), String> {
    let Some(kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    let (read, write) = (ProtFlags::READ, ProtFlags::READ | ProtFlags::WRITE);
    let map = |offset, length, protection| {
        Pages::map(kernel.ring.as_fd(), offset, length, protection).map_err(|error| error.0)
    };
    let refused = |result: Result<Pages, i32>| result.map(drop).unwrap_err();
    assert_eq!(refused(map(0, 2 * PAGE, write)), EPERM, "more than the consumer's page");
    assert_eq!(refused(map(PAGE, PAGE, write)), EPERM, "the producer's page");
    assert_eq!(refused(map(2 * PAGE, PAGE, write)), EPERM, "the data");
    assert_eq!(refused(map(0, 5 * PAGE, read)), EINVAL, "there is no more than the data twice");
    // Executable pages are for nobody.
    let protect = |pages: &Pages, protection| {
        // SAFETY: the mapping's own pages; if the kernel were to allow it, nobody would use the rights.
        unsafe { mprotect(pages.base().as_ptr().cast(), PAGE, protection) }
            .map_err(|error| error.raw_os_error())
    };
    let both = MprotectFlags::READ | MprotectFlags::WRITE;
    let consumer = map(0, PAGE, write).unwrap();
    assert_eq!(protect(&consumer, MprotectFlags::EXEC), Err(EACCES));
    let all = map(0, 4 * PAGE, read).unwrap();
    assert_eq!(protect(&all, both), Err(EACCES), "what was mapped to read stays so");
    assert_eq!(protect(&all, MprotectFlags::EXEC), Err(EACCES));
    // The two views of the data are one.
    kernel.make(&whole(0, (PAGE as u64 - 16, false)));
    assert_eq!(all.bytes(2 * PAGE, PAGE), all.bytes(3 * PAGE, PAGE));
    assert_eq!(all.bytes(0, 8), consumer.bytes(0, 8));
    Ok(())
}

#[test]
fn the_kernel_refuses_what_is_no_ring() -> Result<(), String> {
    let Some(_kernel) = Kernel::new(PAGE)? else { return Ok(()) };
    const RINGBUF: u32 = 27;
    for entries in [0, 1, 1000, 4095, 4097, 12288] {
        assert_eq!(create_map(RINGBUF, 0, 0, entries, 0).map(drop), Err(Errno(EINVAL)), "{entries} bytes");
    }
    for (key, value, flags) in [(4, 0, 0), (0, 4, 0), (0, 0, 1)] {
        assert_eq!(create_map(RINGBUF, key, value, 4096, flags).map(drop), Err(Errno(EINVAL)));
    }
    Ok(())
}

/// A ring and what is needed to have the kernel produce into it.
struct Kernel {
    ring: KernelRing,
    desk: Desk,
    payload: Vec<u8>,
}

impl Kernel {
    fn new(size: usize) -> Result<Option<Self>, String> {
        let payload: Vec<u8> = (0..2 * size + 64 * CUT).map(|index| (index * index % 253) as u8).collect();
        let ring = match KernelRing::new(size, 0) {
            Ok(ring) => ring,
            Err(error) => {
                return not_possible("ring maps cannot be made and mapped here", error).map(|()| None);
            }
        };
        let desk = Desk::new(size, &payload).map_err(|error| error.to_string())?;
        Ok(Some(Self { ring, desk, payload }))
    }

    fn make(&self, calls: &[Call]) -> Vec<Seen> {
        self.desk.run(&self.ring, calls, |_| Ok(())).unwrap()
    }

    fn consumer(&self) -> Consumer<Mapped<'_>> {
        Consumer::new(self.ring.side()).unwrap()
    }

    /// What record `number` of this length carries.
    fn payload(&self, number: usize, length: u64) -> &[u8] {
        &self.payload[number * CUT..][..length as usize]
    }
}

fn whole(number: usize, (length, discard): (u64, bool)) -> [Call; 2] {
    record(number, length, discard, ADAPTIVE)
}

fn record(number: usize, length: u64, discard: bool, flags: u64) -> [Call; 2] {
    // Both helpers, in turn; they make the same record.
    let dynptr = number % 2 == 1;
    let payload = number * CUT;
    [Call::Reserve { slot: 0, length, dynptr, payload }, Call::Commit { slot: 0, dynptr, discard, flags }]
}

fn reserve(slot: usize, number: usize, length: u64) -> Call {
    Call::Reserve { slot, length, dynptr: false, payload: number * CUT }
}

const CUT: usize = 17;

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const EINVAL: i32 = 22;
