//! The form in which instructions are run: sixteen bytes each, with everything decided that can be decided beforehand.
//!
//! There is one [`Op`] per instruction slot of the program, so that an index means the same before and after decoding
//! (the second half of a 64-bit load becomes [`Code::Trap`], which no path reaches). Immediates are extended to the
//! width their operation uses, jump distances are absolute indices, and the addresses of maps, map values and functions
//! are constants.

/// What an [`Op`] does. `K` takes the immediate as second operand, `X` the source register; 64 and 32 are the widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    Add64K,
    Add64X,
    Add32K,
    Add32X,
    Sub64K,
    Sub64X,
    Sub32K,
    Sub32X,
    Mul64K,
    Mul64X,
    Mul32K,
    Mul32X,
    Div64K,
    Div64X,
    Div32K,
    Div32X,
    SDiv64K,
    SDiv64X,
    SDiv32K,
    SDiv32X,
    Or64K,
    Or64X,
    Or32K,
    Or32X,
    And64K,
    And64X,
    And32K,
    And32X,
    Lsh64K,
    Lsh64X,
    Lsh32K,
    Lsh32X,
    Rsh64K,
    Rsh64X,
    Rsh32K,
    Rsh32X,
    Mod64K,
    Mod64X,
    Mod32K,
    Mod32X,
    SMod64K,
    SMod64X,
    SMod32K,
    SMod32X,
    Xor64K,
    Xor64X,
    Xor32K,
    Xor32X,
    Arsh64K,
    Arsh64X,
    Arsh32K,
    Arsh32X,
    Neg64,
    Neg32,
    /// The extended immediate: `mov` with an immediate, of either width.
    Load,
    /// The 64-bit load, which takes two slots.
    LoadWide,
    Mov64X,
    Mov32X,
    MovSx8To64,
    MovSx16To64,
    MovSx32To64,
    MovSx8To32,
    MovSx16To32,
    /// Byte order conversions that the machine's own order makes a truncation.
    Low16,
    Low32,
    Low64,
    Swap16,
    Swap32,
    Swap64,
    Ja,
    Jeq64K,
    Jeq64X,
    Jeq32K,
    Jeq32X,
    Jne64K,
    Jne64X,
    Jne32K,
    Jne32X,
    Jset64K,
    Jset64X,
    Jset32K,
    Jset32X,
    Jgt64K,
    Jgt64X,
    Jgt32K,
    Jgt32X,
    Jge64K,
    Jge64X,
    Jge32K,
    Jge32X,
    Jlt64K,
    Jlt64X,
    Jlt32K,
    Jlt32X,
    Jle64K,
    Jle64X,
    Jle32K,
    Jle32X,
    Jsgt64K,
    Jsgt64X,
    Jsgt32K,
    Jsgt32X,
    Jsge64K,
    Jsge64X,
    Jsge32K,
    Jsge32X,
    Jslt64K,
    Jslt64X,
    Jslt32K,
    Jslt32X,
    Jsle64K,
    Jsle64X,
    Jsle32K,
    Jsle32X,
    Load8,
    Load16,
    Load32,
    Load64,
    LoadSx8,
    LoadSx16,
    LoadSx32,
    Store8K,
    Store16K,
    Store32K,
    Store64K,
    Store8X,
    Store16X,
    Store32X,
    Store64X,
    /// The operation is in the immediate.
    Atomic32,
    Atomic64,
    /// To the function at `target`.
    Call,
    /// To the helper in the immediate.
    Helper,
    /// The helper `bpf_map_lookup_elem`.
    Lookup,
    /// Helpers that have a [short way](crate::quick); the number is in the immediate all the same.
    MapPush,
    MapPop,
    MapPeek,
    RingOutput,
    RingReserve,
    RingSubmit,
    RingDiscard,
    /// To a helper of the host's, in the immediate.
    HostHelper,
    /// To a helper that calls back, in the immediate.
    Callback,
    /// The helper `bpf_tail_call`.
    TailCall,
    /// The helper `bpf_loop`, which runs instructions itself.
    Loop,
    Exit,
    /// Never reached.
    Trap,

    // Groups of instructions, see `fuse`. First two moves or three, or a 64-bit load and a move; then a move and an operation on what was moved.
    MovMov,
    MovMovMov,
    MovLoad,
    LoadMov,
    LoadLoad,
    WideMov,
    WideLoad,
    MovAdd,
    /// `MovAdd`, and then a 64-bit load.
    MovAddWide,
    MovAnd,
    /// A shift to the left by `target` and a mask, with a move before them or without.
    MovLshAnd,
    LshAnd,
    /// The same to the right.
    MovRshAnd,
    RshAnd,
    /// The low half extended, by three instructions or two.
    Signed3,
    Signed2,
    Unsigned3,
    Unsigned2,
    /// A load, an addition and a store to the same place.
    Increment32,
    Increment64,
    AddJne,
    /// A move of an immediate and a store from a register.
    LoadStore32,
    LoadStore64,
    /// Two arguments and the call of a function; with a third one before them, which is `Signed3`.
    MovLoadCall,
    Signed3MovLoadCall,
    /// Two stores from registers, of one size, through one register.
    Store64Store64,
    Store32Store32,
    /// A helper with its arguments: the map or the record in register 1 and what follows it.
    WideReserve,
    MovSubmit,
    MovDiscard,
    WidePush,
    WidePop,
    WidePeek,
    /// `Lookup`, with the load of the map before it or without, and the jump if nothing was found.
    WideLookupJeq,
    LookupJeq,
}

/// A register. An enum, so that the compiler knows there are no others and leaves out the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

impl Register {
    pub(crate) const ALL: [Self; 11] = [
        Self::R0,
        Self::R1,
        Self::R2,
        Self::R3,
        Self::R4,
        Self::R5,
        Self::R6,
        Self::R7,
        Self::R8,
        Self::R9,
        Self::R10,
    ];
}

/// One decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Op {
    pub(crate) code: Code,
    pub(crate) dst: Register,
    pub(crate) src: Register,
    /// Whether a function begins here.
    pub(crate) entry: bool,
    /// For jumps and calls the index they lead to; for loads and stores the offset, sign-extended to 32 bits.
    pub(crate) target: u32,
    /// The immediate, extended.
    pub(crate) imm: u64,
}

const _: () = assert!(size_of::<Op>() == 16);

impl Op {
    pub(crate) const TRAP: Self =
        Self { code: Code::Trap, dst: Register::R0, src: Register::R0, entry: false, target: 0, imm: 0 };
}

impl Code {
    /// Whether the target is one of the function's own instructions.
    pub(crate) fn is_jump(self) -> bool {
        (Self::Ja as u8..=Self::Jsle32X as u8).contains(&(self as u8))
    }
}

/// Instruction classes: the low three bits of an opcode (RFC 9669 §3).
pub(crate) mod class {
    pub(crate) const LD: u8 = 0;
    pub(crate) const LDX: u8 = 1;
    pub(crate) const ST: u8 = 2;
    pub(crate) const STX: u8 = 3;
    pub(crate) const ALU: u8 = 4;
    pub(crate) const JMP: u8 = 5;
    pub(crate) const JMP32: u8 = 6;
    pub(crate) const ALU64: u8 = 7;
}

/// Bit 3 of an arithmetic or jump opcode: the second operand is a register.
pub(crate) const SOURCE_X: u8 = 0x08;

/// Arithmetic (RFC 9669 §4.1). The offset chooses signed division and sign-extending moves; `None` when undefined.
pub(crate) fn arithmetic(opcode: u8, offset: i16) -> Option<Code> {
    use Code::*;
    Some(match (opcode, offset) {
        (0x07, 0) => Add64K,
        (0x0f, 0) => Add64X,
        (0x04, 0) => Add32K,
        (0x0c, 0) => Add32X,
        (0x17, 0) => Sub64K,
        (0x1f, 0) => Sub64X,
        (0x14, 0) => Sub32K,
        (0x1c, 0) => Sub32X,
        (0x27, 0) => Mul64K,
        (0x2f, 0) => Mul64X,
        (0x24, 0) => Mul32K,
        (0x2c, 0) => Mul32X,
        (0x37, 0) => Div64K,
        (0x3f, 0) => Div64X,
        (0x34, 0) => Div32K,
        (0x3c, 0) => Div32X,
        (0x37, 1) => SDiv64K,
        (0x3f, 1) => SDiv64X,
        (0x34, 1) => SDiv32K,
        (0x3c, 1) => SDiv32X,
        (0x47, 0) => Or64K,
        (0x4f, 0) => Or64X,
        (0x44, 0) => Or32K,
        (0x4c, 0) => Or32X,
        (0x57, 0) => And64K,
        (0x5f, 0) => And64X,
        (0x54, 0) => And32K,
        (0x5c, 0) => And32X,
        (0x67, 0) => Lsh64K,
        (0x6f, 0) => Lsh64X,
        (0x64, 0) => Lsh32K,
        (0x6c, 0) => Lsh32X,
        (0x77, 0) => Rsh64K,
        (0x7f, 0) => Rsh64X,
        (0x74, 0) => Rsh32K,
        (0x7c, 0) => Rsh32X,
        (0x97, 0) => Mod64K,
        (0x9f, 0) => Mod64X,
        (0x94, 0) => Mod32K,
        (0x9c, 0) => Mod32X,
        (0x97, 1) => SMod64K,
        (0x9f, 1) => SMod64X,
        (0x94, 1) => SMod32K,
        (0x9c, 1) => SMod32X,
        (0xa7, 0) => Xor64K,
        (0xaf, 0) => Xor64X,
        (0xa4, 0) => Xor32K,
        (0xac, 0) => Xor32X,
        (0xc7, 0) => Arsh64K,
        (0xcf, 0) => Arsh64X,
        (0xc4, 0) => Arsh32K,
        (0xcc, 0) => Arsh32X,
        (0x87, 0) => Neg64,
        (0x84, 0) => Neg32,
        (0xb7 | 0xb4, 0) => Load,
        (0xbf, 0) => Mov64X,
        (0xbc, 0) => Mov32X,
        (0xbf, 8) => MovSx8To64,
        (0xbf, 16) => MovSx16To64,
        (0xbf, 32) => MovSx32To64,
        (0xbc, 8) => MovSx8To32,
        (0xbc, 16) => MovSx16To32,
        _ => return None,
    })
}

/// Byte swaps (RFC 9669 §4.2): `0xd4` to little endian, `0xdc` to big endian, `0xd7` always.
pub(crate) fn swap(opcode: u8, width: i32) -> Option<Code> {
    let swaps = opcode == 0xd7 || (opcode == 0xdc) == cfg!(target_endian = "little");
    Some(match (width, swaps) {
        (16, true) => Code::Swap16,
        (32, true) => Code::Swap32,
        (64, true) => Code::Swap64,
        (16, false) => Code::Low16,
        (32, false) => Code::Low32,
        (64, false) => Code::Low64,
        _ => return None,
    })
}

/// Conditional jumps (RFC 9669 §4.3).
pub(crate) fn conditional_jump(opcode: u8) -> Option<Code> {
    use Code::*;
    Some(match opcode {
        0x15 => Jeq64K,
        0x1d => Jeq64X,
        0x16 => Jeq32K,
        0x1e => Jeq32X,
        0x55 => Jne64K,
        0x5d => Jne64X,
        0x56 => Jne32K,
        0x5e => Jne32X,
        0x45 => Jset64K,
        0x4d => Jset64X,
        0x46 => Jset32K,
        0x4e => Jset32X,
        0x25 => Jgt64K,
        0x2d => Jgt64X,
        0x26 => Jgt32K,
        0x2e => Jgt32X,
        0x35 => Jge64K,
        0x3d => Jge64X,
        0x36 => Jge32K,
        0x3e => Jge32X,
        0xa5 => Jlt64K,
        0xad => Jlt64X,
        0xa6 => Jlt32K,
        0xae => Jlt32X,
        0xb5 => Jle64K,
        0xbd => Jle64X,
        0xb6 => Jle32K,
        0xbe => Jle32X,
        0x65 => Jsgt64K,
        0x6d => Jsgt64X,
        0x66 => Jsgt32K,
        0x6e => Jsgt32X,
        0x75 => Jsge64K,
        0x7d => Jsge64X,
        0x76 => Jsge32K,
        0x7e => Jsge32X,
        0xc5 => Jslt64K,
        0xcd => Jslt64X,
        0xc6 => Jslt32K,
        0xce => Jslt32X,
        0xd5 => Jsle64K,
        0xdd => Jsle64X,
        0xd6 => Jsle32K,
        0xde => Jsle32X,
        _ => return None,
    })
}

/// Loads and stores (RFC 9669 §5), without atomics and 64-bit immediates.
pub(crate) fn memory(opcode: u8) -> Option<Code> {
    use Code::*;
    Some(match opcode {
        0x71 => Load8,
        0x69 => Load16,
        0x61 => Load32,
        0x79 => Load64,
        0x91 => LoadSx8,
        0x89 => LoadSx16,
        0x81 => LoadSx32,
        0x72 => Store8K,
        0x6a => Store16K,
        0x62 => Store32K,
        0x7a => Store64K,
        0x73 => Store8X,
        0x6b => Store16X,
        0x63 => Store32X,
        0x7b => Store64X,
        _ => return None,
    })
}

/// The atomic operations of RFC 9669 §5.3, as the immediate names them.
pub(crate) mod atomic {
    pub(crate) const ADD: u64 = 0x00;
    pub(crate) const OR: u64 = 0x40;
    pub(crate) const AND: u64 = 0x50;
    pub(crate) const XOR: u64 = 0xa0;
    pub(crate) const FETCH: u64 = 0x01;
    pub(crate) const XCHG: u64 = 0xe1;
    pub(crate) const CMPXCHG: u64 = 0xf1;
}
