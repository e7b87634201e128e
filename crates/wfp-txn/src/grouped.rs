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
//! 3. *A member's work fails after it has modified something*, or with a status that nobody knows: a transaction cannot be undone in part, so it is aborted. If the member was
//!    the first one, that is all. Otherwise the members before it work again and commit without it; it then begins the next transaction, and if it fails again,
//!    it fails alone.
//! 4. *The engine refuses the commit for good*: the members work again, each in a transaction of its own, so that only those fail that have to.
//! 5. *A member panics*: as in 3, except that it is passed over when the line comes to it again.

use core::array;
use core::fmt;
use core::mem;
use core::time::Duration;

use lock_api::{Mutex, MutexGuard, RawMutex};

use crate::attempt::{Lazy, Setback};
use crate::mutant;
use crate::policy::Attempts;
use crate::sessions::{LANES, lane, place_of};
use crate::transaction::Found;
use crate::{Access, Config, Engine, EngineError, Error, Host, Strategy, Transaction};

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

/// The line and the transaction that is passed along it. Tickets are numbers that wrap.
struct Line<S> {
    /// The ticket of the next thread to come.
    next: u64,
    /// The ticket whose turn it is. Only its thread works, begins, commits.
    turn: u64,
    /// The thread that works.
    inside: Option<u64>,
    /// Away while somebody works.
    lazy: Lazy<S>,
    /// The transaction that is being passed on.
    group: Option<Group>,
    /// A ticket that must begin a transaction rather than join one.
    barrier: Option<u64>,
    /// Up to this ticket everybody has a transaction of its own.
    alone: Option<u64>,
    places: [Place; LANES],
}

/// An open transaction.
#[derive(Clone, Copy)]
struct Group {
    /// The member that began it.
    first: u64,
    access: Access,
}

/// What the line remembers of a ticket; a place serves a new ticket when the old one has left.
#[derive(Clone, Copy)]
enum Place {
    Free,
    /// That ticket has had its turn at least once.
    Member(u64),
    /// It is told what became of its transaction.
    Told(u64, Verdict),
    /// Its thread has left without having been served, and is to be passed over.
    Gone(u64),
}

#[derive(Clone, Copy)]
enum Verdict {
    Committed,
    Replay(EngineError),
    /// The same, but nothing was wrong with the engine: another member failed.
    ReplayAtOnce,
    Unknown(EngineError),
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

/// What a member's turn has led to.
enum Step<T, X> {
    /// It is over.
    Over(Result<T, Error<X>>),
    /// Its work is part of a transaction that others go on with.
    Joined(Worked<T, X>),
    /// Its turn will come again.
    Again,
    /// It failed in a way that passes, and steps aside for as long.
    Aside(Duration),
}

/// What a member's work has given.
struct Worked<T, X> {
    result: Result<T, X>,
    /// Its failure is one that passes.
    passing: Option<EngineError>,
}

impl<T, X> Worked<T, X> {
    /// The transaction is committed, or this part of it had no effect.
    fn settle(self, attempts: &mut Attempts, host: &impl Host) -> Step<T, X> {
        // It waits for what others do (`IN_USE`): let them.
        match (self.result, self.passing.map(|error| attempts.next::<X>(host, error))) {
            (Err(_), Some(Ok(delay))) => Step::Aside(delay),
            (result, _) => Step::Over(result.map_err(Error::Refused)),
        }
    }

    /// Nobody knows whether the transaction was committed; a part that did nothing is not done either way.
    fn settle_unknown(self, error: EngineError) -> Result<T, Error<X>> {
        Err(self.result.err().map_or(Error::Unknown { error }, Error::Refused))
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
                    Verdict::Unknown(error) => Step::Over(worked.settle_unknown(error)),
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

/// The turn, and with it the session and the open transaction. Dropping it in a panic undoes the transaction and lets the others go on.
struct Baton<'a, E: Engine, H: Host, R: RawMutex> {
    grouped: &'a Grouped<E, H, R>,
    ticket: u64,
    lazy: Lazy<E::Session>,
    group: Option<Group>,
    /// Not given up yet.
    held: bool,
}

impl<E: Engine, H: Host, R: RawMutex> Baton<'_, E, H, R> {
    fn work<T, X>(
        mut self,
        access: Access,
        work: &mut impl FnMut(&mut Transaction<'_, E>) -> Result<T, X>,
        attempts: &mut Attempts,
    ) -> Step<T, X> {
        // A reader's transaction is of no use to a writer: it ends here.
        if self.group.is_some_and(|group| access == Access::ReadWrite && group.access == Access::ReadOnly) {
            match self.lazy.commit(&self.grouped.engine) {
                Ok(()) => self.tell(Verdict::Committed),
                Err(Setback::Unknown(error)) => self.tell(Verdict::Unknown(error)),
                Err(Setback::Again(error) | Setback::Failed(error)) => {
                    self.rewind(Verdict::Replay(error));
                    return Step::Again;
                }
            }
        }
        let (result, found) = match self.perform(access, work, attempts) {
            Ok(performed) => performed,
            Err(error) => {
                self.leave();
                return Step::Over(Err(error));
            }
        };
        if let Some(error) = found.ended {
            return self.lost(error, attempts);
        }
        let is_first = self.group.is_none_or(|group| group.first == self.ticket);
        let worked = Worked { result, passing: found.passing };
        if worked.result.is_ok() || !(is_first || found.modified || found.doubtful) {
            return self.go_on(worked, found.doubtful, attempts);
        }
        if is_first || mutant::GROUPED_ABORT_ON_FAILURE.is_taken() {
            self.lazy.abort(&self.grouped.engine);
        }
        if is_first {
            self.group = None;
            let host = &self.grouped.host;
            self.leave();
            return worked.settle(attempts, host);
        }
        if mutant::GROUPED_BARRIER.is_taken() {
            self.grouped.line.lock().barrier = Some(self.ticket);
        }
        self.rewind(Verdict::ReplayAtOnce);
        Step::Again
    }

    /// Joins the transaction, or begins one, as often as it takes.
    fn perform<T, X>(
        &mut self,
        access: Access,
        work: &mut impl FnMut(&mut Transaction<'_, E>) -> Result<T, X>,
        attempts: &mut Attempts,
    ) -> Result<(Result<T, X>, Found), Error<X>> {
        let Grouped { engine, host, config, .. } = self.grouped;
        if self.group.is_some()
            && let Some(open) = self.lazy.open()
        {
            return Ok(open.perform(engine, access, work));
        }
        loop {
            match self.lazy.begin(engine, config.session, access) {
                Ok(open) => {
                    self.group = Some(Group { first: self.ticket, access });
                    return Ok(open.perform(engine, access, work));
                }
                Err(Setback::Again(error)) => {
                    let delay = attempts.next(host, error)?;
                    host.sleep(delay);
                }
                Err(setback) => return Err(setback.into_error(attempts.made())),
            }
        }
    }

    /// The engine has ended the transaction.
    fn lost<T, X>(mut self, error: EngineError, attempts: &mut Attempts) -> Step<T, X> {
        self.lazy.end(&self.grouped.engine, error);
        self.again(error, attempts)
    }

    /// All members work again, this one included as long as its bounds hold.
    fn again<T, X>(self, error: EngineError, attempts: &mut Attempts) -> Step<T, X> {
        let host = &self.grouped.host;
        match attempts.next(host, error) {
            Ok(delay) => {
                // The turn is kept: nobody behind would fare better meanwhile.
                host.sleep(delay);
                self.rewind(Verdict::Replay(error));
                Step::Again
            }
            Err(given_up) => {
                self.rewind_without(Verdict::Replay(error));
                Step::Over(Err(given_up))
            }
        }
    }

    /// This member's part is done: passes the transaction on, or commits it. Nobody joins one that may be gone.
    fn go_on<T, X>(mut self, worked: Worked<T, X>, doubtful: bool, attempts: &mut Attempts) -> Step<T, X> {
        if !doubtful {
            match self.pass() {
                Ok(()) => return Step::Joined(worked),
                Err(kept) => self = kept,
            }
        }
        match self.lazy.commit(&self.grouped.engine) {
            Ok(()) => {
                self.tell(Verdict::Committed);
                let host = &self.grouped.host;
                self.leave();
                worked.settle(attempts, host)
            }
            Err(Setback::Again(error)) => self.again(error, attempts),
            Err(Setback::Unknown(error)) => {
                self.tell(Verdict::Unknown(error));
                self.leave();
                Step::Over(worked.settle_unknown(error))
            }
            Err(Setback::Failed(error)) => {
                if self.group.is_none_or(|group| group.first == self.ticket) {
                    self.group = None;
                    self.leave();
                    let failed = Error::Failed { error, attempts: attempts.made() };
                    return Step::Over(Err(worked.result.err().map_or(failed, Error::Refused)));
                }
                self.grouped.line.lock().alone = Some(self.ticket);
                self.rewind(Verdict::ReplayAtOnce);
                Step::Again
            }
        }
    }

    /// Leaves without having worked; a transaction that nobody else goes on with has to be committed nevertheless.
    fn quit<T, X>(mut self, error: Error<X>) -> Result<T, Error<X>> {
        if self.group.is_some() {
            match self.pass_without() {
                Ok(()) => return Err(error),
                Err(kept) => self = kept,
            }
            match self.lazy.commit(&self.grouped.engine) {
                Ok(()) => self.tell(Verdict::Committed),
                Err(Setback::Unknown(error)) => self.tell(Verdict::Unknown(error)),
                Err(Setback::Again(lost)) => {
                    self.rewind_without(Verdict::Replay(lost));
                    return Err(error);
                }
                Err(Setback::Failed(_)) => {
                    self.grouped.line.lock().alone = Some(self.ticket);
                    self.rewind_without(Verdict::ReplayAtOnce);
                    return Err(error);
                }
            }
        }
        self.leave();
        Err(error)
    }

    /// Gives the turn and the transaction to the next in line, if there is one that may join.
    fn pass(self) -> Result<(), Self> {
        let ticket = self.ticket;
        self.pass_as(Place::Member(ticket))
    }

    /// The same for a thread that is no member, and is to be passed over should the line come back.
    fn pass_without(self) -> Result<(), Self> {
        let ticket = self.ticket;
        self.pass_as(Place::Gone(ticket))
    }

    fn pass_as(mut self, own: Place) -> Result<(), Self> {
        let grouped = self.grouped;
        let mut line = grouped.line.lock();
        let Some((next, group)) = line.joiner(self.ticket).zip(self.group) else {
            drop(line);
            return Err(self);
        };
        if next.wrapping_sub(group.first) >= LANES as u64 {
            drop(line);
            return Err(self);
        }
        if let Some(place) = line.places.get_mut(place_of(self.ticket)) {
            *place = own;
        }
        line.group = Some(group);
        line.give_turn(next, &mut self.lazy);
        self.held = false;
        drop(line);
        if mutant::GROUPED_RING_NEXT.is_taken() {
            grouped.ring(Some(next));
        }
        Ok(())
    }

    /// Tells the members before this one what became of the transaction, which is over.
    fn tell(&mut self, verdict: Verdict) {
        let Some(group) = self.group.take() else { return };
        let mut line = self.grouped.line.lock();
        line.tell(group.first, self.ticket, verdict);
        drop(line);
        self.grouped.ring_all(tickets(group.first, self.ticket));
    }

    /// Gives the turn back to the first member of a transaction that is over; without others, this one has it again.
    fn rewind(mut self, verdict: Verdict) {
        let first = self.group.take().map_or(self.ticket, |group| group.first);
        let grouped = self.grouped;
        let mut line = grouped.line.lock();
        line.rewind(first, self.ticket, verdict);
        let turn = if mutant::GROUPED_REWIND.is_taken() { first } else { self.ticket };
        let turn = line.give_turn(turn, &mut self.lazy);
        self.held = false;
        drop(line);
        grouped.ring_all(tickets(first, self.ticket));
        grouped.ring(turn);
    }

    /// The same, and this ticket is not to be waited for.
    fn rewind_without(mut self, verdict: Verdict) {
        self.step_out(verdict);
    }

    /// Lets the line go on behind this ticket.
    fn leave(mut self) {
        self.step_out(Verdict::ReplayAtOnce);
    }

    /// Gives up the turn and the place; others of an open transaction work again.
    fn step_out(&mut self, verdict: Verdict) {
        let first = self.group.take().map_or(self.ticket, |group| group.first);
        let grouped = self.grouped;
        let mut line = grouped.line.lock();
        let mut waiting = None;
        if first == self.ticket {
            waiting = line.free(self.ticket);
        } else {
            line.rewind(first, self.ticket, verdict);
            if let Some(place) = line.places.get_mut(place_of(self.ticket)) {
                *place = Place::Gone(self.ticket);
            }
        }
        let turn = if first == self.ticket { self.ticket.wrapping_add(1) } else { first };
        let turn = line.give_turn(turn, &mut self.lazy);
        self.held = false;
        drop(line);
        grouped.ring_all(tickets(first, self.ticket));
        grouped.ring(waiting);
        grouped.ring(turn);
    }
}

/// The tickets from `first` up to, not including, `end`.
fn tickets(first: u64, end: u64) -> impl Iterator<Item = u64> {
    (0..end.wrapping_sub(first)).map(move |offset| first.wrapping_add(offset))
}

impl<E: Engine, H: Host, R: RawMutex> Drop for Baton<'_, E, H, R> {
    fn drop(&mut self) {
        if self.held && mutant::GROUPED_LEAVE_ON_PANIC.is_taken() {
            self.lazy.abort(&self.grouped.engine);
            self.step_out(Verdict::ReplayAtOnce);
        }
    }
}

impl<S> Line<S> {
    fn place(&self, ticket: u64) -> Place {
        let place = self.places.get(place_of(ticket)).copied().unwrap_or(Place::Free);
        match place {
            Place::Member(of) | Place::Told(of, _) | Place::Gone(of) if of != ticket => Place::Free,
            place => place,
        }
    }

    /// It is the ticket's turn, and the ticket that had its place before has left.
    fn may_work(&self, ticket: u64) -> bool {
        let is_free = match self.places.get(place_of(ticket)) {
            Some(Place::Member(of) | Place::Told(of, _) | Place::Gone(of)) => *of == ticket,
            _ => true,
        };
        (self.turn == ticket || !mutant::GROUPED_IN_ORDER.is_taken())
            && (is_free || !mutant::GROUPED_OWN_PLACE.is_taken())
    }

    /// The next ticket after `ticket`, if its thread is here and may join the open transaction.
    fn joiner(&self, ticket: u64) -> Option<u64> {
        let mut next = ticket.wrapping_add(1);
        while matches!(self.place(next), Place::Gone(_)) {
            next = next.wrapping_add(1);
        }
        let alone = self.alone.is_some_and(|last| last.wrapping_sub(ticket) < LANES as u64);
        (next != self.next && self.barrier != Some(next) && !alone).then_some(next)
    }

    /// Gives the turn to `ticket`, or to the next one that has not gone; gives back whom to wake.
    fn give_turn(&mut self, mut ticket: u64, lazy: &mut Lazy<S>) -> Option<u64> {
        while mutant::GROUPED_SKIP_GONE.is_taken() && matches!(self.place(ticket), Place::Gone(_)) {
            self.free(ticket);
            ticket = ticket.wrapping_add(1);
        }
        self.turn = ticket;
        self.inside = None;
        self.lazy = mem::take(lazy);
        (ticket != self.next).then_some(ticket)
    }

    /// Tells the members of a transaction that is over; those that have gone need to be passed over only if it is done again.
    fn tell(&mut self, first: u64, end: u64, verdict: Verdict) {
        let is_final = matches!(verdict, Verdict::Committed | Verdict::Unknown(_));
        for ticket in tickets(first, end) {
            let told = match self.place(ticket) {
                Place::Member(_) => Place::Told(ticket, verdict),
                Place::Gone(_) if is_final => Place::Free,
                _ => continue,
            };
            if let Some(place) = self.places.get_mut(place_of(ticket)) {
                *place = told;
            }
        }
    }

    fn rewind(&mut self, first: u64, end: u64, verdict: Verdict) {
        if mutant::GROUPED_TELL_TO_REPLAY.is_taken() {
            self.tell(first, end, verdict);
        }
    }

    /// Frees the ticket's place; if somebody waits for just that, gives whom to wake.
    fn free(&mut self, ticket: u64) -> Option<u64> {
        if let Some(place) = self.places.get_mut(place_of(ticket)) {
            *place = Place::Free;
        }
        let heir = ticket.wrapping_add(LANES as u64);
        (self.turn == heir && heir != self.next).then_some(heir)
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
