//! Opening: one pass over the sections, one over the data sections' types, one over the symbols.
//!
//! ```text
//! sections: licence, version, which sections are what; an internal map for each section of variables
//! BTF:      the maps that `.maps` declares; which internal maps can be mapped into memory; .kconfig and
//!           struct_ops
//! symbols:  the programs; where in their sections the declared maps are
//! ```
//!
//! libbpf looks through all symbols once per executable section, and once per variable that BTF describes.
//! Here every symbol is looked at once, so the work is the sum of the sizes and not their product. Of several
//! damaged programs, the one reported is still the one that libbpf finds first.

use crate::elf::{self, Container, EXECINSTR, SectionHeader, Symbol, section_type, symbol_type};
use crate::error::{Label, OpenError};
use crate::map::Map;
use crate::map_name::object_name;
use crate::map_problem::MapProblem;
use crate::program::{Parts, Program};
use crate::sections::SectionKind;
use crate::windows::{SectionTable, WindowsSection};

/// What an object does not say itself.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options<'a> {
    /// The object's file name, from which the names of internal maps are composed: without directories and up
    /// to the first dot.
    pub name: &'a str,
    /// Bytes of a page where the rings will live: their sizes are rounded to it. 4096 unless set.
    pub page_size: u32,
    /// What a perf event array gets as `max_entries` if the source does not say: 0 unless set, which leaves
    /// it to the platform.
    pub possible_cpus: u32,
    /// Whose names of sections say what programs are: Linux's unless set.
    pub section_table: SectionTable,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { name: "", page_size: 4096, possible_cpus: 0, section_table: SectionTable::Linux }
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
    pub(crate) struct_ops: [Option<u16>; STRUCT_OPS.len()],
}

impl<'data, const PROGRAMS: usize, const MAPS: usize> Opening<'_, 'data, PROGRAMS, MAPS> {
    pub(crate) fn run(mut self) -> Result<Found<'data>, OpenError> {
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
        self.sort_maps();
        Ok(found)
    }

    fn sections(&mut self) -> Result<Found<'data>, OpenError> {
        let Container { order, sections, .. } = self.container;
        let object = object_name(self.options.name);
        let mut found = Found::default();
        for (position, section) in sections.iter().enumerate().skip(1) {
            let name =
                self.container.section_name(section).ok_or(OpenError::SectionName { section: position })?;
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
                        self.add_internal(object, name, place, contents.len(), Some(contents), false);
                    } else if is_or_extends(name, ".rodata") {
                        self.add_internal(object, name, place, contents.len(), Some(contents), true);
                    } else if let Some(which) = STRUCT_OPS.iter().position(|&known| known == name)
                        && let Some(slot) = found.struct_ops.get_mut(which)
                    {
                        *slot = Some(place);
                    }
                }
                _ if kind == section_type::REL => self.check_relocations(position, section)?,
                _ if kind == section_type::NOBITS && is_or_extends(name, ".bss") => {
                    let size = section.size.get(order);
                    let Ok(size) = u32::try_from(size) else {
                        return Err(OpenError::SectionSize { section: Label::new(name), size });
                    };
                    if size != 0 {
                        self.add_map(Map::internal(object, name, place, size, None, false));
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
        name: &'data str,
        place: u16,
        size: usize,
        contents: Option<&'data [u8]>,
        read_only: bool,
    ) {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.add_map(Map::internal(object, name, place, size, contents, read_only));
    }

    /// Adds a map, or only counts it if there is no room: the error is to say how many there are.
    pub(crate) fn add_map(&mut self, map: Map<'data>) {
        self.maps_found = self.maps_found.saturating_add(1);
        let _full = self.maps.push(map);
    }

    fn symbols(&mut self, found: &Found<'data>) -> Result<(), OpenError> {
        let order = self.container.order;
        let mut programs_found = 0_usize;
        let mut first_error: Option<(u16, OpenError)> = None;
        for (position, symbol) in self.container.symbols.iter().enumerate() {
            let place = symbol.section.get(order);
            match symbol.kind() {
                symbol_type::FUNC => {
                    let Some(section) = self.program_section(place) else { continue };
                    programs_found = programs_found.saturating_add(1);
                    // libbpf goes section by section, and so finds the error in the first section first.
                    let is_late = first_error.as_ref().is_some_and(|(earlier, _)| *earlier <= place);
                    // Programs without room are only counted: reading all their names could take long.
                    if is_late || self.programs.is_full() {
                        continue;
                    }
                    let is_text = found.text == Some(place);
                    match self.program(section, place, is_text, position, symbol) {
                        Ok(program) => self.add_program(program),
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
        if self.options.section_table == SectionTable::Windows
            && let [only] = self.programs.as_mut_slice()
        {
            only.promote();
        }
        Ok(())
    }

    /// Bytes and name of a section if programs are looked for in it.
    fn program_section(&self, place: u16) -> Option<(&'data [u8], &'data str)> {
        let order = self.container.order;
        let section = self.container.section(place).filter(|_| place != 0)?;
        let is_code =
            section.kind.get(order) == section_type::PROGBITS && section.flags.get(order) & EXECINSTR != 0;
        let bytes = self.container.contents(section).filter(|bytes| is_code && !bytes.is_empty())?;
        let name = self.container.section_name(section).filter(|name| may_hold_programs(name))?;
        Some((bytes, name))
    }

    /// The program that a function's symbol names.
    fn program(
        &self,
        (bytes, section_name): (&'data [u8], &'data str),
        place: u16,
        is_text: bool,
        position: usize,
        symbol: &Symbol,
    ) -> Result<Program<'data>, OpenError> {
        let order = self.container.order;
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
        if !is_text && symbol.binding() == elf::binding::LOCAL {
            let (section, program) = labels();
            return Err(OpenError::ProgramIsStatic { section, program });
        }
        let whole = !code.is_empty() && code.len() & 7 == 0 && offset & 7 == 0;
        let Some(first) = u32::try_from(offset >> 3).ok().filter(|_| whole) else {
            let (section, program) = labels();
            return Err(OpenError::ProgramCorrupted { section, program, offset, size });
        };
        let (section_name, autoload) = match section_name.strip_prefix('?') {
            Some(section_name) => (section_name, false),
            None => (section_name, true),
        };
        Ok(Program::new(Parts {
            name,
            section_name,
            section: place,
            offset: first,
            instructions: elf::records(code),
            kind: if is_text { None } else { self.section_row(section_name) },
            is_subprogram: is_text,
            autoload,
        }))
    }

    /// The row of the section tables that the name matches.
    fn section_row(&self, section: &str) -> Option<usize> {
        match self.options.section_table {
            SectionTable::Linux => SectionKind::position(section),
            SectionTable::Windows => {
                WindowsSection::position(section).map(|row| row.saturating_add(SectionKind::COUNT))
            }
        }
    }

    /// Keeps programs in order of section and offset, and those at the same place (one is an alias of the
    /// other) in the reverse order of their symbols, which is what libbpf's sorting makes of them.
    fn add_program(&mut self, program: Program<'data>) {
        let place = program.place();
        let position = self.programs.partition_point(|other| other.place() < place);
        if self.programs.push(program).is_ok()
            && let Some(moved @ [_, ..]) = self.programs.get_mut(position..)
        {
            moved.rotate_right(1);
        }
    }

    /// Puts the maps in order of their ranks. They are nearly in order already; and the standard library's
    /// sort needs 3 KiB of stack, and panics if an order is not one.
    fn sort_maps(&mut self) {
        for end in 1..self.maps.len() {
            let Some((sorted, [map, ..])) = self.maps.split_at_checked(end) else { return };
            let rank = map.rank();
            let position = sorted.partition_point(|other| other.rank() <= rank);
            if let Some(moved @ [_, ..]) = self.maps.get_mut(position..=end) {
                moved.rotate_right(1);
            }
        }
    }

    /// Takes note of a variable that other objects can name.
    fn variable(&mut self, place: u16, symbol: &'data Symbol) {
        let container = self.container;
        let value = symbol.value.get(container.order);
        for map in self.maps.iter_mut() {
            if !symbol.is_visible() {
                map.see_hidden(place);
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

/// Whether programs are looked for in an executable section of that name: not in those whose name gives them
/// another meaning.
fn may_hold_programs(section: &str) -> bool {
    !matches!(section, "license" | "version" | ".maps" | ".BTF" | ".BTF.ext")
        && !section.strip_prefix(".rel").unwrap_or(section).starts_with(".debug_")
        && !matches!(section, ".rel.BTF" | ".rel.BTF.ext")
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

/// Sections whose variables are tables of functions for the kernel to call.
pub(crate) const STRUCT_OPS: [&str; 4] =
    [".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link"];
/// `bpf_object.license` has room for 64 bytes with the zero.
const MAX_LICENSE: usize = 63;
