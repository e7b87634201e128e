//! A lock, a host and an engine that the model checker understands.

#![allow(
    unsafe_code,
    reason = "a raw lock's unlock is unsafe to call, and keeping loom's guard takes a cell"
)]
#![allow(clippy::expect_used, clippy::unimplemented, reason = "a model that goes wrong should panic")]

use std::cell::{RefCell, UnsafeCell};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use loom::sync::{Condvar, Mutex, MutexGuard};
use wfp_txn::{Access, Code, Engine, Host, Prefix, SessionOptions, Status};

/// loom's mutex as a raw one.
pub(crate) struct Raw {
    mutex: OnceLock<Mutex<()>>,
    guard: UnsafeCell<Option<MutexGuard<'static, ()>>>,
}

// SAFETY: loom runs one thread at a time, and `guard` is touched only by the thread that holds `mutex`.
unsafe impl Send for Raw {}
// SAFETY: as above.
unsafe impl Sync for Raw {}

// SAFETY: loom's mutex excludes; its guard is kept from `lock` to `unlock`.
unsafe impl lock_api::RawMutex for Raw {
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait's")]
    const INIT: Self = Self { mutex: OnceLock::new(), guard: UnsafeCell::new(None) };

    type GuardMarker = lock_api::GuardSend;

    fn lock(&self) {
        let guard = self.mutex.get_or_init(|| Mutex::new(())).lock().unwrap();
        // SAFETY: the guard does not outlive the mutex: it is dropped in `unlock`, and this lock cannot be dropped while it is locked.
        let guard = unsafe { std::mem::transmute::<MutexGuard<'_, ()>, MutexGuard<'static, ()>>(guard) };
        // SAFETY: this thread holds the mutex.
        unsafe { *self.guard.get() = Some(guard) };
    }

    fn try_lock(&self) -> bool {
        unimplemented!("not needed")
    }

    unsafe fn unlock(&self) {
        // SAFETY: the caller holds the mutex.
        let guard = unsafe { (*self.guard.get()).take() };
        drop(guard);
    }
}

/// Bells of loom's condition variables. Nobody ever sleeps for a time: loom knows none.
#[derive(Clone, Copy)]
pub(crate) struct Bells;

pub(crate) struct Bell(Mutex<u32>, Condvar);

impl Bells {
    /// Raises a flag as soon as this thread is in line.
    pub(crate) fn tell_when_waiting(engine: &Small, flag: usize) {
        // SAFETY: the engine outlives all threads of an execution.
        let engine: &'static Small = unsafe { &*std::ptr::from_ref(engine) };
        PENDING.with_borrow_mut(|pending| pending.insert(Self.thread(), (flag, engine)));
    }
}

thread_local! {
    /// By the number of the loom thread: loom may run all of them on one thread of the system.
    static PENDING: RefCell<BTreeMap<u64, (usize, &'static Small)>> = const { RefCell::new(BTreeMap::new()) };
}

impl Host for Bells {
    type Bell = Bell;

    fn bell(&self) -> Bell {
        Bell(Mutex::new(0), Condvar::new())
    }

    fn rings(&self, bell: &Bell) -> u32 {
        *bell.0.lock().unwrap()
    }

    fn ring(&self, bell: &Bell) {
        let mut rings = bell.0.lock().unwrap();
        *rings = rings.wrapping_add(1);
        bell.1.notify_all();
    }

    fn wait(&self, bell: &Bell, seen: u32, _until: Option<Duration>) {
        if let Some((flag, engine)) = PENDING.with_borrow_mut(|pending| pending.remove(&self.thread())) {
            engine.flag_up(flag);
        }
        let mut rings = bell.0.lock().unwrap();
        while *rings == seen {
            rings = bell.1.wait(rings).unwrap();
        }
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _duration: Duration) {
        loom::thread::yield_now();
    }

    fn thread(&self) -> u64 {
        let name = format!("{:?}", loom::thread::current().id());
        name.bytes().filter(u8::is_ascii_digit).fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    }
}

/// An engine of one log. It panics when it is used in a way that the strategies promise not to.
pub(crate) struct Small {
    state: Mutex<Inner>,
    flags: [(Mutex<bool>, Condvar); 2],
    met: (Mutex<usize>, Condvar),
}

#[derive(Default)]
struct Inner {
    log: String,
    /// Sessions, with what their transaction has added so far.
    sessions: BTreeMap<u64, Option<(Access, String)>>,
    opened: u64,
    lose_commit: bool,
    /// Which session that was.
    loser: Option<u64>,
}

impl Small {
    pub(crate) fn new() -> Self {
        let flag = || (Mutex::new(false), Condvar::new());
        Self {
            state: Mutex::new(Inner::default()),
            flags: [flag(), flag()],
            met: (Mutex::new(0), Condvar::new()),
        }
    }

    /// What was committed. All sessions must be closed.
    pub(crate) fn at_the_end(&self) -> String {
        let inner = self.state.lock().unwrap();
        assert!(inner.sessions.is_empty(), "sessions are left open");
        inner.log.clone()
    }

    /// The first commit finds its session gone.
    pub(crate) fn lose_first_commit(&self) {
        self.state.lock().unwrap().lose_commit = true;
    }

    pub(crate) fn flag_up(&self, flag: usize) {
        *self.flags[flag].0.lock().unwrap() = true;
        self.flags[flag].1.notify_all();
    }

    pub(crate) fn wait_for_flag(&self, flag: usize) {
        let mut up = self.flags[flag].0.lock().unwrap();
        while !*up {
            up = self.flags[flag].1.wait(up).unwrap();
        }
    }

    /// Waits until two threads are here.
    pub(crate) fn meet(&self) {
        let mut met = self.met.0.lock().unwrap();
        *met += 1;
        self.met.1.notify_all();
        while *met < 2 {
            met = self.met.1.wait(met).unwrap();
        }
    }

    fn with<T>(&self, session: u64, call: impl FnOnce(&mut Inner) -> Result<T, Code>) -> Result<T, Status> {
        let mut inner = self.state.lock().unwrap();
        assert!(inner.sessions.contains_key(&session), "a handle is used after it was closed");
        if inner.loser == Some(session) {
            return Err(Code::SessionAborted.status(Prefix::Kernel));
        }
        call(&mut inner).map_err(|code| code.status(Prefix::Kernel))
    }
}

impl Engine for Small {
    type Session = u64;
    type Object<'o> = u8;
    type Id = u8;

    fn open(&self, _: SessionOptions) -> Result<u64, Status> {
        let mut inner = self.state.lock().unwrap();
        inner.opened += 1;
        let session = inner.opened;
        inner.sessions.insert(session, None);
        Ok(session)
    }

    fn close(&self, session: u64) -> Result<(), Status> {
        let removed = self.state.lock().unwrap().sessions.remove(&session);
        // Closing would undo it too, but nothing here has to go that far.
        assert!(removed.expect("a handle is closed twice").is_none(), "a transaction is left open");
        Ok(())
    }

    fn begin(&self, session: &u64, access: Access) -> Result<(), Status> {
        self.with(*session, |inner| {
            if inner.sessions[session].is_some() {
                return Err(Code::TxnInProgress);
            }
            let others = inner.sessions.values().flatten();
            if others.filter(|_| access == Access::ReadWrite).count() > 0 {
                return Err(Code::Timeout);
            }
            inner.sessions.insert(*session, Some((access, String::new())));
            Ok(())
        })
    }

    fn commit(&self, session: &u64) -> Result<(), Status> {
        self.with(*session, |inner| {
            if std::mem::take(&mut inner.lose_commit) {
                inner.loser = Some(*session);
                inner.sessions.insert(*session, None);
                return Err(Code::SessionAborted);
            }
            let open = inner.sessions.insert(*session, None).flatten();
            let (access, added) = open.ok_or(Code::NoTxnInProgress)?;
            if access == Access::ReadWrite {
                inner.log.push_str(&added);
                inner.log.push('|');
            }
            Ok(())
        })
    }

    fn abort(&self, session: &u64) -> Result<(), Status> {
        self.with(*session, |inner| {
            inner.sessions.insert(*session, None).flatten().map(drop).ok_or(Code::NoTxnInProgress)
        })
    }

    fn add(&self, session: &u64, value: u8) -> Result<u8, Status> {
        self.with(*session, |inner| {
            let open =
                inner.sessions.get_mut(session).and_then(Option::as_mut).expect("a transaction is open");
            open.1.push(char::from(b'0' + value));
            Ok(value)
        })
    }

    fn delete(&self, _: &u64, _: &u8) -> Result<(), Status> {
        unimplemented!("not needed")
    }

    fn contains(&self, session: &u64, _: &u8) -> Result<bool, Status> {
        self.with(*session, |inner| {
            assert!(inner.sessions[session].is_some(), "a transaction is open");
            Ok(false)
        })
    }
}
