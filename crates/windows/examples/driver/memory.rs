//! The ring's pages: allocated once, mapped into the kernel with the data twice in a row.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicUsize;

use crate::ntoskrnl::{self, Mdl};
use crate::ring::{
    CONSUMER, DATA, DATA_AT, KernelSide, MARKS, PAGE, PAGES, PRODUCER, Regions, VIEW, producer,
};

/// Pages and their mapping. Freed when dropped, at `PASSIVE_LEVEL`.
#[derive(Debug)]
pub(crate) struct Pages {
    /// The pages.
    own: *mut Mdl,
    /// The same, those of the data twice.
    twice: *mut Mdl,
    view: *mut c_void,
}

impl Pages {
    /// Zeroed pages; `None` when there is not enough memory.
    #[must_use]
    pub(crate) fn allocate() -> Option<Self> {
        let mut pages = Self { own: ptr::null_mut(), twice: ptr::null_mut(), view: ptr::null_mut() };
        // SAFETY: any pages do.
        pages.own = unsafe {
            ntoskrnl::MmAllocatePagesForMdlEx(
                0,
                i64::MAX,
                0,
                PAGES * PAGE,
                ntoskrnl::MM_CACHED,
                ntoskrnl::MM_ALLOCATE_FULLY_REQUIRED,
            )
        };
        // SAFETY: no address: only the length counts.
        pages.twice = unsafe { ntoskrnl::IoAllocateMdl(ptr::null_mut(), VIEW as u32, 0, 0, ptr::null_mut()) };
        if pages.own.is_null() || pages.twice.is_null() {
            return None;
        }
        let (from, to) = (numbers(pages.own), numbers(pages.twice));
        for index in 0..VIEW / PAGE {
            // Behind the last page of the data comes its first one again.
            let source = if index < PAGES { index } else { index - DATA / PAGE };
            let (from, to) = (from.wrapping_add(source), to.wrapping_add(index));
            // SAFETY: a list has as many numbers as pages: `PAGES` here, `VIEW / PAGE` there.
            unsafe { ptr::copy_nonoverlapping(from, to, 1) };
        }
        // SAFETY: nobody else has it; the pages stay in memory as long as `own` lives.
        unsafe { (*pages.twice).flags |= ntoskrnl::MDL_PAGES_LOCKED };
        // SAFETY: a list of pages that are there, mapped for the kernel (0), which fails without a bug check.
        pages.view = unsafe {
            ntoskrnl::MmMapLockedPagesSpecifyCache(
                pages.twice,
                0,
                ntoskrnl::MM_CACHED,
                ptr::null_mut(),
                0,
                ntoskrnl::PRIORITY,
            )
        };
        NonNull::new(pages.view).map(|_| pages)
    }

    /// The producing side. The kernel's page holds what producers share.
    ///
    /// # Safety
    /// Called once; the pages outlive what it gives.
    pub(crate) unsafe fn producer(&self) -> Option<KernelSide> {
        let base = NonNull::new(self.view.cast::<u8>())?;
        // SAFETY: inside the view.
        let consumer = unsafe { base.add(CONSUMER) };
        // SAFETY: as above.
        let producer_page = unsafe { base.add(PRODUCER) };
        // SAFETY: as above.
        let data = unsafe { base.add(DATA_AT) };
        // SAFETY: a page of zeros that is used for nothing else.
        let shared = unsafe { base.cast::<[AtomicUsize; 1 + MARKS]>().as_ref() };
        // SAFETY: the caller's.
        unsafe { producer(Regions { consumer, producer: producer_page, data }, shared) }.ok()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if !self.view.is_null() {
            // SAFETY: mapped in `allocate`.
            unsafe { ntoskrnl::MmUnmapLockedPages(self.view, self.twice) };
        }
        if !self.twice.is_null() {
            // SAFETY: allocated there.
            unsafe { ntoskrnl::IoFreeMdl(self.twice) };
        }
        if !self.own.is_null() {
            // SAFETY: allocated there: first the pages, then the list.
            unsafe { ntoskrnl::MmFreePagesFromMdl(self.own) };
            // SAFETY: as above; the list is from the pool, of no tag of ours.
            unsafe { ntoskrnl::ExFreePoolWithTag(self.own.cast(), 0) };
        }
    }
}

/// The page numbers behind a list.
fn numbers(mdl: *mut Mdl) -> *mut usize {
    mdl.wrapping_add(1).cast()
}
