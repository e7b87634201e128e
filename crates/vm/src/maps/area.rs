//! Memory that several programs read and write at once: the values of a map.
//!
//! Everything is kept in 64-bit atomic words, and every access of a program is made of relaxed operations on whole words.
//! A narrower load takes its bytes out of one word; a narrower store exchanges its bytes inside the word, so that it
//! neither loses nor invents a neighbour's. An aligned access therefore never tears, accesses of different sizes may
//! meet on the same bytes (which Rust forbids for atomics of different sizes), and no `unsafe` is needed. Accesses that
//! straddle two words go byte by byte.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Once;

use crate::memory::index;

/// Eight bytes that several programs may read and write, in the machine's byte order. Public as the length word of a ring's memory; nobody can name it.
#[derive(Debug, Default)]
pub struct Word(pub(crate) AtomicU64);

/// Zeroed words.
#[derive(Debug)]
pub(crate) struct Words(Box<[Word]>);

impl Words {
    /// `None` when the allocator has no room.
    pub(crate) fn zeroed(words: usize) -> Option<Self> {
        let mut all = Vec::new();
        all.try_reserve_exact(words).ok()?;
        all.resize_with(words, Word::default);
        Some(Self(all.into_boxed_slice()))
    }

    /// The aligned word that holds byte `offset`.
    #[inline(always)]
    pub(crate) fn word(&self, offset: usize) -> Option<&Word> {
        self.0.get(offset >> 3)
    }

    /// From the word on that holds byte `offset`.
    #[inline(always)]
    pub(crate) fn rest(&self, offset: usize) -> &[Word] {
        self.0.get(offset >> 3..).unwrap_or_default()
    }

    /// `words` words from byte `offset` on, if that is where a word begins and they are there.
    #[inline(always)]
    pub(crate) fn run(&self, offset: usize, words: usize) -> Option<&[Word]> {
        let start = offset >> 3;
        if offset & 7 == 0 { self.0.get(start..start.checked_add(words)?) } else { None }
    }

    #[inline(always)]
    pub(crate) fn load<const N: usize>(&self, offset: usize) -> Option<u64> {
        match shift::<N>(offset) {
            Some(shift) => Some(self.word(offset)?.0.load(Ordering::Relaxed) >> shift & mask::<N>()),
            None => self.load_straddling::<N>(offset),
        }
    }

    #[cold]
    fn load_straddling<const N: usize>(&self, offset: usize) -> Option<u64> {
        let mut bytes = [0; N];
        for (distance, byte) in bytes.iter_mut().enumerate() {
            *byte = self.load::<1>(offset.checked_add(distance)?)?.to_le_bytes()[0];
        }
        Some(widen(bytes))
    }

    #[inline(always)]
    pub(crate) fn store<const N: usize>(&self, offset: usize, value: u64) -> Option<()> {
        match shift::<N>(offset) {
            Some(_) if N == 8 => self.word(offset)?.0.store(value, Ordering::Relaxed),
            Some(shift) => {
                let exchange = |word| Some(replace::<N>(word, shift, value));
                // The closure never refuses, so neither does the update.
                let _ = self.word(offset)?.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, exchange);
            }
            None => self.store_straddling::<N>(offset, value)?,
        }
        Some(())
    }

    #[cold]
    fn store_straddling<const N: usize>(&self, offset: usize, value: u64) -> Option<()> {
        for (distance, byte) in narrow::<N>(value).into_iter().enumerate() {
            self.store::<1>(offset.checked_add(distance)?, u64::from(byte))?;
        }
        Some(())
    }
}

/// Values of one size, one after the other, each rounded up to eight bytes as in Linux's arrays.
///
/// Programs address them by a 32-bit offset. Values are found by multiplication with the stride's reciprocal; an access
/// that leaves its value, even into the padding, is refused.
#[derive(Debug)]
pub(crate) struct Area {
    chunks: Chunks,
    shape: Shape,
}

/// How values stand in an [`Area`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    value_size: u32,
    stride: u32,
    /// `ceil(2^64 / stride)`: its product with a 32-bit offset has the quotient in the high half, exactly.
    reciprocal: u64,
}

impl Shape {
    fn new(value_size: u32) -> Option<Self> {
        let stride = stride(value_size)?;
        let reciprocal = u64::MAX.checked_div(u64::from(stride))?.wrapping_add(1);
        Some(Self { value_size, stride, reciprocal })
    }

    /// Whether `size` bytes at `offset` are wholly inside one value.
    #[inline(always)]
    pub(crate) fn holds(&self, offset: u32, size: usize) -> bool {
        let (value_size, size) = (u64::from(self.value_size), size as u64);
        // Global data, and much else, is one value: nothing to divide then.
        if u64::from(offset).saturating_add(size) <= value_size {
            return true;
        }
        let within = u64::from(offset).wrapping_sub(self.slot(offset).wrapping_mul(u64::from(self.stride)));
        within.saturating_add(size) <= value_size
    }

    /// The value that holds byte `offset`.
    #[inline(always)]
    fn slot(&self, offset: u32) -> u64 {
        high64(u128::from(self.reciprocal).wrapping_mul(u128::from(offset)))
    }

    /// The program's offset of a value; `None` when it does not fit 32 bits.
    #[inline(always)]
    pub(crate) fn offset(&self, slot: u32) -> Option<u32> {
        slot.checked_mul(self.stride)
    }
}

#[derive(Debug)]
enum Chunks {
    /// All values, from the beginning.
    Whole(Arc<Words>),
    /// Values added as they are needed. Chunk 0 has `1 << FIRST_CHUNK_BITS` slots, each later chunk as many as all before
    /// it together; what is there never moves.
    Growing(Box<[Once<Words>; CHUNKS]>),
}

const FIRST_CHUNK_BITS: u32 = Area::FIRST_CHUNK_BITS;
const CHUNKS: usize = 29;

impl Area {
    /// Room for `entries` values at once; `None` when the allocator has none.
    pub(crate) fn whole(value_size: u32, entries: u32) -> Option<Self> {
        let stride = stride(value_size)?;
        let words = index(stride >> 3).checked_mul(index(entries))?;
        Self::new(value_size, Chunks::Whole(Arc::new(Words::zeroed(words)?)))
    }

    /// Bytes that [`growing`](Self::growing) takes at once.
    pub(crate) const GROWING_BYTES: u64 = size_of::<[Once<Words>; CHUNKS]>() as u64;

    /// No value yet: [`grow`](Self::grow) adds them.
    pub(crate) fn growing(value_size: u32) -> Option<Self> {
        Self::new(value_size, Chunks::Growing(Box::new([const { Once::new() }; CHUNKS])))
    }

    fn new(value_size: u32, chunks: Chunks) -> Option<Self> {
        Some(Self { chunks, shape: Shape::new(value_size)? })
    }

    /// Whether values are added as they are needed.
    pub(crate) fn is_growing(&self) -> bool {
        matches!(self.chunks, Chunks::Growing(_))
    }

    /// Bytes from one value to the next.
    pub(crate) fn stride(&self) -> u32 {
        self.shape.stride
    }

    /// The first chunk of a growing area has `1 << FIRST_CHUNK_BITS` values.
    pub(crate) const FIRST_CHUNK_BITS: u32 = 4;

    /// Adds the chunk that begins at `slot`, `slots` long. Whoever owns the slots calls this under its lock.
    pub(crate) fn grow(&self, slot: u32, slots: u32) -> Option<()> {
        let Chunks::Growing(chunks) = &self.chunks else { return None };
        let (chunk, _) = chunk_of(slot);
        let words = Words::zeroed(index(self.shape.stride >> 3).checked_mul(index(slots))?)?;
        chunks.get(chunk)?.call_once(|| words);
        Some(())
    }

    /// The program's offset of a value; `None` when it does not fit 32 bits.
    pub(crate) fn offset(&self, slot: u32) -> Option<u32> {
        self.shape.offset(slot)
    }

    /// All its values, if they are whole words: what is within one word is within one value then.
    pub(crate) fn flat(&self) -> Option<Arc<Words>> {
        match &self.chunks {
            Chunks::Whole(words) if self.shape.value_size == self.shape.stride => Some(Arc::clone(words)),
            _ => None,
        }
    }

    /// How its values stand.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Where `size` bytes at the program's `offset` are, when they are wholly inside one value.
    #[inline(always)]
    pub(crate) fn locate(&self, offset: u32, size: usize) -> Option<(&Words, usize)> {
        if self.shape.holds(offset, size) { self.at(&self.shape, offset) } else { None }
    }

    /// Where the program's `offset` is.
    #[inline(always)]
    pub(crate) fn at(&self, shape: &Shape, offset: u32) -> Option<(&Words, usize)> {
        match &self.chunks {
            Chunks::Whole(words) => Some((words, index(offset))),
            Chunks::Growing(chunks) => {
                let (chunk, first) = chunk_of(u32::try_from(shape.slot(offset)).ok()?);
                let words = chunks.get(chunk)?.get()?;
                Some((words, index(offset).checked_sub(index(first).checked_mul(index(shape.stride))?)?))
            }
        }
    }

    /// Copies bytes of one value out.
    pub(crate) fn read(&self, offset: u32, out: &mut [u8]) -> Option<()> {
        let (words, mut offset) = self.locate(offset, out.len())?;
        let (pieces, mut rest) = out.as_chunks_mut::<8>();
        match words.run(offset, pieces.len()) {
            Some(words) => {
                for (word, piece) in words.iter().zip(pieces.iter_mut()) {
                    *piece = word.0.load(Ordering::Relaxed).to_ne_bytes();
                }
                offset = offset.checked_add(pieces.as_flattened().len())?;
            }
            None => rest = out,
        }
        for (distance, byte) in rest.iter_mut().enumerate() {
            *byte = words.load::<1>(offset.checked_add(distance)?)?.to_le_bytes()[0];
        }
        Some(())
    }

    /// Copies bytes into one value.
    pub(crate) fn write(&self, offset: u32, bytes: &[u8]) -> Option<()> {
        let (words, mut offset) = self.locate(offset, bytes.len())?;
        let (pieces, mut rest) = bytes.as_chunks::<8>();
        match words.run(offset, pieces.len()) {
            Some(words) => {
                for (word, piece) in words.iter().zip(pieces) {
                    word.0.store(u64::from_ne_bytes(*piece), Ordering::Relaxed);
                }
                offset = offset.checked_add(pieces.as_flattened().len())?;
            }
            None => rest = bytes,
        }
        for (distance, byte) in rest.iter().enumerate() {
            words.store::<1>(offset.checked_add(distance)?, u64::from(*byte))?;
        }
        Some(())
    }
}

/// Bytes of a value with its padding.
pub(crate) fn stride(value_size: u32) -> Option<u32> {
    Some(value_size.checked_add(7)? & !7)
}

/// A slot's chunk, and the first slot of that chunk.
#[inline(always)]
fn chunk_of(slot: u32) -> (usize, u32) {
    match (slot >> FIRST_CHUNK_BITS).checked_ilog2() {
        None => (0, 0),
        Some(bits) => (index(bits).wrapping_add(1), 1u32.unbounded_shl(bits.wrapping_add(FIRST_CHUNK_BITS))),
    }
}

/// How far up in its word a value of `N` bytes stands; `None` when it straddles two words.
#[inline(always)]
pub(crate) fn shift<const N: usize>(offset: usize) -> Option<u32> {
    let byte = offset & 7;
    let byte = if cfg!(target_endian = "little") {
        (byte <= 8usize.wrapping_sub(N)).then_some(byte)
    } else {
        8usize.wrapping_sub(N).checked_sub(byte)
    };
    Some(u32::try_from(byte?).ok()?.wrapping_mul(8))
}

/// The low `N` bytes.
#[inline(always)]
pub(crate) const fn mask<const N: usize>() -> u64 {
    match N {
        1 => 0xff,
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

/// `word` with the low `N` bytes of `value` put `shift` bits up.
#[inline(always)]
pub(crate) const fn replace<const N: usize>(word: u64, shift: u32, value: u64) -> u64 {
    word & !mask::<N>().wrapping_shl(shift) | (value & mask::<N>()).wrapping_shl(shift)
}

fn high64(product: u128) -> u64 {
    (product >> 64) as u64
}

/// Bytes in memory order to a number, zero-extended.
#[inline(always)]
pub(crate) fn widen<const N: usize>(bytes: [u8; N]) -> u64 {
    let mut word = [0; 8];
    let start = if cfg!(target_endian = "little") { 0 } else { 8usize.wrapping_sub(N) };
    for (to, from) in word.iter_mut().skip(start).zip(bytes) {
        *to = from;
    }
    u64::from_ne_bytes(word)
}

/// The low `N` bytes of a number, in memory order.
#[inline(always)]
pub(crate) fn narrow<const N: usize>(value: u64) -> [u8; N] {
    let start = if cfg!(target_endian = "little") { 0 } else { 8usize.wrapping_sub(N) };
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(value.to_ne_bytes().into_iter().skip(start)) {
        *to = from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Area {
        fn load<const N: usize>(&self, offset: u32) -> Option<u64> {
            let (words, offset) = self.locate(offset, N)?;
            words.load::<N>(offset)
        }

        fn store<const N: usize>(&self, offset: u32, value: u64) -> Option<()> {
            let (words, offset) = self.locate(offset, N)?;
            words.store::<N>(offset, value)
        }
    }

    #[test]
    fn every_size_and_offset_reads_what_was_written() {
        let area = Area::whole(24, 1).unwrap();
        let mut model = [0u8; 24];
        let mut seed = 1u64;
        for round in 0..2000u32 {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11);
            let size = 1usize << (seed >> 62);
            let offset = (seed >> 33) as u32 % 24;
            let fits = offset as usize + size <= 24;
            let value = seed ^ u64::from(round);
            let stored = match size {
                1 => area.store::<1>(offset, value),
                2 => area.store::<2>(offset, value),
                4 => area.store::<4>(offset, value),
                _ => area.store::<8>(offset, value),
            };
            assert_eq!(stored.is_some(), fits, "size {size} at {offset}");
            if fits {
                let bytes = match cfg!(target_endian = "little") {
                    true => value.to_le_bytes()[..size].to_vec(),
                    false => value.to_be_bytes()[8 - size..].to_vec(),
                };
                model[offset as usize..][..size].copy_from_slice(&bytes);
            }
            let mut all = [0; 24];
            area.read(0, &mut all).unwrap();
            assert_eq!(all, model);
            if fits && size == 4 {
                assert_eq!(area.load::<4>(offset), Some(value & 0xffff_ffff));
            }
        }
    }

    #[test]
    fn an_access_stays_in_its_value() {
        let area = Area::whole(12, 3).unwrap();
        assert_eq!(area.stride(), 16);
        for slot in 0..3 {
            assert!(area.load::<4>(slot * 16 + 8).is_some());
            assert!(area.load::<8>(slot * 16 + 8).is_none(), "into the padding");
            assert!(area.load::<1>(slot * 16 + 12).is_none());
        }
        assert!(area.load::<1>(48).is_none());
        assert!(area.load::<8>(u32::MAX).is_none());
        assert!(area.load::<8>(u32::MAX - 7).is_none());
    }

    #[test]
    fn division_by_reciprocal_is_exact() {
        for value_size in [1u32, 8, 9, 24, 100, 1000, 4096, 65_537, 0x7fff_fff8] {
            let area = Area::growing(value_size).unwrap();
            let stride = area.stride();
            for offset in [0, 1, stride - 1, stride, stride + 1, u32::MAX - 1, u32::MAX, 0x8000_0000] {
                let slot = high64(u128::from(area.shape.reciprocal) * u128::from(offset));
                assert_eq!(slot, u64::from(offset / stride), "{offset} / {stride}");
            }
        }
    }

    #[test]
    fn chunks_cover_every_slot_once() {
        let mut slot = 0u32;
        let mut chunk = 0;
        while slot < 1 << 20 {
            let slots = slot.max(1 << FIRST_CHUNK_BITS);
            assert_eq!(chunk_of(slot), (chunk, slot));
            assert_eq!(chunk_of(slot + slots - 1), (chunk, slot));
            slot += slots;
            chunk += 1;
        }
        assert_eq!(chunk_of(u32::MAX).0, CHUNKS - 1);
    }
}
