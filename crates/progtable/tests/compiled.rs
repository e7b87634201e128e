//! Objects as clang writes them. The sources are beside the objects.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use ebpf_progtable::{
    Frozen, InfoKind, Instruction, MapKind, ObjectFile, Options, Program, ProgramKind, ReferenceTarget,
    RelocateErrorKind, SlotTarget,
};

static LINKED: &[u8] = include_bytes!("objects/linked.bpf.o");
static MAPS: &[u8] = include_bytes!("objects/maps.bpf.o");
static MAPS_BIG_ENDIAN: &[u8] = include_bytes!("objects/maps-big-endian.bpf.o");
static VALUES: &[u8] = include_bytes!("objects/values.bpf.o");
static VALUES_BIG_ENDIAN: &[u8] = include_bytes!("objects/values-big-endian.bpf.o");
static EXTERNS: &[u8] = include_bytes!("objects/externs.bpf.o");

#[test]
fn programs_and_subprograms() {
    let file: ObjectFile = ObjectFile::open(LINKED).unwrap();
    let row = |program: &Program<'_>| {
        let kind = (program.kind(), program.expected_attach_type());
        format!("{} {} {:?} {}", program.name(), program.section_name(), kind, program.autoload())
    };
    assert_eq!(
        file.programs().map(row).collect::<Vec<_>>(),
        [
            "off tc/ingress (sched_cls, 46) false",
            "first tc/ingress (sched_cls, 46) true",
            "second tc/ingress (sched_cls, 46) true",
            "loops xdp (xdp, 37) true",
            "untyped elsewhere (unspec, 0) true",
        ]
    );
    let subprograms: Vec<_> = file.subprograms().map(Program::name).collect();
    assert_eq!(subprograms, ["shared", "leaf", "unused", "each"]);
    assert!(file.program("shared").is_none(), "subprograms are hidden");
    assert_eq!(file.license(), "GPL");
}

#[test]
fn every_program_takes_only_the_subprograms_it_calls() {
    let file: ObjectFile = ObjectFile::open_named("linked.bpf.o", LINKED).unwrap();
    let len = |name: &str| {
        let of = |name: &str| file.subprograms().find(|program| program.name() == name).unwrap().len();
        let program = file.program(name).unwrap();
        (file.linked_len(program).unwrap() - program.len(), of("shared"), of("leaf"), of("each"))
    };
    let (off, shared, leaf, each) = len("off");
    assert_eq!(off, shared + leaf);
    assert_eq!(len("first").0, shared + leaf);
    assert_eq!(len("second").0, 0);
    assert_eq!(len("loops").0, shared + leaf + each);
}

#[test]
fn linked_code_refers_to_maps_and_stays_inside_itself() {
    let file: ObjectFile = ObjectFile::open(LINKED).unwrap();
    let mut buffer = [Instruction::default(); 64];
    let (mut variables, mut calls, mut callbacks) = (0, 0, 0);
    for program in file.programs() {
        let linked = file.relocate(program, |map| 1000 + i32::try_from(map).unwrap(), &mut buffer).unwrap();
        for (position, instruction) in linked.iter().enumerate() {
            match (instruction.opcode(), instruction.src()) {
                (0x18, 2) => {
                    let map = &file.maps()[usize::try_from(instruction.imm() - 1000).unwrap()];
                    assert!(map.is_internal());
                    assert!(linked[position + 1].imm().unsigned_abs() < map.value_size());
                    variables += 1;
                }
                (0x85, 1) | (0x18, 4) => {
                    let target = i64::try_from(position).unwrap() + 1 + i64::from(instruction.imm());
                    let target = usize::try_from(target).unwrap();
                    assert!(target >= program.len() && target < linked.len());
                    assert_eq!(linked[target - 1].opcode(), 0x95, "a function follows the end of another");
                    *if instruction.opcode() == 0x85 { &mut calls } else { &mut callbacks } += 1;
                }
                _ => {}
            }
        }
    }
    assert!(variables > 5 && calls > 5 && callbacks == 1, "{variables} {calls} {callbacks}");
}

#[test]
fn maps_of_every_sort() {
    for (data, prefix) in [(MAPS, "maps"), (MAPS_BIG_ENDIAN, "maps")] {
        let file: ObjectFile = ObjectFile::open_named("/some/where/maps.bpf.o", data).unwrap();
        let rows: Vec<_> = file
            .maps()
            .iter()
            .map(|map| {
                let sizes = [map.key_size(), map.value_size(), map.max_entries(), map.flags()];
                (map.name(), map.kind(), sizes)
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("ring", MapKind::RINGBUF, [0, 0, 8192, 0]),
                ("perf", MapKind::PERF_EVENT_ARRAY, [4, 4, 0, 0]),
                ("a_map_with_a_long_name", MapKind::HASH, [16, 32, 100, 5]),
                ("outer", MapKind::HASH_OF_MAPS, [8, 4, 3, 0]),
                ("tails", MapKind::PROG_ARRAY, [4, 4, 2, 0]),
                ("bloom", MapKind::BLOOM_FILTER, [0, 8, 9, 0]),
                ("maps.data", MapKind::ARRAY, [4, 4, 1, 0]),
                ("maps.rodata", MapKind::ARRAY, [4, 17, 1, 0x480]),
                (".rodata.a_long_section_name", MapKind::ARRAY, [4, 5, 1, 0x480]),
                ("maps.bss", MapKind::ARRAY, [4, 12, 1, 0x400]),
            ],
            "{prefix}"
        );
        let named = file.map("a_map_with_a_long_name").unwrap();
        assert!(named.is_pinned_by_name());
        assert_eq!(named.numa_node(), 1);
        assert_eq!(file.map("bloom").unwrap().extra(), 3);
        let data = file.map("maps.data").unwrap();
        let order =
            if file.is_native() == cfg!(target_endian = "little") { [1, 0, 0, 0] } else { [0, 0, 0, 1] };
        assert_eq!(data.initial_value(), Some(&order[..]));
        assert!(!data.is_read_only());
        assert_eq!(file.map(".rodata.a_long_section_name").unwrap().initial_value(), Some(&b"name\0"[..]));
        assert!(file.map("maps.rodata").unwrap().is_read_only());
        assert_eq!(file.map("maps.bss").unwrap().initial_value(), None);
        let inner = file.inner_map(file.map("outer").unwrap(), &Options::default()).unwrap();
        assert_eq!(
            (inner.kind, inner.key_size, inner.value_size, inner.max_entries),
            (MapKind::ARRAY, 4, 32, 5)
        );
        assert_eq!(file.inner_map(file.map("tails").unwrap(), &Options::default()), None);
    }
}

#[test]
fn options_change_what_depends_on_the_machine() {
    let mut options = Options::default();
    options.page_size = 65536;
    options.possible_cpus = 12;
    let file: ObjectFile = ObjectFile::open_with(MAPS, &options).unwrap();
    assert_eq!(file.map("ring").unwrap().max_entries(), 65536);
    assert_eq!(file.map("perf").unwrap().max_entries(), 12);
    assert_eq!(file.map(".data").unwrap().value_size(), 4, "an object without a name has no prefix");
}

#[test]
fn what_needs_a_kernel_is_refused_when_linked_and_not_before() {
    let file: ObjectFile = ObjectFile::open_named("externs.bpf.o", EXTERNS).unwrap();
    let linked = |name: &str| {
        let (program, mut buffer) = (file.program(name).unwrap(), [Instruction::default(); 64]);
        let len = file.linked_len(program).expect("its length needs no kernel");
        let linked = file.relocate(program, |_| 0, &mut buffer[..len]);
        linked.map(<[Instruction]>::len).map_err(|error| *error.kind())
    };
    assert!(matches!(linked("config"), Err(RelocateErrorKind::Extern { .. })));
    assert!(matches!(linked("symbol"), Err(RelocateErrorKind::Extern { .. })));
    assert_eq!(linked("field"), Err(RelocateErrorKind::NeedsCoRe));
    assert_eq!(linked("plain"), Ok(2));
    assert_eq!(file.program("plain").unwrap().kind(), ProgramKind::TRACING);
    let kconfig = file.map("externs.kconfig").unwrap();
    assert_eq!((kconfig.value_size(), kconfig.flags()), (4 + 1 + 33, 0x480));
    assert_eq!((kconfig.initial_value(), kconfig.section_index()), (None, None));
}

#[test]
fn an_object_of_the_other_byte_order_says_what_it_refers_to() {
    let references = |data| {
        let file: ObjectFile = ObjectFile::open_named("maps.bpf.o", data).unwrap();
        let programs = file.programs().map(|program| {
            let all = file.references(program).map(|found| match found.unwrap().target {
                ReferenceTarget::Map { map } => (map, 0),
                ReferenceTarget::Variable { map, offset } => (map, offset),
                other => panic!("{other:?}"),
            });
            (file.layout(program).unwrap().len(), all.collect::<Vec<_>>())
        });
        programs.collect::<Vec<_>>()
    };
    let [little, big] = [references(MAPS), references(MAPS_BIG_ENDIAN)];
    assert!(!little[0].1.is_empty());
    assert_eq!(little, big);
    let file: ObjectFile = ObjectFile::open(MAPS_BIG_ENDIAN).unwrap();
    let lines = |file: &ObjectFile<'_>| {
        let layout = file.layout(file.programs().next().unwrap()).unwrap();
        layout.records(InfoKind::Line).map(|line| line.unwrap().line_and_column()).collect::<Vec<_>>()
    };
    assert_eq!(lines(&file), lines(&ObjectFile::open(MAPS).unwrap()));
}

#[test]
fn layouts_and_records_go_by_function() {
    let file: ObjectFile = ObjectFile::open(LINKED).unwrap();
    let program = file.program("loops").unwrap();
    let layout = file.layout(program).unwrap();
    let functions: Vec<_> = layout.functions().map(|(base, function)| (base, function.name())).collect();
    let names: Vec<_> = functions.iter().map(|(_, name)| *name).collect();
    assert_eq!(names, ["loops", "each", "shared", "leaf"]);
    assert_eq!(layout.len(), file.linked_len(program).unwrap());
    assert_eq!(layout.function_of(0).map(|(function, at)| (function.name(), at)), Some(("loops", 0)));
    let (base, _) = functions[2];
    assert_eq!(layout.function_of(base + 1).map(|(function, at)| (function.name(), at)), Some(("shared", 1)));
    assert!(layout.function_of(layout.len()).is_none());
    // One function record for each function, at its start; lines stay inside the program.
    let places = |kind| layout.records(kind).map(|record| record.unwrap().instruction()).collect::<Vec<_>>();
    assert_eq!(places(InfoKind::Function), functions.iter().map(|(base, _)| *base).collect::<Vec<_>>());
    assert!(places(InfoKind::Line).iter().all(|place| *place < layout.len()));
    assert!(places(InfoKind::Line).is_sorted() && places(InfoKind::CoRe).is_empty());
}

#[test]
fn initial_values_name_their_targets() {
    let values = |data| {
        let file: ObjectFile = ObjectFile::open(data).unwrap();
        let mut all = Vec::new();
        for map in file.maps() {
            for value in file.initial_values(map) {
                let value = value.unwrap();
                let target = match value.target {
                    SlotTarget::Map(map) => file.maps()[map].name().to_owned(),
                    SlotTarget::Program(program) => program.name().to_owned(),
                    other => panic!("{other:?}"),
                };
                all.push((map.name().to_owned(), value.slot, target));
            }
        }
        all
    };
    let row = |map: &str, slot, target: &str| (map.to_owned(), slot, target.to_owned());
    let expected =
        [row("outer", 1, "two"), row("outer", 6, "one"), row("tails", 0, "third"), row("tails", 3, "second")];
    assert_eq!(values(VALUES), expected);
    assert_eq!(values(VALUES_BIG_ENDIAN), expected);
    assert_eq!(values(MAPS), [], "maps of these sorts that hold nothing");
}

#[test]
fn maps_are_chosen_until_the_table_is_frozen() {
    let file: ObjectFile = ObjectFile::open(MAPS).unwrap();
    let map = &file.maps()[0];
    assert!(map.autocreate());
    map.set_autocreate(false).unwrap();
    file.set_autocreate(&file.maps()[1], false).unwrap();
    file.freeze().unwrap();
    assert_eq!(map.set_autocreate(true), Err(Frozen), "also if the map is asked alone");
    assert_eq!(file.set_autocreate(map, true), Err(Frozen));
    let created: Vec<_> = file.maps().iter().map(|map| map.autocreate()).collect();
    assert_eq!(created[..3], [false, false, true]);
}

#[test]
fn freezing_has_one_winner_and_no_late_change() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    for round in 0..200 {
        let file: ObjectFile = ObjectFile::open(LINKED).unwrap();
        let winners = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (file, winners) = (&file, &winners);
                scope.spawn(move || {
                    if (round + thread) % 3 != 0 {
                        std::thread::yield_now();
                    }
                    let won = file.freeze().is_ok();
                    winners.fetch_add(usize::from(won), Ordering::Relaxed);
                    let then: Vec<_> = file.programs().map(Program::autoload).collect();
                    std::thread::yield_now();
                    let later: Vec<_> = file.programs().map(Program::autoload).collect();
                    assert_eq!(then, later, "nothing changes once freeze has returned");
                });
            }
            let file = &file;
            scope.spawn(move || {
                let mut refused = false;
                for turn in 0..50 {
                    for program in file.programs() {
                        let answer = file.set_autoload(program, turn % 2 == 0);
                        assert!(!(refused && answer.is_ok()), "once refused, always refused");
                        refused |= answer.is_err();
                    }
                }
            });
        });
        assert_eq!(winners.into_inner(), 1);
    }
}
