//! Status codes, kept as they came, and what they mean for a transaction.

use core::fmt;

use crate::codes::{Code, FOREIGN, is_channel};

/// What a call to the engine gave: an NTSTATUS in the kernel, an HRESULT or a Win32 error in user mode. Never translated, never lost.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(u32);

impl Status {
    /// The engine's code as it came.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The engine's code as it came.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The filter engine's own code, whichever of the two prefixes it came with.
    #[must_use]
    pub const fn code(self) -> Option<Code> {
        match self.prefix() {
            Some(_) => Code::from_low_word(self.low_word()),
            None => None,
        }
    }

    /// The side whose prefix it carries.
    #[must_use]
    pub const fn prefix(self) -> Option<Prefix> {
        match self.0 & 0xFFFF_0000 {
            0xC022_0000 => Some(Prefix::Kernel),
            0x8032_0000 => Some(Prefix::User),
            _ => None,
        }
    }

    /// What it means when `call` gives it.
    ///
    /// The same code can mean different things: that there is no such filter is what a deletion wanted, and an answer that got lost
    /// matters only when it was a commit's, since whatever else was done is undone with the session.
    #[must_use]
    pub fn class(self, call: Call) -> Class {
        let is = |code| self.code() == Some(code);
        match (self.listed(), call) {
            (Class::AlreadySo, Call::Delete) => Class::AlreadySo,
            (Class::AlreadySo, _) => Class::Permanent,
            (Class::Unknown, Call::Commit) => Class::Unknown,
            (Class::Unknown, _) => Class::Reopen,
            // Somebody who shares the session ended our transaction, and only they know how.
            (_, Call::Commit) if is(Code::NoTxnInProgress) => Class::Unknown,
            (_, Call::Abort) if is(Code::NoTxnInProgress) || is(Code::TxnAborted) => Class::AlreadySo,
            (_, Call::Close) if is(Code::SessionAborted) => Class::AlreadySo,
            // Calls that must not be made inside a transaction say so with this code.
            (_, call) if is(Code::TxnInProgress) && call != Call::Begin => Class::CallersBug,
            (_, call) if is(Code::InUse) && call != Call::Delete => Class::Permanent,
            (class, _) => class,
        }
    }

    /// Whether anybody has written down what it means.
    pub(crate) fn is_known(self) -> bool {
        self.code().is_some() || self.foreign().is_some()
    }

    fn listed(self) -> Class {
        match (self.code(), self.foreign()) {
            (Some(code), _) => code.class(),
            (None, Some((_, class))) => class,
            (None, None) if is_channel(self.win32()) => Class::Unknown,
            (None, None) => Class::Permanent,
        }
    }

    fn foreign(self) -> Option<(&'static str, Class)> {
        let raw = self.win32();
        FOREIGN.iter().find(|(known, ..)| *known == raw).map(|(_, name, class)| (*name, *class))
    }

    /// A Win32 error in an HRESULT is that error.
    const fn win32(self) -> u32 {
        match self.0 & 0xFFFF_0000 {
            0x8007_0000 => self.0 & 0xFFFF,
            _ => self.0,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low word is what is wanted")]
    const fn low_word(self) -> u16 {
        self.0 as u16
    }
}

/// The number in hexadecimal, then the name where there is one.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010X}", self.0)?;
        match (self.code(), self.prefix(), self.foreign()) {
            (Some(code), Some(prefix), _) => write!(f, " {}{}", prefix.name(), code.name()),
            (_, _, Some((name, _))) => write!(f, " {name}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::LowerHex for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl fmt::UpperHex for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::UpperHex::fmt(&self.0, f)
    }
}

impl core::error::Error for Status {}

/// Which side's form a code of the filter engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are two sides")]
pub enum Prefix {
    /// `STATUS_FWP_*`, 0xC022xxxx.
    Kernel,
    /// `FWP_E_*`, 0x8032xxxx.
    User,
}

impl Prefix {
    /// The upper half of the status.
    #[must_use]
    pub const fn high_word(self) -> u32 {
        match self {
            Self::Kernel => 0xC022_0000,
            Self::User => 0x8032_0000,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "STATUS_FWP_",
            Self::User => "FWP_E_",
        }
    }
}

/// What a status means for the transaction whose call gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// What the call wanted to reach holds already: a success under another name.
    AlreadySo,
    /// The calling code is wrong; trying again does not help.
    CallersBug,
    /// The call had no effect and may be made again later.
    NothingChanged,
    /// The engine refuses for good, given what it holds now.
    Permanent,
    /// The session is gone, and with it the transaction: close, open, and do all of the transaction again.
    Reopen,
    /// The transaction is gone, the session is not: do all of it again.
    Replay,
    /// The commit may have happened or not: look before doing anything again.
    Unknown,
}

/// A call to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Call {
    /// `FwpmTransactionAbort0`
    Abort,
    /// `Fwpm*Add*`, and other calls that modify without deleting.
    Add,
    /// `FwpmTransactionBegin0`
    Begin,
    /// `FwpmEngineClose0`
    Close,
    /// `FwpmTransactionCommit0`
    Commit,
    /// `Fwpm*Delete*`
    Delete,
    /// `FwpmEngineOpen0`
    Open,
    /// Calls that modify nothing.
    Read,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Abort => "aborting the transaction",
            Self::Add => "adding an object",
            Self::Begin => "beginning a transaction",
            Self::Close => "closing the session",
            Self::Commit => "committing the transaction",
            Self::Delete => "deleting an object",
            Self::Open => "opening a session",
            Self::Read => "reading from the engine",
        })
    }
}
