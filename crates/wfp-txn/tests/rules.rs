//! The model keeps the documented rules about objects, and the table says of every code what the documentation says.
#![cfg(feature = "model")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use support::{Raw, filter, id};
use wfp_txn::model::{Event, Key, Kind, ModelEngine, Object, VirtualTime};
use wfp_txn::{Access, Call, Class, Code, Engine, Lifetime, Prefix, SessionOptions, Status};

fn kernel(code: Code) -> Status {
    code.status(Prefix::Kernel)
}

fn sublayer(key: u64) -> Object {
    Object::new(Kind::Sublayer, Key(key))
}

#[test]
fn objects_refer_to_what_lives_as_long() {
    let time = VirtualTime::<Raw>::new();
    let engine = ModelEngine::<_, Raw>::new(&time, Prefix::Kernel).with_builtin(sublayer(9));
    let static_ = engine.open(SessionOptions::new()).unwrap();
    let dynamic = engine.open(SessionOptions::new().with_lifetime(Lifetime::Dynamic)).unwrap();
    let other = engine.open(SessionOptions::new().with_lifetime(Lifetime::Dynamic)).unwrap();
    let refers = |key, to: u64| filter(key).referring_to(sublayer(to).id);

    assert_eq!(engine.add(&static_, &refers(1, 1)), Err(kernel(Code::SublayerNotFound)));
    engine.add(&static_, &sublayer(1)).unwrap();
    engine.add(&dynamic, &sublayer(2)).unwrap();
    engine.add(&static_, &refers(1, 1)).unwrap();
    assert_eq!(engine.add(&static_, &refers(1, 1)), Err(kernel(Code::AlreadyExists)));
    assert_eq!(engine.add(&static_, &refers(2, 2)), Err(kernel(Code::LifetimeMismatch)));
    assert_eq!(engine.add(&other, &refers(2, 2)), Err(kernel(Code::LifetimeMismatch)));
    assert_eq!(engine.add(&static_, &refers(2, 1).persistent()), Err(kernel(Code::LifetimeMismatch)));
    engine.add(&static_, &refers(3, 9).persistent()).unwrap();
    engine.add(&dynamic, &refers(4, 2)).unwrap();
    engine.add(&dynamic, &refers(5, 1)).unwrap();

    assert_eq!(engine.delete(&static_, &sublayer(1).id), Err(kernel(Code::InUse)));
    assert_eq!(engine.delete(&static_, &sublayer(9).id), Err(kernel(Code::BuiltinObject)));
    assert_eq!(engine.delete(&static_, &id(7)), Err(kernel(Code::FilterNotFound)));

    engine.close(dynamic).unwrap();
    let left: Vec<u64> = engine.objects().iter().map(|object| object.id.key.0).collect();
    assert_eq!(left, [1, 3, 1, 9], "what the dynamic session had added is gone");
    engine.stop();
    engine.start();
    assert_eq!(engine.objects(), [refers(3, 9).persistent(), sublayer(9)]);
}

#[test]
fn readers_share_and_writers_do_not() {
    let time = VirtualTime::<Raw>::new();
    let engine = ModelEngine::<_, Raw>::new(&time, Prefix::User);
    let [a, b, c] = [(); 3].map(|()| engine.open(SessionOptions::new()).unwrap());
    engine.begin(&a, Access::ReadOnly).unwrap();
    engine.begin(&b, Access::ReadOnly).unwrap();
    assert_eq!(engine.begin(&c, Access::ReadWrite), Err(Code::Timeout.status(Prefix::User)));
    engine.commit(&a).unwrap();
    engine.abort(&b).unwrap();
    engine.begin(&c, Access::ReadWrite).unwrap();
    assert_eq!(engine.begin(&c, Access::ReadWrite), Err(Code::TxnInProgress.status(Prefix::User)));
    assert_eq!(engine.begin(&a, Access::ReadOnly), Err(Code::Timeout.status(Prefix::User)));
    // A call outside a transaction is one.
    assert_eq!(engine.add(&a, &filter(1)), Err(Code::Timeout.status(Prefix::User)));
    assert_eq!(engine.abort(&a), Err(Code::NoTxnInProgress.status(Prefix::User)));
}

/// Isolation: what a session leaves behind goes between the transactions of others, not in the middle of one.
#[test]
fn the_end_of_a_session_is_not_seen_in_the_middle() {
    let time = VirtualTime::<Raw>::new();
    for access in [Access::ReadOnly, Access::ReadWrite] {
        for commits in [true, false] {
            let engine = ModelEngine::<_, Raw>::new(&time, Prefix::Kernel).recording();
            let other = engine.open(SessionOptions::new()).unwrap();
            let dynamic = engine.open(SessionOptions::new().with_lifetime(Lifetime::Dynamic)).unwrap();
            engine.add(&dynamic, &filter(1)).unwrap();
            engine.begin(&other, access).unwrap();
            if access == Access::ReadWrite {
                engine.delete(&other, &id(1)).unwrap();
                engine.add(&other, &filter(2)).unwrap();
            }
            engine.close(dynamic).unwrap();
            let there = access == Access::ReadOnly;
            assert_eq!(engine.contains(&other, &id(1)), Ok(there));
            if commits {
                engine.commit(&other).unwrap()
            } else {
                engine.abort(&other).unwrap()
            }
            let left = if access == Access::ReadWrite && commits { vec![filter(2)] } else { vec![] };
            assert_eq!((engine.objects(), engine.sessions()), (left, 1));
            // Whoever keeps account is told of each object once.
            let ended = engine.events().into_iter().rev().find_map(|event| match event {
                Event::SessionEnded(gone) => Some(gone),
                _ => None,
            });
            let deleted = access == Access::ReadWrite && commits;
            assert_eq!(ended, Some(if deleted { vec![] } else { vec![id(1)] }));
        }
    }
}

/// What each class stands for, code by code, as the reference has it.
#[test]
fn every_code_has_its_class() {
    for prefix in [Prefix::Kernel, Prefix::User] {
        for code in Code::ALL {
            let status = code.status(prefix);
            assert_eq!((status.code(), status.prefix()), (Some(*code), Some(prefix)));
            let expected = match code.low_word() {
                0x01..=0x08 => [Class::Permanent, Class::Permanent, Class::AlreadySo, Class::Permanent],
                0x0A => [Class::Permanent, Class::Permanent, Class::NothingChanged, Class::Permanent],
                0x0B | 0x0C | 0x11 => [Class::CallersBug; 4],
                0x0D => [Class::CallersBug, Class::CallersBug, Class::CallersBug, Class::Unknown],
                0x0E => [Class::NothingChanged, Class::CallersBug, Class::CallersBug, Class::CallersBug],
                0x0F => [Class::Replay; 4],
                0x10 => [Class::Reopen; 4],
                0x12 => [Class::NothingChanged; 4],
                _ => [Class::Permanent; 4],
            };
            let classes = [Call::Begin, Call::Add, Call::Delete, Call::Commit].map(|call| status.class(call));
            assert_eq!(classes, expected, "{status}");
        }
        assert_eq!(Code::NoTxnInProgress.status(prefix).class(Call::Abort), Class::AlreadySo);
        assert_eq!(Code::TxnAborted.status(prefix).class(Call::Abort), Class::AlreadySo);
        assert_eq!(Code::SessionAborted.status(prefix).class(Call::Close), Class::AlreadySo);
    }
}

/// The channel: the same event under its NTSTATUS, its HRESULT and its Win32 error.
#[test]
fn rpc_failures_are_known_in_all_their_forms() {
    let unavailable = [0xC002_0017, 0x8007_06BA, 1722];
    let busy = [0xC002_0018, 0x8007_06BB, 1723];
    let failed = [0xC002_001B, 0x8007_06BE, 1726, 0xC002_0035, 0xC003_0001, 0x8007_06D9 - 1, 0x8001_0105];
    let not_executed = [0xC002_001C, 0x8007_06BF, 1727];
    let of = |raw, call| Status::new(raw).class(call);
    for call in [Call::Begin, Call::Add, Call::Commit] {
        assert!(unavailable.iter().chain(&not_executed).all(|raw| of(*raw, call) == Class::Reopen));
        assert!(busy.iter().all(|raw| of(*raw, call) == Class::NothingChanged));
    }
    for raw in failed {
        assert_eq!(of(raw, Call::Commit), Class::Unknown, "{raw:#x}");
        assert_eq!(of(raw, Call::Add), Class::Reopen, "{raw:#x}: undone with the session");
    }
    assert_eq!(of(0xC000_0001, Call::Commit), Class::Permanent);
    for raw in [0xC000_0008, 0xC000_000D, 0x8007_0057, 6, 87] {
        assert_eq!(of(raw, Call::Begin), Class::CallersBug, "{raw:#x}");
    }
    assert_eq!(Status::new(0x8007_06BE).to_string(), "0x800706BE RPC_S_CALL_FAILED");
    assert_eq!(Status::new(0x8032_000E).to_string(), "0x8032000E FWP_E_TXN_IN_PROGRESS");
    assert_eq!(Status::new(0xC022_FFFF).to_string(), "0xC022FFFF");
}
