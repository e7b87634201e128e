//! Linking: a program, the subprograms that it calls, and what they refer to become one sequence of
//! instructions, the one that libbpf makes.

use crate::elf;
use crate::error::Label;
use crate::externs::{Extern, ExternKind, Externs};
use crate::info::core_records;
use crate::instruction::Instruction;
use crate::object_file::ObjectFile;
use crate::program::Program;
use crate::relocate_error::{RelocateError, RelocateErrorKind};
use crate::walk::{CALL, Event, PSEUDO_CALL, PSEUDO_FUNC, Refer, Target, Walk};

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

/// Links `program` into `buffer` and says how many instructions that makes; writes only what fits.
pub(crate) fn link<'data, const PROGRAMS: usize, const MAPS: usize>(
    file: &ObjectFile<'data, PROGRAMS, MAPS>,
    program: &Program<'data>,
    map_reference: impl Fn(usize) -> i32,
    resolver: &mut impl Resolver,
    buffer: &mut [Instruction],
) -> Result<usize, RelocateError> {
    if file.container.order != elf::Order::NATIVE {
        return Err(RelocateError::new(program, 0, RelocateErrorKind::ByteOrder));
    }
    let mut walk = Walk::new(file, program)?;
    let mut linker = Linker { file, buffer, externs: None };
    for event in walk.by_ref() {
        match event? {
            Event::Place { program, base } => {
                let Some(program) = file.programs.get(program) else { continue };
                if !resolver.handles_core() {
                    refuse_core(file, program)?;
                }
                linker.copy(program, base);
            }
            Event::Refer(refer) => linker.refer(&refer, &map_reference, resolver).map_err(|kind| {
                RelocateError::new(file.programs.get(refer.program).unwrap_or(program), refer.position, kind)
            })?,
        }
    }
    Ok(walk.len())
}

struct Linker<'f, 'data, const PROGRAMS: usize, const MAPS: usize> {
    file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
    buffer: &'f mut [Instruction],
    /// Made when the first is met: most programs have none.
    externs: Option<Externs<'data>>,
}

impl<'data, const PROGRAMS: usize, const MAPS: usize> Linker<'_, 'data, PROGRAMS, MAPS> {
    fn copy(&mut self, program: &Program<'data>, base: usize) {
        let end = base.saturating_add(program.len());
        if let Some(room) = self.buffer.get_mut(base..end) {
            for (to, from) in room.iter_mut().zip(program.instructions()) {
                *to = *from;
            }
        }
    }

    fn refer(
        &mut self,
        refer: &Refer,
        map_reference: &impl Fn(usize) -> i32,
        resolver: &mut impl Resolver,
    ) -> Result<(), RelocateErrorKind> {
        let Refer { at, instruction, .. } = *refer;
        match refer.target {
            Target::Map(map) if self.is_created(map) => {
                self.write(at, instruction.with_src(PSEUDO_MAP_FD).with_imm(map_reference(map)));
            }
            Target::Variable(map, symbol_offset) => {
                let offset = instruction.imm().wrapping_add(symbol_offset.cast_signed());
                self.value(refer, map, offset, map_reference)?;
            }
            Target::Map(map) => {
                self.poison(refer, map)?;
            }
            Target::Call { distance, .. } => {
                self.write(at, instruction.with_src(PSEUDO_CALL).with_imm(distance));
            }
            Target::Function { distance, .. } => {
                self.write(at, instruction.with_src(PSEUDO_FUNC).with_imm(distance));
            }
            Target::Extern(symbol) => {
                let externs = match &mut self.externs {
                    Some(externs) => externs,
                    None => self.externs.insert(Externs::of(self.file).map_err(RelocateErrorKind::Btf)?),
                };
                let found = externs.find(symbol).map_err(RelocateErrorKind::Btf)?;
                self.external(refer, &found, map_reference, resolver)?;
            }
        }
        Ok(())
    }

    fn external(
        &mut self,
        refer: &Refer,
        symbol: &Extern<'data>,
        map_reference: &impl Fn(usize) -> i32,
        resolver: &mut impl Resolver,
    ) -> Result<(), RelocateErrorKind> {
        let Refer { at, instruction, .. } = *refer;
        let name = || Label::new(symbol.name());
        let missing = || match symbol.is_weak() {
            true => Ok(()),
            false => Err(RelocateErrorKind::Extern { symbol: name(), kind: symbol.kind() }),
        };
        if instruction.opcode() == CALL {
            return match symbol.kind() {
                ExternKind::Function => {
                    let called = match resolver.function(symbol) {
                        Some(KernelObject { btf_id, fd_index, .. }) => {
                            instruction.with_src(PSEUDO_KFUNC_CALL).with_imm(btf_id).with_offset(fd_index)
                        }
                        None => {
                            missing()?;
                            let rank = self.externs.as_ref().map_or(Ok(0), |externs| externs.rank(symbol));
                            poisoned(POISONED_CALL, rank.map_err(RelocateErrorKind::Btf)?)
                        }
                    };
                    self.write(at, called);
                    Ok(())
                }
                ExternKind::Undescribed => {
                    Err(RelocateErrorKind::Extern { symbol: name(), kind: symbol.kind() })
                }
                _ => Err(RelocateErrorKind::Opcode { symbol: name(), opcode: CALL }),
            };
        }
        let second = self.second(refer)?;
        let (first, high) = match symbol.kind() {
            ExternKind::Kconfig => {
                if resolver.kconfig().is_none() {
                    missing()?;
                }
                let map = self.file.maps.iter().position(|map| map.is_kconfig());
                let map = map.ok_or_else(|| RelocateErrorKind::NoSuchMap { symbol: name(), offset: 0 })?;
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
                    None => {
                        missing()?;
                        (instruction.with_imm(0), 0)
                    }
                }
            }
            ExternKind::Address => {
                let address = match resolver.address(symbol) {
                    Some(address) => address,
                    None => missing().map(|()| 0)?,
                };
                let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
                let (low, high) = (i32::from_le_bytes([a, b, c, d]), i32::from_le_bytes([e, f, g, h]));
                (instruction.with_imm(low), high)
            }
            ExternKind::Undescribed => {
                return Err(RelocateErrorKind::Extern { symbol: name(), kind: symbol.kind() });
            }
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
    ) -> Result<(), RelocateErrorKind> {
        if !self.is_created(map) {
            return self.poison(refer, map);
        }
        let second = self.second(refer)?;
        let first = refer.instruction.with_src(PSEUDO_MAP_VALUE).with_imm(map_reference(map));
        self.write(refer.at, first);
        self.write(refer.at.saturating_add(1), second.with_imm(offset));
        Ok(())
    }

    /// The second half of the 16-byte instruction.
    fn second(&self, refer: &Refer) -> Result<Instruction, RelocateErrorKind> {
        let program = self.file.programs.get(refer.program);
        let second = program.and_then(|program| program.instructions().get(refer.position.saturating_add(1)));
        second.copied().ok_or(RelocateErrorKind::CutOff)
    }

    /// Puts two calls that no verifier accepts in the place of a load from a map that is not created.
    fn poison(&mut self, refer: &Refer, map: usize) -> Result<(), RelocateErrorKind> {
        self.second(refer)?;
        let call = poisoned(POISONED_MAP, u32::try_from(map).unwrap_or(u32::MAX));
        self.write(refer.at, call);
        self.write(refer.at.saturating_add(1), call);
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

/// Refuses a program with CO-RE relocations: without the kernel's types its field offsets would be those of
/// the build machine.
fn refuse_core<'data, const PROGRAMS: usize, const MAPS: usize>(
    file: &ObjectFile<'data, PROGRAMS, MAPS>,
    program: &Program<'data>,
) -> Result<(), RelocateError> {
    match core_records(file, program).next() {
        None => Ok(()),
        Some(Ok(record)) => {
            Err(RelocateError::new(program, elf::index(record), RelocateErrorKind::NeedsCoRe))
        }
        Some(Err(kind)) => Err(RelocateError::new(program, 0, kind)),
    }
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
