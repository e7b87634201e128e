//! Nanoseconds per instruction and per run, on this machine: `cargo run --release -p ebpf-vm --example speed`.
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measurement that fails has nothing to say"
)]

use std::hint::black_box;
use std::time::Instant;

use ebpf_vm::*;

/// Turns of each loop: short enough that some runs are not interrupted, and the best one counts.
const TURNS: i32 = 10_000;

fn main() {
    let vm = Vm::with_config(VmConfig::new().with_instruction_budget(u64::MAX));
    let map = vm.create_map(&MapSpec::new("values", MapKind::ARRAY, 4, 64, 1)).unwrap();
    let i = Instruction::new;
    let exit = i(0x95, 0, 0, 0, 0);

    // Each body is six instructions with its end, run `TURNS` times.
    let turns = |before: &[Instruction], body: [Instruction; 5]| {
        let mut code = before.to_vec();
        code.push(i(0xb7, 1, 0, 0, TURNS));
        code.extend(body);
        code.extend([i(0x17, 1, 0, 0, 1), i(0x55, 1, 0, -7, 0), i(0xb7, 0, 0, 0, 0), exit]);
        code
    };
    let value = [i(0x18, 6, 2, 0, vm.map_reference(&map)), i(0, 0, 0, 0, 0)];
    let context = [i(0xbf, 6, 1, 0, 0)];
    let access = |base, store, load, offset: i16| {
        let below = offset.wrapping_sub(8);
        [
            i(store, base, 0, offset, 0),
            i(load, 0, base, offset, 0),
            i(store, base, 0, below, 0),
            i(load, 3, base, below, 0),
            i(0x07, 0, 0, 0, 3),
        ]
    };
    let alu = [
        i(0x07, 0, 0, 0, 7),
        i(0x67, 0, 0, 0, 1),
        i(0xaf, 0, 1, 0, 0),
        i(0x0f, 2, 0, 0, 0),
        i(0x57, 2, 0, 0, 0xffff),
    ];
    for (name, code) in [
        ("arithmetic", turns(&[], alu)),
        ("stack, 8 bytes", turns(&[], access(10, 0x7b, 0x79, -8))),
        ("stack, 4 bytes", turns(&[], access(10, 0x63, 0x61, -8))),
        ("context, 4 bytes", turns(&context, access(6, 0x63, 0x61, 16))),
        ("map value, 8 bytes", turns(&value, access(6, 0x7b, 0x79, 16))),
        ("map value, 4 bytes", turns(&value, access(6, 0x63, 0x61, 16))),
    ] {
        let program = load(&vm, name, &code);
        let best = best_of(2000, || {
            let start = Instant::now();
            let outcome = program.run(&mut [0; 64]).unwrap();
            start.elapsed().as_nanos() as f64 / outcome.instructions as f64
        });
        println!("{name:24} {best:6.2} ns per instruction");
    }

    let returns = [i(0xb7, 0, 0, 0, 0), exit];
    let calls = [i(0x85, 0, 1, 0, 1), exit, exit];
    let reserves = [i(0x05, 0, 0, 1, 0), i(0x85, 0, 0, 0, 131), exit];
    for (name, code) in [("returns", &returns[..]), ("calls", &calls), ("could reserve", &reserves)] {
        let program = load(&vm, name, code);
        let mut context = [0; 64];
        let best = best_of(2000, || {
            let start = Instant::now();
            for _ in 0..1000 {
                black_box(program.run(black_box(&mut context))).unwrap();
            }
            start.elapsed().as_nanos() as f64 / 1000.0
        });
        println!("program that {name:11} {best:6.1} ns per run");
    }
}

fn load(vm: &Vm, name: &str, instructions: &[Instruction]) -> VmProgram {
    vm.load_program(&ProgramSpec {
        name,
        section: "socket",
        kind: ProgramKind::SOCKET_FILTER,
        expected_attach_type: 0,
        license: "GPL",
        instructions,
    })
    .unwrap()
}

fn best_of(times: u32, mut measure: impl FnMut() -> f64) -> f64 {
    (0..times).map(|_| measure()).fold(f64::MAX, f64::min)
}
