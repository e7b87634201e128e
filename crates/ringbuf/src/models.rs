//! Models of the ring: real algorithms on [`Modelled`] memory, every interleaving within a bound.
//!
//! Loom skips interleavings silently in two known ways (see [`crate::model`]), so each model says which outcomes must be seen, all of them and no others,
//! over both orders of spawning, and no role runs on the creating thread.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod lapped;
mod overwrite;
mod pending;
mod producers;
mod wakeup;

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::vec;
use std::vec::Vec;

use ebpf_loom_harness::{Spawning, explore};
use loom::sync::Notify;
use loom::thread;

use crate::memory::{Memory, Position};
use crate::model::Modelled;
use crate::space::Place;
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
    /// Space that was claimed before the roles run.
    claimed: Vec<Place>,
}

/// What one execution gave: each role's part, and what could still be read after all had ended.
type Parts = (Vec<Vec<u8>>, Vec<u8>);

/// A model: its bounds, and the outcomes that must be seen.
struct Model<V> {
    name: &'static str,
    ring: Geometry,
    /// Runs before the roles, alone.
    before: fn(&mut Stage),
    preemptions: usize,
    roles: &'static [Role],
    judge: fn(Parts) -> V,
    expected: Vec<V>,
}

impl<V: Ord + Debug + Clone + Send + 'static> Model<V> {
    /// Runs the roles in every interleaving within the bound, spawned first to last and last to first, then drains what is left. The outcomes that
    /// `judge` gives must be exactly those expected.
    fn explore(&self) {
        self.explore_at(Watermark::None);
    }

    /// The same with a producer whose outputs wait for a watermark.
    fn explore_at(&self, watermark: Watermark) {
        let (ring, before, roles, judge) = (self.ring, self.before, self.roles, self.judge);
        explore(self.name, self.preemptions, self.expected.iter().cloned(), move |spawning| {
            // Positions start one lap before they wrap, so that models which fill the ring cross zero.
            let memory = Modelled::new(ring, 0usize.wrapping_sub(ring.size()));
            let producer = Producer::new(memory.clone(), memory.clone()).unwrap().with_watermark(watermark);
            let mut stage = Stage { memory, producer, bell: Notify::new(), claimed: vec![] };
            before(&mut stage);
            judge(run(loom::sync::Arc::new(stage), roles, spawning))
        });
    }
}

fn run(stage: loom::sync::Arc<Stage>, roles: &'static [Role], spawning: Spawning) -> Parts {
    let parts = spawning.run(&stage, roles);
    // On a thread of its own as well: what the creating thread has seen is no rule for others.
    let rest = thread::spawn(move || {
        let overwrites = stage.memory.geometry().overwrites();
        if overwrites { vec![] } else { read(&stage.memory, usize::MAX) }
    });
    (parts, rest.join().unwrap())
}

/// A mirrored ring of `size` bytes in pages of eight.
fn mirrored(size: usize) -> Geometry {
    Geometry::new(size, 8, Mapping::Mirrored, PageOffset::FromRing).unwrap()
}

fn nothing(_: &mut Stage) {}

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

/// Outputs a record of eight bytes that carries `value` into space that was claimed before; wakes the consumer when asked to.
fn output_claimed(stage: &Stage, index: usize, value: u8) -> Vec<u8> {
    ring(stage, stage.producer.output_at(&stage.claimed[index], &[value; 8], SubmitFlags::empty()));
    vec![value]
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
