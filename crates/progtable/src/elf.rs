//! The container: ELF64 headers, symbols and relocations as views of the object's bytes.
//!
//! Written over `zerocopy` views instead of the `object` crate, for three reasons. Four structures are all
//! that is needed, and `object`'s section and symbol tables do more per section than reading an object's
//! programs takes. BTF needs integers of the file's byte order outside ELF structures, so [`U32`] has to
//! exist anyway. And a driver vendors its dependencies: one less.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::OpenError;

/// The byte order that the file's header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    pub(crate) const NATIVE: Self = if cfg!(target_endian = "little") { Self::Little } else { Self::Big };
}

macro_rules! integer {
    ($name:ident, $value:ty, $bytes:literal) => {
        /// An integer of the file's byte order, at any address.
        #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(transparent)]
        pub(crate) struct $name([u8; $bytes]);

        impl $name {
            pub(crate) const fn get(self, order: Order) -> $value {
                match order {
                    Order::Little => <$value>::from_le_bytes(self.0),
                    Order::Big => <$value>::from_be_bytes(self.0),
                }
            }
        }
    };
}

integer!(U16, u16, 2);
integer!(U32, u32, 4);
integer!(U64, u64, 8);

/// `Elf64_Ehdr`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FileHeader {
    magic: [u8; 4],
    class: u8,
    byte_order: u8,
    _ident: [u8; 10],
    kind: U16,
    machine: U16,
    _version: U32,
    _entry: U64,
    _program_headers: U64,
    sections_offset: U64,
    _flags: U32,
    _header_size: U16,
    _program_header_size: U16,
    _program_header_count: U16,
    section_header_size: U16,
    section_count: U16,
    section_names: U16,
}

/// `Elf64_Shdr`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct SectionHeader {
    pub(crate) name: U32,
    pub(crate) kind: U32,
    pub(crate) flags: U64,
    _address: U64,
    offset: U64,
    pub(crate) size: U64,
    pub(crate) link: U32,
    pub(crate) info: U32,
    _alignment: U64,
    pub(crate) entry_size: U64,
}

/// `Elf64_Sym`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Symbol {
    pub(crate) name: U32,
    info: u8,
    other: u8,
    pub(crate) section: U16,
    pub(crate) value: U64,
    pub(crate) size: U64,
}

impl Symbol {
    pub(crate) const fn kind(&self) -> u8 {
        self.info & 0xf
    }

    pub(crate) const fn binding(&self) -> u8 {
        self.info >> 4
    }

    pub(crate) const fn is_global(&self) -> bool {
        matches!(self.binding(), binding::GLOBAL | binding::WEAK)
    }

    /// Whether the symbol is neither hidden nor internal.
    pub(crate) const fn is_visible(&self) -> bool {
        !matches!(self.other & 3, 1 | 2)
    }
}

/// `Elf64_Rel`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Relocation {
    pub(crate) offset: U64,
    info: U64,
}

impl Relocation {
    /// Index of the symbol: the high half of `r_info`. The low half, the type, says nothing that the
    /// instruction does not.
    pub(crate) const fn symbol(&self, order: Order) -> u64 {
        self.info.get(order) >> 32
    }
}

const _: () = assert!(
    size_of::<FileHeader>() == 64
        && size_of::<SectionHeader>() == 64
        && size_of::<Symbol>() == 24
        && size_of::<Relocation>() == 16
);

/// `sh_type`.
pub(crate) mod section_type {
    pub(crate) const PROGBITS: u32 = 1;
    pub(crate) const SYMTAB: u32 = 2;
    pub(crate) const STRTAB: u32 = 3;
    pub(crate) const NOBITS: u32 = 8;
    pub(crate) const REL: u32 = 9;
    pub(crate) const LLVM_ADDRSIG: u32 = 0x6fff_4c03;
}

/// `sh_flags`: holds instructions.
pub(crate) const EXECINSTR: u64 = 4;

/// Low half of `st_info`.
pub(crate) mod symbol_type {
    pub(crate) const NOTYPE: u8 = 0;
    pub(crate) const OBJECT: u8 = 1;
    pub(crate) const FUNC: u8 = 2;
    pub(crate) const SECTION: u8 = 3;
}

/// High half of `st_info`.
pub(crate) mod binding {
    pub(crate) const LOCAL: u8 = 0;
    pub(crate) const GLOBAL: u8 = 1;
    pub(crate) const WEAK: u8 = 2;
}

/// Longest section name, in bytes. A bound on names keeps the work linear when all sections of a hostile file
/// share one long name.
pub(crate) const MAX_SECTION_NAME: usize = 255;
/// Longest name of a function, in bytes: mangled names are long. Bounded for the same reason.
const MAX_SYMBOL_NAME: usize = 4095;

/// The opened container. Everything in it borrows the object's bytes.
#[derive(Clone, Copy)]
pub(crate) struct Container<'data> {
    data: &'data [u8],
    pub(crate) order: Order,
    pub(crate) sections: &'data [SectionHeader],
    section_names: &'data [u8],
    pub(crate) symbols: &'data [Symbol],
    symbol_names: &'data [u8],
}

impl<'data> Container<'data> {
    /// Nothing at all.
    pub(crate) const EMPTY: Self = Self {
        data: &[],
        order: Order::NATIVE,
        sections: &[],
        section_names: &[],
        symbols: &[],
        symbol_names: &[],
    };

    /// Reads the file header, finds the section headers, the one symbol table, and both string tables.
    pub(crate) fn parse(data: &'data [u8]) -> Result<Self, OpenError> {
        let (header, _) = FileHeader::ref_from_prefix(data).map_err(|_| match data {
            [0x7f, b'E', b'L', b'F', ..] => OpenError::Truncated { what: "file header" },
            _ => OpenError::NotElf,
        })?;
        if header.magic != *b"\x7fELF" {
            return Err(OpenError::NotElf);
        }
        if header.class != 2 {
            return Err(OpenError::Class { class: header.class });
        }
        let order = match header.byte_order {
            1 => Order::Little,
            2 => Order::Big,
            byte_order => return Err(OpenError::ByteOrder { byte_order }),
        };
        let sections = section_headers(data, header, order)?;
        let names_index = match header.section_names.get(order) {
            EXTENDED => sections.first().map_or(0, |first| first.link.get(order)),
            index => u32::from(index),
        };
        let names = sections.get(index(names_index)).ok_or(OpenError::SectionNames)?;
        let section_names = contents(data, names, order).ok_or(OpenError::SectionNames)?;
        let (kind, machine) = (header.kind.get(order), header.machine.get(order));
        if kind != ET_REL || !matches!(machine, EM_NONE | EM_BPF) {
            return Err(OpenError::NotBpf { kind, machine });
        }

        let mut tables = sections.iter().filter(|section| section.kind.get(order) == section_type::SYMTAB);
        let table = tables.next().ok_or(OpenError::NoSymbols)?;
        if tables.next().is_some() {
            return Err(OpenError::TwoSymbolTables);
        }
        let symbols = contents(data, table, order).ok_or(OpenError::Truncated { what: "symbol table" })?;
        let symbols = records(symbols);
        let strings = table.link.get(order);
        let symbol_names = match strings {
            0 => None,
            strings => sections.get(index(strings)).and_then(|strings| contents(data, strings, order)),
        };
        let symbol_names = symbol_names.ok_or(OpenError::SymbolNames)?;
        Ok(Self { data, order, sections, section_names, symbols, symbol_names })
    }

    pub(crate) fn section(&self, index: u16) -> Option<&'data SectionHeader> {
        self.sections.get(usize::from(index))
    }

    /// The section's bytes; `None` if they reach beyond the file. Nothing for a section that occupies no
    /// space in the file.
    pub(crate) fn contents(&self, section: &SectionHeader) -> Option<&'data [u8]> {
        contents(self.data, section, self.order)
    }

    /// The section's name; `None` if it is outside the string table, not terminated, not text, or longer than
    /// [`MAX_SECTION_NAME`].
    pub(crate) fn section_name(&self, section: &SectionHeader) -> Option<&'data str> {
        str::from_utf8(self.section_name_bytes(section)?).ok()
    }

    /// As [`section_name`](Self::section_name), for who only compares it.
    pub(crate) fn section_name_bytes(&self, section: &SectionHeader) -> Option<&'data [u8]> {
        text(self.section_names, section.name.get(self.order), MAX_SECTION_NAME)
    }

    /// Whether the section's name is `name`: takes no longer than comparing `name`.
    pub(crate) fn section_is_named(&self, section: &SectionHeader, name: &[u8]) -> bool {
        text_is(self.section_names, section.name.get(self.order), name)
    }

    /// The symbol's name; `None` if it is outside the string table, not terminated, not text, or longer than
    /// [`MAX_SYMBOL_NAME`].
    pub(crate) fn symbol_name(&self, symbol: &Symbol) -> Option<&'data str> {
        str::from_utf8(text(self.symbol_names, symbol.name.get(self.order), MAX_SYMBOL_NAME)?).ok()
    }

    /// Whether the symbol's name is `name`: takes no longer than comparing `name`.
    pub(crate) fn symbol_is_named(&self, symbol: &Symbol, name: &str) -> bool {
        text_is(self.symbol_names, symbol.name.get(self.order), name.as_bytes())
    }
}

/// The string at that offset of a string table, without its zero; `None` if it is outside the table, not
/// terminated, not text, or longer than `most` bytes.
pub(crate) fn text(table: &[u8], offset: u32, most: usize) -> Option<&[u8]> {
    let rest = table.get(index(offset)..)?;
    let window = rest.get(..=most).unwrap_or(rest);
    let (words, tail) = window.as_chunks::<8>();
    let mut len = 0_usize;
    let mut beyond_ascii = 0_u64;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // The lowest bit set is the highest one of the first byte that is zero.
        let zeros = word.wrapping_sub(ONES) & !word & HIGHS;
        if zeros != 0 {
            beyond_ascii |= word & HIGHS & (zeros & zeros.wrapping_neg()).wrapping_sub(1);
            len = len.saturating_add(index(zeros.trailing_zeros() >> 3));
            return checked(rest.get(..len)?, beyond_ascii);
        }
        beyond_ascii |= word & HIGHS;
        len = len.saturating_add(8);
    }
    let zero = tail.iter().position(|&byte| byte == 0)?;
    if tail.get(..zero)?.iter().any(|byte| !byte.is_ascii()) {
        beyond_ascii = HIGHS;
    }
    checked(rest.get(..len.saturating_add(zero))?, beyond_ascii)
}

/// The bytes, if they are text: a look at the string is all that it takes where it is ASCII.
fn checked(bytes: &[u8], beyond_ascii: u64) -> Option<&[u8]> {
    (beyond_ascii == 0 || str::from_utf8(bytes).is_ok()).then_some(bytes)
}

/// Whether the string at that offset of a string table is `text`: takes no longer than comparing `text`.
pub(crate) fn text_is(table: &[u8], offset: u32, text: &[u8]) -> bool {
    let rest = table.get(index(offset)..).unwrap_or_default();
    // Most are of another length, and so differ here.
    rest.get(text.len()) == Some(&0) && rest.starts_with(text)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The records that fit into `bytes`; what remains at the end is ignored, as libelf does.
pub(crate) fn records<T: FromBytes + Immutable + KnownLayout + Unaligned>(bytes: &[u8]) -> &[T] {
    let count = bytes.len().checked_div(size_of::<T>()).unwrap_or(0);
    <[T]>::ref_from_prefix_with_elems(bytes, count).map_or(&[], |(records, _)| records)
}

fn section_headers<'data>(
    data: &'data [u8],
    header: &FileHeader,
    order: Order,
) -> Result<&'data [SectionHeader], OpenError> {
    let truncated = OpenError::Truncated { what: "section headers" };
    let offset = header.sections_offset.get(order);
    if offset == 0 {
        return Ok(&[]);
    }
    let size = header.section_header_size.get(order);
    if usize::from(size) != size_of::<SectionHeader>() {
        return Err(OpenError::SectionHeaderSize { size });
    }
    let rest = usize::try_from(offset).ok().and_then(|offset| data.get(offset..)).ok_or(truncated.clone())?;
    let count = match header.section_count.get(order) {
        // More sections than sixteen bits count: the first header's size says how many.
        0 => {
            let (first, _) = SectionHeader::ref_from_prefix(rest).map_err(|_| truncated.clone())?;
            usize::try_from(first.size.get(order)).unwrap_or(usize::MAX)
        }
        count => usize::from(count),
    };
    <[SectionHeader]>::ref_from_prefix_with_elems(rest, count)
        .map(|(sections, _)| sections)
        .map_err(|_| truncated)
}

fn contents<'data>(data: &'data [u8], section: &SectionHeader, order: Order) -> Option<&'data [u8]> {
    if section.kind.get(order) == section_type::NOBITS {
        return Some(&[]);
    }
    let offset = usize::try_from(section.offset.get(order)).ok()?;
    let size = usize::try_from(section.size.get(order)).ok()?;
    data.get(offset..)?.get(..size)
}

/// A 32-bit index or offset as one into a slice; saturates where `usize` is narrower, and then misses.
pub(crate) fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

const ET_REL: u16 = 1;
const EM_NONE: u16 = 0;
const EM_BPF: u16 = 247;
/// `SHN_XINDEX`: the index did not fit.
const EXTENDED: u16 = 0xffff;

#[cfg(test)]
mod tests {
    extern crate std;

    use core::ffi::CStr;
    use std::string::String;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{text, text_is};

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte =
            prop_oneof![6 => b'a'..=b'z', 2 => Just(0_u8), 1 => any::<u8>(), 1 => Just(0x80), 1 => Just(1)];
        let broken = proptest::collection::vec(byte, 0..40);
        prop_oneof![broken, "[a-zäß€\u{0}]{0,20}".prop_map(String::into_bytes)]
    }

    proptest! {
        /// Beside the standard library's way of reading a C string.
        #[test]
        fn strings_are_read_as_they_stand(table in bytes(), offset in 0_u32..45, most in 0_usize..30) {
            let expected = table.get(usize::try_from(offset).unwrap()..).and_then(|rest| {
                let text = CStr::from_bytes_until_nul(rest).ok()?.to_str().ok()?;
                (text.len() <= most).then_some(text.as_bytes())
            });
            prop_assert_eq!(text(&table, offset, most), expected);
            if let Some(found) = expected {
                prop_assert!(text_is(&table, offset, found));
            }
            for other in [&b""[..], b"a", b"ab"] {
                prop_assert_eq!(text_is(&table, offset, other), text(&table, offset, 64) == Some(other));
            }
        }
    }
}
