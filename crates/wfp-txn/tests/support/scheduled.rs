//! Threads of which one runs at a time, chosen by a seed, in virtual time.
//!
//! Every call to the host or the engine is a point at which another thread may be chosen. When nobody can run, time moves on to the
//! next moment for which somebody sleeps; when nobody sleeps either, the threads are stuck, and the run says so.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use wfp_txn::{Access, Engine, Host, SessionOptions, Status};

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// What one thread does.
pub(crate) type Role<'r, T> = Box<dyn FnOnce() -> T + Send + 'r>;

#[derive(Clone)]
pub(crate) struct Scheduled(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// One for each thread: only the chosen one has to wake.
    chosen: [Condvar; MOST],
}

/// Threads of a run.
const MOST: usize = 64;

struct State {
    /// Who runs next, the next one last; by the random number when they are used up.
    choices: Vec<u8>,
    random: u64,
    now: Duration,
    /// The thread that runs.
    running: usize,
    threads: Vec<Thread>,
    bells: Vec<u32>,
    stuck: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    Ready,
    /// For a bell to have been rung, or a time to have come.
    Waiting {
        bell: Option<(usize, u32)>,
        until: Option<Duration>,
    },
    Ended,
}

impl Scheduled {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            choices: Vec::new(),
            random: seed,
            now: Duration::ZERO,
            running: usize::MAX,
            threads: Vec::new(),
            bells: Vec::new(),
            stuck: None,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), chosen: [const { Condvar::new() }; MOST] }))
    }

    /// Lets these bytes choose first.
    pub(crate) fn choosing(self, choices: &[u8]) -> Self {
        self.lock().choices = choices.iter().rev().copied().collect();
        self
    }

    /// Runs the roles, each on a thread of its own, until all have ended. Gives what they gave, or why they are stuck.
    pub(crate) fn run<T: Send>(&self, roles: Vec<Role<'_, T>>) -> Result<Vec<T>, String> {
        assert!(roles.len() <= MOST, "so many condition variables there are");
        self.lock().threads = vec![Thread::Ready; roles.len()];
        self.lock().choose();
        let results = std::thread::scope(|scope| {
            let mut threads = vec![];
            for (index, role) in roles.into_iter().enumerate() {
                let own = self.clone();
                threads.push(scope.spawn(move || {
                    INDEX.set(index);
                    let _end = End(&own);
                    own.wait_until_chosen(own.lock());
                    role()
                }));
            }
            threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
        });
        if let Some(stuck) = &self.lock().stuck {
            return Err(stuck.clone());
        }
        Ok(results
            .into_iter()
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect())
    }

    /// Lets another thread run, perhaps.
    pub(crate) fn pause(&self) {
        if INDEX.get() == usize::MAX {
            return;
        }
        let mut state = self.lock();
        state.choose();
        self.wait_until_chosen(state);
    }

    pub(crate) fn random(&self) -> u64 {
        self.lock().random()
    }

    fn block(&self, waiting: Thread) {
        let mut state = self.lock();
        // Outside `run` there is nobody to wait for.
        let Some(own) = state.threads.get_mut(INDEX.get()) else {
            if let Thread::Waiting { until: Some(until), .. } = waiting {
                state.now = until.max(state.now);
            }
            return;
        };
        *own = waiting;
        state.choose();
        self.wait_until_chosen(state);
    }

    fn wait_until_chosen(&self, state: MutexGuard<'_, State>) {
        let index = INDEX.get();
        self.wake(&state, index);
        let own = &self.0.chosen[index];
        let state = own.wait_while(state, |state| state.running != index && state.stuck.is_none()).unwrap();
        let stuck = state.stuck.is_some();
        drop(state);
        if stuck && !std::thread::panicking() {
            std::panic::resume_unwind(Box::new("stuck"));
        }
    }

    /// Wakes the chosen thread, unless it is the one that asks; all of them when they are stuck.
    fn wake(&self, state: &State, own: usize) {
        if state.stuck.is_some() {
            self.0.chosen.iter().for_each(Condvar::notify_one);
        } else if state.running != own
            && let Some(chosen) = self.0.chosen.get(state.running)
        {
            chosen.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }
}

/// Hands the run on when a thread ends, also by a panic.
struct End<'a>(&'a Scheduled);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.threads[INDEX.get()] = Thread::Ended;
        state.choose();
        self.0.wake(&state, usize::MAX);
        drop(state);
        INDEX.set(usize::MAX);
    }
}

impl State {
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn is_ready(&self, thread: Thread) -> bool {
        match thread {
            Thread::Ready => true,
            Thread::Waiting { bell, until } => {
                bell.is_some_and(|(bell, seen)| self.bells[bell] != seen)
                    || until.is_some_and(|until| until <= self.now)
            }
            Thread::Ended => false,
        }
    }

    fn choose(&mut self) {
        if self.threads.iter().all(|thread| *thread == Thread::Ended) {
            self.running = usize::MAX;
            return;
        }
        let mut ready = self.ready();
        if ready.is_empty() {
            let time = |thread: &Thread| match thread {
                Thread::Waiting { until, .. } => *until,
                _ => None,
            };
            let Some(next) = self.threads.iter().filter_map(time).min() else {
                self.stuck = Some(format!("at {:?}: {:?}", self.now, self.threads));
                return;
            };
            self.now = next.max(self.now);
            ready = self.ready();
        }
        let choice = self.choices.pop().map_or_else(|| self.random(), u64::from);
        let chosen = ready[usize::try_from(choice % ready.len() as u64).unwrap()];
        self.threads[chosen] = Thread::Ready;
        self.running = chosen;
    }

    fn ready(&self) -> Vec<usize> {
        (0..self.threads.len()).filter(|index| self.is_ready(self.threads[*index])).collect()
    }
}

impl Host for Scheduled {
    type Bell = usize;

    fn bell(&self) -> usize {
        let mut state = self.lock();
        state.bells.push(0);
        state.bells.len() - 1
    }

    fn rings(&self, bell: &usize) -> u32 {
        self.lock().bells[*bell]
    }

    fn ring(&self, bell: &usize) {
        let mut state = self.lock();
        state.bells[*bell] = state.bells[*bell].wrapping_add(1);
        drop(state);
        self.pause();
    }

    fn wait(&self, bell: &usize, seen: u32, until: Option<Duration>) {
        // Between the look at the bell and the sleep others may run: what a lost ring needs.
        self.pause();
        self.block(Thread::Waiting { bell: Some((*bell, seen)), until });
    }

    fn now(&self) -> Duration {
        self.lock().now
    }

    fn sleep(&self, duration: Duration) {
        let until = self.now() + duration;
        self.block(Thread::Waiting { bell: None, until: Some(until) });
    }

    fn thread(&self) -> u64 {
        INDEX.get() as u64
    }
}

/// An engine at each of whose calls another thread may be chosen.
pub(crate) struct Pausing<'a, E>(pub(crate) &'a Scheduled, pub(crate) E);

impl<E: Engine> Engine for Pausing<'_, E> {
    type Session = E::Session;
    type Object<'o> = E::Object<'o>;
    type Id = E::Id;

    fn open(&self, options: SessionOptions) -> Result<E::Session, Status> {
        self.0.pause();
        self.1.open(options)
    }

    fn close(&self, session: E::Session) -> Result<(), Status> {
        self.0.pause();
        self.1.close(session)
    }

    fn begin(&self, session: &E::Session, access: Access) -> Result<(), Status> {
        self.0.pause();
        self.1.begin(session, access)
    }

    fn commit(&self, session: &E::Session) -> Result<(), Status> {
        self.0.pause();
        self.1.commit(session)
    }

    fn abort(&self, session: &E::Session) -> Result<(), Status> {
        self.0.pause();
        self.1.abort(session)
    }

    fn add(&self, session: &E::Session, object: E::Object<'_>) -> Result<E::Id, Status> {
        self.0.pause();
        self.1.add(session, object)
    }

    fn delete(&self, session: &E::Session, id: &E::Id) -> Result<(), Status> {
        self.0.pause();
        self.1.delete(session, id)
    }

    fn contains(&self, session: &E::Session, id: &E::Id) -> Result<bool, Status> {
        self.0.pause();
        self.1.contains(session, id)
    }
}
