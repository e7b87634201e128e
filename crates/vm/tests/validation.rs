//! One refused program for each rule, with the instruction it is refused at.
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
use ebpf_vm::ValidationErrorKind as Kind;
use ebpf_vm::*;

fn refusal(vm: &Vm, instructions: &[Instruction]) -> (usize, Kind) {
    match load(vm, instructions) {
        Err(VmError::InvalidProgram { name, error }) => {
            assert_eq!(&*name, "test");
            assert!(!error.to_string().is_empty());
            (error.instruction, error.kind)
        }
        other => panic!("{instructions:?} gave {other:?}"),
    }
}

fn refused(instructions: &[Instruction]) -> (usize, Kind) {
    refusal(&Vm::new(), instructions)
}

#[test]
fn programs_of_no_length_or_too_much() {
    assert_eq!(refused(&[]), (0, Kind::Empty));
    let long = vec![exit(); MAX_INSTRUCTIONS + 1];
    assert_eq!(refused(&long), (MAX_INSTRUCTIONS, Kind::TooLong { instructions: MAX_INSTRUCTIONS + 1 }));
    let vm = Vm::new();
    let longest = load(&vm, &long[1..]).unwrap();
    assert_eq!(longest.instructions(), MAX_INSTRUCTIONS);
}

#[test]
fn every_opcode_is_known_or_refused() {
    // RFC 9669 without its legacy packet access group; calls by register and 32-bit calls are not in it.
    let known: Vec<u8> = (0..=255u8)
        .filter(|opcode| {
            let (class, source, operation) = (opcode & 7, opcode & 8 != 0, opcode >> 4);
            match class {
                4 | 7 => match operation {
                    8 => !source,
                    0xd => class == 4 || !source,
                    operation => operation <= 0xc,
                },
                5 => match operation {
                    0 | 8 | 9 => !source,
                    operation => operation <= 0xd,
                },
                6 => match operation {
                    0 => !source,
                    8 | 9 => false,
                    operation => operation <= 0xd,
                },
                0 => *opcode == 0x18,
                1 => matches!(opcode & 0xe0, 0x60) || matches!(opcode, 0x91 | 0x89 | 0x81),
                2 => opcode & 0xe0 == 0x60,
                _ => opcode & 0xe0 == 0x60 || matches!(opcode, 0xdb | 0xc3),
            }
        })
        .collect();
    for opcode in 0..=255u8 {
        let imm = if opcode & 7 == 4 && opcode >> 4 == 0xd || opcode == 0xd7 { 16 } else { 0 };
        let imm = if opcode == 0x85 { 5 } else { imm };
        let program = code![i(opcode, 0, 0, 0, imm), i(0, 0, 0, 0, 0), exit()];
        // The second slot is for the 64-bit load; for all others it is an opcode nobody knows.
        let program = if opcode == 0x18 { program } else { code![program[0], exit()] };
        match load(&Vm::new(), &program) {
            Ok(_) => assert!(known.contains(&opcode), "{opcode:#x} was accepted"),
            Err(error) => {
                assert!(!known.contains(&opcode), "{opcode:#x}: {error}");
                let is_packet = matches!(opcode, 0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50);
                let unknown = Kind::UnknownOpcode { opcode };
                let expected = if is_packet { Kind::PacketAccess { opcode } } else { unknown };
                assert_eq!(refused(&program), (0, expected));
            }
        }
    }
}

#[test]
fn reserved_fields_are_zero() {
    let field = |field| Kind::ReservedField { field };
    let cases = [
        (i(0x07, 1, 2, 0, 1), "source register"),
        (i(0x0f, 1, 2, 0, 1), "immediate"),
        (i(0x07, 1, 0, 1, 1), "offset"),
        (i(0x37, 1, 0, 2, 1), "offset"),
        (i(0xb7, 1, 0, 8, 1), "offset"),
        (i(0xbf, 1, 2, 24, 0), "offset"),
        (i(0xbc, 1, 2, 32, 0), "offset"),
        (i(0x87, 1, 0, 0, 1), "immediate"),
        (i(0x87, 1, 2, 0, 0), "source register"),
        (i(0xd4, 1, 2, 0, 16), "source register"),
        (i(0xd4, 1, 0, 2, 16), "offset"),
        (i(0x05, 1, 0, 0, 0), "destination register"),
        (i(0x05, 0, 1, 0, 0), "source register"),
        (i(0x05, 0, 0, 0, 1), "immediate"),
        (i(0x06, 0, 0, 1, 0), "offset"),
        (i(0x15, 1, 2, 0, 0), "source register"),
        (i(0x1d, 1, 2, 0, 3), "immediate"),
        (i(0x85, 1, 0, 0, 5), "destination register"),
        (i(0x85, 0, 0, 1, 5), "offset"),
        (i(0x95, 0, 0, 0, 1), "immediate"),
        (i(0x95, 0, 0, 1, 0), "offset"),
        (i(0x95, 1, 0, 0, 0), "destination register"),
        (i(0x79, 1, 2, 0, 1), "immediate"),
        (i(0x7a, 1, 2, 0, 1), "source register"),
        (i(0x7b, 1, 2, 0, 1), "immediate"),
    ];
    for (instruction, name) in cases {
        assert_eq!(refused(&code![mov(0, 0), instruction, exit()]), (1, field(name)), "{instruction:?}");
    }
    for (second, name) in [
        (i(0x07, 0, 0, 0, 0), "opcode of the second half"),
        (i(0, 1, 0, 0, 0), "destination register"),
        (i(0, 0, 1, 0, 0), "source register"),
        (i(0, 0, 0, 1, 0), "offset of the second half"),
    ] {
        assert_eq!(refused(&code![i(0x18, 0, 0, 0, 0), second, exit()]), (0, field(name)));
    }
    assert_eq!(refused(&code![i(0x18, 0, 0, 1, 0), i(0, 0, 0, 0, 0), exit()]), (0, field("offset")));
    assert_eq!(
        refused(&code![i(0x18, 0, 4, 0, 1), i(0, 0, 0, 0, 1), exit()]),
        (0, field("second immediate"))
    );
}

#[test]
fn registers() {
    assert_eq!(refused(&code![mov(11, 0), exit()]), (0, Kind::Register { register: 11 }));
    assert_eq!(refused(&code![copy(1, 15), exit()]), (0, Kind::Register { register: 15 }));
    assert_eq!(refused(&code![i(0x7b, 12, 0, 0, 0), exit()]), (0, Kind::Register { register: 12 }));
    assert_eq!(refused(&code![i(0x15, 11, 0, 0, 0), exit()]), (0, Kind::Register { register: 11 }));
    for write in [mov(10, 0), add(10, 8), i(0x79, 10, 1, 0, 0), i(0xd7, 10, 0, 0, 16), i(0x87, 10, 0, 0, 0)] {
        assert_eq!(refused(&code![write, exit()]), (0, Kind::ReadOnlyRegister), "{write:?}");
    }
    assert_eq!(refused(&code![wide(10, 1), exit()]), (0, Kind::ReadOnlyRegister));
    // A fetching atomic writes its source register.
    assert_eq!(refused(&code![i(0xdb, 1, 10, 0, 1), exit()]), (0, Kind::ReadOnlyRegister));
    assert_eq!(refused(&code![i(0xdb, 1, 10, 0, 0xe1), exit()]), (0, Kind::ReadOnlyRegister));
    assert!(
        load(&Vm::new(), &code![i(0xdb, 1, 10, 0, 0), i(0xdb, 1, 10, 0, 0xf1), i(0x7b, 1, 10, 0, 0), exit()])
            .is_ok()
    );
}

#[test]
fn operations_in_immediates() {
    for operation in [0x10, 0x41 << 1, 0xe0, 0xf0, 0x100, 0x110, -1] {
        let program = code![i(0xdb, 1, 2, 0, operation), exit()];
        assert_eq!(refused(&program), (0, Kind::UnknownAtomic { operation }));
    }
    for width in [0, 8, 24, 128, -16] {
        for opcode in [0xd4, 0xdc, 0xd7] {
            assert_eq!(refused(&code![i(opcode, 1, 0, 0, width), exit()]), (0, Kind::SwapWidth { width }));
        }
    }
    for helper in [0, 4, 180, 9999, -1] {
        assert_eq!(refused(&code![call(helper), exit()]), (0, Kind::UnknownHelper { helper }));
    }
    assert_eq!(refused(&code![i(0x85, 0, 2, 0, 1), exit()]), (0, Kind::UnsupportedSource { src: 2 }));
    for src in [3, 5, 6, 7] {
        let program = code![i(0x18, 1, src, 0, 1), i(0, 0, 0, 0, 0), exit()];
        assert_eq!(refused(&program), (0, Kind::UnsupportedSource { src }));
    }
}

#[test]
fn jumps_stay_in_the_program() {
    assert_eq!(refused(&code![i(0x05, 0, 0, 1, 0), exit()]), (0, Kind::JumpOutside { target: 2 }));
    assert_eq!(refused(&code![exit(), i(0x05, 0, 0, -3, 0)]), (1, Kind::JumpOutside { target: -1 }));
    assert_eq!(refused(&code![i(0x15, 0, 0, 7, 0), exit()]), (0, Kind::JumpOutside { target: 8 }));
    assert_eq!(
        refused(&code![i(0x06, 0, 0, 0, i32::MAX), exit()]),
        (0, Kind::JumpOutside { target: i64::from(i32::MAX) + 1 })
    );
    assert_eq!(
        refused(&code![i(0x06, 0, 0, 0, i32::MIN), exit()]),
        (0, Kind::JumpOutside { target: i64::from(i32::MIN) + 1 })
    );
    assert_eq!(refused(&code![i(0x85, 0, 1, 0, 1), exit()]), (0, Kind::JumpOutside { target: 2 }));
    let function = code![i(0x18, 1, 4, 0, 5), i(0, 0, 0, 0, 0), exit()];
    assert_eq!(refused(&function), (0, Kind::JumpOutside { target: 6 }));
}

#[test]
fn nothing_leads_into_a_64_bit_load() {
    let jump = code![i(0x05, 0, 0, 1, 0), wide(0, 1), exit()];
    assert_eq!(refused(&jump), (0, Kind::JumpIntoLoad { target: 2 }));
    let conditional = code![wide(0, 1), i(0x15, 0, 0, -2, 0), exit()];
    assert_eq!(refused(&conditional), (2, Kind::JumpIntoLoad { target: 1 }));
    let call = code![i(0x85, 0, 1, 0, 2), exit(), wide(0, 1), exit()];
    assert!(matches!(refused(&call).1, Kind::JumpIntoLoad { target: 3 } | Kind::FallsOffEnd));
    assert_eq!(refused(&code![mov(0, 0), i(0x18, 0, 0, 0, 0)]), (1, Kind::TruncatedLoad));
}

#[test]
fn functions_keep_to_themselves() {
    // The main function ends before index 2, where the called one begins.
    let out = code![i(0x85, 0, 1, 0, 2), i(0x15, 0, 0, 1, 0), exit(), mov(0, 0), exit()];
    assert_eq!(refused(&out), (1, Kind::JumpLeavesFunction { target: 3 }));
    let back = code![i(0x85, 0, 1, 0, 1), exit(), i(0x15, 0, 0, -2, 0), exit()];
    assert_eq!(refused(&back), (2, Kind::JumpLeavesFunction { target: 1 }));
    let through = code![i(0x85, 0, 1, 0, 1), mov(0, 0), mov(0, 1), exit()];
    assert_eq!(refused(&through), (1, Kind::FallsOffEnd));
}

#[test]
fn the_end_is_not_fallen_off() {
    for last in [mov(0, 0), i(0x15, 0, 0, -1, 0), call(5), i(0x85, 0, 1, 0, -1), i(0x7b, 10, 0, -8, 0)] {
        assert_eq!(refused(&code![exit(), last]), (1, Kind::FallsOffEnd), "{last:?}");
    }
    assert_eq!(refused(&code![exit(), wide(0, 1)]).1, Kind::FallsOffEnd);
    assert!(load(&Vm::new(), &code![exit(), i(0x05, 0, 0, -2, 0)]).is_ok());
}

#[test]
fn map_references() {
    let vm = Vm::new();
    let (array, one) = map(&vm, spec(MapKind::ARRAY, 4, 12, 1));
    let (_, many) = map(&vm, spec(MapKind::ARRAY, 4, 12, 2));
    let (_, hash) = map(&vm, spec(MapKind::HASH, 4, 12, 1));
    assert_eq!(refusal(&vm, &code![map_handle(1, 99), exit()]), (0, Kind::UnknownMap { reference: 99 }));
    assert_eq!(refusal(&vm, &code![map_handle(1, -1), exit()]), (0, Kind::UnknownMap { reference: -1 }));
    assert_eq!(refusal(&vm, &code![map_value(1, many, 0), exit()]), (0, Kind::MapWithoutAddress));
    assert_eq!(refusal(&vm, &code![map_value(1, hash, 0), exit()]), (0, Kind::MapWithoutAddress));
    let offset = Kind::MapOffset { offset: 12, value_size: 12 };
    assert_eq!(refusal(&vm, &code![map_value(1, one, 12), exit()]), (0, offset));
    assert!(
        load(&vm, &code![map_value(1, one, 11), map_handle(1, many), map_handle(2, hash), exit()]).is_ok()
    );
    assert_eq!(
        refusal(&Vm::new(), &code![map_handle(1, one), exit()]).1,
        Kind::UnknownMap { reference: one }
    );
    vm.destroy_map(array);
    assert_eq!(refusal(&vm, &code![map_handle(1, one), exit()]).1, Kind::UnknownMap { reference: one });
}

#[test]
fn maps_of_one_program_are_counted() {
    let vm = Vm::new();
    let mut code = Vec::new();
    for _ in 0..MAX_PROGRAM_MAPS {
        let (_, reference) = map(&vm, spec(MapKind::ARRAY, 4, 4, 1));
        code.extend(map_value(1, reference, 0));
        code.extend(map_handle(1, reference));
    }
    code.push(exit());
    assert_eq!(load(&vm, &code).unwrap().maps().len(), MAX_PROGRAM_MAPS);
    let (_, reference) = map(&vm, spec(MapKind::ARRAY, 4, 4, 1));
    let first = map_handle(1, reference);
    code.splice(0..0, first);
    assert_eq!(refusal(&vm, &code).1, Kind::TooManyMaps);
}

#[test]
fn refused_programs_leave_nothing_but_a_count() {
    let vm = Vm::new();
    let before = vm.memory_in_use();
    assert!(load(&vm, &[mov(0, 0)]).is_err());
    assert_eq!((vm.memory_in_use(), vm.validator_runs(), vm.programs_loaded()), (before, 1, 0));
    let program = load(&vm, &[exit()]).unwrap();
    assert_eq!(vm.memory_in_use(), before + program.memory());
    assert_eq!((vm.validator_runs(), vm.programs_loaded()), (2, 1));
    vm.unload_program(program);
    assert_eq!(vm.memory_in_use(), before);
}
