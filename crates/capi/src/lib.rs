//! The project's blocks behind a C ABI, for drivers written in C: rings, object files, filter transactions.
//!
//! A driver in Rust uses the blocks themselves. This is for the other ones: a static library for the driver's target and a header,
//! `include/ebpf_blocks.h`, which is generated from these sources. `crates/embed/kmod` is a Linux module that uses all of it: a ring in kernel
//! memory that processes map, written from process context, timers, hard interrupts and NMIs at once. `cargo xtask embed kmod` builds it and runs it.
//!
//! ```console
//! cargo rustc -p ebpf-capi --release --crate-type staticlib --target x86_64-unknown-none
//! ```
//!
//! # Example
//!
//! What C does, from Rust: a ring in plain memory, one record.
//!
//! ```
//! use core::ptr;
//! use ebpf_capi::{Answer, Ring, RingMemory, ebb_ring_init, ebb_ring_output, ebb_ring_private_words};
//!
//! let (mut consumer, mut producer, mut data) = ([0u64; 1], [0u64; 3], [0u64; 512]);
//! let mut private = vec![0usize; ebb_ring_private_words(4096)];
//! let mut ring = core::mem::MaybeUninit::<Ring>::uninit();
//! let memory = RingMemory {
//!     consumer_page: ptr::from_mut(&mut consumer).cast(),
//!     producer_page: ptr::from_mut(&mut producer).cast(),
//!     data: ptr::from_mut(&mut data).cast(),
//!     size: 4096,
//!     page_size: 4096,
//!     private_words: private.as_mut_ptr(),
//!     private_length: private.len(),
//!     mirrored: false,
//!     pages_from_data: false,
//!     spins: 0,
//! };
//! // SAFETY: the memory is as long as it says, and lives until the end of this function.
//! let made = unsafe { ebb_ring_init(ring.as_mut_ptr(), &memory) };
//! assert_eq!(made, Answer::Done as i32);
//! // SAFETY: the ring is made, and the payload is five bytes long.
//! let answer = unsafe { ebb_ring_output(ring.as_ptr(), b"hello".as_ptr().cast(), 5, 0) };
//! assert_eq!(answer, Answer::Wake as i32, "the consumer may sleep: wake it");
//! ```
//!
//! # What the embedder provides
//!
//! Rings and objects need nothing. Transactions wait and sleep, and so need the functions `ebb_os_*` that the header declares last: a mutex, a clock, a way
//! to sleep on a word. Who does not use transactions need not have them: a linker that drops unused sections does not ask.
//!
//! # Guarantees
//!
//! Those of `ebpf-ringbuf`, `ebpf-progtable` and `wfp-txn`, as far as C can be held to the contracts that each function states. Nothing is allocated but by
//! `ebb_os_mutex_new`, and nothing panics: a linked driver holds no code that could (`cargo xtask embed kmod` looks).
//!
//! # When not to use it
//!
//! From Rust, outside tests: the blocks' own types keep what these functions can only demand.
//!
//! # In interrupts
//!
//! `ebb_ring_*` and `ebb_reservation_*` may be called in any context, NMI included; the others in process context (`PASSIVE_LEVEL`).
#![no_std]

mod filters;
mod object;
mod os;
mod ring;

pub use filters::{
    EngineCalls, Filters, Transaction, Work, ebb_filters_destroy, ebb_filters_init, ebb_filters_transact,
    ebb_transaction_add, ebb_transaction_delete,
};
pub use object::{
    Object, ebb_object_autoload, ebb_object_freeze, ebb_object_open, ebb_object_program_count,
    ebb_object_program_name, ebb_object_set_autoload,
};
pub use ring::{
    Reservation, Ring, RingMemory, Tally, ebb_reservation_discard, ebb_reservation_submit, ebb_ring_init,
    ebb_ring_output, ebb_ring_private_words, ebb_ring_query, ebb_ring_reserve, ebb_ring_tally,
};

/// What a function says: negative is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[expect(clippy::exhaustive_enums, reason = "the header lists them all")]
pub enum Answer {
    /// Done; of a commit: the consumer need not be woken.
    Done = 0,
    /// Done, and the consumer is to be woken. Also the answer yes.
    Wake = 1,
    /// The ring is full: the consumer has not read enough.
    Full = -1,
    /// An older record is not committed, and holds up the ring.
    Outstanding = -2,
    /// No such record ever fits the ring.
    TooLong = -3,
    /// Sizes or positions are not those of a ring at rest, or there are too few private words.
    NoRing = -4,
    /// The bytes are not an object file, or not one that is understood; or there is no room for what it holds.
    NoObject = -5,
    /// There is no such program.
    NoProgram = -6,
    /// The choice has been made: it cannot be changed.
    Frozen = -7,
    /// Nothing of the transaction is in the engine; the status says why.
    NotDone = -8,
    /// This thread is inside a transaction of the same session already.
    Nested = -9,
    /// The answer to the commit was lost: all of it is in the engine, or nothing. Look.
    Unknown = -10,
}

/// For a kernel, which has no other. Nothing here panics: a linked driver must not contain it, which `cargo xtask embed` checks.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
