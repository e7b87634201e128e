//! What LRU maps note of lookups, which hold no lock: which slots were used, in order, until a writer puts them there in the list.

use super::index::NONE;
use super::order::*;

/// Slots that were used since a writer looked.
#[derive(Debug)]
pub(super) struct Notes {
    /// How many notes were begun since then. More than there is room for, where nobody could look.
    begun: Number,
    /// The slot that was used last, as far as is known: using it again changes nothing.
    last: Link,
    slots: [Link; ROOM],
}

/// Uses that are noted before one of the lookups has to bring the list up to date.
const ROOM: usize = if cfg!(loom) { 2 } else { 64 };

impl Notes {
    pub(super) fn new() -> Self {
        Self {
            begun: Number::new(0),
            last: Link::new(NONE),
            slots: core::array::from_fn(|_| Link::new(NONE)),
        }
    }

    /// Notes that a slot was used; false when there is no room.
    #[inline]
    pub(super) fn add(&self, slot: u32) -> bool {
        if self.last.load(NOTE) == slot {
            return true;
        }
        let Some(place) = self.slots.get(self.begun.fetch_add(1, NOTE)) else { return false };
        place.store(slot, NOTE);
        self.last.store(slot, NOTE);
        true
    }

    /// Hands the notes to `use_slot`, oldest first. For those who hold the lock.
    pub(super) fn take(&self, mut use_slot: impl FnMut(u32)) {
        let begun = self.begun.load(NOTE);
        if begun == 0 {
            return;
        }
        for place in self.slots.iter().take(begun) {
            let slot = place.load(NOTE);
            // One that was begun and not yet written is found next time.
            if slot != NONE {
                use_slot(slot);
                place.store(NONE, NOTE);
            }
        }
        self.begun.store(0, NOTE);
    }

    /// Who is now the newest in the list.
    pub(super) fn set_last(&self, slot: u32) {
        self.last.store(slot, NOTE);
    }
}
