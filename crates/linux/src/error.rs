//! What the kernel refused.

use std::fmt;
use std::io;

use crate::capability::{Capability, missing};
use crate::sys::Errno;

/// A call that the kernel refused: which, for what, why, and what may be done about it.
///
/// Displays as one line. [`log`](Self::log) has more lines where the verifier or the type checker had something to say.
#[derive(Debug)]
pub struct Error {
    call: &'static str,
    errno: Errno,
    /// What it was about: ``program `count` (xdp)``; empty if about nothing in particular.
    subject: String,
    hint: String,
    log: String,
}

impl Error {
    pub(crate) fn new(call: &'static str, errno: Errno) -> Self {
        Self { call, errno, subject: String::new(), hint: String::new(), log: String::new() }
    }

    /// About what.
    pub(crate) fn of(self, subject: impl fmt::Display) -> Self {
        Self { subject: subject.to_string(), ..self }
    }

    /// What the call takes; if rights are what is missing, the hint becomes which.
    pub(crate) fn needs(self, capabilities: &[Capability]) -> Self {
        if !matches!(self.errno, Errno::PERM | Errno::ACCESS) || !self.hint.is_empty() {
            return self;
        }
        let missing = missing(capabilities);
        let hint = if missing.is_empty() {
            "this process has the capabilities for it: a seccomp filter, kernel lockdown or a user namespace forbids it"
                .to_owned()
        } else {
            let names: Vec<&str> = missing.iter().map(|capability| capability.name()).collect();
            format!("this process lacks {}", names.join(" and "))
        };
        Self { hint, ..self }
    }

    /// What to do about it, or what it means here.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    pub(crate) fn with_log(self, log: String) -> Self {
        Self { log, ..self }
    }

    /// The call: `BPF_PROG_LOAD`, `mmap`, `perf_event_open`, …
    #[must_use]
    pub fn call(&self) -> &'static str {
        self.call
    }

    /// The error number, positive.
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.errno.raw_os_error()
    }

    /// What the call was about: the program, the map, the place; empty if nothing in particular.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What the verifier (or the type checker) wrote, its last part; empty if nothing.
    #[must_use]
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Whether the kernel refused for want of rights.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(self.errno, Errno::PERM) || (self.errno == Errno::ACCESS && self.log.is_empty())
    }

    /// The line of the log that says why: the last one that is not its summary.
    fn reason(&self) -> Option<&str> {
        let is_summary = |line: &&str| {
            line.is_empty()
                || ["processed ", "verification time", "stack depth"]
                    .iter()
                    .any(|start| line.starts_with(start))
        };
        self.log.lines().rev().map(str::trim).find(|line| !is_summary(line))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.call)?;
        if !self.subject.is_empty() {
            write!(f, " of {}", self.subject)?;
        }
        // The kernel's own number, which the C library has no text for.
        if self.errno() == ENOTSUPP {
            f.write_str(": not supported by this kernel (ENOTSUPP)")?;
        } else {
            write!(f, ": {}", io::Error::from_raw_os_error(self.errno()))?;
        }
        if let Some(reason) = self.reason() {
            write!(f, ": {reason}")?;
        }
        if !self.hint.is_empty() {
            write!(f, ": {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(Self::from_raw_os_error(error.errno()).kind(), error)
    }
}

const ENOTSUPP: i32 = 524;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_call_subject_reason_and_number() {
        let error = Error::new("BPF_PROG_LOAD", Errno::ACCESS)
            .of("program `count`")
            .with_log("0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n".to_owned());
        assert_eq!(
            error.to_string(),
            "BPF_PROG_LOAD of program `count`: Permission denied (os error 13): R0 !read_ok"
        );
        assert!(!error.is_permission(), "the verifier's EACCES is about the program");
        assert_eq!((error.call(), error.errno(), error.subject()), ("BPF_PROG_LOAD", 13, "program `count`"));
        let unknown = Error::new("BPF_MAP_CREATE", Errno::from_raw_os_error(524));
        assert_eq!(unknown.to_string(), "BPF_MAP_CREATE: not supported by this kernel (ENOTSUPP)");
    }
}
