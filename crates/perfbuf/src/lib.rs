//! Linux `perf_event` rings as a library: what `bpf_perf_event_output` writes, byte for byte, and a reader over the rings of all CPUs.
//!
//! A `BPF_MAP_TYPE_PERF_EVENT_ARRAY` has a ring for each CPU, and **each ring has a wakeup counter of its own**: two events on two CPUs with `wakeup_events = 2` wake nobody,
//! and a reader that waits for them hangs. Here the rule that decides is arithmetic ([`WakeupRule`], [`Ledger`]): which record wakes can be told beforehand, and what woke
//! nobody can be seen, drained, flushed, or counted for the whole set.
//!
//! # Example
//!
//! Two rings in plain memory, in place of those that a kernel maps, and two events for each wakeup:
//!
//! ```
//! use core::ops::ControlFlow;
//! use ebpf_perfbuf::{CpuReader, Direction, Event, PerCpu, PlainRing, Reader, WakeupPolicy, Writer};
//!
//! let (mut a, mut b) = ([0u64; 512], [0u64; 512]);
//! let (mut first, mut second) = (PlainRing::new(), PlainRing::new());
//! let (on_0, from_0) = first.split(&mut a, 4096, Direction::Forward)?;
//! let (on_6, from_6) = second.split(&mut b, 4096, Direction::Forward)?;
//! let mut cpu_0 = Writer::new(on_0, WakeupPolicy::events(2))?;
//! let mut cpu_6 = Writer::new(on_6, WakeupPolicy::events(2))?;
//! let mut set = PerCpu::new([CpuReader::new(0, Reader::new(from_0)?), CpuReader::new(6, Reader::new(from_6)?)])?;
//!
//! // One event on each of two CPUs: nobody is woken.
//! assert!(!cpu_0.output(b"spread")?.is_needed());
//! assert!(!cpu_6.output(b"spread")?.is_needed());
//! // But they are there, and can be seen and read.
//! assert!(set.pending().all(|(_, bytes)| bytes == Ok(24)));
//! // The second one on the same CPU wakes.
//! assert!(cpu_6.output(b"together")?.is_needed());
//!
//! let mut seen = vec![];
//! let drained = set.drain(usize::MAX, |cpu, event| {
//!     if let Event::Sample(sample) = event {
//!         // The ring says 12 bytes for both: payloads are padded, and only who wrote them knows how long they are.
//!         assert_eq!(sample.raw_len(), 12);
//!         seen.push((cpu, sample.exact(6).is_ok_and(|sample| sample.is_bytes(b"spread"))));
//!     }
//!     ControlFlow::Continue(())
//! });
//! assert_eq!(drained.samples, 3);
//! assert_eq!(seen, [(0, true), (6, true), (6, false)]);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # The parts
//!
//! * [`Reader`]: one ring; samples in place as one or two slices, losses, unknown records by their size. [`BackwardReader`]: one that overwrites, newest first.
//! * [`PerCpu`]: the readers of all CPUs, keyed by the CPU's number. Bounded drains, what is pending, flush and deadline, pause and resume.
//! * [`Writer`]: the kernel's side. [`Ledger`] is the same without a ring: it predicts space, losses and wakeups. [`SetCounter`] is what the kernel lacks: N events
//!   wake wherever they were written.
//! * [`Mapped`]: a ring in mapped memory; [`PlainRing`]: one in plain memory, without `unsafe`; [`memory`]: the seam between these and the algorithms. Under `cfg(loom)`,
//!   `model` is the same seam for the model checker.
//!
//! Nothing here opens an event, maps memory, polls or reads a clock: a write *says* whether the reader is to be woken, a [`turn`](PerCpu::turn) *says* whether to wait and until
//! when; the embedder does it.
//!
//! # Three ways out of the hang
//!
//! For `wakeup_events = N` on a machine where the program may run on any CPU: wait only for what must have come, which is N on *one* CPU, so CPUs × (N − 1) + 1 events in all;
//! or pin what causes the events to one CPU; or name the CPU that the program runs on. Or do not depend on the wakeup: give [`PerCpu::turn`] a deadline, or
//! [`flush`](PerCpu::flush) it.
//!
//! # When not to use it
//!
//! * The kernel is 5.8 or newer and order between CPUs, or memory, matters: a BPF ring buffer (`ebpf-ringbuf`) is one ring for all CPUs, wastes no padding and
//!   keeps payload lengths.
//! * Events other than raw samples, with time stamps, stacks or registers: this reads samples whose `sample_type` is `PERF_SAMPLE_RAW`; what else there is, is given as bytes.
//! * Writers that interrupt each other on one ring: Linux nests them, a [`Writer`] here is for one at a time.
//! * AUX areas (hardware traces).
//!
//! # Guarantees
//!
//! * No panic, no allocation, no lock; a drain is bounded by its limit and by what was there when it began.
//! * For the same records, the head, the data and the wakeups are Linux's: the index of every wakeup is that which poll(2) reports there.
//! * Heads, sizes and lengths in mapped memory are not trusted: a record of size 0, or longer than what is there, is an error that names it. Nothing outside of the ring is touched.
//! * Records = samples read + losses read + losses not reported yet ([`Totals::unreported`], [`Ledger::unreported`]).
//!
//! Not guaranteed: the content of padding bytes (whatever stood there, as in Linux); an order between CPUs; that losses at the very end are ever reported in the
//! ring (the next sample that fits does that).
//!
//! # Features
//!
//! None is on unless asked for. `bytemuck` and `zerocopy` each add samples that are values of a type: `Sample::pod`, `Sample::value`.
//!
//! # In interrupts
//!
//! A [`Writer`] may be used in any context, on Windows at any IRQL, provided its memory is resident and no other use of the same writer is under way. Readers
//! belong to one context at a time.
#![no_std]
#![deny(unsafe_code)]

#[cfg(any(test, loom))]
extern crate std;

mod backward;
mod event;
mod geometry;
mod ledger;
mod mapped;
pub mod memory;
#[cfg(loom)]
pub mod model;
#[cfg(all(test, loom))]
mod models;
mod order;
pub mod page;
mod plain;
mod reader;
pub mod record;
mod set;
mod wakeup;
mod writer;

pub use backward::{BackwardRead, BackwardReader, BackwardStopped, Copied};
pub use event::{Event, Other, Sample, WrongLength};
pub use geometry::{Direction, Geometry, GeometryError};
pub use ledger::{Ledger, Placed, Refused};
pub use mapped::Mapped;
pub use order::{Order, sites};
pub use page::{PAGE_FIELDS, Page};
pub use plain::PlainRing;
pub use reader::{Corrupt, Drained, Mark, Reader, Stopped, Totals};
pub use record::{HEADER_SIZE, Header, LOST_SIZE, Lost, MAX_PAYLOAD, raw_size, sample_size};
pub use set::{CpuReader, End, PerCpu, SetDrained, SetError, SwitchError, Turn};
pub use wakeup::{PolicyError, Readiness, SetCounter, Wakeup, WakeupPolicy, WakeupRule};
pub use writer::Writer;
