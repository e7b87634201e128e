//! Transactions of several threads under one strategy, and what must be true of them afterwards: what is in the engine is what those that are reported
//! as done make of it, one after the other, and nothing else. Used by the property test and by the fuzz target.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use wfp_txn::model::{Change, Costs, Effect, Event, Fault};
use wfp_txn::{
    Access, Call, Class, Code, Config, Error, Grouped, Lifetime, OperationError, Policy, Retrying,
    Serialized, SessionOptions, Sessions, Status, Strategy as _, Transaction,
};

use super::scheduled::{Pausing, Role, Scheduled};
use super::{Engine, Raw, filter, id, kernel};

/// One step of a transaction. Keys of steps are small numbers that transactions share.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Refused where it exists.
    Add(u64),
    Remove(u64),
    /// Adds or deletes, whichever works.
    Toggle(u64),
    Look(u64),
    /// Adds, and goes on if that fails.
    Try(u64),
    /// The work gives up.
    Refuse,
    Panic,
}

/// A transaction: read-only or not, and its steps.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) access: Access,
    pub(crate) actions: Vec<Action>,
}

#[derive(Debug)]
pub(crate) struct Case {
    /// Who runs next, for as long as these last.
    pub(crate) choices: Vec<u8>,
    /// Who runs next afterwards.
    pub(crate) seed: u64,
    pub(crate) lifetime: Lifetime,
    pub(crate) threads: Vec<Vec<Plan>>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) restarts: usize,
}

/// What a transaction saw: the answer of each look and toggle.
pub(crate) type Seen = Vec<bool>;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Done(Seen),
    NotDone,
    /// By an object that exists.
    Refused,
    Unknown,
}

#[derive(Debug)]
pub(crate) enum WorkError {
    Operation(OperationError),
    Refused,
}

impl From<OperationError> for WorkError {
    fn from(error: OperationError) -> Self {
        Self::Operation(error)
    }
}

/// The object by which a transaction is recognised in the engine's record, unless it is read-only.
fn marker(thread: usize, index: usize) -> u64 {
    1000 + (thread as u64) * 100 + index as u64
}

type Model = Engine<Scheduled>;

fn work(
    transaction: &mut Transaction<'_, Pausing<'_, &Model>>,
    plan: &Plan,
    marker: u64,
) -> Result<Seen, WorkError> {
    let mut seen = vec![];
    if plan.access == Access::ReadWrite {
        transaction.add(&filter(marker))?;
    }
    for action in &plan.actions {
        match *action {
            Action::Add(key) => drop(transaction.add(&filter(key))?),
            Action::Remove(key) => drop(transaction.remove(&id(key))?),
            Action::Toggle(key) => {
                let there = transaction.contains(&id(key))?;
                seen.push(there);
                if there {
                    transaction.delete(&id(key))?;
                } else {
                    transaction.add(&filter(key))?;
                }
            }
            Action::Look(key) => seen.push(transaction.contains(&id(key))?),
            Action::Try(key) => seen.push(transaction.add(&filter(key)).is_ok()),
            Action::Refuse => return Err(WorkError::Refused),
            Action::Panic => resume_unwind(Box::new("told to")),
        }
    }
    Ok(seen)
}

/// The same on a set; `None` where it is refused.
fn naive(plan: &Plan, marker: u64, objects: &BTreeSet<u64>) -> Option<(Seen, BTreeSet<u64>)> {
    let (mut seen, mut objects) = (vec![], objects.clone());
    if plan.access == Access::ReadWrite && !objects.insert(marker) {
        return None;
    }
    for action in &plan.actions {
        match *action {
            Action::Add(key) if !objects.insert(key) => return None,
            Action::Add(_) => {}
            Action::Remove(key) => drop(objects.remove(&key)),
            Action::Toggle(key) => {
                let there = objects.remove(&key);
                seen.push(there);
                if !there {
                    objects.insert(key);
                }
            }
            Action::Look(key) => seen.push(objects.contains(&key)),
            Action::Try(key) => seen.push(objects.insert(key)),
            Action::Refuse | Action::Panic => return None,
        }
    }
    Some((seen, objects))
}

type Tested<'a> = Pausing<'a, &'a Model>;

#[expect(clippy::large_enum_variant, reason = "one at a time")]
pub(crate) enum Any<'a> {
    Grouped(Grouped<Tested<'a>, Scheduled, Raw>),
    Retrying(Retrying<Tested<'a>, Scheduled, Raw>),
    Serialized(Serialized<Tested<'a>, Scheduled, Raw>),
    Sessions(Sessions<Tested<'a>, Scheduled, Raw, 2>),
}

pub(crate) const NAMES: [&str; 4] = ["grouped", "retrying", "serialized", "sessions"];

impl<'a> Any<'a> {
    fn new(name: &str, host: &'a Scheduled, engine: &'a Model, config: Config) -> Self {
        let (engine, host) = (Pausing(host, engine), host.clone());
        match name {
            "grouped" => Self::Grouped(Grouped::new(engine, host, config)),
            "retrying" => Self::Retrying(Retrying::new(engine, host, config)),
            "serialized" => Self::Serialized(Serialized::new(engine, host, config)),
            "sessions" => Self::Sessions(Sessions::new(engine, host, config)),
            name => panic!("{name}"),
        }
    }

    fn transact(&self, plan: &Plan, marker: u64, injected: bool) -> Ended {
        let (access, work) =
            (plan.access, |transaction: &mut Transaction<'_, _>| work(transaction, plan, marker));
        let result = catch_unwind(AssertUnwindSafe(|| match self {
            Self::Grouped(strategy) => strategy.transact(access, work),
            Self::Retrying(strategy) => strategy.transact(access, work),
            Self::Serialized(strategy) => strategy.transact(access, work),
            Self::Sessions(strategy) => strategy.transact(access, work),
        }));
        match result {
            Err(panic) if panic.downcast_ref() == Some(&"told to") => Ended::NotDone,
            Err(panic) => resume_unwind(panic),
            Ok(Ok(seen)) => Ended::Done(seen),
            Ok(Err(Error::Unknown { .. })) => Ended::Unknown,
            Ok(Err(Error::Nested)) => panic!("nobody is nested"),
            Ok(Err(Error::Refused(WorkError::Operation(OperationError::Engine(error)))))
                if error.status.code() == Some(Code::AlreadyExists) && !injected =>
            {
                Ended::Refused
            }
            Ok(Err(_)) => Ended::NotDone,
        }
    }
}

/// Says what does not hold.
macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}

/// Runs the case with that strategy, and gives how each transaction ended, or what does not hold.
pub(crate) fn check(name: &str, case: &Case) -> Result<Vec<&'static str>, String> {
    let host = Scheduled::new(case.seed).choosing(&case.choices);
    // Commits take a moment, so that the engine can stop in the middle of one.
    let engine = kernel(host.clone()).with_costs(Costs::new().with_commit(Duration::from_millis(1)));
    for fault in &case.faults {
        engine.inject(*fault);
    }
    let policy = Policy::new().with_attempts(6).with_time(Duration::from_secs(100));
    let session =
        SessionOptions::new().with_lifetime(case.lifetime).with_begin_timeout(Duration::from_secs(1));
    let strategy = Any::new(name, &host, &engine, Config::new().with_policy(policy).with_session(session));
    let injected = !case.faults.is_empty();

    let mut roles: Vec<Role<'_, Vec<Ended>>> = vec![];
    for (thread, plans) in case.threads.iter().enumerate() {
        let strategy = &strategy;
        roles.push(Box::new(move || {
            let plans = plans.iter().enumerate();
            plans.map(|(index, plan)| strategy.transact(plan, marker(thread, index), injected)).collect()
        }));
    }
    let restart = || {
        for _ in 0..case.restarts {
            for _ in 0..host.random() % 40 {
                host.pause();
            }
            engine.stop();
            host.pause();
            engine.start();
        }
        vec![]
    };
    roles.push(Box::new(restart));
    let ended = host.run(roles).map_err(|stuck| format!("stuck: {stuck}"))?;

    // The serial order is the one in which markers were committed.
    let plan_of = |key: u64| {
        let (thread, index) = ((key - 1000) / 100, (key - 1000) % 100);
        (usize::try_from(thread).unwrap(), usize::try_from(index).unwrap())
    };
    let mut objects = BTreeSet::new();
    let mut states = vec![objects.clone()];
    let mut committed = BTreeSet::new();
    for event in engine.events() {
        match event {
            Event::Committed(changes) => {
                for change in changes {
                    let Change::Added(added) = change else { continue };
                    if added.key.0 < 1000 {
                        continue;
                    }
                    let (thread, index) = plan_of(added.key.0);
                    ensure!(committed.insert((thread, index)), "{thread}/{index} twice");
                    let Some((seen, after)) = naive(&case.threads[thread][index], added.key.0, &objects)
                    else {
                        return Err(format!("{thread}/{index} should have been refused"));
                    };
                    match &ended[thread][index] {
                        Ended::Done(really) => {
                            ensure!(&seen == really, "{thread}/{index} saw {really:?} instead of {seen:?}")
                        }
                        Ended::Unknown => {}
                        other => return Err(format!("{thread}/{index} is in the engine: {other:?}")),
                    }
                    objects = after;
                    states.push(objects.clone());
                }
            }
            Event::SessionEnded(gone) => {
                objects.retain(|key| !gone.contains(&id(*key)));
                states.push(objects.clone());
            }
            Event::Stopped(_) => {
                objects.clear();
                states.push(objects.clone());
            }
            other => return Err(format!("{other:?}")),
        }
    }
    let really: BTreeSet<u64> = engine.objects().iter().map(|object| object.id.key.0).collect();
    ensure!(really == objects, "the engine holds {really:?} instead of {objects:?}");
    for (thread, plans) in case.threads.iter().enumerate() {
        for (index, plan) in plans.iter().enumerate() {
            let done = committed.contains(&(thread, index));
            match &ended[thread][index] {
                Ended::Done(_) if plan.access == Access::ReadWrite => {
                    ensure!(done, "{thread}/{index} is lost")
                }
                // A reader saw some state that was committed, and not a mixture.
                Ended::Done(seen) => {
                    let saw = |state| naive(plan, 0, state).is_some_and(|(expected, _)| expected == *seen);
                    ensure!(states.iter().any(saw), "{thread}/{index} saw what never was: {seen:?}");
                }
                // A refusal rests on a state that was committed.
                Ended::Refused => {
                    let refused = |state| naive(plan, marker(thread, index), state).is_none();
                    ensure!(states.iter().any(refused), "{thread}/{index} refused without a reason");
                }
                // Something has to have gone wrong: nobody is given up for being one of many, except where all share a handle.
                Ended::NotDone => {
                    let gives_up =
                        plan.actions.iter().any(|action| matches!(action, Action::Refuse | Action::Panic));
                    let may = injected || gives_up || name == "retrying";
                    ensure!(may, "{thread}/{index} not done without a reason");
                }
                Ended::Unknown => {
                    // An answer was lost, or the transaction ended without a word, which its commit then cannot tell from a lost answer.
                    let can_tell =
                        |fault: &Fault| fault.call != Call::Commit && fault.effect != Effect::Ended;
                    let lost = !case.faults.iter().all(can_tell);
                    // On a shared handle another thread's call can take the session away in the middle of a commit.
                    let taken_away = name == "retrying" && injected;
                    let may = case.restarts > 0 || lost || taken_away;
                    ensure!(may, "{thread}/{index} unknown, but no answer was lost");
                    ensure!(
                        plan.access == Access::ReadWrite,
                        "{thread}/{index} modified nothing, and is unknown"
                    );
                }
            }
        }
    }
    ensure!(!engine.is_busy(), "a transaction is still open");
    drop(strategy);
    ensure!(engine.sessions() == 0, "sessions left open");
    let kind = |ended: &Ended| match ended {
        Ended::Done(_) => "done",
        Ended::NotDone => "not done",
        Ended::Refused => "refused",
        Ended::Unknown => "unknown",
    };
    Ok(ended.iter().flatten().map(kind).collect())
}

/// A failure may be anything, but no lie: that an object is not there, or that no transaction is open, is true when the engine says so.
pub(crate) fn honest(call: Call, status: Status, skip: u32, effect: u8) -> Option<Fault> {
    if matches!((call, status.class(call)), (Call::Delete | Call::Abort, Class::AlreadySo)) {
        return None;
    }
    let fault = Fault::new(call, status).after(skip);
    // An answer is lost only on the way, and an engine that says that nothing was done has done nothing.
    let is_lost = status.raw() == 0xC002_001B;
    // It leaves open whether the transaction is still there: the engine may have ended it.
    let is_vague = status.raw() == 0xC000_0001;
    Some(match (effect, call) {
        (0 | 1, _) if is_lost => fault.with_effect(Effect::Executed),
        (2, Call::Commit | Call::Add | Call::Delete) if is_lost || is_vague => {
            fault.with_effect(Effect::Ended)
        }
        _ => fault,
    })
}
