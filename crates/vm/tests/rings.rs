//! Rings between programs and the embedder: user rings, perf event arrays, dynamic pointers; and callbacks for each entry.
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

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::*;
use ebpf_ringbuf::UserProducer;
use ebpf_vm::*;

const ENOENT: u64 = -2i64 as u64;
const E2BIG: u64 = -7i64 as u64;
const EBUSY: u64 = -16i64 as u64;
const EINVAL: u64 = -22i64 as u64;
const ENOSPC: u64 = -28i64 as u64;
const EOPNOTSUPP: u64 = -95i64 as u64;

/// `dst` = address of the function that begins so many instructions behind this one's first half.
fn function(dst: u8, distance: i32) -> [Instruction; 2] {
    [i(0x18, dst, 4, 0, distance), i(0, 0, 0, 0, 0)]
}

#[derive(Default)]
struct Told {
    woken: AtomicU64,
    cpu: AtomicU32,
    cpus: Mutex<Vec<u32>>,
}

impl Host for Told {
    fn monotonic_ns(&self) -> u64 {
        0
    }

    fn random(&self) -> u32 {
        0
    }

    fn processor(&self) -> u32 {
        self.cpu.load(Ordering::Relaxed)
    }

    fn wake(&self, _: &VmMap) {
        self.woken.fetch_add(1, Ordering::Relaxed);
    }

    fn wake_cpu(&self, _: &VmMap, cpu: u32) {
        self.cpus.lock().unwrap().push(cpu);
    }

    fn knows(&self, helper: u32) -> bool {
        helper == 70_000
    }

    fn call(&self, helper: u32, call: &mut HelperCall<'_>) -> Result<u64, FaultKind> {
        assert_eq!(helper, 70_000);
        let [map, from, length, to, _] = call.arguments();
        let entries =
            call.map(map).ok_or(FaultKind::Refused { helper, reason: "a map is wanted" })?.max_entries();
        let mut bytes = vec![0; length as usize];
        call.read(from, &mut bytes)?;
        bytes.reverse();
        call.write(to, &bytes)?;
        Ok(u64::from(entries))
    }
}

fn told(config: VmConfig) -> (Arc<Told>, Vm) {
    let host = Arc::new(Told::default());
    let vm = Vm::with_host(config, Arc::clone(&host) as Arc<dyn Host>);
    (host, vm)
}

/// Drains the user ring, adding each sample's first eight bytes to a sum, and stops after one that is `stop`; context: sum, answer.
fn drains(ring: i32, flags: i32, stop: i32) -> Vec<Instruction> {
    code![
        copy(6, 1),
        i(0x7a, 10, 0, -8, 0),
        map_handle(1, ring),
        function(2, 9),
        copy(3, 10),
        mov(4, flags),
        call(209),
        i(0x7b, 6, 0, 8, 0),
        i(0x79, 1, 10, -8, 0),
        i(0x7b, 6, 1, 0, 0),
        mov(0, 0),
        exit(),
        // callback(r1: dynptr, r2: the caller's frame pointer)
        copy(6, 2),
        copy(3, 1),
        copy(1, 10),
        add(1, -8),
        mov(2, 8),
        mov(4, 0),
        mov(5, 0),
        call(201),
        i(0x55, 0, 0, 7, 0),
        i(0x79, 1, 10, -8, 0),
        i(0x79, 2, 6, -8, 0),
        i(0x0f, 2, 1, 0, 0),
        i(0x7b, 6, 2, -8, 0),
        mov(0, 0),
        i(0x55, 1, 0, 1, stop),
        mov(0, 1),
        exit(),
    ]
}

fn sums(program: &VmProgram) -> (u64, u64) {
    let mut context = [0; 16];
    program.run(&mut context).unwrap();
    let word = |at: usize| u64::from_ne_bytes(context[at..at + 8].try_into().unwrap());
    (word(0), word(8))
}

#[test]
fn programs_drain_what_the_embedder_produces() {
    let (host, vm) = told(VmConfig::new());
    let (ring, reference) = map(&vm, spec(MapKind::USER_RINGBUF, 0, 0, 4096));
    let program = load(&vm, &drains(reference, 0, 100)).unwrap();
    assert_eq!(sums(&program), (0, 0), "nothing there");

    let mut producer = UserProducer::new(vm.ring(&ring).unwrap()).unwrap();
    assert!(matches!(vm.ring(&ring), Err(VmError::RingInUse { .. })), "one producer");
    let mut submit = |value: u64| {
        let mut sample = producer.reserve(8).unwrap();
        sample.write(0, &value.to_ne_bytes()).unwrap();
        assert!(sample.write(1, &[0; 8]).is_err(), "over its end");
        sample.submit();
    };
    submit(1);
    submit(2);
    submit(100);
    submit(7);
    assert_eq!(ring.len(), 64);
    assert_eq!(sums(&program), (103, 3), "the one it stops at is taken too");
    assert_eq!(sums(&program), (7, 1));
    assert_eq!(host.woken.load(Ordering::Relaxed), 2, "once for each drain that took something");
    assert_eq!(sums(&load(&vm, &drains(reference, 4, 0)).unwrap()), (0, EINVAL), "unknown flags");
    producer.reserve(8).unwrap().discard();
    assert_eq!(sums(&program), (0, 0), "what was given up is skipped");
    // A sample that is shorter than what the program reads.
    producer.reserve(4).unwrap().submit();
    assert_eq!(sums(&program), (0, 1), "the callback stops");
}

#[test]
fn a_drain_inside_a_drain_is_refused() {
    let (_, vm) = told(VmConfig::new());
    let (ring, reference) = map(&vm, spec(MapKind::USER_RINGBUF, 0, 0, 4096));
    let mut producer = UserProducer::new(vm.ring(&ring).unwrap()).unwrap();
    producer.reserve(8).unwrap().submit();
    let program = code![
        copy(6, 1),
        map_handle(1, reference),
        function(2, 6),
        copy(3, 6),
        mov(4, 0),
        call(209),
        mov(0, 0),
        exit(),
        copy(6, 2),
        map_handle(1, reference),
        function(2, -4),
        mov(3, 0),
        mov(4, 0),
        call(209),
        i(0x7b, 6, 0, 0, 0),
        mov(0, 0),
        exit(),
    ];
    let mut context = [0; 8];
    load(&vm, &program).unwrap().run(&mut context).unwrap();
    assert_eq!(u64::from_ne_bytes(context), EBUSY);
}

/// `bpf_perf_event_output(ctx, map, flags, fp - 16, size)`
fn outputs(array: i32, flags: u64, size: i32) -> Vec<Instruction> {
    code![
        i(0x7a, 10, 0, -16, 0x11),
        i(0x7a, 10, 0, -8, 0x22),
        map_handle(2, array),
        wide(3, flags),
        copy(4, 10),
        add(4, -16),
        mov(5, size),
        call(25),
        exit(),
    ]
}

const CURRENT_CPU: u64 = 0xffff_ffff;

#[test]
fn perf_rings_are_per_cpu_and_wake_by_their_own_counter() {
    let (host, vm) = told(VmConfig::new());
    let (array, reference) = map(&vm, spec(MapKind::PERF_EVENT_ARRAY, 4, 4, 4));
    let open = |cpu| array.open_perf(cpu, 4096, WakeupPolicy::events(2)).unwrap();
    let readers = [CpuReader::new(0, open(0)), CpuReader::new(2, open(2))];
    let mut set = PerCpu::new(readers).unwrap();
    let output = |cpu: u32, flags| {
        host.cpu.store(cpu, Ordering::Relaxed);
        run(&vm, &outputs(reference, flags, 12)).unwrap().return_value
    };
    assert_eq!([output(0, CURRENT_CPU), output(2, CURRENT_CPU)], [0, 0]);
    assert_eq!(*host.cpus.lock().unwrap(), [], "two events on two CPUs wake nobody");
    assert_eq!(output(2, 2), 0);
    assert_eq!(*host.cpus.lock().unwrap(), [2]);
    assert_eq!(output(0, 2), EOPNOTSUPP, "not this CPU's ring");
    assert_eq!(output(0, 1), ENOENT, "none there");
    assert_eq!(output(3, CURRENT_CPU), ENOENT);
    assert_eq!(output(0, 4), E2BIG);
    assert_eq!(output(0, 1 << 32), EINVAL);
    assert_eq!(array.open_perf(4, 4096, WakeupPolicy::events(1)).unwrap_err(), MapError::Full);
    assert_eq!(array.open_perf(0, 100, WakeupPolicy::events(1)).unwrap_err(), MapError::Invalid);

    let mut seen = Vec::new();
    let _ = set.drain(usize::MAX, |cpu, event| {
        if let Event::Sample(sample) = event {
            let mut bytes = [0; 12];
            assert_eq!((sample.raw_len(), sample.copy_to(&mut bytes)), (12, 12));
            assert_eq!(bytes[..8], 0x11u64.to_ne_bytes());
            seen.push(cpu);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(seen, [0, 2, 2]);
}

#[test]
fn a_full_perf_ring_loses_and_says_so() {
    let (_, vm) = told(VmConfig::new());
    let (array, reference) = map(&vm, spec(MapKind::PERF_EVENT_ARRAY, 4, 4, 1));
    let mut reader = array.open_perf(0, 64, WakeupPolicy::events(1)).unwrap();
    let program = load(&vm, &outputs(reference, CURRENT_CPU, 4)).unwrap();
    let answers: Vec<u64> = (0..6).map(|_| program.run(&mut []).unwrap().return_value).collect();
    assert_eq!(answers, [0, 0, 0, ENOSPC, ENOSPC, ENOSPC], "16 bytes each, eight stay free");
    let mut lost = 0;
    let mut drain = |reader: &mut Reader<PerfMemory>| {
        reader.drain(usize::MAX, |event| {
            if let Event::Lost(told) = event {
                lost += told.count;
            }
            ControlFlow::Continue(())
        })
    };
    assert_eq!(drain(&mut reader).samples, 3);
    assert_eq!(program.run(&mut []).unwrap().return_value, 0);
    assert_eq!(drain(&mut reader).samples, 1);
    assert_eq!(lost, 3);
}

/// Reserves a record of `size` bytes as a dynptr, writes r10-8 (eight bytes) at `offset`, and commits.
fn reserves(ring: i32, size: i32, flags: i32, offset: i32, commit: i32) -> Vec<Instruction> {
    code![
        copy(6, 1),
        i(0x7a, 10, 0, -8, 0x77),
        map_handle(1, ring),
        mov(2, size),
        mov(3, flags),
        copy(4, 10),
        add(4, -24),
        call(198),
        i(0x7b, 6, 0, 0, 0),
        copy(1, 10),
        add(1, -24),
        mov(2, offset),
        copy(3, 10),
        add(3, -8),
        mov(4, 8),
        mov(5, 0),
        call(202),
        i(0x7b, 6, 0, 8, 0),
        copy(1, 10),
        add(1, -24),
        mov(2, 0),
        mov(3, 8),
        call(203),
        i(0x7b, 6, 0, 16, 0),
        copy(1, 10),
        add(1, -24),
        mov(2, 0),
        call(commit),
        mov(0, 0),
        exit(),
    ]
}

#[test]
fn records_through_dynamic_pointers() {
    let vm = Vm::new();
    let (ring, reference) = map(&vm, spec(MapKind::RINGBUF, 0, 0, 4096));
    let answers = |size, flags, offset, commit| {
        let mut context = [0; 24];
        load(&vm, &reserves(reference, size, flags, offset, commit)).unwrap().run(&mut context).unwrap();
        context.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect::<Vec<_>>()
    };
    let drain = || {
        let mut records = Vec::new();
        let _ = ring.ring().unwrap().drain(9, |record| records.push(record.to_vec()));
        records
    };
    let answer = answers(24, 0, 8, 199);
    assert_eq!(answer[..2], [0, 0]);
    assert_ne!(answer[2], 0, "eight bytes of it are there");
    let records = drain();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].len(), &records[0][8..16]), (24, &0x77u64.to_ne_bytes()[..]));
    assert_eq!(answers(24, 0, 0, 200)[..2], [0, 0]);
    assert_eq!(drain(), Vec::<Vec<u8>>::new(), "given up");
    assert_eq!(answers(24, 0, 17, 199)[1], E2BIG, "one byte too far");
    drain();
    // A dynptr of a failed reservation is null: everything says so, and committing it does nothing.
    assert_eq!(answers(24, 1, 0, 199), [EINVAL, EINVAL, 0]);
    assert_eq!(answers(8192, 0, 0, 199), [EINVAL, EINVAL, 0]);
    assert_eq!(answers(1 << 24, 0, 0, 200), [E2BIG, EINVAL, 0]);
    assert_eq!(answers(4, 0, 0, 199)[1..], [E2BIG, 0]);
    assert_eq!(ring.ring().unwrap().tally().outstanding(), 0);
}

#[test]
fn dynamic_pointers_to_memory() {
    let vm = Vm::new();
    let (_, reference) = map(&vm, spec(MapKind::ARRAY, 4, 32, 1));
    // Of the map's value; reads eight bytes from an offset to r10-8, after the value's word 1 was set.
    let reads = |size: i32, flags: i32, offset: i32, length: i32| {
        let program = code![
            map_value(6, reference, 0),
            i(0x7a, 6, 0, 8, 0x1234),
            copy(1, 6),
            mov(2, size),
            mov(3, flags),
            copy(4, 10),
            add(4, -24),
            call(197),
            copy(7, 0),
            i(0x7a, 10, 0, -8, 0),
            copy(1, 10),
            add(1, -8),
            mov(2, length),
            copy(3, 10),
            add(3, -24),
            mov(4, offset),
            mov(5, 0),
            call(201),
            i(0x55, 7, 0, 3, 0),
            i(0x55, 0, 0, 1, 0),
            i(0x79, 0, 10, -8, 0),
            exit(),
            copy(0, 7),
            exit(),
        ];
        run(&vm, &program).map(|outcome| outcome.return_value)
    };
    assert_eq!(reads(32, 0, 8, 8), Ok(0x1234));
    assert_eq!(reads(32, 0, 24, 8), Ok(0));
    assert_eq!(reads(32, 0, 25, 8), Ok(E2BIG));
    assert_eq!(reads(16, 0, 16, 8), Ok(E2BIG), "of its first half");
    assert_eq!(reads(32, 1, 0, 8), Ok(EINVAL));
    assert!(matches!(reads(33, 0, 0, 8).unwrap_err().kind, FaultKind::OutOfBounds { size: 33, .. }));
}

#[test]
fn a_forged_dynamic_pointer_reaches_nothing_more() {
    let vm = Vm::new();
    for address in [0x7fff_0000_0000u64, 1 << 32, 2 << 32 | 500, u64::MAX] {
        let program = code![
            wide(1, address),
            i(0x7b, 10, 1, -24, 0),
            wide(1, 1 << 28 | 0xff_ffff),
            i(0x7b, 10, 1, -16, 0),
            copy(1, 10),
            add(1, -8),
            mov(2, 8),
            copy(3, 10),
            add(3, -24),
            mov(4, 1000),
            mov(5, 0),
            call(201),
            exit(),
        ];
        let fault = load(&vm, &program).unwrap().run(&mut [0; 8]).unwrap_err();
        assert!(matches!(fault.kind, FaultKind::OutOfBounds { write: false, .. }), "{fault}");
    }
}

#[test]
fn callbacks_for_each_entry() {
    let vm = Vm::new();
    // Sums keys times values, stops where the value is 9; context: sum, answer.
    let each = |reference: i32, flags: i32| {
        code![
            copy(6, 1),
            i(0x7a, 10, 0, -8, 0),
            map_handle(1, reference),
            function(2, 9),
            copy(3, 10),
            mov(4, flags),
            call(164),
            i(0x7b, 6, 0, 8, 0),
            i(0x79, 1, 10, -8, 0),
            i(0x7b, 6, 1, 0, 0),
            mov(0, 0),
            exit(),
            // callback(map, key, value, frame)
            i(0x61, 1, 2, 0, 0),
            i(0x79, 2, 3, 0, 0),
            copy(5, 2),
            i(0x2f, 2, 1, 0, 0),
            i(0x79, 3, 4, -8, 0),
            i(0x0f, 3, 2, 0, 0),
            i(0x7b, 4, 3, -8, 0),
            mov(0, 0),
            i(0x55, 5, 0, 1, 9),
            mov(0, 1),
            exit(),
        ]
    };
    for kind in [MapKind::ARRAY, MapKind::HASH, MapKind::LRU_HASH] {
        let (map, reference) = map(&vm, spec(kind, 4, 8, 5));
        let empty = if kind == MapKind::ARRAY { 5 } else { 0 };
        assert_eq!(sums(&load(&vm, &each(reference, 0)).unwrap()), (0, empty), "{kind}");
        for (key, value) in [(1u32, 10u64), (2, 20), (3, 9), (4, 40)] {
            map.update(&key.to_ne_bytes(), &value.to_ne_bytes(), 0).unwrap();
        }
        let calls = if kind == MapKind::ARRAY { 4 } else { 3 };
        assert_eq!(sums(&load(&vm, &each(reference, 0)).unwrap()), (10 + 40 + 27, calls), "{kind}");
        assert_eq!(sums(&load(&vm, &each(reference, 1)).unwrap()), (0, EINVAL), "{kind}");
    }
    let (_, queue) = map(&vm, spec(MapKind::QUEUE, 0, 8, 5));
    let fault = load(&vm, &each(queue, 0)).unwrap().run(&mut [0; 16]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::WrongMapKind { helper: 164, kind: MapKind::QUEUE });
}

#[test]
fn what_is_shown_is_gone_with_the_callback_and_keys_are_not_written() {
    let vm = Vm::new();
    let (hash, reference) = map(&vm, spec(MapKind::HASH, 4, 8, 5));
    hash.update(&[1, 0, 0, 0], &[0; 8], 0).unwrap();
    let with = |callback: Vec<Instruction>, after: Vec<Instruction>| {
        let distance = after.len() as i32 + 5;
        code![
            i(0x7a, 10, 0, -8, 0),
            map_handle(1, reference),
            function(2, distance),
            copy(3, 10),
            mov(4, 0),
            call(164),
            after,
            exit(),
            callback,
        ]
    };
    let keeps = code![i(0x7b, 4, 2, -8, 0), mov(0, 0), exit()];
    let fault = run(&vm, &with(keeps, code![i(0x79, 1, 10, -8, 0), i(0x61, 0, 1, 0, 0)])).unwrap_err();
    assert!(fault.to_string().contains("the callback is over"), "{fault}");
    let writes = code![i(0x62, 2, 0, 0, 5), mov(0, 0), exit()];
    let fault = run(&vm, &with(writes, vec![])).unwrap_err();
    assert!(matches!(fault.kind, FaultKind::OutOfBounds { write: true, .. }), "{fault}");
    // Endless in a callback is endless.
    let vm = Vm::with_config(VmConfig::new().with_instruction_budget(500));
    let (hash, reference) = map(&vm, spec(MapKind::HASH, 4, 8, 5));
    hash.update(&[1, 0, 0, 0], &[0; 8], 0).unwrap();
    let endless = code![
        map_handle(1, reference),
        function(2, 5),
        mov(3, 0),
        mov(4, 0),
        call(164),
        exit(),
        i(0x05, 0, 0, -1, 0),
    ];
    assert_eq!(run(&vm, &endless).unwrap_err().kind, FaultKind::BudgetExhausted { budget: 500 });
}

#[test]
fn helpers_of_the_host() {
    let (_, vm) = told(VmConfig::new());
    let (_, reference) = map(&vm, spec(MapKind::ARRAY, 4, 8, 17));
    let program = |map: Vec<Instruction>, length| {
        code![
            wide(1, 0x0807_0605_0403_0201),
            i(0x7b, 10, 1, -8, 0),
            map,
            copy(2, 10),
            add(2, -8),
            mov(3, length),
            copy(4, 10),
            add(4, -16),
            call(70_000),
            i(0x55, 0, 0, 2, 17),
            i(0x79, 0, 10, -16, 0),
            exit(),
            exit(),
        ]
    };
    let of_map = || code![map_handle(1, reference)];
    let reversed = u64::from_le_bytes([8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(run(&vm, &program(of_map(), 8)).unwrap().return_value, reversed);
    let fault = run(&vm, &program(of_map(), 9)).unwrap_err();
    assert!(matches!(fault.kind, FaultKind::OutOfBounds { size: 9, write: false, .. }), "{fault}");
    let fault = run(&vm, &program(code![mov(1, 1)], 8)).unwrap_err();
    assert_eq!(fault.to_string(), "instruction 9: helper 70000: a map is wanted");
    // A machine whose host does not know it.
    assert!(load(&Vm::new(), &code![call(70_000), exit()]).is_err());
}

#[test]
fn windows_numbers() {
    let (_, vm) = told(VmConfig::new().with_helpers(HelperNumbers::Windows));
    let (hash, reference) = map(&vm, spec(MapKind::HASH, 4, 8, 1));
    let (ring, ring_reference) = map(&vm, spec(MapKind::RINGBUF, 0, 0, 4096));
    let on_hash = |helper: i32, key: i32, flags: i32| {
        let program = code![
            i(0x62, 10, 0, -4, key),
            i(0x7a, 10, 0, -16, 5),
            copy(2, 10),
            add(2, -4),
            copy(3, 10),
            add(3, -16),
            mov(4, flags),
            map_handle(1, reference),
            call(helper),
            exit(),
        ];
        run(&vm, &program).unwrap().return_value as i64
    };
    assert_eq!(on_hash(2, 1, 0), 0);
    assert_eq!(on_hash(2, 1, 1), -26, "the key is there");
    assert_eq!(on_hash(2, 2, 2), -19, "it is not");
    assert_eq!(on_hash(2, 2, 9), -6, "no such flag");
    assert_eq!(on_hash(3, 2, 0), -19);
    assert_ne!(on_hash(4, 1, 0), 0, "the value that was deleted");
    assert_eq!(hash.len(), 0);
    assert_eq!(on_hash(4, 1, 0), 0);
    // The ring's flags are not looked at there.
    let output = |size: i32| {
        let program = code![
            i(0x7a, 10, 0, -8, 5),
            copy(2, 10),
            add(2, -8),
            mov(3, size),
            mov(4, 77),
            map_handle(1, ring_reference),
            call(11),
            exit(),
        ];
        run(&vm, &program).map(|outcome| outcome.return_value as i64)
    };
    assert_eq!(output(8), Ok(0));
    assert_eq!(ring.len(), 16);
    // Memory: r10-16 gets a copy of r10-8, is compared, is set.
    let program = code![
        i(0x7a, 10, 0, -8, 0x55),
        copy(1, 10),
        add(1, -16),
        mov(2, 8),
        copy(3, 10),
        add(3, -8),
        mov(4, 8),
        call(22),
        copy(1, 10),
        add(1, -16),
        mov(2, 8),
        copy(3, 10),
        add(3, -8),
        mov(4, 8),
        call(23),
        copy(6, 0),
        copy(1, 10),
        add(1, -8),
        mov(2, 4),
        mov(3, 1),
        call(24),
        i(0x79, 0, 10, -8, 0),
        i(0x0f, 0, 6, 0, 0),
        exit(),
    ];
    assert_eq!(run(&vm, &program).unwrap().return_value, u64::from_le_bytes([1, 1, 1, 1, 0, 0, 0, 0]));
    // Linux's numbers mean something else here, or nothing.
    assert!(load(&vm, &code![call(130), exit()]).is_err());
    assert!(load(&vm, &code![call(20), exit()]).is_err(), "of no use without accounts");
}
