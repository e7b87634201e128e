//! perf_event_open(2), the ioctls of its descriptors, and the socket options for programs.

#![expect(unsafe_code, reason = "rustix wraps none of these")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Errno, admit};

/// `struct perf_event_attr`, as long as its first version that knows two configuration words (`PERF_ATTR_SIZE_VER1`, 72 bytes).
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub(crate) struct EventAttr {
    pub(crate) kind: u32,
    pub(crate) size: u32,
    pub(crate) config: u64,
    /// `sample_period` or `sample_freq`.
    pub(crate) period: u64,
    pub(crate) sample_type: u64,
    pub(crate) read_format: u64,
    /// One bit each: [`FREQUENCY`], [`WATERMARK`], [`WRITE_BACKWARD`].
    pub(crate) flags: u64,
    /// `wakeup_events` or `wakeup_watermark`.
    pub(crate) wakeup: u32,
    pub(crate) breakpoint: u32,
    pub(crate) config1: u64,
    pub(crate) config2: u64,
}

const _: () = assert!(size_of::<EventAttr>() == 72);

/// `freq`.
pub(crate) const FREQUENCY: u64 = 1 << 10;
/// `watermark`.
pub(crate) const WATERMARK: u64 = 1 << 14;
/// `write_backward`.
pub(crate) const WRITE_BACKWARD: u64 = 1 << 27;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: libc::c_ulong = 8;
/// `PERF_EVENT_IOC_ENABLE`, `_DISABLE`, `_SET_BPF`, `_PAUSE_OUTPUT`, numbers for all architectures but mips, powerpc and sparc.
pub(crate) const ENABLE: u32 = 0x2400;
pub(crate) const DISABLE: u32 = 0x2401;
pub(crate) const SET_PROGRAM: u32 = 0x4004_2408;
pub(crate) const PAUSE_OUTPUT: u32 = 0x4004_2409;

/// An event of every process (`process` -1), or of one, on `cpu` or any (-1). `name`, if there is one, is what `config1` leads to.
pub(crate) fn open(
    mut attr: EventAttr,
    name: Option<&CStr>,
    process: i32,
    cpu: i32,
) -> Result<OwnedFd, Errno> {
    admit()?;
    attr.size = 72;
    if let Some(name) = name {
        attr.config1 = name.as_ptr().expose_provenance() as u64;
    }
    let pointer = attr.as_bytes().as_ptr();
    // SAFETY: the attributes are as long as they say; an address in them, if the event's kind takes one, is that of a string with its zero, which
    // is all the kernel reads there.
    let result =
        unsafe { libc::syscall(libc::SYS_perf_event_open, pointer, process, cpu, -1, CLOSE_ON_EXEC) };
    let descriptor = i32::try_from(result).ok().filter(|result| *result >= 0).ok_or_else(last_errno)?;
    // SAFETY: the kernel made it for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// One of the requests above; each takes a number, none an address.
pub(crate) fn request(event: BorrowedFd<'_>, request: u32, argument: u32) -> Result<(), Errno> {
    admit()?;
    // SAFETY: an open descriptor; whatever it is of, the request takes no address.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), request as _, libc::c_ulong::from(argument)) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// `SO_ATTACH_BPF`.
pub(crate) fn attach_to_socket(socket: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    admit()?;
    set_option(socket, libc::SO_ATTACH_BPF, program.as_raw_fd())
}

/// `SO_DETACH_BPF`, which is `SO_DETACH_FILTER`.
pub(crate) fn detach_from_socket(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    set_option(socket, libc::SO_DETACH_FILTER, 0)
}

fn set_option(socket: BorrowedFd<'_>, option: i32, value: i32) -> Result<(), Errno> {
    let length = 4;
    // SAFETY: the value is four bytes.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), length)
    };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

fn last_errno() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
