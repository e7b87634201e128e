//! A process with `std` as the host of transactions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wfp_txn::Host;

/// Clock, sleep and wait of `std`. Not tied to Windows: tests and tools use it anywhere.
#[derive(Debug)]
pub struct StdHost {
    start: Instant,
}

impl StdHost {
    /// At time 0.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for StdHost {
    fn default() -> Self {
        Self::new()
    }
}

/// A counter under a lock, and a condition variable.
#[derive(Debug, Default)]
pub struct Bell {
    rings: Mutex<u32>,
    rung: Condvar,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, u32> {
        // Nothing panics while it is held.
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for StdHost {
    type Bell = Bell;

    fn bell(&self) -> Bell {
        Bell::default()
    }

    fn rings(&self, bell: &Bell) -> u32 {
        *bell.lock()
    }

    fn ring(&self, bell: &Bell) {
        let mut rings = bell.lock();
        *rings = rings.wrapping_add(1);
        drop(rings);
        bell.rung.notify_all();
    }

    fn wait(&self, bell: &Bell, seen: u32, until: Option<Duration>) {
        let mut rings = bell.lock();
        while *rings == seen {
            rings = match until.map(|until| until.saturating_sub(self.now())) {
                None => bell.rung.wait(rings).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return,
                Some(left) => bell.rung.wait_timeout(rings, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn thread(&self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        std::thread_local! {
            // Numbers are all that has to differ.
            static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        NUMBER.with(|number| *number)
    }
}
