//! A filter engine in memory that keeps the documented rules, and breaks down as told.
//!
//! Rules, as in Microsoft's "Object Management" of the filtering platform:
//!
//! * A session has at most one transaction. A second begin gives `TXN_IN_PROGRESS`, whichever thread it comes from.
//! * Calls outside a transaction run in one of their own.
//! * One transaction writes at a time in the whole engine; those that only read may overlap each other. A begin waits for up to the session's time-out,
//!   15 s unless it says otherwise, then gives `TIMEOUT`.
//! * On the user's side a transaction that holds others up for more than an hour is aborted; the next calls in its session give `TXN_ABORTED`,
//!   up to the commit or abort that takes note.
//! * A failed operation changes nothing, and leaves the transaction as it was.
//! * Ending a session aborts its transaction, and deletes its objects if it is dynamic. Others live until the engine stops, persistent and built-in ones longer.
//! * What is referred to cannot be deleted (`IN_USE`), and lives at least as long as what refers to it (`LIFETIME_MISMATCH`).
//!
//! Not documented, and assumed here: that readers and a writer exclude each other, that `TXN_ABORTED` is repeated until a commit or abort, that the
//! objects of a dynamic session that ends go between the transactions of others, and that an engine that stops during a commit has not committed.
//!
//! The engine takes its time from the same [`Host`] as the strategies: where that is virtual, 15 seconds pass at once.
//!
//! ```
//! use wfp_txn::model::{Kind, ModelEngine, Object, VirtualTime};
//! use wfp_txn::{Access, Engine, Prefix, SessionOptions, Transaction};
//!
//! let engine = ModelEngine::<_, spin::Mutex<()>>::new(VirtualTime::<spin::Mutex<()>>::new(), Prefix::Kernel);
//! let shared = engine.open(SessionOptions::new())?;
//!
//! // Two begins on one handle: what made attaching fail.
//! let _first = Transaction::begin(&engine, &shared, Access::ReadWrite)?;
//! let second = Transaction::begin(&engine, &shared, Access::ReadWrite).unwrap_err();
//! assert_eq!(second.to_string(), "beginning a transaction: 0xC022000E STATUS_FWP_TXN_IN_PROGRESS");
//!
//! // A handle of its own does not help while the first one writes: 15 virtual seconds later, it has timed out.
//! let own = engine.open(SessionOptions::new())?;
//! let third = Transaction::begin(&engine, &own, Access::ReadWrite).unwrap_err();
//! assert_eq!(third.to_string(), "beginning a transaction: 0xC0220012 STATUS_FWP_TIMEOUT");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod fault;
mod object;
mod state;
mod time;

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use lock_api::{Mutex, MutexGuard, RawMutex};

use crate::{Access, Call, Code, Engine, Host, Lifetime, Prefix, SessionOptions, Status};

pub use self::fault::{Effect, Fault};
pub use self::object::{Change, Event, Key, Kind, Object, ObjectId};
pub use self::time::VirtualTime;

use self::fault::Faults;
use self::state::{Overdue, State};

/// The engine's time-out for begins in sessions that name none.
pub const DEFAULT_BEGIN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a transaction of the user's side may hold others up.
pub const USER_TRANSACTION_LIMIT: Duration = Duration::from_secs(3600);

/// A handle to a session of a [`ModelEngine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelSession(u64);

/// How long calls take. Nothing, unless set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Costs {
    /// Committing a transaction that may write.
    pub commit: Duration,
    /// An operation inside a transaction.
    pub operation: Duration,
}

impl Costs {
    /// Nothing takes time.
    #[must_use]
    pub const fn new() -> Self {
        Self { commit: Duration::ZERO, operation: Duration::ZERO }
    }

    /// With the time that a commit takes.
    #[must_use]
    pub const fn with_commit(self, commit: Duration) -> Self {
        Self { commit, ..self }
    }

    /// With the time that an operation takes.
    #[must_use]
    pub const fn with_operation(self, operation: Duration) -> Self {
        Self { operation, ..self }
    }
}

/// The engine; see the [module's documentation](self).
pub struct ModelEngine<H: Host, R: RawMutex> {
    host: H,
    side: Prefix,
    costs: Costs,
    state: Mutex<R, State>,
    faults: Mutex<R, Faults>,
    /// Rung when somebody who waits in a begin may go on.
    changed: H::Bell,
}

impl<H: Host, R: RawMutex> ModelEngine<H, R> {
    /// A running engine without objects, as seen from one of the two sides.
    pub fn new(host: H, side: Prefix) -> Self {
        let changed = host.bell();
        let (state, faults) = (Mutex::new(State::new()), Mutex::new(Faults::default()));
        Self { host, side, costs: Costs::new(), state, faults, changed }
    }

    /// With calls that take time.
    #[must_use]
    pub fn with_costs(self, costs: Costs) -> Self {
        Self { costs, ..self }
    }

    /// With an object that is there from the start, and that nobody can delete.
    #[must_use]
    pub fn with_builtin(self, object: Object) -> Self {
        self.state.lock().add_builtin(object);
        self
    }

    /// Keeps a record of what happens, for [`events`](Self::events).
    #[must_use]
    pub fn recording(self) -> Self {
        self.state.lock().record();
        self
    }

    /// Makes a call fail.
    pub fn inject(&self, fault: Fault) {
        self.faults.lock().add(fault);
    }

    /// Takes back the faults that have not struck, and says how many there were.
    pub fn clear_faults(&self) -> usize {
        self.faults.lock().clear()
    }

    /// Stops the engine: transactions are undone, sessions lost, static and dynamic objects gone. Calls find nobody until it is started.
    pub fn stop(&self) {
        self.state.lock().stop();
        self.host.ring(&self.changed);
    }

    /// Starts it again.
    pub fn start(&self) {
        self.state.lock().start();
        self.host.ring(&self.changed);
    }

    /// Aborts the transaction that is open in a session, as the engine does with one that takes too long.
    pub fn abort_by_force(&self, session: ModelSession) {
        self.state.lock().abort_by_force(session.0);
        self.host.ring(&self.changed);
    }

    /// The objects that are there, uncommitted ones included.
    #[must_use]
    pub fn objects(&self) -> Vec<Object> {
        self.state.lock().objects()
    }

    /// What has happened so far, if it is being recorded.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.state.lock().events()
    }

    /// Sessions that are open, or lost and not closed yet.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.state.lock().sessions()
    }

    /// Transactions that may write and were committed so far, those of single calls included.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.state.lock().commits()
    }

    /// Whether any transaction is open.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.state.lock().is_busy()
    }

    fn status(&self, code: Code) -> Status {
        code.status(self.side)
    }

    /// Makes the call, unless a fault strikes.
    fn call<T>(
        &self,
        call: Call,
        session: Option<ModelSession>,
        make: impl FnOnce() -> Result<T, Status>,
    ) -> Result<T, Status> {
        let Some(fault) = self.faults.lock().strike(call) else { return make() };
        let session = session.map(|session| session.0);
        match fault.effect {
            Effect::Executed => {
                let made = make();
                return made.and(Err(fault.status));
            }
            Effect::Ended => self.state.lock().forget_transaction(session),
            Effect::Nothing => match fault.status.code() {
                Some(Code::TxnAborted) => self.state.lock().abort_session_transaction(session),
                Some(Code::SessionAborted) => self.state.lock().lose_session(session),
                _ => {}
            },
        }
        self.host.ring(&self.changed);
        Err(fault.status)
    }

    /// The engine, for a call in a session that is alive.
    fn enter(&self, session: ModelSession) -> Result<MutexGuard<'_, R, State>, Status> {
        let state = self.state.lock();
        if !state.is_running() {
            return Err(self.unavailable());
        }
        match state.is_lost(session.0) {
            Some(false) => Ok(state),
            Some(true) => Err(self.status(Code::SessionAborted)),
            None => Err(match self.side {
                Prefix::Kernel => Status::new(0xC000_0008),
                Prefix::User => Status::new(6),
            }),
        }
    }

    fn unavailable(&self) -> Status {
        Status::new(match self.side {
            Prefix::Kernel => 0xC002_0017,
            Prefix::User => 1722,
        })
    }

    fn call_failed(&self) -> Status {
        Status::new(match self.side {
            Prefix::Kernel => 0xC002_001B,
            Prefix::User => 1726,
        })
    }

    /// Waits for the transaction lock. `explicit` opens a transaction; otherwise the lock is for one call.
    fn lock_for(
        &self,
        session: ModelSession,
        access: Access,
        explicit: bool,
    ) -> Result<MutexGuard<'_, R, State>, Status> {
        let mut until = None;
        loop {
            let mut state = self.enter(session)?;
            let now = self.host.now();
            if explicit && let Some(code) = state.refuses_begin(session.0) {
                return Err(self.status(code));
            }
            let limit = match self.side {
                Prefix::Kernel => None,
                Prefix::User => Some(USER_TRANSACTION_LIMIT),
            };
            let overdue = state.abort_overdue(now, limit);
            if state.try_lock(session.0, access, explicit, now) {
                return Ok(state);
            }
            let until = *until.get_or_insert_with(|| now.saturating_add(state.begin_timeout(session.0)));
            if now >= until {
                return Err(self.status(Code::Timeout));
            }
            let seen = self.host.rings(&self.changed);
            drop(state);
            let wake = match overdue {
                Overdue::At(time) => until.min(time),
                Overdue::Never => until,
            };
            self.host.wait(&self.changed, seen, Some(wake));
        }
    }

    fn pause(&self, cost: Duration) {
        if !cost.is_zero() {
            self.host.sleep(cost);
        }
    }

    /// Carries out an operation, in the session's transaction or in one of its own.
    fn operate<T>(
        &self,
        session: ModelSession,
        access: Access,
        operation: impl FnOnce(&mut State) -> Result<T, Code>,
    ) -> Result<T, Status> {
        self.pause(self.costs.operation);
        let state = self.enter(session)?;
        if state.is_inside(session.0) {
            let mut state = state;
            state.may(session.0, access).map_err(|code| self.status(code))?;
            return operation(&mut state).map_err(|code| self.status(code));
        }
        drop(state);
        let mut state = self.lock_for(session, access, false)?;
        let done = operation(&mut state);
        let writes = done.is_ok() && access == Access::ReadWrite;
        state.unlock_implicit(writes);
        drop(state);
        self.host.ring(&self.changed);
        done.map_err(|code| self.status(code))
    }
}

impl<H: Host, R: RawMutex> Engine for ModelEngine<H, R> {
    type Session = ModelSession;
    type Object<'o> = &'o Object;
    type Id = ObjectId;

    fn open(&self, options: SessionOptions) -> Result<ModelSession, Status> {
        let mut opened = None;
        let answer = self.call(Call::Open, None, || {
            let mut state = self.state.lock();
            if !state.is_running() {
                return Err(self.unavailable());
            }
            let timeout = options.begin_timeout.unwrap_or(DEFAULT_BEGIN_TIMEOUT);
            opened = Some(state.open(options.lifetime == Lifetime::Dynamic, timeout));
            Ok(())
        });
        match (opened, answer) {
            (Some(session), Ok(())) => Ok(ModelSession(session)),
            // The answer is lost, and with it the handle: the channel runs down.
            (Some(session), Err(status)) => {
                self.state.lock().close(session);
                Err(status)
            }
            (None, answer) => Err(answer.err().unwrap_or_else(|| self.unavailable())),
        }
    }

    fn close(&self, session: ModelSession) -> Result<(), Status> {
        let closed = self.call(Call::Close, Some(session), || Ok(()));
        // Whatever the answer.
        self.state.lock().close(session.0);
        self.host.ring(&self.changed);
        closed
    }

    fn begin(&self, session: &ModelSession, access: Access) -> Result<(), Status> {
        self.call(Call::Begin, Some(*session), || self.lock_for(*session, access, true).map(drop))
    }

    fn commit(&self, session: &ModelSession) -> Result<(), Status> {
        self.call(Call::Commit, Some(*session), || {
            let mut state = self.enter(*session)?;
            let writes = state.begin_commit(session.0).map_err(|code| self.status(code))?;
            drop(state);
            if writes {
                self.pause(self.costs.commit);
            }
            // Stopped, or taken away, in the middle: the answer never comes.
            let mut state = self.enter(*session).map_err(|_| self.call_failed())?;
            let committed = state.commit(session.0).map_err(|code| self.status(code));
            drop(state);
            self.host.ring(&self.changed);
            committed
        })
    }

    fn abort(&self, session: &ModelSession) -> Result<(), Status> {
        let aborted = self.call(Call::Abort, Some(*session), || {
            let mut state = self.enter(*session)?;
            state.abort(session.0).map_err(|code| self.status(code))
        });
        self.host.ring(&self.changed);
        aborted
    }

    fn add(&self, session: &ModelSession, object: &Object) -> Result<ObjectId, Status> {
        self.call(Call::Add, Some(*session), || {
            self.operate(*session, Access::ReadWrite, |state| state.add(session.0, object))
        })
    }

    fn delete(&self, session: &ModelSession, id: &ObjectId) -> Result<(), Status> {
        self.call(Call::Delete, Some(*session), || {
            self.operate(*session, Access::ReadWrite, |state| state.delete(session.0, *id))
        })
    }

    fn contains(&self, session: &ModelSession, id: &ObjectId) -> Result<bool, Status> {
        self.call(Call::Read, Some(*session), || {
            self.operate(*session, Access::ReadOnly, |state| Ok(state.contains(*id)))
        })
    }
}

impl<H: Host, R: RawMutex> fmt::Debug for ModelEngine<H, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelEngine").field("side", &self.side).finish_non_exhaustive()
    }
}
