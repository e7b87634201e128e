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

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use common::*;
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
