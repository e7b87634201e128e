//! What stops a run: accesses one byte outside each kind of region, and everything else that has no right to go on.
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

fn fault_of(vm: &Vm, instructions: &[Instruction]) -> Fault {
    let fault = run(vm, instructions).expect_err("a fault");
    assert!(fault.to_string().starts_with(&format!("instruction {}: ", fault.instruction)));
    fault
}

/// Every load and store at r6 + offset, from `before` on, against what the region allows: `inside` bytes from r6 on.
fn probe(vm: &Vm, pointer: &[Instruction], release: &[Instruction], before: i16, inside: i16) {
    let sizes =
        [(1u16, 0x71u8, 0x72u8, 0x73u8), (2, 0x69, 0x6a, 0x6b), (4, 0x61, 0x62, 0x63), (8, 0x79, 0x7a, 0x7b)];
    for (size, load_x, store_k, store_x) in sizes {
        let size = size as i16;
        for offset in (before..=1).chain(inside - 9..=inside + 1) {
            let fits = offset >= 0 && offset + size <= inside;
            for (access, write) in [
                (i(load_x, 0, 6, offset, 0), false),
                (i(store_k, 6, 0, offset, 1), true),
                (i(store_x, 6, 0, offset, 0), true),
            ] {
                let program =
                    code![copy(9, 1), pointer.to_vec(), access, release.to_vec(), mov(0, 0), exit()];
                match run(vm, &program) {
                    Ok(_) => assert!(fits, "{access:?} was allowed, region of {inside}"),
                    Err(fault) => {
                        assert!(!fits, "{access:?} was refused, region of {inside}: {fault}");
                        assert_eq!(fault.instruction, 1 + pointer.len());
                        let FaultKind::OutOfBounds { size: told, write: wrote, .. } = fault.kind else {
                            panic!("{fault}")
                        };
                        assert_eq!((told, wrote), (size as u32, write));
                    }
                }
            }
        }
    }
}

#[test]
fn one_byte_outside_each_region() {
    let vm = Vm::new();
    let (_, array) = map(&vm, spec(MapKind::ARRAY, 4, 20, 1));
    let (middle, several) = map(&vm, spec(MapKind::ARRAY, 4, 20, 3));
    let (hash_map, hash) = map(&vm, spec(MapKind::HASH, 4, 20, 3));
    let (_, ring) = map(&vm, spec(MapKind::RINGBUF, 0, 0, 1 << 20));
    for key in 0..3u32 {
        hash_map.update(&key.to_ne_bytes(), &[0; 20], 0).unwrap();
    }
    assert_eq!(middle.len(), 3);
    probe(&vm, &code![copy(6, 1)], &[], -9, 64);
    probe(&vm, &code![copy(6, 10), add(6, -512)], &[], -9, 512);
    probe(&vm, &code![map_value(6, array, 0)], &[], -9, 20);
    // A value in the middle: the padding around it is outside, and what runs into a neighbour.
    for reference in [several, hash] {
        let lookup = code![
            i(0x62, 10, 0, -4, 1),
            copy(2, 10),
            add(2, -4),
            map_handle(1, reference),
            call(1),
            copy(6, 0),
        ];
        probe(&vm, &lookup, &[], -4, 20);
    }
    let reserve = code![map_handle(1, ring), mov(2, 20), mov(3, 0), call(131), copy(6, 0)];
    probe(&vm, &reserve, &code![copy(1, 6), mov(2, 0), call(133)], -9, 20);
}

#[test]
fn a_frame_is_not_its_neighbour() {
    // The callee writes right below and right above its own frame.
    for (offset, ok) in [(-512, true), (-513, false), (0, false), (-1, true)] {
        let program = code![i(0x85, 0, 1, 0, 2), mov(0, 0), exit(), i(0x72, 10, 0, offset, 1), exit()];
        assert_eq!(run(&Vm::new(), &program).is_ok(), ok, "{offset}");
    }
}

#[test]
fn numbers_are_not_pointers() {
    let vm = Vm::new();
    let (_, map) = map(&vm, spec(MapKind::ARRAY, 4, 8, 1));
    let attempts = [
        code![mov(6, 0)],
        code![mov(6, 4096)],
        code![wide(6, u64::MAX)],
        code![wide(6, u64::MAX - 7)],
        // Wraps around the end of the context's region, of the address space, and out of the frame.
        code![copy(6, 1), add(6, -1)],
        code![wide(6, 0x1_ffff_fff8)],
        code![copy(6, 10), wide(7, 0xffff_fdf8), i(0x0f, 6, 7, 0, 0)],
        // A frame that is not entered, a map and a function, and regions that nobody has.
        code![wide(6, 3 << 32)],
        code![map_handle(6, map)],
        code![i(0x18, 6, 4, 0, 4), i(0, 0, 0, 0, 0)],
        code![wide(6, 0x1000_0000_0000_0000)],
        code![wide(6, 0x2000_0000_0000_0000)],
        code![wide(6, 0x5000_0000_0000_0000)],
    ];
    for pointer in attempts {
        for access in [i(0x79, 0, 6, 0, 0), i(0x7b, 6, 0, 0, 0), i(0x71, 0, 6, 0, 0)] {
            let program = code![pointer.clone(), access, mov(0, 0), exit(), exit()];
            let fault = fault_of(&vm, &program);
            assert!(matches!(fault.kind, FaultKind::OutOfBounds { .. }), "{fault}");
        }
    }
    let null = fault_of(&vm, &code![mov(6, 0), i(0x79, 0, 6, 8, 0), exit()]);
    assert_eq!(null.kind, FaultKind::OutOfBounds { address: 8, size: 8, write: false });
    assert_eq!(null.to_string(), "instruction 1: read of 8 bytes at 0x8: not a pointer");
}

#[test]
fn a_committed_reservation_is_gone() {
    let vm = Vm::new();
    let (_, ring) = map(&vm, spec(MapKind::RINGBUF, 0, 0, 4096));
    let reserve = |to| code![map_handle(1, ring), mov(2, 8), mov(3, 0), call(131), copy(to, 0)];
    let commit = |which, how| code![copy(1, which), mov(2, 0), call(how)];
    for how in [132, 133] {
        let after = code![reserve(6), commit(6, how), i(0x7a, 6, 0, 0, 1), mov(0, 0), exit()];
        let fault = fault_of(&vm, &after);
        assert!(matches!(fault.kind, FaultKind::OutOfBounds { size: 8, write: true, .. }), "{fault}");
        let twice = code![reserve(6), commit(6, how), commit(6, how), exit()];
        assert!(matches!(fault_of(&vm, &twice).kind, FaultKind::NotAReservation { .. }));
        // The next reservation takes the same place, but not the same address.
        let reused =
            code![reserve(6), commit(6, how), reserve(7), i(0x7a, 6, 0, 0, 1), commit(7, how), exit()];
        assert!(matches!(fault_of(&vm, &reused).kind, FaultKind::OutOfBounds { .. }));
    }
    let inside = code![reserve(6), add(6, 1), commit(6, 132), exit()];
    assert!(matches!(fault_of(&vm, &inside).kind, FaultKind::NotAReservation { .. }));
    let null = code![mov(6, 0), commit(6, 132), exit()];
    assert_eq!(fault_of(&vm, &null).kind, FaultKind::NotAReservation { value: 0 });
}

#[test]
fn a_reservation_that_is_not_committed_is_a_fault_and_discarded() {
    let vm = Vm::new();
    let (map_ring, ring) = map(&vm, spec(MapKind::RINGBUF, 0, 0, 4096));
    let reserve = code![map_handle(1, ring), mov(2, 8), mov(3, 0), call(131)];
    let fault = fault_of(&vm, &code![reserve.clone(), reserve.clone(), mov(0, 0), exit()]);
    assert_eq!((fault.instruction, fault.kind), (11, FaultKind::ReservationLeak { reservations: 2 }));
    // The same when it is stopped in between.
    let fault = fault_of(&vm, &code![reserve.clone(), i(0x79, 0, 9, 0, 0), exit()]);
    assert!(matches!(fault.kind, FaultKind::OutOfBounds { .. }));
    let tally = map_ring.ring().unwrap().tally();
    assert_eq!((tally.reserved, tally.submitted, tally.discarded, tally.refused()), (3, 0, 3, 0));
    let drained = map_ring.ring().unwrap().drain(10, |_| panic!("nothing was submitted"));
    assert_eq!((drained.records, drained.discarded), (0, 3));

    let mut many = Vec::new();
    for _ in 0..=MAX_RESERVATIONS {
        many.extend(reserve.clone());
    }
    many.push(exit());
    assert_eq!(fault_of(&vm, &many).kind, FaultKind::TooManyReservations);
}

#[test]
fn loops_end_with_the_budget() {
    let vm = Vm::with_config(VmConfig::new().with_instruction_budget(1000));
    for endless in [code![i(0x05, 0, 0, -1, 0)], code![mov(0, 0), i(0x15, 0, 0, -1, 0), exit()]] {
        assert_eq!(fault_of(&vm, &endless).kind, FaultKind::BudgetExhausted { budget: 1000 });
    }
    // To the instruction: 1 + 3 * 333 = 1000.
    let exact = |turns| code![mov(1, turns), i(0x17, 1, 0, 0, 1), mov(0, 0), i(0x55, 1, 0, -3, 0), exit()];
    assert!(run(&vm, &exact(333)).is_err());
    assert_eq!(run(&vm, &exact(332)).unwrap().instructions, 998);
}

#[test]
fn calls_are_bounded() {
    let vm = Vm::new();
    let endless = code![i(0x85, 0, 1, 0, -1), exit()];
    assert_eq!(fault_of(&vm, &endless).kind, FaultKind::CallDepth);
    // Functions that count down: seven calls below the program fit, eight do not.
    let recursion = |depth| {
        code![
            mov(1, depth),
            i(0x85, 0, 1, 0, 1),
            exit(),
            mov(0, 0),
            i(0x15, 1, 0, 3, 0),
            i(0x17, 1, 0, 0, 1),
            i(0x85, 0, 1, 0, -4),
            add(0, 1),
            exit(),
        ]
    };
    assert_eq!(run(&vm, &recursion(6)).unwrap().return_value, 6);
    assert_eq!(fault_of(&vm, &recursion(7)).kind, FaultKind::CallDepth);
    // The same without recursion, where the depth is known beforehand.
    let chain = |functions: usize| {
        let mut code = Vec::new();
        for _ in 1..functions {
            code.extend([i(0x85, 0, 1, 0, 2), add(0, 1), exit()]);
        }
        code.extend([i(0x7a, 10, 0, -512, 1), mov(0, 0), exit()]);
        code
    };
    for functions in 1..=MAX_CALL_FRAMES {
        assert_eq!(run(&vm, &chain(functions)).unwrap().return_value, functions as u64 - 1);
    }
    assert_eq!(fault_of(&vm, &chain(MAX_CALL_FRAMES + 1)).kind, FaultKind::CallDepth);
}

#[test]
fn atomics_are_aligned() {
    let vm = Vm::new();
    let (_, array) = map(&vm, spec(MapKind::ARRAY, 4, 32, 1));
    for pointer in [code![map_value(6, array, 0)], code![copy(6, 10), add(6, -32)], code![copy(6, 1)]] {
        for (size, opcode) in [(8i16, 0xdb), (4, 0xc3)] {
            for offset in 0..8i16 {
                let program = code![pointer.clone(), i(opcode, 6, 7, offset, 1), mov(0, 0), exit()];
                match run(&vm, &program) {
                    Ok(_) => assert_eq!(offset % size, 0),
                    Err(fault) => {
                        assert_ne!(offset % size, 0);
                        assert!(matches!(fault.kind, FaultKind::Unaligned { .. }), "{fault}");
                    }
                }
            }
            let outside = code![pointer.clone(), i(opcode, 6, 7, 64, 1), mov(0, 0), exit()];
            assert!(matches!(fault_of(&vm, &outside).kind, FaultKind::OutOfBounds { write: true, .. }));
        }
    }
}

#[test]
fn protected_maps() {
    let vm = Vm::new();
    let (constants, read_only) =
        map(&vm, MapSpec { flags: 1 << 7, initial_value: Some(&[7; 8]), ..spec(MapKind::ARRAY, 4, 8, 1) });
    let (_, write_only) = map(&vm, MapSpec { flags: 1 << 8, ..spec(MapKind::ARRAY, 4, 8, 1) });
    let at = |reference, access| code![map_value(6, reference, 0), access, mov(0, 0), exit()];
    assert!(run(&vm, &at(read_only, i(0x79, 0, 6, 0, 0))).is_ok());
    assert!(run(&vm, &at(write_only, i(0x7b, 6, 0, 0, 0))).is_ok());
    for (reference, access, write) in [
        (read_only, i(0x7b, 6, 0, 0, 0), true),
        (read_only, i(0xdb, 6, 0, 0, 0), true),
        (write_only, i(0x79, 0, 6, 0, 0), false),
    ] {
        let kind = fault_of(&vm, &at(reference, access)).kind;
        assert!(matches!(kind, FaultKind::Permission { write: wrote, .. } if wrote == write), "{kind}");
    }
    // Outside is outside, whatever is allowed inside.
    let kind = fault_of(&vm, &at(read_only, i(0x7b, 6, 0, 1, 0))).kind;
    assert!(matches!(kind, FaultKind::OutOfBounds { .. }));
    let update = code![
        i(0x7a, 10, 0, -8, 0),
        copy(2, 10),
        add(2, -8),
        copy(3, 2),
        mov(4, 0),
        map_handle(1, read_only),
        call(2),
        exit()
    ];
    assert!(matches!(fault_of(&vm, &update).kind, FaultKind::Permission { write: true, .. }));
    let mut value = [0; 8];
    constants.lookup(&[0; 4], &mut value).unwrap();
    assert_eq!(value, [7; 8]);
}

#[test]
fn helpers_check_their_arguments_like_loads_and_stores() {
    let vm = Vm::new();
    let (_, array) = map(&vm, spec(MapKind::ARRAY, 4, 8, 4));
    let (_, queue) = map(&vm, spec(MapKind::QUEUE, 0, 8, 4));
    let (_, ring) = map(&vm, spec(MapKind::RINGBUF, 0, 0, 4096));
    let bad =
        [code![mov(2, 0)], code![copy(2, 10)], code![copy(2, 10), add(2, -3)], code![wide(2, u64::MAX)]];
    for pointer in &bad {
        for helper in [1, 2, 3] {
            let fault = fault_of(
                &vm,
                &code![map_handle(1, array), copy(3, 10), add(3, -8), pointer.clone(), call(helper), exit()],
            );
            assert!(matches!(fault.kind, FaultKind::OutOfBounds { size: 4, write: false, .. }), "{fault}");
        }
        for (helper, write) in [(87, false), (88, true), (89, true)] {
            let fault = fault_of(&vm, &code![map_handle(1, queue), pointer.clone(), call(helper), exit()]);
            assert!(
                matches!(fault.kind, FaultKind::OutOfBounds { size: 8, write: wrote, .. } if wrote == write),
                "{fault}"
            );
        }
        let fault =
            fault_of(&vm, &code![map_handle(1, ring), pointer.clone(), mov(3, 100), call(130), exit()]);
        assert!(matches!(fault.kind, FaultKind::OutOfBounds { size: 100, .. }), "{fault}");
    }
    // The value that an update copies is checked to its last byte.
    let value =
        code![map_handle(1, array), copy(2, 10), add(2, -8), copy(3, 10), add(3, -7), call(2), exit()];
    assert!(matches!(fault_of(&vm, &value).kind, FaultKind::OutOfBounds { size: 8, .. }));
    for (reference, helper) in [(ring, 1), (queue, 2), (array, 87), (array, 131), (queue, 130), (array, 134)]
    {
        let kind =
            fault_of(&vm, &code![map_handle(1, reference), mov(2, 8), mov(3, 0), call(helper), exit()]).kind;
        assert!(matches!(kind, FaultKind::WrongMapKind { .. }), "{kind}");
    }
    for first in [
        code![mov(1, 0)],
        code![copy(1, 10)],
        code![map_handle(1, ring), add(1, 1)],
        code![map_value(1, one(&vm), 0)],
    ] {
        let kind = fault_of(&vm, &code![first, mov(2, 8), mov(3, 0), call(131), exit()]).kind;
        assert!(matches!(kind, FaultKind::NotAMap { helper: 131, .. }), "{kind}");
    }
}

fn one(vm: &Vm) -> i32 {
    map(vm, spec(MapKind::ARRAY, 4, 8, 1)).1
}

#[test]
fn pointers_of_other_programs_are_no_pointers() {
    // One program leaves the address of its own map in a shared one; the other has a map at the same place, not that one.
    let vm = Vm::new();
    let (_, secret) = map(&vm, spec(MapKind::ARRAY, 4, 8, 1));
    let (_, shared) = map(&vm, spec(MapKind::ARRAY, 4, 8, 1));
    let (_, other) = map(&vm, spec(MapKind::ARRAY, 4, 8, 1));
    run(&vm, &code![map_value(1, secret, 0), map_value(2, shared, 0), i(0x7b, 2, 1, 0, 0), exit()]).unwrap();
    let thief = code![
        map_value(1, other, 0),
        map_value(2, shared, 0),
        i(0x79, 3, 2, 0, 0),
        i(0x79, 0, 3, 0, 0),
        exit()
    ];
    assert!(matches!(fault_of(&vm, &thief).kind, FaultKind::OutOfBounds { .. }));
}

#[test]
fn addresses_are_the_same_in_every_run() {
    let addresses = || {
        let vm = Vm::new();
        let (_, array) = map(&vm, spec(MapKind::ARRAY, 4, 8, 1));
        value_of(&code![copy(0, 10), exit()])
            ^ run(&vm, &code![map_value(0, array, 0), exit()]).unwrap().return_value
    };
    assert_eq!(addresses(), addresses());
}
