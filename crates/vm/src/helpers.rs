//! The helpers, by Linux's numbers and with its answers (`include/uapi/linux/bpf.h`).
//!
//! What Linux's verifier would refuse beforehand is a fault here when it happens: a bad pointer, a helper on the wrong kind of
//! map. What Linux answers with an error number is answered with that number.

use crate::error::FaultKind;
use crate::host::Host;
use crate::maps::VmMap;
use crate::memory::{MapSlot, Memory, Scratch, index};
use crate::numbers::HelperNumbers;
use crate::ring::RingMap;

mod bytes;
mod dynptrs;
mod maps;
pub(crate) mod rings;

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
