//! The running kernel's perf rings beside ours: the same records, bytes, refusals, losses and wakeups after every call.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test: what goes wrong here is to stop it"
)]

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ebpf_conformance::bpf::not_possible;
use ebpf_conformance::perf::{Emitter, PerfEvent};
use ebpf_linux::cpus;
use ebpf_perfbuf::memory::Memory;
use ebpf_perfbuf::{
    Direction, Event, Ledger, MAX_PAYLOAD, PAGE_FIELDS, Page, PlainRing, Reader, Readiness, Refused, Stopped,
    WakeupPolicy, Writer,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

const ENOSPC: i32 = -28;

/// What is done to both rings.
#[derive(Clone, Debug)]
enum Call {
    Output { length: usize },
    Drain { limit: usize },
    Poll,
    Pause(bool),
}

#[derive(Clone, Debug)]
struct Sequence {
    pages: usize,
    policy: WakeupPolicy,
    /// Ask poll(2) after every output, so that each wakeup has its index.
    polls_always: bool,
    cpu: usize,
    calls: Vec<Call>,
}

fn sequences() -> impl Strategy<Value = Sequence> {
    let policy = prop_oneof![
        (0u32..12).prop_map(WakeupPolicy::events),
        (0u32..6000).prop_map(WakeupPolicy::watermark),
        prop::sample::select(vec![1, 8, 4095, 4096, 16384, 1 << 20, u32::MAX])
            .prop_map(WakeupPolicy::watermark),
        prop::sample::select(vec![1000, i32::MAX.cast_unsigned()]).prop_map(WakeupPolicy::events),
        Just(WakeupPolicy::HalfFull),
    ];
    let length = prop_oneof![8 => 0usize..200, 2 => 200usize..1500, 1 => 3000usize..9000];
    let call = prop_oneof![
        20 => length.prop_map(|length| Call::Output { length }),
        2 => prop_oneof![0usize..6, Just(usize::MAX)].prop_map(|limit| Call::Drain { limit }),
        2 => Just(Call::Poll),
        1 => prop::bool::weighted(0.3).prop_map(Call::Pause),
    ];
    let calls = prop::collection::vec(call, 1..160);
    (prop::sample::select(vec![1usize, 2, 4]), policy, any::<bool>(), any::<usize>(), calls).prop_map(
        |(pages, policy, polls_always, cpu, calls)| Sequence { pages, policy, polls_always, cpu, calls },
    )
}

/// Every event of a ring as bytes to compare.
type Log = Vec<(u8, Vec<u8>)>;

fn note<M: ebpf_perfbuf::memory::Contiguous>(log: &mut Log, event: &Event<'_, M>) {
    log.push(match event {
        Event::Sample(sample) => {
            let (first, second) = sample.slices();
            (0, [first, second].concat())
        }
        Event::Lost(lost) => (1, [lost.id.to_ne_bytes(), lost.count.to_ne_bytes()].concat()),
        other => (2, format!("{other:?}").into_bytes()),
    });
}

/// Runs `calls` on the kernel's ring and on ours and compares after each.
fn compare(emitter: &mut Emitter, sequence: &Sequence) -> Result<(), TestCaseError> {
    let cpus = cpus::allowed().unwrap();
    let cpu = cpus[sequence.cpu % cpus.len()];
    let size = sequence.pages * rustix::param::page_size();
    let event = PerfEvent::open(cpu, size, sequence.policy, Direction::Forward).unwrap();
    emitter.set(&event).unwrap();
    let mut kernel = Reader::new(event.side()).unwrap();

    let (mut page, mut data) = (PlainRing::new(), vec![0u64; size / 8]);
    let (writing, reading) = page.split(&mut data, size, Direction::Forward).unwrap();
    let mut writer = Writer::new(writing, sequence.policy).unwrap().with_identity(event.id().unwrap(), 1);
    let mut reader = Reader::new(reading).unwrap();
    // The same once more, as arithmetic alone.
    let geometry = writer.memory().geometry();
    let mut ledger = Ledger::new(geometry, sequence.policy, 0).unwrap();
    let readiness = Readiness::new(AtomicUsize::new(0));
    let poll = || {
        let (predicted, seen) = (readiness.take(), event.poll(Duration::ZERO).unwrap());
        if predicted == seen {
            Ok(())
        } else {
            Err(format!("poll(2) says {seen}, predicted was {predicted}"))
        }
    };
    let mut lost_in_all = 0;

    for (index, call) in sequence.calls.iter().enumerate() {
        let at = format!("call {index}, {call:?}");
        match *call {
            Call::Output { length } => {
                let payload: Vec<u8> = (0..length).map(|byte| (byte * 7 + index) as u8).collect();
                let answer = emitter.emit(cpu, &payload).unwrap();
                let tail = reading_tail(&event);
                let predicted = ledger.sample(length, tail);
                let written = writer.output(&payload);
                prop_assert_eq!(predicted.map(|placed| placed.wakeup), written, "{}", at);
                match written {
                    Ok(wakeup) => {
                        prop_assert_eq!(answer, 0, "{}", at);
                        if wakeup.is_needed() {
                            readiness.raise();
                        }
                    }
                    Err(Refused::Full | Refused::Paused) => {
                        prop_assert_eq!(answer, ENOSPC, "{}", at);
                        lost_in_all += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
                if sequence.polls_always {
                    poll().map_err(|error| TestCaseError::fail(format!("{at}: {error}")))?;
                }
            }
            Call::Drain { limit } => {
                let (mut theirs, mut ours) = (Log::new(), Log::new());
                let one = kernel.drain(limit, |event| {
                    note(&mut theirs, &event);
                    ControlFlow::Continue(())
                });
                let other = reader.drain(limit, |event| {
                    note(&mut ours, &event);
                    ControlFlow::Continue(())
                });
                prop_assert_eq!(one, other, "{}", at);
                prop_assert_eq!(theirs, ours, "{}", at);
                prop_assert!(matches!(one.stopped, Stopped::Empty | Stopped::Limit), "{}", at);
            }
            Call::Poll => poll().map_err(|error| TestCaseError::fail(format!("{at}: {error}")))?,
            Call::Pause(is_paused) => {
                event.pause(is_paused).unwrap();
                if is_paused {
                    writer.pause()
                } else {
                    writer.resume()
                }
                ledger.pause(is_paused);
            }
        }
        prop_assert_eq!(event.head().load(Ordering::Acquire), writer.ledger().head(), "{}", at);
        prop_assert_eq!(&ledger, writer.ledger());
    }
    poll().map_err(|error| TestCaseError::fail(format!("at the end: {error}")))?;

    let ours: Vec<u8> = data.iter().flat_map(|word| word.to_ne_bytes()).collect();
    prop_assert!(event.data() == ours, "the data differs");
    // Nothing is unaccounted for: what was lost is what was reported, and what waits to be.
    let reported = kernel.drain(usize::MAX, |_| ControlFlow::Continue(()));
    prop_assert_eq!(reported.stopped, Stopped::Empty);
    prop_assert_eq!(event.lost().unwrap(), lost_in_all);
    prop_assert_eq!(kernel.totals().unreported(lost_in_all), ledger.unreported());
    Ok(())
}

fn reading_tail(event: &PerfEvent) -> usize {
    event.tail().load(Ordering::Relaxed)
}

/// An emitter, or a note why there is none.
fn emitter() -> Result<Option<Emitter>, String> {
    match PerfEvent::open(0, rustix::param::page_size(), WakeupPolicy::HalfFull, Direction::Forward) {
        Ok(_) => Emitter::new(64).map(Some),
        Err(error) => not_possible("perf events cannot be opened here", error).map(|()| None),
    }
}

#[test]
fn every_sequence_is_what_the_kernel_does() -> Result<(), String> {
    let Some(emitter) = emitter()? else { return Ok(()) };
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let emitter = RefCell::new(emitter);
    runner
        .run(&sequences(), |sequence| compare(&mut emitter.borrow_mut(), &sequence))
        .map_err(|error| error.to_string())
}

/// One long sequence that laps a ring some thousand times, so that bytes and counters have gone round.
#[test]
fn a_ring_lapped_many_times_is_what_the_kernel_does() -> Result<(), String> {
    let Some(mut emitter) = emitter()? else { return Ok(()) };
    for policy in [WakeupPolicy::events(5), WakeupPolicy::watermark(1000), WakeupPolicy::HalfFull] {
        let call = |index: usize| match index % 9 {
            8 => Call::Drain { limit: usize::MAX },
            _ => Call::Output { length: (index * 37) % 700 },
        };
        let calls = (0..20_000).map(call).collect();
        let sequence = Sequence { pages: 1, policy, polls_always: true, cpu: 1, calls };
        compare(&mut emitter, &sequence).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Little-endian bytes as seen on Linux 6.18.
#[cfg(target_endian = "little")]
#[test]
fn golden_bytes() -> Result<(), String> {
    let Some(mut emitter) = emitter()? else { return Ok(()) };
    let cpu = cpus::allowed().unwrap()[0];
    let page_size = rustix::param::page_size();
    let event = PerfEvent::open(cpu, page_size, WakeupPolicy::events(1), Direction::Forward).unwrap();
    emitter.set(&event).unwrap();

    let page = Page::from_bytes(&event.pages().bytes(0, PAGE_FIELDS).try_into().unwrap());
    let (offset, geometry) = page.data(event.pages().length(), Direction::Forward).unwrap();
    assert_eq!((offset, geometry.size()), (page_size, page_size));
    assert_eq!(page, Page::for_ring(geometry, page_size), "as we would fill it");

    let golden: [(&[u8], &[u8]); 4] = [
        (b"\x44\x33\x22\x11", b"\x09\0\0\0\x01\0\x10\0\x04\0\0\0\x44\x33\x22\x11"),
        (b"12345678", b"\x09\0\0\0\x01\0\x18\0\x0c\0\0\x0012345678\0\0\0\0"),
        (b"1234567890123", b"\x09\0\0\0\x01\0\x20\0\x14\0\0\x001234567890123\0\0\0\0\0\0\0"),
        (b"1234567890123456", b"\x09\0\0\0\x01\0\x20\0\x14\0\0\x001234567890123456\0\0\0\0"),
    ];
    let (mut plain, mut data) = (PlainRing::new(), vec![0u64; page_size / 8]);
    let (writing, _) = plain.split(&mut data, page_size, Direction::Forward).unwrap();
    let mut writer = Writer::new(writing, WakeupPolicy::events(1)).unwrap();
    for (payload, _) in golden {
        assert_eq!(emitter.emit(cpu, payload).unwrap(), 0);
        assert!(writer.output(payload).unwrap().is_needed());
    }
    let expected = golden.map(|(_, bytes)| bytes).concat();
    assert_eq!(event.data()[..expected.len()], expected);

    let ours: Vec<u8> = data.iter().flat_map(|word| word.to_ne_bytes()).collect();
    assert_eq!(ours[..expected.len()], expected);
    Ok(())
}

/// The longest payload is whole; of one byte more the kernel cuts the record's size to 16 bits, which our reader says instead of following it.
#[test]
fn a_sample_longer_than_its_size_can_say() -> Result<(), String> {
    let Some(mut emitter) = emitter()? else { return Ok(()) };
    let cpu = cpus::allowed().unwrap()[0];
    for length in [MAX_PAYLOAD, MAX_PAYLOAD + 1, 70_000] {
        let event = PerfEvent::open(cpu, 1 << 18, WakeupPolicy::HalfFull, Direction::Forward).unwrap();
        emitter.set(&event).unwrap();
        let payload: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
        let answer = emitter.emit(cpu, &payload).unwrap();
        let head = event.head().load(Ordering::Acquire);
        let mut reader = Reader::new(event.side()).unwrap();
        let mut seen = vec![];
        let drained = reader.drain(10, |event| {
            seen.push(match event {
                Event::Sample(sample) => {
                    assert!(sample.exact(length).unwrap().is_bytes(&payload));
                    "whole".to_owned()
                }
                Event::Truncated { sample, raw_size } => {
                    assert_eq!(raw_size as usize, ebpf_perfbuf::raw_size(length));
                    let (first, second) = sample.slices();
                    assert!(second.is_empty() && payload.starts_with(first));
                    format!("cut to {}", sample.raw_len())
                }
                other => format!("{other:?}"),
            });
            ControlFlow::Continue(())
        });
        println!("{length} bytes: the helper says {answer}, head {head}, read {seen:?}, {}", drained.stopped);
        if length == MAX_PAYLOAD {
            assert_eq!((answer, head, &seen[..]), (0, 65_528, &["whole".to_owned()][..]));
        } else {
            assert!(seen.iter().all(|seen| seen != "whole"), "{seen:?}");
        }
    }
    Ok(())
}
