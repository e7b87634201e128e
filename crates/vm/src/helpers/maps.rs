//! Of maps.

use super::{Call, errno};
use crate::error::{FaultKind, MapError};
use crate::host::Host;
use crate::maps::VmMap;
use crate::memory::{Memory, Scratch, index, low, zeroes};

impl Call<'_> {
    #[inline(never)]
    pub(super) fn map_update(&self, memory: &Memory<'_, '_>, host: &dyn Host) -> Result<u64, FaultKind> {
        let slot = self.writable(self.map(memory, VmMap::is_keyed)?)?;
        let (mut key, mut value) = (Scratch::new(), Scratch::new());
        let key = memory.bytes(self.arguments[1], index(slot.map.key_size()), &mut key)?;
        let value = memory.bytes(self.arguments[2], index(slot.map.value_size()), &mut value)?;
        let cpu = if slot.map.cpus() == 1 { 0 } else { host.processor() };
        Ok(answer(slot.map.update_unchecked(key, value, self.arguments[3], cpu)))
    }

    #[inline(never)]
    pub(super) fn map_delete(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let slot = self.writable(self.map(memory, VmMap::is_keyed)?)?;
        let mut scratch = Scratch::new();
        let key = memory.bytes(self.arguments[1], index(slot.map.key_size()), &mut scratch)?;
        Ok(answer(slot.map.delete_unchecked(key)))
    }

    #[inline(never)]
    pub(super) fn map_push(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let slot = self.writable(self.map(memory, VmMap::is_queue)?)?;
        let mut scratch = Scratch::new();
        let value = memory.bytes(self.arguments[1], index(slot.map.value_size()), &mut scratch)?;
        Ok(answer(slot.map.push_unchecked(value, self.arguments[2])))
    }

    #[inline(never)]
    pub(super) fn map_next(&self, memory: &mut Memory<'_, '_>, remove: bool) -> Result<u64, FaultKind> {
        let slot = self.map(memory, VmMap::is_queue)?;
        let (out, size) = (self.arguments[1], index(slot.map.value_size()));
        memory.check(out, size, true)?;
        match slot.map.take_value(remove, |value| memory.write(out, value).map_err(Stop::Fault)) {
            Ok(()) => Ok(0),
            Err(Stop::Fault(kind)) => Err(kind),
            Err(Stop::Answer(error)) => {
                // As in Linux, the program finds zeroes where it finds no value.
                for (place, zero) in zeroes(slot.map.value_size()) {
                    memory.write(out.wrapping_add(u64::from(place)), zero)?;
                }
                Ok(errno(error.errno()))
            }
        }
    }

    /// `bpf_map_lookup_percpu_elem`: the value of the CPU in register 3.
    #[inline(never)]
    pub(super) fn map_lookup_percpu(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let slot = self.map(memory, VmMap::is_keyed)?;
        let mut scratch = Scratch::new();
        let key = memory.bytes(self.arguments[1], index(slot.map.key_size()), &mut scratch)?;
        let offset = slot.map.lookup_offset_of(key, low(self.arguments[2]));
        Ok(offset.map_or(0, |offset| slot.address(offset)))
    }

    /// The value stays readable until its slot is used again, as after a deletion.
    #[inline(never)]
    pub(super) fn map_lookup_and_delete(
        &self,
        memory: &Memory<'_, '_>,
        host: &dyn Host,
    ) -> Result<u64, FaultKind> {
        let slot = self.writable(self.map(memory, VmMap::is_keyed)?)?;
        let mut scratch = Scratch::new();
        let key = memory.bytes(self.arguments[1], index(slot.map.key_size()), &mut scratch)?;
        let Some(offset) = slot.map.lookup_offset(key, host.processor()) else { return Ok(0) };
        Ok(if slot.map.delete_unchecked(key).is_ok() { slot.address(offset) } else { 0 })
    }
}

/// Two ways for a helper not to succeed.
enum Stop {
    Answer(MapError),
    Fault(FaultKind),
}

impl From<MapError> for Stop {
    fn from(error: MapError) -> Self {
        Self::Answer(error)
    }
}

fn answer(result: Result<(), MapError>) -> u64 {
    match result {
        Ok(()) => 0,
        Err(error) => errno(error.errno()),
    }
}
