//! Memory mapped from a descriptor.

#![expect(unsafe_code, reason = "mapping and unmapping")]

use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::error::Error;
use crate::sys::{Errno, admit};

/// Pages of a kernel object mapped into this process, shared with the kernel, unmapped when dropped.
///
/// They change while they are looked at: read and write them through atomics or by raw pointers. What reads them, `ebpf-ringbuf` or a reader of
/// perf rings, borrows from this.
#[derive(Debug)]
pub struct Pages {
    base: NonNull<u8>,
    length: usize,
    writable: bool,
}

impl Pages {
    /// Maps `length` bytes of a kernel object from `offset` on: a ring, an event, an array made with `BPF_F_MMAPABLE`.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub fn new(object: BorrowedFd<'_>, offset: usize, length: usize, writable: bool) -> Result<Self, Error> {
        Self::map(object, offset, length, writable)
            .map_err(|errno| Error::new("mmap", errno).of(format_args!("{length} bytes at {offset}")))
    }

    pub(crate) fn map(
        file: BorrowedFd<'_>,
        offset: usize,
        length: usize,
        writable: bool,
    ) -> Result<Self, Errno> {
        admit()?;
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a fresh mapping where the kernel finds room; nothing is mapped over.
        let base = unsafe { mmap(null_mut(), length, protection, MapFlags::SHARED, file, offset as u64) }?;
        // The kernel never gives page 0 unasked.
        let base = NonNull::new(base.cast()).ok_or(Errno::FAULT)?;
        Ok(Self { base, length, writable })
    }

    /// Where they stand; aligned to a page, valid as long as `self` lives.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes mapped.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether they may be written to.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// The address `offset` bytes in; `None` behind the end.
    #[must_use]
    pub fn at(&self, offset: usize) -> Option<NonNull<u8>> {
        if offset >= self.length {
            return None;
        }
        // SAFETY: inside the mapping.
        Some(unsafe { self.base.add(offset) })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, whole; what borrows from it borrows `self`.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
    }
}

// SAFETY: plain shared memory, valid in every thread; nothing here reads or writes it.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}
