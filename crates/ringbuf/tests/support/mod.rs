//! Ring memory for tests: pages mapped as a kernel maps them, and a naive ring to compare with.
#![allow(unsafe_code, reason = "tests map memory")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test that overflows should panic"
)]
#![allow(dead_code, reason = "every test uses a part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};

use ebpf_ringbuf::{Geometry, Mapped, Mapping, PageOffset, SharedMarks, marks_for};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A ring whose data is mapped twice in a row, with the marks that producers share.
pub(crate) struct Mirrored {
    base: NonNull<u8>,
    size: usize,
    page: usize,
    reserve: AtomicUsize,
    marks: Vec<AtomicUsize>,
}

impl Mirrored {
    /// Positions all start at `start`. `size` must be whole pages of the machine.
    pub(crate) fn new(size: usize, start: usize) -> Self {
        let page = rustix::param::page_size();
        let memory = memfd_create("ring", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, (2 * page + size) as u64).unwrap();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let whole = 2 * page + 2 * size;
        // SAFETY: a fresh mapping where the kernel finds room; nothing is mapped over.
        let base = unsafe { mmap(null_mut(), whole, protection, MapFlags::SHARED, &memory, 0) }.unwrap();
        let second = base.cast::<u8>().wrapping_add(2 * page + size).cast::<c_void>();
        // SAFETY: replaces the last `size` bytes of the mapping just made, which nobody uses yet.
        unsafe {
            mmap(second, size, protection, MapFlags::SHARED | MapFlags::FIXED, &memory, 2 * page as u64)
        }
        .unwrap();
        let marks = (0..marks_for(size).next_power_of_two()).map(|_| AtomicUsize::new(0)).collect();
        let base = NonNull::new(base.cast()).unwrap();
        let ring = Self { base, size, page, reserve: AtomicUsize::new(0), marks };
        for position in [0, page, page + size_of::<usize>(), page + 2 * size_of::<usize>()] {
            ring.word(position).store(start, Ordering::Relaxed);
        }
        ring
    }

    pub(crate) fn geometry(&self, page_size: usize) -> Geometry {
        Geometry::new(self.size, page_size, Mapping::Mirrored, PageOffset::FromRing).unwrap()
    }

    /// One side of the ring.
    pub(crate) fn side(&self, page_size: usize) -> Mapped<'_> {
        self.side_with(self.geometry(page_size))
    }

    fn side_with(&self, geometry: Geometry) -> Mapped<'_> {
        let [consumer, producer, data] = [0, self.page, 2 * self.page].map(|offset| {
            // SAFETY: inside the mapping.
            unsafe { self.base.add(offset) }
        });
        // SAFETY: as mapped in `new`, page-aligned, for as long as `self` lives; tests make one side for each role.
        unsafe { Mapped::new(consumer, producer, data, geometry) }
    }

    /// One side of the same ring, if it overwrites.
    pub(crate) fn overwriting_side(&self, page_size: usize) -> Mapped<'_> {
        self.side_with(self.geometry(page_size).overwriting())
    }

    pub(crate) fn marks(&self) -> SharedMarks<'_> {
        SharedMarks::new(&self.reserve, &self.marks).unwrap()
    }

    pub(crate) fn consumer_position(&self) -> &AtomicUsize {
        self.word(0)
    }

    pub(crate) fn producer_position(&self) -> &AtomicUsize {
        self.word(self.page)
    }

    pub(crate) fn pending_position(&self) -> &AtomicUsize {
        self.word(self.page + size_of::<usize>())
    }

    /// A copy of `length` bytes of the ring from `position` on; nobody may write them meanwhile.
    pub(crate) fn bytes(&self, position: usize, length: usize) -> Vec<u8> {
        let offset = position & (self.size - 1);
        assert!(length <= self.size);
        // SAFETY: inside the mapping, the second half included.
        let start = unsafe { self.base.add(2 * self.page + offset) };
        // SAFETY: initialised memory; the caller sees to it that nobody writes.
        unsafe { NonNull::slice_from_raw_parts(start, length).as_ref() }.to_vec()
    }

    fn word(&self, offset: usize) -> &AtomicUsize {
        // SAFETY: inside the mapping.
        let word = unsafe { self.base.add(offset) };
        // SAFETY: aligned, valid as long as `self`, only accessed through atomics.
        unsafe { AtomicUsize::from_ptr(word.cast().as_ptr()) }
    }
}

impl Drop for Mirrored {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, whole; sides borrow `self`, so none is left.
        unsafe { munmap(self.base.as_ptr().cast(), 2 * self.page + 2 * self.size) }.unwrap();
    }
}

// SAFETY: the memory is plain shared memory; what is shared goes through atomics.
unsafe impl Sync for Mirrored {}

/// Linux's ring, one call after the other, as simply as it can be written down: the oracle.
pub(crate) struct Naive {
    pub(crate) data: Vec<u8>,
    pub(crate) consumer: usize,
    pub(crate) producer: usize,
    pub(crate) pending: usize,
    pub(crate) page_size: usize,
}

impl Naive {
    pub(crate) fn new(size: usize, start: usize, page_size: usize) -> Self {
        Self { data: vec![0; size], consumer: start, producer: start, pending: start, page_size }
    }

    /// The position of the new record's header.
    pub(crate) fn reserve(&mut self, length: usize) -> Option<usize> {
        let size = self.data.len();
        let total = (length + 8).next_multiple_of(8);
        if length > 0x3FFF_FFFF || total > size {
            return None;
        }
        while self.pending != self.producer {
            let word = self.word(self.pending);
            if word >> 31 != 0 {
                break;
            }
            self.pending = self.pending.wrapping_add(((word & 0x3FFF_FFFF) as usize + 8).next_multiple_of(8));
        }
        let end = self.producer.wrapping_add(total);
        if end.wrapping_sub(self.pending) >= size || end.wrapping_sub(self.consumer) >= size {
            return None;
        }
        let position = self.producer;
        let page = 3 + (position & (size - 1)) / self.page_size;
        self.put(position, &(length as u32 | 1 << 31).to_ne_bytes());
        self.put(position.wrapping_add(4), &(page as u32).to_ne_bytes());
        self.producer = end;
        Some(position)
    }

    /// Whether the consumer is to be woken.
    pub(crate) fn commit(&mut self, position: usize, discard: bool, flags: u64) -> bool {
        let word = self.word(position) & 0x3FFF_FFFF | u32::from(discard) << 30;
        self.put(position, &word.to_ne_bytes());
        let mask = self.data.len() - 1;
        flags & 2 != 0 || flags & 1 == 0 && self.consumer & mask == position & mask
    }

    pub(crate) fn put(&mut self, position: usize, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            let offset = position.wrapping_add(index) & (self.data.len() - 1);
            self.data[offset] = *byte;
        }
    }

    /// The next record's payload; `None` when there is none, or it is busy.
    pub(crate) fn consume(&mut self) -> Option<Vec<u8>> {
        while self.consumer != self.producer {
            let word = self.word(self.consumer);
            if word >> 31 != 0 {
                return None;
            }
            let length = (word & 0x3FFF_FFFF) as usize;
            let payload = self.bytes(self.consumer.wrapping_add(8), length);
            self.consumer = self.consumer.wrapping_add((length + 8).next_multiple_of(8));
            if word >> 30 & 1 == 0 {
                return Some(payload);
            }
        }
        None
    }

    pub(crate) fn bytes(&self, position: usize, length: usize) -> Vec<u8> {
        (0..length).map(|index| self.data[position.wrapping_add(index) & (self.data.len() - 1)]).collect()
    }

    fn word(&self, position: usize) -> u32 {
        u32::from_ne_bytes(self.bytes(position, 4).try_into().unwrap())
    }
}
