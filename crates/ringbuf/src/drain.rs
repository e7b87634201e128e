//! Reading a batch.
//!
//! The plain loop is bound by one chain of dependencies: the next header's address needs this header's length, which is a load away. Two loops
//! that know only plain records shorten it; whatever is special is left to [`Cursor::step`]:
//!
//! ```text
//! walk:    from the length to the next header in one addition and one mask, over registers; everything else that is done for a record, checks
//!          included, hangs beside that chain
//! follow:  once the lengths repeat, *guess* the next ones and compare: no chain is left, loads overlap, and memory is fetched ahead exactly
//!          where headers will stand
//! step:    reads producer_pos again, tells producers where we stand, says why nothing comes
//! ```
//!
//! A wrong guess costs a mispredicted branch, so what repeats seldom is walked over: see [`Pattern`]. Guessing with the header two before covers
//! rings in which two kinds of records alternate. What is checked stays the same: a guessed length is compared with the bytes up to
//! `producer_pos` like any other, only without waiting for the load.

use core::fmt;
use core::ops::{ControlFlow, Deref};

use crate::consumer::{Consumer, Stopped};
use crate::cursor::{Cursor, Step};
use crate::header::{BUSY_BIT, DISCARD_BIT, HEADER_SIZE, record_size};
use crate::memory::{Area, Contiguous, Extent, Length, Memory};
use crate::order::sites;
use crate::pattern::{LONG, Pattern};

impl<M: Memory> Consumer<M> {
    /// Gives up to `limit` records to `each`, and says what it did and why it stopped.
    ///
    /// `consumer_pos` is stored every so many bytes (see [`with_release`](Self::with_release)) and at the end, so a payload is good
    /// during the call of `each` only. A record for which `each` breaks is consumed too. Discarded records count towards nothing but
    /// [`Drained::discarded`]. If `each` panics, some of the records that it was given before are given again by the next drain.
    #[inline]
    pub fn drain(&mut self, limit: usize, each: impl FnMut(Payload<'_, M>) -> ControlFlow<()>) -> Drained {
        let Self { memory, cursor } = self;
        let drained = Drained { records: 0, discarded: 0, bytes: 0, stopped: Stopped::Limit };
        let mut batch = Batch { memory, area: memory.area(), cursor, limit, drained, each };
        batch.drained.stopped = batch.read();
        batch.cursor.release(batch.memory);
        batch.drained
    }
}

/// A batch that is being read.
struct Batch<'c, M: Memory + 'c, F> {
    memory: &'c M,
    area: M::Area<'c>,
    cursor: &'c mut Cursor,
    limit: usize,
    drained: Drained,
    each: F,
}

impl<'c, M: Memory, F: FnMut(Payload<'c, M>) -> ControlFlow<()>> Batch<'c, M, F> {
    #[inline(always)]
    fn read(&mut self) -> Stopped {
        let mut pattern = Pattern::new();
        loop {
            if self.drained.records >= self.limit {
                return self.cursor.at_limit(self.memory);
            }
            if self.cursor.position == self.cursor.producer
                && let Err(stopped) = self.cursor.await_record(self.memory)
            {
                return stopped;
            }
            let followed = match pattern.take() {
                Some([word, same]) if word == same => self.follow([word]),
                Some(words) => self.follow(words),
                None => Followed::Room,
            };
            match followed {
                Followed::Asked => return Stopped::Asked,
                Followed::Wrong { rounds } => pattern.was_wrong(rounds),
                Followed::Room => {}
            }
            match self.walk(&mut pattern) {
                Walked::Asked => return Stopped::Asked,
                Walked::Enough => continue,
                Walked::Special => {}
            }
            if let Some(stopped) = self.step() {
                return stopped;
            }
        }
    }

    /// Reads one record of whatever kind; `None` once it is read.
    #[inline(always)]
    fn step(&mut self) -> Option<Stopped> {
        match self.cursor.step(self.memory) {
            Ok(Step::Discarded) => self.drained.discarded = self.drained.discarded.wrapping_add(1),
            Ok(Step::Record(extent)) => {
                self.drained.count(1, extent.length());
                let position = extent.position();
                if self.give(extent, position).is_break() {
                    return Some(Stopped::Asked);
                }
            }
            Err(stopped) => return Some(stopped),
        }
        self.cursor.release_if_due(self.memory);
        None
    }

    /// Reads record after record until one is special, no more are there, or the lengths repeat.
    #[inline(always)]
    fn walk(&mut self, pattern: &mut Pattern) -> Walked {
        let area = self.area;
        let mut left = self.cursor.contiguous(self.memory);
        let end = self.cursor.position.wrapping_add(left);
        let mut next = self.cursor.position;
        let mut fetched = self.cursor.position;
        loop {
            let position = end.wrapping_sub(left);
            fetched = self.fetch(fetched, position, end);
            // Records of this pass: what the caller takes at most, and not beyond where space is given back.
            let pass = PASS.min(self.limit.wrapping_sub(self.drained.records));
            let interval =
                self.cursor.release_bytes.saturating_sub(position.wrapping_sub(self.cursor.released));
            let bound = left.saturating_sub(interval.max(1));
            let mut records = 0;
            let ended = 'pass: {
                while records != pass && left > bound {
                    let header = area.align(next);
                    let word = area.length(header).load(sites::CONSUMER_LENGTH);
                    if word & (BUSY_BIT | DISCARD_BIT) != 0 {
                        break 'pass Some(Walked::Special);
                    }
                    let payload = word as usize;
                    let rest = left.wrapping_sub(payload.wrapping_add(PADDED) & !(HEADER_SIZE - 1));
                    if rest > left {
                        break 'pass Some(Walked::Special);
                    }
                    let extent = Extent::new(header, payload);
                    let position = end.wrapping_sub(left);
                    next = header.wrapping_add(payload).wrapping_add(PADDED);
                    left = rest;
                    records = records.wrapping_add(1);
                    self.drained.bytes = self.drained.bytes.wrapping_add(payload);
                    pattern.note(word);
                    if self.give(extent, position).is_break() {
                        break 'pass Some(Walked::Asked);
                    }
                }
                None
            };
            self.drained.records = self.drained.records.wrapping_add(records);
            self.cursor.position = end.wrapping_sub(left);
            self.cursor.release_if_due(self.memory);
            if let Some(ended) = ended {
                return ended;
            }
            if self.drained.records >= self.limit || pattern.learn() {
                return Walked::Enough;
            }
            if left == 0 {
                return Walked::Special;
            }
        }
    }

    /// Reads on as long as headers are, in turn, those guessed.
    #[inline(always)]
    fn follow<const N: usize>(&mut self, mut words: [u32; N]) -> Followed {
        let area = self.area;
        let round = sum(words.map(record_size), N);
        let there = self.cursor.contiguous(self.memory);
        // Whole rounds that are there and are taken; and how many of them until space is given back.
        let taken = self.limit.wrapping_sub(self.drained.records).checked_div(N).unwrap_or(0);
        let mut left = there.checked_div(round).unwrap_or(0).min(taken);
        let interval = self.cursor.release_bytes.checked_div(round).unwrap_or(0);
        if left < LONG || (N > 1 && interval == 0) {
            return Followed::Room;
        }
        let mut position = self.cursor.position;
        if area.length(position).load(sites::CONSUMER_LENGTH) != words[0] {
            words.reverse();
        }
        let totals = words.map(record_size);
        let payloads = words.map(|word| word as usize);
        let mut ahead = ahead(round, left);
        let mut followed = 0;
        let (part, ended) = 'rounds: loop {
            if left == 0 {
                break (0, Followed::Room);
            }
            // One bound for what is there, for one interval, and for what may be fetched ahead: never what is not there, because a producer would
            // have to fetch those lines back.
            let until = match left.checked_sub(ahead) {
                Some(until @ 1..) => until,
                _ => {
                    ahead = 0;
                    left
                }
            };
            let rounds = until.min(interval.max(1));
            let start = position;
            let end = start.wrapping_add(rounds.wrapping_mul(round));
            let ahead = ahead.wrapping_mul(round);
            while position != end {
                let mut at = position;
                for (index, (word, total)) in words.iter().zip(totals).enumerate() {
                    if area.length(at).load(sites::CONSUMER_LENGTH) != *word {
                        followed = rounds_between(start, position, round).wrapping_add(followed);
                        break 'rounds (index, Followed::Wrong { rounds: followed });
                    }
                    area.prefetch(at.wrapping_add(ahead));
                    if self.give(Extent::new(at, *word as usize), at).is_break() {
                        followed = rounds_between(start, position, round).wrapping_add(followed);
                        break 'rounds (index.wrapping_add(1), Followed::Asked);
                    }
                    at = at.wrapping_add(total);
                }
                position = at;
            }
            left = left.wrapping_sub(rounds);
            followed = followed.wrapping_add(rounds);
            self.cursor.position = position;
            self.cursor.release(self.memory);
        };
        self.cursor.position = position.wrapping_add(sum(totals, part));
        self.drained.count(followed.wrapping_mul(N), followed.wrapping_mul(sum(payloads, N)));
        self.drained.count(part, sum(payloads, part));
        ended
    }

    /// Has lines fetched up to [`AHEAD`] of `position`, of which those up to `fetched` are; says how far it came.
    ///
    /// Never beyond what is there: a producer would have to fetch those lines back.
    #[inline(always)]
    fn fetch(&self, fetched: usize, position: usize, end: usize) -> usize {
        let done = fetched.wrapping_sub(position);
        // Long records leave what was fetched behind.
        let done = if done > AHEAD { 0 } else { done };
        let reach = end.wrapping_sub(position).min(AHEAD);
        let mut next = position.wrapping_add(done);
        for _ in 0..reach.saturating_sub(done).div_ceil(LINE) {
            self.area.prefetch(next);
            next = next.wrapping_add(LINE);
        }
        next
    }

    #[inline(always)]
    fn give(&mut self, extent: Extent, position: usize) -> ControlFlow<()> {
        (self.each)(Payload::new(self.memory, self.area, extent, position))
    }
}

/// How a walk ended.
enum Walked {
    /// The callback asked to stop.
    Asked,
    /// As many records as are taken; or lengths repeat.
    Enough,
    /// The next record is not a plain one, or none is there: a step says which.
    Special,
}

/// How following a guess ended.
enum Followed {
    /// The callback asked to stop.
    Asked,
    /// As far as there was room for whole rounds; without one, where there are too few.
    Room,
    /// A header was another one, after that many rounds or a little more.
    Wrong { rounds: usize },
}

/// Bytes of a header and of the padding behind a payload, at most.
const PADDED: usize = 2 * HEADER_SIZE - 1;
/// Records that are walked over between looks at anything else.
const PASS: usize = 32;
/// Bytes of a cache line.
const LINE: usize = 64;
/// How far ahead of its position a walk has memory fetched, if that much is there: two pages, so that translations are looked up in time too.
const AHEAD: usize = 8192;
/// How far ahead it is fetched at most where it is known which lines: as much as the first cache holds.
const FAR_AHEAD: usize = 4 * AHEAD;

/// How many of `left` rounds, of `round` bytes each, memory is fetched ahead: a few hundred, if they and enough others are there.
#[inline(always)]
fn ahead(round: usize, left: usize) -> usize {
    let far = round.saturating_mul(256).clamp(AHEAD, FAR_AHEAD);
    far.checked_div(round).unwrap_or(0).min(left / 4)
}

/// Rounds of `round` bytes from one position to another one.
#[inline(always)]
fn rounds_between(start: usize, end: usize, round: usize) -> usize {
    end.wrapping_sub(start).checked_div(round).unwrap_or(0)
}

/// What the first of the parts of a round add up to.
#[inline(always)]
fn sum<const N: usize>(parts: [usize; N], first: usize) -> usize {
    parts.iter().take(first).fold(0, |sum, part| sum.wrapping_add(*part))
}

/// Copies the beginning of a payload into `bytes`, as much as fits; gives how many bytes that were.
pub(crate) fn copy_payload(memory: &impl Memory, extent: &Extent, bytes: &mut [u8]) -> usize {
    let length = extent.length().min(bytes.len());
    if let Some(bytes) = bytes.get_mut(..length) {
        memory.read(extent, 0, bytes);
    }
    length
}

/// The payload of a record that is being drained.
pub struct Payload<'c, M: Memory + 'c> {
    memory: &'c M,
    area: M::Area<'c>,
    /// Where the bytes are.
    extent: Extent,
    /// Where the record is: not the extent's position, but another one of the same bytes.
    position: usize,
}

impl<'c, M: Memory> Payload<'c, M> {
    #[inline(always)]
    pub(crate) fn new(memory: &'c M, area: M::Area<'c>, extent: Extent, position: usize) -> Self {
        Self { memory, area, extent, position }
    }

    /// Copies the payload's beginning into `bytes`, as much as fits; gives how many bytes that were.
    pub fn copy_to(&self, bytes: &mut [u8]) -> usize {
        copy_payload(self.memory, &self.extent, bytes)
    }

    /// Payload bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.extent.length()
    }

    /// Position of the record's header.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<M: Contiguous> Deref for Payload<'_, M> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        M::published(self.area, &self.extent)
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
    fn count(&mut self, records: usize, bytes: usize) {
        self.records = self.records.wrapping_add(records);
        self.bytes = self.bytes.wrapping_add(bytes);
    }
}
