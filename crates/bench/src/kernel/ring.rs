//! The kernel's ring, and the program that fills it.

use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use libbpf_sys as sys;
use rustix::mm::{MapFlags, ProtFlags};

use super::{load_object, ours, program};
use crate::measure::Seen;

pub(super) const SIZE: usize = 16 << 20;

/// A ring of the running kernel, mapped for one consumer.
pub(super) struct KernelRing {
    object: NonNull<sys::bpf_object>,
    program: i32,
    map: i32,
    pub(super) consumer_page: NonNull<u8>,
    /// The producer's page.
    pub(super) producer_page: NonNull<u8>,
}

/// `struct fill` of the BPF program.
#[repr(C)]
struct Fill {
    sizes: [u32; 8],
    count: u32,
    random: u32,
}

impl KernelRing {
    /// Compiles and loads the program.
    pub(super) fn load() -> Result<Self, String> {
        let object = load_object("fill.bpf.c", "root is needed, Linux 5.17")?;
        // SAFETY: the object is loaded, the name a string.
        let map = unsafe { sys::bpf_object__find_map_fd_by_name(object.as_ptr(), c"ring".as_ptr()) };
        let program = program(object, c"fill");
        let page = rustix::param::page_size();
        let consumer_page = map_pages(map, 0, page, ProtFlags::READ | ProtFlags::WRITE)?;
        let producer_page = map_pages(map, page as u64, page + 2 * SIZE, ProtFlags::READ)?;
        Ok(Self { object, program, map, consumer_page, producer_page })
    }

    pub(super) fn map_fd(&self) -> i32 {
        self.map
    }

    /// Empties the ring, fills it, and says what there is to be seen.
    pub(super) fn fill(&self, sizes: &[u32], random: bool) -> Result<Seen, String> {
        self.word(self.consumer_page).store(self.producer_position(), Ordering::Release);
        let mut how = Fill { sizes: [0; 8], count: sizes.len() as u32, random: u32::from(random) };
        how.sizes[..sizes.len()].copy_from_slice(sizes);
        let mut options = sys::bpf_test_run_opts {
            sz: size_of::<sys::bpf_test_run_opts>() as _,
            ctx_in: ptr::from_mut(&mut how).cast(),
            ctx_size_in: size_of::<Fill>() as _,
            ..Default::default()
        };
        // SAFETY: the options and what they point to outlive the call.
        let result = unsafe { sys::bpf_prog_test_run_opts(self.program, &raw mut options) };
        if result != 0 {
            return Err(format!("BPF_PROG_TEST_RUN: {}", std::io::Error::from_raw_os_error(-result)));
        }
        let start = self.consumer_position();
        let used = self.producer_position().wrapping_sub(start);
        if used < SIZE - 2048 - 8 {
            return Err(format!("only {used} bytes were written"));
        }
        FILLED.store(start, Ordering::Relaxed);
        Ok(ours::one_by_one(self).1)
    }

    /// Makes everything that [`fill`](Self::fill) wrote unread again.
    pub(super) fn rewind(&self) {
        self.word(self.consumer_page).store(FILLED.load(Ordering::Relaxed), Ordering::Release);
    }

    /// The data, which follows the producer's page.
    pub(super) fn data(&self) -> NonNull<u8> {
        // SAFETY: in the same mapping.
        unsafe { self.producer_page.add(rustix::param::page_size()) }
    }

    pub(super) fn consumer_position(&self) -> usize {
        self.word(self.consumer_page).load(Ordering::Acquire)
    }

    pub(super) fn producer_position(&self) -> usize {
        self.word(self.producer_page).load(Ordering::Acquire)
    }

    fn word(&self, page: NonNull<u8>) -> &AtomicUsize {
        // SAFETY: both pages begin with a word that all sides access atomically, and are mapped as long as `self` lives.
        unsafe { AtomicUsize::from_ptr(page.cast().as_ptr()) }
    }
}

/// `consumer_pos` when the ring was filled last.
static FILLED: AtomicUsize = AtomicUsize::new(0);

impl Drop for KernelRing {
    fn drop(&mut self) {
        // SAFETY: the object is open and nobody else has it; its descriptors are not used afterwards. The mappings go with the process.
        unsafe { sys::bpf_object__close(self.object.as_ptr()) };
    }
}

fn map_pages(map: i32, offset: u64, length: usize, protection: ProtFlags) -> Result<NonNull<u8>, String> {
    // SAFETY: the descriptor is open as long as the object is.
    let map = unsafe { BorrowedFd::borrow_raw(map) };
    // SAFETY: a new mapping at an address the system chooses.
    let pages =
        unsafe { rustix::mm::mmap(ptr::null_mut(), length, protection, MapFlags::SHARED, map, offset) };
    let pages = pages.map_err(|error| format!("mapping the ring: {error}"))?;
    NonNull::new(pages.cast()).ok_or_else(|| "mapping the ring gives no address".to_owned())
}
