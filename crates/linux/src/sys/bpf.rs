//! bpf(2): each command as a safe function.

#![expect(
    unsafe_code,
    reason = "the addresses in `bpf_attr` are those of the slices that the functions here are given"
)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::attr::{self, NAME};
use super::{Errno, admit};

/// `BPF_*` commands.
const MAP_CREATE: u32 = 0;
const MAP_LOOKUP: u32 = 1;
const MAP_UPDATE: u32 = 2;
const MAP_DELETE: u32 = 3;
const MAP_NEXT_KEY: u32 = 4;
const PROGRAM_LOAD: u32 = 5;
const OBJECT_PIN: u32 = 6;
const OBJECT_GET: u32 = 7;
const TEST_RUN: u32 = 10;
const INFO: u32 = 15;
const RAW_TRACEPOINT_OPEN: u32 = 17;
const BTF_LOAD: u32 = 18;
const MAP_LOOKUP_AND_DELETE: u32 = 21;
const MAP_FREEZE: u32 = 22;
const LINK_CREATE: u32 = 28;

/// What has numbers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbered {
    Program,
    Map,
    Link,
}

impl Numbered {
    /// `BPF_*_GET_NEXT_ID` and `BPF_*_GET_FD_BY_ID`.
    fn commands(self) -> (u32, u32) {
        match self {
            Self::Program => (11, 13),
            Self::Map => (12, 14),
            Self::Link => (31, 30),
        }
    }
}

/// # Safety
/// Every address in `attr` leads to as much memory as the command reads or writes there.
unsafe fn bpf(command: u32, attr: &mut (impl IntoBytes + FromBytes)) -> Result<i32, Errno> {
    admit()?;
    let bytes = attr.as_mut_bytes();
    // SAFETY: the attributes are readable and writable and as long as is said; the caller vouches for the addresses in them.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, bytes.as_mut_ptr(), bytes.len()) };
    i32::try_from(result).ok().filter(|result| *result >= 0).ok_or_else(last_errno)
}

/// # Safety
/// As for [`bpf`]; and the command gives a new descriptor.
unsafe fn open(command: u32, attr: &mut (impl IntoBytes + FromBytes)) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller's word.
    let descriptor = unsafe { bpf(command, attr) }?;
    // SAFETY: the kernel made it for this call; all of them are close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

pub(crate) fn map_create(mut attr: attr::MapCreate) -> Result<OwnedFd, Errno> {
    // SAFETY: there is no address in it.
    unsafe { open(MAP_CREATE, &mut attr) }
}

/// An element of a map, by key. What `key` and `value` are as long as is checked by whoever knows the map, in `LinuxMap`: the kernel takes it from
/// the map and not from us.
pub(crate) struct Entry<'a> {
    pub(crate) map: BorrowedFd<'a>,
    /// `key_size` bytes; empty for maps without keys.
    pub(crate) key: &'a [u8],
}

impl Entry<'_> {
    fn attr(&self, flags: u64) -> attr::Element {
        let key = if self.key.is_empty() { 0 } else { address(self.key) };
        attr::Element { map: number(self.map), key, flags, ..Default::default() }
    }

    /// # Safety
    /// `key` is as long as the map's keys and `value` as its values.
    pub(crate) unsafe fn lookup(&self, value: &mut [u8], remove: bool) -> Result<(), Errno> {
        let mut attr = attr::Element { value: address_mut(value), ..self.attr(0) };
        let command = if remove { MAP_LOOKUP_AND_DELETE } else { MAP_LOOKUP };
        // SAFETY: both are as long as the kernel takes them for.
        unsafe { bpf(command, &mut attr) }.map(drop)
    }

    /// # Safety
    /// As for [`lookup`](Self::lookup).
    pub(crate) unsafe fn update(&self, value: &[u8], flags: u64) -> Result<(), Errno> {
        let mut attr = attr::Element { value: address(value), ..self.attr(flags) };
        // SAFETY: both are as long as the kernel takes them for.
        unsafe { bpf(MAP_UPDATE, &mut attr) }.map(drop)
    }

    /// # Safety
    /// `key` is as long as the map's keys.
    pub(crate) unsafe fn delete(&self) -> Result<(), Errno> {
        // SAFETY: it is as long as the kernel takes it for.
        unsafe { bpf(MAP_DELETE, &mut self.attr(0)) }.map(drop)
    }

    /// # Safety
    /// `next` is as long as the map's keys, and so is `key` unless it is empty, which asks for the first.
    pub(crate) unsafe fn next_key(&self, next: &mut [u8]) -> Result<(), Errno> {
        let mut attr = attr::Element { value: address_mut(next), ..self.attr(0) };
        // SAFETY: both are as long as the kernel takes them for.
        unsafe { bpf(MAP_NEXT_KEY, &mut attr) }.map(drop)
    }
}

pub(crate) fn map_freeze(map: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = attr::Element { map: number(map), ..Default::default() };
    // SAFETY: there is no address in it.
    unsafe { bpf(MAP_FREEZE, &mut attr) }.map(drop)
}

/// What `BPF_PROG_LOAD` is told, its addresses left out.
pub(crate) struct Load<'a> {
    pub(crate) attr: attr::ProgramLoad,
    /// Eight bytes each.
    pub(crate) instructions: &'a [u8],
    pub(crate) license: &'a CStr,
    /// `struct bpf_func_info`, of `attr.func_info_size` bytes each.
    pub(crate) functions: &'a [u8],
}

/// With an empty `log` the verifier says nothing.
pub(crate) fn program_load(load: &Load<'_>, log: &mut [u8]) -> Result<OwnedFd, Errno> {
    let mut attr = attr::ProgramLoad {
        instructions: address(load.instructions),
        instruction_count: length(load.instructions)? / 8,
        license: address(load.license.to_bytes_with_nul()),
        func_info: if load.functions.is_empty() { 0 } else { address(load.functions) },
        func_info_count: length(load.functions)?.checked_div(load.attr.func_info_size).unwrap_or(0),
        ..load.attr
    };
    if !log.is_empty() {
        attr.log_level = 1;
        attr.log_size = length(log)?;
        attr.log = address_mut(log);
    }
    // SAFETY: instructions, licence with its zero, functions and log are as long as is said; the other addresses are of no length.
    unsafe { open(PROGRAM_LOAD, &mut attr) }
}

pub(crate) fn btf_load(btf: &[u8], log: &mut [u8]) -> Result<OwnedFd, Errno> {
    let mut attr = attr::BtfLoad { btf: address(btf), size: length(btf)?, ..Default::default() };
    if !log.is_empty() {
        attr.log_level = 1;
        attr.log_size = length(log)?;
        attr.log = address_mut(log);
    }
    // SAFETY: types and log are as long as is said.
    unsafe { open(BTF_LOAD, &mut attr) }
}

pub(crate) fn pin(object: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    let mut attr = attr::Object {
        path: address(path.to_bytes_with_nul()),
        descriptor: number(object),
        ..Default::default()
    };
    // SAFETY: the path ends with a zero.
    unsafe { bpf(OBJECT_PIN, &mut attr) }.map(drop)
}

pub(crate) fn pinned(path: &CStr) -> Result<OwnedFd, Errno> {
    let mut attr = attr::Object { path: address(path.to_bytes_with_nul()), ..Default::default() };
    // SAFETY: the path ends with a zero.
    unsafe { open(OBJECT_GET, &mut attr) }
}

/// What `BPF_PROG_TEST_RUN` is given beside plain numbers.
pub(crate) struct Buffers<'a> {
    pub(crate) data_in: &'a [u8],
    pub(crate) data_out: &'a mut [u8],
    pub(crate) context: &'a mut [u8],
    /// The context is written back through an address of its own; a `syscall` program's is written back in any case.
    pub(crate) context_out: bool,
}

/// Runs a program; the answers stand in what is given back.
pub(crate) fn test_run(mut attr: attr::TestRun, buffers: Buffers<'_>) -> Result<attr::TestRun, Errno> {
    let Buffers { data_in, data_out, context, context_out } = buffers;
    if !data_in.is_empty() {
        attr.data_in = address(data_in);
        attr.data_size_in = length(data_in)?;
    }
    if !data_out.is_empty() {
        attr.data_out = address_mut(data_out);
        attr.data_size_out = length(data_out)?;
    }
    if !context.is_empty() {
        // Mutable, because the kernel may write a `syscall` program's context back to where it came from.
        attr.context_in = address_mut(context);
        attr.context_size_in = length(context)?;
        if context_out {
            attr.context_out = attr.context_in;
            attr.context_size_out = attr.context_size_in;
        }
    }
    // SAFETY: all of them are as long as is said, and borrowed mutably where the kernel writes.
    unsafe { bpf(TEST_RUN, &mut attr) }?;
    Ok(attr)
}

pub(crate) fn raw_tracepoint(program: BorrowedFd<'_>, name: Option<&CStr>) -> Result<OwnedFd, Errno> {
    let name = name.map_or(0, |name| address(name.to_bytes_with_nul()));
    let mut attr = attr::RawTracepoint { name, program: number(program), zero: 0 };
    // SAFETY: the name ends with a zero.
    unsafe { open(RAW_TRACEPOINT_OPEN, &mut attr) }
}

pub(crate) fn link_create(mut attr: attr::LinkCreate) -> Result<OwnedFd, Errno> {
    // SAFETY: none of the forms used has an address in it.
    unsafe { open(LINK_CREATE, &mut attr) }
}

/// One of the `bpf_*_info` structs that [`info`] fills.
///
/// # Safety
/// The kernel takes what stands in a fresh one for no address of a buffer: every word that it would take for one is zero, or its length is.
pub(crate) unsafe trait InfoForm: FromBytes + IntoBytes + Immutable + Default {}
// SAFETY: a default one is all zero.
unsafe impl InfoForm for attr::MapInfo {}
// SAFETY: a default one is all zero.
unsafe impl InfoForm for attr::ProgramInfo {}
// SAFETY: a default one is all zero.
unsafe impl InfoForm for attr::LinkInfo {}
// SAFETY: a default one is all zero.
unsafe impl InfoForm for attr::BtfInfo {}

pub(crate) fn info<I: InfoForm>(object: BorrowedFd<'_>) -> Result<I, Errno> {
    let mut info = I::default();
    let bytes = info.as_mut_bytes();
    let mut attr =
        attr::Info { descriptor: number(object), length: length(bytes)?, info: address_mut(bytes) };
    // SAFETY: the kernel writes as many bytes as is said at most, and follows no address in a zeroed form.
    unsafe { bpf(INFO, &mut attr) }?;
    Ok(info)
}

/// The numbers of the maps that a program uses.
pub(crate) fn program_maps(program: BorrowedFd<'_>, count: u32) -> Result<Vec<u32>, Errno> {
    let mut ids = vec![0u32; usize::try_from(count).map_err(|_| Errno::INVAL)?];
    let mut info =
        attr::ProgramInfo { map_count: count, maps: address_mut(ids.as_mut_bytes()), ..Default::default() };
    let bytes = info.as_mut_bytes();
    let mut attr =
        attr::Info { descriptor: number(program), length: length(bytes)?, info: address_mut(bytes) };
    // SAFETY: the form is as long as is said, the numbers in it too; every other address in it is zero.
    unsafe { bpf(INFO, &mut attr) }?;
    Ok(ids)
}

/// The next number in use after `id`; `None` after the last.
pub(crate) fn next_id(what: Numbered, id: u32) -> Result<Option<u32>, Errno> {
    let mut attr = attr::Id { id, ..Default::default() };
    // SAFETY: there is no address in it.
    match unsafe { bpf(what.commands().0, &mut attr) } {
        Ok(_) => Ok(Some(attr.next_id)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn by_id(what: Numbered, id: u32) -> Result<OwnedFd, Errno> {
    let mut attr = attr::Id { id, ..Default::default() };
    // SAFETY: there is no address in it.
    unsafe { open(what.commands().1, &mut attr) }
}

/// A descriptor as `bpf_attr` holds it.
pub(crate) fn number(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().cast_unsigned()
}

fn length(bytes: &[u8]) -> Result<u32, Errno> {
    u32::try_from(bytes.len()).map_err(|_| Errno::TOOBIG)
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

fn address_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr().expose_provenance() as u64
}

fn last_errno() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

const _: () = assert!(NAME == 16);
