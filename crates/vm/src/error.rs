//! What can go wrong: at creation, at validation, in a run, and in a call on a map.

use alloc::boxed::Box;
use core::{error, fmt};

use ebpf_loader::MapKind;

/// Why the platform refused to create a map or to load a program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VmError {
    /// The map's attributes are not ones its kind can have; Linux answers with the same error number.
    InvalidMap {
        /// Name of the map.
        name: Box<str>,
        /// The rule that was broken.
        reason: &'static str,
        /// Linux's error number for it, negative.
        errno: i32,
    },
    /// The program is not one the machine may run.
    InvalidProgram {
        /// Name of the program.
        name: Box<str>,
        /// Which instruction, and why.
        error: ValidationError,
    },
    /// [`VmConfig::memory_limit`](crate::VmConfig::memory_limit) would be exceeded.
    MemoryLimit {
        /// Name of the map or program.
        name: Box<str>,
        /// Bytes it asked for.
        requested: u64,
        /// Bytes charged to others at that time.
        in_use: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The machine's allocator had no memory although the limit allowed it.
    OutOfMemory {
        /// Name of the map or program.
        name: Box<str>,
        /// Bytes it asked for.
        requested: u64,
    },
    /// The map did not take what was to be put into one of its entries.
    InvalidSlot {
        /// Name of the map.
        name: Box<str>,
        /// The entry.
        slot: u32,
        /// Why.
        error: MapError,
    },
    /// The map is no ring.
    NotARing {
        /// Name of the map.
        name: Box<str>,
    },
    /// The ring has a consumer already.
    RingInUse {
        /// Name of the map.
        name: Box<str>,
    },
    /// This machine has no such kind of map.
    UnsupportedMapKind {
        /// Name of the map.
        name: Box<str>,
        /// The kind asked for.
        kind: MapKind,
    },
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidMap { name, reason, errno } => write!(f, "map '{name}': {reason} (error {errno})"),
            Self::InvalidProgram { name, error } => write!(f, "program '{name}': {error}"),
            Self::MemoryLimit { name, requested, in_use, limit } => write!(
                f,
                "'{name}' needs {requested} bytes, but {in_use} of the {limit} bytes of memory_limit are in use"
            ),
            Self::OutOfMemory { name, requested } => {
                write!(f, "'{name}' needs {requested} bytes, and the allocator has none")
            }
            Self::InvalidSlot { name, slot, error } => write!(f, "map '{name}': entry {slot}: {error}"),
            Self::NotARing { name } => write!(f, "map '{name}' is no ring"),
            Self::RingInUse { name } => write!(f, "ring '{name}' has a consumer already"),
            Self::UnsupportedMapKind { name, kind } => {
                write!(f, "map '{name}': kind {kind} is not implemented by this machine")
            }
        }
    }
}

impl error::Error for VmError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::InvalidProgram { error, .. } => Some(error),
            Self::InvalidSlot { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// The first instruction that may not be run, and the rule it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValidationError {
    /// Index of the instruction, in the linked program.
    pub instruction: usize,
    /// The rule.
    pub kind: ValidationErrorKind,
}

impl fmt::Display for ValidationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instruction {}: {}", self.instruction, self.kind)
    }
}

impl error::Error for ValidationError {}

/// The rules a program must keep before it may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValidationErrorKind {
    /// A program has at least one instruction.
    Empty,
    /// The last instruction of a function would run into what follows it.
    FallsOffEnd,
    /// A jump leads into another function.
    JumpLeavesFunction {
        /// Where it leads.
        target: i64,
    },
    /// A jump or call leads into the second half of a 64-bit load.
    JumpIntoLoad {
        /// Where it leads.
        target: i64,
    },
    /// A jump or call leads outside the program.
    JumpOutside {
        /// Where it leads.
        target: i64,
    },
    /// The direct address of a value lies outside the value.
    MapOffset {
        /// Offset into the value.
        offset: u32,
        /// Size of the value.
        value_size: u32,
    },
    /// The direct address of a value is only there for arrays of one entry.
    MapWithoutAddress,
    /// The immediate, offset or source register must be zero here (RFC 9669 reserves it).
    ReservedField {
        /// Which of them.
        field: &'static str,
    },
    /// The machine has registers 0 to 10.
    Register {
        /// The number asked for.
        register: u8,
    },
    /// An instruction of RFC 9669's legacy packet access group, which this machine does not have.
    PacketAccess {
        /// The opcode.
        opcode: u8,
    },
    /// Register 10 is the frame pointer and is only read.
    ReadOnlyRegister,
    /// The first half of a 64-bit load is the last instruction.
    TruncatedLoad,
    /// More instructions than [`MAX_INSTRUCTIONS`](crate::MAX_INSTRUCTIONS).
    TooLong {
        /// Instructions of the program.
        instructions: usize,
    },
    /// More distinct maps than [`MAX_PROGRAM_MAPS`](crate::MAX_PROGRAM_MAPS).
    TooManyMaps,
    /// An atomic operation that RFC 9669 does not define.
    UnknownAtomic {
        /// The immediate.
        operation: i32,
    },
    /// A helper this machine does not have.
    UnknownHelper {
        /// Its number, as Linux numbers helpers.
        helper: i32,
    },
    /// A map reference that is not of this machine.
    UnknownMap {
        /// The reference.
        reference: i32,
    },
    /// An opcode that RFC 9669 does not define.
    UnknownOpcode {
        /// The opcode.
        opcode: u8,
    },
    /// A pseudo source register in a call or a 64-bit load that this machine does not implement.
    UnsupportedSource {
        /// The source register field.
        src: u8,
    },
    /// Byte swaps are 16, 32 or 64 bits wide.
    SwapWidth {
        /// The width asked for.
        width: i32,
    },
}

impl fmt::Display for ValidationErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the program has no instruction"),
            Self::FallsOffEnd => f.write_str("the function does not end with an exit or a jump"),
            Self::JumpLeavesFunction { target } => write!(f, "jump to {target} leaves its function"),
            Self::JumpIntoLoad { target } => {
                write!(f, "jump to {target}, the second half of a 64-bit load")
            }
            Self::JumpOutside { target } => write!(f, "jump to {target}, outside the program"),
            Self::MapOffset { offset, value_size } => {
                write!(f, "offset {offset} is outside a map value of {value_size} bytes")
            }
            Self::MapWithoutAddress => {
                f.write_str("the direct address of a value needs an array map of one entry")
            }
            Self::PacketAccess { opcode } => {
                write!(f, "opcode {opcode:#04x} is legacy packet access, which this machine does not have")
            }
            Self::ReadOnlyRegister => f.write_str("r10 is read-only"),
            Self::Register { register } => write!(f, "there is no register r{register}"),
            Self::ReservedField { field } => write!(f, "the {field} is reserved here and must be zero"),
            Self::SwapWidth { width } => write!(f, "byte swap of {width} bits"),
            Self::TooLong { instructions } => {
                write!(f, "{instructions} instructions, more than {}", crate::MAX_INSTRUCTIONS)
            }
            Self::TooManyMaps => write!(f, "more than {} maps", crate::MAX_PROGRAM_MAPS),
            Self::TruncatedLoad => f.write_str("the second half of the 64-bit load is missing"),
            Self::UnknownAtomic { operation } => write!(f, "unknown atomic operation {operation:#x}"),
            Self::UnknownHelper { helper } => write!(f, "unknown helper {helper}"),
            Self::UnknownMap { reference } => write!(f, "unknown map reference {reference}"),
            Self::UnknownOpcode { opcode } => write!(f, "unknown opcode {opcode:#04x}"),
            Self::UnsupportedSource { src } => {
                write!(f, "source register field {src} has no meaning this machine implements")
            }
        }
    }
}

/// A run that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Index of the instruction that was stopped, in the linked program.
    pub instruction: usize,
    /// What it did.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instruction {}: {}", self.instruction, self.kind)
    }
}

impl error::Error for Fault {}

/// Why a run was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// [`VmConfig::instruction_budget`](crate::VmConfig::instruction_budget) is used up.
    BudgetExhausted {
        /// Instructions the run was allowed.
        budget: u64,
    },
    /// More than [`MAX_CALL_FRAMES`](crate::MAX_CALL_FRAMES) functions inside each other.
    CallDepth,
    /// The allocator had no room for a copy of what a helper was given.
    NoMemory {
        /// Bytes.
        size: u32,
    },
    /// There is nothing to run where the run has come to. Validation keeps this from happening.
    NoInstruction,
    /// A helper was given a number where it needs the address of a function of the program.
    NotAFunction {
        /// The helper.
        helper: u32,
        /// What it was given.
        value: u64,
    },
    /// A helper was given a number where it needs a map.
    NotAMap {
        /// The helper.
        helper: u32,
        /// What it was given.
        value: u64,
    },
    /// A helper was given something else where it needs the program's context.
    NotTheContext {
        /// The helper.
        helper: u32,
        /// What it was given.
        value: u64,
    },
    /// `bpf_ringbuf_submit` or `_discard` on something that is not a live reservation.
    NotAReservation {
        /// What it was given.
        value: u64,
    },
    /// An access that is not wholly inside one region.
    OutOfBounds {
        /// First byte, as the program sees it: region in the high half, offset in the low.
        address: u64,
        /// Bytes.
        size: u32,
        /// Whether it was a write.
        write: bool,
    },
    /// A map made with `BPF_F_RDONLY_PROG` was written, or one with `BPF_F_WRONLY_PROG` read.
    Permission {
        /// First byte of the access, or the map that a helper was given.
        address: u64,
        /// Whether it was a write.
        write: bool,
    },
    /// A helper of the host's did not go on.
    Refused {
        /// The helper.
        helper: u32,
        /// Why.
        reason: &'static str,
    },
    /// The program ended, or went on with another one, without committing what it had reserved in a ring. The records were discarded.
    ReservationLeak {
        /// How many.
        reservations: u32,
    },
    /// More than [`MAX_PROGRAM_MAPS`](crate::MAX_PROGRAM_MAPS) different maps were found in maps by one run.
    TooManyMaps,
    /// More than [`MAX_RESERVATIONS`](crate::MAX_RESERVATIONS) at once.
    TooManyReservations,
    /// An atomic operation on an address that is no multiple of its size.
    Unaligned {
        /// The address.
        address: u64,
        /// Bytes.
        size: u32,
    },
    /// A helper that does not work on this kind of map.
    WrongMapKind {
        /// The helper.
        helper: u32,
        /// The kind of the map it was given.
        kind: MapKind,
    },
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BudgetExhausted { budget } => write!(f, "the budget of {budget} instructions is used up"),
            Self::CallDepth => write!(f, "more than {} functions inside each other", crate::MAX_CALL_FRAMES),
            Self::NoMemory { size } => write!(f, "no memory for the {size} bytes a helper was given"),
            Self::NoInstruction => f.write_str("there is no instruction here"),
            Self::NotAFunction { helper, value } => {
                write!(f, "helper {helper}: {value:#x} is not a function of the program")
            }
            Self::NotAMap { helper, value } => write!(f, "helper {helper}: {value:#x} is not a map"),
            Self::NotTheContext { helper, value } => {
                write!(f, "helper {helper}: {value:#x} is not the context")
            }
            Self::Refused { helper, reason } => write!(f, "helper {helper}: {reason}"),
            Self::TooManyMaps => {
                write!(f, "more than {} maps found in maps", crate::MAX_PROGRAM_MAPS)
            }
            Self::NotAReservation { value } => write!(f, "{value:#x} is not a live ring reservation"),
            Self::OutOfBounds { address, size, write } => {
                let access = if *write { "write" } else { "read" };
                write!(f, "{access} of {size} bytes at {address:#x}: {}", crate::memory::describe(*address))
            }
            Self::Permission { address, write } => {
                let access = if *write { "written" } else { "read" };
                write!(f, "the map at {address:#x} may not be {access} by programs")
            }
            Self::ReservationLeak { reservations } => {
                write!(f, "the program ended with {reservations} ring reservation(s) not committed")
            }
            Self::TooManyReservations => {
                write!(f, "more than {} ring reservations at once", crate::MAX_RESERVATIONS)
            }
            Self::Unaligned { address, size } => {
                write!(f, "atomic operation of {size} bytes at {address:#x}, which is not aligned")
            }
            Self::WrongMapKind { helper, kind } => write!(f, "helper {helper} does not work on a {kind} map"),
        }
    }
}

/// Why a call on a map failed; [`errno`](Self::errno) is Linux's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapError {
    /// `-EEXIST`: the key is there and `BPF_NOEXIST` was asked for.
    Exists,
    /// `-E2BIG`: the map is full, or an array has no such index.
    Full,
    /// `-EINVAL`: unknown flags, a key or value of the wrong size, or an operation the kind forbids.
    Invalid,
    /// `-ENOMEM`: the memory limit or the allocator refused.
    NoMemory,
    /// `-ENOENT`: no such key, or the queue is empty.
    NotFound,
    /// `-ENOTSUPP`: the kind has no such operation.
    NotSupported,
    /// `-EPERM`: the map is frozen or its flags forbid this side the access.
    Permission,
}

impl MapError {
    /// Linux's error number, negative.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::Exists => -17,
            Self::Full => -7,
            Self::Invalid => -22,
            Self::NoMemory => -12,
            Self::NotFound => -2,
            Self::NotSupported => -524,
            Self::Permission => -1,
        }
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Exists => "the key exists",
            Self::Full => "the map is full or has no such index",
            Self::Invalid => "invalid flags, key or value",
            Self::NoMemory => "no memory",
            Self::NotFound => "not found",
            Self::NotSupported => "the kind of map has no such operation",
            Self::Permission => "not permitted",
        };
        write!(f, "{text} (error {})", self.errno())
    }
}

impl error::Error for MapError {}
