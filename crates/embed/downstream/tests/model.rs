//! The trail on the model checker's memory: what is public of the blocks under `--cfg loom` is all it needs.
//!
//! The pattern, for crates of your own:
//!
//! 1. Build a `model::Modelled` of each ring inside `loom::model`, give a clone to each side. The serializer needs a lock, a host and an engine that
//!    loom sees into: those of `support` below are as short as they can be.
//! 2. Spawn every role on a thread of its own. The creating thread has seen all initial values, so loom would hide stale ones from it.
//! 3. Collect what was seen, over all executions, and compare the whole set: loom leaves out interleavings in known cases
//!    (tokio-rs/loom#166), and a model that explored too little passes every assertion but that one.
//! 4. Put in a mistake, and see the model find it.
//!
//! `cargo xtask embed model` runs this.
#![cfg(loom)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use downstream::{Attacher, Found, Mistake, read};
use ebpf_perfbuf::{CpuReader, Direction, PerCpu, Reader, WakeupPolicy, Writer};
use ebpf_ringbuf::{Consumer, Geometry, Mapping, PageOffset, Producer};
use support::{Bells, Raw, Small};
use wfp_txn::{Config, Serialized};

/// All that a reader found, over every execution with at most three preemptions, readers spawned last and first.
fn found(mistake: Mistake, loses_a_commit: bool) -> BTreeSet<Found> {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let executions = Arc::new(Mutex::new(0_usize));
    for readers_first in [false, true] {
        let (seen, executions) = (Arc::clone(&seen), Arc::clone(&executions));
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.max_branches = 20_000;
        builder.check(move || {
            *executions.lock().unwrap() += 1;
            let outcome = execution(mistake, loses_a_commit, readers_first);
            seen.lock().unwrap().insert(outcome);
        });
    }
    let seen = seen.lock().unwrap().clone();
    println!("{mistake:?}: {} executions, {seen:?}", executions.lock().unwrap());
    seen
}

fn execution(mistake: Mistake, loses_a_commit: bool, readers_first: bool) -> Found {
    const FILTER: u32 = 7;
    let geometry = Geometry::new(64, 8, Mapping::Mirrored, PageOffset::FromRing).unwrap();
    let trail = ebpf_ringbuf::model::Modelled::new(geometry, 0);
    let counts = [0, 1].map(|_| {
        ebpf_perfbuf::model::Modelled::new(ebpf_perfbuf::Geometry::new(32, Direction::Forward).unwrap(), 0)
    });
    let filters =
        loom::sync::Arc::new(Serialized::<_, _, Raw>::new(Small::new(loses_a_commit), Bells, Config::new()));

    let attach = {
        let (trail, count, filters) = (trail.clone(), counts[1].clone(), filters.clone());
        move || {
            let mut attacher = Attacher {
                filters: &*filters,
                trail: Producer::new(trail.clone(), trail).unwrap(),
                count: Writer::new(count, WakeupPolicy::events(1)).unwrap(),
                mistake,
            };
            attacher.attach(FILTER).unwrap();
        }
    };
    let reading = {
        let filters = filters.clone();
        move || {
            let mut trail = Consumer::new(trail).unwrap();
            let mut cpu = 0;
            let readers = counts.map(|memory| {
                cpu += 1;
                CpuReader::new(cpu, Reader::new(memory).unwrap())
            });
            let mut counts = PerCpu::new(readers).unwrap();
            read(&mut trail, &mut counts, &*filters, &FILTER).unwrap()
        }
    };
    let (attaching, reading) = if readers_first {
        let reading = loom::thread::spawn(reading);
        (loom::thread::spawn(attach), reading)
    } else {
        let attaching = loom::thread::spawn(attach);
        (attaching, loom::thread::spawn(reading))
    };
    attaching.join().unwrap();
    reading.join().unwrap()
}

const fn at(announced: usize, counted: usize, attached: bool) -> Found {
    Found { announced, counted, attached }
}

/// Attached, then counted, then announced: with the reader anywhere between.
const RIGHT: [Found; 4] = [at(0, 0, false), at(0, 0, true), at(0, 1, true), at(1, 1, true)];

#[test]
fn what_is_announced_is_attached_and_counted() {
    assert_eq!(found(Mistake::None, false), RIGHT.into());
}

#[test]
fn also_if_the_engine_loses_a_transaction() {
    assert_eq!(found(Mistake::None, true), RIGHT.into());
}

/// The work is done again, and so is what it does besides: one filter is announced twice.
#[test]
fn announcing_inside_the_work_is_found() {
    assert!(found(Mistake::AnnouncedInWork, true).iter().any(|found| found.announced == 2));
}

#[test]
fn counting_late_is_found() {
    assert!(found(Mistake::CountedLate, false).contains(&at(1, 0, true)));
}

mod support {
    use std::cell::UnsafeCell;
    use std::sync::OnceLock;
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex, MutexGuard};
    use wfp_txn::{Access, Code, Engine, Host, Prefix, SessionOptions, Status};

    /// loom's mutex as a raw one. It exists from its first use on, because a constant cannot hold one.
    pub struct Raw {
        mutex: OnceLock<Mutex<()>>,
        guard: UnsafeCell<Option<MutexGuard<'static, ()>>>,
    }

    // SAFETY: `guard` is touched only by the thread that holds `mutex`.
    unsafe impl Send for Raw {}
    // SAFETY: as above.
    unsafe impl Sync for Raw {}

    // SAFETY: loom's mutex excludes; its guard is kept from `lock` to `unlock`.
    unsafe impl lock_api::RawMutex for Raw {
        #[allow(clippy::declare_interior_mutable_const)]
        const INIT: Self = Self { mutex: OnceLock::new(), guard: UnsafeCell::new(None) };

        type GuardMarker = lock_api::GuardSend;

        fn lock(&self) {
            let guard = self.mutex.get_or_init(|| Mutex::new(())).lock().unwrap();
            // SAFETY: dropped in `unlock`, and a lock that is locked is not dropped: the mutex outlives it.
            let guard = unsafe { std::mem::transmute::<MutexGuard<'_, ()>, MutexGuard<'static, ()>>(guard) };
            // SAFETY: this thread holds the mutex.
            unsafe { *self.guard.get() = Some(guard) };
        }

        fn try_lock(&self) -> bool {
            unreachable!("the strategy does not")
        }

        unsafe fn unlock(&self) {
            // SAFETY: the caller holds the mutex.
            drop(unsafe { (*self.guard.get()).take() });
        }
    }

    /// Waiting by loom's condition variables; loom knows no time.
    pub struct Bells;

    impl Host for Bells {
        type Bell = (Mutex<u32>, Condvar);

        fn bell(&self) -> Self::Bell {
            (Mutex::new(0), Condvar::new())
        }

        fn rings(&self, bell: &Self::Bell) -> u32 {
            *bell.0.lock().unwrap()
        }

        fn ring(&self, bell: &Self::Bell) {
            *bell.0.lock().unwrap() += 1;
            bell.1.notify_all();
        }

        fn wait(&self, bell: &Self::Bell, seen: u32, _: Option<Duration>) {
            let mut rings = bell.0.lock().unwrap();
            while *rings == seen {
                rings = bell.1.wait(rings).unwrap();
            }
        }

        fn now(&self) -> Duration {
            Duration::ZERO
        }

        /// Not `yield_now`, with which loom lets everybody else run first: a sleep may also be over at once.
        fn sleep(&self, _: Duration) {}

        fn thread(&self) -> u64 {
            let name = format!("{:?}", loom::thread::current().id());
            name.bytes()
                .filter(u8::is_ascii_digit)
                .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
        }
    }

    /// An engine that holds numbers, and may lose the first commit's session.
    pub struct Small(Mutex<State>);

    #[derive(Default)]
    struct State {
        loses_a_commit: bool,
        sessions: u64,
        /// A session lost, which must not be used again.
        lost: Option<u64>,
        open: bool,
        staged: Vec<u32>,
        held: Vec<u32>,
    }

    impl Small {
        pub fn new(loses_a_commit: bool) -> Self {
            Self(Mutex::new(State { loses_a_commit, ..State::default() }))
        }

        fn with<T>(
            &self,
            session: u64,
            call: impl FnOnce(&mut State) -> Result<T, Code>,
        ) -> Result<T, Status> {
            let mut state = self.0.lock().unwrap();
            assert_ne!(state.lost, Some(session), "a lost session is used");
            call(&mut state).map_err(|code| code.status(Prefix::Kernel))
        }
    }

    impl Engine for Small {
        type Session = u64;
        type Object<'o> = u32;
        type Id = u32;

        fn open(&self, _: SessionOptions) -> Result<u64, Status> {
            let mut state = self.0.lock().unwrap();
            state.sessions += 1;
            Ok(state.sessions)
        }

        fn close(&self, _: u64) -> Result<(), Status> {
            Ok(())
        }

        fn begin(&self, session: &u64, _: Access) -> Result<(), Status> {
            self.with(*session, |state| {
                if std::mem::replace(&mut state.open, true) { Err(Code::TxnInProgress) } else { Ok(()) }
            })
        }

        fn commit(&self, session: &u64) -> Result<(), Status> {
            self.with(*session, |state| {
                state.open = false;
                let staged = std::mem::take(&mut state.staged);
                if std::mem::take(&mut state.loses_a_commit) {
                    state.lost = Some(*session);
                    return Err(Code::SessionAborted);
                }
                state.held.extend(staged);
                Ok(())
            })
        }

        fn abort(&self, session: &u64) -> Result<(), Status> {
            self.with(*session, |state| {
                state.open = false;
                state.staged.clear();
                Ok(())
            })
        }

        fn add(&self, session: &u64, object: u32) -> Result<u32, Status> {
            self.with(*session, |state| {
                state.staged.push(object);
                Ok(object)
            })
        }

        fn delete(&self, _: &u64, _: &u32) -> Result<(), Status> {
            unreachable!("nothing is deleted")
        }

        fn contains(&self, session: &u64, id: &u32) -> Result<bool, Status> {
            self.with(*session, |state| Ok(state.held.contains(id)))
        }
    }
}
