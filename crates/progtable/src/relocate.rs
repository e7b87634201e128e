//! Linking: a program, the subprograms that it calls, and what they refer to become one sequence of
//! instructions, the one that libbpf makes.

use crate::btf_ext::InfoKind;
use crate::elf;
use crate::error::Label;
use crate::externs::{Extern, ExternKind, Externs};
use crate::info::FunctionRecords;
use crate::instruction::Instruction;
use crate::object_file::ObjectFile;
use crate::program::Program;
use crate::relocate_error::{RelocateError, RelocateErrorKind};
use crate::walk::{self, CALL, Event, Fault, PSEUDO_CALL, PSEUDO_FUNC, Refer, Target, Walk};

/// Knows what only a kernel knows: where an object's externs are.
///
/// Each question may be answered with `None`, *not known*; all are unless implemented. What is then done is
/// what libbpf does: if the object does without (`__weak`), an address is null and a call is replaced by one
/// that no verifier accepts where it can be reached, see [`POISONED_CALL`]; if not, the program cannot be
/// linked, and the error names the symbol.
///
/// `()` knows nothing.
pub trait Resolver {
    /// The address of a kernel symbol ([`ExternKind::Address`]), as in `/proc/kallsyms`.
    fn address(&mut self, symbol: &Extern<'_>) -> Option<u64> {
        let _ = symbol;
        None
    }

    /// A kernel variable ([`ExternKind::Variable`]), by its number in the kernel's type information.
    fn variable(&mut self, symbol: &Extern<'_>) -> Option<KernelObject> {
        let _ = symbol;
        None
    }

    /// A kernel function ([`ExternKind::Function`]), by its number in the kernel's type information.
    fn function(&mut self, symbol: &Extern<'_>) -> Option<KernelObject> {
        let _ = symbol;
        None
    }

    /// The contents of the map `.kconfig`, filled by [`ObjectFile::fill_kconfig`]. Without them a program
    /// that reads a configuration value that it cannot do without is refused.
    fn kconfig(&self) -> Option<&[u8]> {
        None
    }

    /// Whether the CO-RE records of a program are handled elsewhere: handed to a kernel that applies them
    /// ([`Layout::records`](crate::Layout::records)), or applied to the linked instructions afterwards. The
    /// instructions stay as the compiler wrote them, for the kernel of the build machine. A program with such
    /// records is refused otherwise.
    fn handles_core(&self) -> bool {
        false
    }
}

impl Resolver for () {}

/// Where the kernel has a function or variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what an instruction has room for")]
pub struct KernelObject {
    /// Its number in the type information of the kernel, or of the module.
    pub btf_id: i32,
    /// Descriptor of the module's type information; 0 for the kernel's own.
    pub btf_fd: i32,
    /// For calls of a module's function: index of the descriptor in the array given to bpf(2) (`fd_array`); 0
    /// for the kernel's own.
    pub fd_index: i16,
}

/// Links `program` into `buffer`.
pub(crate) fn link<'b, 'data, const PROGRAMS: usize, const MAPS: usize>(
    file: &ObjectFile<'data, PROGRAMS, MAPS>,
    program: &Program<'data>,
    map_reference: impl Fn(usize) -> i32,
    resolver: &mut impl Resolver,
    buffer: &'b mut [Instruction],
) -> Result<&'b [Instruction], RelocateError> {
    if file.container.order != elf::Order::NATIVE {
        return RelocateError::fail(program, 0, RelocateErrorKind::ByteOrder);
    }
    let start = match walk::start(file, program) {
        Ok(start) => start,
        Err(kind) => return RelocateError::fail(program, 0, kind),
    };
    let mut linker = Linker { file, buffer: &mut *buffer, externs: Externs::of(file) };
    let mut walk = Walk::from(file, start);
    loop {
        let done = match &walk.step() {
            Ok(Some(Event::Place { program, base })) => {
                linker.place(*program, *base, resolver.handles_core())
            }
            Ok(Some(Event::Refer(refer))) => match refer.target {
                Target::Extern(symbol) => linker.external(refer, symbol, &map_reference, resolver),
                _ => linker.refer(refer, &map_reference),
            },
            Ok(None) => break,
            Err(fault) => return fault.fail(file),
        };
        if let Err(fault) = &done {
            return fault.fail(file);
        }
    }
    let (needed, available) = (walk.len(), buffer.len());
    match buffer.get(..needed) {
        Some(linked) => Ok(linked),
        None => RelocateError::fail(program, 0, RelocateErrorKind::BufferTooShort { needed, available }),
    }
}

/// How many instructions linking `program` makes, whatever they refer to.
pub(crate) fn len<'data, const PROGRAMS: usize, const MAPS: usize>(
    file: &ObjectFile<'data, PROGRAMS, MAPS>,
    program: &Program<'data>,
) -> Result<usize, RelocateError> {
    let start = match walk::start(file, program) {
        Ok(start) => start,
        Err(kind) => return RelocateError::fail(program, 0, kind),
    };
    let mut walk = Walk::from(file, start);
    loop {
        match walk.step() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(walk.len()),
            Err(fault) => return fault.fail(file),
        }
    }
}

struct Linker<'f, 'data, const PROGRAMS: usize, const MAPS: usize> {
    file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
    buffer: &'f mut [Instruction],
    externs: Externs<'f, 'data>,
}

impl<'data, const PROGRAMS: usize, const MAPS: usize> Linker<'_, 'data, PROGRAMS, MAPS> {
    /// Copies a program to where it is placed; one with CO-RE relocations is refused if nobody handles them: without
    /// the kernel's types its field offsets would be those of the build machine.
    #[inline(never)]
    fn place(&mut self, index: u32, base: u32, handles_core: bool) -> Result<(), Fault> {
        let Some(program) = self.file.programs.get(elf::index(index)) else { return Ok(()) };
        if !handles_core {
            match FunctionRecords::of(self.file, program, InfoKind::CoRe).next() {
                None => {}
                Some(Ok((position, _))) => {
                    return Err(Fault { program: index, position, kind: RelocateErrorKind::NeedsCoRe });
                }
                Some(Err(kind)) => return Err(Fault { program: index, position: 0, kind }),
            }
        }
        let base = elf::index(base);
        if let Some(room) = self.buffer.get_mut(base..base.saturating_add(program.len())) {
            for (to, from) in room.iter_mut().zip(program.instructions()) {
                *to = *from;
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn refer(&mut self, refer: &Refer, map_reference: &impl Fn(usize) -> i32) -> Result<(), Fault> {
        let (at, instruction) = (elf::index(refer.at), refer.instruction);
        match refer.target {
            Target::Map(map) if self.is_created(elf::index(map)) => {
                let reference = map_reference(elf::index(map));
                self.write(at, instruction.with_src(PSEUDO_MAP_FD).with_imm(reference));
            }
            Target::Variable(map, symbol_offset) => {
                let offset = instruction.imm().wrapping_add(symbol_offset.cast_signed());
                self.value(refer, elf::index(map), offset, map_reference)?;
            }
            Target::Map(map) => {
                self.poison(refer, elf::index(map))?;
            }
            Target::Call { distance, .. } => {
                self.write(at, instruction.with_src(PSEUDO_CALL).with_imm(distance));
            }
            Target::Function { distance, .. } => {
                self.write(at, instruction.with_src(PSEUDO_FUNC).with_imm(distance));
            }
            // Needs a resolver.
            Target::Extern(_) => {}
        }
        Ok(())
    }

    /// Not inlined: programs without externs have none of this on their stack.
    #[inline(never)]
    fn external(
        &mut self,
        refer: &Refer,
        number: u32,
        map_reference: &impl Fn(usize) -> i32,
        resolver: &mut impl Resolver,
    ) -> Result<(), Fault> {
        let (at, instruction) = (elf::index(refer.at), refer.instruction);
        let malformed = |btf| refer.fault(RelocateErrorKind::Btf(btf));
        let symbol = match &self.externs.find(number) {
            Ok(symbol) => *symbol,
            Err(btf) => return Err(malformed(*btf)),
        };
        let symbol = &symbol;
        if instruction.opcode() == CALL {
            return match symbol.kind() {
                ExternKind::Function => {
                    let called = match resolver.function(symbol) {
                        Some(KernelObject { btf_id, fd_index, .. }) => {
                            instruction.with_src(PSEUDO_KFUNC_CALL).with_imm(btf_id).with_offset(fd_index)
                        }
                        None if !symbol.is_weak() => return missing(refer, symbol),
                        None => poisoned(POISONED_CALL, self.externs.rank(symbol).map_err(malformed)?),
                    };
                    self.write(at, called);
                    Ok(())
                }
                ExternKind::Undescribed => missing(refer, symbol),
                _ => not_called(refer, symbol),
            };
        }
        let second = self.second(refer)?;
        let (first, high) = match symbol.kind() {
            ExternKind::Kconfig => {
                if resolver.kconfig().is_none() && !symbol.is_weak() {
                    return missing(refer, symbol);
                }
                let Some(map) = self.file.maps.iter().position(|map| map.is_kconfig()) else {
                    return no_map(refer, symbol);
                };
                let offset = symbol.kconfig().map_or(0, |variable| variable.offset);
                return self.value(refer, map, offset.cast_signed(), map_reference);
            }
            ExternKind::Variable | ExternKind::Function => {
                let found = match symbol.kind() {
                    ExternKind::Function => resolver.function(symbol),
                    _ => resolver.variable(symbol),
                };
                match found {
                    Some(KernelObject { btf_id, btf_fd, .. }) => {
                        (instruction.with_src(PSEUDO_BTF_ID).with_imm(btf_id), btf_fd)
                    }
                    None if !symbol.is_weak() => return missing(refer, symbol),
                    None => (instruction.with_imm(0), 0),
                }
            }
            ExternKind::Address => {
                let address = match resolver.address(symbol) {
                    Some(address) => address,
                    None if !symbol.is_weak() => return missing(refer, symbol),
                    None => 0,
                };
                let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
                let (low, high) = (i32::from_le_bytes([a, b, c, d]), i32::from_le_bytes([e, f, g, h]));
                (instruction.with_imm(low), high)
            }
            ExternKind::Undescribed => return missing(refer, symbol),
        };
        self.write(at, first);
        self.write(at.saturating_add(1), second.with_imm(high));
        Ok(())
    }

    /// The load of a variable's address: in a map's value, at `offset`.
    fn value(
        &mut self,
        refer: &Refer,
        map: usize,
        offset: i32,
        map_reference: &impl Fn(usize) -> i32,
    ) -> Result<(), Fault> {
        if !self.is_created(map) {
            return self.poison(refer, map);
        }
        let second = self.second(refer)?;
        let first = refer.instruction.with_src(PSEUDO_MAP_VALUE).with_imm(map_reference(map));
        self.write(elf::index(refer.at), first);
        self.write(elf::index(refer.at).saturating_add(1), second.with_imm(offset));
        Ok(())
    }

    /// The second half of the 16-byte instruction.
    fn second(&self, refer: &Refer) -> Result<Instruction, Fault> {
        let program = self.file.programs.get(elf::index(refer.program));
        let position = elf::index(refer.position).saturating_add(1);
        let second = program.and_then(|program| program.instructions().get(position));
        second.copied().ok_or_else(|| refer.fault(RelocateErrorKind::CutOff))
    }

    /// Puts two calls that no verifier accepts in the place of a load from a map that is not created.
    fn poison(&mut self, refer: &Refer, map: usize) -> Result<(), Fault> {
        self.second(refer)?;
        let call = poisoned(POISONED_MAP, u32::try_from(map).unwrap_or(u32::MAX));
        self.write(elf::index(refer.at), call);
        self.write(elf::index(refer.at).saturating_add(1), call);
        Ok(())
    }

    fn is_created(&self, map: usize) -> bool {
        self.file.maps.get(map).is_some_and(|map| map.autocreate())
    }

    fn write(&mut self, at: usize, instruction: Instruction) {
        // What does not fit is only counted.
        if let Some(room) = self.buffer.get_mut(at) {
            *room = instruction;
        }
    }
}

/// Nobody knows the symbol, and the object does not do without.
#[cold]
#[inline(never)]
fn missing(refer: &Refer, symbol: &Extern<'_>) -> Result<(), Fault> {
    Err(refer.fault(RelocateErrorKind::Extern { symbol: Label::new(symbol.name()), kind: symbol.kind() }))
}

/// Something is called that is no function.
#[cold]
#[inline(never)]
fn not_called(refer: &Refer, symbol: &Extern<'_>) -> Result<(), Fault> {
    Err(refer.fault(RelocateErrorKind::Opcode { symbol: Label::new(symbol.name()), opcode: CALL }))
}

/// A configuration value, and no map of them.
#[cold]
#[inline(never)]
fn no_map(refer: &Refer, symbol: &Extern<'_>) -> Result<(), Fault> {
    Err(refer.fault(RelocateErrorKind::NoSuchMap { symbol: Label::new(symbol.name()), offset: 0 }))
}

fn poisoned(base: i32, index: u32) -> Instruction {
    Instruction::new(CALL, 0, 0, 0, base.wrapping_add(index.cast_signed()))
}

/// In place of a load from a map that is not created ([`Map::autocreate`](crate::Map::autocreate)) stand two
/// calls of the helper with this number plus the map's index, as libbpf writes them: no verifier accepts them
/// where they can be reached, and its message names the map.
pub const POISONED_MAP: i32 = 2_001_000_000;
/// In place of the call of a weak kernel function that is not known stands a call of the helper with this
/// number plus the function's index among the externs in libbpf's order.
pub const POISONED_CALL: i32 = 2_002_000_000;

/// `BPF_PSEUDO_MAP_FD`: the immediate names a map.
const PSEUDO_MAP_FD: u8 = 1;
/// `BPF_PSEUDO_MAP_VALUE`: the immediate names a map, the second one is an offset in its value.
const PSEUDO_MAP_VALUE: u8 = 2;
/// `BPF_PSEUDO_KFUNC_CALL`: the immediate is a function's number in the kernel's type information.
const PSEUDO_KFUNC_CALL: u8 = 2;
/// `BPF_PSEUDO_BTF_ID`: the immediate is a variable's number in the kernel's type information.
const PSEUDO_BTF_ID: u8 = 3;
