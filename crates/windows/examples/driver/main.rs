//! A driver: a ring that processes map, as eBPF for Windows lays it out, and filters attached in transactions.
//!
//! Compiled and linked into a `.sys` file without Windows (`cargo xtask embed windows`), which has to import nothing but names of the kernel, and no way to
//! stop it with a bug check: a panic would be one. **Nobody has loaded it**: the project has no Windows. What of it needs no kernel,
//! the ring of `ring.rs`, runs under Wine in `mapping.rs`.
#![no_std]
#![cfg(windows)]
#![allow(missing_docs, reason = "an example")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "of constants: nothing is left of it at run time"
)]

mod filters;
mod lock;
mod memory;
mod ntoskrnl;
mod ring;

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

pub use filters::Attached;
use filters::{Filters, attach, detach, filters};
use memory::Pages;
use ring::KernelSide;

/// What the driver has while it is loaded.
struct State {
    /// Before `_pages`, which it is in.
    ring: KernelSide,
    filters: Filters,
    /// The event of whoever waits for records: an object that is referenced as long as it stands here.
    event: AtomicPtr<c_void>,
    _pages: Pages,
}

static STATE: AtomicPtr<State> = AtomicPtr::new(ptr::null_mut());

const STATUS_SUCCESS: i32 = 0;
const STATUS_INSUFFICIENT_RESOURCES: i32 = 0xC000_009A_u32.cast_signed();

/// `DRIVER_OBJECT` up to what is filled in here.
#[repr(C)]
pub struct DriverObject {
    kind: [i16; 2],
    pointers: [*mut c_void; 12],
    unload: Option<unsafe extern "system" fn(*mut DriverObject)>,
}

const _: () = assert!(core::mem::offset_of!(DriverObject, unload) == 0x68, "as in wdm.h, for 64 bits");

/// # Safety
/// Called by the system.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn DriverEntry(driver: *mut DriverObject, _registry: *mut c_void) -> i32 {
    // SAFETY: the system's object.
    unsafe { (*driver).unload = Some(unload) };
    // SAFETY: callable here; what it gives is freed in `unload`.
    let place = unsafe { ntoskrnl::ExAllocatePool2(ntoskrnl::NON_PAGED, size_of::<State>(), ntoskrnl::TAG) };
    let place = place.cast::<State>();
    let made = Pages::allocate().and_then(|pages| {
        // SAFETY: once; both go into the same state.
        let ring = unsafe { pages.producer() }?;
        Some(State { ring, filters: filters(), event: AtomicPtr::new(ptr::null_mut()), _pages: pages })
    });
    let (false, Some(state)) = (place.is_null(), made) else {
        if !place.is_null() {
            // SAFETY: allocated above.
            unsafe { ntoskrnl::ExFreePoolWithTag(place.cast(), ntoskrnl::TAG) };
        }
        return STATUS_INSUFFICIENT_RESOURCES;
    };
    // SAFETY: allocated above, as large as it has to be, and aligned as pools are.
    unsafe { place.write(state) };
    // Release: pairs with the Acquire of whoever uses it.
    STATE.store(place, Ordering::Release);
    STATUS_SUCCESS
}

unsafe extern "system" fn unload(_: *mut DriverObject) {
    // Acquire: pairs with the Release in `DriverEntry`.
    let state = STATE.swap(ptr::null_mut(), Ordering::Acquire);
    if !state.is_null() {
        // SAFETY: callouts are unregistered before a driver is unloaded: nobody uses it any more. The ring goes before its pages.
        unsafe { state.drop_in_place() };
        // SAFETY: allocated in `DriverEntry`.
        unsafe { ntoskrnl::ExFreePoolWithTag(state.cast(), ntoskrnl::TAG) };
    }
}

/// What a callout does with a connection it has classified, at `DISPATCH_LEVEL`: one record. 0 if there was no space.
///
/// # Safety
/// `payload` is valid for reads of `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn EbbEmit(payload: *const u8, length: usize) -> u8 {
    // SAFETY: once made it is there until the driver is unloaded.
    let Some(state) = (unsafe { STATE.load(Ordering::Acquire).as_ref() }) else { return 0 };
    // SAFETY: the caller's.
    let payload = unsafe { core::slice::from_raw_parts(payload, length) };
    let wake = || {
        // Acquire: whoever put the event there has referenced it before.
        let event = state.event.load(Ordering::Acquire);
        if !event.is_null() {
            // SAFETY: an event, referenced.
            unsafe { ntoskrnl::KeSetEvent(event, 0, 0) };
        }
    };
    ring::emit(&state.ring, payload, wake).is_ok().into()
}

/// Attaches a pair of filters, or neither; the status of what failed.
///
/// # Safety
/// The filters are what `FwpmFilterAdd0` takes; `attached` has room. At `PASSIVE_LEVEL`.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn EbbAttach(
    v4: *const windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::FWPM_FILTER0,
    v6: *const windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::FWPM_FILTER0,
    attached: *mut Attached,
) -> i32 {
    // SAFETY: as in `EbbEmit`.
    let Some(state) = (unsafe { STATE.load(Ordering::Acquire).as_ref() }) else {
        return STATUS_INSUFFICIENT_RESOURCES;
    };
    // SAFETY: the caller's.
    let v4 = unsafe { &*v4 };
    // SAFETY: the caller's.
    let v6 = unsafe { &*v6 };
    // SAFETY: the caller's.
    match unsafe { attach(&state.filters, v4, v6) } {
        Ok(ids) => {
            // SAFETY: the caller's.
            unsafe { attached.write(ids) };
            STATUS_SUCCESS
        }
        Err(error) => {
            error.status().map_or(STATUS_INSUFFICIENT_RESOURCES, |status| status.raw().cast_signed())
        }
    }
}

/// Detaches a pair of filters, or neither.
///
/// # Safety
/// `attached` is what `EbbAttach` gave. At `PASSIVE_LEVEL`.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn EbbDetach(attached: *const Attached) -> i32 {
    // SAFETY: as in `EbbEmit`.
    let Some(state) = (unsafe { STATE.load(Ordering::Acquire).as_ref() }) else { return STATUS_SUCCESS };
    // SAFETY: the caller's.
    let attached = unsafe { &*attached };
    match detach(&state.filters, attached) {
        Ok(()) => STATUS_SUCCESS,
        Err(error) => {
            error.status().map_or(STATUS_INSUFFICIENT_RESOURCES, |status| status.raw().cast_signed())
        }
    }
}

/// For a linker that wants to know that they are used.
#[unsafe(no_mangle)]
pub static EBB_COMPILERS_OWN: Own = Own([
    ntoskrnl::memcpy as *const c_void,
    ntoskrnl::memset as *const c_void,
    ntoskrnl::memmove as *const c_void,
    ntoskrnl::memcmp as *const c_void,
]);

#[repr(transparent)]
pub struct Own([*const c_void; 4]);

// SAFETY: addresses of functions.
unsafe impl Sync for Own {}

/// Never reached, which the linked driver shows: it does not import this. Only as a driver is built: libraries that are checked for unwinding have the
/// standard library's.
#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: callable at any IRQL.
    unsafe { ntoskrnl::KeBugCheckEx(0xE1BF, 0, 0, 0, 0) }
}
