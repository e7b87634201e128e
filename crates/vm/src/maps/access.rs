//! The programs' side of a map; permissions are checked by the helpers.

use alloc::sync::Arc;

use ebpf_loader::MapKind;

use super::area::Area;
use super::hash::Hash;
use super::{EXIST, NOEXIST, Store, VmMap, flags};
use crate::error::MapError;
use crate::perf::PerfRing;
use crate::program::VmProgram;
use crate::ring::UserRing;

impl VmMap {
    #[inline(always)]
    pub(crate) fn area(&self) -> Option<&Area> {
        self.inner.area.as_ref()
    }

    /// How many elements programs find by a 32-bit index; 0 when it is no array.
    pub(crate) fn elements(&self) -> u32 {
        let is_one = self.inner.cpus == 1;
        if is_one && matches!(self.inner.store, Store::Array) { self.inner.max_entries } else { 0 }
    }

    /// The table, if it is one whose keys are words and whose values are those of all CPUs.
    pub(crate) fn words(&self) -> Option<Arc<Hash>> {
        match &self.inner.store {
            Store::Hash(hash) if self.inner.cpus == 1 && hash.has_words() => Some(Arc::clone(hash)),
            _ => None,
        }
    }

    /// Whether it is a user ring, which programs drain.
    pub(crate) fn user_ring(&self) -> Option<&UserRing> {
        match &self.inner.store {
            Store::UserRing(ring) => Some(ring),
            _ => None,
        }
    }

    pub(crate) fn is_prog_array(&self) -> bool {
        matches!(self.inner.store, Store::Programs(..))
    }

    pub(crate) fn is_perf_array(&self) -> bool {
        matches!(self.inner.store, Store::Perf(_))
    }

    pub(crate) fn holds_maps(&self) -> bool {
        matches!(self.inner.store, Store::Maps(..))
    }

    /// An entry of a prog array.
    pub(crate) fn program(&self, slot: u32) -> Option<VmProgram> {
        match &self.inner.store {
            Store::Programs(slots, _) => slots.get(slot),
            _ => None,
        }
    }

    /// An entry of an array of maps.
    pub(crate) fn inner_map(&self, slot: u32) -> Option<VmMap> {
        match &self.inner.store {
            Store::Maps(slots, _) => slots.get(slot),
            _ => None,
        }
    }

    /// An entry of a perf event array.
    pub(crate) fn perf_ring(&self, slot: u32) -> Option<Arc<PerfRing>> {
        match &self.inner.store {
            Store::Perf(slots) => slots.get(slot),
            _ => None,
        }
    }

    /// Lets go of programs, which may hold this map.
    pub(crate) fn let_go(&self) {
        if let Store::Programs(slots, _) = &self.inner.store {
            slots.clear_all();
        }
    }

    /// Whether both are the same map.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// All keys there are, one after the other.
    pub(crate) fn keys(&self) -> Result<alloc::vec::Vec<u8>, MapError> {
        match &self.inner.store {
            Store::Hash(hash) => hash.keys().ok_or(MapError::NoMemory),
            _ => Ok(alloc::vec::Vec::new()),
        }
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

    #[inline]
    pub(crate) fn is_queue(&self) -> bool {
        matches!(self.inner.store, Store::Queue(_))
    }

    /// Offset of the value that CPU `cpu` sees, in the map's area. An LRU entry is recently used then.
    pub(crate) fn lookup_offset(&self, key: &[u8], cpu: u32) -> Option<u32> {
        let slot = match &self.inner.store {
            Store::Array => self.element(key)?,
            Store::Hash(hash) => hash.lookup(key, true)?,
            _ => return None,
        };
        self.offset_of(self.area()?, slot, self.cpu(cpu))
    }

    /// The same of one CPU by its number; `None` too where there is no such CPU.
    pub(crate) fn lookup_offset_of(&self, key: &[u8], cpu: u32) -> Option<u32> {
        if cpu < self.inner.cpus { self.lookup_offset(key, cpu) } else { None }
    }

    /// As a program on CPU `cpu` updates: the values of other CPUs stay what they are, or are 0 in a new entry.
    pub(crate) fn update_unchecked(
        &self,
        key: &[u8],
        value: &[u8],
        flags: u64,
        cpu: u32,
    ) -> Result<(), MapError> {
        self.check_value(value)?;
        self.put(key, value, flags, Some(self.cpu(cpu)))
    }

    /// With a value of `cpu`, or of all of them.
    pub(super) fn put(&self, key: &[u8], value: &[u8], flags: u64, cpu: Option<u32>) -> Result<(), MapError> {
        let area = self.area().ok_or(MapError::NotSupported)?;
        self.check_key(key)?;
        match &self.inner.store {
            Store::Array => {
                // In Linux's order: `array_map_update_elem`.
                if flags > EXIST {
                    return Err(MapError::Invalid);
                }
                let element = self.element(key).ok_or(MapError::Full)?;
                if flags == NOEXIST {
                    return Err(MapError::Exists);
                }
                self.write(area, element, value, cpu)
            }
            Store::Hash(hash) => {
                let in_place = self.inner.cpus != 1;
                let write = |slot, is_new| {
                    if is_new && in_place && cpu.is_some() {
                        (0..self.inner.cpus).try_for_each(|other| self.zero(area, slot, other))?;
                    }
                    self.write(area, slot, value, cpu)
                };
                let grow = |slots, more, bytes| self.grow(area, slots, more, bytes);
                hash.update(key, flags, in_place, grow, write)
            }
            _ => Err(MapError::NotSupported),
        }
    }

    /// Pays for so many slots more, which take so many bytes without their values, and makes room for these.
    pub(super) fn grow(&self, area: &Area, slots: u32, more: u32, bytes: u64) -> Option<()> {
        area.offset(slots.checked_add(more)?)?;
        // Values that are there from the start were paid then.
        let stride = if area.is_growing() { u64::from(area.stride()) } else { 0 };
        self.inner.charge.add(stride.checked_mul(u64::from(more))?.checked_add(bytes)?)?;
        // A charge that is not followed by its memory stays: the allocator is at its end then, and the next attempt pays anew.
        if area.is_growing() { area.grow(slots, more) } else { Some(()) }
    }

    /// What is left of an entry that had the slot before.
    pub(super) fn zero(&self, area: &Area, slot: u32, cpu: u32) -> Result<(), MapError> {
        let start = self.offset_of(area, slot, cpu).ok_or(MapError::NoMemory)?;
        for (place, zero) in crate::memory::zeroes(self.inner.value_size) {
            area.write(start.saturating_add(place), zero).ok_or(MapError::NoMemory)?;
        }
        Ok(())
    }

    pub(super) fn write(
        &self,
        area: &Area,
        slot: u32,
        value: &[u8],
        cpu: Option<u32>,
    ) -> Result<(), MapError> {
        let store = |cpu, value: &[u8]| {
            let offset = self.offset_of(area, slot, cpu).ok_or(MapError::NoMemory)?;
            area.write(offset, value).ok_or(MapError::NoMemory)
        };
        match cpu {
            Some(cpu) => store(cpu, value),
            None => {
                let size = crate::memory::index(self.inner.value_size);
                let mut values = value.chunks(size.next_multiple_of(8).max(1));
                (0..self.inner.cpus)
                    .zip(&mut values)
                    .try_for_each(|(cpu, value)| store(cpu, value.get(..size).ok_or(MapError::Invalid)?))
            }
        }
    }

    pub(super) fn each_cpu(
        &self,
        out: &mut [u8],
        mut each: impl FnMut(u32, &mut [u8]) -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        let size = crate::memory::index(self.inner.value_size);
        let places = out.chunks_mut(size.next_multiple_of(8).max(1));
        (0..self.inner.cpus).zip(places).try_for_each(|(cpu, place)| {
            let (value, padding) = place.split_at_mut_checked(size).ok_or(MapError::Invalid)?;
            padding.fill(0);
            each(cpu, value)
        })
    }

    /// Where the value of `cpu` stands: those of a CPU are together.
    #[inline]
    pub(super) fn offset_of(&self, area: &Area, slot: u32, cpu: u32) -> Option<u32> {
        if cpu == 0 {
            return area.offset(slot);
        }
        let each = match &self.inner.store {
            Store::Hash(_) => self.inner.max_entries.saturating_add(1),
            _ => self.inner.max_entries,
        };
        area.offset(cpu.checked_mul(each)?.checked_add(slot)?)
    }

    /// The CPU as this map counts: there are as many as the machine was made for.
    #[inline]
    pub(super) fn cpu(&self, cpu: u32) -> u32 {
        if self.inner.cpus == 1 { 0 } else { cpu.checked_rem(self.inner.cpus).unwrap_or(0) }
    }

    pub(super) fn is_per_cpu(&self) -> bool {
        matches!(self.inner.kind, MapKind::PERCPU_ARRAY | MapKind::PERCPU_HASH | MapKind::LRU_PERCPU_HASH)
    }

    pub(crate) fn delete_unchecked(&self, key: &[u8]) -> Result<(), MapError> {
        match &self.inner.store {
            Store::Array => Err(MapError::Invalid),
            Store::Hash(hash) => {
                self.check_key(key)?;
                hash.delete(key)
            }
            _ => Err(MapError::NotSupported),
        }
    }

    #[inline]
    pub(crate) fn push_unchecked(&self, value: &[u8], flags: u64) -> Result<(), MapError> {
        match &self.inner.store {
            Store::Queue(queue) => queue.push(&self.inner.charge, value, flags),
            _ => Err(MapError::NotSupported),
        }
    }

    #[inline]
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

    pub(super) fn array_index(&self, key: &[u8]) -> Result<u32, MapError> {
        Ok(u32::from_ne_bytes(key.try_into().map_err(|_| MapError::Invalid)?))
    }

    pub(super) fn element(&self, key: &[u8]) -> Option<u32> {
        self.array_index(key).ok().filter(|index| *index < self.max_entries())
    }

    pub(super) fn check_key(&self, key: &[u8]) -> Result<(), MapError> {
        if !self.is_keyed() {
            return Err(MapError::NotSupported);
        }
        if key.len() == crate::memory::index(self.key_size()) { Ok(()) } else { Err(MapError::Invalid) }
    }

    pub(super) fn check_value(&self, value: &[u8]) -> Result<(), MapError> {
        if value.len() == crate::memory::index(self.value_size()) { Ok(()) } else { Err(MapError::Invalid) }
    }

    pub(super) fn host_reads(&self) -> Result<(), MapError> {
        if self.inner.flags & flags::WRONLY == 0 { Ok(()) } else { Err(MapError::Permission) }
    }

    pub(super) fn host_writes(&self) -> Result<(), MapError> {
        let allowed = self.inner.flags & flags::RDONLY == 0 && !self.inner.frozen;
        if allowed { Ok(()) } else { Err(MapError::Permission) }
    }
}
