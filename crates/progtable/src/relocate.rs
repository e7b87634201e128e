//! Linking: a program, the subprograms that it calls, and the maps that they refer to become one sequence of
//! instructions.
//!
//! ```text
//! place the program at 0; for each instruction of it, in order:
//!     refers to a map      put in the map's reference
//!     refers to a variable put in the reference of the section's map, and the variable's offset
//!     calls a subprogram   place the subprogram at the end unless it is placed already, and link it now;
//!                          put in the distance
//! ```
//!
//! The order is libbpf's, so the result is the same, instruction by instruction. Two departures: there is no
//! recursion, but a list of the programs put on hold, which cannot be longer than the table; and relocations
//! are walked beside the instructions, because linkers write them in order. A list that is out of order is
//! searched, if it is short.

use core::cmp::Ordering;

use crate::btf;
use crate::btf_ext;
use crate::elf::{self, Relocation, Symbol, binding, section_type, symbol_type};
use crate::error::Label;
use crate::instruction::Instruction;
use crate::object_file::ObjectFile;
use crate::program::Program;
use crate::relocate_error::{RelocateError, RelocateErrorKind};

/// Links `program` into `buffer` and says how many instructions that makes; writes only what fits.
pub(crate) fn link<'data, const PROGRAMS: usize, const MAPS: usize>(
    file: &ObjectFile<'data, PROGRAMS, MAPS>,
    program: &Program<'data>,
    map_reference: impl Fn(usize) -> i32,
    buffer: &mut [Instruction],
) -> Result<usize, RelocateError> {
    let error = |kind| RelocateError::new(program, 0, kind);
    if file.container.order != elf::Order::NATIVE {
        return Err(error(RelocateErrorKind::ByteOrder));
    }
    if program.is_subprogram() {
        return Err(error(RelocateErrorKind::Subprogram));
    }
    let position = file.programs.iter().position(|other| other.is_same(program));
    let position = position.ok_or_else(|| error(RelocateErrorKind::ForeignProgram))?;
    let mut linker = Linker {
        file,
        buffer,
        placed: [0; PROGRAMS],
        len: 0,
        of_section: Relocations::of(file, program.place().0).map_err(error)?,
        of_text: match file.found.text {
            Some(text) => Relocations::of(file, text).map_err(error)?,
            None => Relocations::default(),
        },
    };
    linker.run(position, map_reference)?;
    Ok(linker.len)
}

struct Linker<'a, 'data, const PROGRAMS: usize, const MAPS: usize> {
    file: &'a ObjectFile<'data, PROGRAMS, MAPS>,
    buffer: &'a mut [Instruction],
    /// Where each program of the table was placed; 0 for those that were not, and for the first.
    placed: [u32; PROGRAMS],
    /// Instructions placed so far.
    len: usize,
    of_section: Relocations<'data>,
    of_text: Relocations<'data>,
}

/// A program that is being linked.
#[derive(Clone, Copy)]
struct Frame {
    /// Its index in the table.
    program: usize,
    /// Where it was placed.
    base: u32,
    /// The next of its instructions to look at.
    next: u32,
    /// The next relocation of its section, for [`Relocations::at`].
    cursor: usize,
}

/// What a relocation makes of an instruction.
enum Target {
    /// The map with that index.
    Map(usize),
    /// A variable at that offset in the value of the map with that index.
    Variable(usize, u32),
    /// The instruction of `.text` with that index is called.
    Call(u64),
    /// The address of the instruction of `.text` with that index is taken.
    Function(u64),
}

impl<'data, const PROGRAMS: usize, const MAPS: usize> Linker<'_, 'data, PROGRAMS, MAPS> {
    fn run(&mut self, first: usize, map_reference: impl Fn(usize) -> i32) -> Result<(), RelocateError> {
        let file = self.file;
        let mut held: heapless::Vec<Frame, PROGRAMS> = heapless::Vec::new();
        let Some(mut frame) = self.place(first)? else { return Ok(()) };
        loop {
            let Some(program) = file.programs.get(frame.program) else { return Ok(()) };
            let position = elf::index(frame.next);
            let Some(&instruction) = program.instructions().get(position) else {
                match held.pop() {
                    Some(back) => frame = back,
                    None => return Ok(()),
                }
                continue;
            };
            let error = |kind| RelocateError::new(program, position, kind);
            frame.next = frame.next.saturating_add(1);
            let relocations = if program.is_subprogram() { self.of_text } else { self.of_section };
            let offset = u64::from(program.place().1).saturating_add(u64::from(frame.next)).saturating_sub(1);
            let relocation = relocations.at(&mut frame.cursor, offset).map_err(error)?;
            let target = match relocation {
                Some(relocation) => self.target(instruction, relocation).map_err(error)?,
                None => match unrelocated(program, instruction, offset).map_err(error)? {
                    Some(target) => target,
                    None => continue,
                },
            };
            let at = elf::index(frame.base).saturating_add(position);
            match target {
                Target::Map(map) => {
                    self.write(at, instruction.with_src(PSEUDO_MAP_FD).with_imm(map_reference(map)));
                }
                Target::Variable(map, symbol_offset) => {
                    let second = program.instructions().get(position.saturating_add(1));
                    let second = second.ok_or_else(|| error(RelocateErrorKind::CutOff))?;
                    let offset = instruction.imm().wrapping_add(symbol_offset.cast_signed());
                    self.write(at, instruction.with_src(PSEUDO_MAP_VALUE).with_imm(map_reference(map)));
                    self.write(at.saturating_add(1), second.with_imm(offset));
                }
                Target::Call(callee) | Target::Function(callee) => {
                    let callee = self.subprogram(callee).map_err(error)?;
                    let placed = self.placed.get(callee).copied().unwrap_or(0);
                    let (base, new) = match placed {
                        0 => match self.place(callee)? {
                            Some(new) => (new.base, Some(new)),
                            None => continue,
                        },
                        base => (base, None),
                    };
                    let from = frame.base.saturating_add(frame.next);
                    let source = if matches!(target, Target::Call(_)) { PSEUDO_CALL } else { PSEUDO_FUNC };
                    let distance = base.wrapping_sub(from).cast_signed();
                    self.write(at, instruction.with_src(source).with_imm(distance));
                    if let Some(new) = new {
                        // Every program is placed once, so no more of them can be on hold than the table
                        // holds.
                        let _full = held.push(frame);
                        frame = new;
                    }
                }
            }
        }
    }

    /// Copies the program to the end of what is placed.
    fn place(&mut self, position: usize) -> Result<Option<Frame>, RelocateError> {
        let Some(program) = self.file.programs.get(position) else { return Ok(None) };
        let error = |kind| RelocateError::new(program, 0, kind);
        self.refuse_core(program)?;
        let base = u32::try_from(self.len).map_err(|_| error(RelocateErrorKind::TooLong))?;
        let end = self.len.checked_add(program.len()).ok_or_else(|| error(RelocateErrorKind::TooLong))?;
        if end > MAX_LEN {
            return Err(error(RelocateErrorKind::TooLong));
        }
        if let Some(room) = self.buffer.get_mut(self.len..end) {
            for (to, from) in room.iter_mut().zip(program.instructions()) {
                *to = *from;
            }
        }
        if let Some(placed) = self.placed.get_mut(position) {
            *placed = base;
        }
        self.len = end;
        let relocations = if program.is_subprogram() { self.of_text } else { self.of_section };
        Ok(Some(Frame { program: position, base, next: 0, cursor: relocations.start(program.place().1) }))
    }

    fn write(&mut self, at: usize, instruction: Instruction) {
        // What does not fit is only counted.
        if let Some(room) = self.buffer.get_mut(at) {
            *room = instruction;
        }
    }

    /// The program of `.text` that starts at that instruction.
    fn subprogram(&self, instruction: u64) -> Result<usize, RelocateErrorKind> {
        let text = self.file.found.text.ok_or(RelocateErrorKind::NoSuchSubprogram { instruction })?;
        let missing = RelocateErrorKind::NoSuchSubprogram { instruction };
        let place = (text, u32::try_from(instruction).map_err(|_| missing)?);
        let after = self.file.programs.partition_point(|program| program.place() <= place);
        let position = after.checked_sub(1).ok_or(missing)?;
        let found = self.file.programs.get(position).ok_or(missing)?;
        if found.place() == place { Ok(position) } else { Err(missing) }
    }

    /// What a relocated instruction refers to. libbpf's rule: the relocation's type does not matter, the
    /// instruction does.
    fn target(&self, instruction: Instruction, relocation: &Relocation) -> Result<Target, RelocateErrorKind> {
        let file = self.file;
        let order = file.container.order;
        let number = relocation.symbol(order);
        let symbol = usize::try_from(number).ok().and_then(|number| file.container.symbols.get(number));
        let symbol = symbol.ok_or(RelocateErrorKind::NoSuchSymbol { symbol: number })?;
        let place = symbol.section.get(order);
        let value = symbol.value.get(order);
        let name = || Label::new(self.symbol_name(symbol));
        if usize::from(place) >= file.container.sections.len() {
            return Err(RelocateErrorKind::SpecialSection { symbol: name(), section: place });
        }
        if !matches!(instruction.opcode(), CALL | LOAD_IMMEDIATE) {
            return Err(RelocateErrorKind::Opcode { symbol: name(), opcode: instruction.opcode() });
        }
        if place == 0 {
            let is_extern = symbol.is_global() && symbol.kind() == symbol_type::NOTYPE;
            return Err(match is_extern {
                true => RelocateErrorKind::Extern { symbol: name() },
                false => RelocateErrorKind::SpecialSection { symbol: name(), section: place },
            });
        }
        let is_in_text = file.found.text == Some(place);
        if instruction.opcode() == CALL {
            if instruction.src() != PSEUDO_CALL {
                return Err(RelocateErrorKind::NotASubprogramCall {
                    symbol: name(),
                    source: instruction.src(),
                });
            }
            if !is_in_text || value & 7 != 0 {
                return Err(RelocateErrorKind::CallTarget { symbol: name(), offset: value });
            }
            let distance = i64::from(instruction.imm()).wrapping_add(1);
            return Ok(Target::Call((value >> 3).wrapping_add_signed(distance)));
        }
        let is_function = match symbol.kind() {
            symbol_type::SECTION => symbol.binding() == binding::LOCAL,
            symbol_type::FUNC => symbol.is_global(),
            _ => false,
        };
        if is_in_text && is_function {
            let offset = value.wrapping_add_signed(i64::from(instruction.imm()));
            if value & 7 != 0 || offset & 7 != 0 {
                return Err(RelocateErrorKind::CallTarget { symbol: name(), offset });
            }
            return Ok(Target::Function(offset >> 3));
        }
        if file.found.maps == Some(place) {
            let map = file.maps.iter().position(|map| map.is_at(place, value));
            return map
                .map(Target::Map)
                .ok_or_else(|| RelocateErrorKind::NoSuchMap { symbol: name(), offset: value });
        }
        let Some(map) = file.maps.iter().position(|map| map.stands_for(place)) else {
            return Err(RelocateErrorKind::DataTarget { symbol: name(), section: place });
        };
        // The instruction's immediate has 32 bits, and so has what is added to it.
        let [a, b, c, d, ..] = value.to_le_bytes();
        Ok(Target::Variable(map, u32::from_le_bytes([a, b, c, d])))
    }

    /// The symbol's name, or its section's for a symbol that stands for a section.
    fn symbol_name(&self, symbol: &'data Symbol) -> &'data str {
        let container = &self.file.container;
        match container.symbol_name(symbol) {
            Some(name) if !name.is_empty() => name,
            _ => container
                .section(symbol.section.get(container.order))
                .and_then(|section| container.section_name(section))
                .unwrap_or_default(),
        }
    }

    /// Refuses a program with CO-RE relocations: without the kernel's types its field offsets would be those
    /// of the build machine.
    fn refuse_core(&self, program: &Program<'data>) -> Result<(), RelocateError> {
        let file = self.file;
        let (Some(btf), Some(ext)) = (file.found.btf, file.found.btf_ext) else { return Ok(()) };
        let order = file.container.order;
        let (place, start) = program.place();
        let malformed = || RelocateError::new(program, 0, RelocateErrorKind::BtfExt);
        let section = file.container.section(place).and_then(|section| file.container.section_name(section));
        let records = btf_ext::core_records(ext, order).ok_or_else(malformed)?;
        if records.is_empty() {
            return Ok(());
        }
        let strings = btf::strings(btf, order).ok_or_else(malformed)?;
        let start = u64::from(start);
        for group in records {
            let group = group.ok_or_else(malformed)?;
            if !group.is_named(strings, section.unwrap_or_default()) {
                continue;
            }
            for offset in group.instruction_offsets() {
                let position =
                    u64::from(offset >> 3).checked_sub(start).and_then(|at| usize::try_from(at).ok());
                if let Some(position) = position.filter(|&position| position < program.len()) {
                    return Err(RelocateError::new(program, position, RelocateErrorKind::NeedsCoRe));
                }
            }
        }
        Ok(())
    }
}

/// What an instruction without a relocation refers to: a call within `.text` carries its distance.
fn unrelocated(
    program: &Program<'_>,
    instruction: Instruction,
    offset: u64,
) -> Result<Option<Target>, RelocateErrorKind> {
    match (instruction.opcode(), instruction.src()) {
        (CALL, PSEUDO_CALL) if program.is_subprogram() => {
            let distance = i64::from(instruction.imm()).wrapping_add(1);
            Ok(Some(Target::Call(offset.wrapping_add_signed(distance))))
        }
        (CALL, PSEUDO_CALL) | (LOAD_IMMEDIATE, PSEUDO_FUNC) => Err(RelocateErrorKind::MissingRelocation),
        _ => Ok(None),
    }
}

/// The relocations of one section.
#[derive(Clone, Copy, Default)]
struct Relocations<'data> {
    entries: &'data [Relocation],
    /// Whether offsets never fall: then they are walked beside the instructions.
    is_sorted: bool,
    order: Option<elf::Order>,
}

impl<'data> Relocations<'data> {
    fn of<const PROGRAMS: usize, const MAPS: usize>(
        file: &ObjectFile<'data, PROGRAMS, MAPS>,
        place: u16,
    ) -> Result<Self, RelocateErrorKind> {
        let container = &file.container;
        let order = container.order;
        let mut lists = container.sections.iter().filter(|section| {
            section.kind.get(order) == section_type::REL && section.info.get(order) == u32::from(place)
        });
        let Some(list) = lists.next() else { return Ok(Self::default()) };
        if lists.next().is_some() {
            return Err(RelocateErrorKind::TwoRelocationSections);
        }
        let entries: &[Relocation] =
            elf::records(container.contents(list).ok_or(RelocateErrorKind::RelocationsCutOff)?);
        let is_sorted = entries.is_sorted_by_key(|entry| entry.offset.get(order));
        if !is_sorted && entries.len() > MAX_UNSORTED {
            return Err(RelocateErrorKind::UnsortedRelocations { count: entries.len(), limit: MAX_UNSORTED });
        }
        Ok(Self { entries, is_sorted, order: Some(order) })
    }

    /// Where the relocations of a program that starts at instruction `first` begin.
    fn start(&self, first: u32) -> usize {
        let Some(order) = self.order.filter(|_| self.is_sorted) else { return 0 };
        let first = u64::from(first).saturating_mul(8);
        self.entries.partition_point(|entry| entry.offset.get(order) < first)
    }

    /// The relocation of the section's instruction `instruction`, which is not before the one asked for last.
    fn at(
        &self,
        cursor: &mut usize,
        instruction: u64,
    ) -> Result<Option<&'data Relocation>, RelocateErrorKind> {
        let Some(order) = self.order else { return Ok(None) };
        let wanted = instruction.saturating_mul(8);
        if !self.is_sorted {
            let belongs = |entry: &&Relocation| entry.offset.get(order) & !7 == wanted;
            let found = self.entries.iter().find(belongs);
            return found.map(|entry| aligned(entry, order)).transpose();
        }
        while let Some(entry) = self.entries.get(*cursor) {
            match (entry.offset.get(order) & !7).cmp(&wanted) {
                Ordering::Less => *cursor = cursor.saturating_add(1),
                Ordering::Equal => return aligned(entry, order).map(Some),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }
}

fn aligned(entry: &Relocation, order: elf::Order) -> Result<&Relocation, RelocateErrorKind> {
    match entry.offset.get(order) {
        offset if offset & 7 == 0 => Ok(entry),
        offset => Err(RelocateErrorKind::Misaligned { offset }),
    }
}

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_LD | BPF_IMM | BPF_DW`: the 16-byte load of a 64-bit immediate.
const LOAD_IMMEDIATE: u8 = 0x18;
/// `BPF_PSEUDO_CALL`: the immediate is a distance in instructions.
const PSEUDO_CALL: u8 = 1;
/// `BPF_PSEUDO_MAP_FD`: the immediate names a map.
const PSEUDO_MAP_FD: u8 = 1;
/// `BPF_PSEUDO_MAP_VALUE`: the immediate names a map, the second one is an offset in its value.
const PSEUDO_MAP_VALUE: u8 = 2;
/// `BPF_PSEUDO_FUNC`: the immediate is the distance to a function, whose address is loaded.
const PSEUDO_FUNC: u8 = 4;
/// Sixteen times what Linux loads (`BPF_COMPLEXITY_LIMIT_INSNS`): bounds what overlapping functions add up
/// to.
const MAX_LEN: usize = 1 << 24;
/// Longest list of relocations that is searched for every instruction because it is out of order.
const MAX_UNSORTED: usize = 256;
