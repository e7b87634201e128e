//! Of ring buffers and perf event arrays.

use super::{
    Call, E2BIG, EAGAIN, EINVAL, ENOENT, RINGBUF_SUBMIT, RINGBUF_SUBMIT_DYNPTR, WAKEUP_FLAGS, errno,
};
use crate::error::FaultKind;
use crate::host::Host;
use crate::memory::{MapSlot, Memory, Region, Scratch, low};
use crate::ring::{RingMap, RingReservation};

/// The end of `bpf_ringbuf_output`, when nothing is wrong with its arguments: what the program gets.
#[inline(always)]
pub(crate) fn output<'run>(
    slot: &'run MapSlot,
    ring: &'run RingMap,
    payload: &[u8],
    flags: u64,
    memory: &Memory<'_, 'run>,
    host: &dyn Host,
) -> u64 {
    let Some(woken) = RingReservation::output(&slot.map, ring, payload, flags, &memory.books) else {
        return errno(EAGAIN);
    };
    if let Some(map) = woken {
        host.wake(map);
    }
    0
}

impl Call<'_> {
    pub(super) fn ringbuf_output(
        &self,
        memory: &Memory<'_, '_>,
        host: &dyn Host,
        flags: u64,
    ) -> Result<u64, FaultKind> {
        let [_, data, size, ..] = *self.arguments;
        let (slot, ring) = self.ring(memory)?;
        let Ok(length) = usize::try_from(size) else {
            return Err(FaultKind::OutOfBounds { address: data, size: u32::MAX, write: false });
        };
        let mut scratch;
        let payload = match memory.plain(data, length) {
            Some(payload) => payload,
            None => {
                scratch = Scratch::new();
                memory.bytes(data, length, &mut scratch)?
            }
        };
        if flags & !WAKEUP_FLAGS != 0 {
            return Ok(errno(EINVAL));
        }
        Ok(output(slot, ring, payload, flags, memory, host))
    }

    pub(super) fn ringbuf_reserve(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let (slot, ring) = self.ring(memory)?;
        if self.arguments[2] != 0 {
            return Ok(0);
        }
        memory.reserve(&slot.map, ring, self.arguments[1]).ok_or(FaultKind::TooManyReservations)
    }

    pub(super) fn ringbuf_commit(
        &self,
        memory: &mut Memory<'_, '_>,
        host: &dyn Host,
        value: u64,
    ) -> Result<u64, FaultKind> {
        let submits = matches!(self.helper, RINGBUF_SUBMIT | RINGBUF_SUBMIT_DYNPTR);
        let committed = memory.commit(value, self.arguments[1], submits);
        if let Some(map) = committed.ok_or(FaultKind::NotAReservation { value })? {
            host.wake(map);
        }
        Ok(0)
    }

    pub(super) fn ringbuf_query(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let (_, ring) = self.ring(memory)?;
        Ok(ring.query(self.arguments[1]))
    }

    /// `bpf_perf_event_output`, its checks in Linux's order.
    #[inline(never)]
    pub(super) fn perf_event_output(
        &self,
        memory: &Memory<'_, '_>,
        host: &dyn Host,
    ) -> Result<u64, FaultKind> {
        const CURRENT_CPU: u64 = 0xffff_ffff;
        let [context, value, flags, data, size] = *self.arguments;
        let helper = self.helper;
        if context != Region::Context.address(0) {
            return Err(FaultKind::NotTheContext { helper, value: context });
        }
        let slot = memory.handle(value).ok_or(FaultKind::NotAMap { helper, value })?;
        if !slot.map.is_perf_array() {
            return Err(FaultKind::WrongMapKind { helper, kind: slot.map.kind() });
        }
        let Ok(length) = usize::try_from(size) else {
            return Err(FaultKind::OutOfBounds { address: data, size: u32::MAX, write: false });
        };
        let mut scratch = Scratch::new();
        let payload = memory.bytes(data, length, &mut scratch)?;
        if flags & !CURRENT_CPU != 0 {
            return Ok(errno(EINVAL));
        }
        let cpu = host.processor();
        let number = if flags == CURRENT_CPU { cpu } else { low(flags) };
        if number >= slot.map.max_entries() {
            return Ok(errno(E2BIG));
        }
        let Some(ring) = slot.map.perf_ring(number) else { return Ok(errno(ENOENT)) };
        match ring.output(cpu, payload) {
            Ok(wakes) => {
                if wakes {
                    host.wake_cpu(&slot.map, number);
                }
                Ok(0)
            }
            Err(number) => Ok(errno(number)),
        }
    }
}
