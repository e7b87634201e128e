//! What is checked before anything runs, and the decoding that comes out of it.
//!
//! Two passes. The first looks at each instruction by itself: opcode, registers, reserved fields, what it refers to. It
//! finds the functions: index 0 and whatever is called or has its address taken. The second knows where functions begin
//! and end, and checks that jumps stay inside theirs and that none runs on into the next. Time is linear in the number
//! of instructions, but for one binary search among the functions per call.
//!
//! What is *not* checked here, because every access is checked when it happens: types and bounds of pointers, registers
//! read before they are written (they are zero), loops (the budget ends them).

use alloc::vec::Vec;

use ebpf_loader::{Instruction, MapKind};

use crate::decode::{self, Code, Op, Register, SOURCE_X, atomic, class};
use crate::error::{ValidationError, ValidationErrorKind as Kind};
use crate::host::Host;
use crate::maps::VmMap;
use crate::memory::{self, Region};
use crate::numbers::HelperNumbers;
use crate::{MAX_INSTRUCTIONS, MAX_PROGRAM_MAPS, flow, helpers};

/// A program that may run.
#[derive(Debug)]
pub(crate) struct Validated {
    pub(crate) ops: Vec<Op>,
    /// The maps it refers to; the position is part of their addresses.
    pub(crate) maps: Vec<VmMap>,
    /// Functions that can be inside each other, 1 to [`MAX_CALL_FRAMES`](crate::MAX_CALL_FRAMES).
    pub(crate) frames: usize,
    /// Whether it can hold ring reservations.
    pub(crate) reserves: bool,
}

/// Which helpers there are.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'r> {
    pub(crate) numbers: HelperNumbers,
    pub(crate) host: &'r dyn Host,
}

/// Checks and decodes a program; `map` finds what a map reference stands for.
pub(crate) fn validate(
    instructions: &[Instruction],
    rules: Rules<'_>,
    map: impl Fn(i32) -> Option<VmMap>,
) -> Result<Validated, ValidationError> {
    let too_long = Kind::TooLong { instructions: instructions.len() };
    if instructions.is_empty() {
        return Err(ValidationError { instruction: 0, kind: Kind::Empty });
    }
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(ValidationError { instruction: MAX_INSTRUCTIONS, kind: too_long });
    }
    let mut pass = FirstPass {
        instructions,
        rules,
        ops: Vec::new(),
        marks: Vec::new(),
        maps: Vec::new(),
        reserves: false,
        map,
    };
    let no_memory = |_| ValidationError { instruction: 0, kind: too_long };
    pass.ops.try_reserve_exact(instructions.len()).map_err(no_memory)?;
    pass.marks.try_reserve_exact(instructions.len()).map_err(no_memory)?;
    pass.marks.resize(instructions.len(), 0);
    pass.mark(0, FUNCTION);
    while let Some(instruction) = instructions.get(pass.ops.len()) {
        let index = pass.ops.len();
        let op =
            pass.decode(index, *instruction).map_err(|kind| ValidationError { instruction: index, kind })?;
        pass.ops.push(op);
        if instruction.opcode() == WIDE {
            pass.ops.push(Op::TRAP);
        }
    }
    let frames = flow::check(&pass.ops, &pass.marks)?;
    for (op, marks) in pass.ops.iter_mut().zip(&pass.marks) {
        op.entry = marks & FUNCTION != 0;
    }
    Ok(Validated { ops: pass.ops, maps: pass.maps, frames, reserves: pass.reserves })
}

/// Opcode of the 64-bit immediate load.
const WIDE: u8 = 0x18;

/// What a 64-bit load's source register says about its immediate (RFC 9669 §5.4).
mod pseudo {
    pub(super) const CONSTANT: u8 = 0;
    pub(super) const MAP: u8 = 1;
    pub(super) const MAP_VALUE: u8 = 2;
    pub(super) const FUNCTION: u8 = 4;
    /// In a call: the immediate is a distance.
    pub(super) const CALL: u8 = 1;
}

/// Marks of an instruction slot.
pub(crate) const SECOND_HALF: u8 = 1;
pub(crate) const FUNCTION: u8 = 2;

struct FirstPass<'a, F> {
    instructions: &'a [Instruction],
    rules: Rules<'a>,
    ops: Vec<Op>,
    marks: Vec<u8>,
    maps: Vec<VmMap>,
    reserves: bool,
    map: F,
}

impl<F: Fn(i32) -> Option<VmMap>> FirstPass<'_, F> {
    fn mark(&mut self, index: usize, mark: u8) {
        if let Some(marks) = self.marks.get_mut(index) {
            *marks |= mark;
        }
    }

    fn decode(&mut self, index: usize, instruction: Instruction) -> Result<Op, Kind> {
        let opcode = instruction.opcode();
        let unknown = Kind::UnknownOpcode { opcode };
        match opcode & 7 {
            class::ALU | class::ALU64 => arithmetic(instruction),
            class::LDX | class::ST | class::STX if opcode & 0xe7 == 0xc3 => atomic_op(instruction),
            class::LDX | class::ST | class::STX => memory_op(instruction),
            class::LD if opcode == WIDE => self.wide(index, instruction),
            // `ABS` and `IND`, of one, two and four bytes.
            class::LD if matches!(opcode, 0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50) => {
                Err(Kind::PacketAccess { opcode })
            }
            class::JMP | class::JMP32 => match opcode {
                0x05 => {
                    zero("immediate", instruction.imm())?;
                    no_registers(instruction)?;
                    self.jump(index, i64::from(instruction.offset()), Op { code: Code::Ja, ..Op::TRAP })
                }
                0x06 => {
                    zero("offset", instruction.offset())?;
                    no_registers(instruction)?;
                    self.jump(index, i64::from(instruction.imm()), Op { code: Code::Ja, ..Op::TRAP })
                }
                0x85 => self.call(index, instruction),
                0x95 => {
                    zero("offset", instruction.offset())?;
                    zero("immediate", instruction.imm())?;
                    no_registers(instruction)?;
                    Ok(Op { code: Code::Exit, ..Op::TRAP })
                }
                _ => {
                    let code = decode::conditional_jump(opcode).ok_or(unknown)?;
                    let op = operands(code, instruction, opcode & 7 == class::JMP)?;
                    self.jump(index, i64::from(instruction.offset()), op)
                }
            },
            _ => Err(unknown),
        }
    }

    /// `op` with its absolute target. Which function that belongs to is the second pass's matter.
    fn jump(&self, index: usize, distance: i64, op: Op) -> Result<Op, Kind> {
        let target = self.target(index, distance)?;
        Ok(Op { target, ..op })
    }

    fn target(&self, index: usize, distance: i64) -> Result<u32, Kind> {
        let target = i64::try_from(index).unwrap_or(i64::MAX).saturating_add(1).saturating_add(distance);
        match u32::try_from(target) {
            Ok(inside) if memory::index(inside) < self.instructions.len() => Ok(inside),
            _ => Err(Kind::JumpOutside { target }),
        }
    }

    fn call(&mut self, index: usize, instruction: Instruction) -> Result<Op, Kind> {
        zero("offset", instruction.offset())?;
        zero("destination register", instruction.dst())?;
        match instruction.src() {
            0 => {
                let number = instruction.imm();
                let Some(helper) = self.rules.numbers.helper(number) else {
                    let unknown = Kind::UnknownHelper { helper: number };
                    let of_host = u32::try_from(number).ok().filter(|number| self.rules.host.knows(*number));
                    let imm = u64::from(of_host.ok_or(unknown)?);
                    return Ok(Op { code: Code::HostHelper, imm, ..Op::TRAP });
                };
                self.reserves |= matches!(helper, helpers::RINGBUF_RESERVE | helpers::RINGBUF_RESERVE_DYNPTR);
                let code = match helper {
                    helpers::LOOP => Code::Loop,
                    helpers::MAP_LOOKUP_ELEM => Code::Lookup,
                    helpers::TAIL_CALL => Code::TailCall,
                    helpers::FOR_EACH_MAP_ELEM | helpers::USER_RINGBUF_DRAIN => Code::Callback,
                    // Short ways answer as Linux does.
                    _ if self.rules.numbers != HelperNumbers::Linux => Code::Helper,
                    helpers::MAP_PUSH_ELEM => Code::MapPush,
                    helpers::MAP_POP_ELEM => Code::MapPop,
                    helpers::MAP_PEEK_ELEM => Code::MapPeek,
                    helpers::RINGBUF_OUTPUT => Code::RingOutput,
                    helpers::RINGBUF_RESERVE => Code::RingReserve,
                    helpers::RINGBUF_SUBMIT => Code::RingSubmit,
                    helpers::RINGBUF_DISCARD => Code::RingDiscard,
                    _ => Code::Helper,
                };
                Ok(Op { code, imm: u64::from(helper), ..Op::TRAP })
            }
            pseudo::CALL => {
                let target = self.target(index, i64::from(instruction.imm()))?;
                self.mark(memory::index(target), FUNCTION);
                Ok(Op { code: Code::Call, target, ..Op::TRAP })
            }
            src => Err(Kind::UnsupportedSource { src }),
        }
    }

    fn wide(&mut self, index: usize, instruction: Instruction) -> Result<Op, Kind> {
        let second = index.checked_add(1).and_then(|next| Some((next, self.instructions.get(next)?)));
        let (second_index, second) = second.ok_or(Kind::TruncatedLoad)?;
        zero("offset", instruction.offset())?;
        zero("opcode of the second half", second.opcode())?;
        zero("offset of the second half", second.offset())?;
        no_registers(*second)?;
        writable(instruction.dst())?;
        self.mark(second_index, SECOND_HALF);
        let (low, high) = (instruction.imm().cast_unsigned(), second.imm().cast_unsigned());
        let imm = match instruction.src() {
            pseudo::CONSTANT => u64::from(high) << 32 | u64::from(low),
            pseudo::MAP => {
                zero("second immediate", second.imm())?;
                let slot = self.map_slot(instruction.imm())?;
                Region::Handle(slot).address(0)
            }
            pseudo::MAP_VALUE => {
                let slot = self.map_slot(instruction.imm())?;
                self.value_address(slot, high)?
            }
            pseudo::FUNCTION => {
                zero("second immediate", second.imm())?;
                let target = self.target(index, i64::from(instruction.imm()))?;
                self.mark(memory::index(target), FUNCTION);
                // The target rides along for the call graph: `bpf_loop` may call what has its address taken.
                let imm = Region::Function.address(target);
                return Ok(Op {
                    code: Code::LoadWide,
                    dst: register(instruction.dst())?,
                    src: FUNCTION_ADDRESS,
                    target,
                    imm,
                    ..Op::TRAP
                });
            }
            src => return Err(Kind::UnsupportedSource { src }),
        };
        Ok(Op { code: Code::LoadWide, dst: register(instruction.dst())?, imm, ..Op::TRAP })
    }

    /// Position of the referenced map among the program's maps.
    fn map_slot(&mut self, reference: i32) -> Result<u32, Kind> {
        let map = (self.map)(reference).ok_or(Kind::UnknownMap { reference })?;
        let known = self.maps.iter().position(|known| known.id() == map.id());
        let slot = match known {
            Some(slot) => slot,
            None if self.maps.len() < MAX_PROGRAM_MAPS => {
                self.maps.push(map);
                self.maps.len().saturating_sub(1)
            }
            None => return Err(Kind::TooManyMaps),
        };
        u32::try_from(slot).map_err(|_| Kind::TooManyMaps)
    }

    /// As `map_direct_value_addr` of Linux's `kernel/bpf/arraymap.c`: arrays of one entry only.
    fn value_address(&self, slot: u32, offset: u32) -> Result<u64, Kind> {
        let map = self.maps.get(memory::index(slot)).ok_or(Kind::MapWithoutAddress)?;
        if map.kind() != MapKind::ARRAY || map.max_entries() != 1 {
            return Err(Kind::MapWithoutAddress);
        }
        if offset >= map.value_size() {
            return Err(Kind::MapOffset { offset, value_size: map.value_size() });
        }
        Ok(Region::Map { slot, id: map.id() }.address(offset))
    }
}

/// In a decoded 64-bit load, the source register's place says that it holds a function's address.
pub(crate) const FUNCTION_ADDRESS: Register = Register::R1;

fn arithmetic(instruction: Instruction) -> Result<Op, Kind> {
    let opcode = instruction.opcode();
    let unknown = Kind::UnknownOpcode { opcode };
    if opcode & 0xf0 == 0xd0 {
        if opcode == 0xdf {
            return Err(unknown);
        }
        zero("source register", instruction.src())?;
        zero("offset", instruction.offset())?;
        writable(instruction.dst())?;
        let width = instruction.imm();
        let code = decode::swap(opcode, width).ok_or(Kind::SwapWidth { width })?;
        return Ok(Op { code, dst: register(instruction.dst())?, ..Op::TRAP });
    }
    let Some(code) = decode::arithmetic(opcode, instruction.offset()) else {
        // Without the offset it would be an instruction: then it is the offset that is wrong.
        return Err(match decode::arithmetic(opcode, 0) {
            Some(_) => Kind::ReservedField { field: "offset" },
            None => unknown,
        });
    };
    if matches!(code, Code::Neg32 | Code::Neg64) {
        zero("immediate", instruction.imm())?;
    }
    writable(instruction.dst())?;
    operands(code, instruction, opcode & 7 == class::ALU64)
}

fn memory_op(instruction: Instruction) -> Result<Op, Kind> {
    let opcode = instruction.opcode();
    let code = decode::memory(opcode).ok_or(Kind::UnknownOpcode { opcode })?;
    let is_immediate = opcode & 7 == class::ST;
    if is_immediate {
        zero("source register", instruction.src())?;
    } else {
        zero("immediate", instruction.imm())?;
    }
    if opcode & 7 == class::LDX {
        writable(instruction.dst())?;
    }
    Ok(Op {
        code,
        dst: register(instruction.dst())?,
        src: register(instruction.src())?,
        target: i32::from(instruction.offset()).cast_unsigned(),
        imm: i64::from(instruction.imm()).cast_unsigned(),
        ..Op::TRAP
    })
}

fn atomic_op(instruction: Instruction) -> Result<Op, Kind> {
    let operation = instruction.imm();
    let code = match instruction.opcode() {
        0xc3 => Code::Atomic32,
        0xdb => Code::Atomic64,
        opcode => return Err(Kind::UnknownOpcode { opcode }),
    };
    let unknown = Kind::UnknownAtomic { operation };
    let imm = u64::try_from(operation).map_err(|_| unknown)?;
    match imm {
        atomic::XCHG => writable(instruction.src())?,
        atomic::CMPXCHG => {}
        _ => {
            if !matches!(imm & !atomic::FETCH, atomic::ADD | atomic::OR | atomic::AND | atomic::XOR) {
                return Err(unknown);
            }
            if imm & atomic::FETCH != 0 {
                writable(instruction.src())?;
            }
        }
    }
    Ok(Op {
        code,
        dst: register(instruction.dst())?,
        src: register(instruction.src())?,
        target: i32::from(instruction.offset()).cast_unsigned(),
        imm,
        ..Op::TRAP
    })
}

/// Registers and immediate of an instruction whose second operand is one or the other. A 64-bit operation extends the
/// immediate's sign, a 32-bit one takes its 32 bits.
fn operands(code: Code, instruction: Instruction, is_64: bool) -> Result<Op, Kind> {
    if instruction.opcode() & SOURCE_X == 0 {
        zero("source register", instruction.src())?;
    } else {
        zero("immediate", instruction.imm())?;
    }
    let imm = if is_64 {
        i64::from(instruction.imm()).cast_unsigned()
    } else {
        u64::from(instruction.imm().cast_unsigned())
    };
    Ok(Op { code, dst: register(instruction.dst())?, src: register(instruction.src())?, imm, ..Op::TRAP })
}

fn register(register: u8) -> Result<Register, Kind> {
    Register::ALL.get(usize::from(register)).copied().ok_or(Kind::Register { register })
}

fn writable(number: u8) -> Result<(), Kind> {
    if register(number)? == Register::R10 { Err(Kind::ReadOnlyRegister) } else { Ok(()) }
}

fn zero<T: Default + PartialEq>(field: &'static str, value: T) -> Result<(), Kind> {
    if value == T::default() { Ok(()) } else { Err(Kind::ReservedField { field }) }
}

fn no_registers(instruction: Instruction) -> Result<(), Kind> {
    zero("destination register", instruction.dst())?;
    zero("source register", instruction.src())
}
