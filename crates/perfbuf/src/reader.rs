//! The reading side of one ring.
//!
//! ```text
//! drain(limit):
//!   head = data_head, once: what is written from here on waits for the next drain
//!   until position == head, or limit records:
//!       size of the record at position: at least a header, a multiple of eight, within head?   else: corrupt
//!       sample, lost record or another one: give it;  position += size
//!   store data_tail, once
//! ```
//!
//! The loop guesses that the next record's first twelve bytes equal this one's; a comparison takes the place of a chain of loads each of which waits for the one
//! before. See `Guess` for when it does.

use core::fmt;
use core::ops::ControlFlow;

use crate::event::{Event, Other, Sample};
use crate::geometry::{Direction, GeometryError};
use crate::memory::{Extent, Memory, Position};
use crate::order::sites;
use crate::record::{HEADER_SIZE, Header, LOST_SIZE, Lost, RECORD_LOST, RECORD_SAMPLE, field};

/// Reads one ring that is written forward.
#[derive(Debug)]
pub struct Reader<M> {
    memory: M,
    /// The next record to read.
    position: usize,
    /// `data_tail` as last stored.
    released: usize,
    totals: Totals,
}

/// What a reader has read since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Samples, those cut short included.
    pub samples: u64,
    /// Records that lost records reported.
    pub lost: u64,
    /// Records of other kinds.
    pub other: u64,
    /// Bytes given up by [`Reader::resync`].
    pub given_up: u64,
}

impl Totals {
    /// How many losses nobody has reported yet, when the kernel has counted `lost` for this ring's event in all.
    ///
    /// A lost record is written only together with the next sample that fits, so losses at the end are never reported in the ring. Since Linux 6.0 the event's
    /// descriptor knows them (`PERF_FORMAT_LOST`); a [`Writer`](crate::Writer) knows them from its [`Ledger`](crate::Ledger).
    #[must_use]
    pub const fn unreported(&self, lost: u64) -> u64 {
        lost.saturating_sub(self.lost)
    }
}

impl<M: Memory> Reader<M> {
    /// Takes over the reading side, which goes on where the ring's tail stands.
    ///
    /// # Errors
    /// When the ring is written backward.
    pub fn new(memory: M) -> Result<Self, GeometryError> {
        let direction = memory.geometry().direction();
        if direction != Direction::Forward {
            return Err(GeometryError::Direction(direction));
        }
        let position = memory.tail().load(sites::SETUP);
        Ok(Self { memory, position, released: position, totals: Totals::default() })
    }

    /// Bytes of records that are written and unread, whether or not they woke anybody.
    ///
    /// # Errors
    /// When the head is none.
    pub fn pending(&self) -> Result<usize, Corrupt> {
        Ok(self.look()?.wrapping_sub(self.position))
    }

    /// Gives up to `limit` records to `each`, and says what it did and why it stopped.
    ///
    /// Records that are written meanwhile are left for the next call, so it ends however fast the writer is. A record for which `each` breaks is read too. The tail
    /// moves once, at the end, which is when the writer gets the space; where a full ring is drained while it is written, a `limit` makes that sooner.
    #[inline]
    pub fn drain(&mut self, limit: usize, each: impl FnMut(Event<'_, M>) -> ControlFlow<()>) -> Drained {
        match self.look() {
            Ok(head) => self.drain_to(head, limit, each),
            Err(corrupt) => Drained::nothing(Stopped::Corrupt(corrupt)),
        }
    }

    /// What [`drain`](Self::drain) would have drained up to at the time of this call, for [`drain_until`](Self::drain_until).
    ///
    /// # Errors
    /// When the head is none.
    pub fn mark(&self) -> Result<Mark, Corrupt> {
        Ok(Mark(self.look()?))
    }

    /// As [`drain`](Self::drain), up to a mark.
    #[inline]
    pub fn drain_until(
        &mut self,
        mark: Mark,
        limit: usize,
        each: impl FnMut(Event<'_, M>) -> ControlFlow<()>,
    ) -> Drained {
        // A mark of another ring, or an old one, is no reason to read what is not there.
        match self.look() {
            Ok(head) if mark.0.wrapping_sub(self.position) <= head.wrapping_sub(self.position) => {
                self.drain_to(mark.0, limit, each)
            }
            Ok(_) => Drained::nothing(Stopped::Empty),
            Err(corrupt) => Drained::nothing(Stopped::Corrupt(corrupt)),
        }
    }

    /// Gives up everything that is unread, corrupt or not, and goes on with what is written next; gives the bytes given up.
    pub fn resync(&mut self) -> usize {
        let head = self.memory.head().load(sites::READER_HEAD) & !(HEADER_SIZE.wrapping_sub(1));
        let bytes = head.wrapping_sub(self.position);
        self.position = head;
        self.release();
        self.totals.given_up = self.totals.given_up.saturating_add(bytes as u64);
        bytes
    }

    /// What was read so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The ring's memory as this side sees it.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    #[inline(always)]
    fn drain_to(
        &mut self,
        head: usize,
        limit: usize,
        mut each: impl FnMut(Event<'_, M>) -> ControlFlow<()>,
    ) -> Drained {
        let mut drained = Drained::nothing(Stopped::Empty);
        let mut guess = Guess::default();
        drained.stopped = loop {
            let left = head.wrapping_sub(self.position);
            if left == 0 {
                break Stopped::Empty;
            }
            if drained.records() >= limit {
                break Stopped::Limit;
            }
            if guess.is_certain() {
                match self.follow(&guess, left, limit, &mut drained, &mut each) {
                    Followed::Asked => break Stopped::Asked,
                    Followed::Wrong { records } => guess.was_wrong(records),
                    // The next record is another one, or there is none, or no more are wanted.
                    Followed::Room => guess.forget(),
                }
                continue;
            }
            match self.step(left, &mut guess, &mut drained, &mut each) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break Stopped::Asked,
                Err(corrupt) => break Stopped::Corrupt(corrupt),
            }
        };
        self.release();
        self.totals.samples = self.totals.samples.wrapping_add(drained.samples as u64);
        self.totals.lost = self.totals.lost.saturating_add(drained.lost);
        self.totals.other = self.totals.other.wrapping_add(drained.other as u64);
        drained
    }

    /// Reads one record.
    #[inline(always)]
    fn step(
        &mut self,
        left: usize,
        guess: &mut Guess,
        drained: &mut Drained,
        each: &mut impl FnMut(Event<'_, M>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Corrupt> {
        let position = self.position;
        // A head and a tail that are multiples of eight leave room for a header.
        let word = self.memory.header(&Extent::new(position, HEADER_SIZE));
        let header = Header::from_word(word);
        let size = usize::from(header.size());
        if size < HEADER_SIZE || size > left || !size.is_multiple_of(HEADER_SIZE) {
            return Err(Corrupt::Size { position, header, available: left });
        }
        let record = Extent::new(position, size);
        self.position = position.wrapping_add(size);
        Ok(match header.kind() {
            RECORD_SAMPLE if size > HEADER_SIZE => {
                drained.samples = drained.samples.wrapping_add(1);
                let raw = self.memory.raw_size(&record);
                let room = size.wrapping_sub(field::RAW);
                if raw as usize > room {
                    let beginning = Extent::new(position.wrapping_add(field::RAW), room);
                    drained.bytes = drained.bytes.wrapping_add(room);
                    each(Event::Truncated { sample: Sample::new(&self.memory, beginning), raw_size: raw })
                } else {
                    guess.note(word, raw);
                    let payload = Extent::new(position.wrapping_add(field::RAW), raw as usize);
                    drained.bytes = drained.bytes.wrapping_add(raw as usize);
                    each(Event::Sample(Sample::new(&self.memory, payload)))
                }
            }
            RECORD_LOST if size >= LOST_SIZE => {
                let mut body = [0; LOST_SIZE - HEADER_SIZE];
                self.memory.read(&record, HEADER_SIZE, &mut body);
                let lost = Lost::from_body(body);
                drained.lost = drained.lost.saturating_add(lost.count);
                drained.lost_records = drained.lost_records.wrapping_add(1);
                each(Event::Lost(lost))
            }
            _ => {
                drained.other = drained.other.wrapping_add(1);
                let body = Extent::new(position.wrapping_add(HEADER_SIZE), size.wrapping_sub(HEADER_SIZE));
                each(Event::Other(Other::new(header, Sample::new(&self.memory, body))))
            }
        })
    }

    /// Reads on as long as records begin with the bytes guessed.
    #[inline(always)]
    fn follow(
        &mut self,
        guess: &Guess,
        left: usize,
        limit: usize,
        drained: &mut Drained,
        each: &mut impl FnMut(Event<'_, M>) -> ControlFlow<()>,
    ) -> Followed {
        let (word, raw) = (guess.word, guess.raw);
        let size = usize::from(Header::from_word(word).size());
        let most = left.checked_div(size).unwrap_or(0).min(limit.wrapping_sub(drained.records()));
        // Never fetch beyond the head: the writer would have to fetch those lines back.
        let ahead = AHEAD.checked_div(size).unwrap_or(1).max(1).wrapping_mul(size);
        let far = left.saturating_sub(ahead).checked_div(size).unwrap_or(0);
        let mut position = self.position;
        let mut records: usize = 0;
        let mut ended = Followed::Room;
        while records != most {
            let record = Extent::new(position, size);
            if self.memory.header(&record) != word || self.memory.raw_size(&record) != raw {
                ended = Followed::Wrong { records };
                break;
            }
            if records < far {
                self.memory.prefetch(position.wrapping_add(ahead));
            }
            let payload = Extent::new(position.wrapping_add(field::RAW), raw as usize);
            position = position.wrapping_add(size);
            records = records.wrapping_add(1);
            if each(Event::Sample(Sample::new(&self.memory, payload))).is_break() {
                ended = Followed::Asked;
                break;
            }
        }
        self.position = position;
        drained.samples = drained.samples.wrapping_add(records);
        drained.bytes = drained.bytes.wrapping_add(records.wrapping_mul(raw as usize));
        ended
    }

    /// Where the head stands, if that can be.
    #[inline(always)]
    fn look(&self) -> Result<usize, Corrupt> {
        let head = self.memory.head().load(sites::READER_HEAD);
        let available = head.wrapping_sub(self.position);
        if available > self.memory.geometry().size()
            || !head.is_multiple_of(HEADER_SIZE)
            || !self.position.is_multiple_of(HEADER_SIZE)
        {
            return Err(Corrupt::Head { position: self.position, head });
        }
        Ok(head)
    }

    #[inline(always)]
    fn release(&mut self) {
        if self.position != self.released {
            self.memory.tail().store(self.position, sites::READER_TAIL);
            self.released = self.position;
        }
    }
}

/// How far ahead of its position a drain has memory fetched, if that much is there.
const AHEAD: usize = 4096;

/// A place in a ring, up to which it can be drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

/// How following a guess ended.
enum Followed {
    /// The callback asked to stop.
    Asked,
    /// As far as there was room for whole records.
    Room,
    /// A record was another one, after that many.
    Wrong { records: usize },
}

/// The first twelve bytes that the next record is expected to have, and whether expecting them pays.
///
/// A wrong guess costs a mispredicted branch, a right one saves most of a step; so a guess needs a run of equal records first, and after a
/// short run the next guess needs a longer one.
struct Guess {
    word: u64,
    raw: u32,
    /// How many in a row began with these.
    same: u32,
    /// How many it takes.
    enough: u32,
}

const ENOUGH: u32 = 4;
const MOST: u32 = 64;
/// A run that pays for the wrong guess at its end.
const LONG: usize = 16;

impl Default for Guess {
    fn default() -> Self {
        Self { word: 0, raw: 0, same: 0, enough: ENOUGH }
    }
}

impl Guess {
    #[inline(always)]
    fn note(&mut self, word: u64, raw: u32) {
        self.same = if word == self.word && raw == self.raw { self.same.wrapping_add(1) } else { 0 };
        (self.word, self.raw) = (word, raw);
    }

    #[inline(always)]
    fn is_certain(&self) -> bool {
        self.same >= self.enough
    }

    fn forget(&mut self) {
        self.same = 0;
    }

    fn was_wrong(&mut self, records: usize) {
        self.same = 0;
        self.enough = if records >= LONG { ENOUGH } else { self.enough.wrapping_mul(2).min(MOST) };
    }
}

/// What a drain did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "whether more is there, and whether the memory is corrupt, stands in `stopped`"]
pub struct Drained {
    /// Samples given, those cut short included.
    pub samples: usize,
    /// Bytes of raw data in them, padding included.
    pub bytes: usize,
    /// Records that were lost, as the lost records say that were read.
    pub lost: u64,
    /// Lost records.
    pub lost_records: usize,
    /// Records of other kinds.
    pub other: usize,
    /// Why it stopped.
    pub stopped: Stopped,
}

impl Drained {
    pub(crate) const fn nothing(stopped: Stopped) -> Self {
        Self { samples: 0, bytes: 0, lost: 0, lost_records: 0, other: 0, stopped }
    }

    /// Records of any kind.
    #[inline(always)]
    #[must_use]
    pub const fn records(&self) -> usize {
        self.samples.wrapping_add(self.lost_records).wrapping_add(self.other)
    }
}

/// Why a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// The callback asked for it. There may be more.
    Asked,
    /// The memory does not hold a ring from here on. Nothing was moved over; [`Reader::resync`] does.
    Corrupt(Corrupt),
    /// Everything is read that was there when the drain began.
    Empty,
    /// The limit is reached, and there is more.
    Limit,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("the callback asked to stop"),
            Self::Corrupt(corrupt) => corrupt.fmt(f),
            Self::Empty => f.write_str("everything is read"),
            Self::Limit => f.write_str("the limit is reached"),
        }
    }
}

impl core::error::Error for Stopped {}

/// What the memory says cannot be true of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corrupt {
    /// The head is more than a lap ahead, or it or the tail is not a multiple of eight.
    Head {
        /// Where the reader stands.
        position: usize,
        /// `data_head`.
        head: usize,
    },
    /// A record is shorter than its header, no multiple of eight, or reaches past the head. Linux writes such sizes for samples longer than
    /// [`MAX_PAYLOAD`](crate::MAX_PAYLOAD).
    Size {
        /// Position of the record.
        position: usize,
        /// Its header.
        header: Header,
        /// Bytes up to the head.
        available: usize,
    },
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head { position, head } => {
                write!(f, "data_head {head} cannot be, with the reader at {position}")
            }
            Self::Size { position, header, available } => write!(
                f,
                "the record at {position} (type {}, size {}) is none within the {available} bytes there are",
                header.kind(),
                header.size()
            ),
        }
    }
}

impl core::error::Error for Corrupt {}
