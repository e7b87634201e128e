//! Operations of several threads in one transaction.
//!
//! Committing is what costs, and one commit can carry many operations. So threads that wait anyway pass one open transaction on:
//!
//! ```text
//! take a ticket; wait for its turn
//! begin a transaction, unless the one before has passed on its own
//! do the work
//! somebody is next in line, and may join:   pass the transaction on, wait to be told what became of it
//! otherwise:                                commit, tell all members, let the line go on
//! ```
//!
//! Each thread does its own work on its own stack: nothing is sent to another thread, nothing is allocated.
//!
//! What can go wrong, and what happens then:
//!
//! 1. *The transaction is lost* (the engine aborted it, the session is gone, the commit failed in a way that passes): the line goes back to the first
//!    member, and all of them do their work again, in a new transaction.
//! 2. *A member's work fails without having modified anything*: nothing is to be undone. The failure may rest on what other members did,
//!    which is not committed yet: the member waits to be told like the others, and works again if they do.
//! 3. *A member's work fails after it has modified something*, or with a status that nobody knows: a transaction cannot be undone in part,
//!    so it is aborted. If the member was the first one, that is all. Otherwise the members before it work again and commit without it; it then begins the next transaction, and if it fails again,
//!    it fails alone.
//! 4. *The engine refuses the commit for good*: the members work again, each in a transaction of its own, so that only those fail that have to.
//! 5. *A member panics*: as in 3, except that it is passed over when the line comes to it again.

mod baton;
mod line;

use core::array;
use core::fmt;
use core::mem;

use lock_api::{Mutex, MutexGuard, RawMutex};

use self::baton::{Baton, Step};
use self::line::{Line, Place, Verdict};
use crate::attempt::Lazy;
use crate::mutant;
use crate::policy::Attempts;
use crate::sessions::{LANES, lane, place_of};
use crate::{Access, Config, Engine, Error, Host, Strategy, Transaction};

/// One session; whoever waits joins the transaction of those before.
///
/// Threads are served in the order in which they came, up to 64 in one transaction. A thread returns when the transaction that holds its
/// operations is committed, so it knows what it knows with any other strategy: done exactly once, or not at all.
///
/// Work may see what other members did before it in the same transaction. It is told nothing that is taken back later: if the
/// transaction is lost, it works again.
///
/// A thread that has been told the outcome and is not scheduled for the length of 64 further operations holds up the line until it is.
pub struct Grouped<E: Engine, H: Host, R: RawMutex> {
    engine: E,
    host: H,
    config: Config,
    line: Mutex<R, Line<E::Session>>,
    bells: [H::Bell; LANES],
}

impl<E: Engine, H: Host, R: RawMutex> Grouped<E, H, R> {
    /// One session; nothing is opened yet.
    pub fn new(engine: E, host: H, config: Config) -> Self {
        let bells = array::from_fn(|_| host.bell());
        let line = Line {
            next: 0,
            turn: 0,
            inside: None,
            lazy: Lazy::default(),
            group: None,
            barrier: None,
            alone: None,
            places: [Place::Free; LANES],
        };
        Self { engine, host, config, line: Mutex::new(line), bells }
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &E {
        &self.engine
    }

    fn ticket<X>(&self, thread: u64) -> Result<u64, Error<X>> {
        let mut line = self.line.lock();
        if mutant::GROUPED_REFUSE_NESTED.is_taken() && line.inside == Some(thread) {
            return Err(Error::Nested);
        }
        let ticket = line.next;
        line.next = ticket.wrapping_add(1);
        Ok(ticket)
    }

    /// Waits until it is the ticket's turn.
    fn turn(&self, ticket: u64, thread: u64) -> Baton<'_, E, H, R> {
        let mut line = self.wait(ticket, |line| line.may_work(ticket));
        line.inside = Some(thread);
        if let Some(place) = line.places.get_mut(place_of(ticket)) {
            *place = Place::Member(ticket);
        }
        if line.barrier == Some(ticket) {
            line.barrier = None;
        }
        let (lazy, group) = (mem::take(&mut line.lazy), line.group.take());
        Baton { grouped: self, ticket, lazy, group, held: true }
    }

    /// Waits to be told what became of the ticket's transaction.
    fn verdict(&self, ticket: u64) -> Verdict {
        let mut line = self.wait(ticket, |line| matches!(line.place(ticket), Place::Told(..)));
        let told = line.place(ticket);
        let verdict = if let Place::Told(_, verdict) = told { verdict } else { Verdict::ReplayAtOnce };
        match verdict {
            Verdict::Committed | Verdict::Unknown(_) => {
                let waiting = line.free(ticket);
                drop(line);
                self.ring(waiting);
            }
            Verdict::Replay(_) | Verdict::ReplayAtOnce => {
                if let Some(place) = line.places.get_mut(place_of(ticket)) {
                    *place = Place::Member(ticket);
                }
            }
        }
        verdict
    }

    fn wait(
        &self,
        ticket: u64,
        mut is_over: impl FnMut(&Line<E::Session>) -> bool,
    ) -> MutexGuard<'_, R, Line<E::Session>> {
        let mut line = self.line.lock();
        while !is_over(&line) {
            let Some(bell) = lane(&self.bells, ticket) else { continue };
            let seen = self.host.rings(bell);
            drop(line);
            self.host.wait(bell, seen, None);
            line = self.line.lock();
        }
        line
    }

    fn ring(&self, ticket: Option<u64>) {
        if let Some(bell) = ticket.and_then(|ticket| lane(&self.bells, ticket)) {
            self.host.ring(bell);
        }
    }

    fn ring_all(&self, tickets: impl Iterator<Item = u64>) {
        if mutant::GROUPED_RING_MEMBERS.is_taken() {
            tickets.for_each(|ticket| self.ring(Some(ticket)));
        }
    }
}

impl<E: Engine, H: Host, R: RawMutex> Strategy for Grouped<E, H, R> {
    type Engine = E;

    fn transact<T, X>(
        &self,
        access: Access,
        mut work: impl FnMut(&mut Transaction<'_, E>) -> Result<T, X>,
    ) -> Result<T, Error<X>> {
        let thread = self.host.thread();
        let mut attempts = Attempts::new(self.config.policy, &self.host);
        let mut ticket = self.ticket(thread)?;
        // Set when the bounds are reached while the line is at another member: it leaves at its turn, so that nobody waits for it.
        let mut leaving = None;
        loop {
            let baton = self.turn(ticket, thread);
            if let Some(error) = leaving {
                return baton.quit(error);
            }
            let mut step = baton.work(access, &mut work, &mut attempts);
            if let Step::Joined(worked) = step {
                step = match self.verdict(ticket) {
                    Verdict::Committed => worked.settle(&mut attempts, &self.host),
                    Verdict::Unknown(error) => worked.settle_unknown(error, &mut attempts, &self.host),
                    Verdict::ReplayAtOnce => Step::Again,
                    Verdict::Replay(error) => {
                        // Whoever lost the transaction slept already.
                        leaving = attempts.next(&self.host, error).err();
                        Step::Again
                    }
                };
            }
            match step {
                Step::Over(result) => return result,
                Step::Again | Step::Joined(_) => {}
                Step::Aside(delay) => {
                    self.host.sleep(delay);
                    ticket = self.ticket(thread)?;
                }
            }
        }
    }
}

/// Closes the session.
impl<E: Engine, H: Host, R: RawMutex> Drop for Grouped<E, H, R> {
    fn drop(&mut self) {
        self.line.get_mut().lazy.close(&self.engine);
    }
}

impl<E: Engine, H: Host, R: RawMutex> fmt::Debug for Grouped<E, H, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grouped").field("config", &self.config).finish_non_exhaustive()
    }
}
