//! Two rings of the same format after the descriptions of what Linux and eBPF for Windows do.
//!
//! Both leave the same bytes as our producers, so the same consumer reads all of them and only the producing sides differ. Both are mirrored, as
//! kernels map them, so neither has a filler to write.

use std::hint::spin_loop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use ebpf_ringbuf::{BUSY_BIT, Consumer, Geometry, Mapped, Mapping, PageOffset, record_size};
use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};

use super::leak;
use crate::measure::Line;

/// Pages of a ring, mirrored: consumer's, producer's, data, data again.
#[derive(Clone, Copy)]
pub(super) struct Pages {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: memory that lives until the process ends; who accesses it how is up to its users.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

const PAGE: usize = 4096;

impl Pages {
    pub(super) fn new(size: usize) -> Self {
        let memory = rustix::fs::memfd_create("ring", MemfdFlags::CLOEXEC).expect("memory");
        rustix::fs::ftruncate(&memory, (2 * PAGE + size) as u64).expect("memory");
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let (whole, again) = (2 * PAGE + size, 2 * PAGE as u64);
        // SAFETY: a new mapping at an address the system chooses, long enough for the data twice.
        let start = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), whole + size, protection, MapFlags::PRIVATE)
        };
        let start = NonNull::new(start.expect("address space").cast::<u8>()).expect("an address");
        // SAFETY: replaces the front of the mapping just made.
        unsafe {
            rustix::mm::mmap(
                start.as_ptr().cast(),
                whole,
                protection,
                MapFlags::SHARED | MapFlags::FIXED,
                &memory,
                0,
            )
        }
        .expect("mapping");
        // SAFETY: inside the mapping made above.
        let second = unsafe { start.add(whole) };
        // SAFETY: replaces the end of the mapping made above.
        unsafe {
            rustix::mm::mmap(
                second.as_ptr().cast(),
                size,
                protection,
                MapFlags::SHARED | MapFlags::FIXED,
                &memory,
                again,
            )
        }
        .expect("mapping");
        Self { start, size }
    }

    /// The ring as one side of ours sees it.
    pub(super) fn side(&self) -> Mapped<'static> {
        let geometry = Geometry::new(self.size, PAGE, Mapping::Mirrored, PageOffset::FromRing)
            .expect("a size of a ring");
        // SAFETY: the pages live until the process ends and are laid out so; every contender makes one side of each kind.
        unsafe { Mapped::new(self.start, self.at(PAGE), self.at(2 * PAGE), geometry) }
    }

    pub(super) fn consumer(&self) -> Consumer<Mapped<'static>> {
        Consumer::new(self.side()).expect("a new ring")
    }

    fn at(&self, offset: usize) -> NonNull<u8> {
        // SAFETY: offsets are inside the mapping.
        unsafe { self.start.add(offset) }
    }

    fn word(&self, offset: usize) -> &'static AtomicUsize {
        // SAFETY: aligned, inside the mapping, and accessed atomically by everybody.
        unsafe { AtomicUsize::from_ptr(self.at(offset).cast().as_ptr()) }
    }

    fn consumer_position(&self) -> &'static AtomicUsize {
        self.word(0)
    }

    fn producer_position(&self) -> &'static AtomicUsize {
        self.word(PAGE)
    }

    fn pending_position(&self) -> &'static AtomicUsize {
        self.word(PAGE + 8)
    }

    fn header(&self, position: usize) -> NonNull<u8> {
        self.at(2 * PAGE + (position & (self.size - 1)))
    }

    fn length(&self, position: usize) -> &'static AtomicU32 {
        // SAFETY: a header is aligned to eight and inside the data.
        unsafe { AtomicU32::from_ptr(self.header(position).cast().as_ptr()) }
    }

    pub(super) fn write_page_offset(&self, position: usize) {
        let page = (3 + ((position & (self.size - 1)) >> 12)) as u32;
        // SAFETY: the second word of a header that is this producer's until it commits.
        let word = unsafe { self.header(position).cast::<u32>().add(1) };
        // SAFETY: as above.
        unsafe { word.write(page) };
    }

    pub(super) fn write_payload(&self, position: usize, payload: &[u8]) {
        // SAFETY: behind the header comes the payload, mapped to its end.
        let target = unsafe { self.header(position).add(8) };
        // SAFETY: the record is this producer's until it commits; the source is elsewhere.
        unsafe { target.copy_from_nonoverlapping(NonNull::from(payload).cast(), payload.len()) };
    }

    /// The payload of a record that its producer has committed.
    pub(super) fn payload<const N: usize>(&self, position: usize) -> &[u8; N] {
        // SAFETY: behind the header comes the payload, mapped to its end.
        let payload = unsafe { self.header(position).add(8) }.cast::<[u8; N]>();
        // SAFETY: bytes need no alignment, and the producer leaves them alone until the consumer says that it has read them.
        unsafe { payload.as_ref() }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// `xchg` of the final length, and Linux's rule for the wakeup.
    pub(super) fn commit(&self, position: usize, length: usize, adaptive: bool) -> bool {
        if !adaptive {
            self.length(position).store(length as u32, Ordering::Release);
            return false;
        }
        self.length(position).swap(length as u32, Ordering::SeqCst);
        let mask = self.size - 1;
        self.consumer_position().load(Ordering::Relaxed) & mask == position & mask
    }
}

/// After Linux: a lock around the reservation, `xchg` for the commit.
#[derive(Clone, Copy)]
pub(super) struct SpinlockRing {
    pages: Pages,
    lock: &'static Line<AtomicBool>,
}

impl SpinlockRing {
    pub(super) fn new(size: usize) -> Self {
        Self { pages: Pages::new(size), lock: leak(Line(AtomicBool::new(false))) }
    }

    pub(super) fn pages(&self) -> Pages {
        self.pages
    }

    #[inline]
    pub(super) fn output(&self, payload: &[u8], adaptive: bool) -> Option<bool> {
        let position = self.reserve(payload.len())?;
        self.pages.write_payload(position, payload);
        Some(self.pages.commit(position, payload.len(), adaptive))
    }

    #[inline]
    fn reserve(&self, length: usize) -> Option<usize> {
        let pages = &self.pages;
        let mask = pages.size - 1;
        let consumer = pages.consumer_position().load(Ordering::Acquire);
        self.acquire();
        let start = pages.producer_position().load(Ordering::Relaxed);
        let mut pending = pages.pending_position().load(Ordering::Relaxed);
        while pending != start {
            let word = pages.length(pending).load(Ordering::Acquire);
            if word & BUSY_BIT != 0 {
                break;
            }
            pending = pending.wrapping_add(record_size(word));
        }
        pages.pending_position().store(pending, Ordering::Relaxed);
        let end = start.wrapping_add(record_size(length as u32));
        if end.wrapping_sub(consumer) > mask || end.wrapping_sub(pending) > mask {
            self.lock.0.store(false, Ordering::Release);
            return None;
        }
        pages.length(start).store(length as u32 | BUSY_BIT, Ordering::Relaxed);
        pages.write_page_offset(start);
        pages.producer_position().store(end, Ordering::Release);
        self.lock.0.store(false, Ordering::Release);
        Some(start)
    }

    #[inline]
    fn acquire(&self) {
        while self.lock.0.swap(true, Ordering::Acquire) {
            while self.lock.0.load(Ordering::Relaxed) {
                spin_loop();
            }
        }
    }
}

/// After eBPF for Windows: space by compare-exchange, then a wait for the turn to move `producer_pos`.
#[derive(Clone, Copy)]
pub(super) struct TurnRing {
    pages: Pages,
    reserve: &'static Line<AtomicUsize>,
}

impl TurnRing {
    pub(super) fn new(size: usize) -> Self {
        Self { pages: Pages::new(size), reserve: leak(Line(AtomicUsize::new(0))) }
    }

    pub(super) fn pages(&self) -> Pages {
        self.pages
    }

    #[inline]
    pub(super) fn output(&self, payload: &[u8]) -> Option<bool> {
        let pages = &self.pages;
        let total = record_size(payload.len() as u32);
        let mut start = self.reserve.0.load(Ordering::Relaxed);
        let end = loop {
            let consumer = pages.consumer_position().load(Ordering::Acquire);
            let end = start.wrapping_add(total);
            if end.wrapping_sub(consumer) >= pages.size {
                return None;
            }
            match self.reserve.0.compare_exchange_weak(start, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break end,
                Err(now) => start = now,
            }
        };
        pages.length(start).store(payload.len() as u32 | BUSY_BIT, Ordering::Relaxed);
        pages.write_page_offset(start);
        while pages.producer_position().load(Ordering::Acquire) != start {
            spin_loop();
        }
        pages.producer_position().store(end, Ordering::Release);
        pages.write_payload(start, payload);
        pages.length(start).store(payload.len() as u32, Ordering::Release);
        // It wakes whenever there is something.
        Some(true)
    }
}
