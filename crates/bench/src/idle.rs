//! An engine whose calls do nothing: what is left is what the strategies cost.

use std::hint::black_box;

use ebpf_windows::StdHost;
use parking_lot::{Mutex, RawMutex};
use wfp_txn::{
    Access, Config, Engine, Grouped, OperationError, Serialized, SessionOptions, Status, Strategy,
};

pub(crate) fn serialized() -> Serialized<Idle, StdHost, RawMutex> {
    Serialized::new(Idle, StdHost::new(), Config::new())
}

pub(crate) fn grouped() -> Grouped<Idle, StdHost, RawMutex> {
    Grouped::new(Idle, StdHost::new(), Config::new())
}

pub(crate) fn transaction<S: Strategy<Engine = Idle>>(strategy: &S) {
    let done: Result<(), wfp_txn::Error<OperationError>> =
        strategy.transact(black_box(Access::ReadWrite), |transaction| transaction.add(black_box(1)));
    done.expect("nothing fails");
}

/// The same calls, and nothing that could go wrong taken care of.
pub(crate) fn bare_transaction(mutex: &Mutex<()>) {
    let guard = mutex.lock();
    let calls = || {
        Idle.begin(&(), black_box(Access::ReadWrite))?;
        Idle.add(&(), black_box(1))?;
        Idle.commit(&())
    };
    calls().expect("nothing fails");
    drop(guard);
}

/// An engine whose calls do nothing.
pub(crate) struct Idle;

impl Engine for Idle {
    type Session = ();
    type Object<'o> = u64;
    type Id = ();

    fn open(&self, options: SessionOptions) -> Result<(), Status> {
        black_box(options);
        Ok(())
    }

    fn close(&self, (): ()) -> Result<(), Status> {
        Ok(())
    }

    fn begin(&self, (): &(), access: Access) -> Result<(), Status> {
        black_box(access);
        Ok(())
    }

    fn commit(&self, (): &()) -> Result<(), Status> {
        Ok(())
    }

    fn abort(&self, (): &()) -> Result<(), Status> {
        Ok(())
    }

    fn add(&self, (): &(), object: u64) -> Result<(), Status> {
        black_box(object);
        Ok(())
    }

    fn delete(&self, (): &(), (): &()) -> Result<(), Status> {
        Ok(())
    }

    fn contains(&self, (): &(), (): &()) -> Result<bool, Status> {
        black_box(Ok(false))
    }
}
