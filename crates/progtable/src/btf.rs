//! Type information, as far as maps need it: the `.BTF` section.
//!
//! Types are records of different lengths, numbered in order from 1, and refer to each other by number.
//! libbpf allocates an index; here up to `CHECKPOINTS` evenly spaced numbers are remembered, and a lookup
//! walks on from the nearest one, or from the type found last. Walking is budgeted, so that a hostile file cannot make it quadratic.

use core::cell::Cell;

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::elf::{Order, U16, U32, index, records, text, text_is};
use crate::error::BtfError;

/// `struct btf_header`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: U16,
    _version: u8,
    _flags: u8,
    header_len: U32,
    types_offset: U32,
    types_len: U32,
    strings_offset: U32,
    strings_len: U32,
}

/// One type. `size` is its size or the type it refers to, as the kind says.
#[derive(Clone, Copy)]
pub(crate) struct Type<'data> {
    pub(crate) name: u32,
    info: u32,
    pub(crate) size: u32,
    /// What follows the three words that every type has.
    pub(crate) tail: &'data [U32],
}

impl Type<'_> {
    pub(crate) const fn kind(&self) -> u32 {
        self.info >> 24 & 0x1f
    }

    pub(crate) const fn len(&self) -> u32 {
        self.info & 0xffff
    }

    /// Whether the type is another one under a name or with a qualifier.
    pub(crate) const fn is_transparent(&self) -> bool {
        matches!(self.kind(), kind::TYPEDEF | kind::CONST | kind::VOLATILE | kind::RESTRICT | kind::TYPE_TAG)
    }
}

/// `BTF_KIND_*`.
pub(crate) mod kind {
    pub(crate) const INT: u32 = 1;
    pub(crate) const PTR: u32 = 2;
    pub(crate) const ARRAY: u32 = 3;
    pub(crate) const STRUCT: u32 = 4;
    pub(crate) const UNION: u32 = 5;
    pub(crate) const ENUM: u32 = 6;
    pub(crate) const FWD: u32 = 7;
    pub(crate) const TYPEDEF: u32 = 8;
    pub(crate) const VOLATILE: u32 = 9;
    pub(crate) const CONST: u32 = 10;
    pub(crate) const RESTRICT: u32 = 11;
    pub(crate) const FUNC: u32 = 12;
    pub(crate) const FUNC_PROTO: u32 = 13;
    pub(crate) const VAR: u32 = 14;
    pub(crate) const DATASEC: u32 = 15;
    pub(crate) const FLOAT: u32 = 16;
    pub(crate) const DECL_TAG: u32 = 17;
    pub(crate) const TYPE_TAG: u32 = 18;
    pub(crate) const ENUM64: u32 = 19;
}

/// The second word of a variable's tail.
pub(crate) mod linkage {
    pub(crate) const STATIC: u32 = 0;
    pub(crate) const GLOBAL: u32 = 1;
}

/// An indexed `.BTF` section.
pub(crate) struct Btf<'data, const CHECKPOINTS: usize = 96, const DATASECS: usize = 8> {
    types: &'data [U32],
    strings: &'data [u8],
    order: Order,
    /// One more than the highest type number.
    end: u32,
    /// `checkpoints[i]` is the word at which type `1 + (i << shift)` starts.
    checkpoints: heapless::Vec<u32, CHECKPOINTS, u32>,
    shift: u32,
    /// Ordinal and first word of the type found last: the next one looked for is often near.
    recent: Cell<(u32, u32)>,
    /// First words of the first data sections, and how many there are.
    datasecs: heapless::Vec<u32, DATASECS, u32>,
    datasec_count: u32,
    /// Steps that lookups may still take together.
    budget: Cell<u64>,
}

impl<'data, const CHECKPOINTS: usize, const DATASECS: usize> Btf<'data, CHECKPOINTS, DATASECS> {
    /// No types: a place for [`index`](Self::index) to fill. It is large, so it is not moved.
    pub(crate) const fn empty(order: Order) -> Self {
        Self {
            types: &[],
            strings: &[],
            order,
            end: 1,
            checkpoints: heapless::Vec::new(),
            shift: 0,
            recent: Cell::new((0, 0)),
            datasecs: heapless::Vec::new(),
            datasec_count: 0,
            budget: Cell::new(0),
        }
    }

    /// Walks over all types, once. `lookups` is about how many lookups an honest file needs.
    #[inline(never)]
    pub(crate) fn index(&mut self, bytes: &'data [u8], lookups: usize) -> Result<(), BtfError> {
        (self.types, self.strings) = parts(bytes, self.order)?;
        if !matches!(self.strings, [0, .., 0] | [0]) {
            return Err(BtfError::Strings);
        }
        match self.order {
            Order::Little => self.walk(|word| word.get(Order::Little))?,
            Order::Big => self.walk(|word| word.get(Order::Big))?,
        }
        let stride = 1_u64.checked_shl(self.shift).unwrap_or(u64::MAX);
        let work = u64::try_from(lookups).unwrap_or(u64::MAX).saturating_mul(stride.saturating_add(1));
        self.budget.set(work.saturating_add(u64::from(self.end)).saturating_add(FREE_STEPS));
        Ok(())
    }

    /// Goes over all types once. This is most of what opening an object costs, so it looks at one word of each,
    /// and knows the byte order when it is compiled.
    fn walk(&mut self, get: impl Fn(U32) -> u32) -> Result<(), BtfError> {
        let types = self.types;
        let mut word = 0_usize;
        let mut id = 1_u32;
        while word < types.len() {
            if self.checkpoints.is_full() {
                self.thin_out();
            }
            let _full = self.checkpoints.push(short(word));
            let mut left = 1_u32.checked_shl(self.shift).unwrap_or(u32::MAX);
            while left != 0
                && let Some(&info) = types.get(word.wrapping_add(1))
            {
                let info = get(info);
                let kind = info >> 24 & 0x1f;
                left = left.wrapping_sub(1);
                id = id.wrapping_add(1);
                // Most types are one of these. To the processor this is a guess that is mostly right, where what
                // follows is a chain of loads.
                if SHORT >> kind & 1 != 0 {
                    word = word.wrapping_add(WORDS);
                    continue;
                }
                if kind == kind::DATASEC {
                    self.note_datasec(word);
                }
                // No sum of these is too large for a word: a section has less than 2^30 of them.
                word = word.wrapping_add(WORDS).wrapping_add(tail_words(info));
            }
            if left != 0 {
                break;
            }
        }
        match word.checked_sub(types.len()) {
            Some(0) => {
                self.end = id;
                Ok(())
            }
            // The last one read has a tail that is cut off, or is of an unknown kind.
            Some(_) => Err(BtfError::Type { id: id.saturating_sub(1) }),
            None => Err(BtfError::Type { id }),
        }
    }

    #[cold]
    fn note_datasec(&mut self, word: usize) {
        let _full = self.datasecs.push(short(word));
        self.datasec_count = self.datasec_count.saturating_add(1);
    }

    /// Forgets every other checkpoint.
    fn thin_out(&mut self) {
        for kept in 1..CHECKPOINTS / 2 {
            if let Some(&word) = self.checkpoints.get(kept.wrapping_mul(2))
                && let Some(slot) = self.checkpoints.get_mut(kept)
            {
                *slot = word;
            }
        }
        self.checkpoints.truncate(CHECKPOINTS / 2);
        self.shift = self.shift.saturating_add(1);
    }

    /// The type of that number; 0, the type `void`, is none.
    pub(crate) fn find(&self, id: u32) -> Result<Type<'data>, BtfError> {
        let missing = BtfError::TypeNumber { id };
        if id == 0 || id >= self.end {
            return Err(missing);
        }
        let ordinal = id.saturating_sub(1);
        let checkpoint = *self.checkpoints.get(index(ordinal >> self.shift)).ok_or(missing)?;
        let mut steps = ordinal & 1_u32.checked_shl(self.shift).unwrap_or(0).wrapping_sub(1);
        let mut word = index(checkpoint);
        let (recent, recent_word) = self.recent.get();
        if let Some(ahead) = ordinal.checked_sub(recent)
            && ahead < steps
        {
            (steps, word) = (ahead, index(recent_word));
        }
        self.spend(u64::from(steps).saturating_add(1))?;
        for _ in 0..steps {
            let info = self.types.get(word.saturating_add(1)).ok_or(missing)?.get(self.order);
            word = word.wrapping_add(WORDS).wrapping_add(tail_words(info));
        }
        self.recent.set((ordinal, short(word)));
        Ok(self.read(word).ok_or(missing)?.0)
    }

    /// The type behind typedefs and qualifiers.
    pub(crate) fn resolve(&self, id: u32) -> Result<Type<'data>, BtfError> {
        let mut found = self.find(id)?;
        for _ in 0..MAX_DEPTH {
            if !found.is_transparent() {
                return Ok(found);
            }
            found = self.find(found.size)?;
        }
        Err(BtfError::TypeNumber { id })
    }

    /// Bytes that a value of the type takes; `None` if the type has no size or the size does not fit 32 bits.
    pub(crate) fn size_of(&self, id: u32) -> Result<Option<u32>, BtfError> {
        let mut id = id;
        let mut elements = 1_u32;
        for _ in 0..MAX_DEPTH {
            if id == 0 {
                return Ok(None);
            }
            let found = self.find(id)?;
            let size = match found.kind() {
                // No data section: its size is not known before linking, and nothing is of that type.
                kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => {
                    found.size
                }
                kind::PTR => 8,
                kind::TYPEDEF
                | kind::VOLATILE
                | kind::CONST
                | kind::RESTRICT
                | kind::VAR
                | kind::DECL_TAG
                | kind::TYPE_TAG => {
                    id = found.size;
                    continue;
                }
                kind::ARRAY => {
                    let [element, _, count] = self.words(&found)?;
                    let Some(product) = elements.checked_mul(count) else { return Ok(None) };
                    elements = product;
                    id = element;
                    continue;
                }
                _ => return Ok(None),
            };
            return Ok(elements.checked_mul(size));
        }
        Ok(None)
    }

    /// The first `N` words of the type's tail.
    pub(crate) fn words<const N: usize>(&self, found: &Type<'data>) -> Result<[u32; N], BtfError> {
        let words = found.tail.first_chunk::<N>().ok_or(BtfError::Type { id: 0 })?;
        Ok(words.map(|word| word.get(self.order)))
    }

    /// The type's tail in groups of three words: the members of a struct, or the variables of a data section.
    pub(crate) fn triples(
        &self,
        found: &Type<'data>,
    ) -> impl ExactSizeIterator<Item = [u32; 3]> + use<'data, CHECKPOINTS, DATASECS> {
        let order = self.order;
        let (triples, _) = found.tail.as_chunks::<3>();
        triples.iter().map(move |triple| triple.map(|word| word.get(order)))
    }

    /// The string at that offset, or `None` if it is outside the strings or not text.
    pub(crate) fn string(&self, offset: u32) -> Option<&'data str> {
        str::from_utf8(text(self.strings, offset, usize::MAX)?).ok()
    }

    /// The same, if it has at most `most` bytes: no longer is looked for its end.
    pub(crate) fn short_string(&self, offset: u32, most: usize) -> Option<&'data str> {
        str::from_utf8(text(self.strings, offset, most)?).ok()
    }

    /// The bytes of a string of at most `most` bytes.
    pub(crate) fn string_bytes(&self, offset: u32, most: usize) -> Option<&'data [u8]> {
        text(self.strings, offset, most)
    }

    /// Whether the string at that offset is `text`: takes no longer than comparing `text`.
    pub(crate) fn string_is(&self, offset: u32, text: &str) -> bool {
        text_is(self.strings, offset, text.as_bytes())
    }

    /// The data sections, in order.
    pub(crate) fn datasecs(&self) -> impl Iterator<Item = Type<'data>> {
        let noted = self.datasecs.iter().filter_map(|&word| Some(self.read(index(word))?.0));
        // There are few of them; if not, those that were not noted are looked for.
        let is_all = index(self.datasec_count) == self.datasecs.len();
        let last = self.datasecs.last().filter(|_| !is_all).and_then(|&word| self.read(index(word)));
        let mut word = last.map_or(self.types.len(), |(_, next)| next);
        noted.chain(core::iter::from_fn(move || {
            loop {
                let (found, next) = self.read(word)?;
                word = next;
                if found.kind() == kind::DATASEC {
                    return Some(found);
                }
            }
        }))
    }

    fn spend(&self, steps: u64) -> Result<(), BtfError> {
        let left = self.budget.get().checked_sub(steps).ok_or(BtfError::TooMuchWork)?;
        self.budget.set(left);
        Ok(())
    }

    /// The type that starts at `word`, and the word after it.
    #[inline]
    fn read(&self, word: usize) -> Option<(Type<'data>, usize)> {
        let rest = self.types.get(word..)?;
        let ([name, info, size], rest) = rest.split_first_chunk::<WORDS>()?;
        let mut found = Type {
            name: name.get(self.order),
            info: info.get(self.order),
            size: size.get(self.order),
            tail: &[],
        };
        let tail = tail_words(found.info);
        found.tail = rest.get(..tail)?;
        Some((found, word.saturating_add(WORDS).saturating_add(tail)))
    }
}

/// Words that follow the three that every type has; for an unknown kind more than any section has.
#[inline]
fn tail_words(info: u32) -> usize {
    let (fixed, each) = TAILS.get(index(info >> 24 & 0x1f)).copied().unwrap_or((UNKNOWN, 0));
    index(info & 0xffff).wrapping_mul(index(each)).wrapping_add(index(fixed))
}

/// By kind: words of the tail, and words for each of the type's elements.
static TAILS: [(u32, u32); 32] = {
    let mut tails = [(UNKNOWN, 0); 32];
    let mut kind = 0;
    while kind < 32 {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            tails[kind as usize] = match kind {
                kind::INT | kind::VAR | kind::DECL_TAG => (1, 0),
                kind::ARRAY => (3, 0),
                kind::ENUM | kind::FUNC_PROTO => (0, 2),
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => (0, 3),
                _ if SHORT >> kind & 1 != 0 => (0, 0),
                _ => (UNKNOWN, 0),
            };
            kind += 1;
        }
    }
    tails
};

/// Kinds without a tail, one bit each.
const SHORT: u32 = 1 << kind::FWD
    | 1 << kind::CONST
    | 1 << kind::VOLATILE
    | 1 << kind::RESTRICT
    | 1 << kind::PTR
    | 1 << kind::TYPEDEF
    | 1 << kind::FUNC
    | 1 << kind::FLOAT
    | 1 << kind::TYPE_TAG;
/// Words beyond any section, whose size in bytes has 32 bits.
const UNKNOWN: u32 = 1 << 30;

/// The number of a word, which has 30 bits.
fn short(word: usize) -> u32 {
    u32::try_from(word).unwrap_or(u32::MAX)
}

/// The strings alone: enough to read names that other sections refer to.
pub(crate) fn strings(bytes: &[u8], order: Order) -> Option<&[u8]> {
    parts(bytes, order).ok().map(|(_, strings)| strings)
}

/// Types and strings.
fn parts(bytes: &[u8], order: Order) -> Result<(&[U32], &[u8]), BtfError> {
    let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| BtfError::Header)?;
    if header.magic.get(order) != MAGIC {
        return Err(BtfError::Header);
    }
    let (types_offset, types_len) = (header.types_offset.get(order), header.types_len.get(order));
    let (strings_offset, strings_len) = (header.strings_offset.get(order), header.strings_len.get(order));
    let misplaced = types_offset.checked_add(types_len).is_none_or(|end| end > strings_offset);
    if misplaced || types_offset.checked_rem(4) != Some(0) || types_len.checked_rem(4) != Some(0) {
        return Err(BtfError::Header);
    }
    let part = |offset: u32, len: u32| {
        bytes.get(index(header.header_len.get(order))..)?.get(index(offset)..)?.get(..index(len))
    };
    let types = part(types_offset, types_len).ok_or(BtfError::Header)?;
    let strings = part(strings_offset, strings_len).ok_or(BtfError::Header)?;
    Ok((records(types), strings))
}

const MAGIC: u16 = 0xeb9f;
/// Words that every type has.
const WORDS: usize = 3;
/// How many qualifiers, typedefs and arrays are looked through.
pub(crate) const MAX_DEPTH: usize = 32;
/// Steps granted to every file, however small.
const FREE_STEPS: u64 = 4096;
