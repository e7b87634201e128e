//! Perf event arrays: the rings of [`ebpf_perfbuf`] over memory that this machine owns, one for each CPU that the embedder opens.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{self, AtomicUsize, Ordering};

use ebpf_perfbuf::memory::{Claim, Extent, Memory};
use ebpf_perfbuf::{Direction, Geometry, Order, Reader, Refused, WakeupPolicy, Writer};
use spin::Mutex;

use crate::circle::Circle;
use crate::error::MapError;

/// One CPU's ring, the writing side of it.
pub(crate) struct PerfRing {
    cpu: u32,
    /// A CPU writes alone, so nobody waits here; but whether it is one CPU only the host knows.
    writer: Mutex<Writer<PerfMemory>>,
}

impl PerfRing {
    /// An empty ring of `size` bytes and its reader.
    pub(crate) fn new(
        cpu: u32,
        size: usize,
        policy: WakeupPolicy,
    ) -> Result<(Self, Reader<PerfMemory>), MapError> {
        let geometry = Geometry::new(size, Direction::Forward).map_err(|_| MapError::Invalid)?;
        let data = Circle::zeroed(size).ok_or(MapError::NoMemory)?;
        let zero = || AtomicUsize::new(0);
        let shared = Arc::new(Shared { geometry, head: Line(zero()), tail: Line(zero()), data });
        let writer = Writer::new(PerfMemory(Arc::clone(&shared)), policy).map_err(|_| MapError::Invalid)?;
        let reader = Reader::new(PerfMemory(shared)).map_err(|_| MapError::Invalid)?;
        Ok((Self { cpu, writer: Mutex::new(writer) }, reader))
    }

    /// Bytes that a ring of `size` bytes of data takes.
    pub(crate) fn bytes(size: usize) -> u64 {
        const OWN: usize = size_of::<Shared>() + size_of::<PerfRing>();
        (size as u64).saturating_add(OWN as u64)
    }

    /// `perf_event_output` on CPU `cpu`: whether the reader is to be woken, or Linux's error number.
    pub(crate) fn output(&self, cpu: u32, payload: &[u8]) -> Result<bool, i32> {
        const E2BIG: i32 = -7;
        const ENOSPC: i32 = -28;
        const EOPNOTSUPP: i32 = -95;
        if cpu != self.cpu {
            return Err(EOPNOTSUPP);
        }
        match self.writer.lock().output(payload) {
            Ok(wakeup) => Ok(wakeup.is_needed()),
            Err(Refused::TooLong { .. }) => Err(E2BIG),
            Err(_) => Err(ENOSPC),
        }
    }
}

impl fmt::Debug for PerfRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerfRing").field("cpu", &self.cpu).finish_non_exhaustive()
    }
}

/// A perf ring's memory as both sides see it.
#[derive(Debug)]
pub struct PerfMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    geometry: Geometry,
    head: Line,
    tail: Line,
    data: Circle,
}

/// A position on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Line(AtomicUsize);

/// Records begin at multiples of eight and their headers are whole words. The claim, or the extent, says who may touch the bytes; that they are
/// atomic words only keeps a mistake there from being more than a wrong byte.
impl Memory for PerfMemory {
    type Position = AtomicUsize;

    #[inline(always)]
    fn geometry(&self) -> Geometry {
        self.0.geometry
    }

    #[inline(always)]
    fn head(&self) -> &AtomicUsize {
        &self.0.head.0
    }

    #[inline(always)]
    fn tail(&self) -> &AtomicUsize {
        &self.0.tail.0
    }

    fn write(&self, claim: &mut Claim, offset: usize, bytes: &[u8]) {
        if offset.checked_add(bytes.len()).is_some_and(|end| end <= claim.length()) {
            self.0.data.copy_in(claim.position().wrapping_add(offset), bytes);
        }
    }

    fn read(&self, extent: &Extent, offset: usize, bytes: &mut [u8]) {
        if offset.checked_add(bytes.len()).is_some_and(|end| end <= extent.length()) {
            self.0.data.copy_out(extent.position().wrapping_add(offset), bytes);
        }
    }

    fn header(&self, extent: &Extent) -> u64 {
        self.0.data.word(extent.position()).0.load(Ordering::Relaxed)
    }

    fn raw_size(&self, extent: &Extent) -> u32 {
        let word = self.0.data.word(extent.position().wrapping_add(8)).0.load(Ordering::Relaxed);
        let [a, b, c, d, ..] = word.to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }

    fn fence(&self, order: Order) {
        atomic::fence(order.ordering());
    }
}
