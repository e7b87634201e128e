//! Every public function of the blocks and the loader, linked for a machine without an operating system.
//!
//! Each module here names the functions of one block, with types filled in for those that are generic, and so has each compiled as it stands
//! (a closure that takes a record stands for all closures). `cargo xtask embed laws` links them, once all of them and once each block's, and looks at
//! what came out: there must be no way to a panic, no allocator, no floating point; how much stack each function takes, with all that it
//! calls, and how much code each block is. It also looks through the blocks' sources for public functions that are not named here.
//!
//! The smallest microcontrollers cannot exchange a word in one step: of the blocks they have `bench-gate` alone.
//!
//! Formatting is measured by itself: what an error's `Display` takes is mostly `core`'s.
#![no_std]
#![allow(clippy::unwrap_used, reason = "nothing here is ever run: it is compiled, linked and looked at")]

mod gate;
#[cfg(target_has_atomic = "ptr")]
mod loader;
#[cfg(target_has_atomic = "ptr")]
mod outside;
#[cfg(target_has_atomic = "ptr")]
mod perfbuf;
#[cfg(target_has_atomic = "ptr")]
mod progtable;
#[cfg(target_has_atomic = "ptr")]
mod ringbuf;
#[cfg(target_has_atomic = "ptr")]
mod transactions;

/// A function that has to be there. Where it is found by its name: `law BLOCK PATH`.
#[repr(transparent)]
struct Law(*const ());

// SAFETY: an address that nobody follows at run time.
unsafe impl Sync for Law {}

/// `laws! { "block": Type::<Filled>::function, … }`, or `laws! { "block": "Type::function" => stands_for_it, … }`.
macro_rules! laws {
    ($block:literal: $($name:literal => $function:expr,)*) => {
        $(const _: () = {
            #[unsafe(export_name = concat!("law ", $block, " ", $name))]
            static LAW: crate::Law = crate::Law($function as *const ());
        };)*
    };
    ($block:literal: $($function:expr,)*) => {
        $(const _: () = {
            #[unsafe(export_name = concat!("law ", $block, " ", stringify!($function)))]
            static LAW: crate::Law = crate::Law($function as *const ());
        };)*
    };
}
use laws;

/// A panic that is reachable asks for a symbol that nobody has, and what asks for it is not linked.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn a_panic_is_reachable() -> !;
    }
    // SAFETY: never run, and never linked.
    unsafe { a_panic_is_reachable() }
}
