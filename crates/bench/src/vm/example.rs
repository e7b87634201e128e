//! The programs of the project's own example that no machine here refuses: queues, stacks and a ring.
//!
//! (`test_maps` of the same object uses atomic operations that give a value, which rbpf does not have.)

use std::cell::RefCell;
use std::convert::Infallible;

use ebpf_loader::{Instruction, MapSpec, Object, Platform, ProgramSpec};
use ebpf_ringbuf::Mapped;

use super::ours::Ours;
use super::programs::Workload;

const OBJECT: &[u8] = include_bytes!("../../../cli/programs/maps.bpf.o");

/// Gathers what the loader would give to a platform.
#[derive(Default)]
struct Gathered {
    maps: RefCell<Vec<MapSpec<'static>>>,
    code: RefCell<Vec<Instruction>>,
}

impl Platform for Gathered {
    type Error = Infallible;
    type Map = i32;
    type Program = ();
    type Link = ();
    type Target<'t> = ();
    type Ring = Mapped<'static>;

    fn create_map(&self, map: &MapSpec<'_>) -> Result<i32, Infallible> {
        assert!(map.initial_value.is_none(), "no data in this object");
        let mut maps = self.maps.borrow_mut();
        maps.push(MapSpec {
            flags: map.flags,
            ..MapSpec::new("map", map.kind, map.key_size, map.value_size, map.max_entries)
        });
        Ok(i32::try_from(maps.len() - 1).expect("few maps"))
    }

    fn destroy_map(&self, _: i32) {}

    fn map_reference(&self, map: &i32) -> i32 {
        *map
    }

    fn load_program(&self, program: &ProgramSpec<'_>) -> Result<(), Infallible> {
        self.code.borrow_mut().extend_from_slice(program.instructions);
        Ok(())
    }

    fn unload_program(&self, (): ()) {}

    fn attach(&self, (): &(), (): ()) -> Result<(), Infallible> {
        Ok(())
    }

    fn detach(&self, (): ()) {}

    fn ring(&self, _: &i32) -> Result<Mapped<'static>, Infallible> {
        panic!("nobody asks")
    }
}

pub(super) fn workload() -> Workload {
    let object = Object::<8, 8>::open(OBJECT).expect("a committed object");
    let names: Vec<String> = object.programs().map(|program| program.name().to_owned()).collect();
    for name in names {
        object.set_autoload(&name, name == "test_PUSH_POP_map").expect("not loaded yet");
    }
    let gathered = Gathered::default();
    let mut scratch = vec![Instruction::default(); object.scratch_len().expect("it links")];
    object.on(&gathered).load(&mut scratch).expect("nothing refuses");
    let (maps, code) = used(&gathered.maps.borrow(), &gathered.code.borrow());
    let mut own = Ours::new(&maps, &code);
    let (returned, executed) = own.run();
    assert_eq!(returned, 0, "the example's steps all succeed");
    Workload { name: "the example (queues)", maps, code, executed }
}

/// Without the maps that the program does not refer to.
fn used(maps: &[MapSpec<'static>], code: &[Instruction]) -> (Vec<MapSpec<'static>>, Vec<Instruction>) {
    let mut numbers: Vec<usize> = Vec::new();
    for instruction in
        code.iter().filter(|instruction| instruction.opcode() == 0x18 && instruction.src() == 1)
    {
        let number = usize::try_from(instruction.imm()).expect("a position");
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    let code = super::ours::refer(code, |number| {
        let position = numbers.iter().position(|used| *used == number).expect("a map that is used");
        i32::try_from(position).expect("few maps")
    });
    (numbers.iter().map(|number| maps[*number]).collect(), code)
}
