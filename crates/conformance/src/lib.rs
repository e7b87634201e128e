//! Our answers beside libbpf's and the kernel's. Never published: this crate exists for its tests.
//!
//! libbpf is the oracle ([`libbpf`]): whatever it says about an object, `ebpf-progtable` has to say too. The objects
//! ([`corpus`]) are our own committed ones and, where the packages are installed, other people's: those that Debian's
//! `xdp-tools` ships and those embedded in the binaries of `xdp-tools` and `libbpf-tools`. Special cases are compiled from
//! `tests/sources` when the tests run, so that nobody has to believe a committed binary. Both sides are brought to
//! plain rows ([`rows`]) and compared; a mismatch prints both lines.
//!
//! | test | question |
//! |---|---|
//! | `tests/table.rs` | the same programs and maps, in the same order, with the same attributes? |
//! | `tests/names.rs` | does every section name stand for the same type, and every type have the same name? |
//! | `tests/relocation.rs` | the same instructions, one by one, after linking? |
//! | `tests/needs.rs` | what only a kernel knows: the same references, configuration, poisoned calls, and records? |
//! | `tests/special.rs` | linked objects, no program to a thousand, and is each error of the same class? |
//! | `tests/mutations.rs` | the same verdict on damaged objects, and the same table where both accept? |
//! | `tests/inspect.rs` | does the tool's `inspect --json` say what libbpf says? |
//!
//! The running kernel is the oracle for rings: programs made for the purpose ([`ring_program`]) produce into a mapped ring
//! ([`kernel_ring`]) while `ebpf-ringbuf` does the same, or reads what they wrote, or is drained by them.
//!
//! | test | question |
//! |---|---|
//! | `tests/ring_bytes.rs` | the same positions, bytes, refusals, queries and wakeups after every call? |
//! | `tests/ring_reader.rs` | does our consumer read the kernel's ring as other consumers do? |
//! | `tests/ring_wakeup.rs` | is any wakeup lost when a consumer sleeps in an edge-triggered epoll? |
//! | `tests/ring_user.rs` | does the kernel drain our user ring, and do we drain as the kernel does, errors included? |
//! | `tests/ring_overwrite.rs` | the same for rings that overwrite (Linux 6.19) |
//!
//! And for the embedded machine (`ebpf-vm`):
//!
//! | test | question |
//! |---|---|
//! | `tests/machine_programs.rs` | does a random program leave the same registers and maps on the kernel and on the machine? |
//! | `tests/machine_objects.rs` | does an object tell the same records in the same order on both? |
//!
//! So it is for perf rings ([`perf`]), which a program fills on a CPU of choice:
//!
//! | test | question |
//! |---|---|
//! | `tests/perf_bytes.rs` | the same bytes, refusals, losses and wakeups after every call, for any sequence of calls? |
//! | `tests/perf_wakeup.rs` | does the hang of events that are spread over CPUs come when it should, and does every remedy work? |
//! | `tests/perf_stream.rs` | while every CPU writes and a reader drains and sleeps: is anything lost untold, or twice, or a wakeup missed? |
//! | `src/bin/soak` | the same for both kinds of rings and as long as one likes, with a reader that is paused, killed and started again |
//! | `tests/perf_scenarios.rs` | what other projects ask of their readers; [`scenarios`] says which is which, for both kinds of rings |
//!
//! `EBPF_CONFORMANCE_LOG=1` lets libbpf's own messages through. What a test needs and does not find (packages, rights)
//! is printed as `skipped: …`; with `CI` set, a missing package is a failure.

#[cfg(target_os = "linux")]
pub mod bpf;
#[cfg(target_os = "linux")]
pub mod corpus;
#[cfg(target_os = "linux")]
pub mod kernel;
#[cfg(target_os = "linux")]
pub mod kernel_ring;
#[cfg(target_os = "linux")]
pub mod libbpf;
#[cfg(target_os = "linux")]
pub mod pause;
#[cfg(target_os = "linux")]
pub mod perf;
#[cfg(target_os = "linux")]
pub mod ring_program;
#[cfg(target_os = "linux")]
pub mod rows;
pub mod scenarios;
