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
//! ```
//! # use ebpf_progtable::ObjectFile;
//! let file: ObjectFile = ObjectFile::open(include_bytes!("../tests/objects/choose.bpf.o"))?;
//! file.programs().try_for_each(|program| file.set_autoload(program, program.name() == "test_maps"))?;
//! assert!(file.programs().filter(|program| program.autoload()).map(|program| program.name()).eq(["test_maps"]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The two others then cost nothing. What the third refers to can be asked before anything exists, and linking
//! puts in what the caller created:
//!
//! ```
//! use ebpf_progtable::{Instruction, ObjectFile, ProgramKind, ReferenceTarget};
//!
//! let bytes = include_bytes!("../tests/objects/choose.bpf.o");
//! let file: ObjectFile = ObjectFile::open_named("choose.bpf.o", bytes)?;
//! let program = file.program("test_maps").expect("the object has it");
//! assert_eq!(program.kind(), ProgramKind::XDP);
//!
//! let needs = file.needs(program)?;
//! assert!(needs.is_self_contained() && needs.maps().eq([2]));
//! let targets: Result<Vec<_>, _> = file.references(program).map(|found| found.map(|found| found.target)).collect();
//! assert!(matches!(targets?[..], [ReferenceTarget::Map { map: 2 }]));
//!
//! // From here on the choice is made. The third map was created, and given the descriptor 7.
//! file.freeze()?;
//! let mut buffer = [Instruction::default(); 64];
//! let linked = file.relocate(program, |map| [5, 6, 7][map], &mut buffer)?;
//! assert_eq!(linked.len(), needs.instructions);
//! assert!(linked.iter().any(|instruction| instruction.opcode() == 0x18 && instruction.imm() == 7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What an object needs of a kernel
//!
//! Is reported, typed, and never guessed. [`ObjectFile::externs`] lists the symbols that an object does not
//! define: kernel symbols, kernel variables, kernel functions, and configuration values with their types;
//! [`ObjectFile::references`] says which instruction refers to them, and where kernel types are accessed
//! (CO-RE). Who knows the answers implements [`Resolver`] and links with
//! [`relocate_with`](ObjectFile::relocate_with); [`fill_kconfig`](ObjectFile::fill_kconfig) writes the map of
//! configuration values. What is weak and missing becomes what libbpf makes of it: zero, null, or a call that
//! no verifier accepts where it can be reached ([`POISONED_CALL`]). What is not weak and missing is an error
//! that names it.
//!
//! [`Layout::records`] hands on the function, line and CO-RE records of `.BTF.ext`, adjusted to the linked
//! program as bpf(2) takes them: Linux applies CO-RE records itself since 5.17. A program with such records is
//! refused unless [`Resolver::handles_core`] says that somebody takes care of them.
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
//! With optimisation, on x86-64, with all that is called (`tests/stack.rs` runs it, `cargo xtask embed laws` reads it
//! off the code of each public function):
//!
//! | | stack below the caller's frame |
//! |---|---|
//! | `open_into`, whatever the capacities are | at most 2 KiB |
//! | `open`, with 64 programs and 64 maps | a table of 7.7 KiB beside the caller's, and 2 KiB |
//! | everything else, with 64 programs | at most 2 KiB, of which 8 bytes for each program |
//!
//! What [`references`](ObjectFile::references) gives is an iterator of about a kilobyte: `for` uses it where it is,
//! each adaptor moves it. Without optimisation opening takes about 22 KiB in place. Nothing recurses.
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
//! * **The object is to run on a kernel whose types differ from those it was compiled with, and that kernel does
//!   not apply CO-RE records itself.** They are handed on, not applied: it takes a kernel's own type information
//!   to do so.
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
//! # Differences from libbpf
//!
//! Each is on purpose; `crates/conformance` compares everything else.
//!
//! * **Later.** Relocations, externs and initial values are looked at when they are needed, so a program that is
//!   off cannot fail: libbpf refuses the whole object when it opens it. A missing extern counts only if a program
//!   that is linked refers to it; libbpf wants all that are not weak.
//! * **Stricter.** Names and licences that are not UTF-8, section names beyond 255 bytes and function names beyond
//!   4095, section headers of an unusual size, sections beyond the end of the file, and keys or values whose type is
//!   a data section are refused: what no compiler writes is not worth the work it can cost.
//! * **CO-RE** records are not applied (see above), and there is no search through the types of kernel modules.
//! * **A map of configuration values that is not created** is poisoned like any other; libbpf leaves a reference to
//!   no map.
//! * **`struct_ops`** programs are switched by the caller alone; libbpf switches them with the maps that refer to
//!   them when it loads the object.
//! * **Arena variables** (`.addr_space.1`) and jump tables (`.jumptables`) are refused when they are linked.
//! * **A perf event array without a size** keeps 0 unless [`Options::possible_cpus`] is set; libbpf asks the system.
//! * Eleven rows of the section table are newer than libbpf 1.7 (`fentry.multi`, `tp.s`, and their like): they are
//!   those of libbpf's next release.
//! * There are no handlers for sections of one's own: a section of no known name gives its programs no type.
//! * **Damage that no tool does.** Of 1,300,000 randomly damaged objects (`crates/conformance/tests/mutations.rs`) some 926,000 are opened
//!   here; five of those have another table than libbpf's, in the size of a `.kconfig` map or in its being there, and in
//!   `BPF_F_MMAPABLE` of a data section, where types contradict the symbols. About 27,000 are refused here alone, for what stands above under
//!   *stricter*, and 81,000 by libbpf alone, for what stands under *later*.
//!
//! With [`SectionTable::Windows`] names stand for what eBPF for Windows takes them for. Its other rules are not taken
//! over: `?` still means that a program is off (there every program is on), and maps are declared in `.maps` only.
//!
//! # Non-guarantees
//!
//! * Linking says nothing about whether a program is valid. That is for a verifier.
//! * An object of the other byte order can be inspected, not linked.
#![no_std]
#![forbid(unsafe_code)]

mod btf;
mod btf_ext;
mod elf;
mod error;
mod externs;
mod info;
mod initial_values;
mod instruction;
mod kconfig;
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
mod references;
mod relocate;
mod relocate_error;
mod sections;
mod sort;
mod walk;
mod windows;

pub use btf_ext::{InfoKind, InfoRecord};
pub use error::{BtfError, Frozen, Label, OpenError};
pub use externs::{Extern, ExternKind};
pub use info::Layout;
pub use initial_values::{InitialValue, InitialValueProblem, SlotTarget};
pub use instruction::Instruction;
pub use kconfig::{KconfigError, KconfigKind, KconfigProblem, KconfigValue, KconfigVariable};
pub use kinds::{MapKind, ProgramKind};
pub use map::{Map, MapDefinition};
pub use map_problem::MapProblem;
pub use object_file::ObjectFile;
pub use open::Options;
pub use program::Program;
pub use references::{Needs, Reference, ReferenceTarget};
pub use relocate::{KernelObject, POISONED_CALL, POISONED_MAP, Resolver};
pub use relocate_error::{RelocateError, RelocateErrorKind};
pub use sections::SectionKind;
pub use windows::{Guid, SectionTable, WindowsSection};

#[cfg(any(test, loom))]
extern crate std;
