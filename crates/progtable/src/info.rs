//! Where a linked program's parts come from, and what `.BTF.ext` knows of its instructions.

use crate::btf;
use crate::btf_ext::{Groups, InfoKind, InfoRecord, Records};
use crate::elf;
use crate::object_file::ObjectFile;
use crate::program::Program;
use crate::relocate_error::{RelocateError, RelocateErrorKind};
use crate::walk::{Event, Walk};

/// Where each function of a linked program stands: the program first, then its subprograms in the order in
/// which they are first called. Made by [`ObjectFile::layout`]; the same layout that
/// [`relocate`](ObjectFile::relocate) makes.
pub struct Layout<'f, 'data, const PROGRAMS: usize, const MAPS: usize> {
    file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
    functions: heapless::Vec<Placed, PROGRAMS>,
    len: usize,
}

#[derive(Clone, Copy)]
struct Placed {
    program: u32,
    base: u32,
}

impl<'f, 'data, const PROGRAMS: usize, const MAPS: usize> Layout<'f, 'data, PROGRAMS, MAPS> {
    pub(crate) fn of(
        file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
        program: &Program<'data>,
    ) -> Result<Self, RelocateError> {
        let mut walk = Walk::new(file, program)?;
        let mut functions = heapless::Vec::new();
        for event in walk.by_ref() {
            if let Event::Place { program, base } = event? {
                let narrow = |index| u32::try_from(index).unwrap_or(u32::MAX);
                // Every program is placed once at most, so there is room.
                let _full = functions.push(Placed { program: narrow(program), base: narrow(base) });
            }
        }
        Ok(Self { file, functions, len: walk.len() })
    }

    /// Instructions of the linked program.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no program is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The functions and where they start, in instructions; the first is the program, at 0.
    pub fn functions(&self) -> impl Iterator<Item = (usize, &'f Program<'data>)> {
        let file = self.file;
        self.functions.iter().filter_map(move |placed| {
            Some((elf::index(placed.base), file.programs.get(elf::index(placed.program))?))
        })
    }

    /// The function in which an instruction of the linked program stands, and where in it.
    #[must_use]
    pub fn function_of(&self, instruction: usize) -> Option<(&'f Program<'data>, usize)> {
        let after = self.functions.partition_point(|placed| elf::index(placed.base) <= instruction);
        let placed = self.functions.get(after.checked_sub(1)?)?;
        let program = self.file.programs.get(elf::index(placed.program))?;
        let position = instruction.checked_sub(elf::index(placed.base))?;
        (position < program.len()).then_some((program, position))
    }

    /// What `.BTF.ext` knows of the linked program's instructions: the records as bpf(2) takes them, with the
    /// instructions' places adjusted, those of the program first and then those of each subprogram.
    ///
    /// As with libbpf there are no records of a kind at all if there are none for the program itself, and a
    /// subprogram without function or line records, when the program has some, is an error
    /// ([`RelocateErrorKind::NoInfo`]). An item that is an error is the last.
    pub fn records(&self, kind: InfoKind) -> impl Iterator<Item = Result<InfoRecord<'data>, RelocateError>> {
        let file = self.file;
        let mut functions = self.functions.iter();
        let mut current: Option<(&Placed, &Program<'data>, FunctionRecords<'data>, bool)> = None;
        core::iter::from_fn(move || {
            loop {
                if let Some((placed, program, records, seen)) = &mut current {
                    match records.next() {
                        Some(Ok((position, record))) => {
                            *seen = true;
                            return Some(Ok(record.at(placed.base.saturating_add(position))));
                        }
                        Some(Err(problem)) => {
                            let error = RelocateError::new(program, 0, problem);
                            (functions, current) = ([].iter(), None);
                            return Some(Err(error));
                        }
                        None if *seen || kind == InfoKind::CoRe => {}
                        None if placed.base == 0 => {
                            (functions, current) = ([].iter(), None);
                            return None;
                        }
                        None => {
                            let problem = RelocateErrorKind::NoInfo { kind };
                            let error = RelocateError::new(program, 0, problem);
                            (functions, current) = ([].iter(), None);
                            return Some(Err(error));
                        }
                    }
                }
                let placed = functions.next()?;
                let program = file.programs.get(elf::index(placed.program))?;
                current = Some((placed, program, FunctionRecords::of(file, program, kind), false));
            }
        })
    }
}

impl<const PROGRAMS: usize, const MAPS: usize> core::fmt::Debug for Layout<'_, '_, PROGRAMS, MAPS> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_map().entries(self.functions().map(|(base, program)| (base, program.name()))).finish()
    }
}

/// Where in the function the CO-RE relocations are.
pub(crate) fn core_records<'data, const PROGRAMS: usize, const MAPS: usize>(
    file: &ObjectFile<'data, PROGRAMS, MAPS>,
    program: &Program<'data>,
) -> impl Iterator<Item = Result<u32, RelocateErrorKind>> {
    FunctionRecords::of(file, program, InfoKind::CoRe).map(|found| found.map(|(position, _)| position))
}

/// The records of one kind about one function, with the instructions' places in it.
#[derive(Clone)]
pub(crate) struct FunctionRecords<'data> {
    strings: &'data [u8],
    section: &'data str,
    groups: Option<Groups<'data>>,
    records: Records<'data>,
    first: u32,
    len: u32,
    /// Set where the section is malformed, to be said once.
    is_malformed: bool,
}

impl<'data> FunctionRecords<'data> {
    pub(crate) fn of<const PROGRAMS: usize, const MAPS: usize>(
        file: &ObjectFile<'data, PROGRAMS, MAPS>,
        program: &Program<'data>,
        kind: InfoKind,
    ) -> Self {
        let order = file.container.order;
        let (place, first) = program.place();
        let section = file.container.section(place).and_then(|section| file.container.section_name(section));
        let mut records = Self {
            strings: &[],
            section: section.unwrap_or_default(),
            groups: None,
            records: Records::EMPTY,
            first,
            len: u32::try_from(program.len()).unwrap_or(u32::MAX),
            is_malformed: false,
        };
        let (Some(btf), Some(ext)) = (file.found.btf, file.found.btf_ext) else { return records };
        match Groups::of(ext, order, kind) {
            Some(groups) if groups.is_empty() => {}
            Some(groups) => match btf::strings(btf, order) {
                Some(strings) => (records.groups, records.strings) = (Some(groups), strings),
                None => records.is_malformed = true,
            },
            None => records.is_malformed = true,
        }
        records
    }
}

impl<'data> Iterator for FunctionRecords<'data> {
    type Item = Result<(u32, InfoRecord<'data>), RelocateErrorKind>;

    fn next(&mut self) -> Option<Self::Item> {
        if core::mem::take(&mut self.is_malformed) {
            return Some(Err(RelocateErrorKind::BtfExt));
        }
        loop {
            for record in self.records.by_ref() {
                let position = record.in_section().checked_sub(self.first);
                if let Some(position) = position.filter(|position| *position < self.len) {
                    return Some(Ok((position, record)));
                }
            }
            match self.groups.as_mut()?.next()? {
                Some(group) if group.is_named(self.strings, self.section) => self.records = group.records(),
                Some(_) => {}
                None => {
                    self.groups = None;
                    return Some(Err(RelocateErrorKind::BtfExt));
                }
            }
        }
    }
}
