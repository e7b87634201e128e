//! An eBPF machine inside your process: maps, helpers and programs of RFC 9669, without an operating system.
//!
//! [`Vm`] is a [`Platform`] for `ebpf-loader`: an object file that was made for Linux is opened, linked and loaded onto it,
//! and its programs run wherever this crate does. No privileges, no system calls, no clock of its own; `no_std` with `alloc`.
//! Programs are run one by one ([`VmProgram::run`]), or attached to hooks and run by their events ([`Vm::fire`]).
//!
//! ```
//! use ebpf_vm::{Instruction, MapKind, MapSpec, Platform, ProgramKind, ProgramSpec, Vm};
//!
//! let vm = Vm::new();
//! let counter = vm.create_map(&MapSpec::new("counter", MapKind::ARRAY, 4, 8, 1))?;
//!
//! // r6 = &counter[0]; r2 = *(u64 *)r1; lock *(u64 *)r6 += r2; return 0
//! let instructions = [
//!     Instruction::new(0x18, 6, 2, 0, vm.map_reference(&counter)),
//!     Instruction::new(0x00, 0, 0, 0, 0),
//!     Instruction::new(0x79, 2, 1, 0, 0),
//!     Instruction::new(0xdb, 6, 2, 0, 0),
//!     Instruction::new(0xb7, 0, 0, 0, 0),
//!     Instruction::new(0x95, 0, 0, 0, 0),
//! ];
//! let program = vm.load_program(&ProgramSpec {
//!     name: "count",
//!     section: "socket",
//!     kind: ProgramKind::SOCKET_FILTER,
//!     expected_attach_type: 0,
//!     license: "GPL",
//!     instructions: &instructions,
//! })?;
//!
//! let outcome = program.run(&mut 40u64.to_ne_bytes())?;
//! assert_eq!((outcome.return_value, outcome.instructions), (0, 6));
//! program.run(&mut 2u64.to_ne_bytes())?;
//! let mut value = [0; 8];
//! counter.lookup(&0u32.to_ne_bytes(), &mut value)?;
//! assert_eq!(u64::from_ne_bytes(value), 42);
//!
//! // The context has 8 bytes; a program that reads a ninth is stopped and says where.
//! let fault = program.run(&mut [0; 7]).unwrap_err();
//! assert_eq!(fault.to_string(), "instruction 2: read of 8 bytes at 0x100000000: outside the context");
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # What it runs
//!
//! All of RFC 9669 but its legacy packet access: the base, division, 32-bit and atomic groups, that is what clang emits for
//! `-mcpu=v1` to `v4`; functions in `.text`, callbacks, global data, programs that go on with programs.
//!
//! | maps | Linux's error numbers and creation checks for |
//! |---|---|
//! | by index | array, per-CPU array |
//! | by key | hash, LRU hash (exact: the entry used longest ago gives way), and both per CPU |
//! | copies | queue, stack |
//! | events | ring buffer, byte for byte Linux's: see [`RingMap`]; user ring; perf event array: see [`VmMap::open_perf`] |
//! | others | prog array: see [`VmMap::set_program`]; array of maps: see [`VmMap::set_map`] |
//!
//! Helpers have Linux's numbers, or those of eBPF for Windows ([`HelperNumbers`]): map lookup, update, delete (1–3), of a CPU (195), for each entry
//! (164); push, pop, peek (87–89); ring output, reserve, submit, discard, query (130–134) and by dynptr (198–200); dynptrs (197, 201–203); user ring
//! drain (209); perf event output (25); tail call (12); clocks (5, 125, 160), random numbers (7), processor and task (8, 14–16), checksums (28),
//! `bpf_trace_printk` (6), `bpf_loop` (181). What they cannot know they ask a [`Host`], who may have helpers of its own.
//!
//! # How it keeps programs in
//!
//! Loading *validates*: opcodes, registers, reserved fields, jumps, functions, helpers, map references, in time linear in the
//! program. It does not prove what Linux's verifier proves. Instead every access is checked when it happens, first and last
//! byte, against the regions that the run can address: its stack frames, its context, values of its maps, its live ring
//! reservations. Pointers are a region's number and an offset, never addresses of this process, and the same in every run.
//! What Linux would have refused to load is a [`Fault`] with the instruction's index.
//!
//! # Guarantees
//!
//! * Whatever the bytes of a program: no panic, no access outside its regions, no endless run (see
//!   [`VmConfig::instruction_budget`]), no more memory than [`VmConfig::memory_limit`].
//! * No `unsafe`. Memory that several programs share is made of atomics, so programs that race with each other are not a
//!   data race of this process. An aligned access to a map value never tears.
//! * Lookups by programs hold no lock and wait for nobody: in a hash map they find an entry that was there at some moment while they looked, under its own key,
//!   and never miss one that was there all the time, while others update, delete and reuse its neighbours' memory or the table grows. A lookup begins
//!   again only when a writer has meanwhile taken an entry out of the same bucket; after eight times, which no stopped writer can cause, it takes the
//!   lock. In an LRU map it notes the use, which writers put in order; only notes beyond 64 while a writer is at work are lost.
//! * Which keys share a bucket depends on a number that the [`Host`] gives when the map is made: whoever does not know it cannot choose keys beforehand that
//!   do. It is not made against those who see how long lookups take and may try many keys. Numbers that differ in their lowest eight bits only never share
//!   one, once there are 256.
//! * A run allocates nothing, save when a helper grows a map, copies more than 64 bytes from one map or ring to another, shows a callback keys or samples, or
//!   finds a map in a map.
//! * With the [`DeterministicHost`], the same calls give the same answers.
//!
//! # What it does not do
//!
//! * It is not Linux's verifier: that a program runs here does not mean that Linux loads it.
//! * An access may reach another value of the same map, where pointer arithmetic leads exactly into it.
//! * Writers of keys (update, delete, push, pop), perf event output, tail calls and lookups of maps in maps hold a spin lock for a while. A program that does
//!   so must not run in an interrupt handler that may have interrupted another run, nor the embedder's own calls. One whose helpers only look up values, of
//!   arrays and hash maps, may, whatever it has interrupted.
//! * A pointer to a hash map's value leads to that of another entry when its own has been deleted or updated and its memory used again, which may be at once. So
//!   it is in Linux for maps that are preallocated.
//! * Stores of less than eight bytes into map values cost a compare-exchange, because neighbours in the same word must
//!   not be lost; the stack, the context and ring reservations do not have that cost.
//! * No packet pointers in contexts, no BTF-typed kernel functions, no compilation to machine code.
//! * The samples of a user ring are shown as copies: a program that writes to one writes to the copy.
//! * [`Fault::instruction`] counts in the program that was stopped, which after a tail call is not the one that was started.
//! * The target must have 64-bit atomics.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, loom))]
extern crate std;

mod account;
mod arithmetic;
mod callbacks;
mod circle;
mod decode;
mod dynptr;
mod error;
mod flow;
mod fuse;
mod helpers;
mod hooks;
mod host;
mod interpret;
mod maps;
mod memory;
mod numbers;
mod perf;
mod program;
mod quick;
mod ring;
mod trace;
mod validate;
mod vm;

pub use ebpf_loader::{
    Instruction, MapDefinition, MapKind, MapSpec, Platform, ProgramKind, ProgramSpec, SlotValue,
};
pub use ebpf_perfbuf::{CpuReader, Event, PerCpu, Reader, WakeupPolicy};
pub use ebpf_ringbuf::{Drained, Stopped, Tally};

pub use self::error::{Fault, FaultKind, MapError, ValidationError, ValidationErrorKind, VmError};
pub use self::hooks::VmLink;
pub use self::host::{DeterministicHost, HelperCall, Host};
pub use self::maps::{EXIST, NOEXIST, VmMap};
pub use self::numbers::HelperNumbers;
pub use self::perf::PerfMemory;
pub use self::program::{Outcome, VmProgram};
pub use self::ring::{RingMap, RingMemory};
pub use self::vm::{Vm, VmConfig};

/// Functions that can be inside each other, the program itself included (Linux: `MAX_CALL_FRAMES`).
pub const MAX_CALL_FRAMES: usize = 8;
/// Instruction slots of a program with the functions it calls (Linux: `BPF_COMPLEXITY_LIMIT_INSNS`).
pub const MAX_INSTRUCTIONS: usize = 1_000_000;
/// Maps that one program can refer to (Linux: `MAX_USED_MAPS`).
pub const MAX_PROGRAM_MAPS: usize = 64;
/// Ring reservations that one run can hold at once.
pub const MAX_RESERVATIONS: usize = 8;
/// Bytes of each function's stack (Linux: `MAX_BPF_STACK`).
pub const STACK_FRAME_SIZE: usize = 512;
