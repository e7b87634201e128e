//! One program (or subprogram) of the table, and whether it is to be loaded.

use core::fmt;

use zerocopy::IntoBytes;

use crate::error::Frozen;
use crate::instruction::Instruction;
use crate::kinds::ProgramKind;
use crate::order::{self, Byte};
use crate::sections::SectionKind;
use crate::windows::WindowsSection;

/// A program of an object file: a function in an executable section.
///
/// It borrows the object's bytes; the only thing that can change is whether it is to be loaded
/// ([`set_autoload`](Self::set_autoload)).
pub struct Program<'data> {
    name: &'data str,
    section_name: &'data str,
    instructions: &'data [Instruction],
    /// Where the first instruction stands in its section, in instructions.
    offset: u32,
    section: u16,
    /// Row of the section tables, one after the other, [`NO_ROW`] or [`SUBPROGRAM`]: 56 bytes per program leave no room for an
    /// enum.
    row: u8,
    state: AutoloadState,
}

pub(crate) struct Parts<'data> {
    pub(crate) name: &'data str,
    pub(crate) section_name: &'data str,
    pub(crate) section: u16,
    pub(crate) offset: u32,
    pub(crate) instructions: &'data [Instruction],
    pub(crate) kind: Option<usize>,
    pub(crate) is_subprogram: bool,
    pub(crate) autoload: bool,
}

impl<'data> Program<'data> {
    pub(crate) fn new(parts: Parts<'data>) -> Self {
        Self {
            name: parts.name,
            section_name: parts.section_name,
            instructions: parts.instructions,
            offset: parts.offset,
            section: parts.section,
            row: match parts.kind.and_then(|row| u8::try_from(row).ok()) {
                _ if parts.is_subprogram => SUBPROGRAM,
                Some(row) => row,
                None => NO_ROW,
            },
            state: AutoloadState::new(parts.autoload),
        }
    }

    /// The function's name (its symbol). The kernel keeps the first 15 bytes of it.
    #[must_use]
    pub fn name(&self) -> &'data str {
        self.name
    }

    /// The section's name, without a leading `?`.
    #[must_use]
    pub fn section_name(&self) -> &'data str {
        self.section_name
    }

    /// The ELF section header's index.
    #[must_use]
    pub fn section_index(&self) -> usize {
        usize::from(self.section)
    }

    /// Where the program starts in its section, in instructions.
    #[must_use]
    pub fn section_offset(&self) -> usize {
        widen(self.offset)
    }

    /// The row of Linux's section table that the section's name matched.
    #[must_use]
    pub fn section_kind(&self) -> Option<&'static SectionKind> {
        SectionKind::all().get(usize::from(self.row))
    }

    /// The row of Windows' section table that the section's name matched, if the object was opened with that table
    /// ([`Options::section_table`](crate::Options::section_table)).
    #[must_use]
    pub fn windows_section(&self) -> Option<&'static WindowsSection> {
        let row = usize::from(self.row).checked_sub(SectionKind::COUNT)?;
        WindowsSection::all().get(row)
    }

    /// The program type that the section's name stands for; [`ProgramKind::UNSPEC`] if it stands for none.
    #[must_use]
    pub fn kind(&self) -> ProgramKind {
        let windows = || self.windows_section().map_or(ProgramKind::UNSPEC, WindowsSection::kind);
        self.section_kind().map_or_else(windows, SectionKind::kind)
    }

    /// The attach type that the section's name stands for (`enum bpf_attach_type` of the system whose table it is); 0
    /// if none.
    #[must_use]
    pub fn expected_attach_type(&self) -> u32 {
        let windows = || self.windows_section().and_then(WindowsSection::attach_type).unwrap_or(0);
        self.section_kind().map_or_else(windows, SectionKind::expected_attach_type)
    }

    /// Makes a program of a function of `.text`; leaves others as they are.
    pub(crate) fn promote(&mut self) {
        if self.is_subprogram() {
            self.row = NO_ROW;
        }
    }

    /// The instructions as they stand in the file: not relocated, and in the file's byte order.
    #[must_use]
    pub fn instructions(&self) -> &'data [Instruction] {
        self.instructions
    }

    /// The bytes of [`instructions`](Self::instructions).
    #[must_use]
    pub fn instruction_bytes(&self) -> &'data [u8] {
        self.instructions.as_bytes()
    }

    /// Number of instructions in the file, at least 1: subprograms that will be appended are not counted.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a program without instructions is refused when the object is opened"
    )]
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Whether the program lives in `.text`, where other programs call it and nobody loads it by itself.
    #[must_use]
    pub fn is_subprogram(&self) -> bool {
        self.row == SUBPROGRAM
    }

    /// Whether the program is to be loaded. Who sees a change also sees what its author wrote before making it.
    #[must_use]
    pub fn autoload(&self) -> bool {
        self.state.load()
    }

    /// Says whether the program is to be loaded.
    ///
    /// This looks at this program only. While another thread is inside
    /// [`ObjectFile::freeze`](crate::ObjectFile::freeze), one program may be refused already and another not
    /// yet; [`ObjectFile::set_autoload`](crate::ObjectFile::set_autoload) rules that out. Once `freeze` has
    /// returned, both refuse.
    ///
    /// # Errors
    ///
    /// [`Frozen`] once loading has begun.
    pub fn set_autoload(&self, autoload: bool) -> Result<(), Frozen> {
        self.state.store(autoload)
    }

    /// Section and offset in it: the order of the table.
    pub(crate) fn place(&self) -> (u16, u32) {
        (self.section, self.offset)
    }

    /// Whether both are the same function of the same bytes.
    pub(crate) fn is_same(&self, other: &Program<'_>) -> bool {
        self.place() == other.place()
            && self.name == other.name
            && core::ptr::eq(self.instructions.as_ptr(), other.instructions.as_ptr())
            && self.instructions.len() == other.instructions.len()
    }

    pub(crate) fn freeze(&self) {
        self.state.freeze();
    }
}

impl fmt::Debug for Program<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("name", &self.name)
            .field("section", &self.section_name)
            .field("kind", &self.kind())
            .field("expected_attach_type", &self.expected_attach_type())
            .field("len", &self.len())
            .field("autoload", &self.autoload())
            .finish_non_exhaustive()
    }
}

/// Whether a program is to be loaded (or a map created), and whether that is settled: [`AUTOLOAD`] and [`FROZEN`].
///
/// Written by whoever switches the program (until it is frozen) and by whoever freezes the table (only ever
/// adding [`FROZEN`]); read by anybody. Both facts are in one byte, so that a change cannot slip in between
/// the question whether it is allowed and the change itself.
pub(crate) struct AutoloadState(Byte);

impl Clone for AutoloadState {
    fn clone(&self) -> Self {
        Self(Byte::new(self.0.load(order::AUTOLOAD)))
    }
}

impl AutoloadState {
    pub(crate) fn new(autoload: bool) -> Self {
        Self(Byte::new(if autoload { AUTOLOAD } else { 0 }))
    }

    pub(crate) fn load(&self) -> bool {
        self.0.load(order::AUTOLOAD) & AUTOLOAD != 0
    }

    pub(crate) fn store(&self, autoload: bool) -> Result<(), Frozen> {
        let wanted = if autoload { AUTOLOAD } else { 0 };
        loop {
            let state = self.0.load_for_update(order::LOOK);
            if state & FROZEN != 0 {
                return Err(Frozen);
            }
            if self.0.replace(state, wanted, order::CHANGE) {
                return Ok(());
            }
        }
    }

    pub(crate) fn freeze(&self) {
        self.0.fetch_or(FROZEN, order::FREEZE_PROGRAM);
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Program<'static>>() <= 56);
const NO_ROW: u8 = u8::MAX;
const SUBPROGRAM: u8 = NO_ROW - 1;
const _: () = assert!(SectionKind::COUNT + WindowsSection::COUNT < SUBPROGRAM as usize);
const AUTOLOAD: u8 = 1;
const FROZEN: u8 = 2;

fn widen(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
