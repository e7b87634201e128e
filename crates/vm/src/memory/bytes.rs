//! Bytes on their way, and the halves of words.

use alloc::vec::Vec;

use crate::error::FaultKind;

/// Room for bytes that cannot be read in place.
pub(crate) struct Scratch {
    inline: [u8; 64],
    heap: Vec<u8>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { inline: [0; 64], heap: Vec::new() }
    }

    pub(super) fn room(&mut self, size: usize) -> Result<&mut [u8], FaultKind> {
        if let Some(room) = self.inline.get_mut(..size) {
            return Ok(room);
        }
        let no_memory = FaultKind::NoMemory { size: u32::try_from(size).unwrap_or(u32::MAX) };
        self.heap.clear();
        self.heap.try_reserve_exact(size).map_err(|_| no_memory)?;
        self.heap.resize(size, 0);
        Ok(&mut self.heap)
    }
}

/// Copies as many bytes as there are in both, which is the same number wherever this is called; those of a register without a call.
#[inline(always)]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    if let (Ok(to), Ok(from)) = (<&mut [u8; 8]>::try_from(&mut *to), <&[u8; 8]>::try_from(from)) {
        *to = *from;
    } else if let (Ok(to), Ok(from)) = (<&mut [u8; 4]>::try_from(&mut *to), <&[u8; 4]>::try_from(from)) {
        *to = *from;
    } else {
        copy_any(to, from);
    }
}

/// Zeroes; those of a register without a call.
#[inline(always)]
pub(crate) fn clear(bytes: &mut [u8]) {
    if let Ok(bytes) = <&mut [u8; 8]>::try_from(&mut *bytes) {
        *bytes = [0; 8];
    } else if let Ok(bytes) = <&mut [u8; 4]>::try_from(&mut *bytes) {
        *bytes = [0; 4];
    } else {
        bytes.fill(0);
    }
}

/// So many zeroes in pieces, each with its place, for what is only written from elsewhere.
pub(crate) fn zeroes(size: u32) -> impl Iterator<Item = (u32, &'static [u8])> {
    const PIECE: &[u8] = &[0; 64];
    let piece = move |place| PIECE.get(..index(size.saturating_sub(place)).min(PIECE.len())).unwrap_or(PIECE);
    (0..size).step_by(PIECE.len()).map(move |place| (place, piece(place)))
}

#[inline(never)]
fn copy_any(to: &mut [u8], from: &[u8]) {
    let size = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..size), from.get(..size)) {
        to.copy_from_slice(from);
    }
}

/// A 32-bit index as the machine's.
#[inline(always)]
pub(crate) const fn index(index: u32) -> usize {
    const _: () = assert!(size_of::<usize>() >= size_of::<u32>());
    index as usize
}

#[inline(always)]
pub(crate) const fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

#[inline(always)]
pub(crate) const fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}
