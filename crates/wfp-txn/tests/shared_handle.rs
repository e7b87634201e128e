//! A handle that is shared while one thread's commit goes unanswered: the others are not told that theirs failed.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use wfp_txn::{Access, Config, Engine, Error, Host, Retrying, SessionOptions, Status, Strategy};

/// `RPC_NT_CALL_FAILED`: whether it was done is not known.
const CALL_FAILED: Status = Status::new(0xC002_001B);

thread_local! {
    /// 0 is the thread that stands at the door of the engine until it is let in.
    static THREAD: Cell<u64> = const { Cell::new(1) };
}

/// Its first commit goes unanswered; one thread's begin takes until that thread is let in.
struct Scripted {
    opened: AtomicU32,
    commits: AtomicU32,
    at_the_door: Sender<()>,
    let_in: Mutex<Receiver<()>>,
}

impl Engine for &Scripted {
    type Session = u32;
    type Object<'o> = ();
    type Id = ();

    fn open(&self, _: SessionOptions) -> Result<u32, Status> {
        Ok(self.opened.fetch_add(1, Ordering::Relaxed))
    }

    fn close(&self, _: u32) -> Result<(), Status> {
        Ok(())
    }

    fn begin(&self, _: &u32, _: Access) -> Result<(), Status> {
        if THREAD.get() == 0 {
            self.at_the_door.send(()).unwrap();
            self.let_in.lock().unwrap().recv().unwrap();
        }
        Ok(())
    }

    fn commit(&self, _: &u32) -> Result<(), Status> {
        match self.commits.fetch_add(1, Ordering::Relaxed) {
            0 => Err(CALL_FAILED),
            _ => Ok(()),
        }
    }

    fn abort(&self, _: &u32) -> Result<(), Status> {
        Ok(())
    }

    fn add(&self, _: &u32, (): ()) -> Result<(), Status> {
        Ok(())
    }

    fn delete(&self, _: &u32, (): &()) -> Result<(), Status> {
        Ok(())
    }

    fn contains(&self, _: &u32, (): &()) -> Result<bool, Status> {
        Ok(true)
    }
}

/// Whoever sleeps lets in who stands at the door.
struct Doorman {
    let_in: Sender<()>,
}

impl Host for Doorman {
    type Bell = ();

    fn bell(&self) {}

    fn rings(&self, (): &()) -> u32 {
        0
    }

    fn ring(&self, (): &()) {}

    fn wait(&self, (): &(), _: u32, _: Option<Duration>) {}

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) {
        // Nobody listens any more once that thread is through.
        let _ = self.let_in.send(());
        std::thread::yield_now();
    }

    fn thread(&self) -> u64 {
        THREAD.get()
    }
}

#[test]
fn an_answer_that_one_thread_lost_fails_nobody_else() {
    let (at_the_door, somebody) = channel();
    let (let_in, told) = channel();
    let engine = Scripted {
        opened: AtomicU32::new(0),
        commits: AtomicU32::new(0),
        at_the_door,
        let_in: Mutex::new(told),
    };
    let patience = wfp_txn::Policy::new().with_attempts(u32::MAX);
    let config = Config::new().with_policy(patience);
    let doorman = Doorman { let_in };
    let strategy = Retrying::<_, _, parking_lot::RawMutex>::new(&engine, &doorman, config);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            THREAD.set(0);
            strategy.transact(Access::ReadWrite, |transaction| transaction.add(()))
        });
        somebody.recv().unwrap();
        // The other thread still uses the session when this one's commit goes unanswered …
        let lost = strategy.transact(Access::ReadWrite, |transaction| transaction.add(()));
        // … so the next transaction finds one that is lost, waits for the other, and has a session of its own.
        let next = strategy.transact(Access::ReadWrite, |transaction| transaction.add(()));
        doorman.sleep(Duration::ZERO);
        assert!(matches!(lost, Err(Error::Unknown { error }) if error.status == CALL_FAILED), "{lost:?}");
        assert_eq!(next, Ok(()));
        assert_eq!(engine.opened.load(Ordering::Relaxed), 2, "sessions opened");
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}
