//! Why an object did not load or a program did not attach, and at which step.

use core::fmt;

use ebpf_progtable::{InitialValueProblem, Label, MapKind, RelocateError, RelocateErrorKind};
use ebpf_ringbuf::{Corrupt, ProducerError};

/// Loading failed. Everything that had been created before is undone already, last first.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The object was loaded before, or is being loaded by another thread: an object is loaded once, as with libbpf.
    AlreadyLoaded,
    /// The platform refused to create a map.
    CreateMap {
        /// The map's name.
        map: Label,
        /// The platform's reason.
        source: E,
    },
    /// An entry that the source puts into a map (`.values = { … }`) is wrong in the file.
    InitialValue {
        /// The map's name.
        map: Label,
        /// What is wrong.
        problem: InitialValueProblem,
    },
    /// An entry that the source puts into a map could not be set.
    SetSlot {
        /// The map's name.
        map: Label,
        /// The entry.
        slot: u32,
        /// Why not.
        problem: SlotProblem<E>,
    },
    /// The platform refused a program.
    LoadProgram {
        /// The program's name.
        program: Label,
        /// The platform's reason.
        source: E,
    },
    /// A program could not be linked: the platform was not asked about it. The error names the program.
    Relocate(RelocateError),
    /// The scratch buffer is too short for a program; see [`Object::scratch_len`](crate::Object::scratch_len).
    ScratchTooShort {
        /// The program that does not fit.
        program: Label,
        /// Instructions it needs.
        needed: usize,
        /// Instructions the buffer holds.
        given: usize,
    },
}

/// Why an entry that the source puts into a map could not be set.
#[derive(Debug)]
#[non_exhaustive]
pub enum SlotProblem<E> {
    /// The map or program that belongs there is off. libbpf fails there too.
    Off,
    /// The platform refused.
    Refused(E),
    /// The platform has no such maps ([`Platform::set_slot`](crate::Platform::set_slot)).
    Unsupported,
}

impl<E> LoadError<E> {
    #[cold]
    #[inline(never)]
    pub(crate) fn linking<T>(error: &RelocateError) -> Result<T, Self> {
        Err(match *error.kind() {
            RelocateErrorKind::BufferTooShort { needed, available } => {
                Self::ScratchTooShort { program: Label::new(error.program()), needed, given: available }
            }
            _ => Self::Relocate(error.clone()),
        })
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyLoaded => {
                f.write_str("the object is loaded already: open it again to load it once more")
            }
            Self::CreateMap { map, source } => write!(f, "creating map `{map}`: {source}"),
            Self::InitialValue { map, problem } => write!(f, "initial values of map `{map}`: {problem}"),
            Self::SetSlot { map, slot, problem } => {
                write!(f, "entry {slot} of map `{map}`: ")?;
                match problem {
                    SlotProblem::Off => f.write_str("what belongs there is not loaded"),
                    SlotProblem::Refused(source) => source.fmt(f),
                    SlotProblem::Unsupported => f.write_str("the platform has no such maps"),
                }
            }
            Self::LoadProgram { program, source } => write!(f, "loading program `{program}`: {source}"),
            Self::Relocate(source) => source.fmt(f),
            Self::ScratchTooShort { program, needed, given } => {
                write!(
                    f,
                    "linking program `{program}`: it has {needed} instructions, the scratch buffer holds {given}"
                )
            }
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::CreateMap { source, .. }
            | Self::LoadProgram { source, .. }
            | Self::SetSlot { problem: SlotProblem::Refused(source), .. } => Some(source),
            Self::InitialValue { problem, .. } => Some(problem),
            Self::Relocate(source) => Some(source),
            Self::AlreadyLoaded | Self::ScratchTooShort { .. } | Self::SetSlot { .. } => None,
        }
    }
}

/// The choice of programs or maps was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AutoloadError {
    /// Loading has begun: the choice is made.
    Frozen,
    /// The object has no program, or no map, of that name (subprograms cannot be chosen).
    NotFound,
}

impl fmt::Display for AutoloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frozen => "the object is loaded already: programs and maps are chosen before that",
            Self::NotFound => "the object has nothing of that name",
        })
    }
}

impl core::error::Error for AutoloadError {}

/// A program was not attached. What had been attached before in the same call is detached already, last first.
#[derive(Debug)]
#[non_exhaustive]
pub enum AttachError<E> {
    /// The platform refused.
    Attach {
        /// The program's name.
        program: Label,
        /// The platform's reason.
        source: E,
    },
    /// The object has no program of that name (subprograms cannot be attached).
    NotFound {
        /// The name asked for.
        program: Label,
    },
    /// The program was not chosen to be loaded, or nothing is loaded yet.
    NotLoaded {
        /// The program's name.
        program: Label,
    },
    /// There is no room for another link.
    TooManyLinks {
        /// The program that was not attached.
        program: Label,
        /// How many links fit.
        capacity: usize,
    },
}

impl<E: fmt::Display> fmt::Display for AttachError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach { program, source } => write!(f, "attaching program `{program}`: {source}"),
            Self::NotFound { program } => {
                write!(f, "attaching program `{program}`: the object has no program of that name")
            }
            Self::NotLoaded { program } => {
                write!(f, "attaching program `{program}`: it is not loaded")
            }
            Self::TooManyLinks { program, capacity } => {
                write!(f, "attaching program `{program}`: there is room for {capacity} links only")
            }
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for AttachError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Attach { source, .. } => Some(source),
            Self::NotFound { .. } | Self::NotLoaded { .. } | Self::TooManyLinks { .. } => None,
        }
    }
}

/// A ring cannot be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum RingError<E> {
    /// What the ring's memory says of the consuming side cannot be.
    Corrupt {
        /// The map's name.
        map: Label,
        /// What is wrong.
        source: Corrupt,
    },
    /// The platform does not give the ring's memory away.
    Map {
        /// The map's name.
        map: Label,
        /// The platform's reason.
        source: E,
    },
    /// The map is no ring, or one that goes the other way.
    NotARing {
        /// The map's name.
        map: Label,
        /// What it is.
        kind: MapKind,
    },
    /// The object has no map of that name.
    NotFound {
        /// The name asked for.
        map: Label,
    },
    /// What the ring's memory says of the producing side cannot be.
    Positions {
        /// The map's name.
        map: Label,
        /// What is wrong.
        source: ProducerError,
    },
}

impl<E: fmt::Display> fmt::Display for RingError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { map, source } => write!(f, "ring `{map}`: {source}"),
            Self::Map { map, source } => write!(f, "ring `{map}`: {source}"),
            Self::NotARing { map, kind } => write!(f, "map `{map}` is of kind {kind}, no ring for this side"),
            Self::NotFound { map } => write!(f, "the object has no map `{map}`"),
            Self::Positions { map, source } => write!(f, "user ring `{map}`: {source}"),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for RingError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Corrupt { source, .. } => Some(source),
            Self::Map { source, .. } => Some(source),
            Self::Positions { source, .. } => Some(source),
            Self::NotARing { .. } | Self::NotFound { .. } => None,
        }
    }
}
