//! No wakeup is lost: the running kernel produces, with adaptive wakeups, and our consumer sleeps in an edge-triggered epoll whenever it is told
//! that nothing is there.
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
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ebpf_conformance::bpf::{LoadedObject, not_possible, run};
use ebpf_conformance::corpus::{self, Package};
use ebpf_conformance::kernel_ring::{KernelRing, Role, Waiter};
use ebpf_ringbuf::{Consumer, Mapped, Stopped};
use rustix::event::epoll::EventFlags;

const MESSAGES: u64 = 1_000_000;

/// A second of silence while there is something to read is a lost wakeup.
const SILENCE: Duration = Duration::from_secs(1);

/// Silence for so long, with nothing to read either: the producer is stuck.
const STUCK: u32 = 60;

#[test]
fn a_million_messages_one_by_one() -> Result<(), String> {
    stream("next_record", 4096, |consumer, next| {
        loop {
            match consumer.next_record() {
                Ok(record) => next(&record),
                Err(stopped) => return stopped,
            }
        }
    })
}

#[test]
fn a_million_messages_in_batches() -> Result<(), String> {
    stream("drain", 65536, |consumer, next| {
        let drained = consumer.drain(usize::MAX, |payload| {
            next(&payload);
            ControlFlow::Continue(())
        });
        drained.stopped
    })
}

/// A limit that is reached just when the ring is empty must leave the producer knowing it, too.
#[test]
fn a_million_messages_in_batches_of_three() -> Result<(), String> {
    stream("drain, 3 at most", 4096, |consumer, next| {
        loop {
            let drained = consumer.drain(3, |payload| {
                next(&payload);
                ControlFlow::Continue(())
            });
            if drained.stopped != Stopped::Limit {
                return drained.stopped;
            }
        }
    })
}

/// The same with what libbpf's loop does, which has no full barrier between `consumer_pos` and the last look at `producer_pos`. Whether it loses
/// anything is up to the machine, so this asserts nothing; on x86-64 with two processors, optimised, it lost up to ten wakeups in a million.
#[test]
#[ignore = "shows how often it happens without the barrier; asserts nothing"]
fn without_the_barrier() -> Result<(), String> {
    let Some(source) = Source::new(4096)? else { return Ok(()) };
    let lost = source.stream("no barrier", usize::MAX, |ring, next| {
        let mut position = ring.consumer_position().load(Ordering::Relaxed);
        while ring.producer_position().load(Ordering::Acquire) != position {
            let offset = rustix::param::page_size() + (position & 4095);
            // SAFETY: a record's header, inside the mapped data.
            let header = unsafe { ring.producer_pages().base().add(offset) };
            // SAFETY: aligned to eight, mapped as long as the ring, written by the kernel atomically.
            let length = unsafe { AtomicU32::from_ptr(header.cast().as_ptr()) }.load(Ordering::Acquire);
            if length >> 31 != 0 {
                break;
            }
            next(&ring.bytes(position + 8, 8));
            position += 16;
            ring.consumer_position().store(position, Ordering::Release);
        }
        Stopped::Empty
    })?;
    println!("without the barrier: {lost} of {MESSAGES} messages came without a wakeup");
    Ok(())
}

fn stream(
    name: &str,
    size: usize,
    read: impl Fn(&mut Consumer<Mapped<'_>>, &mut dyn FnMut(&[u8])) -> Stopped,
) -> Result<(), String> {
    let Some(source) = Source::new(size)? else { return Ok(()) };
    let ring = source.ring();
    let mut consumer = Consumer::new(ring.side()).unwrap();
    source.stream(name, 0, |_, next| read(&mut consumer, next)).map(drop)
}

/// The kernel's program, and the ring it writes to.
struct Source {
    object: LoadedObject,
    size: usize,
}

impl Source {
    fn new(size: usize) -> Result<Option<Self>, String> {
        let Some(sample) = corpus::source("ring_stream.bpf.c")? else {
            return corpus::missing(Package::Clang).map(|()| None);
        };
        match LoadedObject::load(&sample.bytes, &[("ring", size as u32)]) {
            Ok(object) => Ok(Some(Self { object, size })),
            Err(error) => not_possible("programs cannot be loaded here", error).map(|()| None),
        }
    }

    fn ring(&self) -> KernelRing {
        KernelRing::open(self.object.map("ring").unwrap(), self.size, Role::KernelProduces).unwrap()
    }

    /// Streams all messages through `read`, which says why it stopped; gives how often nobody was woken for a second
    /// although there was something, which is an error above `tolerated`.
    fn stream(
        &self,
        name: &str,
        tolerated: usize,
        mut read: impl FnMut(&KernelRing, &mut dyn FnMut(&[u8])) -> Stopped,
    ) -> Result<usize, String> {
        let ring = self.ring();
        let waiter =
            Waiter::new(&ring, EventFlags::IN | EventFlags::ET).map_err(|error| error.to_string())?;
        let (given_up, runs, full) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        let start = Instant::now();
        let (lost, waits) = std::thread::scope(|scope| {
            scope.spawn(|| self.produce(&given_up, &runs, &full));
            let result = consume(&ring, &waiter, tolerated, &mut read);
            given_up.store(true, Ordering::Relaxed);
            result.map_err(|error| format!("{name}: {error}"))
        })?;
        let [runs, full] = [runs, full].map(AtomicUsize::into_inner);
        println!(
            "{name}, {} bytes: {MESSAGES} messages in {runs} runs ({full} met a full ring), {waits} sleeps; {:?}",
            self.size,
            start.elapsed()
        );
        Ok(lost)
    }

    /// One to four messages each run, so that the consumer sleeps and wakes as often as can be.
    fn produce(&self, given_up: &AtomicBool, runs: &AtomicUsize, full: &AtomicUsize) {
        let program = self.object.program("stream").unwrap();
        let mut next = 0u64;
        while next < MESSAGES && !given_up.load(Ordering::Relaxed) {
            let count = (1 + next.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 4).min(MESSAGES - next);
            let mut context = [next.to_ne_bytes(), count.to_ne_bytes()].concat();
            run(program, &mut context).unwrap();
            let reached = u64::from_ne_bytes(context[..8].try_into().unwrap());
            if reached - next < count {
                full.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
            }
            next = reached;
            runs.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads until it has all messages in order; gives lost wakeups and sleeps.
fn consume(
    ring: &KernelRing,
    waiter: &Waiter,
    tolerated: usize,
    read: &mut impl FnMut(&KernelRing, &mut dyn FnMut(&[u8])) -> Stopped,
) -> Result<(usize, usize), String> {
    let (mut expected, mut wrong) = (0u64, None);
    let (mut lost, mut waits, mut silent) = (0, 0, 0);
    loop {
        let stopped = read(ring, &mut |payload| {
            let number = payload.try_into().map(u64::from_ne_bytes).ok();
            if number != Some(expected) {
                wrong.get_or_insert((expected, payload.to_vec()));
            }
            expected += 1;
        });
        if let Some((expected, payload)) = wrong {
            return Err(format!("message {expected} was {payload:02x?}"));
        }
        if expected == MESSAGES {
            return Ok((lost, waits));
        }
        if !matches!(stopped, Stopped::Empty | Stopped::Busy) {
            return Err(format!("after {expected} messages: {stopped}"));
        }
        waits += 1;
        if waiter.wait(SILENCE).map_err(|error| error.to_string())? {
            silent = 0;
        } else if ring.available() != 0 {
            lost += 1;
            if lost > tolerated {
                return Err(format!(
                    "after {expected} messages: {} bytes were there, the consumer had said that there was nothing, and no event came for {SILENCE:?}",
                    ring.available()
                ));
            }
        } else {
            silent += 1;
            if silent == STUCK {
                return Err(format!("nothing for {STUCK} seconds after {expected} messages"));
            }
        }
    }
}
