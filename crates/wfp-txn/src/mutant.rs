//! Steps that the strategies rest on, each of which can be left out under `--cfg loom`, to show that some model misses it.

/// A step that can be left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step(#[cfg_attr(not(loom), expect(dead_code, reason = "read by models"))] &'static str);

impl Step {
    /// Whether to take the step: always, outside the model checker.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) const fn is_taken(self) -> bool {
        true
    }

    /// Whether to take the step: unless the environment variable `WFP_TXN_MUTANT` names it.
    #[cfg(loom)]
    pub(crate) fn is_taken(self) -> bool {
        static MUTANT: std::sync::OnceLock<Option<std::string::String>> = std::sync::OnceLock::new();
        MUTANT.get_or_init(|| std::env::var("WFP_TXN_MUTANT").ok()).as_deref() != Some(self.0)
    }
}

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $where:literal;)*) => {
        $($(#[$doc])* #[doc = concat!("In `", $where, "`.")] pub(crate) const $name: Step = Step(stringify!($name));)*
    };
}

steps! {
    /// A thread waits for its ticket rather than for any free session: FIFO.
    SESSIONS_IN_ORDER = "sessions";
    /// A thread waits until a session is free: mutual exclusion.
    SESSIONS_ONE_EACH = "sessions";
    /// A thread that ends its transaction wakes the one whose turn it is.
    SESSIONS_RING_NEXT = "sessions";
    /// A thread that takes one of several free sessions wakes the next one in line.
    SESSIONS_RING_ON = "sessions";
    /// A panic in the work gives the session back.
    SESSIONS_LEAVE_ON_PANIC = "sessions";
    /// A panic in the work aborts the transaction.
    SESSIONS_ABORT_ON_PANIC = "sessions";
    /// A thread that is inside a transaction is refused.
    SESSIONS_REFUSE_NESTED = "sessions";
    /// A member waits for its turn.
    GROUPED_IN_ORDER = "grouped";
    /// A member that passes the transaction on wakes the next one.
    GROUPED_RING_NEXT = "grouped";
    /// Whoever commits tells the members, and wakes them.
    GROUPED_RING_MEMBERS = "grouped";
    /// A member that fails after modifying something takes the transaction down with it.
    GROUPED_ABORT_ON_FAILURE = "grouped";
    /// The others of a lost transaction are told to do their part again.
    GROUPED_TELL_TO_REPLAY = "grouped";
    /// After a lost transaction the line starts again with its first member.
    GROUPED_REWIND = "grouped";
    /// A member that failed with others before it must show that it fails alone as well.
    GROUPED_BARRIER = "grouped";
    /// A panic in a member's work aborts the transaction and lets the others go on.
    GROUPED_LEAVE_ON_PANIC = "grouped";
    /// Whoever comes to the place of a member that panicked passes over it.
    GROUPED_SKIP_GONE = "grouped";
    /// A member's place is its own until it has been told.
    GROUPED_OWN_PLACE = "grouped";
    /// A thread that is inside a transaction is refused.
    GROUPED_REFUSE_NESTED = "grouped";
    /// Of those that share a handle, the last one to leave closes it.
    RETRYING_LAST_CLOSES = "retrying";
}
