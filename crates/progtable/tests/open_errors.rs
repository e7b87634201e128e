//! What opening refuses, one object for each error.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod common;

use common::*;
use ebpf_progtable::{
    BtfError, Instruction, MapKind, MapProblem, ObjectFile, OpenError, Options, Program, ProgramKind,
    SectionTable,
};

fn refusal(data: &[u8]) -> OpenError {
    ObjectFile::<8, 8>::open(data).expect_err("the object is damaged")
}

fn message(elf: &Elf) -> String {
    refusal(&elf.build()).to_string()
}

fn small() -> Elf {
    Elf::new().code("xdp", &[EXIT, EXIT]).function("first", 1, 0, 8).function("second", 1, 8, 8)
}

#[test]
fn a_sound_object_opens() {
    let data = small().section("license", PROGBITS, DATA, b"GPL\0").build();
    let file = ObjectFile::<8, 8>::open(&data).unwrap();
    assert_eq!(file.programs().map(|program| program.name()).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(file.license(), "GPL");
    assert!(file.maps().is_empty());
}

#[test]
fn the_header_is_checked() {
    let good = small().build();
    let with = |position: usize, byte: u8| {
        let mut bad = good.clone();
        bad[position] = byte;
        refusal(&bad)
    };
    assert_eq!(refusal(b""), OpenError::NotElf);
    assert_eq!(refusal(b"\x7fELF"), OpenError::Truncated { what: "file header" });
    assert_eq!(with(0, 0), OpenError::NotElf);
    assert_eq!(with(4, 1), OpenError::Class { class: 1 });
    assert_eq!(with(5, 3), OpenError::ByteOrder { byte_order: 3 });
    if cfg!(target_endian = "little") {
        assert_eq!(with(16, 2), OpenError::NotBpf { kind: 2, machine: 247 });
        assert_eq!(with(18, 62), OpenError::NotBpf { kind: 1, machine: 62 });
        assert_eq!(with(58, 63), OpenError::SectionHeaderSize { size: 63 });
        assert_eq!(with(60, 200), OpenError::Truncated { what: "section headers" });
        assert_eq!(with(62, 200), OpenError::SectionNames);
        let mut no_machine = good.clone();
        no_machine[18] = 0;
        assert!(ObjectFile::<8, 8>::open(&no_machine).is_ok(), "old compilers wrote EM_NONE");
    }
}

#[test]
fn every_truncation_is_refused() {
    let good = small().section("license", PROGBITS, DATA, b"GPL\0").build();
    for len in 0..good.len() {
        let _ = refusal(&good[..len]);
    }
}

#[test]
fn exactly_one_symbol_table() {
    let mut stripped = small();
    stripped.without_symbols = true;
    assert_eq!(message(&stripped), "no symbol table: is the object stripped?");
    let two = small().section(".other", 2, 0, &[]);
    assert_eq!(refusal(&two.build()), OpenError::TwoSymbolTables);
}

#[test]
fn programs_are_checked_in_libbpfs_order() {
    let code = || Elf::new().code("xdp", &[EXIT, EXIT]);
    for (object, expected) in [
        (code().function("f", 1, 8, 16), "program 'f' (offset 8, 16 bytes) is cut off"),
        (
            code().function("f", 1, u64::MAX - 7, 16),
            "program 'f' (offset 18446744073709551608, 16 bytes) is cut off",
        ),
        (code().symbol("f", FUNC, LOCAL, 1, 8, 16), "program 'f' (offset 8, 16 bytes) is cut off"),
        (code().symbol("f", FUNC, LOCAL, 1, 4, 3), "program 'f' is static"),
        (code().function("f", 1, 0, 0), "program 'f' (offset 0, 0 bytes) is corrupted"),
        (code().function("f", 1, 0, 9), "program 'f' (offset 0, 9 bytes) is corrupted"),
        (code().function("f", 1, 4, 8), "program 'f' (offset 4, 8 bytes) is corrupted"),
    ] {
        assert_eq!(message(&object), format!("section 'xdp': {expected}"));
    }
    let mut unnamed = code().function("f", 1, 0, 8).build();
    // The string table is the last section; its size is cut to the one byte of the empty name.
    let name = unnamed.windows(8).position(|window| window == b"\0f\0xdp\0.").unwrap();
    unnamed[name + 1] = 0xff;
    assert_eq!(refusal(&unnamed).to_string(), "section 'xdp': the name of function symbol 1 is unreadable");
}

#[test]
fn the_error_in_the_first_section_is_reported() {
    let object = Elf::new()
        .code("xdp", &[EXIT])
        .code("tc", &[EXIT])
        .function("in_second", 2, 0, 9)
        .function("in_first", 1, 0, 0);
    assert!(message(&object).contains("in_first"));
}

#[test]
fn static_functions_are_subprograms_in_text_only() {
    let object = Elf::new().code(".text", &[EXIT]).symbol("helper", FUNC, LOCAL, 1, 0, 8).build();
    let file = ObjectFile::<8, 8>::open(&object).unwrap();
    assert_eq!(file.programs().count(), 0);
    assert_eq!(file.subprograms().map(|program| program.name()).collect::<Vec<_>>(), ["helper"]);
    assert_eq!(file.program("helper").map(|program| program.name()), None);
}

#[test]
fn capacity_says_how_many_there_are() {
    let data = small().build();
    let error = ObjectFile::<1, 8>::open(&data).unwrap_err();
    assert_eq!(error, OpenError::TooManyPrograms { found: 2, capacity: 1 });
    assert_eq!(error.to_string(), "2 programs and subprograms, and the table holds 1");

    let data = small()
        .section(".data", PROGBITS, DATA, &[1])
        .section(".rodata", PROGBITS, DATA, &[1])
        .section(".bss", NOBITS, DATA, &[1])
        .build();
    assert_eq!(
        ObjectFile::<8, 2>::open(&data).unwrap_err(),
        OpenError::TooManyMaps { found: 3, capacity: 2 }
    );
    assert!(ObjectFile::<2, 3>::open(&data).is_ok());
}

#[test]
fn sections_are_checked() {
    for (object, expected) in [
        (
            small().section("maps", PROGBITS, DATA, &[0; 20]),
            "section 'maps' declares maps in a way that is no longer supported: use '.maps'",
        ),
        (small().section("version", PROGBITS, DATA, &[0; 3]), "section 'version' holds 3 bytes instead of 4"),
        (small().section("license", PROGBITS, DATA, b"GPL\xff"), "the licence is not text"),
        (small().section(".BTF", NOBITS, 0, &[]), "section '.BTF' has the wrong type 8"),
        (small().code(".text", &[EXIT]).code(".text", &[EXIT]), "more than one section '.text'"),
        (small().relocations(99, &[]), "relocation section 2 is malformed"),
        (
            small().section(".maps", PROGBITS, DATA, &[0; 8]),
            "type information (.BTF): missing, but maps are declared with it",
        ),
    ] {
        assert_eq!(message(&object), expected);
    }
    let mut wide = small().relocations(1, &[]);
    wide.sections.last_mut().unwrap().entry_size = 24;
    assert_eq!(refusal(&wide.build()), OpenError::Relocations { section: 2 });
}

#[test]
fn the_licence_is_cut_where_the_kernel_cuts_it() {
    let long = [b'x'; 80];
    let data = small().section("license", PROGBITS, DATA, &long).build();
    assert_eq!(ObjectFile::<8, 8>::open(&data).unwrap().license(), "x".repeat(63));
    let data = small().section("license", PROGBITS, DATA, b"MIT\0GPL").build();
    assert_eq!(ObjectFile::<8, 8>::open(&data).unwrap().license(), "MIT");
}

/// An object with one map, whose members `members` declare.
fn declared(members: impl FnOnce(&mut Btf) -> Vec<[u32; 3]>) -> Vec<u8> {
    let mut btf = Btf::new();
    let members = members(&mut btf);
    btf.declare("m", &members);
    with_btf(&btf.build())
}

fn with_btf(btf: &[u8]) -> Vec<u8> {
    Elf::new()
        .section(".maps", PROGBITS, DATA, &[0; 8])
        .section(".BTF", PROGBITS, 0, btf)
        .symbol("m", OBJECT, GLOBAL, 1, 0, 8)
        .build()
}

fn problem(members: impl FnOnce(&mut Btf) -> Vec<[u32; 3]>) -> MapProblem {
    match refusal(&declared(members)) {
        OpenError::Map { map, problem } => {
            assert_eq!(map.as_str(), "m");
            problem
        }
        error => panic!("{error}"),
    }
}

#[test]
fn a_declared_map_is_read() {
    let data = declared(|btf| {
        let int = btf.add("int", 1, 0, 4, &[32]);
        let array = btf.add("", 3, 0, 0, &[int, int, 6]);
        let typedef = btf.add("t", 8, 0, array, &[]);
        let key = btf.add("", 2, 0, int, &[]);
        let value = btf.add("", 2, 0, typedef, &[]);
        let wide = btf.string("BIG");
        let wide = btf.add("", 19, 1, 8, &[wide, 7, 1]);
        vec![
            btf.number("type", 1),
            btf.number("max_entries", 10),
            btf.number("map_flags", 1),
            btf.number("key_size", 4),
            [btf.string("key"), key, 0],
            [btf.string("value"), value, 0],
            [btf.string("map_extra"), wide, 0],
        ]
    });
    let file = ObjectFile::<8, 8>::open(&data).unwrap();
    let [map] = file.maps() else { panic!("{:?}", file.maps()) };
    assert_eq!((map.name(), map.kind()), ("m", MapKind::HASH));
    assert_eq!((map.key_size(), map.value_size(), map.max_entries(), map.flags()), (4, 24, 10, 1));
    assert_eq!(map.extra(), (1 << 32) + 7);
    assert!(!map.is_internal() && !map.is_pinned_by_name() && map.initial_value().is_none());
}

#[test]
fn a_wrong_declaration_says_what_is_wrong() {
    assert_eq!(problem(|_| vec![]), MapProblem::NoType);
    assert_eq!(
        problem(|btf| vec![btf.number("type", 2), btf.number("key_size", 4), btf.number("key_size", 8)]),
        MapProblem::ConflictingSizes { field: "key_size", first: 4, second: 8 }
    );
    assert_eq!(
        problem(|btf| vec![btf.number("type", 2), btf.number("pinning", 2)]),
        MapProblem::Pinning { pinning: 2 }
    );
    assert_eq!(
        problem(|btf| vec![btf.number("type", 2), btf.number("type", 2), btf.number("colour", 2)])
            .to_string(),
        "unknown member 'colour'"
    );
    assert_eq!(
        problem(|btf| {
            let int = btf.add("int", 1, 0, 4, &[32]);
            vec![[btf.string("type"), int, 0]]
        }),
        MapProblem::MalformedField { field: "type" }
    );
    assert_eq!(
        problem(|btf| {
            let pointer = btf.add("", 2, 0, 0, &[]);
            vec![btf.number("type", 2), [btf.string("value"), pointer, 0]]
        }),
        MapProblem::NoSize { field: "value" }
    );
    assert_eq!(
        problem(|btf| {
            let array = btf.add("", 3, 0, 0, &[0, 0, 0]);
            vec![btf.number("type", 2), [btf.string("values"), array, 0]]
        }),
        MapProblem::Values
    );
    assert_eq!(
        problem(|btf| (0..33).map(|_| btf.number("type", 2)).collect()),
        MapProblem::TooManyFields { found: 33 }
    );
}

#[test]
fn references_in_a_circle_end() {
    // A typedef of itself, as the type of a value and as the type of a number.
    assert_eq!(
        problem(|btf| {
            btf.add("t", 8, 0, 1, &[]);
            let pointer = btf.add("", 2, 0, 1, &[]);
            vec![btf.number("type", 2), [btf.string("value"), pointer, 0]]
        }),
        MapProblem::NoSize { field: "value" }
    );
    let circle = declared(|btf| {
        let typedef = btf.add("t", 8, 0, 1, &[]);
        vec![[btf.string("type"), typedef, 0]]
    });
    assert_eq!(refusal(&circle), OpenError::Btf(BtfError::TypeNumber { id: 1 }));
}

#[test]
fn type_information_is_checked() {
    let mut btf = Btf::new();
    let member = btf.number("type", 2);
    btf.declare("m", &[member]);
    let good = btf.build();
    assert!(ObjectFile::<8, 8>::open(&with_btf(&good)).is_ok());
    let error = |bytes: &[u8]| match refusal(&with_btf(bytes)) {
        OpenError::Btf(error) => error,
        error => panic!("{error}"),
    };
    assert_eq!(error(&good[..23]), BtfError::Header);
    assert_eq!(error(&good[..good.len() - 1]), BtfError::Header);
    let mut bad = good.clone();
    bad[24 + 7] = 31;
    assert_eq!(error(&bad), BtfError::Type { id: 1 });
    let mut bad = good.clone();
    *bad.last_mut().unwrap() = b'x';
    assert_eq!(error(&bad), BtfError::Strings);
    assert_eq!(error(&Btf::new().build()), BtfError::NoDatasec { section: ".maps" });
    let mut many = Btf::new();
    for _ in 0..1025 {
        many.add(".other", 15, 0, 0, &[]);
    }
    assert_eq!(error(&many.build()), BtfError::TooManyDatasecs { limit: 1024 });
}

#[test]
fn a_map_without_a_symbol_is_refused() {
    let mut btf = Btf::new();
    let member = btf.number("type", 2);
    btf.declare("m", &[member]);
    let data = Elf::new()
        .section(".maps", PROGBITS, DATA, &[0; 8])
        .section(".BTF", PROGBITS, 0, &btf.build())
        .build();
    assert_eq!(refusal(&data).to_string(), "map 'm': no symbol says where it is");
}

#[test]
fn a_hostile_number_of_types_does_not_make_lookups_quadratic() {
    // 400 000 types, and a section of variables that refer to the last ones by turns: each second lookup is of what
    // stands before the type found last, and as long as it can be.
    let mut btf = Btf::new();
    for _ in 0..400_000 {
        btf.add("", 2, 0, 0, &[]);
    }
    let last = btf.add("", 14, 0, 1, &[0]);
    let variables: Vec<u32> = (0..65_535).flat_map(|turn| [last - 2 - turn % 2, 0, 4]).collect();
    btf.add(".data", 15, 65_535, 0, &variables);
    let data = Elf::new()
        .section(".data", PROGBITS, DATA, &[0; 4])
        .section(".maps", PROGBITS, DATA, &[])
        .section(".BTF", PROGBITS, 0, &btf.build())
        .build();
    assert_eq!(refusal(&data), OpenError::Btf(BtfError::TooMuchWork));
}

#[test]
fn both_byte_orders_are_read() {
    for big_endian in [false, true] {
        let mut elf =
            small().section("license", PROGBITS, DATA, b"GPL\0").section(".bss", NOBITS, DATA, &[0; 9]);
        elf.big_endian = big_endian;
        let data = elf.build();
        let file = ObjectFile::<8, 8>::open_named("dir/name.bpf.o", &data).unwrap();
        assert_eq!(file.is_native(), big_endian == cfg!(target_endian = "big"));
        assert_eq!(file.programs().count(), 2);
        assert_eq!(file.maps()[0].value_size(), 9);
        assert_eq!(file.maps()[0].name(), "name.bss");
        assert_eq!(file.linked_len(file.program("first").unwrap()), Ok(1), "of either byte order");
        let mut buffer = [Instruction::default(); 1];
        let linked = file.relocate(file.program("first").unwrap(), |_| 0, &mut buffer);
        let linked = linked.map(<[_]>::len);
        match file.is_native() {
            true => assert_eq!(linked, Ok(1)),
            false => assert_eq!(
                linked.unwrap_err().to_string(),
                "program 'first' (section 'xdp'): the object is of the other byte order"
            ),
        }
    }
}

#[test]
fn programs_are_ordered_by_section_and_offset() {
    let code = [EXIT; 4];
    let data = Elf::new()
        .code("xdp", &code)
        .code("?tc", &code)
        .function("d", 2, 8, 8)
        .function("b", 1, 8, 8)
        .function("alias_of_b", 1, 8, 16)
        .function("c", 2, 0, 8)
        .function("a", 1, 0, 8)
        .build();
    let file = ObjectFile::<8, 8>::open(&data).unwrap();
    let names: Vec<_> = file.programs().map(|program| program.name()).collect();
    assert_eq!(names, ["a", "alias_of_b", "b", "c", "d"], "gaps and overlaps are allowed");
    let autoload: Vec<_> = file.programs().map(|program| program.autoload()).collect();
    assert_eq!(autoload, [true, true, true, false, false]);
    assert_eq!(file.program("c").unwrap().section_name(), "tc");
    assert_eq!(file.program("d").unwrap().section_offset(), 1);
    assert_eq!(file.program("alias_of_b").unwrap().len(), 2);
    assert_eq!(file.program("a").unwrap().instructions(), [Instruction::new(0x95, 0, 0, 0, 0)]);
}

#[test]
fn sections_are_told_by_the_table_of_windows_if_asked() {
    let mut options = Options::default();
    options.section_table = SectionTable::Windows;
    let code = [EXIT; 2];
    let data = Elf::new()
        .code("xdp_filter", &code)
        .code("?cgroup/connect6", &code)
        .code("kprobe/x", &code)
        .code(".text", &code)
        .function("a", 1, 0, 16)
        .function("b", 2, 0, 16)
        .function("c", 3, 0, 16)
        .function("d", 4, 0, 16)
        .build();
    let rows = |file: &ObjectFile<'_, 8, 8>| {
        let row =
            |program: &Program<'_>| (program.kind(), program.expected_attach_type(), program.autoload());
        file.programs().map(row).collect::<Vec<_>>()
    };
    let file = ObjectFile::<8, 8>::open_with(&data, &options).unwrap();
    assert_eq!(
        rows(&file),
        [
            (ProgramKind::WINDOWS_XDP, 1, true),
            (ProgramKind::WINDOWS_CGROUP_SOCK_ADDR, 4, false),
            (ProgramKind::UNSPEC, 0, true),
        ]
    );
    let guid = file.program("b").unwrap().windows_section().unwrap().attach_guid();
    assert_eq!(guid, Some(0xa82e37b2_aee7_11ec_9a30_18602489beee));
    assert!(file.programs().all(|program| program.section_kind().is_none()));
    assert_eq!(file.subprograms().count(), 1);
    let file = ObjectFile::<8, 8>::open(&data).unwrap();
    assert_eq!(
        rows(&file),
        [
            (ProgramKind::UNSPEC, 0, true),
            (ProgramKind::CGROUP_SOCK_ADDR, 11, false),
            (ProgramKind::KPROBE, 0, true)
        ]
    );
    assert!(file.programs().all(|program| program.windows_section().is_none()));
    assert_eq!(ProgramKind::WINDOWS_BIND.windows_number(), Some(2));
    assert_eq!(ProgramKind::KPROBE.windows_number(), None);
    assert_eq!(
        (ProgramKind::WINDOWS_BIND.to_string(), ProgramKind::KPROBE.to_string()),
        ("bind".into(), "kprobe".into())
    );

    // The only program may stand where subprograms do.
    let alone = Elf::new().code(".text", &code).function("alone", 1, 0, 16).build();
    assert_eq!(ObjectFile::<8, 8>::open(&alone).unwrap().programs().count(), 0);
    let file = ObjectFile::<8, 8>::open_with(&alone, &options).unwrap();
    assert_eq!(rows(&file), [(ProgramKind::UNSPEC, 0, true)]);
    assert_eq!(file.linked_len(file.program("alone").unwrap()), Ok(2));
}
