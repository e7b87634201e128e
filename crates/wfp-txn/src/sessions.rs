//! A bounded pool of sessions, handed out in the order of arrival.

use core::array;
use core::fmt;
use core::mem;

use lock_api::{Mutex, RawMutex};

use crate::attempt::{Ended, Lazy, Setback, attempt};
use crate::mutant;
use crate::policy::Attempts;
use crate::{Access, Config, Engine, EngineError, Error, Host, Strategy, Transaction};

/// Bells of a line: threads wait each on its own while there are no more than this, and share them beyond. A power of two; few for
/// the model checker, so that models go round.
pub(crate) const LANES: usize = if cfg!(loom) { 4 } else { 64 };

/// A pool of at most `SESSIONS` sessions: every transaction has one to itself while it lasts.
///
/// Threads are served in the order in which they came; when all sessions are taken, they wait. The engine lets one writer in at a time,
/// whatever the number of sessions; those that have a session wait inside the engine's begin for up to
/// [`begin_timeout`](crate::SessionOptions::begin_timeout), in an order that is the engine's. So more than one session pays when transactions read, or
/// when the work does much besides.
///
/// Sessions are opened when they are first needed, closed and opened again when they are lost, and closed when the pool is dropped.
pub struct Sessions<E: Engine, H: Host, R: RawMutex, const SESSIONS: usize> {
    engine: E,
    host: H,
    config: Config,
    line: Mutex<R, Line<E::Session, SESSIONS>>,
    bells: [H::Bell; LANES],
}

/// Who waits, and what is free. Tickets are numbers that wrap.
struct Line<S, const SESSIONS: usize> {
    /// The ticket of the next thread to come.
    next: u64,
    /// The ticket that may take a session: those before have taken theirs.
    turn: u64,
    places: [Place<S>; SESSIONS],
}

enum Place<S> {
    Free(Lazy<S>),
    /// By that thread.
    Taken(u64),
}

impl<E: Engine, H: Host, R: RawMutex, const SESSIONS: usize> Sessions<E, H, R, SESSIONS> {
    /// A pool; nothing is opened yet.
    pub fn new(engine: E, host: H, config: Config) -> Self {
        const { assert!(SESSIONS > 0, "a pool needs a session") };
        let bells = array::from_fn(|_| host.bell());
        let places = array::from_fn(|_| Place::Free(Lazy::default()));
        Self { engine, host, config, line: Mutex::new(Line { next: 0, turn: 0, places }), bells }
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &E {
        &self.engine
    }

    /// Waits for a session in the order of arrival.
    fn enter<X>(&self) -> Result<Turn<'_, E, H, R, SESSIONS>, Error<X>> {
        let thread = self.host.thread();
        let mut line = self.line.lock();
        if mutant::SESSIONS_REFUSE_NESTED.is_taken() && line.is_inside(thread) {
            return Err(Error::Nested);
        }
        let ticket = line.next;
        line.next = ticket.wrapping_add(1);
        loop {
            if (line.turn == ticket || !mutant::SESSIONS_IN_ORDER.is_taken())
                && let Some((index, lazy)) = line.take(thread)
            {
                line.turn = line.turn.wrapping_add(1);
                // A session that became free while its turn had not come woke nobody else.
                let next = line.waiting().filter(|_| line.has_free());
                drop(line);
                if mutant::SESSIONS_RING_ON.is_taken() {
                    self.wake(next);
                }
                return Ok(Turn { sessions: self, index, lazy, settled: true });
            }
            let Some(bell) = lane(&self.bells, ticket) else { continue };
            let seen = self.host.rings(bell);
            drop(line);
            self.host.wait(bell, seen, None);
            line = self.line.lock();
        }
    }

    fn leave(&self, index: usize, lazy: Lazy<E::Session>) {
        let mut line = self.line.lock();
        if let Some(place) = line.places.get_mut(index) {
            *place = Place::Free(lazy);
        }
        let next = line.waiting();
        drop(line);
        if mutant::SESSIONS_RING_NEXT.is_taken() {
            self.wake(next);
        }
    }

    fn wake(&self, ticket: Option<u64>) {
        if let Some(bell) = ticket.and_then(|ticket| lane(&self.bells, ticket)) {
            self.host.ring(bell);
        }
    }

    /// Sleeps before the next attempt.
    fn again<X>(&self, attempts: &mut Attempts, error: EngineError) -> Result<(), Error<X>> {
        let delay = attempts.next(&self.host, error)?;
        self.host.sleep(delay);
        Ok(())
    }
}

impl<E: Engine, H: Host, R: RawMutex, const SESSIONS: usize> Strategy for Sessions<E, H, R, SESSIONS> {
    type Engine = E;

    fn transact<T, X>(
        &self,
        access: Access,
        mut work: impl FnMut(&mut Transaction<'_, E>) -> Result<T, X>,
    ) -> Result<T, Error<X>> {
        let mut turn = self.enter()?;
        let mut attempts = Attempts::new(self.config.policy, &self.host);
        loop {
            match turn.attempt(access, &mut work) {
                Ended::Done(value) => return Ok(value),
                Ended::Setback(Setback::Again(error)) => self.again(&mut attempts, error)?,
                Ended::Setback(setback) => return Err(setback.into_error(attempts.made())),
                Ended::Refused(refused, None) => return Err(Error::Refused(refused)),
                Ended::Refused(refused, Some(error)) => {
                    // It waits for what others do (`IN_USE`): let them.
                    let Ok(delay) = attempts.next::<X>(&self.host, error) else {
                        return Err(Error::Refused(refused));
                    };
                    drop(turn);
                    self.host.sleep(delay);
                    turn = self.enter()?;
                }
            }
        }
    }
}

/// A session, until it is dropped.
struct Turn<'a, E: Engine, H: Host, R: RawMutex, const SESSIONS: usize> {
    sessions: &'a Sessions<E, H, R, SESSIONS>,
    index: usize,
    lazy: Lazy<E::Session>,
    /// No transaction is open; false only while one is worked in.
    settled: bool,
}

impl<E: Engine, H: Host, R: RawMutex, const SESSIONS: usize> Turn<'_, E, H, R, SESSIONS> {
    fn attempt<T, X>(
        &mut self,
        access: Access,
        work: &mut impl FnMut(&mut Transaction<'_, E>) -> Result<T, X>,
    ) -> Ended<T, X> {
        let Sessions { engine, config, .. } = self.sessions;
        self.settled = false;
        let ended = attempt(&mut self.lazy, engine, config.session, access, work);
        self.settled = true;
        ended
    }
}

impl<E: Engine, H: Host, R: RawMutex, const SESSIONS: usize> Drop for Turn<'_, E, H, R, SESSIONS> {
    fn drop(&mut self) {
        if !self.settled && mutant::SESSIONS_ABORT_ON_PANIC.is_taken() {
            self.lazy.abort(&self.sessions.engine);
        }
        if self.settled || mutant::SESSIONS_LEAVE_ON_PANIC.is_taken() {
            self.sessions.leave(self.index, mem::take(&mut self.lazy));
        }
    }
}

impl<S, const SESSIONS: usize> Line<S, SESSIONS> {
    fn is_inside(&self, thread: u64) -> bool {
        self.places.iter().any(|place| matches!(place, Place::Taken(by) if *by == thread))
    }

    fn has_free(&self) -> bool {
        self.places.iter().any(|place| matches!(place, Place::Free(_)))
    }

    /// Whose turn it is, if there is anybody.
    fn waiting(&self) -> Option<u64> {
        (self.turn != self.next).then_some(self.turn)
    }

    fn take(&mut self, thread: u64) -> Option<(usize, Lazy<S>)> {
        for (index, place) in self.places.iter_mut().enumerate() {
            let free = matches!(place, Place::Free(_)) || !mutant::SESSIONS_ONE_EACH.is_taken();
            if free {
                let taken = mem::replace(place, Place::Taken(thread));
                return Some((index, if let Place::Free(lazy) = taken { lazy } else { Lazy::default() }));
            }
        }
        None
    }
}

/// Closes what is open.
impl<E: Engine, H: Host, R: RawMutex, const SESSIONS: usize> Drop for Sessions<E, H, R, SESSIONS> {
    fn drop(&mut self) {
        for place in &mut self.line.get_mut().places {
            if let Place::Free(lazy) = place {
                lazy.close(&self.engine);
            }
        }
    }
}

impl<E: Engine, H: Host, R: RawMutex, const SESSIONS: usize> fmt::Debug for Sessions<E, H, R, SESSIONS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("sessions", &SESSIONS)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// One session for everybody: transactions one after the other, in the order in which their threads came.
///
/// No thread is passed over: it waits for those before it, and for nobody else.
pub struct Serialized<E: Engine, H: Host, R: RawMutex>(Sessions<E, H, R, 1>);

impl<E: Engine, H: Host, R: RawMutex> Serialized<E, H, R> {
    /// One session; nothing is opened yet.
    pub fn new(engine: E, host: H, config: Config) -> Self {
        Self(Sessions::new(engine, host, config))
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &E {
        self.0.engine()
    }
}

impl<E: Engine, H: Host, R: RawMutex> Strategy for Serialized<E, H, R> {
    type Engine = E;

    fn transact<T, X>(
        &self,
        access: Access,
        work: impl FnMut(&mut Transaction<'_, E>) -> Result<T, X>,
    ) -> Result<T, Error<X>> {
        self.0.transact(access, work)
    }
}

impl<E: Engine, H: Host, R: RawMutex> fmt::Debug for Serialized<E, H, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serialized").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// The bell of a ticket.
#[inline]
pub(crate) fn lane<B>(bells: &[B; LANES], ticket: u64) -> Option<&B> {
    bells.get(place_of(ticket))
}

/// The index of a ticket among [`LANES`], a power of two, so that tickets wrap without a jump.
#[inline]
pub(crate) fn place_of(ticket: u64) -> usize {
    usize::try_from(ticket & (LANES as u64).wrapping_sub(1)).unwrap_or(0)
}
