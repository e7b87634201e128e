//! ring
#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

mod consumer;
mod exclusive;
mod flat;
mod geometry;
mod header;
mod mapped;
pub mod memory;
mod order;
mod producer;
mod query;
mod reservation;
mod space;
mod wakeup;

pub use consumer::{Consumer, Corrupt, Drained, Payload, RELEASE_BYTES, Record, Stopped};
pub use exclusive::ExclusiveProducer;
pub use flat::{FlatError, FlatRing};
pub use geometry::{Geometry, GeometryError, Mapping, PageOffset};
pub use header::{BUSY_BIT, DISCARD_BIT, HEADER_SIZE, Header, MAX_PAYLOAD, field, record_size};
pub use mapped::{Mapped, MarksLength, SharedMarks, marks_for};
pub use order::{Order, sites};
pub use producer::Producer;
pub use query::Query;
pub use reservation::{PayloadOverrun, Reservation};
pub use space::{ProducerError, ReserveError};
pub use wakeup::{SubmitFlags, Wakeup};
