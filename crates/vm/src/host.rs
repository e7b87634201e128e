//! What programs learn about the world, and what they tell it.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::maps::VmMap;

/// Answers the helpers whose answers are not in the program's own state.
///
/// The machine has no clock, no processor and no random numbers of its own. Several threads may ask at once.
pub trait Host: Send + Sync {
    /// Nanoseconds since some point, never going back: `bpf_ktime_get_ns`.
    fn monotonic_ns(&self) -> u64;

    /// The same clock including the time asleep: `bpf_ktime_get_boot_ns`.
    fn boot_ns(&self) -> u64 {
        self.monotonic_ns()
    }

    /// A cheaper reading of the clock: `bpf_ktime_get_coarse_ns`.
    fn coarse_ns(&self) -> u64 {
        self.monotonic_ns()
    }

    /// `bpf_get_prandom_u32`. Also seeds the hash of each hash map when it is created, so a host that runs programs on keys that
    /// others choose must not be predictable.
    fn random(&self) -> u32;

    /// `bpf_get_smp_processor_id`.
    fn processor(&self) -> u32 {
        0
    }

    /// Thread group in the high half, thread in the low half: `bpf_get_current_pid_tgid`.
    fn pid_tgid(&self) -> u64 {
        0
    }

    /// Group in the high half, user in the low half: `bpf_get_current_uid_gid`.
    fn uid_gid(&self) -> u64 {
        0
    }

    /// Name of the current task, padded with zeroes: `bpf_get_current_comm`.
    fn comm(&self) -> [u8; 16] {
        [0; 16]
    }

    /// What a program printed with `bpf_trace_printk`, formatted. Dropped unless the host does something with it.
    fn trace(&self, _message: &[u8]) {}

    /// A record was committed to `ring` and its consumer may be asleep.
    fn wake(&self, _ring: &VmMap) {}
}

/// A host that is the same in every run: its clock moves one microsecond with each reading, its random numbers are a
/// fixed sequence, it runs on processor 0 as nobody, and it drops what is printed.
#[derive(Debug, Default)]
pub struct DeterministicHost {
    /// Readings of the clock so far.
    readings: AtomicU64,
    /// Random numbers given so far.
    drawn: AtomicU64,
}

impl DeterministicHost {
    /// At time 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { readings: AtomicU64::new(0), drawn: AtomicU64::new(0) }
    }
}

impl Host for DeterministicHost {
    fn monotonic_ns(&self) -> u64 {
        self.readings.fetch_add(1, Ordering::Relaxed).wrapping_add(1).wrapping_mul(1000)
    }

    fn random(&self) -> u32 {
        // The finalizer of a counter: every value differs from its neighbours in about half of its bits.
        let mut bits = self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ bits >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        crate::memory::high(bits ^ bits << 29)
    }
}
