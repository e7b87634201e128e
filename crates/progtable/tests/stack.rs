//! How much stack opening an object takes: measured on a thread whose stack was painted before.
//!
//! The bounds that the documentation states are those of optimised builds (`cargo test --release --test stack`,
//! which `cargo xtask test` runs). Without optimisation frames are several times as large; that they do not depend
//! on the capacity is checked there too.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use std::ffi::c_void;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr;

use ebpf_progtable::{Instruction, ObjectFile, Options, Program};

const OBJECTS: [&[u8]; 4] = [
    include_bytes!("objects/choose.bpf.o"),
    include_bytes!("objects/linked.bpf.o"),
    include_bytes!("objects/maps.bpf.o"),
    include_bytes!("objects/externs.bpf.o"),
];

/// What the documentation says of opening in place, and of everything else; and what the frames take here that ask.
const IN_PLACE: usize = 2048 + ASKING;
const ASKING: usize = 384;
/// What linking has on the stack for each program that there is room for.
const EACH: usize = 8;

#[test]
fn in_place_the_capacity_does_not_matter() {
    let small = in_place::<16, 16>();
    let usual = in_place::<64, 64>();
    let large = in_place::<10_000, 1_000>();
    println!("stack of open_into: {small}, {usual}, {large} bytes for tables of 16, 64 and 10 000 programs");
    assert!(small.abs_diff(usual) < 512 && large.abs_diff(usual) < 512, "{small}, {usual}, {large}");
    if !cfg!(debug_assertions) {
        assert!(large <= IN_PLACE, "the documentation says {IN_PLACE} bytes, not {large}");
    }
}

#[test]
fn by_value_there_is_a_table_more() {
    let table = size_of::<ObjectFile<'static>>();
    let used = most(|data| {
        let file = ObjectFile::<'_, 64, 64>::open(black_box(data));
        assert!(black_box(&file).is_ok());
    });
    println!("stack of open: {used} bytes, with the caller's table of {table}");
    if !cfg!(debug_assertions) {
        assert!(
            used <= 2 * table + IN_PLACE,
            "the documentation says a table and {IN_PLACE} bytes, not {used}"
        );
    }
}

#[test]
fn linking_takes_eight_bytes_for_each_program_that_there_is_room_for() {
    let (usual, large) = (asked::<64>(), asked::<10_000>());
    println!(
        "stack of what is asked of a program: {usual:?}, {large:?} bytes for tables of 64 and 10 000 programs"
    );
    if !cfg!(debug_assertions) {
        assert!(usual.iter().all(|(_, used)| *used <= IN_PLACE), "{usual:?}");
        for ((what, usual), (_, large)) in usual.into_iter().zip(large) {
            let more = EACH * (10_000 - 64);
            // A layout has five bytes for each program, where it is made and where it is given to.
            let layout = if what == "layout" { 2 * 5 * (10_000 - 64) } else { 0 };
            assert!(large.saturating_sub(usual) <= more + layout + 128, "{what}: {usual}, {large}");
        }
    }
}

/// That the measure measures: a large array is seen, to its size.
#[test]
fn an_array_is_seen() {
    let used = stack_of(|| {
        let array = [1_u8; 10_000];
        black_box(&array);
    });
    assert!((10_000..32_000).contains(&used), "{used}");
}

fn in_place<const PROGRAMS: usize, const MAPS: usize>() -> usize {
    // Made on a thread with room for it; from then on it never is on a stack.
    let make = || Box::new(ObjectFile::<'static, PROGRAMS, MAPS>::empty());
    let thread = std::thread::Builder::new().stack_size(16 << 20).spawn(make);
    let place = std::sync::Mutex::new(thread.unwrap().join().unwrap());
    most(|data| {
        let mut place = place.lock().unwrap();
        ObjectFile::open_into(&mut place, black_box(data), &Options::default()).unwrap();
        assert!(place.programs().next().is_some());
    })
}

/// The most stack that each question about any program of any object takes.
fn asked<const PROGRAMS: usize>() -> [(&'static str, usize); 5] {
    type Question<const PROGRAMS: usize> = fn(&ObjectFile<'static, PROGRAMS, 64>);

    fn each<const PROGRAMS: usize>(
        file: &ObjectFile<'static, PROGRAMS, 64>,
        ask: impl Fn(&Program<'static>),
    ) {
        file.programs().for_each(ask);
    }

    let questions: [(&str, Question<PROGRAMS>); 5] = [
        ("linked_len", |file| each(file, |program| drop(black_box(file.linked_len(program))))),
        ("layout", |file| each(file, |program| assert!(black_box(&file.layout(program)).is_ok()))),
        ("needs", |file| each(file, |program| assert!(black_box(&file.needs(program)).is_ok()))),
        ("references", |file| {
            each(file, |program| {
                for found in file.references(program) {
                    assert!(black_box(found).is_ok());
                }
            });
        }),
        ("relocate", |file| {
            each(file, |program| {
                let mut buffer = [Instruction::default(); 16];
                let _ = black_box(file.relocate(program, |_| 0, &mut buffer).is_ok());
            });
        }),
    ];
    questions.map(|(what, ask)| {
        let of = |data| {
            let thread = std::thread::Builder::new().stack_size(16 << 20);
            let make = move || {
                let mut table = Box::new(ObjectFile::<'static, PROGRAMS, 64>::empty());
                ObjectFile::open_into(&mut table, data, &Options::default()).unwrap();
                table
            };
            let table = thread.spawn(make).unwrap().join().unwrap();
            stack_of(|| ask(&table))
        };
        (what, OBJECTS.into_iter().map(of).max().unwrap())
    })
}

/// The most stack that any of the objects takes.
fn most(open: impl Fn(&'static [u8])) -> usize {
    OBJECTS.into_iter().map(|data| stack_of(|| open(data))).max().unwrap()
}

/// Bytes of stack that `action` takes, below the frame that calls it.
fn stack_of(action: impl Fn()) -> usize {
    const PAINT: u128 = 0xa5a5_a5a5_a5a5_a5a5_a5a5_a5a5_a5a5_a5a5;

    /// Where the thread's own frame is, and what it calls.
    struct Task<'a>(usize, &'a dyn Fn());

    extern "C" fn run(task: *mut c_void) -> *mut c_void {
        // SAFETY: `stack_of` passes a task, and leaves it alone until this thread has ended.
        let task = unsafe { &mut *task.cast::<Task<'_>>() };
        let here = 0_u8;
        task.0 = (&raw const here).addr();
        // Not inlined: its frame is to be below this one.
        black_box(task.1)();
        ptr::null_mut()
    }

    // Once before, so that nothing is left to be done the first time only.
    action();
    let mut stack = vec![PAINT; (2 << 20) / size_of::<u128>()];
    let mut task = Task(0, &action);
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    let size = stack.len() * size_of::<u128>();
    // SAFETY: the attributes are initialised first, and destroyed by nobody, which leaks nothing on Linux.
    let failed = unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) };
    assert_eq!(failed, 0);
    // SAFETY: the memory is used by nobody else until the thread has ended.
    let failed =
        unsafe { libc::pthread_attr_setstack(attributes.as_mut_ptr(), stack.as_mut_ptr().cast(), size) };
    assert_eq!(failed, 0);
    let argument = (&raw mut task).cast();
    // SAFETY: `run` gets the task it is made for, which outlives the thread: it is joined below. The action is
    // only called there meanwhile.
    let failed = unsafe { libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), run, argument) };
    assert_eq!(failed, 0);
    // SAFETY: the thread was created.
    let thread = unsafe { thread.assume_init() };
    // SAFETY: it is joined once.
    let failed = unsafe { libc::pthread_join(thread, ptr::null_mut()) };
    assert_eq!(failed, 0);
    let deepest = stack.iter().position(|&word| word != PAINT).unwrap();
    assert_ne!(deepest, 0, "the stack was too small");
    let deepest = (&raw const stack[deepest]).addr();
    task.0 - deepest
}
