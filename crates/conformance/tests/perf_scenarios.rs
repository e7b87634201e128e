//! What other projects test of their perf readers, asked anew of ours on the running kernel. The table in the crate's documentation says which is which.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test: what goes wrong here is to stop it"
)]

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::Duration;

use ebpf_conformance::perf::{CURRENT_CPU, Emitter, PerfEvent, Session, ready};
use ebpf_conformance::{bpf::not_possible, libbpf::Errno};
use ebpf_linux::cpus;
use ebpf_perfbuf::{
    BackwardReader, BackwardStopped, Copied, Direction, End, Event, Mapped, Turn, WakeupPolicy,
};

const PAGE: usize = 4096;
const NOW: Duration = Duration::ZERO;

fn session(policy: WakeupPolicy) -> Result<Option<Session>, String> {
    Session::open(PAGE, policy, Direction::Forward)
}

/// Payload bytes as far as the caller knows how many there were, or a loss.
fn note(
    seen: &mut Vec<Result<Vec<u8>, u64>>,
    length: usize,
) -> impl FnMut(u32, Event<'_, Mapped<'_>>) -> ControlFlow<()> {
    move |_, event| {
        seen.push(match event {
            Event::Sample(sample) => {
                let sample = sample.exact(length).unwrap();
                let (first, second) = sample.slices();
                Ok([first, second].concat())
            }
            Event::Lost(lost) => Err(lost.count),
            other => panic!("{other:?}"),
        });
        ControlFlow::Continue(())
    }
}

#[test]
fn one_event_on_every_cpu_says_where_it_comes_from() -> Result<(), String> {
    let Some(mut session) = session(WakeupPolicy::events(1))? else { return Ok(()) };
    let (mut set, events, emitter) = session.split()?;
    let cpus: Vec<u32> = events.iter().map(PerfEvent::cpu).collect();
    assert_eq!(set.rings().len(), cpus.len());
    for (index, event) in events.iter().enumerate() {
        let others = events[..index].iter();
        assert!(others.map(AsFd::as_fd).all(|other| {
            use std::os::fd::AsRawFd;
            other.as_raw_fd() != event.as_fd().as_raw_fd()
        }));
    }
    assert_eq!(set.drain(usize::MAX, |_, event| panic!("{event:?}")).records, 0);
    for cpu in &cpus {
        assert_eq!(emitter.emit(*cpu, &cpu.to_ne_bytes()).unwrap(), 0);
    }
    assert_eq!(ready(events, NOW).unwrap(), cpus);
    let mut seen = vec![];
    for cpu in ready(events, NOW).unwrap().into_iter().chain(cpus.iter().copied()) {
        let drained = set.drain_cpu(cpu, usize::MAX, |event| {
            let Event::Sample(sample) = event else { panic!("{event:?}") };
            seen.push((cpu, u32::from_ne_bytes(sample.to_array().unwrap())));
            ControlFlow::Continue(())
        });
        assert_eq!(drained.unwrap().samples, 1);
    }
    assert_eq!(seen, cpus.iter().map(|cpu| (*cpu, *cpu)).collect::<Vec<_>>());
    assert_eq!(set.drain(usize::MAX, |_, event| panic!("{event:?}")).records, 0);
    Ok(())
}

#[test]
fn a_payload_is_read_and_then_there_is_nothing_until_the_deadline() -> Result<(), String> {
    let Some(mut session) = session(WakeupPolicy::events(1))? else { return Ok(()) };
    let (mut set, events, emitter) = session.split()?;
    emitter.emit(events[0].cpu(), &[1, 2, 3, 4, 4]).unwrap();
    let mut seen = vec![];
    set.set_deadline(Some(10));
    assert!(matches!(set.turn(0, 9, note(&mut seen, 5)), Turn::Read(_)));
    assert_eq!(seen, [Ok(vec![1, 2, 3, 4, 4])]);
    assert_eq!(set.turn(1, 9, note(&mut vec![], 5)), Turn::Wait { until: Some(10) });
    // Twice, and again after it was moved.
    for now in [10, 11] {
        assert_eq!(set.turn(now, 9, note(&mut vec![], 5)), Turn::Ended(End::DeadlineExceeded));
    }
    set.set_deadline(Some(20));
    assert_eq!(set.turn(11, 9, note(&mut vec![], 5)), Turn::Wait { until: Some(20) });
    assert_eq!(set.turn(20, 9, note(&mut vec![], 5)), Turn::Ended(End::DeadlineExceeded));
    Ok(())
}

#[test]
fn what_comes_while_the_end_is_on_its_way_waits_for_the_next_read() -> Result<(), String> {
    let Some(mut session) = session(WakeupPolicy::events(2))? else { return Ok(()) };
    let (mut set, events, emitter) = session.split()?;
    let cpu = events[0].cpu();
    for ends_by_flush in [false, true] {
        emitter.emit(cpu, &[1; 4]).unwrap();
        let end = if ends_by_flush {
            set.flush();
            End::Flushed
        } else {
            set.set_deadline(Some(1));
            End::DeadlineExceeded
        };
        let mut seen = vec![];
        let turn = set.turn(1, usize::MAX, |cpu, event| {
            emitter.emit(cpu, &[2; 4]).unwrap();
            note(&mut seen, 4)(cpu, event)
        });
        assert!(matches!(turn, Turn::Read(drained) if drained.samples == 1), "{turn:?}");
        assert_eq!(set.turn(1, usize::MAX, note(&mut vec![], 4)), Turn::Ended(end));
        assert!(matches!(set.turn(0, usize::MAX, note(&mut seen, 4)), Turn::Read(_)));
        assert_eq!(seen, [Ok(vec![1; 4]), Ok(vec![2; 4])]);
        set.set_deadline(None);
    }
    Ok(())
}

#[test]
fn a_lost_sample_is_told_with_the_next_that_fits() -> Result<(), String> {
    let Some(mut session) = session(WakeupPolicy::events(1))? else { return Ok(()) };
    let (mut set, events, emitter) = session.split()?;
    let cpu = events[0].cpu();
    // 180 bytes of payload are 192 in the ring: 21 of them fit into a page.
    let fits = (PAGE - 8) / 192;
    for number in 0..=fits {
        let answer = emitter.emit(cpu, &[number as u8; 180]).unwrap();
        assert_eq!(answer, if number < fits { 0 } else { -28 });
    }
    let mut seen = vec![];
    let _ = set.drain(usize::MAX, note(&mut seen, 180));
    assert_eq!(seen, (0..fits).map(|number| Ok(vec![number as u8; 180])).collect::<Vec<_>>());
    // Nothing has said so yet but the event itself.
    let totals = set.ring(cpu).unwrap().reader().totals();
    assert_eq!(totals.unreported(events[0].lost().unwrap()), 1);
    emitter.emit(cpu, &[99; 180]).unwrap();
    seen.clear();
    let drained = set.drain(usize::MAX, note(&mut seen, 180));
    assert_eq!((&seen[..], drained.lost), (&[Err(1), Ok(vec![99; 180])][..], 1));
    assert_eq!(set.ring(cpu).unwrap().reader().totals().unreported(events[0].lost().unwrap()), 0);
    assert_eq!(set.totals().lost, 1);
    Ok(())
}

#[test]
fn samples_written_without_a_wakeup_are_read_all_the_same() -> Result<(), String> {
    let Some(mut session) = session(WakeupPolicy::watermark(2000))? else { return Ok(()) };
    let (mut set, events, emitter) = session.split()?;
    for value in 1..=2 {
        emitter.emit(events[0].cpu(), &[value; 8]).unwrap();
    }
    assert_eq!(ready(events, NOW).unwrap(), []);
    let mut seen = vec![];
    let _ = set.drain(usize::MAX, note(&mut seen, 8));
    assert_eq!(seen, [Ok(vec![1; 8]), Ok(vec![2; 8])]);
    Ok(())
}

/// By taking the rings out of the map, whose keys are CPUs: what happens on a paused CPU is an error there, and wakes nobody.
#[test]
fn a_paused_set_gets_nothing_and_goes_on_after() -> Result<(), String> {
    let Some(mut session) = session(WakeupPolicy::events(1))? else { return Ok(()) };
    let (mut set, events, emitter) = session.split()?;
    let find = |cpu: u32| events.iter().find(|event| event.cpu() == cpu).unwrap();
    let cpu = events[events.len() - 1].cpu();
    for _ in 0..2 {
        set.pause(|cpu| emitter.unset(cpu), |cpu| emitter.set(find(cpu))).unwrap();
    }
    assert_eq!(emitter.emit(cpu, &[1; 4]).unwrap(), -2, "ENOENT: no ring for this CPU");
    assert_eq!(ready(events, Duration::from_millis(20)).unwrap(), []);
    for _ in 0..2 {
        set.resume(|cpu| emitter.set(find(cpu)), |cpu| emitter.unset(cpu)).unwrap();
    }
    emitter.emit(cpu, &[2; 4]).unwrap();
    assert_eq!(ready(events, NOW).unwrap(), [cpu]);
    let mut seen = vec![];
    let _ = set.drain(usize::MAX, |from, event| {
        assert_eq!(from, cpu);
        note(&mut seen, 4)(from, event)
    });
    assert_eq!(seen, [Ok(vec![2; 4])]);
    // One that cannot be paused leaves all of them running.
    let refused = set.pause(
        |cpu| if cpu == events[events.len() - 1].cpu() { Err(Errno(5)) } else { emitter.unset(cpu) },
        |cpu| emitter.set(find(cpu)),
    );
    assert_eq!(refused.unwrap_err().cpu, cpu);
    for event in events {
        assert_eq!(emitter.emit(event.cpu(), &[3; 4]).unwrap(), 0);
    }
    Ok(())
}

#[test]
fn a_closed_set_gives_nothing_that_is_unread() -> Result<(), String> {
    let Some(mut session) = session(WakeupPolicy::events(1))? else { return Ok(()) };
    let (mut set, events, emitter) = session.split()?;
    emitter.emit(events[0].cpu(), &[1; 4]).unwrap();
    for _ in 0..2 {
        set.close();
        assert_eq!(set.turn(0, 9, |_, event| panic!("{event:?}")), Turn::Ended(End::Closed));
    }
    Ok(())
}

#[test]
fn sizes_that_are_none_are_refused_as_the_kernel_does() -> Result<(), String> {
    let Some(session) = session(WakeupPolicy::HalfFull)? else { return Ok(()) };
    let cpu = session.cpus()[0];
    for pages in [3, 5] {
        let refused = PerfEvent::open(cpu, pages * PAGE, WakeupPolicy::HalfFull, Direction::Forward);
        assert_eq!(refused.err(), Some(Errno(22)), "{pages} pages");
        assert!(ebpf_perfbuf::Geometry::new(pages * PAGE, Direction::Forward).is_err());
    }
    for pages in [1, 2, 64] {
        let event = PerfEvent::open(cpu, pages * PAGE, WakeupPolicy::HalfFull, Direction::Forward).unwrap();
        assert_eq!(ebpf_perfbuf::memory::Memory::geometry(&event.side()).size(), pages * PAGE);
    }
    Ok(())
}

/// What the helper says of places and flags that are none: the words an embedder will meet.
#[test]
fn places_that_are_none_are_refused() -> Result<(), String> {
    let Some(mut session) = session(WakeupPolicy::HalfFull)? else { return Ok(()) };
    let (_, events, emitter) = session.split()?;
    let cpu = events[0].cpu();
    let answers = [CURRENT_CPU, 1024, 1023, 1 << 32].map(|flags| emitter.emit_to(cpu, flags, b"x").unwrap());
    assert_eq!(answers, [0, -7, -2, -22], "taken, E2BIG, ENOENT, EINVAL");
    if let Some(other) = events.get(1) {
        assert_eq!(
            emitter.emit_to(cpu, u64::from(other.cpu()), b"x").unwrap(),
            -95,
            "EOPNOTSUPP: another CPU's"
        );
    }
    Ok(())
}

/// Values of an overwriting ring's records, newest first.
fn backward(reader: &mut BackwardReader<Mapped<'_>>) -> (Vec<u32>, BackwardStopped) {
    let mut values = vec![];
    let read = reader.read(&mut [0; 64], |record| {
        let Copied::Sample { raw, .. } = record else { panic!("{record:?}") };
        values.push(u32::from_ne_bytes(raw[..4].try_into().unwrap()));
        ControlFlow::Continue(())
    });
    (values, read.stopped)
}

#[test]
fn an_overwriting_ring_gives_the_newest_first() -> Result<(), String> {
    let cpu = cpus::allowed().unwrap()[0];
    let event = match PerfEvent::open(cpu, PAGE, WakeupPolicy::HalfFull, Direction::Backward) {
        Ok(event) => event,
        Err(error) => return not_possible("perf events cannot be opened here", error),
    };
    let mut emitter = Emitter::new(64)?;
    emitter.set(&event).unwrap();
    let mut reader = BackwardReader::new(event.side()).unwrap();
    assert_eq!(backward(&mut reader), (vec![], BackwardStopped::Complete), "empty");

    let mut write = |values: std::ops::Range<u32>| {
        for value in values {
            assert_eq!(emitter.emit(cpu, &[value.to_ne_bytes(), [7; 4]].concat()).unwrap(), 0);
        }
    };
    write(0..5);
    event.pause(true).unwrap();
    assert_eq!(backward(&mut reader), (vec![4, 3, 2, 1, 0], BackwardStopped::Complete));
    event.pause(false).unwrap();
    // 170 records of 24 bytes are in a page, and sixteen bytes of one more.
    write(5..1000);
    event.pause(true).unwrap();
    assert_eq!(backward(&mut reader), ((830..1000).rev().collect(), BackwardStopped::Overwritten));
    assert_eq!(backward(&mut reader), (vec![], BackwardStopped::Complete), "only once");
    event.pause(false).unwrap();
    write(1000..1003);
    event.pause(true).unwrap();
    assert_eq!(backward(&mut reader), (vec![1002, 1001, 1000], BackwardStopped::Complete));
    Ok(())
}

/// The same bytes as ours, written backward: a thousand records of all lengths.
#[test]
fn an_overwriting_ring_of_ours_holds_the_kernels_bytes() -> Result<(), String> {
    let cpu = cpus::allowed().unwrap()[0];
    let policy = WakeupPolicy::watermark(1000);
    let event = match PerfEvent::open(cpu, PAGE, policy, Direction::Backward) {
        Ok(event) => event,
        Err(error) => return not_possible("perf events cannot be opened here", error),
    };
    let mut emitter = Emitter::new(64)?;
    emitter.set(&event).unwrap();
    let (mut page, mut data) = (ebpf_perfbuf::PlainRing::new(), vec![0u64; PAGE / 8]);
    let (writing, _) = page.split(&mut data, PAGE, Direction::Backward).unwrap();
    let mut writer =
        ebpf_perfbuf::Writer::new(writing, policy).unwrap().with_identity(event.id().unwrap(), 1);
    for number in 0..1000usize {
        let payload = vec![number as u8; number * 13 % 300];
        if number % 50 == 49 {
            event.pause(true).unwrap();
            writer.pause();
            assert_eq!(emitter.emit(cpu, &payload).unwrap(), -28);
            assert!(writer.output(&payload).is_err());
            event.pause(false).unwrap();
            writer.resume();
        }
        assert_eq!(emitter.emit(cpu, &payload).unwrap(), 0);
        let wakeup = writer.output(&payload).unwrap();
        assert_eq!(event.poll(NOW).unwrap(), wakeup.is_needed(), "record {number}");
        assert_eq!(event.head().load(std::sync::atomic::Ordering::Acquire), writer.ledger().head());
    }
    let ours: Vec<u8> = data.iter().flat_map(|word| word.to_ne_bytes()).collect();
    assert!(event.data() == ours, "the data differs");
    Ok(())
}
