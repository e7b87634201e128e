//! What the embedder provides for transactions, and the lock and the host made of it.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use core::time::Duration;

use lock_api::{GuardNoSend, RawMutex};
use wfp_txn::Host;

unsafe extern "C" {
    /// A new mutex, unlocked. It may sleep, it must not fail.
    fn ebb_os_mutex_new() -> *mut c_void;
    /// Frees a mutex, which is unlocked.
    fn ebb_os_mutex_free(mutex: *mut c_void);
    /// Locks a mutex; sleeps until it can.
    fn ebb_os_mutex_lock(mutex: *mut c_void);
    /// Locks a mutex if nobody else has it.
    fn ebb_os_mutex_try_lock(mutex: *mut c_void) -> bool;
    /// Unlocks a mutex, which this thread has locked.
    fn ebb_os_mutex_unlock(mutex: *mut c_void);
    /// Nanoseconds since some moment. Never goes back.
    fn ebb_os_now() -> u64;
    /// Sleeps for so many nanoseconds.
    fn ebb_os_sleep(nanoseconds: u64);
    /// A number that no other living thread has.
    fn ebb_os_thread() -> u64;
    /// Sleeps until `*word` differs from `seen`, or the clock shows `until` (nanoseconds). May return early. Must not miss an
    /// `ebb_os_wake` for the word that comes after it has looked.
    fn ebb_os_wait(word: *const u32, seen: u32, until: u64);
    /// Wakes everybody who sleeps on the word, which has been changed before.
    fn ebb_os_wake(word: *const u32);
}

/// The embedder's mutex. It exists from the first lock on, because a constant cannot hold one.
#[derive(Debug)]
pub(crate) struct OsMutex(AtomicPtr<c_void>);

impl OsMutex {
    fn get(&self) -> *mut c_void {
        // Acquire: pairs with the compare-exchange below, so that the mutex is seen as it was made.
        let there = self.0.load(Ordering::Acquire);
        if !there.is_null() {
            return there;
        }
        // SAFETY: locks are taken where one may sleep.
        let new = unsafe { ebb_os_mutex_new() };
        // Release: hands on what was made. Acquire: the one who was faster has made theirs.
        match self.0.compare_exchange(ptr::null_mut(), new, Ordering::Release, Ordering::Acquire) {
            Ok(_) => new,
            Err(faster) => {
                // SAFETY: nobody has seen it.
                unsafe { ebb_os_mutex_free(new) };
                faster
            }
        }
    }
}

// SAFETY: the embedder's mutex excludes, and there is one, made before it is first locked.
unsafe impl RawMutex for OsMutex {
    const INIT: Self = Self(AtomicPtr::new(ptr::null_mut()));

    type GuardMarker = GuardNoSend;

    fn lock(&self) {
        // SAFETY: it exists.
        unsafe { ebb_os_mutex_lock(self.get()) };
    }

    fn try_lock(&self) -> bool {
        // SAFETY: it exists.
        unsafe { ebb_os_mutex_try_lock(self.get()) }
    }

    unsafe fn unlock(&self) {
        // SAFETY: the caller holds it.
        unsafe { ebb_os_mutex_unlock(self.get()) };
    }
}

impl Drop for OsMutex {
    fn drop(&mut self) {
        if let Some(mutex) = NonNull::new(*self.0.get_mut()) {
            // SAFETY: dropped means that nobody has it locked.
            unsafe { ebb_os_mutex_free(mutex.as_ptr()) };
        }
    }
}

/// The embedder's clock, sleep and wait.
#[derive(Debug)]
pub(crate) struct OsHost;

impl Host for OsHost {
    type Bell = AtomicU32;

    fn bell(&self) -> AtomicU32 {
        AtomicU32::new(0)
    }

    fn rings(&self, bell: &AtomicU32) -> u32 {
        // Relaxed: the strategy's lock orders what the bell is about.
        bell.load(Ordering::Relaxed)
    }

    fn ring(&self, bell: &AtomicU32) {
        // Relaxed: as above; the embedder's wake comes after it and orders itself.
        bell.fetch_add(1, Ordering::Relaxed);
        // SAFETY: a word that lives.
        unsafe { ebb_os_wake(bell.as_ptr()) };
    }

    fn wait(&self, bell: &AtomicU32, seen: u32, until: Option<Duration>) {
        // SAFETY: a word that lives.
        unsafe { ebb_os_wait(bell.as_ptr(), seen, until.map_or(u64::MAX, nanoseconds)) };
    }

    fn now(&self) -> Duration {
        // SAFETY: no demands.
        Duration::from_nanos(unsafe { ebb_os_now() })
    }

    fn sleep(&self, duration: Duration) {
        // SAFETY: called where one may sleep.
        unsafe { ebb_os_sleep(nanoseconds(duration)) };
    }

    fn thread(&self) -> u64 {
        // SAFETY: no demands.
        unsafe { ebb_os_thread() }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}
