//! Errors: what failed, with which status, and what that means for the caller.

use core::fmt;
use core::time::Duration;

use crate::{Call, Class, Status};

/// A call to the engine that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineError {
    /// The call.
    pub call: Call,
    /// What it gave.
    pub status: Status,
}

impl EngineError {
    /// A call and what it gave.
    #[must_use]
    pub const fn new(call: Call, status: Status) -> Self {
        Self { call, status }
    }

    /// What that means.
    #[must_use]
    pub fn class(&self) -> Class {
        self.status.class(self.call)
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.status)
    }
}

impl core::error::Error for EngineError {}

/// An operation inside a transaction that was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperationError {
    /// The engine ended the transaction at an earlier call, with the error given here. The engine was not asked again: outside a transaction the
    /// operation would have taken effect by itself.
    Ended(EngineError),
    /// The engine refused.
    Engine(EngineError),
    /// The operation modifies, the transaction is read-only. The engine was not asked.
    ReadOnly,
}

impl OperationError {
    /// The engine's status, unless the engine was not involved.
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        match self {
            Self::Ended(error) | Self::Engine(error) => Some(error.status),
            Self::ReadOnly => None,
        }
    }
}

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(error) => write!(f, "the transaction has ended already: {error}"),
            Self::Engine(error) => error.fmt(f),
            Self::ReadOnly => f.write_str("the transaction is read-only, the operation modifies"),
        }
    }
}

impl core::error::Error for OperationError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Ended(error) | Self::Engine(error) => Some(error),
            Self::ReadOnly => None,
        }
    }
}

/// Why a transaction did not end well. `X` is the error of the work inside it.
///
/// All but [`Unknown`](Self::Unknown) mean that *nothing* of the transaction is in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<X> {
    /// Not done, and trying again would not help.
    Failed {
        /// What the engine gave.
        error: EngineError,
        /// How often it was tried, this one included.
        attempts: u32,
    },
    /// Not done: it failed again and again, in ways that pass, until a bound of the [`Policy`](crate::Policy) was reached.
    GivenUp {
        /// What the engine gave last.
        error: EngineError,
        /// How often it was tried.
        attempts: u32,
        /// How long.
        elapsed: Duration,
    },
    /// Not done: the calling thread is inside a transaction of the same strategy already, and would wait for itself.
    Nested,
    /// Not done: the work gave this error, the transaction was aborted.
    Refused(X),
    /// The answer to the commit was lost: **all of the transaction is in the engine, or nothing of it**.
    ///
    /// What to check: look in a new read-only transaction for one object that the transaction added (or deleted). There (or gone):
    /// done. Otherwise: not done, and it can be done again. The session is closed, so nothing of it is still under way.
    ///
    /// A transaction that modified nothing is never unknown: it is done again.
    Unknown {
        /// What the engine gave.
        error: EngineError,
    },
}

impl<X> Error<X> {
    /// Whether the engine may hold what the transaction did.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// The engine's status as it came, where it was the engine that failed.
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        match self {
            Self::Failed { error, .. } | Self::GivenUp { error, .. } | Self::Unknown { error } => {
                Some(error.status)
            }
            Self::Nested | Self::Refused(_) => None,
        }
    }
}

impl<X: fmt::Display> fmt::Display for Error<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { error, attempts: 1 } => write!(f, "not done: {error}"),
            Self::Failed { error, attempts } => write!(f, "not done, at attempt {attempts}: {error}"),
            Self::GivenUp { error, attempts, elapsed } => {
                write!(f, "not done, given up after {attempts} attempts in {elapsed:?}: {error}")
            }
            Self::Nested => {
                f.write_str("not done: this thread is inside a transaction of the same strategy already")
            }
            Self::Refused(refused) => write!(f, "not done, aborted: {refused}"),
            Self::Unknown { error } => write!(
                f,
                "done or not done, the answer was lost ({error}): look whether the transaction's objects are there"
            ),
        }
    }
}

impl<X: core::error::Error + 'static> core::error::Error for Error<X> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Failed { error, .. } | Self::GivenUp { error, .. } | Self::Unknown { error } => Some(error),
            Self::Nested => None,
            Self::Refused(refused) => Some(refused),
        }
    }
}
