//! A perf ring of the kernel, as `ebpf-perfbuf` reads it.

#![expect(unsafe_code, reason = "saying what mapped pages are")]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use ebpf_perfbuf::memory::{Claim, Contiguous, Extent, Memory, Racy};
use ebpf_perfbuf::{Direction, Geometry, Mapped, Order};

use crate::error::Error;
use crate::lent::Lent;
use crate::pages::Pages;
use crate::perf::PerfRing;
use crate::sys::Errno;

/// The memory of a [`PerfRing`], for `ebpf_perfbuf::Reader` or `BackwardReader`.
///
/// The kernel is the writer: given to a `Writer`, the first store faults. It stays mapped when the ring is dropped before it; then nothing more is written.
pub struct PerfMemory {
    /// Before `pages`, which it is a view of.
    mapped: Mapped<'static>,
    _pages: Arc<Pages>,
    _lent: Lent,
}

impl PerfMemory {
    pub(crate) fn of(ring: &PerfRing) -> Result<Self, Error> {
        let refused =
            |errno| Error::new("mmap", errno).of(format_args!("the perf ring of CPU {}", ring.cpu()));
        let Some(lent) = Lent::take(&ring.is_lent) else {
            return Err(refused(Errno::BUSY).hint("a perf ring has one reader, and there is one already"));
        };
        let pages = Arc::clone(&ring.pages);
        let direction = if pages.is_writable() { Direction::Forward } else { Direction::Backward };
        // SAFETY: pages as the kernel maps them, aligned to pages, mapped as long as `self` lives, and nothing gives `mapped` away for longer. A
        // forward ring's are writable, where a reader writes its tail, and `is_lent` makes it the only reader.
        let mapped = unsafe { Mapped::open(pages.base(), pages.length(), direction) };
        let mapped = mapped.map_err(|error| refused(Errno::INVAL).hint(error.to_string()))?;
        Ok(Self { mapped, _pages: pages, _lent: lent })
    }
}

impl Memory for PerfMemory {
    type Position = AtomicUsize;

    #[inline(always)]
    fn geometry(&self) -> Geometry {
        self.mapped.geometry()
    }

    #[inline(always)]
    fn head(&self) -> &AtomicUsize {
        self.mapped.head()
    }

    #[inline(always)]
    fn tail(&self) -> &AtomicUsize {
        self.mapped.tail()
    }

    #[inline(always)]
    fn write(&self, claim: &mut Claim, offset: usize, bytes: &[u8]) {
        self.mapped.write(claim, offset, bytes);
    }

    #[inline(always)]
    fn read(&self, extent: &Extent, offset: usize, bytes: &mut [u8]) {
        self.mapped.read(extent, offset, bytes);
    }

    #[inline(always)]
    fn header(&self, extent: &Extent) -> u64 {
        self.mapped.header(extent)
    }

    #[inline(always)]
    fn raw_size(&self, extent: &Extent) -> u32 {
        self.mapped.raw_size(extent)
    }

    #[inline(always)]
    fn prefetch(&self, position: usize) {
        self.mapped.prefetch(position);
    }

    #[inline(always)]
    fn fence(&self, order: Order) {
        self.mapped.fence(order);
    }
}

impl Contiguous for PerfMemory {
    #[inline(always)]
    fn slices<'a>(&'a self, extent: &'a Extent) -> (&'a [u8], &'a [u8]) {
        self.mapped.slices(extent)
    }
}

impl Racy for PerfMemory {
    fn copy(&self, position: usize, bytes: &mut [u8]) {
        self.mapped.copy(position, bytes);
    }
}

impl fmt::Debug for PerfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerfMemory").field("geometry", &self.mapped.geometry()).finish_non_exhaustive()
    }
}
