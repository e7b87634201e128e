//! The ring's memory as the model checker sees it; only under `cfg(loom)`.
//!
//! The algorithms run on it unchanged. Crates that use the ring can model themselves together with it: build a [`Modelled`] inside
//! [`loom::model`], hand a clone to each side, and spawn every role on a thread of its own (the creating thread has seen all initial values, and
//! loom would hide stale ones from it).
//!
//! `tests/downstream.rs` of this crate is an example of that, outcome set and seeded mistake included.
//!
//! The environment variable `EBPF_RINGBUF_MUTANT` names a site of [`sites`](crate::sites) whose ordering is weakened to relaxed, or whose fence is left out:
//! a set of models is worth something when each of them turns one of the models red.

#![allow(
    unsafe_code,
    reason = "loom's cells give raw pointers, so that it sees every access; it reports the races that would make one unsound"
)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "a model that goes wrong should panic"
)]

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::vec::Vec;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{self, AtomicU32, AtomicU64, AtomicUsize};

use crate::header::{DISCARD_BIT, HEADER_SIZE, MAX_PAYLOAD};
use crate::memory::{Claim, Extent, Length, Marks, Memory, Position, Private, Publication, Racy};
use crate::{Geometry, Header, Order, sites};

/// One ring, shared by its clones.
#[derive(Clone, Debug)]
pub struct Modelled(Arc<Ring>);

#[derive(Debug)]
struct Ring {
    geometry: Geometry,
    consumer: Word,
    producer: Word,
    pending: Word,
    overwrite: Word,
    private: Private<Word>,
    reserve: Word,
    marks: Vec<Word>,
    slots: Vec<Slot>,
}

/// Eight bytes of the data area. What is a header in one lap is payload in another: two objects of the model stand for the same bytes, and each
/// kind of access keeps up the other one.
#[derive(Debug)]
struct Slot {
    length: LengthWord,
    bytes: UnsafeCell<[u8; HEADER_SIZE]>,
    /// What a reader of an overwriting ring may look at while it is written.
    racy: AtomicU64,
}

/// What a slot's length word reads as after payload was written over it: a discarded record longer than any ring, so that using it shows.
const STALE: u32 = DISCARD_BIT | (MAX_PAYLOAD as u32);

impl Modelled {
    /// An empty ring whose positions all stand at `start`, a multiple of eight.
    #[must_use]
    pub fn new(geometry: Geometry, start: usize) -> Self {
        let slots = geometry.size() / HEADER_SIZE;
        Self(Arc::new(Ring {
            geometry,
            consumer: Word::new(start),
            producer: Word::new(start),
            pending: Word::new(start),
            overwrite: Word::new(start),
            private: Private::new(|| Word::new(0)),
            reserve: Word::new(start),
            marks: (0..slots.div_ceil(MARKS_PER_WORD)).map(|_| Word::new(0)).collect(),
            slots: (0..slots).map(|_| Slot::new()).collect(),
        }))
    }

    fn slot(&self, position: usize) -> &Slot {
        &self.0.slots[self.0.geometry.offset(position) / HEADER_SIZE]
    }
}

impl Memory for Modelled {
    type Position = Word;
    type Length = LengthWord;
    type Area<'m> = &'m Self;

    fn geometry(&self) -> Geometry {
        self.0.geometry
    }

    fn consumer_position(&self) -> &Word {
        &self.0.consumer
    }

    fn producer_position(&self) -> &Word {
        &self.0.producer
    }

    fn pending_position(&self) -> &Word {
        &self.0.pending
    }

    fn overwrite_position(&self) -> &Word {
        &self.0.overwrite
    }

    fn private(&self) -> &Private<Word> {
        &self.0.private
    }

    fn area(&self) -> &Self {
        self
    }

    fn length(&self, position: usize) -> &LengthWord {
        &self.slot(position).length
    }

    fn initialise(&self, claim: &mut Claim, header: Header) {
        let slot = self.slot(claim.position());
        // The second header word: written by the owner alone, so the model checker sees a race if there are two.
        // SAFETY: loom checks that nobody else accesses the cell.
        slot.bytes.with_mut(|bytes| unsafe { *bytes = header.to_bytes() });
        slot.length.store(header.length_word(), sites::HEADER_INIT);
    }

    fn write(&self, claim: &mut Claim, offset: usize, bytes: &[u8]) {
        assert!(offset.is_multiple_of(HEADER_SIZE), "models write whole slots");
        for (index, chunk) in bytes.chunks(HEADER_SIZE).enumerate() {
            let slot = self.slot(claim.position().wrapping_add(HEADER_SIZE + offset + index * HEADER_SIZE));
            // SAFETY: loom checks that nobody else accesses the cell.
            slot.bytes.with_mut(|bytes| unsafe { &mut *bytes }[..chunk.len()].copy_from_slice(chunk));
            slot.length.0.store(STALE, Ordering::Relaxed);
            if self.0.geometry.overwrites() {
                let mut word = [0; HEADER_SIZE];
                word[..chunk.len()].copy_from_slice(chunk);
                slot.racy.store(u64::from_ne_bytes(word), Ordering::Relaxed);
            }
        }
    }

    fn read(&self, extent: &Extent, offset: usize, bytes: &mut [u8]) {
        assert!(offset.is_multiple_of(HEADER_SIZE), "models read whole slots");
        for (index, chunk) in bytes.chunks_mut(HEADER_SIZE).enumerate() {
            let slot = self.slot(extent.position().wrapping_add(HEADER_SIZE + offset + index * HEADER_SIZE));
            // SAFETY: loom checks that nobody writes the cell.
            slot.bytes.with(|bytes| chunk.copy_from_slice(&unsafe { &*bytes }[..chunk.len()]));
        }
    }

    fn fence(&self, order: Order) {
        if !is_mutant(order) {
            atomic::fence(order.ordering());
        }
    }

    fn fence_after_swap(&self, order: Order) {
        self.fence(order);
    }
}

impl Racy for Modelled {
    fn copy(&self, position: usize, bytes: &mut [u8]) {
        for (index, chunk) in bytes.chunks_mut(HEADER_SIZE).enumerate() {
            let slot = self.slot(position.wrapping_add(HEADER_SIZE + index * HEADER_SIZE));
            chunk.copy_from_slice(&slot.racy.load(Ordering::Relaxed).to_ne_bytes()[..chunk.len()]);
        }
    }
}

impl Publication for Modelled {
    type Position = Word;
    type Marks = Word;

    fn reserve_position(&self) -> &Word {
        &self.0.reserve
    }

    fn mark(&self, slot: usize) -> (&Word, usize) {
        (&self.0.marks[slot / MARKS_PER_WORD], 1 << (slot % MARKS_PER_WORD))
    }

    fn slots(&self) -> usize {
        self.0.slots.len()
    }

    /// Time does not pass in a model: whoever made way would begin again, as after a compare-exchange that failed for no reason.
    fn spins(&self) -> u32 {
        0
    }
}

/// Few marks in a word, so that models of small rings meet more than one word.
const MARKS_PER_WORD: usize = 4;

/// A position or a word of marks.
#[derive(Debug)]
pub struct Word(AtomicUsize);

impl Word {
    fn new(value: usize) -> Self {
        Self(AtomicUsize::new(value))
    }
}

impl Position for Word {
    fn load(&self, order: Order) -> usize {
        self.0.load(effective(order))
    }

    fn load_for_update(&self, order: Order) -> usize {
        // A load that is followed by a compare-exchange of the same thread hides other threads' accesses from loom's search (tokio-rs/loom#166).
        self.0.fetch_add(0, effective(order))
    }

    fn store(&self, value: usize, order: Order) {
        self.0.store(value, effective(order));
    }

    fn fetch_add(&self, value: usize, order: Order) -> usize {
        self.0.fetch_add(value, effective(order))
    }

    fn compare_exchange_weak(&self, current: usize, new: usize, order: Order) -> Result<usize, usize> {
        self.0.compare_exchange(current, new, effective(order), Ordering::Relaxed)
    }
}

impl Marks for Word {
    fn load(&self, order: Order) -> usize {
        self.0.load(effective(order))
    }

    fn fetch_or(&self, bits: usize, order: Order) -> usize {
        self.0.fetch_or(bits, effective(order))
    }

    fn fetch_and(&self, bits: usize, order: Order) -> usize {
        self.0.fetch_and(bits, effective(order))
    }
}

/// The first word of a header.
#[derive(Debug)]
pub struct LengthWord(AtomicU32);

impl Length for LengthWord {
    fn load(&self, order: Order) -> u32 {
        self.0.load(effective(order))
    }

    fn store(&self, value: u32, order: Order) {
        self.0.store(value, effective(order));
    }

    fn swap(&self, value: u32, order: Order) -> u32 {
        self.0.swap(value, effective(order))
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            length: LengthWord(AtomicU32::new(STALE)),
            bytes: UnsafeCell::new([0; HEADER_SIZE]),
            racy: AtomicU64::new(0),
        }
    }
}

fn effective(order: Order) -> Ordering {
    if is_mutant(order) { Ordering::Relaxed } else { order.ordering() }
}

fn is_mutant(order: Order) -> bool {
    static MUTANT: OnceLock<Option<std::string::String>> = OnceLock::new();
    MUTANT.get_or_init(|| std::env::var("EBPF_RINGBUF_MUTANT").ok()).as_deref() == Some(order.site())
}
