//! What can be asked of a ring while it is in use.

use crate::memory::{Memory, Position};
use crate::order::sites;

/// A question of `bpf_ringbuf_query`, by its number in Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u64)]
pub enum Query {
    /// Bytes from `consumer_pos` to `producer_pos`: unread records, headers and padding included.
    AvailableData = 0,
    /// Bytes of the data area.
    RingSize = 1,
    /// `consumer_pos`.
    ConsumerPosition = 2,
    /// `producer_pos`.
    ProducerPosition = 3,
}

impl Query {
    /// The question with this number, if there is one; Linux answers 0 to the others.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::AvailableData,
            1 => Self::RingSize,
            2 => Self::ConsumerPosition,
            3 => Self::ProducerPosition,
            _ => return None,
        })
    }
}

/// Consumer first, as Linux does: what is read between makes the answer larger, never negative.
pub(crate) fn answer(memory: &impl Memory, query: Query) -> usize {
    match query {
        Query::AvailableData => {
            let consumer = memory.consumer_position().load(sites::QUERY);
            memory.producer_position().load(sites::QUERY).wrapping_sub(consumer)
        }
        Query::RingSize => memory.geometry().size(),
        Query::ConsumerPosition => memory.consumer_position().load(sites::QUERY),
        Query::ProducerPosition => memory.producer_position().load(sites::QUERY),
    }
}
