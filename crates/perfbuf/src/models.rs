//! Models of the rings: real algorithms on [`Modelled`] memory, every interleaving within a bound.
//!
//! Loom skips interleavings silently in two known ways, so each model says which outcomes must be seen, all of them and no others, over both orders of spawning,
//! and no role runs on the creating thread.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::vec;
use std::vec::Vec;

use ebpf_loom_harness::{Spawning, explore};
use loom::sync::Notify;
use loom::thread;

use crate::memory::Memory;
use crate::model::{Modelled, Word};
use crate::{
    BackwardReader, BackwardStopped, Copied, CpuReader, Direction, Event, Geometry, PerCpu, Reader,
    Readiness, SetCounter, Stopped, Wakeup, WakeupPolicy, Writer,
};

/// A role of a model: runs on its own thread and gives its part of the outcome.
type Role = fn(&Stage) -> Vec<u8>;

/// What the roles of one execution share: the rings of two CPUs, and how the reader is woken.
struct Stage {
    rings: [Modelled; 2],
    counter: SetCounter<Word>,
    readiness: Readiness<Word>,
    bell: Notify,
}

/// A model: its bounds, and the outcomes that must be seen.
struct Model<V> {
    name: &'static str,
    size: usize,
    direction: Direction,
    /// Runs before the roles, alone.
    before: fn(&Stage),
    preemptions: usize,
    roles: &'static [Role],
    /// Makes an outcome of what the roles gave, and of what can be read after all had ended.
    judge: fn(Vec<Vec<u8>>, Vec<u8>) -> V,
    expected: Vec<V>,
}

impl<V: Ord + Debug + Clone + Send + 'static> Model<V> {
    /// Runs the roles in every interleaving within the bound, spawned first to last and last to first. The outcomes that `judge` gives must be exactly
    /// those expected.
    fn explore(&self) {
        let (before, roles, judge) = (self.before, self.roles, self.judge);
        let geometry = Geometry::new(self.size, self.direction).unwrap();
        explore(self.name, self.preemptions, self.expected.iter().cloned(), move |spawning| {
            let (parts, rest) = run(geometry, before, roles, spawning);
            judge(parts, rest)
        });
    }
}

fn run(
    geometry: Geometry,
    before: fn(&Stage),
    roles: &'static [Role],
    spawning: Spawning,
) -> (Vec<Vec<u8>>, Vec<u8>) {
    // Positions start one lap before they wrap, so that models which fill the ring cross zero; where nothing is read before it is written, at zero.
    let start = match geometry.direction() {
        Direction::Forward => 0usize.wrapping_sub(geometry.size()),
        Direction::Backward => 0,
    };
    let two = NonZeroU32::new(2).unwrap();
    let stage = loom::sync::Arc::new(Stage {
        rings: [Modelled::new(geometry, start), Modelled::new(geometry, start)],
        counter: SetCounter::new(Word::new(0), two),
        readiness: Readiness::new(Word::new(0)),
        bell: Notify::new(),
    });
    before(&stage);
    let parts = spawning.run(&stage, roles);
    // On a thread of its own as well: what the creating thread has seen is no rule for others.
    let rest = thread::spawn(move || match geometry.direction() {
        Direction::Forward => [read(&stage, 0, usize::MAX), read(&stage, 1, usize::MAX)].concat(),
        Direction::Backward => vec![],
    });
    (parts, rest.join().unwrap())
}

fn nothing(_: &Stage) {}

fn writer(stage: &Stage, cpu: usize) -> Writer<Modelled> {
    Writer::new(stage.rings[cpu].clone(), WakeupPolicy::events(2)).unwrap()
}

/// What stands for losses in the list of what was read; values of samples are below.
const LOST: u8 = 100;

/// Values of up to `limit` records of one ring that can be read now; `LOST` and the count for a lost record.
fn read(stage: &Stage, cpu: usize, limit: usize) -> Vec<u8> {
    let mut values = vec![];
    let drained = Reader::new(stage.rings[cpu].clone()).unwrap().drain(limit, |event| {
        values.push(value(&event));
        ControlFlow::Continue(())
    });
    assert!(matches!(drained.stopped, Stopped::Empty | Stopped::Limit), "{}", drained.stopped);
    values
}

fn value<M: Memory>(event: &Event<'_, M>) -> u8 {
    match event {
        Event::Sample(sample) => {
            let bytes = sample.to_array::<4>().unwrap();
            assert_eq!(bytes, [bytes[0]; 4], "a torn record");
            bytes[0]
        }
        Event::Lost(lost) => LOST + u8::try_from(lost.count).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_writer_laps_the_ring() {
    Model {
        name: "five records through a ring that holds three",
        size: 64,
        direction: Direction::Forward,
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| {
                let mut writer = writer(stage, 0);
                let mut done: Vec<u8> = (1..=5).filter(|value| writer.output(&[*value; 4]).is_ok()).collect();
                done.push(LOST + u8::try_from(writer.ledger().unreported()).unwrap());
                done
            },
            |stage| [read(stage, 0, 2), read(stage, 0, 2)].concat(),
        ],
        judge: |mut parts, rest| {
            let unreported = parts[0].pop().unwrap() - LOST;
            let read = [&parts[1][..], &rest].concat();
            let (lost, samples): (Vec<u8>, Vec<u8>) = read.iter().partition(|value| **value > LOST);
            assert_eq!(samples, parts[0], "what was written is read, in order");
            let reported: u8 = lost.iter().map(|value| value - LOST).sum();
            assert_eq!(samples.len() + usize::from(reported + unreported), 5, "nothing is unaccounted for");
            (read, unreported)
        },
        // The fourth and fifth go in where two had been read before; a lost record with them where one was refused.
        expected: vec![
            (vec![1, 2, 3], 2),
            (vec![1, 2, 3, 101, 5], 0),
            (vec![1, 2, 3, 4], 1),
            (vec![1, 2, 3, 4, 5], 0),
        ],
    }
    .explore();
}

#[test]
fn a_ready_ring_shows_what_it_is_ready_for() {
    Model {
        name: "two records that make the ring ready, and a reader that asks once",
        size: 64,
        direction: Direction::Forward,
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| {
                let mut writer = writer(stage, 0);
                for value in 1..=2 {
                    if writer.output(&[value; 4]).unwrap().is_needed() {
                        stage.readiness.raise();
                    }
                }
                vec![]
            },
            |stage| {
                let is_ready = stage.readiness.take();
                [vec![u8::from(is_ready)], read(stage, 0, usize::MAX)].concat()
            },
        ],
        judge: |parts, rest| {
            let read = &parts[1][1..];
            assert_eq!([read, &rest].concat(), [1, 2]);
            (parts[1][0] == 1, read.len())
        },
        // Ready: both are there. Not yet ready: some may be already.
        expected: vec![(false, 0), (false, 1), (false, 2), (true, 2)],
    }
    .explore();
}

#[test]
fn two_events_on_two_cpus_wake_nobody() {
    Model {
        name: "one event on each of two CPUs, two for a wakeup",
        size: 64,
        direction: Direction::Forward,
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| vec![u8::from(writer(stage, 0).output(&[1; 4]).unwrap().is_needed())],
            |stage| vec![u8::from(writer(stage, 1).output(&[2; 4]).unwrap().is_needed())],
            |stage| {
                let rings =
                    [0, 1].map(|cpu| Reader::new(stage.rings[usize::from(cpu == 1)].clone()).unwrap());
                let mut index = 0;
                let set = PerCpu::new(rings.map(|reader| {
                    index += 1;
                    CpuReader::new(index, reader)
                }));
                // Nobody is woken, but what is there can be seen.
                set.unwrap().pending().map(|(_, pending)| u8::try_from(pending.unwrap()).unwrap()).collect()
            },
        ],
        judge: |parts, rest| {
            assert_eq!(rest, [1, 2], "and read later");
            (parts[0][0] + parts[1][0], parts[2].clone())
        },
        expected: vec![(0, vec![0, 0]), (0, vec![0, 16]), (0, vec![16, 0]), (0, vec![16, 16])],
    }
    .explore();
}

#[test]
fn a_counter_for_the_set_wakes_once_for_all() {
    Model {
        name: "one event on each of two CPUs, counted together, and a reader that sleeps until it is woken",
        size: 64,
        direction: Direction::Forward,
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| counted(stage, 0, 1),
            |stage| counted(stage, 1, 2),
            |stage| {
                // The model checker's bell also wakes for nothing.
                while !stage.readiness.take() {
                    stage.bell.wait();
                }
                [read(stage, 0, usize::MAX), read(stage, 1, usize::MAX)].concat()
            },
        ],
        judge: |parts, rest| {
            assert_eq!(rest, [], "whoever is woken finds everything that was counted");
            ([parts[0][0], parts[1][0]], parts[2].clone())
        },
        // Either writer may be the second.
        expected: vec![([0, 1], vec![1, 2]), ([1, 0], vec![1, 2])],
    }
    .explore();
}

fn counted(stage: &Stage, cpu: usize, value: u8) -> Vec<u8> {
    let wakeup = writer(stage, cpu).output_counted(&[value; 4], &stage.counter).unwrap();
    if wakeup == Wakeup::Needed {
        stage.readiness.raise();
        stage.bell.notify();
    }
    vec![u8::from(wakeup.is_needed())]
}

#[test]
fn a_reader_of_an_overwriting_ring_is_never_given_torn_records() {
    Model {
        name: "two records over a ring that holds two, while its newest is read",
        // The second of the two new records goes over the end of the newest old one.
        size: 64,
        direction: Direction::Backward,
        before: |stage| {
            let mut writer = writer(stage, 0);
            for value in 1..=2 {
                let _ = writer.output(&[value; 12]).unwrap();
            }
        },
        preemptions: 2,
        roles: &[
            |stage| {
                let mut writer = writer(stage, 0);
                for value in 3..=4 {
                    let _ = writer.output(&[value; 12]).unwrap();
                }
                vec![]
            },
            |stage| {
                let reader = BackwardReader::new(stage.rings[0].clone()).unwrap();
                let mut values = vec![];
                let read = reader.with_writes_under_way(24).read(&mut [0; 16], |record| {
                    match record {
                        Copied::Sample { raw, raw_size } => {
                            assert_eq!((raw_size, raw), (12, &[raw[0]; 12][..]), "a torn record");
                            values.push(raw[0]);
                        }
                        other => panic!("{other:?}"),
                    }
                    ControlFlow::Continue(())
                });
                assert_eq!(read.stopped, BackwardStopped::Overwritten);
                values
            },
        ],
        judge: |parts, _| parts[1].clone(),
        // The newest at some time; nothing where both records were written while it was copied.
        expected: vec![vec![], vec![2], vec![3], vec![4]],
    }
    .explore();
}
