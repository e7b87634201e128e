//! The Linux kernel as a platform for eBPF programs: bpf(2) and perf_event_open(2) without a C library behind.
//!
//! [`Linux`] is a [`Platform`](ebpf_loader::Platform) for `ebpf-loader`. An object is opened, programs are chosen, and what is chosen is loaded,
//! attached and read:
//!
//! ```no_run
//! use ebpf_linux::{Linux, Target};
//! use ebpf_loader::{Instruction, Object};
//!
//! let bytes = std::fs::read("count.bpf.o")?;
//! let object: Object = Object::open_named("count.bpf.o", &bytes)?;
//! let mut scratch = vec![Instruction::default(); object.scratch_len()?];
//! let mut loaded = object.on(&Linux);
//! loaded.load(&mut scratch)?;
//!
//! let _attached = loaded.attach("on_enter", Target::RawTracepoint("sys_enter"))?;
//! let mut events = loaded.ring("events")?;
//! while let Ok(record) = events.next_record() {
//!     println!("{:x?}", &*record);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Examples to run: `follow` is the whole of it with waiting, `watch` a tool that shows programs starting and files being opened, `async` waits with tokio. The parts serve without the loader too: [`LinuxMap`], [`LinuxProgram`] (with [`test_run`](LinuxProgram::test_run)), [`LinuxLink`], [`Btf`],
//! [`RingMemory`] for `ebpf-ringbuf`, [`PerfRings`] with [`PerfMemory`] for `ebpf-perfbuf`, a [`Waiter`] around epoll, [`cpus`] with a guard that binds a thread to one.
//!
//! # When not to use it
//!
//! * Your programs depend on the layout of kernel structures (CO-RE), on kernel functions (kfunc), `struct_ops`, fentry, LSM: nothing here reads the
//!   kernel's types. libbpf and aya do.
//! * You want no privileges, or no Linux: `ebpf-vm`.
//! * You want a program attached after your process has ended: pin the link ([`LinuxLink::pin`]), or take a tool that does.
//! * Linux before 5.8 (no capabilities of their own, no rings), or tc without links (before 6.6).
//!
//! # Guarantees
//!
//! * Descriptors and mappings are owned: closed on every path, also when a call in the middle of several fails.
//! * [`Error`] says which call failed for which program or map, why, and, for want of rights, which capability is missing. The verifier writes no log
//!   unless it refuses; then the log's last part is in the error.
//! * Lengths of keys and values are checked against the map before the kernel copies them.
//!
//! Not guaranteed: that memory mapped from the kernel holds what it should. `ebpf-ringbuf` does not trust it either.
//!
//! # Unsafe code
//!
//! System calls, in `sys/bpf.rs` and `sys/perf.rs`; mapping, in `pages.rs`; what is mapped, in `ring.rs` and `perf_memory.rs`; the lengths that bpf(2) takes from the map,
//! in `map.rs`. Nowhere else.
//!
//! # In interrupts
//!
//! For processes.
#![cfg(target_os = "linux")]
#![deny(unsafe_code)]

mod btf;
mod callbacks;
mod capability;
pub mod cpus;
mod error;
pub mod ids;
mod lent;
mod link;
pub mod machine;
mod map;
mod pages;
mod perf;
mod perf_memory;
mod platform;
mod program;
mod ring;
mod sys;
mod tracefs;
mod waiter;

pub use btf::Btf;
pub use capability::{Capability, missing as missing_capabilities};
pub use error::Error;
pub use link::{LinuxLink, Target, XdpMode};
pub use map::{LinuxMap, MapInfo};
pub use pages::Pages;
pub use perf::{Event, PerfOptions, PerfRing, PerfRings, PerfSet, PerfWakeup, Sampling};
pub use perf_memory::PerfMemory;
pub use platform::Linux;
pub use program::{LinuxProgram, ProgramInfo, TestOutcome, TestRun};
pub use ring::{RB_OVERWRITE, RingMemory};
pub use waiter::{Interest, Trigger, Waiter};

#[cfg(test)]
mod injected;
