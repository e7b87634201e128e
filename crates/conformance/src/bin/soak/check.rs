//! What a reader knows, kept where it survives the reader.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use ebpf_linux::{Error, LinuxMap, Pages};
use ebpf_loader::{MapKind, MapSpec};

/// How many producers there are.
pub(crate) const PRODUCERS: usize = 2;

/// Bytes of a record: the number, who wrote it, and the number's complement.
pub(crate) const RECORD: usize = 24;

/// A page of memory that belongs to a pinned map, written by one reader after the other and looked at by who conducts them.
pub(crate) struct Progress(Pages);

/// Words of a producer: which of two states counts, and the states.
const WORDS: usize = 8;
/// Words after those of the producers.
const REPLAYED: usize = WORDS * PRODUCERS;
const SLEEPS: usize = REPLAYED + 1;

/// What is known of one producer's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The number of the next record.
    pub(crate) next: u64,
    /// How many of the numbers before it were missing.
    pub(crate) missing: u64,
}

impl Progress {
    /// The map behind it.
    pub(crate) fn create() -> Result<LinuxMap, Error> {
        const MMAPABLE: u32 = 1 << 10;
        let page = u32::try_from(rustix::param::page_size()).expect("a page's size");
        let spec = MapSpec { flags: MMAPABLE, ..MapSpec::new("progress", MapKind::ARRAY, 4, page, 1) };
        LinuxMap::create(&spec)
    }

    pub(crate) fn open(map: &LinuxMap) -> Result<Self, Error> {
        Ok(Self(Pages::new(map.as_fd(), 0, rustix::param::page_size(), true)?))
    }

    pub(crate) fn of(&self, producer: usize) -> State {
        let active = self.active(producer);
        let word = |index| self.word(producer * WORDS + active + index).load(Ordering::Acquire);
        State { next: word(1), missing: word(2) }
    }

    pub(crate) fn all(&self) -> [State; PRODUCERS] {
        std::array::from_fn(|producer| self.of(producer))
    }

    /// Records that were read, by all readers so far.
    pub(crate) fn read(&self) -> u64 {
        self.all().iter().map(|state| state.next - state.missing).sum()
    }

    /// Records that a reader had read before it was killed, without having said so to the ring.
    pub(crate) fn replayed(&self) -> &AtomicU64 {
        self.word(REPLAYED)
    }

    /// How often readers have waited.
    pub(crate) fn sleeps(&self) -> &AtomicU64 {
        self.word(SLEEPS)
    }

    /// A record as expected: one store, so that there is no moment at which a killed reader has half done it.
    fn advance(&self, producer: usize, next: u64) {
        let active = self.active(producer);
        self.word(producer * WORDS + active + 1).store(next, Ordering::Release);
    }

    /// A record after a gap: the other state is written, and then counts.
    fn replace(&self, producer: usize, state: State) {
        let other = 3 - self.active(producer);
        self.word(producer * WORDS + other + 1).store(state.next, Ordering::Relaxed);
        self.word(producer * WORDS + other + 2).store(state.missing, Ordering::Relaxed);
        self.word(producer * WORDS).store(other as u64, Ordering::Release);
    }

    /// 0 or 3.
    fn active(&self, producer: usize) -> usize {
        usize::from(self.word(producer * WORDS).load(Ordering::Acquire) != 0) * 3
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        let word = self.0.at(index * 8).expect("within the page").cast::<u64>();
        // SAFETY: an aligned word of the mapping, which lives as long as `self`, and which everybody accesses atomically.
        unsafe { AtomicU64::from_ptr(word.as_ptr()) }
    }
}

/// One reader's view of the numbers.
pub(crate) struct Checker {
    progress: Progress,
    states: [State; PRODUCERS],
    /// Has this reader seen a record that none before it had?
    is_past_replay: [bool; PRODUCERS],
    /// Losses told since the last record; `None` for rings that do not tell.
    told: Option<[u64; PRODUCERS]>,
}

impl Checker {
    pub(crate) fn new(progress: Progress, tells_of_losses: bool) -> Self {
        Self {
            states: progress.all(),
            progress,
            is_past_replay: [false; PRODUCERS],
            told: tells_of_losses.then_some([0; PRODUCERS]),
        }
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Checks a record, and remembers that it was read.
    ///
    /// What is remembered is always ahead of what the ring is told: after a kill the next reader finds some records again, and never one too few.
    pub(crate) fn record(&mut self, bytes: &[u8; RECORD]) {
        let word =
            |index: usize| u64::from_ne_bytes(bytes[index * 8..][..8].try_into().expect("eight bytes"));
        let (number, producer, complement) =
            (word(0), usize::try_from(word(1)).unwrap_or(PRODUCERS), word(2));
        assert!(complement == !number && producer < PRODUCERS, "a torn record: {bytes:x?}");
        let told = self.told.as_mut().map(|told| std::mem::take(&mut told[producer]));
        let state = &mut self.states[producer];
        if number == state.next && told.is_none_or(|told| told == 0) {
            state.next = number + 1;
            self.is_past_replay[producer] = true;
            self.progress.advance(producer, number + 1);
            return;
        }
        if number < state.next {
            assert!(!self.is_past_replay[producer], "record {number} of producer {producer} came twice");
            self.progress.replayed().fetch_add(1, Ordering::Relaxed);
            return;
        }
        let missing = number - state.next;
        assert!(
            told.is_none_or(|told| told == missing),
            "before record {number} of producer {producer} {missing} are missing, and {told:?} are told as lost"
        );
        *state = State { next: number + 1, missing: state.missing + missing };
        self.is_past_replay[producer] = true;
        self.progress.replace(producer, *state);
    }

    /// The ring says that so many of a producer's records are lost.
    pub(crate) fn lost(&mut self, producer: usize, count: u64) {
        self.told.as_mut().expect("a ring that tells")[producer] += count;
    }
}
