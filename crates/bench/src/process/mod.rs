//! Rings and queues inside one process.

mod baselines;
mod lanes;
mod many;
mod one;

pub(crate) use many::run as run_many;
pub(crate) use one::run as run_one;

use crate::measure::Seen;

/// The bytes every contender gets for its records.
const CAPACITY: usize = 128 * 1024;

/// The producing end of a contender.
trait Produce<const N: usize>: Send {
    /// Writes every byte of one record; false when there is no space.
    fn push(&mut self, record: &[u8; N]) -> bool;
}

/// The consuming end.
trait Consume<const N: usize>: Send {
    /// Reads every byte of the records that one call gives, and says how many those were.
    fn pop(&mut self, seen: &mut Seen) -> u64;
}

/// Gives a place to something that lives until the process ends.
fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

/// A record that differs from the one before.
#[inline(always)]
fn record<const N: usize>(number: u64) -> [u8; N] {
    let mut record = [number as u8; N];
    if let Some(first) = record.first_chunk_mut() {
        *first = number.to_ne_bytes();
    }
    record
}
