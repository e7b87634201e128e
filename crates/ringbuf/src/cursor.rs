//! Where a consumer stands, and how it gets from one record to the next.

use crate::consumer::{Corrupt, Stopped};
use crate::geometry::Mapping;
use crate::header::{BUSY_BIT, DISCARD_BIT, HEADER_SIZE, record_size};
use crate::memory::{Extent, Length, Memory, Position, make_way};
use crate::order::sites;

/// A consumer's own state, apart from the memory, so that a batch can hold on to the data area while this moves on.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// The next record to read.
    pub(crate) position: usize,
    /// `producer_pos` as last read.
    pub(crate) producer: usize,
    /// `consumer_pos` as last stored: `position`, or behind it.
    pub(crate) released: usize,
    /// A drain stores `consumer_pos` when it is this far behind.
    pub(crate) release_bytes: usize,
    /// Spin-loop hints before a look at `producer_pos` while records keep coming.
    pub(crate) spins: u32,
    /// Where we stood when we last looked.
    looked: usize,
    /// Were there records at that look, and at the one before?
    grows: bool,
    /// Has `consumer_pos` moved since the last fence?
    unfenced: bool,
}

pub(crate) enum Step {
    Discarded,
    Record(Extent),
}

impl Cursor {
    pub(crate) fn new(memory: &impl Memory) -> Result<Self, Corrupt> {
        let position = memory.consumer_position().load(sites::SETUP);
        if !position.is_multiple_of(HEADER_SIZE) {
            return Err(Corrupt::ConsumerPosition { position });
        }
        let release_bytes = (memory.geometry().size() / 8).min(RELEASE_BYTES);
        Ok(Self {
            position,
            producer: position,
            released: position,
            release_bytes,
            spins: 0,
            looked: position,
            grows: false,
            unfenced: true,
        })
    }

    /// Moves over the next record, releases nothing; `None` if nothing is known to be there, or something else than a submitted record.
    #[inline(always)]
    pub(crate) fn plain(&mut self, memory: &impl Memory) -> Option<Extent> {
        let position = self.position;
        let left = self.contiguous(memory);
        if left == 0 {
            return None;
        }
        let word = memory.length(position).load(sites::CONSUMER_LENGTH);
        let total = record_size(word);
        if word & (BUSY_BIT | DISCARD_BIT) != 0 || total > left {
            return None;
        }
        self.position = position.wrapping_add(total);
        Some(Extent::new(position, word as usize))
    }

    /// Reads one header, whatever it says, moves over its record, releases nothing.
    #[inline(always)]
    pub(crate) fn step(&mut self, memory: &impl Memory) -> Result<Step, Stopped> {
        if self.position == self.producer {
            self.await_record(memory)?;
        }
        let position = self.position;
        let mut word = memory.length(position).load(sites::CONSUMER_LENGTH);
        if word & BUSY_BIT != 0 {
            word = self.await_commit(memory)?;
        }
        let total = record_size(word);
        if total > self.contiguous(memory) {
            return Err(self.corrupt_length(word));
        }
        self.position = position.wrapping_add(total);
        if word & DISCARD_BIT != 0 {
            return Ok(Step::Discarded);
        }
        Ok(Step::Record(Extent::new(position, word as usize)))
    }

    /// Bytes that are there, as last read, and can be read without a jump back to the start of a flat ring.
    #[inline(always)]
    pub(crate) fn contiguous(&self, memory: &impl Memory) -> usize {
        let available = self.producer.wrapping_sub(self.position);
        match memory.geometry().mapping() {
            Mapping::Flat => available.min(memory.geometry().until_end(self.position)),
            Mapping::Mirrored => available,
        }
    }

    /// Reads `producer_pos`; is there anything behind `position`?
    #[inline]
    pub(crate) fn refresh(&mut self, memory: &impl Memory) -> Result<bool, Stopped> {
        let producer = memory.producer_position().load(sites::CONSUMER_PRODUCER);
        let available = producer.wrapping_sub(self.position);
        if available > memory.geometry().size() || !producer.is_multiple_of(HEADER_SIZE) {
            return Err(Stopped::Corrupt(Corrupt::ProducerPosition { position: self.position, producer }));
        }
        self.producer = producer;
        Ok(available != 0)
    }

    /// Tells producers where we stand, for good: what they commit from here on they will ask a wakeup for. False when they knew already, and
    /// whatever was read since then was read after the fence.
    pub(crate) fn settle(&mut self, memory: &impl Memory) -> bool {
        self.release(memory);
        if !self.unfenced {
            return false;
        }
        memory.fence(sites::FENCE_CONSUMED);
        self.unfenced = false;
        true
    }

    #[inline(always)]
    pub(crate) fn release(&mut self, memory: &impl Memory) {
        if self.position != self.released {
            memory.consumer_position().store(self.position, sites::CONSUMER_RELEASE);
            self.released = self.position;
            self.unfenced = true;
        }
    }

    /// In a batch: gives back what is read, if that is as much as was said.
    #[inline(always)]
    pub(crate) fn release_if_due(&mut self, memory: &impl Memory) {
        if self.position.wrapping_sub(self.released) >= self.release_bytes {
            self.release(memory);
        }
    }

    /// The limit is reached: is there more, so that the caller must not wait, or is the ring empty at the same time?
    pub(crate) fn at_limit(&mut self, memory: &impl Memory) -> Stopped {
        self.settle(memory);
        match self.refresh(memory) {
            Ok(false) => Stopped::Empty,
            Ok(true) => Stopped::Limit,
            Err(stopped) => stopped,
        }
    }

    /// Sees to it that something is behind `position`, or that producers know that we stand there.
    ///
    /// Each look takes the cache line of `producer_pos` from whoever is writing to it, so one who follows a producer closely pays for that with every record, and so does the
    /// producer. Who finds that records keep coming, and few of them, leaves the line alone for a moment.
    #[inline]
    pub(crate) fn await_record(&mut self, memory: &impl Memory) -> Result<(), Stopped> {
        let read = self.position.wrapping_sub(self.looked);
        if self.grows && read < FEW {
            make_way(self.spins);
        }
        self.looked = self.position;
        let is_there = self.refresh(memory)? || (self.settle(memory) && self.refresh(memory)?);
        self.grows = is_there && read != 0;
        if is_there { Ok(()) } else { Err(Stopped::Empty) }
    }

    /// A length word that was busy is looked at again, once producers know that we stand there.
    #[cold]
    fn await_commit(&mut self, memory: &impl Memory) -> Result<u32, Stopped> {
        if !self.settle(memory) {
            return Err(Stopped::Busy);
        }
        let word = memory.length(self.position).load(sites::CONSUMER_LENGTH);
        if word & BUSY_BIT == 0 { Ok(word) } else { Err(Stopped::Busy) }
    }

    #[cold]
    fn corrupt_length(&self, word: u32) -> Stopped {
        let available = self.producer.wrapping_sub(self.position);
        Stopped::Corrupt(Corrupt::Length { position: self.position, word, available })
    }
}

const RELEASE_BYTES: usize = 64 << 10;
/// So many bytes are worth a look.
const FEW: usize = 4096;

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{FlatRing, PageOffset, SubmitFlags};

    #[test]
    fn a_look_is_put_off_while_records_keep_coming() {
        let (mut ring, mut data) = (FlatRing::<0>::new(), [0; 512]);
        let (mut producer, mut consumer) =
            ring.split_exclusive(&mut data, 4096, PageOffset::FromRing).unwrap();
        let mut push = || {
            let _ = producer.output(&[7; 8], SubmitFlags::NO_WAKEUP).unwrap();
        };
        push();
        assert!(consumer.next_record().is_ok() && !consumer.cursor.grows, "nothing was read before");
        push();
        assert!(consumer.next_record().is_ok() && consumer.cursor.grows, "again there was one");
        assert!(consumer.next_record().is_err() && !consumer.cursor.grows, "none came");
        push();
        assert!(consumer.next_record().is_ok() && !consumer.cursor.grows, "after a pause it begins anew");
        push();
        push();
        assert!(consumer.next_record().is_ok() && consumer.next_record().is_ok() && consumer.cursor.grows);
    }
}
