//! The reader over all CPUs: keyed by CPU, fair, bounded, flushed, paused.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod support;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use ebpf_perfbuf::memory::Memory;
use ebpf_perfbuf::{
    CpuReader, Direction, End, Event, Mapped, PerCpu, PlainRing, Reader, SetCounter, SetError, Stopped, Turn,
    WakeupPolicy, Writer,
};
use support::Raw;

const SIZE: usize = 1024;

/// Memory for the rings of so many CPUs.
struct Rings(Vec<(PlainRing, Vec<u64>)>);

type Set<'a> = PerCpu<Mapped<'a>, Vec<CpuReader<Mapped<'a>>>>;

impl Rings {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| (PlainRing::new(), vec![0; SIZE / 8])).collect())
    }

    /// Writers in the order of `cpus`, which may be any, and the set.
    fn open(&mut self, cpus: &[u32], policy: WakeupPolicy) -> (Vec<Writer<Mapped<'_>>>, Set<'_>) {
        let (mut writers, mut readers) = (vec![], vec![]);
        for ((page, data), cpu) in self.0.iter_mut().zip(cpus) {
            let (writing, reading) = page.split(data, SIZE, Direction::Forward).unwrap();
            writers.push(Writer::new(writing, policy).unwrap());
            readers.push(CpuReader::new(*cpu, Reader::new(reading).unwrap()));
        }
        (writers, PerCpu::new(readers).unwrap())
    }
}

/// What a sample of four bytes says, and which CPU's ring it was in.
fn note(seen: &mut Vec<(u32, u32)>) -> impl FnMut(u32, Event<'_, Mapped<'_>>) -> ControlFlow<()> {
    |cpu, event| {
        match event {
            Event::Sample(sample) => seen.push((cpu, u32::from_ne_bytes(sample.to_array().unwrap()))),
            other => panic!("{other:?}"),
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn rings_are_named_by_cpu_and_not_by_place() {
    // CPU 1 is offline, numbers are far apart, and nobody gave them in order.
    let mut rings = Rings::new(3);
    let (mut writers, mut set) = rings.open(&[191, 0, 2], WakeupPolicy::HalfFull);
    for (writer, value) in writers.iter_mut().zip(10u32..) {
        let _ = writer.output(&value.to_ne_bytes()).unwrap();
    }
    assert_eq!(set.rings().iter().map(CpuReader::cpu).collect::<Vec<_>>(), [0, 2, 191]);
    assert_eq!(set.ring(1).err(), Some(SetError::NoRing { cpu: 1 }));
    assert_eq!(set.ring(2).unwrap().reader().pending(), Ok(16));
    let mut seen = vec![];
    let drained = set.drain(usize::MAX, note(&mut seen));
    assert_eq!(seen, [(0, 11), (2, 12), (191, 10)]);
    assert_eq!((drained.records, drained.stopped, drained.corrupt), (3, Stopped::Empty, None));
    assert_eq!(set.drain_cpu(3, 1, |_| ControlFlow::Continue(())), Err(SetError::NoRing { cpu: 3 }));
}

/// The writer gets its space back once for each drain, whatever the records look like.
#[test]
fn the_tail_moves_once_for_each_drain() {
    let mut rings = Rings::new(1);
    let (mut writers, mut set) = rings.open(&[0], WakeupPolicy::HalfFull);
    let writer = &mut writers[0];
    // Runs that can be guessed, and lengths in no order; several laps.
    let lengths = |round: usize| (0..20).map(move |index| if round & 1 == 0 { 12 } else { index * 7 % 23 });
    for round in 0..20 {
        for length in lengths(round) {
            assert!(writer.output(&[7; 32][..length]).is_ok());
        }
        let tail = |writer: &Writer<Mapped<'_>>| writer.memory().tail().load(Ordering::Relaxed);
        for limit in [15, usize::MAX] {
            let (before, mut count) = (tail(writer), 0);
            let drained = set.drain(limit, |_, _| {
                assert_eq!(tail(writer), before, "round {round}: while it drains");
                count += 1;
                ControlFlow::Continue(())
            });
            assert_eq!(drained.records, count);
            assert_ne!(tail(writer), before);
        }
        assert_eq!(tail(writer), writer.ledger().head());
    }
}

#[test]
fn a_cpu_has_one_ring() {
    let mut rings = [Raw::new(64, Direction::Forward), Raw::new(64, Direction::Forward)];
    let readers = rings.each_mut().map(|ring| CpuReader::new(7, Reader::new(ring.memory()).unwrap()));
    assert_eq!(PerCpu::new(readers).err(), Some(SetError::Twice { cpu: 7 }));
}

#[test]
fn a_limit_goes_round_all_cpus() {
    let mut rings = Rings::new(3);
    let (mut writers, mut set) = rings.open(&[0, 1, 2], WakeupPolicy::HalfFull);
    let mut order = vec![];
    for _ in 0..9 {
        // Every ring always has more than the limit.
        for writer in &mut writers {
            while writer.output(&[1; 4]).is_ok() {}
        }
        let drained = set.drain(2, |cpu, event| {
            if !matches!(event, Event::Lost(_)) {
                order.push(cpu);
            }
            ControlFlow::Continue(())
        });
        assert_eq!((drained.records, drained.stopped), (2, Stopped::Limit));
    }
    for cpu in 0..3 {
        assert!(order.iter().filter(|seen| **seen == cpu).count() >= 4, "{order:?}");
    }
}

#[test]
fn a_corrupt_ring_does_not_keep_the_others_from_being_read() {
    let mut rings = [Raw::new(64, Direction::Forward), Raw::new(64, Direction::Forward)];
    rings[0].set(32, 0);
    rings[1].put_record(0, ebpf_perfbuf::Header::new(9, 1, 16), &4u32.to_ne_bytes());
    rings[1].set(16, 0);
    let mut cpu = 0;
    let readers = rings.each_mut().map(|ring| {
        cpu += 1;
        CpuReader::new(cpu, Reader::new(ring.memory()).unwrap())
    });
    let mut set = PerCpu::new(readers).unwrap();
    let drained = set.drain(usize::MAX, |_, _| ControlFlow::Continue(()));
    assert_eq!((drained.samples, drained.corrupt.unwrap().0), (1, 1));
    // A turn says it instead of waiting.
    assert!(
        matches!(set.turn(0, 10, |_, _| ControlFlow::Continue(())), Turn::Read(drained) if drained.corrupt.is_some())
    );
    assert_eq!(set.ring_mut(1).unwrap().reader_mut().resync(), 32);
    assert_eq!(set.turn(0, 10, |_, _| ControlFlow::Continue(())), Turn::Wait { until: None });
}

#[test]
fn losses_are_counted_for_each_cpu_and_add_up() {
    let mut rings = Rings::new(2);
    let (mut writers, mut set) = rings.open(&[4, 5], WakeupPolicy::HalfFull);
    let attempts = 100;
    for writer in &mut writers[..1] {
        for _ in 0..attempts {
            let _ = writer.output(&[0; 12]);
        }
    }
    let _ = set.drain(usize::MAX, |_, _| ControlFlow::Continue(()));
    // What was lost last is not in the ring yet.
    let totals = set.totals();
    assert_eq!(totals.samples + writers[0].ledger().unreported(), attempts);
    assert_eq!(
        set.ring(4).unwrap().reader().totals().unreported(attempts - totals.samples),
        attempts - totals.samples
    );
    let _ = writers[0].output(&[0; 12]).unwrap();
    let _ = set.drain(usize::MAX, |_, _| ControlFlow::Continue(()));
    assert_eq!(set.ring(4).unwrap().reader().totals().lost, attempts - totals.samples);
    assert_eq!(set.ring(5).unwrap().reader().totals().lost, 0);
    assert_eq!(set.totals().samples + set.totals().lost, attempts + 1);
}

#[test]
fn a_deadline_that_has_passed_gives_what_is_there_first() {
    let mut rings = Rings::new(2);
    let (mut writers, mut set) = rings.open(&[0, 1], WakeupPolicy::events(2));
    set.set_deadline(Some(100));
    assert_eq!(set.turn(99, 9, |_, _| ControlFlow::Continue(())), Turn::Wait { until: Some(100) });
    // One event on each CPU, which woke nobody.
    for writer in &mut writers {
        assert!(!writer.output(&7u32.to_ne_bytes()).unwrap().is_needed());
    }
    // One at a time; what comes meanwhile is not part of it.
    let [mut first, mut second] = [vec![], vec![]];
    assert!(matches!(set.turn(100, 1, note(&mut first)), Turn::Read(drained) if drained.records == 1));
    let _ = writers[0].output(&8u32.to_ne_bytes()).unwrap();
    assert!(matches!(set.turn(100, 1, note(&mut second)), Turn::Read(drained) if drained.records == 1));
    assert_eq!([&first[..], &second].concat(), [(0, 7), (1, 7)]);
    assert_eq!(set.turn(100, 1, |_, _| panic!("nothing more")), Turn::Ended(End::DeadlineExceeded));
    // Then it is, and the deadline holds on until it is moved.
    let mut third = vec![];
    assert!(matches!(set.turn(101, 9, note(&mut third)), Turn::Read(_)));
    assert_eq!(third, [(0, 8)]);
    assert_eq!(set.turn(101, 9, |_, _| ControlFlow::Continue(())), Turn::Ended(End::DeadlineExceeded));
    set.set_deadline(None);
    assert_eq!(set.turn(102, 9, |_, _| ControlFlow::Continue(())), Turn::Wait { until: None });
}

#[test]
fn a_flush_ends_although_the_writer_never_does() {
    let mut rings = Rings::new(1);
    let (mut writers, mut set) = rings.open(&[3], WakeupPolicy::events(1000));
    let _ = writers[0].output(&0u32.to_ne_bytes()).unwrap();
    set.flush();
    let mut seen = vec![];
    let turn = set.turn(0, usize::MAX, |cpu, event| {
        // Written while it is flushed.
        let _ = writers[0].output(&1u32.to_ne_bytes()).unwrap();
        note(&mut seen)(cpu, event)
    });
    assert!(matches!(turn, Turn::Read(drained) if drained.records == 1), "{turn:?}");
    assert_eq!(set.turn(0, usize::MAX, |_, _| panic!("after the flush")), Turn::Ended(End::Flushed));
    // Once.
    assert!(matches!(set.turn(0, usize::MAX, note(&mut seen)), Turn::Read(_)));
    assert_eq!(set.turn(0, usize::MAX, |_, _| ControlFlow::Continue(())), Turn::Wait { until: None });
    assert_eq!(seen, [(3, 0), (3, 1)]);
    set.close();
    assert_eq!(set.turn(0, 1, |_, _| ControlFlow::Continue(())), Turn::Ended(End::Closed));
    assert_eq!(set.turn(0, 1, |_, _| ControlFlow::Continue(())), Turn::Ended(End::Closed));
}

#[test]
fn pausing_is_all_or_nothing_and_idempotent() {
    let mut rings = Rings::new(3);
    let (_, mut set) = rings.open(&[1, 4, 6], WakeupPolicy::HalfFull);
    let mut calls = vec![];
    let refused = set.pause(
        |cpu| if cpu == 6 { Err("no") } else { Ok(()) },
        |cpu| {
            calls.push(cpu);
            Ok::<(), &str>(())
        },
    );
    let error = refused.unwrap_err();
    assert_eq!((error.cpu, error.error, error.stuck), (6, "no", None));
    assert_eq!((calls, set.is_paused()), (vec![4, 1], false));

    let mut paused = vec![];
    for _ in 0..2 {
        set.pause(
            |cpu| {
                paused.push(cpu);
                Ok::<(), &str>(())
            },
            |_| Ok(()),
        )
        .unwrap();
    }
    assert_eq!((paused, set.is_paused()), (vec![1, 4, 6], true));
    let error = set.resume(|cpu| if cpu == 4 { Err("no") } else { Ok(()) }, |_| Err("neither")).unwrap_err();
    assert_eq!((error.cpu, error.stuck, set.is_paused()), (4, Some(1), true));
}

#[test]
fn events_spread_over_cpus_wake_when_they_are_counted_together() {
    let mut rings = Rings::new(4);
    let (mut writers, set) = rings.open(&[0, 1, 2, 3], WakeupPolicy::events(4));
    let counter = SetCounter::new(AtomicUsize::new(0), 4.try_into().unwrap());
    let woken: Vec<bool> = (0..12)
        .map(|index: usize| writers[index % 4].output_counted(&[0; 4], &counter).unwrap().is_needed())
        .collect();
    // Each fourth of the set; the rule of each ring alone would have waited for sixteen.
    let expected: Vec<bool> = (1..=12).map(|number| number % 4 == 0).collect();
    assert_eq!(woken, expected);
    assert!(set.pending().all(|(_, pending)| pending == Ok(48)));
}

#[test]
fn payloads_say_how_long_they_are_when_they_are_told() {
    let mut rings = Rings::new(1);
    let (mut writers, mut set) = rings.open(&[0], WakeupPolicy::HalfFull);
    for round in 0..60 {
        for length in 0..20 {
            let payload: Vec<u8> = (0..length).map(|byte| byte + round).collect();
            let _ = writers[0].output_prefixed(&payload).unwrap();
            let mut seen = 0;
            let _ = set.drain(9, |_, event| {
                let Event::Sample(sample) = event else { panic!("{event:?}") };
                assert!(sample.prefixed().unwrap().is_bytes(&payload), "{length} bytes");
                seen += 1;
                ControlFlow::Continue(())
            });
            assert_eq!(seen, 1);
        }
        // A prefix that says too much, or too little.
        for prefix in [u32::MAX, 13, 4] {
            let _ = writers[0].output_parts([&prefix.to_ne_bytes(), b"12345"]).unwrap();
            let _ = set.drain(9, |_, event| {
                let Event::Sample(sample) = event else { panic!("{event:?}") };
                // Nine bytes: a prefix of 4 takes as much room as the true 5.
                assert_eq!(sample.prefixed().is_ok(), prefix == 4, "{prefix}");
                ControlFlow::Continue(())
            });
        }
    }
}

#[cfg(feature = "bytemuck")]
#[test]
fn samples_are_values_of_a_type() {
    #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C)]
    struct Event13([u8; 13]);

    let mut rings = Rings::new(1);
    let (mut writers, mut set) = rings.open(&[0], WakeupPolicy::HalfFull);
    for value in 0..200u8 {
        let event13 = Event13([value; 13]);
        let _ = writers[0].output(bytemuck::bytes_of(&event13)).unwrap();
        let _ = set.drain(9, |_, event| {
            let Event::Sample(sample) = event else { panic!("{event:?}") };
            assert_eq!(sample.pod::<Event13>(), Ok(event13));
            assert!(sample.pod::<[u8; 12]>().is_err());
            ControlFlow::Continue(())
        });
    }
    assert_eq!(set.totals().samples, 200);
}
