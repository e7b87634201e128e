//! Where a linked program's parts come from, and what `.BTF.ext` knows of its instructions.

use crate::btf;
use crate::btf_ext::{Groups, InfoKind, InfoRecord, Records};
use crate::elf;
use crate::object_file::ObjectFile;
use crate::program::Program;
use crate::relocate_error::{RelocateError, RelocateErrorKind};
use crate::walk::{self, Event, Fault, Spot, Walk};

/// Where each function of a linked program stands: the program first, then its subprograms in the order in
/// which they are first called. Made by [`ObjectFile::layout`]; the same layout that
/// [`relocate`](ObjectFile::relocate) makes.
pub struct Layout<'f, 'data, const PROGRAMS: usize, const MAPS: usize> {
    file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
    /// Where they are placed.
    functions: heapless::Vec<Spot, PROGRAMS, u16>,
    len: usize,
}

impl<'f, 'data, const PROGRAMS: usize, const MAPS: usize> Layout<'f, 'data, PROGRAMS, MAPS> {
    pub(crate) fn of(
        file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
        program: &Program<'data>,
    ) -> Result<Self, RelocateError> {
        let start = match walk::start(file, program) {
            Ok(start) => start,
            Err(kind) => return RelocateError::fail(program, 0, kind),
        };
        let mut layout = Self { file, functions: heapless::Vec::new(), len: 0 };
        match layout.fill(start) {
            Ok(()) => Ok(layout),
            Err(fault) => fault.fail(file),
        }
    }

    #[inline(never)]
    fn fill(&mut self, start: u32) -> Result<(), Fault> {
        let mut walk = Walk::from(self.file, start);
        while let Some(event) = walk.step()? {
            if let Event::Place { program, base } = event {
                // Every program is placed once at most, so there is room.
                let _full = self.functions.push(Spot::new(program, base));
            }
        }
        self.len = walk.len();
        Ok(())
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
            Some((elf::index(placed.instruction()), file.programs.get(elf::index(placed.program()))?))
        })
    }

    /// The function in which an instruction of the linked program stands, and where in it.
    #[must_use]
    pub fn function_of(&self, instruction: usize) -> Option<(&'f Program<'data>, usize)> {
        let after = self.functions.partition_point(|placed| elf::index(placed.instruction()) <= instruction);
        let placed = self.functions.get(after.checked_sub(1)?)?;
        let program = self.file.programs.get(elf::index(placed.program()))?;
        let position = instruction.checked_sub(elf::index(placed.instruction()))?;
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
        let mut current: Option<(&Spot, &Program<'data>, FunctionRecords<'data>, bool)> = None;
        core::iter::from_fn(move || {
            loop {
                if let Some((placed, program, records, seen)) = &mut current {
                    match records.next() {
                        Some(Ok((position, record))) => {
                            *seen = true;
                            return Some(Ok(record.at(placed.instruction().saturating_add(position))));
                        }
                        Some(Err(problem)) => {
                            let error = RelocateError::new(program, 0, problem);
                            (functions, current) = ([].iter(), None);
                            return Some(Err(error));
                        }
                        None if *seen || kind == InfoKind::CoRe => {}
                        None if placed.instruction() == 0 => {
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
                let program = file.programs.get(elf::index(placed.program()))?;
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

/// The records of one kind about one function, with the instructions' places in it.
pub(crate) struct FunctionRecords<'data> {
    /// The strings of `.BTF`.
    strings: &'data [u8],
    section: &'data str,
    parts: Parts<'data>,
    first: u32,
    len: u32,
}

enum Parts<'data> {
    /// What remains of a group, and the groups after it.
    Left(Records<'data>, Groups<'data>),
    /// The section is malformed, which is to be said once.
    Malformed,
    None,
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
        let (strings, parts) = match (file.found.btf, file.found.btf_ext) {
            (Some(btf), Some(ext)) => match (Groups::of(ext, order, kind), btf::strings(btf, order)) {
                (Some(groups), _) if groups.is_empty() => (None, Parts::None),
                (Some(groups), Some(strings)) => (Some(strings), Parts::Left(Records::EMPTY, groups)),
                _ => (None, Parts::Malformed),
            },
            _ => (None, Parts::None),
        };
        Self {
            strings: strings.unwrap_or_default(),
            section: section.unwrap_or_default(),
            parts,
            first,
            len: u32::try_from(program.len()).unwrap_or(u32::MAX),
        }
    }
}

impl<'data> Iterator for FunctionRecords<'data> {
    type Item = Result<(u32, InfoRecord<'data>), RelocateErrorKind>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Parts::Left(records, groups) = &mut self.parts {
            for record in records.by_ref() {
                let position = record.in_section().checked_sub(self.first);
                if let Some(position) = position.filter(|position| *position < self.len) {
                    return Some(Ok((position, record)));
                }
            }
            match groups.next() {
                Some(Some(group)) if group.is_named(self.strings, self.section) => {
                    *records = group.records();
                }
                Some(Some(_)) => {}
                Some(None) => self.parts = Parts::Malformed,
                None => self.parts = Parts::None,
            }
        }
        match core::mem::replace(&mut self.parts, Parts::None) {
            Parts::Malformed => Some(Err(RelocateErrorKind::BtfExt)),
            _ => None,
        }
    }
}
