//! The kernel's side of a test: maps, programs and their runs.

use std::ffi::{CString, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use ebpf_linux::{LinuxMap, LinuxProgram, TestRun};
use ebpf_loader::{Instruction, MapKind, MapSpec, ProgramKind, ProgramSpec};
use libbpf_sys as sys;
use rustix::mm::ProtFlags;

use crate::libbpf::Errno;

/// Creates a map.
///
/// # Errors
///
/// The kernel's.
pub fn create_map(
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
) -> Result<OwnedFd, Errno> {
    let spec = MapSpec { flags, ..MapSpec::new("test", MapKind(kind), key_size, value_size, entries) };
    LinuxMap::create(&spec).map(OwnedFd::from).map_err(|error| Errno(error.errno()))
}

/// Says that the kernel does not let us do something: as a note if that is for want of rights on a developer's machine, else as a failure.
///
/// # Errors
///
/// The note, when rights are not the reason or `CI` is set.
pub fn not_possible(what: &str, error: Errno) -> Result<(), String> {
    let note = format!("{what}: {error}");
    if error.0 != EPERM || std::env::var_os("CI").is_some() {
        return Err(note);
    }
    println!("skipped: {note}");
    Ok(())
}

/// Pages of a file mapped into this process, read and written by copying.
#[derive(Debug)]
pub struct Pages(ebpf_linux::Pages);

impl Pages {
    /// Maps `length` bytes of `file` from `offset` on, shared.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn map(
        file: BorrowedFd<'_>,
        offset: usize,
        length: usize,
        protection: ProtFlags,
    ) -> Result<Self, Errno> {
        let writable = protection.contains(ProtFlags::WRITE);
        let pages = ebpf_linux::Pages::new(file, offset, length, writable);
        pages.map(Self).map_err(|error| Errno(error.errno()))
    }

    /// Where they stand.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.0.base()
    }

    /// Bytes mapped.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.length()
    }

    /// A copy of `length` bytes from `offset` on.
    ///
    /// # Panics
    ///
    /// When that is outside.
    #[must_use]
    pub fn bytes(&self, offset: usize, length: usize) -> Vec<u8> {
        self.check(offset, length);
        let mut bytes = vec![0; length];
        // SAFETY: inside, as just checked.
        let start = unsafe { self.base().add(offset) };
        // SAFETY: readable for `length` bytes; `bytes` is as long and elsewhere.
        unsafe { start.copy_to_nonoverlapping(NonNull::from(bytes.as_mut_slice()).cast(), length) };
        bytes
    }

    /// The native 64-bit word at `offset`.
    ///
    /// # Panics
    ///
    /// When that is outside.
    #[must_use]
    pub fn word(&self, offset: usize) -> u64 {
        self.bytes(offset, 8).try_into().map_or(0, u64::from_ne_bytes)
    }

    /// Writes `bytes` from `offset` on, into pages that were mapped for writing.
    ///
    /// # Panics
    ///
    /// When that is outside.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.check(offset, bytes.len());
        // SAFETY: inside, as just checked.
        let start = unsafe { self.base().add(offset) };
        // SAFETY: `bytes` is elsewhere; that the pages are writable is the caller's word, and a fault if it is wrong.
        unsafe { start.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    fn check(&self, offset: usize, length: usize) {
        let end = offset.checked_add(length);
        let mapped = self.length();
        assert!(end.is_some_and(|end| end <= mapped), "{length} bytes at {offset} of {mapped}");
    }
}

/// An array map of one entry, mapped: memory that programs and tests share.
#[derive(Debug)]
pub struct SharedBytes {
    map: OwnedFd,
    pages: Pages,
}

impl SharedBytes {
    /// `length` bytes, zero.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn new(length: usize) -> Result<Self, Errno> {
        let value_size = u32::try_from(length).map_err(|_| Errno(EINVAL))?;
        let map = create_map(sys::BPF_MAP_TYPE_ARRAY, 4, value_size, 1, sys::BPF_F_MMAPABLE)?;
        let pages = Pages::map(map.as_fd(), 0, length, ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(Self { map, pages })
    }

    /// The bytes.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The bytes, to write.
    pub fn pages_mut(&mut self) -> &mut Pages {
        &mut self.pages
    }
}

impl AsRawFd for SharedBytes {
    fn as_raw_fd(&self) -> i32 {
        self.map.as_raw_fd()
    }
}

/// A loaded program.
#[derive(Debug)]
pub struct Program(LinuxProgram);

impl Program {
    /// Gives `instructions` to the verifier, as a program of type `syscall`: one that runs in the caller's address space.
    ///
    /// # Errors
    ///
    /// The kernel's error and what the verifier says.
    pub fn load(instructions: &[Instruction]) -> Result<Self, String> {
        Self::load_as("syscall", ProgramKind::SYSCALL, instructions)
    }

    /// The same for a program of another type, as one of that section.
    ///
    /// # Errors
    ///
    /// The kernel's error and what the verifier says.
    pub fn load_as(section: &str, kind: ProgramKind, instructions: &[Instruction]) -> Result<Self, String> {
        let spec = ProgramSpec {
            name: "test",
            section,
            kind,
            expected_attach_type: 0,
            license: "GPL",
            instructions,
        };
        LinuxProgram::load(&spec).map(Self).map_err(|error| format!("{error}\n{}", error.log()))
    }

    /// Runs the program once, by `BPF_PROG_TEST_RUN`, and gives what it returned. It may write to `context`.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn run(&self, context: &mut [u8]) -> Result<u32, Errno> {
        let outcome = self.0.test_run(TestRun { context, ..Default::default() });
        outcome.map(|outcome| outcome.returned).map_err(|error| Errno(error.errno()))
    }

    /// Runs a `raw_tracepoint` program once on CPU number `cpu`, with these arguments, and gives what it returned.
    ///
    /// # Errors
    ///
    /// The kernel's; `ENXIO` when that CPU is not online.
    pub fn run_on(&self, cpu: u32, arguments: &[u64]) -> Result<u32, Errno> {
        self.run_raw(Some(cpu), arguments)
    }

    /// The same on whichever CPU the caller is running.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn run_here(&self, arguments: &[u64]) -> Result<u32, Errno> {
        self.run_raw(None, arguments)
    }

    fn run_raw(&self, cpu: Option<u32>, arguments: &[u64]) -> Result<u32, Errno> {
        let mut context: Vec<u8> = arguments.iter().flat_map(|argument| argument.to_ne_bytes()).collect();
        let outcome = self.0.test_run(TestRun { cpu, context: &mut context, ..Default::default() });
        outcome.map(|outcome| outcome.returned).map_err(|error| Errno(error.errno()))
    }
}

/// Runs a `syscall` program once.
///
/// # Errors
///
/// The kernel's.
pub fn run(program: BorrowedFd<'_>, context: &mut [u8]) -> Result<u32, Errno> {
    // The kernel writes the context back to where it came from.
    let mut options = sys::bpf_test_run_opts {
        sz: size_of::<sys::bpf_test_run_opts>() as sys::size_t,
        ctx_in: if context.is_empty() {
            std::ptr::null()
        } else {
            context.as_mut_ptr().cast::<c_void>().cast_const()
        },
        ctx_size_in: u32::try_from(context.len()).map_err(|_| Errno(EINVAL))?,
        ..Default::default()
    };
    // SAFETY: `options` and the context in it are valid during the call, and long as they say.
    let status = unsafe { sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    if status < 0 { Err(Errno(status.saturating_neg())) } else { Ok(options.retval) }
}

/// Runs a program for packets once.
///
/// # Errors
///
/// The kernel's.
pub fn run_on_packet(program: BorrowedFd<'_>, packet: &[u8]) -> Result<u32, Errno> {
    let mut options = sys::bpf_test_run_opts {
        sz: size_of::<sys::bpf_test_run_opts>() as sys::size_t,
        data_in: packet.as_ptr().cast::<c_void>(),
        data_size_in: u32::try_from(packet.len()).map_err(|_| Errno(EINVAL))?,
        ..Default::default()
    };
    // SAFETY: `options` and the packet in it are valid during the call, and long as they say.
    let status = unsafe { sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    if status < 0 { Err(Errno(status.saturating_neg())) } else { Ok(options.retval) }
}

/// An object that libbpf loaded into the kernel.
#[derive(Debug)]
pub struct LoadedObject(NonNull<sys::bpf_object>);

impl LoadedObject {
    /// Loads an object; before that each map named in `sizes` gets so many entries (bytes, for a ring).
    ///
    /// # Errors
    ///
    /// libbpf's or the kernel's.
    pub fn load(bytes: &[u8], sizes: &[(&str, u32)]) -> Result<Self, Errno> {
        crate::libbpf::quieten();
        let start = bytes.as_ptr().cast::<c_void>();
        // SAFETY: `start` and the length describe readable memory, of which libbpf keeps nothing; no options is a null pointer.
        let object =
            unsafe { sys::bpf_object__open_mem(start, bytes.len() as sys::size_t, std::ptr::null()) };
        let object = Self(NonNull::new(object).ok_or_else(last_errno)?);
        for (name, size) in sizes {
            let map = object.map_pointer(name)?;
            // SAFETY: a map of the live object, which is not loaded yet.
            check(unsafe { sys::bpf_map__set_max_entries(map, *size) })?;
        }
        // SAFETY: the object is live and nobody else calls into it.
        check(unsafe { sys::bpf_object__load(object.0.as_ptr()) })?;
        Ok(object)
    }

    /// The program's descriptor.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none of this name.
    pub fn program(&self, name: &str) -> Result<BorrowedFd<'_>, Errno> {
        let name = CString::new(name).map_err(|_| Errno(EINVAL))?;
        // SAFETY: the object is live, the name outlives the call.
        let program = unsafe { sys::bpf_object__find_program_by_name(self.0.as_ptr(), name.as_ptr()) };
        if program.is_null() {
            return Err(Errno(ENOENT));
        }
        // SAFETY: a program of the live object.
        self.lend(unsafe { sys::bpf_program__fd(program) })
    }

    /// The map's descriptor.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none of this name.
    pub fn map(&self, name: &str) -> Result<BorrowedFd<'_>, Errno> {
        let map = self.map_pointer(name)?;
        // SAFETY: a map of the live object.
        self.lend(unsafe { sys::bpf_map__fd(map) })
    }

    fn map_pointer(&self, name: &str) -> Result<*mut sys::bpf_map, Errno> {
        let name = CString::new(name).map_err(|_| Errno(EINVAL))?;
        // SAFETY: the object is live, the name outlives the call.
        let map = unsafe { sys::bpf_object__find_map_by_name(self.0.as_ptr(), name.as_ptr()) };
        if map.is_null() { Err(Errno(ENOENT)) } else { Ok(map) }
    }

    fn lend(&self, fd: i32) -> Result<BorrowedFd<'_>, Errno> {
        check(fd)?;
        // SAFETY: libbpf keeps the descriptor open until the object is closed, which is when `self` is dropped.
        Ok(unsafe { BorrowedFd::borrow_raw(fd) })
    }
}

impl Drop for LoadedObject {
    fn drop(&mut self) {
        // SAFETY: the object is live, and this is the last use of it.
        unsafe { sys::bpf_object__close(self.0.as_ptr()) };
    }
}

// SAFETY: libbpf's object is plain memory without ties to a thread.
unsafe impl Send for LoadedObject {}
// SAFETY: once it is loaded, `&self` only reads it.
unsafe impl Sync for LoadedObject {}

fn check(status: i32) -> Result<(), Errno> {
    if status < 0 { Err(Errno(status.saturating_neg())) } else { Ok(()) }
}

fn last_errno() -> Errno {
    Errno(io::Error::last_os_error().raw_os_error().unwrap_or(EINVAL))
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;
