//! A ring's memory, behind the seam of [`ebpf_ringbuf`].

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ebpf_ringbuf::memory::{Claim, Extent, Length, Memory, Private, Publication};
use ebpf_ringbuf::{Geometry, HEADER_SIZE, Header, Mapping, Order, PageOffset};

use crate::circle::Circle;
use crate::maps::VmMap;
use crate::maps::area::Word;
use crate::memory::{high, index, low};

/// A ring's memory as both sides see it.
#[derive(Debug)]
pub struct RingMemory {
    pub(super) shared: Arc<Shared>,
    /// The map one of whose sides this is, if it was lent out.
    lender: Option<VmMap>,
}

impl RingMemory {
    pub(super) fn own(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), lender: None }
    }

    pub(super) fn lend(shared: &Arc<Shared>, map: &VmMap) -> Option<Self> {
        if shared.lent.swap(true, Ordering::Acquire) {
            return None;
        }
        Some(Self { shared: Arc::clone(shared), lender: Some(map.clone()) })
    }
}

impl Drop for RingMemory {
    fn drop(&mut self) {
        if self.lender.is_some() {
            self.shared.lent.store(false, Ordering::Release);
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    geometry: Geometry,
    pub(super) consumer: Line,
    pub(super) producer: Line,
    pending: AtomicUsize,
    /// Stays 0: these rings refuse instead of overwriting.
    overwrite: AtomicUsize,
    private: Private<AtomicUsize>,
    pub(super) data: Circle,
    /// The side that is not the programs' was given away, and is not back. Set and taken back with acquire and release, which hands the
    /// side over from one holder to the next.
    pub(super) lent: AtomicBool,
}

/// A position on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Line(pub(super) AtomicUsize);

impl Shared {
    /// Of an empty ring; `None` when the allocator has no room, or for a size that no ring has.
    pub(super) fn new(size: u32, page_size: u32) -> Option<Self> {
        let geometry =
            Geometry::new(index(size), index(page_size), Mapping::Mirrored, PageOffset::FromRing).ok()?;
        Some(Self {
            geometry,
            consumer: Line::default(),
            producer: Line::default(),
            pending: AtomicUsize::new(0),
            overwrite: AtomicUsize::new(0),
            private: Private::default(),
            data: Circle::zeroed(index(size))?,
            lent: AtomicBool::new(false),
        })
    }

    #[inline(always)]
    fn word(&self, position: usize) -> &Word {
        self.data.word(position)
    }
}

impl Memory for RingMemory {
    type Position = AtomicUsize;
    type Length = Word;
    type Area<'m> = &'m Self;

    #[inline(always)]
    fn geometry(&self) -> Geometry {
        self.shared.geometry.mirrored()
    }

    #[inline(always)]
    fn consumer_position(&self) -> &AtomicUsize {
        &self.shared.consumer.0
    }

    #[inline(always)]
    fn producer_position(&self) -> &AtomicUsize {
        &self.shared.producer.0
    }

    #[inline(always)]
    fn pending_position(&self) -> &AtomicUsize {
        &self.shared.pending
    }

    #[inline(always)]
    fn overwrite_position(&self) -> &AtomicUsize {
        &self.shared.overwrite
    }

    #[inline(always)]
    fn private(&self) -> &Private<AtomicUsize> {
        &self.shared.private
    }

    #[inline(always)]
    fn area(&self) -> &Self {
        self
    }

    #[inline(always)]
    fn length(&self, position: usize) -> &Word {
        self.shared.word(position)
    }

    fn initialise(&self, claim: &mut Claim, header: Header) {
        let word = halves(header.length_word(), header.page_offset());
        self.shared.word(claim.position()).0.store(word, Ordering::Relaxed);
    }

    fn write(&self, claim: &mut Claim, offset: usize, bytes: &[u8]) {
        if offset.checked_add(bytes.len()).is_some_and(|end| end <= claim.length()) {
            self.shared.data.copy_in(claim.position().wrapping_add(HEADER_SIZE).wrapping_add(offset), bytes);
        }
    }

    fn read(&self, extent: &Extent, offset: usize, bytes: &mut [u8]) {
        if offset.checked_add(bytes.len()).is_some_and(|end| end <= extent.length()) {
            self.shared
                .data
                .copy_out(extent.position().wrapping_add(HEADER_SIZE).wrapping_add(offset), bytes);
        }
    }
}

/// The first four bytes of a header's word. Once the header is written only its owner stores here, so that the second four bytes
/// can be put back as they are.
impl Length for Word {
    #[inline(always)]
    fn load(&self, order: Order) -> u32 {
        first_half(self.0.load(order.ordering()))
    }

    #[inline(always)]
    fn store(&self, value: u32, order: Order) {
        let old = self.0.load(Ordering::Relaxed);
        self.0.store(with_first_half(old, value), order.ordering());
    }

    #[inline(always)]
    fn swap(&self, value: u32, order: Order) -> u32 {
        let old = self.0.load(Ordering::Relaxed);
        first_half(self.0.swap(with_first_half(old, value), order.ordering()))
    }
}

fn first_half(word: u64) -> u32 {
    if cfg!(target_endian = "little") { low(word) } else { high(word) }
}

fn with_first_half(word: u64, value: u32) -> u64 {
    halves(value, if cfg!(target_endian = "little") { high(word) } else { low(word) })
}

/// The word of these four bytes and those four, in memory order.
pub(super) fn halves(first: u32, second: u32) -> u64 {
    let (high, low) = if cfg!(target_endian = "little") { (second, first) } else { (first, second) };
    u64::from(high) << 32 | u64::from(low)
}

/// What the producers share; see [`Publication`].
#[derive(Debug)]
pub(super) struct RingMarks {
    pub(super) reserve: AtomicUsize,
    pub(super) marks: Box<[AtomicUsize]>,
    /// Stands in for a mark outside; slots are those of masked offsets, so there is none.
    pub(super) spare: AtomicUsize,
}

impl Publication for RingMarks {
    type Position = AtomicUsize;
    type Marks = AtomicUsize;

    #[inline(always)]
    fn reserve_position(&self) -> &AtomicUsize {
        &self.reserve
    }

    #[inline(always)]
    fn mark(&self, slot: usize) -> (&AtomicUsize, usize) {
        let word = self.marks.get(slot >> usize::BITS.trailing_zeros()).unwrap_or(&self.spare);
        (word, 1usize.wrapping_shl(u32::try_from(slot & usize::BITS.wrapping_sub(1) as usize).unwrap_or(0)))
    }

    fn slots(&self) -> usize {
        self.marks.len().saturating_mul(usize::BITS as usize)
    }
}
