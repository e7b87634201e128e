//! The seam: what a ring asks of its memory.
//!
//! The algorithms name positions, never addresses. [`Mapped`](crate::Mapped) answers over real memory; under `cfg(loom)` a model answers with the
//! model checker's cells; a driver may answer with its kernel's own atomics.

use core::sync::atomic;

use crate::header::HEADER_SIZE;
use crate::{Geometry, Header, Order};

/// An atomic position: a byte counter of the machine's word size that only grows and wraps.
pub trait Position {
    /// Loads.
    fn load(&self, order: Order) -> usize;

    /// Loads a value that a compare-exchange of the same thread will be tried on.
    ///
    /// A model checker may have to look at this as a read-modify-write to find every interleaving; everywhere else it is a load.
    #[inline(always)]
    fn load_for_update(&self, order: Order) -> usize {
        self.load(order)
    }

    /// Stores.
    fn store(&self, value: usize, order: Order);

    /// Adds, wrapping, and gives the value before.
    fn fetch_add(&self, value: usize, order: Order) -> usize;

    /// Stores `new` if the value is `current`; a failure loads relaxed and gives what it found. May fail spuriously.
    ///
    /// # Errors
    /// The value that was there instead.
    fn compare_exchange_weak(&self, current: usize, new: usize, order: Order) -> Result<usize, usize>;
}

/// The first word of a record header.
pub trait Length {
    /// Loads.
    fn load(&self, order: Order) -> u32;
    /// Stores.
    fn store(&self, value: u32, order: Order);
    /// Stores and gives what was there.
    fn swap(&self, value: u32, order: Order) -> u32;
}

/// One bit for each eight bytes of the ring, a word at a time.
pub trait Marks {
    /// Loads.
    fn load(&self, order: Order) -> usize;
    /// Sets bits, gives the word before.
    fn fetch_or(&self, bits: usize, order: Order) -> usize;
    /// Keeps only `bits`, gives the word before.
    fn fetch_and(&self, bits: usize, order: Order) -> usize;
}

/// The data area alone, for whoever goes from record to record: few enough words to stay in registers while records are read.
pub trait Area: Copy {
    /// First header words.
    type Length: Length;

    /// The length word of the header at `position`, a multiple of eight.
    fn length(&self, position: usize) -> &Self::Length;

    /// `position`, less what it is above a multiple of eight; or any other position of the same bytes.
    ///
    /// What a reader waits for, record after record: memory that masks positions anyway has it for nothing.
    #[inline(always)]
    fn align(&self, position: usize) -> usize {
        position & !(HEADER_SIZE - 1)
    }

    /// The header at `position` will be looked at soon. Whatever the position, this changes nothing but time.
    #[inline(always)]
    fn prefetch(&self, position: usize) {
        let _ = position;
    }
}

/// Memory that has nothing smaller to go over.
impl<M: Memory> Area for &M {
    type Length = M::Length;

    #[inline(always)]
    fn length(&self, position: usize) -> &M::Length {
        Memory::length(*self, position)
    }
}

/// The memory of a ring as one side sees it.
///
/// Positions and payload offsets are trusted to come from this crate's algorithms: [`Claim`] and [`Extent`] cannot be made elsewhere.
pub trait Memory {
    /// Positions.
    type Position: Position;
    /// First header words.
    type Length: Length;
    /// The data area; `&'m Self` where nothing is gained by another.
    type Area<'m>: Area<Length = Self::Length>
    where
        Self: 'm;

    /// The sizes.
    fn geometry(&self) -> Geometry;

    /// `consumer_pos`: written by the consumer, read by producers, who do not trust it.
    fn consumer_position(&self) -> &Self::Position;
    /// `producer_pos`: written by producers, read by everyone.
    fn producer_position(&self) -> &Self::Position;
    /// `pending_pos`: written and read by producers: the oldest record that may still be busy.
    fn pending_position(&self) -> &Self::Position;

    /// `overwrite_pos`: written and read by producers, read by readers: the oldest record that is still whole in an overwriting ring.
    fn overwrite_position(&self) -> &Self::Position;

    /// What the producing side keeps for itself. Not part of the ring.
    fn private(&self) -> &Private<Self::Position>;

    /// The data area.
    fn area(&self) -> Self::Area<'_>;
    /// The length word of the header at `position`, a multiple of eight.
    fn length(&self, position: usize) -> &Self::Length;
    /// Writes both header words of a record that was just claimed.
    fn initialise(&self, claim: &mut Claim, header: Header);
    /// Writes `bytes` into the claimed payload from `offset` on; what would fall outside is not written.
    fn write(&self, claim: &mut Claim, offset: usize, bytes: &[u8]);
    /// Reads the payload from `offset` on into `bytes`; what would come from outside is not read.
    fn read(&self, extent: &Extent, offset: usize, bytes: &mut [u8]);

    /// A full barrier.
    ///
    /// This one and the next are those of the machine: memory whose words are other atomics, a model checker's say, has barriers of its own for both.
    #[inline(always)]
    fn fence(&self, order: Order) {
        atomic::fence(order.ordering());
    }

    /// A full barrier right after a read-modify-write of this thread, which on some machines is one already (`smp_mb__after_atomic`).
    #[inline(always)]
    fn fence_after_swap(&self, order: Order) {
        // A locked instruction is a full barrier on x86: only the compiler has to be told.
        if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
            atomic::compiler_fence(order.ordering());
        } else {
            atomic::fence(order.ordering());
        }
    }
}

/// Memory whose payloads are plain bytes at an address.
pub trait Contiguous: Memory {
    /// The payload of a record its owner still writes.
    fn claimed<'a>(&'a self, claim: &'a Claim) -> &'a [u8];
    /// The same, to write.
    fn claimed_mut<'a>(&'a self, claim: &'a mut Claim) -> &'a mut [u8];
    /// The payload of a published record.
    fn published<'m, 'e>(area: Self::Area<'m>, extent: &'e Extent) -> &'e [u8]
    where
        Self: 'm,
        'm: 'e;
}

/// Memory whose payloads can be copied while somebody may be writing over them.
pub trait Racy: Memory {
    /// Copies the payload of the record at `position`, torn or not, as much as `bytes` holds.
    fn copy(&self, position: usize, bytes: &mut [u8]);
}

/// Words that the producing side keeps for itself, beside the ring.
#[derive(Debug, Default)]
pub struct Private<P> {
    /// 1 while a wakeup is owed that a dropped reservation could not report.
    pub(crate) owed_wakeup: P,
    /// Commits, counted for a record watermark only.
    pub(crate) commits: P,
    /// Reservations made, counted only when asked for; the three next likewise.
    pub(crate) reserved: P,
    pub(crate) submitted: P,
    pub(crate) discarded: P,
    /// Reservations refused, by reason.
    pub(crate) full: P,
    pub(crate) outstanding: P,
    pub(crate) too_long: P,
}

impl<P> Private<P> {
    /// Makes each word with `zero`.
    pub fn new(zero: impl Fn() -> P) -> Self {
        Self {
            owed_wakeup: zero(),
            commits: zero(),
            reserved: zero(),
            submitted: zero(),
            discarded: zero(),
            full: zero(),
            outstanding: zero(),
            too_long: zero(),
        }
    }
}

/// The default of [`Publication::spins`]: about a microsecond.
pub(crate) const SPINS: u32 = 128;

/// Leaves cache lines to somebody else for a moment.
#[cold]
pub(crate) fn make_way(spins: u32) {
    for _ in 0..spins {
        core::hint::spin_loop();
    }
}

/// What many producers share among themselves, in memory no consumer can reach.
pub trait Publication {
    /// Positions.
    type Position: Position;
    /// Mark words.
    type Marks: Marks;

    /// The end of the last claimed record: at or ahead of `producer_pos`.
    fn reserve_position(&self) -> &Self::Position;
    /// The mark word that holds the bit of slot `slot` (eight bytes each, counted from the start of the data) and the bit.
    fn mark(&self, slot: usize) -> (&Self::Marks, usize);
    /// For how many slots there are marks.
    fn slots(&self) -> usize;

    /// How many spin-loop hints a producer spends, once for each reservation, when it sees that somebody has claimed space but not published it yet.
    ///
    /// Going on at once would be right too, but cache lines would go back and forth between the two for every record; made way for, the other one
    /// gets through a run of records. It is asked for by each reservation, so that the answer may depend on the context: whoever has just interrupted the
    /// other one on the same CPU gains nothing by spinning. 0 does not even look.
    #[inline]
    fn spins(&self) -> u32 {
        SPINS
    }
}

/// The exclusive right to one record's bytes, from reservation to commit. Only a producer of this crate makes one.
#[derive(Debug)]
pub struct Claim {
    position: usize,
    length: usize,
}

impl Claim {
    pub(crate) const fn new(position: usize, length: usize) -> Self {
        Self { position, length }
    }

    /// Position of the header.
    #[inline]
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Payload bytes.
    #[inline]
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }
}

/// The right to read one published record's payload, until it is released. Only a consumer of this crate makes one.
#[derive(Debug)]
pub struct Extent {
    position: usize,
    length: usize,
}

impl Extent {
    pub(crate) const fn new(position: usize, length: usize) -> Self {
        Self { position, length }
    }

    /// Position of the header.
    #[inline]
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Payload bytes.
    #[inline]
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }
}
