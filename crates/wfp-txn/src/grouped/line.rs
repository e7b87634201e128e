//! Who waits, whose turn it is, and what they are told.

use core::mem;

use crate::attempt::Lazy;
use crate::mutant;
use crate::sessions::{LANES, place_of};
use crate::{Access, EngineError};

/// The line and the transaction that is passed along it. Tickets are numbers that wrap.
pub(super) struct Line<S> {
    /// The ticket of the next thread to come.
    pub(super) next: u64,
    /// The ticket whose turn it is. Only its thread works, begins, commits.
    pub(super) turn: u64,
    /// The thread that works.
    pub(super) inside: Option<u64>,
    /// Away while somebody works.
    pub(super) lazy: Lazy<S>,
    /// The transaction that is being passed on.
    pub(super) group: Option<Group>,
    /// A ticket that must begin a transaction rather than join one.
    pub(super) barrier: Option<u64>,
    /// Up to this ticket everybody has a transaction of its own.
    pub(super) alone: Option<u64>,
    pub(super) places: [Place; LANES],
}

/// An open transaction.
#[derive(Clone, Copy)]
pub(super) struct Group {
    /// The member that began it.
    pub(super) first: u64,
    pub(super) access: Access,
}

/// What the line remembers of a ticket; a place serves a new ticket when the old one has left.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Free,
    /// That ticket has had its turn at least once.
    Member(u64),
    /// It is told what became of its transaction.
    Told(u64, Verdict),
    /// Its thread has left without having been served, and is to be passed over.
    Gone(u64),
}

#[derive(Clone, Copy)]
pub(super) enum Verdict {
    Committed,
    Replay(EngineError),
    /// The same, but nothing was wrong with the engine: another member failed.
    ReplayAtOnce,
    Unknown(EngineError),
}

impl<S> Line<S> {
    #[inline]
    pub(super) fn place(&self, ticket: u64) -> Place {
        let place = self.places.get(place_of(ticket)).copied().unwrap_or(Place::Free);
        match place {
            Place::Member(of) | Place::Told(of, _) | Place::Gone(of) if of != ticket => Place::Free,
            place => place,
        }
    }

    /// It is the ticket's turn, and the ticket that had its place before has left.
    #[inline]
    pub(super) fn may_work(&self, ticket: u64) -> bool {
        let is_free = match self.places.get(place_of(ticket)) {
            Some(Place::Member(of) | Place::Told(of, _) | Place::Gone(of)) => *of == ticket,
            _ => true,
        };
        (self.turn == ticket || !mutant::GROUPED_IN_ORDER.is_taken())
            && (is_free || !mutant::GROUPED_OWN_PLACE.is_taken())
    }

    /// The next ticket after `ticket`, if its thread is here and may join the open transaction.
    #[inline]
    pub(super) fn joiner(&self, ticket: u64) -> Option<u64> {
        let mut next = ticket.wrapping_add(1);
        while matches!(self.place(next), Place::Gone(_)) {
            next = next.wrapping_add(1);
        }
        let alone = self.alone.is_some_and(|last| last.wrapping_sub(ticket) < LANES as u64);
        (next != self.next && self.barrier != Some(next) && !alone).then_some(next)
    }

    /// Gives the turn to `ticket`, or to the next one that has not gone; gives back whom to wake.
    #[inline]
    pub(super) fn give_turn(&mut self, mut ticket: u64, lazy: &mut Lazy<S>) -> Option<u64> {
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
    pub(super) fn tell(&mut self, first: u64, end: u64, verdict: Verdict) {
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

    pub(super) fn rewind(&mut self, first: u64, end: u64, verdict: Verdict) {
        if mutant::GROUPED_TELL_TO_REPLAY.is_taken() {
            self.tell(first, end, verdict);
        }
    }

    /// Frees the ticket's place; if somebody waits for just that, gives whom to wake.
    #[inline]
    pub(super) fn free(&mut self, ticket: u64) -> Option<u64> {
        if let Some(place) = self.places.get_mut(place_of(ticket)) {
            *place = Place::Free;
        }
        let heir = ticket.wrapping_add(LANES as u64);
        (self.turn == heir && heir != self.next).then_some(heir)
    }
}

/// The tickets from `first` up to, not including, `end`.
pub(super) fn tickets(first: u64, end: u64) -> impl Iterator<Item = u64> {
    (0..end.wrapping_sub(first)).map(move |offset| first.wrapping_add(offset))
}
