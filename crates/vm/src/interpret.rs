//! Running decoded instructions, as RFC 9669 defines them.

use crate::arithmetic::*;
use crate::decode::Register::{R0, R1, R2, R3, R4};
use crate::decode::{Code, Op};
use crate::error::FaultKind;
use crate::helpers;
use crate::host::{HelperCall, Host};
use crate::memory::{Memory, index, low};
use crate::numbers::HelperNumbers;
use crate::quick;

mod calls;
mod state;

pub(crate) use self::calls::Callback;
use self::calls::tail_call;
use self::state::Registers;
pub(crate) use self::state::{CallFrame, Entry, State, Stop};

/// What is the same in all runs of a program.
pub(crate) struct Machine<'p> {
    pub(crate) ops: &'p [Op],
    pub(crate) host: &'p dyn Host,
    pub(crate) numbers: HelperNumbers,
}

impl Machine<'_> {
    /// Runs a function until it returns, and gives register 0, or is stopped, and [`State::stop`] says why. `frames` has room for the calls above it.
    pub(crate) fn interpret(
        &self,
        memory: &mut Memory<'_, '_>,
        frames: &mut [CallFrame],
        entry: &Entry,
        state: &mut State,
    ) -> Option<u64> {
        let [r1, r2, r3, r4, r5] = entry.arguments;
        let mut r = Registers([0, r1, r2, r3, r4, r5, 0, 0, 0, 0, Memory::frame_pointer(entry.base), 0]);
        // What is left of the budget if all that is ahead in `rest` were run; so it may be below 0, until control leaves some of that behind.
        let mut rest = self.ops.get(entry.function..).unwrap_or_default().iter();
        let mut ahead = state.left.wrapping_sub(count(&rest));
        'blocks: loop {
            let target = 'block: loop {
                let Some(op) = rest.next() else {
                    return state.fault(self.ops.len(), FaultKind::NoInstruction);
                };
                macro_rules! fault {
                    ($kind:expr) => {{
                        let kind = $kind;
                        return state.fault(self.index_before(&rest), kind);
                    }};
                }

                macro_rules! alu64 {
                    (K, $operation:expr) => {
                        r.set(op.dst, $operation(r.get(op.dst), op.imm))
                    };
                    (X, $operation:expr) => {
                        r.set(op.dst, $operation(r.get(op.dst), r.get(op.src)))
                    };
                }
                macro_rules! alu32 {
                    (K, $operation:expr) => {
                        r.set(op.dst, u64::from($operation(low(r.get(op.dst)), low(op.imm))))
                    };
                    (X, $operation:expr) => {
                        r.set(op.dst, u64::from($operation(low(r.get(op.dst)), low(r.get(op.src)))))
                    };
                }
                macro_rules! jump64 {
                ($second:tt, $condition:expr) => {
                    if $condition(r.get(op.dst), jump64!(@ $second)) {
                        break 'block index(op.target);
                    }
                };
                (@ K) => { op.imm };
                (@ X) => { r.get(op.src) };
            }
                macro_rules! jump32 {
                ($second:tt, $condition:expr) => {
                    if $condition(low(r.get(op.dst)), low(jump32!(@ $second))) {
                        break 'block index(op.target);
                    }
                };
                (@ K) => { op.imm };
                (@ X) => { r.get(op.src) };
            }
                macro_rules! load {
                    ($size:literal, $extend:expr) => {{
                        let address = displaced(r.get(op.src), op);
                        match memory.load_stack::<$size>(address) {
                            Some(value) => r.set(op.dst, $extend(value)),
                            None => match memory.load_behind::<$size>(address) {
                                Some(value) => r.set(op.dst, $extend(value)),
                                None => fault!(memory.fault(address, $size, false)),
                            },
                        }
                    }};
                }
                macro_rules! store {
                    ($size:literal, $value:expr) => {
                        store!(op, $size, $value)
                    };
                    ($op:ident, $size:literal, $value:expr) => {{
                        let address = displaced(r.get($op.dst), $op);
                        if memory.store::<$size>(address, $value).is_none() {
                            fault!(memory.fault(address, $size, true));
                        }
                    }};
                }

                // With the other instructions of a group, which are there.
                macro_rules! group {
                    ([$($next:pat),+] $work:block) => {
                        if let [$($next,)+ ..] = rest.as_slice() {
                            rest.nth(const { [$(stringify!($next)),+].len().wrapping_sub(1) });
                            $work
                        }
                    };
                }
                // The next instruction as well, if it is the one that mostly follows: to ask costs less than another turn through the table. `rest` counts it
                // as ever.
                macro_rules! next {
                    ($code:pat, |$op:ident| $work:block) => {
                        if let [$op, ..] = rest.as_slice()
                            && matches!($op.code, $code)
                        {
                            rest.next();
                            $work
                        }
                    };
                }
                // Two in one go where a record is written to, as it mostly is then.
                macro_rules! stores {
                    ($op:ident, $size:literal, $then:block) => {{
                        let base = r.get($op.dst);
                        let both = |second: &Op| {
                            let addresses = [displaced(base, $op), displaced(base, second)];
                            memory.store_two::<$size>(addresses, [r.get($op.src), r.get(second.src)])
                        };
                        if rest.as_slice().first().and_then(both).is_some() {
                            rest.next();
                            $then
                        } else {
                            // One by one, this one first.
                            store!($op, $size, r.get($op.src));
                        }
                    }};
                }
                macro_rules! call {
                    ($op:ident) => {{
                        let Some(frame) = frames.get_mut(r.depth()) else {
                            fault!(FaultKind::CallDepth);
                        };
                        frame.return_to = self.ops.len().wrapping_sub(rest.len());
                        frame.saved = r.saved();
                        frame.repeats = 0;
                        r.enter(1);
                        break 'block index($op.target);
                    }};
                }
                macro_rules! lookup {
                    () => {
                        match memory.lookup_element(r.get(R1), r.get(R2)) {
                            Some(address) => r.set(R0, address),
                            None => match helpers::map_lookup(r.get(R1), r.get(R2), memory, self.host) {
                                Ok(address) => r.set(R0, address),
                                Err(kind) => fault!(kind),
                            },
                        }
                    };
                }
                macro_rules! helper {
                    ($op:ident) => {
                        match helpers::call(low($op.imm), r.arguments(), memory, self.host, self.numbers) {
                            Ok(answer) => r.set(R0, answer),
                            Err(kind) => fault!(kind),
                        }
                    };
                    ($op:ident, $quick:expr) => {
                        match $quick {
                            Some(answer) => r.set(R0, answer),
                            None => helper!($op),
                        }
                    };
                }

                match op.code {
                    Code::Add64K => alu64!(K, u64::wrapping_add),
                    Code::Add64X => alu64!(X, u64::wrapping_add),
                    Code::Add32K => alu32!(K, u32::wrapping_add),
                    Code::Add32X => alu32!(X, u32::wrapping_add),
                    Code::Sub64K => alu64!(K, u64::wrapping_sub),
                    Code::Sub64X => alu64!(X, u64::wrapping_sub),
                    Code::Sub32K => alu32!(K, u32::wrapping_sub),
                    Code::Sub32X => alu32!(X, u32::wrapping_sub),
                    Code::Mul64K => alu64!(K, u64::wrapping_mul),
                    Code::Mul64X => alu64!(X, u64::wrapping_mul),
                    Code::Mul32K => alu32!(K, u32::wrapping_mul),
                    Code::Mul32X => alu32!(X, u32::wrapping_mul),
                    Code::Div64K => alu64!(K, div64),
                    Code::Div64X => alu64!(X, div64),
                    Code::Div32K => alu32!(K, div32),
                    Code::Div32X => alu32!(X, div32),
                    Code::SDiv64K => alu64!(K, sdiv64),
                    Code::SDiv64X => alu64!(X, sdiv64),
                    Code::SDiv32K => alu32!(K, sdiv32),
                    Code::SDiv32X => alu32!(X, sdiv32),
                    Code::Or64K => alu64!(K, |a, b| a | b),
                    Code::Or64X => alu64!(X, |a, b| a | b),
                    Code::Or32K => alu32!(K, |a, b| a | b),
                    Code::Or32X => alu32!(X, |a, b| a | b),
                    Code::And64K => alu64!(K, |a, b| a & b),
                    Code::And64X => alu64!(X, |a, b| a & b),
                    Code::And32K => alu32!(K, |a, b| a & b),
                    Code::And32X => alu32!(X, |a, b| a & b),
                    Code::Lsh64K => alu64!(K, lsh64),
                    Code::Lsh64X => alu64!(X, lsh64),
                    Code::Lsh32K => alu32!(K, u32::wrapping_shl),
                    Code::Lsh32X => alu32!(X, u32::wrapping_shl),
                    Code::Rsh64K => alu64!(K, rsh64),
                    Code::Rsh64X => alu64!(X, rsh64),
                    Code::Rsh32K => alu32!(K, u32::wrapping_shr),
                    Code::Rsh32X => alu32!(X, u32::wrapping_shr),
                    Code::Mod64K => alu64!(K, mod64),
                    Code::Mod64X => alu64!(X, mod64),
                    Code::Mod32K => alu32!(K, mod32),
                    Code::Mod32X => alu32!(X, mod32),
                    Code::SMod64K => alu64!(K, smod64),
                    Code::SMod64X => alu64!(X, smod64),
                    Code::SMod32K => alu32!(K, smod32),
                    Code::SMod32X => alu32!(X, smod32),
                    Code::Xor64K => alu64!(K, |a, b| a ^ b),
                    Code::Xor64X => alu64!(X, |a, b| a ^ b),
                    Code::Xor32K => alu32!(K, |a, b| a ^ b),
                    Code::Xor32X => alu32!(X, |a, b| a ^ b),
                    Code::Arsh64K => alu64!(K, arsh64),
                    Code::Arsh64X => alu64!(X, arsh64),
                    Code::Arsh32K => alu32!(K, arsh32),
                    Code::Arsh32X => alu32!(X, arsh32),
                    Code::Neg64 => r.set(op.dst, r.get(op.dst).wrapping_neg()),
                    Code::Neg32 => r.set(op.dst, u64::from(low(r.get(op.dst)).wrapping_neg())),
                    Code::Load => r.set(op.dst, op.imm),
                    Code::LoadWide => {
                        r.set(op.dst, op.imm);
                        rest.next();
                    }
                    Code::Mov64X => r.set(op.dst, r.get(op.src)),
                    Code::Mov32X => r.set(op.dst, u64::from(low(r.get(op.src)))),
                    Code::MovSx8To64 => r.set(op.dst, extend8(r.get(op.src))),
                    Code::MovSx16To64 => r.set(op.dst, extend16(r.get(op.src))),
                    Code::MovSx32To64 => r.set(op.dst, extend32(r.get(op.src))),
                    Code::MovSx8To32 => r.set(op.dst, u64::from(low(extend8(r.get(op.src))))),
                    Code::MovSx16To32 => r.set(op.dst, u64::from(low(extend16(r.get(op.src))))),
                    Code::Low16 => r.set(op.dst, r.get(op.dst) & 0xffff),
                    Code::Low32 => r.set(op.dst, r.get(op.dst) & 0xffff_ffff),
                    Code::Low64 => {}
                    Code::Swap16 => r.set(op.dst, r.get(op.dst).swap_bytes() >> 48),
                    Code::Swap32 => r.set(op.dst, r.get(op.dst).swap_bytes() >> 32),
                    Code::Swap64 => r.set(op.dst, r.get(op.dst).swap_bytes()),

                    Code::Ja => break 'block index(op.target),
                    Code::Jeq64K => jump64!(K, |a, b| a == b),
                    Code::Jeq64X => jump64!(X, |a, b| a == b),
                    Code::Jeq32K => jump32!(K, |a, b| a == b),
                    Code::Jeq32X => jump32!(X, |a, b| a == b),
                    Code::Jne64K => jump64!(K, |a, b| a != b),
                    Code::Jne64X => jump64!(X, |a, b| a != b),
                    Code::Jne32K => jump32!(K, |a, b| a != b),
                    Code::Jne32X => jump32!(X, |a, b| a != b),
                    Code::Jset64K => jump64!(K, |a, b| a & b != 0),
                    Code::Jset64X => jump64!(X, |a, b| a & b != 0),
                    Code::Jset32K => jump32!(K, |a, b| a & b != 0),
                    Code::Jset32X => jump32!(X, |a, b| a & b != 0),
                    Code::Jgt64K => jump64!(K, |a, b| a > b),
                    Code::Jgt64X => jump64!(X, |a, b| a > b),
                    Code::Jgt32K => jump32!(K, |a, b| a > b),
                    Code::Jgt32X => jump32!(X, |a, b| a > b),
                    Code::Jge64K => jump64!(K, |a, b| a >= b),
                    Code::Jge64X => jump64!(X, |a, b| a >= b),
                    Code::Jge32K => jump32!(K, |a, b| a >= b),
                    Code::Jge32X => jump32!(X, |a, b| a >= b),
                    Code::Jlt64K => jump64!(K, |a, b| a < b),
                    Code::Jlt64X => jump64!(X, |a, b| a < b),
                    Code::Jlt32K => jump32!(K, |a, b| a < b),
                    Code::Jlt32X => jump32!(X, |a, b| a < b),
                    Code::Jle64K => jump64!(K, |a, b| a <= b),
                    Code::Jle64X => jump64!(X, |a, b| a <= b),
                    Code::Jle32K => jump32!(K, |a, b| a <= b),
                    Code::Jle32X => jump32!(X, |a, b| a <= b),
                    Code::Jsgt64K => jump64!(K, |a: u64, b: u64| a.cast_signed() > b.cast_signed()),
                    Code::Jsgt64X => jump64!(X, |a: u64, b: u64| a.cast_signed() > b.cast_signed()),
                    Code::Jsgt32K => jump32!(K, |a: u32, b: u32| a.cast_signed() > b.cast_signed()),
                    Code::Jsgt32X => jump32!(X, |a: u32, b: u32| a.cast_signed() > b.cast_signed()),
                    Code::Jsge64K => jump64!(K, |a: u64, b: u64| a.cast_signed() >= b.cast_signed()),
                    Code::Jsge64X => jump64!(X, |a: u64, b: u64| a.cast_signed() >= b.cast_signed()),
                    Code::Jsge32K => jump32!(K, |a: u32, b: u32| a.cast_signed() >= b.cast_signed()),
                    Code::Jsge32X => jump32!(X, |a: u32, b: u32| a.cast_signed() >= b.cast_signed()),
                    Code::Jslt64K => jump64!(K, |a: u64, b: u64| a.cast_signed() < b.cast_signed()),
                    Code::Jslt64X => jump64!(X, |a: u64, b: u64| a.cast_signed() < b.cast_signed()),
                    Code::Jslt32K => jump32!(K, |a: u32, b: u32| a.cast_signed() < b.cast_signed()),
                    Code::Jslt32X => jump32!(X, |a: u32, b: u32| a.cast_signed() < b.cast_signed()),
                    Code::Jsle64K => jump64!(K, |a: u64, b: u64| a.cast_signed() <= b.cast_signed()),
                    Code::Jsle64X => jump64!(X, |a: u64, b: u64| a.cast_signed() <= b.cast_signed()),
                    Code::Jsle32K => jump32!(K, |a: u32, b: u32| a.cast_signed() <= b.cast_signed()),
                    Code::Jsle32X => jump32!(X, |a: u32, b: u32| a.cast_signed() <= b.cast_signed()),

                    Code::Load8 => load!(1, core::convert::identity),
                    Code::Load16 => load!(2, core::convert::identity),
                    Code::Load32 => load!(4, core::convert::identity),
                    Code::Load64 => load!(8, core::convert::identity),
                    Code::LoadSx8 => load!(1, extend8),
                    Code::LoadSx16 => load!(2, extend16),
                    Code::LoadSx32 => load!(4, extend32),
                    Code::Store8K => store!(1, op.imm),
                    Code::Store16K => store!(2, op.imm),
                    Code::Store32K => store!(4, op.imm),
                    Code::Store64K => store!(8, op.imm),
                    Code::Store8X => store!(1, r.get(op.src)),
                    Code::Store16X => store!(2, r.get(op.src)),
                    Code::Store32X => store!(4, r.get(op.src)),
                    Code::Store64X => store!(8, r.get(op.src)),
                    Code::Atomic32 => {
                        if let Err(kind) = atomic::<4>(&mut r, memory, op) {
                            fault!(kind)
                        }
                    }
                    Code::Atomic64 => {
                        if let Err(kind) = atomic::<8>(&mut r, memory, op) {
                            fault!(kind)
                        }
                    }

                    Code::Lookup => lookup!(),
                    Code::Helper => helper!(op),
                    Code::MapPush => helper!(op, quick::push(r.arguments(), memory)),
                    Code::MapPop => helper!(op, quick::take(r.arguments(), memory, true)),
                    Code::MapPeek => helper!(op, quick::take(r.arguments(), memory, false)),
                    Code::RingOutput => helper!(op, quick::output(r.arguments(), memory, self.host)),
                    Code::RingReserve => helper!(op, quick::reserve(r.arguments(), memory)),
                    Code::RingSubmit => helper!(op, quick::commit(r.arguments(), memory, self.host, true)),
                    Code::RingDiscard => helper!(op, quick::commit(r.arguments(), memory, self.host, false)),
                    Code::HostHelper => {
                        let mut call = HelperCall::new(r.arguments(), memory);
                        match self.host.call(low(op.imm), &mut call) {
                            Ok(answer) => r.set(R0, answer),
                            Err(kind) => fault!(kind),
                        }
                    }
                    Code::Callback => {
                        state.left = ahead.wrapping_add(count(&rest));
                        let above = frames.get_mut(r.depth()..).unwrap_or_default();
                        let call = Callback {
                            machine: self,
                            at: self.index_before(&rest),
                            base: entry.base.wrapping_add(r.depth()),
                            frames: above,
                            state,
                        };
                        r.set(R0, call.run(low(op.imm), r.arguments(), memory)?);
                        ahead = state.left.wrapping_sub(count(&rest));
                    }
                    Code::TailCall => match tail_call(r.arguments(), memory, state) {
                        Err(kind) => fault!(kind),
                        Ok(Err(errno)) => r.set(R0, self.numbers.error(errno)),
                        Ok(Ok(program)) => {
                            state.left = ahead.wrapping_add(count(&rest));
                            if state.left < 0 {
                                fault!(FaultKind::BudgetExhausted { budget: state.budget });
                            }
                            let below = entry.base.wrapping_add(r.depth());
                            if below == 0 {
                                state.stop = Some(Stop::TailCall(program));
                                return None;
                            }
                            // In the place of this function, which then returns what the program returns.
                            let left = frames.len().wrapping_sub(r.depth()).wrapping_add(1);
                            r.set(R0, program.run_inside(memory.context(), left, state)?);
                            rest = RETURN.iter();
                            // That return is nobody's instruction.
                            ahead = state.left;
                        }
                    },
                    Code::Call => call!(op),
                    Code::Loop => {
                        let (repeats, callback) = (low(r.get(R1)), r.get(R2));
                        match self.check_loop(repeats, callback, r.get(R4)) {
                            Err(kind) => fault!(kind),
                            Ok(Some(answer)) => r.set(R0, answer),
                            Ok(None) => {
                                let Some(frame) = frames.get_mut(r.depth()) else {
                                    fault!(FaultKind::CallDepth);
                                };
                                let (callback, argument) = (low(callback), r.get(R3));
                                *frame = CallFrame {
                                    return_to: self.ops.len().wrapping_sub(rest.len()),
                                    saved: r.saved(),
                                    repeats,
                                    done: 0,
                                    callback,
                                    argument,
                                };
                                r.enter(1);
                                r.set(R1, 0);
                                r.set(R2, argument);
                                break 'block index(callback);
                            }
                        }
                    }
                    Code::Exit => {
                        let Some(caller) = r.depth().checked_sub(1) else {
                            let reservations = memory.live_reservations();
                            if reservations != 0 && entry.base == 0 {
                                fault!(FaultKind::ReservationLeak { reservations });
                            }
                            break 'blocks;
                        };
                        let Some(frame) = frames.get_mut(caller) else {
                            fault!(FaultKind::CallDepth);
                        };
                        if frame.repeats != 0 {
                            frame.done = frame.done.wrapping_add(1);
                            if r.get(R0) == 0 && frame.done < frame.repeats {
                                r.set(R1, u64::from(frame.done));
                                r.set(R2, frame.argument);
                                break 'block index(frame.callback);
                            }
                            r.set(R0, u64::from(frame.done));
                        }
                        r.restore(frame.saved);
                        r.enter(-1);
                        break 'block frame.return_to;
                    }
                    Code::Trap => fault!(FaultKind::NoInstruction),

                    Code::MovMov => group!([second] {
                        r.set(op.dst, r.get(op.src));
                        r.set(second.dst, r.get(second.src));
                    }),
                    Code::MovMovMov => group!([second, third] {
                        r.set(op.dst, r.get(op.src));
                        r.set(second.dst, r.get(second.src));
                        r.set(third.dst, r.get(third.src));
                    }),
                    Code::MovLoad => group!([second] {
                        r.set(op.dst, r.get(op.src));
                        r.set(second.dst, second.imm);
                    }),
                    Code::LoadMov => group!([second] {
                        r.set(op.dst, op.imm);
                        r.set(second.dst, r.get(second.src));
                    }),
                    Code::LoadLoad => group!([second] {
                        r.set(op.dst, op.imm);
                        r.set(second.dst, second.imm);
                    }),
                    Code::WideMov => group!([_, second] {
                        r.set(op.dst, op.imm);
                        r.set(second.dst, r.get(second.src));
                    }),
                    Code::WideLoad => group!([_, second] {
                        r.set(op.dst, op.imm);
                        r.set(second.dst, second.imm);
                    }),
                    Code::MovAdd => group!([_] {
                        r.set(op.dst, r.get(op.src).wrapping_add(op.imm));
                    }),
                    Code::MovAddWide => group!([_, wide, _] {
                        r.set(op.dst, r.get(op.src).wrapping_add(op.imm));
                        r.set(wide.dst, wide.imm);
                    }),
                    Code::MovAnd => group!([_] {
                        r.set(op.dst, r.get(op.src) & op.imm);
                    }),
                    Code::MovLshAnd => group!([_, _] {
                        r.set(op.dst, r.get(op.src).wrapping_shl(op.target) & op.imm);
                    }),
                    Code::LshAnd => group!([_] {
                        r.set(op.dst, r.get(op.dst).wrapping_shl(op.target) & op.imm);
                    }),
                    Code::MovRshAnd => group!([_, _] {
                        r.set(op.dst, r.get(op.src).wrapping_shr(op.target) & op.imm);
                    }),
                    Code::RshAnd => group!([_] {
                        r.set(op.dst, r.get(op.dst).wrapping_shr(op.target) & op.imm);
                    }),
                    Code::Signed3 => group!([_, _] {
                        r.set(op.dst, extend32(r.get(op.src)));
                    }),
                    Code::Signed2 => group!([_] {
                        r.set(op.dst, extend32(r.get(op.dst)));
                    }),
                    Code::Unsigned3 => group!([_, _] {
                        r.set(op.dst, u64::from(low(r.get(op.src))));
                    }),
                    Code::Unsigned2 => group!([_] {
                        r.set(op.dst, u64::from(low(r.get(op.dst))));
                    }),
                    Code::Increment32 => match memory.increment::<4>(displaced(r.get(op.src), op), op.imm) {
                        Some(sum) => group!([_, _] {
                            r.set(op.dst, sum);
                            next!(Code::Jne64K, |op| {
                                if r.get(op.dst) != op.imm {
                                    break 'block index(op.target);
                                }
                            });
                        }),
                        // One by one, this one first.
                        None => load!(4, core::convert::identity),
                    },
                    Code::Increment64 => match memory.increment::<8>(displaced(r.get(op.src), op), op.imm) {
                        Some(sum) => group!([_, _] {
                            r.set(op.dst, sum);
                        }),
                        // One by one, this one first.
                        None => load!(8, core::convert::identity),
                    },
                    Code::AddJne => group!([jump] {
                        let sum = r.get(op.dst).wrapping_add(op.imm);
                        r.set(op.dst, sum);
                        if sum != jump.imm {
                            break 'block index(jump.target);
                        }
                    }),
                    Code::LoadStore32 => {
                        r.set(op.dst, op.imm);
                        group!([op] {
                            store!(op, 4, r.get(op.src));
                        });
                    }
                    Code::LoadStore64 => {
                        r.set(op.dst, op.imm);
                        group!([op] {
                            store!(op, 8, r.get(op.src));
                        });
                    }
                    Code::MovLoadCall => group!([second, last] {
                        r.set(op.dst, r.get(op.src));
                        r.set(second.dst, second.imm);
                        call!(last);
                    }),
                    Code::Signed3MovLoadCall => group!([_, _, second, third, last] {
                        r.set(op.dst, extend32(r.get(op.src)));
                        r.set(second.dst, r.get(second.src));
                        r.set(third.dst, third.imm);
                        call!(last);
                    }),
                    Code::Store32Store32 => stores!(op, 4, {}),
                    Code::Store64Store64 => {
                        stores!(op, 8, { next!(Code::Store32Store32, |op| { stores!(op, 4, {}) }) })
                    }
                    Code::WideReserve => group!([_, size, flags, last] {
                        r.set(R1, op.imm);
                        r.set(R2, size.imm);
                        r.set(R3, flags.imm);
                        helper!(last, quick::reserve(r.arguments(), memory));
                    }),
                    Code::MovSubmit => group!([flags, last] {
                        r.set(R1, r.get(op.src));
                        r.set(R2, flags.imm);
                        helper!(last, quick::commit(r.arguments(), memory, self.host, true));
                    }),
                    Code::MovDiscard => group!([flags, last] {
                        r.set(R1, r.get(op.src));
                        r.set(R2, flags.imm);
                        helper!(last, quick::commit(r.arguments(), memory, self.host, false));
                    }),
                    Code::WidePush => group!([_, value, flags, last] {
                        r.set(R1, op.imm);
                        r.set(R2, r.get(value.src));
                        r.set(R3, flags.imm);
                        helper!(last, quick::push(r.arguments(), memory));
                    }),
                    Code::WidePop => group!([_, value, last] {
                        r.set(R1, op.imm);
                        r.set(R2, r.get(value.src));
                        helper!(last, quick::take(r.arguments(), memory, true));
                    }),
                    Code::WidePeek => group!([_, value, last] {
                        r.set(R1, op.imm);
                        r.set(R2, r.get(value.src));
                        helper!(last, quick::take(r.arguments(), memory, false));
                    }),
                    Code::WideLookupJeq => {
                        r.set(R1, op.imm);
                        rest.nth(1);
                        lookup!();
                        group!([jump] {
                            if r.get(R0) == 0 {
                                break 'block index(jump.target);
                            }
                        });
                    }
                    Code::LookupJeq => {
                        lookup!();
                        group!([jump] {
                            if r.get(R0) == 0 {
                                break 'block index(jump.target);
                            }
                        });
                    }
                }
            };
            // Paid for when control moves, which is what every endless run has to do.
            let left = ahead.wrapping_add(count(&rest));
            if left < 0 {
                let budget = state.budget;
                return state.fault(self.index_before(&rest), FaultKind::BudgetExhausted { budget });
            }
            // Apart from the slicing, so that the compiler goes from here to the next instruction without asking whether there is one.
            if target >= self.ops.len() {
                return state.fault(self.ops.len(), FaultKind::NoInstruction);
            }
            rest = self.ops.get(target..).unwrap_or_default().iter();
            ahead = left.wrapping_sub(count(&rest));
        }
        state.left = ahead.wrapping_add(count(&rest));
        if state.left < 0 {
            let budget = state.budget;
            return state.fault(self.index_before(&rest), FaultKind::BudgetExhausted { budget });
        }
        Some(r.get(R0))
    }

    /// The index of the instruction before `rest`.
    #[cold]
    fn index_before(&self, rest: &core::slice::Iter<'_, Op>) -> usize {
        self.ops.len().saturating_sub(rest.len()).saturating_sub(1)
    }
}

/// What is run after a tail call from a function: its return.
const RETURN: &[Op] = &[Op { code: Code::Exit, ..Op::TRAP }];

#[inline(never)]
fn atomic<const N: usize>(r: &mut Registers, memory: &mut Memory<'_, '_>, op: &Op) -> Result<(), FaultKind> {
    use crate::decode::atomic::{CMPXCHG, FETCH};
    let old = memory.atomic::<N>(displaced(r.get(op.dst), op), op.imm, r.get(op.src), r.get(R0))?;
    if op.imm == CMPXCHG {
        r.set(R0, old);
    } else if op.imm & FETCH != 0 {
        r.set(op.src, old);
    }
    Ok(())
}

#[inline(always)]
fn count(rest: &core::slice::Iter<'_, Op>) -> i64 {
    (rest.len() as u64).cast_signed()
}

#[inline(always)]
fn displaced(base: u64, op: &Op) -> u64 {
    base.wrapping_add(i64::from(op.target.cast_signed()).cast_unsigned())
}
