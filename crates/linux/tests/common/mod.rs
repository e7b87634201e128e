//! What the tests share: instructions by name, and the ways to say that this kernel cannot do something.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fmt::Display;
use std::time::{Duration, Instant};

use ebpf_linux::{Error, Linux, LinuxMap, LinuxProgram, TestRun};
use ebpf_loader::{Instruction, MapKind, MapSpec, Platform, ProgramKind, ProgramSpec};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

pub(crate) fn i(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Instruction {
    Instruction::new(opcode, dst, src, offset, imm)
}

/// `dst = imm`
pub(crate) fn mov(dst: u8, imm: i32) -> Instruction {
    i(0xb7, dst, 0, 0, imm)
}

pub(crate) fn exit() -> Instruction {
    i(0x95, 0, 0, 0, 0)
}

pub(crate) fn call(helper: i32) -> Instruction {
    i(0x85, 0, 0, 0, helper)
}

/// `dst = map`
pub(crate) fn map_handle(dst: u8, map: &LinuxMap) -> [Instruction; 2] {
    [i(0x18, dst, 1, 0, Linux.map_reference(map)), i(0, 0, 0, 0, 0)]
}

/// `dst = address of the first value of map`
pub(crate) fn map_value(dst: u8, map: &LinuxMap) -> [Instruction; 2] {
    [i(0x18, dst, 2, 0, Linux.map_reference(map)), i(0, 0, 0, 0, 0)]
}

pub(crate) fn load_for(
    name: &str,
    kind: ProgramKind,
    section: &str,
    expected_attach_type: u32,
    instructions: &[Instruction],
) -> Result<LinuxProgram, Error> {
    Linux.load_program(&ProgramSpec {
        name,
        section,
        kind,
        expected_attach_type,
        license: "GPL",
        instructions,
    })
}

pub(crate) fn load(
    name: &str,
    kind: ProgramKind,
    instructions: &[Instruction],
) -> Result<LinuxProgram, Error> {
    load_for(name, kind, "", 0, instructions)
}

/// `return bpf_ringbuf_output(r1, context, 8, flags)`, after what sets r1: writes the first eight bytes of its context to a ring.
pub(crate) fn writer(ring: &[Instruction], flags: i32) -> LinuxProgram {
    // *(u64 *)(r10 - 8) = *(u64 *)r1
    let mut code = vec![i(0x79, 2, 1, 0, 0), i(0x7b, 10, 2, -8, 0)];
    code.extend(ring);
    code.extend([i(0xbf, 2, 10, 0, 0), i(0x07, 2, 0, 0, -8), mov(3, 8), mov(4, flags), call(130), exit()]);
    load("writer", ProgramKind::SYSCALL, &code).unwrap()
}

/// Has a [`writer`] write `value`; gives what it returned.
pub(crate) fn write(writer: &LinuxProgram, value: u64) -> i32 {
    let run = TestRun { context: &mut value.to_ne_bytes(), ..Default::default() };
    writer.test_run(run).unwrap().returned.cast_signed()
}

/// `return bpf_user_ringbuf_drain(ring, callback, 0, 0)`, where the callback says to go on.
pub(crate) fn drainer(ring: &LinuxMap) -> LinuxProgram {
    let [low, high] = map_handle(1, ring);
    let code = [
        low,
        high,
        i(0x18, 2, 4, 0, 5),
        i(0, 0, 0, 0, 0),
        mov(3, 0),
        mov(4, 0),
        call(209),
        exit(),
        mov(0, 0),
        exit(),
    ];
    load("drain", ProgramKind::SYSCALL, &code).unwrap_or_else(|error| panic!("{error}\n{}", error.log()))
}

/// Counts, in a map, how often a program was run.
pub(crate) struct Counter {
    pub(crate) map: LinuxMap,
}

impl Counter {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self { map: LinuxMap::create(&MapSpec::new("count", MapKind::ARRAY, 4, 8, 1))? })
    }

    /// `count += 1; return returned`
    pub(crate) fn code(&self, returned: i32) -> Vec<Instruction> {
        let [low, high] = map_value(1, &self.map);
        vec![low, high, mov(2, 1), i(0xdb, 1, 2, 0, 0), mov(0, returned), exit()]
    }

    pub(crate) fn value(&self) -> u64 {
        let mut value = [0; 8];
        assert!(self.map.lookup(&[0; 4], &mut value).expect("the map is there"));
        u64::from_ne_bytes(value)
    }

    /// Does `what` until the program has run.
    pub(crate) fn grows(&self, what: impl FnMut()) {
        let before = self.value();
        until("the program runs", what, || self.value() > before);
    }

    /// The program does not run any more, once the kernel has let go of it.
    pub(crate) fn stays(&self, mut what: impl FnMut()) {
        let before = std::cell::Cell::new(self.value());
        until("the program does not run any more", &mut what, || {
            before.replace(self.value()) == before.get()
        });
    }
}

/// Does `what` until `done`. The limit is there for what never comes; it decides nothing else.
pub(crate) fn until(why: &str, mut what: impl FnMut(), mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    loop {
        what();
        std::thread::sleep(Duration::from_millis(1));
        if done() {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain: {why}");
    }
}

/// The result, or `None` with a note where rights are missing: not in CI.
pub(crate) fn able<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.is_permission() && std::env::var_os("CI").is_none() => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}\n{}", error.log()),
    }
}

/// Says that this kernel does not have something: kernels differ, so this is no failure in CI either.
pub(crate) fn lacks(what: impl Display) {
    println!("skipped: this kernel lacks it: {what}");
}

/// Runs `what` on a thread with mounts of its own, one of them new; says why not if that cannot be.
pub(crate) fn with_mount(kind: &'static str, place: &'static str, what: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            // SAFETY: a thread's own view of mounts; nobody else holds this thread's working directory to be the process's.
            let alone = unsafe { unshare_unsafe(UnshareFlags::NEWNS) };
            let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
            let mounted = alone
                .and_then(|()| mount_change("/", private))
                .and_then(|()| mount(kind, place, kind, MountFlags::empty(), None));
            match mounted {
                Ok(()) => what(),
                Err(error) => {
                    assert!(std::env::var_os("CI").is_none(), "mount -t {kind} {kind} {place}: {error}");
                    println!("skipped: mount -t {kind} {kind} {place}: {error}");
                }
            }
        });
        thread.join().unwrap();
    });
}
