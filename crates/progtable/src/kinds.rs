//! The kernel's numbers for program and map types, with libbpf's names for them.
//!
//! Newtypes over `u32` instead of enums: an object may carry a number this crate has no name for, and that
//! number must reach the kernel unchanged.

use core::fmt;

macro_rules! kinds {
    (
        $(#[$doc:meta])* $kind:ident, $prefix:literal; $($name:ident = $value:literal, $text:literal;)*
        $(@windows; $($windows:ident = $number:literal, $windows_text:literal;)*)?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(transparent)]
        pub struct $kind(pub u32);

        impl $kind {
            $(
                #[doc = concat!("`", $prefix, stringify!($name), "` (", stringify!($value), ").")]
                pub const $name: Self = Self($value);
            )*
            $($(
                #[doc = concat!("Type ", stringify!($number), " of eBPF for Windows: `", $windows_text, "`.")]
                pub const $windows: Self = Self::windows($number);
            )*)?

            /// libbpf's name for the type; `"unknown"` for a number it does not know.
            #[must_use]
            pub const fn type_name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    $($(Self::$windows => $windows_text,)*)?
                    _ => "unknown",
                }
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name => f.pad($text),)*
                    $($(Self::$windows => f.pad($windows_text),)*)?
                    Self(number) => write!(f, "unknown ({number})"),
                }
            }
        }

        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

kinds! {
    /// Program type: `enum bpf_prog_type` of `include/uapi/linux/bpf.h`; or, with bit 31 set, that of eBPF for
    /// Windows, whose numbers mean something else: type 2 probes kernel functions on Linux and watches `bind()` on
    /// Windows.
    ProgramKind, "BPF_PROG_TYPE_";
    UNSPEC = 0, "unspec";
    SOCKET_FILTER = 1, "socket_filter";
    KPROBE = 2, "kprobe";
    SCHED_CLS = 3, "sched_cls";
    SCHED_ACT = 4, "sched_act";
    TRACEPOINT = 5, "tracepoint";
    XDP = 6, "xdp";
    PERF_EVENT = 7, "perf_event";
    CGROUP_SKB = 8, "cgroup_skb";
    CGROUP_SOCK = 9, "cgroup_sock";
    LWT_IN = 10, "lwt_in";
    LWT_OUT = 11, "lwt_out";
    LWT_XMIT = 12, "lwt_xmit";
    SOCK_OPS = 13, "sock_ops";
    SK_SKB = 14, "sk_skb";
    CGROUP_DEVICE = 15, "cgroup_device";
    SK_MSG = 16, "sk_msg";
    RAW_TRACEPOINT = 17, "raw_tracepoint";
    CGROUP_SOCK_ADDR = 18, "cgroup_sock_addr";
    LWT_SEG6LOCAL = 19, "lwt_seg6local";
    LIRC_MODE2 = 20, "lirc_mode2";
    SK_REUSEPORT = 21, "sk_reuseport";
    FLOW_DISSECTOR = 22, "flow_dissector";
    CGROUP_SYSCTL = 23, "cgroup_sysctl";
    RAW_TRACEPOINT_WRITABLE = 24, "raw_tracepoint_writable";
    CGROUP_SOCKOPT = 25, "cgroup_sockopt";
    TRACING = 26, "tracing";
    STRUCT_OPS = 27, "struct_ops";
    EXT = 28, "ext";
    LSM = 29, "lsm";
    SK_LOOKUP = 30, "sk_lookup";
    SYSCALL = 31, "syscall";
    NETFILTER = 32, "netfilter";
    @windows;
    WINDOWS_XDP = 1, "xdp";
    WINDOWS_BIND = 2, "bind";
    WINDOWS_CGROUP_SOCK_ADDR = 3, "sock_addr";
    WINDOWS_SOCK_OPS = 4, "sockops";
    WINDOWS_NETEVENT = 5, "netevent";
    WINDOWS_PROCESS = 6, "process";
    WINDOWS_SAMPLE = 999, "sample";
}

impl ProgramKind {
    /// The type with that number on Windows.
    #[must_use]
    pub const fn windows(number: u32) -> Self {
        Self(WINDOWS | number)
    }

    /// The type's number on Windows; `None` for Linux's types.
    #[must_use]
    pub const fn windows_number(self) -> Option<u32> {
        if self.0 & WINDOWS != 0 { Some(self.0 & !WINDOWS) } else { None }
    }
}

/// Set in the numbers of eBPF for Windows. Linux numbers its types one by one and is at 32.
const WINDOWS: u32 = 1 << 31;

kinds! {
    /// Map type: `enum bpf_map_type` of `include/uapi/linux/bpf.h`.
    MapKind, "BPF_MAP_TYPE_";
    UNSPEC = 0, "unspec";
    HASH = 1, "hash";
    ARRAY = 2, "array";
    PROG_ARRAY = 3, "prog_array";
    PERF_EVENT_ARRAY = 4, "perf_event_array";
    PERCPU_HASH = 5, "percpu_hash";
    PERCPU_ARRAY = 6, "percpu_array";
    STACK_TRACE = 7, "stack_trace";
    CGROUP_ARRAY = 8, "cgroup_array";
    LRU_HASH = 9, "lru_hash";
    LRU_PERCPU_HASH = 10, "lru_percpu_hash";
    LPM_TRIE = 11, "lpm_trie";
    ARRAY_OF_MAPS = 12, "array_of_maps";
    HASH_OF_MAPS = 13, "hash_of_maps";
    DEVMAP = 14, "devmap";
    SOCKMAP = 15, "sockmap";
    CPUMAP = 16, "cpumap";
    XSKMAP = 17, "xskmap";
    SOCKHASH = 18, "sockhash";
    CGROUP_STORAGE = 19, "cgroup_storage";
    REUSEPORT_SOCKARRAY = 20, "reuseport_sockarray";
    PERCPU_CGROUP_STORAGE = 21, "percpu_cgroup_storage";
    QUEUE = 22, "queue";
    STACK = 23, "stack";
    SK_STORAGE = 24, "sk_storage";
    DEVMAP_HASH = 25, "devmap_hash";
    STRUCT_OPS = 26, "struct_ops";
    RINGBUF = 27, "ringbuf";
    INODE_STORAGE = 28, "inode_storage";
    TASK_STORAGE = 29, "task_storage";
    BLOOM_FILTER = 30, "bloom_filter";
    USER_RINGBUF = 31, "user_ringbuf";
    CGRP_STORAGE = 32, "cgrp_storage";
    ARENA = 33, "arena";
    INSN_ARRAY = 34, "insn_array";
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;

    use super::{MapKind, ProgramKind};

    #[test]
    fn numbers_and_names_are_the_kernels() {
        assert_eq!(ProgramKind::NETFILTER.0, 32);
        assert_eq!(ProgramKind::RAW_TRACEPOINT_WRITABLE.type_name(), "raw_tracepoint_writable");
        assert_eq!(MapKind::RINGBUF.0, 27);
        assert_eq!(MapKind::USER_RINGBUF.type_name(), "user_ringbuf");
        assert_eq!(MapKind::INSN_ARRAY.0, 34);
    }

    #[test]
    fn unknown_numbers_are_kept_and_shown() {
        assert_eq!(MapKind(77).type_name(), "unknown");
        assert_eq!(format!("{}", ProgramKind(99)), "unknown (99)");
        assert_eq!(format!("{:>6}", ProgramKind::XDP), "   xdp");
    }
}
