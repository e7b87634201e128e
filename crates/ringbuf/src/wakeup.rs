//! When a consumer is woken.

bitflags::bitflags! {
    /// How a commit decides on waking the consumer; the bits of Linux's `BPF_RB_*` flags.
    ///
    /// Empty is adaptive: wake exactly when the consumer has read everything before this record and so may be asleep.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SubmitFlags: u64 {
        /// Do not wake, whatever the consumer does (`BPF_RB_NO_WAKEUP`).
        const NO_WAKEUP = 1;
        /// Wake, wherever the consumer stands (`BPF_RB_FORCE_WAKEUP`). Wins over `NO_WAKEUP`.
        const FORCE_WAKEUP = 2;
    }
}

impl SubmitFlags {
    /// What a commit says without looking where the consumer stands; `None` if it has to.
    #[inline(always)]
    pub(crate) const fn verdict(self) -> Option<Wakeup> {
        if self.contains(Self::FORCE_WAKEUP) {
            Some(Wakeup::Needed)
        } else if self.contains(Self::NO_WAKEUP) {
            Some(Wakeup::NotNeeded)
        } else {
            None
        }
    }
}

/// What a commit asks of the embedder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a consumer that sleeps stays asleep unless somebody wakes it"]
#[expect(clippy::exhaustive_enums, reason = "a wakeup is due or it is not")]
pub enum Wakeup {
    /// Wake the consumer: it may have found the ring empty.
    Needed,
    /// The consumer is awake, or does not want to be woken.
    NotNeeded,
}

impl Wakeup {
    /// Is a wakeup due?
    #[inline]
    #[must_use]
    pub const fn is_needed(self) -> bool {
        matches!(self, Self::Needed)
    }
}

/// How much must be unread before an adaptive commit asks for a wakeup.
///
/// A consumer that reads all there is before it sleeps is never left asleep with as much unread, or more. What is less waits, as long as nobody forces a
/// wakeup: pair a watermark with a time-out. A refused reservation does not wake either; whoever sees one may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Watermark {
    /// That many bytes, headers and padding included; at most half the ring. Exact: it follows from positions alone.
    Bytes(usize),
    /// That many commits since the last such wakeup, wherever the consumer stands (`wakeup_events` of a perf ring). A record that held up others which
    /// were committed before it asks for a wakeup at once.
    Records(usize),
    /// Any record: Linux's rule.
    #[default]
    None,
}
