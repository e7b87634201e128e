//! The program table of an eBPF object file.
#![no_std]
#![forbid(unsafe_code)]

mod error;
mod instruction;
mod kinds;
mod map;
mod object_file;
mod program;
mod sections;

pub use error::{Frozen, OpenError, RelocateError};
pub use instruction::Instruction;
pub use kinds::{MapKind, ProgramKind};
pub use map::Map;
pub use object_file::{ObjectFile, Options};
pub use program::Program;
pub use sections::SectionKind;

#[cfg(test)]
extern crate std;
