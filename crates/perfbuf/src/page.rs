//! The control page in front of a ring's data: `struct perf_event_mmap_page`.

use crate::geometry::{Direction, Geometry, GeometryError};

/// Offsets of the fields this crate uses, from the start of the page.
pub mod field {
    /// `u32`: version of the layout, 0.
    pub const VERSION: usize = 0;
    /// `u32`: lowest version this is compatible with, 0.
    pub const COMPAT_VERSION: usize = 4;
    /// `u32`: bytes of the fields from the start that the kernel fills.
    pub const SIZE: usize = 72;
    /// `u64`: written by the writer. Grows, or shrinks in a ring that is written backward; wraps with the machine's word.
    pub const DATA_HEAD: usize = 1024;
    /// `u64`: written by the reader.
    pub const DATA_TAIL: usize = 1032;
    /// `u64`: where the data begins, from the start of the page.
    pub const DATA_OFFSET: usize = 1040;
    /// `u64`: bytes of data.
    pub const DATA_SIZE: usize = 1048;
}

/// Bytes of `struct perf_event_mmap_page`.
pub const PAGE_FIELDS: usize = 1088;
/// What Linux writes into [`field::SIZE`].
pub const FILLED: u32 = 96;

const _: () = {
    // Positions stand on cache lines away from what the kernel fills, as the layout wants it.
    assert!(field::DATA_HEAD.is_multiple_of(64) && FILLED as usize <= field::DATA_HEAD);
    assert!(field::DATA_SIZE + size_of::<u64>() <= PAGE_FIELDS);
};

/// What a control page says, as far as a ring is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// Version of the layout.
    pub version: u32,
    /// Lowest version this is compatible with.
    pub compat_version: u32,
    /// Bytes that are filled.
    pub size: u32,
    /// Where the writer stands.
    pub data_head: u64,
    /// Where the reader stands.
    pub data_tail: u64,
    /// Where the data begins, from the start of the page.
    pub data_offset: u64,
    /// Bytes of data.
    pub data_size: u64,
}

impl Page {
    /// The page of a new ring: data behind one page of `page_size` bytes.
    #[must_use]
    pub const fn for_ring(geometry: Geometry, page_size: usize) -> Self {
        Self {
            version: 0,
            compat_version: 0,
            size: FILLED,
            data_head: 0,
            data_tail: 0,
            data_offset: page_size as u64,
            data_size: geometry.size() as u64,
        }
    }

    /// Out of a page's bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; PAGE_FIELDS]) -> Self {
        let long = |at: usize| {
            bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u64::from_ne_bytes(*word))
        };
        let word = |at: usize| {
            bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_ne_bytes(*word))
        };
        Self {
            version: word(field::VERSION),
            compat_version: word(field::COMPAT_VERSION),
            size: word(field::SIZE),
            data_head: long(field::DATA_HEAD),
            data_tail: long(field::DATA_TAIL),
            data_offset: long(field::DATA_OFFSET),
            data_size: long(field::DATA_SIZE),
        }
    }

    /// As a page's bytes, zero where this crate knows no field.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; PAGE_FIELDS] {
        let mut bytes = [0; PAGE_FIELDS];
        let mut put = |at: usize, field: &[u8]| {
            if let Some(target) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..field.len())) {
                target.copy_from_slice(field);
            }
        };
        put(field::VERSION, &self.version.to_ne_bytes());
        put(field::COMPAT_VERSION, &self.compat_version.to_ne_bytes());
        put(field::SIZE, &self.size.to_ne_bytes());
        put(field::DATA_HEAD, &self.data_head.to_ne_bytes());
        put(field::DATA_TAIL, &self.data_tail.to_ne_bytes());
        put(field::DATA_OFFSET, &self.data_offset.to_ne_bytes());
        put(field::DATA_SIZE, &self.data_size.to_ne_bytes());
        bytes
    }

    /// Where the data begins and how much there is, if that lies within a mapping of `mapped` bytes that begins with this page.
    ///
    /// # Errors
    /// When it does not, or the size is none of a ring.
    pub fn data(&self, mapped: usize, direction: Direction) -> Result<(usize, Geometry), GeometryError> {
        let outside = GeometryError::Outside { offset: self.data_offset, size: self.data_size, mapped };
        let offset = usize::try_from(self.data_offset).map_err(|_| outside)?;
        let size = usize::try_from(self.data_size).map_err(|_| outside)?;
        let geometry = Geometry::new(size, direction)?;
        let fits = offset.checked_add(size).is_some_and(|end| end <= mapped);
        if fits && offset >= PAGE_FIELDS && offset.is_multiple_of(8) {
            Ok((offset, geometry))
        } else {
            Err(outside)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_survives_its_bytes_and_says_where_the_data_is() {
        for page_size in [4096, 16384, 65536] {
            let geometry = Geometry::new(8 * page_size, Direction::Forward).unwrap();
            let page = Page { data_head: 40, data_tail: 16, ..Page::for_ring(geometry, page_size) };
            let again = Page::from_bytes(&page.to_bytes());
            assert_eq!(again, page);
            assert_eq!(again.data(9 * page_size, Direction::Forward), Ok((page_size, geometry)));
            assert!(matches!(
                again.data(9 * page_size - 1, Direction::Forward),
                Err(GeometryError::Outside { .. })
            ));
        }
    }

    #[test]
    fn data_that_is_nowhere_is_refused() {
        let page = |data_offset, data_size| Page { data_offset, data_size, ..Page::default() };
        for (offset, size) in [(u64::MAX, 4096), (8, 4096), (4095, 4096), (u64::MAX - 4095, 4096)] {
            let refused = page(offset, size).data(1 << 20, Direction::Forward);
            assert_eq!(
                refused,
                Err(GeometryError::Outside { offset, size, mapped: 1 << 20 }),
                "{offset}, {size}"
            );
        }
        assert_eq!(page(4096, 12).data(1 << 20, Direction::Forward), Err(GeometryError::Size(12)));
    }
}
