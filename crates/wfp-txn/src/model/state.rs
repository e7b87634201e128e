//! The rules.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use super::object::{Change, Event, Object, ObjectId};
use crate::{Access, Code};

pub(super) struct State {
    running: bool,
    sessions: BTreeMap<u64, Session>,
    next_session: u64,
    objects: BTreeMap<ObjectId, Stored>,
    /// Dynamic sessions that have ended and whose objects are still there, because somebody has a transaction open.
    ended: Vec<u64>,
    /// Changes of a single call, which is its own transaction.
    implicit: Vec<Undo>,
    events: Option<Vec<Event>>,
    commits: u64,
}

struct Session {
    dynamic: bool,
    begin_timeout: Duration,
    lost: bool,
    transaction: Option<Transaction>,
}

struct Transaction {
    access: Access,
    since: Duration,
    undo: Vec<Undo>,
    /// By force; kept until a commit or abort takes note.
    aborted: bool,
    committing: bool,
}

struct Stored {
    object: Object,
    life: Life,
}

/// How long an object lives; later ones live longer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    /// As long as that session.
    Session(u64),
    Engine,
    Persistent,
    BuiltIn,
}

enum Undo {
    Added(ObjectId),
    Deleted(Stored),
}

/// When the engine will next abort a transaction by force.
pub(super) enum Overdue {
    At(Duration),
    Never,
}

impl State {
    pub(super) const fn new() -> Self {
        Self {
            running: true,
            sessions: BTreeMap::new(),
            next_session: 1,
            objects: BTreeMap::new(),
            ended: Vec::new(),
            implicit: Vec::new(),
            events: None,
            commits: 0,
        }
    }

    // ---- the engine ----

    pub(super) fn record(&mut self) {
        self.events.get_or_insert_default();
    }

    pub(super) fn add_builtin(&mut self, object: Object) {
        self.objects.insert(object.id, Stored { object, life: Life::BuiltIn });
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running
    }

    pub(super) const fn start(&mut self) {
        self.running = true;
    }

    pub(super) fn stop(&mut self) {
        let sessions: Vec<u64> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.lose_session(Some(session));
        }
        let gone = self.drop_objects(|life| life <= Life::Engine);
        self.happened(Event::Stopped(gone));
        self.running = false;
    }

    pub(super) fn objects(&self) -> Vec<Object> {
        self.objects.values().map(|stored| stored.object.clone()).collect()
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.events.clone().unwrap_or_default()
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub(super) const fn commits(&self) -> u64 {
        self.commits
    }

    pub(super) fn is_busy(&self) -> bool {
        self.transactions().next().is_some()
    }

    // ---- sessions ----

    pub(super) fn open(&mut self, dynamic: bool, begin_timeout: Duration) -> u64 {
        let id = self.next_session;
        self.next_session = id.wrapping_add(1);
        self.sessions.insert(id, Session { dynamic, begin_timeout, lost: false, transaction: None });
        id
    }

    pub(super) fn close(&mut self, session: u64) {
        self.lose_session(Some(session));
        self.sessions.remove(&session);
    }

    /// `None` if there is no such session.
    pub(super) fn is_lost(&self, session: u64) -> Option<bool> {
        self.sessions.get(&session).map(|session| session.lost)
    }

    pub(super) fn lose_session(&mut self, session: Option<u64>) {
        let Some(id) = session else { return };
        self.forget_transaction(session);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let was_lost = mem::replace(&mut session.lost, true);
        if session.dynamic && !was_lost {
            self.ended.push(id);
        }
        self.drop_ended();
    }

    /// Deletes what sessions that have ended leave behind, between transactions: those see it all, or nothing of it.
    fn drop_ended(&mut self) {
        if self.is_busy() {
            return;
        }
        for ended in mem::take(&mut self.ended) {
            let gone = self.drop_objects(|life| life == Life::Session(ended));
            self.happened(Event::SessionEnded(gone));
        }
    }

    pub(super) fn begin_timeout(&self, session: u64) -> Duration {
        self.sessions.get(&session).map_or(Duration::ZERO, |session| session.begin_timeout)
    }

    // ---- transactions ----

    /// Why a session may not begin one, whatever the others do.
    pub(super) fn refuses_begin(&self, session: u64) -> Option<Code> {
        let transaction = self.sessions.get(&session)?.transaction.as_ref()?;
        Some(if transaction.aborted { Code::TxnAborted } else { Code::TxnInProgress })
    }

    /// Takes the transaction lock if it is free for such access.
    pub(super) fn try_lock(&mut self, session: u64, access: Access, explicit: bool, now: Duration) -> bool {
        let free = match access {
            Access::ReadOnly => self.transactions().all(|open| open.access == Access::ReadOnly),
            Access::ReadWrite => self.transactions().next().is_none(),
        };
        if free
            && explicit
            && let Some(session) = self.sessions.get_mut(&session)
        {
            session.transaction =
                Some(Transaction { access, since: now, undo: Vec::new(), aborted: false, committing: false });
        }
        free
    }

    /// Aborts transactions that are open for longer than `limit`.
    pub(super) fn abort_overdue(&mut self, now: Duration, limit: Option<Duration>) -> Overdue {
        let Some(limit) = limit else { return Overdue::Never };
        let end = |transaction: &Transaction| transaction.since.saturating_add(limit);
        let open = |session: &Session| session.transaction.as_ref().filter(|open| !open.aborted).map(end);
        let overdue: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, session)| open(session).is_some_and(|end| end <= now))
            .map(|(id, _)| *id)
            .collect();
        for session in overdue {
            self.abort_by_force(session);
        }
        self.sessions.values().filter_map(open).min().map_or(Overdue::Never, Overdue::At)
    }

    pub(super) fn abort_by_force(&mut self, session: u64) {
        self.abort_session_transaction(Some(session));
    }

    pub(super) fn abort_session_transaction(&mut self, session: Option<u64>) {
        let Some(transaction) = session.and_then(|id| self.sessions.get_mut(&id)?.transaction.as_mut())
        else {
            return;
        };
        transaction.aborted = true;
        let undo = mem::take(&mut transaction.undo);
        self.undo(undo);
        self.drop_ended();
    }

    /// Ends and undoes a transaction without a trace.
    pub(super) fn forget_transaction(&mut self, session: Option<u64>) {
        let transaction = session.and_then(|id| self.sessions.get_mut(&id)?.transaction.take());
        if let Some(transaction) = transaction {
            self.undo(transaction.undo);
            self.drop_ended();
        }
    }

    pub(super) fn is_inside(&self, session: u64) -> bool {
        self.sessions.get(&session).is_some_and(|session| session.transaction.is_some())
    }

    /// Whether the open transaction of the session allows such an operation.
    pub(super) fn may(&self, session: u64, access: Access) -> Result<(), Code> {
        let open = self.sessions.get(&session).and_then(|session| session.transaction.as_ref());
        match open.ok_or(Code::NoTxnInProgress)? {
            open if open.aborted => Err(Code::TxnAborted),
            open if access == Access::ReadWrite && open.access == Access::ReadOnly => {
                Err(Code::IncompatibleTxn)
            }
            _ => Ok(()),
        }
    }

    /// Gives whether the transaction may have written.
    pub(super) fn begin_commit(&mut self, session: u64) -> Result<bool, Code> {
        let Some(session) = self.sessions.get_mut(&session) else { return Err(Code::NoTxnInProgress) };
        match &mut session.transaction {
            Some(open) if open.aborted => {
                session.transaction = None;
                Err(Code::TxnAborted)
            }
            // On a shared handle somebody else may be at it.
            Some(open) if open.committing => Err(Code::NoTxnInProgress),
            Some(open) => {
                open.committing = true;
                Ok(open.access == Access::ReadWrite)
            }
            None => Err(Code::NoTxnInProgress),
        }
    }

    pub(super) fn commit(&mut self, session: u64) -> Result<(), Code> {
        let open = self.sessions.get_mut(&session).and_then(|session| session.transaction.take());
        let open = open.ok_or(Code::NoTxnInProgress)?;
        if open.aborted {
            return Err(Code::TxnAborted);
        }
        if open.access == Access::ReadWrite {
            self.committed(open.undo);
        }
        self.drop_ended();
        Ok(())
    }

    pub(super) fn abort(&mut self, session: u64) -> Result<(), Code> {
        let open = self.sessions.get_mut(&session).and_then(|session| session.transaction.take());
        let open = open.ok_or(Code::NoTxnInProgress)?;
        self.undo(open.undo);
        self.drop_ended();
        if open.aborted { Err(Code::TxnAborted) } else { Ok(()) }
    }

    pub(super) fn unlock_implicit(&mut self, writes: bool) {
        let undo = mem::take(&mut self.implicit);
        if writes {
            self.committed(undo);
        } else {
            self.undo(undo);
        }
    }

    // ---- objects ----

    pub(super) fn add(&mut self, session: u64, object: &Object) -> Result<ObjectId, Code> {
        let dynamic = self.sessions.get(&session).is_some_and(|session| session.dynamic);
        let life = match (dynamic, object.persistent) {
            (true, true) => return Err(Code::LifetimeMismatch),
            (true, false) => Life::Session(session),
            (false, true) => Life::Persistent,
            (false, false) => Life::Engine,
        };
        if self.objects.contains_key(&object.id) {
            return Err(Code::AlreadyExists);
        }
        for reference in &object.references {
            let target = self.objects.get(reference).ok_or(reference.kind.not_found())?;
            let outlives = match target.life {
                Life::Session(owner) => life == Life::Session(owner),
                target => target >= life,
            };
            if !outlives {
                return Err(Code::LifetimeMismatch);
            }
        }
        self.objects.insert(object.id, Stored { object: object.clone(), life });
        self.changes(session).push(Undo::Added(object.id));
        Ok(object.id)
    }

    pub(super) fn delete(&mut self, session: u64, id: ObjectId) -> Result<(), Code> {
        let stored = self.objects.get(&id).ok_or(id.kind.not_found())?;
        if stored.life == Life::BuiltIn {
            return Err(Code::BuiltinObject);
        }
        if self.objects.values().any(|other| other.object.references.contains(&id)) {
            return Err(Code::InUse);
        }
        if let Some(stored) = self.objects.remove(&id) {
            self.changes(session).push(Undo::Deleted(stored));
        }
        Ok(())
    }

    pub(super) fn contains(&self, id: ObjectId) -> bool {
        self.objects.contains_key(&id)
    }

    // ---- below ----

    fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        let open = self.sessions.values().filter_map(|session| session.transaction.as_ref());
        // One that was aborted by force holds nobody up any more.
        open.filter(|open| !open.aborted)
    }

    /// Where the changes of a call in that session are kept.
    fn changes(&mut self, session: u64) -> &mut Vec<Undo> {
        match self.sessions.get_mut(&session).and_then(|session| session.transaction.as_mut()) {
            Some(open) => &mut open.undo,
            None => &mut self.implicit,
        }
    }

    fn undo(&mut self, undo: Vec<Undo>) {
        for change in undo.into_iter().rev() {
            match change {
                Undo::Added(id) => drop(self.objects.remove(&id)),
                Undo::Deleted(stored) => {
                    // Its own session may have ended meanwhile: then it goes with the rest of that.
                    self.objects.insert(stored.object.id, stored);
                }
            }
        }
    }

    fn committed(&mut self, undo: Vec<Undo>) {
        self.commits = self.commits.wrapping_add(1);
        let change = |undo: Undo| match undo {
            Undo::Added(id) => Change::Added(id),
            Undo::Deleted(stored) => Change::Deleted(stored.object.id),
        };
        self.happened(Event::Committed(undo.into_iter().map(change).collect()));
    }

    fn drop_objects(&mut self, goes: impl Fn(Life) -> bool) -> Vec<ObjectId> {
        let gone: Vec<ObjectId> =
            self.objects.iter().filter(|(_, stored)| goes(stored.life)).map(|(id, _)| *id).collect();
        self.objects.retain(|_, stored| !goes(stored.life));
        gone
    }

    fn happened(&mut self, event: Event) {
        if let Some(events) = &mut self.events {
            events.push(event);
        }
    }
}
