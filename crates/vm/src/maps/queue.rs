//! Queues and stacks: values without keys. Programs only ever get copies of them.

use alloc::vec::Vec;

use spin::Mutex;

use super::EXIST;
use crate::account::Charge;
use crate::error::MapError;
use crate::memory::{copy, index};

/// A queue, or a stack.
#[derive(Debug)]
pub(crate) struct Queue {
    value_size: usize,
    /// Bytes of as many values as it takes.
    most: usize,
    is_stack: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Room for whole values, used in a circle; grows as it is needed.
    bytes: Vec<u8>,
    /// Where the oldest value stands, a multiple of their size below the length of `bytes`.
    first: usize,
    /// Bytes of values.
    used: usize,
}

impl Queue {
    /// An empty one that takes no memory yet.
    pub(crate) fn new(value_size: u32, max_entries: u32, is_stack: bool) -> Self {
        let (value_size, max_entries) = (index(value_size), index(max_entries));
        let most = value_size.saturating_mul(max_entries);
        Self { value_size, most, is_stack, state: Mutex::default() }
    }

    /// Values.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().used.checked_div(self.value_size).unwrap_or(0)
    }

    /// `queue_stack_map_push_elem`: `BPF_EXIST` drops the oldest value of a full one, of a stack too.
    #[inline]
    pub(crate) fn push(&self, charge: &Charge, value: &[u8], flags: u64) -> Result<(), MapError> {
        if !matches!(flags, 0 | EXIST) || value.len() != self.value_size {
            return Err(MapError::Invalid);
        }
        let mut state = self.state.lock();
        if state.used >= self.most {
            if flags != EXIST {
                return Err(MapError::Full);
            }
            state.drop_oldest(self.value_size);
        }
        if state.used >= state.bytes.len() {
            self.grow(&mut state, charge).ok_or(MapError::NoMemory)?;
        }
        let place = state.place(state.used);
        copy(state.value_mut(place, self.value_size).ok_or(MapError::NoMemory)?, value);
        state.used = state.used.wrapping_add(self.value_size);
        Ok(())
    }

    /// Hands the next value to `read` and removes it if asked to; `read` may be what fails.
    #[inline]
    pub(crate) fn next<E: From<MapError>>(
        &self,
        remove: bool,
        read: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.state.lock();
        let Some(last) = state.used.checked_sub(self.value_size) else {
            return Err(MapError::NotFound.into());
        };
        let place = if self.is_stack { state.place(last) } else { state.first };
        read(state.value(place, self.value_size).ok_or(MapError::NotFound)?)?;
        match (remove, self.is_stack) {
            (false, _) => {}
            (true, true) => state.used = last,
            (true, false) => state.drop_oldest(self.value_size),
        }
        Ok(())
    }

    /// Makes room for one more value at least.
    #[cold]
    fn grow(&self, state: &mut State, charge: &Charge) -> Option<()> {
        let needed = state.used.checked_add(self.value_size)?;
        let doubled = state.used.max(self.value_size.saturating_mul(8)).saturating_mul(2);
        let target = doubled.min(self.most).max(needed);
        charge.add(target.saturating_sub(state.bytes.len()) as u64)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(target).ok()?;
        let (newer, older) = state.bytes.split_at_checked(state.first)?;
        bytes.extend_from_slice(older);
        bytes.extend_from_slice(newer);
        bytes.resize(target, 0);
        state.bytes = bytes;
        state.first = 0;
        Some(())
    }
}

impl State {
    /// Where byte `distance` of the values stands, at most as many as there is room for.
    #[inline(always)]
    fn place(&self, distance: usize) -> usize {
        let place = self.first.wrapping_add(distance);
        if place >= self.bytes.len() { place.wrapping_sub(self.bytes.len()) } else { place }
    }

    #[inline(always)]
    fn value(&self, place: usize, size: usize) -> Option<&[u8]> {
        self.bytes.get(place..place.checked_add(size)?)
    }

    #[inline(always)]
    fn value_mut(&mut self, place: usize, size: usize) -> Option<&mut [u8]> {
        self.bytes.get_mut(place..place.checked_add(size)?)
    }

    #[inline(always)]
    fn drop_oldest(&mut self, size: usize) {
        self.first = self.place(size);
        self.used = self.used.saturating_sub(size);
    }
}
