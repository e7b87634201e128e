//! A platform that refuses one call after the other: whatever had been created before is taken back, last first, and the error names the step.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ebpf_loader::{AutoloadError, Instruction, LoadError, MapSpec, Object, Platform, ProgramSpec};

const OBJECTS: [(&str, &[u8]); 4] = [
    ("choose.bpf.o", include_bytes!("../../progtable/tests/objects/choose.bpf.o")),
    ("linked.bpf.o", include_bytes!("../../progtable/tests/objects/linked.bpf.o")),
    ("maps.bpf.o", include_bytes!("../../cli/programs/maps.bpf.o")),
    ("sections.bpf.o", include_bytes!("../../cli/programs/sections.bpf.o")),
];

/// Writes down what it is asked to do, and refuses the call with the number `refuse`.
#[derive(Default)]
struct Journal {
    refuse: Option<usize>,
    entries: RefCell<Vec<Entry>>,
    calls: AtomicUsize,
}

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Created(String, usize),
    Loaded(String, usize),
    Refused(String),
    Destroyed(usize),
    Unloaded(usize),
}

#[derive(Debug, PartialEq)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused on purpose")
    }
}

impl std::error::Error for Refused {}

impl Journal {
    fn refusing(refuse: usize) -> Self {
        Self { refuse: Some(refuse), ..Self::default() }
    }

    fn call(&self, name: &str, done: fn(String, usize) -> Entry) -> Result<usize, Refused> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let refused = self.refuse == Some(number);
        let name = name.to_owned();
        self.entries.borrow_mut().push(if refused { Entry::Refused(name) } else { done(name, number) });
        if refused { Err(Refused) } else { Ok(number) }
    }
}

impl Platform for Journal {
    type Error = Refused;
    type Map = usize;
    type Program = usize;

    fn create_map(&self, map: &MapSpec<'_>) -> Result<usize, Refused> {
        self.call(map.name, Entry::Created)
    }

    fn destroy_map(&self, map: usize) {
        self.entries.borrow_mut().push(Entry::Destroyed(map));
    }

    fn map_reference(&self, map: &usize) -> i32 {
        1000 + *map as i32
    }

    fn load_program(&self, program: &ProgramSpec<'_>) -> Result<usize, Refused> {
        assert!(!program.instructions.is_empty());
        self.call(program.name, Entry::Loaded)
    }

    fn unload_program(&self, program: usize) {
        self.entries.borrow_mut().push(Entry::Unloaded(program));
    }
}

fn open(index: usize) -> Object<'static> {
    let (name, bytes) = OBJECTS[index];
    Object::open_named(name, bytes).unwrap()
}

fn scratch() -> Vec<Instruction> {
    vec![Instruction::default(); 4096]
}

#[test]
fn a_refusal_at_any_call_leaves_nothing_behind_and_names_its_step() {
    let mut injected = 0;
    for (index, (name, _)) in OBJECTS.iter().enumerate() {
        for refuse in 0.. {
            let object = open(index);
            let journal = Journal::refusing(refuse);
            let error = match object.load(&journal, &mut scratch()) {
                Ok(loaded) => {
                    drop(loaded);
                    break;
                }
                Err(error) => error,
            };
            injected += 1;
            let entries = journal.entries.borrow();
            let at = entries.iter().position(|entry| matches!(entry, Entry::Refused(_))).unwrap();
            let Entry::Refused(refused) = &entries[at] else { unreachable_entry() };
            match error {
                LoadError::CreateMap { map, source: Refused } => assert_eq!(map.as_str(), refused),
                LoadError::LoadProgram { program, source: Refused } => assert_eq!(program.as_str(), refused),
                other => assert_eq!(other.to_string(), "an error of the refused step"),
            }
            // What came before, undone in reverse, and nothing else.
            let undo: Vec<Entry> = entries[..at].iter().rev().map(undone).collect();
            assert_eq!(entries[at + 1..], undo, "{name} refused at call {refuse}");
        }
    }
    assert!(injected > 20, "only {injected} refusals: the objects have more maps and programs than that");
}

fn undone(entry: &Entry) -> Entry {
    match entry {
        Entry::Created(_, handle) => Entry::Destroyed(*handle),
        Entry::Loaded(_, handle) => Entry::Unloaded(*handle),
        other => other.clone(),
    }
}

#[expect(clippy::panic, reason = "a test")]
fn unreachable_entry() -> ! {
    panic!("the entry found is a refusal")
}

#[test]
fn dropping_what_was_loaded_undoes_it_in_reverse() {
    let object = open(0);
    let journal = Journal::default();
    let loaded = object.load(&journal, &mut scratch()).unwrap();
    assert_eq!(loaded.programs().filter(|(_, handle)| handle.is_some()).count(), 3);
    let (map, handle) = loaded.maps().next().unwrap();
    assert_eq!(loaded.map(map.name()), Some(handle));
    drop(loaded);
    let entries = journal.entries.borrow();
    let (done, rest) = entries.split_at(entries.len() / 2);
    assert_eq!(rest, done.iter().rev().map(undone).collect::<Vec<_>>());
}

#[test]
fn a_program_that_is_off_is_not_shown_to_the_platform() {
    let object = open(0);
    object.set_autoload("test_LRU_map", false).unwrap();
    object.set_autoload("test_PUSH_POP_map", false).unwrap();
    assert_eq!(object.set_autoload("test_map", false), Err(AutoloadError::NotFound));
    let journal = Journal::default();
    let loaded = object.load(&journal, &mut scratch()).unwrap();
    assert!(loaded.program("test_maps").is_some() && loaded.program("test_LRU_map").is_none());
    let shown: Vec<Entry> =
        journal.entries.borrow().iter().filter(|entry| matches!(entry, Entry::Loaded(..))).cloned().collect();
    assert!(matches!(&shown[..], [Entry::Loaded(name, _)] if name == "test_maps"), "{shown:?}");
    // After the load the choice is made, whatever the value, and there is no second load.
    assert_eq!(object.set_autoload("test_maps", true), Err(AutoloadError::Frozen));
    assert!(matches!(object.load(&journal, &mut scratch()), Err(LoadError::AlreadyLoaded)));
}

#[test]
fn a_scratch_buffer_that_is_too_short_says_how_long_it_must_be() {
    for index in 0..OBJECTS.len() {
        let needed = open(index).scratch_len().unwrap();
        let journal = Journal::default();
        let object = open(index);
        assert!(object.load(&journal, &mut vec![Instruction::default(); needed]).is_ok());
        let object = open(index);
        let error = object.load(&journal, &mut vec![Instruction::default(); needed - 1]).unwrap_err();
        assert!(
            matches!(error, LoadError::ScratchTooShort { needed: n, given, .. } if n == needed && given == needed - 1)
        );
    }
}

#[test]
fn of_many_threads_one_loads_and_what_was_set_before_is_honoured() {
    for _ in 0..200 {
        let object = open(0);
        let winners = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let accepted = object.set_autoload("test_maps", false);
                    let journal = Journal::default();
                    if let Ok(loaded) = object.load(&journal, &mut scratch()) {
                        winners.fetch_add(1, Ordering::Relaxed);
                        // Its own change came before its own load.
                        assert!(accepted.is_ok() && loaded.program("test_maps").is_none());
                    }
                });
            }
        });
        assert_eq!(winners.into_inner(), 1);
    }
}
