//! The helpers, by Linux's numbers and with its answers (`include/uapi/linux/bpf.h`).
//!
//! What Linux's verifier would refuse beforehand is a fault here when it happens: a bad pointer, a helper on the wrong kind of
//! map. What Linux answers with an error number is answered with that number.

use crate::error::{FaultKind, MapError};
use crate::host::Host;
use crate::maps::VmMap;
use crate::memory::{MapSlot, Memory, Scratch, index, low};
use crate::ring::RingReservation;
use crate::trace;

pub(crate) const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_DELETE_ELEM: u32 = 3;
const KTIME_GET_NS: u32 = 5;
const TRACE_PRINTK: u32 = 6;
const GET_PRANDOM_U32: u32 = 7;
const GET_SMP_PROCESSOR_ID: u32 = 8;
const GET_CURRENT_PID_TGID: u32 = 14;
const GET_CURRENT_UID_GID: u32 = 15;
const GET_CURRENT_COMM: u32 = 16;
const MAP_PUSH_ELEM: u32 = 87;
const MAP_POP_ELEM: u32 = 88;
const MAP_PEEK_ELEM: u32 = 89;
const KTIME_GET_BOOT_NS: u32 = 125;
const RINGBUF_OUTPUT: u32 = 130;
pub(crate) const RINGBUF_RESERVE: u32 = 131;
const RINGBUF_SUBMIT: u32 = 132;
const RINGBUF_DISCARD: u32 = 133;
const RINGBUF_QUERY: u32 = 134;
const KTIME_GET_COARSE_NS: u32 = 160;
/// Runs in the interpreter, because it runs instructions.
pub(crate) const LOOP: u32 = 181;

const EINVAL: i32 = -22;
const EAGAIN: i32 = -11;

/// `BPF_RB_NO_WAKEUP` and `BPF_RB_FORCE_WAKEUP`.
const WAKEUP_FLAGS: u64 = 3;

/// Whether this machine has the helper.
pub(crate) fn is_known(helper: u32) -> bool {
    matches!(
        helper,
        MAP_LOOKUP_ELEM
            | MAP_UPDATE_ELEM
            | MAP_DELETE_ELEM
            | KTIME_GET_NS
            | TRACE_PRINTK
            | GET_PRANDOM_U32
            | GET_SMP_PROCESSOR_ID
            | GET_CURRENT_PID_TGID
            | GET_CURRENT_UID_GID
            | GET_CURRENT_COMM
            | MAP_PUSH_ELEM
            | MAP_POP_ELEM
            | MAP_PEEK_ELEM
            | KTIME_GET_BOOT_NS
            | RINGBUF_OUTPUT
            | RINGBUF_RESERVE
            | RINGBUF_SUBMIT
            | RINGBUF_DISCARD
            | RINGBUF_QUERY
            | KTIME_GET_COARSE_NS
            | LOOP
    )
}

/// An error number as register 0 carries it.
pub(crate) fn errno(number: i32) -> u64 {
    i64::from(number).cast_unsigned()
}

/// `bpf_map_lookup_elem`.
pub(crate) fn map_lookup(map: u64, key: u64, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
    let call = Call { helper: MAP_LOOKUP_ELEM, arguments: &[map, key, 0, 0, 0] };
    let slot = call.map(memory, VmMap::is_keyed)?;
    let found = |bytes: &[u8]| slot.map.lookup_offset(bytes).map_or(0, |offset| slot.address(offset));
    let size = index(slot.map.key_size());
    if let Some(bytes) = memory.plain(key, size) {
        return Ok(found(bytes));
    }
    let mut scratch = Scratch::new();
    memory.bytes(key, size, &mut scratch).map(found)
}

/// Calls a helper, any but [`map_lookup`], with registers 1 to 5; gives register 0.
#[inline(never)]
pub(crate) fn call(
    helper: u32,
    arguments: &[u64; 5],
    memory: &mut Memory<'_, '_>,
    host: &dyn Host,
) -> Result<u64, FaultKind> {
    let call = Call { helper, arguments };
    match helper {
        MAP_UPDATE_ELEM => call.map_update(memory),
        MAP_DELETE_ELEM => call.map_delete(memory),
        KTIME_GET_NS => Ok(host.monotonic_ns()),
        TRACE_PRINTK => call.trace_printk(memory, host),
        GET_PRANDOM_U32 => Ok(u64::from(host.random())),
        GET_SMP_PROCESSOR_ID => Ok(u64::from(host.processor())),
        GET_CURRENT_PID_TGID => Ok(host.pid_tgid()),
        GET_CURRENT_UID_GID => Ok(host.uid_gid()),
        GET_CURRENT_COMM => call.comm(memory, host),
        MAP_PUSH_ELEM => call.map_push(memory),
        MAP_POP_ELEM => call.map_next(memory, true),
        MAP_PEEK_ELEM => call.map_next(memory, false),
        KTIME_GET_BOOT_NS => Ok(host.boot_ns()),
        RINGBUF_OUTPUT => call.ringbuf_output(memory, host),
        RINGBUF_RESERVE => call.ringbuf_reserve(memory),
        RINGBUF_SUBMIT | RINGBUF_DISCARD => call.ringbuf_commit(memory, host),
        RINGBUF_QUERY => call.ringbuf_query(memory),
        KTIME_GET_COARSE_NS => Ok(host.coarse_ns()),
        // Validation has let no other through.
        _ => Ok(errno(EINVAL)),
    }
}

struct Call<'r> {
    helper: u32,
    arguments: &'r [u64; 5],
}

impl Call<'_> {
    fn map_update(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let slot = self.writable(self.map(memory, VmMap::is_keyed)?)?;
        let (mut key, mut value) = (Scratch::new(), Scratch::new());
        let key = memory.bytes(self.arguments[1], index(slot.map.key_size()), &mut key)?;
        let value = memory.bytes(self.arguments[2], index(slot.map.value_size()), &mut value)?;
        Ok(answer(slot.map.update_unchecked(key, value, self.arguments[3])))
    }

    fn map_delete(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let slot = self.writable(self.map(memory, VmMap::is_keyed)?)?;
        let mut scratch = Scratch::new();
        let key = memory.bytes(self.arguments[1], index(slot.map.key_size()), &mut scratch)?;
        Ok(answer(slot.map.delete_unchecked(key)))
    }

    fn map_push(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let slot = self.writable(self.map(memory, VmMap::is_queue)?)?;
        let mut scratch = Scratch::new();
        let value = memory.bytes(self.arguments[1], index(slot.map.value_size()), &mut scratch)?;
        Ok(answer(slot.map.push_unchecked(value, self.arguments[2])))
    }

    fn map_next(&self, memory: &mut Memory<'_, '_>, remove: bool) -> Result<u64, FaultKind> {
        let slot = self.map(memory, VmMap::is_queue)?;
        let (out, size) = (self.arguments[1], index(slot.map.value_size()));
        memory.check(out, size, true)?;
        match slot.map.take_value(remove, |value| memory.write(out, value).map_err(Stop::Fault)) {
            Ok(()) => Ok(0),
            Err(Stop::Fault(kind)) => Err(kind),
            Err(Stop::Answer(error)) => {
                // As in Linux, the program finds zeroes where it finds no value.
                for place in (0..size as u64).step_by(ZEROES.len()) {
                    let piece = size.saturating_sub(usize::try_from(place).unwrap_or(size)).min(ZEROES.len());
                    memory.write(out.wrapping_add(place), ZEROES.get(..piece).unwrap_or_default())?;
                }
                Ok(errno(error.errno()))
            }
        }
    }

    fn comm(&self, memory: &mut Memory<'_, '_>, host: &dyn Host) -> Result<u64, FaultKind> {
        let size = index(low(self.arguments[1]));
        if size == 0 {
            return Ok(errno(EINVAL));
        }
        memory.check(self.arguments[0], size, true)?;
        // Cut to the buffer with a zero at the end, and padded to its end.
        let mut name = host.comm();
        for (place, byte) in name.iter_mut().enumerate() {
            if place >= size.min(16).saturating_sub(1) {
                *byte = 0;
            }
        }
        memory.write(self.arguments[0], name.get(..size.min(16)).unwrap_or_default())?;
        for place in 16..size {
            memory.write(self.arguments[0].wrapping_add(place as u64), &[0])?;
        }
        Ok(0)
    }

    fn trace_printk(&self, memory: &Memory<'_, '_>, host: &dyn Host) -> Result<u64, FaultKind> {
        let [format, size, values @ ..] = *self.arguments;
        let mut scratch = Scratch::new();
        let format = memory.bytes(format, index(low(size)), &mut scratch)?;
        let mut message = trace::Message::new();
        let read = |address: u64| memory.load::<1>(address).map(|byte| byte.to_le_bytes()[0]);
        if message.format(format, values, read).is_none() {
            return Ok(errno(EINVAL));
        }
        host.trace(message.as_bytes());
        Ok(message.as_bytes().len() as u64)
    }

    fn ringbuf_output(&self, memory: &Memory<'_, '_>, host: &dyn Host) -> Result<u64, FaultKind> {
        let [_, data, size, flags, _] = *self.arguments;
        let slot = self.map(memory, is_ring)?;
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
        let Some(woken) = RingReservation::output(&slot.map, payload, flags) else {
            return Ok(errno(EAGAIN));
        };
        if let Some(map) = woken {
            host.wake(map);
        }
        Ok(0)
    }

    fn ringbuf_reserve(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let slot = self.map(memory, is_ring)?;
        if self.arguments[2] != 0 {
            return Ok(0);
        }
        if !memory.can_keep() {
            return Err(FaultKind::TooManyReservations);
        }
        let reservation = RingReservation::new(&slot.map, self.arguments[1]);
        Ok(reservation.and_then(|reservation| memory.keep(reservation)).unwrap_or(0))
    }

    fn ringbuf_commit(&self, memory: &mut Memory<'_, '_>, host: &dyn Host) -> Result<u64, FaultKind> {
        let [value, flags, ..] = *self.arguments;
        let reservation = memory.release(value).ok_or(FaultKind::NotAReservation { value })?;
        let woken = if self.helper == RINGBUF_SUBMIT {
            reservation.submit(flags)
        } else {
            reservation.discard(flags)
        };
        if let Some(map) = woken {
            host.wake(map);
        }
        Ok(0)
    }

    fn ringbuf_query(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let slot = self.map(memory, is_ring)?;
        Ok(slot.map.ring().map_or(0, |ring| ring.query(self.arguments[1])))
    }

    /// The map in register 1, of a kind that the helper works on.
    fn map<'run>(
        &self,
        memory: &Memory<'_, 'run>,
        is_kind: impl FnOnce(&VmMap) -> bool,
    ) -> Result<&'run MapSlot, FaultKind> {
        let (helper, value) = (self.helper, self.arguments[0]);
        let slot = memory.handle(value).ok_or(FaultKind::NotAMap { helper, value })?;
        if is_kind(&slot.map) {
            Ok(slot)
        } else {
            Err(FaultKind::WrongMapKind { helper, kind: slot.map.kind() })
        }
    }

    fn writable<'run>(&self, slot: &'run MapSlot) -> Result<&'run MapSlot, FaultKind> {
        let denied = FaultKind::Permission { address: self.arguments[0], write: true };
        if slot.writable { Ok(slot) } else { Err(denied) }
    }
}

const ZEROES: &[u8] = &[0; 64];

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

fn is_ring(map: &VmMap) -> bool {
    map.ring().is_some()
}
