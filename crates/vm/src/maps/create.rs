//! Creating a map: the attributes it may have (Linux's `map_alloc_check` of each kind, with its error numbers), what it is
//! charged, and its parts.

use alloc::boxed::Box;
use alloc::sync::Arc;

use ebpf_loader::{MapDefinition, MapKind, MapSpec};
use spin::Once;

use super::area::Area;
use super::flags::*;
use super::hash::Hash;
use super::queue::Queue;
use super::slots::Slots;
use super::{Inner, Store, VmMap};
use crate::account::Account;
use crate::error::VmError;
use crate::perf::PerfRing;
use crate::program::VmProgram;
use crate::ring::{RingMap, UserRing};

/// What a map takes from the machine that creates it.
pub(crate) struct Machine<'m> {
    pub(crate) seed: u32,
    pub(crate) page_size: u32,
    pub(crate) cpus: u32,
    pub(crate) account: &'m Arc<Account>,
}

impl VmMap {
    pub(crate) fn create(
        spec: &MapSpec<'_>,
        id: u32,
        inner: Option<&MapDefinition>,
        machine: Machine<'_>,
    ) -> Result<Self, VmError> {
        let Machine { seed, page_size, cpus, account } = machine;
        let name = || Box::from(spec.name);
        let kind = spec.kind;
        let supported = matches!(
            kind,
            MapKind::ARRAY
                | MapKind::PERCPU_ARRAY
                | MapKind::HASH
                | MapKind::PERCPU_HASH
                | MapKind::LRU_HASH
                | MapKind::LRU_PERCPU_HASH
                | MapKind::QUEUE
                | MapKind::STACK
                | MapKind::RINGBUF
                | MapKind::USER_RINGBUF
                | MapKind::PROG_ARRAY
                | MapKind::ARRAY_OF_MAPS
                | MapKind::PERF_EVENT_ARRAY
        );
        if !supported {
            return Err(VmError::UnsupportedMapKind { name: name(), kind });
        }
        check(spec, page_size).and_then(|()| check_inner(spec, inner)).map_err(|refused| {
            VmError::InvalidMap { name: name(), reason: refused.reason, errno: refused.errno }
        })?;

        // What the map takes now, and what its first entry will take on top: a map that cannot hold one entry is refused here.
        let stride = u64::from(spec.value_size).next_multiple_of(8);
        let own = (size_of::<Inner>() as u64).saturating_add(spec.name.len() as u64);
        let is_per_cpu =
            matches!(kind, MapKind::PERCPU_ARRAY | MapKind::PERCPU_HASH | MapKind::LRU_PERCPU_HASH);
        let cpus = if is_per_cpu { cpus.max(1) } else { 1 };
        let entries = u64::from(spec.max_entries);
        // A hash map has one slot more than entries: the one that an update in a full map needs. Where every CPU has values, they are there from the start.
        let values_per_cpu = if kind == MapKind::PERCPU_ARRAY { entries } else { entries.saturating_add(1) };
        let values = stride.saturating_mul(values_per_cpu).saturating_mul(u64::from(cpus));
        let is_hash =
            matches!(kind, MapKind::HASH | MapKind::LRU_HASH) || is_per_cpu && kind != MapKind::PERCPU_ARRAY;
        // Few values are quicker found, and need less, where they are all there.
        let is_whole = cpus > 1 || values <= WHOLE;
        let slots = spec.max_entries.saturating_add(1);
        let first_bits = match slots.checked_next_power_of_two() {
            Some(whole)
                if values <= WHOLE && Hash::slot_bytes(spec.key_size, slots, whole) <= WHOLE_INDEX =>
            {
                whole.trailing_zeros()
            }
            _ => Area::FIRST_CHUNK_BITS,
        };
        let evicts = matches!(kind, MapKind::LRU_HASH | MapKind::LRU_PERCPU_HASH);
        let table = Hash::bytes(spec.max_entries, evicts, first_bits);
        let slot = Hash::slot_bytes(spec.key_size, 1, 1);
        let (now, entry) = match kind {
            MapKind::ARRAY => (stride.saturating_mul(entries), 0),
            MapKind::PERCPU_ARRAY => (values, 0),
            _ if is_hash && is_whole => (values.saturating_add(table), slot),
            MapKind::RINGBUF => (RingMap::bytes(spec.max_entries), 0),
            MapKind::USER_RINGBUF => (UserRing::bytes(spec.max_entries), 0),
            MapKind::PROG_ARRAY => (Slots::<VmProgram>::bytes(spec.max_entries), 0),
            MapKind::ARRAY_OF_MAPS => (Slots::<VmMap>::bytes(spec.max_entries), 0),
            MapKind::PERF_EVENT_ARRAY => (Slots::<Arc<PerfRing>>::bytes(spec.max_entries), 0),
            MapKind::QUEUE | MapKind::STACK => (0, u64::from(spec.value_size)),
            _ => (Area::GROWING_BYTES.saturating_add(table), slot.saturating_add(stride)),
        };
        let now = now.saturating_add(own);
        let charge = account.open();
        let over_limit = |requested| VmError::MemoryLimit {
            name: name(),
            requested,
            in_use: account.in_use(),
            limit: account.limit(),
        };
        if now.saturating_add(entry) > account.limit() {
            return Err(over_limit(now.saturating_add(entry)));
        }
        charge.add(now).ok_or_else(|| over_limit(now))?;

        let no_memory = || VmError::OutOfMemory { name: name(), requested: now };
        let (area, store) = match kind {
            MapKind::ARRAY | MapKind::PERCPU_ARRAY => {
                let elements = spec.max_entries.checked_mul(cpus).ok_or_else(no_memory)?;
                let area = Area::whole(spec.value_size, elements).ok_or_else(no_memory)?;
                (Some(area), Store::Array)
            }
            MapKind::USER_RINGBUF => {
                let ring = UserRing::new(spec.max_entries, page_size).ok_or_else(no_memory)?;
                (None, Store::UserRing(ring))
            }
            MapKind::PROG_ARRAY => {
                (None, Store::Programs(Slots::new(spec.max_entries).ok_or_else(no_memory)?, Once::new()))
            }
            MapKind::ARRAY_OF_MAPS => {
                let inner = *inner.ok_or_else(no_memory)?;
                (None, Store::Maps(Slots::new(spec.max_entries).ok_or_else(no_memory)?, inner))
            }
            MapKind::PERF_EVENT_ARRAY => {
                (None, Store::Perf(Slots::new(spec.max_entries).ok_or_else(no_memory)?))
            }
            MapKind::QUEUE | MapKind::STACK => {
                let queue = Queue::new(spec.value_size, spec.max_entries, kind == MapKind::STACK);
                (None, Store::Queue(queue))
            }
            MapKind::RINGBUF => {
                let ring = RingMap::new(spec.max_entries, page_size).ok_or_else(no_memory)?;
                (None, Store::Ring(ring))
            }
            _ => {
                let area = if is_whole {
                    let slots = spec.max_entries.checked_add(1).and_then(|slots| slots.checked_mul(cpus));
                    slots.and_then(|slots| Area::whole(spec.value_size, slots))
                } else {
                    Area::growing(spec.value_size)
                };
                let area = area.ok_or_else(no_memory)?;
                let hash = Hash::new(spec.key_size, spec.max_entries, evicts, u64::from(seed), first_bits);
                (Some(area), Store::Hash(Arc::new(hash.ok_or_else(no_memory)?)))
            }
        };
        if let (Some(area), Some(value)) = (&area, spec.initial_value) {
            area.write(0, value).ok_or_else(no_memory)?;
        }
        let inner = Inner {
            id,
            name: name(),
            kind,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
            flags: spec.flags,
            cpus,
            frozen: spec.read_only,
            area,
            store,
            charge,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// Bytes of values that a hash map takes at once rather than one after the other.
const WHOLE: u64 = 4096;
/// Bytes of buckets, chains and keys that it takes at once.
const WHOLE_INDEX: u64 = 1 << 15;

/// Why Linux would refuse to create a map.
struct Refused {
    reason: &'static str,
    errno: i32,
}

const EINVAL: i32 = -22;
const E2BIG: i32 = -7;
const EBADF: i32 = -9;
const ENOTSUPP: i32 = -524;

/// The largest allocation of Linux's slab (`KMALLOC_MAX_SIZE`), which bounds keys and values outside of arrays.
const LARGEST_VALUE: u64 = 1 << 22;

const ACCESS: u32 = RDONLY | WRONLY | RDONLY_PROG | WRONLY_PROG;

fn check(map: &MapSpec<'_>, page_size: u32) -> Result<(), Refused> {
    let (allowed, array, hash) = match map.kind {
        MapKind::ARRAY => (NUMA_NODE | MMAPABLE | PRESERVE_ELEMS | INNER_MAP | ACCESS, true, false),
        MapKind::PERCPU_ARRAY => (NUMA_NODE | ACCESS, true, false),
        MapKind::HASH | MapKind::PERCPU_HASH => (NO_PREALLOC | NUMA_NODE | ZERO_SEED | ACCESS, false, true),
        MapKind::LRU_HASH | MapKind::LRU_PERCPU_HASH => {
            (NO_PREALLOC | NO_COMMON_LRU | NUMA_NODE | ZERO_SEED | ACCESS, false, true)
        }
        MapKind::RINGBUF | MapKind::USER_RINGBUF => (NUMA_NODE, false, false),
        MapKind::PROG_ARRAY | MapKind::PERF_EVENT_ARRAY => {
            (NUMA_NODE | PRESERVE_ELEMS | RDONLY | WRONLY, true, false)
        }
        MapKind::ARRAY_OF_MAPS => (NUMA_NODE | ACCESS, true, false),
        _ => (NUMA_NODE | ACCESS, false, false),
    };
    if map.flags & !allowed != 0 {
        return refuse("flags that its kind does not have", EINVAL);
    }
    if map.flags & RDONLY_PROG != 0 && map.flags & WRONLY_PROG != 0 {
        return refuse("BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG at once", EINVAL);
    }
    if map.flags & RDONLY != 0 && map.flags & WRONLY != 0 {
        return refuse("BPF_F_RDONLY and BPF_F_WRONLY at once", EINVAL);
    }
    if map.initial_value.is_some() && map.kind != MapKind::ARRAY {
        return refuse("only arrays have an initial value", EINVAL);
    }
    if map.initial_value.is_some_and(|value| value.len() as u64 > u64::from(map.value_size)) {
        return refuse("the initial value is longer than value_size", EINVAL);
    }
    if matches!(map.kind, MapKind::RINGBUF | MapKind::USER_RINGBUF) {
        return check_ring(map, page_size);
    }
    if map.max_entries == 0 {
        return refuse("max_entries is 0", EINVAL);
    }
    if map.value_size == 0 {
        return refuse("value_size is 0", EINVAL);
    }
    if array {
        if map.key_size != 4 {
            return refuse("the key of an array has 4 bytes", EINVAL);
        }
        let holds_handles =
            matches!(map.kind, MapKind::PROG_ARRAY | MapKind::PERF_EVENT_ARRAY | MapKind::ARRAY_OF_MAPS);
        if holds_handles && map.value_size != 4 {
            return refuse("the value of an array of programs, maps or rings has 4 bytes", EINVAL);
        }
        if map.value_size > i32::MAX.cast_unsigned() {
            return refuse("value_size is above 2^31 - 1", E2BIG);
        }
    } else if hash {
        if map.key_size == 0 {
            return refuse("key_size is 0", EINVAL);
        }
        let is_lru = matches!(map.kind, MapKind::LRU_HASH | MapKind::LRU_PERCPU_HASH);
        if is_lru && map.flags & NO_PREALLOC != 0 {
            return refuse("BPF_F_NO_PREALLOC with an LRU map", ENOTSUPP);
        }
        if u64::from(map.key_size).saturating_add(u64::from(map.value_size)) >= LARGEST_VALUE {
            return refuse("key and value have more than 2^22 - 1 bytes together", E2BIG);
        }
    } else {
        if map.key_size != 0 {
            return refuse("queues and stacks have no key", EINVAL);
        }
        if u64::from(map.value_size) > LARGEST_VALUE {
            return refuse("value_size is above 2^22", E2BIG);
        }
    }
    Ok(())
}

/// `bpf_map_meta_alloc`: an array of maps is made after a map, which may not be one of a kind that holds maps or programs.
fn check_inner(map: &MapSpec<'_>, inner: Option<&MapDefinition>) -> Result<(), Refused> {
    match (map.kind, inner) {
        (MapKind::ARRAY_OF_MAPS, None) => refuse("an array of maps needs an inner map", EBADF),
        (MapKind::ARRAY_OF_MAPS, Some(inner)) => match inner.kind {
            MapKind::ARRAY_OF_MAPS | MapKind::HASH_OF_MAPS => refuse("maps in maps in maps", EINVAL),
            MapKind::PROG_ARRAY => refuse("a prog array in an array of maps", ENOTSUPP),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn check_ring(map: &MapSpec<'_>, page_size: u32) -> Result<(), Refused> {
    if map.key_size != 0 || map.value_size != 0 {
        return refuse("rings have no key_size and no value_size", EINVAL);
    }
    if !map.max_entries.is_power_of_two() || !map.max_entries.is_multiple_of(page_size.max(1)) {
        return refuse("the size of a ring is a power of two and whole pages", EINVAL);
    }
    Ok(())
}

fn refuse(reason: &'static str, errno: i32) -> Result<(), Refused> {
    Err(Refused { reason, errno })
}
