//! Loads and stores, by programs and for them, each with its check.

use core::sync::atomic::Ordering;

use super::region::{CONTEXT, FRAMES, KIND_SHIFT, MAP, RESERVATION};
use super::{Memory, Scratch, copy, high, index, low};
use crate::decode::atomic;
use crate::error::FaultKind;
use crate::maps::area::{Word, mask, narrow, replace, shift, widen};

impl Memory<'_, '_> {
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
        if let Some(done) = self.window.store::<N>(address, value) {
            return Some(done);
        }
        if let Some(slot) = self.map(region) {
            let (words, offset) = if slot.writable { slot.place::<N>(offset)? } else { return None };
            return words.store::<N>(offset, value);
        }
        self.store_elsewhere::<N>(address, value)
    }

    /// Two stores to the record that was reserved last; `None`, and nothing stored, when they are not so simple.
    #[inline(always)]
    pub(crate) fn store_two<const N: usize>(&self, addresses: [u64; 2], values: [u64; 2]) -> Option<()> {
        self.window.store_two::<N>(addresses, values)
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
