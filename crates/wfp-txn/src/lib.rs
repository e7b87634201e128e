//! Transactions of the Windows Filtering Platform, from many threads: none refused, lost or half done.
//!
//! The filter engine gives every session one transaction at a time. Two threads that share a handle get in each other's way: the second begin fails
//! with `STATUS_FWP_TXN_IN_PROGRESS` (0xC022000E, in user mode 0x8032000E), and whatever it was for, attaching a program say, fails too. The engine may also
//! abort a transaction or a session at any call, or lose the answer to one. This crate stands between: a transaction is a closure,
//! a [`Strategy`] carries it out, and what comes back is one of *done once*, *not done*, or, where nobody can know, *unknown*.
//!
//! # Example
//!
//! On the model of the engine (feature `model`), which fails as told:
//!
//! ```
//! # #[cfg(feature = "model")] {
//! use wfp_txn::model::{Fault, Key, Kind, ModelEngine, Object, VirtualTime};
//! use wfp_txn::{Access, Call, Code, Config, Error, OperationError, Prefix, Serialized, Strategy};
//!
//! type Lock = spin::Mutex<()>;
//! let time = VirtualTime::<Lock>::new();
//! let engine = ModelEngine::<_, Lock>::new(&time, Prefix::Kernel);
//! let filters = Serialized::<_, _, Lock>::new(&engine, &time, Config::new());
//!
//! // The engine will abort the first transaction in the middle. Its work is done again, in another one.
//! engine.inject(Fault::new(Call::Add, Code::TxnAborted.status(Prefix::Kernel)).after(1));
//! let sublayer = Object::new(Kind::Sublayer, Key(1));
//! let filter = Object::new(Kind::Filter, Key(2)).referring_to(sublayer.id);
//! let attach = || {
//!     filters.transact(Access::ReadWrite, |transaction| {
//!         transaction.add(&sublayer)?;
//!         transaction.add(&filter)?;
//!         Ok::<_, OperationError>(())
//!     })
//! };
//! attach()?;
//! assert_eq!(engine.objects().len(), 2);
//!
//! // What cannot be done is undone, and the engine's own code says why.
//! let error = attach().unwrap_err();
//! assert_eq!(error.to_string(), "not done, aborted: adding an object: 0xC0220009 STATUS_FWP_ALREADY_EXISTS");
//!
//! // Where the answer to a commit is lost, it says so.
//! engine.inject(Fault::new(Call::Commit, wfp_txn::Status::new(0xC002_001B)));
//! let detach = filters.transact(Access::ReadWrite, |transaction| transaction.remove(&filter.id));
//! assert!(matches!(detach, Err(Error::Unknown { .. })));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The parts
//!
//! * [`Engine`]: the seam to the filter engine; [`Host`]: the clock, the sleep and the wait of the embedder. Locks are `lock_api`'s: spin,
//!   parking_lot, a driver's own. They are held for moments, never across a call to the engine or the host's waits.
//! * [`Status`], [`Class`]: codes of both sides as they came, and one table that says what each means for a transaction.
//! * [`Transaction`]: the guard. By itself for those who have a session of their own.
//! * Four strategies:
//!
//! | strategy | sessions | order | for |
//! |---|---|---|---|
//! | [`Serialized`] | one | first come, first served | most programs |
//! | [`Grouped`] | one | first come, first served | many threads that commit: those that wait share a commit |
//! | [`Sessions`] | a bounded pool | first come, first served up to the engine's own queue | readers, or long work beside the transaction |
//! | [`Retrying`] | one, shared | none | a handle that is shared with code which knows nothing of this |
//!
//! # When not to use it
//!
//! * One thread and no restarts of the engine: [`Transaction`], or a guard of ten lines, does.
//! * Calls that manage sessions or subscriptions, and those the engine forbids inside transactions: make them on a handle of your own.
//! * Work that must not run twice: it may be called again when a transaction is lost.
//!
//! # Guarantees
//!
//! * No allocation, no `unsafe`, no panic; no clock, sleep or call to an operating system but through [`Host`] and [`Engine`].
//! * Every transaction takes effect once or not at all, and its caller learns which; [`Error::Unknown`] is all that is left open, and says what to check.
//! * With [`Serialized`] and [`Grouped`] no thread is overtaken. Waiting for its turn has no bound of its own: those before it are bounded by their
//!   [`Policy`], and by what their work does.
//! * A work that panics, or gives an error, leaves nothing in the engine and nobody waiting.
//! * Retries are bounded by a number and by a time; the status that came last is never lost.
//!
//! Not guaranteed: anything about other programs that write, who hold the engine's lock for as long as they like (`TIMEOUT`, retried). Objects of a dynamic session go when it is lost;
//! [`Transaction::is_first`] tells the next transaction.
//!
//! # In a driver
//!
//! Everything here must be called at `PASSIVE_LEVEL`: the engine's calls demand it, and threads wait. The lock given as `R` is taken at that level only,
//! so a fast mutex serves. Code that runs higher hands its transaction to a work item.
#![no_std]
#![forbid(unsafe_code)]
#[cfg(feature = "model")]
extern crate alloc;
#[cfg(any(test, loom))]
extern crate std;

mod attempt;
mod codes;
mod engine;
mod error;
mod grouped;
mod host;
#[cfg(feature = "model")]
pub mod model;
mod mutant;
mod policy;
mod retrying;
mod sessions;
mod status;
mod strategy;
mod transaction;

pub use codes::Code;
pub use engine::{Access, Engine, Lifetime, SessionOptions};
pub use error::{EngineError, Error, OperationError};
pub use grouped::Grouped;
pub use host::Host;
pub use policy::{Config, Policy};
pub use retrying::Retrying;
pub use sessions::{Serialized, Sessions};
pub use status::{Call, Class, Prefix, Status};
pub use strategy::Strategy;
pub use transaction::Transaction;
