//! Every memory ordering of the table, by name, with its partner, and the byte that they are used on.
//!
//! The table never writes an [`Ordering`] of its own: it passes one of these. Under `cfg(loom)` the byte is the
//! model checker's, and the environment variable `EBPF_PROGTABLE_MUTANT` names a site whose ordering is weakened
//! to relaxed, or, with `-acquire` or `-release` after the name, loses that half of it: some model has to turn
//! red for each.

#[cfg(not(loom))]
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering;

#[cfg(loom)]
use loom::sync::atomic::AtomicU8;

/// One place where an ordering matters.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    ordering: Ordering,
    #[cfg(loom)]
    site: &'static str,
}

macro_rules! sites {
    ($($(#[$doc:meta])* $name:ident = $ordering:ident;)*) => {
        $(
            $(#[$doc])*
            pub(crate) const $name: Order = Order {
                ordering: Ordering::$ordering,
                #[cfg(loom)]
                site: stringify!($name),
            };
        )*
    };
}

sites! {
    /// Anyone loads whether a program is to be loaded. Partner: [`CHANGE`]: who sees a change also sees what its
    /// author wrote before it.
    AUTOLOAD = Acquire;
    /// Whoever changes a program looks first whether it is frozen. Partner: [`FREEZE_PROGRAM`]: who is refused
    /// also sees what the loader wrote before it froze the table.
    LOOK = Acquire;
    /// The change itself, by compare-exchange. Partners: [`AUTOLOAD`] and [`FREEZE_PROGRAM`]. It need not acquire:
    /// what earlier changes published, a later one leaves published.
    CHANGE = Release;
    /// Whoever freezes the table freezes each program. The acquire half's partner is [`CHANGE`]: what the author
    /// of an accepted change wrote before it is seen here. The release half's is [`LOOK`].
    FREEZE_PROGRAM = AcqRel;
    /// Whoever changes a program through the table looks first whether the table is frozen. Partner:
    /// [`FREEZE_TABLE`]: refused here, it freezes the programs for the loader, and so passes on what that wrote.
    FROZEN = Acquire;
    /// The first to swap this has frozen the table. The release half's partners are [`FROZEN`] and the acquire
    /// half of the same swap by others, who thereby see what the first one wrote before.
    FREEZE_TABLE = AcqRel;
}

/// One byte that threads share.
pub(crate) struct Byte(AtomicU8);

impl Byte {
    #[cfg(not(loom))]
    pub(crate) const fn new(value: u8) -> Self {
        Self(AtomicU8::new(value))
    }

    #[cfg(loom)]
    pub(crate) fn new(value: u8) -> Self {
        Self(AtomicU8::new(value))
    }

    pub(crate) fn load(&self, order: Order) -> u8 {
        self.0.load(order.effective())
    }

    /// A load whose value a compare-exchange confirms.
    pub(crate) fn load_for_update(&self, order: Order) -> u8 {
        #[cfg(not(loom))]
        let value = self.0.load(order.effective());
        // A load that is followed by a compare-exchange of the same thread hides other threads' accesses from
        // loom's search (tokio-rs/loom#166).
        #[cfg(loom)]
        let value = self.0.fetch_add(0, order.effective());
        value
    }

    /// Whether the value was `current`, and has been replaced.
    pub(crate) fn replace(&self, current: u8, new: u8, order: Order) -> bool {
        self.0.compare_exchange(current, new, order.effective(), Ordering::Relaxed).is_ok()
    }

    pub(crate) fn swap(&self, value: u8, order: Order) -> u8 {
        self.0.swap(value, order.effective())
    }

    pub(crate) fn fetch_or(&self, bits: u8, order: Order) -> u8 {
        self.0.fetch_or(bits, order.effective())
    }
}

impl Order {
    #[cfg(not(loom))]
    const fn effective(self) -> Ordering {
        self.ordering
    }

    #[cfg(loom)]
    fn effective(self) -> Ordering {
        use std::sync::OnceLock;

        static MUTANT: OnceLock<std::string::String> = OnceLock::new();
        let mutant = MUTANT.get_or_init(|| std::env::var("EBPF_PROGTABLE_MUTANT").unwrap_or_default());
        match mutant.strip_prefix(self.site) {
            Some("") => Ordering::Relaxed,
            Some("-acquire") => Ordering::Release,
            Some("-release") => Ordering::Acquire,
            _ => self.ordering,
        }
    }
}
