//! Valid programs from a row of choices: programs that the kernel's verifier takes, so that they can be run on both.
//!
//! Every choice is a number, and a row that has come to its end gives zeroes: a shorter row is a simpler program. Registers 0 to 7 are numbers at every
//! boundary of two units, 8 counts loops, 9 points to the value of the first map. The last thing a program does is to store registers 0 to 7 to that
//! value. Jumps lead forward over whole units, but for loops, which are short.

use ebpf_loader::Instruction;

/// Bytes of the first map's value: eight registers, then room for loads and stores.
pub(crate) const VALUE: u32 = 128;
/// Of the second map, a hash map with keys of four bytes and values of eight.
pub(crate) const ENTRIES: u32 = 8;
const ROOM: i16 = 64;
/// Of jumps one after the other every state may be another one to the verifier.
const JUMPS: u32 = 10;
const LOOPS: u32 = 3;
const UNITS: usize = 120;
const NUMBERS: u8 = 8;

const EDGES: [u64; 16] = [
    0,
    1,
    2,
    31,
    32,
    63,
    64,
    0x7f,
    0x80,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// A row of numbers to choose by.
struct Choices<'c>(core::slice::Iter<'c, u32>);

impl Choices<'_> {
    fn any(&mut self) -> u32 {
        self.0.next().copied().unwrap_or(0)
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.any() % limit
    }

    fn is_one_of(&mut self, several: u32) -> bool {
        self.below(several) == 1
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u32) as usize]
    }

    fn register(&mut self) -> u8 {
        self.below(u32::from(NUMBERS)) as u8
    }

    fn number(&mut self) -> u64 {
        match self.below(3) {
            0 => self.of(&EDGES),
            1 => u64::from(self.any()) << 32 | u64::from(self.any()),
            _ => i64::from(self.any() as i16).cast_unsigned(),
        }
    }

    fn immediate(&mut self) -> i32 {
        self.number() as u32 as i32
    }
}

enum Unit {
    Plain(Vec<Instruction>),
    /// A conditional jump over so many units; the distance is filled in.
    Jump(Instruction, usize),
}

/// A program of these choices; it refers to its maps as 0 and 1.
#[must_use]
pub(crate) fn generate(choices: &[u32]) -> Vec<Instruction> {
    let mut choices = Choices(choices.iter());
    let mut units = Vec::new();
    let (mut jumps, mut loops) = (JUMPS, LOOPS);
    let head = prologue(&mut choices);
    while units.len() < UNITS && !choices.0.as_slice().is_empty() {
        units.push(unit(&mut choices, &mut jumps, &mut loops));
    }
    let function = function(&mut choices);

    // Where each unit begins, to fill in jumps and calls.
    let mut starts = vec![head.len()];
    for unit in &units {
        let length = match unit {
            Unit::Plain(code) => code.len(),
            Unit::Jump(..) => 1,
        };
        starts.push(starts[starts.len() - 1] + length);
    }
    let end = starts[units.len()];
    let tail = epilogue();
    let mut code = head;
    for (number, unit) in units.iter().enumerate() {
        match unit {
            Unit::Plain(plain) => code.extend(plain),
            Unit::Jump(jump, over) => {
                let target = starts[(number + 1 + over).min(units.len())];
                let distance = i16::try_from(target - code.len() - 1).expect("a short program");
                code.push(Instruction::new(jump.opcode(), jump.dst(), jump.src(), distance, jump.imm()));
            }
        }
    }
    assert_eq!(code.len(), end);
    code.extend(tail);
    let at = code.len();
    let mut is_called = false;
    for (index, instruction) in code.iter_mut().enumerate() {
        if instruction.opcode() == 0x85 && instruction.src() == 1 {
            *instruction = instruction.with_imm(i32::try_from(at - index - 1).expect("a short program"));
            is_called = true;
        }
    }
    // The verifier takes no function that nobody calls.
    if is_called {
        code.extend(function);
    }
    code
}

fn i(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Instruction {
    Instruction::new(opcode, dst, src, offset, imm)
}

fn wide(dst: u8, value: u64) -> [Instruction; 2] {
    [i(0x18, dst, 0, 0, value as u32 as i32), i(0, 0, 0, 0, (value >> 32) as u32 as i32)]
}

fn map(dst: u8, number: i32) -> [Instruction; 2] {
    [i(0x18, dst, 1, 0, number), i(0, 0, 0, 0, 0)]
}

fn prologue(choices: &mut Choices<'_>) -> Vec<Instruction> {
    let mut code = vec![i(0x18, 9, 2, 0, 0), i(0, 0, 0, 0, 0)];
    for register in 0..NUMBERS {
        code.extend(wide(register, choices.number()));
    }
    code.extend((1..=8).map(|word| i(0x7a, 10, 0, -8 * word, choices.immediate())));
    code
}

fn epilogue() -> Vec<Instruction> {
    let mut code: Vec<_> =
        (0..NUMBERS).map(|register| i(0x7b, 9, register, 8 * i16::from(register), 0)).collect();
    code.extend([i(0xb7, 0, 0, 0, 0), i(0x95, 0, 0, 0, 0)]);
    code
}

/// Computes something from registers 1 to 5.
fn function(choices: &mut Choices<'_>) -> Vec<Instruction> {
    let mut code = vec![i(0xbf, 0, 1, 0, 0)];
    for _ in 0..choices.below(4) {
        let src = choices.below(5) as u8 + 1;
        code.push(i(choices.of(&[0x0f, 0x1f, 0xaf, 0x2f, 0x4c, 0x5f, 0x3f, 0x9c]), 0, src, 0, 0));
    }
    code.push(i(0x95, 0, 0, 0, 0));
    code
}

fn unit(choices: &mut Choices<'_>, jumps: &mut u32, loops: &mut u32) -> Unit {
    let code = match choices.below(17) {
        0..=4 => vec![arithmetic(choices)],
        5 => vec![swap_or_extend(choices)],
        6 | 7 => vec![load(choices)],
        8 | 9 => vec![store(choices)],
        10 => vec![atomic(choices)],
        11 | 12 if *jumps > 0 => {
            *jumps -= 1;
            let over = choices.below(4) as usize + 1;
            return Unit::Jump(condition(choices), over);
        }
        13 if *loops > 0 => {
            *loops -= 1;
            counted(choices)
        }
        14 => helper(choices),
        16 => extreme(choices),
        15 => {
            let mut code = vec![i(0x85, 0, 1, 0, 0)];
            code.extend(renew(choices));
            code
        }
        _ => wide(choices.register(), choices.number()).to_vec(),
    };
    Unit::Plain(code)
}

/// Registers 1 to 5 after a call, which leaves nothing in them.
fn renew(choices: &mut Choices<'_>) -> Vec<Instruction> {
    (1..=5).flat_map(|register| wide(register, choices.number())).collect()
}

fn arithmetic(choices: &mut Choices<'_>) -> Instruction {
    let operation =
        choices.of(&[0x00u8, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90, 0xa0, 0xb0, 0xc0]);
    let is_64 = choices.is_one_of(2);
    let (class, bits) = if is_64 { (0x07, 64) } else { (0x04, 32) };
    let dst = choices.register();
    let is_division = matches!(operation, 0x30 | 0x90);
    let offset = i16::from(is_division && choices.is_one_of(2));
    if operation == 0x80 {
        return i(class | operation, dst, 0, 0, 0);
    }
    if choices.is_one_of(2) {
        return i(class | operation | 0x08, dst, choices.register(), offset, 0);
    }
    let imm = choices.immediate();
    let imm = match operation {
        // The verifier takes no shift by more than there is, and no division by zero, where it can see it.
        0x60 | 0x70 | 0xc0 => imm.rem_euclid(bits),
        0x30 | 0x90 if imm == 0 => 3,
        _ => imm,
    };
    i(class | operation, dst, 0, offset, imm)
}

/// Divisions whose answers are agreed on rather than calculated.
fn extreme(choices: &mut Choices<'_>) -> Vec<Instruction> {
    let dst = choices.register();
    let src = (dst + 1 + choices.below(u32::from(NUMBERS) - 1) as u8) % NUMBERS;
    let mut code =
        wide(dst, choices.of(&[0x8000_0000, 0x8000_0000_0000_0000, 0xffff_ffff_8000_0000])).to_vec();
    code.extend(wide(src, choices.of(&[u64::MAX, 0xffff_ffff, 0, 0x1_0000_0000])));
    code.push(i(choices.of(&[0x3c, 0x3f, 0x9c, 0x9f]), dst, src, choices.of(&[0, 1]), 0));
    code
}

fn swap_or_extend(choices: &mut Choices<'_>) -> Instruction {
    let dst = choices.register();
    match choices.below(5) {
        0 => i(0xd4, dst, 0, 0, choices.of(&[16, 32, 64])),
        1 => i(0xdc, dst, 0, 0, choices.of(&[16, 32, 64])),
        2 => i(0xd7, dst, 0, 0, choices.of(&[16, 32, 64])),
        3 => i(0xbc, dst, choices.register(), choices.of(&[8, 16]), 0),
        _ => i(0xbf, dst, choices.register(), choices.of(&[8, 16, 32]), 0),
    }
}

/// A base and an offset for so many bytes: on the stack aligned, as the verifier wants it, in the value anywhere.
fn place(choices: &mut Choices<'_>, size: i16) -> (u8, i16) {
    if choices.is_one_of(2) {
        return (10, -ROOM + size * (choices.below((ROOM / size).unsigned_abs().into()) as i16));
    }
    (9, ROOM + choices.below((ROOM - size + 1).unsigned_abs().into()) as i16)
}

fn load(choices: &mut Choices<'_>) -> Instruction {
    let (opcode, size) =
        choices.of(&[(0x71, 1), (0x69, 2), (0x61, 4), (0x79, 8), (0x91, 1), (0x89, 2), (0x81, 4)]);
    let (base, offset) = place(choices, size);
    i(opcode, choices.register(), base, offset, 0)
}

fn store(choices: &mut Choices<'_>) -> Instruction {
    let (width, size) = choices.of(&[(0x10u8, 1), (0x08, 2), (0x00, 4), (0x18, 8)]);
    let (base, offset) = place(choices, size);
    if choices.is_one_of(2) {
        i(0x63 | width, base, choices.register(), offset, 0)
    } else {
        i(0x62 | width, base, 0, offset, choices.immediate())
    }
}

fn atomic(choices: &mut Choices<'_>) -> Instruction {
    let (opcode, size) = choices.of(&[(0xc3, 4), (0xdb, 8)]);
    let operation = choices.of(&[0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xa0, 0xa1, 0xe1, 0xf1]);
    // Not on the stack: there Linux 6.18 takes a register for the value that another path left, and removes code that is not dead.
    let offset = ROOM + size * (choices.below((ROOM / size).unsigned_abs().into()) as i16);
    i(opcode, 9, choices.register(), offset, operation)
}

fn condition(choices: &mut Choices<'_>) -> Instruction {
    let operation = choices.of(&[0x10u8, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0]);
    let class = choices.of(&[0x05u8, 0x06]);
    let dst = choices.register();
    if choices.is_one_of(2) {
        i(class | operation | 0x08, dst, choices.register(), 0, 0)
    } else {
        i(class | operation, dst, 0, 0, choices.immediate())
    }
}

/// A loop of one to four turns.
fn counted(choices: &mut Choices<'_>) -> Vec<Instruction> {
    let turns = choices.below(4) as i32 + 1;
    let mut code = vec![i(0xb7, 8, 0, 0, turns)];
    let body = choices.below(3) + 1;
    for _ in 0..body {
        code.push(match choices.below(3) {
            0 => arithmetic(choices),
            1 => load(choices),
            _ => store(choices),
        });
    }
    code.push(i(0x07, 8, 0, 0, -1));
    let back = -(i16::try_from(code.len()).expect("a short loop"));
    code.push(i(0x55, 8, 0, back, 0));
    code
}

/// A helper on the hash map: its keys are few, so that some are there and the map is full at times.
fn helper(choices: &mut Choices<'_>) -> Vec<Instruction> {
    let key = choices.below(12) as i32;
    let mut code =
        vec![i(0x62, 10, 0, -ROOM - 8, key), i(0xbf, 2, 10, 0, 0), i(0x07, 2, 0, 0, i32::from(-ROOM - 8))];
    match choices.below(3) {
        0 => {
            code.extend([
                i(0x7b, 10, choices.register().max(6), -ROOM - 16, 0),
                i(0xbf, 3, 10, 0, 0),
                i(0x07, 3, 0, 0, i32::from(-ROOM - 16)),
                i(0xb7, 4, 0, 0, choices.of(&[0, 0, 1, 2, 3])),
            ]);
            code.extend(map(1, 1));
            code.push(i(0x85, 0, 0, 0, 2));
        }
        1 => {
            code.extend(map(1, 1));
            // What is found is read and written, so that the register holds a number again.
            code.extend([
                i(0x85, 0, 0, 0, 1),
                i(0x15, 0, 0, 3, 0),
                i(0x7b, 0, 6, 0, 0),
                i(0x79, 0, 0, 0, 0),
                i(0x05, 0, 0, 0, 0),
            ]);
        }
        _ => {
            code.extend(map(1, 1));
            code.push(i(0x85, 0, 0, 0, 3));
        }
    }
    code.extend(renew(choices));
    code
}
