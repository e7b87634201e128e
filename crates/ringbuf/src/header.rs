//! The record header: eight bytes before every payload.

use core::fmt;

/// Bytes of a record header.
pub const HEADER_SIZE: usize = 8;

/// The longest payload the format can say: `UINT_MAX / 4` bytes (Linux's `RINGBUF_MAX_RECORD_SZ`).
pub const MAX_PAYLOAD: usize = 0x3FFF_FFFF;

/// Set while the producer still writes the payload: a consumer stops here (Linux's `BPF_RINGBUF_BUSY_BIT`).
pub const BUSY_BIT: u32 = 1 << 31;

/// Set when the producer gave the record up: a consumer skips it (Linux's `BPF_RINGBUF_DISCARD_BIT`).
pub const DISCARD_BIT: u32 = 1 << 30;

/// Where the fields of a header stand, in bytes from its start. Both are 32 bits in the machine's byte order.
pub mod field {
    /// Payload length in bytes, with [`BUSY_BIT`](super::BUSY_BIT) and [`DISCARD_BIT`](super::DISCARD_BIT).
    pub const LENGTH: usize = 0;
    /// Pages between the start of the ring (see [`PageOffset`](crate::PageOffset)) and the page the header is in.
    pub const PAGE_OFFSET: usize = 4;
}

/// A header as a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header {
    length: u32,
    page_offset: u32,
}

impl Header {
    /// A header for a payload of `length` bytes that is still being written; `None` above [`MAX_PAYLOAD`].
    #[inline]
    #[must_use]
    pub const fn busy(length: usize, page_offset: u32) -> Option<Self> {
        match payload_length(length) {
            Some(length) => Some(Self { length: length | BUSY_BIT, page_offset }),
            None => None,
        }
    }

    /// A header for a record that nobody will read.
    pub(crate) const fn discarded(length: usize, page_offset: u32) -> Option<Self> {
        match payload_length(length) {
            Some(length) => Some(Self { length: length | DISCARD_BIT, page_offset }),
            None => None,
        }
    }

    /// The same header when its record is submitted.
    #[inline]
    #[must_use]
    pub(crate) const fn committed(self) -> Self {
        Self { length: self.length & !BUSY_BIT, ..self }
    }

    /// The same header in another page.
    #[inline]
    #[must_use]
    pub(crate) const fn at(self, page_offset: u32) -> Self {
        Self { page_offset, ..self }
    }

    /// Reads a header from its eight bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; HEADER_SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self { length: u32::from_ne_bytes([a, b, c, d]), page_offset: u32::from_ne_bytes([e, f, g, h]) }
    }

    /// The eight bytes as they stand in the ring.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; HEADER_SIZE] {
        let [a, b, c, d] = self.length.to_ne_bytes();
        let [e, f, g, h] = self.page_offset.to_ne_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// Payload bytes, without header and padding.
    #[inline]
    #[must_use]
    pub const fn payload_len(self) -> usize {
        (self.length & !(BUSY_BIT | DISCARD_BIT)) as usize
    }

    /// Is the producer still writing?
    #[inline]
    #[must_use]
    pub const fn is_busy(self) -> bool {
        self.length & BUSY_BIT != 0
    }

    /// Was the record given up?
    #[inline]
    #[must_use]
    pub const fn is_discarded(self) -> bool {
        self.length & DISCARD_BIT != 0
    }

    /// The first word: length and flags.
    #[inline]
    #[must_use]
    pub const fn length_word(self) -> u32 {
        self.length
    }

    /// The second word.
    #[inline]
    #[must_use]
    pub const fn page_offset(self) -> u32 {
        self.page_offset
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("payload_len", &self.payload_len())
            .field("busy", &self.is_busy())
            .field("discarded", &self.is_discarded())
            .field("page_offset", &self.page_offset)
            .finish()
    }
}

/// Bytes a record with this length word takes in the ring: header, payload and padding to the next multiple of eight.
///
/// Takes the word as it stands, flags and all. At most `2^30 + 8`, so it never overflows.
#[inline]
#[must_use]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "the masked length is below 2^30: the sum is below 2^31 on every target"
)]
pub const fn record_size(length_word: u32) -> usize {
    let payload = (length_word & !(BUSY_BIT | DISCARD_BIT)) as usize;
    (payload + HEADER_SIZE + (HEADER_SIZE - 1)) & !(HEADER_SIZE - 1)
}

/// `length` as a length word without flags, if the format can say it.
#[inline]
const fn payload_length(length: usize) -> Option<u32> {
    if length > MAX_PAYLOAD {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded by MAX_PAYLOAD just above")]
    Some(length as u32)
}

const _: () = {
    assert!(size_of::<Header>() == HEADER_SIZE);
    assert!(core::mem::offset_of!(Header, length) == field::LENGTH);
    assert!(core::mem::offset_of!(Header, page_offset) == field::PAGE_OFFSET);
    assert!(MAX_PAYLOAD == (u32::MAX / 4) as usize);
    assert!(record_size(0) == 8 && record_size(1) == 16 && record_size(8) == 16 && record_size(9) == 24);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Read off a real kernel's ring: 8 bytes submitted, 8 discarded, 4000 bytes in page 1, 13 bytes, none.
    const GOLDEN: [([u8; 8], usize, bool, u32); 5] = [
        ([0x08, 0, 0, 0, 3, 0, 0, 0], 8, false, 3),
        ([0x08, 0, 0, 0x40, 3, 0, 0, 0], 8, true, 3),
        ([0xa0, 0x0f, 0, 0, 4, 0, 0, 0], 4000, false, 4),
        ([0x0d, 0, 0, 0, 3, 0, 0, 0], 13, false, 3),
        ([0, 0, 0, 0, 3, 0, 0, 0], 0, false, 3),
    ];

    #[test]
    #[cfg(target_endian = "little")]
    fn golden_headers_are_read_and_written() {
        for (bytes, length, discarded, page_offset) in GOLDEN {
            let header = Header::from_bytes(bytes);
            assert_eq!(
                (header.payload_len(), header.is_discarded(), header.is_busy(), header.page_offset()),
                (length, discarded, false, page_offset)
            );
            assert_eq!(header.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_busy_header_says_its_length_and_nothing_above_the_limit() {
        let header = Header::busy(MAX_PAYLOAD, 7).unwrap();
        assert!(header.is_busy() && !header.is_discarded());
        assert_eq!(header.payload_len(), MAX_PAYLOAD);
        assert_eq!(Header::busy(MAX_PAYLOAD + 1, 7), None);
    }

    #[test]
    fn record_size_ignores_the_flags() {
        for length in [0u32, 1, 7, 8, 9, 0x3FFF_FFFF] {
            let plain = record_size(length);
            assert_eq!(plain, record_size(length | BUSY_BIT));
            assert_eq!(plain, record_size(length | DISCARD_BIT));
            assert!(plain.is_multiple_of(8) && plain >= length as usize + 8);
        }
    }
}
