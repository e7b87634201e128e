//! The calls of the kernel: `fwpkclnt.sys`, under the same names, with an NTSTATUS.

use core::ffi::c_void;
use core::ptr;

use windows_sys::Win32::Foundation::{HANDLE, NTSTATUS};
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWPM_CALLOUT0, FWPM_FILTER0, FWPM_PROVIDER0, FWPM_SESSION0, FWPM_SUBLAYER0,
};
use windows_sys::core::GUID;

use super::{AUTHENTICATION, calls};

/// `fwpkclnt.sys`: statuses are NTSTATUS and `STATUS_FWP_*`. `PASSIVE_LEVEL` only.
#[derive(Debug)]
#[non_exhaustive]
pub struct KernelMode;

calls!(KernelMode, from_ntstatus, self::fwpkclnt);

const fn from_ntstatus(status: NTSTATUS) -> u32 {
    status.cast_unsigned()
}

/// `fwpmk.h`. The structures are those of user mode (`fwpmtypes.h` is shared).
mod fwpkclnt {
    use super::*;

    #[link(name = "fwpkclnt.sys", kind = "raw-dylib", modifiers = "+verbatim")]
    unsafe extern "system" {
        pub(super) fn FwpmEngineOpen0(
            server_name: *const u16,
            authn_service: u32,
            auth_identity: *const c_void,
            session: *const FWPM_SESSION0,
            engine_handle: *mut HANDLE,
        ) -> NTSTATUS;
        pub(super) fn FwpmEngineClose0(engine_handle: HANDLE) -> NTSTATUS;
        pub(super) fn FwpmTransactionBegin0(engine_handle: HANDLE, flags: u32) -> NTSTATUS;
        pub(super) fn FwpmTransactionCommit0(engine_handle: HANDLE) -> NTSTATUS;
        pub(super) fn FwpmTransactionAbort0(engine_handle: HANDLE) -> NTSTATUS;
        pub(super) fn FwpmProviderAdd0(
            engine_handle: HANDLE,
            provider: *const FWPM_PROVIDER0,
            sd: *mut c_void,
        ) -> NTSTATUS;
        pub(super) fn FwpmProviderDeleteByKey0(engine_handle: HANDLE, key: *const GUID) -> NTSTATUS;
        pub(super) fn FwpmProviderGetByKey0(
            engine_handle: HANDLE,
            key: *const GUID,
            provider: *mut *mut FWPM_PROVIDER0,
        ) -> NTSTATUS;
        pub(super) fn FwpmSubLayerAdd0(
            engine_handle: HANDLE,
            sublayer: *const FWPM_SUBLAYER0,
            sd: *mut c_void,
        ) -> NTSTATUS;
        pub(super) fn FwpmSubLayerDeleteByKey0(engine_handle: HANDLE, key: *const GUID) -> NTSTATUS;
        pub(super) fn FwpmSubLayerGetByKey0(
            engine_handle: HANDLE,
            key: *const GUID,
            sublayer: *mut *mut FWPM_SUBLAYER0,
        ) -> NTSTATUS;
        pub(super) fn FwpmCalloutAdd0(
            engine_handle: HANDLE,
            callout: *const FWPM_CALLOUT0,
            sd: *mut c_void,
            id: *mut u32,
        ) -> NTSTATUS;
        pub(super) fn FwpmCalloutDeleteByKey0(engine_handle: HANDLE, key: *const GUID) -> NTSTATUS;
        pub(super) fn FwpmCalloutGetByKey0(
            engine_handle: HANDLE,
            key: *const GUID,
            callout: *mut *mut FWPM_CALLOUT0,
        ) -> NTSTATUS;
        pub(super) fn FwpmFilterAdd0(
            engine_handle: HANDLE,
            filter: *const FWPM_FILTER0,
            sd: *mut c_void,
            id: *mut u64,
        ) -> NTSTATUS;
        pub(super) fn FwpmFilterDeleteById0(engine_handle: HANDLE, id: u64) -> NTSTATUS;
        pub(super) fn FwpmFilterGetById0(
            engine_handle: HANDLE,
            id: u64,
            filter: *mut *mut FWPM_FILTER0,
        ) -> NTSTATUS;
        pub(super) fn FwpmFreeMemory0(memory: *mut *mut c_void);
    }
}
