//! Open, choose, load: composes the blocks of an eBPF runtime.
#![no_std]
#![forbid(unsafe_code)]

mod error;
mod object;
mod platform;

pub use ebpf_progtable::{Instruction, Map, MapKind, ObjectFile, OpenError, Program, ProgramKind, RelocateError};
pub use error::{AutoloadError, LoadError};
pub use object::{Loaded, Object};
pub use platform::{MapSpec, Platform, ProgramSpec};
