//! A ring in plain memory.

use core::fmt;

use crate::geometry::{Direction, Geometry, GeometryError};
use crate::mapped::{Mapped, PlainPage};
use crate::page::{PAGE_FIELDS, Page};

/// The control page of a ring whose data the caller brings: both sides of a ring without `unsafe`.
///
/// For the memory of one process: threads, a driver and its interrupt, tests.
pub struct PlainRing(PlainPage);

impl PlainRing {
    /// An empty ring. Which data it has, and how much, is said by [`split`](Self::split).
    #[must_use]
    pub const fn new() -> Self {
        Self(PlainPage::new([0; PAGE_FIELDS]))
    }

    /// The two sides of an empty ring of `size` bytes in `data`: one for a [`Writer`](crate::Writer), one for a [`Reader`](crate::Reader) or
    /// [`BackwardReader`](crate::BackwardReader).
    ///
    /// # Errors
    /// When `size` is none of a ring or `data` is shorter. Data of a backward ring has to be zero: that is how its reader knows what was never written.
    pub fn split<'a>(
        &'a mut self,
        data: &'a mut [u64],
        size: usize,
        direction: Direction,
    ) -> Result<(Mapped<'a>, Mapped<'a>), GeometryError> {
        let geometry = Geometry::new(size, direction)?;
        // The data stands elsewhere, so the offset in here is for the looks only.
        let page = Page::for_ring(geometry, PAGE_FIELDS);
        self.0 = PlainPage::new(page.to_bytes());
        let mapped = size_of_val(data);
        let [writer, reader] = Mapped::plain(&mut self.0, data, geometry).ok_or(GeometryError::Outside {
            offset: 0,
            size: page.data_size,
            mapped,
        })?;
        Ok((writer, reader))
    }
}

impl Default for PlainRing {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PlainRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainRing").finish_non_exhaustive()
    }
}
