//! Mutated copies of real objects: no panic, no allocation above the file's size plus a stated bound.
//!
//! `EBPF_BLOCKS_MUTATIONS` says how many (5,000 if unset), `EBPF_BLOCKS_SEED` where the sequence starts. Every iteration depends on seed
//! and number alone, and a failure prints both: `EBPF_BLOCKS_SEED=… EBPF_BLOCKS_FIRST=… EBPF_BLOCKS_MUTATIONS=1` repeats it.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "mutations/alloc.rs"]
mod alloc;
#[path = "mutations/mutate.rs"]
mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ebpf_blocks::{Console, Plan, Status, inspect_object, run_object};
use ebpf_vm::VmConfig;

use alloc::Counting;
use mutate::{Random, mutate};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

const OBJECTS: [(&str, &[u8]); 2] = [
    ("maps.bpf.o", include_bytes!("../programs/maps.bpf.o")),
    ("sections.bpf.o", include_bytes!("../programs/sections.bpf.o")),
];

/// What the machine may use for maps and programs: its own limit, which it is configured with.
const MACHINE: usize = 1 << 20;
/// What the tool may use besides: its tables of programs and maps, the linked program, the text it prints.
const SLACK: usize = 256 << 10;

#[test]
fn mutated_objects_neither_panic_nor_take_more_memory_than_stated() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .map_or(default, |text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    let seed = number("EBPF_BLOCKS_SEED", 0x0b1e_55ed);
    let first = number("EBPF_BLOCKS_FIRST", 0);
    let count = number("EBPF_BLOCKS_MUTATIONS", 5_000);
    let mut tally = Tally::default();
    let mut highest = 0;
    for iteration in first..first.saturating_add(count) {
        let mut random = Random::new(seed, iteration);
        let (name, original) = OBJECTS[random.below(OBJECTS.len())];
        let mutated = mutate(original, &mut random);
        let repeat = format!("EBPF_BLOCKS_SEED={seed} EBPF_BLOCKS_FIRST={iteration} EBPF_BLOCKS_MUTATIONS=1");
        ALLOCATOR.restart();
        let outcome = catch_unwind(AssertUnwindSafe(|| exercise(name, &mutated)));
        let peak = ALLOCATOR.peak();
        let Ok((inspected, ran)) = outcome else { panic!("{name}, mutated: the tool panicked; {repeat}") };
        tally.count(inspected, ran);
        let bound = mutated.len() + MACHINE + SLACK;
        assert!(peak <= bound, "{name}, mutated: {peak} bytes at once, the bound is {bound}; {repeat}");
        highest = highest.max(peak);
    }
    println!("{count} mutants from seed {seed}: {tally:?}, at most {highest} bytes at once");
    if count >= 1_000 {
        // Mutants that are all refused at the door would show nothing about the rooms behind it.
        assert!(tally.refused > 0 && tally.not_run > 0 && tally.ran > 0, "{tally:?}");
    }
}

/// How far the mutants got.
#[derive(Debug, Default)]
struct Tally {
    /// No object.
    refused: u64,
    /// An object that was not loaded, or whose programs faulted.
    not_run: u64,
    /// Ran to its end.
    ran: u64,
}

impl Tally {
    fn count(&mut self, inspected: Status, ran: Status) {
        match (inspected, ran) {
            (Status::Done, Status::Done) => self.ran += 1,
            (Status::Done, _) => self.not_run += 1,
            (_, ran) => {
                assert_eq!(ran, Status::Failed, "what cannot be inspected cannot be run");
                self.refused += 1;
            }
        }
    }
}

/// All the tool does with an object, printing to nowhere.
fn exercise(name: &str, data: &[u8]) -> (Status, Status) {
    let plan = Plan { repeat: 1, machine: machine(), ..Plan::default() };
    let mut console = Console::new(std::io::sink(), std::io::sink(), data.len().is_multiple_of(2));
    let inspected =
        inspect_object(name, name, data, Some(machine()), &mut console).expect("a sink takes everything");
    let ran = run_object(name, name, data, &plan, &mut console).expect("a sink takes everything");
    (inspected, ran)
}

fn machine() -> VmConfig {
    VmConfig::new().with_memory_limit(MACHINE).with_instruction_budget(20_000)
}

/// The guard is no guard if the count is wrong.
#[test]
fn the_allocator_counts() {
    let counting = Counting::new();
    counting.grow(100);
    counting.grow(50);
    counting.shrink(120);
    counting.grow(10);
    assert_eq!(counting.peak(), 150);
    counting.restart();
    assert_eq!(counting.peak(), 0);
    counting.grow(7);
    assert_eq!(counting.peak(), 7);
}
