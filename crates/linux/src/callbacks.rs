//! Types for programs with callbacks.
//!
//! The kernel takes the address of a function (`bpf_loop`, `bpf_user_ringbuf_drain`, …) only from a program that says of each of its functions what
//! type it has. What it makes of that is their names and that they return a number, so this says no more: the program's own types, which an
//! object may lack, are not needed. All functions are declared static, so that they are verified where they are called, with what they are called with.

use std::collections::BTreeSet;

use ebpf_loader::Instruction;

use crate::sys::attr;

/// What `BPF_PROG_LOAD` is to be given beside the instructions.
pub(crate) struct Functions {
    /// Contents of a `.BTF` section.
    pub(crate) types: Vec<u8>,
    /// `struct bpf_func_info`, one for each function.
    pub(crate) records: Vec<u8>,
}

/// Bytes of a `struct bpf_func_info`.
pub(crate) const RECORD: u32 = 8;

/// `None` for a program without callbacks, which needs none of this.
pub(crate) fn functions(name: &str, instructions: &[Instruction]) -> Option<Functions> {
    let mut starts = BTreeSet::from([0]);
    let mut has_callbacks = false;
    let mut index: usize = 0;
    while let Some(instruction) = instructions.get(index) {
        let reaches = match (instruction.opcode(), instruction.src()) {
            (CALL, PSEUDO_CALL) => true,
            (LOAD, PSEUDO_FUNCTION) => {
                has_callbacks = true;
                true
            }
            _ => false,
        };
        if reaches {
            // Nonsense is left for the verifier to find.
            let target =
                i64::try_from(index).ok()?.checked_add(i64::from(instruction.imm()))?.checked_add(1)?;
            starts.insert(u32::try_from(target).ok()?);
        }
        index = index.checked_add(if instruction.opcode() == LOAD { 2 } else { 1 })?;
    }
    if !has_callbacks {
        return None;
    }
    let words = starts.iter().flat_map(|start| [*start, if *start == 0 { PROGRAM } else { FUNCTION }]);
    Some(Functions { types: types(name), records: words.flat_map(u32::to_ne_bytes).collect() })
}

/// `int`, `int ()`, the program and its functions, both of that type.
fn types(name: &str) -> Vec<u8> {
    let name = attr::text(&attr::name(name));
    // A name that starts with a digit is none.
    let name = if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name
    } else {
        "program".to_owned()
    };
    let strings = format!("\0int\0function\0{}\0", name.replace('.', "_"));
    let (int, function, program) = (1, 5, 14);
    let words: [u32; 13] = [
        int,
        KIND_INT << 24,
        4,
        SIGNED << 24 | 32, // 1
        0,
        KIND_PROTOTYPE << 24,
        1, // 2
        program,
        KIND_FUNCTION << 24,
        2, // 3
        function,
        KIND_FUNCTION << 24,
        2, // 4
    ];
    let types: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let header = [HEADER, 0, length(&types), length(&types), length(strings.as_bytes())];
    let mut section = Vec::from(MAGIC.to_ne_bytes());
    section.extend([1, 0]);
    section.extend(header.into_iter().flat_map(u32::to_ne_bytes));
    section.extend(types);
    section.extend(strings.into_bytes());
    section
}

/// Numbers of the types above.
const PROGRAM: u32 = 3;
const FUNCTION: u32 = 4;

const CALL: u8 = 0x85;
const LOAD: u8 = 0x18;
const PSEUDO_CALL: u8 = 1;
const PSEUDO_FUNCTION: u8 = 4;

/// The header of BTF (`struct btf_header`) and its kinds.
const MAGIC: u16 = 0xeb9f;
const HEADER: u32 = 24;
const KIND_INT: u32 = 1;
const KIND_FUNCTION: u32 = 12;
const KIND_PROTOTYPE: u32 = 13;
const SIGNED: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_a_record() {
        let plain = [Instruction::new(0x85, 0, 1, 0, 1), Instruction::new(0x95, 0, 0, 0, 0)];
        assert!(functions("plain", &plain).is_none());
        let code = [
            Instruction::new(0x18, 2, 4, 0, 4),
            // The second half of a load is no instruction.
            Instruction::new(0x85, 0, 1, 0, 77),
            Instruction::new(0x85, 0, 1, 0, 3),
            Instruction::new(0x95, 0, 0, 0, 0),
            Instruction::new(0x95, 0, 0, 0, 0),
            Instruction::new(0x95, 0, 0, 0, 0),
            Instruction::new(0x95, 0, 0, 0, 0),
        ];
        let functions = functions("callbacks", &code).expect("it has a callback");
        let records: Vec<u32> = functions
            .records
            .chunks(4)
            .map(|word| u32::from_ne_bytes(word.try_into().expect("four bytes")))
            .collect();
        assert_eq!(records, [0, 3, 5, 4, 6, 4]);
    }

    #[test]
    fn hostile_targets_are_left_to_the_verifier() {
        let code = [Instruction::new(0x18, 2, 4, 0, i32::MIN), Instruction::new(0, 0, 0, 0, 0)];
        assert!(functions("hostile", &code).is_none());
    }
}
