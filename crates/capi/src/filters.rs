//! Filter transactions: one session for all threads, in the order in which they came.

use core::ffi::c_void;
use core::fmt;
use core::mem::MaybeUninit;

use wfp_txn::{Access, Config, Engine, Error, OperationError, Serialized, SessionOptions, Status, Strategy};

use crate::Answer;
use crate::os::{OsHost, OsMutex};

/// cbindgen:ignore
type Inner = Serialized<Calls, OsHost, OsMutex>;
/// cbindgen:ignore
type Open<'a> = wfp_txn::Transaction<'a, Calls>;

/// A session, shared by threads. Not to be moved or copied once it is made.
#[repr(C)]
#[derive(Debug)]
pub struct Filters {
    opaque: [u64; 80],
}

const _: () =
    assert!(size_of::<Inner>() <= size_of::<Filters>() && align_of::<Inner>() <= align_of::<Filters>());

/// An open transaction, for as long as the work lasts that is given it.
#[repr(C)]
#[derive(Debug)]
pub struct Transaction {
    opaque: [u8; 0],
}

/// The calls of the filter engine, each with `context`. They give the engine's status: 0 is success.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "C fills it in")]
pub struct EngineCalls {
    /// Given to each call.
    pub context: *mut c_void,
    /// Opens a session.
    pub open: extern "C" fn(context: *mut c_void, session: *mut u64) -> u32,
    /// Closes it; what is open in it is undone.
    pub close: extern "C" fn(context: *mut c_void, session: u64) -> u32,
    /// Begins a transaction.
    pub begin: extern "C" fn(context: *mut c_void, session: u64, read_only: bool) -> u32,
    /// Commits it.
    pub commit: extern "C" fn(context: *mut c_void, session: u64) -> u32,
    /// Aborts it.
    pub abort: extern "C" fn(context: *mut c_void, session: u64) -> u32,
    /// Adds an object, and gives what it is deleted by.
    pub add: extern "C" fn(context: *mut c_void, session: u64, object: *const c_void, id: *mut u64) -> u32,
    /// Deletes one.
    pub remove: extern "C" fn(context: *mut c_void, session: u64, id: u64) -> u32,
}

/// What is done in a transaction. It may be called again when the transaction is lost. 0 commits, anything else aborts.
pub type Work = extern "C" fn(argument: *mut c_void, transaction: *mut Transaction) -> u32;

/// Makes a session, which is opened when it is first needed.
///
/// # Safety
/// `filters` has room, `calls` can be read, and its functions may be called from any thread until `ebb_filters_destroy`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_filters_init(filters: *mut Filters, calls: *const EngineCalls) {
    // SAFETY: the caller's.
    let calls = unsafe { calls.read() };
    let place = filters.cast::<MaybeUninit<Inner>>();
    let made = MaybeUninit::new(Serialized::new(Calls(calls), OsHost, Config::new()));
    // SAFETY: room for a session, which is room for this.
    unsafe { place.write(made) };
}

/// Carries out a transaction: waits for those who came before, and tries again what passes. `Done`, or why not, with the status that says so in `status`.
///
/// # Safety
/// `filters` is made, `status` has room, and `work` may be called with `argument`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_filters_transact(
    filters: *const Filters,
    read_only: bool,
    work: Work,
    argument: *mut c_void,
    status: *mut u32,
) -> i32 {
    // SAFETY: the caller's; `ebb_filters_init` has written one there.
    let filters = unsafe { &*filters.cast::<Inner>() };
    let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
    let result = filters.transact(access, |transaction: &mut Open<'_>| {
        match work(argument, core::ptr::from_mut(transaction).cast()) {
            0 => Ok(()),
            refused => Err(refused),
        }
    });
    let (answer, said) = match result {
        Ok(()) => (Answer::Done, 0),
        Err(Error::Nested) => (Answer::Nested, 0),
        Err(Error::Refused(refused)) => (Answer::NotDone, refused),
        Err(error) => {
            let answer = if error.is_unknown() { Answer::Unknown } else { Answer::NotDone };
            (answer, error.status().map_or(0, Status::raw))
        }
    };
    // SAFETY: the caller's.
    unsafe { status.write(said) };
    answer as i32
}

/// Closes the session.
///
/// # Safety
/// `filters` is made, nobody uses it, and afterwards it is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_filters_destroy(filters: *mut Filters) {
    // SAFETY: the caller's.
    unsafe { filters.cast::<Inner>().drop_in_place() };
}

/// Adds an object. The engine's status; 1 when the transaction has ended, or was read-only.
///
/// # Safety
/// Within the work that was given the transaction; `object` is what the engine's `add` takes, `id` has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_transaction_add(
    transaction: *mut Transaction,
    object: *const c_void,
    id: *mut u64,
) -> u32 {
    // SAFETY: the caller's.
    let transaction = unsafe { &mut *transaction.cast::<Open<'_>>() };
    match transaction.add(object) {
        Ok(added) => {
            // SAFETY: the caller's.
            unsafe { id.write(added) };
            0
        }
        Err(error) => raw(&error),
    }
}

/// Deletes an object. The engine's status; 1 when the transaction has ended, or was read-only.
///
/// # Safety
/// Within the work that was given the transaction.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ebb_transaction_delete(transaction: *mut Transaction, id: u64) -> u32 {
    // SAFETY: the caller's.
    let transaction = unsafe { &mut *transaction.cast::<Open<'_>>() };
    transaction.delete(&id).map_or_else(|error| raw(&error), |()| 0)
}

fn raw(error: &OperationError) -> u32 {
    error.status().map_or(1, Status::raw)
}

/// The engine in C.
struct Calls(EngineCalls);

// SAFETY: `ebb_filters_init` was promised that the calls may be made from any thread.
unsafe impl Send for Calls {}
// SAFETY: as above.
unsafe impl Sync for Calls {}

impl Engine for Calls {
    type Session = u64;
    type Object<'o> = *const c_void;
    type Id = u64;

    fn open(&self, _: SessionOptions) -> Result<u64, Status> {
        let mut session = 0;
        result((self.0.open)(self.0.context, &mut session)).map(|()| session)
    }

    fn close(&self, session: u64) -> Result<(), Status> {
        result((self.0.close)(self.0.context, session))
    }

    fn begin(&self, session: &u64, access: Access) -> Result<(), Status> {
        result((self.0.begin)(self.0.context, *session, access == Access::ReadOnly))
    }

    fn commit(&self, session: &u64) -> Result<(), Status> {
        result((self.0.commit)(self.0.context, *session))
    }

    fn abort(&self, session: &u64) -> Result<(), Status> {
        result((self.0.abort)(self.0.context, *session))
    }

    fn add(&self, session: &u64, object: *const c_void) -> Result<u64, Status> {
        let mut id = 0;
        result((self.0.add)(self.0.context, *session, object, &mut id)).map(|()| id)
    }

    fn delete(&self, session: &u64, id: &u64) -> Result<(), Status> {
        result((self.0.remove)(self.0.context, *session, *id))
    }

    /// C asks its engine itself.
    fn contains(&self, _: &u64, _: &u64) -> Result<bool, Status> {
        Ok(false)
    }
}

fn result(status: u32) -> Result<(), Status> {
    if status == 0 { Ok(()) } else { Err(Status::new(status)) }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calls")
    }
}
