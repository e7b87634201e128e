//! What an object needs of a kernel: our references are resolved beside libbpf's, the map of configuration values has the
//! same contents, what is weak and missing becomes the same instructions, and so does a map that is not created.
//!
//! libbpf relocates for the running kernel (needs the right to call bpf(2)); we are told addresses and types that were looked
//! up by name.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test: what goes wrong here is to stop it"
)]

use std::collections::BTreeSet;

use ebpf_conformance::corpus::{self, Package, Sample};
use ebpf_conformance::kernel::{self, Kernel};
use ebpf_conformance::libbpf::{self, Target};
use ebpf_conformance::rows;
use ebpf_progtable::{
    ExternKind, InfoKind, Instruction, KconfigValue, POISONED_CALL, POISONED_MAP, Program, ReferenceTarget,
    RelocateErrorKind, Resolver,
};

const CONFIGURATION: &str = "CONFIG_BPF_SYSCALL=y\nCONFIG_TMPFS=m\nCONFIG_BPF=n\nCONFIG_SMALL=200\nCONFIG_NR_CPUS=0x7fff\n\
    CONFIG_NEGATIVE=-7\nCONFIG_ILLEGAL_POINTER_VALUE=0xdead000000000000\nCONFIG_DEFAULT_HOSTNAME=\"(none)\"\nCONFIG_CUT=\"longer\"\n";

fn sample() -> Result<Option<Sample>, String> {
    match corpus::source("needs.bpf.c")? {
        Some(sample) => Ok(Some(sample)),
        None => corpus::missing(Package::Clang).map(|()| None),
    }
}

/// The object as libbpf has relocated it, with some maps not created; nothing where bpf(2) is not allowed.
fn relocated(sample: &Sample, skipped: &[usize]) -> Option<libbpf::Object> {
    let mut object =
        libbpf::Object::open_configured(&sample.name, &sample.bytes, CONFIGURATION).expect("libbpf opens it");
    for map in skipped {
        object.set_autocreate(*map, false).expect("nothing is created yet");
    }
    match object.relocate(Target::Kernel) {
        Ok(()) => Some(object),
        Err(error) => {
            println!("skipped: libbpf does not prepare it here: {error}");
            None
        }
    }
}

fn filled(file: &rows::File<'_>) -> Vec<u8> {
    let map = file.maps().iter().find(|map| map.is_kconfig()).expect("the object has configuration values");
    let mut contents = vec![0xff; map.value_size() as usize];
    file.fill_kconfig(&mut contents, |variable| kernel::configuration(CONFIGURATION, variable.name()))
        .expect("every value is known or weak");
    contents
}

fn link(
    file: &rows::File<'_>,
    program: &Program<'_>,
    descriptors: &[i32],
    resolver: &mut impl Resolver,
) -> Vec<Instruction> {
    let program = file.program(program.name()).unwrap();
    let mut buffer = vec![Instruction::default(); file.layout(program).unwrap().len()];
    file.relocate_with(program, |map| descriptors[map], resolver, &mut buffer).unwrap();
    buffer
}

#[test]
fn the_same_instructions_and_configuration() -> Result<(), String> {
    let Some(sample) = sample()? else { return Ok(()) };
    let Some(libbpf) = relocated(&sample, &[]) else { return Ok(()) };
    let file = rows::open(&sample.name, &sample.bytes).unwrap();
    let contents = filled(&file);
    let theirs = libbpf.table().maps.into_iter().find(|map| map.name.ends_with(".kconfig")).unwrap();
    assert_eq!(theirs.initial_value.as_deref(), Some(&contents[..]), "the values of the configuration");
    assert!(contents.iter().filter(|byte| **byte != 0).count() > 20);
    let mut kernel = Kernel::running().with_kconfig(contents);
    let (mut resolved, mut poisoned) = (0, 0);
    for (program, (name, theirs)) in file.programs().zip(libbpf.instructions()) {
        let ours = link(&file, program, &libbpf.map_descriptors(), &mut kernel);
        assert_eq!(ours, theirs, "{name}");
        resolved += ours.iter().filter(|i| matches!((i.opcode(), i.src()), (0x85, 2) | (0x18, 3))).count();
        poisoned += ours.iter().filter(|i| i.opcode() == 0x85 && i.imm() >= POISONED_CALL).count();
    }
    assert!(resolved >= 3, "two functions and a variable: {resolved}");
    assert_eq!(poisoned, 2, "two functions are missing");
    Ok(())
}

#[test]
fn a_map_that_is_not_created_is_poisoned_the_same_way() -> Result<(), String> {
    let Some(sample) = sample()? else { return Ok(()) };
    let file = rows::open(&sample.name, &sample.bytes).unwrap();
    let index = |name: &str| file.maps().iter().position(|map| map.name() == name).unwrap();
    let skipped = [index("second"), index("needs.data")];
    let Some(mut libbpf) = relocated(&sample, &skipped) else { return Ok(()) };
    for map in skipped {
        assert!(libbpf.set_autocreate(map, true).is_err(), "decided by now");
        file.set_autocreate(&file.maps()[map], false).unwrap();
    }
    file.freeze().unwrap();
    assert!(file.set_autocreate(&file.maps()[0], false).is_err(), "decided by now");
    for map in 0..file.maps().len() {
        assert_eq!(file.maps()[map].autocreate(), libbpf.autocreate(map));
    }
    let mut kernel = Kernel::running().with_kconfig(filled(&file));
    let mut poisoned = BTreeSet::new();
    for (program, (name, theirs)) in file.programs().zip(libbpf.instructions()) {
        let ours = link(&file, program, &libbpf.map_descriptors(), &mut kernel);
        assert_eq!(ours, theirs, "{name}");
        let calls = ours.iter().filter(|i| i.opcode() == 0x85 && i.src() == 0);
        poisoned.extend(
            calls.map(|i| i.imm()).filter(|helper| (POISONED_MAP..POISONED_MAP + 100).contains(helper)),
        );
    }
    assert_eq!(poisoned, skipped.map(|map| POISONED_MAP + map as i32).into());
    Ok(())
}

#[test]
fn needs_are_typed_and_not_guessed() -> Result<(), String> {
    let Some(sample) = sample()? else { return Ok(()) };
    let file = rows::open(&sample.name, &sample.bytes).unwrap();
    let kinds = |wanted: ExternKind, weak: bool| -> Vec<&str> {
        let found = file.externs().map(Result::unwrap);
        found
            .filter(|found| found.kind() == wanted && found.is_weak() == weak)
            .map(|found| found.name())
            .collect()
    };
    assert_eq!(kinds(ExternKind::Kconfig, false).len(), 10);
    assert_eq!(kinds(ExternKind::Kconfig, true).len(), 3);
    assert_eq!(kinds(ExternKind::Address, false), ["bpf_prog_put"]);
    assert_eq!(kinds(ExternKind::Address, true), ["no_such_address"]);
    assert_eq!(kinds(ExternKind::Variable, false), ["bpf_prog_active"]);
    assert_eq!(kinds(ExternKind::Variable, true), ["no_such_variable"]);
    assert_eq!(kinds(ExternKind::Function, false), ["bpf_rcu_read_lock"]);
    assert_eq!(kinds(ExternKind::Function, true).len(), 3);

    let needs = |name: &str| file.needs(file.program(name).unwrap()).unwrap();
    assert!(needs("nothing").is_self_contained() && !needs("values").is_self_contained());
    assert_eq!((needs("values").kconfig, needs("values").weak, needs("values").subprograms), (13, 3, 1));
    assert_eq!((needs("addresses").addresses, needs("variables").variables), (2, 2));
    assert_eq!((needs("functions").functions, needs("functions").weak), (5, 4));
    let names: Vec<_> = needs("maps").maps().map(|map| file.maps()[map].name()).collect();
    assert_eq!(names, ["first", "second", "needs.data"]);
    let names: Vec<_> = needs("values").maps().map(|map| file.maps()[map].name()).collect();
    assert_eq!(names, ["needs.kconfig"]);

    // Whoever knows nothing is told what is missing.
    let refusal = |name: &str| {
        let mut buffer = [Instruction::default(); 128];
        let error = file.relocate(file.program(name).unwrap(), |_| 0, &mut buffer).unwrap_err();
        match error.kind() {
            RelocateErrorKind::Extern { symbol, kind } => (symbol.as_str().to_owned(), *kind),
            other => panic!("{other}"),
        }
    };
    assert_eq!(refusal("addresses"), ("bpf_prog_put".to_owned(), ExternKind::Address));
    assert_eq!(refusal("variables"), ("bpf_prog_active".to_owned(), ExternKind::Variable));
    assert_eq!(refusal("functions"), ("bpf_rcu_read_lock".to_owned(), ExternKind::Function));
    assert_eq!(refusal("values").1, ExternKind::Kconfig);
    // A missing value is named, and so is one of another type.
    let mut contents = [0; 256];
    let missing = file.fill_kconfig(&mut contents, |_| None).unwrap_err();
    assert!(missing.to_string().contains("no value is known"), "{missing}");
    let wrong = |variable: &ebpf_progtable::Extern<'_>| {
        let flag = variable.name() == "CONFIG_BPF_SYSCALL";
        if flag { Some(KconfigValue::Module) } else { kernel::configuration(CONFIGURATION, variable.name()) }
    };
    let wrong = file.fill_kconfig(&mut contents, wrong).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "configuration value 'CONFIG_BPF_SYSCALL': the value is of another type than the variable"
    );
    let mut short = [0; 8];
    let short =
        file.fill_kconfig(&mut short, |variable| kernel::configuration(CONFIGURATION, variable.name()));
    assert!(short.unwrap_err().to_string().contains("ends before"));
    Ok(())
}

#[test]
fn references_agree_with_the_linked_program() -> Result<(), String> {
    let samples = corpus::compiled()?;
    if samples.is_empty() {
        return corpus::missing(Package::Clang);
    }
    let mut seen = BTreeSet::new();
    for sample in [corpus::own(), samples, corpus::xdp_tools()].concat() {
        let Ok(file) = rows::open(&sample.name, &sample.bytes) else { continue };
        for program in file.programs() {
            let Ok(layout) = file.layout(program) else { continue };
            for reference in file.references(program) {
                let reference = reference.unwrap_or_else(|error| panic!("{}: {error}", sample.origin));
                assert!(layout.functions().any(|(_, function)| function.name() == reference.function.name()));
                assert!(reference.instruction < reference.function.len());
                let opcode = reference.function.instructions()[reference.instruction].opcode();
                let (kind, opcodes): (_, &[u8]) = match reference.target {
                    ReferenceTarget::Map { .. } => ("map", &[0x18]),
                    ReferenceTarget::Variable { map, offset } => {
                        assert!(offset < file.maps()[map].value_size());
                        ("variable", &[0x18])
                    }
                    ReferenceTarget::Call(_) => ("call", &[0x85]),
                    ReferenceTarget::Callback(_) => ("callback", &[0x18]),
                    ReferenceTarget::Extern(_) => ("extern", &[0x18, 0x85]),
                    ReferenceTarget::CoRe(_) => ("CO-RE", &[]),
                    _ => ("another", &[]),
                };
                assert!(opcodes.is_empty() || opcodes.contains(&opcode), "{}: {kind}", sample.origin);
                seen.insert(kind);
            }
        }
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        ["CO-RE", "call", "callback", "extern", "map", "variable"]
    );
    Ok(())
}

/// Function and line records are those that libbpf would give the kernel, subprograms included.
#[test]
fn records_are_handed_on_as_libbpf_does() -> Result<(), String> {
    let compiled = corpus::compiled()?;
    if compiled.is_empty() {
        corpus::missing(Package::Clang)?;
    }
    let samples = [
        corpus::own(),
        compiled,
        corpus::xdp_tools(),
        corpus::embedded(Package::XdpTools),
        corpus::embedded(Package::LibbpfTools),
    ];
    let (mut functions, mut lines, mut with_subprograms) = (0, 0, 0);
    for sample in samples.concat() {
        let Ok(mut libbpf) = libbpf::Object::open(&sample.name, &sample.bytes) else { continue };
        let Ok(file) = rows::open(&sample.name, &sample.bytes) else { continue };
        if !file.is_native() || libbpf.settle().is_err() || libbpf.relocate(Target::Kernel).is_err() {
            continue;
        }
        let theirs = libbpf.function_info().into_iter().zip(libbpf.line_info());
        for (program, (their_functions, their_lines)) in file.programs().zip(theirs) {
            let layout = file.layout(program).unwrap();
            let origin = format!("{}: {}", sample.origin, program.name());
            assert_eq!(words::<2>(layout.records(InfoKind::Function)), their_functions, "{origin}");
            assert_eq!(words::<4>(layout.records(InfoKind::Line)), their_lines, "{origin}");
            functions += their_functions.len();
            lines += their_lines.len();
            with_subprograms += usize::from(layout.functions().count() > 1 && their_functions.len() > 1);
        }
    }
    println!(
        "{functions} function records and {lines} line records compared; {with_subprograms} programs with subprograms"
    );
    if functions == 0 {
        println!("skipped: libbpf prepares nothing here");
        return Ok(());
    }
    assert!(lines > functions && with_subprograms > 3);
    Ok(())
}

/// The records as bpf(2) takes them.
fn words<'data, const WORDS: usize>(
    records: impl Iterator<Item = Result<ebpf_progtable::InfoRecord<'data>, ebpf_progtable::RelocateError>>,
) -> Vec<[u32; WORDS]> {
    let record = |record: Result<ebpf_progtable::InfoRecord<'data>, _>| {
        let record = record.unwrap();
        let mut bytes = vec![0; record.bytes().len()];
        assert_eq!(record.write(&mut bytes), Some(WORDS * 4));
        assert_eq!(record.write(&mut bytes[1..]), None);
        let mut words = bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
        std::array::from_fn(|_| words.next().unwrap())
    };
    records.map(record).collect()
}
