//! A ring of the kernel, mapped.

#![expect(unsafe_code, reason = "saying what mapped pages are")]

use std::fmt;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, AtomicUsize};

use ebpf_loader::MapKind;
use ebpf_ringbuf::memory::{Claim, Contiguous, Extent, Memory, Private, Racy};
use ebpf_ringbuf::{Geometry, Header, Mapped, MappedArea, Mapping, PageOffset};

use crate::error::Error;
use crate::lent::Lent;
use crate::map::LinuxMap;
use crate::pages::Pages;
use crate::sys::Errno;

/// `BPF_F_RB_OVERWRITE`, Linux 6.19: a full ring gives up its oldest records.
pub const RB_OVERWRITE: u32 = 1 << 19;

/// A ring map's memory: the consuming side of a `RINGBUF`, the producing side of a `USER_RINGBUF`.
///
/// Given to `ebpf_ringbuf::Consumer`, `OverwriteReader` or `UserProducer`. The kernel maps the other side read-only: what is given to a producer of a
/// `RINGBUF`, or to a consumer of a `USER_RINGBUF`, faults (`SIGSEGV`) at the first store. Unmapped when dropped; the map itself may be gone before.
pub struct RingMemory {
    /// Before `pages`, which it is a view of.
    mapped: Mapped<'static>,
    /// The consumer's page: to write, or to read only in a user ring. Then the producer's page with the data twice.
    pages: [Pages; 2],
    _lent: Lent,
}

impl RingMemory {
    /// Maps the memory of a ring map for this process's side of it.
    ///
    /// # Errors
    /// `EBUSY` while what this gave before for the same map (or a clone of it) exists, `EINVAL` for a map that is no ring, or what mmap(2) says.
    pub fn map(map: &LinuxMap) -> Result<Self, Error> {
        let refused = |errno| map.refused("mmap", errno);
        let kernel_consumes = match map.kind() {
            MapKind::RINGBUF => false,
            MapKind::USER_RINGBUF => true,
            _ => return Err(refused(Errno::INVAL).hint("the map is no ring")),
        };
        let Some(lent) = Lent::take(&map.is_lent) else {
            return Err(refused(Errno::BUSY)
                .hint("a ring has one consumer (a user ring one producer), and there is one already"));
        };

        let page = rustix::param::page_size();
        let size = usize::try_from(map.max_entries()).unwrap_or(usize::MAX);
        let geometry = Geometry::new(size, page, Mapping::Mirrored, PageOffset::FromRing)
            .map_err(|_| refused(Errno::INVAL))?;
        let geometry = if map.flags() & RB_OVERWRITE == 0 { geometry } else { geometry.overwriting() };
        let both_views = size
            .checked_mul(2)
            .and_then(|data| data.checked_add(page))
            .ok_or_else(|| refused(Errno::TOOBIG))?;
        let consumer = Pages::map(map.as_fd(), 0, page, !kernel_consumes).map_err(refused)?;
        let producer = Pages::map(map.as_fd(), page, both_views, kernel_consumes).map_err(refused)?;
        let data = producer.at(page).ok_or_else(|| refused(Errno::FAULT))?;
        // SAFETY: pages as the kernel maps them, aligned to pages: one that begins with `consumer_pos`, one with `producer_pos`, then twice the data.
        // They are mapped as long as `self` lives, and nothing gives `mapped` away for longer. What this side may write is what is mapped for
        // writing, and `is_lent` makes this the only mapping by way of this map; another descriptor's is like another process's.
        let mapped = unsafe { Mapped::new(consumer.base(), producer.base(), data, geometry) };
        Ok(Self { mapped, pages: [consumer, producer], _lent: lent })
    }

    /// The consumer's page.
    #[must_use]
    pub fn consumer_page(&self) -> &Pages {
        let [consumer, _] = &self.pages;
        consumer
    }

    /// The producer's page, then the data twice.
    #[must_use]
    pub fn producer_pages(&self) -> &Pages {
        let [_, producer] = &self.pages;
        producer
    }
}

impl Memory for RingMemory {
    type Position = AtomicUsize;
    type Length = AtomicU32;
    type Area<'m> = MappedArea<'m>;

    #[inline(always)]
    fn geometry(&self) -> Geometry {
        self.mapped.geometry()
    }

    #[inline(always)]
    fn consumer_position(&self) -> &AtomicUsize {
        self.mapped.consumer_position()
    }

    #[inline(always)]
    fn producer_position(&self) -> &AtomicUsize {
        self.mapped.producer_position()
    }

    #[inline(always)]
    fn pending_position(&self) -> &AtomicUsize {
        self.mapped.pending_position()
    }

    #[inline(always)]
    fn overwrite_position(&self) -> &AtomicUsize {
        self.mapped.overwrite_position()
    }

    #[inline(always)]
    fn private(&self) -> &Private<AtomicUsize> {
        self.mapped.private()
    }

    #[inline(always)]
    fn area(&self) -> MappedArea<'_> {
        self.mapped.area()
    }

    #[inline(always)]
    fn length(&self, position: usize) -> &AtomicU32 {
        self.mapped.length(position)
    }

    #[inline(always)]
    fn initialise(&self, claim: &mut Claim, header: Header) {
        self.mapped.initialise(claim, header);
    }

    #[inline(always)]
    fn write(&self, claim: &mut Claim, offset: usize, bytes: &[u8]) {
        self.mapped.write(claim, offset, bytes);
    }

    #[inline(always)]
    fn read(&self, extent: &Extent, offset: usize, bytes: &mut [u8]) {
        self.mapped.read(extent, offset, bytes);
    }
}

impl Contiguous for RingMemory {
    #[inline(always)]
    fn claimed<'a>(&'a self, claim: &'a Claim) -> &'a [u8] {
        self.mapped.claimed(claim)
    }

    #[inline(always)]
    fn claimed_mut<'a>(&'a self, claim: &'a mut Claim) -> &'a mut [u8] {
        self.mapped.claimed_mut(claim)
    }

    #[inline(always)]
    fn published<'m, 'e>(area: MappedArea<'m>, extent: &'e Extent) -> &'e [u8]
    where
        'm: 'e,
    {
        Mapped::published(area, extent)
    }
}

impl Racy for RingMemory {
    fn copy(&self, position: usize, bytes: &mut [u8]) {
        self.mapped.copy(position, bytes);
    }
}

impl fmt::Debug for RingMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingMemory").field("geometry", &self.mapped.geometry()).finish_non_exhaustive()
    }
}
