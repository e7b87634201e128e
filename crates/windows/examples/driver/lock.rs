//! A push lock behind `lock_api`: a word that is zero when it is made.

use core::cell::UnsafeCell;

use lock_api::{GuardNoSend, RawMutex};

use crate::ntoskrnl;

/// Taken below `DISPATCH_LEVEL`.
#[derive(Debug)]
pub(crate) struct PushLock(UnsafeCell<usize>);

// SAFETY: the word is the kernel's from the first call on.
unsafe impl Send for PushLock {}
// SAFETY: as above.
unsafe impl Sync for PushLock {}

// SAFETY: an exclusive push lock excludes. A thread that holds one must not be suspended, which the critical region is for.
unsafe impl RawMutex for PushLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait's")]
    const INIT: Self = Self(UnsafeCell::new(0));

    type GuardMarker = GuardNoSend;

    fn lock(&self) {
        // SAFETY: left in `unlock`, by the same thread.
        unsafe { ntoskrnl::KeEnterCriticalRegion() };
        // SAFETY: a lock that was made zero.
        unsafe { ntoskrnl::ExAcquirePushLockExclusiveEx(self.0.get(), 0) };
    }

    fn try_lock(&self) -> bool {
        // SAFETY: as in `lock`.
        unsafe { ntoskrnl::KeEnterCriticalRegion() };
        // SAFETY: as in `lock`.
        let is_taken = unsafe { ntoskrnl::ExTryToAcquirePushLockExclusiveEx(self.0.get(), 0) } != 0;
        if !is_taken {
            // SAFETY: entered above.
            unsafe { ntoskrnl::KeLeaveCriticalRegion() };
        }
        is_taken
    }

    unsafe fn unlock(&self) {
        // SAFETY: the caller holds it.
        unsafe { ntoskrnl::ExReleasePushLockExclusiveEx(self.0.get(), 0) };
        // SAFETY: entered when it was taken.
        unsafe { ntoskrnl::KeLeaveCriticalRegion() };
    }
}
