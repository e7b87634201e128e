//! The walk that linking, laying out and listing references have in common: over a program, then over each
//! subprogram in the order in which it is first called.
//!
//! ```text
//! place the program at 0; for each instruction of it, in order:
//!     refers to something   say to what
//!     calls a subprogram    place the subprogram at the end unless it is placed already, and walk it now
//! ```
//!
//! The order is libbpf's. Two departures: there is no recursion, but a list of the programs put on hold, which
//! cannot be longer than the table; and relocations are walked beside the instructions, because linkers write
//! them in order. A list that is out of order is searched, if it is short.

mod relocations;
mod target;

use relocations::{Misaligned, Relocations};
use target::{Found, Unrelocated, subprogram, target, unrelocated};
pub(crate) use target::{is_extern, symbol_name};

use crate::elf;
use crate::instruction::Instruction;
use crate::object_file::ObjectFile;
use crate::program::Program;
use crate::relocate_error::{RelocateError, RelocateErrorKind as Kind};

/// A walk. It has state for each program that there is room for, so it is made where it stays, and nothing can fail
/// before the first step.
pub(crate) struct Walk<'f, 'data, const PROGRAMS: usize, const MAPS: usize> {
    file: &'f ObjectFile<'data, PROGRAMS, MAPS>,
    /// Where each program of the table was placed; 0 for those that were not, and for the first.
    placed: [U24; PROGRAMS],
    /// Instructions placed so far.
    len: u32,
    of_section: Relocations<'data>,
    of_text: Relocations<'data>,
    /// Programs that wait for the end of one that they call, and the next of their instructions to look at. Where they
    /// were placed is known, and their relocations are found again.
    held: heapless::Vec<Spot, PROGRAMS, u16>,
    frame: Option<Frame>,
    unsaid: Unsaid,
}

/// A program that is being walked.
#[derive(Clone, Copy)]
struct Frame {
    /// Its index in the table.
    program: u32,
    /// Where it was placed.
    base: u32,
    /// The next of its instructions to look at.
    next: u32,
    /// The next relocation of its section, for [`Relocations::at`].
    cursor: u32,
}

/// A program of the table, and a place in it or in a linked program, which is below [`MAX_LEN`]. There may be as many
/// of these as programs: each takes five bytes.
#[derive(Clone, Copy)]
pub(crate) struct Spot {
    program: [u8; 2],
    instruction: U24,
}

impl Spot {
    pub(crate) fn new(program: u32, instruction: u32) -> Self {
        // A table does not have more: see `ObjectFile`.
        let [a, b, _, _] = program.to_le_bytes();
        Self { program: [a, b], instruction: U24::new(instruction) }
    }

    pub(crate) fn program(self) -> u32 {
        u32::from(u16::from_le_bytes(self.program))
    }

    pub(crate) fn instruction(self) -> u32 {
        self.instruction.get()
    }
}

/// A number of 24 bits.
#[derive(Clone, Copy)]
struct U24([u8; 3]);

impl U24 {
    const ZERO: Self = Self([0; 3]);

    fn new(number: u32) -> Self {
        let [a, b, c, _] = number.to_le_bytes();
        Self([a, b, c])
    }

    fn get(self) -> u32 {
        let Self([a, b, c]) = self;
        u32::from_le_bytes([a, b, c, 0])
    }
}

const _: () = assert!(MAX_LEN <= 1 << 24 && size_of::<Spot>() == 5);

/// What is to be said before the walk goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unsaid {
    Nothing,
    /// The walk is to begin.
    Begin,
    /// The program of the frame was placed.
    Place,
    /// The program that was put on hold last refers to that of the frame: said after its placing.
    Refer,
}

/// What the walk came across.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    /// The program of the table with that index goes to instruction `base`.
    Place { program: u32, base: u32 },
    /// An instruction refers to something.
    Refer(Refer),
}

/// An instruction that refers to something.
#[derive(Clone, Copy)]
pub(crate) struct Refer {
    /// The function in which it stands, by its index in the table.
    pub(crate) program: u32,
    /// Where in that function.
    pub(crate) position: u32,
    /// Where in the linked program.
    pub(crate) at: u32,
    /// In the machine's byte order.
    pub(crate) instruction: Instruction,
    pub(crate) target: Target,
}

/// What an instruction refers to.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// The map with that index.
    Map(u32),
    /// A variable whose symbol stands at that offset in the value of the map with that index.
    Variable(u32, u32),
    /// A function, by its index in the table, and how far away it is placed, from the next instruction.
    Call { callee: u32, distance: i32 },
    /// The same, but its address is loaded.
    Function { callee: u32, distance: i32 },
    /// The symbol with that number, which the object does not define.
    Extern(u32),
}

/// What stands in the way, and at which instruction of which program of the table. Short: names are put in where
/// it leaves the crate.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) program: u32,
    pub(crate) position: u32,
    pub(crate) kind: Kind,
}

impl Fault {
    #[cold]
    #[inline(never)]
    pub(crate) fn named<const PROGRAMS: usize, const MAPS: usize>(
        &self,
        file: &ObjectFile<'_, PROGRAMS, MAPS>,
    ) -> RelocateError {
        let program = file.programs.get(elf::index(self.program));
        let names = program.map_or([""; 2], |program| [program.name(), program.section_name()]);
        RelocateError::about(names, elf::index(self.position), self.kind)
    }

    /// The same as a result, which is made where it goes to.
    #[cold]
    #[inline(never)]
    pub(crate) fn fail<T, const PROGRAMS: usize, const MAPS: usize>(
        &self,
        file: &ObjectFile<'_, PROGRAMS, MAPS>,
    ) -> Result<T, RelocateError> {
        Err(self.named(file))
    }
}

impl<'f, 'data, const PROGRAMS: usize, const MAPS: usize> Walk<'f, 'data, PROGRAMS, MAPS> {
    /// A walk from the program with that index.
    #[inline]
    pub(crate) fn from(file: &'f ObjectFile<'data, PROGRAMS, MAPS>, program: u32) -> Self {
        Self {
            file,
            placed: [U24::ZERO; PROGRAMS],
            len: 0,
            of_section: Relocations::NONE,
            of_text: Relocations::NONE,
            held: heapless::Vec::new(),
            frame: Some(Frame { program, base: 0, next: 0, cursor: 0 }),
            unsaid: Unsaid::Begin,
        }
    }

    #[inline(never)]
    fn begin(&mut self) -> Result<(), Fault> {
        let found =
            self.frame.and_then(|frame| Some((frame, self.file.programs.get(elf::index(frame.program))?)));
        let Some((frame, program)) = found else {
            self.end();
            return Ok(());
        };
        let fault = |kind| Fault { program: frame.program, position: 0, kind };
        self.of_section.read(self.file, program.place().0).map_err(fault)?;
        if let Some(text) = self.file.found.text {
            self.of_text.read(self.file, text).map_err(fault)?;
        }
        self.frame = Some(self.place(frame.program, program).ok_or_else(|| fault(Kind::TooLong))?);
        self.unsaid = Unsaid::Place;
        Ok(())
    }

    /// Instructions placed so far; once the walk has ended, those of the linked program.
    pub(crate) fn len(&self) -> usize {
        elf::index(self.len)
    }

    /// Nothing comes any more.
    pub(crate) fn end(&mut self) {
        self.frame = None;
        self.unsaid = Unsaid::Nothing;
    }

    /// What is wrong with the program that was placed last as a whole.
    pub(crate) fn fault(&self, kind: Kind) -> Fault {
        Fault { program: self.frame.map_or(u32::MAX, |frame| frame.program), position: 0, kind }
    }

    /// What comes next; `None` at the end. After an error the walk is to be left alone, or [ended](Self::end).
    #[inline(never)]
    pub(crate) fn step(&mut self) -> Result<Option<Event>, Fault> {
        if self.unsaid != Unsaid::Nothing {
            if self.unsaid == Unsaid::Begin {
                self.begin()?;
            }
            return Ok(self.say());
        }
        while let Some(mut frame) = self.frame {
            let found = self.scan(&mut frame)?;
            let Some((instruction, found)) = found else {
                self.frame = self.held.pop().map(|held| self.resumed(held));
                continue;
            };
            self.frame = Some(frame);
            return match found {
                Found::Target(target) => Ok(Some(Event::Refer(Refer::new(&frame, instruction, target)))),
                Found::Call(callee) => self.called(&frame, instruction, callee, true),
                Found::Function(callee) => self.called(&frame, instruction, callee, false),
            };
        }
        Ok(None)
    }

    /// The next instruction of the frame that refers to something.
    #[inline]
    fn scan(&self, frame: &mut Frame) -> Result<Option<(Instruction, Found)>, Fault> {
        let file = self.file;
        let is_native = file.container.order == elf::Order::NATIVE;
        let Some(program) = file.programs.get(elf::index(frame.program)) else { return Ok(None) };
        let relocations = if program.is_subprogram() { &self.of_text } else { &self.of_section };
        let first = u64::from(program.place().1);
        let rest = program.instructions().get(elf::index(frame.next)..).unwrap_or_default();
        // Most instructions refer to nothing: what they take is what linking takes.
        for &instruction in rest {
            let instruction = if is_native { instruction } else { instruction.swapped() };
            let fault = |kind| Fault { program: frame.program, position: frame.next, kind };
            let offset = first.saturating_add(u64::from(frame.next));
            let found = match relocations.at(&mut frame.cursor, offset) {
                Ok(Some(relocation)) => Some(target(file, instruction, relocation).map_err(fault)?),
                Ok(None) => unrelocated(program, instruction, offset)
                    .map_err(|Unrelocated| fault(Kind::MissingRelocation))?,
                Err(Misaligned(offset)) => return Err(fault(Kind::Misaligned { offset })),
            };
            frame.next = frame.next.saturating_add(1);
            if let Some(found) = found {
                return Ok(Some((instruction, found)));
            }
        }
        Ok(None)
    }

    /// The frame's last instruction refers to what starts at the instruction `callee` of `.text`.
    #[inline(never)]
    fn called(
        &mut self,
        frame: &Frame,
        instruction: Instruction,
        callee: u64,
        is_call: bool,
    ) -> Result<Option<Event>, Fault> {
        let Some((callee, called)) = subprogram(self.file, callee) else {
            let kind = Kind::NoSuchSubprogram { instruction: callee };
            return Err(Fault { program: frame.program, position: frame.next.saturating_sub(1), kind });
        };
        let base = self.base_of(callee);
        if base != 0 {
            let target = Target::function(frame, callee, base, is_call);
            return Ok(Some(Event::Refer(Refer::new(frame, instruction, target))));
        }
        let Some(new) = self.place(callee, called) else {
            return Err(Fault { program: callee, position: 0, kind: Kind::TooLong });
        };
        // Every program is placed once, so no more of them can be on hold than the table holds.
        let _full = self.held.push(Spot::new(frame.program, frame.next));
        self.frame = Some(new);
        self.unsaid = Unsaid::Place;
        Ok(self.say())
    }

    /// Says what is unsaid: of a program that was placed first that, then how it is referred to.
    #[inline(never)]
    fn say(&mut self) -> Option<Event> {
        let frame = self.frame?;
        if self.unsaid == Unsaid::Place {
            self.unsaid = if self.held.is_empty() { Unsaid::Nothing } else { Unsaid::Refer };
            return Some(Event::Place { program: frame.program, base: frame.base });
        }
        self.unsaid = Unsaid::Nothing;
        let held = *self.held.last()?;
        let caller = self.resumed(held);
        let instructions = self.file.programs.get(elf::index(caller.program))?.instructions();
        let instruction = *instructions.get(elf::index(caller.next.checked_sub(1)?))?;
        let is_native = self.file.container.order == elf::Order::NATIVE;
        let instruction = if is_native { instruction } else { instruction.swapped() };
        let is_call = instruction.opcode() == CALL;
        let target = Target::function(&caller, frame.program, frame.base, is_call);
        Some(Event::Refer(Refer::new(&caller, instruction, target)))
    }

    /// The frame of a program that was on hold.
    fn resumed(&self, held: Spot) -> Frame {
        let (program, next) = (held.program(), held.instruction());
        let cursor = self.file.programs.get(elf::index(program)).map_or(0, |program| {
            let relocations = if program.is_subprogram() { &self.of_text } else { &self.of_section };
            relocations.start(u64::from(program.place().1).saturating_add(u64::from(next)))
        });
        Frame { program, base: self.base_of(program), next, cursor }
    }

    fn base_of(&self, program: u32) -> u32 {
        self.placed.get(elf::index(program)).map_or(0, |base| base.get())
    }

    /// Gives the program the next instructions of the linked one; `None` if it is too long with them.
    fn place(&mut self, index: u32, program: &Program<'data>) -> Option<Frame> {
        let base = self.len;
        let end = u32::try_from(program.len()).ok().and_then(|len| base.checked_add(len));
        let end = end.filter(|end| *end <= MAX_LEN);
        self.len = end?;
        if let Some(placed) = self.placed.get_mut(elf::index(index)) {
            *placed = U24::new(base);
        }
        let relocations = if program.is_subprogram() { &self.of_text } else { &self.of_section };
        let cursor = relocations.start(u64::from(program.place().1));
        Some(Frame { program: index, base, next: 0, cursor })
    }
}

impl Refer {
    /// The last instruction of the frame that was looked at.
    fn new(frame: &Frame, instruction: Instruction, target: Target) -> Self {
        let position = frame.next.saturating_sub(1);
        Self {
            program: frame.program,
            position,
            at: frame.base.saturating_add(position),
            instruction,
            target,
        }
    }

    /// What is wrong with the instruction.
    pub(crate) fn fault(&self, kind: Kind) -> Fault {
        Fault { program: self.program, position: self.position, kind }
    }
}

impl Target {
    /// The function `callee`, placed at `base`, to which the last instruction of the frame refers.
    fn function(frame: &Frame, callee: u32, base: u32, is_call: bool) -> Self {
        let distance = base.wrapping_sub(frame.base.saturating_add(frame.next)).cast_signed();
        match is_call {
            true => Self::Call { callee, distance },
            false => Self::Function { callee, distance },
        }
    }
}

/// The index of a program from which a walk can begin.
pub(crate) fn start<'data, const PROGRAMS: usize, const MAPS: usize>(
    file: &ObjectFile<'data, PROGRAMS, MAPS>,
    program: &Program<'data>,
) -> Result<u32, Kind> {
    if program.is_subprogram() {
        return Err(Kind::Subprogram);
    }
    let position = file.programs.iter().position(|other| other.is_same(program));
    position.map(narrow).ok_or(Kind::ForeignProgram)
}

/// An index in the table, or of an instruction: what does not fit leads nowhere.
pub(crate) fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// `BPF_JMP | BPF_CALL`.
pub(crate) const CALL: u8 = 0x85;
/// `BPF_PSEUDO_CALL`: the immediate is a distance in instructions.
pub(crate) const PSEUDO_CALL: u8 = 1;
/// `BPF_PSEUDO_FUNC`: the immediate is the distance to a function, whose address is loaded.
pub(crate) const PSEUDO_FUNC: u8 = 4;
/// Sixteen times what Linux loads (`BPF_COMPLEXITY_LIMIT_INSNS`): bounds what overlapping functions add up
/// to.
const MAX_LEN: u32 = 1 << 24;
