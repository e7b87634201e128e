//! Links every program of whatever bytes come, and checks what linking promises about its buffer.
#![no_main]

use ebpf_progtable::{Instruction, ObjectFile};
use libfuzzer_sys::fuzz_target;

/// Longer programs than the kernel takes are not worth the memory.
const LONGEST: usize = 1_000_000;

fuzz_target!(|data: &[u8]| {
    let Ok(file) = ObjectFile::<64, 64>::open(data) else { return };
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
