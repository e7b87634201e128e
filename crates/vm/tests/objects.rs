//! Objects that clang made of `objects/machine.bpf.c`, opened, linked and loaded by the loader, and run.
//!
//! Built with clang 14, once for each `-mcpu`:
//! `clang -O2 -g -target bpf -mcpu=v3 -Wall -c machine.bpf.c -o machine.v3.o`
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

use ebpf_loader::Object;
use ebpf_vm::*;

const OBJECTS: [(&str, &[u8]); 3] = [
    ("v1", include_bytes!("objects/machine.v1.o")),
    ("v2", include_bytes!("objects/machine.v2.o")),
    ("v3", include_bytes!("objects/machine.v3.o")),
];

/// `struct input` of the source.
fn input(length: u32, divisor: i32, bytes: &[u8]) -> [u8; 64] {
    let mut input = [0; 64];
    input[..4].copy_from_slice(&length.to_ne_bytes());
    input[4..8].copy_from_slice(&divisor.to_ne_bytes());
    input[8..8 + bytes.len()].copy_from_slice(bytes);
    input
}

/// `observe` of the source: checksum and sum.
fn observed(bytes: &[u8]) -> (u32, u64) {
    let (mut checksum, mut sum) = (7u32, 0u64);
    for (place, byte) in bytes.iter().enumerate() {
        checksum = (checksum ^ u32::from(*byte)).wrapping_mul(16_777_619);
        sum = sum.wrapping_add(u64::from(*byte) << (place & 7));
    }
    (checksum, sum)
}

/// `numbers` of the source.
fn numbers(a: i32, b: i32) -> i64 {
    let ua = a as u32;
    let wide = i64::from(a).wrapping_mul(i64::from(b));
    let mut result = (wide >> 3) as u64 ^ u64::from(ua >> 5) ^ (i64::from(ua as i8) << 32) as u64;
    if a < b {
        result = result.wrapping_add(u64::from((ua as u16).swap_bytes()));
    }
    if ua < b as u32 {
        result ^= u64::from(ua).swap_bytes();
    }
    if wide == -1 {
        result |= 1;
    }
    (result as i64).wrapping_sub(i64::from(a >> 2))
}

#[test]
fn clang_objects_run() {
    if cfg!(target_endian = "big") {
        eprintln!("skipped: the objects are little-endian");
        return;
    }
    for (cpu, bytes) in OBJECTS {
        let vm = Vm::new();
        let object = Object::<64, 64>::open_named("machine", bytes).unwrap();
        let mut scratch = vec![Instruction::default(); object.scratch_len().unwrap()];
        let mut loaded = object.on(&vm);
        loaded.load(&mut scratch).unwrap();
        assert_eq!(vm.programs_loaded(), 3, "{cpu}");

        let observe = loaded.program("observe").unwrap();
        let mut records = Vec::new();
        for length in [0u32, 1, 2, 2, 40, 56, 57] {
            let data: Vec<u8> = (0..length.min(56)).map(|byte| (byte * 37 + 200) as u8).collect();
            let outcome = observe.run(&mut input(length, 0, &data)).unwrap();
            let (checksum, sum) = observed(&data);
            if length > 56 {
                assert_eq!(outcome.return_value as i32, -1, "{cpu}");
                continue;
            }
            assert_eq!(outcome.return_value as i32, (checksum & 0x7fff_ffff) as i32, "{cpu}, {length} bytes");
            if length % 2 == 0 {
                records.push([length.to_ne_bytes(), checksum.to_ne_bytes()].concat());
                records.last_mut().unwrap().extend(sum.to_ne_bytes());
            }
        }
        let map = |name| loaded.map(name).unwrap();
        let mut seen = Vec::new();
        let drained = map("events").ring().unwrap().drain(100, |record| seen.push(record.to_vec()));
        assert_eq!((seen, drained.discarded), (records, 1), "{cpu}");
        let mut count = [0; 8];
        map("lengths").lookup(&2u32.to_ne_bytes(), &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 2, "{cpu}");
        map("machine.data").lookup(&[0; 4], &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 106, "{cpu}: counted from 100 in .data");
        let mut last = [0; 16];
        map("machine.bss").lookup(&[0; 4], &mut last).unwrap();
        assert_eq!(last[4..8], observed(&[200]).0.to_ne_bytes(), "{cpu}: .bss");
        assert_eq!(map("machine.rodata").update(&[0; 4], &7u32.to_ne_bytes(), 0), Err(MapError::Permission));

        let program = loaded.program("numbers").unwrap();
        let edges = [
            0,
            1,
            -1,
            2,
            -2,
            127,
            128,
            -128,
            255,
            256,
            65535,
            65536,
            i32::MAX,
            i32::MIN,
            i32::MIN + 1,
            0x1234_5678,
        ];
        for a in edges {
            for b in edges {
                let outcome = program.run(&mut input(a as u32, b, &[])).unwrap();
                assert_eq!(outcome.return_value as i64, numbers(a, b), "{cpu}: {a}, {b}");
            }
        }

        let looped = loaded.program("looped").unwrap();
        for (repeats, turns, sum) in [(0, 0, 0), (4, 4, 18), (10, 10, 135), (100, 10, 135)] {
            let outcome = looped.run(&mut input(repeats, 0, &[])).unwrap();
            assert_eq!(outcome.return_value, turns * 1000 + sum, "{cpu}: {repeats} turns");
        }

        let in_use = vm.memory_in_use();
        drop(loaded);
        assert!(in_use > 0 && vm.memory_in_use() == 0, "{cpu}: everything is given back");
    }
}

#[test]
fn programs_that_are_off_cost_nothing() {
    if cfg!(target_endian = "big") {
        eprintln!("skipped: the objects are little-endian");
        return;
    }
    let memory = |off: &[&str]| {
        let vm = Vm::new();
        let object = Object::<64, 64>::open_named("machine", OBJECTS[2].1).unwrap();
        for name in off {
            object.set_autoload(name, false).unwrap();
        }
        let mut scratch = vec![Instruction::default(); object.scratch_len().unwrap()];
        let mut loaded = object.on(&vm);
        loaded.load(&mut scratch).unwrap();
        let programs =
            loaded.programs().filter_map(|(_, program)| program).map(VmProgram::memory).sum::<usize>();
        (vm.validator_runs(), vm.memory_in_use(), programs)
    };
    let (all, all_memory, all_programs) = memory(&[]);
    let (one, one_memory, one_program) = memory(&["numbers", "looped"]);
    assert_eq!((all, one), (3, 1));
    assert_eq!(all_memory - one_memory, all_programs - one_program);
    assert!(one_program < all_programs);
}
