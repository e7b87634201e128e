//! Sizes of a ring and where things fall in it.

use core::fmt;

/// How the data area stands in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mapping {
    /// Mapped once, a plain array. A record never crosses the end: a producer that would cross it first emits a discarded record up to the end,
    /// which every consumer skips. The longest record is half the ring.
    Flat,
    /// Mapped twice in a row, as kernels do: a payload may run over the end and go on at the start.
    Mirrored,
}

/// From where the second header word counts its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageOffset {
    /// From the start of the data, as eBPF for Windows does.
    FromData,
    /// From the start of Linux's `struct bpf_ringbuf`: one private page, the consumer's page and the producer's page stand before the data.
    FromRing,
}

/// Sizes of a ring, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    mask: usize,
    page_shift: u32,
    first_page: u32,
    mapping: Mapping,
    overwrites: bool,
}

impl Geometry {
    /// A ring of `size` bytes of data (`max_entries` in Linux) in pages of `page_size` bytes.
    ///
    /// Linux asks for whole pages besides; a ring inside one process may be as small as eight bytes.
    ///
    /// # Errors
    /// When `size` is not a power of two from 8 to 2^31, or `page_size` is not one of at least 8.
    pub const fn new(
        size: usize,
        page_size: usize,
        mapping: Mapping,
        page_offset: PageOffset,
    ) -> Result<Self, GeometryError> {
        if !size.is_power_of_two() || size < 8 || size > 1 << 31 {
            return Err(GeometryError::Size(size));
        }
        if !page_size.is_power_of_two() || page_size < 8 {
            return Err(GeometryError::PageSize(page_size));
        }
        let first_page = match page_offset {
            PageOffset::FromData => 0,
            PageOffset::FromRing => 3,
        };
        Ok(Self {
            mask: size.wrapping_sub(1),
            page_shift: page_size.trailing_zeros(),
            first_page,
            mapping,
            overwrites: false,
        })
    }

    /// The same ring, but a full one gives up its oldest records instead of refusing new ones (`BPF_F_RB_OVERWRITE`, Linux 6.19).
    #[must_use]
    pub const fn overwriting(self) -> Self {
        Self { overwrites: true, ..self }
    }

    /// The same ring, [mirrored](Mapping::Mirrored) and not overwriting. Memory that is never anything else answers with this, and the compiler leaves
    /// out what it would do for others.
    #[inline]
    #[must_use]
    pub const fn mirrored(self) -> Self {
        Self { mapping: Mapping::Mirrored, overwrites: false, ..self }
    }

    /// Does a full ring give up its oldest records?
    #[inline]
    #[must_use]
    pub const fn overwrites(&self) -> bool {
        self.overwrites
    }

    /// Bytes of data.
    #[inline]
    #[must_use]
    pub const fn size(&self) -> usize {
        self.mask.wrapping_add(1)
    }

    /// `size - 1`: a position and this mask give an offset.
    #[inline]
    #[must_use]
    pub const fn mask(&self) -> usize {
        self.mask
    }

    /// Flat or mirrored.
    #[inline]
    #[must_use]
    pub const fn mapping(&self) -> Mapping {
        self.mapping
    }

    /// Bytes from the start of the data to `position`.
    #[inline]
    #[must_use]
    pub const fn offset(&self, position: usize) -> usize {
        position & self.mask
    }

    /// The second header word of a record at `position`.
    #[inline]
    #[must_use]
    pub const fn page_offset(&self, position: usize) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "an offset is below 2^31")]
        let page = (self.offset(position) >> self.page_shift) as u32;
        self.first_page.wrapping_add(page)
    }

    /// Bytes from `position` to the end of the data area.
    #[inline]
    #[must_use]
    pub const fn until_end(&self, position: usize) -> usize {
        self.size().wrapping_sub(self.offset(position))
    }

    /// The longest record, header and padding included, that can ever be reserved.
    ///
    /// Mirrored: all of the ring but eight bytes, as in Linux. Flat: half of it, because the rest of a lap may have to be skipped.
    #[inline]
    #[must_use]
    pub const fn max_record(&self) -> usize {
        match self.mapping {
            Mapping::Flat => self.size() / 2,
            Mapping::Mirrored => self.size().wrapping_sub(8),
        }
    }
}

/// The sizes given for a ring are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GeometryError {
    /// The page size is not a power of two of at least 8.
    PageSize(usize),
    /// The size of the data is not a power of two from 8 to 2^31.
    Size(usize),
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageSize(size) => {
                write!(f, "a page of {size} bytes: it must be a power of two of at least 8")
            }
            Self::Size(size) => write!(f, "a ring of {size} bytes: it must be a power of two from 8 to 2^31"),
        }
    }
}

impl core::error::Error for GeometryError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_offset_follows_both_conventions_for_every_page_size() {
        for page_size in [4096, 16384, 65536] {
            let linux =
                Geometry::new(4 * page_size, page_size, Mapping::Mirrored, PageOffset::FromRing).unwrap();
            let windows =
                Geometry::new(4 * page_size, page_size, Mapping::Mirrored, PageOffset::FromData).unwrap();
            for lap in [0, 4 * page_size, usize::MAX - 4 * page_size + 1] {
                for page in 0..4u32 {
                    for offset in [0, 8, page_size - 8] {
                        let position = lap.wrapping_add(page as usize * page_size + offset);
                        assert_eq!(linux.page_offset(position), 3 + page);
                        assert_eq!(windows.page_offset(position), page);
                    }
                }
            }
        }
    }

    #[test]
    fn mirrored_changes_nothing_else() {
        let flat = Geometry::new(4096, 4096, Mapping::Flat, PageOffset::FromRing).unwrap();
        let mirrored = Geometry::new(4096, 4096, Mapping::Mirrored, PageOffset::FromRing).unwrap();
        assert_ne!(flat, mirrored);
        assert_eq!(flat.overwriting().mirrored(), mirrored);
        assert_eq!(mirrored.mirrored(), mirrored);
    }

    #[test]
    fn sizes_that_are_none_are_refused_with_their_value() {
        for size in [0, 4, 12, 4095, (1 << 31) + 8, usize::MAX] {
            let refused = Geometry::new(size, 4096, Mapping::Flat, PageOffset::FromRing);
            assert_eq!(refused, Err(GeometryError::Size(size)));
        }
        for page_size in [0, 4, 4097] {
            let refused = Geometry::new(4096, page_size, Mapping::Flat, PageOffset::FromRing);
            assert_eq!(refused, Err(GeometryError::PageSize(page_size)));
        }
    }
}
