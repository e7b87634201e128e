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
//! * Work is bounded by the size of the file times the table's capacity: circles, overlaps and invented
//!   counts do not change that.
//! * The table takes 56 bytes for each program and 64 for each map, 7.7 KiB as it comes. More programs or
//!   maps than there is room for are an error, never left out, and the error says how many there are.
//! * [`set_autoload`](ObjectFile::set_autoload) and [`freeze`](ObjectFile::freeze) work from any thread
//!   without waiting. A change that was answered with `Ok` is seen by the one that freezes; a change after
//!   that is refused.
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
