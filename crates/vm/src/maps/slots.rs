//! Arrays whose entries are maps, programs or rings.

use alloc::vec::Vec;

use spin::Mutex;

use crate::error::MapError;
use crate::memory::index;

/// Entries that are there or not.
#[derive(Debug)]
pub(crate) struct Slots<T>(Mutex<Vec<Option<T>>>);

impl<T: Clone> Slots<T> {
    /// Empty ones; `None` when the allocator has no room.
    pub(crate) fn new(entries: u32) -> Option<Self> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(index(entries)).ok()?;
        slots.resize_with(index(entries), || None);
        Some(Self(Mutex::new(slots)))
    }

    /// Bytes of so many entries.
    pub(crate) fn bytes(entries: u32) -> u64 {
        u64::from(entries).saturating_mul(size_of::<Option<T>>() as u64)
    }

    /// Entries that are there.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().iter().flatten().count()
    }

    /// The entry, if it is there.
    pub(crate) fn get(&self, slot: u32) -> Option<T> {
        self.0.lock().get(index(slot))?.clone()
    }

    pub(crate) fn set(&self, slot: u32, entry: T) -> Result<(), MapError> {
        let mut slots = self.0.lock();
        let place = slots.get_mut(index(slot)).ok_or(MapError::Full)?;
        let old = place.replace(entry);
        // What the entry was is freed outside of the lock: it may hold this map.
        drop(slots);
        drop(old);
        Ok(())
    }

    pub(crate) fn clear(&self, slot: u32) -> Result<(), MapError> {
        let mut slots = self.0.lock();
        let old = slots.get_mut(index(slot)).ok_or(MapError::Full)?.take();
        drop(slots);
        if old.is_some() { Ok(()) } else { Err(MapError::NotFound) }
    }

    pub(crate) fn clear_all(&self) {
        let entries = self.0.lock().len();
        for slot in 0..entries {
            let old = self.0.lock().get_mut(slot).and_then(Option::take);
            drop(old);
        }
    }
}
