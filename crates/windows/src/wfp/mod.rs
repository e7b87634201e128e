//! The filter engine: one implementation over the two sides' calls, which differ in nothing but their form of status.

#[cfg(feature = "kernel")]
pub(crate) mod kernel;
mod user;

use core::fmt;
use core::marker::PhantomData;
use core::ptr;

use wfp_txn::{Access, Call, Class, Engine, Lifetime, SessionOptions, Status};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWPM_CALLOUT0, FWPM_FILTER0, FWPM_PROVIDER0, FWPM_SESSION_FLAG_DYNAMIC, FWPM_SESSION0, FWPM_SUBLAYER0,
    FWPM_TXN_READ_ONLY,
};
use windows_sys::core::GUID;

pub use user::UserMode;

/// The calls of one side. A status of 0 is success.
///
/// # Safety
/// Each method makes the call that it is named after, and returns its status.
#[expect(clippy::missing_safety_doc, reason = "their contracts are the calls' own")]
#[expect(missing_docs, reason = "each is named after its call")]
pub unsafe trait Calls {
    unsafe fn engine_open(session: *const FWPM_SESSION0, handle: *mut HANDLE) -> u32;
    unsafe fn engine_close(handle: HANDLE) -> u32;
    unsafe fn transaction_begin(handle: HANDLE, flags: u32) -> u32;
    unsafe fn transaction_commit(handle: HANDLE) -> u32;
    unsafe fn transaction_abort(handle: HANDLE) -> u32;
    unsafe fn provider_add(handle: HANDLE, provider: *const FWPM_PROVIDER0) -> u32;
    unsafe fn provider_delete(handle: HANDLE, key: *const GUID) -> u32;
    unsafe fn provider_get(handle: HANDLE, key: *const GUID, found: *mut *mut FWPM_PROVIDER0) -> u32;
    unsafe fn sublayer_add(handle: HANDLE, sublayer: *const FWPM_SUBLAYER0) -> u32;
    unsafe fn sublayer_delete(handle: HANDLE, key: *const GUID) -> u32;
    unsafe fn sublayer_get(handle: HANDLE, key: *const GUID, found: *mut *mut FWPM_SUBLAYER0) -> u32;
    unsafe fn callout_add(handle: HANDLE, callout: *const FWPM_CALLOUT0, id: *mut u32) -> u32;
    unsafe fn callout_delete(handle: HANDLE, key: *const GUID) -> u32;
    unsafe fn callout_get(handle: HANDLE, key: *const GUID, found: *mut *mut FWPM_CALLOUT0) -> u32;
    unsafe fn filter_add(handle: HANDLE, filter: *const FWPM_FILTER0, id: *mut u64) -> u32;
    unsafe fn filter_delete(handle: HANDLE, id: u64) -> u32;
    unsafe fn filter_get(handle: HANDLE, id: u64, found: *mut *mut FWPM_FILTER0) -> u32;
    unsafe fn free_memory(memory: *mut *mut core::ffi::c_void);
}

/// The calls of [`Calls`] out of a module with functions under their own names.
macro_rules! calls {
    ($side:ty, $status:ident, $module:path) => {
        // SAFETY: each calls what it is named after.
        unsafe impl crate::wfp::Calls for $side {
            unsafe fn engine_open(session: *const FWPM_SESSION0, handle: *mut HANDLE) -> u32 {
                use $module as engine;
                // SAFETY: the caller's.
                $status(unsafe { engine::FwpmEngineOpen0(ptr::null(), AUTHENTICATION, ptr::null(), session, handle) })
            }
            $crate::wfp::calls!(@each $status, $module,
                engine_close = FwpmEngineClose0(handle: HANDLE);
                transaction_begin = FwpmTransactionBegin0(handle: HANDLE, flags: u32);
                transaction_commit = FwpmTransactionCommit0(handle: HANDLE);
                transaction_abort = FwpmTransactionAbort0(handle: HANDLE);
                provider_add = FwpmProviderAdd0(handle: HANDLE, provider: *const FWPM_PROVIDER0; ptr::null_mut());
                provider_delete = FwpmProviderDeleteByKey0(handle: HANDLE, key: *const GUID);
                provider_get = FwpmProviderGetByKey0(handle: HANDLE, key: *const GUID, found: *mut *mut FWPM_PROVIDER0);
                sublayer_add = FwpmSubLayerAdd0(handle: HANDLE, sublayer: *const FWPM_SUBLAYER0; ptr::null_mut());
                sublayer_delete = FwpmSubLayerDeleteByKey0(handle: HANDLE, key: *const GUID);
                sublayer_get = FwpmSubLayerGetByKey0(handle: HANDLE, key: *const GUID, found: *mut *mut FWPM_SUBLAYER0);
                callout_add = FwpmCalloutAdd0(handle: HANDLE, callout: *const FWPM_CALLOUT0; ptr::null_mut(); id: *mut u32);
                callout_delete = FwpmCalloutDeleteByKey0(handle: HANDLE, key: *const GUID);
                callout_get = FwpmCalloutGetByKey0(handle: HANDLE, key: *const GUID, found: *mut *mut FWPM_CALLOUT0);
                filter_add = FwpmFilterAdd0(handle: HANDLE, filter: *const FWPM_FILTER0; ptr::null_mut(); id: *mut u64);
                filter_delete = FwpmFilterDeleteById0(handle: HANDLE, id: u64);
                filter_get = FwpmFilterGetById0(handle: HANDLE, id: u64, found: *mut *mut FWPM_FILTER0);
            );
            unsafe fn free_memory(memory: *mut *mut core::ffi::c_void) {
                use $module as engine;
                // SAFETY: the caller's.
                unsafe { engine::FwpmFreeMemory0(memory) }
            }
        }
    };
    // What stands between the semicolons is the security descriptor: none.
    (@each $status:ident, $module:path, $($name:ident = $call:ident($($argument:ident: $type:ty),* $(; $none:expr $(; $last:ident: $last_type:ty)?)?);)*) => {
        $(unsafe fn $name($($argument: $type,)* $($($last: $last_type)?)?) -> u32 {
            use $module as engine;
            // SAFETY: the caller's.
            $status(unsafe { engine::$call($($argument,)* $($none, $($last)?)?) })
        })*
    };
}
pub(crate) use calls;

/// `RPC_C_AUTHN_WINNT`
pub(crate) const AUTHENTICATION: u32 = 10;

/// The filter engine of this machine, in one of its two forms.
pub struct Wfp<C>(PhantomData<fn() -> C>);

impl<C: Calls> Wfp<C> {
    /// The engine. Nothing is opened.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<C: Calls> Default for Wfp<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> fmt::Debug for Wfp<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wfp")
    }
}

/// An engine handle. [`Engine::close`] closes it; one that is dropped otherwise stays open until the process ends.
#[derive(Clone, Debug)]
pub struct Session(HANDLE);

// SAFETY: an engine handle belongs to the process, and its calls may come from any thread.
unsafe impl Send for Session {}
// SAFETY: as above; calls that get in each other's way fail with a status.
unsafe impl Sync for Session {}

impl Session {
    /// The handle, for calls that this crate does not make: see [`wfp_txn::Transaction::write`].
    #[must_use]
    pub const fn handle(&self) -> HANDLE {
        self.0
    }
}

/// A description of an object to add.
#[derive(Clone, Copy)]
pub struct Object<'o>(Description<'o>);

#[derive(Clone, Copy)]
enum Description<'o> {
    Callout(&'o FWPM_CALLOUT0),
    Filter(&'o FWPM_FILTER0),
    Provider(&'o FWPM_PROVIDER0),
    Sublayer(&'o FWPM_SUBLAYER0),
}

impl<'o> Object<'o> {
    /// A callout.
    ///
    /// # Safety
    /// Every pointer in it is null or valid while this exists.
    #[must_use]
    pub const unsafe fn callout(callout: &'o FWPM_CALLOUT0) -> Self {
        Self(Description::Callout(callout))
    }

    /// A filter.
    ///
    /// # Safety
    /// Every pointer in it, and in what it points to, is null or valid while this exists.
    #[must_use]
    pub const unsafe fn filter(filter: &'o FWPM_FILTER0) -> Self {
        Self(Description::Filter(filter))
    }

    /// A provider.
    ///
    /// # Safety
    /// Every pointer in it is null or valid while this exists.
    #[must_use]
    pub const unsafe fn provider(provider: &'o FWPM_PROVIDER0) -> Self {
        Self(Description::Provider(provider))
    }

    /// A sublayer.
    ///
    /// # Safety
    /// Every pointer in it is null or valid while this exists.
    #[must_use]
    pub const unsafe fn sublayer(sublayer: &'o FWPM_SUBLAYER0) -> Self {
        Self(Description::Sublayer(sublayer))
    }
}

impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Description::Callout(_) => "Callout",
            Description::Filter(_) => "Filter",
            Description::Provider(_) => "Provider",
            Description::Sublayer(_) => "Sublayer",
        })
    }
}

/// What an object is found and deleted by.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Id {
    /// A callout, by its key.
    Callout(GUID),
    /// A filter, by the number the engine gave it.
    Filter(u64),
    /// A provider, by its key.
    Provider(GUID),
    /// A sublayer, by its key.
    Sublayer(GUID),
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, key) = match self {
            Self::Filter(id) => return write!(f, "Filter({id})"),
            Self::Callout(key) => ("Callout", key),
            Self::Provider(key) => ("Provider", key),
            Self::Sublayer(key) => ("Sublayer", key),
        };
        write!(f, "{kind}({:08x}-{:04x}-{:04x}-{:02x?})", key.data1, key.data2, key.data3, key.data4)
    }
}

fn status(raw: u32) -> Result<(), Status> {
    if raw == 0 { Ok(()) } else { Err(Status::new(raw)) }
}

impl<C: Calls> Engine for Wfp<C> {
    type Session = Session;
    type Object<'o> = Object<'o>;
    type Id = Id;

    fn open(&self, options: SessionOptions) -> Result<Session, Status> {
        let session = FWPM_SESSION0 {
            flags: match options.lifetime {
                Lifetime::Dynamic => FWPM_SESSION_FLAG_DYNAMIC,
                Lifetime::Static => 0,
            },
            // 0 stands for the engine's default; a time-out below a millisecond is not that.
            txnWaitTimeoutInMSec: options
                .begin_timeout
                .map_or(0, |timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1)),
            ..FWPM_SESSION0::default()
        };
        let mut handle = ptr::null_mut();
        // SAFETY: both pointers are valid for the call; the other fields of the description are zero, which means not given.
        status(unsafe { C::engine_open(&session, &mut handle) })?;
        Ok(Session(handle))
    }

    fn close(&self, session: Session) -> Result<(), Status> {
        // SAFETY: a handle that was opened. What is called on a closed one fails with a status.
        status(unsafe { C::engine_close(session.0) })
    }

    fn begin(&self, session: &Session, access: Access) -> Result<(), Status> {
        let flags = match access {
            Access::ReadOnly => FWPM_TXN_READ_ONLY,
            Access::ReadWrite => 0,
        };
        // SAFETY: a handle that was opened.
        status(unsafe { C::transaction_begin(session.0, flags) })
    }

    fn commit(&self, session: &Session) -> Result<(), Status> {
        // SAFETY: a handle that was opened.
        status(unsafe { C::transaction_commit(session.0) })
    }

    fn abort(&self, session: &Session) -> Result<(), Status> {
        // SAFETY: a handle that was opened.
        status(unsafe { C::transaction_abort(session.0) })
    }

    fn add(&self, session: &Session, object: Object<'_>) -> Result<Id, Status> {
        match object.0 {
            Description::Callout(callout) => {
                // SAFETY: a handle that was opened; the description is valid by the contract of `Object`; the number is not asked for.
                status(unsafe { C::callout_add(session.0, callout, ptr::null_mut()) })?;
                Ok(Id::Callout(callout.calloutKey))
            }
            Description::Filter(filter) => {
                let mut id = 0;
                // SAFETY: as above; the number has room.
                status(unsafe { C::filter_add(session.0, filter, &mut id) })?;
                Ok(Id::Filter(id))
            }
            Description::Provider(provider) => {
                // SAFETY: as above.
                status(unsafe { C::provider_add(session.0, provider) })?;
                Ok(Id::Provider(provider.providerKey))
            }
            Description::Sublayer(sublayer) => {
                // SAFETY: as above.
                status(unsafe { C::sublayer_add(session.0, sublayer) })?;
                Ok(Id::Sublayer(sublayer.subLayerKey))
            }
        }
    }

    fn delete(&self, session: &Session, id: &Id) -> Result<(), Status> {
        let handle = session.0;
        status(match id {
            // SAFETY: a handle that was opened, and a key.
            Id::Callout(key) => unsafe { C::callout_delete(handle, key) },
            // SAFETY: as above.
            Id::Filter(id) => unsafe { C::filter_delete(handle, *id) },
            // SAFETY: as above.
            Id::Provider(key) => unsafe { C::provider_delete(handle, key) },
            // SAFETY: as above.
            Id::Sublayer(key) => unsafe { C::sublayer_delete(handle, key) },
        })
    }

    fn contains(&self, session: &Session, id: &Id) -> Result<bool, Status> {
        let handle = session.0;
        match id {
            // SAFETY: a handle that was opened, a key, and room for what is found.
            Id::Callout(key) => found::<C, _>(|at| unsafe { C::callout_get(handle, key, at) }),
            // SAFETY: as above.
            Id::Filter(id) => found::<C, _>(|at| unsafe { C::filter_get(handle, *id, at) }),
            // SAFETY: as above.
            Id::Provider(key) => found::<C, _>(|at| unsafe { C::provider_get(handle, key, at) }),
            // SAFETY: as above.
            Id::Sublayer(key) => found::<C, _>(|at| unsafe { C::sublayer_get(handle, key, at) }),
        }
    }
}

/// Makes a call that looks for an object, and gives back the memory it found it in.
fn found<C: Calls, T>(get: impl FnOnce(*mut *mut T) -> u32) -> Result<bool, Status> {
    let mut object = ptr::null_mut();
    match status(get(&mut object)) {
        Ok(()) => {
            // SAFETY: what the engine allocated, once.
            unsafe { C::free_memory((&raw mut object).cast()) };
            Ok(true)
        }
        // The code that a deletion would take for success says that there is none.
        Err(status) if status.class(Call::Delete) == Class::AlreadySo => Ok(false),
        Err(status) => Err(status),
    }
}
