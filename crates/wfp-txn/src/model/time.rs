//! A host for one thread, whose time passes only when somebody waits.

use core::time::Duration;

use lock_api::{Mutex, RawMutex};

use crate::Host;

/// Virtual time for a single thread: sleeping takes no time at all, but the clock says it did.
///
/// A wait that nobody can end, because there is no other thread, ends at its time; one without a time returns at once, and is repeated.
pub struct VirtualTime<R> {
    now: Mutex<R, Duration>,
}

impl<R: RawMutex> VirtualTime<R> {
    /// At time 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { now: Mutex::new(Duration::ZERO) }
    }

    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        let mut now = self.now.lock();
        *now = now.saturating_add(duration);
    }
}

impl<R: RawMutex> Default for VirtualTime<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: RawMutex> Host for VirtualTime<R> {
    type Bell = ();

    fn bell(&self) {}

    fn rings(&self, (): &()) -> u32 {
        0
    }

    fn ring(&self, (): &()) {}

    fn wait(&self, (): &(), _seen: u32, until: Option<Duration>) {
        let mut now = self.now.lock();
        *now = until.map_or(*now, |until| until.max(*now));
    }

    fn now(&self) -> Duration {
        *self.now.lock()
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }

    fn thread(&self) -> u64 {
        1
    }
}

impl<R> core::fmt::Debug for VirtualTime<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("VirtualTime").finish_non_exhaustive()
    }
}
