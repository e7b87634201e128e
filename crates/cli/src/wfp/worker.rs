//! One thread of the stress run: load, attach, invoke, detach, unload.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ebpf_loader::{Instruction, Object as ObjectFile};
use ebpf_vm::{Vm, VmProgram};
use wfp_txn::model::{Key, Kind, Object, ObjectId};
use wfp_txn::{Access, Error, OperationError, Status, Transaction};

use super::strategy::{Any, Engine};

/// Two programs, one for each family.
const CONNECT: &[u8] = include_bytes!("../../programs/connect.bpf.o");

/// What the threads share. Counters: nothing is read on their account before the threads have ended.
pub(super) struct Stage {
    pub(super) engine: &'static Engine,
    pub(super) strategy: Any,
    pub(super) delay: Duration,
    pub(super) started: Instant,
    pub(super) over: AtomicBool,
    pub(super) tally: Tally,
}

#[derive(Default)]
pub(super) struct Tally {
    pub(super) attached: AtomicU64,
    pub(super) attach_failed: AtomicU64,
    pub(super) detached: AtomicU64,
    pub(super) detach_failed: AtomicU64,
    pub(super) invoked: AtomicU64,
    pub(super) invoke_failed: AtomicU64,
    pub(super) load_failed: AtomicU64,
    /// Looks at the filters of an attached program that found only some of them.
    pub(super) torn: AtomicU64,
    /// Commits whose answer was lost, and which were found out about.
    pub(super) looked_up: AtomicU64,
    pub(super) longest_us: AtomicU64,
    pub(super) first_failure: Mutex<Option<FirstFailure>>,
}

#[derive(Clone)]
pub(super) struct FirstFailure {
    pub(super) during: &'static str,
    pub(super) after: Duration,
    pub(super) status: Option<Status>,
    pub(super) message: String,
}

/// An address family and what there is for it.
struct Family {
    program: &'static str,
    other: &'static str,
    callout: u64,
}

const FAMILIES: [Family; 2] = [
    Family { program: "connect4", other: "connect6", callout: 4 },
    Family { program: "connect6", other: "connect4", callout: 6 },
];

const PROVIDER: ObjectId = ObjectId { kind: Kind::Provider, key: Key(1) };
const SUBLAYER: ObjectId = ObjectId { kind: Kind::Sublayer, key: Key(2) };

impl Stage {
    /// Goes round until it is told that it is over.
    pub(super) fn work(&self, thread: u64) {
        let [four, six] = &FAMILIES;
        let family = if thread.is_multiple_of(2) { four } else { six };
        let mut round: u64 = 0;
        while !self.over.load(Ordering::Acquire) {
            round = round.wrapping_add(1);
            self.round(family, thread.wrapping_shl(40) | round.wrapping_shl(1));
        }
    }

    fn round(&self, family: &Family, first_key: u64) {
        let loaded = load_and_run(family, |program| {
            let filters = [first_key, first_key.wrapping_add(1)].map(|key| filter(family, key));
            if !self.attach(family, &filters) {
                std::thread::sleep(self.delay);
                return;
            }
            self.look(&filters);
            self.invoke(program);
            std::thread::sleep(self.delay);
            self.detach(&filters);
        });
        if let Err(message) = loaded {
            self.tally.load_failed.fetch_add(1, Ordering::Relaxed);
            self.failed("load", None, message);
        }
    }

    /// All filters of a program, and what they need, in one transaction.
    fn attach(&self, family: &Family, filters: &[Object; 2]) -> bool {
        let [provider, sublayer, callout] = base(family);
        let attached = self.definitely(filters, true, |transaction| {
            for object in [&provider, &sublayer, &callout] {
                // There already, unless the engine was restarted.
                if !transaction.contains(&object.id)? {
                    transaction.add(object)?;
                }
            }
            for filter in filters {
                transaction.add(filter)?;
            }
            Ok(())
        });
        self.count(attached, "attach", &self.tally.attached, &self.tally.attach_failed)
    }

    /// All of them or none. That they are gone already, with the engine, is what was wanted.
    fn detach(&self, filters: &[Object; 2]) -> bool {
        let detached = self.definitely(filters, false, |transaction| {
            for filter in filters {
                transaction.remove(&filter.id)?;
            }
            Ok(())
        });
        self.count(detached, "detach", &self.tally.detached, &self.tally.detach_failed)
    }

    /// Carries out a transaction; when the answer to its commit is lost, looks whether its filters are there, and does it again if it was not done.
    fn definitely(
        &self,
        filters: &[Object; 2],
        wanted: bool,
        work: impl Fn(&mut Transaction<'_, &'static Engine>) -> Result<(), OperationError>,
    ) -> Result<(), Error<OperationError>> {
        loop {
            let started = Instant::now();
            let done = self.strategy.transact(Access::ReadWrite, &work);
            let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.tally.longest_us.fetch_max(took, Ordering::Relaxed);
            if !matches!(done, Err(Error::Unknown { .. })) {
                return done;
            }
            self.tally.looked_up.fetch_add(1, Ordering::Relaxed);
            if self.are_there(filters)?.into_iter().all(|there| there == wanted) {
                return Ok(());
            }
        }
    }

    fn are_there(&self, filters: &[Object; 2]) -> Result<[bool; 2], Error<OperationError>> {
        let [first, second] = filters;
        self.strategy.transact(Access::ReadOnly, |transaction| {
            Ok([transaction.contains(&first.id)?, transaction.contains(&second.id)?])
        })
    }

    /// Of two filters that are added and deleted together, nobody ever sees one.
    fn look(&self, filters: &[Object; 2]) {
        match self.are_there(filters) {
            Ok([first, second]) if first != second => {
                self.tally.torn.fetch_add(1, Ordering::Relaxed);
                self.failed("look", None, "one of two filters is there".to_owned());
            }
            // A handle that is shared fails here too; attaching is what is counted.
            Ok(_) | Err(_) => {}
        }
    }

    /// One connection that is allowed, and one that is not.
    fn invoke(&self, program: &VmProgram) {
        for (port, expected) in [(443u16, 1), (9, 0)] {
            // struct bpf_sock_addr: the port stands at 24, in network byte order.
            let mut context = [0u8; 72];
            if let Some(at) = context.get_mut(24..26) {
                at.copy_from_slice(&port.to_be_bytes());
            }
            let ran = program.run(&mut context);
            if ran.is_ok_and(|outcome| outcome.return_value == expected) {
                self.tally.invoked.fetch_add(1, Ordering::Relaxed);
            } else {
                self.tally.invoke_failed.fetch_add(1, Ordering::Relaxed);
                self.failed("invoke", None, format!("port {port}: {ran:?}"));
            }
        }
    }

    fn count(
        &self,
        result: Result<(), Error<OperationError>>,
        during: &'static str,
        good: &AtomicU64,
        bad: &AtomicU64,
    ) -> bool {
        match result {
            Ok(()) => {
                good.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(error) => {
                bad.fetch_add(1, Ordering::Relaxed);
                let status = match &error {
                    Error::Refused(refused) => refused.status(),
                    error => error.status(),
                };
                self.failed(during, status, error.to_string());
                false
            }
        }
    }

    fn failed(&self, during: &'static str, status: Option<Status>, message: String) {
        let mut first = self.tally.first_failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| FirstFailure { during, after: self.started.elapsed(), status, message });
    }
}

/// Loads one of the two programs onto a machine of its own; it is unloaded on return.
fn load_and_run(family: &Family, run: impl FnOnce(&VmProgram)) -> Result<(), String> {
    let object: ObjectFile<'_, 8, 8> =
        ObjectFile::open_named("connect.bpf.o", CONNECT).map_err(|error| error.to_string())?;
    object.set_autoload(family.other, false).map_err(|error| error.to_string())?;
    let len = object.scratch_len().map_err(|error| error.to_string())?;
    let (machine, mut scratch) = (Vm::new(), vec![Instruction::default(); len]);
    let mut loaded = object.on(&machine);
    loaded.load(&mut scratch).map_err(|error| error.to_string())?;
    let program = loaded.program(family.program).ok_or("the object lost a program")?;
    run(program);
    Ok(())
}

/// What the filters of a family refer to.
fn base(family: &Family) -> [Object; 3] {
    [
        Object::new(PROVIDER.kind, PROVIDER.key),
        Object::new(SUBLAYER.kind, SUBLAYER.key).referring_to(PROVIDER),
        Object::new(Kind::Callout, Key(family.callout)).referring_to(PROVIDER),
    ]
}

fn filter(family: &Family, key: u64) -> Object {
    let callout = ObjectId { kind: Kind::Callout, key: Key(family.callout) };
    Object::new(Kind::Filter, Key(key)).referring_to(SUBLAYER).referring_to(callout)
}
