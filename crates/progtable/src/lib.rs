//! What an eBPF object file holds: its programs and whether each is to be loaded, its maps, its licence, and
//! its relocations.
//!
//! Opening an object allocates nothing and copies nothing: names, instructions and initial values are
//! borrowed from the file's bytes, and the table has a capacity fixed at compile time. That makes it fit for
//! a kernel driver, a boot loader, or a tool that opens many objects to look at few of them. The programs,
//! their order, types and attach types, and the maps are those that libbpf finds.
//!
//! # Example: three programs, one wanted
//!
//! An object holds three programs. One of them works here, and only that one is to be loaded: the others then
//! cost nothing.
//!
//! ```
//! use ebpf_progtable::{Instruction, ObjectFile, ProgramKind};
//!
//! let bytes = include_bytes!("../tests/objects/choose.bpf.o");
//! let file: ObjectFile = ObjectFile::open_named("choose.bpf.o", bytes)?;
//!
//! let names: Vec<_> = file.programs().map(|program| program.name()).collect();
//! assert_eq!(names, ["test_LRU_map", "test_PUSH_POP_map", "test_maps"]);
//!
//! // Any thread may choose, until loading begins.
//! for program in file.programs() {
//!     file.set_autoload(program, program.name() == "test_maps")?;
//! }
//! file.freeze()?;
//!
//! // The caller creates the maps; here the third one was given the descriptor 7.
//! let mut buffer = [Instruction::default(); 64];
//! for program in file.programs().filter(|program| program.autoload()) {
//!     assert_eq!(program.kind(), ProgramKind::XDP);
//!     let linked = file.relocate(program, |map| [5, 6, 7][map], &mut buffer)?;
//!     assert_eq!(linked.iter().filter(|instruction| instruction.opcode() == 0x18).count(), 1);
//!     assert!(linked.iter().any(|instruction| instruction.imm() == 7));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which way to open
//!
//! * [`ObjectFile::open`] (and [`open_named`](ObjectFile::open_named), [`open_with`](ObjectFile::open_with)) gives
//!   the table as a value. It is what a program wants that has a stack of the usual size.
//! * [`ObjectFile::open_into`] fills a table that is there already, and never has another one anywhere: in a
//!   `static`, a driver's own structure, or memory that was allocated once. It is what a driver wants, what a table
//!   of many programs needs, and what saves a tenth of the time where many objects are opened one after the other.
//!
//! ```
//! use std::sync::Mutex;
//!
//! use ebpf_progtable::{ObjectFile, Options};
//!
//! static OBJECT: &[u8] = include_bytes!("../tests/objects/choose.bpf.o");
//! // Room for 1000 programs, on nobody's stack.
//! static TABLE: Mutex<ObjectFile<'static, 1000, 64>> = Mutex::new(ObjectFile::empty());
//!
//! let mut table = TABLE.lock()?;
//! ObjectFile::open_into(&mut table, OBJECT, &Options::default())?;
//! assert_eq!(table.programs().count(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Stack
//!
//! Measured by `tests/stack.rs` with optimisation, on x86-64:
//!
//! | | stack below the caller's frame |
//! |---|---|
//! | `open_into`, whatever the capacities are | at most 4 KiB |
//! | `open`, with 64 programs and 64 maps | at most a table of 7.7 KiB beside the caller's, and 4 KiB |
//!
//! Without optimisation it is about 22 KiB in place. Nothing recurses deeper than the logarithm of the table's length.
//!
//! # Cost
//!
//! Opening takes one pass over the sections, one over the types and one over the symbols, and does not look at
//! relocations: those are read when a program is linked, so one that is off costs nothing. It grows with the number of
//! sections, types and symbols, and with nothing squared: one of 10 000 programs takes as many instructions as one of
//! 100 (about 500, its section, label and symbols included). Programs whose symbols are out of order are sorted, which
//! costs up to four times that. `cargo xtask bench open` shows it beside libbpf and aya: installed objects take 1 to
//! 5 µs.
//!
//! # When not to use it
//!
//! * **The object reads kernel structures through CO-RE, or refers to kernel symbols, kernel functions or
//!   `__kconfig` values.** Such programs are listed, and linking them fails with an error that says so: it
//!   takes a kernel's own type information to do better. Programs beside them that need none of this can be
//!   linked.
//! * **The object is to be loaded with its type information.** `.BTF` is read for the maps only; function and
//!   line records are not carried over to the linked program.
//! * **The object is not in memory.** It has to be, whole, for as long as the table lives.
//!
//! # Guarantees
//!
//! * No allocation, no `unsafe`, and no panic, whatever the bytes are. What is wrong with an object is said
//!   with its place and value.
//! * Work is bounded by the size of the file times the number of maps that there is room for: circles, overlaps and
//!   invented counts do not change that.
//! * The table takes 56 bytes for each program and 64 for each map, 7.7 KiB as it comes. More programs or
//!   maps than there is room for are an error, never left out, and the error says how many there are.
//! * [`set_autoload`](ObjectFile::set_autoload) and [`freeze`](ObjectFile::freeze) work from any thread
//!   without waiting. A change that was answered with `Ok` is seen by the one that freezes; a change after
//!   that is refused, whatever it wants. Exactly one `freeze` succeeds. Both are model-checked, each memory ordering
//!   with a mutant that a model notices; under `--cfg loom` a crate can model itself together with the table
//!   (`tests/downstream.rs`).
//! * The linked instructions are those that libbpf makes, one by one.
//!
//! # Non-guarantees
//!
//! * A damaged object that opens here may be refused by libbpf: relocations are read when a program is
//!   linked, so a program that is off cannot fail, and type information is checked where it is used. And the
//!   other way round: names and licences that are not UTF-8 are refused here.
//! * Linking says nothing about whether a program is valid. That is for a verifier.
//! * An object of the other byte order can be inspected, not linked.
#![no_std]
#![forbid(unsafe_code)]

mod btf;
mod btf_ext;
mod elf;
mod error;
mod instruction;
mod kinds;
mod map;
mod map_definition;
mod map_name;
mod map_problem;
#[cfg(all(test, loom))]
mod models;
mod object_file;
mod open;
mod open_maps;
mod order;
mod program;
mod relocate;
mod relocate_error;
mod sections;
mod sort;

pub use error::{BtfError, Frozen, Label, OpenError};
pub use instruction::Instruction;
pub use kinds::{MapKind, ProgramKind};
pub use map::{Map, MapDefinition};
pub use map_problem::MapProblem;
pub use object_file::ObjectFile;
pub use open::Options;
pub use program::Program;
pub use relocate_error::{RelocateError, RelocateErrorKind};
pub use sections::SectionKind;

#[cfg(any(test, loom))]
extern crate std;
