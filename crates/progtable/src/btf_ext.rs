//! The section `.BTF.ext`: what is known of single instructions. Three parts, each of which starts with the
//! size of a record; then follow groups, one per ELF section, each with the section's name, a count, and that
//! many records, which start with the offset of an instruction in that section, in bytes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::elf::{Order, U16, U32, index, records};

/// What is known of instructions; one part of `.BTF.ext` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InfoKind {
    /// Functions and their types (`struct bpf_func_info`, 8 bytes).
    Function,
    /// Lines of the source (`struct bpf_line_info`, 16 bytes).
    Line,
    /// CO-RE relocations (`struct bpf_core_relo`, 16 bytes).
    CoRe,
}

impl InfoKind {
    /// Words that every record of the kind has; the first is the instruction's offset.
    const fn words(self) -> usize {
        match self {
            Self::Function => 2,
            Self::Line | Self::CoRe => 4,
        }
    }
}

/// What is known of one instruction: one record of `.BTF.ext`.
#[derive(Clone, Copy)]
pub struct InfoRecord<'data> {
    /// Where the instruction stands; see [`instruction`](Self::instruction).
    instruction: u32,
    words: &'data [U32],
    order: Order,
}

impl<'data> InfoRecord<'data> {
    /// The instruction that the record is about, counted from the start of the linked program.
    #[must_use]
    pub fn instruction(&self) -> usize {
        index(self.instruction)
    }

    /// The record as it stands in the file: its first word is an offset in bytes, in the section.
    #[must_use]
    pub fn bytes(&self) -> &'data [u8] {
        self.words.as_bytes()
    }

    /// The word with that number, in the machine's byte order. Word 0 is the instruction, as bpf(2) wants it;
    /// what the others are the kernel's header (`struct bpf_func_info`, `bpf_line_info`, `bpf_core_relo`)
    /// says.
    #[must_use]
    pub fn word(&self, number: usize) -> Option<u32> {
        match number {
            0 => Some(self.instruction),
            _ => self.words.get(number).map(|word| word.get(self.order)),
        }
    }

    /// Writes the record as bpf(2) takes it, in the machine's byte order, and says how many bytes that were:
    /// the length of [`bytes`](Self::bytes). `None` if `to` is shorter; nothing is written then.
    pub fn write(&self, to: &mut [u8]) -> Option<usize> {
        let len = self.words.as_bytes().len();
        let (words, _) = to.get_mut(..len)?.as_chunks_mut::<4>();
        for (number, to) in words.iter_mut().enumerate() {
            *to = self.word(number)?.to_ne_bytes();
        }
        Some(len)
    }

    /// Line and column in the source, of a record of kind [`InfoKind::Line`]. Lines count from 1.
    #[must_use]
    pub fn line_and_column(&self) -> Option<(u32, u32)> {
        self.word(3).map(|word| (word >> 10, word & 0x3ff))
    }

    /// The same record, about an instruction of the linked program.
    pub(crate) fn at(self, instruction: u32) -> Self {
        Self { instruction, ..self }
    }

    /// The instruction in its section.
    pub(crate) fn in_section(&self) -> u32 {
        self.words.first().map_or(0, |word| word.get(self.order)) >> 3
    }
}

impl core::fmt::Debug for InfoRecord<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries((0..self.words.len()).filter_map(|number| self.word(number))).finish()
    }
}

/// `struct btf_ext_header`, with the fields that CO-RE added.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: U16,
    _version: u8,
    _flags: u8,
    header_len: U32,
    /// Offset behind the header, and length, of each part.
    function: [U32; 2],
    line: [U32; 2],
    core: [U32; 2],
}

/// The records of one ELF section.
pub(crate) struct Group<'data> {
    name: u32,
    records: &'data [U32],
    /// Words of a record, at least 2.
    record_words: usize,
    order: Order,
}

impl<'data> Group<'data> {
    /// Whether the group is about the section of that name; `strings` are those of `.BTF`.
    pub(crate) fn is_named(&self, strings: &[u8], section: &str) -> bool {
        let names = strings.get(index(self.name)..).unwrap_or_default();
        matches!(names.strip_prefix(section.as_bytes()), Some([0, ..]))
    }

    pub(crate) fn records(&self) -> Records<'data> {
        Records { rest: self.records, record_words: self.record_words.max(MIN_WORDS), order: self.order }
    }
}

/// The records of a group, about instructions of a section.
#[derive(Clone)]
pub(crate) struct Records<'data> {
    rest: &'data [U32],
    record_words: usize,
    order: Order,
}

impl<'data> Records<'data> {
    pub(crate) const EMPTY: Self = Self { rest: &[], record_words: MIN_WORDS, order: Order::NATIVE };
}

impl<'data> Iterator for Records<'data> {
    type Item = InfoRecord<'data>;

    fn next(&mut self) -> Option<Self::Item> {
        let (words, rest) = self.rest.split_at_checked(self.record_words)?;
        self.rest = rest;
        let record = InfoRecord { instruction: 0, words, order: self.order };
        Some(record.at(record.in_section()))
    }
}

/// The groups of a part, walked lazily; an item that is `None` is malformed, and the last.
#[derive(Clone)]
pub(crate) struct Groups<'data> {
    rest: &'data [U32],
    record_words: usize,
    order: Order,
}

impl<'data> Groups<'data> {
    /// Those of a part; `None` if the section is malformed. Sections written before CO-RE lack that part.
    pub(crate) fn of(bytes: &'data [u8], order: Order, kind: InfoKind) -> Option<Self> {
        let none = Self { rest: &[], record_words: MIN_WORDS, order };
        let (start, _) = <[U32; 2]>::ref_from_prefix(bytes).ok()?;
        let [magic, header_len] = start;
        let magic = match order {
            Order::Little => magic.get(order) & 0xffff,
            Order::Big => magic.get(order) >> 16,
        };
        if magic != u32::from(MAGIC) {
            return None;
        }
        let header_len = index(header_len.get(order));
        let known = match kind {
            InfoKind::CoRe => size_of::<Header>(),
            InfoKind::Function | InfoKind::Line => size_of::<Header>().saturating_sub(8),
        };
        if header_len < known {
            return Some(none);
        }
        // The part that an older header lacks is filled with what stands behind it, and not looked at.
        let mut padded = [0; size_of::<Header>()];
        let available = bytes.get(..size_of::<Header>()).unwrap_or(bytes);
        for (to, from) in padded.iter_mut().zip(available) {
            *to = *from;
        }
        let header = Header::read_from_bytes(&padded).ok()?;
        let [offset, len] = match kind {
            InfoKind::Function => header.function,
            InfoKind::Line => header.line,
            InfoKind::CoRe => header.core,
        }
        .map(|word| index(word.get(order)));
        if len == 0 {
            return Some(none);
        }
        let part = bytes.get(header_len..)?.get(offset..)?.get(..len)?;
        let words: &[U32] = records(part);
        let (record_size, rest) = words.split_first()?;
        let record_size = index(record_size.get(order));
        let record_words = record_size.checked_div(4)?;
        if record_words < kind.words() || record_size & 3 != 0 || part.len() & 3 != 0 {
            return None;
        }
        debug_assert!(header.magic.get(order) == MAGIC && index(header.header_len.get(order)) == header_len);
        Some(Self { rest, record_words, order })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn split(&mut self) -> Option<Group<'data>> {
        let ([name, count], rest) = self.rest.split_first_chunk::<2>()?;
        let words = index(count.get(self.order)).checked_mul(self.record_words)?;
        let (records, rest) = rest.split_at_checked(words)?;
        self.rest = rest;
        let name = name.get(self.order);
        Some(Group { name, records, record_words: self.record_words, order: self.order })
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

const MAGIC: u16 = 0xeb9f;
/// Words of the shortest record.
const MIN_WORDS: usize = 2;
