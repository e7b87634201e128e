//! The one interface of all strategies.

use crate::{Access, Engine, Error, Transaction};

/// Carries out transactions for many threads.
///
/// A transaction is given as *work*: a closure that is handed an open [`Transaction`] and does all of its operations in it. When the transaction is lost half-way, which
/// the engine may do at any call, the work is called **again**, in a new transaction; what it returned before is dropped. So it should
/// have no effects but those in the engine, or such as bear repeating.
///
/// What comes back tells which of three things is the case: done exactly once (`Ok`), not done at all, or, if the answer to a commit was lost,
/// one of the two ([`Error::Unknown`]).
pub trait Strategy {
    /// The engine behind.
    type Engine: Engine;

    /// Carries out a transaction; if the work gives an error, the transaction is aborted.
    ///
    /// The work must not call the same strategy: that would wait for itself, and is refused with [`Error::Nested`].
    ///
    /// # Errors
    /// [`Error`]; all but [`Error::Unknown`] mean that nothing was done.
    fn transact<T, X>(
        &self,
        access: Access,
        work: impl FnMut(&mut Transaction<'_, Self::Engine>) -> Result<T, X>,
    ) -> Result<T, Error<X>>;
}

impl<S: Strategy + ?Sized> Strategy for &S {
    type Engine = S::Engine;

    fn transact<T, X>(
        &self,
        access: Access,
        work: impl FnMut(&mut Transaction<'_, Self::Engine>) -> Result<T, X>,
    ) -> Result<T, Error<X>> {
        (**self).transact(access, work)
    }
}
