//! What a program refers to, said before anything is loaded.

use crate::btf_ext::{InfoKind, InfoRecord};
use crate::elf;
use crate::error::BtfError;
use crate::externs::{Extern, ExternKind, Externs};
use crate::info::FunctionRecords;
use crate::object_file::ObjectFile;
use crate::program::Program;
use crate::relocate_error::{RelocateError, RelocateErrorKind};
use crate::walk::{Event, Refer, Target, Walk};

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
    walk: Option<Walk<'f, 'data, PROGRAMS, MAPS>>,
    /// What remains to be said of the function that was placed last.
    core: Option<(&'f Program<'data>, FunctionRecords<'data>)>,
    externs: Option<Externs<'data>>,
    /// Why the walk did not begin.
    refused: Option<RelocateError>,
}

impl<'f, 'data, const PROGRAMS: usize, const MAPS: usize> References<'f, 'data, PROGRAMS, MAPS> {
    pub(crate) fn of(file: &'f ObjectFile<'data, PROGRAMS, MAPS>, program: &Program<'data>) -> Self {
        let (walk, refused) = match Walk::new(file, program) {
            Ok(walk) => (Some(walk), None),
            Err(error) => (None, Some(error)),
        };
        Self { file, walk, core: None, externs: None, refused }
    }

    fn step(&mut self) -> Result<Option<Reference<'f, 'data>>, RelocateError> {
        let file = self.file;
        loop {
            if let Some((function, records)) = &mut self.core {
                match records.next() {
                    Some(Ok((position, record))) => {
                        let target = ReferenceTarget::CoRe(record.at(position));
                        let instruction = elf::index(position);
                        return Ok(Some(Reference { function, instruction, target }));
                    }
                    Some(Err(kind)) => return Err(RelocateError::new(function, 0, kind)),
                    None => self.core = None,
                }
            }
            let Some(walk) = &mut self.walk else { return Ok(None) };
            match walk.next().transpose()? {
                None => return Ok(None),
                Some(Event::Place { program, .. }) => {
                    let function = file.programs.get(program);
                    self.core =
                        function.map(|found| (found, FunctionRecords::of(file, found, InfoKind::CoRe)));
                }
                Some(Event::Refer(refer)) => {
                    let Some(function) = file.programs.get(refer.program) else { continue };
                    let error = |kind| RelocateError::new(function, refer.position, kind);
                    let Some(target) =
                        self.target(&refer).map_err(|btf| error(RelocateErrorKind::Btf(btf)))?
                    else {
                        continue;
                    };
                    return Ok(Some(Reference { function, instruction: refer.position, target }));
                }
            }
        }
    }

    fn target(&mut self, refer: &Refer) -> Result<Option<ReferenceTarget<'f, 'data>>, BtfError> {
        let file = self.file;
        Ok(match refer.target {
            Target::Map(map) => Some(ReferenceTarget::Map { map }),
            Target::Variable(map, symbol) => {
                let offset = refer.instruction.imm().cast_unsigned().wrapping_add(symbol);
                Some(ReferenceTarget::Variable { map, offset })
            }
            Target::Call { callee, .. } => file.programs.get(callee).map(ReferenceTarget::Call),
            Target::Function { callee, .. } => file.programs.get(callee).map(ReferenceTarget::Callback),
            Target::Extern(symbol) => {
                let externs = match &mut self.externs {
                    Some(externs) => externs,
                    None => self.externs.insert(Externs::of(file)?),
                };
                Some(ReferenceTarget::Extern(externs.find(symbol)?))
            }
        })
    }
}

impl<'f, 'data, const PROGRAMS: usize, const MAPS: usize> Iterator for References<'f, 'data, PROGRAMS, MAPS> {
    type Item = Result<Reference<'f, 'data>, RelocateError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.refused.take() {
            return Some(Err(error));
        }
        let step = self.step();
        if step.is_err() {
            (self.walk, self.core) = (None, None);
        }
        step.transpose()
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
        let layout = file.layout(program)?;
        let mut needs = Self {
            maps: [false; MAPS],
            instructions: layout.len(),
            map_references: 0,
            subprograms: layout.functions().skip(1).count(),
            calls: 0,
            kconfig: 0,
            addresses: 0,
            variables: 0,
            functions: 0,
            undescribed: 0,
            weak: 0,
            core: 0,
        };
        let kconfig = file.maps.iter().position(|map| map.is_kconfig());
        for reference in file.references(program) {
            let counter = match reference?.target {
                ReferenceTarget::Map { map } | ReferenceTarget::Variable { map, .. } => {
                    needs.refer_to(Some(map));
                    &mut needs.map_references
                }
                ReferenceTarget::Call(_) | ReferenceTarget::Callback(_) => &mut needs.calls,
                ReferenceTarget::CoRe(_) => &mut needs.core,
                ReferenceTarget::Extern(found) => {
                    needs.weak = needs.weak.saturating_add(usize::from(found.is_weak()));
                    match found.kind() {
                        ExternKind::Kconfig => {
                            needs.refer_to(kconfig);
                            &mut needs.kconfig
                        }
                        ExternKind::Address => &mut needs.addresses,
                        ExternKind::Variable => &mut needs.variables,
                        ExternKind::Function => &mut needs.functions,
                        ExternKind::Undescribed => &mut needs.undescribed,
                    }
                }
            };
            *counter = counter.saturating_add(1);
        }
        Ok(needs)
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
