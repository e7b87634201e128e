//! One attempt at a transaction, on a session that nobody else uses meanwhile.

use crate::transaction::{Found, abort};
use crate::{Access, Call, Class, Code, Engine, EngineError, Error, SessionOptions, Transaction};

/// A session that is opened when it is needed.
pub(crate) struct Lazy<S> {
    session: Option<S>,
    /// No transaction of this session has been committed yet.
    fresh: bool,
}

/// A session with a transaction open in it.
pub(crate) struct Open<'a, S> {
    session: &'a S,
    fresh: bool,
}

impl<S> Open<'_, S> {
    /// Lets the work do its part. Neither its end nor a panic in it ends the transaction: that is for whoever has begun it.
    pub(crate) fn perform<E: Engine<Session = S>, T, X>(
        &self,
        engine: &E,
        access: Access,
        work: &mut impl FnMut(&mut Transaction<'_, E>) -> Result<T, X>,
    ) -> (Result<T, X>, Found) {
        let mut transaction = Transaction::joined(engine, self.session, access, self.fresh);
        let worked = work(&mut transaction);
        (worked, transaction.found())
    }
}

/// How a step ended that did not go well.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Setback {
    /// Not done. It may go well another time.
    Again(EngineError),
    /// Not done, and trying again does not help.
    Failed(EngineError),
    /// A commit that was done or not.
    Unknown(EngineError),
}

impl Setback {
    pub(crate) fn into_error<X>(self, attempts: u32) -> Error<X> {
        match self {
            Self::Again(error) | Self::Failed(error) => Error::Failed { error, attempts },
            Self::Unknown(error) => Error::Unknown { error },
        }
    }
}

impl<S> Default for Lazy<S> {
    fn default() -> Self {
        Self { session: None, fresh: true }
    }
}

impl<S> Lazy<S> {
    /// Opens the session if need be, and begins a transaction.
    pub(crate) fn begin<E: Engine<Session = S>>(
        &mut self,
        engine: &E,
        options: SessionOptions,
        access: Access,
    ) -> Result<Open<'_, S>, Setback> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                self.fresh = true;
                engine.open(options).map_err(|status| setback(EngineError::new(Call::Open, status)))?
            }
        };
        let Err(status) = engine.begin(&session, access) else {
            return Ok(Open { session: self.session.insert(session), fresh: self.fresh });
        };
        self.session = Some(session);
        let error = EngineError::new(Call::Begin, status);
        // The session is ours alone: what is in progress in it can only be what an abort that failed has left.
        let stale = status.code() == Some(Code::TxnInProgress);
        if stale || matches!(error.class(), Class::Replay | Class::Reopen) {
            self.close(engine);
            return Err(Setback::Again(error));
        }
        Err(setback(error))
    }

    /// The session, with the transaction that was begun in it.
    pub(crate) fn open(&self) -> Option<Open<'_, S>> {
        Some(Open { session: self.session.as_ref()?, fresh: self.fresh })
    }

    /// Commits; whatever the answer, no transaction is open afterwards.
    pub(crate) fn commit<E: Engine<Session = S>>(&mut self, engine: &E) -> Result<(), Setback> {
        let Some(session) = &self.session else { return Ok(()) };
        let Err(status) = engine.commit(session) else {
            self.fresh = false;
            return Ok(());
        };
        let error = EngineError::new(Call::Commit, status);
        match error.class() {
            Class::Replay => {
                self.abort(engine);
                Err(Setback::Again(error))
            }
            Class::Reopen => {
                self.close(engine);
                Err(Setback::Again(error))
            }
            Class::Unknown => {
                self.close(engine);
                Err(Setback::Unknown(error))
            }
            // What a failed commit leaves behind is not documented. If there is something to abort, nothing was committed.
            class => match engine.abort(session) {
                Ok(()) if class == Class::NothingChanged => Err(Setback::Again(error)),
                Ok(()) => Err(Setback::Failed(error)),
                Err(status) if status.code() == Some(Code::TxnAborted) => Err(Setback::Again(error)),
                Err(_) => {
                    self.close(engine);
                    Err(Setback::Unknown(error))
                }
            },
        }
    }

    /// Aborts what is open; a session in which that fails is closed, which has the same effect.
    pub(crate) fn abort<E: Engine<Session = S>>(&mut self, engine: &E) {
        if let Some(session) = &self.session
            && abort(engine, session).is_err()
        {
            self.close(engine);
        }
    }

    /// Ends a transaction that the engine has ended at `error`.
    pub(crate) fn end<E: Engine<Session = S>>(&mut self, engine: &E, error: EngineError) {
        if error.class() == Class::Replay { self.abort(engine) } else { self.close(engine) }
    }

    /// Closes the session, if there is one. What is open in it is undone.
    pub(crate) fn close<E: Engine<Session = S>>(&mut self, engine: &E) {
        if let Some(session) = self.session.take() {
            // It is gone whatever the answer.
            let _ = engine.close(session);
        }
        self.fresh = true;
    }
}

/// How one attempt ended.
pub(crate) enum Ended<T, X> {
    /// Committed.
    Done(T),
    /// Aborted; the work's error may be one that passes.
    Refused(X, Option<EngineError>),
    /// See [`Setback`].
    Setback(Setback),
}

/// Begins, works, and commits or aborts.
pub(crate) fn attempt<E: Engine, T, X>(
    lazy: &mut Lazy<E::Session>,
    engine: &E,
    options: SessionOptions,
    access: Access,
    work: &mut impl FnMut(&mut Transaction<'_, E>) -> Result<T, X>,
) -> Ended<T, X> {
    let (worked, found) = match lazy.begin(engine, options, access) {
        Ok(open) => open.perform(engine, access, work),
        Err(setback) => return Ended::Setback(setback),
    };
    match (found.ended, worked) {
        (Some(error), _) => {
            lazy.end(engine, error);
            Ended::Setback(Setback::Again(error))
        }
        (None, Err(refused)) => {
            lazy.abort(engine);
            Ended::Refused(refused, found.passing)
        }
        (None, Ok(value)) => match lazy.commit(engine) {
            Ok(()) => Ended::Done(value),
            // Committed or not, it comes to the same.
            Err(Setback::Unknown(error)) if !found.may_have_modified() => {
                Ended::Setback(Setback::Again(error))
            }
            Err(setback) => Ended::Setback(setback),
        },
    }
}

/// A call that failed and did nothing: will it go well another time?
fn setback(error: EngineError) -> Setback {
    match error.class() {
        Class::NothingChanged | Class::Reopen | Class::Replay => Setback::Again(error),
        Class::AlreadySo | Class::CallersBug | Class::Permanent | Class::Unknown => Setback::Failed(error),
    }
}
