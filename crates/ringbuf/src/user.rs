//! The ring the other way round: user space produces, the kernel's side drains (`BPF_MAP_TYPE_USER_RINGBUF`).
//!
//! The format is the same, the rules are not: a full ring is really full (up to `size`, not `size - 8`), the second header word is zero, nobody is woken by
//! a commit, and the draining side trusts nothing that the producer wrote.

use core::fmt;
use core::ops::{ControlFlow, Deref, DerefMut};

use crate::drain::Payload;
use crate::header::{BUSY_BIT, DISCARD_BIT, HEADER_SIZE, Header, MAX_PAYLOAD, record_size};
use crate::memory::{Claim, Contiguous, Extent, Length, Memory, Position};
use crate::order::sites;
use crate::space::{self, ProducerError};
use crate::{PayloadOverrun, SubmitFlags, Wakeup};

/// Produces into a user ring; one producer, as the kernel demands.
#[derive(Debug)]
pub struct UserProducer<M> {
    memory: M,
    end: usize,
}

impl<M: Memory> UserProducer<M> {
    /// Takes over the producing side of a ring, which goes on where its `producer_pos` stands.
    ///
    /// # Errors
    /// When `producer_pos` is not a multiple of eight, or more than a lap ahead of `consumer_pos`.
    pub fn new(memory: M) -> Result<Self, ProducerError> {
        let producer = memory.producer_position().load(sites::SETUP);
        let consumer = memory.consumer_position().load(sites::SETUP);
        if !producer.is_multiple_of(HEADER_SIZE) || producer.wrapping_sub(consumer) > memory.geometry().size()
        {
            return Err(ProducerError::Positions { producer, pending: consumer });
        }
        Ok(Self { memory, end: producer })
    }

    /// Reserves space for a sample of `length` bytes.
    ///
    /// # Errors
    /// [`UserReserveError::TooLong`] (libbpf's `E2BIG`) when no such sample ever fits, [`UserReserveError::NoSpace`] (`ENOSPC`) when there is none now.
    pub fn reserve(&mut self, length: usize) -> Result<UserReservation<'_, M>, UserReserveError> {
        let size = self.memory.geometry().size();
        let max = size.saturating_sub(HEADER_SIZE).min(MAX_PAYLOAD);
        let too_long = UserReserveError::TooLong { length, max };
        let header = Header::busy(length, 0).ok_or(too_long)?;
        let needed = record_size(header.length_word());
        if needed > size {
            return Err(too_long);
        }
        let consumer = self.memory.consumer_position().load(sites::RESERVE_CONSUMER);
        let free = size.saturating_sub(self.end.wrapping_sub(consumer));
        // A flat ring skips its end, as for the other producers.
        let filler = space::filler(&self.memory.geometry(), self.end, needed);
        if free < needed.saturating_add(filler) {
            return Err(UserReserveError::NoSpace { needed, free });
        }
        if filler != 0 {
            space::fill(&self.memory, self.end, filler);
        }
        let record = self.end.wrapping_add(filler);
        let mut claim = Claim::new(record, length);
        self.memory.initialise(&mut claim, header);
        self.end = record.wrapping_add(needed);
        self.memory.producer_position().store(self.end, sites::PUBLISH);
        Ok(UserReservation { memory: &self.memory, claim })
    }

    /// The ring's memory as this side sees it.
    pub fn memory(&self) -> &M {
        &self.memory
    }
}

/// Space for one sample: write it in place, then [`submit`](Self::submit) it. Dropping discards it.
#[must_use = "dropping a reservation discards the sample"]
pub struct UserReservation<'r, M: Memory> {
    memory: &'r M,
    claim: Claim,
}

impl<M: Memory> UserReservation<'_, M> {
    /// Lets the kernel's next drain see the sample.
    pub fn submit(self) {
        self.commit(0);
        core::mem::forget(self);
    }

    /// Gives the sample up.
    pub fn discard(self) {
        drop(self);
    }

    /// Writes `bytes` from `offset` on.
    ///
    /// # Errors
    /// Nothing is written when `bytes` would run over the end of the payload.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), PayloadOverrun> {
        let end = offset.checked_add(bytes.len()).filter(|end| *end <= self.claim.length());
        if end.is_none() {
            return Err(PayloadOverrun { offset, length: bytes.len(), payload: self.claim.length() });
        }
        self.memory.write(&mut self.claim, offset, bytes);
        Ok(())
    }

    /// Payload bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.claim.length()
    }

    #[expect(clippy::cast_possible_truncation, reason = "a claim's length came from a length word")]
    fn commit(&self, discard: u32) {
        let word = self.claim.length() as u32 | discard;
        self.memory.length(self.claim.position()).store(word, sites::COMMIT);
    }
}

impl<M: Memory> Drop for UserReservation<'_, M> {
    fn drop(&mut self) {
        self.commit(DISCARD_BIT);
    }
}

impl<M: Contiguous> Deref for UserReservation<'_, M> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.claimed(&self.claim)
    }
}

impl<M: Contiguous> DerefMut for UserReservation<'_, M> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.claimed_mut(&mut self.claim)
    }
}

impl<M: Memory> fmt::Debug for UserReservation<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserReservation").field("payload_len", &self.payload_len()).finish_non_exhaustive()
    }
}

/// There is no space for a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserReserveError {
    /// The kernel's side has not drained enough yet.
    NoSpace {
        /// Bytes the sample takes, header and padding included.
        needed: usize,
        /// Bytes that were free.
        free: usize,
    },
    /// No such sample ever fits this ring.
    TooLong {
        /// Payload bytes asked for.
        length: usize,
        /// The longest payload that fits.
        max: usize,
    },
}

impl fmt::Display for UserReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace { needed, free } => {
                write!(f, "the user ring is full: {needed} bytes needed, {free} free")
            }
            Self::TooLong { length, max } => {
                write!(f, "a sample of {length} bytes never fits: this user ring takes up to {max}")
            }
        }
    }
}

impl core::error::Error for UserReserveError {}

/// The draining side of a user ring: `bpf_user_ringbuf_drain`, its checks in its order.
#[derive(Debug)]
pub struct UserConsumer<M> {
    memory: M,
}

/// Samples that one drain looks at, discarded ones included (`BPF_MAX_USER_RINGBUF_SAMPLES`).
pub const MAX_USER_SAMPLES: usize = 128 * 1024;

/// The longest sample a drain takes (`DYNPTR_MAX_SIZE`).
pub const MAX_USER_SAMPLE: usize = (1 << 24) - 1;

impl<M: Memory> UserConsumer<M> {
    /// Takes over the draining side, which goes on where the ring's `consumer_pos` stands. There is one, so that a drain is never met by another
    /// (which the kernel refuses with `EBUSY`).
    pub fn new(memory: M) -> Self {
        Self { memory }
    }

    /// Gives submitted samples to `each`, oldest first, each one's space back right after it. Stops after a sample for which `each` breaks.
    ///
    /// # Errors
    /// What the ring says that cannot be, and what was done before: samples given stay taken, and a producer may have to be woken all the same.
    pub fn drain(
        &mut self,
        flags: SubmitFlags,
        mut each: impl FnMut(Payload<'_, M>) -> ControlFlow<()>,
    ) -> Result<UserDrained, UserDrainError> {
        let mut drained = UserDrained { samples: 0, discarded: 0, wakeup: Wakeup::NotNeeded };
        let mut wrong = None;
        while drained.samples.wrapping_add(drained.discarded) < MAX_USER_SAMPLES {
            let (word, position) = match self.peek() {
                Ok(Some(sample)) => sample,
                Ok(None) => break,
                Err(error) => {
                    wrong = Some(error);
                    break;
                }
            };
            let mut flow = ControlFlow::Continue(());
            if word & DISCARD_BIT != 0 {
                drained.discarded = drained.discarded.wrapping_add(1);
            } else {
                flow = each(Payload::new(
                    &self.memory,
                    self.memory.area(),
                    Extent::new(position, word as usize),
                    position,
                ));
                drained.samples = drained.samples.wrapping_add(1);
            }
            self.memory
                .consumer_position()
                .store(position.wrapping_add(record_size(word)), sites::CONSUMER_RELEASE);
            if flow.is_break() {
                break;
            }
        }
        let moved = drained.samples != 0 || drained.discarded != 0;
        if flags.contains(SubmitFlags::FORCE_WAKEUP) || moved && !flags.contains(SubmitFlags::NO_WAKEUP) {
            drained.wakeup = Wakeup::Needed;
        }
        match wrong {
            None => Ok(drained),
            Some(error) => Err(UserDrainError { error, drained }),
        }
    }

    /// The next committed sample's length word and position, in the kernel's order of checks.
    fn peek(&self) -> Result<Option<(u32, usize)>, UserRingError> {
        let producer = self.memory.producer_position().load(sites::CONSUMER_PRODUCER);
        if !producer.is_multiple_of(HEADER_SIZE) {
            return Err(UserRingError::Misaligned { producer });
        }
        let consumer = self.memory.consumer_position().load(sites::SETUP);
        let available = producer.wrapping_sub(consumer);
        // The kernel asks `cons >= prod`; by difference this also holds where positions wrap.
        if available == 0 || available > usize::MAX / 2 {
            return Ok(None);
        }
        let word = self.memory.length(consumer).load(sites::CONSUMER_LENGTH);
        let total = record_size(word);
        let length = (word & !(BUSY_BIT | DISCARD_BIT)) as usize;
        if total > available {
            return Err(UserRingError::PastProducer { length, available });
        }
        if total > self.memory.geometry().size() {
            return Err(UserRingError::LongerThanRing { length });
        }
        if length > MAX_USER_SAMPLE {
            return Err(UserRingError::TooLong { length });
        }
        if word & DISCARD_BIT == 0 && word & BUSY_BIT != 0 {
            return Ok(None);
        }
        Ok(Some((word, consumer)))
    }
}

/// What a [`UserConsumer::drain`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserDrained {
    /// Samples given to the callback: the kernel's return value.
    pub samples: usize,
    /// Samples skipped because their producer gave them up.
    pub discarded: usize,
    /// Is a producer that waits for space to be woken?
    pub wakeup: Wakeup,
}

/// A drain met what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserDrainError {
    /// What it was; it stays where it is, and the next drain meets it again.
    pub error: UserRingError,
    /// What was drained before.
    pub drained: UserDrained,
}

impl fmt::Display for UserDrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (after {} samples)", self.error, self.drained.samples)
    }
}

impl core::error::Error for UserDrainError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The producer of a user ring wrote what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserRingError {
    /// A sample is longer than the ring (`E2BIG`).
    LongerThanRing {
        /// Its payload bytes.
        length: usize,
    },
    /// `producer_pos` is not a multiple of eight (`EINVAL`).
    Misaligned {
        /// `producer_pos`.
        producer: usize,
    },
    /// A sample reaches past `producer_pos` (`EINVAL`).
    PastProducer {
        /// Its payload bytes.
        length: usize,
        /// Bytes up to `producer_pos`.
        available: usize,
    },
    /// A sample is longer than [`MAX_USER_SAMPLE`] (`E2BIG`).
    TooLong {
        /// Its payload bytes.
        length: usize,
    },
}

impl UserRingError {
    /// The kernel's error number, positive.
    #[must_use]
    pub const fn errno(&self) -> i32 {
        match self {
            Self::LongerThanRing { .. } | Self::TooLong { .. } => 7,
            Self::Misaligned { .. } | Self::PastProducer { .. } => 22,
        }
    }
}

impl fmt::Display for UserRingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LongerThanRing { length } => {
                write!(f, "a sample of {length} bytes is longer than the ring")
            }
            Self::Misaligned { producer } => write!(f, "producer_pos {producer} is not a multiple of eight"),
            Self::PastProducer { length, available } => {
                write!(f, "a sample of {length} bytes does not end in the {available} bytes there are")
            }
            Self::TooLong { length } => {
                write!(f, "a sample of {length} bytes: at most {MAX_USER_SAMPLE} are taken")
            }
        }
    }
}

impl core::error::Error for UserRingError {}
