//! A turn: what its holder does with the transaction that is passed along the line.

use core::time::Duration;

use lock_api::RawMutex;

use super::Grouped;
use super::line::{Group, Place, Verdict, tickets};
use crate::attempt::{Lazy, Setback};
use crate::mutant;
use crate::policy::Attempts;
use crate::sessions::{LANES, place_of};
use crate::transaction::Found;
use crate::{Access, Engine, EngineError, Error, Host, Transaction};

/// What a member's turn has led to.
pub(super) enum Step<T, X> {
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
pub(super) struct Worked<T, X> {
    pub(super) result: Result<T, X>,
    /// Its failure is one that passes.
    pub(super) passing: Option<EngineError>,
    /// Something was modified, or it cannot be ruled out.
    pub(super) modified: bool,
}

impl<T, X> Worked<T, X> {
    /// The transaction is committed, or this part of it had no effect.
    #[inline]
    pub(super) fn settle(self, attempts: &mut Attempts, host: &impl Host) -> Step<T, X> {
        // It waits for what others do (`IN_USE`): let them.
        match (self.result, self.passing.map(|error| attempts.next::<X>(host, error))) {
            (Err(_), Some(Ok(delay))) => Step::Aside(delay),
            (result, _) => Step::Over(result.map_err(Error::Refused)),
        }
    }

    /// Nobody knows whether the transaction was committed. For a part that modified nothing it makes no difference, except that what it saw of others
    /// may never have been: it works again.
    pub(super) fn settle_unknown(
        self,
        error: EngineError,
        attempts: &mut Attempts,
        host: &impl Host,
    ) -> Step<T, X> {
        if self.modified {
            return Step::Over(Err(Error::Unknown { error }));
        }
        match attempts.next(host, error) {
            Ok(delay) => Step::Aside(delay),
            Err(given_up) => Step::Over(Err(given_up)),
        }
    }
}

/// The turn, and with it the session and the open transaction. Dropping it in a panic undoes the transaction and lets the others go on.
pub(super) struct Baton<'a, E: Engine, H: Host, R: RawMutex> {
    pub(super) grouped: &'a Grouped<E, H, R>,
    pub(super) ticket: u64,
    pub(super) lazy: Lazy<E::Session>,
    pub(super) group: Option<Group>,
    /// Not given up yet.
    pub(super) held: bool,
}

impl<E: Engine, H: Host, R: RawMutex> Baton<'_, E, H, R> {
    #[inline]
    pub(super) fn work<T, X>(
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
        let modified = found.may_have_modified();
        let worked = Worked { result, passing: found.passing, modified };
        if worked.result.is_ok() || !(is_first || modified) {
            return self.go_on(worked, found.doubtful.is_some(), attempts);
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
    #[inline]
    pub(super) fn perform<T, X>(
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
    pub(super) fn lost<T, X>(mut self, error: EngineError, attempts: &mut Attempts) -> Step<T, X> {
        self.lazy.end(&self.grouped.engine, error);
        self.again(error, attempts)
    }

    /// All members work again, this one included as long as its bounds hold.
    pub(super) fn again<T, X>(self, error: EngineError, attempts: &mut Attempts) -> Step<T, X> {
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
    #[inline]
    pub(super) fn go_on<T, X>(
        mut self,
        worked: Worked<T, X>,
        doubtful: bool,
        attempts: &mut Attempts,
    ) -> Step<T, X> {
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
                let host = &self.grouped.host;
                self.leave();
                worked.settle_unknown(error, attempts, host)
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
    pub(super) fn quit<T, X>(mut self, error: Error<X>) -> Result<T, Error<X>> {
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
    #[inline]
    pub(super) fn pass(self) -> Result<(), Self> {
        let ticket = self.ticket;
        self.pass_as(Place::Member(ticket))
    }

    /// The same for a thread that is no member, and is to be passed over should the line come back.
    pub(super) fn pass_without(self) -> Result<(), Self> {
        let ticket = self.ticket;
        self.pass_as(Place::Gone(ticket))
    }

    #[inline]
    pub(super) fn pass_as(mut self, own: Place) -> Result<(), Self> {
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
    #[inline]
    pub(super) fn tell(&mut self, verdict: Verdict) {
        let Some(group) = self.group.take() else { return };
        let mut line = self.grouped.line.lock();
        line.tell(group.first, self.ticket, verdict);
        drop(line);
        self.grouped.ring_all(tickets(group.first, self.ticket));
    }

    /// Gives the turn back to the first member of a transaction that is over; without others, this one has it again.
    pub(super) fn rewind(mut self, verdict: Verdict) {
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
    pub(super) fn rewind_without(mut self, verdict: Verdict) {
        self.step_out(verdict);
    }

    /// Lets the line go on behind this ticket.
    #[inline]
    pub(super) fn leave(mut self) {
        self.step_out(Verdict::ReplayAtOnce);
    }

    /// Gives up the turn and the place; others of an open transaction work again.
    #[inline]
    pub(super) fn step_out(&mut self, verdict: Verdict) {
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

impl<E: Engine, H: Host, R: RawMutex> Drop for Baton<'_, E, H, R> {
    fn drop(&mut self) {
        if self.held && mutant::GROUPED_LEAVE_ON_PANIC.is_taken() {
            self.lazy.abort(&self.grouped.engine);
            self.step_out(Verdict::ReplayAtOnce);
        }
    }
}
