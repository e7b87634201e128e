//! Wakeups belong to a CPU: the hang of two events on two CPUs, made to happen every time, and every way out of it, on the running kernel.
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
use std::time::Duration;

use ebpf_conformance::perf::{Session, ready};
use ebpf_linux::cpus::{Pinned, allowed};
use ebpf_perfbuf::{Direction, End, Event, Turn, WakeupPolicy};

/// A session on at least two CPUs, with `events` for a wakeup; notes why there is none.
fn session(events: u32) -> Result<Option<Session>, String> {
    let session =
        Session::open(rustix::param::page_size(), WakeupPolicy::events(events), Direction::Forward)?;
    match session {
        Some(session) if session.cpus().len() < 2 => {
            let note = "this machine has one CPU, so events cannot be spread".to_owned();
            if std::env::var_os("CI").is_some() {
                return Err(note);
            }
            println!("skipped: {note}");
            Ok(None)
        }
        session => Ok(session),
    }
}

const NOW: Duration = Duration::ZERO;

#[test]
fn two_events_on_two_cpus_wake_nobody() -> Result<(), String> {
    let Some(mut session) = session(2)? else { return Ok(()) };
    let (mut set, events, emitter) = session.split()?;
    let cpus: Vec<u32> = events.iter().map(|event| event.cpu()).collect();
    for cpu in &cpus {
        assert_eq!(emitter.emit(*cpu, b"spread!!").unwrap(), 0);
    }
    // This is where a reader that waits for "two events" hangs.
    assert_eq!(ready(events, Duration::from_millis(50)).unwrap(), []);
    // But it can see them, and read them.
    assert!(set.pending().all(|(_, pending)| pending == Ok(24)));
    let mut seen = vec![];
    let drained = set.drain(usize::MAX, |cpu, event| {
        assert!(matches!(&event, Event::Sample(sample) if sample.exact(8).unwrap().is_bytes(b"spread!!")));
        seen.push(cpu);
        ControlFlow::Continue(())
    });
    assert_eq!((seen, drained.samples), (cpus.clone(), cpus.len()));
    // What was counted is still counted: reading does not begin a new round.
    assert_eq!(emitter.emit(cpus[1], b"second").unwrap(), 0);
    assert_eq!(ready(events, NOW).unwrap(), [cpus[1]]);
    Ok(())
}

#[test]
fn two_events_on_one_cpu_wake() -> Result<(), String> {
    let Some(mut session) = session(2)? else { return Ok(()) };
    let (_, events, emitter) = session.split()?;
    for event in events {
        for round in 0..3 {
            assert_eq!(emitter.emit(event.cpu(), b"first").unwrap(), 0);
            assert_eq!(ready(events, NOW).unwrap(), [], "round {round}");
            assert_eq!(emitter.emit(event.cpu(), b"second").unwrap(), 0);
            assert_eq!(ready(events, NOW).unwrap(), [event.cpu()], "round {round}");
            assert_eq!(ready(events, NOW).unwrap(), [], "asking consumed it, though nothing was read");
        }
    }
    Ok(())
}

/// The first way out: so many events that one CPU must have had enough, however they fell.
#[test]
fn enough_events_wake_however_they_fall() -> Result<(), String> {
    const N: usize = 3;
    let Some(mut session) = session(N as u32)? else { return Ok(()) };
    let cpus = session.cpus()[..2].to_vec();
    // All ways for 2 × (N − 1) + 1 events to fall on two CPUs; the last of them wakes at the latest.
    let enough = cpus.len() * (N - 1) + 1;
    for fall in 0..1usize << enough {
        let Some(mut session) = self::session(N as u32)? else { return Ok(()) };
        let (_, events, emitter) = session.split()?;
        let mut woken = vec![];
        for number in 0..enough {
            emitter.emit(cpus[fall >> number & 1], b"event").unwrap();
            woken.extend(ready(events, NOW).unwrap());
        }
        assert!(!woken.is_empty(), "{fall:b}");
    }
    // One less may wake nobody.
    let (_, events, emitter) = session.split()?;
    for cpu in &cpus {
        for _ in 0..N - 1 {
            emitter.emit(*cpu, b"event").unwrap();
        }
    }
    assert_eq!(ready(events, NOW).unwrap(), []);
    Ok(())
}

/// The second way out: whoever causes the events stays on one CPU.
#[test]
fn a_pinned_thread_wakes_after_its_second_event() -> Result<(), String> {
    let Some(mut session) = session(2)? else { return Ok(()) };
    let (_, events, emitter) = session.split()?;
    for cpu in allowed().unwrap() {
        let pinned = Pinned::to(cpu).unwrap();
        emitter.emit_here(b"first").unwrap();
        assert_eq!(ready(events, NOW).unwrap(), []);
        emitter.emit_here(b"second").unwrap();
        assert_eq!(ready(events, NOW).unwrap(), [pinned.cpu()]);
    }
    Ok(())
}

/// The third way out, naming the CPU, is what every other test here does; this one from a thread that is somewhere else.
#[test]
fn a_named_cpu_wakes_wherever_the_thread_is() -> Result<(), String> {
    let Some(mut session) = session(2)? else { return Ok(()) };
    let (_, events, emitter) = session.split()?;
    let (here, there) = (events[0].cpu(), events[1].cpu());
    let _pinned = Pinned::to(here).unwrap();
    emitter.emit(there, b"first").unwrap();
    emitter.emit(there, b"second").unwrap();
    assert_eq!(ready(events, NOW).unwrap(), [there]);
    Ok(())
}

/// Beyond the three: a reader that does not depend on being woken.
#[test]
fn a_deadline_and_a_flush_give_what_woke_nobody() -> Result<(), String> {
    let Some(mut session) = session(2)? else { return Ok(()) };
    let (mut set, events, emitter) = session.split()?;
    let mut count = 0;
    let mut each = |_: u32, _: Event<'_, _>| {
        count += 1;
        ControlFlow::Continue(())
    };
    set.set_deadline(Some(1_000));
    for event in events {
        emitter.emit(event.cpu(), b"spread").unwrap();
    }
    // The embedder waited until its clock said 1000, and nobody woke it.
    assert_eq!(ready(events, NOW).unwrap(), []);
    assert!(
        matches!(set.turn(1_000, usize::MAX, &mut each), Turn::Read(drained) if drained.samples == events.len())
    );
    assert_eq!(set.turn(1_000, usize::MAX, &mut each), Turn::Ended(End::DeadlineExceeded));
    set.set_deadline(None);
    emitter.emit(events[0].cpu(), b"late").unwrap();
    set.flush();
    // Its counter goes on from the one before, so this one did wake; the flush gives it either way.
    assert!(matches!(set.turn(0, usize::MAX, &mut each), Turn::Read(drained) if drained.samples == 1));
    assert_eq!(set.turn(0, usize::MAX, &mut each), Turn::Ended(End::Flushed));
    assert_eq!(set.turn(0, usize::MAX, &mut each), Turn::Wait { until: None });
    assert_eq!(count, events.len() + 1);
    Ok(())
}

#[test]
fn a_pinned_thread_gets_its_cpus_back() {
    // A thread of its own: what goes wrong here concerns nobody else.
    std::thread::spawn(|| {
        let before = allowed().unwrap();
        let last = *before.last().unwrap();
        for cpu in &before {
            let pinned = Pinned::to(*cpu).unwrap();
            assert_eq!((pinned.cpu(), allowed().unwrap()), (*cpu, vec![*cpu]));
            drop(pinned);
            assert_eq!(allowed().unwrap(), before);
        }
        // Where CPU 0 is not among those allowed, another one is taken.
        let narrowed = Pinned::to(last).unwrap();
        {
            let pinned = Pinned::to_any().unwrap();
            assert_eq!(pinned.cpu(), last);
            if last != 0 {
                let refused = Pinned::to(0).unwrap_err().to_string();
                assert!(
                    refused.starts_with("sched_setaffinity of CPU 0: ")
                        && refused.ends_with(&format!("this thread may run on [{last}]")),
                    "{refused}"
                );
            }
        }
        assert_eq!(allowed().unwrap(), [last], "what was narrowed stays narrowed");
        drop(narrowed);
        assert_eq!(allowed().unwrap(), before);
        assert_eq!(Pinned::to(100_000).unwrap_err().errno(), 22, "EINVAL");
    })
    .join()
    .unwrap();
}
