//! Every memory ordering of the rings, by name, with its partner.
//!
//! The algorithms never write an [`Ordering`] of their own: they pass one of these. A model-checked memory can therefore weaken a single site and show
//! that some model turns red, which is how each of them earns its place.

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
    // ---- writer ----

    /// Writer loads `data_tail`. Partner: [`READER_TAIL`]: what the reader read there is over before the space is written again. Linux relies on
    /// a control dependency here.
    WRITER_TAIL = Acquire;
    /// Writer stores `data_head`. Partners: [`READER_HEAD`], [`BACKWARD_HEAD`]: the records up to there are written.
    WRITER_HEAD = Release;
    /// Between storing `data_head` and writing over the oldest records of an overwriting ring. Partner: [`FENCE_COPIED`]: a reader that copied new
    /// bytes sees the head that was stored before them.
    FENCE_OVERWRITING = Release;

    // ---- reader ----

    /// Reader loads `data_head`. Partner: [`WRITER_HEAD`].
    READER_HEAD = Acquire;
    /// Reader stores `data_tail`. Partner: [`WRITER_TAIL`]: it is done with what is before.
    READER_TAIL = Release;
    /// Reader of an overwriting ring loads `data_head` before it copies. Partner: [`WRITER_HEAD`].
    BACKWARD_HEAD = Acquire;
    /// Between copying a record and looking whether it was overwritten meanwhile. Partner: [`FENCE_OVERWRITING`].
    FENCE_COPIED = Acquire;
    /// Reader of an overwriting ring looks at `data_head` after copying. Ordered by [`FENCE_COPIED`].
    BACKWARD_RECHECK = Relaxed;

    // ---- wakeups between threads of one program ----

    /// Writer counts an event for the whole set. Partner: itself, in the other writers: whoever counts the last event of a round has seen the heads
    /// of all the others, and so has the reader it wakes.
    SET_COUNT = AcqRel;
    /// Writer raises the readiness of its ring. Partner: [`READY_TAKE`]: the record that is worth a wakeup is there.
    READY_RAISE = Release;
    /// Reader takes the readiness. Partner: [`READY_RAISE`].
    READY_TAKE = Acquire;

    // ---- anyone ----

    /// First loads while the ring has one owner.
    SETUP = Relaxed;
}
