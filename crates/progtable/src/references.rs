//! What a program refers to, said before anything is loaded.

use crate::btf_ext::{InfoKind, InfoRecord};
use crate::elf;
use crate::error::BtfError;
use crate::externs::{Extern, ExternKind, Externs};
use crate::info::FunctionRecords;
use crate::object_file::ObjectFile;
use crate::program::Program;
use crate::relocate_error::{RelocateError, RelocateErrorKind};
use crate::walk::{self, Event, Fault, Refer, Target, Walk};

/// One reference: an instruction, and what it refers to.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Reference<'f, 'data> {
    /// The function in which the instruction stands: the program, or a subprogram that it calls.
    pub function: &'f Program<'data>,
    /// The instruction, counted from the start of that function.
    pub instruction: usize,
    /// What it refers to.
    pub target: ReferenceTarget<'f, 'data>,
}

/// What an instruction refers to.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ReferenceTarget<'f, 'data> {
    /// A map, by its index in [`ObjectFile::maps`].
    Map {
        /// The index.
        map: usize,
    },
    /// A global variable, which stands in the value of an internal map.
    Variable {
        /// Index of the map.
        map: usize,
        /// Where in the value, in bytes.
        offset: u32,
    },
    /// A subprogram is called.
    Call(&'f Program<'data>),
    /// The address of a subprogram is taken: a callback.
    Callback(&'f Program<'data>),
    /// Something that the object does not define.
    Extern(Extern<'data>),
    /// The layout of a kernel type, which differs between kernels (CO-RE).
    CoRe(InfoRecord<'data>),
}

/// The references of a program and of the subprograms that it calls, in the order in which they are linked; an
/// item that is an error is the last.
pub(crate) struct References<'f, 'data, const PROGRAMS: usize, const MAPS: usize> {
    file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
    walk: Walk<'f, 'data, PROGRAMS, MAPS>,
    externs: Externs<'f, 'data>,
    unsaid: Unsaid<'f, 'data>,
}

/// What is to be said before the walk goes on.
enum Unsaid<'f, 'data> {
    Nothing,
    /// What remains of the function that was placed last.
    CoRe(&'f Program<'data>, FunctionRecords<'data>),
    /// Why the walk did not begin, and the names of the program, which may be another object's.
    Refused([&'data str; 2], RelocateErrorKind),
}

impl<'f, 'data, const PROGRAMS: usize, const MAPS: usize> References<'f, 'data, PROGRAMS, MAPS> {
    /// Not inlined, so that it is made where it stays.
    #[inline(never)]
    pub(crate) fn of(file: &'f ObjectFile<'data, PROGRAMS, MAPS>, program: &Program<'data>) -> Self {
        let (start, unsaid) = match walk::start(file, program) {
            Ok(start) => (start, Unsaid::Nothing),
            Err(kind) => (u32::MAX, Unsaid::Refused([program.name(), program.section_name()], kind)),
        };
        Self { file, walk: Walk::from(file, start), externs: Externs::of(file), unsaid }
    }

    #[cold]
    #[inline(never)]
    fn refusal(&mut self) -> Option<Result<Reference<'f, 'data>, RelocateError>> {
        match core::mem::replace(&mut self.unsaid, Unsaid::Nothing) {
            Unsaid::Refused(names, kind) => Some(Err(RelocateError::about(names, 0, kind))),
            _ => None,
        }
    }

    /// What is wrong, and the end.
    #[cold]
    #[inline(never)]
    fn fail(&mut self, fault: &Fault) -> Option<Result<Reference<'f, 'data>, RelocateError>> {
        self.walk.end();
        self.unsaid = Unsaid::Nothing;
        Some(Err(fault.named(self.file)))
    }

    /// Not inlined: few have records of this kind.
    #[inline(never)]
    fn say_core(&mut self, program: u32) {
        if let Some(function) = self.file.programs.get(elf::index(program)) {
            self.unsaid = Unsaid::CoRe(function, FunctionRecords::of(self.file, function, InfoKind::CoRe));
        }
    }

    fn function(&self, index: u32) -> Option<&'f Program<'data>> {
        self.file.programs.get(elf::index(index))
    }

    fn target(&mut self, refer: &Refer) -> Result<Option<ReferenceTarget<'f, 'data>>, BtfError> {
        Ok(match refer.target {
            Target::Map(map) => Some(ReferenceTarget::Map { map: elf::index(map) }),
            Target::Variable(map, symbol) => {
                let offset = refer.instruction.imm().cast_unsigned().wrapping_add(symbol);
                Some(ReferenceTarget::Variable { map: elf::index(map), offset })
            }
            Target::Call { callee, .. } => self.function(callee).map(ReferenceTarget::Call),
            Target::Function { callee, .. } => self.function(callee).map(ReferenceTarget::Callback),
            Target::Extern(symbol) => Some(ReferenceTarget::Extern(self.externs.find(symbol)?)),
        })
    }
}

impl<'f, 'data, const PROGRAMS: usize, const MAPS: usize> Iterator for References<'f, 'data, PROGRAMS, MAPS> {
    type Item = Result<Reference<'f, 'data>, RelocateError>;

    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        let file = self.file;
        loop {
            match &mut self.unsaid {
                Unsaid::Nothing => {}
                Unsaid::Refused(..) => return self.refusal(),
                Unsaid::CoRe(function, records) => match records.next() {
                    Some(Ok((position, record))) => {
                        let target = ReferenceTarget::CoRe(record.at(position));
                        let instruction = elf::index(position);
                        return Some(Ok(Reference { function, instruction, target }));
                    }
                    Some(Err(kind)) => return self.fail(&self.walk.fault(kind)),
                    None => self.unsaid = Unsaid::Nothing,
                },
            }
            match &self.walk.step() {
                Err(fault) => return self.fail(fault),
                Ok(None) => return None,
                Ok(Some(Event::Place { program, .. })) => {
                    self.say_core(*program);
                }
                Ok(Some(Event::Refer(refer))) => {
                    let Some(function) = file.programs.get(elf::index(refer.program)) else { continue };
                    match self.target(refer) {
                        Ok(None) => {}
                        Ok(Some(target)) => {
                            let instruction = elf::index(refer.position);
                            return Some(Ok(Reference { function, instruction, target }));
                        }
                        Err(btf) => return self.fail(&refer.fault(RelocateErrorKind::Btf(btf))),
                    }
                }
            }
        }
    }
}

/// What a program needs of others to be loaded, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs<const MAPS: usize> {
    maps: [bool; MAPS],
    /// Instructions with the subprograms.
    pub instructions: usize,
    /// References to maps and variables.
    pub map_references: usize,
    /// Subprograms that are linked in.
    pub subprograms: usize,
    /// Calls of subprograms, and addresses of them taken.
    pub calls: usize,
    /// References to configuration values.
    pub kconfig: usize,
    /// References to kernel symbols without a type.
    pub addresses: usize,
    /// References to kernel variables with a type.
    pub variables: usize,
    /// References to kernel functions.
    pub functions: usize,
    /// References to symbols of which nothing is known.
    pub undescribed: usize,
    /// Those of the references to externs that are weak: the program loads without them.
    pub weak: usize,
    /// CO-RE relocations.
    pub core: usize,
}

impl<const MAPS: usize> Needs<MAPS> {
    pub(crate) fn of<'data, const PROGRAMS: usize>(
        file: &ObjectFile<'data, PROGRAMS, MAPS>,
        program: &Program<'data>,
    ) -> Result<Self, RelocateError> {
        let mut needs = Self {
            maps: [false; MAPS],
            instructions: 0,
            map_references: 0,
            subprograms: 0,
            calls: 0,
            kconfig: 0,
            addresses: 0,
            variables: 0,
            functions: 0,
            undescribed: 0,
            weak: 0,
            core: 0,
        };
        let start = match walk::start(file, program) {
            Ok(start) => start,
            Err(kind) => return RelocateError::fail(program, 0, kind),
        };
        // Not counted over `References`, which say more than is asked for here, and are larger.
        let mut externs = Externs::of(file);
        let mut walk = Walk::from(file, start);
        loop {
            match &walk.step() {
                Ok(Some(Event::Place { program, base })) => {
                    needs.subprograms = needs.subprograms.saturating_add(usize::from(*base != 0));
                    match file.programs.get(elf::index(*program)).map(|function| core_records(file, function))
                    {
                        Some(Ok(count)) => needs.core = needs.core.saturating_add(count),
                        Some(Err(kind)) => return walk.fault(kind).fail(file),
                        None => {}
                    }
                }
                Ok(Some(Event::Refer(refer))) => match needs.count(file, &mut externs, refer.target) {
                    Ok(counter) => *counter = counter.saturating_add(1),
                    Err(btf) => return refer.fault(RelocateErrorKind::Btf(btf)).fail(file),
                },
                Ok(None) => break,
                Err(fault) => return fault.fail(file),
            }
        }
        needs.instructions = walk.len();
        Ok(needs)
    }

    /// Takes note of one reference; what it counts as is given back.
    fn count<'data, const PROGRAMS: usize>(
        &mut self,
        file: &ObjectFile<'data, PROGRAMS, MAPS>,
        externs: &mut Externs<'_, 'data>,
        target: Target,
    ) -> Result<&mut usize, BtfError> {
        Ok(match target {
            Target::Map(map) | Target::Variable(map, _) => {
                self.refer_to(Some(elf::index(map)));
                &mut self.map_references
            }
            Target::Call { .. } | Target::Function { .. } => &mut self.calls,
            Target::Extern(symbol) => {
                let found = externs.find(symbol)?;
                self.weak = self.weak.saturating_add(usize::from(found.is_weak()));
                match found.kind() {
                    ExternKind::Kconfig => {
                        self.refer_to(file.maps.iter().position(|map| map.is_kconfig()));
                        &mut self.kconfig
                    }
                    ExternKind::Address => &mut self.addresses,
                    ExternKind::Variable => &mut self.variables,
                    ExternKind::Function => &mut self.functions,
                    ExternKind::Undescribed => &mut self.undescribed,
                }
            }
        })
    }

    /// The maps that the program refers to, by their indices, rising.
    pub fn maps(&self) -> impl Iterator<Item = usize> {
        self.maps.iter().enumerate().filter_map(|(map, used)| used.then_some(map))
    }

    /// References to externs of all kinds.
    #[must_use]
    pub fn externs(&self) -> usize {
        [self.kconfig, self.addresses, self.variables, self.functions, self.undescribed]
            .into_iter()
            .fold(0, usize::saturating_add)
    }

    /// References that linking puts in.
    #[must_use]
    pub fn relocations(&self) -> usize {
        [self.map_references, self.calls, self.externs()].into_iter().fold(0, usize::saturating_add)
    }

    /// Whether the program can be loaded by anybody: no CO-RE, and no extern but weak ones.
    #[must_use]
    pub fn is_self_contained(&self) -> bool {
        self.core == 0 && self.externs() == self.weak
    }

    fn refer_to(&mut self, map: Option<usize>) {
        if let Some(used) = map.and_then(|map| self.maps.get_mut(map)) {
            *used = true;
        }
    }
}

/// How many CO-RE relocations the function has.
#[inline(never)]
fn core_records<const PROGRAMS: usize, const MAPS: usize>(
    file: &ObjectFile<'_, PROGRAMS, MAPS>,
    function: &Program<'_>,
) -> Result<usize, RelocateErrorKind> {
    let mut records = FunctionRecords::of(file, function, InfoKind::CoRe);
    records.try_fold(0_usize, |count, record| record.map(|_| count.saturating_add(1)))
}
