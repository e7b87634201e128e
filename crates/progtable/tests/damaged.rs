//! Damaged objects: nothing panics, and what opens can be asked everything.
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
    Extern, InfoKind, Instruction, KconfigValue, KernelObject, ObjectFile, OpenError, Options, Program,
    Resolver,
};
use proptest::prelude::*;

const OBJECTS: [&[u8]; 7] = [
    include_bytes!("objects/choose.bpf.o"),
    include_bytes!("objects/linked.bpf.o"),
    include_bytes!("objects/maps.bpf.o"),
    include_bytes!("objects/maps-big-endian.bpf.o"),
    include_bytes!("objects/externs.bpf.o"),
    include_bytes!("objects/values.bpf.o"),
    include_bytes!("objects/values-big-endian.bpf.o"),
];

/// Knows everything.
struct Everything([u8; 64]);

impl Resolver for Everything {
    fn address(&mut self, _: &Extern<'_>) -> Option<u64> {
        Some(u64::MAX)
    }

    fn variable(&mut self, _: &Extern<'_>) -> Option<KernelObject> {
        Some(KernelObject::default())
    }

    fn function(&mut self, _: &Extern<'_>) -> Option<KernelObject> {
        Some(KernelObject { btf_id: 7, btf_fd: 8, fd_index: 9 })
    }

    fn kconfig(&self) -> Option<&[u8]> {
        Some(&self.0)
    }

    fn handles_core(&self) -> bool {
        true
    }
}

/// Opens the bytes and asks for everything there is; how many programs could be linked.
fn exercise(data: &[u8]) -> usize {
    let opened = ObjectFile::<16, 16>::open_named("damaged.o", data);
    opens_alike_in_place(data, &opened);
    let Ok(file) = opened else { return 0 };
    let mut buffer = [Instruction::default(); 128];
    let mut linked = 0;
    for program in file.programs().chain(file.subprograms()) {
        let _ = format!("{program:?} {}", program.section_offset());
        assert_eq!(program.instruction_bytes().len(), program.len() * 8);
        let len = file.linked_len(program);
        match file.relocate(program, |map| i32::try_from(map).unwrap(), &mut buffer) {
            Ok(code) => {
                assert_eq!(len, Ok(code.len()));
                linked += 1;
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        asked_everything(&file, program, &mut buffer);
    }
    let _ = file.externs().map(|found| format!("{found:?}")).count();
    let _ = file.fill_kconfig(&mut [0; 64], |_| Some(KconfigValue::Number(1)));
    for map in file.maps() {
        for value in file.initial_values(map) {
            let _ = format!("{value:?}");
        }
        let _ = format!("{map:?} {}", map.extra());
        let _ = file.inner_map(map, &Options::default());
        if let Some(value) = map.initial_value() {
            assert_eq!(value.len(), usize::try_from(map.value_size()).unwrap());
        }
    }
    linked
}

/// What a program refers to, what is known of it, and linking with every extern known.
fn asked_everything<'data>(
    file: &ObjectFile<'data, 16, 16>,
    program: &Program<'data>,
    buffer: &mut [Instruction],
) {
    let references = file.references(program);
    let references = references.map(|reference| reference.map(drop)).collect::<Result<Vec<()>, _>>();
    let needs = file.needs(program);
    assert_eq!(references.is_ok(), needs.is_ok());
    let Ok(layout) = file.layout(program) else { return };
    if let (Ok(references), Ok(needs)) = (references, needs) {
        assert_eq!(references.len(), needs.relocations() + needs.core);
    }
    for kind in [InfoKind::Function, InfoKind::Line, InfoKind::CoRe] {
        for record in layout.records(kind).flatten() {
            assert!(record.instruction() < layout.len());
            assert!(record.word(1).is_some());
        }
    }
    for map in file.maps() {
        map.set_autocreate(!map.autocreate()).unwrap();
    }
    let mut everything = Everything([0; 64]);
    match file.relocate_with(program, |_| 3, &mut everything, buffer) {
        Ok(code) => assert_eq!(code.len(), layout.len()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A place that held another object ends up with the same table, or with none.
fn opens_alike_in_place(data: &[u8], opened: &Result<ObjectFile<'_, 16, 16>, OpenError>) {
    let mut options = Options::default();
    options.name = "damaged.o";
    let mut place = ObjectFile::<16, 16>::open(OBJECTS[1]).unwrap();
    let outcome = ObjectFile::open_into(&mut place, data, &options);
    match opened {
        Ok(file) => assert_eq!((outcome, format!("{place:?}")), (Ok(()), format!("{file:?}"))),
        Err(error) => {
            assert_eq!(outcome.as_ref(), Err(error));
            assert!(place.subprograms().next().is_none() && place.maps().is_empty());
            assert!(place.programs().next().is_none());
        }
    }
}

#[test]
fn undamaged_objects_link() {
    assert_eq!(OBJECTS.map(exercise), [3, 5, 1, 0, 1, 3, 0], "programs that can be linked without a kernel");
}

fn word() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0_u32), Just(1), Just(8), Just(u32::MAX), any::<u32>()]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn bytes_changed(
        object in 0..OBJECTS.len(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut data = OBJECTS[object].to_vec();
        for (position, byte) in changes {
            let position = position.index(data.len());
            data[position] = byte;
        }
        exercise(&data);
    }

    /// Numbers that matter more than others, where headers and tables have numbers.
    #[test]
    fn words_changed(
        object in 0..OBJECTS.len(),
        changes in proptest::collection::vec(
            (any::<proptest::sample::Index>(), word()),
            1..6,
        ),
    ) {
        let mut data = OBJECTS[object].to_vec();
        for (position, word) in changes {
            let position = position.index(data.len() / 4) * 4;
            data[position..position + 4].copy_from_slice(&word.to_le_bytes());
        }
        exercise(&data);
    }

    #[test]
    fn cut_off(object in 0..OBJECTS.len(), len in any::<proptest::sample::Index>()) {
        let data = OBJECTS[object];
        exercise(&data[..len.index(data.len())]);
    }

    #[test]
    fn anything_at_all(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        exercise(&data);
    }
}
