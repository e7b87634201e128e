//! The strategies to choose from, and the one that fails.

use std::time::Duration;

use ebpf_windows::StdHost;
use parking_lot::RawMutex;
use wfp_txn::model::{Costs, ModelEngine, ModelSession};
use wfp_txn::{
    Access, Config, Engine as _, EngineError, Error, Grouped, Policy, Prefix, Retrying, Serialized,
    SessionOptions, Sessions, Status, Strategy as _, Transaction,
};

use crate::args::WfpStrategy;

/// Where the engine is a reference, so that a strategy can be used beside it.
pub(super) type Engine = ModelEngine<StdHost, RawMutex>;
type Shared = &'static Engine;

/// What a commit takes here: long enough for threads to meet.
const COMMIT: Duration = Duration::from_millis(1);

pub(super) fn engine() -> Engine {
    ModelEngine::new(StdHost::new(), Prefix::Kernel).with_costs(Costs::new().with_commit(COMMIT))
}

#[expect(clippy::large_enum_variant, reason = "there is one")]
pub(super) enum Any {
    Grouped(Grouped<Shared, StdHost, RawMutex>),
    Retry(Retrying<Shared, StdHost, RawMutex>),
    Serialized(Serialized<Shared, StdHost, RawMutex>),
    Sessions(Sessions<Shared, StdHost, RawMutex, 4>),
    /// What this is all about: a handle that everybody uses, and a guard around begin and commit.
    Shared(Shared, ModelSession),
}

impl Any {
    pub(super) fn new(strategy: WfpStrategy, engine: Shared) -> Result<Self, Status> {
        let policy = Policy::new().with_attempts(u32::MAX).with_time(Duration::from_secs(60));
        let config = Config::new().with_policy(policy);
        Ok(match strategy {
            WfpStrategy::Grouped => Self::Grouped(Grouped::new(engine, StdHost::new(), config)),
            WfpStrategy::Retry => {
                // Contention is what it sleeps for: not long.
                let policy = policy.with_delays(Duration::from_millis(1), Duration::from_millis(16));
                Self::Retry(Retrying::new(engine, StdHost::new(), config.with_policy(policy)))
            }
            WfpStrategy::Serialized => Self::Serialized(Serialized::new(engine, StdHost::new(), config)),
            WfpStrategy::Sessions => Self::Sessions(Sessions::new(engine, StdHost::new(), config)),
            WfpStrategy::Shared => Self::Shared(engine, engine.open(SessionOptions::new())?),
        })
    }

    pub(super) fn transact<T, X>(
        &self,
        access: Access,
        mut work: impl FnMut(&mut Transaction<'_, Shared>) -> Result<T, X>,
    ) -> Result<T, Error<X>> {
        match self {
            Self::Grouped(strategy) => strategy.transact(access, work),
            Self::Retry(strategy) => strategy.transact(access, work),
            Self::Serialized(strategy) => strategy.transact(access, work),
            Self::Sessions(strategy) => strategy.transact(access, work),
            Self::Shared(engine, session) => {
                let failed = |error: EngineError| {
                    if error.class() == wfp_txn::Class::Unknown {
                        Error::Unknown { error }
                    } else {
                        Error::Failed { error, attempts: 1 }
                    }
                };
                let mut transaction = Transaction::begin(engine, session, access).map_err(failed)?;
                let value = work(&mut transaction).map_err(Error::Refused)?;
                transaction.commit().map_err(failed)?;
                Ok(value)
            }
        }
    }
}
