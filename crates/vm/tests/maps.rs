//! Each kind of map: Linux's error numbers from both sides, eviction, memory.
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
const E2BIG: u64 = -7i64 as u64;
const EEXIST: u64 = -17i64 as u64;
const EINVAL: u64 = -22i64 as u64;
const ENOMEM: u64 = -12i64 as u64;

/// A machine with one map that programs work on: `key` at r10-8, `value` at r10-16.
struct Bench {
    vm: Vm,
    map: VmMap,
    reference: i32,
}

impl Bench {
    fn new(spec: MapSpec<'_>) -> Self {
        Self::within(Vm::new(), spec)
    }

    fn within(vm: Vm, spec: MapSpec<'_>) -> Self {
        let (map, reference) = map(&vm, spec);
        Self { vm, map, reference }
    }

    fn helper(&self, helper: i32, key: i32, value: i32, last: Vec<Instruction>) -> u64 {
        let program = code![
            i(0x7a, 10, 0, -8, key),
            i(0x7a, 10, 0, -16, value),
            copy(2, 10),
            add(2, -8),
            copy(3, 10),
            add(3, -16),
            last,
            map_handle(1, self.reference),
            call(helper),
            exit(),
        ];
        run(&self.vm, &program).unwrap().return_value
    }

    fn update(&self, key: i32, value: i32, flags: i32) -> u64 {
        self.helper(2, key, value, code![mov(4, flags)])
    }

    fn delete(&self, key: i32) -> u64 {
        self.helper(3, key, 0, vec![])
    }

    /// The value's first eight bytes, or nothing.
    fn lookup(&self, key: i32) -> Option<u64> {
        let program = code![
            i(0x7a, 10, 0, -8, key),
            copy(2, 10),
            add(2, -8),
            map_handle(1, self.reference),
            call(1),
            i(0x15, 0, 0, 2, 0),
            i(0x79, 6, 0, 0, 0),
            i(0x7b, 10, 6, -8, 0),
            copy(7, 0),
            copy(0, 6),
            i(0x55, 7, 0, 1, 0),
            mov(0, -1),
            exit(),
        ];
        let value = run(&self.vm, &program).unwrap().return_value;
        (value != u64::MAX).then_some(value)
    }

    fn push(&self, value: i32, flags: i32) -> u64 {
        self.helper(87, value, 0, code![mov(3, flags)])
    }

    /// The answer and what is at r10-8 afterwards, which was -1.
    fn next(&self, helper: i32) -> (u64, u64) {
        let program = code![
            copy(6, 1),
            i(0x7a, 10, 0, -8, -1),
            copy(2, 10),
            add(2, -8),
            map_handle(1, self.reference),
            call(helper),
            i(0x79, 1, 10, -8, 0),
            i(0x7b, 6, 1, 0, 0),
            exit(),
        ];
        let mut context = [0; 8];
        let answer = load(&self.vm, &program).unwrap().run(&mut context).unwrap().return_value;
        (answer, u64::from_ne_bytes(context))
    }
}

fn value(map: &VmMap, key: u32) -> Result<u64, MapError> {
    let mut out = [0; 8];
    map.lookup(&key.to_ne_bytes(), &mut out).map(|()| u64::from_ne_bytes(out))
}

#[test]
fn arrays() {
    for kind in [MapKind::ARRAY, MapKind::PERCPU_ARRAY] {
        let bench = Bench::new(spec(kind, 4, 8, 3));
        assert_eq!(bench.lookup(2), Some(0), "all elements are there, and zero");
        assert_eq!(bench.lookup(3), None);
        assert_eq!(bench.update(2, 9, 0), 0);
        assert_eq!(bench.update(2, 10, 2), 0, "BPF_EXIST");
        assert_eq!(bench.update(2, 9, 1), EEXIST);
        assert_eq!(bench.update(3, 9, 0), E2BIG);
        assert_eq!(bench.update(3, 9, 1), E2BIG, "the index comes first");
        assert_eq!(bench.update(2, 9, 3), EINVAL);
        assert_eq!(bench.delete(2), EINVAL);
        assert_eq!(bench.lookup(2), Some(10));
        assert_eq!((value(&bench.map, 2), value(&bench.map, 3)), (Ok(10), Err(MapError::NotFound)));
        let mut key = [0; 4];
        let mut keys = Vec::new();
        let mut last = None;
        while bench.map.next_key(last.as_ref().map(|key: &[u8; 4]| &key[..]), &mut key).is_ok() {
            keys.push(u32::from_ne_bytes(key));
            last = Some(key);
        }
        assert_eq!(keys, [0, 1, 2]);
    }
}

#[test]
fn hash_maps() {
    for kind in [MapKind::HASH, MapKind::PERCPU_HASH] {
        let bench = Bench::new(spec(kind, 4, 8, 3));
        assert_eq!(bench.lookup(1), None);
        assert_eq!(bench.update(1, 11, 2), ENOENT);
        assert_eq!(bench.update(1, 11, 1), 0);
        assert_eq!(bench.update(1, 12, 1), EEXIST);
        assert_eq!(bench.update(1, 12, 2), 0);
        assert_eq!(bench.update(1, 12, 3), EINVAL);
        assert_eq!(bench.lookup(1), Some(12));
        assert_eq!((bench.update(2, 2, 0), bench.update(3, 3, 0)), (0, 0));
        assert_eq!(bench.update(4, 4, 0), E2BIG);
        assert_eq!(bench.update(4, 4, 2), ENOENT, "the flags come first");
        assert_eq!(bench.update(3, 33, 0), 0, "there is always room to replace");
        assert_eq!((bench.delete(2), bench.delete(2)), (0, ENOENT));
        assert_eq!(bench.update(4, 4, 0), 0);
        assert_eq!(bench.map.len(), 3);
        assert_eq!(value(&bench.map, 4), Ok(4));
        assert_eq!(bench.map.delete(&4u32.to_ne_bytes()), Ok(()));
        assert_eq!(value(&bench.map, 4), Err(MapError::NotFound));
    }
}

#[test]
fn a_pointer_outlives_its_entry() {
    // r6 points to the value of key 1; then the key is updated, deleted, and its memory given to key 2.
    let bench = Bench::new(spec(MapKind::HASH, 4, 8, 4));
    assert_eq!(bench.update(1, 11, 0), 0);
    let program = code![
        copy(9, 1),
        i(0x7a, 10, 0, -8, 1),
        copy(2, 10),
        add(2, -8),
        map_handle(1, bench.reference),
        call(1),
        copy(6, 0),
        i(0x7a, 10, 0, -16, 12),
        copy(2, 10),
        add(2, -8),
        copy(3, 10),
        add(3, -16),
        mov(4, 0),
        map_handle(1, bench.reference),
        call(2),
        i(0x79, 1, 6, 0, 0),
        i(0x7b, 9, 1, 0, 0),
        copy(2, 10),
        add(2, -8),
        map_handle(1, bench.reference),
        call(3),
        i(0x79, 1, 6, 0, 0),
        i(0x7b, 9, 1, 8, 0),
        i(0x7a, 10, 0, -8, 2),
        i(0x7a, 10, 0, -16, 22),
        copy(2, 10),
        add(2, -8),
        copy(3, 10),
        add(3, -16),
        mov(4, 0),
        map_handle(1, bench.reference),
        call(2),
        i(0x7a, 6, 0, 0, 77),
        mov(0, 0),
        exit(),
    ];
    let mut context = [0; 16];
    load(&bench.vm, &program).unwrap().run(&mut context).unwrap();
    assert_eq!(u64::from_ne_bytes(context[..8].try_into().unwrap()), 11, "the old value, as in Linux");
    assert_eq!(u64::from_ne_bytes(context[8..].try_into().unwrap()), 11, "after the deletion too");
    assert!(matches!(value(&bench.map, 2), Ok(22 | 77)));
    assert_eq!(bench.map.len(), 1);
}

#[test]
fn lru_evicts_what_was_used_longest_ago() {
    for kind in [MapKind::LRU_HASH, MapKind::LRU_PERCPU_HASH] {
        let bench = Bench::new(spec(kind, 4, 8, 3));
        for key in 1..=3 {
            assert_eq!(bench.update(key, key * 10, 0), 0);
        }
        assert_eq!(bench.lookup(1), Some(10), "1 is used, so 2 is next to go");
        assert_eq!(bench.update(4, 40, 0), 0);
        let present = |keys: [u32; 5]| keys.map(|key| value(&bench.map, key).is_ok());
        assert_eq!(present([1, 2, 3, 4, 5]), [true, false, true, true, false]);
        // Looking from outside does not count as use, so 3 goes, not 1.
        assert_eq!(bench.update(5, 50, 0), 0);
        assert_eq!(present([1, 2, 3, 4, 5]), [true, false, false, true, true]);
        // An update counts.
        assert_eq!(bench.update(1, 11, 2), 0);
        assert_eq!(bench.update(6, 60, 0), 0);
        assert_eq!(present([1, 4, 5, 6, 2]), [true, false, true, true, false]);
        // Refused updates evict nobody.
        assert_eq!((bench.update(7, 70, 2), bench.update(1, 0, 1)), (ENOENT, EEXIST));
        assert_eq!(bench.map.len(), 3);
        assert_eq!((bench.delete(5), bench.update(8, 80, 1)), (0, 0));
        assert_eq!(present([1, 6, 8, 5, 7]), [true, true, true, false, false]);
    }
}

#[test]
fn queues_and_stacks() {
    for (kind, order) in [(MapKind::QUEUE, [2, 3, 4]), (MapKind::STACK, [4, 3, 2])] {
        let bench = Bench::new(spec(kind, 0, 8, 3));
        assert_eq!(bench.next(88), (ENOENT, 0), "what is not found is zero");
        assert_eq!(bench.next(89), (ENOENT, 0));
        for value in 1..=3 {
            assert_eq!(bench.push(value, 0), 0);
        }
        assert_eq!(bench.push(4, 0), E2BIG);
        assert_eq!((bench.push(4, 1), bench.push(4, 3)), (EINVAL, EINVAL));
        assert_eq!(bench.push(4, 2), 0, "BPF_EXIST drops the oldest");
        assert_eq!(bench.map.len(), 3);
        let mut peeked = [0; 8];
        bench.map.peek(&mut peeked).unwrap();
        assert_eq!(u64::from_ne_bytes(peeked), order[0]);
        for value in order {
            assert_eq!(bench.next(89), (0, value));
            assert_eq!(bench.next(88), (0, value));
        }
        assert_eq!(bench.map.pop(&mut peeked), Err(MapError::NotFound));
        assert_eq!(bench.map.push(&[1; 7], 0), Err(MapError::Invalid));
        assert_eq!(bench.map.push(&[1; 8], 0), Ok(()));
        assert_eq!((bench.map.pop(&mut peeked), peeked), (Ok(()), [1; 8]));
        assert_eq!(bench.map.lookup(&[], &mut peeked), Err(MapError::NotSupported));
    }
}

/// A place that is written in pieces: not on the stack, and longer than one.
#[test]
fn an_empty_queue_leaves_zeroes_in_another_maps_value() {
    let vm = Vm::new();
    let (_, queue) = map(&vm, spec(MapKind::QUEUE, 0, 136, 1));
    let (array, out) = map(&vm, spec(MapKind::ARRAY, 4, 144, 1));
    for helper in [88, 89] {
        array.update(&[0; 4], &[7; 144], 0).unwrap();
        let program = code![map_handle(1, queue), map_value(2, out, 4), call(helper), exit()];
        assert_eq!(run(&vm, &program).unwrap().return_value, ENOENT);
        let mut value = [9; 144];
        array.lookup(&[0; 4], &mut value).unwrap();
        assert_eq!(value, *[&[7; 4][..], &[0; 136], &[7; 4]].concat());
    }
}

#[test]
fn attributes_that_linux_refuses() {
    let vm = Vm::new();
    let with = |flags, spec| MapSpec { flags, ..spec };
    #[rustfmt::skip]
    let refused = [
        (spec(MapKind::ARRAY, 8, 8, 1), -22),
        (spec(MapKind::ARRAY, 4, 0, 1), -22),
        (spec(MapKind::ARRAY, 4, 8, 0), -22),
        (spec(MapKind::ARRAY, 4, 1 << 31, 1), -7),
        (with(1 << 0, spec(MapKind::ARRAY, 4, 8, 1)), -22),
        (with(1 << 10, spec(MapKind::PERCPU_ARRAY, 4, 8, 1)), -22),
        (with(1 << 7 | 1 << 8, spec(MapKind::ARRAY, 4, 8, 1)), -22),
        (spec(MapKind::HASH, 0, 8, 1), -22),
        (spec(MapKind::HASH, 4, 0, 1), -22),
        (spec(MapKind::HASH, 4, 8, 0), -22),
        (spec(MapKind::HASH, 4, 1 << 22, 1), -7),
        (spec(MapKind::HASH, u32::MAX, u32::MAX, u32::MAX), -7),
        (with(1 << 10, spec(MapKind::HASH, 4, 8, 1)), -22),
        (with(1 << 0, spec(MapKind::LRU_HASH, 4, 8, 1)), -524),
        (with(1 << 1, spec(MapKind::HASH, 4, 8, 1)), -22),
        (spec(MapKind::QUEUE, 4, 8, 1), -22),
        (spec(MapKind::STACK, 0, 0, 1), -22),
        (spec(MapKind::QUEUE, 0, 8, 0), -22),
        (with(1 << 10, spec(MapKind::QUEUE, 0, 8, 1)), -22),
        (spec(MapKind::RINGBUF, 4, 0, 4096), -22),
        (spec(MapKind::RINGBUF, 0, 8, 4096), -22),
        (spec(MapKind::RINGBUF, 0, 0, 0), -22),
        (spec(MapKind::RINGBUF, 0, 0, 4095), -22),
        (spec(MapKind::RINGBUF, 0, 0, 12288), -22),
        (with(1 << 0, spec(MapKind::RINGBUF, 0, 0, 4096)), -22),
        (spec(MapKind::USER_RINGBUF, 0, 8, 4096), -22),
        (spec(MapKind::USER_RINGBUF, 0, 0, 6000), -22),
        (spec(MapKind::PROG_ARRAY, 4, 8, 1), -22),
        (spec(MapKind::PROG_ARRAY, 8, 4, 1), -22),
        (with(1 << 7, spec(MapKind::PROG_ARRAY, 4, 4, 1)), -22),
        (spec(MapKind::PERF_EVENT_ARRAY, 4, 4, 0), -22),
        (spec(MapKind::ARRAY_OF_MAPS, 4, 4, 1), -9),
    ];
    for (spec, expected) in refused {
        match vm.create_map(&spec) {
            Err(VmError::InvalidMap { errno, .. }) => assert_eq!(errno, expected, "{spec:?}"),
            other => panic!("{spec:?} gave {other:?}"),
        }
    }
    let kinds = [MapKind::LPM_TRIE, MapKind::HASH_OF_MAPS, MapKind(999)];
    for kind in kinds {
        assert!(
            matches!(vm.create_map(&spec(kind, 4, 4, 1)), Err(VmError::UnsupportedMapKind { kind: told, .. }) if told == kind)
        );
    }
    let accepted = [
        with(1 << 10 | 1 << 7, spec(MapKind::ARRAY, 4, 8, 1)),
        with(1 << 0 | 1 << 2 | 1 << 4, spec(MapKind::HASH, 4, 8, 1)),
        with(1 << 1, spec(MapKind::LRU_HASH, 4, 8, 1)),
        with(1 << 2, spec(MapKind::RINGBUF, 0, 0, 8192)),
    ];
    for spec in accepted {
        vm.create_map(&spec).unwrap();
    }
    // A ring is whole pages of the machine's own page size.
    let large = Vm::with_config(VmConfig::new().with_page_size(65536));
    assert!(large.create_map(&spec(MapKind::RINGBUF, 0, 0, 4096)).is_err());
    assert!(large.create_map(&spec(MapKind::RINGBUF, 0, 0, 65536)).is_ok());
}

#[test]
fn initial_values_and_freezing() {
    let vm = Vm::new();
    let rodata = MapSpec {
        initial_value: Some(b"constant"),
        read_only: true,
        flags: 1 << 7,
        ..spec(MapKind::ARRAY, 4, 16, 1)
    };
    let (map_rodata, _) = map(&vm, rodata);
    let mut out = [9; 16];
    map_rodata.lookup(&[0; 4], &mut out).unwrap();
    assert_eq!(&out, b"constant\0\0\0\0\0\0\0\0");
    assert_eq!(map_rodata.update(&[0; 4], &out, 0), Err(MapError::Permission));
    let too_long = MapSpec { initial_value: Some(&[0; 17]), ..spec(MapKind::ARRAY, 4, 16, 1) };
    assert!(vm.create_map(&too_long).is_err());
    let (write_only, _) = map(&vm, MapSpec { flags: 1 << 4, ..spec(MapKind::HASH, 4, 8, 1) });
    assert_eq!(value(&write_only, 0), Err(MapError::Permission));
    assert_eq!(write_only.update(&[0; 4], &[0; 8], 0), Ok(()));
    let (read_only, _) = map(&vm, MapSpec { flags: 1 << 3, ..spec(MapKind::HASH, 4, 8, 1) });
    assert_eq!(read_only.update(&[0; 4], &[0; 8], 0), Err(MapError::Permission));
    assert_eq!(read_only.delete(&[0; 4]), Err(MapError::Permission));
}

#[test]
fn sizes_from_hell_are_refused_by_name_of_the_limit() {
    let vm = Vm::new();
    for spec in [
        spec(MapKind::ARRAY, 4, i32::MAX as u32, u32::MAX),
        spec(MapKind::ARRAY, 4, 8, u32::MAX),
        spec(MapKind::ARRAY, 4, 64 << 20, 1),
        spec(MapKind::RINGBUF, 0, 0, 1 << 31),
    ] {
        let error = vm.create_map(&spec).unwrap_err();
        assert!(matches!(error, VmError::MemoryLimit { limit, .. } if limit == 64 << 20), "{error}");
        assert!(error.to_string().contains("memory_limit"));
        assert_eq!(vm.memory_in_use(), 0);
    }
    let small = Vm::with_config(VmConfig::new().with_memory_limit(1 << 20));
    assert!(matches!(
        small.create_map(&spec(MapKind::HASH, 4, 2 << 20, u32::MAX)),
        Err(VmError::MemoryLimit { .. })
    ));
    assert!(matches!(
        small.create_map(&spec(MapKind::QUEUE, 0, 2 << 20, u32::MAX)),
        Err(VmError::MemoryLimit { .. })
    ));
    assert!(
        load(&small, &vec![exit(); 100_000]).is_err_and(|error| matches!(error, VmError::MemoryLimit { .. }))
    );
}

#[test]
fn maps_grow_as_they_are_used_up_to_the_limit() {
    let limited = || Vm::with_config(VmConfig::new().with_memory_limit(1 << 20));
    let bench = Bench::within(limited(), spec(MapKind::HASH, 4, 1024, u32::MAX));
    let empty = bench.map.memory();
    assert!(empty < 4096, "{empty}");
    let mut stored = 0;
    while bench.map.update(&(stored as u32).to_ne_bytes(), &[7; 1024], 0).is_ok() {
        stored += 1;
    }
    assert_eq!(bench.map.update(&(stored as u32).to_ne_bytes(), &[7; 1024], 0), Err(MapError::NoMemory));
    assert!((400..1024).contains(&stored), "{stored}");
    assert!(bench.vm.memory_in_use() <= 1 << 20);
    assert_eq!(bench.vm.memory_in_use(), bench.map.memory());
    // What is there can still be replaced, and what is deleted be used again.
    assert_eq!(bench.map.update(&0u32.to_ne_bytes(), &[8; 1024], 2), Ok(()));
    assert_eq!(bench.map.delete(&1u32.to_ne_bytes()), Ok(()));
    assert_eq!(bench.map.update(&(stored as u32).to_ne_bytes(), &[9; 1024], 1), Ok(()));
    for key in 2..stored as u32 {
        let mut out = [0; 1024];
        bench.map.lookup(&key.to_ne_bytes(), &mut out).unwrap();
        assert_eq!(out, [7; 1024]);
    }

    let bench = Bench::within(limited(), spec(MapKind::QUEUE, 0, 8, u32::MAX));
    let mut pushed = 0usize;
    while bench.map.push(&[1; 8], 0).is_ok() {
        pushed += 1;
    }
    assert!(pushed >= 1 << 15, "{pushed}");
    assert_eq!(bench.push(1, 0), ENOMEM);
}

#[test]
fn memory_comes_back_with_the_last_handle() {
    let vm = Vm::new();
    let (handle, reference) = map(&vm, spec(MapKind::ARRAY, 4, 4096, 16));
    assert!(handle.memory() >= 65536 && vm.memory_in_use() == handle.memory());
    let program = load(&vm, &code![map_handle(1, reference), exit()]).unwrap();
    vm.destroy_map(handle);
    assert!(vm.memory_in_use() >= 65536, "the program still has it");
    assert!(program.run(&mut []).is_ok());
    vm.unload_program(program);
    assert_eq!(vm.memory_in_use(), 0);
}

#[test]
fn hash_maps_agree_with_a_model() {
    use std::collections::HashMap;
    for kind in [MapKind::HASH, MapKind::LRU_HASH] {
        let (map, _) = map(&Vm::new(), spec(kind, 4, 8, 100));
        let mut model: HashMap<u32, u64> = HashMap::new();
        // Keys, oldest use first.
        let mut order: Vec<u32> = Vec::new();
        let mut seed = 1u64;
        for round in 0..20_000u64 {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let key = (seed >> 40) as u32 % 150;
            let is_full = model.len() == 100 && !model.contains_key(&key);
            match seed >> 62 {
                0 => assert_eq!(map.delete(&key.to_ne_bytes()).is_ok(), model.remove(&key).is_some()),
                1 => assert_eq!(value(&map, key).ok(), model.get(&key).copied()),
                _ => {
                    let answer = map.update(&key.to_ne_bytes(), &round.to_ne_bytes(), 0);
                    if is_full && kind == MapKind::HASH {
                        assert_eq!(answer, Err(MapError::Full));
                        continue;
                    }
                    assert_eq!(answer, Ok(()));
                    if is_full {
                        model.remove(&order[0]);
                    }
                    model.insert(key, round);
                    order.retain(|other| *other != key);
                    order.push(key);
                }
            }
            order.retain(|key| model.contains_key(key));
            assert_eq!(map.len(), model.len());
        }
        let mut keys = Vec::new();
        let mut key = [0; 4];
        let mut last: Option<[u8; 4]> = None;
        while map.next_key(last.as_ref().map(|key| &key[..]), &mut key).is_ok() {
            keys.push(u32::from_ne_bytes(key));
            last = Some(key);
        }
        assert_eq!(keys, order, "iteration goes from the oldest update to the newest");
    }
}

/// Keys of every size beside a model, from the first entry through growth to full and back: short ones are compared as words, long ones word by word.
#[test]
fn keys_of_all_sizes_agree_with_a_model() {
    use std::collections::BTreeMap;
    const ENTRIES: u32 = 700;
    for key_size in [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17, 24, 40] {
        let vm = Vm::new();
        // Values that are few enough to be there from the start, and others.
        for (value_size, entries) in [(8, 100), (16, ENTRIES), (12, ENTRIES)] {
            let (map, _) = map(&vm, spec(MapKind::HASH, key_size, value_size, entries));
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            let mut seed = u64::from(key_size);
            for round in 0..4000u64 {
                seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                // Keys that differ in one byte, first or last.
                let mut key = vec![5; key_size as usize];
                let [low, high, ..] = (seed >> 32).to_le_bytes();
                let last = key.len() - 1;
                key[0] = low;
                key[last] = key[last].wrapping_add(high & 3);
                let mut out = vec![0; value_size as usize];
                let found = map.lookup(&key, &mut out).map(|()| out);
                assert_eq!(found.ok(), model.get(&key).cloned());
                if (seed >> 60) < 5 {
                    assert_eq!(map.delete(&key).is_ok(), model.remove(&key).is_some());
                } else {
                    let value: Vec<u8> =
                        round.to_ne_bytes().into_iter().cycle().take(value_size as usize).collect();
                    let is_full = model.len() == entries as usize && !model.contains_key(&key);
                    let expected = if is_full { Err(MapError::Full) } else { Ok(()) };
                    assert_eq!(map.update(&key, &value, 0), expected);
                    if !is_full {
                        model.insert(key, value);
                    }
                }
            }
            let mut keys = std::collections::BTreeSet::new();
            let mut key = vec![0; key_size as usize];
            let mut last: Option<Vec<u8>> = None;
            while map.next_key(last.as_deref(), &mut key).is_ok() {
                assert!(keys.insert(key.clone()), "a key comes once");
                last = Some(key.clone());
            }
            assert_eq!(keys, model.into_keys().collect());
        }
    }
}
