//! Type information, as far as maps need it: the `.BTF` section.
//!
//! Types are records of different lengths, numbered in order from 1, and refer to each other by number.
//! libbpf allocates an index; here up to [`CHECKPOINTS`] evenly spaced numbers are remembered, and a lookup
//! walks on from the nearest one. Walking is budgeted, so that a hostile file cannot make it quadratic.

use core::cell::Cell;
use core::ffi::CStr;

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::elf::{Order, U16, U32, index, records};
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
pub(crate) struct Btf<'data> {
    types: &'data [U32],
    strings: &'data [u8],
    order: Order,
    /// One more than the highest type number.
    end: u32,
    /// `checkpoints[i]` is the word at which type `1 + i * stride` starts.
    checkpoints: [u32; CHECKPOINTS],
    stride: u32,
    /// Number and first word of the first data section.
    first_datasec: Option<(u32, usize)>,
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
        let most = types.len().checked_div(WORDS).unwrap_or(0);
        let stride =
            u32::try_from(most.checked_div(CHECKPOINTS).unwrap_or(0)).unwrap_or(u32::MAX).saturating_add(1);
        let mut btf = Self {
            types,
            strings,
            order,
            end: 1,
            checkpoints: [0; CHECKPOINTS],
            stride,
            first_datasec: None,
            budget: Cell::new(0),
        };
        let mut word = 0;
        let mut until_checkpoint = 0_u32;
        let mut checkpoint = 0_usize;
        while word < types.len() {
            let id = btf.end;
            if until_checkpoint == 0 {
                if let Some(slot) = btf.checkpoints.get_mut(checkpoint) {
                    *slot = u32::try_from(word).map_err(|_| BtfError::Type { id })?;
                }
                checkpoint = checkpoint.saturating_add(1);
                until_checkpoint = stride;
            }
            until_checkpoint = until_checkpoint.saturating_sub(1);
            let (found, next) = btf.read(word).ok_or(BtfError::Type { id })?;
            if found.kind() == kind::DATASEC && btf.first_datasec.is_none() {
                btf.first_datasec = Some((id, word));
            }
            btf.end = id.saturating_add(1);
            word = next;
        }
        let work =
            u64::try_from(lookups).unwrap_or(u64::MAX).saturating_mul(u64::from(stride).saturating_add(1));
        btf.budget.set(work.saturating_add(u64::from(btf.end)).saturating_add(FREE_STEPS));
        Ok(btf)
    }

    /// The type of that number; 0, the type `void`, is none.
    pub(crate) fn find(&self, id: u32) -> Result<Type<'data>, BtfError> {
        let missing = BtfError::TypeNumber { id };
        if id == 0 || id >= self.end {
            return Err(missing);
        }
        let ordinal = id.saturating_sub(1);
        let (checkpoint, steps) = match (ordinal.checked_div(self.stride), ordinal.checked_rem(self.stride)) {
            (Some(checkpoint), Some(steps)) => (checkpoint, steps),
            _ => return Err(missing),
        };
        self.spend(u64::from(steps).saturating_add(1))?;
        let mut word = index(*self.checkpoints.get(index(checkpoint)).ok_or(missing)?);
        for _ in 0..steps {
            word = self.read(word).ok_or(missing)?.1;
        }
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
    ) -> impl ExactSizeIterator<Item = [u32; 3]> + use<'data> {
        let order = self.order;
        let (triples, _) = found.tail.as_chunks::<3>();
        triples.iter().map(move |triple| triple.map(|word| word.get(order)))
    }

    /// The string at that offset, or `None` if it is outside the strings or not text.
    pub(crate) fn string(&self, offset: u32) -> Option<&'data str> {
        CStr::from_bytes_until_nul(self.strings.get(index(offset)..)?).ok()?.to_str().ok()
    }

    /// Whether the string at that offset is `text`: takes no longer than comparing `text`.
    pub(crate) fn string_is(&self, offset: u32, text: &str) -> bool {
        let strings = self.strings.get(index(offset)..).unwrap_or_default();
        matches!(strings.strip_prefix(text.as_bytes()), Some([0, ..]))
    }

    /// The data sections, in order.
    pub(crate) fn datasecs(&self) -> impl Iterator<Item = Type<'data>> {
        let mut word = self.first_datasec.map_or(self.types.len(), |(_, word)| word);
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
        let len = index(found.len());
        let tail = match found.kind() {
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
        };
        found.tail = rest.get(..tail)?;
        Some((found, word.saturating_add(WORDS).saturating_add(tail)))
    }
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
const CHECKPOINTS: usize = 64;
/// How many qualifiers, typedefs and arrays are looked through.
pub(crate) const MAX_DEPTH: usize = 32;
/// Steps granted to every file, however small.
const FREE_STEPS: u64 = 4096;
