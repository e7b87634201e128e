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
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::OnceCell;
use core::sync::atomic::Ordering;

use crate::decode::atomic;
use crate::error::FaultKind;
use crate::maps::VmMap;
use crate::maps::area::{Area, Shape, Word, Words, mask, narrow, replace, shift, widen};
use crate::maps::hash::Hash;
use crate::ring::{Books, RingMap, RingReservation, Window};
use crate::{MAX_CALL_FRAMES, MAX_PROGRAM_MAPS, STACK_FRAME_SIZE};

/// The first stack frame's region.
const FRAMES: u32 = 2;
/// Regions before those of maps: null, the context, the frames.
const PLAIN_REGIONS: usize = 2 + MAX_CALL_FRAMES;

/// Something a pointer can point into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Region {
    Context,
    Map { slot: u32, id: u32 },
    Reservation { slot: u32, serial: u32 },
    Handle(u32),
    Function,
    Shown { slot: u32, serial: u32 },
}

pub(crate) const CONTEXT: u32 = 1;

const MAP: u32 = 1;
const RESERVATION: u32 = 2;
const HANDLE: u32 = 3;
const FUNCTION: u32 = 4;
const SHOWN: u32 = 5;

/// Positions of a program's own maps, and of as many that it finds in maps.
const SLOT_BITS: u32 = 7;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
const KIND_SHIFT: u32 = 28;
const KIND_MASK: u32 = 0xf << KIND_SHIFT;

const _: () = assert!(MAX_PROGRAM_MAPS * 2 == 1 << SLOT_BITS && crate::MAX_RESERVATIONS <= 1 << SLOT_BITS);

impl Region {
    #[inline(always)]
    pub(crate) fn number(self) -> u32 {
        let numbered = |kind: u32, slot: u32, serial: u32| {
            kind << KIND_SHIFT | (serial << SLOT_BITS) & !KIND_MASK | slot & SLOT_MASK
        };
        match self {
            Self::Context => CONTEXT,
            Self::Map { slot, id } => numbered(MAP, slot, id),
            Self::Reservation { slot, serial } => numbered(RESERVATION, slot, serial),
            Self::Handle(slot) => numbered(HANDLE, slot, 0),
            Self::Function => FUNCTION << KIND_SHIFT,
            Self::Shown { slot, serial } => numbered(SHOWN, slot, serial),
        }
    }

    #[inline(always)]
    pub(crate) fn address(self, offset: u32) -> u64 {
        u64::from(self.number()) << 32 | u64::from(offset)
    }
}

/// What stands at an address, for people.
pub(crate) fn describe(address: u64) -> &'static str {
    match high(address) {
        0 => "not a pointer",
        1 => "outside the context",
        region if index(region) < PLAIN_REGIONS => "outside the stack frame",
        region => match region >> KIND_SHIFT {
            MAP => "outside the map value",
            RESERVATION => "outside the ring reservation, or it is committed",
            HANDLE => "a map itself cannot be accessed",
            FUNCTION => "a function cannot be accessed",
            SHOWN => "outside of what the helper shows, or the callback is over",
            _ => "not a pointer",
        },
    }
}

/// One of a program's maps, with what every access asks of it close at hand.
#[derive(Debug)]
pub(crate) struct MapSlot {
    region: u32,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    shape: Option<Shape>,
    /// The values, where all of them are at hand and have no padding.
    flat: Option<Arc<Words>>,
    /// Entries of an array whose elements programs look up by a 32-bit index; 0 for other kinds.
    elements: u32,
    /// The table of a hash map whose keys are words.
    words: Option<Arc<Hash>>,
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
    fn place<const N: usize>(&self, offset: u32) -> Option<(&Words, usize)> {
        if let (Some(words), Some(_)) = (&self.flat, shift::<N>(index(offset))) {
            return Some((words, index(offset)));
        }
        self.place_in_value::<N>(offset)
    }

    #[inline(always)]
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
pub(crate) struct Acquired(OnceCell<Box<[OnceCell<MapSlot>; MAX_PROGRAM_MAPS]>>);

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
struct Shown {
    region: u32,
    bytes: Vec<u8>,
    writable: bool,
}

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

    /// `N` bytes, zero-extended; `None` when any of them may not be read.
    #[inline(always)]
    pub(crate) fn load<const N: usize>(&self, address: u64) -> Option<u64> {
        self.load_stack::<N>(address).or_else(|| self.load_behind::<N>(address))
    }

    /// The same where it is on the stack, which no other region is.
    #[inline(always)]
    pub(crate) fn load_stack<const N: usize>(&self, address: u64) -> Option<u64> {
        let (region, start) = (high(address), index(low(address)));
        let frame = self.stack.get(index(region.wrapping_sub(FRAMES)))?;
        Some(widen::<N>(frame.get(start..start.checked_add(N)?)?.try_into().ok()?))
    }

    /// The same where it is not.
    #[inline(always)]
    pub(crate) fn load_behind<const N: usize>(&self, address: u64) -> Option<u64> {
        let (region, offset) = (high(address), low(address));
        if let Some(slot) = self.map(region) {
            let (words, offset) = if slot.readable { slot.place::<N>(offset)? } else { return None };
            return words.load::<N>(offset);
        }
        if region == CONTEXT {
            let start = index(offset);
            return Some(widen::<N>(self.context.get(start..start.checked_add(N)?)?.try_into().ok()?));
        }
        self.load_elsewhere::<N>(address)
    }

    #[inline(never)]
    fn load_elsewhere<const N: usize>(&self, address: u64) -> Option<u64> {
        let (region, offset) = (high(address), low(address));
        match region >> KIND_SHIFT {
            RESERVATION => self.reservation(region)?.load::<N>(offset),
            MAP => {
                let slot = self.map_elsewhere(region)?;
                let (words, offset) = if slot.readable { slot.place::<N>(offset)? } else { return None };
                words.load::<N>(offset)
            }
            _ => {
                let start = index(offset);
                let bytes = self.shown(region)?.bytes.get(start..start.checked_add(N)?)?;
                Some(widen::<N>(bytes.try_into().ok()?))
            }
        }
    }

    /// Stores the low `N` bytes of `value`; `None`, and nothing stored, when any of them may not be written.
    #[inline(always)]
    pub(crate) fn store<const N: usize>(&mut self, address: u64, value: u64) -> Option<()> {
        let (region, offset) = (high(address), low(address));
        let start = index(offset);
        if let Some(frame) = self.stack.get_mut(index(region.wrapping_sub(FRAMES))) {
            let bytes = frame.get_mut(start..start.checked_add(N)?)?;
            *<&mut [u8; N]>::try_from(bytes).ok()? = narrow::<N>(value);
            return Some(());
        }
        if region == self.window.region
            && let Some(done) = self.window.store::<N>(offset, value)
        {
            return Some(done);
        }
        if let Some(slot) = self.map(region) {
            let (words, offset) = if slot.writable { slot.place::<N>(offset)? } else { return None };
            return words.store::<N>(offset, value);
        }
        self.store_elsewhere::<N>(address, value)
    }

    #[inline(never)]
    fn store_elsewhere<const N: usize>(&mut self, address: u64, value: u64) -> Option<()> {
        let (region, offset) = (high(address), low(address));
        let start = index(offset);
        match region >> KIND_SHIFT {
            RESERVATION => self.reservation(region)?.store::<N>(offset, value),
            MAP => {
                let slot = self.map_elsewhere(region)?;
                let (words, offset) = if slot.writable { slot.place::<N>(offset)? } else { return None };
                words.store::<N>(offset, value)
            }
            _ if region == CONTEXT => {
                let bytes = self.context.get_mut(start..start.checked_add(N)?)?;
                *<&mut [u8; N]>::try_from(bytes).ok()? = narrow::<N>(value);
                Some(())
            }
            _ => {
                let bytes = self.shown_mut(region)?.bytes.get_mut(start..start.checked_add(N)?)?;
                *<&mut [u8; N]>::try_from(bytes).ok()? = narrow::<N>(value);
                Some(())
            }
        }
    }

    /// Adds to `N` bytes and gives the sum, not at once, as three instructions do it; `None`, and nothing done, where that is not on the stack or
    /// in a map that may be read and written.
    #[inline(always)]
    pub(crate) fn increment<const N: usize>(&mut self, address: u64, amount: u64) -> Option<u64> {
        let (region, offset) = (high(address), low(address));
        let start = index(offset);
        if let Some(frame) = self.stack.get_mut(index(region.wrapping_sub(FRAMES))) {
            let bytes = <&mut [u8; N]>::try_from(frame.get_mut(start..start.checked_add(N)?)?).ok()?;
            let sum = widen::<N>(*bytes).wrapping_add(amount) & mask::<N>();
            *bytes = narrow::<N>(sum);
            return Some(sum);
        }
        let slot = self.map(region)?;
        let (words, offset) =
            if slot.readable && slot.writable { slot.place::<N>(offset)? } else { return None };
        let sum = words.load::<N>(offset)?.wrapping_add(amount) & mask::<N>();
        words.store::<N>(offset, sum)?;
        Some(sum)
    }

    /// Bytes of the stack or the context; `None` when they are elsewhere, or nowhere.
    #[inline(always)]
    pub(crate) fn plain(&self, address: u64, size: usize) -> Option<&[u8]> {
        let (region, start) = (high(address), index(low(address)));
        let bytes = match self.stack.get(index(region.wrapping_sub(FRAMES))) {
            Some(frame) => frame,
            None if region == CONTEXT => &*self.context,
            None => return None,
        };
        bytes.get(start..start.checked_add(size)?)
    }

    #[inline(always)]
    pub(crate) fn plain_mut(&mut self, address: u64, size: usize) -> Option<&mut [u8]> {
        let (region, start) = (high(address), index(low(address)));
        let bytes = match self.stack.get_mut(index(region.wrapping_sub(FRAMES))) {
            Some(frame) => frame,
            None if region == CONTEXT => &mut *self.context,
            None => return None,
        };
        bytes.get_mut(start..start.checked_add(size)?)
    }

    fn is_plain(&self, region: u32) -> bool {
        region == CONTEXT || self.stack.get(index(region.wrapping_sub(FRAMES))).is_some()
    }

    /// An atomic operation on `N` bytes, 4 or 8; gives what was there before.
    pub(crate) fn atomic<const N: usize>(
        &mut self,
        address: u64,
        operation: u64,
        operand: u64,
        expected: u64,
    ) -> Result<u64, FaultKind> {
        let (region, offset) = (high(address), low(address));
        if !index(offset).is_multiple_of(N) {
            return Err(FaultKind::Unaligned { address, size: if N == 8 { 8 } else { 4 } });
        }
        let apply = |old: u64| apply(operation, old, operand, expected, mask::<N>());
        if let Some((slot, area)) = self.map_area(region) {
            let place = if slot.readable && slot.writable { area.locate(offset, N) } else { None };
            let fault = |memory: &Self| memory.fault(address, N, true);
            let (words, offset) = place.ok_or_else(|| fault(self))?;
            let word = words.word(offset).ok_or_else(|| fault(self))?;
            let shift = shift::<N>(offset).ok_or_else(|| fault(self))?;
            return Ok(update::<N>(word, shift, operation, operand, apply));
        }
        // Nobody else sees the context, the stack and reservations.
        let old = self.load::<N>(address).ok_or_else(|| self.fault(address, N, true))?;
        if let Some(new) = apply(old) {
            self.store::<N>(address, new).ok_or_else(|| self.fault(address, N, true))?;
        }
        Ok(old)
    }

    /// Why an access was refused.
    #[cold]
    pub(crate) fn fault(&self, address: u64, size: usize, write: bool) -> FaultKind {
        if let Some((slot, area)) = self.map_area(high(address)) {
            let allowed = if write { slot.writable } else { slot.readable };
            if !allowed && area.locate(low(address), size).is_some() {
                return FaultKind::Permission { address, write };
            }
        }
        FaultKind::OutOfBounds { address, size: u32::try_from(size).unwrap_or(u32::MAX), write }
    }

    /// Bytes for a helper to read, in place where that is possible, otherwise copied into `scratch`.
    pub(crate) fn bytes<'b>(
        &'b self,
        address: u64,
        size: usize,
        scratch: &'b mut Scratch,
    ) -> Result<&'b [u8], FaultKind> {
        if size == 0 {
            return Ok(&[]);
        }
        let fault = || self.fault(address, size, false);
        let (region, offset) = (high(address), low(address));
        if self.is_plain(region) {
            return self.plain(address, size).ok_or_else(fault);
        }
        if let Some((slot, area)) = self.map_area(region) {
            // Looked at before memory is taken: a size alone must not make anybody allocate.
            let allowed = slot.readable && area.locate(offset, size).is_some();
            let out = if allowed { scratch.room(size)? } else { return Err(fault()) };
            area.read(offset, out).ok_or_else(fault)?;
            return Ok(out);
        }
        if let Some(shown) = self.shown(region) {
            let end = index(offset).checked_add(size).ok_or_else(fault)?;
            return shown.bytes.get(index(offset)..end).ok_or_else(fault);
        }
        let reservation = self.reservation(region).ok_or_else(fault)?;
        let inside = index(offset).checked_add(size).is_some_and(|end| end <= reservation.len());
        let out = if inside { scratch.room(size)? } else { return Err(fault()) };
        reservation.read(offset, out).ok_or_else(fault)?;
        Ok(out)
    }

    /// Bytes from a helper to the program.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), FaultKind> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (region, offset) = (high(address), low(address));
        let written = if self.is_plain(region) {
            self.plain_mut(address, bytes.len()).map(|target| copy(target, bytes))
        } else {
            match self.map_area(region) {
                Some((slot, area)) if slot.writable => area.write(offset, bytes),
                Some(_) => None,
                None => match self.shown_mut(region) {
                    Some(shown) => index(offset)
                        .checked_add(bytes.len())
                        .and_then(|end| shown.bytes.get_mut(index(offset)..end))
                        .map(|target| target.copy_from_slice(bytes)),
                    None => self.reservation(region).and_then(|reservation| reservation.write(offset, bytes)),
                },
            }
        };
        written.ok_or_else(|| self.fault(address, bytes.len(), true))
    }

    /// Whether all of an access would be allowed.
    pub(crate) fn check(&self, address: u64, size: usize, write: bool) -> Result<(), FaultKind> {
        let (region, offset) = (high(address), low(address));
        let end = index(offset).checked_add(size);
        let allowed = if self.is_plain(region) {
            self.plain(address, size).is_some()
        } else if let Some((slot, area)) = self.map_area(region) {
            (if write { slot.writable } else { slot.readable }) && area.locate(offset, size).is_some()
        } else if let Some(shown) = self.shown(region) {
            (shown.writable || !write) && end.is_some_and(|end| end <= shown.bytes.len())
        } else {
            self.reservation(region)
                .is_some_and(|reservation| end.is_some_and(|end| end <= reservation.len()))
        };
        if allowed { Ok(()) } else { Err(self.fault(address, size, write)) }
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
        let slot = high(value) & SLOT_MASK;
        let maps = self.maps;
        if value == Region::Handle(slot).address(0) { maps.get(index(slot)) } else { None }
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
        let (slot, place) = (0u32..).zip(self.reservations.iter_mut()).find(|(_, place)| place.is_none())?;
        let region = Region::Reservation { slot, serial: self.serial.wrapping_add(1) };
        // Between its making and its place nothing may fail: it would be made elsewhere and copied, and the copy wait for the stores.
        let Some(reservation) = RingReservation::new(map, ring, length) else { return Some(0) };
        self.window = reservation.window(region.number());
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
        if self.window.region == region {
            self.window = Window::CLOSED;
        }
        self.live = self.live.saturating_sub(1);
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
        let slot = self.maps.get(index(high(handle) & SLOT_MASK))?;
        if handle != Region::Handle(high(handle) & SLOT_MASK).address(0) {
            return None;
        }
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

/// Room for bytes that cannot be read in place.
pub(crate) struct Scratch {
    inline: [u8; 64],
    heap: Vec<u8>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { inline: [0; 64], heap: Vec::new() }
    }

    fn room(&mut self, size: usize) -> Result<&mut [u8], FaultKind> {
        if let Some(room) = self.inline.get_mut(..size) {
            return Ok(room);
        }
        let no_memory = FaultKind::NoMemory { size: u32::try_from(size).unwrap_or(u32::MAX) };
        self.heap.clear();
        self.heap.try_reserve_exact(size).map_err(|_| no_memory)?;
        self.heap.resize(size, 0);
        Ok(&mut self.heap)
    }
}

/// Copies as many bytes as there are in both, which is the same number wherever this is called; those of a register without a call.
#[inline(always)]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    if let (Ok(to), Ok(from)) = (<&mut [u8; 8]>::try_from(&mut *to), <&[u8; 8]>::try_from(from)) {
        *to = *from;
    } else if let (Ok(to), Ok(from)) = (<&mut [u8; 4]>::try_from(&mut *to), <&[u8; 4]>::try_from(from)) {
        *to = *from;
    } else {
        copy_any(to, from);
    }
}

/// Zeroes; those of a register without a call.
#[inline(always)]
pub(crate) fn clear(bytes: &mut [u8]) {
    if let Ok(bytes) = <&mut [u8; 8]>::try_from(&mut *bytes) {
        *bytes = [0; 8];
    } else if let Ok(bytes) = <&mut [u8; 4]>::try_from(&mut *bytes) {
        *bytes = [0; 4];
    } else {
        bytes.fill(0);
    }
}

#[inline(never)]
fn copy_any(to: &mut [u8], from: &[u8]) {
    let size = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..size), from.get(..size)) {
        to.copy_from_slice(from);
    }
}

/// A 32-bit index as the machine's.
#[inline(always)]
pub(crate) const fn index(index: u32) -> usize {
    const _: () = assert!(size_of::<usize>() >= size_of::<u32>());
    index as usize
}

#[inline(always)]
pub(crate) const fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

#[inline(always)]
pub(crate) const fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

/// What an atomic operation stores, if anything.
fn apply(operation: u64, old: u64, operand: u64, expected: u64, mask: u64) -> Option<u64> {
    Some(match operation {
        atomic::XCHG => operand,
        atomic::CMPXCHG if old == expected & mask => operand,
        atomic::CMPXCHG => return None,
        _ => match operation & !atomic::FETCH {
            atomic::OR => old | operand,
            atomic::AND => old & operand,
            atomic::XOR => old ^ operand,
            _ => old.wrapping_add(operand),
        },
    })
}

/// An atomic operation on memory that others use. As in Linux, those that give the old value are full barriers, the
/// others order nothing.
fn update<const N: usize>(
    Word(word): &Word,
    shift: u32,
    operation: u64,
    operand: u64,
    apply: impl Fn(u64) -> Option<u64>,
) -> u64 {
    let order = if operation & atomic::FETCH != 0 { Ordering::SeqCst } else { Ordering::Relaxed };
    if N == 8 && operation & !atomic::FETCH == atomic::ADD {
        return word.fetch_add(operand, order);
    }
    let exchange = |word: u64| {
        let new = apply(word >> shift & mask::<N>())?;
        Some(replace::<N>(word, shift, new))
    };
    let (Ok(word) | Err(word)) = word.fetch_update(order, Ordering::Relaxed, exchange);
    word >> shift & mask::<N>()
}
