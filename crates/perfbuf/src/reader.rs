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
//! Where records look alike, the loop guesses that the next one's first twelve bytes equal this one's (or those of the one before): a comparison takes the
//! place of a chain of loads each of which waits for the one before. See `Guess` for when it does. Where they do not, memory is fetched ahead blindly.

mod drained;
mod guess;

use core::ops::ControlFlow;

use self::guess::{First, Guess, LOOKS};
use crate::event::{Event, Other, Sample};
use crate::geometry::{Direction, GeometryError};
use crate::memory::{Extent, Memory, Position};
use crate::order::sites;
use crate::record::{HEADER_SIZE, Header, LOST_SIZE, Lost, RECORD_LOST, RECORD_SAMPLE, field};

pub use self::drained::{Corrupt, Drained, Stopped};

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
            let wanted = limit.saturating_sub(drained.records());
            let walked = match guess.pause() {
                0 => self.walk::<true>(head, wanted.min(LOOKS), &mut guess, &mut drained, &mut each),
                pause => self.walk::<false>(head, wanted.min(pause), &mut guess, &mut drained, &mut each),
            };
            match walked {
                Walked::Asked => break Stopped::Asked,
                Walked::Certain => {
                    let before = drained.samples;
                    let followed = match guess.next() {
                        [one, same] if one.is_like(same) == 1 => {
                            self.follow([one], head, limit, &mut drained, &mut each)
                        }
                        both => self.follow(both, head, limit, &mut drained, &mut each),
                    };
                    match followed {
                        Followed::Asked => break Stopped::Asked,
                        Followed::Wrong => guess.was_wrong(drained.samples.wrapping_sub(before)),
                        // A record over the end of the data, or the last: one step takes it.
                        Followed::Room => {}
                    }
                }
                Walked::End if self.position == head => break Stopped::Empty,
                Walked::End if drained.records() >= limit => break Stopped::Limit,
                Walked::End => guess.turn(),
                Walked::Special => match self.special(head, &mut drained, &mut each) {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => break Stopped::Asked,
                    Err(corrupt) => break Stopped::Corrupt(corrupt),
                },
            }
        };
        self.release();
        self.totals.samples = self.totals.samples.wrapping_add(drained.samples as u64);
        self.totals.lost = self.totals.lost.saturating_add(drained.lost);
        self.totals.other = self.totals.other.wrapping_add(drained.other as u64);
        drained
    }

    /// Reads samples one by one, until it is certain what the next one looks like or the next is none.
    #[inline(always)]
    fn walk<const LOOKING: bool>(
        &mut self,
        head: usize,
        wanted: usize,
        guess: &mut Guess,
        drained: &mut Drained,
        each: &mut impl FnMut(Event<'_, M>) -> ControlFlow<()>,
    ) -> Walked {
        // In registers: each of these is part of a chain from record to record.
        let mut position = self.position;
        let (mut samples, mut bytes): (usize, usize) = (0, 0);
        let walked = loop {
            let left = head.wrapping_sub(position);
            if left == 0 || samples == wanted {
                break Walked::End;
            }
            // A head and a position that are multiples of eight leave room for a header.
            let record = Extent::new(position, HEADER_SIZE);
            let word = self.memory.header(&record);
            let header = Header::from_word(word);
            let size = usize::from(header.size());
            // Longer than a header and at most what is left, in one comparison.
            let fits = size.wrapping_sub(HEADER_SIZE + 1) < left.wrapping_sub(HEADER_SIZE);
            if header.kind() != RECORD_SAMPLE || !fits | !size.is_multiple_of(HEADER_SIZE) {
                break Walked::Special;
            }
            let raw = self.memory.raw_size(&Extent::new(position, size));
            if raw as usize > size.wrapping_sub(field::RAW) {
                break Walked::Special;
            }
            if left > CACHED {
                self.fetch_after(position);
            }
            let payload = Extent::new(position.wrapping_add(field::RAW), raw as usize);
            position = position.wrapping_add(size);
            samples = samples.wrapping_add(1);
            bytes = bytes.wrapping_add(raw as usize);
            if LOOKING {
                guess.note(First { word, raw });
            }
            if each(Event::Sample(Sample::new(&self.memory, payload))).is_break() {
                break Walked::Asked;
            }
            if LOOKING && guess.is_certain() {
                break Walked::Certain;
            }
        };
        self.position = position;
        drained.samples = drained.samples.wrapping_add(samples);
        drained.bytes = drained.bytes.wrapping_add(bytes);
        walked
    }

    /// Reads one record that is not a sample as it should be.
    fn special(
        &mut self,
        head: usize,
        drained: &mut Drained,
        each: &mut impl FnMut(Event<'_, M>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Corrupt> {
        let position = self.position;
        let left = head.wrapping_sub(position);
        let header = Header::from_word(self.memory.header(&Extent::new(position, HEADER_SIZE)));
        let size = usize::from(header.size());
        if size < HEADER_SIZE || size > left || !size.is_multiple_of(HEADER_SIZE) {
            return Err(Corrupt::Size { position, header, available: left });
        }
        let record = Extent::new(position, size);
        self.position = position.wrapping_add(size);
        Ok(match header.kind() {
            RECORD_SAMPLE if size > HEADER_SIZE => {
                drained.samples = drained.samples.wrapping_add(1);
                let room = size.wrapping_sub(field::RAW);
                drained.bytes = drained.bytes.wrapping_add(room);
                let sample = Sample::new(&self.memory, Extent::new(position.wrapping_add(field::RAW), room));
                each(Event::Truncated { sample, raw_size: self.memory.raw_size(&record) })
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

    /// Has some memory fetched, further on. There is more than [`CACHED`] to read, so that is not beyond the head.
    #[inline(always)]
    fn fetch_after(&self, position: usize) {
        let from = position.wrapping_add(FETCH_AHEAD);
        // As many as a record takes in the middle: a loop over its size would be mispredicted for every other one.
        for line in [0, LINE, 2 * LINE, 3 * LINE] {
            self.memory.prefetch(from.wrapping_add(line));
        }
    }

    /// Reads on as long as records begin, in turn, with the bytes guessed.
    #[inline(always)]
    fn follow<const N: usize>(
        &mut self,
        expected: [First; N],
        head: usize,
        limit: usize,
        drained: &mut Drained,
        each: &mut impl FnMut(Event<'_, M>) -> ControlFlow<()>,
    ) -> Followed {
        let geometry = self.memory.geometry();
        let left = head.wrapping_sub(self.position);
        let sizes = expected.map(|first| usize::from(Header::from_word(first.word).size()));
        let round = sizes.iter().fold(0, |sum: usize, size| sum.wrapping_add(*size));
        let in_rounds = |bytes: usize| bytes.checked_div(round).unwrap_or(0);
        let wanted = limit.saturating_sub(drained.records()).checked_div(N).unwrap_or(0);
        let mut rounds = in_rounds(left).min(wanted);
        // Never fetch beyond the head: the writer would have to fetch those lines back.
        let ahead = in_rounds(AHEAD).max(1).wrapping_mul(round);
        let mut far = in_rounds(left.saturating_sub(ahead));
        loop {
            // Of these none goes over the end of the data, and no distance goes over the head.
            let before_end = in_rounds(geometry.size().wrapping_sub(geometry.offset(self.position)));
            let (count, ahead) = match far {
                0 => (rounds.min(before_end), 0),
                far => (rounds.min(before_end).min(far), ahead),
            };
            if count == 0 {
                return Followed::Room;
            }
            let mut position = self.position;
            let mut followed: usize = 0;
            let mut part: usize = 0;
            let mut ended = None;
            'run: while followed != count {
                for (index, (first, size)) in expected.iter().zip(sizes).enumerate() {
                    let record = Extent::whole(position, size);
                    if self.memory.header(&record) != first.word || self.memory.raw_size(&record) != first.raw
                    {
                        part = index;
                        ended = Some(Followed::Wrong);
                        break 'run;
                    }
                    self.memory.prefetch(position.wrapping_add(ahead));
                    let payload = Extent::whole(position.wrapping_add(field::RAW), first.raw as usize);
                    position = position.wrapping_add(size);
                    if each(Event::Sample(Sample::new(&self.memory, payload))).is_break() {
                        part = index.wrapping_add(1);
                        ended = Some(Followed::Asked);
                        break 'run;
                    }
                }
                followed = followed.wrapping_add(1);
            }
            self.position = position;
            drained.count(&expected, followed, part);
            if let Some(ended) = ended {
                return ended;
            }
            rounds = rounds.wrapping_sub(count);
            far = far.saturating_sub(count);
        }
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

/// How far ahead of its position a drain has memory fetched, if that much is there: two pages, so that translations are looked up in time too.
const AHEAD: usize = 16384;

/// With more unread data than this, records are fetched before it is known where they begin.
const CACHED: usize = 1 << 14;
/// How far ahead that is done.
const FETCH_AHEAD: usize = 1024;
const LINE: usize = 64;

/// A place in a ring, up to which it can be drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

/// How a walk ended.
enum Walked {
    /// The callback asked to stop.
    Asked,
    /// The next record can be guessed.
    Certain,
    /// Everything is read, or the limit is reached.
    End,
    /// The next record is no sample, or none that is as it should be.
    Special,
}

/// How following a guess ended.
enum Followed {
    /// The callback asked to stop.
    Asked,
    /// As far as there was room for whole rounds.
    Room,
    /// A record was another one.
    Wrong,
}
