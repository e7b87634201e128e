//! Type information, as far as maps need it: the `.BTF` section.
//!
//! Types are records of different lengths, numbered in order from 1, and refer to each other by number.
//! libbpf allocates an index; here up to [`CHECKPOINTS`] evenly spaced numbers are remembered, and a lookup
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
pub(crate) struct Btf<'data> {
    types: &'data [U32],
    strings: &'data [u8],
    order: Order,
    /// One more than the highest type number.
    end: u32,
    /// `checkpoints[i]` is the word at which type `1 + (i << shift)` starts.
    checkpoints: [u32; CHECKPOINTS],
    shift: u32,
    /// Ordinal and first word of the type found last: the next one looked for is often near.
    recent: Cell<(u32, u32)>,
    /// First word of the first data section.
    first_datasec: Option<usize>,
    /// Steps that lookups may still take together.
    budget: Cell<u64>,
}

impl<'data> Btf<'data> {
    /// Walks over all types once. `lookups` is about how many lookups an honest file needs.
    pub(crate) fn parse(bytes: &'data [u8], order: Order, lookups: usize) -> Result<Self, BtfError> {
        let (types, strings) = parts(bytes, order)?;
        if !matches!(strings, [0, .., 0] | [0]) {
            return Err(BtfError::Strings);
        }
        // Types have more words than this, so there are fewer of them.
        let most = u32::try_from(types.len().checked_div(WORDS).unwrap_or(0)).unwrap_or(u32::MAX);
        let mut shift = 0_u32;
        while most >> shift >= LAST_CHECKPOINT {
            shift = shift.saturating_add(1);
        }
        let mut btf = Self {
            types,
            strings,
            order,
            end: 1,
            checkpoints: [0; CHECKPOINTS],
            shift,
            recent: Cell::new((0, 0)),
            first_datasec: None,
            budget: Cell::new(0),
        };
        match order {
            Order::Little => btf.walk(|word| word.get(Order::Little))?,
            Order::Big => btf.walk(|word| word.get(Order::Big))?,
        }
        let stride = 1_u64.checked_shl(shift).unwrap_or(u64::MAX);
        let work = u64::try_from(lookups).unwrap_or(u64::MAX).saturating_mul(stride.saturating_add(1));
        btf.budget.set(work.saturating_add(u64::from(btf.end)).saturating_add(FREE_STEPS));
        Ok(btf)
    }

    /// Goes over all types once. This is most of what opening an object costs, so it looks at one word of each,
    /// and knows the byte order when it is compiled.
    fn walk(&mut self, get: impl Fn(U32) -> u32) -> Result<(), BtfError> {
        let types = self.types;
        let stride = 1_u32.checked_shl(self.shift).unwrap_or(u32::MAX);
        let mut word = 0_usize;
        let mut id = 1_u32;
        let mut checkpoints = self.checkpoints.iter_mut();
        'all: while word < types.len() {
            let first = u32::try_from(word).map_err(|_| BtfError::Type { id })?;
            if let Some(checkpoint) = checkpoints.next() {
                *checkpoint = first;
            }
            for _ in 0..stride {
                let Some(&info) = types.get(word.saturating_add(1)) else { break 'all };
                let info = get(info);
                let Some(tail) = tail_words(info) else { return Err(BtfError::Type { id }) };
                if info >> 24 & 0x1f == kind::DATASEC && self.first_datasec.is_none() {
                    self.first_datasec = Some(word);
                }
                word = word.saturating_add(WORDS).saturating_add(tail);
                if word > types.len() {
                    return Err(BtfError::Type { id });
                }
                id = id.saturating_add(1);
            }
        }
        // A last type that is cut off in its first three words.
        if word < types.len() {
            return Err(BtfError::Type { id });
        }
        self.end = id;
        Ok(())
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
        self.spend(u64::from(steps).saturating_add(1))?;
        let mut word = index(checkpoint);
        let (recent, recent_word) = self.recent.get();
        if let Some(ahead) = ordinal.checked_sub(recent)
            && ahead < steps
        {
            (steps, word) = (ahead, index(recent_word));
        }
        for _ in 0..steps {
            let info = self.types.get(word.saturating_add(1)).ok_or(missing)?.get(self.order);
            word = word.saturating_add(WORDS).saturating_add(tail_words(info).ok_or(missing)?);
        }
        if let Ok(word) = u32::try_from(word) {
            self.recent.set((ordinal, word));
        }
        Ok(self.read(word).ok_or(missing)?.0)
    }

    /// The type behind typedefs and qualifiers.
    pub(crate) fn resolve(&self, id: u32) -> Result<Type<'data>, BtfError> {
        let mut found = self.find(id)?;
        for _ in 0..MAX_DEPTH {
            if !matches!(
                found.kind(),
                kind::TYPEDEF | kind::CONST | kind::VOLATILE | kind::RESTRICT | kind::TYPE_TAG
            ) {
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
                kind::INT
                | kind::STRUCT
                | kind::UNION
                | kind::ENUM
                | kind::ENUM64
                | kind::DATASEC
                | kind::FLOAT => found.size,
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
    ) -> impl ExactSizeIterator<Item = [u32; 3]> + use<'data> {
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
        let mut word = self.first_datasec.unwrap_or(self.types.len());
        core::iter::from_fn(move || {
            loop {
                let (found, next) = self.read(word)?;
                word = next;
                if found.kind() == kind::DATASEC {
                    return Some(found);
                }
            }
        })
    }

    fn spend(&self, steps: u64) -> Result<(), BtfError> {
        let left = self.budget.get().checked_sub(steps).ok_or(BtfError::TooMuchWork)?;
        self.budget.set(left);
        Ok(())
    }

    /// The type that starts at `word`, and the word after it.
    fn read(&self, word: usize) -> Option<(Type<'data>, usize)> {
        let rest = self.types.get(word..)?;
        let ([name, info, size], rest) = rest.split_first_chunk::<WORDS>()?;
        let mut found = Type {
            name: name.get(self.order),
            info: info.get(self.order),
            size: size.get(self.order),
            tail: &[],
        };
        let tail = tail_words(found.info)?;
        found.tail = rest.get(..tail)?;
        Some((found, word.saturating_add(WORDS).saturating_add(tail)))
    }
}

/// Words that follow the three that every type has; `None` for an unknown kind.
fn tail_words(info: u32) -> Option<usize> {
    let len = index(info & 0xffff);
    Some(match info >> 24 & 0x1f {
        kind::FWD
        | kind::CONST
        | kind::VOLATILE
        | kind::RESTRICT
        | kind::PTR
        | kind::TYPEDEF
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => 0,
        kind::INT | kind::VAR | kind::DECL_TAG => 1,
        kind::ARRAY => 3,
        kind::ENUM | kind::FUNC_PROTO => len.saturating_mul(2),
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => len.saturating_mul(3),
        _ => return None,
    })
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
const CHECKPOINTS: usize = 128;
const LAST_CHECKPOINT: u32 = 127;
/// How many qualifiers, typedefs and arrays are looked through.
const MAX_DEPTH: usize = 32;
/// Steps granted to every file, however small.
const FREE_STEPS: u64 = 4096;
