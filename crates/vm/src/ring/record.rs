//! The programs' side of a ring buffer map: records, and how many there were.

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::Ordering;

use ebpf_ringbuf::{HEADER_SIZE, Reservation, SubmitFlags, Wakeup, Watermark};

use super::memory::halves;
use super::{RingMap, RingMemory};
use crate::circle::{Circle, set};
use crate::maps::VmMap;
use crate::maps::area::{Word, mask, narrow, shift, widen};
use crate::memory::{index, low};

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
    inner: Reservation<'r, RingMemory>,
}

impl<'r> RingReservation<'r> {
    /// Space in `ring`, which is that of `map`; `None` when it has none.
    #[inline(always)]
    pub(crate) fn new(map: &'r VmMap, ring: &'r RingMap, length: u64) -> Option<Self> {
        // A length beyond the machine's word is refused like any other that never fits.
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let inner = ring.producer.reserve_at(length, Watermark::None).ok()?;
        Some(Self { map, ring, inner })
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
    pub(crate) fn window(&self, start: u64) -> Window<'r> {
        let words = self.data().rest(self.inner.position().wrapping_add(HEADER_SIZE));
        Window { start, words: words.get(..self.len() >> 3).unwrap_or(words) }
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
            Some(shift) => set::<N>(self.word(place), shift, value),
            None => self.write(offset, &narrow::<N>(value))?,
        }
        Some(())
    }

    pub(crate) fn read(&self, offset: u32, out: &mut [u8]) -> Option<()> {
        self.data().copy_out(self.place(index(offset), out.len())?, out);
        Some(())
    }

    pub(crate) fn write(&self, offset: u32, bytes: &[u8]) -> Option<()> {
        self.data().copy_in(self.place(index(offset), bytes.len())?, bytes);
        Some(())
    }

    #[inline(always)]
    fn place(&self, offset: usize, size: usize) -> Option<usize> {
        if offset.checked_add(size)? > self.len() {
            return None;
        }
        Some(self.inner.position().wrapping_add(HEADER_SIZE).wrapping_add(offset))
    }

    /// The ring's data.
    #[inline(always)]
    fn data(&self) -> &'r Circle {
        &self.ring.producer.memory().shared.data
    }

    #[inline(always)]
    fn word(&self, place: usize) -> &Word {
        self.data().word(place)
    }
}

/// The payload of the reservation that was made last, for as long as it lives, up to the end of the ring's data: what programs store to, as a rule.
pub(crate) struct Window<'r> {
    /// Where it begins for programs.
    start: u64,
    /// Those that are wholly payload.
    words: &'r [Word],
}

impl Window<'_> {
    pub(crate) const CLOSED: Self = Self { start: 0, words: &[] };

    pub(crate) fn starts_at(&self, address: u64) -> bool {
        self.start == address
    }

    /// The word at an address and where in the word that is. Of no other region: their addresses are further away than any word.
    #[inline(always)]
    fn at(&self, address: u64) -> Option<(&Word, usize)> {
        let offset = address.wrapping_sub(self.start);
        Some((self.words.get(usize::try_from(offset >> 3).ok()?)?, index(low(offset)) & 7))
    }

    /// `None`, and nothing stored, for what is not in one of these words.
    #[inline(always)]
    pub(crate) fn store<const N: usize>(&self, address: u64, value: u64) -> Option<()> {
        let (word, place) = self.at(address)?;
        let shift = shift::<N>(place)?;
        set::<N>(word, shift, value);
        Some(())
    }

    /// Two words, or the halves of one in one go; `None`, and nothing stored, for all else.
    #[inline(always)]
    pub(crate) fn store_two<const N: usize>(
        &self,
        [first, second]: [u64; 2],
        [value, other]: [u64; 2],
    ) -> Option<()> {
        let (word, place) = self.at(first)?;
        match N {
            8 => {
                let (another, its) = self.at(second)?;
                if place | its != 0 {
                    return None;
                }
                word.0.store(value, Ordering::Relaxed);
                another.0.store(other, Ordering::Relaxed);
            }
            // A window begins where a word does: these two are in the same one.
            4 if first ^ second == 4 && place & 3 == 0 => {
                let (front, back) = if place == 0 { (value, other) } else { (other, value) };
                word.0.store(halves(low(front), low(back)), Ordering::Relaxed);
            }
            _ => return None,
        }
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
