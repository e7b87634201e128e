//! Models of hash maps: real tables on the model checker's atomics, every interleaving within a bound.
//!
//! Each says which outcomes must be seen, all of them and no others, over both orders of spawning, one with each way to look up; no role runs on the creating thread, which has seen all
//! that stands at the beginning. A value is read when the lookup is over, as programs do it: where a slot may have been used again by then, its new value is
//! among the outcomes.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

use alloc::vec::Vec;

use ebpf_loom_harness::{Spawning, explore};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU8, Ordering};

use super::hash::Hash;
use super::index::{Hasher, Key};
use crate::error::MapError;

/// What the roles of one execution share.
struct Stage {
    hash: Hash,
    /// By slot; those that a program reads by the pointer it was given.
    values: Vec<AtomicU8>,
    /// Whether lookups are those by programs, which glance first where keys are words.
    glances: bool,
}

type Role = fn(&Stage) -> u8;

/// Not there.
const NO: u8 = 0;
/// Looked, but must look again.
const AGAIN: u8 = 99;
/// There was no room.
const FULL: u8 = 98;
/// Done.
const DONE: u8 = 97;

struct Model<'a> {
    name: &'a str,
    preemptions: usize,
    /// Entries, first bits, whether it is an LRU map.
    table: (u32, u32, bool),
    key_size: u32,
    /// Runs before the roles, alone.
    before: fn(&Stage),
    roles: &'a [Role],
    /// The outcome of each role, in every way that must be seen.
    expected: &'a [&'a [u8]],
}

impl Model<'_> {
    fn explore(&self) {
        let (table, key_size, before, roles) = (self.table, self.key_size, self.before, self.roles.to_vec());
        let expected = self.expected.iter().map(|outcome| outcome.to_vec());
        explore(self.name, self.preemptions, expected, move |spawning| {
            let (entries, first_bits, evicts) = table;
            let hash = Hash::new(key_size, entries, evicts, SEED, first_bits).unwrap();
            let values = (0..=entries).map(|_| AtomicU8::new(NO)).collect();
            let glances = spawning == Spawning::LastToFirst && hash.has_words();
            let stage = Arc::new(Stage { hash, values, glances });
            before(&stage);
            spawning.run(&stage, &roles)
        });
    }
}

impl Stage {
    fn put(&self, key: &[u8], value: u8) -> u8 {
        let write = |slot: u32, _| {
            self.values[slot as usize].store(value, Ordering::Relaxed);
            Ok(())
        };
        match self.hash.update(key, 0, false, |_, _, _| Some(()), write) {
            Ok(()) => DONE,
            Err(MapError::Full) => FULL,
            Err(error) => panic!("{error}"),
        }
    }

    fn delete(&self, key: &[u8]) -> u8 {
        if self.hash.delete(key).is_ok() { DONE } else { NO }
    }

    fn find(&self, key: &[u8]) -> u8 {
        let slot = match key.first_chunk() {
            Some(word) if self.glances => self.hash.lookup_word(u32::from_ne_bytes(*word) as usize),
            _ => self.hash.lookup(key, true),
        };
        slot.map_or(NO, |slot| self.value(slot))
    }

    /// Looks once.
    fn look(&self, key: &[u8]) -> u8 {
        match self.hash.look(key) {
            Ok(found) => found.map_or(NO, |slot| self.value(slot)),
            Err(_) => AGAIN,
        }
    }

    fn value(&self, slot: u32) -> u8 {
        self.values[slot as usize].load(Ordering::Relaxed)
    }
}

const SEED: u64 = 7;

/// The key of 4 bytes with that number among those that are in `bucket` of `buckets`.
fn key(number: usize, bucket: usize, buckets: usize) -> [u8; 4] {
    let hasher = Hasher::new(SEED);
    let is_there = |key: &[u8; 4]| hasher.hash(key.words()) % buckets == bucket;
    (1..u32::MAX).map(u32::to_ne_bytes).filter(is_there).nth(number).unwrap()
}

/// Two keys of two words in the first of two buckets, and one that begins like the second and ends like the first, there too.
fn torn() -> [[u8; 16]; 3] {
    let hasher = Hasher::new(SEED);
    let pair = |first: u64, second: u64| {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&first.to_ne_bytes());
        key[8..].copy_from_slice(&second.to_ne_bytes());
        key
    };
    (1..1000)
        .map(|number| [pair(1, number), pair(2, number + 1), pair(2, number)])
        .find(|keys| keys.iter().all(|key| hasher.hash(key.words()).is_multiple_of(2)))
        .unwrap()
}

/// Of a map that has room for one entry, which is there.
const ONE_ENTRY: Model<'_> = Model {
    name: "",
    preemptions: 3,
    table: (1, 1, false),
    key_size: 4,
    before: |stage| {
        stage.put(&key(0, 0, 2), 1);
    },
    roles: &[],
    expected: &[],
};

/// The entry goes, and its slot is given to another key at once.
fn recycle(stage: &Stage) -> u8 {
    stage.delete(&key(0, 0, 2));
    stage.put(&key(1, 0, 2), 2)
}

/// Its own key may still be found, for its slot was its own when the lookup looked; what is read from it then may be the other one's.
#[test]
fn recycled_under_its_own_key() {
    Model {
        name: "recycled_under_its_own_key",
        roles: &[recycle, |stage| stage.find(&key(0, 0, 2))],
        expected: &[&[DONE, NO], &[DONE, 1], &[DONE, 2]],
        ..ONE_ENTRY
    }
    .explore();
}

/// The other key is found in it with its value, never with what was there before.
#[test]
fn recycled_under_the_new_key() {
    Model {
        name: "recycled_under_the_new_key",
        roles: &[recycle, |stage| stage.find(&key(1, 0, 2))],
        expected: &[&[DONE, NO], &[DONE, 2]],
        ..ONE_ENTRY
    }
    .explore();
}

/// The same with two writers: who deletes and who inserts are joined by the lock alone.
#[test]
fn recycled_by_another_writer() {
    Model {
        name: "recycled_by_another_writer",
        preemptions: 2,
        roles: &[
            |stage| stage.delete(&key(0, 0, 2)),
            |stage| stage.put(&key(1, 0, 2), 2),
            |stage| stage.find(&key(1, 0, 2)),
        ],
        expected: &[&[DONE, FULL, NO], &[DONE, DONE, NO], &[DONE, DONE, 2]],
        ..ONE_ENTRY
    }
    .explore();
}

/// A key of two words is written over another one: what is half the one and half the other is not in the map.
#[test]
fn a_key_that_never_was_is_never_found() {
    Model {
        name: "a_key_that_never_was_is_never_found",
        key_size: 16,
        before: |stage| {
            stage.put(&torn()[0], 1);
        },
        roles: &[
            |stage| {
                stage.delete(&torn()[0]);
                stage.put(&torn()[1], 2)
            },
            |stage| stage.look(&torn()[2]),
        ],
        expected: &[&[DONE, NO], &[DONE, AGAIN]],
        ..ONE_ENTRY
    }
    .explore();
}

/// An entry that is updated is there all the time; who looks sees a change at most once for each.
#[test]
fn an_update_hides_nothing() {
    Model {
        name: "an_update_hides_nothing",
        roles: &[
            |stage| {
                stage.put(&key(0, 0, 2), 2);
                stage.put(&key(0, 0, 2), 3)
            },
            |stage| {
                let looks = [(); 3].map(|()| stage.look(&key(0, 0, 2)));
                let found: Vec<_> = looks.into_iter().filter(|look| *look != AGAIN).collect();
                assert!(!found.is_empty(), "three looks, two changes");
                found[0]
            },
        ],
        expected: &[&[DONE, 1], &[DONE, 2], &[DONE, 3]],
        ..ONE_ENTRY
    }
    .explore();
}

/// A full LRU map: the entry that gives way is there or not, the new one with its value or not; never the one for the other.
#[test]
fn an_eviction() {
    Model {
        name: "an_eviction",
        preemptions: 2,
        table: (1, 1, true),
        roles: &[|stage| stage.put(&key(1, 0, 2), 2), |stage| stage.find(&key(1, 0, 2))],
        expected: &[&[DONE, NO], &[DONE, 2]],
        ..ONE_ENTRY
    }
    .explore();
}

/// Two entries stand in a chain, and the front one goes or changes. Its slot is given to an entry of another chain, which leads the lookup of the other one
/// astray.
fn the_rest_of_a_chain(name: &str, change: Role) {
    Model {
        name,
        table: (3, 2, false),
        before: |stage| {
            stage.put(&key(0, 0, 4), 1);
            stage.put(&key(1, 0, 4), 2);
        },
        roles: &[change, |stage| stage.find(&key(0, 0, 4))],
        expected: &[&[DONE, 1]],
        ..ONE_ENTRY
    }
    .explore();
}

#[test]
fn the_rest_of_a_chain_is_not_lost() {
    the_rest_of_a_chain("the_rest_of_a_chain_is_not_lost", |stage| {
        stage.put(&key(1, 0, 4), 3);
        stage.put(&key(0, 1, 4), 4)
    });
}

#[test]
fn the_rest_of_a_chain_is_not_deleted() {
    the_rest_of_a_chain("the_rest_of_a_chain_is_not_deleted", |stage| {
        stage.delete(&key(1, 0, 4));
        stage.put(&key(0, 1, 4), 4)
    });
}

/// Two buckets become four, and a chain with entries of both kinds in turn is taken apart, while each of them is looked up.
fn growing(name: &str, find: Role, expected: u8) {
    Model {
        name,
        preemptions: 2,
        table: (7, 2, false),
        before: |stage| {
            // In the chain of the first of four buckets, newest first: of the eighth's other half, its own, the other half, its own.
            for number in 0..2 {
                stage.put(&key(number, 0, 8), 1 + 2 * u8::try_from(number).unwrap());
                stage.put(&key(number, 4, 8), 2 + 2 * u8::try_from(number).unwrap());
            }
        },
        roles: &[|stage| stage.put(&key(0, 1, 8), 9), find],
        expected: &[&[DONE, expected]],
        ..ONE_ENTRY
    }
    .explore();
}

#[test]
fn growth_hides_none_that_stay() {
    growing("growth_hides_none_that_stay (last)", |stage| stage.find(&key(0, 0, 8)), 1);
    growing("growth_hides_none_that_stay (first)", |stage| stage.find(&key(1, 0, 8)), 3);
}

#[test]
fn growth_hides_none_that_move() {
    growing("growth_hides_none_that_move (last)", |stage| stage.find(&key(0, 4, 8)), 2);
    growing("growth_hides_none_that_move (first)", |stage| stage.find(&key(1, 4, 8)), 4);
}

/// What came with the growth is found with its value, or not yet.
#[test]
fn growth_brings_one() {
    Model {
        name: "growth_brings_one",
        preemptions: 2,
        table: (3, 1, false),
        before: |stage| {
            stage.put(&key(0, 0, 4), 1);
            stage.put(&key(0, 2, 4), 2);
        },
        roles: &[|stage| stage.put(&key(1, 2, 4), 3), |stage| stage.find(&key(1, 2, 4))],
        expected: &[&[DONE, NO], &[DONE, 3]],
        ..ONE_ENTRY
    }
    .explore();
}

/// Two entries and one lookup, racing the update that evicts: whichever is left, one is, and the new one is.
#[test]
fn an_eviction_after_a_use() {
    Model {
        name: "an_eviction_after_a_use",
        preemptions: 2,
        table: (2, 1, true),
        before: |stage| {
            stage.put(&key(0, 0, 2), 1);
            stage.put(&key(1, 0, 2), 2);
        },
        roles: &[
            |stage| {
                stage.put(&key(2, 0, 2), 4);
                let left = [0, 1, 2].map(|number| stage.find(&key(number, 0, 2)));
                left.iter().sum()
            },
            |stage| stage.find(&key(0, 0, 2)),
        ],
        // The one that is used before the eviction stays. What is found and goes then may have its slot used again before its value is read.
        expected: &[&[5, 1], &[6, NO], &[6, 1], &[6, 4]],
        ..ONE_ENTRY
    }
    .explore();
}
