//! Queues and stacks: values without keys. Programs only ever get copies of them.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use spin::Mutex;

use super::EXIST;
use crate::account::Charge;
use crate::error::MapError;
use crate::memory::index;

/// A queue, or a stack.
#[derive(Debug)]
pub(crate) struct Queue {
    value_size: usize,
    max_entries: usize,
    is_stack: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest value first.
    bytes: VecDeque<u8>,
    /// The value on its way out.
    out: Vec<u8>,
}

impl Queue {
    /// An empty one that takes no memory yet.
    pub(crate) fn new(value_size: u32, max_entries: u32, is_stack: bool) -> Self {
        let (value_size, max_entries) = (index(value_size), index(max_entries));
        Self { value_size, max_entries, is_stack, state: Mutex::default() }
    }

    /// Values.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().bytes.len().checked_div(self.value_size).unwrap_or(0)
    }

    /// `queue_stack_map_push_elem`: `BPF_EXIST` drops the oldest value of a full one, of a stack too.
    pub(crate) fn push(&self, charge: &Charge, value: &[u8], flags: u64) -> Result<(), MapError> {
        if !matches!(flags, 0 | EXIST) || value.len() != self.value_size {
            return Err(MapError::Invalid);
        }
        let mut state = self.state.lock();
        let values = state.bytes.len().checked_div(self.value_size).unwrap_or(0);
        if values >= self.max_entries {
            if flags != EXIST {
                return Err(MapError::Full);
            }
            let oldest = self.value_size.min(state.bytes.len());
            state.bytes.drain(..oldest);
        }
        self.make_room(&mut state, charge).ok_or(MapError::NoMemory)?;
        state.bytes.extend(value);
        Ok(())
    }

    /// Hands the next value to `read` and removes it if asked to; `read` may be what fails.
    pub(crate) fn next<E: From<MapError>>(
        &self,
        remove: bool,
        read: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.state.lock();
        let State { bytes, out } = &mut *state;
        let Some(last) = bytes.len().checked_sub(self.value_size) else {
            return Err(MapError::NotFound.into());
        };
        let range = if self.is_stack { last..bytes.len() } else { 0..self.value_size };
        out.clear();
        out.extend(bytes.range(range.clone()));
        read(out)?;
        if remove {
            bytes.drain(range);
        }
        Ok(())
    }

    fn make_room(&self, state: &mut State, charge: &Charge) -> Option<()> {
        let needed = state.bytes.len().checked_add(self.value_size)?;
        if needed <= state.bytes.capacity() {
            return Some(());
        }
        let doubled = state.bytes.len().max(self.value_size.saturating_mul(8)).saturating_mul(2);
        let most = self.value_size.checked_mul(self.max_entries)?;
        let target = doubled.min(most).max(needed);
        let out = self.value_size.saturating_sub(state.out.capacity());
        let added = target.saturating_sub(state.bytes.capacity()).saturating_add(out);
        charge.add(added as u64)?;
        state.out.clear();
        state.out.try_reserve_exact(self.value_size).ok()?;
        state.bytes.try_reserve_exact(target.checked_sub(state.bytes.len())?).ok()
    }
}
