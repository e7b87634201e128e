//! Failures to order.

use alloc::vec::Vec;

use crate::{Call, Status};

/// One call that is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Which kind of call.
    pub call: Call,
    /// How many of that kind are to go well before.
    pub skip: u32,
    /// What the call gives.
    pub status: Status,
    /// What it does all the same.
    pub effect: Effect,
}

/// What a call does that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// The transaction of the session is over, and undone; nothing but the status tells.
    Ended,
    /// All that it does otherwise; only the answer is another. If it fails by itself, that is the answer.
    Executed,
    /// Nothing, except for what the status says: `TXN_ABORTED` aborts the transaction, `SESSION_ABORTED` the session.
    Nothing,
}

impl Fault {
    /// The next call of that kind.
    #[must_use]
    pub const fn new(call: Call, status: Status) -> Self {
        Self { call, skip: 0, status, effect: Effect::Nothing }
    }

    /// A later one.
    #[must_use]
    pub const fn after(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// With another effect.
    #[must_use]
    pub const fn with_effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }
}

#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) -> usize {
        self.0.drain(..).count()
    }

    /// Counts a call; gives the fault that strikes it.
    pub(super) fn strike(&mut self, call: Call) -> Option<Fault> {
        let due = self.0.iter().position(|fault| fault.call == call && fault.skip == 0);
        for fault in self.0.iter_mut().filter(|fault| fault.call == call) {
            fault.skip = fault.skip.saturating_sub(1);
        }
        due.map(|index| self.0.remove(index))
    }
}
