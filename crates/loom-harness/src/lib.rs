//! How the project's concurrency models are explored; there is something in it only under `--cfg loom`.
//!
//! A model has roles, which share a stage, and says which outcomes there are. `explore` runs one execution after the other, until loom has gone through
//! every interleaving within the bound of preemptions, and collects the outcomes. They must be exactly those expected: one more is a mistake of the code; one
//! less, and the model has not seen what it was written for. Loom skips interleavings silently in two known ways (tokio-rs/loom#166 and #392), so a model that
//! only asserts that nothing bad happens may pass because nothing happened. For the same reason every model is explored twice, the roles spawned first to last
//! and last to first, and `Spawning::run` gives each role a thread of its own: the creating thread has seen all initial values, and loom would hide stale ones from it.
//!
//! `LOOM_MAX_PREEMPTIONS` raises the bound of all models (`cargo xtask loom --preemptions N`). What has been explored is printed, and seen with `--nocapture`.
//! The tests here are small models, right and wrong ones.
//!
//! The published crates have this as a dependency of their tests, by path alone: nothing of it is left in what is published. Crates outside build their models
//! on loom as it is, see `tests/downstream.rs` of `ebpf-ringbuf`.

#[cfg(loom)]
mod explore;

#[cfg(loom)]
pub use self::explore::{Spawning, explore};
