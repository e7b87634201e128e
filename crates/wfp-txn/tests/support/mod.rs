//! Hosts for tests, and what they are used for. The fuzz targets include this too.

#![allow(dead_code, reason = "not every test binary needs every helper")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[cfg(loom)]
pub(crate) mod modelled;
pub(crate) mod scheduled;
#[cfg(any(feature = "model", fuzzing))]
pub(crate) mod serial;

#[cfg(any(feature = "model", fuzzing))]
pub(crate) use objects::*;

#[cfg(any(feature = "model", fuzzing))]
mod objects {
    use wfp_txn::model::{Key, Kind, ModelEngine, Object, ObjectId};
    use wfp_txn::{Config, Policy, Prefix};

    /// Locks are never contended where a seed schedules, and rarely elsewhere.
    pub(crate) type Raw = parking_lot::RawMutex;

    pub(crate) type Engine<H> = ModelEngine<H, Raw>;

    pub(crate) fn kernel<H: wfp_txn::Host>(host: H) -> Engine<H> {
        ModelEngine::new(host, Prefix::Kernel).recording()
    }

    pub(crate) fn filter(key: u64) -> Object {
        Object::new(Kind::Filter, Key(key))
    }

    pub(crate) fn id(key: u64) -> ObjectId {
        ObjectId { kind: Kind::Filter, key: Key(key) }
    }

    pub(crate) fn attempts(attempts: u32) -> Config {
        Config::new().with_policy(Policy::new().with_attempts(attempts))
    }
}
