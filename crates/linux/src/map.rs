//! Maps.

#![expect(unsafe_code, reason = "how many bytes the kernel copies is a matter of the map, checked here")]

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ebpf_loader::{MapKind, MapSpec};

use crate::capability::Capability;
use crate::cpus;
use crate::error::Error;
use crate::sys::bpf::{Entry, Numbered};
use crate::sys::{Errno, attr, bpf};

/// A map of the kernel: a descriptor, closed when dropped. The map lives as long as any descriptor, program or pin refers to it.
pub struct LinuxMap {
    descriptor: OwnedFd,
    name: String,
    kind: MapKind,
    key_size: u32,
    max_entries: u32,
    flags: u32,
    /// Bytes that the kernel copies for a value; see [`LinuxMap::value_len`].
    value_len: usize,
    /// A ring's memory is given to one at a time.
    pub(crate) is_lent: Arc<AtomicBool>,
}

/// What the kernel says of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapInfo {
    /// Its number in the whole system.
    pub id: u32,
    /// The first 15 bytes of its name.
    pub name: String,
    /// `BPF_MAP_TYPE_*`.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value on one CPU.
    pub value_size: u32,
    /// Entries; bytes for a ring.
    pub max_entries: u32,
    /// Creation flags.
    pub flags: u32,
}

impl LinuxMap {
    /// Creates a map, gives element 0 its initial value, and freezes it if nobody is to write it.
    ///
    /// A perf event array of 0 entries gets one for each CPU that there can be.
    ///
    /// # Errors
    /// The kernel's. Nothing is left behind.
    pub fn create(spec: &MapSpec<'_>) -> Result<Self, Error> {
        Self::create_with(spec, None)
    }

    /// Creates a map that holds maps like `inner`: an `ARRAY_OF_MAPS` or a `HASH_OF_MAPS`. The kernel takes from `inner` what every map put into it has to
    /// be like (its kind and sizes), and needs it no longer.
    ///
    /// # Errors
    /// The kernel's. Nothing is left behind.
    pub fn create_of_maps(spec: &MapSpec<'_>, inner: &Self) -> Result<Self, Error> {
        Self::create_with(spec, Some(inner))
    }

    fn create_with(spec: &MapSpec<'_>, inner: Option<&Self>) -> Result<Self, Error> {
        let subject = || format!("map `{}` ({})", spec.name, spec.kind);
        let max_entries = match (spec.kind, spec.max_entries) {
            (MapKind::PERF_EVENT_ARRAY, 0) => u32::try_from(cpus::possible()?.len()).unwrap_or(u32::MAX),
            (_, entries) => entries,
        };
        let value_len = value_len(spec.kind, spec.value_size)?;
        let descriptor = bpf::map_create(attr::MapCreate {
            kind: spec.kind.0,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries,
            flags: spec.flags,
            inner_map: inner.map_or(0, |inner| bpf::number(inner.as_fd())),
            name: attr::name(spec.name),
            ..Default::default()
        })
        .map_err(|errno| Error::new("BPF_MAP_CREATE", errno).of(subject()).needs(&[Capability::Bpf]))?;
        let map = Self {
            descriptor,
            name: spec.name.to_owned(),
            kind: spec.kind,
            key_size: spec.key_size,
            max_entries,
            flags: spec.flags,
            value_len,
            is_lent: Arc::default(),
        };
        if let Some(value) = spec.initial_value {
            map.update(&0u32.to_ne_bytes(), value, 0)?;
        }
        if spec.read_only {
            map.freeze()?;
        }
        Ok(map)
    }

    /// The map that is pinned at `path`.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` for what is no map.
    pub fn open_pinned(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let refused = |errno| Error::new("BPF_OBJ_GET", errno).of(path.display()).needs(&[Capability::Bpf]);
        let descriptor = path_string(path).and_then(|path| bpf::pinned(&path)).map_err(refused)?;
        Self::from_descriptor(descriptor)
    }

    /// The map with this number.
    ///
    /// # Errors
    /// The kernel's: `ENOENT` if there is none, `EPERM` without `CAP_SYS_ADMIN`.
    pub fn open_id(id: u32) -> Result<Self, Error> {
        let refused = |errno| {
            Error::new("BPF_MAP_GET_FD_BY_ID", errno)
                .of(format_args!("map {id}"))
                .needs(&[Capability::SysAdmin])
        };
        Self::from_descriptor(bpf::by_id(Numbered::Map, id).map_err(refused)?)
    }

    /// The map behind a descriptor that came from elsewhere.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` for what is no map.
    pub fn from_descriptor(descriptor: OwnedFd) -> Result<Self, Error> {
        require(descriptor.as_fd(), "bpf-map")?;
        let info = info(descriptor.as_fd())?;
        Ok(Self {
            value_len: value_len(info.kind, info.value_size)?,
            descriptor,
            name: info.name,
            kind: info.kind,
            key_size: info.key_size,
            max_entries: info.max_entries,
            flags: info.flags,
            is_lent: Arc::default(),
        })
    }

    /// Its name: as it was asked for, or the kernel's 15 bytes of it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `BPF_MAP_TYPE_*`.
    #[must_use]
    pub fn kind(&self) -> MapKind {
        self.kind
    }

    /// Bytes of a key.
    #[must_use]
    pub fn key_len(&self) -> usize {
        usize::try_from(self.key_size).unwrap_or(usize::MAX)
    }

    /// Bytes of a value as it is read and written from here: for a map per CPU, one value for each possible CPU, each padded to eight bytes; for a
    /// map of maps, programs or events, a descriptor or number of four bytes.
    #[must_use]
    pub fn value_len(&self) -> usize {
        self.value_len
    }

    /// Entries; bytes for a ring.
    #[must_use]
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// Creation flags.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Copies the value of `key` to `value`; gives whether there was one. For a queue or a stack `key` is empty, and this looks without taking.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` if `key` or `value` have another length than the map's.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<bool, Error> {
        const CALL: &str = "BPF_MAP_LOOKUP_ELEM";
        self.check(CALL, key, value)?;
        // SAFETY: both have the lengths that the map says, as just checked.
        self.found(CALL, unsafe { self.entry(key).lookup(value, false) })
    }

    /// The same, and removes the entry: what a queue or a stack calls pop. Hash maps since Linux 5.14.
    ///
    /// # Errors
    /// As for [`lookup`](Self::lookup).
    pub fn take(&self, key: &[u8], value: &mut [u8]) -> Result<bool, Error> {
        const CALL: &str = "BPF_MAP_LOOKUP_AND_DELETE_ELEM";
        self.check(CALL, key, value)?;
        // SAFETY: both have the lengths that the map says, as just checked.
        self.found(CALL, unsafe { self.entry(key).lookup(value, true) })
    }

    /// Sets the value of `key`; `flags` are `BPF_ANY` (0), `BPF_NOEXIST` (1), `BPF_EXIST` (2), `BPF_F_LOCK` (4). For a queue or a stack `key` is
    /// empty, and this pushes.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` if `key` or `value` have another length than the map's.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Error> {
        const CALL: &str = "BPF_MAP_UPDATE_ELEM";
        self.check(CALL, key, value)?;
        // SAFETY: both have the lengths that the map says, as just checked.
        unsafe { self.entry(key).update(value, flags) }.map_err(|errno| self.refused(CALL, errno))
    }

    /// Puts a descriptor into a map of descriptors: a perf event, a program, a map, a socket.
    ///
    /// # Errors
    /// As for [`update`](Self::update).
    pub fn set_descriptor(&self, index: u32, descriptor: BorrowedFd<'_>) -> Result<(), Error> {
        self.update(&index.to_ne_bytes(), &bpf::number(descriptor).to_ne_bytes(), 0)
    }

    /// Removes `key`; gives whether it was there.
    ///
    /// # Errors
    /// The kernel's: `EINVAL` for arrays, or if `key` has another length than the map's.
    pub fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        const CALL: &str = "BPF_MAP_DELETE_ELEM";
        self.check_key(CALL, key)?;
        // SAFETY: it has the length that the map says, as just checked.
        self.found(CALL, unsafe { self.entry(key).delete() })
    }

    /// Copies the key after `key`, or the first one for `None`, to `next`; false after the last. A key that is not there is followed by the first.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` if a key has another length than the map's.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool, Error> {
        const CALL: &str = "BPF_MAP_GET_NEXT_KEY";
        if let Some(key) = key {
            self.check_key(CALL, key)?;
        }
        self.check_key(CALL, next)?;
        // SAFETY: both have the lengths that the map says, as just checked.
        self.found(CALL, unsafe { self.entry(key.unwrap_or_default()).next_key(next) })
    }

    /// From now on nobody writes it through bpf(2).
    ///
    /// # Errors
    /// The kernel's: `EPERM` if it is frozen already, `EBUSY` if somebody has mapped it for writing.
    pub fn freeze(&self) -> Result<(), Error> {
        bpf::map_freeze(self.as_fd()).map_err(|errno| self.refused("BPF_MAP_FREEZE", errno))
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn info(&self) -> Result<MapInfo, Error> {
        info(self.as_fd())
    }

    /// Gives it a name in a file system of type bpf, which keeps it.
    ///
    /// # Errors
    /// The kernel's: `EPERM` where no such file system is, `EEXIST`.
    pub fn pin(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        pin(self.as_fd(), path.as_ref())
    }

    /// Another descriptor of the same map.
    ///
    /// # Errors
    /// The system's: `EMFILE`.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let descriptor = duplicate(self.as_fd())?;
        Ok(Self { descriptor, name: self.name.clone(), is_lent: Arc::clone(&self.is_lent), ..*self })
    }

    pub(crate) fn refused(&self, call: &'static str, errno: Errno) -> Error {
        Error::new(call, errno)
            .of(format_args!("map `{}` ({})", self.name, self.kind))
            .needs(&[Capability::Bpf])
    }

    fn entry<'a>(&'a self, key: &'a [u8]) -> Entry<'a> {
        Entry { map: self.as_fd(), key }
    }

    /// `ENOENT` is an answer.
    fn found(&self, call: &'static str, result: Result<(), Errno>) -> Result<bool, Error> {
        match result {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.refused(call, errno)),
        }
    }

    fn check(&self, call: &'static str, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.check_key(call, key)?;
        let (given, needed) = (value.len(), self.value_len);
        if given == needed {
            return Ok(());
        }
        let hint = format!("a value of {given} bytes was given, the map's have {needed}");
        Err(self.refused(call, Errno::INVAL).hint(hint))
    }

    fn check_key(&self, call: &'static str, key: &[u8]) -> Result<(), Error> {
        let (given, needed) = (key.len(), self.key_len());
        if given == needed {
            return Ok(());
        }
        let hint = format!("a key of {given} bytes was given, the map's have {needed}");
        Err(self.refused(call, Errno::INVAL).hint(hint))
    }
}

impl AsFd for LinuxMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// For those who go on by themselves.
impl From<LinuxMap> for OwnedFd {
    fn from(map: LinuxMap) -> Self {
        map.descriptor
    }
}

impl fmt::Debug for LinuxMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinuxMap")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}

/// Bytes that the kernel copies for a value (`bpf_map_value_size`).
fn value_len(kind: MapKind, value_size: u32) -> Result<usize, Error> {
    let size = usize::try_from(value_size).unwrap_or(usize::MAX);
    Ok(match kind {
        MapKind::PERCPU_HASH
        | MapKind::LRU_PERCPU_HASH
        | MapKind::PERCPU_ARRAY
        | MapKind::PERCPU_CGROUP_STORAGE => {
            let padded = size.checked_next_multiple_of(8).unwrap_or(usize::MAX);
            padded.saturating_mul(cpus::possible()?.len())
        }
        MapKind::PROG_ARRAY
        | MapKind::PERF_EVENT_ARRAY
        | MapKind::CGROUP_ARRAY
        | MapKind::ARRAY_OF_MAPS
        | MapKind::HASH_OF_MAPS => 4,
        _ => size,
    })
}

fn info(map: BorrowedFd<'_>) -> Result<MapInfo, Error> {
    let info: attr::MapInfo =
        bpf::info(map).map_err(|errno| Error::new("BPF_OBJ_GET_INFO_BY_FD", errno).of("a map"))?;
    Ok(MapInfo {
        id: info.id,
        name: attr::text(&info.name),
        kind: MapKind(info.kind),
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        flags: info.flags,
    })
}

/// What the descriptor is of: the kernel names each kind after itself, and has no call to ask.
pub(crate) fn require(descriptor: BorrowedFd<'_>, wanted: &str) -> Result<(), Error> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/thread-self/fd/{}", descriptor.as_raw_fd());
    let target = std::fs::read_link(&path)
        .map_err(|error| Error::new("readlink", cpus::errno_of(&error)).of(&path))?;
    let target = target.to_string_lossy();
    if target.strip_prefix("anon_inode:").is_some_and(|kind| kind == wanted) {
        return Ok(());
    }
    Err(Error::new("BPF_OBJ_GET_INFO_BY_FD", Errno::INVAL).of(target).hint(format!("not a {wanted}")))
}

pub(crate) fn duplicate(descriptor: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    crate::sys::admit()
        .and_then(|()| rustix::io::fcntl_dupfd_cloexec(descriptor, 0))
        .map_err(|errno| Error::new("fcntl(F_DUPFD_CLOEXEC)", errno))
}

pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    path_string(path).and_then(|path| bpf::pin(object, &path)).map_err(|errno| {
        let error = Error::new("BPF_OBJ_PIN", errno).of(path.display());
        match errno {
            Errno::PERM => error
                .needs(&[Capability::Bpf])
                .hint("pins live in a file system of type bpf: mount -t bpf bpf /sys/fs/bpf"),
            _ => error,
        }
    })
}

pub(crate) fn path_string(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)
}
