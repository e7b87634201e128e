//! The kernel writes on every CPU while our reader drains and sleeps in poll(2): nothing is lost untold, nothing comes twice, no wakeup is missed.
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
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ebpf_conformance::perf::{Emitter, Session, ready};
use ebpf_perfbuf::{Direction, Event, WakeupPolicy};

const EVENTS: u64 = 100_000;

/// A second of silence with as much unread as is worth a wakeup is a lost wakeup.
const SILENCE: Duration = Duration::from_secs(1);
/// Bytes in the ring of the longest record: 23 of payload.
const LONGEST: usize = 40;

#[test]
fn every_event_is_read_or_told_as_lost() -> Result<(), String> {
    stream(1, usize::MAX)
}

#[test]
fn the_same_in_batches_and_with_wakeups_for_five() -> Result<(), String> {
    stream(5, 7)
}

fn stream(wakeup_events: u32, limit: usize) -> Result<(), String> {
    let policy = WakeupPolicy::events(wakeup_events);
    let page = rustix::param::page_size();
    let Some(mut session) = Session::open(4 * page, policy, Direction::Forward)? else { return Ok(()) };
    let cpus = session.cpus();
    // A writer for each CPU, with an array and a program of its own.
    let mut emitters = vec![];
    for event in session.events() {
        let emitter = Emitter::new(1024)?;
        emitter.set(event).unwrap();
        emitters.push(emitter);
    }
    let (mut set, events, _) = session.split()?;
    let (running, refused) = (AtomicUsize::new(cpus.len()), AtomicUsize::new(0));
    let given_up = AtomicBool::new(false);
    let (mut next, mut lost_wakeups, mut sleeps) = (vec![0u64; cpus.len()], 0, 0);
    std::thread::scope(|scope| {
        for (emitter, cpu) in emitters.iter_mut().zip(&cpus) {
            let (running, refused, given_up) = (&running, &refused, &given_up);
            scope.spawn(move || {
                for number in 0..EVENTS {
                    if given_up.load(Ordering::Relaxed) {
                        break;
                    }
                    // Lengths differ, so that records end at every place.
                    let payload = [number.to_ne_bytes(), number.to_ne_bytes(), number.to_ne_bytes()].concat();
                    let length = 8 + (number % 4) as usize * 5;
                    match emitter.emit(*cpu, &payload[..length]).unwrap() {
                        0 => {}
                        -28 => drop(refused.fetch_add(1, Ordering::Relaxed)),
                        error => panic!("the helper says {error}"),
                    }
                }
                running.fetch_sub(1, Ordering::Release);
            });
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            loop {
                let was_running = running.load(Ordering::Acquire) != 0;
                let drained = set.drain(limit, |cpu, event| {
                    let which = cpus.iter().position(|known| *known == cpu).unwrap();
                    match event {
                        Event::Sample(sample) => {
                            let mut number = [0; 8];
                            assert_eq!(sample.copy_to(&mut number), 8);
                            let number = u64::from_ne_bytes(number);
                            assert_eq!(number, next[which], "in order, each once, losses told before");
                            next[which] += 1;
                        }
                        Event::Lost(lost) => next[which] += lost.count,
                        other => panic!("{other:?}"),
                    }
                    ControlFlow::Continue(())
                });
                assert_eq!(drained.corrupt, None);
                if drained.records != 0 {
                    continue;
                }
                if !was_running {
                    break;
                }
                sleeps += 1;
                let woken = ready(events, SILENCE).unwrap();
                // So many bytes are `wakeup_events` records however long each is. One that came after the wait has its wakeup still to be asked for.
                let worth = wakeup_events as usize * LONGEST;
                if woken.is_empty()
                    && set.pending().any(|(_, pending)| pending.unwrap() >= worth)
                    && ready(events, SILENCE).unwrap().is_empty()
                {
                    lost_wakeups += 1;
                }
            }
        }));
        given_up.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    let totals = set.totals();
    let refused = refused.into_inner() as u64;
    println!("{totals:?}, {sleeps} sleeps, {refused} refused");
    assert_eq!(lost_wakeups, 0);
    let mut unreported = 0;
    for event in events {
        let lost = event.lost().unwrap();
        unreported += set.ring(event.cpu()).unwrap().reader().totals().unreported(lost);
    }
    assert_eq!(totals.lost + unreported, refused, "each refusal is told, or known to the event");
    assert_eq!(totals.samples + totals.lost + unreported, EVENTS * cpus.len() as u64);
    Ok(())
}
