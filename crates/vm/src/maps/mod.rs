//! Maps as programs and the embedder see them.

use alloc::boxed::Box;
use alloc::sync::Arc;

use ebpf_loader::MapKind;

use self::area::Area;
use self::hash::Hash;
use self::queue::Queue;
use crate::account::Charge;
use crate::error::MapError;
use crate::ring::RingMap;

pub(crate) mod area;
mod create;
mod hash;
mod queue;

/// Update only what is not there (`BPF_NOEXIST`).
pub const NOEXIST: u64 = 1;
/// Update only what is there (`BPF_EXIST`); when pushing, drop the oldest value of a full queue or stack.
pub const EXIST: u64 = 2;

/// Creation flags (`BPF_F_*` of `include/uapi/linux/bpf.h`).
pub(crate) mod flags {
    pub(crate) const NO_PREALLOC: u32 = 1 << 0;
    pub(crate) const NO_COMMON_LRU: u32 = 1 << 1;
    pub(crate) const NUMA_NODE: u32 = 1 << 2;
    pub(crate) const RDONLY: u32 = 1 << 3;
    pub(crate) const WRONLY: u32 = 1 << 4;
    pub(crate) const ZERO_SEED: u32 = 1 << 6;
    pub(crate) const RDONLY_PROG: u32 = 1 << 7;
    pub(crate) const WRONLY_PROG: u32 = 1 << 8;
    pub(crate) const MMAPABLE: u32 = 1 << 10;
    pub(crate) const PRESERVE_ELEMS: u32 = 1 << 11;
    pub(crate) const INNER_MAP: u32 = 1 << 12;
}

/// A map: a handle to clone and to send anywhere. The map lives as long as a handle or a program refers to it.
///
/// The methods here are the embedder's side, what Linux does through `bpf(2)`. Sizes of keys and values must be the
/// map's own. A per-CPU map has the values of one CPU.
#[derive(Clone, Debug)]
pub struct VmMap {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: u32,
    name: Box<str>,
    kind: MapKind,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    frozen: bool,
    /// The values, if programs can point to them.
    area: Option<Area>,
    store: Store,
    charge: Charge,
}

#[derive(Debug)]
enum Store {
    Array,
    Hash(Hash),
    Queue(Queue),
    Ring(RingMap),
}

impl VmMap {
    /// Its number, which is never given to another map of the same machine.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.id
    }

    /// The name it was created with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// `BPF_MAP_TYPE_*`.
    #[must_use]
    pub fn kind(&self) -> MapKind {
        self.inner.kind
    }

    /// Bytes of a key.
    #[must_use]
    pub fn key_size(&self) -> u32 {
        self.inner.key_size
    }

    /// Bytes of a value.
    #[must_use]
    pub fn value_size(&self) -> u32 {
        self.inner.value_size
    }

    /// Entries it can hold; for a ring, bytes of data.
    #[must_use]
    pub fn max_entries(&self) -> u32 {
        self.inner.max_entries
    }

    /// `BPF_F_*` flags it was created with.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.inner.flags
    }

    /// Bytes charged for it against the machine's limit. Hash maps, queues and stacks grow as they are used and never shrink.
    #[must_use]
    pub fn memory(&self) -> usize {
        crate::vm::saturate(self.inner.charge.bytes())
    }

    /// Entries that are in it: all of an array, the unread bytes of a ring.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.inner.store {
            Store::Array => crate::memory::index(self.inner.max_entries),
            Store::Hash(hash) => crate::memory::index(hash.len()),
            Store::Queue(queue) => queue.len(),
            Store::Ring(ring) => ring.available(),
        }
    }

    /// Whether [`len`](Self::len) is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ring, if it is one.
    #[must_use]
    pub fn ring(&self) -> Option<&RingMap> {
        match &self.inner.store {
            Store::Ring(ring) => Some(ring),
            _ => None,
        }
    }

    /// Copies the value of `key` to `out`. As through `bpf(2)`, this does not make an LRU entry recently used.
    ///
    /// # Errors
    /// [`MapError::NotFound`] for a key that is not there, [`MapError::Invalid`] for wrong sizes, [`MapError::Permission`] for a
    /// map made with `BPF_F_WRONLY`, [`MapError::NotSupported`] for kinds without keys.
    pub fn lookup(&self, key: &[u8], out: &mut [u8]) -> Result<(), MapError> {
        self.host_reads()?;
        self.check_key(key)?;
        self.check_value(out)?;
        let area = self.area().ok_or(MapError::NotSupported)?;
        match &self.inner.store {
            Store::Array => {
                let offset =
                    self.element(key).and_then(|element| area.offset(element)).ok_or(MapError::NotFound)?;
                area.read(offset, out).ok_or(MapError::Invalid)
            }
            Store::Hash(hash) => hash.read(area, key, out),
            Store::Queue(_) | Store::Ring(_) => Err(MapError::NotSupported),
        }
    }

    /// Sets the value of `key`. `flags`: 0, [`NOEXIST`] or [`EXIST`].
    ///
    /// # Errors
    /// [`MapError::Exists`], [`MapError::NotFound`] as the flags demand; [`MapError::Full`], also for an index outside an array;
    /// [`MapError::Invalid`] for wrong sizes or flags; [`MapError::NoMemory`]; [`MapError::Permission`] when the map is
    /// frozen or made with `BPF_F_RDONLY`; [`MapError::NotSupported`] for kinds without keys.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), MapError> {
        self.host_writes()?;
        self.update_unchecked(key, value, flags)
    }

    /// Removes `key`.
    ///
    /// # Errors
    /// [`MapError::NotFound`], [`MapError::Permission`], [`MapError::Invalid`] for arrays and wrong sizes, [`MapError::NotSupported`].
    pub fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        self.host_writes()?;
        self.delete_unchecked(key)
    }

    /// The key that follows `key`, or the first one, to `out`; in a hash map from the oldest update to the newest.
    ///
    /// # Errors
    /// [`MapError::NotFound`] after the last key; [`MapError::Invalid`], [`MapError::Permission`], [`MapError::NotSupported`].
    pub fn next_key(&self, key: Option<&[u8]>, out: &mut [u8]) -> Result<(), MapError> {
        self.host_reads()?;
        match &self.inner.store {
            Store::Array => {
                let next = match key.map(|key| self.array_index(key)).transpose()? {
                    Some(index) if index < self.max_entries() => index.saturating_add(1),
                    _ => 0,
                };
                if next >= self.max_entries() {
                    return Err(MapError::NotFound);
                }
                let out = <&mut [u8; 4]>::try_from(out).map_err(|_| MapError::Invalid)?;
                *out = next.to_ne_bytes();
                Ok(())
            }
            Store::Hash(hash) => hash.next_key(key, out),
            Store::Queue(_) | Store::Ring(_) => Err(MapError::NotSupported),
        }
    }

    /// Appends to a queue, or puts on a stack. With [`EXIST`], a full one drops its oldest value.
    ///
    /// # Errors
    /// [`MapError::Full`], [`MapError::Invalid`], [`MapError::NoMemory`], [`MapError::Permission`], [`MapError::NotSupported`].
    pub fn push(&self, value: &[u8], flags: u64) -> Result<(), MapError> {
        self.host_writes()?;
        self.push_unchecked(value, flags)
    }

    /// Takes the oldest value of a queue, the newest of a stack.
    ///
    /// # Errors
    /// [`MapError::NotFound`] when there is none, [`MapError::Invalid`], [`MapError::Permission`], [`MapError::NotSupported`].
    pub fn pop(&self, out: &mut [u8]) -> Result<(), MapError> {
        self.host_writes()?;
        self.next_value(out, true)
    }

    /// What [`pop`](Self::pop) would take.
    ///
    /// # Errors
    /// As [`pop`](Self::pop).
    pub fn peek(&self, out: &mut [u8]) -> Result<(), MapError> {
        self.host_reads()?;
        self.next_value(out, false)
    }

    fn next_value(&self, out: &mut [u8], remove: bool) -> Result<(), MapError> {
        self.check_value(out)?;
        self.take_value(remove, |value| {
            out.copy_from_slice(value);
            Ok(())
        })
    }
}

/// The programs' side; permissions are checked by the helpers.
impl VmMap {
    #[inline(always)]
    pub(crate) fn area(&self) -> Option<&Area> {
        self.inner.area.as_ref()
    }

    /// How many elements programs find by a 32-bit index; 0 when it is no array.
    pub(crate) fn elements(&self) -> u32 {
        if matches!(self.inner.store, Store::Array) { self.inner.max_entries } else { 0 }
    }

    pub(crate) fn programs_read(&self) -> bool {
        self.inner.flags & flags::WRONLY_PROG == 0
    }

    pub(crate) fn programs_write(&self) -> bool {
        self.inner.flags & flags::RDONLY_PROG == 0
    }

    pub(crate) fn is_keyed(&self) -> bool {
        matches!(self.inner.store, Store::Array | Store::Hash(_))
    }

    pub(crate) fn is_queue(&self) -> bool {
        matches!(self.inner.store, Store::Queue(_))
    }

    /// Offset of the value in the map's area. An LRU entry is recently used then.
    pub(crate) fn lookup_offset(&self, key: &[u8]) -> Option<u32> {
        let slot = match &self.inner.store {
            Store::Array => self.element(key)?,
            Store::Hash(hash) => hash.lookup(key, true)?,
            Store::Queue(_) | Store::Ring(_) => return None,
        };
        self.area()?.offset(slot)
    }

    pub(crate) fn update_unchecked(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), MapError> {
        let area = self.area().ok_or(MapError::NotSupported)?;
        self.check_key(key)?;
        self.check_value(value)?;
        match &self.inner.store {
            Store::Array => {
                // In Linux's order: `array_map_update_elem`.
                if flags > EXIST {
                    return Err(MapError::Invalid);
                }
                let offset =
                    self.element(key).and_then(|element| area.offset(element)).ok_or(MapError::Full)?;
                if flags == NOEXIST {
                    return Err(MapError::Exists);
                }
                area.write(offset, value).ok_or(MapError::Invalid)
            }
            Store::Hash(hash) => hash.update(area, &self.inner.charge, key, value, flags),
            Store::Queue(_) | Store::Ring(_) => Err(MapError::NotSupported),
        }
    }

    pub(crate) fn delete_unchecked(&self, key: &[u8]) -> Result<(), MapError> {
        match &self.inner.store {
            Store::Array => Err(MapError::Invalid),
            Store::Hash(hash) => {
                self.check_key(key)?;
                hash.delete(key)
            }
            Store::Queue(_) | Store::Ring(_) => Err(MapError::NotSupported),
        }
    }

    pub(crate) fn push_unchecked(&self, value: &[u8], flags: u64) -> Result<(), MapError> {
        match &self.inner.store {
            Store::Queue(queue) => queue.push(&self.inner.charge, value, flags),
            _ => Err(MapError::NotSupported),
        }
    }

    pub(crate) fn take_value<E: From<MapError>>(
        &self,
        remove: bool,
        read: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match &self.inner.store {
            Store::Queue(queue) => queue.next(remove, read),
            _ => Err(MapError::NotSupported.into()),
        }
    }

    fn array_index(&self, key: &[u8]) -> Result<u32, MapError> {
        Ok(u32::from_ne_bytes(key.try_into().map_err(|_| MapError::Invalid)?))
    }

    fn element(&self, key: &[u8]) -> Option<u32> {
        self.array_index(key).ok().filter(|index| *index < self.max_entries())
    }

    fn check_key(&self, key: &[u8]) -> Result<(), MapError> {
        if !self.is_keyed() {
            return Err(MapError::NotSupported);
        }
        if key.len() == crate::memory::index(self.key_size()) { Ok(()) } else { Err(MapError::Invalid) }
    }

    fn check_value(&self, value: &[u8]) -> Result<(), MapError> {
        if value.len() == crate::memory::index(self.value_size()) { Ok(()) } else { Err(MapError::Invalid) }
    }

    fn host_reads(&self) -> Result<(), MapError> {
        if self.inner.flags & flags::WRONLY == 0 { Ok(()) } else { Err(MapError::Permission) }
    }

    fn host_writes(&self) -> Result<(), MapError> {
        let allowed = self.inner.flags & flags::RDONLY == 0 && !self.inner.frozen;
        if allowed { Ok(()) } else { Err(MapError::Permission) }
    }
}
