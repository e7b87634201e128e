//! Real memory behind the seam: the crate's only unsafe code.

#![expect(unsafe_code, reason = "the one file that turns positions into addresses")]

use core::fmt;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::header::{HEADER_SIZE, field};
use crate::memory::{Area, Claim, Contiguous, Extent, Memory, Private, Publication, Racy, SPINS};
use crate::{Geometry, Header, Mapping};

/// A ring in memory that is mapped into this address space: `mmap`ed from a kernel, vmapped in a driver, or a plain array.
///
/// Addresses are checked once, in [`Mapped::new`]; afterwards every access is masked into the data area, so that whatever positions and lengths the
/// memory holds, nothing outside is touched.
pub struct Mapped<'a> {
    consumer: NonNull<u8>,
    producer: NonNull<u8>,
    area: MappedArea<'a>,
    geometry: Geometry,
    private: Private<AtomicUsize>,
}

/// The data area of a [`Mapped`] ring.
#[derive(Clone, Copy)]
pub struct MappedArea<'a> {
    data: NonNull<u8>,
    /// A position and this mask give the offset of a header: below the size, a multiple of eight.
    starts: usize,
    /// The longest payload there can be: all but one header.
    longest: usize,
    mapping: Mapping,
    _memory: PhantomData<&'a [AtomicU32]>,
}

/// Where the words of the producer's page stand behind `producer_pos`.
const PENDING: usize = size_of::<usize>();
const OVERWRITE: usize = 2 * size_of::<usize>();

impl<'a> Mapped<'a> {
    /// A ring whose pages stand at the given addresses.
    ///
    /// `consumer_page` starts with `consumer_pos`; `producer_page` with `producer_pos`, `pending_pos` and `overwrite_pos`, native
    /// words all; `data` is the data area.
    ///
    /// # Safety
    /// * For `'a`, `consumer_page` is valid for reads of one `usize`, `producer_page` of three, and `data` of `geometry.size()` bytes,
    ///   twice that when the geometry is [`Mapping::Mirrored`], where the second half is the first one mapped again.
    /// * All three are aligned to eight bytes.
    /// * If the value is given to a producer, the producer's page and the data are also valid for writes, and no other producer works on that
    ///   memory; if to a consumer, the consumer's page is, and no other consumer does.
    /// * During `'a` nothing but the ring's producers and its consumer touches the memory, save through atomics. Another process that can write it
    ///   may corrupt what is read, never what is accessed.
    #[must_use]
    pub unsafe fn new(
        consumer_page: NonNull<u8>,
        producer_page: NonNull<u8>,
        data: NonNull<u8>,
        geometry: Geometry,
    ) -> Self {
        let area = MappedArea {
            data,
            starts: geometry.mask() & !(HEADER_SIZE - 1),
            longest: geometry.size().wrapping_sub(HEADER_SIZE),
            mapping: geometry.mapping(),
            _memory: PhantomData,
        };
        Self {
            consumer: consumer_page,
            producer: producer_page,
            area,
            geometry,
            private: Private::new(|| AtomicUsize::new(0)),
        }
    }

    /// Both sides of a flat ring inside `pages` and `data`, which they have for themselves during `'a`; `None` when `data` is too short.
    pub(crate) fn flat(
        pages: &'a mut FlatPages,
        data: &'a mut [u64],
        geometry: Geometry,
    ) -> Option<[Self; 2]> {
        if geometry.mapping() != Mapping::Flat || size_of_val(data) < geometry.size() {
            return None;
        }
        let consumer = NonNull::from(&mut pages.consumer).cast();
        let producer = NonNull::from(&mut pages.producer).cast();
        let data = NonNull::from(data).cast();
        // SAFETY: the exclusive borrows are given up for `'a`, are as long as checked above, aligned as their types are, and the two values
        // made here are one for each role.
        let side = || unsafe { Self::new(consumer, producer, data, geometry) };
        Some([side(), side()])
    }

    #[inline(always)]
    fn position_at(&self, page: NonNull<u8>, offset: usize) -> &AtomicUsize {
        // SAFETY: `new` was promised that the page holds this word, and `offset` is that of one of its words.
        let word = unsafe { page.add(offset) };
        // SAFETY: the word is aligned and valid for `'a`, and all access to it is atomic.
        unsafe { AtomicUsize::from_ptr(word.cast().as_ptr()) }
    }
}

impl<'a> MappedArea<'a> {
    /// The address `offset` bytes behind the header at `position`.
    #[inline(always)]
    fn at(&self, position: usize, offset: usize) -> NonNull<u8> {
        // Headers stand on multiples of eight whatever a position says, so that they are aligned and do not cross the end.
        let start = position & self.starts;
        // SAFETY: `start` is inside the data area; callers pass an `offset` that stays inside the header or inside `payload_room`, which ends with the
        // mapping.
        unsafe { self.data.add(start.wrapping_add(offset)) }
    }

    /// Payload bytes that can be addressed behind the header at `position`, at most `length`.
    ///
    /// Claims and extents are always within; this keeps a mistake elsewhere from becoming an access outside.
    #[inline(always)]
    fn payload_room(&self, position: usize, length: usize) -> usize {
        match self.mapping {
            Mapping::Flat => length.min(self.longest.wrapping_sub(position & self.starts)),
            // A header starts in the first view of the data: all but itself fits behind it into the two.
            Mapping::Mirrored => length.min(self.longest),
        }
    }

    #[inline(always)]
    fn length_at(self, position: usize) -> &'a AtomicU32 {
        let word = self.at(position, field::LENGTH).cast::<u32>();
        // SAFETY: `at` gives an address in the data area that is aligned to eight, with four bytes behind it; all access to lengths is atomic.
        unsafe { AtomicU32::from_ptr(word.as_ptr()) }
    }
}

// SAFETY: the pointers are to memory that any thread may access under the rules of `new`; what is exclusive travels in claims.
unsafe impl Send for Mapped<'_> {}
// SAFETY: as above; shared access goes through atomics, or through claims and extents that only one owner has.
unsafe impl Sync for Mapped<'_> {}
// SAFETY: as for the ring it is a part of.
unsafe impl Send for MappedArea<'_> {}
// SAFETY: as for the ring it is a part of.
unsafe impl Sync for MappedArea<'_> {}

impl Area for MappedArea<'_> {
    type Length = AtomicU32;

    #[inline(always)]
    fn length(&self, position: usize) -> &AtomicU32 {
        self.length_at(position)
    }

    #[inline(always)]
    fn align(&self, position: usize) -> usize {
        position & self.starts
    }

    #[inline(always)]
    fn prefetch(&self, position: usize) {
        #[cfg(all(target_arch = "x86_64", target_feature = "sse"))]
        {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let address = self.at(position, 0).as_ptr().cast_const().cast();
            // SAFETY: a hint; the instruction set has it, and the address is inside the data area besides.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
        }
        #[cfg(not(all(target_arch = "x86_64", target_feature = "sse")))]
        let _ = position;
    }
}

impl<'a> Memory for Mapped<'a> {
    type Position = AtomicUsize;
    type Length = AtomicU32;
    type Area<'m>
        = MappedArea<'a>
    where
        Self: 'm;

    #[inline(always)]
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    #[inline(always)]
    fn consumer_position(&self) -> &AtomicUsize {
        self.position_at(self.consumer, 0)
    }

    #[inline(always)]
    fn producer_position(&self) -> &AtomicUsize {
        self.position_at(self.producer, 0)
    }

    #[inline(always)]
    fn pending_position(&self) -> &AtomicUsize {
        self.position_at(self.producer, PENDING)
    }

    #[inline(always)]
    fn overwrite_position(&self) -> &AtomicUsize {
        self.position_at(self.producer, OVERWRITE)
    }

    #[inline(always)]
    fn private(&self) -> &Private<AtomicUsize> {
        &self.private
    }

    #[inline(always)]
    fn area(&self) -> MappedArea<'a> {
        // Field by field: that the address is not null is said where it is loaded, and lost where the whole is copied.
        let MappedArea { data, starts, longest, mapping, _memory } = self.area;
        MappedArea { data, starts, longest, mapping, _memory }
    }

    #[inline(always)]
    fn length(&self, position: usize) -> &AtomicU32 {
        self.area.length_at(position)
    }

    #[inline(always)]
    fn initialise(&self, claim: &mut Claim, header: Header) {
        let word = self.area.at(claim.position(), field::PAGE_OFFSET).cast::<u32>();
        // SAFETY: in the data area, aligned to four; the claim makes the header ours, and consumers do not read this word.
        unsafe { word.write(header.page_offset()) };
        self.length(claim.position()).store(header.length_word(), Ordering::Relaxed);
    }

    #[inline(always)]
    fn write(&self, claim: &mut Claim, offset: usize, bytes: &[u8]) {
        if let Some(target) =
            self.claimed_mut(claim).get_mut(offset..).and_then(|rest| rest.get_mut(..bytes.len()))
        {
            copy(target, bytes);
        }
    }

    #[inline(always)]
    fn read(&self, extent: &Extent, offset: usize, bytes: &mut [u8]) {
        let published = Self::published(self.area, extent);
        if let Some(source) = published.get(offset..).and_then(|rest| rest.get(..bytes.len())) {
            bytes.copy_from_slice(source);
        }
    }
}

/// Up to so many bytes are copied word by word.
const SHORT: usize = 128;

/// Copies a payload into a record, both equally long.
///
/// A short one word by word: most are structs that were put together field by field just before, and a wide load over fields that are still on their way to the cache
/// waits until all of them are there, which takes longer than the whole copy.
#[inline(always)]
fn copy(target: &mut [u8], bytes: &[u8]) {
    if bytes.len() > SHORT || !target.as_ptr().cast::<u64>().is_aligned() {
        return target.copy_from_slice(bytes);
    }
    let (words, rest) = target.as_chunks_mut::<{ size_of::<u64>() }>();
    let (sources, tail) = bytes.as_chunks();
    for (word, source) in words.iter_mut().zip(sources) {
        // SAFETY: borrowed exclusively, and aligned because the first one is. Volatile, because the compiler would make wide copies of these again.
        unsafe { ptr::from_mut(word).cast::<u64>().write_volatile(u64::from_ne_bytes(*source)) };
    }
    for (byte, source) in rest.iter_mut().zip(tail) {
        *byte = *source;
    }
}

impl<'a> Contiguous for Mapped<'a> {
    #[inline(always)]
    fn claimed<'c>(&'c self, claim: &'c Claim) -> &'c [u8] {
        let length = self.area.payload_room(claim.position(), claim.length());
        let payload = NonNull::slice_from_raw_parts(self.area.at(claim.position(), HEADER_SIZE), length);
        // SAFETY: inside the mapping by `payload_room`, initialised because it is mapped memory, and nobody else's while the claim is borrowed.
        unsafe { payload.as_ref() }
    }

    #[inline(always)]
    fn claimed_mut<'c>(&'c self, claim: &'c mut Claim) -> &'c mut [u8] {
        let length = self.area.payload_room(claim.position(), claim.length());
        let mut payload = NonNull::slice_from_raw_parts(self.area.at(claim.position(), HEADER_SIZE), length);
        // SAFETY: as in `claimed`; the claim is borrowed exclusively.
        unsafe { payload.as_mut() }
    }

    #[inline(always)]
    fn published<'m, 'e>(area: MappedArea<'a>, extent: &'e Extent) -> &'e [u8]
    where
        Self: 'm,
        'm: 'e,
    {
        let length = area.payload_room(extent.position(), extent.length());
        let payload = NonNull::slice_from_raw_parts(area.at(extent.position(), HEADER_SIZE), length);
        // SAFETY: inside the mapping by `payload_room`, initialised because it is mapped memory; producers leave it alone until `consumer_pos`
        // passes it, which it does not while the extent is borrowed.
        unsafe { payload.as_ref() }
    }
}

impl Racy for Mapped<'_> {
    fn copy(&self, position: usize, bytes: &mut [u8]) {
        let length = self.area.payload_room(position, bytes.len());
        for (index, byte) in bytes.iter_mut().enumerate().take(length) {
            let source = self.area.at(position, HEADER_SIZE.wrapping_add(index));
            // SAFETY: inside the mapping by `payload_room`. A producer may be writing there, which is why this is a volatile read of a byte and
            // the caller throws away what `overwrite_pos` says is torn; a sequence lock rests on the same.
            *byte = unsafe { source.read_volatile() };
        }
    }
}

impl fmt::Debug for Mapped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped")
            .field("data", &self.area.data)
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}

/// The position words of a flat ring, each side on a cache line of its own (two, because neighbours are prefetched in pairs).
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct FlatPages {
    consumer: Line<1>,
    producer: Line<3>,
}

#[derive(Debug)]
#[repr(C, align(128))]
struct Line<const WORDS: usize>([AtomicUsize; WORDS]);

impl<const WORDS: usize> Default for Line<WORDS> {
    fn default() -> Self {
        Self([const { AtomicUsize::new(0) }; WORDS])
    }
}

/// The words that many producers share: see [`Publication`].
#[derive(Debug)]
pub struct SharedMarks<'a> {
    reserve: &'a AtomicUsize,
    marks: &'a [AtomicUsize],
    spins: u32,
}

impl<'a> SharedMarks<'a> {
    /// Uses `reserve` and `marks`, one bit for each eight bytes of the ring: [`marks_for`] says how many words. All marks must be zero.
    ///
    /// Keep them where no consumer can write; each ring needs its own.
    ///
    /// # Errors
    /// When `marks` is empty or not a power of two long.
    pub const fn new(reserve: &'a AtomicUsize, marks: &'a [AtomicUsize]) -> Result<Self, MarksLength> {
        if marks.len().is_power_of_two() {
            Ok(Self { reserve, marks, spins: SPINS })
        } else {
            Err(MarksLength(marks.len()))
        }
    }
}

impl SharedMarks<'_> {
    /// How long a producer makes way for another one, in spin-loop hints; see [`Publication::spins`]. 0 for producers that interrupt each other
    /// on one CPU.
    #[must_use]
    pub const fn with_spins(mut self, spins: u32) -> Self {
        self.spins = spins;
        self
    }
}

impl Publication for SharedMarks<'_> {
    type Position = AtomicUsize;
    type Marks = AtomicUsize;

    #[inline(always)]
    fn reserve_position(&self) -> &AtomicUsize {
        self.reserve
    }

    #[inline(always)]
    fn mark(&self, slot: usize) -> (&AtomicUsize, usize) {
        let index = (slot / MARKS_PER_WORD) & self.marks.len().wrapping_sub(1);
        // SAFETY: the length is a power of two by `new`, so it is at least 1 and the masked index is below it.
        let word = unsafe { self.marks.get_unchecked(index) };
        (word, 1 << (slot % MARKS_PER_WORD))
    }

    fn slots(&self) -> usize {
        self.marks.len().saturating_mul(MARKS_PER_WORD)
    }

    #[inline]
    fn spins(&self) -> u32 {
        self.spins
    }
}

const MARKS_PER_WORD: usize = usize::BITS as usize;

/// Mark words that a ring of `size` bytes needs: one for each 512 bytes (256 on 32-bit machines), at least one.
#[must_use]
pub const fn marks_for(size: usize) -> usize {
    (size / HEADER_SIZE).div_ceil(MARKS_PER_WORD)
}

/// Marks come in a number of words that is a power of two, as rings do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarksLength(usize);

impl fmt::Display for MarksLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mark words: it must be a power of two", self.0)
    }
}

impl core::error::Error for MarksLength {}
