//! The object file.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Frozen, OpenError, RelocateError};
use crate::instruction::Instruction;
use crate::map::Map;
use crate::program::Program;

/// What the object does not say itself.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options<'data> {
    /// The object's file name.
    pub name: &'data str,
    /// Bytes of a page.
    pub page_size: u32,
    /// CPUs.
    pub possible_cpus: u32,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { name: "", page_size: 4096, possible_cpus: 1 }
    }
}

/// An opened object.
pub struct ObjectFile<'data, const PROGRAMS: usize = 64, const MAPS: usize = 64> {
    programs: heapless::Vec<Program<'data>, PROGRAMS, u16>,
    maps: heapless::Vec<Map<'data>, MAPS, u16>,
    frozen: AtomicBool,
}

impl<'data, const PROGRAMS: usize, const MAPS: usize> ObjectFile<'data, PROGRAMS, MAPS> {
    /// Opens.
    pub fn open(data: &'data [u8]) -> Result<Self, OpenError> {
        Self::open_with(data, Options::default())
    }

    /// Opens.
    pub fn open_named(name: &'data str, data: &'data [u8]) -> Result<Self, OpenError> {
        Self::open_with(data, Options { name, ..Options::default() })
    }

    /// Opens.
    pub fn open_with(_data: &'data [u8], _options: Options<'data>) -> Result<Self, OpenError> {
        Err(OpenError::NotElf)
    }

    /// Programs.
    pub fn programs(&self) -> impl Iterator<Item = &Program<'data>> {
        self.programs.iter().filter(|program| !program.is_subprogram())
    }

    /// Subprograms.
    pub fn subprograms(&self) -> impl Iterator<Item = &Program<'data>> {
        self.programs.iter().filter(|program| program.is_subprogram())
    }

    /// By name.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<&Program<'data>> {
        self.programs().find(|program| program.name() == name)
    }

    /// Maps.
    #[must_use]
    pub fn maps(&self) -> &[Map<'data>] {
        &self.maps
    }

    /// Licence.
    #[must_use]
    pub fn license(&self) -> &'data str {
        ""
    }

    /// Says whether `program` is to be loaded.
    pub fn set_autoload(&self, program: &Program<'data>, autoload: bool) -> Result<(), Frozen> {
        if self.frozen.load(Ordering::Acquire) {
            return Err(Frozen);
        }
        program.set_autoload(autoload)
    }

    /// Freezes.
    pub fn freeze(&self) -> Result<(), Frozen> {
        let first = self.frozen.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire).is_ok();
        for program in &self.programs {
            program.freeze();
        }
        if first { Ok(()) } else { Err(Frozen) }
    }

    /// Instructions after linking.
    pub fn linked_len(&self, program: &Program<'data>) -> Result<usize, RelocateError> {
        Ok(program.len())
    }

    /// Links.
    pub fn relocate<'b>(
        &self,
        program: &Program<'data>,
        map_reference: impl Fn(usize) -> i32,
        buffer: &'b mut [Instruction],
    ) -> Result<&'b [Instruction], RelocateError> {
        let _ = map_reference;
        buffer.get(..program.len()).ok_or(RelocateError::BufferTooShort { needed: program.len() })
    }
}
