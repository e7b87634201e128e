//! Linking, over objects written by hand: what each instruction becomes, and what is refused.
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
use ebpf_progtable::{Instruction, ObjectFile, RelocateErrorKind};

const LOAD: Instruction = Instruction::new(0x18, 1, 0, 0, 0);
const SECOND_HALF: Instruction = Instruction::new(0, 0, 0, 0, 0);
const MOVE: Instruction = Instruction::new(0xb7, 0, 0, 0, 1);

/// Links the program `main`; map `i` has the reference `100 + i`.
fn link(elf: &Elf) -> Result<Vec<Instruction>, RelocateErrorKind> {
    let data = elf.build();
    let file = ObjectFile::<8, 8>::open(&data).unwrap();
    let program = file.program("main").unwrap();
    let mut buffer = [Instruction::default(); 64];
    let linked = file.relocate(program, |map| 100 + i32::try_from(map).unwrap(), &mut buffer);
    match (&linked, file.linked_len(program)) {
        (Ok(linked), len) => assert_eq!(len, Ok(linked.len()), "the length is known before"),
        (Err(error), Err(before)) => assert_eq!(*error, before, "what is wrong is known before"),
        (Err(error), Ok(_)) => {
            let kind = error.kind();
            assert!(
                matches!(kind, RelocateErrorKind::CutOff | RelocateErrorKind::Extern { .. }),
                "but for what is put in: {kind:?}"
            );
        }
    }
    match linked {
        Ok(linked) => Ok(linked.to_vec()),
        Err(error) => {
            assert_eq!(error.section(), if error.program() == "main" { "xdp" } else { ".text" });
            Err(*error.kind())
        }
    }
}

/// `xdp` with `main`, `.text` with `one` (2 instructions) and `two` (3), `.data` with 16 bytes; symbols 1 to
/// 6.
fn object(main: &[Instruction], one: [Instruction; 2], two: [Instruction; 3]) -> Elf {
    let bytes = u64::try_from(main.len()).unwrap() * 8;
    let text: Vec<_> = one.into_iter().chain(two).collect();
    Elf::new()
        .code("xdp", main)
        .code(".text", &text)
        .section(".data", PROGBITS, DATA, &[7; 16])
        .function("main", 1, 0, bytes)
        .function("one", 2, 0, 16)
        .symbol("two", FUNC, LOCAL, 2, 16, 24)
        .symbol("", SECTION, LOCAL, 2, 0, 0)
        .symbol("variable", OBJECT, GLOBAL, 3, 8, 4)
        .symbol("kernel_thing", NOTYPE, GLOBAL, 0, 0, 0)
}

const NOTHING: ([Instruction; 2], [Instruction; 3]) = ([EXIT, EXIT], [EXIT, EXIT, EXIT]);

fn alone(main: &[Instruction], relocations: &[(u64, u64)]) -> Elf {
    object(main, NOTHING.0, NOTHING.1).relocations(1, relocations)
}

#[test]
fn a_program_that_refers_to_nothing_is_copied() {
    assert_eq!(link(&alone(&[MOVE, EXIT], &[])).unwrap(), [MOVE, EXIT]);
}

#[test]
fn a_variable_is_its_maps_reference_and_its_offset() {
    let main = [LOAD.with_imm(3), SECOND_HALF, EXIT];
    let expected = [LOAD.with_src(2).with_imm(100), SECOND_HALF.with_imm(11), EXIT];
    assert_eq!(link(&alone(&main, &[(0, 5)])).unwrap(), expected);
}

#[test]
fn subprograms_are_appended_when_first_called() {
    // main calls two (static, through the section's symbol), then one (global), then two again; one calls two
    // without a relocation.
    let main = [call(1), call(-1), call(1), EXIT];
    let elf = object(&main, [call(1), EXIT], [MOVE, MOVE, EXIT]);
    let elf = elf.relocations(1, &[(0, 4), (8, 2), (16, 4)]);
    let linked = link(&elf).unwrap();
    assert_eq!(linked[..4], [call(3), call(5), call(1), EXIT]);
    assert_eq!(linked[4..7], [MOVE, MOVE, EXIT], "two");
    assert_eq!(linked[7..], [call(-4), EXIT], "one, which calls back to two");
}

#[test]
fn subprograms_of_subprograms_come_before_what_is_called_next() {
    // main calls one, then two; one calls two first. Depth first, one is followed by two.
    let main = [call(-1), call(1), EXIT];
    let elf = object(&main, [call(1), EXIT], [MOVE, call(-4), EXIT]);
    let elf = elf.relocations(1, &[(0, 2), (8, 4)]).relocations(2, &[(0, 4)]);
    let linked = link(&elf).unwrap();
    assert_eq!(linked[..3], [call(2), call(3), EXIT]);
    assert_eq!(linked[3..5], [call(1), EXIT], "one");
    assert_eq!(linked[5..], [MOVE, call(-4), EXIT], "two calls one: a circle is the verifier's business");
}

#[test]
fn the_address_of_a_function_is_its_distance() {
    let main = [MOVE, LOAD.with_imm(16), SECOND_HALF, EXIT];
    let linked = link(&alone(&main, &[(8, 4)])).unwrap();
    assert_eq!(linked[1], LOAD.with_src(4).with_imm(2));
    assert_eq!(linked.len(), 7, "two is appended");
}

#[test]
fn relocations_out_of_order_are_found() {
    let main = [LOAD, SECOND_HALF, LOAD.with_imm(4), SECOND_HALF, EXIT];
    let linked = link(&alone(&main, &[(16, 5), (0, 5)])).unwrap();
    assert_eq!((linked[1].imm(), linked[3].imm()), (8, 12));
}

#[test]
fn relocations_of_other_programs_do_not_matter() {
    let elf = Elf::new()
        .code("xdp", &[EXIT, MOVE, EXIT, EXIT])
        .function("before", 1, 0, 8)
        .function("main", 1, 8, 16)
        .relocations(1, &[(0, 99), (24, 99)]);
    assert_eq!(link(&elf).unwrap(), [MOVE, EXIT]);
}

#[test]
fn externs_are_refused_and_named() {
    for (main, offset) in [(&[LOAD, SECOND_HALF][..], 0), (&[EXIT, Instruction::new(0x85, 0, 2, 0, -1)], 8)] {
        let error = link(&alone(main, &[(offset, 6)])).unwrap_err();
        assert!(matches!(error, RelocateErrorKind::Extern { .. }));
        assert_eq!(error.to_string(), "'kernel_thing' (undefined symbol) is not known here");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    use RelocateErrorKind as E;
    let helper = Instruction::new(0x85, 0, 0, 0, 5);
    let pseudo = LOAD.with_src(4);
    for (main, relocations, expected) in [
        (vec![MOVE], vec![(0, 5)], "opcode 0xb7 cannot refer to 'variable'"),
        (vec![EXIT, MOVE], vec![(12, 5)], "a relocation at offset 12 is inside the instruction"),
        (vec![LOAD], vec![(0, 5)], "the second half of the instruction is missing"),
        (vec![LOAD, SECOND_HALF], vec![(0, 77)], "the relocation refers to symbol 77, which is missing"),
        (vec![LOAD, SECOND_HALF], vec![(8, 5)], "opcode 0x00 cannot refer to 'variable'"),
        (vec![helper], vec![(0, 2)], "the call of 'one' is not a call of a subprogram (source register 0)"),
        (vec![call(-1)], vec![(0, 5)], "'variable' + 8 is not a function of '.text'"),
        (vec![call(0)], vec![(0, 2)], "no function starts at instruction 1 of '.text'"),
        (vec![call(0), EXIT], vec![], "refers to a subprogram, and no relocation says to which"),
        (vec![pseudo, SECOND_HALF], vec![], "refers to a subprogram, and no relocation says to which"),
        (vec![LOAD, SECOND_HALF], vec![(0, 1)], "'main' is in section 1, which no map stands for"),
    ] {
        assert_eq!(link(&alone(&main, &relocations)).unwrap_err().to_string(), expected);
    }
    let common = alone(&[LOAD, SECOND_HALF], &[(0, 7)]).symbol("common", OBJECT, GLOBAL, 0xfff2, 0, 4);
    assert!(matches!(link(&common).unwrap_err(), E::SpecialSection { section: 0xfff2, .. }));
    let twice = alone(&[EXIT], &[]).relocations(1, &[]);
    assert_eq!(link(&twice).unwrap_err(), E::TwoRelocationSections);
    let many: Vec<_> = (0..257).rev().map(|position| (position * 8, 5)).collect();
    let unsorted = link(&alone(&[EXIT], &many)).unwrap_err();
    assert_eq!(unsorted, E::UnsortedRelocations { count: 257, limit: 256 });
}

#[test]
fn errors_in_subprograms_name_the_subprogram() {
    let elf = object(&[call(-1), EXIT], [MOVE, call(70)], NOTHING.1).relocations(1, &[(0, 2)]);
    let data = elf.build();
    let file = ObjectFile::<8, 8>::open(&data).unwrap();
    let error = file.linked_len(file.program("main").unwrap()).unwrap_err();
    assert_eq!((error.program(), error.section(), error.instruction()), ("one", ".text", 1));
    assert_eq!(
        error.to_string(),
        "program 'one' (section '.text'), instruction 1: no function starts at instruction 72 of '.text'"
    );
}

#[test]
fn a_short_buffer_is_refused_with_the_length_needed() {
    let elf = object(&[call(-1), EXIT], NOTHING.0, NOTHING.1).relocations(1, &[(0, 2)]);
    let data = elf.build();
    let file = ObjectFile::<8, 8>::open(&data).unwrap();
    let program = file.program("main").unwrap();
    for available in 0..4 {
        let mut buffer = vec![Instruction::default(); available];
        let error = file.relocate(program, |_| 0, &mut buffer).unwrap_err();
        assert_eq!(*error.kind(), RelocateErrorKind::BufferTooShort { needed: 4, available });
    }
    assert_eq!(file.relocate(program, |_| 0, &mut [Instruction::default(); 4]).unwrap().len(), 4);
}

#[test]
fn only_programs_of_the_object_are_linked() {
    let elf = alone(&[EXIT], &[]);
    let (here, elsewhere) = (elf.build(), elf.build());
    let here = ObjectFile::<8, 8>::open(&here).unwrap();
    let elsewhere = ObjectFile::<8, 8>::open(&elsewhere).unwrap();
    let error = here.linked_len(elsewhere.program("main").unwrap()).unwrap_err();
    assert_eq!(*error.kind(), RelocateErrorKind::ForeignProgram);
    let error = here.linked_len(here.subprograms().next().unwrap()).unwrap_err();
    assert_eq!(*error.kind(), RelocateErrorKind::Subprogram);
}
