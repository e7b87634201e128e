//! Random programs on the running kernel and on the embedded machine: the same registers, the same maps.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test: what goes wrong here is to stop it"
)]

#[path = "../../vm/tests/common/generate.rs"]
mod generate;

use std::cell::Cell;
use std::collections::BTreeMap;

use ebpf_conformance::bpf::not_possible;
use ebpf_conformance::libbpf::Errno;
use ebpf_linux::{Linux, LinuxMap, LinuxProgram, TestRun};
use ebpf_loader::{Instruction, MapKind, MapSpec, Platform, ProgramKind, ProgramSpec};
use ebpf_vm::{Vm, VmMap, VmProgram};
use generate::{ENTRIES, VALUE, generate};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

/// How many; `EBPF_PROGRAMS` asks for more.
const PROGRAMS: u32 = 400;

/// What a program leaves: the value with its registers, and the hash map.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    returned: u32,
    value: Vec<u8>,
    hash: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A platform that can be asked for what is in its maps.
trait Machine: Platform {
    fn run(&self, program: &Self::Program) -> u32;
    fn read(&self, map: &Self::Map, key: &[u8], value: &mut [u8]) -> bool;
}

impl Machine for Vm {
    fn run(&self, program: &VmProgram) -> u32 {
        program.run(&mut [0; 64]).expect("what the verifier takes does not fault").return_value as u32
    }

    fn read(&self, map: &VmMap, key: &[u8], value: &mut [u8]) -> bool {
        map.lookup(key, value).is_ok()
    }
}

impl Machine for Linux {
    fn run(&self, program: &LinuxProgram) -> u32 {
        program.test_run(TestRun { context: &mut [0; 64], ..Default::default() }).expect("a run").returned
    }

    fn read(&self, map: &LinuxMap, key: &[u8], value: &mut [u8]) -> bool {
        map.lookup(key, value).expect("a lookup")
    }
}

fn on<P: Machine>(platform: &P, code: &[Instruction]) -> Result<Left, P::Error> {
    let values = platform.create_map(&MapSpec::new("map", MapKind::ARRAY, 4, VALUE, 1))?;
    let hash = platform.create_map(&MapSpec::new("map", MapKind::HASH, 4, 8, ENTRIES))?;
    let instructions: Vec<_> = code
        .iter()
        .map(|instruction| match (instruction.opcode(), instruction.src(), instruction.imm()) {
            (0x18, 1 | 2, 0) => instruction.with_imm(platform.map_reference(&values)),
            (0x18, 1 | 2, _) => instruction.with_imm(platform.map_reference(&hash)),
            _ => *instruction,
        })
        .collect();
    let program = platform.load_program(&ProgramSpec {
        name: "random",
        section: "syscall",
        kind: ProgramKind::SYSCALL,
        expected_attach_type: 0,
        license: "GPL",
        instructions: &instructions,
    })?;
    let returned = platform.run(&program);
    let mut value = vec![0; VALUE as usize];
    assert!(platform.read(&values, &[0; 4], &mut value));
    let mut found = BTreeMap::new();
    for key in 0..16u32 {
        let mut value = vec![0; 8];
        if platform.read(&hash, &key.to_ne_bytes(), &mut value) {
            found.insert(key.to_ne_bytes().to_vec(), value);
        }
    }
    platform.unload_program(program);
    platform.destroy_map(values);
    platform.destroy_map(hash);
    Ok(Left { returned, value, hash: found })
}

#[test]
fn the_kernel_and_the_machine_leave_the_same() -> Result<(), String> {
    if let Err(error) = on(&Linux, &generate(&[])) {
        println!("{}", error.log());
        return not_possible("a program of type syscall", Errno(error.errno()));
    }
    let wanted = std::env::var("EBPF_PROGRAMS").ok().and_then(|number| number.parse().ok());
    let cases = wanted.unwrap_or(PROGRAMS);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let config = Config { rng_seed: RngSeed::Fixed(0x9669), ..config };
    let mut runner = TestRunner::new(config);
    let (refused, executed) = (Cell::new(0u32), Cell::new(0usize));
    let choices = prop::collection::vec(any::<u32>(), 30..500);
    let outcome = runner.run(&choices, |choices| {
        let code = generate(&choices);
        let kernel = match on(&Linux, &code) {
            Ok(kernel) => kernel,
            Err(error) => {
                // Too many states for the verifier: that says nothing of us.
                if std::env::var_os("EBPF_SHOW").is_some() {
                    println!("{}", error.log());
                }
                refused.set(refused.get() + 1);
                return Ok(());
            }
        };
        executed.set(executed.get() + code.len());
        let machine = on(&Vm::new(), &code).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(kernel, machine, "{:?}", listing(&code));
        Ok(())
    });
    outcome.map_err(|error| error.to_string())?;
    println!(
        "{cases} programs of {} instructions, {} refused by the verifier",
        executed.get(),
        refused.get()
    );
    assert!(refused.get() * 20 <= cases, "{} of {cases} programs refused", refused.get());
    Ok(())
}

fn listing(code: &[Instruction]) -> Vec<String> {
    code.iter()
        .enumerate()
        .map(|(index, i)| {
            format!("{index}: {:02x} r{} r{} {} {:#x}", i.opcode(), i.dst(), i.src(), i.offset(), i.imm())
        })
        .collect()
}
