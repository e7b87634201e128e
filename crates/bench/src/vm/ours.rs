//! The machine of this project.

use ebpf_loader::{Instruction, MapSpec, Platform, ProgramKind, ProgramSpec};
use ebpf_vm::{Vm, VmConfig, VmMap, VmProgram};

/// A loaded program with its maps.
pub(super) struct Ours {
    program: VmProgram,
    maps: Vec<VmMap>,
    context: [u8; 64],
}

impl Ours {
    pub(super) fn new(maps: &[MapSpec<'_>], code: &[Instruction]) -> Self {
        let vm = machine();
        let maps: Vec<VmMap> = maps.iter().map(|map| vm.create_map(map).expect("a map")).collect();
        for map in &maps {
            for key in 0..u32::from(map.key_size() == 4) * map.max_entries() {
                map.update(&key.to_ne_bytes(), &vec![0; map.value_size() as usize], 0).expect("room");
            }
        }
        let program = load(&vm, &refer(code, |number| vm.map_reference(&maps[number])));
        Self { program, maps, context: [0; 64] }
    }

    #[inline(always)]
    pub(super) fn run(&mut self) -> (u64, u64) {
        let outcome = self.program.run(&mut self.context).expect("a run without fault");
        (outcome.return_value, outcome.instructions)
    }

    /// Takes every record out; gives the bytes.
    pub(super) fn drain(&self) -> usize {
        self.maps.iter().filter_map(VmMap::ring).map(|ring| ring.drain(usize::MAX, |_| {}).bytes).sum()
    }
}

pub(super) fn machine() -> Vm {
    Vm::with_config(VmConfig::new().with_instruction_budget(u64::MAX).with_memory_limit(1 << 30))
}

pub(super) fn load(vm: &Vm, instructions: &[Instruction]) -> VmProgram {
    let spec = ProgramSpec {
        name: "bench",
        section: "xdp",
        kind: ProgramKind::XDP,
        expected_attach_type: 0,
        license: "GPL",
        instructions,
    };
    vm.load_program(&spec).expect("a valid program")
}

/// `code` with the maps' positions replaced by references.
pub(super) fn refer(code: &[Instruction], reference: impl Fn(usize) -> i32) -> Vec<Instruction> {
    let map = |instruction: &Instruction| match (instruction.opcode(), instruction.src()) {
        (0x18, 1 | 2) => {
            instruction.with_imm(reference(usize::try_from(instruction.imm()).expect("a position")))
        }
        _ => *instruction,
    };
    code.iter().map(map).collect()
}
