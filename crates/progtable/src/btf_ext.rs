//! Where CO-RE relocations are: the third part of the section `.BTF.ext`.
//!
//! The part starts with the size of a record; then follow groups, one per ELF section, each with the
//! section's name, a count, and that many records, which start with the offset of an instruction.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::elf::{Order, U16, U32, index, records};

/// `struct btf_ext_header`, with the fields that CO-RE added.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: U16,
    _version: u8,
    _flags: u8,
    header_len: U32,
    _func_info: [U32; 2],
    _line_info: [U32; 2],
    core_offset: U32,
    core_len: U32,
}

/// The relocations of one ELF section.
pub(crate) struct Group<'data> {
    name: u32,
    records: &'data [U32],
    /// Words of a record, at least 4.
    record_words: usize,
    order: Order,
}

impl<'data> Group<'data> {
    /// Whether the group is about the section of that name; `strings` are those of `.BTF`.
    pub(crate) fn is_named(&self, strings: &[u8], section: &str) -> bool {
        let names = strings.get(index(self.name)..).unwrap_or_default();
        matches!(names.strip_prefix(section.as_bytes()), Some([0, ..]))
    }

    /// The byte offsets in the section of the instructions to relocate.
    pub(crate) fn instruction_offsets(&self) -> impl Iterator<Item = u32> + use<'data> {
        let order = self.order;
        self.records
            .chunks_exact(self.record_words.max(MIN_RECORD_WORDS))
            .filter_map(move |record| record.first().map(|word| word.get(order)))
    }
}

/// The groups of relocations, walked lazily; an item that is `None` is malformed, and the last.
pub(crate) struct Groups<'data> {
    rest: &'data [U32],
    record_words: usize,
    order: Order,
}

impl Groups<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'data> Iterator for Groups<'data> {
    type Item = Option<Group<'data>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let group = self.split();
        if group.is_none() {
            self.rest = &[];
        }
        Some(group)
    }
}

impl<'data> Groups<'data> {
    fn split(&mut self) -> Option<Group<'data>> {
        let ([name, count], rest) = self.rest.split_first_chunk::<2>()?;
        let words = index(count.get(self.order)).checked_mul(self.record_words)?;
        let (records, rest) = rest.split_at_checked(words)?;
        self.rest = rest;
        Some(Group {
            name: name.get(self.order),
            records,
            record_words: self.record_words,
            order: self.order,
        })
    }
}

/// The groups of CO-RE relocations in a `.BTF.ext` section; `None` if it is malformed. Sections written
/// before CO-RE have none.
pub(crate) fn core_records(bytes: &[u8], order: Order) -> Option<Groups<'_>> {
    let none = Groups { rest: &[], record_words: MIN_RECORD_WORDS, order };
    let short = bytes.first_chunk::<8>()?;
    let [m0, m1, _, _, l0, l1, l2, l3] = *short;
    let magic = match order {
        Order::Little => u16::from_le_bytes([m0, m1]),
        Order::Big => u16::from_be_bytes([m0, m1]),
    };
    let header_len = match order {
        Order::Little => u32::from_le_bytes([l0, l1, l2, l3]),
        Order::Big => u32::from_be_bytes([l0, l1, l2, l3]),
    };
    if magic != MAGIC {
        return None;
    }
    if index(header_len) < size_of::<Header>() {
        return Some(none);
    }
    let (header, _) = Header::ref_from_prefix(bytes).ok()?;
    let len = index(header.core_len.get(order));
    if len == 0 {
        return Some(none);
    }
    let part = bytes.get(index(header_len)..)?.get(index(header.core_offset.get(order))..)?.get(..len)?;
    let words: &[U32] = records(part);
    let (record_size, rest) = words.split_first()?;
    let record_size = index(record_size.get(order));
    let record_words = record_size.checked_div(4)?;
    if record_words < MIN_RECORD_WORDS || record_size & 3 != 0 || part.len() & 3 != 0 {
        return None;
    }
    debug_assert!(header.magic.get(order) == MAGIC && header.header_len.get(order) == header_len);
    Some(Groups { rest, record_words, order })
}

const MAGIC: u16 = 0xeb9f;
/// `struct bpf_core_relo` has four words.
const MIN_RECORD_WORDS: usize = 4;
