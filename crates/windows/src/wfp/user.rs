//! The calls of user mode: `fwpuclnt.dll`, as `windows-sys` declares them.

use core::convert::identity;
use core::ptr;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWPM_CALLOUT0, FWPM_FILTER0, FWPM_PROVIDER0, FWPM_SESSION0, FWPM_SUBLAYER0,
};
use windows_sys::core::GUID;

use super::{AUTHENTICATION, calls};

/// `fwpuclnt.dll`: statuses are Win32 errors and `FWP_E_*`.
#[derive(Debug)]
#[non_exhaustive]
pub struct UserMode;

calls!(UserMode, identity, windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform);
