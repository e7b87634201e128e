//! Windows behind the project's blocks: today the engine of the filtering platform, for [`wfp_txn`].
//!
//! * `Wfp` over `UserMode`: `fwpuclnt.dll`, for services and tools.
//! * `Wfp` over `KernelMode` (feature `kernel`): the same calls of `fwpkclnt.sys`, for drivers.
//! * `StdHost` (feature `std`): the clock, the sleep and the wait of a process with `std`, on any system.
//!
//! ```no_run
//! # #[cfg(all(windows, feature = "std"))] {
//! use ebpf_windows::{Id, Object, StdHost, UserMode, Wfp};
//! use wfp_txn::{Access, Config, OperationError, Serialized, Strategy};
//! # let (sublayer, filter) = (Default::default(), Default::default());
//!
//! let engine = Wfp::<UserMode>::new();
//! let filters = Serialized::<_, _, parking_lot::RawMutex>::new(&engine, StdHost::new(), Config::new());
//! let added: Result<Id, _> = filters.transact(Access::ReadWrite, |transaction| {
//!     // SAFETY: neither description holds a pointer that dangles.
//!     let (sublayer, filter) = unsafe { (Object::sublayer(&sublayer), Object::filter(&filter)) };
//!     transaction.add(sublayer)?;
//!     transaction.add(filter)
//! });
//! # let _: Result<Id, wfp_txn::Error<OperationError>> = added;
//! # }
//! ```
//!
//! # What is tested where
//!
//! The calls are declared by `windows-sys`, and checked for `x86_64-pc-windows-msvc` by the compiler. The table of codes in `wfp-txn` is compared with the
//! constants of `windows-sys` on any system. That the real engine behaves as the model of it in `wfp-txn` does is not tested by this project, which
//! has no Windows.
//!
//! # In a driver
//!
//! All calls demand `PASSIVE_LEVEL`. `examples/driver` is a driver that attaches and detaches pairs of filters and has a ring that processes map; `examples/firewall.rs` is a service that does.
#![no_std]
#![cfg_attr(not(windows), forbid(unsafe_code))]

#[cfg(feature = "std")]
extern crate std;

#[cfg(feature = "std")]
mod host;
#[cfg(windows)]
mod wfp;

#[cfg(feature = "std")]
pub use host::{Bell, StdHost};
#[cfg(all(windows, feature = "kernel"))]
pub use wfp::kernel::KernelMode;
#[cfg(windows)]
pub use wfp::{Calls, Id, Object, Session, UserMode, Wfp};
