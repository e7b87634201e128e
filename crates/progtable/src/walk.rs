//! The walk that linking, laying out and listing references have in common: over a program, then over each
//! subprogram in the order in which it is first called.
//!
//! ```text
//! place the program at 0; for each instruction of it, in order:
//!     refers to something   say to what
//!     calls a subprogram    place the subprogram at the end unless it is placed already, and walk it now
//! ```
//!
//! The order is libbpf's. Two departures: there is no recursion, but a list of the programs put on hold, which
//! cannot be longer than the table; and relocations are walked beside the instructions, because linkers write
//! them in order. A list that is out of order is searched, if it is short.

use core::cmp::Ordering;

use crate::elf::{self, Relocation, Symbol, binding, section_type, symbol_type};
use crate::error::Label;
use crate::instruction::Instruction;
use crate::object_file::ObjectFile;
use crate::program::Program;
use crate::relocate_error::{RelocateError, RelocateErrorKind};

/// A walk that has begun; an iterator that ends after the first error.
pub(crate) struct Walk<'f, 'data, const PROGRAMS: usize, const MAPS: usize> {
    file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
    /// Where each program of the table was placed; 0 for those that were not, and for the first.
    placed: [u32; PROGRAMS],
    /// Instructions placed so far.
    len: u32,
    of_section: Relocations<'data>,
    of_text: Relocations<'data>,
    /// Programs that wait for the end of one that they call.
    held: heapless::Vec<Frame, PROGRAMS>,
    frame: Option<Frame>,
    /// Said with the next step: a call comes after the placing of what is called.
    pending: Option<Event>,
}

/// A program that is being walked.
#[derive(Clone, Copy)]
struct Frame {
    /// Its index in the table.
    program: u32,
    /// Where it was placed.
    base: u32,
    /// The next of its instructions to look at.
    next: u32,
    /// The next relocation of its section, for [`Relocations::at`].
    cursor: u32,
}

/// What the walk came across.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    /// The program of the table with that index goes to instruction `base`.
    Place { program: usize, base: usize },
    /// An instruction refers to something.
    Refer(Refer),
}

/// An instruction that refers to something.
#[derive(Clone, Copy)]
pub(crate) struct Refer {
    /// The function in which it stands, by its index in the table.
    pub(crate) program: usize,
    /// Where in that function.
    pub(crate) position: usize,
    /// Where in the linked program.
    pub(crate) at: usize,
    /// In the machine's byte order.
    pub(crate) instruction: Instruction,
    pub(crate) target: Target,
}

/// What an instruction refers to.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// The map with that index.
    Map(usize),
    /// A variable whose symbol stands at that offset in the value of the map with that index.
    Variable(usize, u32),
    /// A function, by its index in the table, and how far away it is placed, from the next instruction.
    Call { callee: usize, distance: i32 },
    /// The same, but its address is loaded.
    Function { callee: usize, distance: i32 },
    /// The symbol with that number, which the object does not define.
    Extern(u32),
}

impl<'f, 'data, const PROGRAMS: usize, const MAPS: usize> Walk<'f, 'data, PROGRAMS, MAPS> {
    pub(crate) fn new(
        file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
        program: &Program<'data>,
    ) -> Result<Self, RelocateError> {
        let error = |kind| RelocateError::new(program, 0, kind);
        if program.is_subprogram() {
            return Err(error(RelocateErrorKind::Subprogram));
        }
        let position = file.programs.iter().position(|other| other.is_same(program));
        let position = position.ok_or_else(|| error(RelocateErrorKind::ForeignProgram))?;
        let mut walk = Self {
            file,
            placed: [0; PROGRAMS],
            len: 0,
            of_section: Relocations::of(file, program.place().0).map_err(error)?,
            of_text: match file.found.text {
                Some(text) => Relocations::of(file, text).map_err(error)?,
                None => Relocations::default(),
            },
            held: heapless::Vec::new(),
            frame: None,
            pending: None,
        };
        let frame = walk.place(position, program)?;
        walk.frame = Some(frame);
        walk.pending = Some(Event::Place { program: position, base: 0 });
        Ok(walk)
    }

    /// Instructions placed so far; once the walk has ended, those of the linked program.
    pub(crate) fn len(&self) -> usize {
        elf::index(self.len)
    }

    fn step(&mut self) -> Result<Option<Event>, RelocateError> {
        if let Some(event) = self.pending.take() {
            return Ok(Some(event));
        }
        let file = self.file;
        let is_native = file.container.order == elf::Order::NATIVE;
        while let Some(mut frame) = self.frame {
            let index = elf::index(frame.program);
            let Some(program) = file.programs.get(index) else { return Ok(None) };
            let relocations = if program.is_subprogram() { self.of_text } else { self.of_section };
            let first = u64::from(program.place().1);
            let rest = program.instructions().get(elf::index(frame.next)..).unwrap_or_default();
            let mut next = None;
            // Most instructions refer to nothing: what they take is what linking takes.
            for &instruction in rest {
                let instruction = if is_native { instruction } else { instruction.swapped() };
                let error = |kind| RelocateError::new(program, elf::index(frame.next), kind);
                let offset = first.saturating_add(u64::from(frame.next));
                let found = match relocations.at(&mut frame.cursor, offset).map_err(error)? {
                    Some(relocation) => Some(target(file, instruction, relocation).map_err(error)?),
                    None => unrelocated(program, instruction, offset).map_err(error)?,
                };
                frame.next = frame.next.saturating_add(1);
                if let Some(found) = found {
                    next = Some((instruction, found));
                    break;
                }
            }
            let Some((instruction, found)) = next else {
                self.frame = self.held.pop();
                continue;
            };
            self.frame = Some(frame);
            let from = frame.base.saturating_add(frame.next);
            let position = elf::index(frame.next).saturating_sub(1);
            let error = |kind| RelocateError::new(program, position, kind);
            let (callee, is_call) = match found {
                Found::Target(target) => {
                    let at = elf::index(from).saturating_sub(1);
                    let refer = Refer { program: index, position, at, instruction, target };
                    return Ok(Some(Event::Refer(refer)));
                }
                Found::Call(callee) => (callee, true),
                Found::Function(callee) => (callee, false),
            };
            let (callee, called) = subprogram(file, callee).map_err(error)?;
            let (base, is_new) = match self.placed.get(callee).copied().unwrap_or(0) {
                0 => {
                    let new = self.place(callee, called)?;
                    // Every program is placed once, so no more of them can be on hold than the table holds.
                    if let Some(caller) = self.frame.replace(new) {
                        let _full = self.held.push(caller);
                    }
                    (new.base, true)
                }
                base => (base, false),
            };
            let distance = base.wrapping_sub(from).cast_signed();
            let target = match is_call {
                true => Target::Call { callee, distance },
                false => Target::Function { callee, distance },
            };
            let at = elf::index(from).saturating_sub(1);
            let refer = Event::Refer(Refer { program: index, position, at, instruction, target });
            if is_new {
                self.pending = Some(refer);
                return Ok(Some(Event::Place { program: callee, base: elf::index(base) }));
            }
            return Ok(Some(refer));
        }
        Ok(None)
    }

    /// Gives the program the next instructions of the linked one.
    fn place(&mut self, position: usize, program: &Program<'data>) -> Result<Frame, RelocateError> {
        let base = self.len;
        let end = u32::try_from(program.len()).ok().and_then(|len| base.checked_add(len));
        let end = end.filter(|end| *end <= MAX_LEN);
        self.len = end.ok_or_else(|| RelocateError::new(program, 0, RelocateErrorKind::TooLong))?;
        if let Some(placed) = self.placed.get_mut(position) {
            *placed = base;
        }
        let relocations = if program.is_subprogram() { &self.of_text } else { &self.of_section };
        let cursor = relocations.start(program.place().1);
        Ok(Frame { program: u32::try_from(position).unwrap_or(u32::MAX), base, next: 0, cursor })
    }
}

impl<const PROGRAMS: usize, const MAPS: usize> Iterator for Walk<'_, '_, PROGRAMS, MAPS> {
    type Item = Result<Event, RelocateError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.frame = None;
        }
        step.transpose()
    }
}

/// What a relocation says, before a call's target is looked up.
enum Found {
    Target(Target),
    /// The instruction of `.text` with that index is called.
    Call(u64),
    /// The address of the instruction of `.text` with that index is taken.
    Function(u64),
}

/// The program of `.text` that starts at that instruction.
fn subprogram<'f, 'data, const PROGRAMS: usize, const MAPS: usize>(
    file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
    instruction: u64,
) -> Result<(usize, &'f Program<'data>), RelocateErrorKind> {
    let missing = RelocateErrorKind::NoSuchSubprogram { instruction };
    let text = file.found.text.ok_or(missing)?;
    let place = (text, u32::try_from(instruction).map_err(|_| missing)?);
    let after = file.programs.partition_point(|program| program.place() <= place);
    let position = after.checked_sub(1).ok_or(missing)?;
    let found = file.programs.get(position).ok_or(missing)?;
    if found.place() == place { Ok((position, found)) } else { Err(missing) }
}

/// What a relocated instruction refers to. libbpf's rule: the relocation's type does not matter, the
/// instruction does.
fn target<const PROGRAMS: usize, const MAPS: usize>(
    file: &ObjectFile<'_, PROGRAMS, MAPS>,
    instruction: Instruction,
    relocation: &Relocation,
) -> Result<Found, RelocateErrorKind> {
    let order = file.container.order;
    let number = relocation.symbol(order);
    let symbol = usize::try_from(number).ok().and_then(|number| file.container.symbols.get(number));
    let symbol = symbol.ok_or(RelocateErrorKind::NoSuchSymbol { symbol: number })?;
    let place = symbol.section.get(order);
    let value = symbol.value.get(order);
    let name = || Label::new(symbol_name(file, symbol));
    if usize::from(place) >= file.container.sections.len() {
        return Err(RelocateErrorKind::SpecialSection { symbol: name(), section: place });
    }
    if !matches!(instruction.opcode(), CALL | LOAD_IMMEDIATE) {
        return Err(RelocateErrorKind::Opcode { symbol: name(), opcode: instruction.opcode() });
    }
    if place == 0 {
        let number = u32::try_from(number).ok().filter(|_| is_extern(symbol, order));
        return match number {
            Some(number) => Ok(Found::Target(Target::Extern(number))),
            None => Err(RelocateErrorKind::SpecialSection { symbol: name(), section: place }),
        };
    }
    let is_in_text = file.found.text == Some(place);
    if instruction.opcode() == CALL {
        if instruction.src() != PSEUDO_CALL {
            let source = instruction.src();
            return Err(RelocateErrorKind::NotASubprogramCall { symbol: name(), source });
        }
        if !is_in_text || value & 7 != 0 {
            return Err(RelocateErrorKind::CallTarget { symbol: name(), offset: value });
        }
        let distance = i64::from(instruction.imm()).wrapping_add(1);
        return Ok(Found::Call((value >> 3).wrapping_add_signed(distance)));
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
        return Ok(Found::Function(offset >> 3));
    }
    if file.found.maps == Some(place) {
        let map = file.maps.iter().position(|map| map.is_at(place, value));
        let map = map.ok_or_else(|| RelocateErrorKind::NoSuchMap { symbol: name(), offset: value })?;
        return Ok(Found::Target(Target::Map(map)));
    }
    let Some(map) = file.maps.iter().position(|map| map.stands_for(place)) else {
        return Err(RelocateErrorKind::DataTarget { symbol: name(), section: place });
    };
    // The instruction's immediate has 32 bits, and so has what is added to it.
    let [a, b, c, d, ..] = value.to_le_bytes();
    Ok(Found::Target(Target::Variable(map, u32::from_le_bytes([a, b, c, d]))))
}

/// Whether the symbol is one that the object refers to and does not define.
pub(crate) fn is_extern(symbol: &Symbol, order: elf::Order) -> bool {
    symbol.section.get(order) == 0 && symbol.is_global() && symbol.kind() == symbol_type::NOTYPE
}

/// The symbol's name, or its section's, for messages.
pub(crate) fn symbol_name<'data, const PROGRAMS: usize, const MAPS: usize>(
    file: &ObjectFile<'data, PROGRAMS, MAPS>,
    symbol: &Symbol,
) -> &'data str {
    let container = &file.container;
    match container.symbol_name(symbol) {
        Some(name) if !name.is_empty() => name,
        _ => container
            .section(symbol.section.get(container.order))
            .and_then(|section| container.section_name(section))
            .unwrap_or_default(),
    }
}

/// What an instruction without a relocation refers to: a call within `.text` carries its distance.
fn unrelocated(
    program: &Program<'_>,
    instruction: Instruction,
    offset: u64,
) -> Result<Option<Found>, RelocateErrorKind> {
    match (instruction.opcode(), instruction.src()) {
        (CALL, PSEUDO_CALL) if program.is_subprogram() => {
            let distance = i64::from(instruction.imm()).wrapping_add(1);
            Ok(Some(Found::Call(offset.wrapping_add_signed(distance))))
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
    fn start(&self, first: u32) -> u32 {
        let Some(order) = self.order.filter(|_| self.is_sorted) else { return 0 };
        let first = u64::from(first).saturating_mul(8);
        let start = self.entries.partition_point(|entry| entry.offset.get(order) < first);
        u32::try_from(start).unwrap_or(u32::MAX)
    }

    /// The relocation of the section's instruction `instruction`, which is not before the one asked for last.
    fn at(&self, cursor: &mut u32, instruction: u64) -> Result<Option<&'data Relocation>, RelocateErrorKind> {
        let Some(order) = self.order else { return Ok(None) };
        let wanted = instruction.saturating_mul(8);
        if !self.is_sorted {
            let belongs = |entry: &&Relocation| entry.offset.get(order) & !7 == wanted;
            let found = self.entries.iter().find(belongs);
            return found.map(|entry| aligned(entry, order)).transpose();
        }
        while let Some(entry) = self.entries.get(elf::index(*cursor)) {
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
pub(crate) const CALL: u8 = 0x85;
/// `BPF_LD | BPF_IMM | BPF_DW`: the 16-byte load of a 64-bit immediate.
const LOAD_IMMEDIATE: u8 = 0x18;
/// `BPF_PSEUDO_CALL`: the immediate is a distance in instructions.
pub(crate) const PSEUDO_CALL: u8 = 1;
/// `BPF_PSEUDO_FUNC`: the immediate is the distance to a function, whose address is loaded.
pub(crate) const PSEUDO_FUNC: u8 = 4;
/// Sixteen times what Linux loads (`BPF_COMPLEXITY_LIMIT_INSNS`): bounds what overlapping functions add up
/// to.
const MAX_LEN: u32 = 1 << 24;
/// Longest list of relocations that is searched for every instruction because it is out of order.
const MAX_UNSORTED: usize = 256;
