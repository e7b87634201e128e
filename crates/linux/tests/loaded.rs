//! Whole objects on the running kernel, through the loader.
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

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd};

use common::until;
use ebpf_linux::{Error, Linux, LinuxMap, LinuxProgram, Target, TestRun, XdpMode, ids};
use ebpf_loader::{
    AttachError, Instruction, LoadError, Loaded, MapKind, MapSpec, Object, ProgramKind, SlotProblem,
};

const MAPS: &[u8] = include_bytes!("../../cli/programs/maps.bpf.o");
const SECTIONS: &[u8] = include_bytes!("../../cli/programs/sections.bpf.o");
const VALUES: &[u8] = include_bytes!("../../progtable/tests/objects/values.bpf.o");
const FROM_KERNEL: &str = include_str!("../../cli/programs/maps.kernel");

fn load<'o, 'd>(object: &'o Object<'d>) -> Option<Loaded<'o, 'static, 'd, Linux>> {
    let mut scratch = vec![Instruction::default(); object.scratch_len().unwrap()];
    let mut loaded = object.on(&Linux);
    match loaded.load(&mut scratch) {
        Ok(()) => Some(loaded),
        Err(LoadError::LoadProgram { source, .. } | LoadError::CreateMap { source, .. }) => {
            common::able(Err(source))
        }
        Err(error) => panic!("{error}"),
    }
}

fn run(program: &LinuxProgram) -> u32 {
    let packet = [0; 64];
    let data = if program.kind() == ProgramKind::SYSCALL { &[] } else { &packet[..] };
    program.test_run(TestRun { data, ..Default::default() }).unwrap().returned
}

#[test]
fn three_programs_run_and_their_records_are_those_that_others_read() {
    let object: Object = Object::open_named("maps.bpf.o", MAPS).unwrap();
    let Some(loaded) = load(&object) else { return };
    let mut ring = loaded.ring("events").unwrap();
    let mut records = Vec::new();
    for (_, program) in loaded.programs() {
        assert_eq!(run(program.unwrap()), 0);
        while let Ok(record) = ring.next_record() {
            records.push(record.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
    }
    let expected: Vec<&str> = FROM_KERNEL.lines().filter_map(|line| line.strip_prefix("events ")).collect();
    assert_eq!(records, expected);
}

/// What of ours the kernel has: the numbers of programs that use one of our maps.
fn users_of(maps: &BTreeSet<u32>) -> BTreeSet<u32> {
    let uses = |id: &u32| {
        let info = LinuxProgram::open_id(*id).and_then(|program| program.info());
        info.is_ok_and(|info| info.maps.iter().any(|map| maps.contains(map)))
    };
    ids::programs().unwrap().into_iter().filter(uses).collect()
}

#[test]
fn programs_that_are_off_are_nowhere_in_the_kernel() {
    let object: Object = Object::open_named("maps.bpf.o", MAPS).unwrap();
    object.set_autoload("test_LRU_map", false).unwrap();
    object.set_autoload("test_PUSH_POP_map", false).unwrap();
    let Some(loaded) = load(&object) else { return };
    let maps: BTreeSet<u32> = loaded.maps().map(|(_, map)| map.info().unwrap().id).collect();
    let program = loaded.program("test_maps").unwrap();
    let id = program.info().unwrap().id;
    assert_eq!(users_of(&maps), BTreeSet::from([id]), "every map is used by that program or by none");
    // One descriptor of one program.
    let descriptor = program.as_fd().as_raw_fd();
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap();
    assert!(
        info.lines()
            .any(|line| line.strip_prefix("prog_id:").is_some_and(|number| number.trim() == id.to_string())),
        "{info}"
    );
    drop(loaded);
    until(
        "all is gone",
        || {},
        || LinuxProgram::open_id(id).is_err() && maps.iter().all(|map| LinuxMap::open_id(*map).is_err()),
    );
}

#[test]
fn a_program_that_the_verifier_refuses_takes_everything_with_it_and_not_when_it_is_off() {
    // The first instruction of test_LRU_map becomes one that reads a register nobody has set.
    let mut bytes = MAPS.to_vec();
    let at = {
        let object: Object = Object::open_named("maps.bpf.o", MAPS).unwrap();
        object.program("test_LRU_map").unwrap().instruction_bytes().as_ptr().addr() - MAPS.as_ptr().addr()
    };
    bytes[at..at + 8].copy_from_slice(&Instruction::new(0xbf, 0, 5, 0, 0).to_bytes());
    let object: Object = Object::open_named("maps.bpf.o", &bytes).unwrap();
    let mut scratch = vec![Instruction::default(); object.scratch_len().unwrap()];
    match object.on(&Linux).load(&mut scratch) {
        Ok(()) => panic!("the kernel took it"),
        Err(LoadError::LoadProgram { program, source }) if !source.is_permission() => {
            assert_eq!((program.as_str(), source.errno()), ("test_LRU_map", 13));
            assert!(source.log().contains("R5 !read_ok"), "{}", source.log());
        }
        Err(error) => {
            println!("skipped: {error}");
            return;
        }
    }
    let object: Object = Object::open_named("maps.bpf.o", &bytes).unwrap();
    object.set_autoload("test_LRU_map", false).unwrap();
    let loaded = load(&object).unwrap();
    assert_eq!(run(loaded.program("test_maps").unwrap()), 0);
}

#[test]
fn programs_with_functions_and_callbacks_and_data() {
    let object: Object = Object::open_named("sections.bpf.o", SECTIONS).unwrap();
    let Some(loaded) = load(&object) else { return };
    for (program, handle) in loaded.programs() {
        if let Some(handle) = handle {
            assert!(handle.info().unwrap().verified_instructions > 0, "{}", program.name());
        }
    }
}

/// The numbers of all maps with that name.
fn maps_named(name: &'static str) -> impl Fn() -> Vec<u32> {
    let is_named = move |id: &u32| LinuxMap::open_id(*id).is_ok_and(|map| map.name() == name);
    move || ids::maps().unwrap().into_iter().filter(is_named).collect()
}

#[test]
fn maps_hold_maps_and_programs_from_the_start() {
    // `first` looks up slot 1 of a map of maps, and calls slot 3 of a map of programs only if it finds one there.
    for (has_tails, returned) in [(true, 2), (false, 0)] {
        let object: Object = Object::open_named("values.bpf.o", VALUES).unwrap();
        object.set_autoload("third", true).unwrap();
        if !has_tails {
            object.set_autocreate("tails", false).unwrap();
            object.set_autoload("first", false).unwrap();
        }
        let Some(loaded) = load(&object) else { return };
        if has_tails {
            assert_eq!(run(loaded.program("first").unwrap()), returned, "the program in slot 3 has run");
        }
        let (outer, one, two) = (loaded.map("outer").unwrap(), loaded.map("one"), loaded.map("two"));
        let inner = |slot: u32| {
            let mut id = [0; 4];
            let found = outer.lookup(&slot.to_ne_bytes(), &mut id).unwrap();
            found.then(|| u32::from_ne_bytes(id))
        };
        let id = |map: Option<&LinuxMap>| Some(map.unwrap().info().unwrap().id);
        assert_eq!((inner(0), inner(1), inner(6)), (None, id(two), id(one)));
        // What said what they are like is needed no longer.
        let models = maps_named("outer.inner");
        until("the model of the inner maps is gone", || {}, || models().is_empty());
        let ids = (inner(1).unwrap(), inner(6).unwrap());
        drop(loaded);
        until(
            "the inner maps are gone too",
            || {},
            || LinuxMap::open_id(ids.0).is_err() && LinuxMap::open_id(ids.1).is_err(),
        );
    }
}

#[test]
fn a_slot_beyond_the_map_is_refused_and_everything_goes() {
    let object: Object = Object::open_named("values.bpf.o", VALUES).unwrap();
    // `tails` holds `third`, which is off.
    let mut scratch = vec![Instruction::default(); object.scratch_len().unwrap()];
    match object.on(&Linux).load(&mut scratch) {
        Err(LoadError::SetSlot { map, slot, problem: SlotProblem::Off }) => {
            assert_eq!((map.as_str(), slot), ("tails", 0));
        }
        Err(LoadError::CreateMap { source, .. }) => drop(common::able::<()>(Err(source))),
        other => panic!("{:?}", other.err()),
    }
    let Some(inner) = common::able(LinuxMap::create(&MapSpec::new("inner", MapKind::ARRAY, 4, 8, 3))) else {
        return;
    };
    let outer =
        LinuxMap::create_of_maps(&MapSpec::new("outer", MapKind::ARRAY_OF_MAPS, 4, 4, 2), &inner).unwrap();
    outer.set_descriptor(1, inner.as_fd()).unwrap();
    assert_eq!(outer.set_descriptor(2, inner.as_fd()).unwrap_err().errno(), 7, "E2BIG");
    let other = LinuxMap::create(&MapSpec::new("other", MapKind::ARRAY, 4, 16, 3)).unwrap();
    let error = outer.set_descriptor(0, other.as_fd()).unwrap_err();
    assert_eq!((error.call(), error.errno()), ("BPF_MAP_UPDATE_ELEM", 22), "not like the first: {error}");
    let alone = LinuxMap::create(&MapSpec::new("alone", MapKind::HASH_OF_MAPS, 4, 4, 2)).unwrap_err();
    assert!([9, 22].contains(&alone.errno()), "no inner map: {alone}");
}

#[test]
fn what_is_attached_is_detached_before_it_is_unloaded() {
    let object: Object = Object::open_named("maps.bpf.o", MAPS).unwrap();
    let Some(loaded) = load(&object) else { return };
    let lo = std::fs::read_to_string("/sys/class/net/lo/ifindex").unwrap().trim().parse().unwrap();
    let refused: AttachError<Error> = loaded
        .attach_all::<4>([
            ("test_LRU_map", Target::Xdp { interface: lo, mode: XdpMode::Generic }),
            ("test_maps", Target::RawTracepoint("sys_enter")),
        ])
        .unwrap_err();
    assert!(refused.to_string().starts_with("attaching program `test_maps`: "), "{refused}");
    // Nothing is left on the interface: it can be attached again.
    until(
        "the interface is free",
        || {},
        || loaded.attach("test_LRU_map", Target::Xdp { interface: lo, mode: XdpMode::Generic }).is_ok(),
    );
}
