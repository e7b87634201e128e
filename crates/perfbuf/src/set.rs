//! The rings of all CPUs, read as one.

use core::fmt;
use core::marker::PhantomData;
use core::ops::ControlFlow;

use crate::event::Event;
use crate::memory::Memory;
use crate::reader::{Corrupt, Drained, Mark, Reader, Stopped, Totals};

/// The ring of one CPU.
#[derive(Debug)]
pub struct CpuReader<M> {
    cpu: u32,
    reader: Reader<M>,
    /// Up to where the turn that ends by flush or deadline reads this ring.
    mark: Option<Mark>,
}

impl<M: Memory> CpuReader<M> {
    /// The ring that CPU number `cpu` writes.
    pub const fn new(cpu: u32, reader: Reader<M>) -> Self {
        Self { cpu, reader, mark: None }
    }

    /// The CPU's number, as the system counts: not an index.
    #[must_use]
    pub const fn cpu(&self) -> u32 {
        self.cpu
    }

    /// The ring.
    pub const fn reader(&self) -> &Reader<M> {
        &self.reader
    }

    /// The ring, to read.
    pub const fn reader_mut(&mut self) -> &mut Reader<M> {
        &mut self.reader
    }
}

/// Reads a set of rings, one for each CPU that has one. CPUs that are offline, or have numbers far apart, have no place in it.
///
/// `S` is where the readers are kept: a `Vec`, an array, a borrowed slice.
#[derive(Debug)]
pub struct PerCpu<M, S> {
    rings: S,
    _memory: PhantomData<M>,
    /// Index of the ring that the next drain begins with.
    first: usize,
    is_paused: bool,
    pacing: Pacing,
}

/// What the embedder has asked for.
#[derive(Debug, Default)]
struct Pacing {
    deadline: Option<u64>,
    is_flushing: bool,
    is_closed: bool,
    /// The end that is on its way: everything up to the marks is given before it.
    ending: Option<End>,
}

impl<M: Memory, S: AsRef<[CpuReader<M>]> + AsMut<[CpuReader<M>]>> PerCpu<M, S> {
    /// A set of these rings, which it sorts by CPU.
    ///
    /// # Errors
    /// When a CPU is in it twice.
    pub fn new(mut rings: S) -> Result<Self, SetError> {
        let sorted = rings.as_mut();
        sorted.sort_unstable_by_key(CpuReader::cpu);
        let twice = sorted.windows(2).find_map(|pair| match pair {
            [one, other] if one.cpu == other.cpu => Some(one.cpu),
            _ => None,
        });
        match twice {
            Some(cpu) => Err(SetError::Twice { cpu }),
            None => Ok(Self {
                rings,
                _memory: PhantomData,
                first: 0,
                is_paused: false,
                pacing: Pacing::default(),
            }),
        }
    }

    /// The rings, by CPU.
    pub fn rings(&self) -> &[CpuReader<M>] {
        self.rings.as_ref()
    }

    /// The ring of one CPU.
    ///
    /// # Errors
    /// When that CPU has none.
    pub fn ring(&self, cpu: u32) -> Result<&CpuReader<M>, SetError> {
        let rings = self.rings.as_ref();
        let found = rings.binary_search_by_key(&cpu, CpuReader::cpu).ok();
        found.and_then(|index| rings.get(index)).ok_or(SetError::NoRing { cpu })
    }

    /// The ring of one CPU, to read.
    ///
    /// # Errors
    /// When that CPU has none.
    pub fn ring_mut(&mut self, cpu: u32) -> Result<&mut CpuReader<M>, SetError> {
        let rings = self.rings.as_mut();
        let found = rings.binary_search_by_key(&cpu, CpuReader::cpu).ok();
        found.and_then(|index| rings.get_mut(index)).ok_or(SetError::NoRing { cpu })
    }

    /// For each CPU, the bytes that are written and unread: what woke nobody is among them.
    pub fn pending<'s>(&'s self) -> impl Iterator<Item = (u32, Result<usize, Corrupt>)> + use<'s, M, S>
    where
        M: 's,
    {
        self.rings().iter().map(|ring| (ring.cpu, ring.reader.pending()))
    }

    /// What was read from all rings together.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.rings().iter().map(|ring| ring.reader.totals()).fold(Totals::default(), |sum, one| Totals {
            samples: sum.samples.wrapping_add(one.samples),
            lost: sum.lost.saturating_add(one.lost),
            other: sum.other.wrapping_add(one.other),
            given_up: sum.given_up.saturating_add(one.given_up),
        })
    }

    /// Gives up to `limit` records to `each`, with the CPU they come from, whether or not anybody was woken for them.
    ///
    /// Each ring is read up to where its head stood, in turn; where the limit cuts in, the next call goes on with the ring after. Records of different CPUs come in no order. A
    /// ring that is corrupt keeps nobody from reading the others, and is named in the answer.
    #[inline]
    pub fn drain(
        &mut self,
        limit: usize,
        mut each: impl FnMut(u32, Event<'_, M>) -> ControlFlow<()>,
    ) -> SetDrained {
        self.over_rings(limit, |ring, left| {
            let cpu = ring.cpu;
            ring.reader.drain(left, |event| each(cpu, event))
        })
    }

    /// Reads the ring of one CPU, as when that one alone was ready.
    ///
    /// # Errors
    /// When that CPU has none.
    pub fn drain_cpu(
        &mut self,
        cpu: u32,
        limit: usize,
        each: impl FnMut(Event<'_, M>) -> ControlFlow<()>,
    ) -> Result<Drained, SetError> {
        Ok(self.ring_mut(cpu)?.reader.drain(limit, each))
    }

    /// From the time `deadline` on, [`turn`](Self::turn) says so instead of asking to wait; `None` takes it back. What the numbers mean is between the
    /// embedder and its clock.
    pub fn set_deadline(&mut self, deadline: Option<u64>) {
        self.pacing.deadline = deadline;
        if self.pacing.ending == Some(End::DeadlineExceeded) {
            self.end();
        }
    }

    /// [`turn`](Self::turn) gives what is there now, whether or not it was worth a wakeup, and then says so, once.
    pub fn flush(&mut self) {
        self.pacing.is_flushing = true;
    }

    /// [`turn`](Self::turn) says from now on that the set is closed, and gives nothing.
    pub fn close(&mut self) {
        self.pacing.is_closed = true;
    }

    /// One turn of a reader that waits: reads what there is, and says what to do next.
    ///
    /// A deadline that has passed, or a flush, first gives everything that was written before this turn noticed, over as many turns as `limit` makes of it; what is
    /// written after that waits for the next read, so that a writer that never stops cannot keep the end away.
    pub fn turn(
        &mut self,
        now: u64,
        limit: usize,
        mut each: impl FnMut(u32, Event<'_, M>) -> ControlFlow<()>,
    ) -> Turn {
        if self.pacing.is_closed {
            return Turn::Ended(End::Closed);
        }
        if self.pacing.ending.is_none() {
            let has_passed = self.pacing.deadline.is_some_and(|deadline| now >= deadline);
            self.pacing.ending = match (core::mem::take(&mut self.pacing.is_flushing), has_passed) {
                (true, _) => Some(End::Flushed),
                (false, true) => Some(End::DeadlineExceeded),
                (false, false) => None,
            };
            if self.pacing.ending.is_some() {
                // A ring that is corrupt has no mark and so nothing to give; a drain reports it.
                for ring in self.rings.as_mut() {
                    ring.mark = ring.reader.mark().ok();
                }
            }
        }
        let Some(end) = self.pacing.ending else {
            let drained = self.drain(limit, each);
            return if drained.found() {
                Turn::Read(drained)
            } else {
                Turn::Wait { until: self.pacing.deadline }
            };
        };
        let drained = self.over_rings(limit, |ring, left| {
            let cpu = ring.cpu;
            match ring.mark {
                Some(mark) => ring.reader.drain_until(mark, left, |event| each(cpu, event)),
                None => ring.reader.drain(0, |_| ControlFlow::Continue(())),
            }
        });
        if drained.records != 0 {
            return Turn::Read(drained);
        }
        self.end();
        Turn::Ended(end)
    }

    /// Pauses every ring by `pause`, which is given the CPU; nothing when it is paused already.
    ///
    /// # Errors
    /// The first that `pause` gives; the rings that were paused before it are handed to `resume` again, so that all of them run.
    pub fn pause<E>(
        &mut self,
        pause: impl FnMut(u32) -> Result<(), E>,
        resume: impl FnMut(u32) -> Result<(), E>,
    ) -> Result<(), SwitchError<E>> {
        self.switch(true, pause, resume)
    }

    /// Resumes every ring by `resume`; nothing when it is not paused.
    ///
    /// # Errors
    /// The first that `resume` gives; the rings that were resumed before it are handed to `pause` again, so that all of them stay paused.
    pub fn resume<E>(
        &mut self,
        resume: impl FnMut(u32) -> Result<(), E>,
        pause: impl FnMut(u32) -> Result<(), E>,
    ) -> Result<(), SwitchError<E>> {
        self.switch(false, resume, pause)
    }

    /// Are the rings paused?
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    fn switch<E>(
        &mut self,
        target: bool,
        mut switch: impl FnMut(u32) -> Result<(), E>,
        mut undo: impl FnMut(u32) -> Result<(), E>,
    ) -> Result<(), SwitchError<E>> {
        if self.is_paused == target {
            return Ok(());
        }
        let rings = self.rings.as_ref();
        for (index, ring) in rings.iter().enumerate() {
            if let Err(error) = switch(ring.cpu) {
                let done = rings.get(..index).unwrap_or_default().iter().rev();
                let stuck = done.fold(None, |stuck, ring| undo(ring.cpu).err().map(|_| ring.cpu).or(stuck));
                return Err(SwitchError { cpu: ring.cpu, error, stuck });
            }
        }
        self.is_paused = target;
        Ok(())
    }

    fn end(&mut self) {
        self.pacing.ending = None;
        for ring in self.rings.as_mut() {
            ring.mark = None;
        }
    }

    /// Lets `drain` read one ring after the other, beginning where the last call left off, until the limit is reached or a callback asks to stop.
    #[inline(always)]
    fn over_rings(
        &mut self,
        limit: usize,
        mut drain: impl FnMut(&mut CpuReader<M>, usize) -> Drained,
    ) -> SetDrained {
        let rings = self.rings.as_mut();
        let count = rings.len();
        let mut all =
            SetDrained { records: 0, samples: 0, bytes: 0, lost: 0, stopped: Stopped::Empty, corrupt: None };
        let (before, from) = rings.split_at_mut(self.first.min(count));
        for (index, ring) in from.iter_mut().chain(before).enumerate() {
            let drained = drain(ring, limit.saturating_sub(all.records));
            all.add(ring.cpu, &drained);
            if matches!(drained.stopped, Stopped::Asked | Stopped::Limit) {
                all.stopped = drained.stopped;
                // The next call begins with the ring after this one, so that nobody is kept waiting by one that never runs dry.
                self.first = self.first.wrapping_add(index).wrapping_add(1).checked_rem(count).unwrap_or(0);
                break;
            }
        }
        all
    }
}

/// What a drain of a set did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "whether more is there, and whether a ring is corrupt, stands in it"]
pub struct SetDrained {
    /// Records of any kind.
    pub records: usize,
    /// Samples.
    pub samples: usize,
    /// Bytes of raw data in them, padding included.
    pub bytes: usize,
    /// Records that were lost, as the lost records say that were read.
    pub lost: u64,
    /// Why it stopped. Not because of a corrupt ring: see `corrupt`.
    pub stopped: Stopped,
    /// The last ring that was found corrupt: [`Reader::resync`] gives up what is in it.
    pub corrupt: Option<(u32, Corrupt)>,
}

impl SetDrained {
    fn add(&mut self, cpu: u32, one: &Drained) {
        self.records = self.records.wrapping_add(one.records());
        self.samples = self.samples.wrapping_add(one.samples);
        self.bytes = self.bytes.wrapping_add(one.bytes);
        self.lost = self.lost.saturating_add(one.lost);
        if let Stopped::Corrupt(corrupt) = one.stopped {
            self.corrupt = Some((cpu, corrupt));
        }
    }

    /// Anything to tell? A turn without would be waiting; one with a limit of nothing, or with a corrupt ring, would wait for ever.
    fn found(&self) -> bool {
        self.records != 0 || self.corrupt.is_some() || self.stopped != Stopped::Empty
    }
}

/// What a turn of a waiting reader came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a reader that does not wait spins, and one that waits after an end may wait for ever"]
pub enum Turn {
    /// Records were given, or a ring is corrupt; there may be more.
    Read(SetDrained),
    /// Nothing is there: wait for any of the rings, for a flush or a close, and no longer than `until`.
    Wait {
        /// The deadline.
        until: Option<u64>,
    },
    /// No more is coming, for this reason.
    Ended(End),
}

/// Why a reader does not wait any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The set is closed.
    Closed,
    /// The deadline has passed, and all that was there is given. So says every turn until the deadline is moved, each after what came meanwhile.
    DeadlineExceeded,
    /// All that was there when the flush was noticed is given.
    Flushed,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the set is closed",
            Self::DeadlineExceeded => "the deadline has passed",
            Self::Flushed => "everything is flushed",
        })
    }
}

impl core::error::Error for End {}

/// A CPU that is not as the set has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetError {
    /// The CPU has no ring in the set.
    NoRing {
        /// Its number.
        cpu: u32,
    },
    /// The CPU has two rings.
    Twice {
        /// Its number.
        cpu: u32,
    },
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRing { cpu } => write!(f, "CPU {cpu} has no ring in the set"),
            Self::Twice { cpu } => write!(f, "CPU {cpu} has two rings"),
        }
    }
}

impl core::error::Error for SetError {}

/// The rings could not all be paused, or resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SwitchError<E> {
    /// The CPU at whose ring it failed.
    pub cpu: u32,
    /// Why.
    pub error: E,
    /// A CPU whose ring could not be set back either.
    pub stuck: Option<u32>,
}

impl<E: fmt::Display> fmt::Display for SwitchError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ring of CPU {}: {}", self.cpu, self.error)?;
        match self.stuck {
            Some(cpu) => write!(f, "; that of CPU {cpu} could not be set back"),
            None => Ok(()),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for SwitchError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.error)
    }
}
