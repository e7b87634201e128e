//! What is off is free: a platform that counts sees no trace of a program that is off or a map that is not created, and linking does
//! not even look at them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::cell::{Cell, RefCell};
use std::convert::Infallible;

use ebpf_loader::{
    Extern, Instruction, KernelObject, LoadError, MapDefinition, MapSpec, Object, Platform, ProgramSpec,
    RelocateErrorKind, Resolver, SlotProblem, SlotValue,
};

const CHOOSE: &[u8] = include_bytes!("../../progtable/tests/objects/choose.bpf.o");
const LINKED: &[u8] = include_bytes!("../../progtable/tests/objects/linked.bpf.o");
const EXTERNS: &[u8] = include_bytes!("../../progtable/tests/objects/externs.bpf.o");
const VALUES: &[u8] = include_bytes!("../../progtable/tests/objects/values.bpf.o");

/// Counts everything that a platform is asked for.
#[derive(Default)]
struct Counting {
    /// Maps and programs held: on Linux, descriptors.
    held: Cell<usize>,
    maps: Cell<usize>,
    /// Programs shown to the verifier.
    verified: RefCell<Vec<String>>,
    /// Bytes of linked programs.
    image: Cell<usize>,
    /// References that linking put in.
    references: Cell<usize>,
    /// Maps of maps, with the size of what they hold.
    outer: RefCell<Vec<(String, u32)>>,
    slots: RefCell<Vec<(usize, u32, String)>>,
    has_slots: bool,
    configuration: RefCell<Option<Vec<u8>>>,
}

fn add(counter: &Cell<usize>, term: usize) -> usize {
    counter.set(counter.get() + term);
    counter.get()
}

impl Platform for Counting {
    type Error = Infallible;
    type Map = usize;
    type Program = usize;
    type Link = ();
    type Target<'t> = ();
    type Ring = ebpf_ringbuf::Mapped<'static>;

    fn create_map(&self, map: &MapSpec<'_>) -> Result<usize, Infallible> {
        add(&self.held, 1);
        if map.name.ends_with(".kconfig") {
            *self.configuration.borrow_mut() = map.initial_value.map(<[u8]>::to_vec);
        }
        Ok(add(&self.maps, 1))
    }

    fn create_map_of_maps(&self, map: &MapSpec<'_>, inner: &MapDefinition) -> Result<usize, Infallible> {
        self.outer.borrow_mut().push((map.name.to_owned(), inner.max_entries));
        self.create_map(map)
    }

    fn set_slot(
        &self,
        map: &usize,
        slot: u32,
        value: SlotValue<'_, usize, usize>,
    ) -> Option<Result<(), Infallible>> {
        let value = match value {
            SlotValue::Map(map) => format!("map {map}"),
            SlotValue::Program(program) => format!("program {program}"),
            _ => String::new(),
        };
        self.slots.borrow_mut().push((*map, slot, value));
        self.has_slots.then_some(Ok(()))
    }

    fn destroy_map(&self, _: usize) {
        self.held.set(self.held.get() - 1);
    }

    fn map_reference(&self, map: &usize) -> i32 {
        add(&self.references, 1);
        *map as i32
    }

    fn load_program(&self, program: &ProgramSpec<'_>) -> Result<usize, Infallible> {
        self.verified.borrow_mut().push(program.name.to_owned());
        add(&self.image, size_of_val(program.instructions));
        Ok(add(&self.held, 1))
    }

    fn unload_program(&self, _: usize) {
        self.held.set(self.held.get() - 1);
    }

    fn attach(&self, _: &usize, (): ()) -> Result<(), Infallible> {
        Ok(())
    }

    fn detach(&self, (): ()) {}

    fn ring(&self, _: &usize) -> Result<Self::Ring, Infallible> {
        panic!("no test here reads a ring")
    }
}

/// Loads with the programs `off` off; what it took.
fn take(data: &'static [u8], off: &[&str]) -> Counting {
    let object: Object = Object::open(data).unwrap();
    for program in object.programs() {
        program.set_autoload(!off.contains(&program.name())).unwrap();
    }
    let counting = Counting { has_slots: true, ..Counting::default() };
    let mut scratch = vec![Instruction::default(); object.scratch_len().unwrap()];
    let mut loaded = object.on(&counting);
    loaded.load(&mut scratch).unwrap();
    let programs = loaded.programs().filter(|(_, handle)| handle.is_some()).count();
    assert_eq!(counting.held.get(), loaded.maps().count() + programs, "a descriptor each, and no more");
    drop(loaded);
    assert_eq!(counting.held.get(), 0);
    counting
}

#[test]
fn a_program_that_is_off_takes_nothing() {
    for (data, names) in [
        (CHOOSE, &["test_LRU_map", "test_PUSH_POP_map", "test_maps"][..]),
        (LINKED, &["off", "first", "loops"]),
    ] {
        let all = take(data, &[]);
        let object: Object = Object::open(data).unwrap();
        for name in names {
            let file = object.file();
            let needs = file.needs(file.program(name).unwrap()).unwrap();
            let without = take(data, &[name]);
            assert!(!without.verified.borrow().iter().any(|verified| verified == name), "no verification");
            assert_eq!(without.verified.borrow().len() + 1, all.verified.borrow().len());
            assert_eq!(all.image.get() - without.image.get(), needs.instructions * 8, "{name}: no memory");
            let saved = all.references.get() - without.references.get();
            assert_eq!(saved, needs.map_references, "{name}: no relocation");
            assert!(needs.map_references > 0);
            assert_eq!(all.maps.get(), without.maps.get(), "maps are chosen by themselves");
        }
        let none: Vec<&str> = object.programs().map(|program| program.name()).collect();
        let nothing = take(data, &none);
        assert_eq!((nothing.image.get(), nothing.references.get()), (0, 0));
        assert!(nothing.verified.borrow().is_empty());
    }
}

/// A program that could not even be linked does not keep the others from being loaded.
#[test]
fn a_program_that_is_off_is_not_linked() {
    let refused = |off: &[&str]| {
        let object: Object = Object::open(EXTERNS).unwrap();
        for name in off {
            object.set_autoload(name, false).unwrap();
        }
        let counting = Counting::default();
        let mut scratch = [Instruction::default(); 64];
        let kind = match object.on(&counting).load(&mut scratch) {
            Ok(()) => None,
            Err(LoadError::Relocate(error)) => Some((error.program().to_owned(), *error.kind())),
            Err(other) => Some((other.to_string(), RelocateErrorKind::Subprogram)),
        };
        assert_eq!(counting.held.get(), 0, "nothing is left behind");
        kind
    };
    assert!(matches!(refused(&[]), Some((_, RelocateErrorKind::Extern { .. }))));
    assert_eq!(
        refused(&["config", "symbol"]),
        Some(("field".to_owned(), RelocateErrorKind::NeedsCoRe)),
        "CO-RE is not loaded wrongly but refused"
    );
    assert_eq!(refused(&["config", "symbol", "field"]), None);
}

/// Knows every extern of the object.
struct Known(Vec<u8>);

impl Resolver for Known {
    fn variable(&mut self, _: &Extern<'_>) -> Option<KernelObject> {
        Some(KernelObject { btf_id: 78, btf_fd: 9, fd_index: 0 })
    }

    fn function(&mut self, _: &Extern<'_>) -> Option<KernelObject> {
        Some(KernelObject { btf_id: 77, ..KernelObject::default() })
    }

    fn kconfig(&self) -> Option<&[u8]> {
        Some(&self.0)
    }

    fn handles_core(&self) -> bool {
        true
    }
}

#[test]
fn who_knows_the_externs_loads_the_object() {
    let object: Object = Object::open_named("externs.bpf.o", EXTERNS).unwrap();
    let map = object.file().maps().iter().find(|map| map.is_kconfig()).unwrap();
    let contents: Vec<u8> = (0..map.value_size() as u8).collect();
    let counting = Counting::default();
    let mut scratch = vec![Instruction::default(); object.scratch_len().unwrap()];
    let mut loaded = object.on(&counting);
    loaded.load_with(&mut Known(contents.clone()), &mut scratch).unwrap();
    assert_eq!(counting.verified.borrow().len(), object.programs().count());
    assert_eq!(counting.configuration.borrow().as_deref(), Some(&contents[..]));
    drop(loaded);
    assert_eq!(counting.held.get(), 0);
}

#[test]
fn a_map_that_is_not_created_takes_nothing_and_is_poisoned() {
    let all = take(CHOOSE, &[]);
    let object: Object = Object::open(CHOOSE).unwrap();
    let name = object.file().maps()[1].name().to_owned();
    object.set_autocreate(&name, false).unwrap();
    let counting = Counting::default();
    let mut scratch = [Instruction::default(); 64];
    let mut loaded = object.on(&counting);
    loaded.load(&mut scratch).unwrap();
    assert_eq!(counting.maps.get() + 1, all.maps.get());
    assert!(loaded.map(&name).is_none());
    assert_eq!(loaded.maps().count(), object.file().maps().len() - 1);
    let users = object.programs().filter(|program| {
        let needs = object.file().needs(program).unwrap();
        needs.maps().any(|map| map == 1)
    });
    assert!(users.count() > 0 && counting.references.get() < all.references.get());
    assert_eq!(counting.image.get(), all.image.get(), "poisoned, not shortened");
    assert!(object.set_autocreate(&name, true).is_err(), "the choice is made");
    drop(loaded);
    assert_eq!(counting.held.get(), 0);
}

#[test]
fn maps_hold_from_the_start_what_the_source_says() {
    let object: Object = Object::open(VALUES).unwrap();
    object.set_autoload("third", true).unwrap();
    let counting = Counting { has_slots: true, ..Counting::default() };
    let mut scratch = [Instruction::default(); 64];
    let mut loaded = object.on(&counting);
    loaded.load(&mut scratch).unwrap();
    let (map, program) =
        (|name: &str| *loaded.map(name).unwrap(), |name: &str| *loaded.program(name).unwrap());
    assert_eq!(*counting.outer.borrow(), [("outer".to_owned(), 5)]);
    assert_eq!(
        *counting.slots.borrow(),
        [
            (map("outer"), 1, format!("map {}", map("two"))),
            (map("outer"), 6, format!("map {}", map("one"))),
            (map("tails"), 0, format!("program {}", program("third"))),
            (map("tails"), 3, format!("program {}", program("second"))),
        ]
    );
    drop(loaded);

    // As with libbpf, a table of programs cannot hold one that is off; and a platform may have no such tables.
    for (off, has_slots) in [(true, true), (false, false)] {
        let object: Object = Object::open(VALUES).unwrap();
        object.set_autoload("third", !off).unwrap();
        let counting = Counting { has_slots, ..Counting::default() };
        let error = object.on(&counting).load(&mut scratch).unwrap_err();
        let LoadError::SetSlot { map, slot, problem } = error else {
            return assert_eq!(error.to_string(), "");
        };
        match problem {
            SlotProblem::Off => assert_eq!((map.as_str(), slot, off), ("tails", 0, true)),
            SlotProblem::Unsupported => assert_eq!((map.as_str(), slot, off), ("outer", 1, false)),
            other => assert_eq!(format!("{other:?}"), ""),
        }
        assert_eq!(counting.held.get(), 0, "nothing is left behind");
    }
    // A map that is not created is given nothing.
    let object: Object = Object::open(VALUES).unwrap();
    object.set_autocreate("tails", false).unwrap();
    let counting = Counting { has_slots: true, ..Counting::default() };
    let mut loaded = object.on(&counting);
    loaded.load(&mut scratch).unwrap();
    assert_eq!(counting.slots.borrow().len(), 2);
    drop(loaded);
}
