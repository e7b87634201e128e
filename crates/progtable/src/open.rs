//! Opening: one pass over the sections, one over the data sections' types, one over the symbols.
//!
//! ```text
//! sections: licence, version, which sections are what; an internal map for each section of variables
//! BTF:      the maps that `.maps` declares; which internal maps can be mapped into memory; .kconfig; struct_ops
//! symbols:  the programs; where in their sections the declared maps are
//! ```
//!
//! libbpf looks through all symbols once per executable section, and once per variable that BTF describes. Here every symbol is looked
//! at once, so the work is the sum of the sizes and not their product; the errors are still those that libbpf finds first.

use crate::btf::{self, Btf, Type, kind};
use crate::elf::{self, Container, EXECINSTR, SectionHeader, Symbol, section_type, symbol_type};
use crate::error::{BtfError, Label, OpenError};
use crate::instruction::Instruction;
use crate::map::{self, Map, MapProblem, NO_OFFSET, NO_SECTION};
use crate::map_definition;
use crate::program::{Parts, Program};
use crate::sections::SectionKind;

/// What an object does not say itself.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options<'a> {
    /// The object's file name, from which the names of internal maps are composed: without directories and up to the first dot.
    pub name: &'a str,
    /// Bytes of a page where the rings will live: their sizes are rounded to it. 4096 unless set.
    pub page_size: u32,
    /// What a perf event array gets as `max_entries` if the source does not say: 0 unless set, which leaves it to the platform.
    pub possible_cpus: u32,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { name: "", page_size: 4096, possible_cpus: 0 }
    }
}

/// What the passes fill: the object file's parts.
pub(crate) struct Opening<'o, 'data, const PROGRAMS: usize, const MAPS: usize> {
    pub(crate) container: Container<'data>,
    pub(crate) options: &'o Options<'o>,
    pub(crate) programs: &'o mut heapless::Vec<Program<'data>, PROGRAMS>,
    pub(crate) maps: &'o mut heapless::Vec<Map<'data>, MAPS>,
    /// Maps there are, whether or not they fit.
    pub(crate) maps_found: usize,
}

/// What the sections hold, as far as it is needed later.
#[derive(Clone, Copy, Default)]
pub(crate) struct Found<'data> {
    pub(crate) license: &'data str,
    pub(crate) btf: Option<&'data [u8]>,
    pub(crate) btf_ext: Option<&'data [u8]>,
    pub(crate) text: Option<u16>,
    pub(crate) maps: Option<u16>,
    struct_ops: [Option<u16>; STRUCT_OPS.len()],
}

impl<'data, const PROGRAMS: usize, const MAPS: usize> Opening<'_, 'data, PROGRAMS, MAPS> {
    pub(crate) fn run(&mut self) -> Result<Found<'data>, OpenError> {
        let found = self.sections()?;
        let maps = self.declared_maps(&found);
        self.symbols(&found)?;
        maps?;
        if self.maps_found > MAPS {
            return Err(OpenError::TooManyMaps { found: self.maps_found, capacity: MAPS });
        }
        if let Some(map) = self.maps.iter().find(|map| map.has_no_offset()) {
            return Err(OpenError::Map { map: Label::new(map.name()), problem: MapProblem::NoSymbol });
        }
        self.maps.iter_mut().for_each(Map::settle);
        self.maps.sort_unstable_by_key(Map::rank);
        Ok(found)
    }

    fn sections(&mut self) -> Result<Found<'data>, OpenError> {
        let Container { order, sections, .. } = self.container;
        let object_name = map::object_name(self.options.name);
        let mut found = Found::default();
        for (position, section) in sections.iter().enumerate().skip(1) {
            let name = self.container.section_name(section).ok_or(OpenError::SectionName { section: position })?;
            if is_ignored(section.kind.get(order), section.size.get(order), name) {
                continue;
            }
            let contents = self
                .container
                .contents(section)
                .ok_or_else(|| OpenError::TruncatedSection { section: Label::new(name) })?;
            // Only sections that symbols can name matter from here on.
            let Ok(place) = u16::try_from(position) else { continue };
            let kind = section.kind.get(order);
            match name {
                "license" => found.license = license(contents)?,
                "version" if contents.len() != 4 => {
                    return Err(OpenError::Version { size: section.size.get(order) });
                }
                "version" => {}
                "maps" => return Err(OpenError::LegacyMaps),
                ".maps" => found.maps = Some(place),
                ".BTF" | ".BTF.ext" => {
                    if kind != section_type::PROGBITS {
                        return Err(OpenError::SectionType { section: Label::new(name), kind });
                    }
                    let slot = if name == ".BTF" { &mut found.btf } else { &mut found.btf_ext };
                    *slot = Some(contents);
                }
                _ if kind == section_type::PROGBITS && !contents.is_empty() => {
                    if section.flags.get(order) & EXECINSTR != 0 {
                        if name == ".text" && found.text.replace(place).is_some() {
                            return Err(OpenError::DuplicateSection { section: ".text" });
                        }
                    } else if is_or_extends(name, ".data") {
                        self.add_internal(object_name, name, place, contents.len(), Some(contents), false);
                    } else if is_or_extends(name, ".rodata") {
                        self.add_internal(object_name, name, place, contents.len(), Some(contents), true);
                    } else if let Some(which) = STRUCT_OPS.iter().position(|&known| known == name)
                        && let Some(slot) = found.struct_ops.get_mut(which)
                    {
                        *slot = Some(place);
                    }
                }
                _ if kind == section_type::REL => self.check_relocations(position, section)?,
                _ if kind == section_type::NOBITS && is_or_extends(name, ".bss") => {
                    let size = usize::try_from(section.size.get(order)).unwrap_or(usize::MAX);
                    if size != 0 {
                        self.add_internal(object_name, name, place, size, None, false);
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn check_relocations(&self, position: usize, section: &SectionHeader) -> Result<(), OpenError> {
        let order = self.container.order;
        let target = elf::index(section.info.get(order));
        let entry_size = section.entry_size.get(order);
        if entry_size != 16 || target >= self.container.sections.len() {
            return Err(OpenError::Relocations { section: position });
        }
        Ok(())
    }

    fn add_internal(
        &mut self,
        object: &str,
        name: &str,
        place: u16,
        size: usize,
        contents: Option<&'data [u8]>,
        read_only: bool,
    ) {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.add_map(Map::internal(object, name, place, size, contents, read_only));
    }

    /// Adds a map, or only counts it if there is no room: the error is to say how many there are.
    fn add_map(&mut self, map: Map<'data>) {
        self.maps_found = self.maps_found.saturating_add(1);
        let _full = self.maps.push(map);
    }

    fn declared_maps(&mut self, found: &Found<'data>) -> Result<(), OpenError> {
        let has_struct_ops = found.struct_ops.iter().any(Option::is_some);
        let needed = found.maps.is_some() || has_struct_ops;
        let Some(bytes) = found.btf else {
            return if needed { Err(BtfError::Missing.into()) } else { Ok(()) };
        };
        // Each map has some dozen members, each of which takes a few lookups.
        let lookups = MAPS.saturating_add(1).saturating_mul(LOOKUPS_PER_MAP);
        let btf = match Btf::parse(bytes, self.container.order, lookups) {
            Ok(btf) => btf,
            Err(error) if needed => return Err(error.into()),
            // Nothing but names of types is lost.
            Err(_) => return Ok(()),
        };
        let mut seen_maps = false;
        let mut seen_kconfig = false;
        let mut seen_struct_ops = [false; STRUCT_OPS.len()];
        for (position, datasec) in btf.datasecs().enumerate() {
            if position == MAX_DATASECS {
                return Err(BtfError::TooManyDatasecs { limit: MAX_DATASECS }.into());
            }
            if let Some(place) = found.maps
                && !seen_maps
                && btf.string_is(datasec.name, ".maps")
            {
                seen_maps = true;
                self.variables(&btf, &datasec, place)?;
            } else if !seen_kconfig && btf.string_is(datasec.name, ".kconfig") {
                seen_kconfig = true;
                self.kconfig(&btf, &datasec)?;
            } else if has_struct_ops
                && let Some((which, place)) = struct_ops_section(&btf, &datasec, found)
                && let Some(seen @ false) = seen_struct_ops.get_mut(which)
            {
                *seen = true;
                self.struct_ops(&btf, &datasec, place, which)?;
            } else {
                self.global_variables(&btf, &datasec)?;
            }
        }
        if found.maps.is_some() && !seen_maps {
            return Err(BtfError::NoDatasec { section: ".maps" }.into());
        }
        for ((place, seen), section) in found.struct_ops.iter().zip(seen_struct_ops).zip(STRUCT_OPS) {
            if place.is_some() && !seen {
                return Err(BtfError::NoDatasec { section }.into());
            }
        }
        Ok(())
    }

    /// The maps of `.maps`.
    fn variables(&mut self, btf: &Btf<'data>, datasec: &Type<'data>, place: u16) -> Result<(), OpenError> {
        let order = self.container.order;
        let section_size = self.container.section(place).map_or(0, |section| section.size.get(order));
        for [id, offset, size] in btf.triples(datasec) {
            if self.maps.is_full() {
                self.maps_found = self.maps_found.saturating_add(1);
                continue;
            }
            let variable = btf.find(id)?;
            let name = name_of(btf, &variable)?;
            let problem = |problem| OpenError::Map { map: Label::new(name), problem };
            // Clang leaves the section's size and the offsets open; a linker fills them in.
            let offset = if datasec.size == 0 { NO_OFFSET } else { offset };
            let known = if offset == NO_OFFSET { 0 } else { offset };
            if u64::from(known).saturating_add(u64::from(size)) > section_size {
                return Err(problem(MapProblem::OutsideSection));
            }
            if variable.kind() != kind::VAR {
                return Err(problem(MapProblem::NotAStruct));
            }
            let [linkage] = btf.words(&variable)?;
            if linkage != btf::linkage::GLOBAL {
                return Err(problem(MapProblem::Linkage { linkage }));
            }
            let definition = btf.resolve(variable.size)?;
            if definition.kind() != kind::STRUCT {
                return Err(problem(MapProblem::NotAStruct));
            }
            if definition.size > size {
                return Err(problem(MapProblem::OutsideSection));
            }
            let parsed = map_definition::parse(btf, name, &definition, self.options)?;
            self.add_map(Map::declared(name, place, offset, parsed));
        }
        Ok(())
    }

    /// The map of kernel configuration values: as large as its variables together. libbpf sorts them by alignment, and so needs no padding.
    fn kconfig(&mut self, btf: &Btf<'data>, datasec: &Type<'data>) -> Result<(), OpenError> {
        let mut total = 0_u32;
        for [id, _, _] in btf.triples(datasec) {
            total = total.saturating_add(btf.size_of(id)?.unwrap_or(0));
        }
        if total != 0 {
            let object = map::object_name(self.options.name);
            let mut map = Map::internal(object, ".kconfig", NO_SECTION, total, None, true);
            map.describe(true);
            map.see_symbol(NO_SECTION);
            self.add_map(map);
        }
        Ok(())
    }

    fn struct_ops(
        &mut self,
        btf: &Btf<'data>,
        datasec: &Type<'data>,
        place: u16,
        which: usize,
    ) -> Result<(), OpenError> {
        for [id, offset, _] in btf.triples(datasec) {
            if self.maps.is_full() {
                self.maps_found = self.maps_found.saturating_add(1);
                continue;
            }
            let variable = btf.find(id)?;
            let name = name_of(btf, &variable)?;
            let structure = btf.resolve(variable.size)?;
            if variable.kind() != kind::VAR || structure.kind() != kind::STRUCT {
                return Err(OpenError::Map { map: Label::new(name), problem: MapProblem::NotAStruct });
            }
            let offset = if datasec.size == 0 { NO_OFFSET } else { offset };
            let link = STRUCT_OPS.get(which).is_some_and(|name| name.ends_with(".link"));
            self.add_map(Map::struct_ops(name, place, offset, structure.size, link));
        }
        Ok(())
    }

    /// Lets the internal map of a section be mapped into memory if the section has a variable that is not static. The other half of the
    /// condition, a symbol that is not hidden, is known after the symbols: until then the flag is only prepared.
    fn global_variables(&mut self, btf: &Btf<'data>, datasec: &Type<'data>) -> Result<(), OpenError> {
        let container = self.container;
        let names = |map: &Map<'_>| {
            let section = map.section_index().and_then(|place| container.sections.get(place));
            section
                .and_then(|section| container.section_name(section))
                .is_some_and(|name| btf.string_is(datasec.name, name))
        };
        let Some(position) =
            self.maps.iter().position(|map| map.is_internal() && !map.is_described() && names(map))
        else {
            return Ok(());
        };
        let mut is_global = false;
        for [id, _, _] in btf.triples(datasec) {
            let variable = btf.find(id)?;
            if variable.kind() == kind::VAR && btf.words(&variable)? != [btf::linkage::STATIC] {
                is_global = true;
                break;
            }
        }
        // Sections may share a name; then they share the description.
        for map in self.maps.iter_mut().skip(position) {
            if map.is_internal() && !map.is_described() && names(map) {
                map.describe(is_global);
            }
        }
        Ok(())
    }

    fn symbols(&mut self, found: &Found<'data>) -> Result<(), OpenError> {
        let order = self.container.order;
        let mut programs_found = 0_usize;
        let mut first_error: Option<(u16, OpenError)> = None;
        for (position, symbol) in self.container.symbols.iter().enumerate() {
            let place = symbol.section.get(order);
            match symbol.kind() {
                symbol_type::FUNC => {
                    // libbpf goes section by section, and so finds the error in the first section first.
                    if first_error.as_ref().is_some_and(|(section, _)| *section <= place) {
                        continue;
                    }
                    match self.program(found, place, position, symbol) {
                        Ok(None) => {}
                        Ok(Some(program)) => {
                            programs_found = programs_found.saturating_add(1);
                            self.add_program(program);
                        }
                        Err(error) => first_error = Some((place, error)),
                    }
                }
                symbol_type::OBJECT if symbol.is_global() => self.variable(place, symbol),
                _ => {}
            }
        }
        if let Some((_, error)) = first_error {
            return Err(error);
        }
        if programs_found > PROGRAMS {
            return Err(OpenError::TooManyPrograms { found: programs_found, capacity: PROGRAMS });
        }
        Ok(())
    }

    /// The program that a function's symbol names, or `None` if it is in a section without programs.
    fn program(
        &self,
        found: &Found<'data>,
        place: u16,
        position: usize,
        symbol: &'data Symbol,
    ) -> Result<Option<Program<'data>>, OpenError> {
        let order = self.container.order;
        let Some(section) = self.container.section(place) else { return Ok(None) };
        if place == 0
            || section.kind.get(order) != section_type::PROGBITS
            || section.flags.get(order) & EXECINSTR == 0
        {
            return Ok(None);
        }
        let bytes = self.container.contents(section).unwrap_or_default();
        let section_name = self.container.section_name(section).unwrap_or_default();
        if bytes.is_empty() || !may_hold_programs(section_name) {
            return Ok(None);
        }
        let (offset, size) = (symbol.value.get(order), symbol.size.get(order));
        let name = self
            .container
            .symbol_name(symbol)
            .ok_or_else(|| OpenError::ProgramName { section: Label::new(section_name), symbol: position })?;
        let labels = || (Label::new(section_name), Label::new(name));
        let code = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(size).ok())
            .and_then(|(offset, size)| bytes.get(offset..)?.get(..size))
            .ok_or_else(|| {
                let (section, program) = labels();
                OpenError::ProgramBeyondSection { section, program, offset, size }
            })?;
        let is_subprogram = found.text == Some(place);
        if !is_subprogram && symbol.binding() == elf::binding::LOCAL {
            let (section, program) = labels();
            return Err(OpenError::ProgramIsStatic { section, program });
        }
        let (instructions, rest) = code.as_chunks::<{ Instruction::SIZE }>();
        let first = offset.checked_div(8).and_then(|first| u32::try_from(first).ok());
        let (Some(first), 0) = (first, offset & 7) else {
            let (section, program) = labels();
            return Err(OpenError::ProgramCorrupted { section, program, offset, size });
        };
        if instructions.is_empty() || !rest.is_empty() {
            let (section, program) = labels();
            return Err(OpenError::ProgramCorrupted { section, program, offset, size });
        }
        let (section_name, autoload) = match section_name.strip_prefix('?') {
            Some(section_name) => (section_name, false),
            None => (section_name, true),
        };
        Ok(Some(Program::new(Parts {
            name,
            section_name,
            section: place,
            offset: first,
            instructions: elf::records(code),
            kind: if is_subprogram { None } else { SectionKind::position(section_name) },
            is_subprogram,
            autoload,
        })))
    }

    /// Keeps programs in order of section and offset, and those at the same place in the order of their symbols.
    fn add_program(&mut self, program: Program<'data>) {
        let place = program.place();
        let position = self.programs.partition_point(|other| other.place() <= place);
        if self.programs.push(program).is_ok()
            && let Some(moved) = self.programs.get_mut(position..)
        {
            moved.rotate_right(1);
        }
    }

    /// Takes note of a variable that other objects can name.
    fn variable(&mut self, place: u16, symbol: &'data Symbol) {
        let container = self.container;
        let value = symbol.value.get(container.order);
        for map in self.maps.iter_mut() {
            if symbol.is_visible() {
                map.see_symbol(place);
            }
            map.take_offset(place, value, |name| container.symbol_is_named(symbol, name));
        }
    }
}

/// Sections that libbpf does not look at.
fn is_ignored(kind: u32, size: u64, name: &str) -> bool {
    let about = name.strip_prefix(".rel").unwrap_or(name);
    kind == section_type::STRTAB
        || kind == section_type::LLVM_ADDRSIG
        || kind == section_type::PROGBITS && size == 0 && name == ".text"
        || about.starts_with(".debug_")
        || about.len() < name.len() && matches!(about, ".BTF" | ".BTF.ext")
}

/// Whether programs are looked for in an executable section of that name: not in those whose name gives them another meaning.
fn may_hold_programs(section: &str) -> bool {
    !matches!(section, "license" | "version" | ".maps" | ".BTF" | ".BTF.ext") && !section.starts_with(".debug_")
}

/// Whether `name` is `base`, or `base` with something after a dot.
fn is_or_extends(name: &str, base: &str) -> bool {
    matches!(name.as_bytes().strip_prefix(base.as_bytes()), Some([] | [b'.', ..]))
}

/// The licence: up to the first zero byte, and at most 63 bytes, which is what the kernel is given.
fn license(contents: &[u8]) -> Result<&str, OpenError> {
    let text = contents.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = text.get(..MAX_LICENSE).unwrap_or(text);
    str::from_utf8(text).map_err(|_| OpenError::License)
}

fn name_of<'data>(btf: &Btf<'data>, variable: &Type<'data>) -> Result<&'data str, OpenError> {
    btf.string(variable.name).filter(|name| !name.is_empty() && name.len() <= elf::MAX_SECTION_NAME).ok_or_else(
        || OpenError::Map {
            map: Label::new(btf.string(variable.name).unwrap_or_default()),
            problem: MapProblem::Name,
        },
    )
}

/// Which of the `struct_ops` sections a data section describes.
fn struct_ops_section(btf: &Btf<'_>, datasec: &Type<'_>, found: &Found<'_>) -> Option<(usize, u16)> {
    STRUCT_OPS.iter().zip(found.struct_ops).enumerate().find_map(|(which, (name, place))| {
        btf.string_is(datasec.name, name).then_some(place).flatten().map(|place| (which, place))
    })
}

/// Sections whose variables are tables of functions for the kernel to call.
const STRUCT_OPS: [&str; 4] = [".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link"];
/// `bpf_object.license` has room for 64 bytes with the zero.
const MAX_LICENSE: usize = 63;
const LOOKUPS_PER_MAP: usize = 64;
/// Data sections that are looked at; each describes a section of the object or one of two sorts of externs.
const MAX_DATASECS: usize = 1024;
