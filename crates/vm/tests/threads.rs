//! Several threads run programs on the same maps at once.
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

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use common::*;
use ebpf_ringbuf::UserProducer;
use ebpf_vm::*;

const THREADS: u64 = 4;
const RUNS: u64 = 2000;

fn assert_shared<T: Send + Sync>() {}

#[test]
fn everything_is_shared() {
    assert_shared::<Vm>();
    assert_shared::<VmMap>();
    assert_shared::<VmProgram>();
}

#[test]
fn atomic_additions_are_not_lost() {
    let vm = Vm::new();
    let (values, reference) = map(&vm, spec(MapKind::ARRAY, 4, 24, 1));
    // A 64-bit counter, two 32-bit counters in one word, and a byte beside the last that only one thread writes.
    let program = load(
        &vm,
        &code![
            i(0x79, 7, 1, 0, 0),
            map_value(6, reference, 0),
            mov(2, 1),
            i(0xdb, 6, 2, 0, 0),
            i(0xc3, 6, 2, 8, 0),
            i(0xc3, 6, 2, 12, 1),
            i(0x0f, 6, 7, 0, 0),
            i(0x71, 3, 6, 16, 0),
            add(3, 1),
            i(0x73, 6, 3, 16, 0),
            mov(0, 0),
            exit(),
        ],
    )
    .unwrap();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let program = &program;
            scope.spawn(move || {
                for _ in 0..RUNS {
                    program.run(&mut number.to_ne_bytes()).unwrap();
                }
            });
        }
    });
    let mut value = [0; 24];
    values.lookup(&[0; 4], &mut value).unwrap();
    let total = THREADS * RUNS;
    assert_eq!(value[..8], total.to_ne_bytes());
    assert_eq!(value[8..12], (total as u32).to_ne_bytes());
    assert_eq!(value[12..16], (total as u32).to_ne_bytes());
    // Each thread has its own byte of one word: no store may have undone a neighbour's.
    for number in 0..THREADS as usize {
        assert_eq!(value[16 + number], RUNS as u8, "byte {number}");
    }
}

#[test]
fn aligned_words_do_not_tear() {
    let vm = Vm::new();
    let (_, reference) = map(&vm, spec(MapKind::ARRAY, 4, 8, 1));
    let store =
        load(&vm, &code![i(0x79, 2, 1, 0, 0), map_value(6, reference, 0), i(0x7b, 6, 2, 0, 0), exit()])
            .unwrap();
    let read = load(&vm, &code![map_value(6, reference, 0), i(0x79, 0, 6, 0, 0), exit()]).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for pattern in [0u64, u64::MAX] {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    store.run(&mut pattern.to_ne_bytes()).unwrap();
                }
            });
        }
        for _ in 0..20_000 {
            let value = read.run(&mut []).unwrap().return_value;
            assert!(value == 0 || value == u64::MAX, "{value:#x}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

thread_local! {
    static PROCESSOR: Cell<u32> = const { Cell::new(0) };
}

/// A host whose threads are its processors.
struct Threads;

impl Host for Threads {
    fn monotonic_ns(&self) -> u64 {
        0
    }

    fn random(&self) -> u32 {
        3
    }

    fn processor(&self) -> u32 {
        PROCESSOR.get()
    }
}

#[test]
fn threads_are_processors() {
    let config = VmConfig::new().with_cpus(THREADS as u32);
    let vm = Vm::with_host(config, Arc::new(Threads));
    let (counts, counts_reference) = map(&vm, spec(MapKind::PERCPU_ARRAY, 4, 8, 2));
    let (hash, hash_reference) = map(&vm, spec(MapKind::PERCPU_HASH, 4, 8, 4));
    let (perf, perf_reference) = map(&vm, spec(MapKind::PERF_EVENT_ARRAY, 4, 4, THREADS as u32));
    let (programs, programs_reference) = map(&vm, spec(MapKind::PROG_ARRAY, 4, 4, 2));
    let (user, user_reference) = map(&vm, spec(MapKind::USER_RINGBUF, 0, 0, 4096));
    hash.update(&[0; 4], &[0; 8 * THREADS as usize], 0).unwrap();
    // value += 1, without an atomic operation: nobody else has this one.
    let count = |reference: i32| {
        code![
            i(0x62, 10, 0, -4, 0),
            copy(2, 10),
            add(2, -4),
            map_handle(1, reference),
            call(1),
            i(0x79, 1, 0, 0, 0),
            add(1, 1),
            i(0x7b, 0, 1, 0, 0),
        ]
    };
    let last = load(
        &vm,
        &code![
            copy(6, 1),
            count(hash_reference),
            copy(1, 6),
            map_handle(2, perf_reference),
            wide(3, 0xffff_ffff),
            copy(4, 10),
            add(4, -4),
            mov(5, 4),
            call(25),
            exit(),
        ],
    )
    .unwrap();
    let first = load(
        &vm,
        &code![
            copy(6, 1),
            count(counts_reference),
            map_handle(1, user_reference),
            i(0x18, 2, 4, 0, 11),
            i(0, 0, 0, 0, 0),
            mov(3, 0),
            mov(4, 0),
            call(209),
            copy(1, 6),
            map_handle(2, programs_reference),
            mov(3, 1),
            call(12),
            mov(0, -1),
            exit(),
            mov(0, 0),
            exit(),
        ],
    )
    .unwrap();
    programs.set_program(1, &last).unwrap();
    let readers = (0..THREADS as u32)
        .map(|cpu| CpuReader::new(cpu, perf.open_perf(cpu, 4096, WakeupPolicy::events(1)).unwrap()));
    let mut set = PerCpu::new(readers.collect::<Vec<_>>()).unwrap();
    let running = AtomicUsize::new(THREADS as usize);
    let (mut samples, mut lost) = (0, 0);
    thread::scope(|scope| {
        for number in 0..THREADS as u32 {
            let (first, programs, last, running) = (&first, &programs, &last, &running);
            scope.spawn(move || {
                PROCESSOR.set(number);
                for round in 0..RUNS {
                    // 0, or that the ring is full.
                    let answer = first.run(&mut [0; 8]).unwrap().return_value;
                    assert!(answer == 0 || answer == -28i64 as u64, "{answer:#x}");
                    if round % 50 == 0 {
                        programs.set_program(1, last).unwrap();
                    }
                }
                running.fetch_sub(1, Ordering::Release);
            });
        }
        let mut producer = UserProducer::new(vm.ring(&user).unwrap()).unwrap();
        loop {
            let done = running.load(Ordering::Acquire) == 0;
            if let Ok(sample) = producer.reserve(16) {
                sample.submit();
            }
            let drained = set.drain(usize::MAX, |_, event| {
                if let Event::Lost(told) = event {
                    lost += told.count;
                }
                ControlFlow::Continue(())
            });
            samples += drained.samples;
            if done {
                break;
            }
            thread::yield_now();
        }
    });
    for map in [&counts, &hash] {
        let mut values = vec![0; map.value_bytes()];
        map.lookup(&[0; 4], &mut values).unwrap();
        for value in values.chunks(8) {
            assert_eq!(value, RUNS.to_ne_bytes(), "each counted its own runs");
        }
    }
    assert!(samples > 0 && samples as u64 + lost <= THREADS * RUNS);
}

#[test]
fn hash_maps_and_rings_under_fire() {
    let vm = Vm::new();
    for kind in [MapKind::HASH, MapKind::LRU_HASH] {
        let (hash, hash_reference) = map(&vm, spec(kind, 4, 8, 64));
        let (ring, ring_reference) = map(&vm, spec(MapKind::RINGBUF, 0, 0, 1 << 16));
        // Takes a key, updates it, looks it up, writes through the pointer, deletes it, and reports the key.
        let program = load(
            &vm,
            &code![
                i(0x61, 6, 1, 0, 0),
                i(0x63, 10, 6, -4, 0),
                i(0x7b, 10, 6, -16, 0),
                copy(2, 10),
                add(2, -4),
                copy(3, 10),
                add(3, -16),
                mov(4, 0),
                map_handle(1, hash_reference),
                call(2),
                copy(2, 10),
                add(2, -4),
                map_handle(1, hash_reference),
                call(1),
                i(0x15, 0, 0, 1, 0),
                i(0x63, 0, 6, 4, 0),
                copy(2, 10),
                add(2, -4),
                map_handle(1, hash_reference),
                call(3),
                copy(2, 10),
                add(2, -16),
                mov(3, 8),
                mov(4, 0),
                map_handle(1, ring_reference),
                call(130),
                exit(),
            ],
        )
        .unwrap();
        let refused = AtomicUsize::new(0);
        let running = AtomicUsize::new(THREADS as usize);
        let mut seen = 0;
        thread::scope(|scope| {
            for number in 0..THREADS as u32 {
                let (program, refused, running) = (&program, &refused, &running);
                scope.spawn(move || {
                    for round in 0..RUNS as u32 {
                        let key = (number << 16) | (round % 100);
                        if program.run(&mut key.to_ne_bytes()).unwrap().return_value != 0 {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    running.fetch_sub(1, Ordering::Release);
                });
            }
            loop {
                let last = running.load(Ordering::Acquire) == 0;
                let _ = ring.ring().unwrap().drain(usize::MAX, |record| {
                    assert_eq!(record.len(), 8);
                    assert!(record[0] < 100 && u64::from(record[2]) < THREADS);
                    seen += 1;
                });
                if last {
                    break;
                }
                thread::yield_now();
            }
        });
        assert_eq!(seen + refused.into_inner() as u64, THREADS * RUNS);
        assert_eq!(hash.len(), 0, "every key was deleted by who made it");
        let tally = ring.ring().unwrap().tally();
        assert_eq!((tally.submitted as u64, tally.outstanding()), (seen, 0));
    }
}

/// Lookups hold no lock: beside writers that make the table grow, delete and reinsert, so that slots go from key to key, every key that stays is found with
/// its own value, always; one that is updated all the time is never missing; and what is found under keys that come and go is some entry's value, whole.
#[test]
fn keys_that_stay_are_always_found() {
    const STAYING: u32 = 40;
    const UPDATED: u32 = 1000;
    const COMING: u32 = 2000;
    let value =
        |key: u32, round: u32| u64::from(key) << 32 | u64::from(round) << 16 | u64::from(!key & 0xffff);
    let is_whole = |value: u64| value & 0xffff == !(value >> 32) & 0xffff;
    for (kind, key_size) in
        [(MapKind::HASH, 4), (MapKind::HASH, 8), (MapKind::HASH, 20), (MapKind::LRU_HASH, 4)]
    {
        let vm = Vm::new();
        let (hash, reference) = map(&vm, spec(kind, key_size, 8, 4000));
        // Different in the last word alone, or in the only one.
        let bytes = |key: u32| {
            let mut bytes = vec![7; key_size as usize];
            bytes[key_size as usize - 4..].copy_from_slice(&key.to_ne_bytes());
            bytes
        };
        let put = |key: u32, round: u32| hash.update(&bytes(key), &value(key, round).to_ne_bytes(), 0);
        // The value of the key in the context, or 0.
        let find = load(
            &vm,
            &code![
                copy(2, 1),
                map_handle(1, reference),
                call(1),
                i(0x15, 0, 0, 1, 0),
                i(0x79, 0, 0, 0, 0),
                exit(),
            ],
        )
        .unwrap();
        for key in 0..STAYING {
            put(key, 0).unwrap();
        }
        put(UPDATED, 1).unwrap();
        let running = AtomicUsize::new(3);
        let come_and_go = AtomicUsize::new(0);
        thread::scope(|scope| {
            for number in 0..2 {
                let (put, bytes, hash, running) = (&put, &bytes, &hash, &running);
                scope.spawn(move || {
                    for round in 0..RUNS as u32 {
                        // More of them from round to round; each is there for a while.
                        let key = COMING + 2 * (round % (round / 4 + 1)) + number;
                        put(key, round).unwrap();
                        if round % 3 != 0 {
                            hash.delete(&bytes(key)).unwrap();
                        }
                    }
                    running.fetch_sub(1, Ordering::Release);
                });
            }
            let (put, running_writer) = (&put, &running);
            scope.spawn(move || {
                for round in 1..=RUNS as u32 {
                    put(UPDATED, round).unwrap();
                }
                running_writer.fetch_sub(1, Ordering::Release);
            });
            for reader in 0..3u32 {
                let (find, bytes, hash, running, come_and_go) =
                    (&find, &bytes, &hash, &running, &come_and_go);
                scope.spawn(move || {
                    let found = |key| find.run(&mut bytes(key)).unwrap().return_value;
                    let mut turn = reader;
                    let mut last = false;
                    while !last {
                        last = running.load(Ordering::Acquire) == 0;
                        for _ in 0..50 {
                            turn = turn.wrapping_add(1);
                            let staying = turn % STAYING;
                            assert_eq!(found(staying), value(staying, 0));
                            let updated = found(UPDATED);
                            assert!(updated != 0 && is_whole(updated), "{updated:#x}");
                            let coming = found(COMING + turn % 1000);
                            assert!(coming == 0 || is_whole(coming), "{coming:#x}");
                            come_and_go.fetch_add(usize::from(coming != 0), Ordering::Relaxed);
                        }
                        // From outside what is found is the key's own, or it is not there.
                        let (key, mut own) = (COMING + turn % 1000, [0; 8]);
                        if hash.lookup(&bytes(key), &mut own).is_ok() {
                            assert_eq!(u64::from_ne_bytes(own) >> 32, u64::from(key));
                        }
                    }
                });
            }
        });
        assert!(come_and_go.into_inner() > 0, "something came");
        let mut own = [0; 8];
        hash.lookup(&bytes(UPDATED), &mut own).unwrap();
        assert_eq!(u64::from_ne_bytes(own), value(UPDATED, RUNS as u32));
    }
}
