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
    /// `overwrite_pos`: the oldest record that is still whole; 0 in a ring that does not overwrite.
    OverwritePosition = 4,
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
            4 => Self::OverwritePosition,
            _ => return None,
        })
    }
}

/// Consumer first, as Linux does: what is read between makes the answer larger, never negative.
pub(crate) fn answer(memory: &impl Memory, query: Query) -> usize {
    let overwrites = memory.geometry().overwrites();
    match query {
        Query::AvailableData => {
            let consumer = memory.consumer_position().load(sites::QUERY);
            let overwrite = memory.overwrite_position().load(sites::QUERY);
            let producer = memory.producer_position().load(sites::QUERY);
            let unread = producer.wrapping_sub(consumer);
            // What is overwritten cannot be read any more.
            if overwrites { unread.min(producer.wrapping_sub(overwrite)) } else { unread }
        }
        Query::RingSize => memory.geometry().size(),
        Query::ConsumerPosition => memory.consumer_position().load(sites::QUERY),
        Query::ProducerPosition => memory.producer_position().load(sites::QUERY),
        Query::OverwritePosition if overwrites => memory.overwrite_position().load(sites::QUERY),
        Query::OverwritePosition => 0,
    }
}
