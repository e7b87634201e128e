//! Stopping a program in the middle: it reads a page that is not there, and goes on when somebody puts one there (`userfaultfd`).
//!
//! So a test can look at the ring, and consume, while the program holds records, without any race.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr::{NonNull, null_mut};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::ioctl::{Updater, ioctl, opcode};
use rustix::mm::{
    Advice, MapFlags, ProtFlags, UserfaultfdFlags, madvise, mmap_anonymous, munmap, userfaultfd,
};
use rustix::time::Timespec;

/// Places where a program can be stopped, once each until they are [reset](Self::reset).
#[derive(Debug)]
pub struct Pauses {
    faults: OwnedFd,
    base: NonNull<u8>,
    count: usize,
}

impl Pauses {
    /// `count` places.
    ///
    /// # Errors
    ///
    /// The kernel's; `EPERM` without the right to stop kernel code.
    pub fn new(count: usize) -> io::Result<Self> {
        // SAFETY: a descriptor without any memory registered does nothing.
        let faults = unsafe { userfaultfd(UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK) }?;
        let length = count.saturating_mul(rustix::param::page_size());
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping where the kernel finds room; nothing is mapped over.
        let base = unsafe { mmap_anonymous(null_mut(), length, protection, MapFlags::PRIVATE) }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let pauses = Self { faults, base, count };
        let mut api = Api { version: API, ..Api::default() };
        // SAFETY: the number is that of `UFFDIO_API`, whose argument this is.
        let handshake = unsafe { Updater::<{ opcode::read_write::<Api>(GROUP, 0x3f) }, Api>::new(&mut api) };
        // SAFETY: as above; it changes nothing but `api`.
        unsafe { ioctl(&pauses.faults, handshake) }?;
        let mut range =
            Range { start: base.as_ptr() as u64, length: length as u64, mode: MISSING, ..Range::default() };
        // SAFETY: the number is that of `UFFDIO_REGISTER`, whose argument this is.
        let register =
            unsafe { Updater::<{ opcode::read_write::<Range>(GROUP, 0) }, Range>::new(&mut range) };
        // SAFETY: the range is the mapping just made, which nothing but stopped programs reads.
        unsafe { ioctl(&pauses.faults, register) }?;
        Ok(pauses)
    }

    /// The address that a program reads to stop at `place`.
    #[must_use]
    pub fn address(&self, place: usize) -> u64 {
        debug_assert!(place < self.count, "there is no place {place}");
        (self.base.as_ptr() as u64).wrapping_add(place.wrapping_mul(rustix::param::page_size()) as u64)
    }

    /// Waits for a program to stop, `limit` at most; gives where.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn wait(&self, limit: Timespec) -> io::Result<Option<usize>> {
        let mut poll_fd = [PollFd::new(&self.faults, PollFlags::IN)];
        if poll(&mut poll_fd, Some(&limit))? == 0 {
            return Ok(None);
        }
        // `struct uffd_msg`: of a page fault, the third word is the address.
        let mut message = [0; 32];
        rustix::io::read(&self.faults, &mut message)?;
        let [_, _, address, _] = std::array::from_fn(|index| {
            let bytes = message.chunks_exact(8).nth(index).unwrap_or_default();
            bytes.try_into().map_or(0, u64::from_ne_bytes)
        });
        let offset = address.wrapping_sub(self.base.as_ptr() as u64);
        let place =
            usize::try_from(offset).ok().and_then(|offset| offset.checked_div(rustix::param::page_size()));
        Ok(place.filter(|place| *place < self.count))
    }

    /// Lets the program that stopped at `place` go on.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn resume(&self, place: usize) -> io::Result<()> {
        let length = rustix::param::page_size() as u64;
        let mut range = Range { start: self.address(place), length, ..Range::default() };
        // SAFETY: the number is that of `UFFDIO_ZEROPAGE`, whose argument this is.
        let zero = unsafe { Updater::<{ opcode::read_write::<Range>(GROUP, 4) }, Range>::new(&mut range) };
        // SAFETY: puts a page of zeros where there is none, in our own mapping.
        Ok(unsafe { ioctl(&self.faults, zero) }?)
    }

    /// Lets programs go on wherever they stopped or would stop.
    pub fn resume_all(&self) {
        for place in 0..self.count {
            // There may be a page already.
            let _ = self.resume(place);
        }
    }

    /// Makes programs stop again at every place.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn reset(&self) -> io::Result<()> {
        let length = self.count.saturating_mul(rustix::param::page_size());
        // SAFETY: our own mapping, whose content nobody needs.
        Ok(unsafe { madvise(self.base.as_ptr().cast(), length, Advice::LinuxDontNeed) }?)
    }
}

impl Drop for Pauses {
    fn drop(&mut self) {
        let length = self.count.saturating_mul(rustix::param::page_size());
        // SAFETY: the mapping made in `new`, whole.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), length) };
    }
}

// SAFETY: plain memory, which only the kernel reads.
unsafe impl Send for Pauses {}
// SAFETY: as above.
unsafe impl Sync for Pauses {}

/// `struct uffdio_api`.
#[derive(Default)]
#[repr(C)]
struct Api {
    version: u64,
    features: u64,
    operations: u64,
}

/// `struct uffdio_register` and `struct uffdio_zeropage`, which look the same.
#[derive(Default)]
#[repr(C)]
struct Range {
    start: u64,
    length: u64,
    mode: u64,
    answer: u64,
}

const GROUP: u8 = 0xaa;
const API: u64 = 0xaa;
const MISSING: u64 = 1;
