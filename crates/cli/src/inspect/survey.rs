//! What each program refers to, and what the object needs of a kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ebpf_loader::{Extern, ExternKind, Map, Needs, Program, ReferenceTarget, SlotTarget};

use super::File;
use crate::MAPS;

/// Everything that is known without loading the object.
pub(super) struct Survey<'f, 'data> {
    pub(super) programs: Vec<ProgramSurvey<'f, 'data>>,
    pub(super) subprograms: Vec<Subprogram<'f>>,
    pub(super) needs: Vec<Need<'f>>,
}

/// What one program refers to, subprograms included; each thing once, in the order of the first reference.
pub(super) struct ProgramSurvey<'f, 'data> {
    pub(super) program: &'f Program<'data>,
    /// `None` if the program is damaged, see `problem`.
    pub(super) needs: Option<Needs<MAPS>>,
    pub(super) maps: Vec<&'f str>,
    pub(super) calls: Vec<&'f str>,
    pub(super) callbacks: Vec<&'f str>,
    pub(super) externs: Vec<Extern<'data>>,
    pub(super) problem: Option<String>,
}

/// A function of `.text`.
pub(super) struct Subprogram<'f> {
    pub(super) name: &'f str,
    pub(super) len: usize,
    /// Programs that it is linked into.
    pub(super) callers: Vec<&'f str>,
}

/// Something that only a kernel knows.
pub(super) struct Need<'f> {
    pub(super) name: &'f str,
    pub(super) sort: Sort<'f>,
    /// Programs that refer to it.
    pub(super) programs: Vec<&'f str>,
}

pub(super) enum Sort<'f> {
    Extern(Extern<'f>),
    /// CO-RE relocations, so many.
    Core(usize),
}

impl<'f, 'data: 'f> Survey<'f, 'data> {
    pub(super) fn of(object: &'f File<'data>) -> Self {
        let programs: Vec<_> = object.programs().map(|program| ProgramSurvey::of(object, program)).collect();
        let subprograms = object.subprograms().map(|function| {
            let calls = |row: &&ProgramSurvey<'_, '_>| {
                let mut linked = row.calls.iter().chain(&row.callbacks);
                linked.any(|name| *name == function.name())
            };
            let callers = programs.iter().filter(calls).map(|row| row.program.name()).collect();
            Subprogram { name: function.name(), len: function.len(), callers }
        });
        let subprograms = subprograms.collect();
        let needs = needs(&programs);
        Self { programs, subprograms, needs }
    }
}

impl<'f, 'data> ProgramSurvey<'f, 'data> {
    fn of(object: &'f File<'data>, program: &'f Program<'data>) -> Self {
        let mut survey = Self {
            program,
            needs: None,
            maps: Vec::new(),
            calls: Vec::new(),
            callbacks: Vec::new(),
            externs: Vec::new(),
            problem: None,
        };
        match object.needs(program) {
            Ok(needs) => survey.needs = Some(needs),
            Err(error) => survey.problem = Some(error.to_string()),
        }
        let mut seen = BTreeSet::new();
        for reference in object.references(program).map_while(Result::ok) {
            let (list, name) = match reference.target {
                ReferenceTarget::Map { map } | ReferenceTarget::Variable { map, .. } => {
                    let Some(map) = object.maps().get(map) else { continue };
                    (&mut survey.maps, map.name())
                }
                ReferenceTarget::Call(function) => (&mut survey.calls, function.name()),
                ReferenceTarget::Callback(function) => (&mut survey.callbacks, function.name()),
                ReferenceTarget::Extern(found) => {
                    if seen.insert(("extern", found.name())) {
                        survey.externs.push(found);
                    }
                    continue;
                }
                _ => continue,
            };
            let sort = match reference.target {
                ReferenceTarget::Call(_) => "call",
                ReferenceTarget::Callback(_) => "callback",
                _ => "map",
            };
            if seen.insert((sort, name)) {
                list.push(name);
            }
        }
        survey
    }
}

impl fmt::Display for ProgramSurvey<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = &self.problem {
            return write!(f, "damaged: {problem}");
        }
        let maps = self.maps.iter().map(|name| (*name).to_owned());
        let calls = self.calls.iter().map(|name| format!("{name}()"));
        let callbacks = self.callbacks.iter().map(|name| format!("&{name}"));
        let externs = self.externs.iter().map(|found| found.name().to_owned());
        let core = self.needs.iter().filter(|needs| needs.core > 0).map(|_| "kernel types".to_owned());
        let all: Vec<_> = maps.chain(calls).chain(callbacks).chain(externs).chain(core).collect();
        f.write_str(if all.is_empty() { "nothing" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

impl Need<'_> {
    /// In a few words.
    pub(super) fn what(&self) -> String {
        match &self.sort {
            Sort::Core(count) => format!("CO-RE layout, in {count} places"),
            Sort::Extern(found) => match found.kconfig() {
                Some(variable) => {
                    format!("{} ({:?}, {} bytes)", found.kind(), variable.kind, variable.size).to_lowercase()
                }
                None => found.kind().to_string(),
            },
        }
    }

    /// What becomes of a program if there is none.
    pub(super) fn without(&self) -> &'static str {
        match &self.sort {
            Sort::Core(_) => "refused",
            Sort::Extern(found) => match (found.is_weak(), found.kind()) {
                (false, _) | (_, ExternKind::Undescribed) => "refused",
                (true, ExternKind::Function) => "must not be called",
                (true, ExternKind::Kconfig) => "zero",
                (true, _) => "null",
            },
        }
    }

    /// The sort as programs read it.
    pub(super) fn sort_name(&self) -> &'static str {
        match &self.sort {
            Sort::Core(_) => "core",
            Sort::Extern(found) => match found.kind() {
                ExternKind::Kconfig => "kconfig",
                ExternKind::Address => "ksym",
                ExternKind::Variable => "typed_ksym",
                ExternKind::Function => "kfunc",
                _ => "undescribed",
            },
        }
    }
}

fn needs<'f, 'data: 'f>(programs: &[ProgramSurvey<'f, 'data>]) -> Vec<Need<'f>> {
    let mut needs = Vec::<Need<'f>>::new();
    let mut places = BTreeMap::<&str, usize>::new();
    for row in programs {
        for found in &row.externs {
            let place = *places.entry(found.name()).or_insert(needs.len());
            match needs.get_mut(place) {
                Some(need) => need.programs.push(row.program.name()),
                None => {
                    let programs = vec![row.program.name()];
                    needs.push(Need { name: found.name(), sort: Sort::Extern(*found), programs });
                }
            }
        }
    }
    let core = |row: &ProgramSurvey<'_, '_>| row.needs.map_or(0, |needs| needs.core);
    let places = programs.iter().map(core).fold(0, usize::saturating_add);
    if places > 0 {
        let programs = programs.iter().filter(|row| core(row) > 0).map(|row| row.program.name()).collect();
        needs.push(Need { name: "kernel types", sort: Sort::Core(places), programs });
    }
    needs
}

/// One entry that a map holds from the start.
pub(super) struct Slot<'f> {
    pub(super) entry: u32,
    pub(super) sort: &'static str,
    pub(super) name: &'f str,
}

pub(super) fn slots<'f, 'data: 'f>(
    object: &'f File<'data>,
    map: &'f Map<'data>,
) -> impl Iterator<Item = Result<Slot<'f>, String>> {
    object.initial_values(map).map(|value| {
        let value = value.map_err(|problem| problem.to_string())?;
        let (sort, name) = match value.target {
            SlotTarget::Map(index) => ("map", object.maps().get(index).map_or("", Map::name)),
            SlotTarget::Program(program) => ("program", program.name()),
            _ => ("unknown", ""),
        };
        Ok(Slot { entry: value.slot, sort, name })
    })
}
