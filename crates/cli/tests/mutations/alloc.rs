//! An allocator that knows the most that was allocated at once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, with a tide gauge. Written for one test thread at a time: what other threads allocate is counted too.
pub(crate) struct Counting {
    now: AtomicUsize,
    base: AtomicUsize,
    peak: AtomicUsize,
}

impl Counting {
    pub(crate) const fn new() -> Self {
        Self { now: AtomicUsize::new(0), base: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// Counts from here: what is allocated now is not counted.
    pub(crate) fn restart(&self) {
        let now = self.now.load(Relaxed);
        self.base.store(now, Relaxed);
        self.peak.store(now, Relaxed);
    }

    /// The most bytes that were allocated at once since the last restart, above what was allocated then.
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Relaxed).saturating_sub(self.base.load(Relaxed))
    }

    pub(crate) fn grow(&self, bytes: usize) {
        let now = self.now.fetch_add(bytes, Relaxed).wrapping_add(bytes);
        self.peak.fetch_max(now, Relaxed);
    }

    pub(crate) fn shrink(&self, bytes: usize) {
        self.now.fetch_sub(bytes, Relaxed);
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.grow(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.grow(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the same there.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.shrink(layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same there, and the memory came from there.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new exist at once when the block moves: that is what must fit.
        self.grow(size);
        // SAFETY: the caller keeps the contract of `realloc`, which is the same there, and the memory came from there.
        let moved = unsafe { System.realloc(memory, layout, size) };
        self.shrink(if moved.is_null() { size } else { layout.size() });
        moved
    }
}
