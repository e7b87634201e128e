//! One handle for everybody, and patience.

use core::fmt;
use core::mem;

use lock_api::{Mutex, RawMutex};

use crate::mutant;
use crate::policy::Attempts;
use crate::transaction::{Found, Transaction};
use crate::{Access, Call, Class, Config, Engine, EngineError, Error, Host, Strategy};

/// One session whose handle all threads use at once: whoever finds another's transaction in it sleeps and tries again.
///
/// For a handle that is used by code which knows nothing of this crate: there is no other way to share one. Where all threads come through here,
/// [`Serialized`](crate::Serialized) does the same in order and without sleeping: here nobody is served in order, and a thread that is unlucky
/// often enough reaches a bound of the [`Policy`](crate::Policy) and is given up.
///
/// A session that is lost is closed when the last thread that uses it has noticed, and opened again by the next.
///
/// On a shared handle an abort may hit somebody else's transaction. So one is aborted here only while it is certainly this thread's own;
/// a commit that fails other than by `TXN_ABORTED` or a lost session is [`Error::Unknown`], and the session is closed.
pub struct Retrying<E: Engine, H, R: RawMutex> {
    engine: E,
    host: H,
    config: Config,
    shared: Mutex<R, Shared<E::Session>>,
}

struct Shared<S> {
    session: Option<S>,
    /// Threads that use the session.
    users: usize,
    /// At which call it was lost: nobody else may start to use it.
    lost: Option<EngineError>,
    /// No transaction of it has been committed yet. Read and written by the thread that is inside.
    fresh: bool,
    /// A thread is opening it.
    opening: bool,
    /// The thread whose transaction is open in it.
    inside: Option<u64>,
}

impl<E: Engine<Session: Clone>, H: Host, R: RawMutex> Retrying<E, H, R> {
    /// One handle; nothing is opened yet.
    pub fn new(engine: E, host: H, config: Config) -> Self {
        let shared =
            Shared { session: None, users: 0, lost: None, fresh: true, opening: false, inside: None };
        Self { engine, host, config, shared: Mutex::new(shared) }
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &E {
        &self.engine
    }

    /// A copy of the handle.
    fn enter(&self) -> Result<User<'_, E, H, R>, Outside> {
        let mut shared = self.shared.lock();
        if shared.opening {
            return Err(Outside::Opening);
        }
        if let Some(error) = shared.lost {
            return Err(Outside::Lost(error));
        }
        if let Some(session) = shared.session.clone() {
            shared.users = shared.users.saturating_add(1);
            return Ok(User { retrying: self, session, lost: None, working: false });
        }
        shared.opening = true;
        drop(shared);
        let opened = self.engine.open(self.config.session);
        let mut shared = self.shared.lock();
        shared.opening = false;
        let session = opened.map_err(|status| Outside::Refused(EngineError::new(Call::Open, status)))?;
        shared.session = Some(session.clone());
        shared.fresh = true;
        shared.users = 1;
        Ok(User { retrying: self, session, lost: None, working: false })
    }

    fn leave(&self, lost: Option<EngineError>) {
        let mut shared = self.shared.lock();
        shared.lost = shared.lost.or(lost);
        shared.users = shared.users.saturating_sub(1);
        let is_last = shared.users == 0 || !mutant::RETRYING_LAST_CLOSES.is_taken();
        let session = if shared.lost.is_some() && is_last {
            shared.lost = None;
            mem::take(&mut shared.session)
        } else {
            None
        };
        drop(shared);
        if let Some(session) = session {
            // It is gone whatever the answer.
            let _ = self.engine.close(session);
        }
    }
}

impl<E: Engine<Session: Clone>, H: Host, R: RawMutex> Strategy for Retrying<E, H, R> {
    type Engine = E;

    fn transact<T, X>(
        &self,
        access: Access,
        mut work: impl FnMut(&mut Transaction<'_, E>) -> Result<T, X>,
    ) -> Result<T, Error<X>> {
        let thread = self.host.thread();
        if self.shared.lock().inside == Some(thread) {
            return Err(Error::Nested);
        }
        let mut attempts = Attempts::new(self.config.policy, &self.host);
        loop {
            let ended = match self.enter() {
                Ok(mut user) => user.attempt(access, &mut work, thread),
                Err(Outside::Opening) => {
                    self.host.sleep(self.config.policy.first_delay);
                    continue;
                }
                // Whatever it was lost to is another thread's affair: nothing of this transaction was begun.
                Err(Outside::Lost(error)) => Ended::Again(error, None),
                Err(Outside::Refused(error)) => sort(error),
            };
            let (error, refused) = match ended {
                Ended::Over(Err(Error::Failed { error, .. })) => {
                    return Err(Error::Failed { error, attempts: attempts.made() });
                }
                Ended::Over(result) => return result,
                Ended::Again(error, refused) => (error, refused),
            };
            match (attempts.next(&self.host, error), refused) {
                (Ok(delay), _) => self.host.sleep(delay),
                (Err(_), Some(refused)) => return Err(Error::Refused(refused)),
                (Err(given_up), None) => return Err(given_up),
            }
        }
    }
}

/// Why there is no handle to use.
enum Outside {
    /// Another thread opens the session.
    Opening,
    /// The session was lost at that call, and those who still use it have not left yet.
    Lost(EngineError),
    /// The engine refused to open one.
    Refused(EngineError),
}

enum Ended<T, X> {
    Over(Result<T, Error<X>>),
    /// Not done, for a reason that passes; with the work's error if there was one.
    Again(EngineError, Option<X>),
}

/// A call that failed and did nothing.
fn sort<T, X>(error: EngineError) -> Ended<T, X> {
    match error.class() {
        Class::NothingChanged | Class::Reopen | Class::Replay => Ended::Again(error, None),
        _ => Ended::Over(Err(Error::Failed { error, attempts: 1 })),
    }
}

/// A thread that uses the handle, until this is dropped.
struct User<'a, E: Engine<Session: Clone>, H: Host, R: RawMutex> {
    retrying: &'a Retrying<E, H, R>,
    session: E::Session,
    /// The session is of no use any more, since that call.
    lost: Option<EngineError>,
    /// This thread's transaction is open.
    working: bool,
}

impl<E: Engine<Session: Clone>, H: Host, R: RawMutex> User<'_, E, H, R> {
    fn attempt<T, X>(
        &mut self,
        access: Access,
        work: &mut impl FnMut(&mut Transaction<'_, E>) -> Result<T, X>,
        thread: u64,
    ) -> Ended<T, X> {
        let engine = &self.retrying.engine;
        if let Err(status) = engine.begin(&self.session, access) {
            let error = EngineError::new(Call::Begin, status);
            self.lost = matches!(error.class(), Class::Reopen | Class::Replay).then_some(error);
            return sort(error);
        }
        self.working = true;
        let first = self.inside(thread);
        let (worked, found) = self.perform(access, first, work);
        self.working = false;
        self.outside();
        if let Some(error) = found.ended.or(found.doubtful) {
            // What is open in the session now may be another thread's. It is closed when all have left, which undoes what is open.
            self.lost = Some(error);
            return match (found.ended, worked) {
                (None, Err(refused)) => Ended::Over(Err(Error::Refused(refused))),
                _ => Ended::Again(error, None),
            };
        }
        match worked {
            Err(refused) => {
                self.abort();
                match found.passing {
                    Some(error) => Ended::Again(error, Some(refused)),
                    None => Ended::Over(Err(Error::Refused(refused))),
                }
            }
            Ok(value) => self.commit(value, found),
        }
    }

    fn perform<T, X>(
        &self,
        access: Access,
        first: bool,
        work: &mut impl FnMut(&mut Transaction<'_, E>) -> Result<T, X>,
    ) -> (Result<T, X>, Found) {
        let mut transaction = Transaction::joined(&self.retrying.engine, &self.session, access, first);
        let worked = work(&mut transaction);
        (worked, transaction.found())
    }

    /// After the begin. Gives whether the session is a new one.
    fn inside(&self, thread: u64) -> bool {
        let mut shared = self.retrying.shared.lock();
        shared.inside = Some(thread);
        shared.fresh
    }

    /// Before the call that ends the transaction: after it, another thread's may be open.
    fn outside(&self) {
        self.retrying.shared.lock().inside = None;
    }

    fn commit<T, X>(&mut self, value: T, found: Found) -> Ended<T, X> {
        // Before the call, as above; if it fails, the session is given up, and the next one is new again.
        self.retrying.shared.lock().fresh = false;
        let Err(status) = self.retrying.engine.commit(&self.session) else {
            return Ended::Over(Ok(value));
        };
        let error = EngineError::new(Call::Commit, status);
        self.lost = Some(error);
        match error.class() {
            Class::Replay | Class::Reopen => Ended::Again(error, None),
            // Committed or not, it comes to the same.
            _ if !found.may_have_modified() => Ended::Again(error, None),
            _ => Ended::Over(Err(Error::Unknown { error })),
        }
    }

    fn abort(&mut self) {
        self.lost = crate::transaction::abort(&self.retrying.engine, &self.session).err();
    }
}

impl<E: Engine<Session: Clone>, H: Host, R: RawMutex> Drop for User<'_, E, H, R> {
    fn drop(&mut self) {
        if self.working {
            self.outside();
            self.abort();
        }
        self.retrying.leave(self.lost);
    }
}

/// Closes the session.
impl<E: Engine, H, R: RawMutex> Drop for Retrying<E, H, R> {
    fn drop(&mut self) {
        if let Some(session) = self.shared.get_mut().session.take() {
            let _ = self.engine.close(session);
        }
    }
}

impl<E: Engine, H, R: RawMutex> fmt::Debug for Retrying<E, H, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying").field("config", &self.config).finish_non_exhaustive()
    }
}
