//! Opening, the second pass: what BTF says about maps.

use crate::btf::{self, Btf, Type, kind};
use crate::elf;
use crate::error::{BtfError, OpenError};
use crate::map::{Map, NO_OFFSET, NO_SECTION, Parsed};
use crate::map_definition::{self, Refusal};
use crate::map_name::object_name;
use crate::map_problem::MapProblem;
use crate::open::{Found, Opening, STRUCT_OPS};

impl<'data, const PROGRAMS: usize, const MAPS: usize> Opening<'_, 'data, PROGRAMS, MAPS> {
    #[inline(never)]
    pub(crate) fn declared_maps(&mut self, found: &Found<'data>) -> Result<(), OpenError> {
        let needed = found.maps.is_some() || found.struct_ops.iter().any(Option::is_some);
        let Some(bytes) = found.btf else {
            return if needed { Err(BtfError::Missing.into()) } else { Ok(()) };
        };
        // Each map has some dozen members, each of which takes a few lookups.
        let lookups = MAPS.saturating_add(1).saturating_mul(LOOKUPS_PER_MAP);
        let mut btf: Btf<'_> = Btf::empty(self.container.order);
        match btf.index(bytes, lookups) {
            Ok(()) => self.described(found, &btf),
            Err(error) if needed => Err(error.into()),
            // Nothing but names of types is lost.
            Err(_) => Ok(()),
        }
    }

    fn described(&mut self, found: &Found<'data>, btf: &Btf<'data>) -> Result<(), OpenError> {
        let has_struct_ops = found.struct_ops.iter().any(Option::is_some);
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
                self.variables(btf, &datasec, place)?;
            } else if !seen_kconfig && btf.string_is(datasec.name, ".kconfig") {
                seen_kconfig = true;
                self.kconfig(btf, &datasec)?;
            } else if has_struct_ops
                && let Some((which, place)) = struct_ops_section(btf, &datasec, found)
                && let Some(seen @ false) = seen_struct_ops.get_mut(which)
            {
                *seen = true;
                self.struct_ops(btf, &datasec, place, which)?;
            } else {
                self.global_variables(btf, &datasec)?;
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
    #[inline(never)]
    fn variables(&mut self, btf: &Btf<'data>, datasec: &Type<'data>, place: u16) -> Result<(), OpenError> {
        let order = self.container.order;
        let section_size = self.container.section(place).map_or(0, |section| section.size.get(order));
        for [id, offset, size] in btf.triples(datasec) {
            if self.maps.is_full() {
                self.maps_found = self.maps_found.saturating_add(1);
                continue;
            }
            let variable = btf.find(id)?;
            let Some(name) = name_of(btf, &variable) else { return unnamed(btf, &variable) };
            // Clang leaves the section's size and the offsets open; a linker fills them in.
            let offset = if datasec.size == 0 { NO_OFFSET } else { offset };
            let known = if offset == NO_OFFSET { 0 } else { offset };
            if u64::from(known).saturating_add(u64::from(size)) > section_size {
                return Refusal::Map(MapProblem::OutsideSection).named(name);
            }
            let mut parsed = Parsed::default();
            if let Err(refusal) = &self.declaration(btf, &variable, size, &mut parsed) {
                return refusal.named(name);
            }
            if parsed.inner != 0
                && let Err(refusal) = &map_definition::parse_inner(btf, parsed.inner, self.options)
            {
                // Read now, so that what is wrong with it is found when the object is opened.
                return refusal.named(name);
            }
            self.add_declared(name, place, offset, &parsed);
        }
        Ok(())
    }

    #[inline(never)]
    fn add_declared(&mut self, name: &'data str, place: u16, offset: u32, parsed: &Parsed) {
        self.add_map(Map::declared(name, place, offset, parsed));
    }

    /// Reads the declaration of a map that is `variable`, of `size` bytes.
    #[inline(never)]
    fn declaration(
        &self,
        btf: &Btf<'data>,
        variable: &Type<'data>,
        size: u32,
        parsed: &mut Parsed,
    ) -> Result<(), Refusal> {
        if variable.kind() != kind::VAR {
            return Err(Refusal::Map(MapProblem::NotAStruct));
        }
        let [linkage] = btf.words(variable)?;
        if linkage != btf::linkage::GLOBAL {
            return Err(Refusal::Map(MapProblem::Linkage { linkage }));
        }
        let definition = btf.resolve(variable.size)?;
        if definition.kind() != kind::STRUCT {
            return Err(Refusal::Map(MapProblem::NotAStruct));
        }
        if definition.size > size {
            return Err(Refusal::Map(MapProblem::OutsideSection));
        }
        parsed.inner = map_definition::parse(btf, &definition, self.options, parsed)?;
        Ok(())
    }

    /// The map of kernel configuration values: as large as its variables together. libbpf sorts them by
    /// alignment, and so needs no padding.
    #[inline(never)]
    fn kconfig(&mut self, btf: &Btf<'data>, datasec: &Type<'data>) -> Result<(), BtfError> {
        let mut total = 0_u32;
        for [id, _, _] in btf.triples(datasec) {
            total = total.saturating_add(btf.size_of(id)?.unwrap_or(0));
        }
        if total != 0 {
            let object = object_name(self.options.name);
            let mut map = Map::internal(object, ".kconfig", NO_SECTION, total, None, true);
            map.describe(1);
            self.add_map(map);
        }
        Ok(())
    }

    #[inline(never)]
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
            let Some(name) = name_of(btf, &variable) else { return unnamed(btf, &variable) };
            let structure = btf.resolve(variable.size)?;
            if variable.kind() != kind::VAR || structure.kind() != kind::STRUCT {
                return Refusal::Map(MapProblem::NotAStruct).named(name);
            }
            let offset = if datasec.size == 0 { NO_OFFSET } else { offset };
            let section = STRUCT_OPS.get(which).copied().unwrap_or_default();
            self.add_map(Map::struct_ops(name, place, offset, structure.size, section));
        }
        Ok(())
    }

    /// Lets the internal map of a section be mapped into memory if the section has a variable that is not
    /// static. The other half of the condition, a symbol that is not hidden, is known after the symbols:
    /// until then the flag is only prepared.
    #[inline(never)]
    fn global_variables(&mut self, btf: &Btf<'data>, datasec: &Type<'data>) -> Result<(), BtfError> {
        let container = self.container;
        let Some(name) = btf.string_bytes(datasec.name, elf::MAX_SECTION_NAME) else { return Ok(()) };
        let names = |map: &Map<'_>| {
            let section = map.section_index().and_then(|place| container.sections.get(place));
            section.is_some_and(|section| container.section_is_named(section, name))
        };
        let Some(position) =
            self.maps.iter().position(|map| map.is_internal() && !map.is_described() && names(map))
        else {
            return Ok(());
        };
        let mut globals = 0_i16;
        for [id, _, _] in btf.triples(datasec) {
            let variable = btf.find(id)?;
            if variable.kind() == kind::VAR && btf.words(&variable)? != [btf::linkage::STATIC] {
                globals = globals.saturating_add(1);
            }
        }
        // Sections may share a name; then they share the description.
        for map in self.maps.iter_mut().skip(position) {
            if map.is_internal() && !map.is_described() && names(map) {
                map.describe(globals);
            }
        }
        Ok(())
    }
}

fn name_of<'data>(btf: &Btf<'data>, variable: &Type<'data>) -> Option<&'data str> {
    btf.short_string(variable.name, elf::MAX_SECTION_NAME).filter(|name| !name.is_empty())
}

#[cold]
fn unnamed(btf: &Btf<'_>, variable: &Type<'_>) -> Result<(), OpenError> {
    Refusal::Map(MapProblem::Name).named(btf.string(variable.name).unwrap_or_default())
}

/// Which of the `struct_ops` sections a data section describes.
fn struct_ops_section(btf: &Btf<'_>, datasec: &Type<'_>, found: &Found<'_>) -> Option<(usize, u16)> {
    STRUCT_OPS.iter().zip(found.struct_ops).enumerate().find_map(|(which, (name, place))| {
        btf.string_is(datasec.name, name).then_some(place).flatten().map(|place| (which, place))
    })
}

const LOOKUPS_PER_MAP: usize = 64;
/// Data sections that are looked at; each describes a section of the object or one of two sorts of externs.
const MAX_DATASECS: usize = 1024;
