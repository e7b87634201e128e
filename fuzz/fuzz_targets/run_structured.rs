//! Programs that Linux's verifier would take, on the embedded machine: they must be taken here too, end without a fault and
//! within their budget, and leave the same every time. Then the same program with instructions changed here and there, which may be refused or stopped: the
//! machine must not, and must give back all its memory.
//!
//! Input: how many changes (1 byte), six bytes for each change, then choices of four bytes for the generator.
#![no_main]

#[path = "../../crates/vm/tests/common/generate.rs"]
mod generate;

use std::hint::black_box;

use ebpf_loader::{Instruction, MapKind, MapSpec, Platform, ProgramKind, ProgramSpec};
use ebpf_vm::{Fault, Outcome, Vm, VmConfig, VmError};
use generate::{ENTRIES, VALUE, generate};
use libfuzzer_sys::fuzz_target;

const BUDGET: u64 = 10_000;

fuzz_target!(|data: &[u8]| {
    let Some((changes, rest)) = data.split_first() else { return };
    let (changes, rest) = rest.split_at(rest.len().min(usize::from(changes % 8) * 6));
    let choices: Vec<u32> = rest.as_chunks::<4>().0.iter().map(|choice| u32::from_le_bytes(*choice)).collect();
    let mut code = generate(&choices);

    let (first, left) = run(&code).expect("a program that the verifier takes");
    let first = first.expect("no fault");
    assert!(first.instructions <= BUDGET && first.return_value == 0);
    let (again, left_again) = run(&code).expect("the same program");
    assert_eq!((again.expect("no fault"), left_again), (first, left));

    for change in changes.as_chunks::<6>().0 {
        let [at, byte, value, high, ..] = *change;
        let at = (usize::from(at) | usize::from(high) << 8) % code.len();
        let mut bytes = code[at].to_bytes();
        bytes[usize::from(byte % 8)] = value;
        code[at] = Instruction::from_bytes(bytes);
    }
    match run(&code) {
        Ok((Ok(outcome), _)) => assert!(outcome.instructions <= BUDGET),
        Ok((Err(fault), _)) => {
            black_box(format!("{fault}"));
        }
        Err(error) => {
            black_box(format!("{error}"));
        }
    }
});

/// How the run ended, and the first map's value afterwards.
type Ended = (Result<Outcome, Fault>, Vec<u8>);

fn run(code: &[Instruction]) -> Result<Ended, VmError> {
    let vm = Vm::with_config(VmConfig::new().with_instruction_budget(BUDGET));
    let values = vm.create_map(&MapSpec::new("map", MapKind::ARRAY, 4, VALUE, 1)).expect("a map");
    let hash = vm.create_map(&MapSpec::new("map", MapKind::HASH, 4, 8, ENTRIES)).expect("a map");
    let instructions: Vec<_> = code
        .iter()
        .map(|instruction| match (instruction.opcode(), instruction.src(), instruction.imm()) {
            (0x18, 1 | 2, 0) => instruction.with_imm(vm.map_reference(&values)),
            (0x18, 1 | 2, 1) => instruction.with_imm(vm.map_reference(&hash)),
            _ => *instruction,
        })
        .collect();
    let program = vm.load_program(&ProgramSpec {
        name: "structured",
        section: "",
        kind: ProgramKind::SYSCALL,
        expected_attach_type: 0,
        license: "GPL",
        instructions: &instructions,
    });
    let ended = program.map(|program| {
        let outcome = program.run(&mut [0; 64]);
        let mut value = vec![0; VALUE as usize];
        values.lookup(&[0; 4], &mut value).expect("its only element");
        (outcome, value)
    });
    vm.destroy_map(values);
    vm.destroy_map(hash);
    assert_eq!(vm.memory_in_use(), 0, "what was created is gone");
    ended
}
