//! A record between reserve and commit.

use core::fmt;
use core::ops::{Deref, DerefMut};

use crate::header::{BUSY_BIT, DISCARD_BIT, record_size};
use crate::memory::{Claim, Contiguous, Length, Memory, Position};
use crate::order::sites;
use crate::{SubmitFlags, Wakeup, Watermark};

/// Space for one record: write it in place, then [`submit`](Self::submit) or [`discard`](Self::discard) it.
///
/// The payload holds whatever stood there before. Dropping a reservation discards it; the wakeup that may then be due is
/// handed to the caller of the next commit. [`core::mem::forget`] leaves the record busy for ever: no consumer gets past it, and after
/// one lap no producer either, as in Linux.
#[must_use = "dropping a reservation discards the record"]
pub struct Reservation<'r, M: Memory> {
    memory: &'r M,
    claim: Claim,
    /// Where a consumer that has read everything before this record may also stand: at the filler that a flat ring put before it.
    waits_at: usize,
    habits: Habits,
}

/// What a producer was told once for all its reservations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    pub(crate) watermark: Watermark,
    pub(crate) counting: bool,
}

impl<'r, M: Memory> Reservation<'r, M> {
    #[inline]
    pub(crate) fn new(memory: &'r M, claim: Claim, waits_at: usize, habits: Habits) -> Self {
        if habits.counting {
            memory.private().reserved.fetch_add(1, sites::TALLY);
        }
        Self { memory, claim, waits_at, habits }
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
    #[inline]
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.claim.length()
    }

    /// Position of the record's header.
    #[inline]
    #[must_use]
    pub fn position(&self) -> usize {
        self.claim.position()
    }

    /// Makes the record readable and says whether to wake the consumer.
    #[inline]
    pub fn submit(self, flags: SubmitFlags) -> Wakeup {
        self.finish(0, flags)
    }

    /// Gives the record up: consumers skip it. The space comes back when they do, so they are woken as by a submit.
    #[inline]
    pub fn discard(self, flags: SubmitFlags) -> Wakeup {
        self.finish(DISCARD_BIT, flags)
    }

    #[inline(always)]
    fn finish(self, discard: u32, flags: SubmitFlags) -> Wakeup {
        let wakeup = self.commit(discard, flags);
        core::mem::forget(self);
        wakeup
    }

    /// `xchg(len)`, then the wakeup rule, as `bpf_ringbuf_commit` does it. Departures: without adaptive wakeup nothing is read
    /// afterwards, so a releasing store is enough; a wakeup owed by a dropped reservation is paid here; watermarks.
    #[inline(always)]
    fn commit(&self, discard: u32, flags: SubmitFlags) -> Wakeup {
        self.count(discard);
        let word = self.length_word() | discard;
        let length = self.memory.length(self.claim.position());
        if let Some(verdict) = flags.verdict() {
            length.store(word, sites::COMMIT);
            return verdict;
        }
        length.swap(word, sites::COMMIT);
        self.memory.fence_after_swap(sites::FENCE_COMMITTED);
        self.verdict(None)
    }

    /// The rest of a commit, for a record that became visible as a committed one, with others up to `through` if there are any.
    /// `fence` is a full barrier between that and looking where the consumer stands.
    #[inline(always)]
    pub(crate) fn published(
        self,
        flags: SubmitFlags,
        through: Option<usize>,
        fence: impl FnOnce(),
    ) -> Wakeup {
        self.count(0);
        let wakeup = flags.verdict().unwrap_or_else(|| {
            fence();
            self.verdict(through)
        });
        core::mem::forget(self);
        wakeup
    }

    #[inline(always)]
    fn count(&self, discard: u32) {
        if self.habits.counting {
            let private = self.memory.private();
            let count = if discard == 0 { &private.submitted } else { &private.discarded };
            count.fetch_add(1, sites::TALLY);
        }
    }

    #[inline(always)]
    fn verdict(&self, through: Option<usize>) -> Wakeup {
        if self.is_waited_for(through) || self.take_owed_wakeup() {
            Wakeup::Needed
        } else {
            Wakeup::NotNeeded
        }
    }

    /// May the consumer be asleep because this record was not there, or one of those that came with it, the last of which ends at `through`?
    #[inline(always)]
    fn is_waited_for(&self, through: Option<usize>) -> bool {
        let geometry = self.memory.geometry();
        let consumer = self.memory.consumer_position().load(sites::COMMIT_CONSUMER);
        let offset = geometry.offset(consumer);
        let caught_up = offset == geometry.offset(self.claim.position())
            || offset == geometry.offset(self.waits_at)
            || through.is_some_and(|through| {
                through != self.end()
                    && consumer.wrapping_sub(self.waits_at) < through.wrapping_sub(self.waits_at)
            });
        match self.habits.watermark {
            Watermark::None => caught_up,
            Watermark::Bytes(bytes) => {
                // Exactly one record holds the byte that makes the mark full. If it comes before older ones do, the consumer wakes, finds the
                // oldest busy or not there and sleeps again: then whoever commits or publishes that one decides.
                let bytes = bytes.min(geometry.size() / 2);
                let before = self.waits_at.wrapping_sub(consumer);
                let after = self.end().wrapping_sub(consumer);
                let fills_mark = before < bytes && bytes <= after;
                fills_mark || caught_up && self.unread_behind(consumer) >= bytes
            }
            Watermark::Records(records) => {
                let commits = self.memory.private().commits.fetch_add(1, sites::TALLY).wrapping_add(1);
                let fills_mark = commits.checked_rem(records).unwrap_or(0) == 0;
                fills_mark || caught_up && self.unread_behind(self.end()) != 0
            }
        }
    }

    #[inline(always)]
    fn unread_behind(&self, position: usize) -> usize {
        self.memory.producer_position().load(sites::COMMIT_PRODUCER).wrapping_sub(position)
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.claim.position().wrapping_add(record_size(self.length_word()))
    }

    #[inline(always)]
    fn take_owed_wakeup(&self) -> bool {
        let owed = &self.memory.private().owed_wakeup;
        // A plain load first: the word is written only by drops and then once here.
        owed.load(sites::OWED) != 0 && owed.compare_exchange_weak(1, 0, sites::OWED).is_ok()
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a claim's length came from a length word")]
    fn length_word(&self) -> u32 {
        self.claim.length() as u32 & !(BUSY_BIT | DISCARD_BIT)
    }
}

impl<M: Memory> Drop for Reservation<'_, M> {
    fn drop(&mut self) {
        if self.commit(DISCARD_BIT, SubmitFlags::empty()).is_needed() {
            self.memory.private().owed_wakeup.store(1, sites::OWED);
        }
    }
}

impl<M: Contiguous> Deref for Reservation<'_, M> {
    type Target = [u8];

    /// The payload. `Deref` needs `&self`, and a claim is only readable through its owner, so the bytes are those of the owner.
    #[inline]
    fn deref(&self) -> &[u8] {
        self.memory.claimed(&self.claim)
    }
}

impl<M: Contiguous> DerefMut for Reservation<'_, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.claimed_mut(&mut self.claim)
    }
}

impl<M: Memory> fmt::Debug for Reservation<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("position", &self.position())
            .field("payload_len", &self.payload_len())
            .finish()
    }
}

/// A write would have run over the end of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PayloadOverrun {
    /// Where the write began.
    pub offset: usize,
    /// Bytes to write.
    pub length: usize,
    /// Bytes of the payload.
    pub payload: usize,
}

impl fmt::Display for PayloadOverrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at offset {} do not fit a payload of {}", self.length, self.offset, self.payload)
    }
}

impl core::error::Error for PayloadOverrun {}
