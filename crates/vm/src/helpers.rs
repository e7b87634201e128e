//! The helpers, by Linux's numbers and with its answers (`include/uapi/linux/bpf.h`).
//!
//! What Linux's verifier would refuse beforehand is a fault here when it happens: a bad pointer, a helper on the wrong kind of
//! map. What Linux answers with an error number is answered with that number.

use crate::dynptr::{self, Dynptr, Kind};
use crate::error::{FaultKind, MapError};
use crate::host::Host;
use crate::maps::VmMap;
use crate::memory::{MapSlot, Memory, Region, Scratch, index, low};
use crate::numbers::HelperNumbers;
use crate::ring::{RingMap, RingReservation};
use crate::trace;

macro_rules! helpers {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        $($(#[$doc])* pub(crate) const $name: u32 = $number;)*

        /// Whether this machine has the helper that Linux gave that number.
        pub(crate) fn is_known(helper: u32) -> bool {
            helper <= LAST && matches!(helper, $($name)|*)
        }
    };
}

/// Linux's numbers end far below; those of helpers that only Windows has begin here.
const LAST: u32 = 0xffff;

helpers! {
    MAP_LOOKUP_ELEM = 1;
    MAP_UPDATE_ELEM = 2;
    MAP_DELETE_ELEM = 3;
    KTIME_GET_NS = 5;
    TRACE_PRINTK = 6;
    GET_PRANDOM_U32 = 7;
    GET_SMP_PROCESSOR_ID = 8;
    TAIL_CALL = 12;
    GET_CURRENT_PID_TGID = 14;
    GET_CURRENT_UID_GID = 15;
    GET_CURRENT_COMM = 16;
    PERF_EVENT_OUTPUT = 25;
    CSUM_DIFF = 28;
    MAP_PUSH_ELEM = 87;
    MAP_POP_ELEM = 88;
    MAP_PEEK_ELEM = 89;
    KTIME_GET_BOOT_NS = 125;
    RINGBUF_OUTPUT = 130;
    RINGBUF_RESERVE = 131;
    RINGBUF_SUBMIT = 132;
    RINGBUF_DISCARD = 133;
    RINGBUF_QUERY = 134;
    KTIME_GET_COARSE_NS = 160;
    /// Runs functions of the program, see `callbacks`.
    FOR_EACH_MAP_ELEM = 164;
    /// Runs in the interpreter, because it runs instructions.
    LOOP = 181;
    MAP_LOOKUP_PERCPU_ELEM = 195;
    DYNPTR_FROM_MEM = 197;
    RINGBUF_RESERVE_DYNPTR = 198;
    RINGBUF_SUBMIT_DYNPTR = 199;
    RINGBUF_DISCARD_DYNPTR = 200;
    DYNPTR_READ = 201;
    DYNPTR_WRITE = 202;
    DYNPTR_DATA = 203;
    /// Runs functions of the program, see `callbacks`.
    USER_RINGBUF_DRAIN = 209;

    // Only on Windows.
    MAP_LOOKUP_AND_DELETE_ELEM = 0x1_0004;
    /// Without a look at the flags.
    RINGBUF_OUTPUT_PLAIN = 0x1_000b;
    MEMCPY = 0x1_0016;
    MEMCMP = 0x1_0017;
    MEMSET = 0x1_0018;
    MEMMOVE = 0x1_0019;
    KTIME_GET_BOOT_MS = 0x1_001e;
    KTIME_GET_MS = 0x1_001f;
}

/// Whether a negative answer is an error number.
pub(crate) fn answers_with_errors(helper: u32) -> bool {
    !matches!(
        helper,
        MAP_LOOKUP_ELEM
            | MAP_LOOKUP_AND_DELETE_ELEM
            | KTIME_GET_NS
            | KTIME_GET_BOOT_NS
            | KTIME_GET_BOOT_MS
            | KTIME_GET_MS
            | GET_PRANDOM_U32
            | GET_SMP_PROCESSOR_ID
            | GET_CURRENT_PID_TGID
            | MEMCMP
    )
}

pub(crate) const EPERM: i32 = -1;
pub(crate) const ENOENT: i32 = -2;
pub(crate) const E2BIG: i32 = -7;
pub(crate) const EAGAIN: i32 = -11;
pub(crate) const ENOMEM: i32 = -12;
pub(crate) const EEXIST: i32 = -17;
pub(crate) const EINVAL: i32 = -22;
pub(crate) const ENOSPC: i32 = -28;
pub(crate) const EOPNOTSUPP: i32 = -95;
pub(crate) const ENOTSUPP: i32 = -524;

/// `BPF_RB_NO_WAKEUP` and `BPF_RB_FORCE_WAKEUP`.
pub(crate) const WAKEUP_FLAGS: u64 = 3;

/// An error number as register 0 carries it.
pub(crate) fn errno(number: i32) -> u64 {
    i64::from(number).cast_unsigned()
}

/// `bpf_map_lookup_elem`.
pub(crate) fn map_lookup(
    map: u64,
    key: u64,
    memory: &Memory<'_, '_>,
    host: &dyn Host,
) -> Result<u64, FaultKind> {
    let call = Call { helper: MAP_LOOKUP_ELEM, arguments: &[map, key, 0, 0, 0] };
    let slot = call.map(memory, |map| map.is_keyed() || map.holds_maps())?;
    let size = index(slot.map.key_size());
    let mut scratch;
    let key = match memory.plain(key, size) {
        Some(bytes) => bytes,
        None => {
            scratch = Scratch::new();
            memory.bytes(key, size, &mut scratch)?
        }
    };
    if slot.map.holds_maps() {
        let element = key.first_chunk().map_or(0, |key| u32::from_ne_bytes(*key));
        return slot.map.inner_map(element).map_or(Ok(0), |map| memory.acquire(map));
    }
    let cpu = if slot.map.cpus() == 1 { 0 } else { host.processor() };
    Ok(slot.map.lookup_offset(key, cpu).map_or(0, |offset| slot.address(offset)))
}

/// Calls a helper with registers 1 to 5; gives register 0. Those that have a [`Code`](crate::decode::Code) of their own are not called here.
#[inline(never)]
pub(crate) fn call(
    helper: u32,
    arguments: &[u64; 5],
    memory: &mut Memory<'_, '_>,
    host: &dyn Host,
    numbers: HelperNumbers,
) -> Result<u64, FaultKind> {
    let call = Call { helper, arguments };
    let answer = match helper {
        MAP_UPDATE_ELEM => call.map_update(memory, host),
        MAP_DELETE_ELEM => call.map_delete(memory),
        KTIME_GET_NS => Ok(host.monotonic_ns()),
        TRACE_PRINTK => call.trace_printk(memory, host),
        GET_PRANDOM_U32 => Ok(u64::from(host.random())),
        GET_SMP_PROCESSOR_ID => Ok(u64::from(host.processor())),
        GET_CURRENT_PID_TGID => Ok(host.pid_tgid()),
        GET_CURRENT_UID_GID => Ok(host.uid_gid()),
        GET_CURRENT_COMM => call.comm(memory, host),
        PERF_EVENT_OUTPUT => call.perf_event_output(memory, host),
        CSUM_DIFF => call.csum_diff(memory),
        MAP_PUSH_ELEM => call.map_push(memory),
        MAP_POP_ELEM => call.map_next(memory, true),
        MAP_PEEK_ELEM => call.map_next(memory, false),
        KTIME_GET_BOOT_NS => Ok(host.boot_ns()),
        RINGBUF_OUTPUT => call.ringbuf_output(memory, host, arguments[3]),
        RINGBUF_OUTPUT_PLAIN => call.ringbuf_output(memory, host, 0),
        RINGBUF_RESERVE => call.ringbuf_reserve(memory),
        RINGBUF_SUBMIT | RINGBUF_DISCARD => call.ringbuf_commit(memory, host, arguments[0]),
        RINGBUF_QUERY => call.ringbuf_query(memory),
        KTIME_GET_COARSE_NS => Ok(host.coarse_ns()),
        MAP_LOOKUP_PERCPU_ELEM => call.map_lookup_percpu(memory),
        MAP_LOOKUP_AND_DELETE_ELEM => call.map_lookup_and_delete(memory, host),
        DYNPTR_FROM_MEM => call.dynptr_from_mem(memory),
        RINGBUF_RESERVE_DYNPTR => call.ringbuf_reserve_dynptr(memory),
        RINGBUF_SUBMIT_DYNPTR | RINGBUF_DISCARD_DYNPTR => call.ringbuf_commit_dynptr(memory, host),
        DYNPTR_READ => call.dynptr_read(memory),
        DYNPTR_WRITE => call.dynptr_write(memory),
        DYNPTR_DATA => call.dynptr_data(memory),
        MEMCPY | MEMMOVE => call.memmove(memory),
        MEMCMP => call.memcmp(memory),
        MEMSET => call.memset(memory),
        KTIME_GET_BOOT_MS => Ok(host.boot_ns() / NANOSECONDS),
        KTIME_GET_MS => Ok(host.monotonic_ns() / NANOSECONDS),
        // Validation has let no other through.
        _ => Ok(errno(EINVAL)),
    };
    answer.map(|answer| numbers.answer(helper, answer))
}

/// Of a millisecond.
const NANOSECONDS: u64 = 1_000_000;

struct Call<'r> {
    helper: u32,
    arguments: &'r [u64; 5],
}

/// Those with much on their stack are functions of their own: [`call`] would pay for it each time.
impl Call<'_> {
    #[inline(never)]
    fn map_update(&self, memory: &Memory<'_, '_>, host: &dyn Host) -> Result<u64, FaultKind> {
        let slot = self.writable(self.map(memory, VmMap::is_keyed)?)?;
        let (mut key, mut value) = (Scratch::new(), Scratch::new());
        let key = memory.bytes(self.arguments[1], index(slot.map.key_size()), &mut key)?;
        let value = memory.bytes(self.arguments[2], index(slot.map.value_size()), &mut value)?;
        let cpu = if slot.map.cpus() == 1 { 0 } else { host.processor() };
        Ok(answer(slot.map.update_unchecked(key, value, self.arguments[3], cpu)))
    }

    #[inline(never)]
    fn map_delete(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let slot = self.writable(self.map(memory, VmMap::is_keyed)?)?;
        let mut scratch = Scratch::new();
        let key = memory.bytes(self.arguments[1], index(slot.map.key_size()), &mut scratch)?;
        Ok(answer(slot.map.delete_unchecked(key)))
    }

    #[inline(never)]
    fn map_push(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let slot = self.writable(self.map(memory, VmMap::is_queue)?)?;
        let mut scratch = Scratch::new();
        let value = memory.bytes(self.arguments[1], index(slot.map.value_size()), &mut scratch)?;
        Ok(answer(slot.map.push_unchecked(value, self.arguments[2])))
    }

    #[inline(never)]
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

    #[inline(never)]
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

    #[inline(never)]
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

    fn ringbuf_output(&self, memory: &Memory<'_, '_>, host: &dyn Host, flags: u64) -> Result<u64, FaultKind> {
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
        let Some(woken) = RingReservation::output(&slot.map, ring, payload, flags, &memory.books) else {
            return Ok(errno(EAGAIN));
        };
        if let Some(map) = woken {
            host.wake(map);
        }
        Ok(0)
    }

    fn ringbuf_reserve(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let (slot, ring) = self.ring(memory)?;
        if self.arguments[2] != 0 {
            return Ok(0);
        }
        memory.reserve(&slot.map, ring, self.arguments[1]).ok_or(FaultKind::TooManyReservations)
    }

    fn ringbuf_commit(
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

    fn ringbuf_query(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let (_, ring) = self.ring(memory)?;
        Ok(ring.query(self.arguments[1]))
    }

    /// `bpf_map_lookup_percpu_elem`: the value of the CPU in register 3.
    #[inline(never)]
    fn map_lookup_percpu(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let slot = self.map(memory, VmMap::is_keyed)?;
        let mut scratch = Scratch::new();
        let key = memory.bytes(self.arguments[1], index(slot.map.key_size()), &mut scratch)?;
        let offset = slot.map.lookup_offset_of(key, low(self.arguments[2]));
        Ok(offset.map_or(0, |offset| slot.address(offset)))
    }

    /// The value stays readable until its slot is used again, as after a deletion.
    #[inline(never)]
    fn map_lookup_and_delete(&self, memory: &Memory<'_, '_>, host: &dyn Host) -> Result<u64, FaultKind> {
        let slot = self.writable(self.map(memory, VmMap::is_keyed)?)?;
        let mut scratch = Scratch::new();
        let key = memory.bytes(self.arguments[1], index(slot.map.key_size()), &mut scratch)?;
        let Some(offset) = slot.map.lookup_offset(key, host.processor()) else { return Ok(0) };
        Ok(if slot.map.delete_unchecked(key).is_ok() { slot.address(offset) } else { 0 })
    }

    /// `bpf_perf_event_output`, its checks in Linux's order.
    #[inline(never)]
    fn perf_event_output(&self, memory: &Memory<'_, '_>, host: &dyn Host) -> Result<u64, FaultKind> {
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

    /// `bpf_csum_diff`: what a checksum becomes when some bytes go and others come.
    #[inline(never)]
    fn csum_diff(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [from, from_size, to, to_size, seed] = *self.arguments;
        let (from_size, to_size) = (low(from_size), low(to_size));
        if from_size & 3 != 0 || to_size & 3 != 0 {
            return Ok(errno(EINVAL));
        }
        let mut sum = u64::from(low(seed));
        for (address, size, invert) in [(to, to_size, 0u32), (from, from_size, u32::MAX)] {
            let mut scratch = Scratch::new();
            let bytes = memory.bytes(address, index(size), &mut scratch)?;
            for word in bytes.as_chunks::<4>().0 {
                sum = sum.wrapping_add(u64::from(u32::from_ne_bytes(*word) ^ invert));
            }
        }
        // Folded to 16 bits, as all architectures do since Linux 6.13.
        while sum >> 16 != 0 {
            sum = (sum & 0xffff).wrapping_add(sum >> 16);
        }
        Ok(sum)
    }

    #[inline(never)]
    fn dynptr_from_mem(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [data, size, flags, out, _] = *self.arguments;
        let size = low(size);
        memory.check(data, index(size), true)?;
        let (dynptr, answer) = if size > dynptr::MAX_SIZE {
            (Dynptr::NULL, errno(E2BIG))
        } else if flags != 0 {
            (Dynptr::NULL, errno(EINVAL))
        } else {
            (Dynptr::new(data, size, Kind::Local), 0)
        };
        dynptr.write(out, memory)?;
        Ok(answer)
    }

    #[inline(never)]
    fn ringbuf_reserve_dynptr(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [_, size, flags, out, _] = *self.arguments;
        let (slot, ring) = self.ring(memory)?;
        let size = low(size);
        Dynptr::NULL.write(out, memory)?;
        if flags != 0 {
            return Ok(errno(EINVAL));
        }
        if size > dynptr::MAX_SIZE {
            return Ok(errno(E2BIG));
        }
        let data = memory.reserve(&slot.map, ring, u64::from(size)).ok_or(FaultKind::TooManyReservations)?;
        if data == 0 {
            return Ok(errno(EINVAL));
        }
        Dynptr::new(data, size, Kind::Ring).write(out, memory)?;
        Ok(0)
    }

    #[inline(never)]
    fn ringbuf_commit_dynptr(&self, memory: &mut Memory<'_, '_>, host: &dyn Host) -> Result<u64, FaultKind> {
        let dynptr = Dynptr::read(self.arguments[0], memory)?;
        if dynptr.kind == Kind::Null {
            return Ok(0);
        }
        self.ringbuf_commit(memory, host, dynptr.data)?;
        Dynptr::NULL.write(self.arguments[0], memory)?;
        Ok(0)
    }

    #[inline(never)]
    fn dynptr_read(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [out, length, source, offset, flags] = *self.arguments;
        let dynptr = Dynptr::read(source, memory)?;
        memory.check(out, index(low(length)), true)?;
        if dynptr.kind == Kind::Null || flags != 0 {
            return Ok(errno(EINVAL));
        }
        let Some(from) = dynptr.slice(offset, u64::from(low(length))) else { return Ok(errno(E2BIG)) };
        dynptr::copy(out, from, length, memory)?;
        Ok(0)
    }

    #[inline(never)]
    fn dynptr_write(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [target, offset, data, length, flags] = *self.arguments;
        let dynptr = Dynptr::read(target, memory)?;
        memory.check(data, index(low(length)), false)?;
        if dynptr.kind == Kind::Null || flags != 0 {
            return Ok(errno(EINVAL));
        }
        let Some(to) = dynptr.slice(offset, u64::from(low(length))) else { return Ok(errno(E2BIG)) };
        dynptr::copy(to, data, length, memory)?;
        Ok(0)
    }

    #[inline(never)]
    fn dynptr_data(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let dynptr = Dynptr::read(self.arguments[0], memory)?;
        Ok(dynptr.slice(self.arguments[1], u64::from(low(self.arguments[2]))).unwrap_or(0))
    }

    /// `bpf_memcpy_s`, `bpf_memmove_s`: a target that is too short gets nothing.
    #[inline(never)]
    fn memmove(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [to, room, from, length, _] = *self.arguments;
        if low(length) > low(room) {
            return Ok(errno(EINVAL));
        }
        dynptr::copy(to, from, length, memory)?;
        Ok(0)
    }

    /// `bpf_memcmp_s`: below, equal or above, the shorter one first where one is the other's beginning.
    #[inline(never)]
    fn memcmp(&self, memory: &Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [first, first_length, second, second_length, _] = *self.arguments;
        let (mut one, mut other) = (Scratch::new(), Scratch::new());
        let first = memory.bytes(first, index(low(first_length)), &mut one)?;
        let second = memory.bytes(second, index(low(second_length)), &mut other)?;
        Ok(errno(first.cmp(second) as i32))
    }

    #[inline(never)]
    fn memset(&self, memory: &mut Memory<'_, '_>) -> Result<u64, FaultKind> {
        let [place, length, byte, ..] = *self.arguments;
        let length = index(low(length));
        memory.check(place, length, true)?;
        let piece = [byte.to_le_bytes()[0]; 64];
        for start in (0..length).step_by(piece.len()) {
            let size = length.saturating_sub(start).min(piece.len());
            memory.write(place.wrapping_add(start as u64), piece.get(..size).unwrap_or_default())?;
        }
        Ok(place)
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

    /// The same, where it is to be a ring buffer.
    fn ring<'run>(&self, memory: &Memory<'_, 'run>) -> Result<(&'run MapSlot, &'run RingMap), FaultKind> {
        let (helper, value) = (self.helper, self.arguments[0]);
        let slot = memory.handle(value).ok_or(FaultKind::NotAMap { helper, value })?;
        let ring = slot.map.ring().ok_or(FaultKind::WrongMapKind { helper, kind: slot.map.kind() })?;
        Ok((slot, ring))
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
