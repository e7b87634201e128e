//! Whatever the bytes, nothing panics, nothing hangs, and what is accepted runs to an answer or a fault.
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
use proptest::prelude::*;

fn machine() -> (Vm, Vec<i32>) {
    let vm = Vm::with_config(VmConfig::new().with_instruction_budget(5000).with_memory_limit(1 << 20));
    let kinds = [
        spec(MapKind::ARRAY, 4, 16, 1),
        spec(MapKind::HASH, 8, 8, 4),
        spec(MapKind::LRU_HASH, 4, 12, 2),
        spec(MapKind::QUEUE, 0, 8, 2),
        spec(MapKind::RINGBUF, 0, 0, 4096),
    ];
    let references = kinds.map(|spec| map(&vm, spec).1).to_vec();
    (vm, references)
}

fn execute(vm: &Vm, instructions: &[Instruction]) -> Option<Result<Outcome, Fault>> {
    let program = load(vm, instructions).ok()?;
    let result = program.run(&mut [0x5a; 32]);
    // The same again: stopped or not, a run leaves nothing of itself behind.
    let _ = program.run(&mut []);
    for map in program.maps() {
        if let Some(ring) = map.ring() {
            assert_eq!(ring.tally().outstanding(), 0);
            let _ = ring.drain(1000, |_| {});
        }
    }
    Some(result)
}

/// Instructions that are mostly valid, so that runs get somewhere.
fn plausible() -> impl Strategy<Value = Instruction> {
    let known = (0..=255u8).filter(|opcode| match opcode & 7 {
        0 => false,
        1 => opcode & 0xe0 == 0x60 || matches!(opcode, 0x91 | 0x89 | 0x81),
        2 => opcode & 0xe0 == 0x60,
        3 => opcode & 0xe0 == 0x60 || matches!(opcode, 0xdb | 0xc3),
        5 | 6 => opcode >> 4 <= 0xd && opcode >> 4 != 9,
        _ => opcode >> 4 <= 0xd,
    });
    let opcodes = prop::sample::select(known.collect::<Vec<_>>());
    let imm = prop_oneof![
        Just(0),
        -16..64i32,
        Just(i32::MIN),
        any::<i32>(),
        prop::sample::select(vec![1, 0x41, 0xe1, 0xf1, 16, 32])
    ];
    let any_op = (opcodes, 0..11u8, 0..11u8, -20..20i16, imm).prop_map(|(opcode, dst, src, offset, imm)| {
        let register = opcode & 8 != 0;
        // Most instructions write their destination, and r10 is only read; as a base it comes from `src`.
        let (dst, base) = (dst % 10, if dst % 3 == 0 { 10 } else { dst % 10 });
        match opcode & 7 {
            4 | 7 if opcode >> 4 == 0xd => i(
                if opcode == 0xdf { 0xd7 } else { opcode },
                dst,
                0,
                0,
                [16, 32, 64][imm as u32 as usize % 3],
            ),
            4 | 7 if opcode >> 4 == 8 => i(opcode & !8, dst, 0, 0, 0),
            4 | 7 => i(opcode, dst, if register { src } else { 0 }, 0, if register { 0 } else { imm }),
            5 | 6 if opcode >> 4 == 0 => i(0x05, 0, 0, offset / 5, 0),
            5 | 6 if opcode >> 4 == 8 => {
                let helpers = [1, 2, 3, 5, 6, 7, 16, 87, 88, 89, 130, 131, 132, 133, 134, 181];
                i(0x85, 0, 0, 0, helpers[imm as u32 as usize % helpers.len()])
            }
            5 | 6 => {
                i(opcode, dst, if register { src } else { 0 }, offset / 5, if register { 0 } else { imm })
            }
            1 => i(opcode, dst, base, offset * 4, 0),
            2 => i(opcode, base, 0, offset * 4, imm),
            _ if opcode >> 5 == 6 => i(opcode, base, src % 10, offset * 4, imm),
            _ => i(opcode, base, src, offset * 4, 0),
        }
    });
    prop_oneof![
        6 => any_op,
        2 => (1..6u8, -64..0i32).prop_map(|(dst, offset)| i(0xb7, dst, 0, 0, offset)),
        2 => (0..10u8, prop::sample::select(vec![1u8, 10])).prop_map(|(dst, src)| i(0xbf, dst, src, 0, 0)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn bytes(code in prop::collection::vec(any::<[u8; 8]>(), 0..64)) {
        let (vm, _) = machine();
        let code: Vec<Instruction> = code.into_iter().map(Instruction::from_bytes).collect();
        let _ = execute(&vm, &code);
    }

    #[test]
    fn plausible_programs(
        body in prop::collection::vec(plausible(), 1..40),
        maps in prop::collection::vec((1..10u8, 0..5usize, any::<bool>()), 0..4),
        calls in any::<bool>(),
    ) {
        let (vm, references) = machine();
        let mut code = Vec::new();
        for (register, which, direct) in maps {
            let pair = if direct { map_value(register, references[0], 0) } else { map_handle(register, references[which]) };
            code.extend(pair);
        }
        code.extend(body);
        code.push(exit());
        if calls {
            // The program calls itself, from its first instruction.
            code.insert(0, i(0x85, 0, 1, 0, -1));
        }
        if let Some(Ok(outcome)) = execute(&vm, &code) {
            prop_assert!(outcome.instructions <= 5000);
        }
    }
}

#[test]
fn plausible_programs_do_run() {
    // The strategy above must not be refused so often that it tests nothing.
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (vm, _) = machine();
    let (mut loaded, mut finished) = (0, 0);
    for _ in 0..500 {
        let mut code = prop::collection::vec(plausible(), 1..20).new_tree(&mut runner).unwrap().current();
        code.push(exit());
        if let Some(result) = execute(&vm, &code) {
            loaded += 1;
            finished += usize::from(result.is_ok());
        }
    }
    assert!(loaded > 100 && finished > 30, "{loaded} loaded, {finished} finished");
}
