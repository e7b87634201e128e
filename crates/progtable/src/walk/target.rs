//! What an instruction refers to, by its relocation or by itself.

use super::{CALL, PSEUDO_CALL, PSEUDO_FUNC, Target, narrow};
use crate::elf::{self, Relocation, Symbol, binding, symbol_type};
use crate::error::Label;
use crate::instruction::Instruction;
use crate::object_file::ObjectFile;
use crate::program::Program;
use crate::relocate_error::RelocateErrorKind as Kind;

/// What a relocation says, before a call's target is looked up.
pub(super) enum Found {
    Target(Target),
    /// The instruction of `.text` with that index is called.
    Call(u64),
    /// The address of the instruction of `.text` with that index is taken.
    Function(u64),
}

/// The program of `.text` that starts at that instruction, and its index.
pub(super) fn subprogram<'f, 'data, const PROGRAMS: usize, const MAPS: usize>(
    file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
    instruction: u64,
) -> Option<(u32, &'f Program<'data>)> {
    let place = (file.found.text?, u32::try_from(instruction).ok()?);
    let after = file.programs.partition_point(|program| program.place() <= place);
    let position = after.checked_sub(1)?;
    let found = file.programs.get(position)?;
    (found.place() == place).then_some((narrow(position), found))
}

/// What a relocated instruction refers to. libbpf's rule: the relocation's type does not matter, the
/// instruction does.
pub(super) fn target<const PROGRAMS: usize, const MAPS: usize>(
    file: &ObjectFile<'_, PROGRAMS, MAPS>,
    instruction: Instruction,
    relocation: &Relocation,
) -> Result<Found, Kind> {
    let order = file.container.order;
    let number = relocation.symbol(order);
    let symbol = usize::try_from(number).ok().and_then(|number| file.container.symbols.get(number));
    let symbol = symbol.ok_or(Kind::NoSuchSymbol { symbol: number })?;
    let place = symbol.section.get(order);
    let value = symbol.value.get(order);
    if usize::from(place) >= file.container.sections.len() {
        return blame(file, symbol, |symbol| Kind::SpecialSection { symbol, section: place });
    }
    if !matches!(instruction.opcode(), CALL | LOAD_IMMEDIATE) {
        let opcode = instruction.opcode();
        return blame(file, symbol, |symbol| Kind::Opcode { symbol, opcode });
    }
    if place == 0 {
        let number = u32::try_from(number).ok().filter(|_| is_extern(symbol, order));
        return match number {
            Some(number) => Ok(Found::Target(Target::Extern(number))),
            None => blame(file, symbol, |symbol| Kind::SpecialSection { symbol, section: place }),
        };
    }
    let is_in_text = file.found.text == Some(place);
    if instruction.opcode() == CALL {
        if instruction.src() != PSEUDO_CALL {
            let source = instruction.src();
            return blame(file, symbol, |symbol| Kind::NotASubprogramCall { symbol, source });
        }
        if !is_in_text || value & 7 != 0 {
            return blame(file, symbol, |symbol| Kind::CallTarget { symbol, offset: value });
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
            return blame(file, symbol, |symbol| Kind::CallTarget { symbol, offset });
        }
        return Ok(Found::Function(offset >> 3));
    }
    if file.found.maps == Some(place) {
        let map = file.maps.iter().position(|map| map.is_at(place, value));
        return match map {
            Some(map) => Ok(Found::Target(Target::Map(narrow(map)))),
            None => blame(file, symbol, |symbol| Kind::NoSuchMap { symbol, offset: value }),
        };
    }
    let Some(map) = file.maps.iter().position(|map| map.stands_for(place)) else {
        return blame(file, symbol, |symbol| Kind::DataTarget { symbol, section: place });
    };
    // The instruction's immediate has 32 bits, and so has what is added to it.
    let [a, b, c, d, ..] = value.to_le_bytes();
    Ok(Found::Target(Target::Variable(narrow(map), u32::from_le_bytes([a, b, c, d]))))
}

/// An error that names the symbol. Labels are long, and are made only here.
#[cold]
#[inline(never)]
fn blame<const PROGRAMS: usize, const MAPS: usize>(
    file: &ObjectFile<'_, PROGRAMS, MAPS>,
    symbol: &Symbol,
    kind: impl FnOnce(Label) -> Kind,
) -> Result<Found, Kind> {
    Err(kind(Label::new(symbol_name(file, symbol))))
}

/// What an instruction without a relocation refers to: a call within `.text` carries its distance.
pub(super) fn unrelocated(
    program: &Program<'_>,
    instruction: Instruction,
    offset: u64,
) -> Result<Option<Found>, Unrelocated> {
    match (instruction.opcode(), instruction.src()) {
        (CALL, PSEUDO_CALL) if program.is_subprogram() => {
            let distance = i64::from(instruction.imm()).wrapping_add(1);
            Ok(Some(Found::Call(offset.wrapping_add_signed(distance))))
        }
        (CALL, PSEUDO_CALL) | (LOAD_IMMEDIATE, PSEUDO_FUNC) => Err(Unrelocated),
        _ => Ok(None),
    }
}

/// The instruction refers to something, and no relocation says to what.
pub(super) struct Unrelocated;

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

/// `BPF_LD | BPF_IMM | BPF_DW`: the 16-byte load of a 64-bit immediate.
const LOAD_IMMEDIATE: u8 = 0x18;
