//! The writing side: what the kernel does in `bpf_perf_event_output`.
//!
//! ```text
//! output(payload):
//!   room for the record between head and tail, and for a lost record if some were refused?   else: one more is lost
//!   lost record, if due; header, raw size, payload; padding stays what it was
//!   store data_head
//!   say whether the wakeup rule of this ring has come due
//! ```

use crate::geometry::Direction;
use crate::ledger::{Ledger, Refused};
use crate::memory::{Claim, Memory, Position};
use crate::order::sites;
use crate::record::{
    HEADER_SIZE, Header, LOST_SIZE, Lost, MISC_KERNEL, RECORD_LOST, RECORD_SAMPLE, field, raw_size,
    sample_size,
};
use crate::wakeup::{PolicyError, SetCounter, Wakeup, WakeupPolicy};

/// Writes one ring. A CPU, or a thread, has it to itself; a set of rings has a writer for each.
#[derive(Debug)]
pub struct Writer<M> {
    memory: M,
    ledger: Ledger,
    id: u64,
    misc: u16,
}

impl<M: Memory> Writer<M> {
    /// Takes over the writing side, which goes on where the ring's head stands. Counting for wakeups begins anew.
    ///
    /// # Errors
    /// When the policy is none.
    pub fn new(memory: M, policy: WakeupPolicy) -> Result<Self, PolicyError> {
        let head = memory.head().load(sites::SETUP) & !(HEADER_SIZE.wrapping_sub(1));
        let ledger = Ledger::new(memory.geometry(), policy, head)?;
        Ok(Self { memory, ledger, id: 0, misc: MISC_KERNEL })
    }

    /// Writes lost records in the name of event `id`, and samples with `misc` in their header.
    #[must_use]
    pub fn with_identity(mut self, id: u64, misc: u16) -> Self {
        self.id = id;
        self.misc = misc;
        self
    }

    /// Writes a sample; says whether the reader is to be woken.
    ///
    /// # Errors
    /// Why it was not written. It is counted as lost, and reported in the ring with the next sample that is.
    #[inline]
    pub fn output(&mut self, payload: &[u8]) -> Result<Wakeup, Refused> {
        self.output_parts([payload])
    }

    /// Writes one sample out of several parts.
    ///
    /// # Errors
    /// As for [`output`](Self::output).
    #[inline]
    pub fn output_parts<const N: usize>(&mut self, parts: [&[u8]; N]) -> Result<Wakeup, Refused> {
        let payload_len = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
        let tail = self.memory.tail().load(sites::WRITER_TAIL);
        let placed = self.ledger.sample(payload_len, tail)?;
        let reported = if placed.lost.is_some() { LOST_SIZE } else { 0 };
        let mut claim = Claim::new(placed.position, reported.wrapping_add(sample_size(payload_len)));
        if self.memory.geometry().direction() == Direction::Backward {
            // What comes now goes over old records, which a reader may be copying.
            self.memory.fence(sites::FENCE_OVERWRITING);
        }
        if let Some(count) = placed.lost {
            let header = Header::new(RECORD_LOST, 0, fitting(LOST_SIZE));
            self.memory.write(&mut claim, 0, &header.to_bytes());
            self.memory.write(&mut claim, field::LOST_ID, &Lost::new(self.id, count).body());
        }
        let header = Header::new(RECORD_SAMPLE, self.misc, fitting(sample_size(payload_len)));
        let raw = u32::from(fitting(raw_size(payload_len)));
        self.memory.write(&mut claim, reported, &first_bytes(header, raw));
        let mut offset = reported.wrapping_add(field::RAW);
        for part in parts {
            self.memory.write(&mut claim, offset, part);
            offset = offset.wrapping_add(part.len());
        }
        self.memory.head().store(placed.head, sites::WRITER_HEAD);
        Ok(placed.wakeup)
    }

    /// Writes a sample that says how long it is: a native 32-bit length, then the payload. [`Sample::prefixed`](crate::Sample::prefixed) reads it.
    ///
    /// # Errors
    /// As for [`output`](Self::output).
    pub fn output_prefixed(&mut self, payload: &[u8]) -> Result<Wakeup, Refused> {
        // A length that does not fit here does not fit the record either.
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_ne_bytes();
        self.output_parts([&length, payload])
    }

    /// Writes a sample and counts it for the whole set as well.
    ///
    /// # Errors
    /// As for [`output`](Self::output); what is refused is not counted.
    pub fn output_counted<P: Position>(
        &mut self,
        payload: &[u8],
        set: &SetCounter<P>,
    ) -> Result<Wakeup, Refused> {
        let wakeup = self.output(payload)?;
        Ok(wakeup.or(set.count()))
    }

    /// From here on every sample is refused and counted as lost.
    pub fn pause(&mut self) {
        self.ledger.pause(true);
    }

    /// Samples are written again.
    pub fn resume(&mut self) {
        self.ledger.pause(false);
    }

    /// Space, losses and wakeups of this ring.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The ring's memory as this side sees it.
    pub fn memory(&self) -> &M {
        &self.memory
    }
}

/// What a sample begins with, up to its raw data.
#[inline(always)]
fn first_bytes(header: Header, raw_size: u32) -> [u8; field::RAW] {
    let [a, b, c, d, e, f, g, h] = header.to_bytes();
    let [i, j, k, l] = raw_size.to_ne_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// A size that the ledger has let pass.
#[inline(always)]
fn fitting(size: usize) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}
