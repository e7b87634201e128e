//! Maps of the running kernel.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics fails, which is what it is for"
)]

mod common;

use common::able;
use ebpf_linux::{LinuxMap, LinuxProgram, cpus, ids};
use ebpf_loader::{MapKind, MapSpec};

const ANY: u64 = 0;
const NOEXIST: u64 = 1;
const EXIST: u64 = 2;

#[test]
fn elements_come_and_go() {
    let Some(map) = able(LinuxMap::create(&MapSpec::new("a_hash-map", MapKind::HASH, 4, 8, 2))) else {
        return;
    };
    let key = |n: u32| n.to_ne_bytes();
    let mut value = [0; 8];
    assert!(!map.lookup(&key(1), &mut value).unwrap());
    map.update(&key(1), &[1; 8], NOEXIST).unwrap();
    assert_eq!(map.update(&key(1), &[2; 8], NOEXIST).unwrap_err().errno(), 17, "EEXIST");
    assert_eq!(map.update(&key(2), &[2; 8], EXIST).unwrap_err().errno(), 2, "ENOENT");
    map.update(&key(2), &[2; 8], ANY).unwrap();
    let full = map.update(&key(3), &[3; 8], ANY).unwrap_err();
    assert_eq!((full.errno(), full.call()), (7, "BPF_MAP_UPDATE_ELEM"));
    assert!(full.to_string().contains("`a_hash-map` (hash)"), "{full}");

    let mut keys = Vec::new();
    let mut next = [0; 4];
    let mut more = map.next_key(None, &mut next).unwrap();
    while more {
        keys.push(u32::from_ne_bytes(next));
        more = map.next_key(Some(&next.clone()), &mut next).unwrap();
    }
    keys.sort_unstable();
    assert_eq!(keys, [1, 2]);

    assert!(map.lookup(&key(2), &mut value).unwrap());
    assert_eq!(value, [2; 8]);
    assert!(map.take(&key(2), &mut value).unwrap() && !map.take(&key(2), &mut value).unwrap());
    assert!(map.delete(&key(1)).unwrap() && !map.delete(&key(1)).unwrap());

    let info = map.info().unwrap();
    assert_eq!(
        (info.name.as_str(), info.kind, info.key_size, info.value_size),
        ("a_hash_map", MapKind::HASH, 4, 8)
    );
    assert_eq!((info.max_entries, map.max_entries(), map.flags()), (2, 2, 0));
    assert!(ids::maps().unwrap().contains(&info.id));
    let same = LinuxMap::open_id(info.id).unwrap();
    same.update(&key(9), &[9; 8], ANY).unwrap();
    assert!(map.try_clone().unwrap().delete(&key(9)).unwrap());
    assert!(LinuxProgram::open_id(u32::MAX - 7).is_err());
}

#[test]
fn the_kernel_never_copies_what_was_not_given() {
    let Some(map) = able(LinuxMap::create(&MapSpec::new("sizes", MapKind::ARRAY, 4, 64, 1))) else { return };
    let short = map.lookup(&[0; 4], &mut [0; 63]).unwrap_err();
    assert_eq!(short.errno(), 22);
    assert!(short.to_string().ends_with("a value of 63 bytes was given, the map's have 64"), "{short}");
    assert!(map.update(&[0; 4], &[0; 65], ANY).is_err() && map.lookup(&[0; 3], &mut [0; 64]).is_err());
    assert!(map.delete(&[]).is_err() && map.next_key(Some(&[0; 8]), &mut [0; 4]).is_err());
    assert!(map.next_key(None, &mut [0; 3]).is_err());
}

#[test]
fn a_value_for_each_cpu() {
    let Some(map) = able(LinuxMap::create(&MapSpec::new("cpus", MapKind::PERCPU_ARRAY, 4, 5, 1))) else {
        return;
    };
    let cpus = cpus::possible().unwrap().len();
    assert_eq!(map.value_len(), 8 * cpus, "padded to eight bytes");
    let values: Vec<u8> = (0..cpus).flat_map(|cpu| [u8::try_from(cpu).unwrap() + 1; 8]).collect();
    map.update(&[0; 4], &values, ANY).unwrap();
    let mut read = vec![0xaa; map.value_len()];
    assert!(map.lookup(&[0; 4], &mut read).unwrap());
    for (cpu, value) in read.chunks(8).enumerate() {
        assert_eq!(value[..5], [u8::try_from(cpu).unwrap() + 1; 5]);
    }
}

#[test]
fn queues_have_no_keys() {
    let Some(queue) = able(LinuxMap::create(&MapSpec::new("queue", MapKind::QUEUE, 0, 4, 2))) else { return };
    let mut value = [0; 4];
    assert!(!queue.take(&[], &mut value).unwrap());
    queue.update(&[], &[1; 4], ANY).unwrap();
    queue.update(&[], &[2; 4], ANY).unwrap();
    assert_eq!(queue.update(&[], &[3; 4], ANY).unwrap_err().errno(), 7, "E2BIG");
    assert!(queue.lookup(&[], &mut value).unwrap());
    assert_eq!(value, [1; 4]);
    assert!(queue.take(&[], &mut value).unwrap() && queue.take(&[], &mut value).unwrap());
    assert_eq!(value, [2; 4]);
}

#[test]
fn data_is_there_and_frozen() {
    let data = MapSpec {
        initial_value: Some(b"constant"),
        read_only: true,
        flags: 0x80,
        ..MapSpec::new("x.rodata", MapKind::ARRAY, 4, 8, 1)
    };
    let Some(map) = able(LinuxMap::create(&data)) else { return };
    let mut value = [0; 8];
    assert!(map.lookup(&[0; 4], &mut value).unwrap());
    assert_eq!(&value, b"constant");
    assert_eq!(map.update(&[0; 4], &[0; 8], ANY).unwrap_err().errno(), 1, "EPERM: it is frozen");
    // EBUSY on older kernels.
    assert!([1, 16].contains(&map.freeze().unwrap_err().errno()), "again");
    assert_eq!(map.info().unwrap().name, "x.rodata");
}

#[test]
fn a_perf_event_array_without_a_size_has_one_entry_for_each_cpu() {
    let Some(map) = able(LinuxMap::create(&MapSpec::new("events", MapKind::PERF_EVENT_ARRAY, 4, 4, 0)))
    else {
        return;
    };
    assert_eq!(map.max_entries() as usize, cpus::possible().unwrap().len());
    assert_eq!(map.info().unwrap().max_entries, map.max_entries());
}

#[test]
fn what_the_kernel_refuses_says_which_map() {
    // Rights first: without them the kernel says no more.
    if able(LinuxMap::create(&MapSpec::new("good", MapKind::ARRAY, 4, 4, 1))).is_none() {
        return;
    }
    let error = LinuxMap::create(&MapSpec::new("bad_ring", MapKind::RINGBUF, 0, 0, 4095)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "BPF_MAP_CREATE of map `bad_ring` (ringbuf): Invalid argument (os error 22)"
    );
    let pipe = std::io::pipe().unwrap().0.into();
    let error = LinuxMap::from_descriptor(pipe).unwrap_err();
    assert!(error.to_string().contains("not a bpf-map"), "{error}");
}
