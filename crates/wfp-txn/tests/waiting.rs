//! Who waits for how long, exactly: threads that a seed schedules, in virtual time, on an engine whose commits take a millisecond.
#![cfg(feature = "model")]
#![allow(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use support::scheduled::{Pausing, Role, Scheduled};
use support::{Engine, Raw, filter, id};
use wfp_txn::model::{Costs, ModelEngine};
use wfp_txn::{Access, Config, Error, Grouped, Host, OperationError, Prefix, Serialized, Strategy};

const COMMIT: Duration = Duration::from_millis(1);
const ROUNDS: u64 = 12;

#[derive(Clone, Copy)]
enum Which {
    Grouped,
    Serialized,
}

/// Each thread adds and deletes a filter of its own, all the time. Gives the virtual time that it took, and the most commits there were between
/// the beginning and the end of one transaction.
fn contend(which: Which, seed: u64, threads: u64) -> (Duration, u64) {
    let host = Scheduled::new(seed);
    let engine: Engine<Scheduled> =
        ModelEngine::new(host.clone(), Prefix::Kernel).with_costs(Costs::new().with_commit(COMMIT));
    let pausing = || Pausing(&host, &engine);
    let most = match which {
        Which::Grouped => {
            go(&host, &engine, &Grouped::<_, _, Raw>::new(pausing(), host.clone(), Config::new()), threads)
        }
        Which::Serialized => {
            go(&host, &engine, &Serialized::<_, _, Raw>::new(pausing(), host.clone(), Config::new()), threads)
        }
    };
    (host.now(), most)
}

fn go<'a, S>(host: &Scheduled, engine: &'a Engine<Scheduled>, strategy: &S, threads: u64) -> u64
where
    S: Strategy<Engine = Pausing<'a, &'a Engine<Scheduled>>> + Sync,
{
    let mut roles: Vec<Role<'_, u64>> = vec![];
    for thread in 0..threads {
        roles.push(Box::new(move || {
            let mut most = 0;
            for round in 0..ROUNDS {
                // Nobody else runs between this and the ticket.
                let before = engine.commits();
                let done: Result<(), Error<OperationError>> =
                    strategy.transact(Access::ReadWrite, |transaction| {
                        if round % 2 == 0 {
                            transaction.add(&filter(thread)).map(drop)
                        } else {
                            transaction.delete(&id(thread))
                        }
                    });
                done.unwrap();
                most = most.max(engine.commits() - before);
            }
            most
        }));
    }
    host.run(roles).unwrap().into_iter().max().unwrap()
}

#[test]
fn nobody_waits_for_more_than_every_other_thread_once() {
    for seed in 0..60 {
        for threads in [1, 2, 5, 9] {
            let (_, most) = contend(Which::Serialized, seed, threads);
            assert!(most <= threads + 1, "seed {seed}: {most} commits, {threads} threads");
            // With groups: the one under way, and one's own.
            let (_, most) = contend(Which::Grouped, seed, threads);
            assert!(most <= 3, "seed {seed}: {most} commits, {threads} threads, grouped");
        }
    }
}

#[test]
fn one_thread_pays_nothing_for_groups_and_many_gain() {
    let expected = |transactions: u64| COMMIT * u32::try_from(transactions).unwrap();
    for seed in 0..10 {
        assert_eq!(contend(Which::Serialized, seed, 1).0, expected(ROUNDS));
        assert_eq!(contend(Which::Grouped, seed, 1).0, expected(ROUNDS));
        assert_eq!(contend(Which::Serialized, seed, 32).0, expected(32 * ROUNDS));
        let grouped = contend(Which::Grouped, seed, 32).0;
        assert!(grouped * 8 <= expected(32 * ROUNDS), "seed {seed}: {grouped:?}");
    }
}
