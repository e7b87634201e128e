//! One eBPF instruction, as eight bytes.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// One eBPF instruction of the machine's own byte order: eight bytes, no padding, alignment one (RFC 9669
/// §3).
///
/// | byte | holds |
/// |---|---|
/// | 0 | opcode |
/// | 1 | destination and source register, four bits each; little-endian: destination low |
/// | 2–3 | offset, signed |
/// | 4–7 | immediate, signed |
///
/// A slice of them is a view of the object's bytes: nothing is decoded until it is asked for. The 16-byte
/// form that loads a 64-bit immediate is two of these, the second with opcode 0.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Instruction([u8; 8]);

impl Instruction {
    /// Bytes of one instruction.
    pub const SIZE: usize = 8;

    /// An instruction from its fields. Only the low four bits of `dst` and `src` are kept.
    #[must_use]
    pub const fn new(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Self {
        let offset = offset.to_ne_bytes();
        let imm = imm.to_ne_bytes();
        let [o0, o1] = offset;
        let [i0, i1, i2, i3] = imm;
        Self([opcode, pack_registers(dst, src), o0, o1, i0, i1, i2, i3])
    }

    /// An instruction from its eight bytes, in the machine's own byte order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The eight bytes, in the machine's own byte order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// The operation: class in the low three bits, RFC 9669 §3.1.
    #[must_use]
    pub const fn opcode(self) -> u8 {
        let [opcode, ..] = self.0;
        opcode
    }

    /// Destination register, 0 to 15 (the machine has 0 to 10).
    #[must_use]
    pub const fn dst(self) -> u8 {
        let [_, registers, ..] = self.0;
        if cfg!(target_endian = "little") { registers & 0xf } else { registers >> 4 }
    }

    /// Source register, 0 to 15. In calls and 64-bit loads it says what the immediate means (`BPF_PSEUDO_*`).
    #[must_use]
    pub const fn src(self) -> u8 {
        let [_, registers, ..] = self.0;
        if cfg!(target_endian = "little") { registers >> 4 } else { registers & 0xf }
    }

    /// Jump distance in instructions, or byte offset of a load or store.
    #[must_use]
    pub const fn offset(self) -> i16 {
        let [_, _, low, high, ..] = self.0;
        i16::from_ne_bytes([low, high])
    }

    /// The immediate.
    #[must_use]
    pub const fn imm(self) -> i32 {
        let [.., a, b, c, d] = self.0;
        i32::from_ne_bytes([a, b, c, d])
    }

    /// The same instruction, read as one of the other byte order.
    pub(crate) const fn swapped(self) -> Self {
        let [opcode, registers, o0, o1, i0, i1, i2, i3] = self.0;
        Self([opcode, registers.rotate_left(4), o1, o0, i3, i2, i1, i0])
    }

    /// The same instruction with another source register (low four bits of `src`).
    #[must_use]
    pub const fn with_src(self, src: u8) -> Self {
        Self::new(self.opcode(), self.dst(), src, self.offset(), self.imm())
    }

    /// The same instruction with another immediate.
    #[must_use]
    pub const fn with_imm(self, imm: i32) -> Self {
        Self::new(self.opcode(), self.dst(), self.src(), self.offset(), imm)
    }

    /// The same instruction with another offset.
    #[must_use]
    pub const fn with_offset(self, offset: i16) -> Self {
        Self::new(self.opcode(), self.dst(), self.src(), offset, self.imm())
    }
}

impl fmt::Debug for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:#04x} dst={} src={} offset={} imm={}",
            self.opcode(),
            self.dst(),
            self.src(),
            self.offset(),
            self.imm()
        )
    }
}

const fn pack_registers(dst: u8, src: u8) -> u8 {
    let (dst, src) = (dst & 0xf, src & 0xf);
    if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src }
}

const _: () = assert!(size_of::<Instruction>() == Instruction::SIZE && align_of::<Instruction>() == 1);

#[cfg(test)]
mod tests {
    use super::Instruction;

    #[test]
    fn fields_survive_packing() {
        let instruction = Instruction::new(0x18, 1, 2, -3, i32::MIN);
        assert_eq!(instruction.opcode(), 0x18);
        assert_eq!(instruction.dst(), 1);
        assert_eq!(instruction.src(), 2);
        assert_eq!(instruction.offset(), -3);
        assert_eq!(instruction.imm(), i32::MIN);
        assert_eq!(Instruction::from_bytes(instruction.to_bytes()), instruction);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn bytes_are_those_of_clang() {
        // `r1 = 7` and `call 1`, as clang 14 emits them for a little-endian target.
        assert_eq!(Instruction::new(0xb7, 1, 0, 0, 7).to_bytes(), [0xb7, 0x01, 0, 0, 7, 0, 0, 0]);
        assert_eq!(
            Instruction::new(0x85, 0, 1, 0, -1).to_bytes(),
            [0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff]
        );
    }

    #[test]
    fn the_other_byte_order_is_read() {
        // `call 1` of a subprogram, as clang writes it for the other byte order.
        let bytes = if cfg!(target_endian = "little") {
            [0x85, 0x01, 0, 0, 0xff, 0xff, 0xff, 0xfe]
        } else {
            [0x85, 0x10, 0, 0, 0xfe, 0xff, 0xff, 0xff]
        };
        assert_eq!(Instruction::from_bytes(bytes).swapped(), Instruction::new(0x85, 0, 1, 0, -2));
    }

    #[test]
    fn with_changes_one_field() {
        let instruction = Instruction::new(0x85, 1, 2, 3, 4);
        assert_eq!(instruction.with_src(9), Instruction::new(0x85, 1, 9, 3, 4));
        assert_eq!(instruction.with_imm(9), Instruction::new(0x85, 1, 2, 3, 9));
        assert_eq!(instruction.with_offset(9), Instruction::new(0x85, 1, 2, 9, 4));
        assert_eq!(Instruction::new(0, 0x1f, 0xf2, 0, 0), Instruction::new(0, 0xf, 2, 0, 0));
    }
}
