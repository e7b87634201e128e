//! For random schedules, operations and failures: what is in the engine at the end is what the transactions reported as done make of it, one after the
//! other, and nothing else.
#![cfg(feature = "model")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod support;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use proptest::prelude::*;

use support::scheduled::{Pausing, Role, Scheduled};
use support::{Engine, Raw, filter, id, kernel};
use wfp_txn::model::{Change, Effect, Event, Fault};
use wfp_txn::{
    Access, Call, Class, Code, Config, Error, Grouped, Lifetime, OperationError, Policy, Prefix, Retrying,
    Serialized, SessionOptions, Sessions, Status, Strategy as Transacting, Transaction,
};

/// One step of a transaction. Keys of steps are small numbers that transactions share.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// Refused where it exists.
    Add(u64),
    Remove(u64),
    /// Adds or deletes, whichever works.
    Toggle(u64),
    Look(u64),
    /// The work gives up.
    Refuse,
    Panic,
}

/// A transaction: read-only or not, and its steps.
#[derive(Clone, Debug)]
struct Plan {
    access: Access,
    actions: Vec<Action>,
}

#[derive(Debug)]
struct Case {
    seed: u64,
    lifetime: Lifetime,
    threads: Vec<Vec<Plan>>,
    faults: Vec<Fault>,
    restarts: usize,
}

/// What a transaction saw: the answer of each look and toggle.
type Seen = Vec<bool>;

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Done(Seen),
    NotDone,
    /// By an object that exists.
    Refused,
    Unknown,
}

#[derive(Debug)]
enum WorkError {
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
            Action::Refuse | Action::Panic => return None,
        }
    }
    Some((seen, objects))
}

type Tested<'a> = Pausing<'a, &'a Model>;

#[expect(clippy::large_enum_variant, reason = "one at a time")]
enum Any<'a> {
    Grouped(Grouped<Tested<'a>, Scheduled, Raw>),
    Retrying(Retrying<Tested<'a>, Scheduled, Raw>),
    Serialized(Serialized<Tested<'a>, Scheduled, Raw>),
    Sessions(Sessions<Tested<'a>, Scheduled, Raw, 2>),
}

const NAMES: [&str; 4] = ["grouped", "retrying", "serialized", "sessions"];

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

fn check(name: &str, case: &Case) -> Result<(), TestCaseError> {
    let host = Scheduled::new(case.seed);
    let engine = kernel(host.clone());
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
    let ended = host.run(roles).map_err(|stuck| TestCaseError::fail(format!("stuck: {stuck}")))?;

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
                    prop_assert!(committed.insert((thread, index)), "{:?} twice", (thread, index));
                    let Some((seen, after)) = naive(&case.threads[thread][index], added.key.0, &objects)
                    else {
                        return Err(TestCaseError::fail(format!(
                            "{thread}/{index} should have been refused"
                        )));
                    };
                    match &ended[thread][index] {
                        Ended::Done(really) => prop_assert_eq!(&seen, really),
                        Ended::Unknown => {}
                        other => prop_assert!(false, "{}/{} is in the engine: {:?}", thread, index, other),
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
            other => prop_assert!(false, "{other:?}"),
        }
    }
    let really: BTreeSet<u64> = engine.objects().iter().map(|object| object.id.key.0).collect();
    prop_assert_eq!(&really, &objects);
    for (thread, plans) in case.threads.iter().enumerate() {
        for (index, plan) in plans.iter().enumerate() {
            let done = committed.contains(&(thread, index));
            match &ended[thread][index] {
                Ended::Done(_) if plan.access == Access::ReadWrite => {
                    prop_assert!(done, "{thread}/{index} is lost")
                }
                // A reader saw some state that was committed, and not a mixture.
                Ended::Done(seen) => {
                    let saw = |state| naive(plan, 0, state).is_some_and(|(expected, _)| expected == *seen);
                    prop_assert!(states.iter().any(saw), "{thread}/{index} saw what never was: {seen:?}");
                }
                // A refusal rests on a state that was committed.
                Ended::Refused => {
                    let refused = |state| naive(plan, marker(thread, index), state).is_none();
                    prop_assert!(states.iter().any(refused), "{thread}/{index} refused without a reason");
                }
                Ended::NotDone | Ended::Unknown => {}
            }
        }
    }
    prop_assert!(!engine.is_busy(), "a transaction is still open");
    drop(strategy);
    prop_assert_eq!(engine.sessions(), 0, "sessions left open");
    Ok(())
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (0..4u64).prop_map(Action::Add),
        3 => (0..4u64).prop_map(Action::Remove),
        4 => (0..4u64).prop_map(Action::Toggle),
        2 => (0..4u64).prop_map(Action::Look),
        1 => Just(Action::Refuse),
        1 => Just(Action::Panic),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let write = proptest::collection::vec(action(), 0..4)
        .prop_map(|actions| Plan { access: Access::ReadWrite, actions });
    let read = proptest::collection::vec((0..4u64).prop_map(Action::Look), 1..4)
        .prop_map(|actions| Plan { access: Access::ReadOnly, actions });
    prop_oneof![4 => write, 1 => read]
}

/// Every code at every call.
fn fault() -> impl Strategy<Value = Fault> {
    let calls = [
        Call::Open,
        Call::Close,
        Call::Begin,
        Call::Commit,
        Call::Abort,
        Call::Add,
        Call::Delete,
        Call::Read,
    ];
    let code = prop_oneof![
        2 => proptest::sample::select(Code::ALL).prop_map(|code| code.status(Prefix::Kernel)),
        // Those that a strategy does something about.
        3 => proptest::sample::select(vec![Code::TxnAborted, Code::SessionAborted, Code::Timeout, Code::InUse])
            .prop_map(|code| code.status(Prefix::Kernel)),
        2 => proptest::sample::select(vec![0xC002_0017, 0xC002_0018, 0xC002_001B, 0xC002_001C, 0xC000_009A, 0xC000_0001])
            .prop_map(Status::new),
    ];
    // A failure may be anything, but no lie: that an object is not there, or that no transaction is open, is true when the engine says so.
    let is_lie = |call: Call, status: Status| {
        matches!((call, status.class(call)), (Call::Delete | Call::Abort, Class::AlreadySo))
    };
    let faults = (proptest::sample::select(calls.to_vec()), code, 0..12u32, 0..4u8);
    faults.prop_filter("a lie", move |(call, status, ..)| !is_lie(*call, *status)).prop_map(
        |(call, status, skip, effect)| {
            let fault = Fault::new(call, status).after(skip);
            // An answer is lost only on the way, and an engine that says that nothing was done has done nothing.
            let lost = [0xC002_001B].contains(&status.raw());
            match (effect, call) {
                (0 | 1, _) if lost => fault.with_effect(Effect::Executed),
                (2, Call::Commit | Call::Add | Call::Delete) if lost || is_vague(status) => {
                    fault.with_effect(Effect::Ended)
                }
                _ => fault,
            }
        },
    )
}

/// A status that leaves open whether the transaction is still there: the engine may have ended it.
fn is_vague(status: Status) -> bool {
    status.raw() == 0xC000_0001
}

fn case() -> impl Strategy<Value = Case> {
    let threads = proptest::collection::vec(proptest::collection::vec(plan(), 1..5), 2..5);
    let faults = prop_oneof![1 => Just(vec![]), 2 => proptest::collection::vec(fault(), 1..6)];
    let lifetime = prop_oneof![3 => Just(Lifetime::Static), 1 => Just(Lifetime::Dynamic)];
    (any::<u64>(), lifetime, threads, faults, 0..3usize).prop_map(
        |(seed, lifetime, threads, faults, restarts)| Case { seed, lifetime, threads, faults, restarts },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_end_is_that_of_a_serial_order(case in case()) {
        for name in NAMES {
            check(name, &case).map_err(|error| TestCaseError::fail(format!("{name}: {error}")))?;
        }
    }
}

/// `WFP_TXN_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("WFP_TXN_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}
