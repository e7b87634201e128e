//! The helpers that programs call most, where everything is as it mostly is: a map of the program's own and of the right kind, bytes on the stack or in the context.
//!
//! `None` means that it is not so, and that nothing was done: then [`helpers::call`](crate::helpers::call) finds out what is to be said.

use crate::error::MapError;
use crate::helpers::{WAKEUP_FLAGS, errno, rings};
use crate::host::Host;
use crate::memory::{Memory, clear, copy, index};

/// Registers 1 to 5.
type Arguments = [u64; 5];

/// `bpf_map_push_elem`.
#[inline(never)]
pub(crate) fn push([map, value, flags, ..]: &Arguments, memory: &Memory<'_, '_>) -> Option<u64> {
    let slot = memory.own_handle(*map).filter(|slot| slot.map.is_queue())?;
    let value = memory.plain(*value, index(slot.map.value_size()))?;
    if !slot.writable {
        return None;
    }
    Some(match slot.map.push_unchecked(value, *flags) {
        Ok(()) => 0,
        Err(error) => errno(error.errno()),
    })
}

/// `bpf_map_pop_elem`, or `bpf_map_peek_elem`, which removes nothing.
#[inline(never)]
pub(crate) fn take([map, out, ..]: &Arguments, memory: &mut Memory<'_, '_>, removes: bool) -> Option<u64> {
    let slot = memory.own_handle(*map).filter(|slot| slot.map.is_queue())?;
    let out = memory.plain_mut(*out, index(slot.map.value_size()))?;
    let taken = slot.map.take_value(removes, |value| {
        copy(out, value);
        Ok::<_, MapError>(())
    });
    Some(match taken {
        Ok(()) => 0,
        // As in Linux, the program finds zeroes where it finds no value.
        Err(error) => {
            clear(out);
            errno(error.errno())
        }
    })
}

/// `bpf_ringbuf_output`.
#[inline(never)]
pub(crate) fn output(
    [map, data, size, flags, _]: &Arguments,
    memory: &Memory<'_, '_>,
    host: &dyn Host,
) -> Option<u64> {
    let slot = memory.own_handle(*map)?;
    let ring = slot.map.ring()?;
    let payload = memory.plain(*data, usize::try_from(*size).ok()?)?;
    if *flags & !WAKEUP_FLAGS != 0 {
        return None;
    }
    Some(rings::output(slot, ring, payload, *flags, memory, host))
}

/// `bpf_ringbuf_reserve`.
#[inline(never)]
pub(crate) fn reserve([map, size, flags, ..]: &Arguments, memory: &mut Memory<'_, '_>) -> Option<u64> {
    let slot = memory.own_handle(*map)?;
    let ring = slot.map.ring()?;
    if *flags == 0 { memory.reserve(&slot.map, ring, *size) } else { None }
}

/// `bpf_ringbuf_submit`, or `bpf_ringbuf_discard`.
#[inline(never)]
pub(crate) fn commit(
    [address, flags, ..]: &Arguments,
    memory: &mut Memory<'_, '_>,
    host: &dyn Host,
    submits: bool,
) -> Option<u64> {
    if let Some(map) = memory.commit(*address, *flags, submits)? {
        host.wake(map);
    }
    Some(0)
}
