//! Every memory ordering of the barrier and of the hand-over, by name, with its partner.
//!
//! The algorithms never write an [`Ordering`] of their own: they pass one of these. A model-checked [`Word`](crate::Word) can therefore weaken a single site and show that
//! some model turns red.

use core::sync::atomic::Ordering;

/// One place in the algorithms where an ordering matters.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    ordering: Ordering,
    site: &'static str,
}

impl Order {
    /// The ordering to use.
    #[inline(always)]
    #[must_use]
    pub const fn ordering(self) -> Ordering {
        self.ordering
    }

    /// The site's name, as in `sites::ALL`.
    #[must_use]
    pub const fn site(self) -> &'static str {
        self.site
    }
}

macro_rules! sites {
    ($($(#[$doc:meta])* $name:ident = $ordering:ident;)*) => {
        /// The sites.
        pub mod sites {
            use super::{Order, Ordering};

            $($(#[$doc])* pub const $name: Order = Order { ordering: Ordering::$ordering, site: stringify!($name) };)*

            /// Every site, for tools that go over all of them.
            pub const ALL: &[Order] = &[$($name),*];
        }
    };
}

sites! {
    // ---- barrier ----

    /// Whoever comes looks who is here. Only a guess for [`BARRIER_ARRIVE`].
    BARRIER_LOOK = Relaxed;
    /// Whoever comes counts itself, or, as the last one, opens. Partners: itself in the others, through whose additions it goes as one release sequence, and
    /// [`BARRIER_SEE`]: what anyone did before the barrier is done for everyone after it.
    BARRIER_ARRIVE = AcqRel;
    /// Whoever waits looks whether it is open. Partner: [`BARRIER_ARRIVE`] of the last one.
    BARRIER_SEE = Acquire;
    /// Whoever gives up takes itself out of the count. Publishes nothing; as an addition it leaves the release sequence whole.
    BARRIER_WITHDRAW = Relaxed;

    // ---- hand-over ----

    /// The giver looks whether the place is free. Partner: [`TAKER_FREES`]: the taker has read what was there.
    GIVER_LOOKS = Acquire;
    /// The giver marks the place as taken. Partner: [`TAKER_LOOKS`]: the sample is written.
    GIVER_GIVES = Release;
    /// The taker looks whether there is a sample. Partner: [`GIVER_GIVES`].
    TAKER_LOOKS = Acquire;
    /// The taker marks the place as free. Partner: [`GIVER_LOOKS`].
    TAKER_FREES = Release;
    /// The words of a pair. Nobody else touches them meanwhile, by the four above.
    PAIR = Relaxed;
}
