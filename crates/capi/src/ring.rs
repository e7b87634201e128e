//! Rings, the producing side.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::AtomicUsize;

use ebpf_ringbuf::{
    Geometry, Mapped, Mapping, PageOffset, Producer, Query, ReserveError, SharedMarks, SubmitFlags, Wakeup,
    marks_for,
};

use crate::Answer;

/// cbindgen:ignore
type Inner = Producer<Mapped<'static>, SharedMarks<'static>>;
/// cbindgen:ignore
type Reserved = ebpf_ringbuf::Reservation<'static, Mapped<'static>>;

/// A ring's producing side. Any number of contexts may use it at once; it is not to be moved or copied once it is made.
#[repr(C)]
#[derive(Debug)]
pub struct Ring {
    opaque: [u64; 24],
}

/// A record between reserve and commit.
#[repr(C)]
#[derive(Debug)]
pub struct Reservation {
    opaque: [u64; 10],
}

const _: () = assert!(size_of::<Inner>() <= size_of::<Ring>() && align_of::<Inner>() <= align_of::<Ring>());
const _: () = assert!(
    size_of::<Reserved>() <= size_of::<Reservation>() && align_of::<Reserved>() <= align_of::<Reservation>()
);

/// Where a ring stands. Everything must stay there as long as the ring is used.
#[repr(C)]
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "C fills it in")]
pub struct RingMemory {
    /// Begins with `consumer_pos`.
    pub consumer_page: *mut c_void,
    /// Begins with `producer_pos`, `pending_pos` and `overwrite_pos`.
    pub producer_page: *mut c_void,
    /// `size` bytes, mapped twice in a row if `mirrored`.
    pub data: *mut c_void,
    /// A power of two.
    pub size: usize,
    /// Bytes of a page.
    pub page_size: usize,
    /// So many words as `ebb_ring_private_words` says, all zero, where no consumer can write.
    pub private_words: *mut usize,
    /// How many they are.
    pub private_length: usize,
    /// Whether the data is mapped twice in a row.
    pub mirrored: bool,
    /// Whether records count their pages from the data, as eBPF for Windows does, or from Linux's ring.
    pub pages_from_data: bool,
    /// How long a producer makes way for another one, in spin-loop hints. 0 if producers interrupt each other on one CPU.
    pub spins: u32,
}

/// What became of every reservation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "C reads it")]
pub struct Tally {
    /// Reservations made.
    pub reserved: usize,
    /// Of these, submitted.
    pub submitted: usize,
    /// Of these, discarded.
    pub discarded: usize,
    /// Refused because the consumer had not read enough.
    pub full: usize,
    /// Refused because an older record was not committed.
    pub outstanding: usize,
    /// Refused because no such record ever fits.
    pub too_long: usize,
}

/// Private words that a ring of `size` bytes needs.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn ebb_ring_private_words(size: usize) -> usize {
    marks_for(size).saturating_add(1)
}

/// Makes a ring, which goes on where its positions stand.
///
/// # Safety
/// `memory` says the truth, `ring` has room, and nobody else produces into this memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_ring_init(ring: *mut Ring, memory: *const RingMemory) -> i32 {
    // SAFETY: the caller's.
    let memory = unsafe { &*memory };
    let mapping = if memory.mirrored { Mapping::Mirrored } else { Mapping::Flat };
    let page_offset = if memory.pages_from_data { PageOffset::FromData } else { PageOffset::FromRing };
    let addresses = (
        NonNull::new(memory.consumer_page),
        NonNull::new(memory.producer_page),
        NonNull::new(memory.data),
        NonNull::new(memory.private_words),
    );
    let (Some(consumer), Some(producer), Some(data), Some(words)) = addresses else {
        return Answer::NoRing as i32;
    };
    let Ok(geometry) = Geometry::new(memory.size, memory.page_size, mapping, page_offset) else {
        return Answer::NoRing as i32;
    };
    // SAFETY: the caller's: that many words, for as long as the ring is used, and nobody else's.
    let words = unsafe { slice::from_raw_parts(words.cast::<AtomicUsize>().as_ptr(), memory.private_length) };
    let Some((reserve, marks)) = words.split_first() else { return Answer::NoRing as i32 };
    let Ok(marks) = SharedMarks::new(reserve, marks) else { return Answer::NoRing as i32 };
    // SAFETY: the caller's.
    let mapped = unsafe { Mapped::new(consumer.cast(), producer.cast(), data.cast(), geometry) };
    match Producer::new(mapped, marks.with_spins(memory.spins)) {
        Ok(producer) => {
            // SAFETY: room for a ring, which is room for this.
            unsafe { ring.cast::<Inner>().write(producer.counting()) };
            Answer::Done as i32
        }
        Err(_) => Answer::NoRing as i32,
    }
}

/// Copies a payload into a record of its own and submits it. Says whether to wake the consumer.
///
/// # Safety
/// `ring` is made, and `payload` is valid for reads of `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_ring_output(
    ring: *const Ring,
    payload: *const c_void,
    length: usize,
    flags: u64,
) -> i32 {
    // SAFETY: the caller's.
    let ring = unsafe { inner(ring) };
    // SAFETY: the caller's.
    let payload = unsafe { bytes(payload, length) };
    ring.output(payload, SubmitFlags::from_bits_truncate(flags)).map_or_else(refused, answer)
}

/// Reserves a record and gives its payload, which the caller writes; null, with the reason in `answer`, when there is no space.
///
/// # Safety
/// `ring` is made and outlives the reservation; `reservation` and `answer` have room. What is reserved is committed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_ring_reserve(
    ring: *const Ring,
    length: usize,
    reservation: *mut Reservation,
    answer: *mut i32,
) -> *mut c_void {
    // SAFETY: the caller's.
    let ring = unsafe { inner(ring) };
    let (payload, said) = match ring.reserve(length) {
        Ok(mut reserved) => {
            let payload = reserved.as_mut_ptr().cast();
            // SAFETY: room for a reservation, which is room for this.
            unsafe { reservation.cast::<MaybeUninit<Reserved>>().write(MaybeUninit::new(reserved)) };
            (payload, Answer::Done as i32)
        }
        Err(error) => (core::ptr::null_mut(), refused(error)),
    };
    // SAFETY: the caller's.
    unsafe { answer.write(said) };
    payload
}

/// Makes a record readable. Says whether to wake the consumer.
///
/// # Safety
/// The reservation was made and not committed; afterwards it is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_reservation_submit(reservation: *mut Reservation, flags: u64) -> i32 {
    // SAFETY: the caller's.
    let reserved = unsafe { reservation.cast::<Reserved>().read() };
    answer(reserved.submit(SubmitFlags::from_bits_truncate(flags)))
}

/// Gives a record up. Says whether to wake the consumer.
///
/// # Safety
/// As `ebb_reservation_submit`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_reservation_discard(reservation: *mut Reservation, flags: u64) -> i32 {
    // SAFETY: the caller's.
    let reserved = unsafe { reservation.cast::<Reserved>().read() };
    answer(reserved.discard(SubmitFlags::from_bits_truncate(flags)))
}

/// Bytes that are not read yet.
///
/// # Safety
/// `ring` is made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_ring_query(ring: *const Ring) -> usize {
    // SAFETY: the caller's.
    unsafe { inner(ring) }.query(Query::AvailableData)
}

/// What became of every reservation.
///
/// # Safety
/// `ring` is made, `tally` has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_ring_tally(ring: *const Ring, tally: *mut Tally) {
    // SAFETY: the caller's.
    let counted = unsafe { inner(ring) }.tally();
    let said = Tally {
        reserved: counted.reserved,
        submitted: counted.submitted,
        discarded: counted.discarded,
        full: counted.full,
        outstanding: counted.outstanding_refusals,
        too_long: counted.too_long,
    };
    // SAFETY: the caller's.
    unsafe { tally.write(said) };
}

/// # Safety
/// `ring` is made, and is not unmade during the caller's use of it.
unsafe fn inner(ring: *const Ring) -> &'static Inner {
    // SAFETY: the caller's; `ebb_ring_init` has written one there.
    unsafe { &*ring.cast::<Inner>() }
}

/// # Safety
/// Valid for reads of `length` bytes during the caller's use of it.
pub(crate) unsafe fn bytes<'a>(start: *const c_void, length: usize) -> &'a [u8] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: the caller's.
    unsafe { slice::from_raw_parts(start.cast(), length) }
}

fn answer(wakeup: Wakeup) -> i32 {
    if wakeup.is_needed() { Answer::Wake as i32 } else { Answer::Done as i32 }
}

fn refused(error: ReserveError) -> i32 {
    let answer = match error {
        ReserveError::Full { .. } => Answer::Full,
        ReserveError::Outstanding { .. } => Answer::Outstanding,
        _ => Answer::TooLong,
    };
    answer as i32
}
