//! Reading a batch.
//!
//! The plain loop is bound by one chain of dependencies: the next header's address needs this header's length, which is a load away. A loop that
//! *guesses* the next length, and compares, turns that chain into additions: loads overlap and the prefetcher runs ahead. A wrong guess costs a
//! mispredicted branch, so guessing has to pay first:
//!
//! ```text
//! step record by record, and note how many headers in a row equal the header one (two) before
//! once that is enough:
//!     while enough bytes are left and the header is the guessed one: give the record, go on
//!     a wrong guess after a short run: ask for twice as many next time
//! ```
//!
//! Guessing with the header two before covers rings in which two kinds of records alternate. What is checked stays the same: a guessed length
//! is compared with the bytes up to `producer_pos` like any other, only without waiting for the load.

use core::fmt;
use core::ops::{ControlFlow, Deref};

use crate::consumer::{AHEAD, Consumer, Step, Stopped};
use crate::geometry::Mapping;
use crate::header::record_size;
use crate::memory::{Contiguous, Extent, Length, Memory};
use crate::order::sites;

impl<M: Memory> Consumer<M> {
    /// Gives up to `limit` records to `each`, and says what it did and why it stopped.
    ///
    /// `consumer_pos` is stored every so many bytes (see [`with_release`](Self::with_release)) and at the end, so a payload is good
    /// during the call of `each` only. A record for which `each` breaks is consumed too. Discarded records count towards nothing but
    /// [`Drained::discarded`].
    #[inline]
    pub fn drain(
        &mut self,
        limit: usize,
        mut each: impl FnMut(Payload<'_, M>) -> ControlFlow<()>,
    ) -> Drained {
        let mut drained = Drained { records: 0, discarded: 0, bytes: 0, stopped: Stopped::Limit };
        let mut guess = Guess::default();
        drained.stopped = loop {
            if drained.records >= limit {
                break self.at_limit();
            }
            if guess.is_certain() {
                let followed = match guess.words() {
                    [word, same] if word == same => self.follow([word], limit, &mut drained, &mut each),
                    words => self.follow(words, limit, &mut drained, &mut each),
                };
                match followed {
                    Followed::Asked => break Stopped::Asked,
                    Followed::Wrong { rounds } => guess.was_wrong(rounds),
                    Followed::Room if drained.records >= limit => continue,
                    Followed::Room => {}
                }
            }
            match self.step() {
                Ok(Step::Discarded) => drained.discarded = drained.discarded.wrapping_add(1),
                Ok(Step::Record(extent)) => {
                    guess.note(extent.length());
                    drained.count(extent.length());
                    if each(Payload::new(&self.memory, &extent)).is_break() {
                        break Stopped::Asked;
                    }
                }
                Err(stopped) => break stopped,
            }
            if self.position.wrapping_sub(self.released) >= self.release_bytes {
                self.release();
            }
        };
        self.release();
        drained
    }

    /// Reads on as long as headers are, in turn, those guessed.
    #[inline(always)]
    fn follow<const N: usize>(
        &mut self,
        words: [u32; N],
        limit: usize,
        drained: &mut Drained,
        each: &mut impl FnMut(Payload<'_, M>) -> ControlFlow<()>,
    ) -> Followed {
        let totals = words.map(record_size);
        let round = totals.iter().fold(0, |sum: usize, total| sum.wrapping_add(*total));
        let ahead = AHEAD.checked_div(round).unwrap_or(1).max(1).wrapping_mul(round);
        let mut done: usize = 0;
        loop {
            // One bound for everything: the bytes that are there, one release interval, the end of a flat ring, the records the caller still takes.
            let mut left = self.producer.wrapping_sub(self.position);
            if self.memory.geometry().mapping() == Mapping::Flat {
                left = left.min(self.memory.geometry().until_end(self.position));
            }
            let rounds = left
                .checked_div(round)
                .unwrap_or(0)
                .min(self.rounds_until_release::<N>(round))
                .min(limit.wrapping_sub(drained.records).checked_div(N).unwrap_or(0));
            if rounds == 0 {
                return Followed::Room;
            }
            let ahead = if left.saturating_sub(ahead) >= rounds.wrapping_mul(round) { ahead } else { 0 };
            let mut position = self.position;
            let mut followed = 0;
            let mut part = 0;
            let mut ended = None;
            'run: while followed != rounds {
                for (index, (word, total)) in words.iter().zip(totals).enumerate() {
                    if self.memory.length(position).load(sites::CONSUMER_LENGTH) != *word {
                        part = index;
                        ended = Some(Followed::Wrong { rounds: done.wrapping_add(followed) });
                        break 'run;
                    }
                    self.memory.prefetch(position.wrapping_add(ahead));
                    let extent = Extent::new(position, *word as usize);
                    position = position.wrapping_add(total);
                    if each(Payload::new(&self.memory, &extent)).is_break() {
                        part = index.wrapping_add(1);
                        ended = Some(Followed::Asked);
                        break 'run;
                    }
                }
                followed = followed.wrapping_add(1);
            }
            self.position = position;
            drained.count_rounds(words, followed, part);
            if let Some(ended) = ended {
                return ended;
            }
            self.release();
            done = done.wrapping_add(rounds);
        }
    }

    /// How many rounds of `round` bytes until `consumer_pos` has to be stored.
    #[inline(always)]
    fn rounds_until_release<const N: usize>(&self, round: usize) -> usize {
        if N > 1 && self.release_bytes < round {
            // It has to be stored within a round.
            return 0;
        }
        let behind = self.position.wrapping_sub(self.released);
        self.release_bytes.saturating_sub(behind).div_ceil(round).max(1)
    }

    /// The limit is reached: is there more, so that the caller must not wait, or is the ring empty at the same time?
    fn at_limit(&mut self) -> Stopped {
        self.settle();
        match self.refresh() {
            Ok(false) => Stopped::Empty,
            Ok(true) => Stopped::Limit,
            Err(stopped) => stopped,
        }
    }
}

/// How following a guess ended.
enum Followed {
    /// The callback asked to stop.
    Asked,
    /// As far as there was room for whole rounds.
    Room,
    /// A header was another one, after that many rounds or a little more.
    Wrong { rounds: usize },
}

/// Which headers to expect, and whether expecting them pays.
struct Guess {
    /// The last length, and the one before it.
    last: [u32; 2],
    /// How many in a row were as long as the one before.
    same: u32,
    /// How many in a row were as long as the one two before.
    alternating: u32,
    /// Records not to look at.
    pause: u32,
    /// The pause that the next wrong guess costs.
    penalty: u32,
}

/// How many in a row it takes to guess. A wrong guess costs some fifteen steps' worth of a mispredicted branch, a right one saves most of a step.
const ENOUGH: u32 = 4;
/// The longest pause: in records of random sizes a wrong guess comes so seldom that it costs next to nothing.
const MOST: u32 = 1024;
/// Rounds that pay for the wrong guess at their end.
const LONG: usize = 16;

impl Default for Guess {
    fn default() -> Self {
        Self { last: [0; 2], same: 0, alternating: 0, pause: 0, penalty: ENOUGH }
    }
}

impl Guess {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "an extent's length came from a length word")]
    fn note(&mut self, length: usize) {
        if self.pause != 0 {
            self.pause = self.pause.wrapping_sub(1);
            return;
        }
        let word = length as u32;
        self.same = if word == self.last[0] { self.same.wrapping_add(1) } else { 0 };
        self.alternating = if word == self.last[1] { self.alternating.wrapping_add(1) } else { 0 };
        self.last = [word, self.last[0]];
    }

    /// Do the next headers look certain?
    #[inline(always)]
    fn is_certain(&self) -> bool {
        self.same.max(self.alternating) >= ENOUGH
    }

    /// The next two length words, if they are certain.
    #[inline(always)]
    fn words(&self) -> [u32; 2] {
        if self.same >= ENOUGH { [self.last[0]; 2] } else { [self.last[1], self.last[0]] }
    }

    fn was_wrong(&mut self, rounds: usize) {
        self.same = 0;
        self.alternating = 0;
        if rounds >= LONG {
            self.penalty = ENOUGH;
        } else {
            self.pause = self.penalty;
            self.penalty = self.penalty.wrapping_mul(2).min(MOST);
        }
    }
}

/// The payload of a record that is being drained.
pub struct Payload<'c, M> {
    memory: &'c M,
    extent: &'c Extent,
}

impl<'c, M: Memory> Payload<'c, M> {
    #[inline(always)]
    pub(crate) fn new(memory: &'c M, extent: &'c Extent) -> Self {
        Self { memory, extent }
    }

    /// Copies the payload's beginning into `bytes`, as much as fits; gives how many bytes that were.
    pub fn copy_to(&self, bytes: &mut [u8]) -> usize {
        let length = self.extent.length().min(bytes.len());
        if let Some(bytes) = bytes.get_mut(..length) {
            self.memory.read(self.extent, 0, bytes);
        }
        length
    }

    /// Payload bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.extent.length()
    }

    /// Position of the record's header.
    #[must_use]
    pub fn position(&self) -> usize {
        self.extent.position()
    }
}

impl<M: Contiguous> Deref for Payload<'_, M> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.memory.published(self.extent)
    }
}

impl<M: Memory> fmt::Debug for Payload<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("position", &self.position())
            .field("payload_len", &self.payload_len())
            .finish()
    }
}

/// What a [`Consumer::drain`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "whether more is there, and whether the memory is corrupt, stands in `stopped`"]
pub struct Drained {
    /// Records given to the callback.
    pub records: usize,
    /// Records skipped because their producer gave them up.
    pub discarded: usize,
    /// Payload bytes of `records`.
    pub bytes: usize,
    /// Why it stopped.
    pub stopped: Stopped,
}

impl Drained {
    #[inline(always)]
    fn count(&mut self, payload: usize) {
        self.records = self.records.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(payload);
    }

    /// Counts `rounds` of records of those lengths, and `part` records of one round more. Outside of the loop over them: every register counts there.
    #[inline(always)]
    fn count_rounds<const N: usize>(&mut self, words: [u32; N], rounds: usize, part: usize) {
        let sum = |words: &[u32]| words.iter().fold(0, |sum: usize, word| sum.wrapping_add(*word as usize));
        self.records = self.records.wrapping_add(rounds.wrapping_mul(N)).wrapping_add(part);
        self.bytes = self.bytes.wrapping_add(rounds.wrapping_mul(sum(&words)));
        self.bytes = self.bytes.wrapping_add(sum(words.get(..part).unwrap_or_default()));
    }
}
