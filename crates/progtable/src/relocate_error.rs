//! Why a program could not be linked.

use core::error::Error;
use core::fmt;

use crate::btf_ext::InfoKind;
use crate::error::{BtfError, Label};
use crate::externs::ExternKind;
use crate::program::Program;

/// Why a program could not be linked, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelocateError {
    program: Label,
    section: Label,
    instruction: usize,
    kind: RelocateErrorKind,
}

impl RelocateError {
    pub(crate) fn new(program: &Program<'_>, instruction: usize, kind: RelocateErrorKind) -> Self {
        Self::about([program.name(), program.section_name()], instruction, kind)
    }

    /// Names are the program's and its section's. Not inlined: as labels they are long, and are to be on nobody's
    /// stack but where there is an error.
    #[cold]
    #[inline(never)]
    pub(crate) fn about(names: [&str; 2], instruction: usize, kind: RelocateErrorKind) -> Self {
        let [program, section] = names.map(Label::new);
        Self { program, section, instruction, kind }
    }

    /// [`new`](Self::new) as a result, which is made where it goes to.
    #[cold]
    #[inline(never)]
    pub(crate) fn fail<T>(
        program: &Program<'_>,
        instruction: usize,
        kind: RelocateErrorKind,
    ) -> Result<T, Self> {
        Err(Self::new(program, instruction, kind))
    }

    /// The program, or the subprogram that it pulled in, in which the trouble is.
    #[must_use]
    pub fn program(&self) -> &str {
        self.program.as_str()
    }

    /// The section of that program.
    #[must_use]
    pub fn section(&self) -> &str {
        self.section.as_str()
    }

    /// The instruction of that program, counted from 0; 0 where the trouble is not with one instruction.
    #[must_use]
    pub fn instruction(&self) -> usize {
        self.instruction
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> &RelocateErrorKind {
        &self.kind
    }
}

impl fmt::Display for RelocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program '{}' (section '{}')", self.program, self.section)?;
        if self.kind.is_about_an_instruction() {
            write!(f, ", instruction {}", self.instruction)?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl Error for RelocateError {}

/// What stands in the way of linking. Offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelocateErrorKind {
    /// Type information (`.BTF`), which says what an extern is, is malformed.
    Btf(BtfError),
    /// The section `.BTF.ext`, which says where CO-RE relocations are, is malformed.
    BtfExt,
    /// The buffer is too short.
    BufferTooShort {
        /// Instructions that the program takes with its subprograms.
        needed: usize,
        /// Instructions that the buffer holds.
        available: usize,
    },
    /// The object is of the other byte order: its programs cannot run here.
    ByteOrder,
    /// A call, or a function's address, that does not lead to the start of an instruction of `.text`.
    CallTarget {
        /// The symbol.
        symbol: Label,
        /// Where it leads.
        offset: u64,
    },
    /// A 16-byte instruction ends with the program.
    CutOff,
    /// A variable in a section that no map stands for.
    DataTarget {
        /// The symbol.
        symbol: Label,
        /// Index of its section.
        section: u16,
    },
    /// A symbol that the object neither defines nor does without, and for which the
    /// [`Resolver`](crate::Resolver) has no answer.
    Extern {
        /// Its name.
        symbol: Label,
        /// What it stands for.
        kind: ExternKind,
    },
    /// The program is not one of this object file's.
    ForeignProgram,
    /// A relocation that does not start where an instruction does.
    Misaligned {
        /// Where it starts in the section.
        offset: u64,
    },
    /// An instruction that refers to a subprogram, and no relocation says to which.
    MissingRelocation,
    /// The instruction accesses a kernel structure whose layout has to be taken from the kernel's own types
    /// (CO-RE).
    NeedsCoRe,
    /// A subprogram has no records of a kind of which the program has some.
    NoInfo {
        /// The kind.
        kind: InfoKind,
    },
    /// A map in `.maps` that is not declared.
    NoSuchMap {
        /// The symbol.
        symbol: Label,
        /// Where it stands in `.maps`.
        offset: u64,
    },
    /// A call to a place in `.text` where no function starts.
    NoSuchSubprogram {
        /// The instruction of `.text` that is called.
        instruction: u64,
    },
    /// A relocation refers to a symbol that does not exist.
    NoSuchSymbol {
        /// Its number.
        symbol: u64,
    },
    /// A relocated call is not marked as a call of a subprogram.
    NotASubprogramCall {
        /// The symbol.
        symbol: Label,
        /// The instruction's source register; 1 is wanted.
        source: u8,
    },
    /// An instruction that is relocated is neither a call nor a 64-bit load.
    Opcode {
        /// The symbol.
        symbol: Label,
        /// The instruction's opcode.
        opcode: u8,
    },
    /// The section's relocations reach beyond the end of the file.
    RelocationsCutOff,
    /// A symbol that stands in no section of the file.
    SpecialSection {
        /// The symbol.
        symbol: Label,
        /// Its section number (`st_shndx`).
        section: u16,
    },
    /// A subprogram: it is linked into the programs that call it, never by itself.
    Subprogram,
    /// With its subprograms the program has more than 2²⁴ instructions, sixteen times what Linux loads.
    TooLong,
    /// Two sections hold relocations for the program's section.
    TwoRelocationSections,
    /// Relocations are out of order, and there are too many of them to search.
    UnsortedRelocations {
        /// How many there are.
        count: usize,
        /// How many are searched.
        limit: usize,
    },
}

impl RelocateErrorKind {
    const fn is_about_an_instruction(&self) -> bool {
        !matches!(
            self,
            Self::BtfExt
                | Self::NoInfo { .. }
                | Self::BufferTooShort { .. }
                | Self::ByteOrder
                | Self::ForeignProgram
                | Self::RelocationsCutOff
                | Self::Subprogram
                | Self::TooLong
                | Self::TwoRelocationSections
                | Self::UnsortedRelocations { .. }
        )
    }
}

impl fmt::Display for RelocateErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Btf(error) => write!(f, "type information (.BTF): {error}"),
            Self::BtfExt => f.write_str("section '.BTF.ext' is malformed"),
            Self::BufferTooShort { needed, available } => {
                write!(
                    f,
                    "takes {needed} instructions with its subprograms, and the buffer holds {available}"
                )
            }
            Self::ByteOrder => f.write_str("the object is of the other byte order"),
            Self::CallTarget { symbol, offset } => {
                write!(f, "'{symbol}' + {offset} is not a function of '.text'")
            }
            Self::CutOff => f.write_str("the second half of the instruction is missing"),
            Self::DataTarget { symbol, section } => {
                write!(f, "'{symbol}' is in section {section}, which no map stands for")
            }
            Self::Extern { symbol, kind } => {
                write!(f, "'{symbol}' ({kind}) is not known here")
            }
            Self::ForeignProgram => f.write_str("not a program of this object"),
            Self::Misaligned { offset } => {
                write!(f, "a relocation at offset {offset} is inside the instruction")
            }
            Self::MissingRelocation => f.write_str("refers to a subprogram, and no relocation says to which"),
            Self::NeedsCoRe => {
                f.write_str("depends on the layout of kernel structures (CO-RE), which is not supported here")
            }
            Self::NoInfo { kind } => write!(f, "has no {kind:?} records in '.BTF.ext', and its callers have"),
            Self::NoSuchMap { symbol, offset } => {
                write!(f, "'{symbol}' ('.maps' + {offset}) is not a declared map")
            }
            Self::NoSuchSubprogram { instruction } => {
                write!(f, "no function starts at instruction {instruction} of '.text'")
            }
            Self::NoSuchSymbol { symbol } => {
                write!(f, "the relocation refers to symbol {symbol}, which is missing")
            }
            Self::NotASubprogramCall { symbol, source } => {
                write!(f, "the call of '{symbol}' is not a call of a subprogram (source register {source})")
            }
            Self::Opcode { symbol, opcode } => {
                write!(f, "opcode {opcode:#04x} cannot refer to '{symbol}'")
            }
            Self::RelocationsCutOff => {
                f.write_str("the section's relocations reach beyond the end of the file")
            }
            Self::SpecialSection { symbol, section } => {
                write!(f, "'{symbol}' stands in no section of the file (section number {section:#x})")
            }
            Self::Subprogram => f.write_str("a subprogram is not loaded by itself"),
            Self::TooLong => f.write_str("too long with its subprograms"),
            Self::TwoRelocationSections => f.write_str("two sections hold relocations for the section"),
            Self::UnsortedRelocations { count, limit } => {
                write!(f, "the section's {count} relocations are out of order (up to {limit} are searched)")
            }
        }
    }
}
