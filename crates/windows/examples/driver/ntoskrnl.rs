//! The names of the kernel that the driver needs.

use core::ffi::c_void;

/// `MDL`, and behind it the numbers of its pages.
#[repr(C)]
pub(crate) struct Mdl {
    pub(crate) next: *mut Mdl,
    pub(crate) size: i16,
    pub(crate) flags: i16,
    pub(crate) processor: [u16; 2],
    pub(crate) process: *mut c_void,
    pub(crate) mapped: *mut c_void,
    pub(crate) start: *mut c_void,
    pub(crate) bytes: u32,
    pub(crate) offset: u32,
}

const _: () = assert!(size_of::<Mdl>() == 48, "as in wdm.h, for 64 bits");

pub(crate) const MDL_PAGES_LOCKED: i16 = 2;
pub(crate) const MM_CACHED: i32 = 1;
pub(crate) const MM_ALLOCATE_FULLY_REQUIRED: u32 = 4;
/// `NormalPagePriority | MdlMappingNoExecute`
pub(crate) const PRIORITY: u32 = 16 | 0x4000_0000;
/// `POOL_FLAG_NON_PAGED`; what it gives is zero.
pub(crate) const NON_PAGED: u64 = 0x40;
pub(crate) const TAG: u32 = u32::from_le_bytes(*b"ebbR");

#[link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    pub(crate) fn ExAllocatePool2(flags: u64, bytes: usize, tag: u32) -> *mut c_void;
    pub(crate) fn ExFreePoolWithTag(memory: *mut c_void, tag: u32);
    pub(crate) fn ExAcquirePushLockExclusiveEx(lock: *mut usize, flags: u32);
    pub(crate) fn ExReleasePushLockExclusiveEx(lock: *mut usize, flags: u32);
    pub(crate) fn ExTryToAcquirePushLockExclusiveEx(lock: *mut usize, flags: u32) -> u8;
    pub(crate) fn IoAllocateMdl(
        address: *mut c_void,
        bytes: u32,
        secondary: u8,
        charge: u8,
        irp: *mut c_void,
    ) -> *mut Mdl;
    pub(crate) fn IoFreeMdl(mdl: *mut Mdl);
    #[cfg(panic = "abort")]
    pub(crate) fn KeBugCheckEx(code: u32, a: usize, b: usize, c: usize, d: usize) -> !;
    pub(crate) fn KeDelayExecutionThread(wait_mode: i8, alertable: u8, interval: *const i64) -> i32;
    pub(crate) fn KeEnterCriticalRegion();
    pub(crate) fn KeLeaveCriticalRegion();
    pub(crate) fn KeQueryInterruptTimePrecise(performance_counter: *mut u64) -> u64;
    pub(crate) fn KeSetEvent(event: *mut c_void, increment: i32, wait: u8) -> i32;
    pub(crate) fn MmAllocatePagesForMdlEx(
        low: i64,
        high: i64,
        skip: i64,
        bytes: usize,
        cache: i32,
        flags: u32,
    ) -> *mut Mdl;
    pub(crate) fn MmFreePagesFromMdl(mdl: *mut Mdl);
    pub(crate) fn MmMapLockedPagesSpecifyCache(
        mdl: *mut Mdl,
        mode: i8,
        cache: i32,
        address: *mut c_void,
        bug_check: u32,
        priority: u32,
    ) -> *mut c_void;
    pub(crate) fn MmUnmapLockedPages(address: *mut c_void, mdl: *mut Mdl);
    pub(crate) fn PsGetCurrentThreadId() -> *mut c_void;
}

// What the compiler calls by itself. The kernel has them; nothing but this makes the linker know where.
#[link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    pub(crate) fn memcpy(to: *mut c_void, from: *const c_void, bytes: usize) -> *mut c_void;
    pub(crate) fn memset(to: *mut c_void, byte: i32, bytes: usize) -> *mut c_void;
    pub(crate) fn memmove(to: *mut c_void, from: *const c_void, bytes: usize) -> *mut c_void;
    pub(crate) fn memcmp(one: *const c_void, other: *const c_void, bytes: usize) -> i32;
}
