//! Producers on real threads, and in real signal handlers that interrupt them: nothing lost, nothing torn, nobody refused while there is space.
#![allow(unsafe_code, reason = "signals are sent and handled through libc")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod support;

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use ebpf_ringbuf::{Consumer, Mapped, Producer, ReserveError, SharedMarks, SubmitFlags};
use support::Mirrored;

const PAGE: usize = 4096;

type Ring<'a> = Producer<Mapped<'a>, SharedMarks<'a>>;

/// What a record says: who produced it, its number among that producer's records, and filler up to a length that follows from the number.
fn payload(who: u64, number: u64) -> Vec<u8> {
    let length = 16 + (number as usize * 7) % 64;
    let mut bytes = vec![(who * 31 + number) as u8; length];
    bytes[..8].copy_from_slice(&who.to_ne_bytes());
    bytes[8..16].copy_from_slice(&number.to_ne_bytes());
    bytes
}

/// Checks records as they come: each producer's numbers one after the other, each record whole.
#[derive(Default)]
struct Ledger {
    next: [u64; 8],
}

impl Ledger {
    fn check(&mut self, record: &[u8]) {
        let who = u64::from_ne_bytes(record[..8].try_into().unwrap());
        let number = u64::from_ne_bytes(record[8..16].try_into().unwrap());
        assert_eq!(record, payload(who, number), "torn");
        let next = &mut self.next[who as usize];
        assert_eq!(number, *next, "producer {who}: a record is missing or comes twice");
        *next += 1;
    }

    fn total(&self) -> u64 {
        self.next.iter().sum()
    }
}

/// Tries until there is space: only a full ring may refuse.
fn produce(producer: &Ring<'_>, who: u64, number: u64) {
    let payload = payload(who, number);
    loop {
        match producer.output(&payload, SubmitFlags::NO_WAKEUP) {
            Ok(_) => return,
            Err(ReserveError::Full { .. } | ReserveError::Outstanding { .. }) => thread::yield_now(),
            Err(error) => unreachable_error(error),
        }
    }
}

#[expect(clippy::panic, reason = "a test")]
fn unreachable_error(error: ReserveError) -> ! {
    panic!("{error}")
}

fn consume_until(consumer: &mut Consumer<Mapped<'_>>, ledger: &mut Ledger, done: impl Fn(u64) -> bool) {
    while !done(ledger.total()) {
        let drained = consumer.drain(usize::MAX, |record| {
            ledger.check(&record);
            ControlFlow::Continue(())
        });
        if drained.records == 0 {
            thread::yield_now();
        }
    }
}

#[test]
fn four_producers_through_a_small_ring() {
    const PRODUCERS: u64 = 4;
    const RECORDS: u64 = 20_000;
    let ring = Mirrored::new(PAGE, 0usize.wrapping_sub(64 * PAGE));
    let producer = Producer::new(ring.side(PAGE), ring.marks()).unwrap().counting();
    let mut ledger = Ledger::default();
    thread::scope(|scope| {
        for who in 0..PRODUCERS {
            let producer = &producer;
            scope.spawn(move || (0..RECORDS).for_each(|number| produce(producer, who, number)));
        }
        let mut consumer = Consumer::new(ring.side(PAGE)).unwrap();
        consume_until(&mut consumer, &mut ledger, |total| total == PRODUCERS * RECORDS);
    });
    let tally = producer.tally();
    assert_eq!((tally.submitted as u64, tally.outstanding(), tally.discarded), (PRODUCERS * RECORDS, 0, 0));
}

static HANDLER_RING: AtomicPtr<Ring<'static>> = AtomicPtr::new(std::ptr::null_mut());
static IN_HANDLER: AtomicU64 = AtomicU64::new(0);
static INSIDE_RESERVE: AtomicU64 = AtomicU64::new(0);
static REFUSED_IN_HANDLER: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static ME: Cell<u64> = const { Cell::new(0) };
    static NEXT: Cell<u64> = const { Cell::new(0) };
    static PRODUCING: AtomicBool = const { AtomicBool::new(false) };
}

extern "C" fn produce_in_handler(_: libc::c_int) {
    // SAFETY: the pointer is set before the first signal is sent, and the ring outlives the last.
    let producer = unsafe { &*HANDLER_RING.load(Ordering::Acquire) };
    let (who, number) = (ME.get() + 4, NEXT.get());
    // No allocation in a handler: a record on the stack.
    let mut record = [(who * 31 + number) as u8; 16 + 63];
    record[..8].copy_from_slice(&who.to_ne_bytes());
    record[8..16].copy_from_slice(&number.to_ne_bytes());
    let length = 16 + (number as usize * 7) % 64;
    IN_HANDLER.fetch_add(1, Ordering::Relaxed);
    if PRODUCING.with(|producing| producing.load(Ordering::Relaxed)) {
        INSIDE_RESERVE.fetch_add(1, Ordering::Relaxed);
    }
    // One try: a handler cannot wait.
    match producer.output(&record[..length], SubmitFlags::NO_WAKEUP) {
        Ok(_) => NEXT.set(number + 1),
        Err(_) => {
            REFUSED_IN_HANDLER.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Two threads produce; a third one keeps sending both signals whose handler produces into the same ring, in the middle of whatever the thread was at.
///
/// `EBPF_RINGBUF_SIGNALS` says how many records the handlers must have produced while their thread was inside a call of the ring (default 10,000).
#[test]
fn signal_handlers_produce_in_the_middle_of_producers() {
    let wanted: u64 =
        std::env::var("EBPF_RINGBUF_SIGNALS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let ring = Mirrored::new(1 << 20, 0);
    let producer = Producer::new(ring.side(PAGE), ring.marks()).unwrap();
    // SAFETY: only the lifetime is changed; the handler runs within the scope below only.
    let shared: *mut Ring<'static> = std::ptr::from_ref(&producer).cast_mut().cast();
    HANDLER_RING.store(shared, Ordering::Release);
    let handler = produce_in_handler as extern "C" fn(libc::c_int);
    // SAFETY: the handler touches the ring, atomics and thread-locals without destructors: all async-signal-safe.
    let previous = unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    assert_ne!(previous, libc::SIG_ERR);

    let stop = AtomicBool::new(false);
    let running = AtomicUsize::new(2);
    let produced = [const { AtomicU64::new(0) }; 4];
    let threads = [const { AtomicU64::new(0) }; 2];
    let mut ledger = Ledger::default();
    thread::scope(|scope| {
        for who in 0..2u64 {
            let (producer, stop, running, produced, threads) =
                (&producer, &stop, &running, &produced, &threads);
            scope.spawn(move || {
                ME.set(who);
                // SAFETY: no precondition.
                threads[who as usize].store(unsafe { libc::pthread_self() } as u64, Ordering::Release);
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    let bytes = payload(who, number);
                    PRODUCING.with(|producing| producing.store(true, Ordering::Relaxed));
                    let output = producer.output(&bytes, SubmitFlags::NO_WAKEUP);
                    PRODUCING.with(|producing| producing.store(false, Ordering::Relaxed));
                    number += u64::from(output.is_ok());
                }
                // No signal may come once this thread is gone: the sender is told first.
                threads[who as usize].store(0, Ordering::Release);
                while running.load(Ordering::Acquire) != 0 {
                    thread::yield_now();
                }
                produced[who as usize].store(number, Ordering::Release);
                produced[who as usize + 2].store(NEXT.get(), Ordering::Release);
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for thread in &threads {
                    let thread = thread.load(Ordering::Acquire);
                    if thread != 0 {
                        // SAFETY: the thread waits for `running` before it ends.
                        unsafe { libc::pthread_kill(thread as libc::pthread_t, libc::SIGUSR1) };
                    }
                }
            }
            running.store(0, Ordering::Release);
        });
        let mut consumer = Consumer::new(ring.side(PAGE)).unwrap();
        consume_until(&mut consumer, &mut ledger, |_| INSIDE_RESERVE.load(Ordering::Relaxed) >= wanted);
        stop.store(true, Ordering::Relaxed);
        while running.load(Ordering::Acquire) != 0 {
            consume_until(&mut consumer, &mut ledger, |_| true);
            thread::yield_now();
        }
    });
    let mut consumer = Consumer::new(ring.side(PAGE)).unwrap();
    let _ = consumer.drain(usize::MAX, |record| {
        ledger.check(&record);
        ControlFlow::Continue(())
    });
    let produced = produced.map(AtomicU64::into_inner);
    assert_eq!([ledger.next[0], ledger.next[1], ledger.next[4], ledger.next[5]], produced);
    println!(
        "{} signals, {} of them inside a producer's call; {} handler records, {} refused for lack of space",
        IN_HANDLER.load(Ordering::Relaxed),
        INSIDE_RESERVE.load(Ordering::Relaxed),
        produced[2] + produced[3],
        REFUSED_IN_HANDLER.load(Ordering::Relaxed),
    );
}
