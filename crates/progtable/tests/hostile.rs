//! Objects that lie: parts that overlap, that refer to themselves, and counts without anything behind them.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]
#![cfg(target_endian = "little")]

mod common;

use common::*;
use ebpf_progtable::{BtfError, MapProblem, ObjectFile, OpenError};

fn open(data: &[u8]) -> Result<ObjectFile<'_, 16, 8>, OpenError> {
    ObjectFile::open(data)
}

fn refusal(data: &[u8]) -> OpenError {
    open(data).expect_err("the object lies")
}

/// Two programs in the section 1; then the symbol table (2) and the strings (3).
fn small() -> Vec<u8> {
    let elf = Elf::new().code("xdp", &[EXIT, EXIT]).function("first", 1, 0, 8).function("second", 1, 8, 8);
    elf.build()
}

/// Fields of `Elf64_Shdr`: offset and width.
const NAME: (usize, usize) = (0, 4);
const KIND: (usize, usize) = (4, 4);
const FLAGS: (usize, usize) = (8, 8);
const OFFSET: (usize, usize) = (24, 8);
const SIZE: (usize, usize) = (32, 8);
const LINK: (usize, usize) = (40, 4);
const INFO: (usize, usize) = (44, 4);

fn number(data: &[u8], at: usize, width: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes[..width].copy_from_slice(&data[at..at + width]);
    u64::from_le_bytes(bytes)
}

fn headers(data: &[u8]) -> usize {
    number(data, 40, 8) as usize
}

fn get(data: &[u8], section: usize, (at, width): (usize, usize)) -> u64 {
    number(data, headers(data) + section * 64 + at, width)
}

fn set(data: &mut [u8], section: usize, (at, width): (usize, usize), value: u64) {
    let at = headers(data) + section * 64 + at;
    data[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

#[test]
fn counts_without_anything_behind_them() {
    // The number of sections, as the header counts it and as the first section does.
    for count in [5, 200, 0xfeff, 0xffff_u16] {
        let mut data = small();
        data[60..62].copy_from_slice(&count.to_le_bytes());
        assert_eq!(refusal(&data), OpenError::Truncated { what: "section headers" }, "{count}");
    }
    for count in [5, u64::from(u32::MAX), 1 << 58, 1 << 60, u64::MAX / 64, u64::MAX] {
        let mut data = small();
        data[60..62].fill(0);
        set(&mut data, 0, SIZE, count);
        assert_eq!(refusal(&data), OpenError::Truncated { what: "section headers" }, "{count}");
    }
    let mut data = small();
    data[60..62].fill(0);
    set(&mut data, 0, SIZE, 4);
    assert_eq!(open(&data).unwrap().programs().count(), 2, "four is what there is");

    // Sizes and offsets that are too large, or wrap.
    let file = small().len() as u64;
    for (field, value) in [
        (SIZE, file),
        (SIZE, 1 << 32),
        (SIZE, u64::MAX),
        (OFFSET, file),
        (OFFSET, 1 << 32),
        (OFFSET, u64::MAX),
        (OFFSET, u64::MAX - 15),
    ] {
        let mut data = small();
        set(&mut data, 1, field, value);
        let message = refusal(&data).to_string();
        assert_eq!(message, "truncated: section 'xdp' reaches beyond the end of the file", "{value:#x}");
        let mut data = small();
        set(&mut data, 2, field, value);
        assert_eq!(refusal(&data), OpenError::Truncated { what: "symbol table" }, "{value:#x}");
    }
    for offset in [u64::MAX, u64::MAX - 63, 1 << 32, file - 63] {
        let mut data = small();
        data[40..48].copy_from_slice(&offset.to_le_bytes());
        assert_eq!(refusal(&data), OpenError::Truncated { what: "section headers" }, "{offset:#x}");
    }
}

#[test]
fn parts_that_refer_to_themselves() {
    // The symbols' names are the symbol table; every name in it is what stands there, and harmless.
    let mut data = small();
    set(&mut data, 2, LINK, 2);
    match open(&data) {
        Ok(file) => assert_eq!(file.programs().count(), 2),
        Err(error) => assert!(matches!(error, OpenError::ProgramName { .. }), "{error}"),
    }
    // They are nowhere.
    for link in [0, 4, 5, u64::from(u32::MAX)] {
        let mut data = small();
        set(&mut data, 2, LINK, link);
        assert_eq!(refusal(&data), OpenError::SymbolNames, "{link}");
    }
    // The sections' names are the headers themselves.
    let mut data = small();
    let (start, size) = (headers(&data) as u64, 4 * 64);
    set(&mut data, 3, OFFSET, start);
    set(&mut data, 3, SIZE, size);
    let file = open(&data).unwrap();
    assert!(file.programs().all(|program| program.section_name().is_empty()), "they begin with zeros");
    // The header of the sections is the file's header.
    let mut data = small();
    data[40..48].fill(0);
    assert_eq!(refusal(&data), OpenError::SectionNames, "no headers: an object without sections");
    let mut data = small();
    data[40..48].copy_from_slice(&1_u64.to_le_bytes());
    let _ = refusal(&data);
    // Relocations of the relocations.
    let object = Elf::new().code("xdp", &[EXIT]).relocations(2, &[(0, 1)]).function("f", 1, 0, 8).build();
    assert_eq!(open(&object).unwrap().programs().count(), 1);
}

#[test]
fn sections_that_overlap() {
    // Two sections of programs that are the same bytes, and a third that is the whole file.
    let elf = Elf::new()
        .code("xdp", &[EXIT, EXIT])
        .code("tc", &[EXIT, EXIT])
        .code("socket", &[EXIT])
        .function("a", 1, 0, 16)
        .function("b", 2, 0, 16)
        .function("c", 3, 64, 8);
    let mut data = elf.build();
    let start = get(&data, 1, OFFSET);
    set(&mut data, 2, OFFSET, start);
    set(&mut data, 3, OFFSET, 0);
    let len = data.len() as u64 / 8 * 8;
    set(&mut data, 3, SIZE, len);
    let file = open(&data).unwrap();
    let code: Vec<_> = file.programs().map(|program| program.instructions()).collect();
    assert_eq!(code, [[EXIT, EXIT].as_slice(), &[EXIT, EXIT], &[EXIT]]);
    assert_eq!(code[0].as_ptr(), code[1].as_ptr(), "nothing is copied");
    assert_eq!(code[0].as_ptr(), code[2].as_ptr());

    // The symbol table as code, and as data.
    let mut data = small();
    for (section, kind, flags) in [(1, PROGBITS, EXEC), (1, PROGBITS, DATA)] {
        let (start, size) = (get(&data, 2, OFFSET), get(&data, 2, SIZE));
        set(&mut data, section, OFFSET, start);
        set(&mut data, section, SIZE, size);
        set(&mut data, section, KIND, u64::from(kind));
        set(&mut data, section, FLAGS, flags);
        let programs = open(&data).unwrap().programs().count();
        assert_eq!(programs, if flags == EXEC { 2 } else { 0 });
    }
    // Programs that overlap are programs, and those at one place stand in the reverse order of their symbols, as libbpf has it.
    let elf = Elf::new()
        .code("xdp", &[EXIT, EXIT, EXIT])
        .function("whole", 1, 0, 24)
        .function("middle", 1, 8, 8)
        .function("rest", 1, 8, 16);
    let data = elf.build();
    let names: Vec<_> = open(&data).unwrap().programs().map(|program| program.name()).collect();
    assert_eq!(names, ["whole", "rest", "middle"]);
}

#[test]
fn names_that_never_end() {
    // A section's name that is longer than any, and one that is not ended at all.
    let long = Box::leak("x".repeat(256).into_boxed_str());
    assert_eq!(refusal(&Elf::new().code(long, &[EXIT]).build()), OpenError::SectionName { section: 1 });
    let longest = Box::leak("x".repeat(255).into_boxed_str());
    assert!(open(&Elf::new().code(longest, &[EXIT]).build()).is_ok());
    let mut data = small();
    let last = get(&data, 3, SIZE) - 1;
    set(&mut data, 3, SIZE, last);
    assert!(matches!(refusal(&data), OpenError::SectionName { section: 3 }), "its last byte was the zero");
    for name in [u64::from(u32::MAX), last + 1, 1 << 31] {
        let mut data = small();
        set(&mut data, 1, NAME, name);
        assert_eq!(refusal(&data), OpenError::SectionName { section: 1 });
    }
    let long = Box::leak("x".repeat(4096).into_boxed_str());
    let data = Elf::new().code("xdp", &[EXIT]).function(long, 1, 0, 8).build();
    assert!(matches!(refusal(&data), OpenError::ProgramName { symbol: 1, .. }));
}

fn with_btf(btf: &[u8]) -> Vec<u8> {
    Elf::new()
        .section(".maps", PROGBITS, DATA, &[0; 8])
        .section(".BTF", PROGBITS, 0, btf)
        .symbol("m", OBJECT, GLOBAL, 1, 0, 8)
        .build()
}

fn btf() -> Btf {
    let mut btf = Btf::new();
    let member = btf.number("type", 2);
    btf.declare("m", &[member]);
    btf
}

#[test]
fn types_that_lie() {
    let good = btf().build();
    assert!(open(&with_btf(&good)).is_ok());
    // Header: lengths and offsets that reach beyond, wrap, or overlap.
    for (at, values) in [
        (4, vec![u32::MAX, 1 << 31, good.len() as u32]),
        (8, vec![u32::MAX, u32::MAX - 3, 4]),
        (12, vec![u32::MAX, u32::MAX - 3, 1 << 30, 3]),
        (16, vec![u32::MAX, 1 << 30, 0]),
        (20, vec![u32::MAX, 1 << 30]),
    ] {
        for value in values {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert_eq!(refusal(&with_btf(&bad)), OpenError::Btf(BtfError::Header), "{value:#x} at {at}");
        }
    }
    // A type with more members than the section has room for.
    for kind in [4, 5, 6, 13, 15, 19] {
        let mut bad = Btf::new();
        bad.add("", kind, 0xffff, 8, &[]);
        assert_eq!(refusal(&with_btf(&bad.build())), OpenError::Btf(BtfError::Type { id: 1 }), "{kind}");
    }
    // A last type of which one word or two are there.
    for words in [1, 2] {
        let mut bad = btf();
        bad.cut(3 - words);
        let id = bad.count();
        assert_eq!(refusal(&with_btf(&bad.build())), OpenError::Btf(BtfError::Type { id }), "{words}");
    }
    // A structure that is its own member, and a map that is its own inner map.
    let mut bad = Btf::new();
    let kind = bad.number("type", 12);
    let values = bad.string("values");
    // The next types: an array of pointers to the structure after them.
    let array = bad.add("", 3, 0, 0, &[bad.count() + 2, 0, 0]);
    let _pointer = bad.add("", 2, 0, bad.count() + 2, &[]);
    bad.declare("m", &[kind, [values, array, 0]]);
    match refusal(&with_btf(&bad.build())) {
        OpenError::Map { problem, .. } => assert_eq!(problem, MapProblem::NestedInnerMap),
        error => panic!("{error}"),
    }
    // A variable that is the section, and one that there is not.
    for id in [0, 5, 6, u32::MAX] {
        let mut bad = btf();
        let words = bad.words_mut();
        let last = words.len() - 3;
        words[last] = id;
        let error = refusal(&with_btf(&bad.build()));
        assert!(
            matches!(error, OpenError::Btf(BtfError::TypeNumber { .. }) | OpenError::Map { .. }),
            "{id}: {error}"
        );
    }
}

#[test]
fn a_place_is_empty_after_a_refusal_and_good_for_another_object() {
    let (good, mut bad) = (small(), small());
    set(&mut bad, 2, INFO, 77);
    set(&mut bad, 1, SIZE, 8);
    let mut place = ObjectFile::<'_, 16, 8>::empty();
    assert_eq!((place.programs().count(), place.maps().len(), place.license()), (0, 0, ""));
    ObjectFile::open_into(&mut place, &good, &Default::default()).unwrap();
    let program = place.program("first").unwrap();
    place.set_autoload(program, false).unwrap();
    place.freeze().unwrap();

    let refused = ObjectFile::open_into(&mut place, &bad, &Default::default()).unwrap_err();
    assert!(matches!(refused, OpenError::ProgramBeyondSection { .. }), "{refused}");
    assert_eq!((place.programs().count(), place.maps().len(), place.license()), (0, 0, ""));

    ObjectFile::open_into(&mut place, &good, &Default::default()).unwrap();
    assert!(place.programs().all(|program| program.autoload()), "chosen anew");
    assert_eq!(place.freeze(), Ok(()), "and not frozen");
    let not_elf = ObjectFile::open_into(&mut place, b"no object", &Default::default());
    assert_eq!(not_elf, Err(OpenError::NotElf));
    assert_eq!(place.programs().count(), 0);
}
