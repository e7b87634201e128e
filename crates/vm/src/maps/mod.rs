//! Maps as programs and the embedder see them.

use alloc::boxed::Box;
use alloc::sync::Arc;

use ebpf_loader::{MapDefinition, MapKind, ProgramKind};
use ebpf_perfbuf::{Reader, WakeupPolicy};
use spin::Once;

use self::area::Area;
use self::hash::Hash;
use self::queue::Queue;
use self::slots::Slots;
use crate::account::Charge;
use crate::error::MapError;
use crate::perf::{PerfMemory, PerfRing};
use crate::program::VmProgram;
use crate::ring::{RingMap, UserRing};

mod access;
pub(crate) mod area;
pub(crate) mod create;
pub(crate) mod hash;
mod index;
#[cfg(all(test, loom))]
mod models;
mod notes;
mod order;
mod queue;
mod slots;

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
/// map's own. As there, the value of a per-CPU map is the values of all CPUs, one after the other, each rounded up to eight
/// bytes: [`value_bytes`](Self::value_bytes) in all.
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
    /// CPUs that have values of their own: 1, but for per-CPU maps.
    cpus: u32,
    frozen: bool,
    /// The values, if programs can point to them.
    area: Option<Area>,
    store: Store,
    charge: Charge,
}

#[derive(Debug)]
enum Store {
    Array,
    Hash(Arc<Hash>),
    Queue(Queue),
    Ring(RingMap),
    UserRing(UserRing),
    /// With the kind that all of them are of, which the first one decides.
    Programs(Slots<VmProgram>, Once<ProgramKind>),
    /// With what all of them look like.
    Maps(Slots<VmMap>, MapDefinition),
    Perf(Slots<Arc<PerfRing>>),
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

    /// Bytes of a value as [`lookup`](Self::lookup) and [`update`](Self::update) take it: of all CPUs.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        let each = crate::memory::index(self.inner.value_size);
        match self.inner.cpus {
            1 if !self.is_per_cpu() => each,
            cpus => each.next_multiple_of(8).saturating_mul(crate::memory::index(cpus)),
        }
    }

    /// CPUs that have values of their own in it: 1, but for per-CPU maps.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.inner.cpus
    }

    /// Entries that are in it: all of an array, the unread bytes of a ring.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.inner.store {
            Store::Array => crate::memory::index(self.inner.max_entries),
            Store::Hash(hash) => crate::memory::index(hash.len()),
            Store::Queue(queue) => queue.len(),
            Store::Ring(ring) => ring.available(),
            Store::UserRing(ring) => ring.available(),
            Store::Programs(slots, _) => slots.len(),
            Store::Maps(slots, _) => slots.len(),
            Store::Perf(slots) => slots.len(),
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
        if let Store::Maps(slots, _) = &self.inner.store {
            // The inner map's number, as from `bpf(2)`.
            let inner = slots.get(self.array_index(key)?).ok_or(MapError::NotFound)?;
            *<&mut [u8; 4]>::try_from(out).map_err(|_| MapError::Invalid)? = inner.id().to_ne_bytes();
            return Ok(());
        }
        self.check_key(key)?;
        if out.len() != self.value_bytes() {
            return Err(MapError::Invalid);
        }
        let area = self.area().ok_or(MapError::NotSupported)?;
        match &self.inner.store {
            Store::Array => {
                let element = self.element(key).ok_or(MapError::NotFound)?;
                self.each_cpu(out, |cpu, out| {
                    let offset = self.offset_of(area, element, cpu).ok_or(MapError::NotFound)?;
                    area.read(offset, out).ok_or(MapError::Invalid)
                })
            }
            Store::Hash(hash) => hash.read(key, |slot| {
                self.each_cpu(out, |cpu, out| {
                    let offset = self.offset_of(area, slot, cpu).ok_or(MapError::Invalid)?;
                    area.read(offset, out).ok_or(MapError::Invalid)
                })
            }),
            _ => Err(MapError::NotSupported),
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
        if value.len() != self.value_bytes() {
            return Err(MapError::Invalid);
        }
        self.put(key, value, flags, None)
    }

    /// Removes `key`.
    ///
    /// # Errors
    /// [`MapError::NotFound`], [`MapError::Permission`], [`MapError::Invalid`] for arrays and wrong sizes, [`MapError::NotSupported`].
    pub fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        self.host_writes()?;
        match &self.inner.store {
            Store::Programs(slots, _) => slots.clear(self.array_index(key)?),
            Store::Maps(slots, _) => slots.clear(self.array_index(key)?),
            Store::Perf(slots) => slots.clear(self.array_index(key)?),
            _ => self.delete_unchecked(key),
        }
    }

    /// Puts a program into entry `slot` of a prog array, for `bpf_tail_call`. The array keeps it alive, and it may keep the array alive:
    /// a program that can come to itself this way is freed once the array is destroyed or the entry deleted.
    ///
    /// # Errors
    /// [`MapError::Full`] outside of the array, [`MapError::Invalid`] for a program of another kind than the first one put there,
    /// [`MapError::NotSupported`] when this is no prog array, [`MapError::Permission`].
    pub fn set_program(&self, slot: u32, program: &VmProgram) -> Result<(), MapError> {
        self.host_writes()?;
        let Store::Programs(slots, kind) = &self.inner.store else { return Err(MapError::NotSupported) };
        if slot >= self.max_entries() {
            return Err(MapError::Full);
        }
        if *kind.call_once(|| program.kind()) != program.kind() {
            return Err(MapError::Invalid);
        }
        slots.set(slot, program.clone())
    }

    /// Puts a map into entry `slot` of an array of maps.
    ///
    /// # Errors
    /// [`MapError::Full`] outside of the array, [`MapError::Invalid`] for a map that does not look like the inner one declared (kind, sizes, flags, and for
    /// arrays the number of entries) or that holds maps itself, [`MapError::NotSupported`] when this is no array of maps, [`MapError::Permission`].
    pub fn set_map(&self, slot: u32, map: &VmMap) -> Result<(), MapError> {
        self.host_writes()?;
        let Store::Maps(slots, wanted) = &self.inner.store else { return Err(MapError::NotSupported) };
        let is_array = matches!(map.inner.store, Store::Array) && map.flags() & flags::INNER_MAP == 0;
        let is_alike = (map.kind(), map.key_size(), map.value_size(), map.flags())
            == (wanted.kind, wanted.key_size, wanted.value_size, wanted.flags)
            && (!is_array || map.max_entries() == wanted.max_entries);
        if !is_alike || matches!(map.inner.store, Store::Maps(..) | Store::Programs(..)) {
            return Err(MapError::Invalid);
        }
        slots.set(slot, map.clone())
    }

    /// Opens the ring of one CPU in a perf event array, `size` bytes of data, and puts it into the entry with the CPU's number: what
    /// `perf_event_open`, `mmap` and an update do on Linux. What was there before is closed. Gives the reading side;
    /// [`Host::wake_cpu`](crate::Host::wake_cpu) is told when it is to wake.
    ///
    /// # Errors
    /// [`MapError::Full`] outside of the array, [`MapError::Invalid`] for a size or a policy that no ring has, [`MapError::NoMemory`],
    /// [`MapError::NotSupported`] when this is no perf event array, [`MapError::Permission`].
    pub fn open_perf(
        &self,
        cpu: u32,
        size: usize,
        policy: WakeupPolicy,
    ) -> Result<Reader<PerfMemory>, MapError> {
        self.host_writes()?;
        let Store::Perf(slots) = &self.inner.store else { return Err(MapError::NotSupported) };
        if cpu >= self.max_entries() {
            return Err(MapError::Full);
        }
        self.inner.charge.add(PerfRing::bytes(size)).ok_or(MapError::NoMemory)?;
        let (ring, reader) = PerfRing::new(cpu, size, policy)?;
        slots.set(cpu, Arc::new(ring))?;
        Ok(reader)
    }

    /// The key that follows `key`, or the first one, to `out`; in a hash map from the oldest update to the newest.
    ///
    /// # Errors
    /// [`MapError::NotFound`] after the last key; [`MapError::Invalid`], [`MapError::Permission`], [`MapError::NotSupported`].
    pub fn next_key(&self, key: Option<&[u8]>, out: &mut [u8]) -> Result<(), MapError> {
        self.host_reads()?;
        match &self.inner.store {
            Store::Array | Store::Programs(..) | Store::Maps(..) | Store::Perf(_) => {
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
            _ => Err(MapError::NotSupported),
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
