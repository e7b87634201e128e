//! The seam: what the rings ask of their memory.
//!
//! The algorithms name positions, never addresses. [`Mapped`](crate::Mapped) answers over real memory; under `cfg(loom)` a model answers with the
//! model checker's cells; a driver may answer with its kernel's own atomics.

use crate::{Geometry, Header, Order};

/// An atomic word: a position, which moves by whole records and wraps, or a counter.
///
/// Positions are 64 bits wide in the control page and the machine's word wide in what Linux calculates; the low word is all that is needed.
pub trait Position {
    /// Loads.
    fn load(&self, order: Order) -> usize;
    /// Stores.
    fn store(&self, value: usize, order: Order);
    /// Stores and gives what was there.
    fn swap(&self, value: usize, order: Order) -> usize;
    /// Adds, wrapping, and gives the value before.
    fn fetch_add(&self, value: usize, order: Order) -> usize;
}

/// The memory of one ring.
///
/// [`Claim`] and [`Extent`] cannot be made outside of this crate: whoever has one may write, or read, just those bytes.
pub trait Memory {
    /// Positions.
    type Position: Position;

    /// The size and direction.
    fn geometry(&self) -> Geometry;
    /// `data_head`: written by the writer, read by the reader, who does not trust it.
    fn head(&self) -> &Self::Position;
    /// `data_tail`: written by the reader, read by the writer, who does not trust it.
    fn tail(&self) -> &Self::Position;

    /// Writes `bytes` from `offset` on into the claimed bytes, over the end of the data and on at its start; what would fall outside is not written.
    fn write(&self, claim: &mut Claim, offset: usize, bytes: &[u8]);
    /// Reads the claimed or published bytes from `offset` on; what would come from outside is not read.
    fn read(&self, extent: &Extent, offset: usize, bytes: &mut [u8]);
    /// The first eight bytes of a published record, as a native word. They never go over the end.
    fn header(&self, extent: &Extent) -> u64;
    /// The four bytes behind them.
    fn raw_size(&self, extent: &Extent) -> u32;

    /// The record at `position` will be looked at soon. Whatever the position, this changes nothing but time.
    #[inline(always)]
    fn prefetch(&self, position: usize) {
        let _ = position;
    }

    /// A fence.
    fn fence(&self, order: Order);
}

/// Memory whose payloads are plain bytes at an address.
pub trait Contiguous: Memory {
    /// Published bytes: all of them, or those up to the end of the data and those from its start on.
    fn slices<'a>(&'a self, extent: &'a Extent) -> (&'a [u8], &'a [u8]);
}

/// Memory that can be copied while somebody may be writing there.
pub trait Racy: Memory {
    /// Copies what stands at `position`, torn or not, over the end of the data and on at its start.
    fn copy(&self, position: usize, bytes: &mut [u8]);

    /// The header at `position`, torn or not.
    fn copy_header(&self, position: usize) -> Header {
        let mut bytes = [0; 8];
        self.copy(position, &mut bytes);
        Header::from_bytes(bytes)
    }
}

/// The exclusive right to bytes that the reader has not been shown yet. Only a writer of this crate makes one.
#[derive(Debug)]
pub struct Claim {
    position: usize,
    length: usize,
}

impl Claim {
    pub(crate) const fn new(position: usize, length: usize) -> Self {
        Self { position, length }
    }

    /// Where they begin.
    #[inline]
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// How many.
    #[inline]
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }
}

/// The right to read published bytes, until the reader moves `data_tail` over them. Only a reader of this crate makes one.
#[derive(Debug)]
pub struct Extent {
    position: usize,
    length: usize,
    is_whole: bool,
}

impl Extent {
    #[inline(always)]
    pub(crate) const fn new(position: usize, length: usize) -> Self {
        Self { position, length, is_whole: false }
    }

    /// Bytes of which whoever makes this knows that they do not go over the end of the data.
    #[inline(always)]
    pub(crate) const fn whole(position: usize, length: usize) -> Self {
        Self { position, length, is_whole: true }
    }

    /// Where they begin.
    #[inline]
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// How many.
    #[inline]
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Is it known already that they do not go over the end of the data?
    #[inline(always)]
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }
}
