//! What each strategy does, case by case, in virtual time on one thread.
#![cfg(feature = "model")]
#![allow(clippy::arithmetic_side_effects, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use support::{Raw, attempts, filter, id};
use wfp_txn::model::{
    Costs, DEFAULT_BEGIN_TIMEOUT, Effect, Fault, ModelEngine, USER_TRANSACTION_LIMIT, VirtualTime,
};
use wfp_txn::{
    Access, Call, Class, Code, Config, Engine, Error, Grouped, Host, Lifetime, OperationError, Policy,
    Prefix, Retrying, Serialized, SessionOptions, Sessions, Status, Strategy, Transaction,
};

type Time = VirtualTime<Raw>;
type Model<'a> = ModelEngine<&'a Time, Raw>;

fn kernel(code: Code) -> Status {
    code.status(Prefix::Kernel)
}

fn engine(time: &Time) -> Model<'_> {
    ModelEngine::new(time, Prefix::Kernel)
}

/// The same test for every strategy.
macro_rules! with_each {
    ($engine:expr, $time:expr, $config:expr, |$name:ident| $body:block) => {{
        let $name = Serialized::<_, _, Raw>::new($engine, $time, $config);
        $body
        drop($name);
        let $name = Sessions::<_, _, Raw, 3>::new($engine, $time, $config);
        $body
        drop($name);
        let $name = Grouped::<_, _, Raw>::new($engine, $time, $config);
        $body
        drop($name);
        let $name = Retrying::<_, _, Raw>::new($engine, $time, $config);
        $body
        drop($name);
    }};
}

fn add<S>(strategy: &S, key: u64) -> Result<(), Error<OperationError>>
where
    S: Strategy,
    S::Engine: for<'o> Engine<Object<'o> = &'o wfp_txn::model::Object>,
{
    strategy.transact(Access::ReadWrite, |transaction| transaction.add(&filter(key)).map(drop))
}

fn remove<S>(strategy: &S, key: u64) -> Result<bool, Error<OperationError>>
where
    S: Strategy,
    S::Engine: Engine<Id = wfp_txn::model::ObjectId>,
{
    strategy.transact(Access::ReadWrite, |transaction| transaction.remove(&id(key)))
}

#[test]
fn what_is_done_is_there_and_what_is_refused_is_not() {
    let time = Time::new();
    let model = engine(&time);
    with_each!(&model, &time, Config::new(), |strategy| {
        add(&strategy, 1).unwrap();
        let refused = strategy.transact(Access::ReadWrite, |transaction| {
            transaction.add(&filter(2)).unwrap();
            Err::<(), _>("no")
        });
        assert_eq!(refused, Err(Error::Refused("no")));
        assert_eq!(model.objects(), [filter(1)]);
        assert!(remove(&strategy, 1).unwrap());
        assert!(!remove(&strategy, 1).unwrap(), "that it is gone already is what was wanted");
        assert!(!model.is_busy());
    });
    assert_eq!(model.sessions(), 0);
}

#[test]
fn an_operation_that_fails_does_not_spoil_the_rest() {
    let time = Time::new();
    let model = engine(&time);
    with_each!(&model, &time, Config::new(), |strategy| {
        add(&strategy, 1).unwrap();
        let done: Result<(), Error<OperationError>> = strategy.transact(Access::ReadWrite, |transaction| {
            let refused = transaction.add(&filter(1)).unwrap_err();
            assert_eq!(refused.status(), Some(kernel(Code::AlreadyExists)));
            transaction.add(&filter(2)).map(drop)
        });
        done.unwrap();
        assert_eq!(model.objects(), [filter(1), filter(2)]);
        assert!(remove(&strategy, 1).unwrap() && remove(&strategy, 2).unwrap());
    });
}

#[test]
fn readers_cannot_write_and_the_engine_is_not_asked() {
    let time = Time::new();
    let model = engine(&time);
    with_each!(&model, &time, Config::new(), |strategy| {
        // The fault would strike an addition that came through.
        model.inject(Fault::new(Call::Add, kernel(Code::OutOfBounds)));
        let refused = strategy.transact(Access::ReadOnly, |transaction| {
            assert!(!transaction.contains(&id(1))?);
            assert_eq!(transaction.delete(&id(1)), Err(OperationError::ReadOnly));
            transaction.add(&filter(1))
        });
        assert_eq!(refused, Err(Error::Refused(OperationError::ReadOnly)));
        assert_eq!(model.clear_faults(), 1);
    });
    // The engine itself refuses as well.
    let session = model.open(SessionOptions::new()).unwrap();
    model.begin(&session, Access::ReadOnly).unwrap();
    assert_eq!(model.add(&session, &filter(1)), Err(kernel(Code::IncompatibleTxn)));
}

#[test]
fn nested_use_is_an_error() {
    let time = Time::new();
    let model = engine(&time);
    with_each!(&model, &time, Config::new(), |strategy| {
        let done: Result<(), Error<()>> = strategy.transact(Access::ReadWrite, |transaction| {
            transaction.add(&filter(1)).unwrap();
            assert_eq!(add(&strategy, 2), Err(Error::Nested));
            Ok(())
        });
        done.unwrap();
        // Afterwards it is no longer nested.
        assert!(remove(&strategy, 1).unwrap());
    });
}

#[test]
fn a_panic_leaves_nothing_behind() {
    let time = Time::new();
    let model = engine(&time);
    with_each!(&model, &time, Config::new(), |strategy| {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            strategy.transact(Access::ReadWrite, |transaction| -> Result<(), ()> {
                transaction.add(&filter(1)).unwrap();
                std::panic::resume_unwind(Box::new(()))
            })
        }));
        assert!(panicked.is_err());
        assert!(model.objects().is_empty() && !model.is_busy());
        add(&strategy, 1).unwrap();
        assert!(remove(&strategy, 1).unwrap());
    });
    assert_eq!(model.sessions(), 0);
}

/// Each failure that passes, at each call at which it makes sense: the work is done again, once, and all of it is there.
#[test]
fn failures_that_pass_are_passed_over() {
    let channel = |raw| (Status::new(raw), vec![Call::Open, Call::Begin, Call::Add]);
    let cases = [
        (kernel(Code::TxnAborted), vec![Call::Begin, Call::Add, Call::Commit]),
        (kernel(Code::SessionAborted), vec![Call::Begin, Call::Add, Call::Commit]),
        (kernel(Code::Timeout), vec![Call::Begin, Call::Add, Call::Commit]),
        (kernel(Code::TxnInProgress), vec![Call::Begin]),
        channel(0xC002_0017),
        channel(0xC002_0018),
        channel(0xC002_001B),
        channel(0xC002_001C),
        channel(0xC000_009A),
        channel(0x8007_06BA),
        channel(1722),
        channel(0x8001_0108),
    ];
    for (status, calls) in cases {
        for call in calls {
            let time = Time::new();
            let model = engine(&time);
            with_each!(&model, &time, Config::new(), |strategy| {
                model.inject(Fault::new(call, status).after(u32::from(call == Call::Add)));
                let mut calls = 0;
                let done: Result<(), Error<OperationError>> =
                    strategy.transact(Access::ReadWrite, |transaction| {
                        calls += 1;
                        transaction.add(&filter(1))?;
                        transaction.add(&filter(2)).map(drop)
                    });
                // On a shared handle a commit that failed cannot be looked into: see `Retrying`.
                let vague = call == Call::Commit && status.class(call) == Class::NothingChanged;
                if !(vague && matches!(done, Err(Error::Unknown { .. }))) {
                    assert_eq!(done, Ok(()), "{status} at {call}");
                    assert_eq!(model.objects(), [filter(1), filter(2)], "{status} at {call}");
                    assert!(remove(&strategy, 1).unwrap() && remove(&strategy, 2).unwrap());
                    assert!(calls <= 2, "{status} at {call}");
                }
                assert_eq!(model.clear_faults(), 0, "{status} at {call} struck");
            });
            assert_eq!(model.sessions(), 0);
        }
    }
}

/// Each code that is for good, at each call: one attempt, the code itself, nothing done.
#[test]
fn failures_for_good_are_reported_as_they_came() {
    for code in Code::ALL {
        for prefix in [Prefix::Kernel, Prefix::User] {
            for call in [Call::Open, Call::Begin, Call::Add, Call::Commit] {
                let status = code.status(prefix);
                if !matches!(status.class(call), Class::Permanent | Class::CallersBug) {
                    continue;
                }
                let time = Time::new();
                let model = engine(&time);
                with_each!(&model, &time, Config::new(), |strategy| {
                    model.inject(Fault::new(call, status));
                    let error = add(&strategy, 1).unwrap_err();
                    let reported = match &error {
                        Error::Refused(error) => error.status(),
                        error => error.status(),
                    };
                    assert_eq!(reported, Some(status), "{error}");
                    assert!(model.objects().is_empty() || error.is_unknown());
                });
                assert!(model.objects().is_empty() && model.sessions() == 0, "{status} at {call}");
                assert_eq!(time.now(), Duration::ZERO, "nobody waited");
            }
        }
    }
}

#[test]
fn a_lost_answer_to_a_commit_is_unknown() {
    for effect in [Effect::Executed, Effect::Nothing] {
        for raw in [0xC002_001B, 0x8007_06BE, 1726, 0x8001_0007] {
            let time = Time::new();
            let model = engine(&time);
            with_each!(&model, &time, Config::new(), |strategy| {
                model.inject(Fault::new(Call::Commit, Status::new(raw)).with_effect(effect));
                let error = add(&strategy, 1).unwrap_err();
                assert!(error.is_unknown());
                assert_eq!(error.status(), Some(Status::new(raw)));
                // What the documentation says to check.
                let there: Result<bool, Error<OperationError>> =
                    strategy.transact(Access::ReadOnly, |transaction| transaction.contains(&id(1)));
                assert_eq!(there, Ok(effect == Effect::Executed));
                assert_eq!(remove(&strategy, 1), Ok(effect == Effect::Executed));
            });
        }
    }
}

/// Whether a transaction that modified nothing was committed makes no difference: it is done again.
#[test]
fn a_lost_answer_to_a_reader_is_no_loss() {
    let lost = Status::new(0xC002_001B);
    let time = Time::new();
    let model = engine(&time);
    with_each!(&model, &time, attempts(3), |strategy| {
        for access in [Access::ReadOnly, Access::ReadWrite] {
            model.inject(Fault::new(Call::Commit, lost));
            let mut looked = 0;
            let look = || {
                strategy.transact(access, |transaction| {
                    looked += 1;
                    transaction.contains(&id(1))
                })
            };
            let seen: Result<bool, Error<OperationError>> = { look }();
            assert_eq!((seen, looked), (Ok(false), 2));
            (0..3).for_each(|_| model.inject(Fault::new(Call::Commit, lost)));
            let never: Result<bool, Error<OperationError>> =
                strategy.transact(access, |transaction| transaction.contains(&id(1)));
            assert!(
                matches!(never, Err(Error::GivenUp { attempts: 3, error, .. }) if error.status == lost),
                "{never:?}"
            );
            assert_eq!(model.clear_faults(), 0);
        }
    });
}

/// A commit that fails for a reason which leaves open whether the transaction is still there: aborting it tells.
#[test]
fn a_failed_commit_is_looked_into() {
    let vague = Status::new(0xC000_0001);
    let time = Time::new();
    let model = engine(&time);
    let strategy = Serialized::<_, _, Raw>::new(&model, &time, Config::new());
    model.inject(Fault::new(Call::Commit, vague));
    assert!(matches!(add(&strategy, 1), Err(Error::Failed { error, attempts: 1 }) if error.status == vague));
    model.inject(Fault::new(Call::Commit, vague).with_effect(Effect::Executed));
    assert!(matches!(add(&strategy, 1), Err(Error::Unknown { error }) if error.status == vague));
    assert_eq!(model.objects(), [filter(1)]);
}

#[test]
fn retries_end_by_number_and_by_time() {
    let time = Time::new();
    let model = engine(&time);
    let busy = Status::new(0xC002_0018);
    let by_number = attempts(4);
    with_each!(&model, &time, by_number, |strategy| {
        (0..100).for_each(|_| model.inject(Fault::new(Call::Begin, busy)));
        let error = add(&strategy, 1).unwrap_err();
        assert!(
            matches!(error, Error::GivenUp { error, attempts: 4, .. } if error.status == busy),
            "{error}"
        );
        assert_eq!(model.clear_faults(), 96);
    });
    let policy = Policy::new()
        .with_attempts(u32::MAX)
        .with_time(Duration::from_secs(2))
        .with_delays(Duration::from_millis(10), Duration::from_millis(100));
    with_each!(&model, &time, Config::new().with_policy(policy), |strategy| {
        (0..1000).for_each(|_| model.inject(Fault::new(Call::Begin, busy)));
        let before = time.now();
        let error = add(&strategy, 1).unwrap_err();
        let took = time.now() - before;
        assert!(matches!(error, Error::GivenUp { elapsed, .. } if elapsed <= took), "{error}");
        assert!(took <= Duration::from_secs(2) && took >= Duration::from_millis(1800), "{took:?}");
        model.clear_faults();
    });
}

#[test]
fn another_programs_transaction_is_waited_for() {
    let time = Time::new();
    let model = engine(&time);
    let other = model.open(SessionOptions::new()).unwrap();
    model.begin(&other, Access::ReadWrite).unwrap();
    let session = SessionOptions::new().with_begin_timeout(Duration::from_secs(3));
    let config = attempts(2).with_session(session);
    with_each!(&model, &time, config, |strategy| {
        let before = time.now();
        let error = add(&strategy, 1).unwrap_err();
        assert_eq!(error.status(), Some(kernel(Code::Timeout)));
        assert!(time.now() - before >= Duration::from_secs(6), "two begins of 3 s");
    });
}

#[test]
fn the_engine_restarts() {
    let time = Time::new();
    let model = engine(&time);
    with_each!(&model, &time, Config::new(), |strategy| {
        add(&strategy, 1).unwrap();
        model.stop();
        model.start();
        assert!(!remove(&strategy, 1).unwrap(), "static objects go with the engine");
        model.stop();
        let error = add(&strategy, 1).unwrap_err();
        assert!(matches!(error, Error::GivenUp { attempts: 20, .. }), "{error}");
        assert_eq!(error.status(), Some(Status::new(0xC002_0017)));
        model.start();
        assert_eq!(add(&strategy, 1), Ok(()));
        assert!(remove(&strategy, 1).unwrap());
    });
}

#[test]
fn objects_of_a_dynamic_session_go_with_it_and_the_next_transaction_is_told() {
    let time = Time::new();
    let model = engine(&time);
    let dynamic = Config::new().with_session(SessionOptions::new().with_lifetime(Lifetime::Dynamic));
    // `Sessions` would hand out the first of its pool each time: nobody else is here.
    with_each!(&model, &time, dynamic, |strategy| {
        assert!(model.objects().is_empty(), "they went with the strategy before");
        let keep = |key| {
            strategy.transact(Access::ReadWrite, |transaction| {
                let first = transaction.is_first();
                transaction.add(&filter(key)).map(|_| first)
            })
        };
        // A transaction that is not committed leaves the session as new as it was.
        let refused =
            strategy.transact(Access::ReadWrite, |transaction| Err::<(), _>(transaction.is_first()));
        assert_eq!(refused, Err(Error::Refused(true)));
        assert_eq!(keep(1), Ok(true));
        assert_eq!(keep(2), Ok(false));
        assert_eq!(model.objects(), [filter(1), filter(2)]);
        model.inject(Fault::new(Call::Begin, kernel(Code::SessionAborted)));
        assert_eq!(keep(3), Ok(true));
        assert_eq!(model.objects(), [filter(3)]);
        model.inject(Fault::new(Call::Commit, kernel(Code::SessionAborted)));
        assert_eq!(keep(4), Ok(true));
        assert_eq!(model.objects(), [filter(4)]);
    });
    assert!(model.objects().is_empty());
    // A static session's objects stay.
    add(&Serialized::<_, _, Raw>::new(&model, &time, Config::new()), 4).unwrap();
    assert_eq!((model.objects(), model.sessions()), (vec![filter(4)], 0));
}

/// The hazard behind `OperationError::Ended`: after the engine aborted a transaction, an operation would take effect by itself.
#[test]
fn nothing_is_done_outside_a_transaction() {
    let time = Time::new();
    let model = engine(&time);
    with_each!(&model, &time, attempts(1), |strategy| {
        model.inject(Fault::new(Call::Add, kernel(Code::SessionAborted)));
        let careless = strategy.transact(Access::ReadWrite, |transaction| {
            let _ = transaction.add(&filter(1));
            assert!(matches!(transaction.add(&filter(2)), Err(OperationError::Ended(_))));
            Ok::<_, ()>(())
        });
        assert!(matches!(careless, Err(Error::GivenUp { attempts: 1, .. })), "{careless:?}");
        assert!(model.objects().is_empty());
    });
}

#[test]
fn the_guard_aborts_unless_committed() {
    let time = Time::new();
    let model = engine(&time);
    let session = model.open(SessionOptions::new()).unwrap();
    let mut guard = Transaction::begin(&model, &session, Access::ReadWrite).unwrap();
    guard.add(&filter(1)).unwrap();
    drop(guard);
    assert!(model.objects().is_empty() && !model.is_busy());
    let mut guard = Transaction::begin(&model, &session, Access::ReadWrite).unwrap();
    guard.add(&filter(1)).unwrap();
    guard.commit().unwrap();
    assert_eq!(model.objects(), [filter(1)]);
    let guard = Transaction::begin(&model, &session, Access::ReadWrite).unwrap();
    model.inject(Fault::new(Call::Commit, kernel(Code::OutOfBounds)));
    assert_eq!(guard.commit().unwrap_err().status, kernel(Code::OutOfBounds));
    assert!(!model.is_busy(), "a commit that failed is aborted");
}

#[test]
fn what_takes_too_long_is_aborted_on_the_users_side_only() {
    for (side, aborted) in [(Prefix::User, true), (Prefix::Kernel, false)] {
        let time = Time::new();
        let model = ModelEngine::<_, Raw>::new(&time, side);
        let (slow, other) =
            (model.open(SessionOptions::new()).unwrap(), model.open(SessionOptions::new()).unwrap());
        model.begin(&slow, Access::ReadWrite).unwrap();
        model.add(&slow, &filter(1)).unwrap();
        time.advance(USER_TRANSACTION_LIMIT - Duration::from_secs(1));
        let begun = model.begin(&other, Access::ReadWrite);
        if aborted {
            assert_eq!(begun, Ok(()));
            assert_eq!(model.add(&slow, &filter(2)), Err(Code::TxnAborted.status(side)));
            assert_eq!(model.commit(&slow), Err(Code::TxnAborted.status(side)));
            assert_eq!(model.commit(&slow), Err(Code::NoTxnInProgress.status(side)));
            assert!(model.objects().is_empty());
        } else {
            assert_eq!(begun, Err(Code::Timeout.status(side)));
            assert_eq!(time.now(), USER_TRANSACTION_LIMIT - Duration::from_secs(1) + DEFAULT_BEGIN_TIMEOUT);
        }
    }
}

#[test]
fn commits_cost_what_they_are_told_to() {
    let time = Time::new();
    let model = engine(&time).with_costs(Costs::new().with_commit(Duration::from_millis(1)));
    let strategy = Serialized::<_, _, Raw>::new(&model, &time, Config::new());
    (0..10).for_each(|key| add(&strategy, key).unwrap());
    assert_eq!(time.now(), Duration::from_millis(10));
    assert_eq!(model.commits(), 10);
}
