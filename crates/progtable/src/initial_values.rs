//! What the source puts into a map from the start: `.values = { … }` of maps of maps and of tables of programs.
//!
//! The variable that declares such a map is an array of pointers, and each pointer that is set is a relocation
//! of the section `.maps`: where it stands says which map and which entry, its symbol what goes there.

use core::error::Error;
use core::fmt;

use crate::btf::Btf;
use crate::elf::{self, Relocation, section_type};
use crate::error::{BtfError, Label};
use crate::kinds::MapKind;
use crate::map::Map;
use crate::object_file::ObjectFile;
use crate::program::Program;
use crate::walk::symbol_name;

/// One entry that a map holds from the start.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct InitialValue<'f, 'data> {
    /// The key: the index in the array.
    pub slot: u32,
    /// What is to be put there, once both exist.
    pub target: SlotTarget<'f, 'data>,
}

/// What a map entry refers to.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum SlotTarget<'f, 'data> {
    /// A map, by its index in [`ObjectFile::maps`].
    Map(usize),
    /// A program.
    Program(&'f Program<'data>),
}

/// What is wrong with an initial value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitialValueProblem {
    /// Type information is malformed.
    Btf(BtfError),
    /// A hash of maps needs keys of four bytes for this.
    KeySize {
        /// What it has.
        key_size: u32,
    },
    /// The map's type holds neither maps nor programs.
    MapKind {
        /// The type.
        kind: MapKind,
    },
    /// There is no map or program of that name at the symbol's place, or it is a subprogram.
    NoTarget {
        /// The symbol.
        symbol: Label,
    },
    /// The relocations of `.maps` are cut off, or refer to a symbol that does not exist.
    Relocations,
    /// The place is not that of an entry.
    Slot {
        /// Where it is in `.maps`, in bytes.
        offset: u64,
    },
}

impl fmt::Display for InitialValueProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Btf(error) => write!(f, "type information (.BTF): {error}"),
            Self::KeySize { key_size } => write!(f, "entries need keys of 4 bytes, and it has {key_size}"),
            Self::MapKind { kind } => write!(f, "a map of type {kind} holds neither maps nor programs"),
            Self::NoTarget { symbol } => write!(f, "'{symbol}' is not a map or program to put there"),
            Self::Relocations => f.write_str("the relocations of '.maps' are malformed"),
            Self::Slot { offset } => write!(f, "'.maps' + {offset} is not an entry"),
        }
    }
}

impl Error for InitialValueProblem {}

impl<'data, const PROGRAMS: usize, const MAPS: usize> ObjectFile<'data, PROGRAMS, MAPS> {
    /// What `map` holds from the start, in the order of the file. Putting it in is for whoever creates the
    /// maps and loads the programs; a program that is off has nothing to put.
    ///
    /// As with libbpf, of two entries for one slot the later counts. An item that is an error is the last.
    pub fn initial_values<'f>(
        &'f self,
        map: &Map<'data>,
    ) -> impl Iterator<Item = Result<InitialValue<'f, 'data>, InitialValueProblem>> + use<'f, 'data, PROGRAMS, MAPS>
    {
        let mut state = Values::of(self, map);
        core::iter::from_fn(move || {
            let next = state.as_mut().map_err(|problem| *problem).and_then(Values::next).transpose();
            match next {
                Some(Ok(value)) => Some(Ok(value)),
                Some(Err(problem)) => {
                    state = Ok(Values::none(self));
                    Some(Err(problem))
                }
                None => None,
            }
        })
    }
}

struct Values<'f, 'data, const PROGRAMS: usize, const MAPS: usize> {
    file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
    relocations: core::slice::Iter<'data, Relocation>,
    kind: MapKind,
    key_size: u32,
    /// The variable in `.maps`, and the array in it, in bytes.
    variable: core::ops::Range<u64>,
    values: u64,
}

impl<'f, 'data, const PROGRAMS: usize, const MAPS: usize> Values<'f, 'data, PROGRAMS, MAPS> {
    fn none(file: &'f ObjectFile<'data, PROGRAMS, MAPS>) -> Self {
        let relocations = [].iter();
        Self { file, relocations, kind: MapKind::UNSPEC, key_size: 0, variable: 0..0, values: 0 }
    }

    fn of(
        file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
        map: &Map<'data>,
    ) -> Result<Self, InitialValueProblem> {
        let mut state = Self::none(file);
        let container = &file.container;
        let order = container.order;
        let Some((place, offset)) = map.declared_place() else { return Ok(state) };
        let list = container.sections.iter().find(|section| {
            section.kind.get(order) == section_type::REL && section.info.get(order) == u32::from(place)
        });
        let Some(list) = list else { return Ok(state) };
        let list = container.contents(list).ok_or(InitialValueProblem::Relocations)?;
        (state.kind, state.key_size) = (map.kind(), map.key_size());
        let Some((size, values)) = declaration(file, map).map_err(InitialValueProblem::Btf)? else {
            return Ok(state);
        };
        let start = u64::from(offset);
        state.variable = start..start.saturating_add(u64::from(size));
        state.values = start.saturating_add(u64::from(values));
        state.relocations = elf::records(list).iter();
        Ok(state)
    }

    fn next(&mut self) -> Result<Option<InitialValue<'f, 'data>>, InitialValueProblem> {
        let file = self.file;
        let order = file.container.order;
        let belongs = |entry: &&Relocation| self.variable.contains(&entry.offset.get(order));
        let Some(entry) = self.relocations.find(belongs) else { return Ok(None) };
        let offset = entry.offset.get(order);
        let slot = offset.checked_sub(self.values).filter(|bytes| bytes & 7 == 0);
        let slot = slot.and_then(|bytes| u32::try_from(bytes >> 3).ok());
        let slot = slot.ok_or(InitialValueProblem::Slot { offset })?;
        let symbol = usize::try_from(entry.symbol(order)).ok();
        let symbol = symbol.and_then(|number| file.container.symbols.get(number));
        let symbol = symbol.ok_or(InitialValueProblem::Relocations)?;
        let (place, value) = (symbol.section.get(order), symbol.value.get(order));
        let missing = || {
            let symbol = Label::new(symbol_name(file, symbol));
            InitialValueProblem::NoTarget { symbol }
        };
        let target = match self.kind {
            MapKind::HASH_OF_MAPS if self.key_size != 4 => {
                return Err(InitialValueProblem::KeySize { key_size: self.key_size });
            }
            MapKind::ARRAY_OF_MAPS | MapKind::HASH_OF_MAPS => {
                let found = file.maps.iter().position(|map| map.is_at(place, value));
                SlotTarget::Map(found.ok_or_else(missing)?)
            }
            MapKind::PROG_ARRAY => {
                let found = file.programs().find(|program| {
                    let (section, first) = program.place();
                    section == place
                        && u64::from(first).saturating_mul(8) == value
                        && file.container.symbol_is_named(symbol, program.name())
                });
                SlotTarget::Program(found.ok_or_else(missing)?)
            }
            kind => return Err(InitialValueProblem::MapKind { kind }),
        };
        Ok(Some(InitialValue { slot, target }))
    }
}

/// Size of the variable that declares the map, and where in it the last member is, in bytes: the array of
/// values, if the map has one.
#[inline(never)]
fn declaration<const PROGRAMS: usize, const MAPS: usize>(
    file: &ObjectFile<'_, PROGRAMS, MAPS>,
    map: &Map<'_>,
) -> Result<Option<(u32, u32)>, BtfError> {
    let Some(bytes) = file.found.btf else { return Ok(None) };
    let mut btf: Btf<'_> = Btf::empty(file.container.order);
    btf.index(bytes, LOOKUPS)?;
    let Some(datasec) = btf.datasecs().find(|datasec| btf.string_is(datasec.name, ".maps")) else {
        return Ok(None);
    };
    for [id, _, size] in btf.triples(&datasec) {
        let variable = btf.find(id)?;
        if !btf.string_is(variable.name, map.name()) {
            continue;
        }
        let definition = btf.resolve(variable.size)?;
        let last = btf.triples(&definition).last();
        return Ok(last.map(|[_, _, bits]| (size, bits >> 3)));
    }
    Ok(None)
}

const LOOKUPS: usize = 4096;
