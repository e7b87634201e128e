//! By which numbers programs call helpers, and by which they are told what went wrong.

use crate::helpers::*;

/// Whose numbers programs call helpers by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HelperNumbers {
    /// `BPF_FUNC_*` of Linux's `include/uapi/linux/bpf.h`; errors are its error numbers, negative.
    #[default]
    Linux,
    /// `BPF_FUNC_*` of eBPF for Windows' `include/ebpf_structs.h`; errors are those of its `ebpf_result_t`, negative. There, too, helpers ignore the
    /// flags of a ring.
    Windows,
}

impl HelperNumbers {
    /// The helper with that number, by the number it has in this crate: Linux's, if Linux has it.
    pub(crate) fn helper(self, number: i32) -> Option<u32> {
        let number = u32::try_from(number).ok()?;
        match self {
            Self::Linux => is_known(number).then_some(number),
            Self::Windows => windows(number),
        }
    }

    /// How register 0 says that something went wrong; `errno` is Linux's number, negative.
    pub(crate) fn error(self, errno: i32) -> u64 {
        i64::from(match self {
            Self::Linux => errno,
            Self::Windows => windows_result(errno),
        })
        .cast_unsigned()
    }

    /// The answer of a helper as these programs know it.
    #[inline(always)]
    pub(crate) fn answer(self, helper: u32, answer: u64) -> u64 {
        if self == Self::Linux || !answers_with_errors(helper) {
            return answer;
        }
        match i32::try_from(answer.cast_signed()) {
            Ok(errno @ -4095..=-1) => self.error(errno),
            _ => answer,
        }
    }
}

/// The helper that has that number on Windows.
fn windows(number: u32) -> Option<u32> {
    Some(match number {
        1 => MAP_LOOKUP_ELEM,
        2 => MAP_UPDATE_ELEM,
        3 => MAP_DELETE_ELEM,
        4 => MAP_LOOKUP_AND_DELETE_ELEM,
        5 => TAIL_CALL,
        6 => GET_PRANDOM_U32,
        7 => KTIME_GET_BOOT_NS,
        8 => GET_SMP_PROCESSOR_ID,
        9 => KTIME_GET_NS,
        10 => CSUM_DIFF,
        11 => RINGBUF_OUTPUT_PLAIN,
        // With none to three values.
        12..=15 => TRACE_PRINTK,
        16 => MAP_PUSH_ELEM,
        17 => MAP_POP_ELEM,
        18 => MAP_PEEK_ELEM,
        19 => GET_CURRENT_PID_TGID,
        22 => MEMCPY,
        23 => MEMCMP,
        24 => MEMSET,
        25 => MEMMOVE,
        30 => KTIME_GET_BOOT_MS,
        31 => KTIME_GET_MS,
        32 => PERF_EVENT_OUTPUT,
        _ => return None,
    })
}

/// The result that says on Windows what an error number says on Linux.
fn windows_result(errno: i32) -> i32 {
    let result = match errno {
        EINVAL => 6,
        ENOENT => 19,
        EPERM => 20,
        EEXIST => 26,
        E2BIG => 29,
        // A full ring has no memory there.
        EAGAIN | ENOMEM | ENOSPC => 12,
        ENOTSUPP | EOPNOTSUPP => 18,
        _ => 17,
    };
    0i32.saturating_sub(result)
}
