//! Links every program of whatever bytes come, with nobody and with somebody who knows every extern, and checks what linking
//! promises about its buffer; lists what programs refer to, what is known of them, and what maps hold from the start.
#![no_main]

use std::hint::black_box;

use ebpf_progtable::{
    Extern, InfoKind, Instruction, KconfigValue, KernelObject, ObjectFile, Options, POISONED_MAP, Program, Resolver,
};
use libfuzzer_sys::fuzz_target;

/// Longer programs than the kernel takes are not worth the memory.
const LONGEST: usize = 1_000_000;

type File<'data> = ObjectFile<'data, 64, 64>;

/// Knows every extern, each at a place that its name decides.
struct Known(Vec<u8>);

impl Resolver for Known {
    fn address(&mut self, symbol: &Extern<'_>) -> Option<u64> {
        Some(symbol.name().len() as u64 * 0x1_0000_0001)
    }

    fn variable(&mut self, symbol: &Extern<'_>) -> Option<KernelObject> {
        (!symbol.is_weak()).then(|| KernelObject { btf_id: symbol.name().len() as i32, btf_fd: 3, fd_index: 0 })
    }

    fn function(&mut self, symbol: &Extern<'_>) -> Option<KernelObject> {
        (!symbol.is_weak()).then(|| KernelObject { btf_id: symbol.name().len() as i32, btf_fd: 0, fd_index: 1 })
    }

    fn kconfig(&self) -> Option<&[u8]> {
        Some(&self.0)
    }

    fn handles_core(&self) -> bool {
        true
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(file) = File::open(data) else { return };
    around(&file);
    let maps = file.maps().len();
    let reference = |index: usize| {
        assert!(index < maps, "references are to maps of the object");
        1000 + index as i32
    };
    for program in file.programs() {
        let length = match file.linked_len(program) {
            Ok(length) => length,
            Err(error) => {
                assert!(!format!("{error}").is_empty());
                // Nor does it link in a buffer that would hold anything sensible.
                let mut buffer = vec![Instruction::default(); 4096];
                assert!(file.relocate(program, reference, &mut buffer).is_err(), "{error}");
                continue;
            }
        };
        assert!(length >= program.len(), "linking only appends");
        // Each subprogram is appended once: the whole file bounds the result.
        assert!(length <= program.len() + data.len() / Instruction::SIZE * 64, "linked length has a bound");
        if length > LONGEST {
            continue;
        }
        let mut buffer = vec![Instruction::default(); length];
        if let Ok(linked) = file.relocate(program, reference, &mut buffer) {
            assert_eq!(linked.len(), length, "linking takes what it said it would");
        }
        if let Some(short) = length.checked_sub(1) {
            assert!(
                file.relocate(program, reference, &mut buffer[..short]).is_err(),
                "too short a buffer is refused"
            );
        }
    }
});

/// What can be asked without linking, and linking with every second map not created.
fn around(file: &File<'_>) {
    black_box(file.externs().map(|found| format!("{found:?}")).count());
    let mut contents = vec![0xff; 4096];
    if let Err(error) = file.fill_kconfig(&mut contents, |_| Some(KconfigValue::Number(1))) {
        black_box(format!("{error}"));
    }
    for (index, map) in file.maps().iter().enumerate() {
        for value in file.initial_values(map) {
            black_box(format!("{value:?}"));
        }
        black_box(file.inner_map(map, &Options::default()));
        file.set_autocreate(map, index % 2 == 0).expect("nothing froze the table yet");
    }
    let mut known = Known(contents);
    for program in file.programs() {
        program_with(file, program, &mut known);
    }
    for map in file.maps() {
        file.set_autocreate(map, true).expect("nothing froze the table yet");
    }
}

fn program_with<'data>(file: &File<'data>, program: &Program<'data>, known: &mut Known) {
    let references: Result<Vec<_>, _> = file.references(program).collect();
    let (Ok(references), Ok(layout)) = (references, file.layout(program)) else { return };
    for reference in &references {
        assert!(reference.instruction < reference.function.len());
    }
    let needs = file.needs(program).expect("its references are known");
    assert_eq!(needs.relocations() + needs.core, references.len());
    assert_eq!(needs.instructions, layout.len());
    for kind in [InfoKind::Function, InfoKind::Line, InfoKind::CoRe] {
        for record in layout.records(kind).flatten() {
            assert!(record.instruction() < layout.len(), "records are about the program");
            let mut bytes = vec![0; record.bytes().len()];
            assert_eq!(record.write(&mut bytes), Some(bytes.len()));
        }
    }
    if layout.len() > LONGEST {
        return;
    }
    let mut buffer = vec![Instruction::default(); layout.len()];
    let reference = |index: usize| {
        assert!(index % 2 == 0, "maps that are not created are not asked for");
        index as i32
    };
    match file.relocate_with(program, reference, known, &mut buffer) {
        Ok(linked) => {
            assert_eq!(linked.len(), layout.len());
            if !needs.maps().any(|map| map % 2 == 1) {
                return;
            }
            // A poisoned load may be overwritten by another relocation of a damaged object, but not by many.
            black_box(linked.iter().filter(|instruction| instruction.imm() >= POISONED_MAP).count());
        }
        Err(error) => assert!(!format!("{error}").is_empty()),
    }
}
