//! Rings of the running kernel, mapped, waited for and read.
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

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{able, call, drainer, exit, i, lacks, load, map_handle, mov, write, writer};
use ebpf_linux::{
    Interest, Linux, LinuxMap, LinuxProgram, PerfOptions, PerfRing, PerfRings, PerfWakeup, RB_OVERWRITE,
    RingMemory, TestRun, Trigger, Waiter, cpus,
};
use ebpf_loader::{MapKind, MapSpec, Platform, ProgramKind};
use ebpf_perfbuf::{BackwardReader, BackwardStopped, Event as Sample, Reader};
use ebpf_ringbuf::{Consumer, OverwriteReader, Query, Stopped, UserProducer};

fn is_ready(waiter: &Waiter) -> bool {
    let mut ready = Vec::new();
    waiter.wait(&mut ready, Some(Duration::ZERO)).unwrap();
    assert!(ready.is_empty() || ready == [5]);
    !ready.is_empty()
}

#[test]
fn records_are_read_where_they_stand_and_both_triggers_tell_of_them() {
    let Some(ring) = able(LinuxMap::create(&MapSpec::new("ring", MapKind::RINGBUF, 0, 0, 4096))) else {
        return;
    };
    let mut consumer = Consumer::new(Linux.ring(&ring).unwrap()).unwrap();
    let busy = Linux.ring(&ring).unwrap_err();
    assert!(busy.errno() == 16 && busy.to_string().contains("one consumer"), "{busy}");
    assert_eq!(RingMemory::map(&ring.try_clone().unwrap()).unwrap_err().errno(), 16, "the same ring");

    let (edge, level) = (Waiter::new().unwrap(), Waiter::new().unwrap());
    edge.add(&ring, 5, Interest::Readable, Trigger::Edge).unwrap();
    level.add(&ring, 5, Interest::Readable, Trigger::Level).unwrap();
    assert_eq!(level.add(&ring, 5, Interest::Readable, Trigger::Level).unwrap_err().errno(), 17, "EEXIST");
    assert!(!is_ready(&edge) && !is_ready(&level));

    let writer = writer(&map_handle(1, &ring), 0);
    assert_eq!(write(&writer, 41), 0);
    // The kernel wakes from an interrupt of its own.
    common::until("the wakeup comes", || {}, || is_ready(&edge));
    assert!(
        is_ready(&level) && is_ready(&level) && !is_ready(&edge),
        "once, and as long as there is something"
    );
    assert_eq!(write(&writer, 42), 0);
    assert!(!is_ready(&edge), "the consumer is behind: it needs no wakeup");
    assert_eq!(&*consumer.next_record().unwrap(), 41u64.to_ne_bytes());
    assert_eq!(&*consumer.next_record().unwrap(), 42u64.to_ne_bytes());
    assert_eq!(consumer.next_record().unwrap_err(), Stopped::Empty);
    assert!(!is_ready(&level));
    level.remove(&ring).unwrap();
    assert_eq!(level.remove(&ring).unwrap_err().errno(), 2, "ENOENT");

    // A consumer goes on where the one before stopped.
    assert_eq!(write(&writer, 43), 0);
    drop(consumer);
    let mut consumer = Consumer::new(Linux.ring(&ring).unwrap()).unwrap();
    assert_eq!(&*consumer.next_record().unwrap(), 43u64.to_ne_bytes());
    assert_eq!(consumer.query(Query::RingSize), 4096);
    // Full: 255 records of 16 bytes.
    let fits = (0..1000).take_while(|value| write(&writer, *value) == 0).count();
    assert_eq!(fits, 255);
    drop(ring);
    let drained = consumer.drain(usize::MAX, |_| ControlFlow::Continue(()));
    assert_eq!(
        (drained.records, drained.stopped),
        (255, Stopped::Empty),
        "the mapping outlives the descriptor"
    );

    let Some(array) = able(LinuxMap::create(&MapSpec::new("array", MapKind::ARRAY, 4, 4, 1))) else { return };
    assert!(Linux.ring(&array).unwrap_err().to_string().contains("no ring"));
}

#[test]
fn rings_that_overwrite() {
    let spec = MapSpec { flags: RB_OVERWRITE, ..MapSpec::new("over", MapKind::RINGBUF, 0, 0, 4096) };
    let ring = match LinuxMap::create(&spec) {
        Err(error) if error.errno() == 22 => return lacks("BPF_F_RB_OVERWRITE came with Linux 6.19"),
        ring => ring,
    };
    let Some(ring) = able(ring) else { return };
    let writer = writer(&map_handle(1, &ring), 0);
    for value in 0..1000 {
        assert_eq!(write(&writer, value), 0);
    }
    let mut reader = OverwriteReader::new(Linux.ring(&ring).unwrap()).unwrap();
    let mut last = [0; 8];
    while reader.next_record(&mut last).is_ok() {}
    assert_eq!(u64::from_ne_bytes(last), 999);
}

#[test]
fn samples_of_a_user_ring_reach_a_program() {
    let Some(ring) = able(LinuxMap::create(&MapSpec::new("user", MapKind::USER_RINGBUF, 0, 0, 4096))) else {
        return;
    };
    let mut producer = UserProducer::new(Linux.ring(&ring).unwrap()).unwrap();
    let waiter = Waiter::new().unwrap();
    waiter.add(&ring, 5, Interest::Writable, Trigger::Level).unwrap();
    assert!(is_ready(&waiter), "there is space");
    for length in [8, 16] {
        let mut sample = producer.reserve(length).unwrap();
        sample.fill(7);
        sample.submit();
    }
    producer.reserve(8).unwrap().discard();
    let taken = drainer(&ring).test_run(TestRun::default()).unwrap().returned;
    assert_eq!((taken, producer.memory().consumer_page().is_writable()), (2, false));
}

/// `bpf_perf_event_output(context, events, BPF_F_CURRENT_CPU, value, 4)`, its result returned.
fn perf_writer(events: &LinuxMap) -> LinuxProgram {
    let [low, high] = map_handle(2, events);
    let code = [
        i(0x62, 10, 0, -8, 0x1122_3344),
        low,
        high,
        i(0x18, 3, 0, 0, -1),
        i(0, 0, 0, 0, 0),
        i(0xbf, 4, 10, 0, 0),
        i(0x07, 4, 0, 0, -8),
        mov(5, 4),
        call(25),
        exit(),
    ];
    load("perf_writer", ProgramKind::RAW_TRACEPOINT, &code).unwrap()
}

/// How far the kernel has written.
fn head(ring: &PerfRing) -> u64 {
    let word = ring.pages().at(1024).unwrap().cast::<u64>();
    // SAFETY: `data_head`, an aligned word of the mapped control page, which the kernel writes atomically.
    unsafe { AtomicU64::from_ptr(word.as_ptr()) }.load(Ordering::Acquire)
}

#[test]
fn perf_rings_are_per_cpu_and_their_wakeups_too() {
    let Some(events) = able(LinuxMap::create(&MapSpec::new("events", MapKind::PERF_EVENT_ARRAY, 4, 4, 0)))
    else {
        return;
    };
    let options = PerfOptions::new(1).with_wakeup(PerfWakeup::Events(2));
    let Some(rings) = able(PerfRings::open(&events, options)) else { return };
    let online = cpus::online().unwrap();
    assert_eq!(rings.iter().map(|(cpu, _)| cpu).collect::<Vec<_>>(), online);
    let waiter = Waiter::new().unwrap();
    for (_, ring) in rings.iter() {
        waiter.add(ring, 5, Interest::Readable, Trigger::Level).unwrap();
        assert_eq!((ring.data_len(), ring.pages().length()), (ring.data_offset(), 2 * ring.data_offset()));
    }
    let program = perf_writer(&events);
    let write = |cpu| {
        let run = TestRun { cpu: Some(cpu), ..Default::default() };
        program.test_run(run).unwrap().returned.cast_signed()
    };
    // One event on each CPU wakes nobody; the second one of a CPU does.
    for cpu in &online {
        assert_eq!(write(*cpu), 0);
        assert_eq!(head(rings.get(*cpu).unwrap()), 16);
    }
    assert!(!is_ready(&waiter), "events are counted per CPU");
    let last = *online.last().unwrap();
    assert_eq!(write(last), 0);
    common::until("the wakeup comes", || {}, || is_ready(&waiter));

    // The set reads them all, whether or not they woke anybody.
    let mut set = rings.readers().unwrap();
    assert_eq!(rings.readers().unwrap_err().errno(), 16, "EBUSY: one reader");
    let mut seen = vec![];
    let drained = set.drain(usize::MAX, |cpu, event| {
        let Sample::Sample(sample) = event else { panic!("{event:?}") };
        seen.push((cpu, sample.to_array().unwrap()));
        ControlFlow::Continue(())
    });
    let expected = online.iter().chain([&last]).map(|cpu| (*cpu, [0x44, 0x33, 0x22, 0x11]));
    assert_eq!((seen, drained.lost), (expected.collect::<Vec<_>>(), 0));
    assert!(set.pending().all(|(_, pending)| pending == Ok(0)));
    drop(set);
    assert!(rings.readers().is_ok(), "given back");

    let ring = rings.get(last).unwrap();
    let data = ring.pages().at(ring.data_offset()).unwrap();
    // SAFETY: 16 bytes of mapped data that the kernel has written, and will not write again before it is told that they were read.
    let record = unsafe { data.cast::<[u8; 16]>().read() };
    assert_eq!(record, [9, 0, 0, 0, 1, 0, 16, 0, 4, 0, 0, 0, 0x44, 0x33, 0x22, 0x11]);

    let lost = ring.lost().unwrap();
    ring.pause().unwrap();
    assert_eq!(write(last), -28, "ENOSPC: nothing is written to a paused ring");
    // Since Linux 6.0 the event itself knows.
    assert_eq!(ring.lost().unwrap(), lost.map(|lost| lost + 1));
    ring.resume().unwrap();
    assert_eq!(write(last), 0);

    // Who is handed the descriptor goes on reading where the one before stopped.
    let handed_on = ring.as_fd().try_clone_to_owned().unwrap();
    let again = PerfRing::from_event(handed_on, last, PerfOptions::new(1)).unwrap();
    let mut reader = Reader::new(again.memory().unwrap()).unwrap();
    let drained = reader.drain(usize::MAX, |_| ControlFlow::Continue(()));
    assert_eq!((drained.samples, drained.lost), (1, 1));
    let handed_on = ring.as_fd().try_clone_to_owned().unwrap();
    let error = PerfRing::from_event(handed_on, last, PerfOptions::new(2)).unwrap_err();
    assert_eq!((error.call(), error.errno()), ("mmap", 22), "another size");
    drop(rings);
    assert_eq!(write(last), -2, "ENOENT: taken out of the array");
}

#[test]
fn a_backward_ring_is_read_only_and_odd_sizes_are_refused() {
    let cpu = cpus::online().unwrap()[0];
    let Some(ring) = able(PerfRing::open(cpu, PerfOptions::new(2).backward())) else { return };
    assert!(!ring.pages().is_writable() && ring.cpu() == cpu);
    let wrong = Reader::new(ring.memory().unwrap()).unwrap_err();
    assert_eq!(wrong, ebpf_perfbuf::GeometryError::Direction(ebpf_perfbuf::Direction::Backward));
    let mut reader = BackwardReader::new(ring.memory().unwrap()).unwrap();
    assert_eq!(reader.read(&mut [], |_| ControlFlow::Continue(())).stopped, BackwardStopped::Complete);
    let error = PerfRing::open(cpu, PerfOptions::new(3)).unwrap_err();
    assert_eq!((error.call(), error.errno()), ("mmap", 22));
    assert!(error.to_string().contains("2^n"), "{error}");
    assert!(PerfRing::open(cpu, PerfOptions::new(usize::MAX)).is_err());
    let nowhere = PerfRing::open(60_000, PerfOptions::new(1)).unwrap_err();
    assert!([19, 22].contains(&nowhere.errno()), "{nowhere}");
    let watermark = PerfOptions::new(1).with_wakeup(PerfWakeup::Watermark(100));
    assert!(PerfRing::open(cpu, watermark).is_ok());
}
