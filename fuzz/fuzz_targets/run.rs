//! Runs what comes on the embedded machine: an object file is loaded through the loader, anything else is taken for bare
//! instructions with a few maps to refer to. Programs may fail; the machine must not, and must give back all its memory.
//!
//! Bare input: kind of program (1 byte), length of the context (1 byte), then instructions of eight bytes. The immediate of a
//! 64-bit load from a map picks one of the maps.
#![no_main]

use std::hint::black_box;

use ebpf_loader::{Instruction, MapKind, MapSpec, Object, Platform, ProgramKind, ProgramSpec};
use ebpf_vm::{Vm, VmConfig, VmMap, VmProgram};
use libfuzzer_sys::fuzz_target;

const BUDGET: u64 = 4096;
const MEMORY: usize = 4 << 20;
const RUNS: usize = 2;

fuzz_target!(|data: &[u8]| {
    let vm = Vm::with_config(VmConfig::new().with_memory_limit(MEMORY).with_instruction_budget(BUDGET));
    if data.starts_with(b"\x7fELF") {
        object(&vm, data);
    } else {
        instructions(&vm, data);
    }
    assert_eq!(vm.memory_in_use(), 0, "what was created is gone");
});

fn object(vm: &Vm, data: &[u8]) {
    let Ok(object) = Object::<64, 64>::open_named("fuzz.bpf.o", data) else { return };
    for program in object.programs() {
        object.set_autoload(program.name(), true).expect("a listed program, before loading");
    }
    // A file of a few kilobytes links to no more than this, or is not worth the time.
    let Ok(length) = object.scratch_len() else { return };
    if length > 100_000 {
        return;
    }
    let mut scratch = vec![Instruction::default(); length];
    let mut loaded = object.on(vm);
    if let Err(error) = loaded.load(&mut scratch) {
        black_box(format!("{error}"));
        return;
    }
    assert!(vm.memory_in_use() <= MEMORY);
    for _ in 0..RUNS {
        for (_, program) in loaded.programs() {
            run(program.expect("every program was chosen"), 64);
        }
    }
    for (_, map) in loaded.maps() {
        look(map);
    }
}

fn instructions(vm: &Vm, data: &[u8]) {
    const KINDS: [(MapKind, u32, u32, u32); 8] = [
        (MapKind::ARRAY, 4, 16, 3),
        (MapKind::HASH, 4, 16, 3),
        (MapKind::LRU_HASH, 8, 8, 2),
        (MapKind::QUEUE, 0, 8, 3),
        (MapKind::STACK, 0, 8, 3),
        (MapKind::RINGBUF, 0, 0, 4096),
        (MapKind::RINGBUF, 0, 0, 8192),
        (MapKind::HASH, 1, 1, 1),
    ];
    let Some((&[kind, context], code)) = data.split_first_chunk() else { return };
    let maps = KINDS.map(|(kind, key, value, entries)| {
        vm.create_map(&MapSpec::new("map", kind, key, value, entries)).expect("ordinary maps")
    });
    let code: Vec<_> = code
        .chunks_exact(Instruction::SIZE)
        .map(|bytes| Instruction::from_bytes(bytes.try_into().expect("eight bytes")))
        .map(|instruction| match (instruction.opcode(), instruction.src()) {
            (0x18, 1 | 2) => {
                let map = &maps[instruction.imm().unsigned_abs() as usize % maps.len()];
                instruction.with_imm(vm.map_reference(map))
            }
            _ => instruction,
        })
        .collect();
    let program = vm.load_program(&ProgramSpec {
        name: "fuzz",
        section: "fuzz",
        kind: ProgramKind(u32::from(kind)),
        expected_attach_type: 0,
        license: "GPL",
        instructions: &code,
    });
    match program {
        Ok(program) => {
            for _ in 0..RUNS {
                run(&program, usize::from(context));
            }
            vm.unload_program(program);
        }
        Err(error) => {
            black_box(format!("{error}"));
        }
    }
    for map in maps {
        look(&map);
        vm.destroy_map(map);
    }
}

fn run(program: &VmProgram, context: usize) {
    let mut context: Vec<u8> = (0..context).map(|byte| byte as u8).collect();
    match program.run(&mut context) {
        Ok(outcome) => assert!(outcome.instructions <= BUDGET),
        Err(fault) => {
            black_box(format!("{fault}"));
        }
    }
}

fn look(map: &VmMap) {
    let mut key = vec![0; map.key_size() as usize];
    let mut value = vec![0; map.value_size() as usize];
    black_box(map.lookup(&key, &mut value).is_ok());
    black_box(map.next_key(None, &mut key).is_ok());
    if let Some(ring) = map.ring() {
        let drained = ring.drain(usize::MAX, |record| {
            black_box(record.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
        });
        assert!(drained.bytes <= map.max_entries() as usize);
    }
}
