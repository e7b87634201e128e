//! Models of the ring: real algorithms on [`Modelled`] memory, every interleaving within a bound.
//!
//! Loom skips interleavings silently in two known ways (see [`crate::model`]), so each model says which outcomes must be seen, all of them and no others,
//! over both orders of spawning, and no role runs on the creating thread.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::vec::Vec;
use std::{println, vec};

use loom::sync::Notify;
use loom::thread;

use crate::model::Modelled;
use crate::{
    Consumer, ExclusiveProducer, Geometry, Mapping, PageOffset, Producer, Stopped, SubmitFlags, Wakeup,
};

/// A role of a model: runs on its own thread and gives its part of the outcome.
type Role = fn(&Stage) -> Vec<u8>;

/// What the roles of one execution share.
struct Stage {
    memory: Modelled,
    producer: Producer<Modelled, Modelled>,
    bell: Notify,
}

/// What one execution gave: each role's part, and what could still be read after all had ended.
type Parts = (Vec<Vec<u8>>, Vec<u8>);

/// A model: its bounds, and the outcomes that must be seen.
struct Model<V> {
    name: &'static str,
    size: usize,
    mapping: Mapping,
    preemptions: usize,
    roles: &'static [Role],
    judge: fn(Parts) -> V,
    expected: Vec<V>,
}

impl<V: Ord + Debug + Clone + Send + 'static> Model<V> {
    /// Runs the roles in every interleaving within the bound, spawned first to last and last to first, then drains what is left. The outcomes that
    /// `judge` gives must be exactly those expected.
    fn explore(&self) {
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let executions = Arc::new(AtomicUsize::new(0));
        let forward: Vec<usize> = (0..self.roles.len()).collect();
        let backward = forward.iter().rev().copied().collect();
        for order in [forward, backward] {
            let (seen, executions) = (Arc::clone(&seen), Arc::clone(&executions));
            let (size, mapping, roles, judge) = (self.size, self.mapping, self.roles, self.judge);
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = Some(bound(self.preemptions));
            builder.max_branches = 20_000;
            builder.check(move || {
                executions.fetch_add(1, Ordering::Relaxed);
                let outcome = judge(run(size, mapping, roles, &order));
                seen.lock().unwrap().insert(outcome);
            });
        }
        let (seen, executions) = (seen.lock().unwrap(), executions.load(Ordering::Relaxed));
        println!(
            "model {}: {executions} executions, preemption bound {}, outcomes {seen:?}",
            self.name,
            bound(self.preemptions)
        );
        assert_eq!(
            *seen,
            self.expected.iter().cloned().collect(),
            "{}: other outcomes than expected",
            self.name
        );
    }
}

fn run(size: usize, mapping: Mapping, roles: &'static [Role], order: &[usize]) -> Parts {
    let geometry = Geometry::new(size, 8, mapping, PageOffset::FromRing).unwrap();
    // Positions start one lap before they wrap, so that models which fill the ring cross zero.
    let memory = Modelled::new(geometry, 0usize.wrapping_sub(size));
    let producer = Producer::new(memory.clone(), memory.clone()).unwrap();
    let stage = loom::sync::Arc::new(Stage { memory, producer, bell: Notify::new() });
    let mut running: Vec<_> = order
        .iter()
        .map(|index| {
            let (stage, role) = (stage.clone(), roles[*index]);
            (*index, thread::spawn(move || role(&stage)))
        })
        .collect();
    running.sort_by_key(|(index, _)| *index);
    let parts = running.into_iter().map(|(_, role)| role.join().unwrap()).collect();
    // On a thread of its own as well: what the creating thread has seen is no rule for others.
    let rest = thread::spawn(move || read(&stage.memory, usize::MAX)).join().unwrap();
    (parts, rest)
}

/// `LOOM_MAX_PREEMPTIONS` raises a model's bound; below its own, not all outcomes would be seen.
fn bound(least: usize) -> usize {
    std::env::var("LOOM_MAX_PREEMPTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(0).max(least)
}

/// First payload bytes of up to `limit` records that can be read now.
fn read(memory: &Modelled, limit: usize) -> Vec<u8> {
    let mut consumer = Consumer::new(memory.clone()).unwrap();
    let mut values = vec![];
    while values.len() < limit {
        match first_byte(&mut consumer) {
            Ok(value) => values.push(value),
            Err(_) => break,
        }
    }
    values
}

/// First payload bytes of the next `count` records; sleeps whenever the ring says there is none.
fn wait_for(stage: &Stage, count: usize) -> Vec<u8> {
    let mut consumer = Consumer::new(stage.memory.clone()).unwrap();
    let mut values = vec![];
    while values.len() < count {
        match first_byte(&mut consumer) {
            Ok(value) => values.push(value),
            Err(_) => stage.bell.wait(),
        }
    }
    values
}

fn first_byte(consumer: &mut Consumer<Modelled>) -> Result<u8, Stopped> {
    match consumer.next_record() {
        Ok(record) => {
            let mut bytes = [0; 8];
            assert_eq!(record.copy_to(&mut bytes), 8);
            Ok(bytes[0])
        }
        Err(stopped @ (Stopped::Empty | Stopped::Busy)) => Err(stopped),
        Err(stopped) => panic!("the consumer found {stopped}"),
    }
}

/// Tries once to output a record that carries `value`; wakes the consumer when asked to. Gives `value` when it went in.
fn output(stage: &Stage, value: u8) -> Vec<u8> {
    match stage.producer.output(&[value; 8], SubmitFlags::empty()) {
        Ok(wakeup) => {
            ring(stage, wakeup);
            vec![value]
        }
        Err(_) => vec![],
    }
}

fn ring(stage: &Stage, wakeup: Wakeup) {
    if wakeup.is_needed() {
        stage.bell.notify();
    }
}

/// What every execution must fulfil: the consumer and the final drain together got exactly what the producers report as done, each
/// producer's records in its order.
fn assert_nothing_lost(produced: &[&[u8]], consumed: &[&[u8]]) {
    let got = consumed.concat();
    for part in produced {
        let own: Vec<u8> = got.iter().copied().filter(|value| part.contains(value)).collect();
        assert_eq!(own, **part, "a producer's records, in its order, once each");
    }
    assert_eq!(got.len(), produced.concat().len(), "nothing but what was produced: {got:?}");
}

#[test]
fn one_producer_laps_the_ring() {
    Model {
        name: "one exclusive producer, three records through a ring that holds one",
        size: 32,
        mapping: Mapping::Mirrored,
        preemptions: 6,
        roles: &[
            |stage| {
                let mut producer = ExclusiveProducer::new(stage.memory.clone()).unwrap();
                (1..=3)
                    .filter(|value| producer.output(&[*value; 8], SubmitFlags::NO_WAKEUP).is_ok())
                    .collect()
            },
            |stage| read(&stage.memory, 2),
        ],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0]], &[&parts[1], &rest]);
            (parts[0].clone(), parts[1].len())
        },
        // The second and third record go in when the one before was read in time.
        expected: vec![
            (vec![1], 0),
            (vec![1], 1),
            (vec![1, 2], 1),
            (vec![1, 2], 2),
            (vec![1, 3], 1),
            (vec![1, 3], 2),
            (vec![1, 2, 3], 2),
        ],
    }
    .explore();
}

#[test]
fn two_producers_and_a_consumer() {
    Model {
        name: "two producers, one record each",
        size: 64,
        mapping: Mapping::Mirrored,
        preemptions: 2,
        roles: &[|stage| output(stage, 1), |stage| output(stage, 2), |stage| read(&stage.memory, 2)],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0], &parts[1]], &[&parts[2], &rest]);
            (parts[2].clone(), rest)
        },
        // Both orders, and the consumer saw none, one or both.
        expected: vec![
            (vec![], vec![1, 2]),
            (vec![], vec![2, 1]),
            (vec![1], vec![2]),
            (vec![2], vec![1]),
            (vec![1, 2], vec![]),
            (vec![2, 1], vec![]),
        ],
    }
    .explore();
}

#[test]
fn two_producers_lap_the_ring() {
    Model {
        name: "two producers, two records and one, a ring that holds one",
        size: 32,
        mapping: Mapping::Mirrored,
        preemptions: 2,
        roles: &[
            |stage| [output(stage, 1), output(stage, 2)].concat(),
            |stage| output(stage, 3),
            |stage| read(&stage.memory, 1),
        ],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0], &parts[1]], &[&parts[2], &rest]);
            [&parts[2][..], &rest].concat()
        },
        // Whoever is first fills the ring; one more goes in when the consumer read that in time.
        expected: vec![vec![1], vec![3], vec![1, 2], vec![1, 3], vec![3, 1], vec![3, 2]],
    }
    .explore();
}

#[test]
fn a_sleeping_consumer_is_woken_by_one_producer() {
    Model {
        name: "wakeup, one exclusive producer",
        size: 64,
        mapping: Mapping::Mirrored,
        preemptions: 3,
        roles: &[
            |stage| {
                let mut producer = ExclusiveProducer::new(stage.memory.clone()).unwrap();
                let given_up = producer.reserve(8).unwrap().discard(SubmitFlags::empty());
                ring(stage, given_up);
                let mut kept = producer.reserve(8).unwrap();
                kept.write(0, &[1; 8]).unwrap();
                ring(stage, kept.submit(SubmitFlags::empty()));
                vec![1]
            },
            |stage| wait_for(stage, 1),
        ],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0]], &[&parts[1], &rest]);
            rest.len()
        },
        expected: vec![0],
    }
    .explore();
}

#[test]
fn a_sleeping_consumer_is_woken_by_two_producers() {
    Model {
        name: "wakeup, two producers",
        size: 64,
        mapping: Mapping::Mirrored,
        preemptions: 2,
        roles: &[|stage| output(stage, 1), |stage| output(stage, 2), |stage| wait_for(stage, 2)],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0], &parts[1]], &[&parts[2], &rest]);
            parts[2].clone()
        },
        expected: vec![vec![1, 2], vec![2, 1]],
    }
    .explore();
}

#[test]
fn a_dropped_reservation_leaves_its_wakeup_to_the_next_commit() {
    Model {
        name: "wakeup owed by a drop",
        size: 64,
        mapping: Mapping::Mirrored,
        preemptions: 3,
        roles: &[
            |stage| {
                drop(stage.producer.reserve(8).unwrap());
                output(stage, 1)
            },
            |stage| wait_for(stage, 1),
        ],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0]], &[&parts[1], &rest]);
            rest.len()
        },
        expected: vec![0],
    }
    .explore();
}

#[test]
fn a_flat_ring_skips_its_end() {
    Model {
        name: "flat ring, filler before the third record, sleeping consumer",
        size: 64,
        mapping: Mapping::Flat,
        preemptions: 2,
        roles: &[
            |stage| {
                let mut done = vec![];
                for value in 1..=3 {
                    // 24 payload bytes take 32: two fill the ring up to its last 8 usable bytes once the first 16 are gone.
                    let length = if value == 1 { 8 } else { 24 };
                    if let Ok(mut reservation) = stage.producer.reserve(length) {
                        reservation.write(0, &[value; 8]).unwrap();
                        ring(stage, reservation.submit(SubmitFlags::empty()));
                        done.push(value);
                    }
                }
                done
            },
            |stage| {
                let mut consumer = Consumer::new(stage.memory.clone()).unwrap();
                let mut values = vec![];
                while values.len() < 2 {
                    match consumer.next_record() {
                        Ok(record) => {
                            let mut bytes = [0; 8];
                            record.copy_to(&mut bytes);
                            values.push(bytes[0]);
                        }
                        Err(Stopped::Empty | Stopped::Busy) => stage.bell.wait(),
                        Err(stopped) => panic!("the consumer found {stopped}"),
                    }
                }
                values
            },
        ],
        judge: |(parts, rest)| {
            assert!(parts[0].starts_with(&[1, 2]));
            assert_eq!([&parts[1][..], &rest].concat(), parts[0]);
            parts[0].len()
        },
        expected: vec![2, 3],
    }
    .explore();
}
