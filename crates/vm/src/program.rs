//! A program that may run, and running it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use ebpf_loader::ProgramKind;

use crate::account::Charge;
use crate::decode::Op;
use crate::error::{Fault, FaultKind};
use crate::host::Host;
use crate::interpret::{CallFrame, Entry, Machine, State, Stop};
use crate::maps::VmMap;
use crate::memory::{Acquired, MapSlot, Memory, ReservationSlot};
use crate::numbers::HelperNumbers;
use crate::{MAX_CALL_FRAMES, MAX_RESERVATIONS, STACK_FRAME_SIZE};

/// A validated program: a handle to clone, to send anywhere, and to run from any thread, several at a time.
///
/// It keeps the maps it refers to alive.
#[derive(Clone)]
pub struct VmProgram {
    inner: Arc<Inner>,
}

struct Inner {
    name: Box<str>,
    kind: ProgramKind,
    ops: Vec<Op>,
    maps: Vec<MapSlot>,
    frames: usize,
    reserves: bool,
    budget: u64,
    numbers: HelperNumbers,
    host: Arc<dyn Host>,
    charge: Charge,
}

/// How a run ended that was not stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Register 0.
    pub return_value: u64,
    /// Instruction slots that were run: a 64-bit load counts as two, a helper call as one, whatever the helper did.
    pub instructions: u64,
}

/// What a program is made of, gathered by the machine.
pub(crate) struct Parts {
    pub(crate) name: Box<str>,
    pub(crate) kind: ProgramKind,
    pub(crate) ops: Vec<Op>,
    pub(crate) maps: Vec<VmMap>,
    pub(crate) frames: usize,
    pub(crate) reserves: bool,
    pub(crate) budget: u64,
    pub(crate) numbers: HelperNumbers,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) charge: Charge,
}

impl VmProgram {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { name, kind, ops, maps, frames, reserves, budget, numbers, host, charge } = parts;
        let maps = maps.into_iter().enumerate().map(|(slot, map)| MapSlot::new(slot, map)).collect();
        Self {
            inner: Arc::new(Inner { name, kind, ops, maps, frames, reserves, budget, numbers, host, charge }),
        }
    }

    /// Bytes that a program of so many instructions is charged, without its name.
    pub(crate) fn bytes(instructions: usize) -> u64 {
        (instructions as u64).saturating_mul(size_of::<Op>() as u64).saturating_add(size_of::<Inner>() as u64)
    }

    /// Runs the program: register 1 points to `context`, register 10 to the end of a zeroed stack, the others are 0.
    ///
    /// Nothing is allocated, save by helpers that grow a map or take a key of more than 64 bytes from a map's value. What a stopped
    /// program did to the context and to maps stays done; what it had reserved in rings is discarded.
    ///
    /// # Errors
    /// The instruction that was stopped, and why. A program that returns without committing its reservations is an error too.
    pub fn run(&self, context: &mut [u8]) -> Result<Outcome, Fault> {
        let mut state = State::new(self.inner.budget);
        let budget = state.left;
        match self.run_inside(context, MAX_CALL_FRAMES, &mut state) {
            Some(return_value) => {
                let instructions = budget.wrapping_sub(state.left).cast_unsigned();
                Ok(Outcome { return_value, instructions })
            }
            None => Err(match state.stop {
                Some(Stop::Fault(fault)) => fault,
                _ => Fault { instruction: 0, kind: FaultKind::NoInstruction },
            }),
        }
    }

    /// Runs it where so many frames are left, and then what it goes on with. Gives register 0, or [`State::stop`] says why not.
    #[inline(always)]
    pub(crate) fn run_inside(&self, context: &mut [u8], frames: usize, state: &mut State) -> Option<u64> {
        let ended = self.inner.start(context, frames, state);
        if ended.is_some() { ended } else { go_on(context, frames, state) }
    }

    /// The function's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// `BPF_PROG_TYPE_*`, as it was loaded.
    #[must_use]
    pub fn kind(&self) -> ProgramKind {
        self.inner.kind
    }

    /// Instruction slots, the functions it calls included; a 64-bit load has two.
    #[must_use]
    pub fn instructions(&self) -> usize {
        self.inner.ops.len()
    }

    /// Bytes charged for it against the machine's limit.
    #[must_use]
    pub fn memory(&self) -> usize {
        crate::vm::saturate(self.inner.charge.bytes())
    }

    /// The maps it refers to.
    #[must_use]
    pub fn maps(&self) -> impl ExactSizeIterator<Item = &VmMap> {
        self.inner.maps.iter().map(|slot| &slot.map)
    }
}

impl fmt::Debug for VmProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmProgram")
            .field("name", &self.inner.name)
            .field("kind", &self.inner.kind)
            .field("instructions", &self.instructions())
            .finish_non_exhaustive()
    }
}

/// Places to return to: every function but the program itself needs one.
const MAX_CALLS: usize = MAX_CALL_FRAMES - 1;

impl Inner {
    #[inline(always)]
    fn start(&self, context: &mut [u8], frames: usize, state: &mut State) -> Option<u64> {
        match (self.frames, self.reserves) {
            (1, false) => run::<1, 0, 0>(self, context, frames, state),
            (1, true) => run::<1, 0, MAX_RESERVATIONS>(self, context, frames, state),
            (2, false) => run::<2, 1, 0>(self, context, frames, state),
            (2, true) => run::<2, 1, MAX_RESERVATIONS>(self, context, frames, state),
            (_, false) => run::<MAX_CALL_FRAMES, MAX_CALLS, 0>(self, context, frames, state),
            (_, true) => run::<MAX_CALL_FRAMES, MAX_CALLS, MAX_RESERVATIONS>(self, context, frames, state),
        }
    }
}

/// What comes after a program that has not returned: the program it goes on with, if that is why.
#[inline(never)]
fn go_on(context: &mut [u8], frames: usize, state: &mut State) -> Option<u64> {
    while let Some(Stop::TailCall(next)) = state.stop.take_if(|stop| matches!(stop, Stop::TailCall(_))) {
        if let Some(value) = next.inner.start(context, frames, state) {
            return Some(value);
        }
    }
    None
}

/// Everything a run needs stands in this function's frame; only as much of it as the program can use.
#[inline(never)]
fn run<const FRAMES: usize, const CALLS: usize, const RESERVATIONS: usize>(
    program: &Inner,
    context: &mut [u8],
    allowed: usize,
    state: &mut State,
) -> Option<u64> {
    let acquired = Acquired::default();
    let ended = {
        let mut stack = [[0u8; STACK_FRAME_SIZE]; FRAMES];
        let mut frames = [CallFrame::EMPTY; CALLS];
        let mut reservations: [ReservationSlot<'_>; RESERVATIONS] = [const { None }; RESERVATIONS];
        let mut memory = Memory::new(&mut stack, context, &program.maps, &acquired, &mut reservations);
        let machine = Machine { ops: &program.ops, host: &*program.host, numbers: program.numbers };
        let frames = frames.get_mut(..CALLS.min(allowed.saturating_sub(1))).unwrap_or_default();
        let ended = machine.interpret(&mut memory, frames, &Entry::START, state);
        if RESERVATIONS != 0 && memory.live_reservations() != 0 {
            memory.discard_leaked(|map| program.host.wake(map));
        }
        ended
    };
    acquired.end();
    ended
}
