//! A ring of the running kernel, mapped as every consumer maps it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ebpf_linux::{Interest, Trigger};
use ebpf_ringbuf::{Geometry, Mapped, Mapping, PageOffset};
use libbpf_sys as sys;
use rustix::event::epoll;
use rustix::mm::ProtFlags;

use crate::bpf::{Pages, create_map};
use crate::libbpf::Errno;

/// A full ring gives up its oldest records (Linux 6.19).
pub const OVERWRITE: u32 = ebpf_linux::RB_OVERWRITE;

/// A ring map and this process's view of it.
#[derive(Debug)]
pub struct KernelRing {
    map: OwnedFd,
    /// The consumer's page: to write, or to read only in a user ring.
    consumer: Pages,
    /// The producer's page, then the data twice.
    producer: Pages,
    geometry: Geometry,
}

impl KernelRing {
    /// A ring that the kernel produces into, of `size` bytes; `flags` as for `BPF_MAP_CREATE`.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn new(size: usize, flags: u32) -> Result<Self, Errno> {
        let entries = u32::try_from(size).map_err(|_| Errno(EINVAL))?;
        let map = create_map(sys::BPF_MAP_TYPE_RINGBUF, 0, 0, entries, flags)?;
        let ring = Self::map(map, size, Role::KernelProduces)?;
        let geometry = if flags & OVERWRITE == 0 { ring.geometry } else { ring.geometry.overwriting() };
        Ok(Self { geometry, ..ring })
    }

    /// A ring that overwrites; `None`, with a note, where the kernel has none: they came with Linux 6.19, so this is no failure in CI either.
    ///
    /// # Errors
    ///
    /// The kernel's, if it is not that.
    pub fn overwriting(size: usize) -> Result<Option<Self>, Errno> {
        match Self::new(size, OVERWRITE) {
            Ok(ring) => Ok(Some(ring)),
            Err(Errno(EINVAL)) => {
                println!(
                    "skipped: this kernel does not know BPF_F_RB_OVERWRITE (EINVAL), which came with Linux 6.19"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Maps the ring behind a descriptor, which stays the caller's.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn open(map: BorrowedFd<'_>, size: usize, role: Role) -> Result<Self, Errno> {
        let map = map.try_clone_to_owned().map_err(|error| Errno(error.raw_os_error().unwrap_or(EINVAL)))?;
        Self::map(map, size, role)
    }

    fn map(map: OwnedFd, size: usize, role: Role) -> Result<Self, Errno> {
        let page = rustix::param::page_size();
        let geometry =
            Geometry::new(size, page, Mapping::Mirrored, PageOffset::FromRing).map_err(|_| Errno(EINVAL))?;
        let (read, write) = (ProtFlags::READ, ProtFlags::READ | ProtFlags::WRITE);
        let (consumer, producer) = match role {
            Role::KernelProduces => (write, read),
            Role::KernelConsumes => (read, write),
        };
        let both_views = size.checked_mul(2).and_then(|data| data.checked_add(page)).ok_or(Errno(EINVAL))?;
        Ok(Self {
            consumer: Pages::map(map.as_fd(), 0, page, consumer)?,
            producer: Pages::map(map.as_fd(), page, both_views, producer)?,
            map,
            geometry,
        })
    }

    /// User space's side of the ring. Make one at a time of each role.
    #[must_use]
    pub fn side(&self) -> Mapped<'_> {
        let page = rustix::param::page_size();
        // SAFETY: the mapping is that page and twice the data.
        let data = unsafe { self.producer.base().add(page) };
        // SAFETY: pages as the kernel maps them, aligned to pages, for as long as `self` lives. Only the role that the mapping's rights allow is
        // given to anything that writes, and the other role is the kernel's.
        unsafe { Mapped::new(self.consumer.base(), self.producer.base(), data, self.geometry) }
    }

    /// The sizes.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// `consumer_pos`.
    #[must_use]
    pub fn consumer_position(&self) -> &AtomicUsize {
        Self::position(&self.consumer, 0)
    }

    /// `producer_pos`.
    #[must_use]
    pub fn producer_position(&self) -> &AtomicUsize {
        Self::position(&self.producer, 0)
    }

    /// `pending_pos`.
    #[must_use]
    pub fn pending_position(&self) -> &AtomicUsize {
        Self::position(&self.producer, size_of::<usize>())
    }

    /// The consumer's page.
    #[must_use]
    pub fn consumer_page(&self) -> &Pages {
        &self.consumer
    }

    /// The producer's page, then the data twice.
    #[must_use]
    pub fn producer_pages(&self) -> &Pages {
        &self.producer
    }

    /// The same, to write into a user ring.
    pub fn producer_pages_mut(&mut self) -> &mut Pages {
        &mut self.producer
    }

    /// A copy of `length` bytes from `position` on, at most the ring.
    #[must_use]
    pub fn bytes(&self, position: usize, length: usize) -> Vec<u8> {
        let offset = rustix::param::page_size().saturating_add(self.geometry.offset(position));
        self.producer.bytes(offset, length.min(self.geometry.size()))
    }

    /// Bytes between `consumer_pos` and `producer_pos`.
    #[must_use]
    pub fn available(&self) -> usize {
        let consumer = self.consumer_position().load(Ordering::SeqCst);
        self.producer_position().load(Ordering::SeqCst).wrapping_sub(consumer)
    }

    fn position(pages: &Pages, offset: usize) -> &AtomicUsize {
        // SAFETY: inside the first page.
        let word = unsafe { pages.base().add(offset) };
        // SAFETY: aligned and valid while the pages are mapped; nobody stores where that is not allowed.
        unsafe { AtomicUsize::from_ptr(word.cast().as_ptr()) }
    }
}

impl AsRawFd for KernelRing {
    fn as_raw_fd(&self) -> i32 {
        self.map.as_raw_fd()
    }
}

impl AsFd for KernelRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Which way round a ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a ring goes one way or the other")]
pub enum Role {
    /// `BPF_MAP_TYPE_RINGBUF`.
    KernelProduces,
    /// `BPF_MAP_TYPE_USER_RINGBUF`.
    KernelConsumes,
}

/// An epoll instance that watches one ring.
#[derive(Debug)]
pub struct Waiter(ebpf_linux::Waiter);

impl Waiter {
    /// Watches `ring` for `events`; edge-triggered if they say so.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn new(ring: &impl AsFd, events: epoll::EventFlags) -> io::Result<Self> {
        let writable = events.contains(epoll::EventFlags::OUT);
        let interest = if writable { Interest::Writable } else { Interest::Readable };
        let by_edge = events.contains(epoll::EventFlags::ET);
        let waiter = ebpf_linux::Waiter::new()?;
        waiter.add(ring, 0, interest, if by_edge { Trigger::Edge } else { Trigger::Level })?;
        Ok(Self(waiter))
    }

    /// Waits for an event, at most `limit`; was there one?
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        let mut ready = Vec::new();
        self.0.wait(&mut ready, Some(limit))?;
        Ok(!ready.is_empty())
    }
}

const EINVAL: i32 = 22;
