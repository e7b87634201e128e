//! Helpers that run instructions.

use super::state::CallFrame;
use super::{Entry, Machine, State};
use crate::error::FaultKind;
use crate::helpers;
use crate::memory::{Memory, Region, high, index, low};
use crate::program::VmProgram;

/// Tail calls of one run (`MAX_TAIL_CALL_CNT`).
const MAX_TAIL_CALLS: u32 = 33;

/// Most iterations of `bpf_loop` (`BPF_MAX_LOOPS`).
const MAX_LOOPS: u32 = 8 << 20;

impl Machine<'_> {
    /// The index of a function that a helper is to call back.
    pub(crate) fn function(&self, helper: u32, callback: u64) -> Result<usize, FaultKind> {
        let function = index(low(callback));
        let is_one =
            high(callback) == Region::Function.number() && self.ops.get(function).is_some_and(|op| op.entry);
        if is_one { Ok(function) } else { Err(FaultKind::NotAFunction { helper, value: callback }) }
    }

    /// The answer of `bpf_loop` if it does not come to running the callback.
    // Inlined, what its error does not say of other kinds would be carried through the interpreter's loop, in a register of its own.
    #[inline(never)]
    pub(super) fn check_loop(
        &self,
        repeats: u32,
        callback: u64,
        flags: u64,
    ) -> Result<Option<u64>, FaultKind> {
        self.function(helpers::LOOP, callback)?;
        Ok(if flags != 0 {
            Some(helpers::errno(-22))
        } else if repeats > MAX_LOOPS {
            Some(helpers::errno(-7))
        } else if repeats == 0 {
            Some(0)
        } else {
            None
        })
    }
}

/// `bpf_tail_call`: the program to go on with, or the error number.
#[inline(never)]
pub(super) fn tail_call(
    arguments: &[u64; 5],
    memory: &Memory<'_, '_>,
    state: &mut State,
) -> Result<Result<VmProgram, i32>, FaultKind> {
    const ENOENT: i32 = -2;
    const EINVAL: i32 = -22;
    let [context, value, slot, ..] = *arguments;
    let helper = helpers::TAIL_CALL;
    if context != Region::Context.address(0) {
        return Err(FaultKind::NotTheContext { helper, value: context });
    }
    let array = memory.handle(value).ok_or(FaultKind::NotAMap { helper, value })?;
    if !array.map.is_prog_array() {
        return Err(FaultKind::WrongMapKind { helper, kind: array.map.kind() });
    }
    let reservations = memory.live_reservations();
    if reservations != 0 {
        return Err(FaultKind::ReservationLeak { reservations });
    }
    // In the order of Linux's compilers: the index, the count, the entry. What does not go on does not count.
    if low(slot) >= array.map.max_entries() || state.tail_calls >= MAX_TAIL_CALLS {
        return Ok(Err(EINVAL));
    }
    let Some(program) = array.map.program(low(slot)) else { return Ok(Err(ENOENT)) };
    state.tail_calls = state.tail_calls.wrapping_add(1);
    Ok(Ok(program))
}

/// A helper that calls back while it works.
pub(crate) struct Callback<'c, 'p> {
    pub(crate) machine: &'c Machine<'p>,
    /// The instruction that called it.
    pub(super) at: usize,
    pub(super) base: usize,
    pub(super) frames: &'c mut [CallFrame],
    pub(super) state: &'c mut State,
}

impl Callback<'_, '_> {
    /// Calls a function of the program with registers 1 to 5; gives register 0.
    pub(crate) fn call(
        &mut self,
        function: usize,
        arguments: [u64; 5],
        memory: &mut Memory<'_, '_>,
    ) -> Option<u64> {
        let Some((_own, above)) = self.frames.split_first_mut() else {
            return self.fault(FaultKind::CallDepth);
        };
        let entry = Entry { function, base: self.base.wrapping_add(1), arguments };
        self.machine.interpret(memory, above, &entry, self.state)
    }

    /// The run is stopped, at the helper.
    #[cold]
    pub(crate) fn fault(&mut self, kind: FaultKind) -> Option<u64> {
        self.state.fault(self.at, kind)
    }
}
