//! How often and how long a transaction is tried.

use core::time::Duration;

use crate::{EngineError, Error, Host, SessionOptions};

/// What a strategy is set up with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// How sessions are opened.
    pub session: SessionOptions,
    /// How often and how long a transaction is tried.
    pub policy: Policy,
}

impl Config {
    /// Static sessions, the default policy.
    #[must_use]
    pub const fn new() -> Self {
        Self { session: SessionOptions::new(), policy: Policy::new() }
    }

    /// With other session options.
    #[must_use]
    pub const fn with_session(self, session: SessionOptions) -> Self {
        Self { session, ..self }
    }

    /// With another policy.
    #[must_use]
    pub const fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }
}

/// The bounds of trying again, both of which hold: a number of attempts, and a time. Between attempts a thread sleeps, each time twice as long up to a
/// limit, less a part that differs from thread to thread.
///
/// The time counts from the first attempt. It does not cut an engine call short; a session's
/// [`begin_timeout`](SessionOptions::begin_timeout) bounds the one call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// Attempts, the first one included.
    pub attempts: u32,
    /// Time in which the last attempt must have begun.
    pub time: Duration,
    /// Sleep before the second attempt.
    pub first_delay: Duration,
    /// Longest sleep.
    pub longest_delay: Duration,
}

impl Policy {
    /// 20 attempts within 60 s, sleeping 1 ms first and never more than 500 ms: an engine that restarts within 5 s is waited for.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            attempts: 20,
            time: Duration::from_secs(60),
            first_delay: Duration::from_millis(1),
            longest_delay: Duration::from_millis(500),
        }
    }

    /// One attempt.
    #[must_use]
    pub const fn once() -> Self {
        Self::new().with_attempts(1)
    }

    /// With another number of attempts; 0 is taken as 1.
    #[must_use]
    pub const fn with_attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// With another bound of time.
    #[must_use]
    pub const fn with_time(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// With other sleeps: the first one, and the longest.
    #[must_use]
    pub const fn with_delays(self, first: Duration, longest: Duration) -> Self {
        Self { first_delay: first, longest_delay: longest, ..self }
    }

    /// Before the attempt after `attempts` ones.
    fn delay(&self, attempts: u32, thread: u64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let full = self.first_delay.saturating_mul(1 << doublings).min(self.longest_delay);
        // Between half of it and all of it, so that threads that failed together do not meet again.
        let spread = u64::from(attempts).wrapping_add(thread).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
        let part = u32::try_from(spread).unwrap_or(0).saturating_add(256);
        full.checked_mul(part).and_then(|whole| whole.checked_div(512)).unwrap_or(full)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

/// The attempts of one transaction.
pub(crate) struct Attempts {
    policy: Policy,
    started: Duration,
    made: u32,
}

impl Attempts {
    pub(crate) fn new(policy: Policy, host: &impl Host) -> Self {
        Self { policy, started: host.now(), made: 1 }
    }

    /// The attempt under way, from 1.
    pub(crate) const fn made(&self) -> u32 {
        self.made
    }

    /// Counts one more attempt, and gives how long to sleep before it, unless that is out of bounds.
    pub(crate) fn next<X>(&mut self, host: &impl Host, error: EngineError) -> Result<Duration, Error<X>> {
        let delay = self.policy.delay(self.made, host.thread());
        let elapsed = host.now().saturating_sub(self.started);
        if self.made >= self.policy.attempts || elapsed.saturating_add(delay) > self.policy.time {
            return Err(Error::GivenUp { error, attempts: self.made, elapsed });
        }
        self.made = self.made.saturating_add(1);
        Ok(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_differ_between_threads() {
        let policy = Policy::new().with_delays(Duration::from_millis(8), Duration::from_millis(64));
        for (attempts, full) in [(1, 8), (2, 16), (3, 32), (4, 64), (5, 64), (40, 64), (u32::MAX, 64)] {
            for thread in 0..100 {
                let delay = policy.delay(attempts, thread);
                let full = Duration::from_millis(full);
                assert!(delay >= full / 2 && delay <= full, "{attempts}: {delay:?}");
            }
        }
        assert_ne!(policy.delay(3, 1), policy.delay(3, 2));
        let endless = Policy::new().with_delays(Duration::MAX, Duration::MAX);
        assert_eq!(endless.delay(3, 1), Duration::MAX);
    }
}
