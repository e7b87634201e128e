//! The seam to the filter engine.

use core::time::Duration;

use crate::Status;

/// A filter engine: sessions, transactions, and the operations inside them.
///
/// Windows' own is one implementor, a model of it (feature `model`) another. Methods do what the call they stand for does, once, and give
/// back its status unchanged; retrying, reopening and classifying are not theirs.
pub trait Engine {
    /// An open session: `HANDLE`.
    type Session;
    /// What can be added: borrowed descriptions of providers, sublayers, callouts, filters.
    type Object<'o>;
    /// What an object is found and deleted by.
    type Id;

    /// `FwpmEngineOpen0`
    ///
    /// # Errors
    /// The call's status.
    fn open(&self, options: SessionOptions) -> Result<Self::Session, Status>;

    /// `FwpmEngineClose0`. The session is gone whatever the answer, and a transaction that was open in it is undone.
    ///
    /// # Errors
    /// The call's status.
    fn close(&self, session: Self::Session) -> Result<(), Status>;

    /// `FwpmTransactionBegin0`
    ///
    /// # Errors
    /// The call's status.
    fn begin(&self, session: &Self::Session, access: Access) -> Result<(), Status>;

    /// `FwpmTransactionCommit0`
    ///
    /// # Errors
    /// The call's status.
    fn commit(&self, session: &Self::Session) -> Result<(), Status>;

    /// `FwpmTransactionAbort0`
    ///
    /// # Errors
    /// The call's status.
    fn abort(&self, session: &Self::Session) -> Result<(), Status>;

    /// `FwpmProviderAdd0`, `FwpmSubLayerAdd0`, `FwpmCalloutAdd0`, `FwpmFilterAdd0`: one object, and what it can be deleted by.
    ///
    /// # Errors
    /// The call's status.
    fn add(&self, session: &Self::Session, object: Self::Object<'_>) -> Result<Self::Id, Status>;

    /// `Fwpm*DeleteByKey0`, `FwpmFilterDeleteById0`
    ///
    /// # Errors
    /// The call's status; one of the `NOT_FOUND` codes when there is no such object.
    fn delete(&self, session: &Self::Session, id: &Self::Id) -> Result<(), Status>;

    /// `Fwpm*GetByKey0`, `FwpmFilterGetById0`: whether there is such an object. Not finding it is no error.
    ///
    /// # Errors
    /// The call's status.
    fn contains(&self, session: &Self::Session, id: &Self::Id) -> Result<bool, Status>;
}

/// What a transaction may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the engine knows these two")]
pub enum Access {
    /// `FWPM_TXN_READ_ONLY`: what would modify is refused. Readers may overlap.
    ReadOnly,
    /// Anything; one such transaction at a time in the whole engine.
    #[default]
    ReadWrite,
}

/// How sessions are opened: the part of `FWPM_SESSION0` that matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionOptions {
    /// What becomes of the objects added in it.
    pub lifetime: Lifetime,
    /// How long a begin waits in the engine while another session writes: `txnWaitTimeoutInMSec`. `None` is the engine's default, 15 s.
    pub begin_timeout: Option<Duration>,
}

impl SessionOptions {
    /// Static, with the engine's own time-out.
    #[must_use]
    pub const fn new() -> Self {
        Self { lifetime: Lifetime::Static, begin_timeout: None }
    }

    /// With another lifetime of objects.
    #[must_use]
    pub const fn with_lifetime(self, lifetime: Lifetime) -> Self {
        Self { lifetime, ..self }
    }

    /// With another time-out for begins.
    #[must_use]
    pub const fn with_begin_timeout(self, timeout: Duration) -> Self {
        Self { begin_timeout: Some(timeout), ..self }
    }
}

/// What becomes of a session's objects when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the engine knows these two")]
pub enum Lifetime {
    /// They go with the session (`FWPM_SESSION_FLAG_DYNAMIC`): also when it is lost and has to be opened again. See
    /// [`Transaction::is_first`](crate::Transaction::is_first).
    Dynamic,
    /// They stay until they are deleted or the engine stops.
    #[default]
    Static,
}

/// Strategies share an engine through references to it.
impl<E: Engine + ?Sized> Engine for &E {
    type Session = E::Session;
    type Object<'o> = E::Object<'o>;
    type Id = E::Id;

    fn open(&self, options: SessionOptions) -> Result<Self::Session, Status> {
        (**self).open(options)
    }

    fn close(&self, session: Self::Session) -> Result<(), Status> {
        (**self).close(session)
    }

    fn begin(&self, session: &Self::Session, access: Access) -> Result<(), Status> {
        (**self).begin(session, access)
    }

    fn commit(&self, session: &Self::Session) -> Result<(), Status> {
        (**self).commit(session)
    }

    fn abort(&self, session: &Self::Session) -> Result<(), Status> {
        (**self).abort(session)
    }

    fn add(&self, session: &Self::Session, object: Self::Object<'_>) -> Result<Self::Id, Status> {
        (**self).add(session, object)
    }

    fn delete(&self, session: &Self::Session, id: &Self::Id) -> Result<(), Status> {
        (**self).delete(session, id)
    }

    fn contains(&self, session: &Self::Session, id: &Self::Id) -> Result<bool, Status> {
        (**self).contains(session, id)
    }
}
