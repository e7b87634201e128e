//! What a run can address, and the check that every access passes.
//!
//! A program never sees a real address. The high half of a pointer is a region's number, the low half an offset into it:
//!
//! | region | what it is | bytes |
//! |---|---|---|
//! | `0` | nothing: null, and null plus anything | 0 |
//! | `1` | the context | what the caller gave |
//! | `2` to `9` | the stack frames | 512 each |
//! | `0x1…` | the values of a map | one value at a time |
//! | `0x2…` | a ring reservation, while it lives | as reserved |
//! | `0x3…` | a map itself, for helpers | 0 |
//! | `0x4…` | a function, for helpers that call back | 0 |
//! | `0x5…` | what a helper shows a callback: a key, a sample | its bytes |
//!
//! Numbers of maps and reservations hold a serial besides their position, so that what is gone stays gone: the region of
//! a committed reservation is no other reservation's, and a pointer that another program left in a map is no pointer here.
//! Maps found in maps while the program runs get positions behind those of the program's own, for as long as it runs.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::OnceCell;

use self::region::{FRAMES, SLOT_MASK};
use self::slots::Shown;
use crate::error::FaultKind;
use crate::maps::VmMap;
use crate::maps::area::{Area, widen};
use crate::ring::{Books, RingMap, RingReservation, Window};
use crate::{MAX_PROGRAM_MAPS, STACK_FRAME_SIZE};

mod access;
mod bytes;
mod region;
mod slots;

pub(crate) use self::bytes::{Scratch, clear, copy, high, index, low, zeroes};
pub(crate) use self::region::{CONTEXT, Region, describe};
pub(crate) use self::slots::{Acquired, MapSlot, ReservationSlot};

/// All that one run can address.
pub(crate) struct Memory<'m, 'run> {
    stack: &'m mut [[u8; STACK_FRAME_SIZE]],
    context: &'m mut [u8],
    maps: &'run [MapSlot],
    acquired: &'run Acquired,
    reservations: &'m mut [ReservationSlot<'run>],
    shown: Vec<Shown>,
    live: u32,
    serial: u32,
    pub(crate) books: Books<'run>,
    window: Window<'run>,
}

impl<'m, 'run> Memory<'m, 'run> {
    pub(crate) fn new(
        stack: &'m mut [[u8; STACK_FRAME_SIZE]],
        context: &'m mut [u8],
        maps: &'run [MapSlot],
        acquired: &'run Acquired,
        reservations: &'m mut [ReservationSlot<'run>],
    ) -> Self {
        Self {
            stack,
            context,
            maps,
            acquired,
            reservations,
            shown: Vec::new(),
            live: 0,
            serial: 0,
            books: Books::default(),
            window: Window::CLOSED,
        }
    }

    /// The context, for a program that this one calls.
    pub(crate) fn context(&mut self) -> &mut [u8] {
        self.context
    }

    /// The frame pointer of a frame: the end of its stack.
    #[inline(always)]
    pub(crate) fn frame_pointer(frame: usize) -> u64 {
        // `frame` is below `MAX_CALL_FRAMES`, whose regions follow the context's.
        ((frame as u64).wrapping_add(u64::from(FRAMES))) << 32 | STACK_FRAME_SIZE as u64
    }

    /// The map that a helper's argument names.
    #[inline]
    pub(crate) fn handle(&self, value: u64) -> Option<&'run MapSlot> {
        let slot = high(value) & SLOT_MASK;
        if value != Region::Handle(slot).address(0) {
            return None;
        }
        let maps = self.maps;
        maps.get(index(slot)).or_else(|| self.found(slot))
    }

    /// The same, if the map is one of the program's own.
    #[inline(always)]
    pub(crate) fn own_handle(&self, value: u64) -> Option<&'run MapSlot> {
        // With its halves exchanged a handle is a small number after the first one's; nothing else is less than so many maps behind that.
        let first = u64::from(Region::Handle(0).number());
        let slot = usize::try_from(value.rotate_left(32).wrapping_sub(first)).ok()?;
        let maps = self.maps;
        maps.get(slot)
    }

    /// A map that the run has found in a map.
    fn found(&self, slot: u32) -> Option<&'run MapSlot> {
        let acquired = self.acquired;
        acquired.0.get()?.get(index(slot).checked_sub(MAX_PROGRAM_MAPS)?)?.get()
    }

    /// Makes a map that was found in a map one of the run's, if it is not yet; gives its handle.
    pub(crate) fn acquire(&self, map: VmMap) -> Result<u64, FaultKind> {
        if let Some(known) = self.maps.iter().position(|known| known.map.is(&map)) {
            let slot = u32::try_from(known).unwrap_or(SLOT_MASK);
            return Ok(Region::Handle(slot).address(0));
        }
        let places = self.acquired.0.get_or_init(|| Box::new([const { OnceCell::new() }; MAX_PROGRAM_MAPS]));
        for (position, place) in places.iter().enumerate() {
            let number = position.saturating_add(MAX_PROGRAM_MAPS);
            let known = place.get_or_init(|| MapSlot::new(number, map.clone()));
            if known.map.is(&map) {
                let slot = u32::try_from(number).unwrap_or(SLOT_MASK);
                return Ok(Region::Handle(slot).address(0));
            }
        }
        Err(FaultKind::TooManyMaps)
    }

    /// Gives bytes a region, until [`hide`](Self::hide).
    pub(crate) fn show(&mut self, bytes: Vec<u8>, writable: bool) -> u64 {
        self.serial = self.serial.wrapping_add(1);
        let slot = u32::try_from(self.shown.len()).unwrap_or(SLOT_MASK);
        let region = Region::Shown { slot, serial: self.serial };
        self.shown.push(Shown { region: region.number(), bytes, writable });
        region.address(0)
    }

    /// Takes back what was shown last.
    pub(crate) fn hide(&mut self) -> Vec<u8> {
        self.shown.pop().map_or_else(Vec::new, |shown| shown.bytes)
    }

    fn shown(&self, region: u32) -> Option<&Shown> {
        self.shown.get(index(region & SLOT_MASK)).filter(|shown| shown.region == region)
    }

    fn shown_mut(&mut self, region: u32) -> Option<&mut Shown> {
        let shown = self.shown.get_mut(index(region & SLOT_MASK))?;
        if shown.region == region && shown.writable { Some(shown) } else { None }
    }

    /// Reserves `length` bytes in the ring of `map`: their address, or 0 when the ring has no room; `None` when the run has no place for one more.
    #[inline(always)]
    pub(crate) fn reserve(&mut self, map: &'run VmMap, ring: &'run RingMap, length: u64) -> Option<u64> {
        let mut places = (0u32..).zip(self.reservations.iter_mut());
        // Mostly there is no other.
        let (slot, place) =
            if self.live == 0 { places.next()? } else { places.find(|(_, place)| place.is_none())? };
        // Between its making and its place nothing may fail: it would be made elsewhere and copied, and the copy wait for the stores.
        let Some(reservation) = RingReservation::new(map, ring, length) else { return Some(0) };
        let region = Region::Reservation { slot, serial: self.serial.wrapping_add(1) };
        self.window = reservation.window(region.address(0));
        let none = place.replace((region.number(), reservation));
        core::mem::forget(none);
        self.serial = self.serial.wrapping_add(1);
        self.live = self.live.wrapping_add(1);
        Some(region.address(0))
    }

    /// Submits or discards a reservation; its region is gone then. Gives the map if its consumer is to be woken; `None` when it is no reservation.
    #[inline(always)]
    pub(crate) fn commit(&mut self, address: u64, flags: u64, submits: bool) -> Option<Option<&'run VmMap>> {
        let (region, offset) = (high(address), low(address));
        let slot = self.reservations.get_mut(index(region & SLOT_MASK))?;
        let (_, reservation) = slot.take_if(|(number, _)| *number == region && offset == 0)?;
        if self.window.starts_at(address) {
            self.window = Window::CLOSED;
        }
        self.live = self.live.wrapping_sub(1);
        Some(reservation.commit(flags, submits, &self.books))
    }

    /// Reservations that were not committed yet.
    pub(crate) fn live_reservations(&self) -> u32 {
        self.live
    }

    /// Discards what was never committed.
    pub(crate) fn discard_leaked(&mut self, mut wake: impl FnMut(&VmMap)) {
        for (_, reservation) in self.reservations.iter_mut().filter_map(Option::take) {
            if let Some(map) = reservation.commit(0, false, &self.books) {
                wake(map);
            }
        }
        self.live = 0;
    }

    #[inline(always)]
    fn map(&self, region: u32) -> Option<&'run MapSlot> {
        let maps = self.maps;
        maps.get(index(region & SLOT_MASK)).filter(|slot| slot.region == region)
    }

    fn map_elsewhere(&self, region: u32) -> Option<&'run MapSlot> {
        self.found(region & SLOT_MASK).filter(|slot| slot.region == region)
    }

    fn map_area(&self, region: u32) -> Option<(&'run MapSlot, &'run Area)> {
        let slot = self.map(region).or_else(|| self.map_elsewhere(region))?;
        Some((slot, slot.map.area()?))
    }

    /// `bpf_map_lookup_elem` where it is an array's, or a hash map's with keys of a word, and the key lies where it mostly does; `None` leaves it to the helper.
    #[inline(always)]
    pub(crate) fn lookup_element(&self, handle: u64, key: u64) -> Option<u64> {
        let slot = self.own_handle(handle)?;
        let element = if slot.elements != 0 {
            Some(low(self.load::<4>(key)?)).filter(|element| *element < slot.elements)
        } else {
            let table = slot.words.as_ref()?;
            table.lookup_word(self.word(key, table.key_size())?)
        };
        element.map_or(Some(0), |element| {
            slot.shape.as_ref()?.offset(element).map(|offset| slot.address(offset))
        })
    }

    /// A key of 4 or 8 bytes on the stack.
    #[inline(always)]
    fn word(&self, address: u64, size: usize) -> Option<usize> {
        let bytes = self.plain(address, size)?;
        match bytes.first_chunk() {
            Some(bytes) => usize::try_from(widen::<8>(*bytes)).ok(),
            None => Some(index(low(widen::<4>(*bytes.first_chunk()?)))),
        }
    }

    #[inline(always)]
    fn reservation(&self, region: u32) -> Option<&RingReservation<'run>> {
        let (number, reservation) = self.reservations.get(index(region & SLOT_MASK))?.as_ref()?;
        if *number == region { Some(reservation) } else { None }
    }
}
