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
//! Here every symbol is looked at once, so the work is the sum of the sizes and not their product; programs whose
//! symbols are out of order are sorted at the end. Of several damaged programs, the one reported is still the one
//! that libbpf finds first.
//!
//! The passes are not inlined: what one has on the stack is not there while another runs. Errors are long, and made
//! out of line for the same reason.

use crate::elf::{self, Container, EXECINSTR, SectionHeader, Symbol, section_type, symbol_type};
use crate::error::{Label, OpenError};
use crate::map::Map;
use crate::map_definition::Refusal;
use crate::map_name::object_name;
use crate::map_problem::MapProblem;
use crate::program::{Parts, Program};
use crate::sections::SectionKind;
use crate::sort::sort_by_key;
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
    pub(crate) container: &'o Container<'data>,
    pub(crate) options: &'o Options<'o>,
    pub(crate) programs: &'o mut heapless::Vec<Program<'data>, PROGRAMS>,
    pub(crate) maps: &'o mut heapless::Vec<Map<'data>, MAPS>,
    /// Maps there are, whether or not they fit.
    pub(crate) maps_found: usize,
}

/// What the sections hold, as far as it is needed later.
#[derive(Clone, Copy)]
pub(crate) struct Found<'data> {
    pub(crate) license: &'data str,
    pub(crate) btf: Option<&'data [u8]>,
    pub(crate) btf_ext: Option<&'data [u8]>,
    pub(crate) text: Option<u16>,
    pub(crate) maps: Option<u16>,
    pub(crate) struct_ops: [Option<u16>; STRUCT_OPS.len()],
}

impl Found<'_> {
    pub(crate) const NOTHING: Self = Self {
        license: "",
        btf: None,
        btf_ext: None,
        text: None,
        maps: None,
        struct_ops: [None; STRUCT_OPS.len()],
    };
}

impl<'data, const PROGRAMS: usize, const MAPS: usize> Opening<'_, 'data, PROGRAMS, MAPS> {
    /// Fills everything, `found` too, which is empty.
    pub(crate) fn run(mut self, found: &mut Found<'data>) -> Result<(), OpenError> {
        self.sections(found)?;
        let maps = self.declared_maps(found);
        self.symbols(found)?;
        maps?;
        self.settle()
    }

    #[inline(never)]
    fn settle(&mut self) -> Result<(), OpenError> {
        if self.maps_found > MAPS {
            return Err(OpenError::TooManyMaps { found: self.maps_found, capacity: MAPS });
        }
        if let Some(map) = self.maps.iter().find(|map| map.has_no_offset()) {
            return Refusal::Map(MapProblem::NoSymbol).named(map.name());
        }
        self.maps.iter_mut().for_each(Map::settle);
        sort_by_key(self.maps, Map::rank);
        Ok(())
    }

    #[inline(never)]
    fn sections(&mut self, found: &mut Found<'data>) -> Result<(), OpenError> {
        // A copy: the compiler keeps what it knows of it, whatever the maps are.
        let container = *self.container;
        let Container { order, sections, .. } = container;
        let object = object_name(self.options.name);
        for (position, section) in sections.iter().enumerate().skip(1) {
            // Most names are only compared, and a string is dearer than its bytes.
            let name =
                container.section_name_bytes(section).ok_or(OpenError::SectionName { section: position })?;
            let text = || str::from_utf8(name).unwrap_or_default();
            let kind = section.kind.get(order);
            if is_ignored(kind, section.size.get(order), name) {
                continue;
            }
            let contents = container
                .contents(section)
                .ok_or_else(|| OpenError::TruncatedSection { section: Label::new(text()) })?;
            // Only sections that symbols can name matter from here on.
            let Ok(place) = u16::try_from(position) else { continue };
            match name {
                b"license" => found.license = license(contents)?,
                b"version" if contents.len() != 4 => {
                    return Err(OpenError::Version { size: section.size.get(order) });
                }
                b"version" => {}
                b"maps" => return Err(OpenError::LegacyMaps),
                b".maps" => found.maps = Some(place),
                b".BTF" | b".BTF.ext" => {
                    if kind != section_type::PROGBITS {
                        return Err(OpenError::SectionType { section: Label::new(text()), kind });
                    }
                    let slot = if name == b".BTF" { &mut found.btf } else { &mut found.btf_ext };
                    *slot = Some(contents);
                }
                _ if kind == section_type::PROGBITS && !contents.is_empty() => {
                    if section.flags.get(order) & EXECINSTR != 0 {
                        if name == b".text" && found.text.replace(place).is_some() {
                            return Err(OpenError::DuplicateSection { section: ".text" });
                        }
                    } else if is_or_extends(name, b".data") {
                        self.add_internal(object, text(), place, contents.len(), Some(contents), false);
                    } else if is_or_extends(name, b".rodata") {
                        self.add_internal(object, text(), place, contents.len(), Some(contents), true);
                    } else if let Some(which) = STRUCT_OPS.iter().position(|&known| known.as_bytes() == name)
                        && let Some(slot) = found.struct_ops.get_mut(which)
                    {
                        *slot = Some(place);
                    }
                }
                _ if kind == section_type::REL => self.check_relocations(position, section)?,
                _ if kind == section_type::NOBITS && is_or_extends(name, b".bss") => {
                    let size = section.size.get(order);
                    let Ok(size) = u32::try_from(size) else {
                        return Err(OpenError::SectionSize { section: Label::new(text()), size });
                    };
                    if size != 0 {
                        self.add_map(Map::internal(object, text(), place, size, None, false));
                    }
                }
                _ => {}
            }
        }
        Ok(())
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

    #[inline(never)]
    fn symbols(&mut self, found: &Found<'data>) -> Result<(), OpenError> {
        let container = *self.container;
        let order = container.order;
        let mut programs_found = 0_usize;
        let mut first_error: Option<(u16, OpenError)> = None;
        // Functions of one section mostly follow each other.
        let mut last: (u16, Option<Home<'data>>) = (0, None);
        for (position, symbol) in container.symbols.iter().enumerate() {
            match symbol.kind() {
                symbol_type::FUNC => {
                    let place = symbol.section.get(order);
                    if last.0 != place {
                        last = (place, home(&container, self.options, place, found));
                    }
                    let Some(home) = &last.1 else { continue };
                    programs_found = programs_found.saturating_add(1);
                    // libbpf goes section by section, and so finds the error in the first section first.
                    let is_late = first_error.as_ref().is_some_and(|(earlier, _)| *earlier <= place);
                    // Programs without room are only counted: reading all their names could take long.
                    if is_late || self.programs.is_full() {
                        continue;
                    }
                    match program(&container, home, position, symbol) {
                        Ok(program) => {
                            let _full = self.programs.push(program);
                        }
                        Err(error) => first_error = Some((place, error)),
                    }
                }
                symbol_type::OBJECT if symbol.is_global() => self.variable(&container, found, symbol),
                _ => {}
            }
        }
        if let Some((_, error)) = first_error {
            return Err(error);
        }
        if programs_found > PROGRAMS {
            return Err(OpenError::TooManyPrograms { found: programs_found, capacity: PROGRAMS });
        }
        sort_by_key(self.programs, Program::place);
        reverse_aliases(self.programs);
        if self.options.section_table == SectionTable::Windows
            && let [only] = self.programs.as_mut_slice()
        {
            only.promote();
        }
        Ok(())
    }

    /// Takes note of a variable that other objects can name.
    fn variable(&mut self, container: &Container<'data>, found: &Found<'data>, symbol: &'data Symbol) {
        let place = symbol.section.get(container.order);
        let is_hidden = !symbol.is_visible();
        let holds_maps = found.maps == Some(place) || found.struct_ops.contains(&Some(place));
        if !is_hidden && !holds_maps {
            return;
        }
        let value = symbol.value.get(container.order);
        for map in self.maps.iter_mut() {
            if is_hidden {
                map.see_hidden(place);
            }
            map.take_offset(place, value, |name| container.symbol_is_named(symbol, name));
        }
    }
}

/// The section, if programs are looked for in it.
fn home<'data>(
    container: &Container<'data>,
    options: &Options<'_>,
    place: u16,
    found: &Found<'data>,
) -> Option<Home<'data>> {
    let order = container.order;
    let section = container.section(place).filter(|_| place != 0)?;
    let is_code =
        section.kind.get(order) == section_type::PROGBITS && section.flags.get(order) & EXECINSTR != 0;
    let bytes = container.contents(section).filter(|bytes| is_code && !bytes.is_empty())?;
    let full_name = container.section_name(section).filter(|name| may_hold_programs(name))?;
    let is_text = found.text == Some(place);
    let (name, autoload) = match full_name.strip_prefix('?') {
        Some(name) => (name, false),
        None => (full_name, true),
    };
    let kind = if is_text { None } else { section_row(options, name) };
    Some(Home { place, bytes, full_name, name, autoload, is_text, kind })
}

/// The program that a function's symbol names.
fn program<'data>(
    container: &Container<'data>,
    home: &Home<'data>,
    position: usize,
    symbol: &Symbol,
) -> Result<Program<'data>, OpenError> {
    let order = container.order;
    let (offset, size) = (symbol.value.get(order), symbol.size.get(order));
    let section = || Label::new(home.full_name);
    let name = container
        .symbol_name(symbol)
        .ok_or_else(|| OpenError::ProgramName { section: section(), symbol: position })?;
    let program = || Label::new(name);
    let code = usize::try_from(offset)
        .ok()
        .zip(usize::try_from(size).ok())
        .and_then(|(offset, size)| home.bytes.get(offset..)?.get(..size))
        .ok_or_else(|| OpenError::ProgramBeyondSection {
            section: section(),
            program: program(),
            offset,
            size,
        })?;
    if !home.is_text && symbol.binding() == elf::binding::LOCAL {
        return Err(OpenError::ProgramIsStatic { section: section(), program: program() });
    }
    let whole = !code.is_empty() && code.len() & 7 == 0 && offset & 7 == 0;
    let Some(first) = u32::try_from(offset >> 3).ok().filter(|_| whole) else {
        let (section, program) = (section(), program());
        return Err(OpenError::ProgramCorrupted { section, program, offset, size });
    };
    Ok(Program::new(Parts {
        name,
        section_name: home.name,
        section: home.place,
        offset: first,
        instructions: elf::records(code),
        kind: home.kind,
        is_subprogram: home.is_text,
        autoload: home.autoload,
    }))
}

/// The row of the section tables that the name matches.
fn section_row(options: &Options<'_>, section: &str) -> Option<usize> {
    match options.section_table {
        SectionTable::Linux => SectionKind::position(section),
        SectionTable::Windows => {
            WindowsSection::position(section).map(|row| row.saturating_add(SectionKind::COUNT))
        }
    }
}

/// Puts programs at the same place (all but one are aliases), which are in the order of their symbols, in the reverse
/// of it: that is what libbpf's sorting makes of them.
fn reverse_aliases(mut programs: &mut [Program<'_>]) {
    // Not `chunk_by_mut`: the compiler cannot see that what it splits off is within bounds, and keeps a panic.
    while let Some(place) = programs.first().map(Program::place) {
        let others = programs.iter().take_while(|program| program.place() == place).count();
        let Some((run, rest)) = programs.split_at_mut_checked(others) else { return };
        run.reverse();
        programs = rest;
    }
}

/// A section that holds programs.
struct Home<'data> {
    place: u16,
    bytes: &'data [u8],
    /// With the `?`, if there is one.
    full_name: &'data str,
    name: &'data str,
    autoload: bool,
    is_text: bool,
    /// Row of the section table.
    kind: Option<usize>,
}

/// Sections that libbpf does not look at.
fn is_ignored(kind: u32, size: u64, name: &[u8]) -> bool {
    let about = name.strip_prefix(b".rel").unwrap_or(name);
    kind == section_type::STRTAB
        || kind == section_type::LLVM_ADDRSIG
        || kind == section_type::PROGBITS && size == 0 && name == b".text"
        || about.starts_with(b".debug_")
        || about.len() < name.len() && matches!(about, b".BTF" | b".BTF.ext")
}

/// Whether programs are looked for in an executable section of that name: not in those whose name gives them
/// another meaning.
fn may_hold_programs(section: &str) -> bool {
    !matches!(section, "license" | "version" | ".maps" | ".BTF" | ".BTF.ext")
        && !section.strip_prefix(".rel").unwrap_or(section).starts_with(".debug_")
        && !matches!(section, ".rel.BTF" | ".rel.BTF.ext")
}

/// Whether `name` is `base`, or `base` with something after a dot.
fn is_or_extends(name: &[u8], base: &[u8]) -> bool {
    matches!(name.strip_prefix(base), Some([] | [b'.', ..]))
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
