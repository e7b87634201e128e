//! What a program that is not loaded would have cost.

use ebpf_loader::{Instruction, Platform, ProgramKind, ProgramSpec};
use ebpf_vm::Vm;

/// What the machine charges for a program: so much for any, and so much for each instruction and each byte of its name.
///
/// The machine is asked, with the two shortest programs there are, instead of being given the programs that are to be skipped: those
/// may be skipped because they cannot be loaded, and loading them is the cost that skipping saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProgramCost {
    fixed: usize,
    each: usize,
}

impl ProgramCost {
    pub(crate) fn ask() -> Self {
        const EXIT: Instruction = Instruction::new(0x95, 0, 0, 0, 0);
        const ZERO: Instruction = Instruction::new(0xb7, 0, 0, 0, 0);
        let one = charged(&[EXIT]);
        let each = charged(&[ZERO, EXIT]).saturating_sub(one);
        Self { fixed: one.saturating_sub(each), each }
    }

    /// Bytes of a program of `len` linked instructions.
    pub(crate) fn of(self, name: &str, len: usize) -> usize {
        self.each.saturating_mul(len).saturating_add(self.fixed).saturating_add(name.len())
    }
}

fn charged(instructions: &[Instruction]) -> usize {
    let machine = Vm::new();
    let program = machine.load_program(&ProgramSpec {
        name: "",
        section: "",
        kind: ProgramKind::UNSPEC,
        expected_attach_type: 0,
        license: "",
        instructions,
    });
    // Both are programs that any machine takes; one that did not would charge nothing.
    program.map_or(0, |program| program.memory())
}

#[cfg(test)]
mod tests {
    use super::ProgramCost;

    #[test]
    fn a_program_costs_something_and_a_longer_one_more() {
        let cost = ProgramCost::ask();
        assert!(cost.each >= 8, "{cost:?}: an instruction is 8 bytes at least");
        assert_eq!(cost.of("ab", 10) - cost.of("a", 9), cost.each + 1);
    }
}
