//! The kernel's side of a test: maps, programs and their runs.

use std::ffi::{CString, c_char, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{NonNull, null_mut};

use ebpf_progtable::Instruction;
use libbpf_sys as sys;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

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
    let options = sys::bpf_map_create_opts {
        sz: size_of::<sys::bpf_map_create_opts>() as sys::size_t,
        map_flags: flags,
        ..Default::default()
    };
    // SAFETY: `options` is readable during the call and says how long it is; no name is a null pointer.
    let fd = unsafe {
        sys::bpf_map_create(kind, std::ptr::null(), key_size, value_size, entries, &raw const options)
    };
    owned(fd)
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

/// Pages of a file mapped into this process, unmapped when dropped.
#[derive(Debug)]
pub struct Pages {
    base: NonNull<u8>,
    length: usize,
}

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
        // SAFETY: a fresh mapping where the kernel finds room; nothing is mapped over.
        let base = unsafe { mmap(null_mut(), length, protection, MapFlags::SHARED, file, offset as u64) };
        let base = base.map_err(|error| Errno(error.raw_os_error()))?;
        Ok(Self { base: NonNull::new(base.cast()).ok_or(Errno(EFAULT))?, length })
    }

    /// Where they stand.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes mapped.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
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
        let start = unsafe { self.base.add(offset) };
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
        let start = unsafe { self.base.add(offset) };
        // SAFETY: `bytes` is elsewhere; that the pages are writable is the caller's word, and a fault if it is wrong.
        unsafe { start.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    fn check(&self, offset: usize, length: usize) {
        let end = offset.checked_add(length);
        assert!(end.is_some_and(|end| end <= self.length), "{length} bytes at {offset} of {}", self.length);
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, whole; what borrows from it borrows `self`.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
    }
}

// SAFETY: plain shared memory, valid in every thread.
unsafe impl Send for Pages {}
// SAFETY: as above; `&self` only reads, and what is read was written by the kernel in a run that is over.
unsafe impl Sync for Pages {}

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
pub struct Program(OwnedFd);

impl Program {
    /// Gives `instructions` to the verifier, as a program of type `syscall`: one that runs in the caller's address space.
    ///
    /// # Errors
    ///
    /// The kernel's error and what the verifier says.
    pub fn load(instructions: &[Instruction]) -> Result<Self, String> {
        Self::load_as(sys::BPF_PROG_TYPE_SYSCALL, sys::BPF_F_SLEEPABLE, instructions)
    }

    /// The same for a program of another type, with `flags` as for `BPF_PROG_LOAD`.
    ///
    /// # Errors
    ///
    /// The kernel's error and what the verifier says.
    pub fn load_as(kind: u32, flags: u32, instructions: &[Instruction]) -> Result<Self, String> {
        match Self::try_load(kind, flags, instructions, &mut []) {
            Ok(program) => Ok(program),
            Err(error) => {
                let mut log = vec![0u8; 1 << 20];
                let _ = Self::try_load(kind, flags, instructions, &mut log);
                let log = String::from_utf8_lossy(&log).into_owned();
                let log = log.trim_end_matches('\0');
                // What it stumbled over stands at the end.
                let tail = log.get(log.len().saturating_sub(3000)..).unwrap_or(log);
                Err(format!("the verifier refused {} instructions: {error}\n{tail}", instructions.len()))
            }
        }
    }

    fn try_load(kind: u32, flags: u32, instructions: &[Instruction], log: &mut [u8]) -> Result<Self, Errno> {
        let mut options = sys::bpf_prog_load_opts {
            sz: size_of::<sys::bpf_prog_load_opts>() as sys::size_t,
            prog_flags: flags,
            ..Default::default()
        };
        if !log.is_empty() {
            options.log_level = 1;
            options.log_size = u32::try_from(log.len()).unwrap_or(u32::MAX);
            options.log_buf = log.as_mut_ptr().cast::<c_char>();
        }
        // SAFETY: an instruction is eight bytes, as the kernel's; name, licence, instructions, options and log outlive the call.
        let fd = unsafe {
            sys::bpf_prog_load(
                kind,
                c"test".as_ptr(),
                c"GPL".as_ptr(),
                instructions.as_ptr().cast(),
                instructions.len() as sys::size_t,
                &raw mut options,
            )
        };
        owned(fd).map(Self)
    }

    /// Runs the program once, by `BPF_PROG_TEST_RUN`, and gives what it returned. It may write to `context`.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn run(&self, context: &mut [u8]) -> Result<u32, Errno> {
        run(self.0.as_fd(), context)
    }

    /// Runs a `raw_tracepoint` program once on CPU number `cpu`, with these arguments, and gives what it returned.
    ///
    /// # Errors
    ///
    /// The kernel's; `ENXIO` when that CPU is not online.
    pub fn run_on(&self, cpu: u32, arguments: &[u64]) -> Result<u32, Errno> {
        self.run_raw(sys::BPF_F_TEST_RUN_ON_CPU, cpu, arguments)
    }

    /// The same on whichever CPU the caller is running.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn run_here(&self, arguments: &[u64]) -> Result<u32, Errno> {
        self.run_raw(0, 0, arguments)
    }

    fn run_raw(&self, flags: u32, cpu: u32, arguments: &[u64]) -> Result<u32, Errno> {
        let mut options = sys::bpf_test_run_opts {
            sz: size_of::<sys::bpf_test_run_opts>() as sys::size_t,
            ctx_in: arguments.as_ptr().cast::<c_void>(),
            ctx_size_in: u32::try_from(size_of_val(arguments)).map_err(|_| Errno(EINVAL))?,
            flags,
            cpu,
            ..Default::default()
        };
        // SAFETY: `options` and the arguments in it are valid during the call, and long as they say.
        let status = unsafe { sys::bpf_prog_test_run_opts(self.0.as_raw_fd(), &raw mut options) };
        if status < 0 { Err(Errno(status.saturating_neg())) } else { Ok(options.retval) }
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

fn owned(fd: i32) -> Result<OwnedFd, Errno> {
    check(fd)?;
    // SAFETY: the kernel just gave this descriptor to us and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(status: i32) -> Result<(), Errno> {
    if status < 0 { Err(Errno(status.saturating_neg())) } else { Ok(()) }
}

fn last_errno() -> Errno {
    Errno(io::Error::last_os_error().raw_os_error().unwrap_or(EINVAL))
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EFAULT: i32 = 14;
const EINVAL: i32 = 22;
