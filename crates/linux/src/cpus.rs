//! Which CPUs there are, and binding a thread to one.

use std::fmt;
use std::fs;
use std::marker::PhantomData;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::Error;
use crate::sys::{Errno, admit};

/// The CPUs that the kernel can ever have, by number. A per-CPU map has a value for each.
///
/// # Errors
/// When `/sys` does not say.
pub fn possible() -> Result<Vec<u32>, Error> {
    listed("/sys/devices/system/cpu/possible")
}

/// The CPUs that run now, by number: not always from 0 on, and not always without gaps.
///
/// # Errors
/// When `/sys` does not say.
pub fn online() -> Result<Vec<u32>, Error> {
    listed("/sys/devices/system/cpu/online")
}

/// The CPUs that the calling thread may run on, by number.
///
/// # Errors
/// The kernel's.
pub fn allowed() -> Result<Vec<u32>, Error> {
    let set = sched_getaffinity(None).map_err(|errno| Error::new("sched_getaffinity", errno))?;
    Ok(numbers(&set))
}

fn numbers(set: &CpuSet) -> Vec<u32> {
    let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu));
    cpus.filter_map(|cpu| u32::try_from(cpu).ok()).collect()
}

/// The one to take when any will do.
fn first(allowed: &[u32]) -> Result<u32, Error> {
    let none = || Error::new("sched_getaffinity", Errno::INVAL).hint("no CPU is allowed");
    allowed.first().copied().ok_or_else(none)
}

fn listed(path: &'static str) -> Result<Vec<u32>, Error> {
    let unreadable = |errno| Error::new("read", errno).of(path);
    admit().map_err(unreadable)?;
    let text = fs::read_to_string(path).map_err(|error| unreadable(errno_of(&error)))?;
    parse(&text).ok_or_else(|| unreadable(Errno::INVAL).hint("no list of CPUs"))
}

pub(crate) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// `0-3,5`.
fn parse(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        // More than any kernel is built for, and a bound on what is allocated.
        if last > 1 << 16 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// The calling thread stays on one CPU while this lives; when dropped, it may run again where it could before.
///
/// Events per CPU are counted per CPU: who wants to know on which one a program runs, and which ring it writes to, stays on it.
#[must_use = "the thread is free again when this is dropped"]
pub struct Pinned {
    before: CpuSet,
    cpu: u32,
    /// The thread's own.
    _not_send: PhantomData<*const ()>,
}

impl Pinned {
    /// Binds the calling thread to `cpu`, which has to be one that it may run on now: the kernel would also let it leave the CPUs that somebody has bound it to.
    ///
    /// # Errors
    /// `EINVAL` for a CPU that the thread may not run on, or the kernel's.
    pub fn to(cpu: u32) -> Result<Self, Error> {
        let refused = |errno| Error::new("sched_setaffinity", errno).of(format_args!("CPU {cpu}"));
        let before = sched_getaffinity(None).map_err(|errno| Error::new("sched_getaffinity", errno))?;
        let index = usize::try_from(cpu).ok().filter(|cpu| *cpu < CpuSet::MAX_CPU && before.is_set(*cpu));
        let index = index.ok_or_else(|| {
            refused(Errno::INVAL).hint(format!("this thread may run on {:?}", numbers(&before)))
        })?;
        let mut set = CpuSet::new();
        set.set(index);
        sched_setaffinity(None, &set).map_err(refused)?;
        Ok(Self { before, cpu, _not_send: PhantomData })
    }

    /// Binds the calling thread to the first CPU that it may run on, which need not be CPU 0.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` if it may run on none that has a number here.
    pub fn to_any() -> Result<Self, Error> {
        Self::to(first(&allowed()?)?)
    }

    /// The CPU.
    #[must_use]
    pub fn cpu(&self) -> u32 {
        self.cpu
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Refused only if those CPUs are gone; then the kernel has put the thread somewhere already.
        let _ = sched_setaffinity(None, &self.before);
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("cpu", &self.cpu).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{first, parse};

    #[test]
    fn any_cpu_is_one_that_is_allowed() {
        assert_eq!(first(&[5, 7]).ok(), Some(5));
        let none = first(&[]).map_err(|error| error.to_string());
        assert_eq!(
            none,
            Err("sched_getaffinity: Invalid argument (os error 22): no CPU is allowed".to_owned())
        );
    }

    #[test]
    fn lists_have_ranges_and_gaps() {
        assert_eq!(parse("0-3,5\n"), Some(vec![0, 1, 2, 3, 5]));
        assert_eq!(parse("7"), Some(vec![7]));
        assert_eq!(parse(""), None);
        assert_eq!(parse("0-4294967295"), None);
    }
}
