//! Real memory behind the seam: the crate's only unsafe code.

#![expect(unsafe_code, reason = "the one file that turns positions into addresses")]

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{self, AtomicU8, AtomicUsize, Ordering};

use crate::geometry::{Direction, Geometry, GeometryError};
use crate::memory::{Claim, Contiguous, Extent, Memory, Position, Racy};
use crate::order::Order;
use crate::page::{PAGE_FIELDS, Page, field};
use crate::record::{HEADER_SIZE, field as record};

/// A ring in memory that is mapped into this address space: `mmap`ed from a perf event, shared between processes, or a plain array.
///
/// Addresses are checked once, when it is made; afterwards every access is masked into the data area, so that whatever positions and sizes the
/// memory holds, nothing outside is touched.
pub struct Mapped<'a> {
    page: NonNull<u8>,
    data: NonNull<u8>,
    geometry: Geometry,
    _memory: PhantomData<&'a [AtomicUsize]>,
}

/// Positions are 64 bits wide in memory; the low word is all anybody calculates with.
const LOW_WORD: usize =
    if cfg!(target_endian = "big") { size_of::<u64>().saturating_sub(size_of::<usize>()) } else { 0 };

impl<'a> Mapped<'a> {
    /// A ring whose control page and data stand at the given addresses.
    ///
    /// # Safety
    /// * For `'a`, `page` is valid for reads of [`PAGE_FIELDS`] bytes, and `data` of `geometry.size()` bytes; both are aligned to eight.
    /// * If the value is given to a reader of a forward ring, the page is also valid for writes, and no other reader works on that memory; if to a writer,
    ///   page and data are, and no other writer does.
    /// * During `'a` nothing but the ring's writer and its readers touches the memory, save through atomics. Another process, or the kernel, that can
    ///   write it may corrupt what is read, never what is accessed.
    #[must_use]
    pub unsafe fn new(page: NonNull<u8>, data: NonNull<u8>, geometry: Geometry) -> Self {
        Self { page, data, geometry, _memory: PhantomData }
    }

    /// A ring as Linux maps it: the control page, which says where in the `mapped` bytes from `page` on the data is.
    ///
    /// # Errors
    /// When the page does not describe a ring inside of the mapping.
    ///
    /// # Safety
    /// As for [`new`](Self::new), with `mapped` bytes from `page` on; at least [`PAGE_FIELDS`].
    pub unsafe fn open(
        page: NonNull<u8>,
        mapped: usize,
        direction: Direction,
    ) -> Result<Self, GeometryError> {
        let mut bytes = [0; PAGE_FIELDS];
        // SAFETY: the caller's word; what the kernel changes meanwhile are fields that are not looked at here.
        unsafe { page.cast::<[u8; PAGE_FIELDS]>().copy_to_nonoverlapping(NonNull::from(&mut bytes), 1) };
        let (offset, geometry) = Page::from_bytes(&bytes).data(mapped, direction)?;
        // SAFETY: within the mapping, as just checked.
        let data = unsafe { page.add(offset) };
        // SAFETY: the caller's word; aligned because both the page and the offset are.
        Ok(unsafe { Self::new(page, data, geometry) })
    }

    /// Both sides of a ring inside `page` and `data`, which they have for themselves during `'a`; `None` when `data` is too short.
    pub(crate) fn plain(
        page: &'a mut PlainPage,
        data: &'a mut [u64],
        geometry: Geometry,
    ) -> Option<[Self; 2]> {
        if size_of_val(data) < geometry.size() {
            return None;
        }
        let page = NonNull::from(page).cast();
        let data = NonNull::from(data).cast();
        // SAFETY: the exclusive borrows are given up for `'a`, are as long as checked above and by their type, aligned as their types are, and the
        // two values made here are one for each role.
        let side = || unsafe { Self::new(page, data, geometry) };
        Some([side(), side()])
    }

    #[inline(always)]
    fn word(&self, offset: usize) -> &AtomicUsize {
        // SAFETY: the page is long enough for this field by `new`.
        let word = unsafe { self.page.add(offset.wrapping_add(LOW_WORD)) };
        // SAFETY: aligned, valid for `'a`, and all access to it is atomic.
        unsafe { AtomicUsize::from_ptr(word.cast().as_ptr()) }
    }

    /// Where the record at `position` begins: on a multiple of eight whatever the position, so that eight bytes follow before the end.
    #[inline(always)]
    fn start(&self, position: usize) -> NonNull<u8> {
        let offset = position & self.geometry.mask() & !(HEADER_SIZE - 1);
        // SAFETY: below the size.
        unsafe { self.data.add(offset) }
    }

    /// `length` bytes from `position` on, at most the whole ring: those up to the end, and those from the start on.
    #[inline(always)]
    fn parts(&self, position: usize, length: usize) -> [(NonNull<u8>, usize); 2] {
        let offset = self.geometry.offset(position);
        let length = length.min(self.geometry.size());
        let first = length.min(self.geometry.size().wrapping_sub(offset));
        // SAFETY: an offset is below the size.
        let start = unsafe { self.data.add(offset) };
        [(start, first), (self.data, length.wrapping_sub(first))]
    }
}

// SAFETY: the pointers are to memory that any thread may access under the rules of `new`; what is exclusive travels in claims.
unsafe impl Send for Mapped<'_> {}
// SAFETY: as above; shared access goes through atomics, or through claims and extents that only one owner has.
unsafe impl Sync for Mapped<'_> {}

impl Memory for Mapped<'_> {
    type Position = AtomicUsize;

    #[inline(always)]
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    #[inline(always)]
    fn head(&self) -> &AtomicUsize {
        self.word(field::DATA_HEAD)
    }

    #[inline(always)]
    fn tail(&self) -> &AtomicUsize {
        self.word(field::DATA_TAIL)
    }

    #[inline(always)]
    fn write(&self, claim: &mut Claim, offset: usize, bytes: &[u8]) {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > claim.length()) {
            return;
        }
        let position = claim.position().wrapping_add(offset);
        let start = self.geometry.offset(position);
        if self.geometry.direction() == Direction::Forward
            && bytes.len() <= self.geometry.size().wrapping_sub(start)
        {
            // SAFETY: an offset is below the size.
            let target = unsafe { self.data.add(start) };
            // SAFETY: inside the data area by what was just compared; otherwise as below.
            unsafe { target.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
            return;
        }
        let mut rest = bytes;
        for (start, length) in self.parts(position, bytes.len()) {
            let Some((now, later)) = rest.split_at_checked(length) else { return };
            if self.geometry.direction() == Direction::Backward {
                for (index, byte) in now.iter().enumerate() {
                    // SAFETY: `parts` stays inside the data area.
                    let target = unsafe { start.add(index) };
                    // SAFETY: valid for `'a`; a reader that looks at the same time does it atomically too.
                    unsafe { AtomicU8::from_ptr(target.as_ptr()) }.store(*byte, Ordering::Relaxed);
                }
            } else {
                // SAFETY: `parts` stays inside the data area; the claim makes these bytes ours, and they are not those of `bytes`, which is borrowed.
                unsafe { start.copy_from_nonoverlapping(NonNull::from(now).cast(), length) };
            }
            rest = later;
        }
    }

    #[inline(always)]
    fn read(&self, extent: &Extent, offset: usize, bytes: &mut [u8]) {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > extent.length()) {
            return;
        }
        let length = bytes.len();
        let mut rest = bytes;
        for (start, length) in self.parts(extent.position().wrapping_add(offset), length) {
            let Some((now, later)) = rest.split_at_mut_checked(length) else { return };
            // SAFETY: `parts` stays inside the data area; the extent keeps the writer away; `now` is borrowed exclusively, so it is elsewhere.
            unsafe { start.copy_to_nonoverlapping(NonNull::from(now).cast(), length) };
            rest = later;
        }
    }

    #[inline(always)]
    fn header(&self, extent: &Extent) -> u64 {
        let word = self.start(extent.position()).cast::<u64>();
        // SAFETY: inside the data area, aligned to eight; the extent keeps the writer away.
        unsafe { word.read() }
    }

    #[inline(always)]
    fn raw_size(&self, extent: &Extent) -> u32 {
        let word = self.start(extent.position().wrapping_add(record::RAW_SIZE)).cast::<u32>();
        // SAFETY: as in `header`.
        unsafe { word.read() }
    }

    #[inline(always)]
    fn prefetch(&self, position: usize) {
        #[cfg(all(target_arch = "x86_64", target_feature = "sse"))]
        {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let address = self.start(position).as_ptr().cast_const().cast();
            // SAFETY: a hint; the instruction set has it, and the address is inside the data area besides.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
        }
        #[cfg(not(all(target_arch = "x86_64", target_feature = "sse")))]
        let _ = position;
    }

    #[inline(always)]
    fn fence(&self, order: Order) {
        atomic::fence(order.ordering());
    }
}

impl Contiguous for Mapped<'_> {
    #[inline(always)]
    fn slices<'a>(&'a self, extent: &'a Extent) -> (&'a [u8], &'a [u8]) {
        let offset = self.geometry.offset(extent.position());
        if extent.is_whole() || extent.length() <= self.geometry.size().wrapping_sub(offset) {
            // SAFETY: an offset is below the size.
            let start = unsafe { self.data.add(offset) };
            // SAFETY: inside the data area by what was just compared, or by what the reader compared for many records at once; otherwise as below.
            return (unsafe { slice::from_raw_parts(start.as_ptr(), extent.length()) }, &[]);
        }
        let [(first, first_len), (second, second_len)] = self.parts(extent.position(), extent.length());
        // SAFETY: `parts` stays inside the data area, which is initialised because it is mapped memory; the writer leaves it alone until `data_tail`
        // passes it, which it does not while the extent is borrowed.
        let first = unsafe { slice::from_raw_parts(first.as_ptr(), first_len) };
        // SAFETY: as above.
        let second = unsafe { slice::from_raw_parts(second.as_ptr(), second_len) };
        (first, second)
    }
}

impl Racy for Mapped<'_> {
    fn copy(&self, position: usize, bytes: &mut [u8]) {
        let [first, second] = self.parts(position, bytes.len());
        let sources = [first, second].into_iter().flat_map(|(start, length)| {
            // SAFETY: `parts` stays inside the data area.
            (0..length).map(move |index| unsafe { start.add(index) })
        });
        for (byte, source) in bytes.iter_mut().zip(sources) {
            // SAFETY: valid for `'a`; a writer of ours writes an overwriting ring atomically too, and what is torn the caller throws away.
            *byte = unsafe { AtomicU8::from_ptr(source.as_ptr()) }.load(Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Mapped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped")
            .field("page", &self.page)
            .field("data", &self.data)
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}

/// A control page in plain memory.
#[repr(C, align(64))]
pub(crate) struct PlainPage([u8; PAGE_FIELDS]);

impl PlainPage {
    pub(crate) const fn new(fields: [u8; PAGE_FIELDS]) -> Self {
        Self(fields)
    }
}

impl Position for AtomicUsize {
    #[inline(always)]
    fn load(&self, order: Order) -> usize {
        self.load(order.ordering())
    }

    #[inline(always)]
    fn store(&self, value: usize, order: Order) {
        self.store(value, order.ordering());
    }

    #[inline(always)]
    fn swap(&self, value: usize, order: Order) -> usize {
        self.swap(value, order.ordering())
    }

    #[inline(always)]
    fn fetch_add(&self, value: usize, order: Order) -> usize {
        self.fetch_add(value, order.ordering())
    }
}

/// So that two sides may share a word that one of them owns.
impl<P: Position> Position for &P {
    #[inline(always)]
    fn load(&self, order: Order) -> usize {
        (**self).load(order)
    }

    #[inline(always)]
    fn store(&self, value: usize, order: Order) {
        (**self).store(value, order);
    }

    #[inline(always)]
    fn swap(&self, value: usize, order: Order) -> usize {
        (**self).swap(value, order)
    }

    #[inline(always)]
    fn fetch_add(&self, value: usize, order: Order) -> usize {
        (**self).fetch_add(value, order)
    }
}
