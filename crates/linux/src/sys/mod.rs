//! The system calls that no library wraps, each as a safe function over slices and descriptors.

pub(crate) mod attr;
pub(crate) mod bpf;
pub(crate) mod perf;

pub(crate) use rustix::io::Errno;

/// What every system call of this crate goes through first: where tests make the calls fail, one after the other.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn admit() -> Result<(), Errno> {
    Ok(())
}

#[cfg(test)]
pub(crate) use inject::admit;

/// Failing system calls, chosen by their number.
#[cfg(test)]
pub(crate) mod inject {
    use std::cell::Cell;

    use super::Errno;

    thread_local! {
        /// How many calls of this thread still go through; `None` for all.
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    pub(crate) fn admit() -> Result<(), Errno> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => {
                // One failure: what is done to clean up goes through.
                LEFT.set(None);
                Err(Errno::NOMEM)
            }
            Some(left) => {
                LEFT.set(Some(left.saturating_sub(1)));
                Ok(())
            }
        }
    }

    /// Runs `what` with the call number `number` failing (out of memory), counted from 0; gives what it gave, and whether there was such a call.
    pub(crate) fn failing<T>(number: u32, what: impl FnOnce() -> T) -> (T, bool) {
        LEFT.set(Some(number));
        let result = what();
        (result, LEFT.take().is_none())
    }
}
