//! A data area that meets itself at its end.

use core::sync::atomic::Ordering;

use crate::maps::area::{Word, Words, replace, shift};

/// Words in a circle, found by positions that only grow.
#[derive(Debug)]
pub(crate) struct Circle {
    words: Words,
    mask: usize,
    /// Stands in for a word outside. Positions are masked, so there is none.
    spare: Word,
}

impl Circle {
    /// `size` bytes, a power of two of at least eight; `None` when the allocator has no room.
    pub(crate) fn zeroed(size: usize) -> Option<Self> {
        Some(Self { words: Words::zeroed(size >> 3)?, mask: size.wrapping_sub(1), spare: Word::default() })
    }

    /// The word that holds byte `position`.
    #[inline(always)]
    pub(crate) fn word(&self, position: usize) -> &Word {
        self.words.word(position & self.mask).unwrap_or(&self.spare)
    }

    /// The words from the one that holds byte `position` to the end of the area.
    #[inline(always)]
    pub(crate) fn rest(&self, position: usize) -> &[Word] {
        self.words.rest(position & self.mask)
    }

    /// Bytes from `position` on, over the end of the data and on from its start if need be.
    pub(crate) fn copy_out(&self, position: usize, out: &mut [u8]) {
        let place = position & self.mask;
        let (pieces, rest) = out.as_chunks_mut::<8>();
        match self.words.run(place, pieces.len()) {
            Some(words) => {
                for (word, piece) in words.iter().zip(pieces.iter_mut()) {
                    *piece = word.0.load(Ordering::Relaxed).to_ne_bytes();
                }
                let done = position.wrapping_add(pieces.as_flattened().len());
                self.copy_out_slowly(done, rest);
            }
            None => self.copy_out_slowly(position, out),
        }
    }

    fn copy_out_slowly(&self, position: usize, out: &mut [u8]) {
        for (distance, byte) in out.iter_mut().enumerate() {
            let place = position.wrapping_add(distance);
            let word = self.word(place).0.load(Ordering::Relaxed);
            *byte = word.to_ne_bytes().get(place & 7).copied().unwrap_or(0);
        }
    }

    /// Only for words of a record that the caller reserved.
    #[inline]
    pub(crate) fn copy_in(&self, position: usize, bytes: &[u8]) {
        let place = position & self.mask;
        let (pieces, rest) = bytes.as_chunks::<8>();
        match self.words.run(place, pieces.len()) {
            Some(words) => {
                for (word, piece) in words.iter().zip(pieces) {
                    word.0.store(u64::from_ne_bytes(*piece), Ordering::Relaxed);
                }
                let done = position.wrapping_add(pieces.as_flattened().len());
                self.copy_in_slowly(done, rest);
            }
            None => self.copy_in_slowly(position, bytes),
        }
    }

    fn copy_in_slowly(&self, position: usize, bytes: &[u8]) {
        for (distance, byte) in bytes.iter().enumerate() {
            let place = position.wrapping_add(distance);
            let shift = shift::<1>(place).unwrap_or(0);
            set::<1>(self.word(place), shift, u64::from(*byte));
        }
    }
}

/// Changes `N` bytes of a word that nobody else may change now: a record's words belong to whoever reserved it.
#[inline(always)]
pub(crate) fn set<const N: usize>(Word(word): &Word, shift: u32, value: u64) {
    let changed = if N == 8 { value } else { replace::<N>(word.load(Ordering::Relaxed), shift, value) };
    word.store(changed, Ordering::Relaxed);
}
