//! The part of a hash map that lookups read without the lock: buckets, chains of slots, keys.
//!
//! A bucket leads to a chain of slots, and counts its changes. Writers hold the map's lock; a lookup holds nothing and waits for nobody:
//!
//! * What a writer does to a chain is one store at a time, and after each of them the chain is whole: an entry comes in by the store that makes
//!   the chain lead to it, goes by the one that leads past it, and is replaced by the one that leads to another slot in its place. A writer that is stopped
//!   anywhere therefore hides no entry from a lookup.
//! * A slot that was taken out of a chain may be used again at once, in another chain and under another key, while a lookup stands on it.
//!   That is what the number of changes is for: it goes up when a slot has been taken out, before the slot is written to. A lookup that ends with
//!   the number it began with was on no such slot: what it says was so at some moment while it ran. Otherwise it begins again, which it does only
//!   when a writer has finished something in its very bucket meanwhile.
//! * When slots are added, so are buckets. First each new bucket leads into the middle of the chain that its entries are in, so that two chains share
//!   their ends and lookups pass entries of the other one; then the number of buckets is published; then chains that are shared are taken apart, link by
//!   link, each counted as a change. A lookup that knows the old number of buckets only, and finds nothing, looks at it again.
//!
//! Buckets and slots stand in chunks that never move and are never freed before the map, each as large as all before it together.

use alloc::boxed::Box;
use alloc::vec::Vec;

use spin::Once;

use super::order::*;
use crate::memory::{index, low};

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// Buckets, chains and keys.
#[derive(Debug)]
pub(super) struct Index {
    first: Once<Chunk>,
    /// The highest bucket's number: one less than a power of two; 0 before the first chunk.
    mask: Number,
    hasher: Hasher,
    /// The first chunk has `1 << first_bits` buckets.
    first_bits: u32,
    key_words: usize,
    /// Chunks after the first one.
    more: Box<[Once<Chunk>]>,
}

#[derive(Debug)]
struct Chunk {
    buckets: Box<[Bucket]>,
    /// The next slot of each slot's chain. Written by writers; read by anybody.
    links: Box<[Link]>,
    /// The keys, each of so many words. Written by writers, while the slot is in no chain; read by anybody.
    keys: Box<[Number]>,
}

#[derive(Debug)]
struct Bucket {
    /// How often a slot was taken out of the chain; written by writers. On a 32-bit machine a lookup that is stopped for exactly 2^32 of them is deceived.
    changes: Number,
    /// The chain's first slot; written by writers.
    first: Link,
}

/// A bucket has changed under a lookup.
#[derive(Debug)]
pub(super) struct Changed;

/// Where a slot is in its chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) slot: u32,
    before: u32,
    bucket: usize,
}

/// Slots of a chain that [`Index::glance`] goes through: more are rare.
const GLANCE: u32 = 2;

/// What a key is to the index.
pub(super) trait Key {
    /// Its words, the last one filled up.
    fn words(&self) -> impl Iterator<Item = usize>;
}

/// A key of no more bytes than a word has.
pub(super) struct OneWord(pub(super) usize);

impl Key for OneWord {
    #[inline(always)]
    fn words(&self) -> impl Iterator<Item = usize> {
        core::iter::once(self.0)
    }
}

impl Key for [u8] {
    #[inline(always)]
    fn words(&self) -> impl Iterator<Item = usize> {
        self.chunks(size_of::<usize>()).map(word)
    }
}

/// Up to a word of a key's bytes as a number. Those of four and eight are as programs load them.
#[inline(always)]
pub(super) fn word(piece: &[u8]) -> usize {
    if let Ok(bytes) = piece.try_into() {
        return usize::from_ne_bytes(bytes);
    }
    if let Ok(bytes) = <[u8; 4]>::try_from(piece) {
        return index(u32::from_ne_bytes(bytes));
    }
    piece.iter().rev().fold(0, |word, byte| word << 8 | usize::from(*byte))
}

/// A hash function, chosen by the seed.
#[derive(Debug)]
pub(super) struct Hasher {
    seed: u64,
    factor: u64,
    spread: u64,
}

/// Keys that differ in so many low bits only never share a bucket, while there are as many buckets: numbers are often dense.
const DENSE_BITS: u32 = 8;

impl Hasher {
    pub(super) fn new(seed: u64) -> Self {
        // The steps of SplitMix64: numbers that have little to do with each other, nor with those of the seeds next to this one.
        let number = |step: u64| {
            let mixed = seed.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ mixed >> 31
        };
        Self { seed: number(1), factor: number(2) | 1, spread: number(3) | 1 }
    }

    /// For each word a multiplication of it with itself, each time mixed with what is secret, and for the last one its low bits spread over the buckets.
    /// With one factor alone the product of keys that have a stride has one too.
    #[inline(always)]
    pub(super) fn hash(&self, mut words: impl Iterator<Item = usize>) -> usize {
        let product = |state: u64, word: u64| {
            u128::from(word ^ state).wrapping_mul(u128::from(word.rotate_left(32) ^ self.factor))
        };
        let mut state = self.seed;
        let mut last = words.next().unwrap_or(0) as u64;
        for word in words {
            let product = product(state, last);
            state = (low64(product) ^ low64(product >> 64)).wrapping_add(self.seed);
            last = word as u64;
        }
        let product = product(state, last >> DENSE_BITS);
        let mixed = low(low64(product >> 32)) ^ low(low64(product >> 64));
        let dense = (last ^ last >> (DENSE_BITS / 2)).wrapping_mul(self.spread);
        // There are no more than 2^32 buckets.
        index(mixed.wrapping_add(low(dense)))
    }
}

#[inline(always)]
fn low64(bits: u128) -> u64 {
    u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0)
}

impl Index {
    /// An empty one for keys of so many bytes. `None` when the allocator has no room.
    pub(super) fn new(key_size: u32, slots: u32, first_bits: u32, seed: u64) -> Option<Self> {
        let mut more = Vec::new();
        let chunks = chunks_after_first(slots, first_bits);
        more.try_reserve_exact(chunks).ok()?;
        more.resize_with(chunks, Once::new);
        Some(Self {
            first: Once::new(),
            mask: Number::new(0),
            hasher: Hasher::new(seed),
            first_bits,
            key_words: key_words(key_size),
            more: more.into_boxed_slice(),
        })
    }

    /// Bytes that an empty one for so many slots takes.
    pub(super) fn bytes(slots: u32, first_bits: u32) -> u64 {
        (chunks_after_first(slots, first_bits) as u64).saturating_mul(size_of::<Once<Chunk>>() as u64)
    }

    /// Bytes that so many slots with so many buckets take.
    pub(super) fn chunk_bytes(key_size: u32, slots: u32, buckets: u32) -> u64 {
        let key = (key_words(key_size) as u64).saturating_mul(size_of::<Number>() as u64);
        let each = key.saturating_add(size_of::<Link>() as u64);
        let buckets = u64::from(buckets).saturating_mul(size_of::<Bucket>() as u64);
        each.saturating_mul(u64::from(slots)).saturating_add(buckets)
    }

    #[inline(always)]
    pub(super) fn hash<K: Key + ?Sized>(&self, key: &K) -> usize {
        self.hasher.hash(key.words())
    }

    /// The slot of `key`, looked for once, without the lock.
    #[inline(always)]
    pub(super) fn look<K: Key + ?Sized>(&self, key: &K, hash: usize) -> Result<Option<u32>, Changed> {
        let mask = self.mask.load(BUCKETS);
        let Some(first) = self.first.get() else { return Ok(None) };
        let bucket = match first.buckets.get(hash & mask) {
            Some(bucket) => bucket,
            None => self.bucket(hash & mask).ok_or(Changed)?,
        };
        let changes = bucket.changes.load(BEGIN);
        let is_unchanged = || !LOOK_AGAIN.is_taken() || bucket.changes.load(RECHECK) == changes;
        let mut slot = bucket.first.load(LINK);
        // There are no more slots than buckets: who goes farther is on a chain that is taken apart.
        for _ in 0..=mask {
            if slot == NONE {
                break;
            }
            let (chunk, place) = self.place(first, slot).ok_or(Changed)?;
            if self.has(chunk, place, key, KEY) {
                fence(FENCE_COMPARED);
                return if is_unchanged() { Ok(Some(slot)) } else { Err(Changed) };
            }
            slot = chunk.links.get(place).ok_or(Changed)?.load(LINK);
            if !is_unchanged() {
                return Err(Changed);
            }
        }
        fence(FENCE_COMPARED);
        let is_all = !COUNT_BUCKETS_AGAIN.is_taken() || self.mask.load(RECHECK) == mask;
        if slot == NONE && is_unchanged() && is_all { Ok(None) } else { Err(Changed) }
    }

    /// [`look`](Self::look) for a key of one word that is among the first in its chain, or in none, and in the first chunk. Otherwise it has not been
    /// looked for to the end.
    #[inline(always)]
    pub(super) fn glance(&self, key: usize, hash: usize) -> Result<Option<u32>, Changed> {
        let mask = self.mask.load(BUCKETS);
        let first = self.first.get().ok_or(Changed)?;
        let bucket = first.buckets.get(hash & mask).ok_or(Changed)?;
        let changes = bucket.changes.load(BEGIN);
        let is_unchanged = || !LOOK_AGAIN.is_taken() || bucket.changes.load(RECHECK) == changes;
        let mut slot = bucket.first.load(LINK);
        for _ in 0..GLANCE {
            let Some(known) = first.keys.get(index(slot)) else { break };
            if known.load(KEY) == key {
                fence(FENCE_COMPARED);
                return if is_unchanged() { Ok(Some(slot)) } else { Err(Changed) };
            }
            slot = first.links.get(index(slot)).ok_or(Changed)?.load(LINK);
        }
        fence(FENCE_COMPARED);
        let is_all = !COUNT_BUCKETS_AGAIN.is_taken() || self.mask.load(RECHECK) == mask;
        if slot == NONE && is_unchanged() && is_all { Ok(None) } else { Err(Changed) }
    }

    #[inline(always)]
    fn has<K: Key + ?Sized>(&self, chunk: &Chunk, place: usize, key: &K, order: Order) -> bool {
        let mut words = key.words();
        if self.key_words == 1 {
            let word = words.next();
            return chunk.keys.get(place).map(|known| known.load(order)) == word;
        }
        let Some(start) = place.checked_mul(self.key_words) else { return false };
        let Some(known) = chunk.keys.get(start..).and_then(|keys| keys.get(..self.key_words)) else {
            return false;
        };
        known.iter().map(|known| known.load(order)).eq(words)
    }

    /// Where a slot stands.
    #[inline(always)]
    fn place<'i>(&'i self, first: &'i Chunk, slot: u32) -> Option<(&'i Chunk, usize)> {
        let place = index(slot);
        if place < first.links.len() { Some((first, place)) } else { self.place_elsewhere(place) }
    }

    fn place_elsewhere(&self, place: usize) -> Option<(&Chunk, usize)> {
        let bits = (place >> self.first_bits).checked_ilog2()?;
        let start = 1usize.unbounded_shl(bits.wrapping_add(self.first_bits));
        Some((self.more.get(index(bits))?.get()?, place.wrapping_sub(start)))
    }

    fn bucket(&self, number: usize) -> Option<&Bucket> {
        match self.first.get()?.buckets.get(number) {
            Some(bucket) => Some(bucket),
            None => {
                let (chunk, place) = self.place_elsewhere(number)?;
                chunk.buckets.get(place)
            }
        }
    }
}

/// The writers' side: whoever calls these holds the lock.
impl Index {
    /// Where `key` is.
    pub(super) fn find<K: Key + ?Sized>(&self, key: &K, hash: usize) -> Option<Found> {
        let first = self.first.get()?;
        self.seek(hash, |slot| {
            self.place(first, slot).is_some_and(|(chunk, place)| self.has(chunk, place, key, OWN))
        })
    }

    /// Where a slot is that is in a chain.
    pub(super) fn find_slot(&self, slot: u32) -> Option<Found> {
        self.seek(self.hash_at(slot), |other| other == slot)
    }

    fn seek(&self, hash: usize, is_it: impl Fn(u32) -> bool) -> Option<Found> {
        let number = hash & self.mask.load(OWN);
        let mut found = Found { slot: self.bucket(number)?.first.load(OWN), before: NONE, bucket: number };
        while found.slot != NONE {
            if is_it(found.slot) {
                return Some(found);
            }
            found = Found { slot: self.next(found.slot), before: found.slot, bucket: number };
        }
        None
    }

    /// The words of a slot's key.
    fn key_at(&self, slot: u32) -> &[Number] {
        let range = |(chunk, place): (&'_ Chunk, usize)| {
            let start = place.checked_mul(self.key_words)?;
            Some(start..start.checked_add(self.key_words)?).filter(|range| range.end <= chunk.keys.len())
        };
        let placed = self.first.get().and_then(|first| self.place(first, slot));
        placed.and_then(|placed| placed.0.keys.get(range(placed)?)).unwrap_or_default()
    }

    fn hash_at(&self, slot: u32) -> usize {
        self.hasher.hash(self.key_at(slot).iter().map(|word| word.load(OWN)))
    }

    /// The bytes of a slot's key, appended by `push`.
    pub(super) fn read_key(&self, slot: u32, key_size: usize, mut push: impl FnMut(&[u8])) {
        let mut left = key_size;
        for word in self.key_at(slot) {
            let word = word.load(OWN);
            let length = left.min(size_of::<usize>());
            let mut bytes = [0; size_of::<usize>()];
            unword(word, bytes.get_mut(..length).unwrap_or_default());
            push(bytes.get(..length).unwrap_or_default());
            left = left.saturating_sub(length);
        }
    }

    /// Gives a slot that is in no chain its key.
    pub(super) fn write_key<K: Key + ?Sized>(&self, slot: u32, key: &K) {
        for (place, word) in self.key_at(slot).iter().zip(key.words()) {
            place.store(word, KEY);
        }
    }

    /// Puts a slot with its key written at the front of its chain.
    pub(super) fn insert(&self, slot: u32, hash: usize) {
        let number = hash & self.mask.load(OWN);
        let (Some(bucket), Some(link)) = (self.bucket(number), self.link(slot)) else { return };
        link.store(bucket.first.load(OWN), OWN);
        bucket.first.store(slot, LINK_SET);
    }

    /// Puts a slot with the same key in the place of another one, which is free then.
    pub(super) fn replace(&self, found: Found, slot: u32) {
        let Some(link) = self.link(slot) else { return };
        link.store(self.next(found.slot), OWN);
        self.lead(found, slot, COUNT_REPLACEMENT);
    }

    /// Takes a slot out of its chain; it is free then.
    pub(super) fn remove(&self, found: Found) {
        self.lead(found, self.next(found.slot), COUNT_REMOVAL);
    }

    fn lead(&self, found: Found, slot: u32, count: Step) {
        let Some(bucket) = self.bucket(found.bucket) else { return };
        let place = if found.before == NONE { Some(&bucket.first) } else { self.link(found.before) };
        if let Some(place) = place {
            place.store(slot, LINK_SET);
        }
        if count.is_taken() {
            bucket.count_change();
        }
    }

    fn link(&self, slot: u32) -> Option<&Link> {
        let (chunk, place) = self.place(self.first.get()?, slot)?;
        chunk.links.get(place)
    }

    fn next(&self, slot: u32) -> u32 {
        self.link(slot).map_or(NONE, |link| link.load(OWN))
    }

    /// Slots that the chunk which begins at `slot` has; 0 where none begins.
    pub(super) fn chunk_slots(&self, slot: u32) -> u32 {
        match slot {
            0 => 1 << self.first_bits,
            slot if slot.is_power_of_two() && slot >= 1 << self.first_bits => slot,
            _ => 0,
        }
    }

    /// Adds a chunk of `more` slots, and as many buckets as a whole chunk has. `None` when the allocator has no room.
    pub(super) fn grow(&self, slots: u32, more: u32) -> Option<()> {
        let buckets = index(self.chunk_slots(slots));
        let chunk = Chunk {
            buckets: boxed(buckets, || Bucket { changes: Number::new(0), first: Link::new(NONE) })?,
            links: boxed(index(more), || Link::new(NONE))?,
            keys: boxed(index(more).checked_mul(self.key_words)?, || Number::new(0))?,
        };
        if slots == 0 {
            self.first.call_once(|| chunk);
            self.mask.store(buckets.wrapping_sub(1), BUCKETS_ADD);
            return Some(());
        }
        let bits = (slots >> self.first_bits).checked_ilog2()?;
        let chunk = self.more.get(index(bits))?.call_once(|| chunk);
        // Each new bucket leads to the first of its entries in the chain where they are.
        for (number, child) in chunk.buckets.iter().enumerate() {
            let mut slot = self.bucket(number)?.first.load(OWN);
            while slot != NONE && self.hash_at(slot) & buckets == 0 {
                slot = self.next(slot);
            }
            child.first.store(slot, OWN);
        }
        self.mask.store(buckets.wrapping_add(buckets).wrapping_sub(1), BUCKETS_ADD);
        for (number, child) in chunk.buckets.iter().enumerate() {
            self.take_apart([self.bucket(number)?, child], buckets)?;
        }
        Some(())
    }

    /// Makes two of a chain that two buckets share: those with `bit` in their hash, and those without. It is made of runs of one kind; the link at the
    /// end of a run is set past the run of the other kind, from the front on. A run is no more on the way of the other kind's lookups when its
    /// own end is set, but of those that were on it before: therefore each step is counted.
    fn take_apart(&self, sides: [&Bucket; 2], bit: usize) -> Option<()> {
        let side = |slot: u32| usize::from(self.hash_at(slot) & bit != 0);
        let mut ends = sides.map(|bucket| &bucket.first);
        let set = |end: &Link, slot: u32, bucket: &Bucket| {
            if end.load(OWN) != slot {
                end.store(slot, LINK_SET);
                if COUNT_SPLIT.is_taken() {
                    bucket.count_change();
                }
            }
        };
        let mut slot = sides[0].first.load(OWN);
        while slot != NONE {
            let own = side(slot);
            set(ends.get(own)?, slot, sides.get(own)?);
            let mut next = self.next(slot);
            while next != NONE && side(next) == own {
                slot = next;
                next = self.next(slot);
            }
            *ends.get_mut(own)? = self.link(slot)?;
            slot = next;
        }
        for (end, bucket) in ends.into_iter().zip(sides) {
            set(end, NONE, bucket);
        }
        Some(())
    }
}

impl Bucket {
    fn count_change(&self) {
        self.changes.store(self.changes.load(OWN).wrapping_add(1), CHANGE);
    }
}

fn boxed<T>(length: usize, make: impl FnMut() -> T) -> Option<Box<[T]>> {
    let mut all = Vec::new();
    all.try_reserve_exact(length).ok()?;
    all.resize_with(length, make);
    Some(all.into_boxed_slice())
}

fn key_words(key_size: u32) -> usize {
    index(key_size).div_ceil(size_of::<usize>())
}

fn chunks_after_first(slots: u32, first_bits: u32) -> usize {
    let bits = (slots.saturating_sub(1) >> first_bits).checked_ilog2();
    bits.map_or(0, |bits| index(bits).saturating_add(1))
}

/// The bytes that [`word`] made a number of.
fn unword(word: usize, out: &mut [u8]) {
    if let Ok(out) = <&mut [u8; size_of::<usize>()]>::try_from(&mut *out) {
        *out = word.to_ne_bytes();
        return;
    }
    if let Ok(out) = <&mut [u8; 4]>::try_from(&mut *out) {
        *out = u32::try_from(word).unwrap_or(0).to_ne_bytes();
        return;
    }
    for (byte, from) in out.iter_mut().zip(word.to_le_bytes()) {
        *byte = from;
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::indexing_slicing,
        reason = "tests"
    )]

    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn words_and_bytes_are_the_same_key() {
        for length in 1..=size_of::<usize>() {
            let bytes: Vec<u8> = (1..).take(length).collect();
            let mut back = vec![0; length];
            unword(word(&bytes), &mut back);
            assert_eq!(back, bytes);
        }
        assert_eq!(word(&7u32.to_ne_bytes()), 7);
        assert_eq!(word(&7usize.to_ne_bytes()), 7);
    }

    /// Keys as they occur: none of them may be bad for many seeds.
    #[test]
    fn keys_that_look_alike_are_spread() {
        const KEYS: u64 = 1024;
        let mut patterns: Vec<Vec<u64>> =
            (0..24).map(|shift| (0..KEYS).map(|key| key << shift).collect()).collect();
        // Addresses of a network, the first byte lowest; and of objects of 192 bytes.
        patterns.push((0..KEYS).map(|key| u64::from((0x0a00_0000 + key as u32).swap_bytes())).collect());
        patterns.push((0..KEYS).map(|key| 0xffff_8881_0000_0000 + key * 192).collect());
        let (mut longest, mut total, mut tables) = (0, 0, 0u64);
        for seed in 0..40 {
            let hasher = Hasher::new(seed);
            for keys in &patterns {
                let mut chains = vec![0u64; 2 * KEYS as usize];
                for key in keys {
                    chains[hasher.hash(key.to_ne_bytes().words()) % (2 * KEYS as usize)] += 1;
                }
                let steps: u64 = chains.iter().map(|length| length * (length + 1) / 2).sum();
                assert!(steps < KEYS * 2, "seed {seed}: {steps} steps for {KEYS} keys {:x?}...", &keys[..3]);
                longest = longest.max(chains.into_iter().max().unwrap_or(0));
                total += steps;
                tables += 1;
            }
        }
        // A function chosen at random gives 1.25 steps, and chains of 5 or 6 in a table like these.
        assert!(longest <= 9, "{longest}");
        assert!(total * 100 < tables * KEYS * 127, "{total} steps in {tables} tables");
    }

    /// As in a table that is still small, whose keys have a stride.
    #[test]
    fn few_keys_are_spread() {
        for shift in 0..24 {
            let mut steps = 0u64;
            for seed in 0..200 {
                let hasher = Hasher::new(seed);
                let mut chains = [0u64; 32];
                for key in 0..16u32 {
                    chains[hasher.hash((key << shift).to_ne_bytes().words()) % 32] += 1;
                }
                steps += chains.iter().map(|length| length * (length + 1) / 2).sum::<u64>();
            }
            // 1.25 for a function chosen at random.
            assert!(steps < 200 * 16 * 3 / 2, "stride {}: {steps}", 1 << shift);
        }
    }
}
