//! What a run is, besides its memory.

use crate::decode::Register::{self, R6, R7, R8, R9};
use crate::error::{Fault, FaultKind};
use crate::memory::CONTEXT;
use crate::program::VmProgram;

/// What goes on through tail calls and callbacks.
pub(crate) struct State {
    /// The instructions that the run was allowed.
    pub(crate) budget: u64,
    /// Those that are left.
    pub(crate) left: i64,
    pub(crate) tail_calls: u32,
    /// Why a function did not return.
    pub(crate) stop: Option<Stop>,
}

impl State {
    pub(crate) fn new(budget: u64) -> Self {
        // Numbers below 0 are what is missing from a budget.
        Self { budget, left: i64::try_from(budget).unwrap_or(i64::MAX), tail_calls: 0, stop: None }
    }

    /// Stopped at an instruction.
    #[cold]
    #[inline(never)]
    pub(super) fn fault(&mut self, instruction: usize, kind: FaultKind) -> Option<u64> {
        self.stop = Some(Stop::Fault(Fault { instruction, kind }));
        None
    }
}

/// Where to begin.
pub(crate) struct Entry {
    pub(super) function: usize,
    /// Frames below it.
    pub(super) base: usize,
    pub(super) arguments: [u64; 5],
}

impl Entry {
    /// The program itself.
    pub(crate) const START: Self =
        Self { function: 0, base: 0, arguments: [(CONTEXT as u64) << 32, 0, 0, 0, 0] };
}

/// How it ends other than by returning. It does not go through return values, which would have to be copied.
pub(crate) enum Stop {
    Fault(Fault),
    /// The program is to be gone on with, on the same context.
    TailCall(VmProgram),
}

/// Where a function returns to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallFrame {
    pub(super) return_to: usize,
    /// Registers 6 to 9.
    pub(super) saved: [u64; 4],
    /// For callbacks of `bpf_loop`: how often in all, 0 otherwise.
    pub(super) repeats: u32,
    pub(super) done: u32,
    pub(super) callback: u32,
    pub(super) argument: u64,
}

impl CallFrame {
    pub(crate) const EMPTY: Self =
        Self { return_to: 0, saved: [0; 4], repeats: 0, done: 0, callback: 0, argument: 0 };
}

/// Registers 0 to 10, and behind them the number of frames above the first one: as a variable, all that follows from it would be worked out
/// again at every jump, by compilers that take this for cheap.
pub(super) struct Registers(pub(super) [u64; Register::ALL.len() + 1]);

impl Registers {
    // Neither default is ever used: there is a place for each register, and the compiler knows.

    #[inline(always)]
    pub(super) fn get(&self, register: Register) -> u64 {
        self.0.get(register as usize).copied().unwrap_or(0)
    }

    #[inline(always)]
    pub(super) fn set(&mut self, register: Register, value: u64) {
        if let Some(place) = self.0.get_mut(register as usize) {
            *place = value;
        }
    }

    #[inline(always)]
    pub(super) fn depth(&self) -> usize {
        const { assert!(size_of::<usize>() <= size_of::<u64>()) };
        let [.., depth] = self.0;
        crate::vm::saturate(depth)
    }

    /// So many frames up or down.
    #[inline(always)]
    pub(super) fn enter(&mut self, frames: i64) {
        let [.., frame_pointer, depth] = &mut self.0;
        *depth = depth.wrapping_add_signed(frames);
        *frame_pointer = frame_pointer.wrapping_add_signed(frames << 32);
    }

    /// Registers 1 to 5, where they are: a copy would wait for their stores.
    #[inline(always)]
    pub(super) fn arguments(&self) -> &[u64; 5] {
        const NONE: &[u64; 5] = &[0; 5];
        self.0.get(1..).and_then(<[u64]>::first_chunk).unwrap_or(NONE)
    }

    pub(super) fn saved(&self) -> [u64; 4] {
        SAVED.map(|register| self.get(register))
    }

    pub(super) fn restore(&mut self, saved: [u64; 4]) {
        for (register, value) in SAVED.into_iter().zip(saved) {
            self.set(register, value);
        }
    }
}

/// What a call leaves as it was, besides the frame pointer.
const SAVED: [Register; 4] = [R6, R7, R8, R9];
