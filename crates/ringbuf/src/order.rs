//! Every memory ordering of the ring, by name, with its partner.
//!
//! The algorithms never write an [`Ordering`] of their own: they pass one of these. A model-checked memory can therefore weaken a
//! single site and show that some model turns red, which is how each of them earns its place.

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
    // ---- producers: reserve ----

    /// Producer loads `consumer_pos`. Partner: [`CONSUMER_RELEASE`]: what the consumer read there is over before the space is written again.
    RESERVE_CONSUMER = Acquire;
    /// Producer looks whether a predecessor is still at work. Only a reason to spin.
    RESERVE_PRODUCER = Relaxed;
    /// Producer loads the private reserve position before it claims space. Only a guess that the claim confirms.
    RESERVE_START = Relaxed;
    /// Producer claims space by compare-exchange. Hands no data over: headers go through [`PUBLISH`], freed space through [`RESERVE_CONSUMER`].
    RESERVE_CLAIM = Relaxed;
    /// Producer loads `pending_pos`. Partner: [`PENDING_ADVANCE`]: commits that the advancing producer saw are seen here too.
    PENDING_LOAD = Acquire;
    /// Producer loads `producer_pos`, the end of its walk over committed records. Partner: [`PUBLISH`]: headers below are initialised.
    PENDING_END = Acquire;
    /// Producer loads a length word in that walk. Partner: [`COMMIT`]: the committing producer is done with the payload.
    PENDING_LENGTH = Acquire;
    /// Producer advances `pending_pos` by compare-exchange. Partner: [`PENDING_LOAD`].
    PENDING_ADVANCE = Release;
    /// Producer writes the length word, busy. Becomes visible through [`PUBLISH`] or [`MARK_SET`].
    HEADER_INIT = Relaxed;

    // ---- producers: publish ----

    /// Producer looks whether `producer_pos` stands at its record. Partner: [`PUBLISH`] of the predecessor, whose header
    /// this producer's own publication vouches for as well.
    PUBLISH_TURN = Acquire;
    /// Producer moves `producer_pos` over an initialised header. Partners: [`CONSUMER_PRODUCER`], [`PENDING_END`], [`PUBLISH_TURN`].
    PUBLISH = Release;
    /// Producer marks its header as initialised for whoever moves `producer_pos` up to it. Partner: [`MARK_TAKE`].
    MARK_SET = Release;
    /// Producer takes a mark, and with it the duty to publish that record. Partner: [`MARK_SET`].
    MARK_TAKE = Acquire;
    /// Producer looks whether the mark it took is that of the record it came for. Ordered by [`MARK_TAKE`]: who marks the slot a lap later was let in by a
    /// `pending_pos`, and with it a `producer_pos`, beyond that record ([`PENDING_LOAD`]).
    MARK_CHECK = Relaxed;
    /// Producer looks whether there is a mark to take; [`MARK_TAKE`] decides.
    MARK_PEEK = Relaxed;
    /// Producer looks whether anybody claimed space behind its record. Ordered by [`FENCE_PUBLISHED`]: who claims it later than that finds, after
    /// [`FENCE_MARKED`], `producer_pos` moved.
    CLAIM_PEEK = Relaxed;
    /// Between setting a mark and looking at `producer_pos` again. Partner: [`FENCE_PUBLISHED`]: of the two at least one sees the other's write,
    /// so a marked record never stays unpublished.
    FENCE_MARKED = SeqCst;
    /// Between giving back the mark of a later lap and looking at `producer_pos` again. Partner: [`FENCE_PUBLISHED`], as for [`FENCE_MARKED`]: meanwhile the
    /// one who moved `producer_pos` there may have looked in vain.
    FENCE_RETURNED = SeqCst;
    /// Between moving `producer_pos` and looking for the next mark. Partner: [`FENCE_MARKED`].
    FENCE_PUBLISHED = SeqCst;

    // ---- producers: commit ----

    /// Producer swaps the final length word in. Partners: [`CONSUMER_LENGTH`], [`PENDING_LENGTH`]: the payload is written.
    COMMIT = Release;
    /// Between the commit and looking where the consumer stands. Partner: [`FENCE_CONSUMED`]: either the consumer sees the record or the
    /// producer sees that the consumer waits for it.
    FENCE_COMMITTED = SeqCst;
    /// Producer looks where the consumer stands, for the wakeup. A hint that [`FENCE_COMMITTED`] makes fresh enough.
    COMMIT_CONSUMER = Relaxed;

    /// Producer loads `producer_pos` to see how much is unread, for a watermark. Ordered by [`FENCE_COMMITTED`].
    COMMIT_PRODUCER = Relaxed;
    /// Counters: nothing is read on their account.
    TALLY = Relaxed;
    /// A dropped reservation leaves its wakeup to the next commit. A hand-over of one bit, of no data.
    OWED = Relaxed;

    // ---- overwriting ----

    /// Producer loads `overwrite_pos`. What it reads behind it, it knows from [`PENDING_LOAD`]; an old value fails the compare-exchange.
    OVERWRITE_LOAD = Relaxed;
    /// Producer loads a length word it is about to overwrite. Committed records only, seen through [`PENDING_LOAD`].
    OVERWRITE_LENGTH = Relaxed;
    /// Producer advances `overwrite_pos` by compare-exchange. Partner: [`READER_OVERWRITE`].
    OVERWRITE_ADVANCE = Release;
    /// Between advancing `overwrite_pos` and writing over what it gave up. Partner: [`FENCE_COPIED`]: a reader that copied new bytes sees the new
    /// position.
    FENCE_OVERWRITING = Release;
    /// Reader of an overwriting ring loads `overwrite_pos` before a record. Partner: [`OVERWRITE_ADVANCE`]: the `producer_pos` it loads next is not
    /// behind it.
    READER_OVERWRITE = Acquire;
    /// Between copying a record and looking whether it was overwritten meanwhile. Partner: [`FENCE_OVERWRITING`].
    FENCE_COPIED = Acquire;
    /// Reader looks at `overwrite_pos` after copying. Ordered by [`FENCE_COPIED`].
    READER_RECHECK = Relaxed;

    // ---- consumer ----

    /// Consumer loads `producer_pos`. Partner: [`PUBLISH`]: the headers below are initialised.
    CONSUMER_PRODUCER = Acquire;
    /// Consumer loads a length word. Partner: [`COMMIT`]: the payload is written.
    CONSUMER_LENGTH = Acquire;
    /// Consumer stores `consumer_pos`. Partner: [`RESERVE_CONSUMER`]: it is done with the payload.
    CONSUMER_RELEASE = Release;
    /// Between storing `consumer_pos` and the last look before it reports that nothing is there. Partner: [`FENCE_COMMITTED`].
    FENCE_CONSUMED = SeqCst;

    // ---- anyone ----

    /// Loads of positions for a report, oldest first. Partners: [`CONSUMER_RELEASE`], [`OVERWRITE_ADVANCE`]: what is loaded next is not behind.
    QUERY = Acquire;
    /// First loads and stores while the ring has one owner.
    SETUP = Relaxed;
}
