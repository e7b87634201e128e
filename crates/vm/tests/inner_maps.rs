//! Maps in maps, and the values of several CPUs.
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

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::*;
use ebpf_vm::*;

fn definition(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> MapDefinition {
    let mut definition = MapDefinition::default();
    definition.kind = kind;
    definition.key_size = key_size;
    definition.value_size = value_size;
    definition.max_entries = max_entries;
    definition
}

/// r6 = `outer[slot]`; `then` follows where it is not null, else the program returns -1.
fn inner(outer: i32, slot: i32, then: Vec<Instruction>) -> Vec<Instruction> {
    code![
        i(0x62, 10, 0, -4, slot),
        copy(2, 10),
        add(2, -4),
        map_handle(1, outer),
        call(1),
        copy(6, 0),
        i(0x55, 6, 0, 2, 0),
        mov(0, -1),
        exit(),
        then,
    ]
}

/// Adds one to the first value of the map in r6 and returns what it was.
fn count() -> Vec<Instruction> {
    code![
        i(0x62, 10, 0, -4, 0),
        copy(2, 10),
        add(2, -4),
        copy(1, 6),
        call(1),
        i(0x55, 0, 0, 2, 0),
        mov(0, -2),
        exit(),
        i(0x79, 7, 0, 0, 0),
        i(0x7a, 0, 0, 0, 1),
        i(0x07, 7, 0, 0, 1),
        i(0x7b, 0, 7, 0, 0),
        i(0x79, 0, 0, 0, 0),
        exit(),
    ]
}

#[test]
fn a_map_is_found_in_a_map_and_used() {
    let vm = Vm::new();
    let outer = vm
        .create_map_of_maps(&spec(MapKind::ARRAY_OF_MAPS, 4, 4, 3), &definition(MapKind::ARRAY, 4, 8, 1))
        .unwrap();
    let reference = vm.map_reference(&outer);
    let (a, _) = map(&vm, spec(MapKind::ARRAY, 4, 8, 1));
    let (b, _) = map(&vm, spec(MapKind::ARRAY, 4, 8, 1));
    outer.set_map(0, &a).unwrap();
    outer.set_map(2, &b).unwrap();
    let counts = |slot| run(&vm, &inner(reference, slot, count())).unwrap().return_value;
    assert_eq!((counts(0), counts(0), counts(2)), (1, 2, 1));
    assert_eq!(counts(1), u64::MAX, "nothing there");
    assert_eq!(counts(3), u64::MAX, "outside");
    let mut value = [0; 8];
    a.lookup(&[0; 4], &mut value).unwrap();
    assert_eq!(u64::from_ne_bytes(value), 2);
    // The embedder sees the numbers of the maps.
    let mut id = [0; 4];
    outer.lookup(&2u32.to_ne_bytes(), &mut id).unwrap();
    assert_eq!(u32::from_ne_bytes(id), b.id());
    // Replaced while programs run: the next lookup gives the new one.
    outer.set_map(0, &b).unwrap();
    assert_eq!(counts(0), 2);
    outer.delete(&0u32.to_ne_bytes()).unwrap();
    assert_eq!(counts(0), u64::MAX);
}

#[test]
fn only_maps_that_look_like_the_declared_one_go_in() {
    let vm = Vm::new();
    let outer_of = |inner| vm.create_map_of_maps(&spec(MapKind::ARRAY_OF_MAPS, 4, 4, 1), &inner);
    let outer = outer_of(definition(MapKind::HASH, 4, 8, 16)).unwrap();
    let put = |spec| outer.set_map(0, &vm.create_map(&spec).unwrap());
    assert_eq!(put(spec(MapKind::HASH, 4, 8, 1)), Ok(()), "another size is fine, but for arrays");
    assert_eq!(put(spec(MapKind::HASH, 8, 8, 16)), Err(MapError::Invalid));
    assert_eq!(put(spec(MapKind::HASH, 4, 4, 16)), Err(MapError::Invalid));
    assert_eq!(put(spec(MapKind::LRU_HASH, 4, 8, 16)), Err(MapError::Invalid));
    let arrays = outer_of(definition(MapKind::ARRAY, 4, 8, 16)).unwrap();
    assert_eq!(arrays.set_map(0, &map(&vm, spec(MapKind::ARRAY, 4, 8, 8)).0), Err(MapError::Invalid));
    assert_eq!(arrays.set_map(0, &map(&vm, spec(MapKind::ARRAY, 4, 8, 16)).0), Ok(()));
    assert_eq!(arrays.set_map(1, &map(&vm, spec(MapKind::ARRAY, 4, 8, 16)).0), Err(MapError::Full));
    for (inner, errno) in [(MapKind::ARRAY_OF_MAPS, -22), (MapKind::PROG_ARRAY, -524)] {
        let refused = outer_of(definition(inner, 4, 4, 1)).unwrap_err();
        assert!(matches!(refused, VmError::InvalidMap { errno: told, .. } if told == errno), "{refused}");
    }
}

#[test]
fn a_ring_in_a_map_and_pointers_of_it() {
    let vm = Vm::new();
    let outer = vm
        .create_map_of_maps(&spec(MapKind::ARRAY_OF_MAPS, 4, 4, 1), &definition(MapKind::RINGBUF, 0, 0, 4096))
        .unwrap();
    let (ring, _) = map(&vm, spec(MapKind::RINGBUF, 0, 0, 8192));
    outer.set_map(0, &ring).unwrap();
    let program = inner(
        vm.map_reference(&outer),
        0,
        code![
            copy(1, 6),
            mov(2, 8),
            mov(3, 0),
            call(131),
            i(0x15, 0, 0, 4, 0),
            i(0x7a, 0, 0, 0, 42),
            copy(1, 0),
            mov(2, 0),
            call(132),
            mov(0, 0),
            exit(),
        ],
    );
    assert_eq!(run(&vm, &program).unwrap().return_value, 0);
    let mut records = Vec::new();
    let _ = ring.ring().unwrap().drain(9, |record| records.push(record.to_vec()));
    assert_eq!(records, [42u64.to_ne_bytes()]);
}

#[test]
fn more_maps_than_a_run_has_places_for_are_a_fault() {
    let vm = Vm::new();
    let outer = vm
        .create_map_of_maps(&spec(MapKind::ARRAY_OF_MAPS, 4, 4, 100), &definition(MapKind::ARRAY, 4, 8, 1))
        .unwrap();
    for slot in 0..100 {
        outer.set_map(slot, &map(&vm, spec(MapKind::ARRAY, 4, 8, 1)).0).unwrap();
    }
    // Looks every one up.
    let all = |entries| {
        code![
            mov(7, 0),
            i(0x63, 10, 7, -4, 0),
            copy(2, 10),
            add(2, -4),
            map_handle(1, vm.map_reference(&outer)),
            call(1),
            add(7, 1),
            i(0xa5, 7, 0, -8, entries),
            exit(),
        ]
    };
    assert!(run(&vm, &all(MAX_PROGRAM_MAPS as i32)).is_ok());
    assert_eq!(run(&vm, &all(MAX_PROGRAM_MAPS as i32 + 1)).unwrap_err().kind, FaultKind::TooManyMaps);
}

/// A host whose processor is what the test says.
#[derive(Default)]
struct On(AtomicU32);

impl Host for On {
    fn monotonic_ns(&self) -> u64 {
        0
    }

    fn random(&self) -> u32 {
        7
    }

    fn processor(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

fn values(map: &VmMap, key: u32) -> Vec<u64> {
    let mut bytes = vec![0; map.value_bytes()];
    map.lookup(&key.to_ne_bytes(), &mut bytes).unwrap();
    bytes.chunks(8).map(|value| u64::from_ne_bytes(value.try_into().unwrap())).collect()
}

#[test]
fn every_cpu_has_its_own_values() {
    let host = Arc::new(On::default());
    let vm = Vm::with_host(VmConfig::new().with_cpus(3), Arc::clone(&host) as Arc<dyn Host>);
    for kind in [MapKind::PERCPU_ARRAY, MapKind::PERCPU_HASH, MapKind::LRU_PERCPU_HASH] {
        let (map, reference) = map(&vm, spec(kind, 4, 8, 4));
        assert_eq!(map.value_bytes(), 24);
        map.update(&2u32.to_ne_bytes(), &[0; 24], 0).unwrap();
        // value[2] += 5
        let adds = code![
            i(0x62, 10, 0, -4, 2),
            copy(2, 10),
            add(2, -4),
            map_handle(1, reference),
            call(1),
            i(0x15, 0, 0, 3, 0),
            i(0x79, 1, 0, 0, 0),
            i(0x07, 1, 0, 0, 5),
            i(0x7b, 0, 1, 0, 0),
            mov(0, 0),
            exit(),
        ];
        for cpu in [0, 2, 2] {
            host.0.store(cpu, Ordering::Relaxed);
            run(&vm, &adds).unwrap();
        }
        assert_eq!(values(&map, 2), [5, 0, 10], "{kind}");
        // An update from a program is one of its CPU; a new entry has zeroes elsewhere.
        let put = |key: i32, value: i32| {
            code![
                i(0x62, 10, 0, -4, key),
                i(0x7a, 10, 0, -16, value),
                copy(2, 10),
                add(2, -4),
                copy(3, 10),
                add(3, -16),
                mov(4, 0),
                map_handle(1, reference),
                call(2),
                exit(),
            ]
        };
        host.0.store(1, Ordering::Relaxed);
        assert_eq!(run(&vm, &put(2, 77)).unwrap().return_value, 0);
        assert_eq!(values(&map, 2), [5, 77, 10], "{kind}");
        if kind != MapKind::PERCPU_ARRAY {
            map.delete(&2u32.to_ne_bytes()).unwrap();
            run(&vm, &put(2, 1)).unwrap();
            assert_eq!(values(&map, 2), [0, 1, 0], "{kind}: nothing of the deleted entry");
        }
        // All at once, from outside.
        let all: Vec<u8> = [1u64, 2, 3].iter().flat_map(|value| value.to_ne_bytes()).collect();
        map.update(&3u32.to_ne_bytes(), &all, 0).unwrap();
        assert_eq!(values(&map, 3), [1, 2, 3]);
        assert_eq!(map.update(&3u32.to_ne_bytes(), &[0; 8], 0), Err(MapError::Invalid), "of all or of none");
        // Another CPU's value by its number.
        let of = |cpu: i32| {
            let program = code![
                i(0x62, 10, 0, -4, 3),
                copy(2, 10),
                add(2, -4),
                map_handle(1, reference),
                mov(3, cpu),
                call(195),
                i(0x15, 0, 0, 1, 0),
                i(0x79, 0, 0, 0, 0),
                exit(),
            ];
            run(&vm, &program).unwrap().return_value
        };
        assert_eq!([of(0), of(1), of(2), of(3)], [1, 2, 3, 0], "{kind}");
    }
}
