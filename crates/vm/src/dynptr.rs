//! Dynamic pointers (`struct bpf_dynptr`): a place, how long it is, and where in it one is.
//!
//! Sixteen bytes in the program's memory. The verifier keeps programs from writing them, we do not: what they say is checked like any other
//! address when it is used, so a forged one reaches nothing that its program could not reach anyhow.

use crate::error::FaultKind;
use crate::memory::{Memory, Scratch, index, low};

/// What a dynptr says. The layout is that of Linux's `struct bpf_dynptr_kern`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dynptr {
    pub(crate) data: u64,
    pub(crate) size: u32,
    pub(crate) kind: Kind,
    pub(crate) offset: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Local,
    Ring,
}

/// `DYNPTR_MAX_SIZE`.
pub(crate) const MAX_SIZE: u32 = (1 << 24) - 1;
const BYTES: usize = 16;
const KIND_SHIFT: u32 = 28;

impl Dynptr {
    /// What helpers leave when they fail.
    pub(crate) const NULL: Self = Self { data: 0, size: 0, kind: Kind::Null, offset: 0 };

    pub(crate) fn new(data: u64, size: u32, kind: Kind) -> Self {
        Self { data, size, kind, offset: 0 }
    }

    pub(crate) fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let kind: u32 = match self.kind {
            Kind::Null => 0,
            Kind::Local => 1,
            Kind::Ring => 2,
        };
        let words = [self.size & MAX_SIZE | kind << KIND_SHIFT, self.offset];
        for (place, byte) in bytes
            .iter_mut()
            .zip(self.data.to_ne_bytes().into_iter().chain(words.into_iter().flat_map(u32::to_ne_bytes)))
        {
            *place = byte;
        }
        bytes
    }

    /// Reads one from the program's memory.
    pub(crate) fn read(address: u64, memory: &Memory<'_, '_>) -> Result<Self, FaultKind> {
        let mut scratch = Scratch::new();
        let bytes = memory.bytes(address, BYTES, &mut scratch)?;
        let word =
            |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_ne_bytes(*b));
        let data = bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let kind = match word(8) >> KIND_SHIFT & 7 {
            1 => Kind::Local,
            2 => Kind::Ring,
            _ => Kind::Null,
        };
        if data == 0 || kind == Kind::Null {
            return Ok(Self::NULL);
        }
        Ok(Self { data, size: word(8) & MAX_SIZE, kind, offset: word(12) })
    }

    /// Writes it to the program's memory.
    pub(crate) fn write(self, address: u64, memory: &mut Memory<'_, '_>) -> Result<(), FaultKind> {
        memory.write(address, &self.to_bytes())
    }

    /// The address of `length` bytes from `offset` on; `None` where they are not all inside.
    pub(crate) fn slice(self, offset: u64, length: u64) -> Option<u64> {
        let size = u64::from(self.size);
        if self.kind == Kind::Null || length > size || offset > size.saturating_sub(length) {
            return None;
        }
        // The place of a region in the high half stays what it is: regions have less than 2^32 bytes.
        Some(self.data.wrapping_add(u64::from(self.offset)).wrapping_add(offset))
    }
}

/// Copies bytes from one place of the program's memory to another; they may overlap.
pub(crate) fn copy(to: u64, from: u64, length: u64, memory: &mut Memory<'_, '_>) -> Result<(), FaultKind> {
    let length = index(low(length));
    memory.check(from, length, false)?;
    memory.check(to, length, true)?;
    let mut done = 0usize;
    // From the end where the source begins before the target: nothing is overwritten before it is read.
    let backwards = from < to;
    while done < length {
        let step = length.saturating_sub(done).min(PIECE);
        let place = if backwards { length.saturating_sub(done).saturating_sub(step) } else { done } as u64;
        let mut scratch = Scratch::new();
        let mut piece = [0; PIECE];
        let bytes = memory.bytes(from.wrapping_add(place), step, &mut scratch)?;
        let piece = piece.get_mut(..step).unwrap_or_default();
        piece.copy_from_slice(bytes);
        memory.write(to.wrapping_add(place), piece)?;
        done = done.saturating_add(step);
    }
    Ok(())
}

const PIECE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_stay_inside() {
        let whole = Dynptr::new(0x2_0000_0000, 100, Kind::Local);
        assert_eq!(whole.slice(0, 100), Some(0x2_0000_0000));
        assert_eq!(whole.slice(100, 0), Some(0x2_0000_0064));
        assert_eq!(whole.slice(60, 40), Some(0x2_0000_003c));
        assert_eq!(whole.slice(61, 40), None);
        assert_eq!(whole.slice(0, 101), None);
        assert_eq!(whole.slice(u64::MAX, 1), None, "the sum does not wrap");
        assert_eq!(Dynptr::NULL.slice(0, 0), None);
    }
}
