//! Attaching a program to connections: both address families in one transaction, detached in one.
//!
//! Any number of threads may attach and detach at once, all at `PASSIVE_LEVEL`.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use ebpf_windows::{Id, KernelMode, Object, Wfp};
use wfp_txn::{Access, Config, Error, Host, OperationError, Serialized, Strategy};
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::FWPM_FILTER0;

use crate::lock::PushLock;
use crate::ntoskrnl;

/// A driver's clock and sleep.
///
/// Bells are counters that are looked at once a clock tick. That is correct, and enough for programs that are attached now and then; a driver that attaches in
/// hot paths keeps a list of `KEVENT`s on the stacks of those who wait.
#[derive(Debug)]
pub(crate) struct KernelHost;

/// Milliseconds between two looks.
const TICK: Duration = Duration::from_millis(1);

impl Host for KernelHost {
    type Bell = AtomicU32;

    fn bell(&self) -> AtomicU32 {
        AtomicU32::new(0)
    }

    fn rings(&self, bell: &AtomicU32) -> u32 {
        // The lock of the crate orders what the bell is about.
        bell.load(Ordering::Relaxed)
    }

    fn ring(&self, bell: &AtomicU32) {
        bell.fetch_add(1, Ordering::Relaxed);
    }

    fn wait(&self, bell: &AtomicU32, seen: u32, until: Option<Duration>) {
        while self.rings(bell) == seen && until.is_none_or(|until| self.now() < until) {
            self.sleep(TICK);
        }
    }

    fn now(&self) -> Duration {
        let mut counter = 0;
        // SAFETY: room for the counter; callable at any IRQL.
        let ticks = unsafe { ntoskrnl::KeQueryInterruptTimePrecise(&mut counter) };
        // Units of 100 ns.
        Duration::from_micros(ticks / 10)
    }

    fn sleep(&self, duration: Duration) {
        let ticks = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).saturating_mul(10);
        // Negative: from now on.
        let interval = ticks.saturating_neg();
        // SAFETY: at PASSIVE_LEVEL, in kernel mode (0), not alertable; the interval outlives the call.
        let _ = unsafe { ntoskrnl::KeDelayExecutionThread(0, 0, &interval) };
    }

    fn thread(&self) -> u64 {
        // SAFETY: callable at any IRQL; a number in a pointer's clothes.
        let thread = unsafe { ntoskrnl::PsGetCurrentThreadId() };
        thread.addr() as u64
    }
}

/// The one session of the driver. Made in `DriverEntry`, dropped in the unload routine.
///
/// Any lock that implements `lock_api::RawMutex` serves: it is held for moments, at `PASSIVE_LEVEL`.
pub(crate) type Filters = Serialized<Wfp<KernelMode>, KernelHost, PushLock>;

/// What is attached: to be given back to [`detach`].
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "an example")]
pub struct Attached(pub [Id; 2]);

/// The session.
#[must_use]
pub(crate) fn filters() -> Filters {
    Serialized::new(Wfp::new(), KernelHost, Config::new())
}

/// Adds the filters of both families, or neither.
///
/// # Errors
/// With the NTSTATUS of the call that failed: pass it on, do not turn it into `STATUS_ACCESS_DENIED`.
///
/// # Safety
/// Every pointer in the filters is null or valid.
pub(crate) unsafe fn attach(
    filters: &Filters,
    v4: &FWPM_FILTER0,
    v6: &FWPM_FILTER0,
) -> Result<Attached, Error<OperationError>> {
    filters.transact(Access::ReadWrite, |transaction| {
        // SAFETY: the caller's promise.
        let v4 = transaction.add(unsafe { Object::filter(v4) })?;
        // SAFETY: the caller's promise.
        let v6 = transaction.add(unsafe { Object::filter(v6) })?;
        Ok(Attached([v4, v6]))
    })
}

/// Deletes both filters, or neither. That they are gone already is fine.
///
/// # Errors
/// As [`attach`]. The filters are still there, unless the error is [`Error::Unknown`]: then do it again.
pub(crate) fn detach(filters: &Filters, attached: &Attached) -> Result<(), Error<OperationError>> {
    filters.transact(Access::ReadWrite, |transaction| {
        attached.0.iter().try_for_each(|id| transaction.remove(id).map(drop))
    })
}
