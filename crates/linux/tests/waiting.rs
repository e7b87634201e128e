//! Waiting for several rings at once, for rings in maps of maps, until a time, until told to stop, and for space: on the running kernel.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics fails, which is what it is for"
)]

mod common;

use std::os::fd::AsFd;
use std::time::Duration;

use common::{able, call, drainer, exit, i, load, map_handle, mov, until, write, writer};
use ebpf_linux::{
    Interest, Linux, LinuxMap, LinuxProgram, PerfOptions, PerfRings, PerfWakeup, RingMemory, TestRun,
    Trigger, Waiter, cpus,
};
use ebpf_loader::{MapKind, MapSpec, Platform, ProgramKind};
use ebpf_perfbuf::{End, Turn};
use ebpf_ringbuf::{Consumer, Stopped, UserProducer, UserReserveError};

/// A ring, its reader, and a program that writes the first eight bytes of its context there.
struct Ring {
    map: LinuxMap,
    consumer: Consumer<RingMemory>,
    writer: LinuxProgram,
}

impl Ring {
    fn new(name: &'static str, flags: i32) -> Option<Self> {
        Self::sized(name, flags, 4096)
    }

    fn sized(name: &'static str, flags: i32, size: u32) -> Option<Self> {
        let map = able(LinuxMap::create(&MapSpec::new(name, MapKind::RINGBUF, 0, 0, size)))?;
        let consumer = Consumer::new(Linux.ring(&map).unwrap()).unwrap();
        let writer = writer(&map_handle(1, &map), flags);
        Some(Self { map, consumer, writer })
    }

    fn write(&self, value: u64) {
        assert_eq!(write(&self.writer, value), 0);
    }

    /// Everything there is.
    fn read(&mut self) -> Vec<u64> {
        let mut values = vec![];
        loop {
            match self.consumer.next_record() {
                Ok(record) => values.push(u64::from_ne_bytes((*record).try_into().unwrap())),
                Err(stopped) => {
                    assert_eq!(stopped, Stopped::Empty);
                    return values;
                }
            }
        }
    }
}

const NO_WAKEUP: i32 = 1;

fn ready(waiter: &Waiter, limit: Duration) -> Vec<u64> {
    let mut ready = vec![];
    waiter.wait(&mut ready, Some(limit)).unwrap();
    ready.sort_unstable();
    ready
}

#[test]
fn several_rings_and_perf_rings_behind_one_wait() {
    let Some(mut one) = Ring::new("one", 0) else { return };
    let Some(mut two) = Ring::new("two", 0) else { return };
    let events = LinuxMap::create(&MapSpec::new("events", MapKind::PERF_EVENT_ARRAY, 4, 4, 0)).unwrap();
    let Some(perf) = able(PerfRings::open(&events, PerfOptions::new(1))) else { return };
    let waiter = Waiter::new().unwrap();
    waiter.add(&one.map, 1, Interest::Readable, Trigger::Edge).unwrap();
    waiter.add(&two.map, 2, Interest::Readable, Trigger::Edge).unwrap();
    for (_, ring) in perf.iter() {
        waiter.add(ring, 3, Interest::Readable, Trigger::Edge).unwrap();
    }
    assert_eq!(ready(&waiter, Duration::ZERO), []);
    two.write(20);
    let mut told = vec![];
    until(
        "the second ring is ready",
        || {},
        || {
            told.extend(ready(&waiter, Duration::ZERO));
            !told.is_empty()
        },
    );
    assert_eq!((told, two.read(), one.read()), (vec![2], vec![20], vec![]));
    one.write(10);
    two.write(21);
    two.write(22);
    let mut told = vec![];
    until(
        "both are",
        || {},
        || {
            told.extend(ready(&waiter, Duration::ZERO));
            told.len() == 2
        },
    );
    told.sort_unstable();
    assert_eq!((told, one.read(), two.read()), (vec![1, 2], vec![10], vec![21, 22]));
}

#[test]
fn rings_in_a_map_of_maps_are_found_by_a_program() {
    for kind in [MapKind::ARRAY_OF_MAPS, MapKind::HASH_OF_MAPS] {
        let Some(mut first) = Ring::new("first", 0) else { return };
        let mut second = Ring::new("second", 0).unwrap();
        let outer = LinuxMap::create_of_maps(&MapSpec::new("outer", kind, 4, 4, 4), &first.map).unwrap();
        outer.set_descriptor(0, first.map.as_fd()).unwrap();
        outer.set_descriptor(3, second.map.as_fd()).unwrap();
        // r1 = bpf_map_lookup_elem(outer, &(u32) context[8]); 77 if there is none.
        let [low, high] = map_handle(1, &outer);
        let lookup = [
            i(0x61, 2, 1, 8, 0),
            i(0x63, 10, 2, -16, 0),
            i(0xbf, 2, 10, 0, 0),
            i(0x07, 2, 0, 0, -16),
            low,
            high,
            call(1),
            i(0x55, 0, 0, 2, 0),
            mov(0, 77),
            exit(),
            i(0xbf, 1, 0, 0, 0),
        ];
        let writer = writer(&lookup, 0);
        let write = |slot: u64, value: u64| {
            let mut context = [value.to_ne_bytes(), slot.to_ne_bytes()].concat();
            writer.test_run(TestRun { context: &mut context, ..Default::default() }).unwrap().returned
        };
        assert_eq!([(0, 5), (3, 6), (1, 7), (3, 8)].map(|(slot, value)| write(slot, value)), [0, 0, 77, 0]);
        assert_eq!((first.read(), second.read()), (vec![5], vec![6, 8]));
        assert!(outer.delete(&3u32.to_ne_bytes()).unwrap());
        assert_eq!((write(3, 9), second.read()), (77, vec![]));
        // The size may be another one, the kind not.
        let mut larger = Ring::sized("larger", 0, 8192).unwrap();
        outer.set_descriptor(1, larger.map.as_fd()).unwrap();
        assert_eq!((write(1, 10), larger.read()), (0, vec![10]));
        let array = LinuxMap::create(&MapSpec::new("array", MapKind::ARRAY, 4, 4, 1)).unwrap();
        assert_eq!(outer.set_descriptor(2, array.as_fd()).unwrap_err().errno(), 22);
    }
}

#[test]
fn a_wait_ends_at_its_time_and_what_woke_nobody_is_there() {
    let Some(mut ring) = Ring::new("quiet", NO_WAKEUP) else { return };
    let waiter = Waiter::new().unwrap();
    waiter.add(&ring.map, 1, Interest::Readable, Trigger::Edge).unwrap();
    for _ in 0..2 {
        assert_eq!(ready(&waiter, Duration::ZERO), [], "the time is over");
    }
    ring.write(1);
    ring.write(2);
    assert_eq!(ready(&waiter, Duration::from_millis(20)), [], "nobody was woken");
    assert_eq!((ring.read(), ring.read()), (vec![1, 2], vec![]));
    assert_eq!(ready(&waiter, Duration::ZERO), []);
}

/// What other readers call flush and close: whoever waits is told by another descriptor in the same wait.
#[test]
fn who_waits_for_ever_can_be_told_to_stop() {
    const STOP: u64 = 9;
    let Some(mut ring) = Ring::new("quiet", NO_WAKEUP) else { return };
    let waiter = Waiter::new().unwrap();
    waiter.add(&ring.map, 1, Interest::Readable, Trigger::Edge).unwrap();
    let (stop, held) = std::io::pipe().unwrap();
    waiter.add(&stop, STOP, Interest::Readable, Trigger::Level).unwrap();
    ring.write(7);
    let (reached, is_waiting) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        reached.send(()).unwrap();
        let mut keys = vec![];
        waiter.wait(&mut keys, None).unwrap();
        (keys, ring.read())
    });
    is_waiting.recv().unwrap();
    drop(held);
    assert_eq!(waiting.join().unwrap(), (vec![STOP], vec![7]), "told, and what was pending is read");
}

/// The same for perf rings, by the set's own flush.
#[test]
fn perf_rings_are_flushed_when_who_waits_is_told() {
    let Some(events) = able(LinuxMap::create(&MapSpec::new("events", MapKind::PERF_EVENT_ARRAY, 4, 4, 0)))
    else {
        return;
    };
    let options = PerfOptions::new(1).with_wakeup(PerfWakeup::Events(10));
    let Some(rings) = able(PerfRings::open(&events, options)) else { return };
    let [low, high] = map_handle(2, &events);
    let code = [
        i(0x7a, 10, 0, -8, 3),
        low,
        high,
        i(0xb4, 3, 0, 0, -1),
        i(0xbf, 4, 10, 0, 0),
        i(0x07, 4, 0, 0, -8),
        mov(5, 4),
        call(25),
        exit(),
    ];
    let writer = load("perf_writer", ProgramKind::RAW_TRACEPOINT, &code).unwrap();
    let online = cpus::online().unwrap();
    let mut set = rings.readers().unwrap();
    let turn = |set: &mut ebpf_linux::PerfSet, seen: &mut Vec<u32>| {
        set.turn(0, usize::MAX, |cpu, _| {
            seen.push(cpu);
            std::ops::ControlFlow::Continue(())
        })
    };
    let mut seen = vec![];
    assert_eq!(turn(&mut set, &mut seen), Turn::Wait { until: None });
    for cpu in &online {
        let run = TestRun { cpu: Some(*cpu), ..Default::default() };
        assert_eq!(writer.test_run(run).unwrap().returned, 0);
    }
    let waiter = Waiter::new().unwrap();
    for (cpu, ring) in rings.iter() {
        waiter.add(ring, u64::from(cpu), Interest::Readable, Trigger::Level).unwrap();
    }
    assert_eq!(ready(&waiter, Duration::from_millis(20)), [], "one of ten on each CPU");
    set.flush();
    assert!(matches!(turn(&mut set, &mut seen), Turn::Read(_)));
    assert_eq!(turn(&mut set, &mut seen), Turn::Ended(End::Flushed));
    assert_eq!(seen, online);
    // Paused by the kernel's own switch, all or none.
    let ring = |cpu: u32| rings.get(cpu).unwrap();
    set.pause(|cpu| ring(cpu).pause(), |cpu| ring(cpu).resume()).unwrap();
    let run = TestRun { cpu: Some(online[0]), ..Default::default() };
    assert_eq!(writer.test_run(run).unwrap().returned.cast_signed(), -28, "ENOSPC");
    set.resume(|cpu| ring(cpu).resume(), |cpu| ring(cpu).pause()).unwrap();
    let run = TestRun { cpu: Some(online[0]), ..Default::default() };
    assert_eq!(writer.test_run(run).unwrap().returned, 0);
    let drained = set.drain(usize::MAX, |_, _| std::ops::ControlFlow::Continue(()));
    assert_eq!((drained.samples, drained.lost), (1, 1), "what came meanwhile is told as lost");
}

#[test]
fn a_full_user_ring_is_waited_for() {
    let Some(ring) = able(LinuxMap::create(&MapSpec::new("user", MapKind::USER_RINGBUF, 0, 0, 4096))) else {
        return;
    };
    let mut producer = UserProducer::new(Linux.ring(&ring).unwrap()).unwrap();
    let waiter = Waiter::new().unwrap();
    waiter.add(&ring, 1, Interest::Writable, Trigger::Edge).unwrap();
    assert_eq!(ready(&waiter, Duration::ZERO), [1], "there is space");
    let fits =
        std::iter::from_fn(|| producer.reserve(56).map(ebpf_ringbuf::UserReservation::submit).ok()).count();
    assert_eq!(fits, 64);
    assert!(matches!(producer.reserve(8), Err(UserReserveError::NoSpace { .. })));
    assert_eq!(ready(&waiter, Duration::from_millis(20)), [], "and none more");
    assert_eq!(drainer(&ring).test_run(TestRun::default()).unwrap().returned, 64);
    let mut told = vec![];
    until(
        "the kernel tells of the space",
        || {},
        || {
            told.extend(ready(&waiter, Duration::ZERO));
            !told.is_empty()
        },
    );
    assert!(told == [1] && producer.reserve(8).is_ok());
}
