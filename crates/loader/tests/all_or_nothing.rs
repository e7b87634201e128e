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

use ebpf_loader::{
    AttachError, AutoloadError, Instruction, LoadError, MapSpec, Object, Platform, Program, ProgramSpec,
    RingError,
};
use ebpf_ringbuf::{Geometry, HEADER_SIZE, Mapped, Mapping, PageOffset, Stopped};

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
    Attached(String, usize),
    Mapped(String, usize),
    Refused(String),
    Destroyed(usize),
    Unloaded(usize),
    Detached(usize),
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
    type Link = usize;
    type Target<'t> = &'t str;
    type Ring = Mapped<'static>;

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

    fn attach(&self, program: &usize, target: &str) -> Result<usize, Refused> {
        self.call(&format!("{program} to {target}"), Entry::Attached)
    }

    fn detach(&self, link: usize) {
        self.entries.borrow_mut().push(Entry::Detached(link));
    }

    fn ring(&self, map: &usize) -> Result<Mapped<'static>, Refused> {
        self.call(&map.to_string(), Entry::Mapped)?;
        Ok(fresh_ring())
    }
}

/// A ring of one page that holds the record `hello`, in memory nobody else has.
fn fresh_ring() -> Mapped<'static> {
    let geometry = Geometry::new(4096, 4096, Mapping::Flat, PageOffset::FromRing).unwrap();
    let words: &'static mut [u64] = Box::leak(vec![0u64; 16 + 16 + 512].into_boxed_slice());
    let record = HEADER_SIZE + 8;
    words[16] = record as u64;
    words[32] = u64::from_le_bytes([5, 0, 0, 0, 3, 0, 0, 0]);
    words[33] = u64::from_le_bytes(*b"hello\0\0\0");
    let mut pages = words.chunks_mut(16);
    let [consumer, producer, data] =
        [(); 3].map(|()| std::ptr::NonNull::from(pages.next().unwrap()).cast::<u8>());
    // SAFETY: leaked, aligned, as long as the geometry says (the data runs on behind its first chunk), and used for this one consumer.
    unsafe { Mapped::new(consumer, producer, data, geometry) }
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
            // The undoing is looked at before the place is dropped, and after.
            let mut loaded = object.on(&journal);
            let Err(error) = loaded.load(&mut scratch()) else { break };
            let undone_at_once = journal.entries.borrow().len();
            drop(loaded);
            assert_eq!(journal.entries.borrow().len(), undone_at_once, "nothing is given back twice");
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
        Entry::Attached(_, handle) => Entry::Detached(*handle),
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
    let mut loaded = object.on(&journal);
    loaded.load(&mut scratch()).unwrap();
    assert_eq!(loaded.programs().filter(|(_, handle)| handle.is_some()).count(), 3);
    let (map, handle) = loaded.maps().next().unwrap();
    assert_eq!(loaded.map(map.name()), Some(handle));
    drop(loaded);
    let entries = journal.entries.borrow();
    let (done, rest) = entries.split_at(entries.len() / 2);
    assert_eq!(rest, done.iter().rev().map(undone).collect::<Vec<_>>());
}

const TARGETS: [(&str, &str); 4] = [
    ("test_maps", "first"),
    ("test_LRU_map", "second"),
    ("test_maps", "third"),
    ("test_PUSH_POP_map", "fourth"),
];

#[test]
fn a_refusal_at_any_attachment_detaches_and_undoes_everything_in_reverse() {
    let mut injected = 0;
    for refuse in 0.. {
        let object = open(0);
        let journal = Journal::refusing(refuse);
        let mut loaded = object.on(&journal);
        if loaded.load(&mut scratch()).is_err() {
            continue;
        }
        let before = journal.entries.borrow().len();
        let Some(error) = loaded.attach_all::<4>(TARGETS).err() else { break };
        injected += 1;
        let AttachError::Attach { program, source: Refused } = error else { unreachable_entry() };
        {
            let entries = journal.entries.borrow();
            let at = entries.iter().position(|entry| matches!(entry, Entry::Refused(_))).unwrap();
            let (name, target) = TARGETS[at - before];
            assert_eq!(program.as_str(), name);
            assert!(matches!(&entries[at], Entry::Refused(what) if what.ends_with(target)));
            let undo: Vec<Entry> = entries[before..at].iter().rev().map(undone).collect();
            assert_eq!(entries[at + 1..], undo, "only what was attached, and the program stays loaded");
        }
        drop(loaded);
        let entries = journal.entries.borrow();
        let left: Vec<&Entry> = entries.iter().filter(|entry| !matches!(entry, Entry::Refused(_))).collect();
        assert_eq!(left.len() % 2, 0, "everything was taken back");
    }
    assert_eq!(injected, TARGETS.len());
}

#[test]
fn links_are_detached_last_first_and_before_programs_are_unloaded() {
    let object = open(0);
    let journal = Journal::default();
    {
        let mut loaded = object.on(&journal);
        loaded.load(&mut scratch()).unwrap();
        let links = loaded.attach_all::<8>(TARGETS).unwrap();
        assert_eq!((links.len(), links.is_empty()), (4, false));
        let handles: Vec<usize> = links.iter().filter_map(|attached| attached.link().copied()).collect();
        assert_eq!(handles, [6, 7, 8, 9], "three maps, three programs, then these");
        let one = loaded.attach("test_maps", "fifth").unwrap();
        one.detach();
        assert_eq!(journal.entries.borrow().last(), Some(&Entry::Detached(10)));
        journal.entries.borrow_mut().truncate(10);
    }
    let entries = journal.entries.borrow();
    let (done, rest) = entries.split_at(entries.len() / 2);
    assert_eq!(rest, done.iter().rev().map(undone).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_attached_is_not_shown_to_the_platform() {
    let object = open(0);
    object.set_autoload("test_LRU_map", false).unwrap();
    let journal = Journal::default();
    let mut loaded = object.on(&journal);
    loaded.load(&mut scratch()).unwrap();
    let before = journal.entries.borrow().clone();
    let missing = loaded.attach("test_map", "lo").unwrap_err();
    assert!(matches!(&missing, AttachError::NotFound { program } if program.as_str() == "test_map"));
    let off = loaded.attach("test_LRU_map", "lo").unwrap_err();
    assert!(matches!(&off, AttachError::NotLoaded { program } if program.as_str() == "test_LRU_map"));
    assert_eq!(*journal.entries.borrow(), before);
    // The third finds no room: the two before it are taken back.
    let many = [("test_maps", "a"), ("test_maps", "b"), ("test_maps", "c")];
    let error = loaded.attach_all::<2>(many).unwrap_err();
    assert!(matches!(error, AttachError::TooManyLinks { capacity: 2, .. }), "{error}");
    let entries = journal.entries.borrow();
    let after = &entries[before.len()..];
    assert_eq!(after.len(), 4);
    assert_eq!(after[2..], after[..2].iter().rev().map(undone).collect::<Vec<_>>());
}

#[test]
fn rings_are_read_straight_from_the_platforms_memory() {
    let object = open(2);
    let journal = Journal::default();
    let mut loaded = object.on(&journal);
    loaded.load(&mut scratch()).unwrap();
    let mut ring = loaded.ring("events").unwrap();
    assert_eq!(&*ring.next_record().unwrap(), b"hello");
    assert_eq!(ring.next_record().unwrap_err(), Stopped::Empty);
    assert!(matches!(loaded.ring("nothing").unwrap_err(), RingError::NotFound { .. }));
    assert!(matches!(loaded.ring("queue").unwrap_err(), RingError::NotARing { .. }));
    assert!(
        matches!(loaded.user_ring("events").unwrap_err(), RingError::NotARing { .. }),
        "the other way round"
    );
    // What the platform refuses is what the caller is told.
    let calls = journal.calls.load(Ordering::Relaxed);
    let journal = Journal::refusing(calls - 1);
    let object = open(2);
    let mut loaded = object.on(&journal);
    loaded.load(&mut scratch()).unwrap();
    let error = loaded.ring("events").unwrap_err();
    assert!(matches!(&error, RingError::Map { source: Refused, .. }));
    assert_eq!(error.to_string(), "ring `events`: refused on purpose");
}

#[test]
fn a_program_that_is_off_is_not_shown_to_the_platform() {
    let object = open(0);
    object.set_autoload("test_LRU_map", false).unwrap();
    object.set_autoload("test_PUSH_POP_map", false).unwrap();
    assert_eq!(object.set_autoload("test_map", false), Err(AutoloadError::NotFound));
    let journal = Journal::default();
    let mut loaded = object.on(&journal);
    loaded.load(&mut scratch()).unwrap();
    assert!(loaded.program("test_maps").is_some() && loaded.program("test_LRU_map").is_none());
    let shown: Vec<Entry> =
        journal.entries.borrow().iter().filter(|entry| matches!(entry, Entry::Loaded(..))).cloned().collect();
    assert!(matches!(&shown[..], [Entry::Loaded(name, _)] if name == "test_maps"), "{shown:?}");
    // After the load the choice is made, whatever the value, and there is no second load.
    assert_eq!(object.set_autoload("test_maps", true), Err(AutoloadError::Frozen));
    assert!(matches!(object.on(&journal).load(&mut scratch()), Err(LoadError::AlreadyLoaded)));
}

#[test]
fn a_place_is_empty_until_it_is_loaded_and_loaded_once() {
    let object = open(0);
    let journal = Journal::default();
    let mut loaded = object.on(&journal);
    assert_eq!((loaded.maps().count(), loaded.programs().count()), (0, 0));
    assert!(matches!(loaded.attach("test_maps", "lo"), Err(AttachError::NotLoaded { .. })));
    assert!(journal.entries.borrow().is_empty(), "nothing is asked of the platform");
    loaded.load(&mut scratch()).unwrap();
    let done = journal.entries.borrow().clone();
    assert!(matches!(loaded.load(&mut scratch()), Err(LoadError::AlreadyLoaded)));
    assert_eq!(*journal.entries.borrow(), done, "what is loaded stays");
    assert!(loaded.program("test_maps").is_some());
}

#[test]
fn an_object_is_opened_into_a_place() {
    let (name, bytes) = OBJECTS[0];
    let mut place = Object::<64, 64>::empty();
    assert_eq!(place.programs().count(), 0);
    Object::open_into(&mut place, name, bytes).unwrap();
    let known = open(0);
    let names =
        |object: &Object| object.file().maps().iter().map(|map| map.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&place), names(&known), "with the names of internal maps");
    assert!(place.programs().map(Program::name).eq(known.programs().map(Program::name)));
    place.on(&Journal::default()).load(&mut scratch()).unwrap();
    // A table that was frozen by loading can be loaded again once it was opened again.
    Object::open_into(&mut place, name, bytes).unwrap();
    place.on(&Journal::default()).load(&mut scratch()).unwrap();
    assert!(Object::open_into(&mut place, name, b"no object").is_err());
    assert_eq!(place.programs().count(), 0, "nothing of what was there is left");
}

#[test]
fn a_scratch_buffer_that_is_too_short_says_how_long_it_must_be() {
    for index in 0..OBJECTS.len() {
        let needed = open(index).scratch_len().unwrap();
        let journal = Journal::default();
        let object = open(index);
        assert!(object.on(&journal).load(&mut vec![Instruction::default(); needed]).is_ok());
        let object = open(index);
        let error = object.on(&journal).load(&mut vec![Instruction::default(); needed - 1]).unwrap_err();
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
                    let mut loaded = object.on(&journal);
                    if loaded.load(&mut scratch()).is_ok() {
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
