//! Programs that go on with other programs.
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

const ENOENT: u64 = -2i64 as u64;
const EINVAL: u64 = -22i64 as u64;

/// `bpf_tail_call(ctx, array, slot)`, with r1 the context.
fn tail_call(array: i32, slot: i32) -> Vec<Instruction> {
    code![map_handle(2, array), mov(3, slot), call(12)]
}

fn programs(vm: &Vm) -> (VmMap, i32) {
    map(vm, spec(MapKind::PROG_ARRAY, 4, 4, 3))
}

#[test]
fn a_program_goes_on_with_another_on_the_same_context() {
    let vm = Vm::new();
    let (array, reference) = programs(&vm);
    // Adds one to the context's first byte; the second returns ten times as much, and finds fresh registers and an empty stack.
    let first = load(
        &vm,
        &code![
            copy(6, 1),
            i(0x71, 2, 6, 0, 0),
            add(2, 1),
            i(0x73, 6, 2, 0, 0),
            i(0x7a, 10, 0, -8, 77),
            mov(9, 5),
            tail_call(reference, 1),
            mov(0, 1),
            exit(),
        ],
    )
    .unwrap();
    let second = load(
        &vm,
        &code![
            i(0x71, 0, 1, 0, 0),
            i(0x27, 0, 0, 0, 10),
            i(0x79, 3, 10, -8, 0),
            i(0x0f, 0, 3, 0, 0),
            i(0x0f, 0, 9, 0, 0),
            exit(),
        ],
    )
    .unwrap();
    array.set_program(1, &second).unwrap();
    let mut context = [3];
    let outcome = first.run(&mut context).unwrap();
    assert_eq!((outcome.return_value, context), (40, [4]));
    assert_eq!(outcome.instructions, 10 + 6, "both count");
}

#[test]
fn what_cannot_be_gone_on_with_falls_through() {
    let vm = Vm::new();
    let (array, reference) = programs(&vm);
    let at = |slot| run(&vm, &code![tail_call(reference, slot), exit()]).unwrap().return_value;
    assert_eq!(at(0), ENOENT, "nothing there");
    assert_eq!(at(3), EINVAL, "outside");
    array.set_program(0, &load(&vm, &code![mov(0, 9), exit()]).unwrap()).unwrap();
    assert_eq!(at(0), 9);
    array.delete(&0u32.to_ne_bytes()).unwrap();
    assert_eq!(at(0), ENOENT);
    assert_eq!(array.delete(&0u32.to_ne_bytes()), Err(MapError::NotFound));
    // Only the context itself, and only arrays of programs.
    let fault = run(&vm, &code![map_handle(2, reference), mov(1, 0), call(12), exit()]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotTheContext { helper: 12, value: 0 });
    let (_, values) = map(&vm, spec(MapKind::ARRAY, 4, 4, 1));
    let fault = run(&vm, &code![tail_call(values, 0), exit()]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::WrongMapKind { helper: 12, kind: MapKind::ARRAY });
}

#[test]
fn a_program_that_calls_itself_does_so_33_times() {
    let vm = Vm::new();
    let (array, reference) = programs(&vm);
    let program = load(
        &vm,
        &code![i(0x71, 2, 1, 0, 0), add(2, 1), i(0x73, 1, 2, 0, 0), tail_call(reference, 0), exit(),],
    )
    .unwrap();
    array.set_program(0, &program).unwrap();
    let mut context = [0];
    assert_eq!(program.run(&mut context).unwrap().return_value, EINVAL);
    assert_eq!(context, [34], "once, and 33 times more");
    // They hold each other until the array is destroyed.
    let before = vm.memory_in_use();
    drop(program);
    assert_eq!(vm.memory_in_use(), before);
    vm.destroy_map(array);
    assert_eq!(vm.memory_in_use(), 0);
}

#[test]
fn a_machine_that_goes_lets_go_of_programs_that_hold_themselves() {
    let vm = Vm::new();
    let (array, reference) = programs(&vm);
    let program = load(&vm, &code![tail_call(reference, 0), exit()]).unwrap();
    array.set_program(0, &program).unwrap();
    drop(vm);
    assert!(array.is_empty());
}

#[test]
fn a_function_is_replaced_and_its_caller_goes_on() {
    let vm = Vm::new();
    let (array, reference) = programs(&vm);
    array.set_program(0, &load(&vm, &code![i(0x71, 0, 1, 0, 0), exit()]).unwrap()).unwrap();
    let program = load(
        &vm,
        &code![
            mov(6, 100),
            i(0x85, 0, 1, 0, 2),
            i(0x0f, 0, 6, 0, 0),
            exit(),
            // The function: r1 is the context still.
            tail_call(reference, 0),
            mov(0, 1),
            exit(),
        ],
    )
    .unwrap();
    let outcome = program.run(&mut [7]).unwrap();
    assert_eq!((outcome.return_value, outcome.instructions), (107, 2 + 4 + 2 + 2));
}

#[test]
fn frames_and_budget_go_on_being_counted() {
    let vm = Vm::with_config(VmConfig::new().with_instruction_budget(1000));
    let (array, reference) = programs(&vm);
    // Calls itself in the place of a function, again and again: each time there is one frame less.
    let program = load(&vm, &code![i(0x85, 0, 1, 0, 1), exit(), tail_call(reference, 0), exit()]).unwrap();
    array.set_program(0, &program).unwrap();
    assert_eq!(program.run(&mut []).unwrap_err().kind, FaultKind::CallDepth);
    // One that never ends is ended, however it goes on.
    let endless = load(&vm, &code![mov(2, 0), i(0x05, 0, 0, -2, 0)]).unwrap();
    array.set_program(0, &endless).unwrap();
    let first = load(&vm, &code![tail_call(reference, 0), exit()]).unwrap();
    assert_eq!(first.run(&mut []).unwrap_err().kind, FaultKind::BudgetExhausted { budget: 1000 });
    // A reservation may not be left behind.
    let (ring, ring_reference) = map(&vm, spec(MapKind::RINGBUF, 0, 0, 4096));
    let leaks = load(
        &vm,
        &code![
            copy(6, 1),
            map_handle(1, ring_reference),
            mov(2, 8),
            mov(3, 0),
            call(131),
            copy(1, 6),
            tail_call(reference, 0),
            exit(),
        ],
    )
    .unwrap();
    assert_eq!(leaks.run(&mut []).unwrap_err().kind, FaultKind::ReservationLeak { reservations: 1 });
    assert_eq!(ring.ring().unwrap().tally().outstanding(), 0);
}

#[test]
fn an_array_takes_programs_of_one_kind() {
    let vm = Vm::new();
    let (array, _) = programs(&vm);
    let program = |kind| {
        let instructions = &[mov(0, 0), exit()];
        let spec = ProgramSpec {
            name: "test",
            section: "",
            kind,
            expected_attach_type: 0,
            license: "",
            instructions,
        };
        vm.load_program(&spec).unwrap()
    };
    assert_eq!(array.set_program(0, &program(ProgramKind::XDP)), Ok(()));
    assert_eq!(array.set_program(1, &program(ProgramKind::SOCKET_FILTER)), Err(MapError::Invalid));
    assert_eq!(array.set_program(3, &program(ProgramKind::XDP)), Err(MapError::Full));
    assert_eq!(array.len(), 1);
    let (values, _) = map(&vm, spec(MapKind::ARRAY, 4, 4, 1));
    assert_eq!(values.set_program(0, &program(ProgramKind::XDP)), Err(MapError::NotSupported));
}
