//! What programs learn about the world, and what they tell it.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::error::FaultKind;
use crate::maps::VmMap;
use crate::memory::{Memory, Scratch};

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

    /// The other side of `ring` may be asleep: a record was committed to a ring buffer, samples were drained from a user ring.
    fn wake(&self, _ring: &VmMap) {}

    /// The reader of CPU `cpu`'s ring in a perf event array is to be woken.
    fn wake_cpu(&self, map: &VmMap, cpu: u32) {
        let _ = cpu;
        self.wake(map);
    }

    /// Whether this host has a helper with that number. It is asked when a program is loaded that calls one which the machine does not have; the machine's own come
    /// first.
    fn knows(&self, helper: u32) -> bool {
        let _ = helper;
        false
    }

    /// Calls a helper that the host [knows](Self::knows); gives register 0.
    ///
    /// # Errors
    /// What stops the run: what [`HelperCall`] says of arguments that are no good, or [`FaultKind::Refused`].
    fn call(&self, helper: u32, call: &mut HelperCall<'_>) -> Result<u64, FaultKind> {
        let _ = call;
        Err(FaultKind::Refused { helper, reason: "the host has no such helper" })
    }
}

/// The arguments of a helper that a [`Host`] has, and what they may point to.
pub struct HelperCall<'c> {
    arguments: &'c [u64; 5],
    memory: &'c mut dyn Pointed,
}

impl<'c> HelperCall<'c> {
    pub(crate) fn new(arguments: &'c [u64; 5], memory: &'c mut dyn Pointed) -> Self {
        Self { arguments, memory }
    }

    /// Registers 1 to 5.
    #[must_use]
    pub fn arguments(&self) -> [u64; 5] {
        *self.arguments
    }

    /// Copies what stands at a pointer of the program's.
    ///
    /// # Errors
    /// When any of these bytes may not be read.
    pub fn read(&self, pointer: u64, out: &mut [u8]) -> Result<(), FaultKind> {
        self.memory.read(pointer, out)
    }

    /// Copies `bytes` to where a pointer of the program's points.
    ///
    /// # Errors
    /// When any of these bytes may not be written; then none is.
    pub fn write(&mut self, pointer: u64, bytes: &[u8]) -> Result<(), FaultKind> {
        self.memory.write(pointer, bytes)
    }

    /// The map that an argument names.
    #[must_use]
    pub fn map(&self, argument: u64) -> Option<&VmMap> {
        self.memory.map(argument)
    }
}

impl fmt::Debug for HelperCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelperCall").field("arguments", self.arguments).finish_non_exhaustive()
    }
}

/// The memory of a run, as helpers of the host see it.
pub(crate) trait Pointed {
    fn read(&self, pointer: u64, out: &mut [u8]) -> Result<(), FaultKind>;
    fn write(&mut self, pointer: u64, bytes: &[u8]) -> Result<(), FaultKind>;
    fn map(&self, argument: u64) -> Option<&VmMap>;
}

impl Pointed for Memory<'_, '_> {
    fn read(&self, pointer: u64, out: &mut [u8]) -> Result<(), FaultKind> {
        let mut scratch = Scratch::new();
        out.copy_from_slice(self.bytes(pointer, out.len(), &mut scratch)?);
        Ok(())
    }

    fn write(&mut self, pointer: u64, bytes: &[u8]) -> Result<(), FaultKind> {
        Memory::write(self, pointer, bytes)
    }

    fn map(&self, argument: u64) -> Option<&VmMap> {
        self.handle(argument).map(|slot| &slot.map)
    }
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
