//! The ring buffer map: the ring of [`ebpf_ringbuf`] over memory that this machine owns.
//!
//! The memory is made of the same shared words as map values, behind the ring's own seam, so it needs no `unsafe`. An
//! offset is masked at every access, which makes the data area meet itself at the end without being mapped twice: the
//! ring holds byte for byte what Linux's would, and takes the same longest record. The price is that a payload is no
//! slice: the consumer is handed a copy.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::ops::ControlFlow;
use core::ptr;
use core::sync::atomic::{self, AtomicBool, AtomicU64, AtomicUsize, Ordering};

use ebpf_ringbuf::memory::{Claim, Extent, Length, Memory, Private, Publication};
use ebpf_ringbuf::{
    Consumer, Drained, Geometry, HEADER_SIZE, Header, Mapping, Order, PageOffset, Producer, Query,
    Reservation, SubmitFlags, Tally, UserConsumer, Wakeup, Watermark, marks_for,
};
use spin::Mutex;

use crate::circle::{Circle, set};
use crate::maps::VmMap;
use crate::maps::area::{Word, mask, narrow, replace, shift, widen};
use crate::memory::{high, index, low};

/// A ring buffer map's ring: programs produce, the embedder drains.
pub struct RingMap {
    producer: Producer<RingMemory, RingMarks>,
    reader: Mutex<Reader>,
    /// Commits that asked for a wakeup. Relaxed, as the next two: it says nothing about other memory.
    wakeups: AtomicU64,
    /// Records, as [`Books`] tell of them.
    submitted: AtomicUsize,
    discarded: AtomicUsize,
}

struct Reader {
    consumer: Consumer<RingMemory>,
    /// The payload that is being shown.
    payload: Vec<u8>,
}

impl RingMap {
    /// Shows up to `limit` records, oldest first, to `each` and gives their space back.
    ///
    /// `each` is called under the lock of the consuming side: it may use other maps, but neither drain this ring again nor ask for its memory. It sees a
    /// copy, in a buffer that stays as long as the longest record so far and is not charged to the ring. While a consumer has the memory that
    /// [`Platform::ring`](ebpf_loader::Platform::ring) gave, it alone reads: this gives nothing, whatever the limit.
    pub fn drain(&self, limit: usize, mut each: impl FnMut(&[u8])) -> Drained {
        let mut reader = self.reader.lock();
        let Reader { consumer, payload } = &mut *reader;
        let limit = if self.producer.memory().shared.lent.load(Ordering::Acquire) { 0 } else { limit };
        // Somebody else may have read since then.
        if let Ok(fresh) = Consumer::new(RingMemory::own(&self.producer.memory().shared)) {
            *consumer = fresh;
        }
        consumer.drain(limit, |record| {
            let length = record.payload_len();
            if payload.len() < length {
                // A record is at most as long as the ring, whose memory was there; should this much be missing now, the record
                // is left out of the copy rather than the process aborted.
                if payload.try_reserve(length.saturating_sub(payload.len())).is_err() {
                    return ControlFlow::Continue(());
                }
                payload.resize(length, 0);
            }
            if let Some(payload) = payload.get_mut(..length) {
                record.copy_to(payload);
                each(payload);
            }
            ControlFlow::Continue(())
        })
    }

    /// The memory for a consumer elsewhere; `None` while there is one. `map` is the map that `self` is the ring of.
    pub(crate) fn lend(&self, map: &VmMap) -> Option<RingMemory> {
        // Not in the middle of a drain.
        let _reader = self.reader.lock();
        RingMemory::lend(&self.producer.memory().shared, map)
    }

    /// Unread bytes, headers and padding included.
    #[must_use]
    pub fn available(&self) -> usize {
        self.producer.query(Query::AvailableData)
    }

    /// What became of every reservation so far. What a program left uncommitted is discarded. Reservations and their commits are counted when the run
    /// that made them is over, wakes the consumer, or comes to another ring; refusals at once. What a host's panic in the middle of a run
    /// discards is not counted.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = self.producer.tally();
        tally.submitted = self.submitted.load(Ordering::Relaxed);
        tally.discarded = self.discarded.load(Ordering::Relaxed);
        tally.reserved = tally.submitted.wrapping_add(tally.discarded);
        tally
    }

    /// Commits so far that asked to wake the consumer.
    #[must_use]
    pub fn wakeups(&self) -> u64 {
        self.wakeups.load(Ordering::Relaxed)
    }

    /// Bytes that a ring of `size` bytes of data takes.
    pub(crate) fn bytes(size: u32) -> u64 {
        let marks = marks_for(index(size)).saturating_mul(size_of::<usize>()) as u64;
        u64::from(size).saturating_add(marks).saturating_add(size_of::<Shared>() as u64)
    }

    /// An empty ring; `None` when the allocator has no room, or for a size that no ring has.
    pub(crate) fn new(size: u32, page_size: u32) -> Option<Self> {
        let mut marks = Vec::new();
        marks.try_reserve_exact(marks_for(index(size))).ok()?;
        marks.resize_with(marks_for(index(size)), AtomicUsize::default);
        let marks = RingMarks {
            reserve: AtomicUsize::new(0),
            marks: marks.into_boxed_slice(),
            spare: AtomicUsize::new(0),
        };
        let memory = RingMemory::own(&Arc::new(Shared::new(size, page_size)?));
        let consumer = Consumer::new(RingMemory::own(&memory.shared)).ok()?;
        let reader = Reader { consumer, payload: Vec::new() };
        Some(Self {
            producer: Producer::new(memory, marks).ok()?,
            reader: Mutex::new(reader),
            wakeups: AtomicU64::new(0),
            submitted: AtomicUsize::new(0),
            discarded: AtomicUsize::new(0),
        })
    }

    /// `bpf_ringbuf_query`: 0 for what it does not know.
    pub(crate) fn query(&self, number: u64) -> u64 {
        Query::from_number(number).map_or(0, |query| self.producer.query(query) as u64)
    }
}

impl fmt::Debug for RingMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingMap").field("available", &self.available()).field("tally", &self.tally()).finish()
    }
}

/// What the commits of one run came to, all in one ring, until the ring is told: one addition for many records instead of two for each.
#[derive(Debug, Default)]
pub(crate) struct Books<'r> {
    ring: Cell<Option<&'r RingMap>>,
    submitted: Cell<usize>,
    discarded: Cell<usize>,
}

impl<'r> Books<'r> {
    #[inline(always)]
    fn count(&self, ring: &'r RingMap, submits: bool) {
        if !self.ring.get().is_some_and(|known| ptr::eq(known, ring)) {
            self.settle();
            self.ring.set(Some(ring));
        }
        let count = if submits { &self.submitted } else { &self.discarded };
        count.set(count.get().wrapping_add(1));
    }

    #[inline(always)]
    fn is_settled(&self) -> bool {
        self.ring.get().is_none()
    }

    /// Tells the ring.
    #[inline(never)]
    fn settle(&self) {
        let Some(ring) = self.ring.take() else { return };
        for (told, count) in [(&ring.submitted, &self.submitted), (&ring.discarded, &self.discarded)] {
            let count = count.take();
            if count != 0 {
                told.fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Books<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_settled() {
            self.settle();
        }
    }
}

/// A record between `bpf_ringbuf_reserve` and its commit. Only its run knows it.
#[derive(Debug)]
pub(crate) struct RingReservation<'r> {
    map: &'r VmMap,
    ring: &'r RingMap,
    /// The ring's data, close at hand.
    data: &'r Circle,
    inner: Reservation<'r, RingMemory>,
}

impl<'r> RingReservation<'r> {
    /// Space in `ring`, which is that of `map`; `None` when it has none.
    #[inline(always)]
    pub(crate) fn new(map: &'r VmMap, ring: &'r RingMap, length: u64) -> Option<Self> {
        // A length beyond the machine's word is refused like any other that never fits.
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let inner = ring.producer.reserve_at(length, Watermark::None).ok()?;
        Some(Self { map, ring, data: &ring.producer.memory().shared.data, inner })
    }

    /// A whole record at once, as [`new`](Self::new), `write` and [`commit`](Self::commit) would make it.
    #[inline(always)]
    pub(crate) fn output(
        map: &'r VmMap,
        ring: &'r RingMap,
        payload: &[u8],
        flags: u64,
        books: &Books<'r>,
    ) -> Option<Option<&'r VmMap>> {
        let wakeup = ring.producer.output(payload, SubmitFlags::from_bits_truncate(flags)).ok()?;
        books.count(ring, true);
        Some(woken(map, ring, wakeup, books))
    }

    /// Its payload as a program stores to it.
    #[inline(always)]
    pub(crate) fn window(&self, region: u32) -> Window<'r> {
        let words = self.data.rest(self.inner.position().wrapping_add(HEADER_SIZE));
        Window { region, length: u32::try_from(self.len()).unwrap_or(0), words }
    }

    /// Payload bytes.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.inner.payload_len()
    }

    /// Submits or discards it. Gives the map if its consumer is to be woken.
    #[inline(always)]
    pub(crate) fn commit(self, flags: u64, submits: bool, books: &Books<'r>) -> Option<&'r VmMap> {
        let Self { map, ring, inner, .. } = self;
        let flags = SubmitFlags::from_bits_truncate(flags);
        let wakeup = if submits { inner.submit(flags) } else { inner.discard(flags) };
        books.count(ring, submits);
        woken(map, ring, wakeup, books)
    }

    #[inline(always)]
    pub(crate) fn load<const N: usize>(&self, offset: u32) -> Option<u64> {
        let place = self.place(index(offset), N)?;
        match shift::<N>(place) {
            Some(shift) => Some(self.word(place).0.load(Ordering::Relaxed) >> shift & mask::<N>()),
            None => {
                let mut bytes = [0; N];
                self.read(offset, &mut bytes)?;
                Some(widen(bytes))
            }
        }
    }

    #[inline(always)]
    pub(crate) fn store<const N: usize>(&self, offset: u32, value: u64) -> Option<()> {
        let place = self.place(index(offset), N)?;
        match shift::<N>(place) {
            Some(shift) => set(self.word(place), |word| replace::<N>(word, shift, value)),
            None => self.write(offset, &narrow::<N>(value))?,
        }
        Some(())
    }

    pub(crate) fn read(&self, offset: u32, out: &mut [u8]) -> Option<()> {
        self.data.copy_out(self.place(index(offset), out.len())?, out);
        Some(())
    }

    pub(crate) fn write(&self, offset: u32, bytes: &[u8]) -> Option<()> {
        self.data.copy_in(self.place(index(offset), bytes.len())?, bytes);
        Some(())
    }

    #[inline(always)]
    fn place(&self, offset: usize, size: usize) -> Option<usize> {
        if offset.checked_add(size)? > self.len() {
            return None;
        }
        Some(self.inner.position().wrapping_add(HEADER_SIZE).wrapping_add(offset))
    }

    #[inline(always)]
    fn word(&self, place: usize) -> &Word {
        self.data.word(place)
    }
}

/// The payload of the reservation that was made last, for as long as it lives, up to the end of the ring's data: what programs store to, as a rule.
pub(crate) struct Window<'r> {
    /// The reservation's, or 0, where nothing is.
    pub(crate) region: u32,
    length: u32,
    /// From the word on where the payload begins.
    words: &'r [Word],
}

impl Window<'_> {
    pub(crate) const CLOSED: Self = Self { region: 0, length: 0, words: &[] };

    /// `None`, and nothing stored, for what is not wholly inside, or stands in two words.
    #[inline(always)]
    pub(crate) fn store<const N: usize>(&self, offset: u32, value: u64) -> Option<()> {
        let start = index(offset);
        if start.checked_add(N)? > index(self.length) {
            return None;
        }
        let shift = shift::<N>(start)?;
        set(self.words.get(start >> 3)?, |word| replace::<N>(word, shift, value));
        Some(())
    }
}

/// Whoever is woken finds everything counted.
#[inline(always)]
fn woken<'r>(map: &'r VmMap, ring: &RingMap, wakeup: Wakeup, books: &Books<'_>) -> Option<&'r VmMap> {
    if wakeup.is_needed() {
        ring.wakeups.fetch_add(1, Ordering::Relaxed);
        books.settle();
        Some(map)
    } else {
        None
    }
}

/// A ring's memory as both sides see it.
#[derive(Debug)]
pub struct RingMemory {
    shared: Arc<Shared>,
    /// The map one of whose sides this is, if it was lent out.
    lender: Option<VmMap>,
}

impl RingMemory {
    fn own(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), lender: None }
    }

    fn lend(shared: &Arc<Shared>, map: &VmMap) -> Option<Self> {
        if shared.lent.swap(true, Ordering::Acquire) {
            return None;
        }
        Some(Self { shared: Arc::clone(shared), lender: Some(map.clone()) })
    }
}

impl Drop for RingMemory {
    fn drop(&mut self) {
        if self.lender.is_some() {
            self.shared.lent.store(false, Ordering::Release);
        }
    }
}

/// A user ring map's ring: the embedder produces, programs drain.
pub(crate) struct UserRing {
    consumer: Mutex<UserConsumer<RingMemory>>,
    shared: Arc<Shared>,
}

impl UserRing {
    /// Bytes that a ring of `size` bytes of data takes.
    pub(crate) fn bytes(size: u32) -> u64 {
        u64::from(size).saturating_add(size_of::<Shared>() as u64)
    }

    /// An empty ring; `None` when the allocator has no room, or for a size that no ring has.
    pub(crate) fn new(size: u32, page_size: u32) -> Option<Self> {
        let shared = Arc::new(Shared::new(size, page_size)?);
        Some(Self { consumer: Mutex::new(UserConsumer::new(RingMemory::own(&shared))), shared })
    }

    /// The memory for a producer; `None` while there is one.
    pub(crate) fn lend(&self, map: &VmMap) -> Option<RingMemory> {
        RingMemory::lend(&self.shared, map)
    }

    /// Bytes that were produced and not drained.
    pub(crate) fn available(&self) -> usize {
        let consumer = self.shared.consumer.0.load(Ordering::Acquire);
        self.shared.producer.0.load(Ordering::Acquire).wrapping_sub(consumer)
    }

    /// `bpf_user_ringbuf_drain`: each sample's bytes to `each`, which may break. Gives the answer, and whether a producer is to be woken.
    pub(crate) fn drain(
        &self,
        flags: u64,
        mut each: impl FnMut(Vec<u8>) -> ControlFlow<()>,
    ) -> Result<(usize, bool), i32> {
        const EBUSY: i32 = -16;
        let Some(mut consumer) = self.consumer.try_lock() else { return Err(EBUSY) };
        let flags = SubmitFlags::from_bits_truncate(flags);
        let drained = consumer.drain(flags, |sample| {
            let mut bytes = Vec::new();
            // Should its memory be missing, a sample that a ring had memory for is empty rather than the process aborted.
            if bytes.try_reserve_exact(sample.payload_len()).is_ok() {
                bytes.resize(sample.payload_len(), 0);
                sample.copy_to(&mut bytes);
            }
            each(bytes)
        });
        match drained {
            Ok(drained) => Ok((drained.samples, drained.wakeup.is_needed())),
            Err(stopped) => Err(stopped.error.errno().saturating_neg()),
        }
    }
}

impl fmt::Debug for UserRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRing").field("available", &self.available()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Shared {
    geometry: Geometry,
    consumer: Line,
    producer: Line,
    pending: AtomicUsize,
    /// Stays 0: these rings refuse instead of overwriting.
    overwrite: AtomicUsize,
    private: Private<AtomicUsize>,
    data: Circle,
    /// The side that is not the programs' was given away, and is not back. Set and taken back with acquire and release, which hands the
    /// side over from one holder to the next.
    lent: AtomicBool,
}

/// A position on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicUsize);

impl Shared {
    /// Of an empty ring; `None` when the allocator has no room, or for a size that no ring has.
    fn new(size: u32, page_size: u32) -> Option<Self> {
        let geometry =
            Geometry::new(index(size), index(page_size), Mapping::Mirrored, PageOffset::FromRing).ok()?;
        Some(Self {
            geometry,
            consumer: Line::default(),
            producer: Line::default(),
            pending: AtomicUsize::new(0),
            overwrite: AtomicUsize::new(0),
            private: Private::default(),
            data: Circle::zeroed(index(size))?,
            lent: AtomicBool::new(false),
        })
    }

    #[inline(always)]
    fn word(&self, position: usize) -> &Word {
        self.data.word(position)
    }
}

impl Memory for RingMemory {
    type Position = AtomicUsize;
    type Length = Word;
    type Area<'m> = &'m Self;

    #[inline(always)]
    fn geometry(&self) -> Geometry {
        self.shared.geometry.mirrored()
    }

    #[inline(always)]
    fn consumer_position(&self) -> &AtomicUsize {
        &self.shared.consumer.0
    }

    #[inline(always)]
    fn producer_position(&self) -> &AtomicUsize {
        &self.shared.producer.0
    }

    #[inline(always)]
    fn pending_position(&self) -> &AtomicUsize {
        &self.shared.pending
    }

    #[inline(always)]
    fn overwrite_position(&self) -> &AtomicUsize {
        &self.shared.overwrite
    }

    #[inline(always)]
    fn private(&self) -> &Private<AtomicUsize> {
        &self.shared.private
    }

    #[inline(always)]
    fn area(&self) -> &Self {
        self
    }

    #[inline(always)]
    fn length(&self, position: usize) -> &Word {
        self.shared.word(position)
    }

    fn initialise(&self, claim: &mut Claim, header: Header) {
        let word = halves(header.length_word(), header.page_offset());
        self.shared.word(claim.position()).0.store(word, Ordering::Relaxed);
    }

    fn write(&self, claim: &mut Claim, offset: usize, bytes: &[u8]) {
        if offset.checked_add(bytes.len()).is_some_and(|end| end <= claim.length()) {
            self.shared.data.copy_in(claim.position().wrapping_add(HEADER_SIZE).wrapping_add(offset), bytes);
        }
    }

    fn read(&self, extent: &Extent, offset: usize, bytes: &mut [u8]) {
        if offset.checked_add(bytes.len()).is_some_and(|end| end <= extent.length()) {
            self.shared
                .data
                .copy_out(extent.position().wrapping_add(HEADER_SIZE).wrapping_add(offset), bytes);
        }
    }

    #[inline(always)]
    fn fence(&self, order: Order) {
        atomic::fence(order.ordering());
    }

    #[inline(always)]
    fn fence_after_swap(&self, order: Order) {
        // A locked instruction is a full barrier on x86: only the compiler has to be told.
        if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
            atomic::compiler_fence(order.ordering());
        } else {
            atomic::fence(order.ordering());
        }
    }
}

/// The first four bytes of a header's word. Once the header is written only its owner stores here, so that the second four bytes
/// can be put back as they are.
impl Length for Word {
    #[inline(always)]
    fn load(&self, order: Order) -> u32 {
        first_half(self.0.load(order.ordering()))
    }

    #[inline(always)]
    fn store(&self, value: u32, order: Order) {
        let old = self.0.load(Ordering::Relaxed);
        self.0.store(with_first_half(old, value), order.ordering());
    }

    #[inline(always)]
    fn swap(&self, value: u32, order: Order) -> u32 {
        let old = self.0.load(Ordering::Relaxed);
        first_half(self.0.swap(with_first_half(old, value), order.ordering()))
    }
}

fn first_half(word: u64) -> u32 {
    if cfg!(target_endian = "little") { low(word) } else { high(word) }
}

fn with_first_half(word: u64, value: u32) -> u64 {
    halves(value, if cfg!(target_endian = "little") { high(word) } else { low(word) })
}

/// The word of these four bytes and those four, in memory order.
fn halves(first: u32, second: u32) -> u64 {
    let (high, low) = if cfg!(target_endian = "little") { (second, first) } else { (first, second) };
    u64::from(high) << 32 | u64::from(low)
}

/// What the producers share; see [`Publication`].
#[derive(Debug)]
struct RingMarks {
    reserve: AtomicUsize,
    marks: Box<[AtomicUsize]>,
    /// Stands in for a mark outside; slots are those of masked offsets, so there is none.
    spare: AtomicUsize,
}

impl Publication for RingMarks {
    type Position = AtomicUsize;
    type Marks = AtomicUsize;

    #[inline(always)]
    fn reserve_position(&self) -> &AtomicUsize {
        &self.reserve
    }

    #[inline(always)]
    fn mark(&self, slot: usize) -> (&AtomicUsize, usize) {
        let word = self.marks.get(slot >> usize::BITS.trailing_zeros()).unwrap_or(&self.spare);
        (word, 1usize.wrapping_shl(u32::try_from(slot & usize::BITS.wrapping_sub(1) as usize).unwrap_or(0)))
    }

    fn slots(&self) -> usize {
        self.marks.len().saturating_mul(usize::BITS as usize)
    }
}
