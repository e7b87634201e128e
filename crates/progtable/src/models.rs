//! Models of choosing and freezing: the real table, every interleaving within a bound.
//!
//! Loom skips interleavings silently in two known ways, so each model says which outcomes must be seen, all of
//! them and no others, over both orders of spawning, and no role runs on the creating thread.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use std::vec::Vec;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU8, Ordering};

use crate::{ObjectFile, Program};

static OBJECT: &[u8] = include_bytes!("../tests/objects/choose.bpf.o");

/// What the roles of one execution share: the table, and what they write beside it. The notes are relaxed, so that
/// they are seen in order only where the table orders them.
struct Stage {
    file: ObjectFile<'static, 4, 4>,
    notes: [AtomicU8; 2],
}

impl Stage {
    fn program(&self, name: &str) -> &Program<'static> {
        self.file.program(name).unwrap()
    }

    fn write(&self, note: usize) {
        self.notes[note].store(1, Ordering::Relaxed);
    }

    fn read(&self, note: usize) -> u8 {
        self.notes[note].load(Ordering::Relaxed)
    }

    /// Switches a program through the table; whether that was accepted.
    fn set(&self, name: &str, autoload: bool) -> u8 {
        self.file.set_autoload(self.program(name), autoload).is_ok().into()
    }

    fn autoload(&self, name: &str) -> u8 {
        self.program(name).autoload().into()
    }

    fn freeze(&self) -> u8 {
        self.file.freeze().is_ok().into()
    }
}

/// A role of a model: runs on its own thread and gives its part of the outcome.
type Role = fn(&Stage) -> Vec<u8>;

/// Explores what the roles give. Each row of `expected` is one execution's outcome, role by role.
fn explore(name: &str, preemptions: usize, roles: &'static [Role], expected: &[&[&[u8]]]) {
    let expected = expected.iter().map(|row| row.iter().map(|part| part.to_vec()).collect::<Vec<_>>());
    ebpf_loom_harness::explore(name, preemptions, expected, |spawning| {
        let file = ObjectFile::open(OBJECT).unwrap();
        let stage = Arc::new(Stage { file, notes: [AtomicU8::new(0), AtomicU8::new(0)] });
        spawning.run(&stage, roles)
    });
}

const A: &str = "test_LRU_map";
const B: &str = "test_maps";

/// What the loader finds after freezing is what was accepted, and nothing else.
#[test]
fn an_accepted_change_is_honoured() {
    explore(
        "an_accepted_change_is_honoured",
        3,
        &[|stage| [stage.set(A, false)].into(), |stage| [stage.freeze(), stage.autoload(A)].into()],
        &[&[&[1], &[1, 0]], &[&[0], &[1, 1]]],
    );
}

/// A change to what a program is already is refused like any other.
#[test]
fn after_the_freeze_every_value_is_refused() {
    explore(
        "after_the_freeze_every_value_is_refused",
        3,
        &[
            |stage| {
                let first = stage.set(A, true);
                [first, stage.set(A, false), stage.set(A, true)].into()
            },
            |stage| [stage.freeze(), stage.autoload(A)].into(),
        ],
        &[&[&[1, 1, 1], &[1, 1]], &[&[1, 1, 0], &[1, 0]], &[&[1, 0, 0], &[1, 1]], &[&[0, 0, 0], &[1, 1]]],
    );
}

/// Two that change the same program: the last one accepted counts, and neither is lost half-way.
#[test]
fn two_who_choose_and_one_who_loads() {
    explore(
        "two_who_choose_and_one_who_loads",
        2,
        &[
            |stage| [stage.set(A, false)].into(),
            |stage| [stage.set(A, true)].into(),
            |stage| [stage.freeze(), stage.autoload(A)].into(),
        ],
        &[
            &[&[0], &[0], &[1, 1]],
            &[&[1], &[0], &[1, 0]],
            &[&[0], &[1], &[1, 1]],
            &[&[1], &[1], &[1, 0]],
            &[&[1], &[1], &[1, 1]],
        ],
    );
}

/// Of two loaders one wins; the other sees what the winner wrote before, and may be first to read.
#[test]
fn one_loader_wins() {
    explore(
        "one_loader_wins",
        3,
        &[
            |stage| {
                stage.write(0);
                let won = stage.freeze();
                [won, if won == 0 { stage.read(1) } else { 1 }].into()
            },
            |stage| {
                stage.write(1);
                let won = stage.freeze();
                [won, if won == 0 { stage.read(0) } else { 1 }].into()
            },
        ],
        &[&[&[1, 1], &[0, 1]], &[&[0, 1], &[1, 1]]],
    );
}

/// Both loaders, winner or not, agree on what is to be loaded, and it is what was accepted.
#[test]
fn both_loaders_see_the_same_choice() {
    explore(
        "both_loaders_see_the_same_choice",
        2,
        &[
            |stage| [stage.set(A, false)].into(),
            |stage| {
                stage.freeze();
                [stage.autoload(A)].into()
            },
            |stage| {
                stage.freeze();
                [stage.autoload(A)].into()
            },
        ],
        &[&[&[1], &[0], &[0]], &[&[0], &[1], &[1]]],
    );
}

/// Who sees a program switched off also sees what was written before that.
#[test]
fn a_change_carries_what_was_written_before() {
    explore(
        "a_change_carries_what_was_written_before",
        3,
        &[
            |stage| {
                stage.write(0);
                [stage.set(A, false)].into()
            },
            |stage| [stage.autoload(A), stage.read(0)].into(),
        ],
        &[&[&[1], &[0, 1]], &[&[1], &[1, 0]], &[&[1], &[1, 1]]],
    );
}

/// Who froze the table sees what was written before any change that was accepted, without asking for the program.
#[test]
fn the_loader_sees_what_was_written_before_a_change() {
    explore(
        "the_loader_sees_what_was_written_before_a_change",
        3,
        &[
            |stage| {
                stage.write(0);
                // Looks at the program alone, as the table's own look could order too much.
                [stage.program(A).set_autoload(true).is_ok().into()].into()
            },
            |stage| [stage.freeze(), stage.read(0)].into(),
        ],
        &[&[&[1], &[1, 1]], &[&[0], &[1, 0]], &[&[0], &[1, 1]]],
    );
}

/// A third one's change in between does not cut that chain: a change need not acquire to pass on what earlier ones
/// carried.
#[test]
fn a_later_change_passes_on_what_an_earlier_one_carried() {
    explore(
        "a_later_change_passes_on_what_an_earlier_one_carried",
        2,
        &[
            |stage| {
                stage.write(0);
                [stage.program(A).set_autoload(false).is_ok().into()].into()
            },
            |stage| [stage.program(A).set_autoload(true).is_ok().into()].into(),
            |stage| [stage.freeze(), stage.read(0)].into(),
        ],
        &[
            &[&[1], &[1], &[1, 1]],
            &[&[1], &[0], &[1, 1]],
            &[&[0], &[0], &[1, 0]],
            &[&[0], &[0], &[1, 1]],
            &[&[0], &[1], &[1, 0]],
            &[&[0], &[1], &[1, 1]],
        ],
    );
}

/// Who is refused sees what the loader wrote before it froze the table.
#[test]
fn who_is_refused_sees_what_the_loader_wrote() {
    explore(
        "who_is_refused_sees_what_the_loader_wrote",
        3,
        &[
            |stage| {
                let accepted = stage.program(A).set_autoload(false).is_ok();
                [accepted.into(), if accepted { 1 } else { stage.read(0) }].into()
            },
            |stage| {
                stage.write(0);
                [stage.freeze()].into()
            },
        ],
        &[&[&[1, 1], &[1]], &[&[0, 1], &[1]]],
    );
}

/// The same through the table, which may know before the program does.
#[test]
fn who_is_refused_by_the_table_sees_what_the_loader_wrote() {
    explore(
        "who_is_refused_by_the_table_sees_what_the_loader_wrote",
        3,
        &[
            |stage| {
                let accepted = stage.set(A, false);
                [accepted, if accepted == 1 { 1 } else { stage.read(0) }].into()
            },
            |stage| {
                stage.write(0);
                [stage.freeze()].into()
            },
        ],
        &[&[&[1, 1], &[1]], &[&[0, 1], &[1]]],
    );
}

/// Once anybody has been refused, nobody can change any program: who is refused finishes the loader's work first.
#[test]
fn after_a_refusal_all_are_refused() {
    explore(
        "after_a_refusal_all_are_refused",
        3,
        &[
            |stage| {
                let accepted = stage.set(A, false);
                if accepted == 0 {
                    // Tells the third, with an ordering of its own.
                    stage.notes[0].store(1, Ordering::Release);
                }
                [accepted].into()
            },
            |stage| [stage.freeze()].into(),
            |stage| {
                let told = stage.notes[0].load(Ordering::Acquire);
                let accepted: u8 = stage.program(B).set_autoload(false).is_ok().into();
                [told, accepted].into()
            },
        ],
        &[
            &[&[0], &[1], &[0, 0]],
            &[&[0], &[1], &[0, 1]],
            &[&[0], &[1], &[1, 0]],
            &[&[1], &[1], &[0, 0]],
            &[&[1], &[1], &[0, 1]],
        ],
    );
}
