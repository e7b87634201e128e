//! What a reader gives: samples, losses, and records it does not know.

use core::fmt;
use core::ops::RangeInclusive;

use crate::memory::{Contiguous, Extent, Memory};
use crate::record::{Header, Lost, raw_size};

/// A record that is being read. It is good during the call that it is given to.
#[non_exhaustive]
pub enum Event<'r, M> {
    /// A sample with raw data: what a program or a [`Writer`](crate::Writer) wrote.
    Sample(Sample<'r, M>),
    /// So many records found no room before this place.
    Lost(Lost),
    /// A sample that says it is longer than its record. Linux cuts the size of samples above [`MAX_PAYLOAD`](crate::MAX_PAYLOAD) to 16 bits.
    Truncated {
        /// The beginning of its raw data.
        sample: Sample<'r, M>,
        /// How long it says it is, padding included.
        raw_size: u32,
    },
    /// A record of another kind, moved over by its size.
    Other(Other<'r, M>),
}

impl<M: Memory> fmt::Debug for Event<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sample(sample) => f.debug_tuple("Sample").field(sample).finish(),
            Self::Lost(lost) => f.debug_tuple("Lost").field(lost).finish(),
            Self::Truncated { sample, raw_size } => {
                f.debug_struct("Truncated").field("sample", sample).field("raw_size", raw_size).finish()
            }
            Self::Other(other) => f.debug_tuple("Other").field(other).finish(),
        }
    }
}

/// The raw data of a sample, in the ring.
///
/// **The format does not say how long a payload is**: it is padded to a multiple of eight with whatever stood there, and the padding counts as data. Who knows
/// the length takes [`exact`](Self::exact), or a value of a type; whoever does not, makes the program (or [`Writer::output_prefixed`](crate::Writer::output_prefixed))
/// put it in front, and takes [`prefixed`](Self::prefixed).
pub struct Sample<'r, M> {
    memory: &'r M,
    extent: Extent,
}

impl<'r, M: Memory> Sample<'r, M> {
    #[inline(always)]
    pub(crate) fn new(memory: &'r M, extent: Extent) -> Self {
        Self { memory, extent }
    }

    /// Bytes of raw data, padding included: for a payload of 4 + 8 n bytes as many, else up to seven more.
    #[inline(always)]
    #[must_use]
    pub fn raw_len(&self) -> usize {
        self.extent.length()
    }

    /// How long the payload may be, given how long it is with its padding.
    #[must_use]
    pub fn possible_lengths(&self) -> RangeInclusive<usize> {
        let longest = self.raw_len();
        longest.saturating_sub(7)..=longest
    }

    /// Position of the raw data.
    #[must_use]
    pub fn position(&self) -> usize {
        self.extent.position()
    }

    /// Copies the beginning into `bytes`, as much as fits; gives how many bytes that were.
    pub fn copy_to(&self, bytes: &mut [u8]) -> usize {
        let length = self.raw_len().min(bytes.len());
        if let Some(bytes) = bytes.get_mut(..length) {
            self.memory.read(&self.extent, 0, bytes);
        }
        length
    }

    /// The sample as a payload of just `length` bytes.
    ///
    /// # Errors
    /// When a payload of that length has another size in the ring.
    pub fn exact(&self, length: usize) -> Result<Sample<'r, M>, WrongLength> {
        if raw_size(length) != self.raw_len() {
            return Err(WrongLength { expected: length, raw_len: self.raw_len() });
        }
        Ok(Sample { memory: self.memory, extent: Extent::new(self.extent.position(), length) })
    }

    /// The payload of a sample that begins with its native 32-bit length.
    ///
    /// # Errors
    /// When that length does not fit the sample.
    pub fn prefixed(&self) -> Result<Sample<'r, M>, WrongLength> {
        let mut prefix = [0; 4];
        let wrong = |expected| WrongLength { expected, raw_len: self.raw_len() };
        if self.copy_to(&mut prefix) < prefix.len() {
            return Err(wrong(prefix.len()));
        }
        let length = u32::from_ne_bytes(prefix) as usize;
        let whole = length.checked_add(prefix.len()).ok_or(wrong(length))?;
        if raw_size(whole) != self.raw_len() {
            return Err(wrong(whole));
        }
        let start = self.extent.position().wrapping_add(prefix.len());
        Ok(Sample { memory: self.memory, extent: Extent::new(start, length) })
    }

    /// A copy of just `N` bytes.
    ///
    /// # Errors
    /// When a payload of that length has another size in the ring.
    pub fn to_array<const N: usize>(&self) -> Result<[u8; N], WrongLength> {
        let payload = self.exact(N)?;
        let mut bytes = [0; N];
        payload.copy_to(&mut bytes);
        Ok(bytes)
    }
}

impl<M: Contiguous> Sample<'_, M> {
    /// The raw data where it lies: all of it and nothing, or, over the end of the ring, the two parts.
    #[inline(always)]
    #[must_use]
    pub fn slices(&self) -> (&[u8], &[u8]) {
        self.memory.slices(&self.extent)
    }

    /// Is the raw data just these bytes?
    #[must_use]
    pub fn is_bytes(&self, bytes: &[u8]) -> bool {
        let (first, second) = self.slices();
        bytes.strip_prefix(first) == Some(second)
    }
}

#[cfg(feature = "bytemuck")]
impl<M: Memory> Sample<'_, M> {
    /// The payload as a value, copied: it may lie over the end of the ring, and never lies on a multiple of eight.
    ///
    /// # Errors
    /// When a payload of that type has another size in the ring.
    pub fn pod<T: bytemuck::Pod>(&self) -> Result<T, WrongLength> {
        let payload = self.exact(size_of::<T>())?;
        let mut value = T::zeroed();
        payload.copy_to(bytemuck::bytes_of_mut(&mut value));
        Ok(value)
    }
}

#[cfg(feature = "zerocopy")]
impl<M: Memory> Sample<'_, M> {
    /// The payload as a value, copied: it may lie over the end of the ring, and never lies on a multiple of eight.
    ///
    /// # Errors
    /// When a payload of that type has another size in the ring.
    pub fn value<T: zerocopy::FromBytes + zerocopy::IntoBytes>(&self) -> Result<T, WrongLength> {
        let payload = self.exact(size_of::<T>())?;
        let mut value = T::new_zeroed();
        payload.copy_to(value.as_mut_bytes());
        Ok(value)
    }
}

impl<M: Memory> fmt::Debug for Sample<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample")
            .field("position", &self.position())
            .field("raw_len", &self.raw_len())
            .finish()
    }
}

/// A record of a kind that this crate does not know.
pub struct Other<'r, M> {
    header: Header,
    body: Sample<'r, M>,
}

impl<'r, M: Memory> Other<'r, M> {
    pub(crate) fn new(header: Header, body: Sample<'r, M>) -> Self {
        Self { header, body }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// What follows the header.
    #[must_use]
    pub fn body(&self) -> &Sample<'r, M> {
        &self.body
    }
}

impl<M: Memory> fmt::Debug for Other<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Other").field("header", &self.header).field("body", &self.body).finish()
    }
}

/// A payload is not as long as expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrongLength {
    /// Bytes expected.
    pub expected: usize,
    /// Bytes of raw data there are, padding included.
    pub raw_len: usize,
}

impl fmt::Display for WrongLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of raw data hold no payload of {} bytes", self.raw_len, self.expected)
    }
}

impl core::error::Error for WrongLength {}
