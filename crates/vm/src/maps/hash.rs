//! Hash maps, plain and LRU.
//!
//! Buckets, chains and keys stand in an [`Index`], where lookups find them without a lock; lists of slots stand here under the lock that writers hold;
//! values stand in an [`Area`](super::area::Area), where programs reach them. As in Linux, an update puts the new value into a slot of its own: who still
//! points to the old value keeps reading it until the slot is used again, and after a deletion too. Slots are never given back, so no pointer ever leads
//! astray.
//!
//! Every entry is also in one list, oldest first. It is the order of [`next_key`](Hash::next_key), the same in every run;
//! in an LRU map a lookup by a program moves the entry to its end, and the front is what gives way. The lookup only notes that; whoever holds the lock next
//! moves it, before anything else. What is lost are notes beyond those there is room for while a writer holds the lock.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::index::{Changed, Index, Key, NONE, OneWord, word};
use super::notes::Notes;
use super::order::{FENCE_REUSE, Lock, fence};
use super::{EXIST, NOEXIST};
use crate::error::MapError;
use crate::memory::index;

/// A hash map without its values.
#[derive(Debug)]
pub(crate) struct Hash {
    index: Index,
    key_size: usize,
    /// Those of an LRU map.
    notes: Option<Box<Notes>>,
    table: Lock<Table>,
}

/// What only those see who hold the lock.
#[derive(Debug)]
struct Table {
    max_entries: u32,
    entries: Vec<Entry>,
    /// First of the slots that were used and are free again, linked through `newer`.
    free: u32,
    /// Slots from here on were never used.
    fresh: u32,
    oldest: u32,
    newest: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// [`FREE`] for a slot that is not in the list.
    older: u32,
    newer: u32,
}

/// No slot, and not the end of the list either.
const FREE: u32 = NONE - 1;

/// Looks without the lock. More than one is needed only when a writer finished a change in the same bucket meanwhile. Few in models, which are to
/// see what comes after them.
const LOOKS: u32 = if cfg!(loom) { 2 } else { 8 };

impl Hash {
    /// An empty map, which takes slots as they are needed, `1 << first_bits` at first. With `evicts` the oldest entry gives way to a new one. `None` when the
    /// allocator has no room.
    pub(crate) fn new(
        key_size: u32,
        max_entries: u32,
        evicts: bool,
        seed: u64,
        first_bits: u32,
    ) -> Option<Self> {
        let index = Index::new(key_size, max_entries.saturating_add(1), first_bits, seed)?;
        let table = Table {
            max_entries,
            entries: Vec::new(),
            free: NONE,
            fresh: 0,
            oldest: NONE,
            newest: NONE,
            len: 0,
        };
        let notes = evicts.then(|| Box::new(Notes::new()));
        Some(Self { index, key_size: crate::memory::index(key_size), notes, table: Lock::new(table) })
    }

    /// Bytes that an empty map takes.
    pub(crate) fn bytes(max_entries: u32, evicts: bool, first_bits: u32) -> u64 {
        let notes = if evicts { size_of::<Notes>() as u64 } else { 0 };
        Index::bytes(max_entries.saturating_add(1), first_bits).saturating_add(notes)
    }

    /// Bytes that so many slots take when they are added with so many buckets, without values.
    pub(crate) fn slot_bytes(key_size: u32, slots: u32, buckets: u32) -> u64 {
        let entries = u64::from(slots).saturating_mul(size_of::<Entry>() as u64);
        Index::chunk_bytes(key_size, slots, buckets).saturating_add(entries)
    }

    /// Whether a key is one word, which [`lookup_word`](Self::lookup_word) finds.
    pub(crate) fn has_words(&self) -> bool {
        matches!(self.key_size, 4 | 8) && self.key_size <= size_of::<usize>() && self.notes.is_none()
    }

    /// Bytes of a key.
    #[inline(always)]
    pub(crate) fn key_size(&self) -> usize {
        self.key_size
    }

    /// Entries.
    pub(crate) fn len(&self) -> u32 {
        self.table.lock().len
    }

    /// The slot of `key`. With `uses`, an LRU map takes the entry for recently used.
    pub(crate) fn lookup(&self, key: &[u8], uses: bool) -> Option<u32> {
        let slot = if self.key_size <= size_of::<usize>() {
            self.find(&OneWord(word(key)))
        } else {
            self.find(key)
        }?;
        if let (true, Some(notes)) = (uses, &self.notes)
            && !notes.add(slot)
        {
            self.move_to_end(notes, slot);
        }
        Some(slot)
    }

    /// The slot of a key of 4 or 8 bytes, in a map that [`has_words`](Self::has_words).
    #[inline(never)]
    pub(crate) fn lookup_word(&self, key: usize) -> Option<u32> {
        let hash = self.index.hash(&OneWord(key));
        match self.index.glance(key, hash) {
            Ok(found) => found,
            Err(Changed) => self.find_word(key, hash),
        }
    }

    #[inline(never)]
    fn find_word(&self, key: usize, hash: usize) -> Option<u32> {
        self.index.look(&OneWord(key), hash).unwrap_or_else(|Changed| self.find_again(&OneWord(key), hash))
    }

    #[inline(always)]
    fn find<K: Key + ?Sized>(&self, key: &K) -> Option<u32> {
        let hash = self.index.hash(key);
        match self.index.look(key, hash) {
            Ok(found) => found,
            Err(Changed) => self.find_again(key, hash),
        }
    }

    /// One look, for models.
    #[cfg(all(test, loom))]
    pub(super) fn look(&self, key: &[u8]) -> Result<Option<u32>, Changed> {
        self.index.look(key, self.index.hash(key))
    }

    #[cold]
    #[inline(never)]
    fn find_again<K: Key + ?Sized>(&self, key: &K, hash: usize) -> Option<u32> {
        for _ in 1..LOOKS {
            if let Ok(found) = self.index.look(key, hash) {
                return found;
            }
        }
        // So many changes in one bucket while this ran: their author is not stopped, and holds the lock only so long.
        let _table = self.table.lock();
        Some(self.index.find(key, hash)?.slot)
    }

    /// There is no room for a note: this lookup moves the entries, if nobody else is there.
    #[cold]
    fn move_to_end(&self, notes: &Notes, slot: u32) {
        if let Some(mut table) = self.table.try_lock() {
            notes.take(|slot| table.renew(slot));
            table.renew(slot);
            notes.set_last(table.newest);
        }
    }

    /// Lets `work` work on the lists, which are up to date.
    fn locked<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table.lock();
        let Some(notes) = &self.notes else { return work(&mut table) };
        notes.take(|slot| table.renew(slot));
        let done = work(&mut table);
        notes.set_last(table.newest);
        done
    }

    /// Lets `read` read the value of `key`, not torn by deletion and re-use.
    pub(crate) fn read(
        &self,
        key: &[u8],
        read: impl FnOnce(u32) -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        let _table = self.table.lock();
        read(self.index.find(key, self.index.hash(key)).ok_or(MapError::NotFound)?.slot)
    }

    /// All keys, oldest first; `None` when the allocator has no room.
    pub(crate) fn keys(&self) -> Option<Vec<u8>> {
        self.locked(|table| {
            let mut keys = Vec::new();
            keys.try_reserve_exact(index(table.len).checked_mul(self.key_size)?).ok()?;
            let mut slot = table.oldest;
            while slot != NONE {
                self.index.read_key(slot, self.key_size, |piece| keys.extend_from_slice(piece));
                slot = table.entry(slot).newer;
            }
            Some(keys)
        })
    }

    /// `htab_map_update_elem` and its brothers. `grow` makes room for the values of so many slots after so many, and pays for them. `write` writes the value of a
    /// slot, and is told whether it is the slot of a new entry; with `in_place` an entry that is there keeps its slot.
    pub(crate) fn update(
        &self,
        key: &[u8],
        flags: u64,
        in_place: bool,
        grow: impl FnOnce(u32, u32, u64) -> Option<()>,
        write: impl FnOnce(u32, bool) -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        if flags > EXIST {
            return Err(MapError::Invalid);
        }
        let hash = self.index.hash(key);
        self.locked(|table| {
            let old = self.index.find(key, hash);
            match old {
                Some(_) if flags == NOEXIST => return Err(MapError::Exists),
                Some(old) if in_place => {
                    write(old.slot, false)?;
                    table.renew(old.slot);
                    return Ok(());
                }
                None if flags == EXIST => return Err(MapError::NotFound),
                None if table.len >= table.max_entries => {
                    if self.notes.is_none() {
                        return Err(MapError::Full);
                    }
                    let oldest = self.index.find_slot(table.oldest).ok_or(MapError::NoMemory)?;
                    self.index.remove(oldest);
                    table.remove(oldest.slot);
                }
                _ => {}
            }
            let slot = match (self.take_slot(table, grow), old) {
                (Some(slot), _) => slot,
                // No memory for a slot of its own: a value that is there already is overwritten in its place.
                (None, Some(old)) => return write(old.slot, false),
                (None, None) => return Err(MapError::NoMemory),
            };
            fence(FENCE_REUSE);
            if let Err(error) = write(slot, true) {
                table.give_slot(slot);
                return Err(error);
            }
            self.index.write_key(slot, key);
            // Growth may have changed where the old one is.
            match old.and_then(|_| self.index.find(key, hash)) {
                Some(old) => {
                    self.index.replace(old, slot);
                    table.remove(old.slot);
                }
                None => self.index.insert(slot, hash),
            }
            table.list(slot);
            table.len = table.len.saturating_add(1);
            Ok(())
        })
    }

    /// Takes the entry out; its value stays where it is until the slot is used again.
    pub(crate) fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        self.locked(|table| {
            let found = self.index.find(key, self.index.hash(key)).ok_or(MapError::NotFound)?;
            self.index.remove(found);
            table.remove(found.slot);
            Ok(())
        })
    }

    /// The key after `key`, oldest first; the first one when there is no `key` or it is gone.
    pub(crate) fn next_key(&self, key: Option<&[u8]>, out: &mut [u8]) -> Result<(), MapError> {
        self.locked(|table| {
            let found = key
                .filter(|key| key.len() == self.key_size)
                .and_then(|key| self.index.find(key, self.index.hash(key)));
            let next = match found {
                Some(found) => table.entry(found.slot).newer,
                None => table.oldest,
            };
            if next == NONE {
                return Err(MapError::NotFound);
            }
            if self.key_size != out.len() {
                return Err(MapError::Invalid);
            }
            let mut rest = out;
            self.index.read_key(next, self.key_size, |piece| {
                if let Some((place, after)) = core::mem::take(&mut rest).split_at_mut_checked(piece.len()) {
                    place.copy_from_slice(piece);
                    rest = after;
                }
            });
            Ok(())
        })
    }

    /// A slot that nobody has, from the freed ones first.
    fn take_slot(&self, table: &mut Table, grow: impl FnOnce(u32, u32, u64) -> Option<()>) -> Option<u32> {
        if table.free != NONE {
            let slot = table.free;
            table.free = table.entry(slot).newer;
            return Some(slot);
        }
        if index(table.fresh) >= table.entries.len() {
            self.grow(table, grow)?;
        }
        let slot = table.fresh;
        table.fresh = slot.checked_add(1)?;
        Some(slot)
    }

    /// Adds a chunk of slots. One more than `max_entries` at most: the one that an update in a full map needs.
    fn grow(&self, table: &mut Table, grow: impl FnOnce(u32, u32, u64) -> Option<()>) -> Option<()> {
        let slots = u32::try_from(table.entries.len()).ok()?;
        let most = table.max_entries.saturating_add(1);
        let buckets = self.index.chunk_slots(slots);
        let more = buckets.min(most.saturating_sub(slots));
        let total = slots.checked_add(more)?;
        if more == 0 {
            return None;
        }
        table.entries.try_reserve_exact(index(more)).ok()?;
        grow(slots, more, Self::slot_bytes(u32::try_from(self.key_size).ok()?, more, buckets))?;
        self.index.grow(slots, more)?;
        table.entries.resize(index(total), Entry { older: FREE, newer: NONE });
        Some(())
    }
}

impl Table {
    fn entry(&self, slot: u32) -> Entry {
        self.entries.get(index(slot)).copied().unwrap_or(Entry { older: FREE, newer: NONE })
    }

    fn give_slot(&mut self, slot: u32) {
        let free = self.free;
        if let Some(entry) = self.entries.get_mut(index(slot)) {
            *entry = Entry { older: FREE, newer: free };
            self.free = slot;
        }
    }

    fn remove(&mut self, slot: u32) {
        self.unlist(slot);
        self.give_slot(slot);
        self.len = self.len.saturating_sub(1);
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
        let Entry { older, newer } = self.entry(slot);
        match self.entries.get_mut(index(older)) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
        match self.entries.get_mut(index(newer)) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }

    /// Moves an entry to the new end, if it is still there.
    fn renew(&mut self, slot: u32) {
        if self.entry(slot).older != FREE {
            self.unlist(slot);
            self.list(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

    use super::*;

    const ENTRIES: u32 = 300;

    fn filled(evicts: bool) -> Hash {
        let hash = Hash::new(4, ENTRIES, evicts, 5, 2).unwrap();
        for key in 0..ENTRIES {
            hash.update(&key.to_ne_bytes(), 0, false, |_, _, _| Some(()), |_, _| Ok(())).unwrap();
        }
        hash
    }

    /// What a program does that has interrupted a writer: the lock is held, and its holder will not go on before this is done.
    #[test]
    fn lookups_do_not_wait_for_a_writer_that_is_stopped() {
        for evicts in [false, true] {
            let hash = filled(evicts);
            let mut looked = 0;
            let write = |_, _| {
                // More than there is room for notes of, in an LRU map.
                for key in 1..ENTRIES {
                    assert!(hash.lookup(&key.to_ne_bytes(), true).is_some());
                    looked += 1;
                }
                assert_eq!(hash.lookup(&ENTRIES.to_ne_bytes(), true), None, "not there yet");
                assert_eq!(
                    hash.lookup(&0u32.to_ne_bytes(), true).is_none(),
                    evicts,
                    "gone already, if it has to"
                );
                Ok(())
            };
            let room = |_, _, _| Some(());
            if !evicts {
                hash.delete(&1u32.to_ne_bytes()).unwrap();
                hash.update(&1u32.to_ne_bytes(), 0, false, room, |_, _| Ok(())).unwrap();
            }
            let key = if evicts { ENTRIES } else { 2 };
            hash.update(&key.to_ne_bytes(), 0, false, room, write).unwrap();
            assert_eq!(looked, ENTRIES - 1);
            assert!(hash.lookup(&key.to_ne_bytes(), true).is_some());
            assert_eq!(hash.len(), ENTRIES);
        }
    }

    /// More uses than are noted at once: each of them counts all the same.
    #[test]
    fn uses_are_never_forgotten_while_nobody_writes() {
        let hash = filled(true);
        for key in (0..ENTRIES).rev().filter(|key| key % 3 != 0) {
            hash.lookup(&key.to_ne_bytes(), true).unwrap();
        }
        let keys = hash.keys().unwrap();
        let order: Vec<u32> = keys.as_chunks().0.iter().map(|key| u32::from_ne_bytes(*key)).collect();
        let unused = (0..ENTRIES).filter(|key| key % 3 == 0);
        assert_eq!(order, unused.chain((0..ENTRIES).rev().filter(|key| key % 3 != 0)).collect::<Vec<_>>());
    }

    /// All slots on the way to an entry go from its chain to another one and back, all the time; it is never missed.
    #[test]
    fn the_end_of_a_chain_that_is_led_astray_is_found() {
        use std::sync::atomic::{AtomicBool, Ordering};
        use std::thread;

        let hash = Hash::new(4, 62, false, 5, 6).unwrap();
        let in_bucket = |bucket: usize| -> Vec<[u8; 4]> {
            let is_there = |key: &[u8; 4]| hash.index.hash(&key[..]) & 63 == bucket;
            (0..u32::MAX).map(u32::to_ne_bytes).filter(is_there).take(12).collect()
        };
        let (own, other) = (in_bucket(0), in_bucket(1));
        let put = |key: &[u8]| hash.update(key, 0, false, |_, _, _| Some(()), |_, _| Ok(())).unwrap();
        own.iter().for_each(|key| put(key));
        // The first one that came is the last one of the chain.
        let (last, before) = own.split_first().unwrap();
        let slot = hash.lookup(last, true);
        assert!(slot.is_some());
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for glances in [false, true] {
                let (hash, done) = (&hash, &done);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let found = match glances {
                            false => hash.lookup(last, true),
                            true => hash.lookup_word(word(last)),
                        };
                        assert_eq!(found, slot);
                    }
                });
            }
            for _ in 0..2000 {
                for (own, other) in before.iter().zip(&other) {
                    hash.delete(own).unwrap();
                    put(other);
                    hash.delete(other).unwrap();
                    put(own);
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_slot_that_was_noted_and_freed_stays_free() {
        let hash = filled(true);
        let slot = hash.lookup(&7u32.to_ne_bytes(), false).unwrap();
        hash.delete(&7u32.to_ne_bytes()).unwrap();
        // A lookup that found it before, and notes it now.
        hash.notes.as_ref().unwrap().add(slot);
        assert_eq!(hash.keys().unwrap().len(), 4 * (ENTRIES as usize - 1));
        hash.update(&7u32.to_ne_bytes(), 0, false, |_, _, _| Some(()), |_, _| Ok(())).unwrap();
        assert_eq!(hash.lookup(&7u32.to_ne_bytes(), false), Some(slot));
        assert_eq!(hash.keys().unwrap().len(), 4 * ENTRIES as usize);
    }
}
