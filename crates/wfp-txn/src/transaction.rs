//! One transaction in one session, and the guard that ends it.

use core::fmt;

use crate::{Access, Call, Class, Engine, EngineError, OperationError, Status};

/// An open transaction. Dropping it aborts it, also when a panic does the dropping.
///
/// The strategies open one, hand it to the work, and commit or abort afterwards. By itself it is the guard for code that has a session of its own;
/// it neither retries nor reopens.
///
/// Once the engine has ended the transaction behind the caller's back (`TXN_ABORTED`, a lost session), every further operation is refused
/// with [`OperationError::Ended`] without asking the engine: outside a transaction it would take effect by itself, at once.
///
/// A transaction that is forgotten (`mem::forget`) stays open in the engine until its session ends, and everybody else waits.
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction<'a, E: Engine> {
    engine: &'a E,
    session: &'a E::Session,
    access: Access,
    first: bool,
    /// To be ended by this guard.
    open: bool,
    /// What operations found out.
    found: Found,
}

/// What the operations of some work found out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// Something was modified, or it cannot be ruled out.
    pub(crate) modified: bool,
    /// The call at which the engine ended the transaction.
    pub(crate) ended: Option<EngineError>,
    /// An operation failed with a status that nobody knows: the transaction may be gone, and what is done in it may take effect by itself.
    pub(crate) doubtful: Option<EngineError>,
    /// The last operation failed in a way that passes.
    pub(crate) passing: Option<EngineError>,
}

impl Found {
    /// Whether the engine may hold something of it.
    pub(crate) const fn may_have_modified(&self) -> bool {
        self.modified || self.doubtful.is_some()
    }
}

impl<'a, E: Engine> Transaction<'a, E> {
    /// Begins a transaction.
    ///
    /// # Errors
    /// What the engine gave.
    pub fn begin(engine: &'a E, session: &'a E::Session, access: Access) -> Result<Self, EngineError> {
        engine.begin(session, access).map_err(|status| EngineError::new(Call::Begin, status))?;
        Ok(Self { open: true, ..Self::joined(engine, session, access, false) })
    }

    /// Takes part in a transaction that somebody else has begun and will end.
    pub(crate) fn joined(engine: &'a E, session: &'a E::Session, access: Access, first: bool) -> Self {
        Self { engine, session, access, first, open: false, found: Found::default() }
    }

    /// What it may do.
    #[must_use]
    pub const fn access(&self) -> Access {
        self.access
    }

    /// Whether this is the first transaction of a newly opened session: what was added in a dynamic session before is gone, and what was
    /// added in a static one is gone too if the engine was restarted.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.first
    }

    /// Adds an object.
    ///
    /// # Errors
    /// [`OperationError`]; the transaction stays open unless that says otherwise.
    pub fn add(&mut self, object: E::Object<'_>) -> Result<E::Id, OperationError> {
        self.call(Call::Add, |engine, session| engine.add(session, object))
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// [`OperationError`], also when there is no such object; the transaction stays open unless that says otherwise.
    pub fn delete(&mut self, id: &E::Id) -> Result<(), OperationError> {
        self.call(Call::Delete, |engine, session| engine.delete(session, id))
    }

    /// Deletes an object if there is one, and says whether there was.
    ///
    /// # Errors
    /// [`OperationError`]; the transaction stays open unless that says otherwise.
    pub fn remove(&mut self, id: &E::Id) -> Result<bool, OperationError> {
        match self.delete(id) {
            Ok(()) => Ok(true),
            Err(OperationError::Engine(error)) if error.class() == Class::AlreadySo => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there is such an object.
    ///
    /// # Errors
    /// [`OperationError`]; the transaction stays open unless that says otherwise.
    pub fn contains(&mut self, id: &E::Id) -> Result<bool, OperationError> {
        self.read(|engine, session| engine.contains(session, id))
    }

    /// Any other call that modifies nothing.
    ///
    /// # Errors
    /// [`OperationError`]; the transaction stays open unless that says otherwise.
    pub fn read<T>(
        &mut self,
        call: impl FnOnce(&E, &E::Session) -> Result<T, Status>,
    ) -> Result<T, OperationError> {
        self.call(Call::Read, call)
    }

    /// Any other call that modifies.
    ///
    /// # Errors
    /// [`OperationError`]; the transaction stays open unless that says otherwise.
    pub fn write<T>(
        &mut self,
        call: impl FnOnce(&E, &E::Session) -> Result<T, Status>,
    ) -> Result<T, OperationError> {
        self.call(Call::Add, call)
    }

    /// Commits.
    ///
    /// # Errors
    /// What the engine gave; a transaction that is still open then is aborted.
    pub fn commit(mut self) -> Result<(), EngineError> {
        if let Some(ended) = self.found.ended {
            return Err(ended);
        }
        let committed =
            self.engine.commit(self.session).map_err(|status| EngineError::new(Call::Commit, status));
        // On failure the drop aborts: what a failed commit leaves behind is not documented.
        self.open = committed.is_err();
        committed
    }

    /// Aborts.
    ///
    /// # Errors
    /// What the engine gave, unless that says that the transaction has ended already.
    pub fn abort(mut self) -> Result<(), EngineError> {
        self.open = false;
        abort(self.engine, self.session)
    }

    /// What its operations found out so far.
    pub(crate) const fn found(&self) -> Found {
        self.found
    }

    fn call<T>(
        &mut self,
        call: Call,
        make: impl FnOnce(&E, &E::Session) -> Result<T, Status>,
    ) -> Result<T, OperationError> {
        if let Some(ended) = self.found.ended {
            return Err(OperationError::Ended(ended));
        }
        let modifies = call != Call::Read;
        if modifies && self.access == Access::ReadOnly {
            return Err(OperationError::ReadOnly);
        }
        self.found.passing = None;
        match make(self.engine, self.session) {
            Ok(value) => {
                self.found.modified |= modifies;
                Ok(value)
            }
            Err(status) => {
                let error = EngineError::new(call, status);
                if !status.is_known() {
                    self.found.doubtful = Some(error);
                }
                match error.class() {
                    Class::Reopen | Class::Replay | Class::Unknown => self.found.ended = Some(error),
                    Class::NothingChanged => self.found.passing = Some(error),
                    Class::AlreadySo | Class::CallersBug | Class::Permanent => {}
                }
                Err(OperationError::Engine(error))
            }
        }
    }
}

/// Aborts what is open in `session`; that nothing is open any more is no error.
pub(crate) fn abort<E: Engine>(engine: &E, session: &E::Session) -> Result<(), EngineError> {
    match engine.abort(session).map_err(|status| EngineError::new(Call::Abort, status)) {
        Err(error) if error.class() != Class::AlreadySo => Err(error),
        _ => Ok(()),
    }
}

impl<E: Engine> Drop for Transaction<'_, E> {
    fn drop(&mut self) {
        if self.open {
            // A session whose abort fails is found out at its next begin.
            let _ = abort(self.engine, self.session);
        }
    }
}

impl<E: Engine> fmt::Debug for Transaction<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("access", &self.access)
            .field("found", &self.found)
            .finish_non_exhaustive()
    }
}
