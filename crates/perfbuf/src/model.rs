//! The rings' memory as the model checker sees it; only under `cfg(loom)`.
//!
//! The algorithms run on it unchanged. Crates that use the rings can model themselves together with them: build a [`Modelled`] inside [`loom::model`], hand a
//! clone to each side, and spawn every role on a thread of its own (the creating thread has seen all initial values, and loom would hide stale ones from it).
//!
//! The environment variable `EBPF_PERFBUF_MUTANT` names a site of [`sites`](crate::sites) whose ordering is weakened to relaxed, or whose fence is left out;
//! with `-acquire` or `-release` behind it, only that half of an ordering that has both goes. A set of models is worth something when each of them turns one of the models red.

#![allow(
    unsafe_code,
    reason = "loom's cells give raw pointers, so that it sees every access; it reports the races that would make one unsound"
)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a model that goes wrong should panic"
)]

use std::string::String;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::vec::Vec;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{self, AtomicU32, AtomicUsize};

use crate::memory::{Claim, Extent, Memory, Position, Racy};
use crate::{Direction, Geometry, Order};

/// One ring, shared by its clones.
#[derive(Clone, Debug)]
pub struct Modelled(Arc<Ring>);

#[derive(Debug)]
struct Ring {
    geometry: Geometry,
    head: Word,
    tail: Word,
    /// The data of a ring that is written forward: who touches it when another one may is found out.
    cells: Vec<UnsafeCell<[u8; UNIT]>>,
    /// The data of a ring that overwrites: races are allowed, and what they do to readers is looked at.
    racy: Vec<AtomicU32>,
}

/// Headers, raw sizes and payloads all begin on multiples of this; models write payloads of such lengths.
const UNIT: usize = 4;

impl Modelled {
    /// An empty ring whose head and tail stand at `start`, a multiple of eight.
    #[must_use]
    pub fn new(geometry: Geometry, start: usize) -> Self {
        let units = geometry.size() / UNIT;
        let (cells, racy) = match geometry.direction() {
            Direction::Forward => (units, 0),
            Direction::Backward => (0, units),
        };
        Self(Arc::new(Ring {
            geometry,
            head: Word::new(start),
            tail: Word::new(start),
            cells: (0..cells).map(|_| UnsafeCell::new([0; UNIT])).collect(),
            racy: (0..racy).map(|_| AtomicU32::new(0)).collect(),
        }))
    }

    fn index(&self, position: usize, unit: usize) -> usize {
        assert!(position.is_multiple_of(UNIT), "models write and read whole units");
        self.0.geometry.offset(position.wrapping_add(unit * UNIT)) / UNIT
    }
}

impl Memory for Modelled {
    type Position = Word;

    fn geometry(&self) -> Geometry {
        self.0.geometry
    }

    fn head(&self) -> &Word {
        &self.0.head
    }

    fn tail(&self) -> &Word {
        &self.0.tail
    }

    fn write(&self, claim: &mut Claim, offset: usize, bytes: &[u8]) {
        assert!(bytes.len().is_multiple_of(UNIT) && offset + bytes.len() <= claim.length());
        for (unit, chunk) in bytes.chunks(UNIT).enumerate() {
            let index = self.index(claim.position().wrapping_add(offset), unit);
            if self.0.geometry.direction() == Direction::Backward {
                let word = u32::from_ne_bytes(chunk.try_into().unwrap_or_default());
                self.0.racy[index].store(word, Ordering::Relaxed);
            } else {
                // SAFETY: loom checks that nobody else accesses the cell.
                self.0.cells[index].with_mut(|cell| unsafe { &mut *cell }.copy_from_slice(chunk));
            }
        }
    }

    fn read(&self, extent: &Extent, offset: usize, bytes: &mut [u8]) {
        assert!(offset + bytes.len() <= extent.length());
        for (unit, chunk) in bytes.chunks_mut(UNIT).enumerate() {
            let index = self.index(extent.position().wrapping_add(offset), unit);
            // SAFETY: loom checks that nobody writes the cell.
            self.0.cells[index].with(|cell| chunk.copy_from_slice(&unsafe { &*cell }[..chunk.len()]));
        }
    }

    fn header(&self, extent: &Extent) -> u64 {
        let mut bytes = [0; 8];
        self.read(&Extent::new(extent.position(), bytes.len()), 0, &mut bytes);
        u64::from_ne_bytes(bytes)
    }

    fn raw_size(&self, extent: &Extent) -> u32 {
        let mut bytes = [0; 4];
        self.read(extent, 8, &mut bytes);
        u32::from_ne_bytes(bytes)
    }

    fn fence(&self, order: Order) {
        if !is_mutant(order) {
            atomic::fence(order.ordering());
        }
    }
}

impl Racy for Modelled {
    fn copy(&self, position: usize, bytes: &mut [u8]) {
        for (unit, chunk) in bytes.chunks_mut(UNIT).enumerate() {
            let word = self.0.racy[self.index(position, unit)].load(Ordering::Relaxed).to_ne_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// A position, or another word that threads share.
#[derive(Debug)]
pub struct Word(AtomicUsize);

impl Word {
    /// With this value.
    #[must_use]
    pub fn new(value: usize) -> Self {
        Self(AtomicUsize::new(value))
    }
}

impl Position for Word {
    fn load(&self, order: Order) -> usize {
        self.0.load(effective(order))
    }

    fn store(&self, value: usize, order: Order) {
        self.0.store(value, effective(order));
    }

    fn swap(&self, value: usize, order: Order) -> usize {
        self.0.swap(value, effective(order))
    }

    fn fetch_add(&self, value: usize, order: Order) -> usize {
        self.0.fetch_add(value, effective(order))
    }
}

fn effective(order: Order) -> Ordering {
    match mutant().strip_prefix(order.site()) {
        Some("") => Ordering::Relaxed,
        Some("-acquire") => Ordering::Release,
        Some("-release") => Ordering::Acquire,
        _ => order.ordering(),
    }
}

fn is_mutant(order: Order) -> bool {
    mutant() == order.site()
}

fn mutant() -> &'static str {
    static MUTANT: OnceLock<String> = OnceLock::new();
    MUTANT.get_or_init(|| std::env::var("EBPF_PERFBUF_MUTANT").unwrap_or_default())
}
