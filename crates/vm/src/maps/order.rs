//! The orderings of hash maps, by name, with their partners, and the atomics and the lock that they are used on.
//!
//! [`Index`](super::index::Index) never writes an [`Ordering`] of its own: it passes one of these. Under `cfg(loom)` atomics, fences and the
//! lock are the model checker's, and the environment variable `EBPF_VM_MUTANT` names a site whose ordering is weakened to relaxed, whose fence
//! is left out, or whose step is not taken: some model has to turn red for each.

use core::sync::atomic::Ordering;
#[cfg(not(loom))]
use core::sync::atomic::{self, AtomicU32, AtomicUsize};

#[cfg(loom)]
use loom::sync::atomic::{self, AtomicU32, AtomicUsize};

/// One place where an ordering matters.
#[derive(Clone, Copy)]
pub(super) struct Order {
    ordering: Ordering,
    #[cfg(loom)]
    site: &'static str,
}

/// A step that can be left out under the model checker.
#[derive(Clone, Copy)]
pub(super) struct Step(#[cfg_attr(not(loom), expect(dead_code, reason = "read by models"))] &'static str);

macro_rules! sites {
    ($($(#[$doc:meta])* $name:ident = $ordering:ident;)*) => {
        $(
            $(#[$doc])*
            pub(super) const $name: Order = Order {
                ordering: Ordering::$ordering,
                #[cfg(loom)]
                site: stringify!($name),
            };
        )*
    };
}

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $which:literal;)*) => {
        $($(#[$doc])* #[doc = concat!("In: ", $which, ".")] pub(super) const $name: Step = Step(stringify!($name));)*
    };
}

sites! {
    // ---- lookups, which hold no lock ----

    /// A lookup loads how many buckets there are. Partner: [`BUCKETS_ADD`]: their chains are there.
    BUCKETS = Acquire;
    /// A lookup loads the bucket's number of changes before anything else of it. Partner: [`CHANGE`]: what was taken out before is not seen in the chain
    /// any more.
    BEGIN = Acquire;
    /// A lookup follows the chain. Partner: [`LINK_SET`].
    LINK = Acquire;
    /// Between comparing the key and looking whether the bucket has changed. Partner: [`FENCE_REUSE`]: who has met what was written into a slot
    /// sees that it was taken out before.
    FENCE_COMPARED = Acquire;
    /// A lookup loads the numbers again. Ordered by [`FENCE_COMPARED`].
    RECHECK = Relaxed;
    /// Words of keys. What they were before a change is told by [`FENCE_COMPARED`].
    KEY = Relaxed;

    // ---- writers, who hold the lock ----

    /// A writer loads links, numbers and keys, which only writers write: the lock orders them.
    OWN = Relaxed;
    /// A writer makes a chain lead to a slot, or past it. Partner: [`LINK`]: who comes to a slot sees its key and value; who misses one because a chain is
    /// taken apart sees the changes counted before, and that there are more buckets.
    LINK_SET = Release;
    /// A writer counts a change after it took a slot out of a chain. Partner: [`BEGIN`].
    CHANGE = Release;
    /// Before a writer writes into a slot that may have been in a chain, whoever took it out. Partner: [`FENCE_COMPARED`].
    FENCE_REUSE = Release;
    /// A writer makes the new buckets known. Partner: [`BUCKETS`].
    BUCKETS_ADD = Release;

    // ---- what LRU maps note ----

    /// Notes of use: numbers of slots, which nothing else is read on account of.
    NOTE = Relaxed;
}

steps! {
    /// A lookup looks whether its bucket has changed before it says what it has found.
    LOOK_AGAIN = "a lookup";
    /// A lookup that finds nothing looks whether there are more buckets than it knew of.
    COUNT_BUCKETS_AGAIN = "a lookup";
    /// Taking an entry out is counted.
    COUNT_REMOVAL = "a deletion";
    /// Replacing an entry is counted.
    COUNT_REPLACEMENT = "an update";
    /// Every step of taking a chain apart is counted.
    COUNT_SPLIT = "growth";
}

/// A number of a slot.
#[derive(Debug)]
pub(super) struct Link(AtomicU32);

impl Link {
    pub(super) fn new(slot: u32) -> Self {
        Self(AtomicU32::new(slot))
    }

    #[inline(always)]
    pub(super) fn load(&self, order: Order) -> u32 {
        self.0.load(order.effective())
    }

    #[inline(always)]
    pub(super) fn store(&self, slot: u32, order: Order) {
        self.0.store(slot, order.effective());
    }
}

/// As many bytes as the machine's own integer: a piece of a key, or a number of changes.
#[derive(Debug)]
pub(super) struct Number(AtomicUsize);

impl Number {
    pub(super) fn new(value: usize) -> Self {
        Self(AtomicUsize::new(value))
    }

    #[inline(always)]
    pub(super) fn load(&self, order: Order) -> usize {
        self.0.load(order.effective())
    }

    #[inline(always)]
    pub(super) fn store(&self, value: usize, order: Order) {
        self.0.store(value, order.effective());
    }

    #[inline(always)]
    pub(super) fn fetch_add(&self, value: usize, order: Order) -> usize {
        self.0.fetch_add(value, order.effective())
    }
}

#[inline(always)]
pub(super) fn fence(order: Order) {
    #[cfg(loom)]
    if is_mutant(order.site) {
        return;
    }
    atomic::fence(order.ordering);
}

impl Order {
    #[cfg(not(loom))]
    #[inline(always)]
    const fn effective(self) -> Ordering {
        self.ordering
    }

    #[cfg(loom)]
    fn effective(self) -> Ordering {
        if is_mutant(self.site) { Ordering::Relaxed } else { self.ordering }
    }
}

impl Step {
    /// Whether to take the step: always, outside the model checker.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(super) const fn is_taken(self) -> bool {
        true
    }

    #[cfg(loom)]
    pub(super) fn is_taken(self) -> bool {
        !is_mutant(self.0)
    }
}

#[cfg(loom)]
fn is_mutant(site: &str) -> bool {
    static MUTANT: std::sync::OnceLock<Option<std::string::String>> = std::sync::OnceLock::new();
    MUTANT.get_or_init(|| std::env::var("EBPF_VM_MUTANT").ok()).as_deref() == Some(site)
}

#[cfg(not(loom))]
pub(super) use self::spinning::Lock;

#[cfg(not(loom))]
mod spinning {
    use spin::{Mutex, MutexGuard};

    /// What writers hold.
    #[derive(Debug)]
    pub(in super::super) struct Lock<T>(Mutex<T>);

    impl<T> Lock<T> {
        pub(in super::super) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        #[inline]
        pub(in super::super) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock()
        }

        #[inline]
        pub(in super::super) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock()
        }
    }
}

#[cfg(loom)]
pub(super) use self::modelled::Lock;

#[cfg(loom)]
mod modelled {
    use loom::sync::{Mutex, MutexGuard};

    /// What writers hold, as the model checker sees it.
    #[derive(Debug)]
    pub(in super::super) struct Lock<T>(Mutex<T>);

    #[expect(clippy::unwrap_used, reason = "a model that has panicked is over")]
    impl<T> Lock<T> {
        pub(in super::super) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(in super::super) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }

        pub(in super::super) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}
