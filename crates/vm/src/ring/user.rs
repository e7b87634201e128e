//! The user ring map: the embedder produces, programs drain.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering;

use ebpf_ringbuf::{SubmitFlags, UserConsumer};
use spin::Mutex;

use super::RingMemory;
use super::memory::Shared;
use crate::maps::VmMap;

/// A user ring map's ring: the embedder produces, programs drain.
pub(crate) struct UserRing {
    consumer: Mutex<UserConsumer<RingMemory>>,
    shared: Arc<Shared>,
}

impl UserRing {
    /// Bytes that a ring of `size` bytes of data takes.
    pub(crate) fn bytes(size: u32) -> u64 {
        u64::from(size).saturating_add(size_of::<Shared>() as u64)
    }

    /// An empty ring; `None` when the allocator has no room, or for a size that no ring has.
    pub(crate) fn new(size: u32, page_size: u32) -> Option<Self> {
        let shared = Arc::new(Shared::new(size, page_size)?);
        Some(Self { consumer: Mutex::new(UserConsumer::new(RingMemory::own(&shared))), shared })
    }

    /// The memory for a producer; `None` while there is one.
    pub(crate) fn lend(&self, map: &VmMap) -> Option<RingMemory> {
        RingMemory::lend(&self.shared, map)
    }

    /// Bytes that were produced and not drained.
    pub(crate) fn available(&self) -> usize {
        let consumer = self.shared.consumer.0.load(Ordering::Acquire);
        self.shared.producer.0.load(Ordering::Acquire).wrapping_sub(consumer)
    }

    /// `bpf_user_ringbuf_drain`: each sample's bytes to `each`, which may break. Gives the answer, and whether a producer is to be woken.
    pub(crate) fn drain(
        &self,
        flags: u64,
        mut each: impl FnMut(Vec<u8>) -> ControlFlow<()>,
    ) -> Result<(usize, bool), i32> {
        const EBUSY: i32 = -16;
        let Some(mut consumer) = self.consumer.try_lock() else { return Err(EBUSY) };
        let flags = SubmitFlags::from_bits_truncate(flags);
        let drained = consumer.drain(flags, |sample| {
            let mut bytes = Vec::new();
            // Should its memory be missing, a sample that a ring had memory for is empty rather than the process aborted.
            if bytes.try_reserve_exact(sample.payload_len()).is_ok() {
                bytes.resize(sample.payload_len(), 0);
                sample.copy_to(&mut bytes);
            }
            each(bytes)
        });
        match drained {
            Ok(drained) => Ok((drained.samples, drained.wakeup.is_needed())),
            Err(stopped) => Err(stopped.error.errno().saturating_neg()),
        }
    }
}

impl fmt::Debug for UserRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRing").field("available", &self.available()).finish_non_exhaustive()
    }
}
