//! For random schedules, operations and failures: what is in the engine at the end is what the transactions reported as done make of it, one after the
//! other, and nothing else.
#![cfg(feature = "model")]
#![allow(clippy::arithmetic_side_effects, clippy::panic, reason = "tests")]

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use support::serial::{Action, Case, NAMES, Plan, check, honest};
use wfp_txn::model::{Effect, Fault};
use wfp_txn::{Access, Call, Code, Lifetime, Prefix, Status};

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
    (proptest::sample::select(calls.to_vec()), code, 0..12u32, 0..4u8)
        .prop_filter_map("a lie", |(call, status, skip, effect)| honest(call, status, skip, effect))
}

/// Those that leave open whether a commit was done.
fn lost_answer() -> impl Strategy<Value = Fault> {
    (0..6u32, any::<bool>()).prop_map(|(skip, executed)| {
        let effect = if executed { Effect::Executed } else { Effect::Nothing };
        Fault::new(Call::Commit, Status::new(0xC002_001B)).after(skip).with_effect(effect)
    })
}

fn case() -> impl Strategy<Value = Case> {
    let threads = proptest::collection::vec(proptest::collection::vec(plan(), 1..5), 2..5);
    let faults = prop_oneof![1 => Just(vec![]), 2 => proptest::collection::vec(prop_oneof![5 => fault(), 1 => lost_answer()], 1..6)];
    let lifetime = prop_oneof![3 => Just(Lifetime::Static), 1 => Just(Lifetime::Dynamic)];
    (any::<u64>(), lifetime, threads, faults, 0..3usize).prop_map(
        |(seed, lifetime, threads, faults, restarts)| Case {
            choices: vec![],
            seed,
            lifetime,
            threads,
            faults,
            restarts,
        },
    )
}

#[test]
fn the_end_is_that_of_a_serial_order() {
    let config = ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() };
    let seen = RefCell::new(BTreeMap::<(&str, &str), u32>::new());
    let result = TestRunner::new(config).run(&case(), |case| {
        for name in NAMES {
            let ended =
                check(name, &case).map_err(|error| TestCaseError::fail(format!("{name}: {error}")))?;
            for kind in ended {
                *seen.borrow_mut().entry((name, kind)).or_default() += 1;
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    // A run in which nothing was refused, or no answer was lost, would have shown nothing about that.
    for name in NAMES {
        for kind in ["done", "not done", "refused", "unknown"] {
            let count = seen.borrow().get(&(name, kind)).copied().unwrap_or(0);
            println!("{name}: {count} {kind}");
            assert!(count > 0, "{name}: no transaction ended as {kind}");
        }
    }
}

/// An operation failed with a status that nobody knows, and the transaction was gone: those who joined it later worked outside of any, once here and once
/// when they were told to do it again.
#[test]
fn nobody_joins_a_transaction_that_may_be_gone() {
    let fault = |skip| Fault::new(Call::Add, Status::new(0xC000_0001)).after(skip).with_effect(Effect::Ended);
    // The seed decides who comes when: some of these are the case.
    for seed in 0..1000 {
        for (skip, tries) in [(1, false), (3, true)] {
            let plan = |thread| {
                let actions = if tries { vec![Action::Try(thread)] } else { vec![] };
                vec![Plan { access: Access::ReadWrite, actions }]
            };
            let threads = (0..4).map(plan).collect();
            let (lifetime, faults) = (Lifetime::Static, vec![fault(skip)]);
            let case = Case { choices: vec![], seed, lifetime, threads, faults, restarts: 1 };
            check("grouped", &case).unwrap_or_else(|wrong| panic!("seed {seed}, {tries}: {wrong}"));
        }
    }
}

/// `WFP_TXN_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("WFP_TXN_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}
