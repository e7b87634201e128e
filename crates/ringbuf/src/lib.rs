//! The Linux BPF ring buffer as a library: both sides of it, byte for byte.
//!
//! A ring carries records of any length from producers to one consumer through memory that both have mapped: a kernel and a process, a
//! driver and a tool, two threads. Each record starts with eight bytes that say how long it is, whether it is still being written (*busy*) and
//! whether it was given up (*discard*). Consumers written for Linux (libbpf, aya, cilium/ebpf) read what the producers here write; the consumer here reads
//! what Linux's kernel writes.
//!
//! # Example
//!
//! A ring in plain memory, one record reserved, written in place and submitted:
//!
//! ```
//! use ebpf_ringbuf::{FlatRing, PageOffset, Stopped, SubmitFlags, marks_for};
//!
//! let mut data = [0u64; 4096 / 8];
//! let mut ring = FlatRing::<{ marks_for(4096) }>::new();
//! let (producer, mut consumer) = ring.split(&mut data, 4096, PageOffset::FromRing)?;
//!
//! let mut event = producer.reserve(5)?;
//! event.copy_from_slice(b"hello");
//! // The consumer has read everything before this record, so it may sleep: wake it.
//! assert!(event.submit(SubmitFlags::empty()).is_needed());
//!
//! producer.reserve(100)?.discard(SubmitFlags::empty());
//! # #[allow(unused_must_use)] {
//! producer.output(b"world", SubmitFlags::NO_WAKEUP)?;
//! # }
//!
//! assert_eq!(&*consumer.next_record()?, b"hello");
//! assert_eq!(&*consumer.next_record()?, b"world");
//! assert_eq!(consumer.next_record().unwrap_err(), Stopped::Empty);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # The parts
//!
//! * [`Producer`]: any number of threads, interrupts and NMIs reserve at once. **A producer stopped anywhere never makes another one wait or fail**; what it
//!   reserved, and what was reserved after it, stays invisible until it goes on, because the format demands order.
//! * [`ExclusiveProducer`]: one producer, which pays for no read-modify-write but the one in the wakeup rule.
//! * [`Consumer`]: reads in place, one record or a batch; validates every length; never waits for a busy record. While records keep coming it can
//!   look a little later for more ([`Consumer::with_spins`]), so that the two sides do not take a cache line from each other for each.
//! * [`Mapped`]: a ring in mapped memory, mirrored as kernels map it or flat. [`FlatRing`]: one in plain memory, without `unsafe`.
//! * [`memory`]: the seam between these and the memory; a driver may put its kernel's own atomics behind it. Under `cfg(loom)`, `model` is the same seam for
//!   the model checker, for use in models of your own too.
//!
//! Nothing here sleeps, wakes, maps memory or reads a clock: a commit *says* whether the consumer is to be woken ([`Wakeup`]), the embedder does it.
//!
//! # When not to use it
//!
//! * Items of one type between two threads of one program: a queue of that type (rtrb, crossbeam's `ArrayQueue`) is simpler and needs no bytes.
//! * More than one consumer: the format has one `consumer_pos`.
//! * A consumer that must never lose the newest record although it is slow: a full ring refuses.
//! * Producers that may stop for good between reserve and commit: their record blocks the ring after a lap, as in Linux.
//!
//! # Guarantees
//!
//! * No panic, no allocation, no lock. What a producer does is bounded by the number of records that became visible or committed meanwhile.
//! * For the same calls one after the other, positions, `pending_pos`, headers, page offsets and payloads are Linux's.
//! * No wakeup is lost, edge-triggered waiting included: a commit that does not ask for one knows that the consumer has not seen the end yet.
//! * `consumer_pos` and all the consumer can write is not trusted by producers; lengths and `producer_pos` are not trusted by the consumer. Neither
//!   ever touches memory outside the ring.
//!
//! Not guaranteed: the content of padding bytes (whatever stood there, as in Linux); which of two racing producers comes first; that a
//! [`Reservation`] which is forgotten ever unblocks the ring.
//!
//! # Features
//!
//! None is on unless asked for. `bytemuck` and `zerocopy` each add records that are values of a type: `output_pod` and `pod`, `output_value`, `value` and
//! `value_mut`. They add methods, and change nothing.
//!
//! # In interrupts
//!
//! Everything a producer does may be called in any context: process, softirq, hard interrupt, NMI; at any IRQL on Windows, provided the memory is
//! resident. The consumer belongs to one context at a time.
#![no_std]
#![deny(unsafe_code)]

#[cfg(any(test, loom))]
extern crate std;

mod atomics;
mod consumer;
mod cursor;
mod drain;
mod exclusive;
mod flat;
mod geometry;
mod header;
mod mapped;
pub mod memory;
#[cfg(loom)]
pub mod model;
#[cfg(all(test, loom))]
mod models;
mod order;
mod overwrite;
mod pattern;
mod producer;
mod query;
mod reservation;
mod space;
mod tally;
mod typed;
mod user;
mod wakeup;

pub use consumer::{Consumer, Corrupt, Record, Stopped};
pub use drain::{Drained, Payload};
pub use exclusive::ExclusiveProducer;
pub use flat::{FlatError, FlatRing};
pub use geometry::{Geometry, GeometryError, Mapping, PageOffset};
pub use header::{BUSY_BIT, DISCARD_BIT, HEADER_SIZE, Header, MAX_PAYLOAD, field, record_size};
pub use mapped::{Mapped, MappedArea, MarksLength, SharedMarks, marks_for};
pub use order::{Order, sites};
pub use overwrite::{Copied, OverwriteReader};
pub use producer::Producer;
pub use query::Query;
pub use reservation::{PayloadOverrun, Reservation};
pub use space::{ProducerError, ReserveError};
pub use tally::Tally;
pub use typed::WrongLength;
pub use user::{
    MAX_USER_SAMPLE, MAX_USER_SAMPLES, UserConsumer, UserDrainError, UserDrained, UserProducer,
    UserReservation, UserReserveError, UserRingError,
};
pub use wakeup::{SubmitFlags, Wakeup, Watermark};
