//! Hash maps, plain and LRU.
//!
//! Keys and links stand here under a lock; values stand in an [`Area`], where programs reach them without it. As in
//! Linux, an update puts the new value into a slot of its own: who still points to the old value keeps reading it until
//! the slot is used again, and after a deletion too. Slots are never given back, so no pointer ever leads astray.
//!
//! Every entry is also in one list, oldest first. It is the order of [`next_key`](Hash::next_key), the same in every run;
//! in an LRU map a lookup by a program moves the entry to its end, and the front is what gives way.

use alloc::vec::Vec;

use spin::Mutex;

use super::area::Area;
use super::{EXIST, NOEXIST};
use crate::account::Charge;
use crate::error::MapError;
use crate::memory::{index, low};

/// A hash map without its values.
#[derive(Debug)]
pub(crate) struct Hash {
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    key_size: usize,
    max_entries: u32,
    evicts: bool,
    seed: u64,
    /// First entry of each chain; a power of two of them, at least as many as there are slots.
    buckets: Vec<u32>,
    entries: Vec<Entry>,
    /// The key of slot `i` begins at `i * key_size`. Keys of up to eight bytes are compared as heads.
    keys: Vec<u8>,
    /// First of the slots that were used and are free again, linked through `chain`.
    free: u32,
    /// Slots from here on were never used.
    fresh: u32,
    oldest: u32,
    newest: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The key's first eight bytes.
    head: u64,
    hash: u32,
    chain: u32,
    older: u32,
    newer: u32,
}

/// No slot.
const NONE: u32 = u32::MAX;

impl Hash {
    /// An empty map that takes no memory yet. With `evicts` the oldest entry gives way to a new one.
    pub(crate) fn new(key_size: u32, max_entries: u32, evicts: bool, seed: u64) -> Self {
        let table = Table {
            key_size: index(key_size),
            max_entries,
            evicts,
            seed,
            buckets: Vec::new(),
            entries: Vec::new(),
            keys: Vec::new(),
            free: NONE,
            fresh: 0,
            oldest: NONE,
            newest: NONE,
            len: 0,
        };
        Self { table: Mutex::new(table) }
    }

    /// Bytes that one more slot takes, with the value.
    pub(crate) fn slot_bytes(key_size: u32, stride: u32) -> u64 {
        // Chains begin in up to two words per slot.
        const LINKS: u64 = (size_of::<Entry>() + 2 * size_of::<u32>()) as u64;
        LINKS.saturating_add(u64::from(key_size)).saturating_add(u64::from(stride))
    }

    /// Entries.
    pub(crate) fn len(&self) -> u32 {
        self.table.lock().len
    }

    /// The slot of `key`. With `uses`, an LRU map takes the entry for recently used.
    pub(crate) fn lookup(&self, key: &[u8], uses: bool) -> Option<u32> {
        let mut table = self.table.lock();
        let slot = table.find(key, table.hash(key))?;
        if uses && table.evicts {
            table.unlist(slot);
            table.list(slot);
        }
        Some(slot)
    }

    /// Lets `read` read the value of `key`, not torn by deletion and re-use.
    pub(crate) fn read(
        &self,
        key: &[u8],
        read: impl FnOnce(u32) -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        let table = self.table.lock();
        read(table.find(key, table.hash(key)).ok_or(MapError::NotFound)?)
    }

    /// All keys, oldest first; `None` when the allocator has no room.
    pub(crate) fn keys(&self) -> Option<Vec<u8>> {
        let table = self.table.lock();
        let mut keys = Vec::new();
        keys.try_reserve_exact(index(table.len).checked_mul(table.key_size)?).ok()?;
        let mut slot = table.oldest;
        while let Some(key) = table.key(slot).filter(|_| slot != NONE) {
            keys.extend_from_slice(key);
            slot = table.entry(slot).newer;
        }
        Some(keys)
    }

    /// `htab_map_update_elem` and its brothers. `write` writes the value of a slot, and is told whether it is the slot of a new entry; with `in_place` an
    /// entry that is there keeps its slot.
    pub(crate) fn update(
        &self,
        area: &Area,
        charge: &Charge,
        key: &[u8],
        flags: u64,
        in_place: bool,
        write: impl FnOnce(u32, bool) -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        if flags > EXIST {
            return Err(MapError::Invalid);
        }
        let mut table = self.table.lock();
        let hash = table.hash(key);
        let old = table.find(key, hash);
        match old {
            Some(_) if flags == NOEXIST => return Err(MapError::Exists),
            Some(slot) if in_place => {
                write(slot, false)?;
                table.unlist(slot);
                table.list(slot);
                return Ok(());
            }
            None if flags == EXIST => return Err(MapError::NotFound),
            None if table.len >= table.max_entries => {
                if !table.evicts {
                    return Err(MapError::Full);
                }
                let oldest = table.oldest;
                table.remove(oldest);
            }
            _ => {}
        }
        let slot = match (table.take_slot(area, charge), old) {
            (Some(slot), _) => slot,
            // No memory for a slot of its own: a value that is there already is overwritten in its place.
            (None, Some(slot)) => return write(slot, false),
            (None, None) => return Err(MapError::NoMemory),
        };
        if let Err(error) = write(slot, true) {
            table.give_slot(slot);
            return Err(error);
        }
        if let Some(old) = old {
            table.remove(old);
        }
        table.insert(slot, key, hash);
        Ok(())
    }

    /// Takes the entry out; its value stays where it is until the slot is used again.
    pub(crate) fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        let mut table = self.table.lock();
        let slot = table.find(key, table.hash(key)).ok_or(MapError::NotFound)?;
        table.remove(slot);
        Ok(())
    }

    /// The key after `key`, oldest first; the first one when there is no `key` or it is gone.
    pub(crate) fn next_key(&self, key: Option<&[u8]>, out: &mut [u8]) -> Result<(), MapError> {
        let table = self.table.lock();
        let found = key.and_then(|key| table.find(key, table.hash(key)));
        let next = match found {
            Some(slot) => table.entry(slot).newer,
            None => table.oldest,
        };
        let key = table.key(next).ok_or(MapError::NotFound)?;
        if key.len() != out.len() {
            return Err(MapError::Invalid);
        }
        out.copy_from_slice(key);
        Ok(())
    }
}

impl Table {
    #[inline]
    fn hash(&self, key: &[u8]) -> u32 {
        // Multiply and fold, eight bytes at a time. The seed is the host's: whoever chooses keys does not know it.
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut hash = self.seed ^ (key.len() as u64).wrapping_mul(FACTOR);
        let mut mix = |word: u64| {
            let mixed = u128::from(hash ^ word).wrapping_mul(u128::from(FACTOR ^ self.seed | 1));
            hash = low64(mixed ^ mixed >> 64).wrapping_add(FACTOR);
        };
        if key.len() <= 8 {
            mix(head(key));
        } else {
            key.chunks(8).for_each(|piece| mix(head(piece)));
        }
        low(hash ^ hash >> 32)
    }

    fn entry(&self, slot: u32) -> Entry {
        const NOWHERE: Entry = Entry { head: 0, hash: 0, chain: NONE, older: NONE, newer: NONE };
        self.entries.get(index(slot)).copied().unwrap_or(NOWHERE)
    }

    fn key(&self, slot: u32) -> Option<&[u8]> {
        let start = index(slot).checked_mul(self.key_size)?;
        self.keys.get(start..start.checked_add(self.key_size)?)
    }

    #[inline]
    fn find(&self, key: &[u8], hash: u32) -> Option<u32> {
        let mut slot = *self.buckets.get(self.bucket(hash))?;
        let (head, is_short) = (head(key), key.len() <= 8);
        while slot != NONE {
            let entry = self.entries.get(index(slot))?;
            if entry.head == head && (is_short || entry.hash == hash && self.key(slot) == Some(key)) {
                return Some(slot);
            }
            slot = entry.chain;
        }
        None
    }

    fn bucket(&self, hash: u32) -> usize {
        index(hash) & self.buckets.len().wrapping_sub(1)
    }

    /// A slot that nobody has, from the freed ones first.
    fn take_slot(&mut self, area: &Area, charge: &Charge) -> Option<u32> {
        if self.free != NONE {
            let slot = self.free;
            self.free = self.entry(slot).chain;
            return Some(slot);
        }
        if index(self.fresh) >= self.entries.len() {
            self.grow(area, charge)?;
        }
        let slot = self.fresh;
        self.fresh = slot.checked_add(1)?;
        Some(slot)
    }

    fn give_slot(&mut self, slot: u32) {
        let free = self.free;
        if let Some(entry) = self.entries.get_mut(index(slot)) {
            entry.chain = free;
            self.free = slot;
        }
    }

    /// Adds a chunk of slots. One more than `max_entries` at most: the one that an update in a full map needs.
    fn grow(&mut self, area: &Area, charge: &Charge) -> Option<()> {
        let slots = u32::try_from(self.entries.len()).ok()?;
        let most = self.max_entries.saturating_add(1);
        let more = Area::chunk_slots(slots).min(most.saturating_sub(slots));
        if more == 0 || area.offset(slots.checked_add(more)?).is_none() {
            return None;
        }
        let key_bytes = index(more).checked_mul(self.key_size)?;
        let total = slots.checked_add(more)?;
        let buckets = index(total).checked_next_power_of_two()?;
        self.entries.try_reserve_exact(index(more)).ok()?;
        self.keys.try_reserve_exact(key_bytes).ok()?;
        let mut chains = Vec::new();
        chains.try_reserve_exact(buckets).ok()?;
        // Values that are there from the start were paid then.
        let stride = if area.is_growing() { area.stride() } else { 0 };
        charge.add(
            Hash::slot_bytes(u32::try_from(self.key_size).ok()?, stride).checked_mul(u64::from(more))?,
        )?;
        // A charge that is not followed by its memory stays: the allocator is at its end then, and the next attempt pays anew.
        if area.is_growing() {
            area.grow(slots, more)?;
        }
        let empty = Entry { head: 0, hash: 0, chain: NONE, older: NONE, newer: NONE };
        self.entries.resize(index(total), empty);
        self.keys.resize(self.keys.len().checked_add(key_bytes)?, 0);
        chains.resize(buckets, NONE);
        self.buckets = chains;
        let mut slot = self.oldest;
        while slot != NONE {
            let entry = self.entry(slot);
            self.chain(slot, entry.hash);
            slot = entry.newer;
        }
        Some(())
    }

    fn insert(&mut self, slot: u32, key: &[u8], hash: u32) {
        let start = index(slot).saturating_mul(self.key_size);
        if let Some(target) = self.keys.get_mut(start..start.saturating_add(self.key_size)) {
            for (to, from) in target.iter_mut().zip(key) {
                *to = *from;
            }
        }
        if let Some(entry) = self.entries.get_mut(index(slot)) {
            (entry.head, entry.hash) = (head(key), hash);
        }
        self.chain(slot, hash);
        self.list(slot);
        self.len = self.len.saturating_add(1);
    }

    fn remove(&mut self, slot: u32) {
        let entry = self.entry(slot);
        let bucket = self.bucket(entry.hash);
        let mut link = self.buckets.get(bucket).copied().unwrap_or(NONE);
        if let (true, Some(first)) = (link == slot, self.buckets.get_mut(bucket)) {
            *first = entry.chain;
        }
        while link != NONE && link != slot {
            let next = self.entry(link).chain;
            if let (true, Some(before)) = (next == slot, self.entries.get_mut(index(link))) {
                before.chain = entry.chain;
            }
            link = next;
        }
        self.unlist(slot);
        self.give_slot(slot);
        self.len = self.len.saturating_sub(1);
    }

    fn chain(&mut self, slot: u32, hash: u32) {
        let bucket = self.bucket(hash);
        if let (Some(first), Some(entry)) = (self.buckets.get_mut(bucket), self.entries.get_mut(index(slot)))
        {
            entry.chain = *first;
            *first = slot;
        }
    }

    /// Puts a slot at the new end of the list.
    fn list(&mut self, slot: u32) {
        let newest = self.newest;
        if let Some(entry) = self.entries.get_mut(index(slot)) {
            (entry.older, entry.newer) = (newest, NONE);
        }
        match self.entries.get_mut(index(newest)) {
            Some(entry) => entry.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }

    fn unlist(&mut self, slot: u32) {
        let Entry { older, newer, .. } = self.entry(slot);
        match self.entries.get_mut(index(older)) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
        match self.entries.get_mut(index(newer)) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }
}

/// The first eight bytes, or all there are and zeroes.
#[inline(always)]
fn head(key: &[u8]) -> u64 {
    if let Ok(word) = <[u8; 4]>::try_from(key) {
        return u64::from(u32::from_le_bytes(word));
    }
    if let Some(word) = key.first_chunk::<8>() {
        return u64::from_le_bytes(*word);
    }
    key.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn low64(bits: u128) -> u64 {
    u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0)
}
