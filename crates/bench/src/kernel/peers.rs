//! libbpf's and aya's consumers over the kernel's ring.

use std::ffi::{c_int, c_void};
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use aya::maps::{Map, MapData, RingBuf};
use libbpf_sys as sys;

use super::ring::KernelRing;
use crate::measure::{Seen, Stopwatch};

/// libbpf's ring manager with one ring in it.
pub(super) struct Libbpf<'r> {
    manager: NonNull<sys::ring_buffer>,
    seen: Box<Seen>,
    ring: &'r KernelRing,
}

impl<'r> Libbpf<'r> {
    pub(super) fn new(ring: &'r KernelRing) -> Self {
        let mut seen = Box::<Seen>::default();
        let context = ptr::from_mut(&mut *seen).cast();
        // SAFETY: the descriptor is that of a ring; the context lives as long as the manager.
        let manager = unsafe { sys::ring_buffer__new(ring.map_fd(), Some(on_sample), context, ptr::null()) };
        Self { manager: NonNull::new(manager).expect("libbpf maps the ring"), seen, ring }
    }

    pub(super) fn drain(&mut self) -> (f64, Seen) {
        self.ring.rewind();
        *self.seen = Seen::default();
        let start = Stopwatch::start();
        // SAFETY: the manager is live; its callback has the context to itself meanwhile.
        let consumed = unsafe { sys::ring_buffer__consume(self.manager.as_ptr()) };
        let nanoseconds = start.nanoseconds();
        assert!(consumed >= 0, "libbpf: {consumed}");
        (nanoseconds, self.seen.keep())
    }
}

impl Drop for Libbpf<'_> {
    fn drop(&mut self) {
        // SAFETY: the manager is live and not used afterwards.
        unsafe { sys::ring_buffer__free(self.manager.as_ptr()) };
    }
}

unsafe extern "C" fn on_sample(context: *mut c_void, data: *mut c_void, size: sys::size_t) -> c_int {
    // SAFETY: the context is the one given with the callback, and only used here meanwhile.
    let seen = unsafe { &mut *context.cast::<Seen>() };
    // SAFETY: libbpf gives the payload's address and length.
    let payload = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size as usize) };
    seen.glance(payload);
    0
}

/// aya keeps the positions it read, so each turn has a `RingBuf` of its own, made before the clock starts.
pub(super) fn aya(ring: &KernelRing) -> (f64, Seen) {
    ring.rewind();
    // SAFETY: the descriptor is open as long as `ring` lives.
    let map = unsafe { BorrowedFd::borrow_raw(ring.map_fd()) };
    let map = MapData::from_fd(map.try_clone_to_owned().expect("a descriptor")).expect("a map");
    let mut reader = RingBuf::try_from(Map::RingBuf(map)).expect("a ring");
    let mut seen = Seen::default();
    let start = Stopwatch::start();
    while let Some(item) = reader.next() {
        seen.glance(&item);
    }
    let nanoseconds = start.nanoseconds();
    (nanoseconds, seen.keep())
}
