//! Records: the eight bytes they begin with, and what follows.

/// Offsets of the fields, from the start of a record.
pub mod field {
    /// `u32`: what kind of record, one of Linux's `PERF_RECORD_*`.
    pub const TYPE: usize = 0;
    /// `u16`: `PERF_RECORD_MISC_*`.
    pub const MISC: usize = 4;
    /// `u16`: bytes of the record, header included.
    pub const SIZE: usize = 6;
    /// `u32`, in a sample: bytes of the raw data that follow, padding included.
    pub const RAW_SIZE: usize = 8;
    /// In a sample: the raw data.
    pub const RAW: usize = 12;
    /// `u64`, in a lost record: which event lost.
    pub const LOST_ID: usize = 8;
    /// `u64`, in a lost record: how many records.
    pub const LOST_COUNT: usize = 16;
}

/// Bytes of a record header.
pub const HEADER_SIZE: usize = 8;
/// `PERF_RECORD_LOST`.
pub const RECORD_LOST: u32 = 2;
/// `PERF_RECORD_SAMPLE`.
pub const RECORD_SAMPLE: u32 = 9;
/// Bytes of a lost record.
pub const LOST_SIZE: usize = 24;
/// The longest payload whose record still has a true size: sizes are 16 bits wide. Linux takes longer ones without an error and writes what cannot
/// be read: of 65,517 bytes nothing, of 70,000 a record of 4,480 (seen on 6.18).
pub const MAX_PAYLOAD: usize = 65_516;
/// `PERF_RECORD_MISC_KERNEL`: what Linux writes into samples of programs that run in the kernel.
pub const MISC_KERNEL: u16 = 1;

const _: () = {
    assert!(field::SIZE + size_of::<u16>() == HEADER_SIZE);
    assert!(field::RAW_SIZE + size_of::<u32>() == field::RAW);
    assert!(field::LOST_COUNT + size_of::<u64>() == LOST_SIZE);
    assert!(sample_size(MAX_PAYLOAD) == 65_528 && sample_size(MAX_PAYLOAD + 1) > u16::MAX as usize);
};

/// What a sample of `payload_len` bytes says its raw data measure: the payload and the padding that makes the record a multiple of eight.
#[inline]
#[must_use]
pub const fn raw_size(payload_len: usize) -> usize {
    (payload_len.saturating_add(4 + 7) & !7).saturating_sub(4)
}

/// Bytes that a sample of `payload_len` bytes takes.
#[inline]
#[must_use]
pub const fn sample_size(payload_len: usize) -> usize {
    raw_size(payload_len).saturating_add(field::RAW)
}

/// The header of a record: `struct perf_event_header`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    kind: u32,
    misc: u16,
    size: u16,
}

impl Header {
    /// From its parts.
    #[inline]
    #[must_use]
    pub const fn new(kind: u32, misc: u16, size: u16) -> Self {
        Self { kind, misc, size }
    }

    /// Which kind of record, one of Linux's `PERF_RECORD_*`.
    #[inline]
    #[must_use]
    pub const fn kind(self) -> u32 {
        self.kind
    }

    /// `PERF_RECORD_MISC_*`.
    #[inline]
    #[must_use]
    pub const fn misc(self) -> u16 {
        self.misc
    }

    /// Bytes of the record as it says, header included. May be anything in memory that is not trusted.
    #[inline]
    #[must_use]
    pub const fn size(self) -> u16 {
        self.size
    }

    /// The header out of a record's first bytes, native endian.
    #[inline]
    #[must_use]
    pub const fn from_bytes(bytes: [u8; HEADER_SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self {
            kind: u32::from_ne_bytes([a, b, c, d]),
            misc: u16::from_ne_bytes([e, f]),
            size: u16::from_ne_bytes([g, h]),
        }
    }

    /// The bytes a record begins with.
    #[inline]
    #[must_use]
    pub const fn to_bytes(self) -> [u8; HEADER_SIZE] {
        let [a, b, c, d] = self.kind.to_ne_bytes();
        let [e, f] = self.misc.to_ne_bytes();
        let [g, h] = self.size.to_ne_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// All of it as one native word: two headers are equal when their words are.
    #[inline(always)]
    pub(crate) const fn from_word(word: u64) -> Self {
        Self::from_bytes(word.to_ne_bytes())
    }
}

/// A record that says how many others there was no room for, just before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The kernel's number of the event that lost them.
    pub id: u64,
    /// How many records.
    pub count: u64,
}

impl Lost {
    /// From its parts.
    #[must_use]
    pub const fn new(id: u64, count: u64) -> Self {
        Self { id, count }
    }

    /// What follows the header.
    #[must_use]
    pub fn body(self) -> [u8; LOST_SIZE - HEADER_SIZE] {
        let mut bytes = [0; LOST_SIZE - HEADER_SIZE];
        let (id, count) = bytes.split_at_mut(8);
        id.copy_from_slice(&self.id.to_ne_bytes());
        count.copy_from_slice(&self.count.to_ne_bytes());
        bytes
    }

    /// Out of what follows the header.
    #[must_use]
    pub fn from_body(bytes: [u8; LOST_SIZE - HEADER_SIZE]) -> Self {
        let word = |word: Option<&[u8; 8]>| u64::from_ne_bytes(*word.unwrap_or(&[0; 8]));
        Self { id: word(bytes.first_chunk()), count: word(bytes.last_chunk()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen on Linux 6.18: payload bytes, size of the record, raw size.
    #[test]
    fn sizes_are_those_of_the_kernel() {
        for (payload, size, raw) in
            [(0, 16, 4), (4, 16, 4), (5, 24, 12), (8, 24, 12), (13, 32, 20), (16, 32, 20)]
        {
            assert_eq!((sample_size(payload), raw_size(payload)), (size, raw), "{payload}");
        }
    }

    #[test]
    fn headers_and_lost_records_survive_their_bytes() {
        let header = Header::new(0x0102_0304, 0x0506, 0x0708);
        assert_eq!(Header::from_bytes(header.to_bytes()), header);
        assert_eq!(Header::from_word(u64::from_ne_bytes(header.to_bytes())), header);
        let lost = Lost::new(7, 9);
        assert_eq!(Lost::from_body(lost.body()), lost);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn bytes_are_those_of_the_kernel() {
        assert_eq!(Header::new(RECORD_SAMPLE, MISC_KERNEL, 16).to_bytes(), [9, 0, 0, 0, 1, 0, 0x10, 0]);
        assert_eq!(Header::new(RECORD_LOST, 0, 24).to_bytes(), [2, 0, 0, 0, 0, 0, 0x18, 0]);
    }
}
