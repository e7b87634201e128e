//! What regions other than the stack and the context stand for.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::OnceCell;

use super::index;
use super::region::{Region, SLOT_MASK};
use crate::MAX_PROGRAM_MAPS;
use crate::maps::VmMap;
use crate::maps::area::{Area, Shape, Words, shift};
use crate::maps::hash::Hash;
use crate::ring::RingReservation;

/// One of a program's maps, with what every access asks of it close at hand.
#[derive(Debug)]
pub(crate) struct MapSlot {
    pub(super) region: u32,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(super) shape: Option<Shape>,
    /// The values, where all of them are at hand and have no padding.
    flat: Option<Arc<Words>>,
    /// Entries of an array whose elements programs look up by a 32-bit index; 0 for other kinds.
    pub(super) elements: u32,
    /// The table of a hash map whose keys are words.
    pub(super) words: Option<Arc<Hash>>,
    pub(crate) map: VmMap,
}

impl MapSlot {
    pub(crate) fn new(slot: usize, map: VmMap) -> Self {
        let slot = u32::try_from(slot).unwrap_or(SLOT_MASK);
        let region = Region::Map { slot, id: map.id() }.number();
        let (readable, writable) = (map.programs_read(), map.programs_write());
        let (shape, flat) = (map.area().map(Area::shape), map.area().and_then(Area::flat));
        let (elements, words) = (map.elements(), map.words());
        Self { region, readable, writable, shape, flat, elements, words, map }
    }

    /// The address of a value.
    #[inline(always)]
    pub(crate) fn address(&self, offset: u32) -> u64 {
        u64::from(self.region) << 32 | u64::from(offset)
    }

    /// Where `N` bytes at `offset` are, when they are wholly inside one value.
    #[inline(always)]
    pub(super) fn place<const N: usize>(&self, offset: u32) -> Option<(&Words, usize)> {
        if let (Some(words), Some(_)) = (&self.flat, shift::<N>(index(offset))) {
            return Some((words, index(offset)));
        }
        self.place_in_value::<N>(offset)
    }

    /// The same where values have padding, or stand in pieces. Out of line: it is much, and every access of the interpreter would have it.
    #[inline(never)]
    fn place_in_value<const N: usize>(&self, offset: u32) -> Option<(&Words, usize)> {
        let shape = self.shape.as_ref()?;
        if !shape.holds(offset, N) {
            return None;
        }
        self.map.area()?.at(shape, offset)
    }
}

/// A place for a reservation, with the serial that its region carries.
pub(crate) type ReservationSlot<'run> = Option<(u32, RingReservation<'run>)>;

/// Maps that a run has found in maps. Made when there is a first one; what is in it stays as long as the run.
#[derive(Debug, Default)]
pub(crate) struct Acquired(pub(super) OnceCell<Box<[OnceCell<MapSlot>; MAX_PROGRAM_MAPS]>>);

impl Acquired {
    /// The end of a run. Most have nothing to clear up, and to look is cheaper than to call what would.
    #[inline(always)]
    pub(crate) fn end(self) {
        if self.0.get().is_none() {
            core::mem::forget(self);
        }
    }
}

/// Something that a helper made for a callback to look at.
pub(super) struct Shown {
    pub(super) region: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) writable: bool,
}
