//! What can be wrong with an object, and where.

use core::error::Error;
use core::fmt;

use crate::map_problem::MapProblem;

/// Why an object could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The object's type information (`.BTF`), which its maps need, is malformed.
    Btf(BtfError),
    /// The ELF header names no byte order.
    ByteOrder {
        /// `EI_DATA`; 1 and 2 are known.
        byte_order: u8,
    },
    /// Not a 64-bit ELF file.
    Class {
        /// `EI_CLASS`; 2 is known.
        class: u8,
    },
    /// Several sections of which there may be one.
    DuplicateSection {
        /// The section's name.
        section: &'static str,
    },
    /// A section that libbpf has not supported since 1.0: maps are declared with BTF, in `.maps`.
    LegacyMaps,
    /// The licence is not text.
    License,
    /// A map is declared wrongly.
    Map {
        /// The map.
        map: Label,
        /// What is wrong with it.
        problem: MapProblem,
    },
    /// There is no symbol table: the object was stripped.
    NoSymbols,
    /// An ELF file, but not a relocatable object for eBPF.
    NotBpf {
        /// `e_type`; 1 (relocatable) is wanted.
        kind: u16,
        /// `e_machine`; 247 (eBPF) is wanted, 0 accepted.
        machine: u16,
    },
    /// Not an ELF file.
    NotElf,
    /// A program reaches beyond the end of its section.
    ProgramBeyondSection {
        /// The section.
        section: Label,
        /// The program.
        program: Label,
        /// Where it starts in the section, in bytes.
        offset: u64,
        /// Bytes it claims.
        size: u64,
    },
    /// A program is empty, or does not consist of whole instructions.
    ProgramCorrupted {
        /// The section.
        section: Label,
        /// The program.
        program: Label,
        /// Where it starts in the section, in bytes.
        offset: u64,
        /// Bytes it claims.
        size: u64,
    },
    /// A function outside `.text` is static: nobody can load it by name.
    ProgramIsStatic {
        /// The section.
        section: Label,
        /// The program.
        program: Label,
    },
    /// A function's name is not in the string table, not text, or longer than 4095 bytes.
    ProgramName {
        /// The section.
        section: Label,
        /// Index of the symbol.
        symbol: usize,
    },
    /// A relocation section is malformed, or is for a section that does not exist.
    Relocations {
        /// Index of the relocation section.
        section: usize,
    },
    /// The section headers have an unknown size.
    SectionHeaderSize {
        /// `e_shentsize`; 64 is known.
        size: u16,
    },
    /// A section's name is not in the string table, not text, or longer than 255 bytes.
    SectionName {
        /// Index of the section.
        section: usize,
    },
    /// There is no string table for the names of sections.
    SectionNames,
    /// A section has a type that its name forbids.
    SectionType {
        /// The section.
        section: Label,
        /// `sh_type`.
        kind: u32,
    },
    /// There is no string table for the names of symbols.
    SymbolNames,
    /// The object has more maps than the table holds.
    TooManyMaps {
        /// How many there are.
        found: usize,
        /// How many the table holds.
        capacity: usize,
    },
    /// The object has more programs, subprograms included, than the table holds.
    TooManyPrograms {
        /// How many there are.
        found: usize,
        /// How many the table holds.
        capacity: usize,
    },
    /// The file ends before something that it promises.
    Truncated {
        /// What is missing.
        what: &'static str,
    },
    /// A section reaches beyond the end of the file.
    TruncatedSection {
        /// The section.
        section: Label,
    },
    /// A section of zeroed variables is larger than a map's value can be.
    SectionSize {
        /// Its name.
        section: Label,
        /// Bytes it is to have.
        size: u64,
    },
    /// More than one symbol table.
    TwoSymbolTables,
    /// The `version` section does not hold four bytes.
    Version {
        /// Bytes it holds.
        size: u64,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Btf(error) => write!(f, "type information (.BTF): {error}"),
            Self::ByteOrder { byte_order } => write!(f, "unknown byte order {byte_order} in the ELF header"),
            Self::Class { class } => write!(f, "not a 64-bit ELF file (class {class})"),
            Self::DuplicateSection { section } => write!(f, "more than one section '{section}'"),
            Self::LegacyMaps => {
                f.write_str("section 'maps' declares maps in a way that is no longer supported: use '.maps'")
            }
            Self::License => f.write_str("the licence is not text"),
            Self::Map { map, problem } => write!(f, "map '{map}': {problem}"),
            Self::NoSymbols => f.write_str("no symbol table: is the object stripped?"),
            Self::NotBpf { kind, machine } => {
                write!(f, "not a relocatable eBPF object (ELF type {kind}, machine {machine})")
            }
            Self::NotElf => f.write_str("not an ELF file"),
            Self::ProgramBeyondSection { section, program, offset, size } => write!(
                f,
                "section '{section}': program '{program}' (offset {offset}, {size} bytes) is cut off"
            ),
            Self::ProgramCorrupted { section, program, offset, size } => write!(
                f,
                "section '{section}': program '{program}' (offset {offset}, {size} bytes) is corrupted"
            ),
            Self::ProgramIsStatic { section, program } => {
                write!(f, "section '{section}': program '{program}' is static")
            }
            Self::ProgramName { section, symbol } => {
                write!(f, "section '{section}': the name of function symbol {symbol} is unreadable")
            }
            Self::Relocations { section } => write!(f, "relocation section {section} is malformed"),
            Self::SectionHeaderSize { size } => write!(f, "section headers of {size} bytes instead of 64"),
            Self::SectionName { section } => write!(f, "the name of section {section} is unreadable"),
            Self::SectionNames => f.write_str("the table of section names is missing"),
            Self::SectionType { section, kind } => write!(f, "section '{section}' has the wrong type {kind}"),
            Self::SymbolNames => f.write_str("the table of symbol names is missing"),
            Self::TooManyMaps { found, capacity } => {
                write!(f, "{found} maps, and the table holds {capacity}")
            }
            Self::TooManyPrograms { found, capacity } => {
                write!(f, "{found} programs and subprograms, and the table holds {capacity}")
            }
            Self::Truncated { what } => write!(f, "truncated: {what} beyond the end of the file"),
            Self::TruncatedSection { section } => {
                write!(f, "truncated: section '{section}' reaches beyond the end of the file")
            }
            Self::SectionSize { section, size } => {
                write!(f, "section '{section}' is to have {size} bytes: a map's value has less than 4 GiB")
            }
            Self::TwoSymbolTables => f.write_str("more than one symbol table"),
            Self::Version { size } => write!(f, "section 'version' holds {size} bytes instead of 4"),
        }
    }
}

impl Error for OpenError {}

impl From<BtfError> for OpenError {
    fn from(error: BtfError) -> Self {
        Self::Btf(error)
    }
}

/// What is wrong with type information. Offsets and sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BtfError {
    /// The header is short, has the wrong magic number, or places its parts outside the section.
    Header,
    /// There is no `.BTF` section, but the object declares maps with it.
    Missing,
    /// A section has no description.
    NoDatasec {
        /// The section.
        section: &'static str,
    },
    /// The strings do not begin and end with a zero byte.
    Strings,
    /// More data sections are described than any object has.
    TooManyDatasecs {
        /// How many are looked at.
        limit: usize,
    },
    /// Following references would take longer than any compiler's output needs.
    TooMuchWork,
    /// A type is of an unknown kind, or cut off.
    Type {
        /// Its number.
        id: u32,
    },
    /// A reference to a type that does not exist.
    TypeNumber {
        /// The number.
        id: u32,
    },
}

impl fmt::Display for BtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header is malformed"),
            Self::Missing => f.write_str("missing, but maps are declared with it"),
            Self::NoDatasec { section } => write!(f, "section '{section}' is not described"),
            Self::Strings => f.write_str("the strings are malformed"),
            Self::TooManyDatasecs { limit } => write!(f, "more than {limit} data sections"),
            Self::TooMuchWork => f.write_str("too many references to follow"),
            Self::Type { id } => write!(f, "type {id} is malformed"),
            Self::TypeNumber { id } => write!(f, "there is no type {id}"),
        }
    }
}

impl Error for BtfError {}

/// The table is frozen: loading has begun, and what is to be loaded can no longer change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing more to say")]
pub struct Frozen;

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the program table is frozen: loading has begun")
    }
}

impl Error for Frozen {}

/// A name inside an error: at most 31 bytes of it, so that errors own what they say and stay small.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Label {
    bytes: [u8; Self::CAPACITY],
    /// Length of the name, or [`CUT`](Self::CUT) and the length of what was kept of it.
    len: u8,
}

impl Label {
    const CAPACITY: usize = 31;
    const CUT: u8 = 0x80;

    /// Keeps as much of `name` as there is room for.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut label = Self { bytes: [0; Self::CAPACITY], len: 0 };
        let mut kept = name.len().min(Self::CAPACITY);
        while !name.is_char_boundary(kept) {
            kept = kept.saturating_sub(1);
        }
        for (to, from) in label.bytes.iter_mut().zip(name.bytes().take(kept)) {
            *to = from;
            label.len = label.len.saturating_add(1);
        }
        if kept < name.len() {
            label.len |= Self::CUT;
        }
        label
    }

    /// The name, or as much of it as was kept.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let kept = usize::from(self.len & !Self::CUT);
        self.bytes.get(..kept).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        f.write_str(if self.len & Self::CUT == 0 { "" } else { "…" })
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
