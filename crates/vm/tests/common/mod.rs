//! What the tests share: instructions by name, and a machine around them.
#![allow(dead_code, reason = "each test file uses its part")]

use ebpf_vm::{
    Fault, Instruction, MapKind, MapSpec, Outcome, Platform, ProgramKind, ProgramSpec, Vm, VmError, VmMap,
    VmProgram,
};

/// One instruction from its fields.
pub(crate) fn i(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Instruction {
    Instruction::new(opcode, dst, src, offset, imm)
}

pub(crate) fn exit() -> Instruction {
    i(0x95, 0, 0, 0, 0)
}

/// `dst = imm`, sign-extended.
pub(crate) fn mov(dst: u8, imm: i32) -> Instruction {
    i(0xb7, dst, 0, 0, imm)
}

/// `dst = src`.
pub(crate) fn copy(dst: u8, src: u8) -> Instruction {
    i(0xbf, dst, src, 0, 0)
}

pub(crate) fn add(dst: u8, imm: i32) -> Instruction {
    i(0x07, dst, 0, 0, imm)
}

pub(crate) fn call(helper: i32) -> Instruction {
    i(0x85, 0, 0, 0, helper)
}

/// `dst = value`, all 64 bits.
pub(crate) fn wide(dst: u8, value: u64) -> [Instruction; 2] {
    [i(0x18, dst, 0, 0, value as u32 as i32), i(0, 0, 0, 0, (value >> 32) as u32 as i32)]
}

/// `dst = map`.
pub(crate) fn map_handle(dst: u8, reference: i32) -> [Instruction; 2] {
    [i(0x18, dst, 1, 0, reference), i(0, 0, 0, 0, 0)]
}

/// `dst = address of the map's only value, plus offset`.
pub(crate) fn map_value(dst: u8, reference: i32, offset: i32) -> [Instruction; 2] {
    [i(0x18, dst, 2, 0, reference), i(0, 0, 0, 0, offset)]
}

/// Puts instructions and groups of them in a row.
#[macro_export]
macro_rules! code {
    ($($part:expr),* $(,)?) => {{
        let mut code: Vec<ebpf_vm::Instruction> = Vec::new();
        $(code.extend($crate::common::Part::from($part).0);)*
        code
    }};
}

pub(crate) struct Part(pub(crate) Vec<Instruction>);

impl From<Instruction> for Part {
    fn from(one: Instruction) -> Self {
        Self(vec![one])
    }
}

impl<const N: usize> From<[Instruction; N]> for Part {
    fn from(some: [Instruction; N]) -> Self {
        Self(some.to_vec())
    }
}

impl From<Vec<Instruction>> for Part {
    fn from(some: Vec<Instruction>) -> Self {
        Self(some)
    }
}

pub(crate) fn load(vm: &Vm, instructions: &[Instruction]) -> Result<VmProgram, VmError> {
    vm.load_program(&ProgramSpec {
        name: "test",
        section: "socket",
        kind: ProgramKind::SOCKET_FILTER,
        expected_attach_type: 0,
        license: "GPL",
        instructions,
    })
}

pub(crate) fn run(vm: &Vm, instructions: &[Instruction]) -> Result<Outcome, Fault> {
    load(vm, instructions).expect("valid program").run(&mut [0; 64])
}

/// Register 0 of a program that needs no map.
pub(crate) fn value_of(instructions: &[Instruction]) -> u64 {
    run(&Vm::new(), instructions).expect("no fault").return_value
}

pub(crate) fn spec(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> MapSpec<'static> {
    MapSpec::new("map", kind, key_size, value_size, max_entries)
}

/// A map and its reference.
pub(crate) fn map(vm: &Vm, spec: MapSpec<'_>) -> (VmMap, i32) {
    let map = vm.create_map(&spec).expect("valid map");
    let reference = vm.map_reference(&map);
    (map, reference)
}
