//! Special cases that take more than a source: objects that a linker put together, very few and very many programs, and which
//! class of error each defect is.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test: what goes wrong here is to stop it"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ebpf_conformance::corpus::{self, Package, Sample};
use ebpf_conformance::libbpf::{self, Errno, Target};
use ebpf_conformance::rows;
use ebpf_progtable::{
    InfoKind, InitialValueProblem, Instruction, MapProblem, ObjectFile, OpenError, RelocateErrorKind,
};

/// Two objects that define one function each their own way, weak in the first: its bytes stay in the section, and belong to none.
const WEAK: [&str; 2] = [
    "typedef unsigned long u64;
     u64 seen;
     __attribute__((weak, noinline)) u64 shared(u64 value) { return value * 3 + seen; }
     __attribute__((weak, section(\"xdp\"))) int main_program(void *context) { return shared(1); }
     __attribute__((section(\"xdp\"))) int first(void *context) { return shared(2); }
     char terms[] __attribute__((section(\"license\"))) = \"GPL\";",
    "typedef unsigned long u64;
     extern u64 seen;
     struct { int (*type)[2]; int (*max_entries)[4]; int *key; long *value; } numbers __attribute__((section(\".maps\"), used));
     static u64 (*const lookup)(void *, const void *) = (void *)1;
     __attribute__((noinline)) u64 shared(u64 value) { int key = 0; return lookup(&numbers, &key) + value + seen; }
     __attribute__((section(\"xdp\"))) int main_program(void *context) { return shared(3) + seen; }
     __attribute__((section(\"?tc\"))) int second(void *context) { return shared(4); }
     char terms[] __attribute__((section(\"license\"))) = \"GPL\";",
];

#[test]
fn linked_objects_with_dead_bytes() -> Result<(), String> {
    let mut objects = Vec::new();
    for (index, source) in WEAK.iter().enumerate() {
        let Some(sample) = corpus::text(&format!("weak_{index}.bpf.c"), source)? else {
            return corpus::missing(Package::Clang);
        };
        objects.push(sample.bytes);
    }
    let linked = libbpf::link(&[&objects[0], &objects[1]]).map_err(|error| error.to_string())?;
    let file = rows::open("weak.o", &linked).unwrap();
    let mut libbpf = libbpf::Object::open("weak.o", &linked).unwrap();
    assert_eq!(rows::differences(&rows::table(&file), &libbpf.table()), "");
    let names: Vec<_> = file.programs().map(|program| (program.name(), program.autoload())).collect();
    assert_eq!(names, [("first", true), ("main_program", true), ("second", false)]);
    let owned: usize =
        file.programs().filter(|program| program.section_name() == "xdp").map(|p| p.len()).sum();
    let last = file.program("main_program").unwrap();
    assert!(owned < last.section_offset() + last.len(), "some of the section's bytes are nobody's");
    assert_eq!(file.subprograms().map(|program| program.name()).collect::<Vec<_>>(), ["shared"]);

    // What is dead is not linked, and what is alive is linked as libbpf does.
    libbpf.settle().unwrap();
    libbpf.relocate(Target::Generator).unwrap();
    for (program, (name, theirs)) in file.programs().zip(libbpf.instructions()) {
        let mut buffer = [Instruction::default(); 64];
        let ours = file.relocate(program, |map| i32::try_from(map).unwrap(), &mut buffer).unwrap();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let same = |(our, their): (&Instruction, &Instruction)| {
            (our.opcode(), our.dst(), our.imm()) == (their.opcode(), their.dst(), their.imm())
        };
        assert!(ours.iter().zip(&theirs).all(same), "{name}");
        let layout = file.layout(program).unwrap();
        assert_eq!(
            layout.records(InfoKind::Function).map(Result::unwrap).count(),
            layout.functions().count()
        );
    }
    Ok(())
}

/// All sources that a linker takes, put together: several maps, subprograms and data sections of each name.
#[test]
fn linked_objects_are_told_as_libbpf_does() -> Result<(), String> {
    let names = [
        "functions.bpf.c",
        "several_programs.bpf.c",
        "data_sections.bpf.c",
        "map_kinds.bpf.c",
        "sections.bpf.c",
    ];
    let mut objects = Vec::new();
    for name in names {
        match corpus::source(name)? {
            Some(sample) => objects.push(sample),
            None => return corpus::missing(Package::Clang),
        }
    }
    let mut compared = 0;
    for (index, first) in objects.iter().enumerate() {
        for second in &objects[index + 1..] {
            let Ok(linked) = libbpf::link(&[&first.bytes, &second.bytes]) else { continue };
            let file = rows::open("linked.o", &linked).unwrap();
            let table = libbpf::Object::open("linked.o", &linked).unwrap().table();
            let differences = rows::differences(&rows::table(&file), &table);
            assert_eq!(differences, "", "{} and {}", first.name, second.name);
            compared += table.programs.len();
        }
    }
    println!("{compared} programs of linked objects compared");
    assert!(compared > 300, "{compared}");
    Ok(())
}

#[test]
fn no_program_one_and_a_thousand() -> Result<(), String> {
    for count in [0, 1, 1000] {
        let mut source = String::from("long total = 1;\n");
        for index in 0..count {
            let section = ["xdp", "?tc", "kprobe/x", "socket"][index % 4];
            writeln!(
                source,
                "__attribute__((section(\"{section}\"))) int p{index}(void *context) {{ return total + {index}; }}"
            )
            .unwrap();
        }
        let Some(sample) = corpus::text("many.bpf.c", &source)? else {
            return corpus::missing(Package::Clang);
        };
        let theirs = libbpf::Object::open(&sample.name, &sample.bytes).unwrap().table();
        assert_eq!(theirs.programs.len(), count);
        let file = Box::new(ObjectFile::<1000, 4>::open_named(&sample.name, &sample.bytes).unwrap());
        assert_eq!(rows::differences(&rows::table(&file), &theirs), "");
        for program in file.programs() {
            assert_eq!(file.needs(program).unwrap().map_references, 1);
        }
        let too_small = ObjectFile::<999, 4>::open_named(&sample.name, &sample.bytes).err();
        match count {
            1000 => assert_eq!(too_small, Some(OpenError::TooManyPrograms { found: 1000, capacity: 999 })),
            _ => assert_eq!(too_small, None),
        }
    }
    Ok(())
}

/// Each defect is refused by both, and our error is of the class that libbpf's number names.
#[test]
fn errors_are_of_the_same_class() -> Result<(), String> {
    let compiled = corpus::compiled()?;
    if compiled.is_empty() {
        return corpus::missing(Package::Clang);
    }
    let mut samples = compiled;
    samples.extend(broken());
    let (mut classes, mut report) = (BTreeMap::<i32, usize>::new(), String::new());
    for sample in &samples {
        let Err(Errno(number)) = libbpf::Object::open(&sample.name, &sample.bytes) else { continue };
        let (ours, text) = our_class(sample);
        if !ours.contains(&number) {
            writeln!(report, "{}: libbpf {number}, ours {ours:?}: {text}", sample.name).unwrap();
        }
        *classes.entry(number).or_default() += 1;
    }
    println!("refused by both, by libbpf's number: {classes:?}");
    assert!(report.is_empty(), "{report}");
    assert!(classes.len() >= 7 && classes.values().sum::<usize>() > 25, "{classes:?}");
    Ok(())
}

/// The class of our error: libbpf's numbers that say the same.
fn our_class(sample: &Sample) -> (&'static [i32], String) {
    match rows::open(&sample.name, &sample.bytes) {
        Err(error) => (class(&error), error.to_string()),
        // libbpf looks at relocations when it opens an object, we look at them when they are needed.
        Ok(file) => {
            for program in file.programs() {
                if let Err(error) = file.relocate(program, |_| 0, &mut vec![Instruction::default(); 4096]) {
                    return (relocation_class(error.kind()), error.to_string());
                }
            }
            for map in file.maps() {
                if let Some(Err(problem)) = file.initial_values(map).find(Result::is_err) {
                    return (value_class(&problem), problem.to_string());
                }
            }
            (&[], "accepted".to_owned())
        }
    }
}

const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EINVAL: i32 = 22;
/// `ENOTSUP`; and `EOPNOTSUPP`, which is the same number on Linux.
const ENOTSUP: i32 = 95;
/// `LIBBPF_ERRNO__LIBELF`.
const LIBELF: i32 = 4000;
/// `LIBBPF_ERRNO__FORMAT`.
const FORMAT: i32 = 4001;
/// `LIBBPF_ERRNO__RELOC`.
const RELOC: i32 = 4005;

fn class(error: &OpenError) -> &'static [i32] {
    match error {
        // Nothing at all is a wrong argument to libbpf.
        OpenError::NotElf => &[LIBELF, FORMAT, EINVAL],
        OpenError::Truncated { .. } | OpenError::TruncatedSection { .. } => &[LIBELF, FORMAT],
        OpenError::Class { .. } | OpenError::SectionNames | OpenError::SectionHeaderSize { .. } => {
            &[LIBELF, FORMAT]
        }
        // libelf reads such a file as if it were of the machine's order.
        OpenError::ByteOrder { .. } => &[LIBELF, FORMAT, 4003],
        OpenError::NoSymbols => &[ENOENT],
        OpenError::LegacyMaps | OpenError::ProgramIsStatic { .. } => &[ENOTSUP],
        OpenError::ProgramCorrupted { .. } => &[EINVAL],
        OpenError::Btf(_) => &[EINVAL, ENOENT],
        OpenError::Map { problem, .. } => match problem {
            MapProblem::UnknownField { .. } | MapProblem::NestedInnerMap => &[ENOTSUP],
            MapProblem::Linkage { .. } => &[ENOTSUP],
            MapProblem::NoSymbol => &[ENOENT, ESRCH],
            _ => &[EINVAL],
        },
        _ => &[FORMAT],
    }
}

fn relocation_class(kind: &RelocateErrorKind) -> &'static [i32] {
    match kind {
        // libbpf resolves what an extern is when it opens the object.
        RelocateErrorKind::Extern { .. } | RelocateErrorKind::Btf(_) => &[ENOENT, ESRCH, ENOTSUP, EINVAL],
        RelocateErrorKind::NoSuchSymbol { .. }
        | RelocateErrorKind::Misaligned { .. }
        | RelocateErrorKind::RelocationsCutOff => &[FORMAT],
        RelocateErrorKind::SpecialSection { .. } => &[FORMAT, RELOC],
        _ => &[RELOC],
    }
}

fn value_class(problem: &InitialValueProblem) -> &'static [i32] {
    match problem {
        InitialValueProblem::NoTarget { .. } => &[RELOC, ESRCH],
        InitialValueProblem::Relocations => &[FORMAT],
        _ => &[EINVAL],
    }
}

/// Objects with one defect each, made of a sound one.
fn broken() -> Vec<Sample> {
    let sound = corpus::own().into_iter().find(|sample| sample.name == "choose.bpf.o").expect("our own");
    let word = |at: usize| u64::from_le_bytes(sound.bytes[at..at + 8].try_into().unwrap()) as usize;
    let (headers, count) = (word(40), usize::from(sound.bytes[60]));
    let header = |kind: u8| {
        let found = (0..count).map(|index| headers + index * 64).find(|at| sound.bytes[at + 4] == kind);
        found.expect("a section of that type")
    };
    let symbols = header(2);
    let symbol = word(symbols + 24);
    let function = (symbol..symbol + word(symbols + 32))
        .step_by(24)
        .find(|at| sound.bytes[at + 4] & 15 == 2)
        .expect("a function");
    let mut samples = Vec::new();
    let mut add = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut sample = sound.clone();
        change(&mut sample.bytes);
        (sample.name, sample.origin) = (format!("{name}.o"), name.to_owned());
        samples.push(sample);
    };
    add("empty", &|bytes| bytes.clear());
    add("no_magic", &|bytes| bytes[0] = 0);
    add("half_a_header", &|bytes| bytes.truncate(32));
    add("cut_off", &|bytes| bytes.truncate(headers + 10));
    add("class_32", &|bytes| bytes[4] = 1);
    add("executable", &|bytes| bytes[16] = 2);
    add("machine", &|bytes| bytes[18] = 62);
    add("no_symbols", &|bytes| bytes[symbols + 4] = 1);
    add("no_names", &|bytes| bytes[62] = 99);
    add("beyond_its_section", &|bytes| bytes[function + 17] = 0x40);
    add("far_beyond", &|bytes| bytes[function + 8 + 7] = 0x80);
    add("no_whole_instruction", &|bytes| bytes[function + 16] -= 4);
    add("no_size", &|bytes| bytes[function + 16..function + 24].fill(0));
    add("starts_inside", &|bytes| bytes[function + 8] = 4);
    add("static", &|bytes| bytes[function + 4] = 2);
    add("relocation_size", &|bytes| bytes[header(9) + 56] = 24);
    add("relocation_symbol", &|bytes| bytes[word(header(9) + 24) + 12..][..4].fill(0x7f));
    add("relocation_inside", &|bytes| bytes[word(header(9) + 24)] += 4);
    samples
}
