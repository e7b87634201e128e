//! A ring as eBPF for Windows maps it: a page of the kernel, the consumer's page, the producer's page, then the data, which is mapped twice in a row.
//!
//! The process maps the three regions behind the kernel's page each by itself, the data twice. Records count their pages from the start of the data.

use core::ptr::NonNull;
use core::sync::atomic::AtomicUsize;

use ebpf_ringbuf::{
    Consumer, Corrupt, Geometry, Mapped, Mapping, PageOffset, Producer, ProducerError, ReserveError,
    SharedMarks, SubmitFlags, marks_for,
};

pub(crate) const PAGE: usize = 4096;
/// 64 KiB, the unit in which Windows places what it maps.
pub(crate) const DATA: usize = 1 << 16;

/// Where the regions begin behind the start of the kernel's own mapping.
pub(crate) const CONSUMER: usize = PAGE;
pub(crate) const PRODUCER: usize = 2 * PAGE;
pub(crate) const DATA_AT: usize = 3 * PAGE;
/// All of it, the data once.
pub(crate) const PAGES: usize = (DATA_AT + DATA) / PAGE;
/// All of it as it is mapped.
pub(crate) const VIEW: usize = DATA_AT + 2 * DATA;

/// The words that producers share. In the kernel's page, which no process maps: the reserve position, then the marks.
pub(crate) const MARKS: usize = marks_for(DATA);
const _: () = assert!((1 + MARKS) * size_of::<usize>() <= PAGE, "they fit the page");

/// Where the regions of one side stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Regions {
    pub(crate) consumer: NonNull<u8>,
    pub(crate) producer: NonNull<u8>,
    /// Twice.
    pub(crate) data: NonNull<u8>,
}

pub(crate) type KernelSide = Producer<Mapped<'static>, SharedMarks<'static>>;

/// # Safety
/// The regions are mapped for as long as this is used, for writing, and only this produces. `shared` is zero.
pub(crate) unsafe fn producer(
    regions: Regions,
    shared: &'static [AtomicUsize; 1 + MARKS],
) -> Result<KernelSide, ProducerError> {
    // SAFETY: the caller's.
    let memory = unsafe { memory(regions) };
    let [reserve, marks @ ..] = shared;
    // Their number is a power of two.
    let marks = SharedMarks::new(reserve, marks)
        .map_err(|_| ProducerError::TooFewMarks { needed: MARKS, given: 0 })?;
    Producer::new(memory, marks)
}

/// # Safety
/// The regions are mapped for as long as this is used, the consumer's page for writing, and only this consumes.
#[allow(dead_code, reason = "the driver only produces")]
pub(crate) unsafe fn consumer(regions: Regions) -> Result<Consumer<Mapped<'static>>, Corrupt> {
    // SAFETY: the caller's.
    Consumer::new(unsafe { memory(regions) })
}

/// What a helper of a program does: one record, and the event of whoever waits, when it may be waiting. At any IRQL up to `DISPATCH_LEVEL`, which
/// is where events can be set.
pub(crate) fn emit(ring: &KernelSide, payload: &[u8], wake: impl FnOnce()) -> Result<(), ReserveError> {
    if ring.output(payload, SubmitFlags::empty())?.is_needed() {
        wake();
    }
    Ok(())
}

unsafe fn memory(regions: Regions) -> Mapped<'static> {
    let geometry = const {
        match Geometry::new(DATA, PAGE, Mapping::Mirrored, PageOffset::FromData) {
            Ok(geometry) => geometry,
            Err(_) => panic!("sizes of a ring"),
        }
    };
    // SAFETY: the caller's.
    unsafe { Mapped::new(regions.consumer, regions.producer, regions.data, geometry) }
}
