//! Every instruction of RFC 9669, against what the RFC says: a table of the cases where implementations go wrong, and a
//! model written from the text, without wrapping arithmetic, over a grid of edge values.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics fails, which is what it is for"
)]

mod common;

use common::*;
use ebpf_vm::*;

/// `op` on r6 = `dst` and r7 = `src`; gives r6.
fn alu(op: Instruction, dst: u64, src: u64) -> u64 {
    value_of(&code![wide(6, dst), wide(7, src), op, copy(0, 6), exit()])
}

/// Whether `op`, whose offset is 1, jumps with r6 = `dst` and r7 = `src`.
fn jumps(op: Instruction, dst: u64, src: u64) -> bool {
    value_of(&code![wide(6, dst), wide(7, src), mov(0, 1), op, mov(0, 0), exit()]) == 1
}

const MIN64: u64 = 1 << 63;
const MIN32: u64 = 1 << 31;
const M1: u64 = u64::MAX;
const HIGH: u64 = 0xaaaa_aaaa_0000_0000;

#[test]
fn arithmetic_where_it_goes_wrong() {
    let k = |opcode, offset, imm| i(opcode, 6, 0, offset, imm);
    let x = |opcode, offset| i(opcode, 6, 7, offset, 0);
    #[rustfmt::skip]
    let cases: &[(&str, Instruction, u64, u64, u64)] = &[
        ("add64 imm extends the sign",       k(0x07, 0, -1),  5, 0, 4),
        ("add32 imm wraps in 32 bits",       k(0x04, 0, -1),  HIGH, 0, 0xffff_ffff),
        ("add32 clears the high half",       k(0x04, 0, 1),   M1, 0, 0),
        ("sub64 wraps",                      k(0x17, 0, 1),   0, 0, M1),
        ("sub32 wraps in 32 bits",           x(0x1c, 0),      HIGH, 1, 0xffff_ffff),
        ("mul64 imm extends the sign",       k(0x27, 0, -2),  3, 0, (-6i64) as u64),
        ("mul32 keeps 32 bits",              k(0x24, 0, -2),  3, 0, 0xffff_fffa),
        ("mul64 wraps",                      x(0x2f, 0),      MIN64, 2, 0),
        ("div64 by 0 is 0",                  x(0x3f, 0),      7, 0, 0),
        ("div64 by imm 0 is 0",              k(0x37, 0, 0),   7, 0, 0),
        ("div64 is unsigned",                k(0x37, 0, -1),  M1, 0, 1),
        ("div32 is unsigned",                k(0x34, 0, 2),   HIGH | 0xffff_fffe, 0, 0x7fff_ffff),
        ("div32 by 0 is 0, high half too",   x(0x3c, 0),      HIGH | 7, HIGH, 0),
        ("div32 looks at the low half",      x(0x3c, 0),      9, HIGH | 3, 3),
        ("sdiv64",                           k(0x37, 1, -2),  (-7i64) as u64, 0, 3),
        ("sdiv64 to zero",                   k(0x37, 1, 2),   (-7i64) as u64, 0, (-3i64) as u64),
        ("sdiv64 by 0 is 0",                 x(0x3f, 1),      M1, 0, 0),
        ("sdiv64 least by -1 is least",      x(0x3f, 1),      MIN64, M1, MIN64),
        ("sdiv64 least by imm -1",           k(0x37, 1, -1),  MIN64, 0, MIN64),
        ("sdiv32",                           k(0x34, 1, -2),  7, 0, 0xffff_fffd),
        ("sdiv32 least by -1 is least",      x(0x3c, 1),      HIGH | MIN32, M1, MIN32),
        ("sdiv32 by 0 is 0",                 x(0x3c, 1),      M1, HIGH, 0),
        ("mod64 by 0 keeps",                 x(0x9f, 0),      M1, 0, M1),
        ("mod64 by imm 0 keeps",             k(0x97, 0, 0),   M1, 0, M1),
        ("mod32 by 0 keeps the low half",    x(0x9c, 0),      HIGH | 7, 0, 7),
        ("mod64 imm extends the sign",       k(0x97, 0, -1),  5, 0, 5),
        ("smod64 has the dividend's sign",   k(0x97, 1, 3),   (-7i64) as u64, 0, M1),
        ("smod64 of positive by negative",   k(0x97, 1, -3),  7, 0, 1),
        ("smod64 least by -1 is 0",          x(0x9f, 1),      MIN64, M1, 0),
        ("smod64 by 0 keeps",                x(0x9f, 1),      MIN64, 0, MIN64),
        ("smod32 least by -1 is 0",          x(0x9c, 1),      MIN32, M1, 0),
        ("smod32 by 0 keeps the low half",   x(0x9c, 1),      HIGH | MIN32, 0, MIN32),
        ("smod32",                           k(0x94, 1, 3),   (-7i32) as u32 as u64, 0, 0xffff_ffff),
        ("or64 imm extends the sign",        k(0x47, 0, MIN32 as i32), 0, 0, 0xffff_ffff_8000_0000),
        ("or32 imm does not",                k(0x44, 0, MIN32 as i32), HIGH, 0, MIN32),
        ("and64 imm extends the sign",       k(0x57, 0, -16), HIGH | 0xff, 0, HIGH | 0xf0),
        ("and32 clears the high half",       k(0x54, 0, -16), HIGH | 0xff, 0, 0xf0),
        ("xor64 imm extends the sign",       k(0xa7, 0, -1),  0, 0, M1),
        ("xor32 stays in 32 bits",           k(0xa4, 0, -1),  HIGH, 0, 0xffff_ffff),
        ("lsh64 by 64 is by 0",              x(0x6f, 0),      3, 64, 3),
        ("lsh64 by 65 is by 1",              x(0x6f, 0),      3, 65, 6),
        ("lsh64 by -1 is by 63",             x(0x6f, 0),      1, M1, MIN64),
        ("lsh64 by imm 64 is by 0",          k(0x67, 0, 64),  3, 0, 3),
        ("lsh32 by 32 is by 0",              x(0x6c, 0),      HIGH | 3, 32, 3),
        ("lsh32 by 33 is by 1",              x(0x6c, 0),      0x8000_0001, 33, 2),
        ("rsh64 by 127 is by 63",            x(0x7f, 0),      M1, 127, 1),
        ("rsh32 by 63 is by 31",             x(0x7c, 0),      HIGH | MIN32, 63, 1),
        ("rsh32 does not see the high half", k(0x74, 0, 4),   HIGH | 0x10, 0, 1),
        ("arsh64 extends",                   k(0xc7, 0, 63),  MIN64, 0, M1),
        ("arsh64 by 64 is by 0",             x(0xcf, 0),      MIN64, 64, MIN64),
        ("arsh32 extends in 32 bits",        k(0xc4, 0, 31),  HIGH | MIN32, 0, 0xffff_ffff),
        ("arsh32 by 32 is by 0",             x(0xcc, 0),      MIN32, 32, MIN32),
        ("neg64 of the least",               k(0x87, 0, 0),   MIN64, 0, MIN64),
        ("neg32",                            k(0x84, 0, 0),   HIGH | 1, 0, 0xffff_ffff),
        ("neg32 of the least",               k(0x84, 0, 0),   MIN32, 0, MIN32),
        ("mov64 imm extends the sign",       k(0xb7, 0, -1),  0, 0, M1),
        ("mov32 imm does not",               k(0xb4, 0, -1),  M1, 0, 0xffff_ffff),
        ("mov32 clears the high half",       x(0xbc, 0),      M1, HIGH | 9, 9),
        ("movsx 8 to 64",                    x(0xbf, 8),      0, 0x1280, 0xffff_ffff_ffff_ff80),
        ("movsx 16 to 64",                   x(0xbf, 16),     0, 0x12_8000, 0xffff_ffff_ffff_8000),
        ("movsx 32 to 64",                   x(0xbf, 32),     0, MIN32, 0xffff_ffff_8000_0000),
        ("movsx 32 to 64, positive",         x(0xbf, 32),     0, HIGH | 7, 7),
        ("movsx 8 to 32",                    x(0xbc, 8),      M1, 0x80, 0xffff_ff80),
        ("movsx 16 to 32",                   x(0xbc, 16),     M1, 0x8000, 0xffff_8000),
        ("movsx 8 to 32, positive",          x(0xbc, 8),      M1, 0xff7f, 0x7f),
        ("bswap 16",                         k(0xd7, 0, 16),  0x1122_3344_5566_7788, 0, 0x8877),
        ("bswap 32",                         k(0xd7, 0, 32),  0x1122_3344_5566_7788, 0, 0x8877_6655),
        ("bswap 64",                         k(0xd7, 0, 64),  0x1122_3344_5566_7788, 0, 0x8877_6655_4433_2211),
    ];
    for (name, op, dst, src, expected) in cases {
        assert_eq!(alu(*op, *dst, *src), *expected, "{name}");
    }
}

#[test]
fn byte_order_conversions() {
    let value = 0x1122_3344_5566_7788u64;
    let (low16, low32) = (0x7788u16, 0x5566_7788u32);
    for (width, little, big) in [
        (16, u64::from(low16.to_le()), u64::from(low16.to_be())),
        (32, u64::from(low32.to_le()), u64::from(low32.to_be())),
        (64, value.to_le(), value.to_be()),
    ] {
        assert_eq!(alu(i(0xd4, 6, 0, 0, width), value, 0), little);
        assert_eq!(alu(i(0xdc, 6, 0, 0, width), value, 0), big);
    }
}

const EDGES: [u64; 20] = [
    0,
    1,
    2,
    3,
    7,
    31,
    32,
    33,
    63,
    64,
    65,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    HIGH | 0x8000_0001,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_8000_0000,
    u64::MAX,
];

/// RFC 9669 §4.1 for one width, in numbers without bounds. `None`: no such operation.
fn model(operation: u8, offset: i16, dst: u64, src: u64, bits: u32) -> Option<u64> {
    let modulus = 1i128 << bits;
    let unsigned = |value: u64| i128::from(value) % modulus;
    let signed = |value: u64| {
        let value = unsigned(value);
        if value >= modulus / 2 { value - modulus } else { value }
    };
    let (a, b) = (unsigned(dst), unsigned(src));
    let (sa, sb) = (signed(dst), signed(src));
    let result = match (operation, offset) {
        (0x0, 0) => a + b,
        (0x1, 0) => a - b,
        (0x2, 0) => return Some(((a as u128 * b as u128) % modulus as u128) as u64),
        (0x3, 0) => {
            if b == 0 {
                0
            } else {
                a / b
            }
        }
        (0x3, 1) => {
            if b == 0 {
                0
            } else {
                sa / sb
            }
        }
        (0x4, 0) => a | b,
        (0x5, 0) => a & b,
        (0x6, 0) => {
            return Some(((a as u128) << (b % i128::from(bits)) as u32) as u64 & (modulus - 1) as u64);
        }
        (0x7, 0) => a >> (b % i128::from(bits)),
        (0x9, 0) => {
            if b == 0 {
                a
            } else {
                a % b
            }
        }
        (0x9, 1) => {
            if b == 0 {
                a
            } else {
                sa % sb
            }
        }
        (0xa, 0) => a ^ b,
        (0xb, 0) => b,
        (0xc, 0) => sa >> (b % i128::from(bits)),
        _ => return None,
    };
    Some(result.rem_euclid(modulus) as u64)
}

#[test]
fn arithmetic_agrees_with_the_model() {
    let mut cases = 0;
    for operation in 0..=0xfu8 {
        for offset in [0i16, 1] {
            for (class, bits) in [(7u8, 64u32), (4, 32)] {
                for dst in EDGES {
                    for src in EDGES {
                        let Some(expected) = model(operation, offset, dst, src, bits) else { continue };
                        let opcode = operation << 4 | class;
                        let context = format!("{opcode:#x} offset {offset}: {dst:#x}, {src:#x}");
                        assert_eq!(alu(i(opcode | 8, 6, 7, offset, 0), dst, src), expected, "{context}");
                        let imm = src as u32 as i32;
                        if imm as i64 as u64 == src || bits == 32 {
                            assert_eq!(alu(i(opcode, 6, 0, offset, imm), dst, 0), expected, "imm, {context}");
                        }
                        cases += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cases, 14 * 2 * 400);
}

#[test]
fn jumps_agree_with_the_model() {
    for operation in [0x1u8, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0xa, 0xb, 0xc, 0xd] {
        for (class, bits) in [(5u8, 64u32), (6, 32)] {
            for dst in EDGES {
                for src in EDGES {
                    let shift = 64 - bits;
                    let (a, b) = (dst << shift, src << shift);
                    let (sa, sb) = (a as i64, b as i64);
                    let expected = match operation {
                        0x1 => a == b,
                        0x2 => a > b,
                        0x3 => a >= b,
                        0x4 => a & b != 0,
                        0x5 => a != b,
                        0x6 => sa > sb,
                        0x7 => sa >= sb,
                        0xa => a < b,
                        0xb => a <= b,
                        0xc => sa < sb,
                        _ => sa <= sb,
                    };
                    let opcode = operation << 4 | class;
                    let context = format!("{opcode:#x}: {dst:#x}, {src:#x}");
                    assert_eq!(jumps(i(opcode | 8, 6, 7, 1, 0), dst, src), expected, "{context}");
                    let imm = src as u32 as i32;
                    if imm as i64 as u64 == src || bits == 32 {
                        assert_eq!(jumps(i(opcode, 6, 0, 1, imm), dst, 0), expected, "imm, {context}");
                    }
                }
            }
        }
    }
}

#[test]
fn jump_immediates_extend_their_sign() {
    assert!(jumps(i(0x15, 6, 0, 1, -1), u64::MAX, 0), "r6 == -1");
    assert!(!jumps(i(0x15, 6, 0, 1, -1), 0xffff_ffff, 0));
    assert!(jumps(i(0x16, 6, 0, 1, -1), HIGH | 0xffff_ffff, 0), "w6 == -1");
    assert!(jumps(i(0xa5, 6, 0, 1, -1), 0xffff_ffff, 0), "r6 < 2^64 - 1");
}

#[test]
fn far_jumps_go_both_ways() {
    // The second instruction is skipped by the long jump, and so is the fourth.
    let there = code![i(0x06, 0, 0, 0, 2), mov(0, 1), exit(), mov(0, 2), exit()];
    assert_eq!(value_of(&there), 2);
    let back = code![i(0x05, 0, 0, 2, 0), mov(0, 3), exit(), i(0x06, 0, 0, 0, -3)];
    assert_eq!(value_of(&back), 3);
    // Further than 16 bits reach.
    let mut long = code![i(0x06, 0, 0, 0, 70_000)];
    long.extend(std::iter::repeat_n(mov(0, 1), 70_000));
    long.extend(code![exit()]);
    assert_eq!(value_of(&long), 0);
}

#[test]
fn loads_and_stores_of_every_size() {
    let value = 0x8182_8384_8586_8788u64;
    for (store, load, load_sx, bits) in
        [(0x73, 0x71, 0x91, 8u32), (0x6b, 0x69, 0x89, 16), (0x63, 0x61, 0x81, 32), (0x7b, 0x79, 0, 64)]
    {
        let kept = value << (64 - bits) >> (64 - bits);
        for offset in [-8i16, -9, -13] {
            let stored =
                code![mov(0, 0), i(0x7a, 10, 0, -24, -1), i(0x7a, 10, 0, -16, -1), i(0x7a, 10, 0, -8, -1)];
            let code = code![
                stored,
                wide(6, value),
                i(store, 10, 6, offset - 8, 0),
                i(load, 0, 10, offset - 8, 0),
                exit()
            ];
            assert_eq!(value_of(&code), kept, "{bits} bits at {offset}");
            if load_sx != 0 {
                let code =
                    code![wide(6, value), i(store, 10, 6, offset, 0), i(load_sx, 0, 10, offset, 0), exit()];
                let extended = ((value << (64 - bits)) as i64 >> (64 - bits)) as u64;
                assert_eq!(value_of(&code), extended, "{bits} bits, sign-extended");
            }
        }
    }
    // A store of an immediate extends its sign to all 64 bits, and leaves what is next to it alone.
    assert_eq!(value_of(&code![i(0x7a, 10, 0, -8, -2), i(0x79, 0, 10, -8, 0), exit()]), (-2i64) as u64);
    let code = code![i(0x7a, 10, 0, -8, 0), i(0x72, 10, 0, -5, -1), i(0x79, 0, 10, -8, 0), exit()];
    assert_eq!(value_of(&code), u64::from_ne_bytes([0, 0, 0, 0xff, 0, 0, 0, 0]));
    let code = code![i(0x7a, 10, 0, -8, 0), i(0x6a, 10, 0, -6, -1), i(0x79, 0, 10, -8, 0), exit()];
    assert_eq!(value_of(&code), u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]));
    let code = code![i(0x7a, 10, 0, -8, 0), i(0x62, 10, 0, -4, -1), i(0x79, 0, 10, -8, 0), exit()];
    assert_eq!(value_of(&code), u64::from_ne_bytes([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]));
}

/// `operation` of `size` on memory that holds `memory`, r7 = `src`, r0 = `r0`; gives memory, r7 and r0 afterwards.
fn atomic(on_map: bool, size: u8, operation: i32, memory: u64, src: u64, r0: u64) -> (u64, u64, u64) {
    let vm = Vm::new();
    let (values, reference) = map(&vm, spec(MapKind::ARRAY, 4, 32, 1));
    let pointer = if on_map { code![map_value(6, reference, 16)] } else { code![copy(6, 10), add(6, -16)] };
    let program = code![
        copy(9, 1),
        pointer,
        wide(8, memory),
        i(0x7b, 6, 8, 0, 0),
        wide(7, src),
        wide(0, r0),
        i(size, 6, 7, 0, operation),
        i(0x79, 1, 6, 0, 0),
        i(0x7b, 9, 1, 0, 0),
        i(0x7b, 9, 7, 8, 0),
        i(0x7b, 9, 0, 16, 0),
        exit(),
    ];
    let mut context = [0; 24];
    load(&vm, &program).unwrap().run(&mut context).unwrap();
    let word = |at: usize| u64::from_ne_bytes(context[at..at + 8].try_into().unwrap());
    if on_map {
        let mut value = [0xee; 32];
        values.lookup(&0u32.to_ne_bytes(), &mut value).unwrap();
        assert_eq!(value[16..24], word(0).to_ne_bytes());
        assert!(value[..16].iter().chain(&value[24..]).all(|byte| *byte == 0), "neighbours are untouched");
    }
    (word(0), word(8), word(16))
}

#[test]
fn atomics_of_both_widths_everywhere() {
    const DW: u8 = 0xdb;
    const W: u8 = 0xc3;
    let memory = 0x1111_2222_8000_00ffu64;
    let src = 0x3333_4444_8000_0f01u64;
    // What a 32-bit operation leaves of the 64 bits: the other half of them.
    let half = |low: u64| {
        if cfg!(target_endian = "little") {
            memory & !0xffff_ffff | low
        } else {
            memory & 0xffff_ffff | low << 32
        }
    };
    let word = if cfg!(target_endian = "little") { memory & 0xffff_ffff } else { memory >> 32 };
    let low = src & 0xffff_ffff;
    for on_map in [false, true] {
        for (operation, new64, new32) in [
            (0x00, memory.wrapping_add(src), (word + low) & 0xffff_ffff),
            (0x40, memory | src, word | low),
            (0x50, memory & src, word & low),
            (0xa0, memory ^ src, word ^ low),
        ] {
            assert_eq!(atomic(on_map, DW, operation, memory, src, 5), (new64, src, 5), "{operation:#x}");
            assert_eq!(
                atomic(on_map, DW, operation | 1, memory, src, 5),
                (new64, memory, 5),
                "{operation:#x} fetch"
            );
            assert_eq!(
                atomic(on_map, W, operation, memory, src, 5),
                (half(new32), src, 5),
                "{operation:#x} 32"
            );
            assert_eq!(
                atomic(on_map, W, operation | 1, memory, src, 5),
                (half(new32), word, 5),
                "{operation:#x} 32 fetch"
            );
        }
        assert_eq!(atomic(on_map, DW, 0xe1, memory, src, 5), (src, memory, 5), "xchg");
        assert_eq!(atomic(on_map, W, 0xe1, memory, src, 5), (half(low), word, 5), "xchg 32");
        assert_eq!(
            atomic(on_map, DW, 0xf1, memory, src, memory),
            (src, src, memory),
            "cmpxchg that succeeds"
        );
        assert_eq!(atomic(on_map, DW, 0xf1, memory, src, 7), (memory, src, memory), "cmpxchg that fails");
        // Only the low half of r0 is compared, and all of it is replaced.
        assert_eq!(atomic(on_map, W, 0xf1, memory, src, HIGH | word), (half(low), src, word), "cmpxchg 32");
        assert_eq!(atomic(on_map, W, 0xf1, memory, src, 7), (memory, src, word), "cmpxchg 32 that fails");
    }
}

#[test]
fn wide_loads_count_as_two_instructions() {
    let outcome = run(&Vm::new(), &code![wide(0, 0x1234_5678_9abc_def0), exit()]).unwrap();
    assert_eq!((outcome.return_value, outcome.instructions), (0x1234_5678_9abc_def0, 3));
}

#[test]
fn calls_keep_registers_6_to_9_and_give_a_stack_of_their_own() {
    // The function overwrites everything it may, and the same place of its own stack.
    let program = code![
        mov(6, 6),
        mov(7, 7),
        mov(8, 8),
        mov(9, 9),
        i(0x7a, 10, 0, -8, 1),
        mov(1, 100),
        i(0x85, 0, 1, 0, 7),
        i(0x79, 1, 10, -8, 0),
        i(0x0f, 0, 1, 0, 0),
        i(0x0f, 0, 6, 0, 0),
        i(0x0f, 0, 7, 0, 0),
        i(0x0f, 0, 8, 0, 0),
        i(0x0f, 0, 9, 0, 0),
        exit(),
        i(0x7a, 10, 0, -8, 5000),
        mov(6, 0),
        mov(7, 0),
        mov(8, 0),
        mov(9, 0),
        copy(0, 1),
        exit(),
    ];
    assert_eq!(value_of(&program), 100 + 1 + 30);
}

#[test]
fn a_callee_reaches_the_stack_of_its_caller_through_a_pointer() {
    let program = code![
        copy(1, 10),
        add(1, -8),
        i(0x7a, 10, 0, -8, 41),
        i(0x85, 0, 1, 0, 2),
        i(0x79, 0, 10, -8, 0),
        exit(),
        i(0x79, 2, 1, 0, 0),
        add(2, 1),
        i(0x7b, 1, 2, 0, 0),
        exit(),
    ];
    assert_eq!(value_of(&program), 42);
}

#[test]
fn initial_registers() {
    let program = code![mov(0, 0), i(0x0f, 0, 2, 0, 0), i(0x0f, 0, 5, 0, 0), i(0x0f, 0, 9, 0, 0), exit()];
    assert_eq!(value_of(&program), 0);
    assert_eq!(value_of(&code![copy(0, 1), exit()]), 1 << 32, "the context is region 1");
    assert_eq!(
        value_of(&code![copy(0, 10), exit()]),
        2 << 32 | 512,
        "the frame pointer is the end of region 2"
    );
}
