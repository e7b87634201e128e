//! What the embedder does for the crate: telling the time, and waiting.

use core::time::Duration;

/// A clock, a way to sleep, and a way to wait for another thread. The crate does none of that itself.
///
/// # Bells
///
/// A bell is a counter that threads can sleep on: the futex of Linux, `WaitOnAddress` of Windows, a counter under a mutex with a condition
/// variable. The crate reads the counter under its own lock, then sleeps until it has moved on; whoever changes what the sleeper
/// waits for does so under that lock and rings *after* it. So the one thing an implementation must not do is to lose a ring
/// that happens between [`rings`](Self::rings) and [`wait`](Self::wait).
///
/// In a driver: a counter, a push lock and a list of `KEVENT`s on the waiting threads' stacks; a ring counts and sets them all.
pub trait Host {
    /// A counter to sleep on.
    type Bell;

    /// A new bell.
    fn bell(&self) -> Self::Bell;

    /// How often the bell was rung; wraps.
    fn rings(&self, bell: &Self::Bell) -> u32;

    /// Rings, and wakes everybody who waits.
    fn ring(&self, bell: &Self::Bell);

    /// Sleeps until [`rings`](Self::rings) differs from `seen` or the time is `until`. May return early: the crate looks again.
    fn wait(&self, bell: &Self::Bell, seen: u32, until: Option<Duration>);

    /// Time since some fixed moment. Never goes back.
    fn now(&self) -> Duration;

    /// Sleeps. Called with no lock held.
    fn sleep(&self, duration: Duration);

    /// A number that no other living thread has: `GetCurrentThreadId`, `PsGetCurrentThreadId`.
    fn thread(&self) -> u64;
}

/// Hosts are shared by reference.
impl<H: Host + ?Sized> Host for &H {
    type Bell = H::Bell;

    fn bell(&self) -> Self::Bell {
        (**self).bell()
    }

    fn rings(&self, bell: &Self::Bell) -> u32 {
        (**self).rings(bell)
    }

    fn ring(&self, bell: &Self::Bell) {
        (**self).ring(bell);
    }

    fn wait(&self, bell: &Self::Bell, seen: u32, until: Option<Duration>) {
        (**self).wait(bell, seen, until);
    }

    fn now(&self) -> Duration {
        (**self).now()
    }

    fn sleep(&self, duration: Duration) {
        (**self).sleep(duration);
    }

    fn thread(&self) -> u64 {
        (**self).thread()
    }
}
