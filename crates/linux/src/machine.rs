//! What this machine is like, as far as no call of this crate finds it out by trying.

use rustix::process::{Resource, getrlimit};

/// Bytes of memory that this process may lock; `None` for no limit.
///
/// Perf rings count beyond `perf_event_mlock_kb`. Maps and programs have counted since Linux 5.11 as the memory of their cgroup instead.
#[must_use]
pub fn memory_lock_limit() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

/// Where tracefs is mounted, in which tracepoints have their numbers.
#[must_use]
pub fn tracefs() -> Option<&'static str> {
    crate::tracefs::mounted()
}

/// The kernel's release: `6.18.0`.
#[must_use]
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
