//! A small safe wrapper around as much of libbpf as is needed to ask it about an object.

use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Once;

use ebpf_progtable::Instruction;
use libbpf_sys as sys;

use crate::rows::{MapRow, ProgramRow, Table};

/// An object that libbpf opened, closed when dropped.
pub struct Object {
    object: NonNull<sys::bpf_object>,
    /// libbpf keeps a pointer to the options of its loader generator for as long as the object lives.
    generator: Option<Box<sys::gen_loader_opts>>,
    /// libbpf's objects are not for several threads at once.
    _not_sync: PhantomData<*mut ()>,
}

/// How instructions are to refer to maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Relocate for the running kernel: maps are created there and CO-RE records are resolved against its types.
    Kernel,
    /// Relocate for libbpf's generated loader: nothing is asked of the kernel, maps are named by their index in the
    /// object, CO-RE records stay unresolved.
    Generator,
}

/// libbpf's or the system's error number, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "an error number is a number")]
pub struct Errno(pub i32);

impl Object {
    /// Opens an object from memory. `file_name` gives the object its name as if it had been opened from such a file:
    /// what stands before the first dot.
    ///
    /// # Errors
    ///
    /// The number libbpf gives; `EINVAL` for a name with a NUL in it.
    pub fn open(file_name: &str, bytes: &[u8]) -> Result<Self, Errno> {
        Self::open_configured(file_name, bytes, "")
    }

    /// As [`open`](Self::open), with lines of a kernel configuration that come before the running kernel's.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_configured(file_name: &str, bytes: &[u8], configuration: &str) -> Result<Self, Errno> {
        quieten();
        let name = file_name.split('.').next().unwrap_or_default();
        let name = CString::new(name).map_err(|_| Errno(EINVAL))?;
        let configuration = CString::new(configuration).map_err(|_| Errno(EINVAL))?;
        let options = sys::bpf_object_open_opts {
            sz: size_of::<sys::bpf_object_open_opts>() as sys::size_t,
            object_name: name.as_ptr(),
            kconfig: if configuration.is_empty() { std::ptr::null() } else { configuration.as_ptr() },
            ..Default::default()
        };
        let start = bytes.as_ptr().cast::<c_void>();
        let length = bytes.len() as sys::size_t;
        // SAFETY: `start` and `length` describe readable memory, `options` and the texts in it outlive the call, and libbpf
        // keeps no pointer to any of them when it returns.
        let object = unsafe { sys::bpf_object__open_mem(start, length, &raw const options) };
        Self::from_raw(object)
    }

    /// Opens an object from a file; libbpf names it after the file.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_file(path: &Path) -> Result<Self, Errno> {
        quieten();
        let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Errno(EINVAL))?;
        // SAFETY: `path` is a NUL-terminated string that outlives the call; no options is a null pointer.
        let object = unsafe { sys::bpf_object__open_file(path.as_ptr(), std::ptr::null()) };
        Self::from_raw(object)
    }

    /// Whether libbpf took the object's types. It goes on without them if they are damaged and no map is made of them.
    #[must_use]
    pub fn has_types(&self) -> bool {
        // SAFETY: the object is live.
        let types = unsafe { sys::bpf_object__btf(self.object.as_ptr()) };
        !types.is_null()
    }

    /// What libbpf knows of the object.
    #[must_use]
    pub fn table(&self) -> Table {
        Table {
            programs: self.programs().map(|program| program.row()).collect(),
            maps: self.maps().map(|map| map.row()).collect(),
        }
    }

    /// Settles what an application would before it loads the object, so that linking is all that is left to go wrong: every
    /// program is to be loaded and has a type, no map is pinned, and a map without a size that needs one has room for one
    /// entry.
    ///
    /// # Errors
    ///
    /// `EINVAL` once the object was loaded.
    pub fn settle(&mut self) -> Result<(), Errno> {
        for program in self.programs() {
            // SAFETY: the program is one of this live object's.
            check(unsafe { sys::bpf_program__set_autoload(program.0, true) })?;
            if program.row().kind == sys::BPF_PROG_TYPE_UNSPEC {
                // SAFETY: as above.
                check(unsafe { sys::bpf_program__set_type(program.0, sys::BPF_PROG_TYPE_SOCKET_FILTER) })?;
            }
        }
        for map in self.maps() {
            // SAFETY: the map is one of this live object's, no path is a null pointer.
            check(unsafe { sys::bpf_map__set_pin_path(map.0.cast_mut(), std::ptr::null()) })?;
            let row = map.row();
            if row.max_entries == 0 && SIZED.contains(&row.kind) {
                // SAFETY: the map is one of this live object's.
                check(unsafe { sys::bpf_map__set_max_entries(map.0.cast_mut(), 1) })?;
            }
        }
        Ok(())
    }

    /// Relocates every program that is to be loaded. With [`Target::Kernel`] the maps are created too; no program is given
    /// to the verifier.
    ///
    /// # Errors
    ///
    /// What the kernel or libbpf refused. The object is of no more use then.
    pub fn relocate(&mut self, target: Target) -> Result<(), Errno> {
        match target {
            Target::Kernel => {
                // SAFETY: the object is live and `&mut self` makes this the only call into it.
                check(unsafe { sys::bpf_object__prepare(self.object.as_ptr()) })
            }
            Target::Generator => {
                let options = self.generator.insert(Box::new(sys::gen_loader_opts {
                    sz: size_of::<sys::gen_loader_opts>() as sys::size_t,
                    ..Default::default()
                }));
                // SAFETY: the object is live; the boxed options stay where they are until after the object is closed.
                check(unsafe { sys::bpf_object__gen_loader(self.object.as_ptr(), &raw mut **options) })?;
                // SAFETY: the object is live and `&mut self` makes this the only call into it.
                check(unsafe { sys::bpf_object__load(self.object.as_ptr()) })
            }
        }
    }

    /// Each program's name and instructions: those of the file, or the linked ones after [`relocate`](Self::relocate).
    #[must_use]
    pub fn instructions(&self) -> Vec<(String, Vec<Instruction>)> {
        self.programs().map(|program| (program.name(), program.instructions())).collect()
    }

    /// Whether the map with that index is created when the object is loaded.
    #[must_use]
    pub fn autocreate(&self, map: usize) -> bool {
        // SAFETY: the map is one of this live object's.
        self.maps().nth(map).is_some_and(|map| unsafe { sys::bpf_map__autocreate(map.0) })
    }

    /// Says whether the map with that index is to be created.
    ///
    /// # Errors
    ///
    /// libbpf's refusal; `EINVAL` if there is no such map.
    pub fn set_autocreate(&mut self, map: usize, autocreate: bool) -> Result<(), Errno> {
        let map = self.maps().nth(map).ok_or(Errno(EINVAL))?;
        // SAFETY: the map is one of this live object's.
        check(unsafe { sys::bpf_map__set_autocreate(map.0.cast_mut(), autocreate) })
    }

    /// Says whether the program of that name is to be loaded.
    ///
    /// # Errors
    ///
    /// libbpf's refusal; `EINVAL` if there is no such program.
    pub fn set_autoload(&mut self, name: &str, autoload: bool) -> Result<(), Errno> {
        let program = self.programs().find(|program| program.name() == name).ok_or(Errno(EINVAL))?;
        // SAFETY: the program is one of this live object's.
        check(unsafe { sys::bpf_program__set_autoload(program.0, autoload) })
    }

    /// The function records of each program, as libbpf gives them to the kernel after [`relocate`](Self::relocate): the
    /// instruction and its function's type.
    #[must_use]
    pub fn function_info(&self) -> Vec<Vec<[u32; 2]>> {
        let of = |program: ProgramRef<'_>| {
            // SAFETY: the program is one of this live object's.
            let first = unsafe { sys::bpf_program__func_info(program.0) };
            // SAFETY: as above.
            let count = unsafe { sys::bpf_program__func_info_cnt(program.0) };
            // SAFETY: two words each, kept by libbpf as long as the object lives.
            unsafe { records(first.cast::<[u32; 2]>(), count) }
        };
        self.programs().map(of).collect()
    }

    /// The line records of each program: the instruction, the file's name, the line, and where in the source that is.
    #[must_use]
    pub fn line_info(&self) -> Vec<Vec<[u32; 4]>> {
        let of = |program: ProgramRef<'_>| {
            // SAFETY: the program is one of this live object's.
            let first = unsafe { sys::bpf_program__line_info(program.0) };
            // SAFETY: as above.
            let count = unsafe { sys::bpf_program__line_info_cnt(program.0) };
            // SAFETY: four words each, kept by libbpf as long as the object lives.
            unsafe { records(first.cast::<[u32; 4]>(), count) }
        };
        self.programs().map(of).collect()
    }

    /// The descriptor of each map, in the order of the table; -1 for a map that was not created.
    #[must_use]
    pub fn map_descriptors(&self) -> Vec<i32> {
        // SAFETY: each map is one of this live object's.
        self.maps().map(|map| unsafe { sys::bpf_map__fd(map.0) }).collect()
    }

    fn from_raw(object: *mut sys::bpf_object) -> Result<Self, Errno> {
        let object = NonNull::new(object).ok_or_else(last_errno)?;
        Ok(Self { object, generator: None, _not_sync: PhantomData })
    }

    fn programs(&self) -> impl Iterator<Item = ProgramRef<'_>> {
        let next = |previous: *mut sys::bpf_program| {
            // SAFETY: the object is live; `previous` is null or a program of it.
            let program = unsafe { sys::bpf_object__next_program(self.object.as_ptr(), previous) };
            (!program.is_null()).then_some(program)
        };
        std::iter::successors(next(std::ptr::null_mut()), move |previous| next(*previous))
            .map(|program| ProgramRef(program, PhantomData))
    }

    fn maps(&self) -> impl Iterator<Item = MapRef<'_>> {
        let next = |previous: *const sys::bpf_map| {
            // SAFETY: the object is live; `previous` is null or a map of it.
            let map = unsafe { sys::bpf_object__next_map(self.object.as_ptr(), previous) };
            (!map.is_null()).then_some(map.cast_const())
        };
        std::iter::successors(next(std::ptr::null()), move |previous| next(*previous))
            .map(|map| MapRef(map, PhantomData))
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the object came from an open that succeeded, is closed only here, and nothing borrowed from it is left.
        unsafe { sys::bpf_object__close(self.object.as_ptr()) }
    }
}

/// What libbpf's static linker makes of objects (`bpftool gen object`), in that order.
///
/// # Errors
///
/// What the linker refuses, or the system's error with the files in between.
pub fn link(objects: &[&[u8]]) -> Result<Vec<u8>, Errno> {
    quieten();
    let system = |error: std::io::Error| Errno(error.raw_os_error().unwrap_or(EINVAL));
    let folder = tempfile::tempdir().map_err(system)?;
    let name = |file: String| {
        let path = folder.path().join(file);
        CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Errno(EINVAL))
    };
    let output = name("linked.o".to_owned())?;
    // SAFETY: the name is NUL-terminated and outlives the call; no options is a valid choice.
    let linker = unsafe { sys::bpf_linker__new(output.as_ptr(), std::ptr::null_mut()) };
    let linker = NonNull::new(linker).ok_or_else(last_errno)?;
    let mut status = Ok(());
    for (index, object) in objects.iter().enumerate() {
        let path = folder.path().join(format!("{index}.o"));
        let written = std::fs::write(&path, object).map_err(system);
        status = status.and(written).and_then(|()| {
            let path = name(format!("{index}.o"))?;
            // SAFETY: the linker is live, the name is NUL-terminated and outlives the call.
            check(unsafe { sys::bpf_linker__add_file(linker.as_ptr(), path.as_ptr(), std::ptr::null()) })
        });
    }
    status = status.and_then(|()| {
        // SAFETY: the linker is live.
        check(unsafe { sys::bpf_linker__finalize(linker.as_ptr()) })
    });
    // SAFETY: made above, freed only here.
    unsafe { sys::bpf_linker__free(linker.as_ptr()) };
    status.and_then(|()| std::fs::read(folder.path().join("linked.o")).map_err(system))
}

/// Program type and expected attach type that a section's name stands for; nothing if it stands for none.
#[must_use]
pub fn section_kind(section: &str) -> Option<(u32, u32)> {
    quieten();
    let section = CString::new(section).ok()?;
    let (mut kind, mut attach) = (0, 0);
    // SAFETY: the name is NUL-terminated and outlives the call; the two numbers are written to.
    let status = unsafe { sys::libbpf_prog_type_by_name(section.as_ptr(), &raw mut kind, &raw mut attach) };
    (status >= 0).then_some((kind, attach))
}

/// libbpf's name for a program type, if it has one.
#[must_use]
pub fn program_type_name(kind: u32) -> Option<String> {
    // SAFETY: any number may be asked for.
    let name = unsafe { sys::libbpf_bpf_prog_type_str(kind) };
    // SAFETY: the name is null or a NUL-terminated constant.
    (!name.is_null()).then(|| unsafe { owned(name) })
}

/// libbpf's name for a map type, if it has one.
#[must_use]
pub fn map_type_name(kind: u32) -> Option<String> {
    // SAFETY: any number may be asked for.
    let name = unsafe { sys::libbpf_bpf_map_type_str(kind) };
    // SAFETY: the name is null or a NUL-terminated constant.
    (!name.is_null()).then(|| unsafe { owned(name) })
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            4000 => f.write_str("libbpf: libelf failed"),
            4001 => f.write_str("libbpf: not a format it knows"),
            4003 => f.write_str("libbpf: byte order"),
            4004 => f.write_str("libbpf: internal"),
            4005 => f.write_str("libbpf: relocation"),
            4007 => f.write_str("libbpf: the verifier refused it"),
            number if number >= 4000 => write!(f, "libbpf: error {number}"),
            number => write!(f, "{}", std::io::Error::from_raw_os_error(number)),
        }
    }
}

impl std::error::Error for Errno {}

/// A program of a live object.
struct ProgramRef<'object>(*mut sys::bpf_program, PhantomData<&'object Object>);

impl ProgramRef<'_> {
    fn row(&self) -> ProgramRow {
        ProgramRow {
            name: self.name(),
            section: self.section(),
            // SAFETY: `self.0` is a program of an object that outlives `self`.
            kind: unsafe { sys::bpf_program__type(self.0) },
            // SAFETY: as above.
            expected_attach_type: unsafe { sys::bpf_program__expected_attach_type(self.0) },
            // SAFETY: as above.
            autoload: unsafe { sys::bpf_program__autoload(self.0) },
            instructions: self.len(),
        }
    }

    fn name(&self) -> String {
        // SAFETY: `self.0` is a program of an object that outlives `self`.
        let name = unsafe { sys::bpf_program__name(self.0) };
        // SAFETY: the name is null or NUL-terminated, and lives as long as the object.
        unsafe { owned(name) }
    }

    fn section(&self) -> String {
        // SAFETY: `self.0` is a program of an object that outlives `self`.
        let name = unsafe { sys::bpf_program__section_name(self.0) };
        // SAFETY: the name is null or NUL-terminated, and lives as long as the object.
        unsafe { owned(name) }
    }

    fn len(&self) -> usize {
        // SAFETY: `self.0` is a program of an object that outlives `self`.
        let count = unsafe { sys::bpf_program__insn_cnt(self.0) };
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    fn instructions(&self) -> Vec<Instruction> {
        // SAFETY: `self.0` is a program of an object that outlives `self`.
        let first = unsafe { sys::bpf_program__insns(self.0) };
        if first.is_null() {
            return Vec::new();
        }
        // SAFETY: libbpf's pointer leads to `insn_cnt` instructions of eight bytes each, which nobody changes while `self`
        // borrows the object; any eight bytes at any alignment are an `Instruction`.
        let instructions = unsafe { std::slice::from_raw_parts(first.cast::<Instruction>(), self.len()) };
        instructions.to_vec()
    }
}

/// A map of a live object.
struct MapRef<'object>(*const sys::bpf_map, PhantomData<&'object Object>);

impl MapRef<'_> {
    fn row(&self) -> MapRow {
        // SAFETY: `self.0` is a map of an object that outlives `self`.
        let name = unsafe { sys::bpf_map__name(self.0) };
        // SAFETY: as above.
        let pin_path = unsafe { sys::bpf_map__pin_path(self.0) };
        MapRow {
            // SAFETY: the name is null or NUL-terminated, and lives as long as the object.
            name: unsafe { owned(name) },
            // SAFETY: as above.
            kind: unsafe { sys::bpf_map__type(self.0) },
            // SAFETY: as above.
            key_size: unsafe { sys::bpf_map__key_size(self.0) },
            // SAFETY: as above.
            value_size: unsafe { sys::bpf_map__value_size(self.0) },
            // SAFETY: as above.
            max_entries: unsafe { sys::bpf_map__max_entries(self.0) },
            // SAFETY: as above.
            flags: unsafe { sys::bpf_map__map_flags(self.0) },
            // SAFETY: as above.
            extra: unsafe { sys::bpf_map__map_extra(self.0) },
            pinned: !pin_path.is_null(),
            // SAFETY: as above.
            internal: unsafe { sys::bpf_map__is_internal(self.0) },
            initial_value: self.initial_value(),
        }
    }

    fn initial_value(&self) -> Option<Vec<u8>> {
        let mut length: sys::size_t = 0;
        // SAFETY: `self.0` is a map of an object that outlives `self`; `length` is written to.
        let value = unsafe { sys::bpf_map__initial_value(self.0, &raw mut length) };
        if value.is_null() {
            return None;
        }
        let length = usize::try_from(length).ok()?;
        // SAFETY: libbpf's pointer leads to `length` readable bytes, which nobody writes while `self` borrows the object.
        let bytes = unsafe { std::slice::from_raw_parts(value.cast::<u8>(), length) };
        Some(bytes.to_vec())
    }
}

/// # Safety
///
/// `first` is null or points to `count` readable records that are as large as a `Record` and of plain numbers.
unsafe fn records<Record: Copy>(first: *const Record, count: u32) -> Vec<Record> {
    if first.is_null() {
        return Vec::new();
    }
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { std::slice::from_raw_parts(first, usize::try_from(count).unwrap_or(0)) }.to_vec()
}

/// # Safety
///
/// `string` is null or points to a NUL-terminated string.
unsafe fn owned(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: not null, and the caller vouches for the rest.
    let string = unsafe { CStr::from_ptr(string) };
    string.to_string_lossy().into_owned()
}

fn check(status: i32) -> Result<(), Errno> {
    if status < 0 { Err(Errno(status.saturating_neg())) } else { Ok(()) }
}

fn last_errno() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(EINVAL))
}

/// Takes libbpf's messages away, unless they were asked for.
pub(crate) fn quieten() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("EBPF_CONFORMANCE_LOG").is_none() {
            // SAFETY: no callback is a valid callback, and `Once` makes this the only call.
            unsafe { sys::libbpf_set_print(None) };
        }
    });
}

const EINVAL: i32 = 22;

/// Types of maps whose size applications often set themselves.
const SIZED: [u32; 10] = [
    sys::BPF_MAP_TYPE_HASH,
    sys::BPF_MAP_TYPE_ARRAY,
    sys::BPF_MAP_TYPE_PERCPU_HASH,
    sys::BPF_MAP_TYPE_PERCPU_ARRAY,
    sys::BPF_MAP_TYPE_STACK_TRACE,
    sys::BPF_MAP_TYPE_CGROUP_ARRAY,
    sys::BPF_MAP_TYPE_LRU_HASH,
    sys::BPF_MAP_TYPE_DEVMAP,
    sys::BPF_MAP_TYPE_CPUMAP,
    sys::BPF_MAP_TYPE_RINGBUF,
];
