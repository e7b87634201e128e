//! Models of the ring: real algorithms on [`Modelled`] memory, every interleaving within a bound.
//!
//! Loom skips interleavings silently in two known ways (see [`crate::model`]), so each model says which outcomes must be seen, all of them and no others,
//! over both orders of spawning, and no role runs on the creating thread.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::vec::Vec;
use std::{println, vec};

use loom::sync::Notify;
use loom::thread;

use crate::memory::{Memory, Position};
use crate::model::Modelled;
use crate::{
    Consumer, ExclusiveProducer, Geometry, Mapping, OverwriteReader, PageOffset, Producer, Query, Stopped,
    SubmitFlags, Wakeup, Watermark, sites,
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
    ring: Geometry,
    /// Runs before the roles, alone.
    before: fn(&Stage),
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
            let (ring, before, roles, judge) = (self.ring, self.before, self.roles, self.judge);
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = Some(bound(self.preemptions));
            builder.max_branches = 20_000;
            builder.check(move || {
                executions.fetch_add(1, Ordering::Relaxed);
                let outcome = judge(run(ring, before, roles, &order));
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

fn run(ring: Geometry, before: fn(&Stage), roles: &'static [Role], order: &[usize]) -> Parts {
    // Positions start one lap before they wrap, so that models which fill the ring cross zero.
    let memory = Modelled::new(ring, 0usize.wrapping_sub(ring.size()));
    let producer = Producer::new(memory.clone(), memory.clone()).unwrap();
    let stage = loom::sync::Arc::new(Stage { memory, producer, bell: Notify::new() });
    before(&stage);
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
    let rest =
        thread::spawn(move || if ring.overwrites() { vec![] } else { read(&stage.memory, usize::MAX) });
    (parts, rest.join().unwrap())
}

/// A mirrored ring of `size` bytes in pages of eight.
fn mirrored(size: usize) -> Geometry {
    Geometry::new(size, 8, Mapping::Mirrored, PageOffset::FromRing).unwrap()
}

fn nothing(_: &Stage) {}

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
            assert!(record.copy_to(&mut bytes) <= 8);
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
        ring: mirrored(32),
        before: nothing,
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
        ring: mirrored(64),
        before: nothing,
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
        ring: mirrored(32),
        before: nothing,
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
        ring: mirrored(64),
        before: nothing,
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

/// `output` of an exclusive producer publishes a record that is committed already: its wakeup rests on a fence of its own.
#[test]
fn a_sleeping_consumer_is_woken_by_an_exclusive_output() {
    Model {
        name: "wakeup, outputs of one exclusive producer",
        ring: mirrored(64),
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| {
                let mut producer = ExclusiveProducer::new(stage.memory.clone()).unwrap();
                for value in [1, 2] {
                    ring(stage, producer.output(&[value; 8], SubmitFlags::empty()).unwrap());
                }
                vec![1, 2]
            },
            |stage| wait_for(stage, 2),
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
        ring: mirrored(64),
        before: nothing,
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
        ring: mirrored(64),
        before: nothing,
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
        ring: Geometry::new(64, 8, Mapping::Flat, PageOffset::FromRing).unwrap(),
        before: nothing,
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
            |stage| wait_for(stage, 2),
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

#[test]
fn three_producers() {
    Model {
        name: "three producers, one record each",
        ring: mirrored(64),
        before: nothing,
        preemptions: 1,
        roles: &[|stage| output(stage, 1), |stage| output(stage, 2), |stage| output(stage, 3)],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0], &parts[1], &parts[2]], &[&rest]);
            rest
        },
        expected: vec![
            vec![1, 2, 3],
            vec![1, 3, 2],
            vec![2, 1, 3],
            vec![2, 3, 1],
            vec![3, 1, 2],
            vec![3, 2, 1],
        ],
    }
    .explore();
}

#[test]
fn a_batch_gives_space_back_after_each_record_or_at_the_end() {
    Model {
        name: "one producer, a consumer that drains",
        ring: mirrored(32),
        before: nothing,
        preemptions: 5,
        roles: &[
            |stage| [output(stage, 1), output(stage, 2)].concat(),
            |stage| {
                let mut consumer = Consumer::new(stage.memory.clone()).unwrap().with_release(0);
                let mut values = vec![];
                let drained = consumer.drain(2, |payload| {
                    let mut bytes = [0; 8];
                    payload.copy_to(&mut bytes);
                    values.push(bytes[0]);
                    ControlFlow::Continue(())
                });
                assert_eq!(drained.records, values.len());
                assert!(matches!(drained.stopped, Stopped::Empty | Stopped::Busy | Stopped::Limit));
                values
            },
        ],
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0]], &[&parts[1], &rest]);
            (parts[0].clone(), parts[1].len())
        },
        expected: vec![(vec![1], 0), (vec![1], 1), (vec![1, 2], 1)],
    }
    .explore();
}

/// A consumer that claims to be where it is not must not let two producers into the same bytes: loom reports the race if it does.
#[test]
fn pending_pos_keeps_producers_apart_under_a_lying_consumer() {
    Model {
        name: "two producers whose records overlap in the next lap, lying consumer",
        ring: mirrored(64),
        before: |stage| lie(stage, 40),
        preemptions: 3,
        roles: &[|stage| output_long(stage, 1), |stage| output_long(stage, 2)],
        judge: |(parts, _)| (parts[0].len(), parts[1].len()),
        // Not both refused; both go in when one is committed before the other comes.
        expected: vec![(1, 1), (1, 0), (0, 1)],
    }
    .explore();
}

#[test]
fn pending_pos_is_good_for_those_who_did_not_advance_it() {
    Model {
        name: "one producer advances pending_pos for another, lying consumer",
        ring: mirrored(64),
        before: |stage| lie(stage, 40),
        preemptions: 2,
        roles: &[
            |stage| output_long(stage, 1),
            // As long as the ring: advances `pending_pos`, then is refused.
            |stage| stage.producer.reserve(56).map_or(vec![], |_| vec![9]),
            |stage| output_long(stage, 2),
        ],
        judge: |(parts, _)| {
            assert_eq!(parts[1].len(), 0);
            (parts[0].len(), parts[2].len())
        },
        expected: vec![(1, 1), (1, 0), (0, 1)],
    }
    .explore();
}

#[test]
fn pending_pos_vouches_for_payloads_where_a_header_goes_next() {
    Model {
        name: "a header in the next lap where a payload was, pending_pos advanced by somebody else, lying consumer",
        ring: mirrored(64),
        before: |stage| lie(stage, 40),
        preemptions: 2,
        roles: &[
            |stage| output_long(stage, 1),
            |stage| {
                let second = stage.producer.output(&[2; 24], SubmitFlags::NO_WAKEUP);
                // As long as the ring: advances `pending_pos`, then is refused.
                assert!(stage.producer.reserve(56).is_err());
                second.map_or(vec![], |_| vec![2])
            },
            // Behind the other two, its header is at byte 8 of the next lap: in the first one's payload.
            |stage| stage.producer.output(&[3; 8], SubmitFlags::NO_WAKEUP).map_or(vec![], |_| vec![3]),
        ],
        judge: |(parts, _)| (parts[0].len(), parts[1].len(), parts[2].len()),
        // The shorter ones do not reach where the consumer claims to be, so they go in behind the first one only.
        expected: vec![(1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)],
    }
    .explore();
}

/// The walk over committed records reads headers of this lap only.
#[test]
fn pending_pos_does_not_trust_the_header_of_the_lap_before() {
    Model {
        name: "pending_pos walks where a shorter record stood a lap ago",
        ring: mirrored(64),
        before: |stage| {
            for payload in [&[7; 8][..], &[7; 40]] {
                let _ = stage.producer.output(payload, SubmitFlags::NO_WAKEUP).unwrap();
                assert_eq!(read(&stage.memory, usize::MAX).len(), 1);
            }
        },
        preemptions: 3,
        roles: &[
            |stage| {
                let mut reservation = stage.producer.reserve(24).unwrap();
                reservation.write(0, &[1; 24]).unwrap();
                ring(stage, reservation.submit(SubmitFlags::empty()));
                vec![1]
            },
            |stage| {
                let _ = stage.producer.reserve(56);
                let pending = stage.memory.pending_position().load(sites::QUERY);
                vec![u8::try_from(pending).unwrap()]
            },
        ],
        // The record starts at 0 (a lap after the start) and ends at 32.
        judge: |(parts, _)| parts[1][0],
        expected: vec![0, 32],
    }
    .explore();
}

#[test]
fn an_estimate_is_never_negative() {
    Model {
        name: "query beside a producer and a consumer",
        ring: mirrored(64),
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| output(stage, 1),
            |stage| read(&stage.memory, 1),
            |stage| vec![u8::try_from(stage.producer.query(Query::AvailableData)).unwrap()],
        ],
        judge: |(parts, _)| parts[2][0],
        expected: vec![0, 16],
    }
    .explore();
}

#[test]
fn a_byte_watermark_leaves_nobody_asleep() {
    explore_watermark_of_two(
        "byte watermark of two records, two producers",
        &[
            |stage| output_at(stage, 1, Watermark::Bytes(32)),
            |stage| output_at(stage, 2, Watermark::Bytes(32)),
            wait_for_any,
        ],
    );
}

#[test]
fn a_record_watermark_leaves_nobody_asleep() {
    explore_watermark_of_two(
        "record watermark of two, two producers",
        &[
            |stage| output_at(stage, 1, Watermark::Records(2)),
            |stage| output_at(stage, 2, Watermark::Records(2)),
            wait_for_any,
        ],
    );
}

fn explore_watermark_of_two(name: &'static str, roles: &'static [Role]) {
    Model {
        name,
        ring: mirrored(64),
        before: nothing,
        preemptions: 2,
        roles,
        judge: |(parts, rest)| {
            assert_nothing_lost(&[&parts[0], &parts[1]], &[&parts[2], &rest]);
            parts[2].clone()
        },
        // One alone is less than the watermark: it is found by a consumer that looks, and wakes none.
        expected: vec![vec![1], vec![2], vec![1, 2], vec![2, 1]],
    }
    .explore();
}

#[test]
fn a_reader_that_is_lapped_gives_no_torn_record() {
    Model {
        name: "overwriting ring that holds two records, three produced, a reader",
        ring: mirrored(64).overwriting(),
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| {
                let mut producer = ExclusiveProducer::new(stage.memory.clone()).unwrap();
                (1..=3)
                    .filter(|value| producer.output(&[*value; 16], SubmitFlags::NO_WAKEUP).is_ok())
                    .collect()
            },
            |stage| read_overwriting(stage, 2),
        ],
        judge: |(parts, _)| {
            assert_eq!(parts[0], [1, 2, 3], "an overwriting ring refuses nothing");
            parts[1].clone()
        },
        // The third one overwrites the first; nothing overwrites the second.
        expected: vec![vec![], vec![1], vec![1, 2], vec![2], vec![2, 3]],
    }
    .explore();
}

#[test]
fn overwrite_pos_is_never_seen_ahead_of_producer_pos() {
    Model {
        name: "overwriting ring, a long record overwrites the one right before it, a reader",
        ring: mirrored(64).overwriting(),
        before: nothing,
        preemptions: 3,
        roles: &[
            |stage| {
                let mut producer = ExclusiveProducer::new(stage.memory.clone()).unwrap();
                let outputs = [(1, 16), (2, 40)];
                let went_in = outputs.map(|(value, length)| {
                    let payload = [value; 40];
                    producer.output(&payload[..length], SubmitFlags::NO_WAKEUP).is_ok()
                });
                assert_eq!(went_in, [true; 2]);
                vec![1, 2]
            },
            |stage| read_overwriting(stage, 2),
        ],
        judge: |(parts, _)| parts[1].clone(),
        expected: vec![vec![], vec![1], vec![2], vec![1, 2]],
    }
    .explore();
}

#[test]
fn two_producers_overwrite_under_a_reader() {
    Model {
        name: "overwriting ring that holds two records, two producers, a reader",
        ring: mirrored(64).overwriting(),
        before: |stage| {
            for value in [8, 9] {
                let _ = stage.producer.output(&[value; 16], SubmitFlags::NO_WAKEUP).unwrap();
            }
        },
        preemptions: 1,
        roles: &[
            |stage| output_pair(stage, 1),
            |stage| output_pair(stage, 2),
            |stage| read_overwriting(stage, 1),
        ],
        judge: |(parts, _)| parts[2].clone(),
        // None when both old ones are gone and the first new one is busy.
        expected: vec![vec![], vec![8], vec![9], vec![1], vec![2]],
    }
    .explore();
}

/// Puts `consumer_pos` where the consumer never was.
fn lie(stage: &Stage, ahead: usize) {
    let position = stage.memory.consumer_position();
    position.store(position.load(sites::SETUP).wrapping_add(ahead), sites::SETUP);
}

/// All that can be read once there is anything; sleeps as long as there is nothing.
fn wait_for_any(stage: &Stage) -> Vec<u8> {
    loop {
        let values = read(&stage.memory, usize::MAX);
        if !values.is_empty() {
            return values;
        }
        stage.bell.wait();
    }
}

/// A record of 40 bytes.
fn output_long(stage: &Stage, value: u8) -> Vec<u8> {
    stage.producer.output(&[value; 32], SubmitFlags::NO_WAKEUP).map_or(vec![], |_| vec![value])
}

/// A record of 24 bytes, whose payload spans two slots, so that it can be torn.
fn output_pair(stage: &Stage, value: u8) -> Vec<u8> {
    stage.producer.output(&[value; 16], SubmitFlags::NO_WAKEUP).map_or(vec![], |_| vec![value])
}

fn output_at(stage: &Stage, value: u8, watermark: Watermark) -> Vec<u8> {
    let mut reservation = stage.producer.reserve_at(8, watermark).unwrap();
    reservation.write(0, &[value; 8]).unwrap();
    ring(stage, reservation.submit(SubmitFlags::empty()));
    vec![value]
}

/// Up to `limit` records of an overwriting ring; panics when one is torn.
fn read_overwriting(stage: &Stage, limit: usize) -> Vec<u8> {
    let mut reader = OverwriteReader::new(stage.memory.clone()).unwrap();
    let mut values = vec![];
    while values.len() < limit {
        let mut bytes = [0; 16];
        match reader.next_record(&mut bytes) {
            Ok(copied) => {
                assert!(copied.payload_len >= bytes.len());
                assert_eq!(bytes, [bytes[0]; 16], "torn");
                values.push(bytes[0]);
            }
            Err(Stopped::Empty | Stopped::Busy) => break,
            Err(stopped) => panic!("the reader found {stopped}"),
        }
    }
    values
}
