//! Binding a thread to one CPU for a while.

use std::fmt;
use std::io;
use std::marker::PhantomData;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Keeps the calling thread on one CPU until it is dropped, and then gives it back the CPUs it had.
#[derive(Debug)]
pub struct Pinned {
    cpu: usize,
    before: CpuSet,
    /// What is restored is the affinity of the thread that made it.
    _thread: PhantomData<*mut ()>,
}

impl Pinned {
    /// Binds the calling thread to the first CPU it may use, whichever that is: CPU 0 need not be among them.
    ///
    /// # Errors
    ///
    /// When it may use none that this can name, or the system refuses.
    pub fn anywhere() -> Result<Self, PinError> {
        let before = affinity()?;
        let cpu = allowed_in(&before).next().ok_or(PinError::None)?;
        Self::bind(cpu, before)
    }

    /// Binds the calling thread to this CPU.
    ///
    /// # Errors
    ///
    /// When the thread may not use it, or the system refuses.
    pub fn to(cpu: usize) -> Result<Self, PinError> {
        let before = affinity()?;
        if !allowed_in(&before).any(|allowed| allowed == cpu) {
            return Err(PinError::NotAllowed(cpu));
        }
        Self::bind(cpu, before)
    }

    /// The CPU.
    #[must_use]
    pub fn cpu(&self) -> usize {
        self.cpu
    }

    fn bind(cpu: usize, before: CpuSet) -> Result<Self, PinError> {
        let mut only = CpuSet::new();
        only.set(cpu);
        sched_setaffinity(None, &only).map_err(|error| PinError::System(error.into()))?;
        Ok(Self { cpu, before, _thread: PhantomData })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // CPUs that went offline meanwhile are left out by the system; if none is left it refuses, and there is nothing better to do.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// CPUs that the calling thread may use.
///
/// # Errors
///
/// The system's.
pub fn allowed() -> Result<Vec<usize>, PinError> {
    Ok(allowed_in(&affinity()?).collect())
}

fn affinity() -> Result<CpuSet, PinError> {
    sched_getaffinity(None).map_err(|error| PinError::System(error.into()))
}

fn allowed_in(set: &CpuSet) -> impl Iterator<Item = usize> {
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu))
}

/// A thread was not bound.
#[derive(Debug)]
#[non_exhaustive]
pub enum PinError {
    /// The thread may use no CPU.
    None,
    /// The thread may not use this CPU, or there is none of this number.
    NotAllowed(usize),
    /// The system refused.
    System(io::Error),
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("this thread may use no CPU"),
            Self::NotAllowed(cpu) => write!(f, "this thread may not use CPU {cpu}"),
            Self::System(error) => write!(f, "the affinity of this thread: {error}"),
        }
    }
}

impl std::error::Error for PinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System(error) => Some(error),
            _ => None,
        }
    }
}
