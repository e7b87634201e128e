//! `union bpf_attr` (`include/uapi/linux/bpf.h`), one struct for each form that is used, and the `bpf_*_info` structs, as far as they are used.
//!
//! The kernel takes a shorter `bpf_attr` than its own for one whose rest is zero, and a longer one if what it does not know is zero. Pointers are
//! 64 bits everywhere. `IntoBytes` proves that there is no padding, whose bytes the kernel would look at.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of a name, the terminating zero included (`BPF_OBJ_NAME_LEN`).
pub(crate) const NAME: usize = 16;

macro_rules! attributes {
    ($($(#[$doc:meta])* $name:ident = $size:literal { $($field:ident: $type:ty = $offset:literal,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
            #[repr(C)]
            pub(crate) struct $name {
                $(pub(crate) $field: $type,)*
            }

            const _: () = {
                assert!(size_of::<$name>() == $size);
                $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
            };
        )*
    };
}

attributes! {
    /// `BPF_MAP_CREATE`.
    MapCreate = 72 {
        kind: u32 = 0,
        key_size: u32 = 4,
        value_size: u32 = 8,
        max_entries: u32 = 12,
        flags: u32 = 16,
        inner_map: u32 = 20,
        numa_node: u32 = 24,
        name: [u8; NAME] = 28,
        interface: u32 = 44,
        btf: u32 = 48,
        btf_key: u32 = 52,
        btf_value: u32 = 56,
        btf_vmlinux_value: u32 = 60,
        extra: u64 = 64,
    }

    /// `BPF_MAP_*_ELEM`, `BPF_MAP_GET_NEXT_KEY`, `BPF_MAP_FREEZE`.
    Element = 32 {
        map: u32 = 0,
        zero: u32 = 4,
        key: u64 = 8,
        value: u64 = 16,
        flags: u64 = 24,
    }

    /// `BPF_PROG_LOAD`.
    ProgramLoad = 112 {
        kind: u32 = 0,
        instruction_count: u32 = 4,
        instructions: u64 = 8,
        license: u64 = 16,
        log_level: u32 = 24,
        log_size: u32 = 28,
        log: u64 = 32,
        kernel_version: u32 = 40,
        flags: u32 = 44,
        name: [u8; NAME] = 48,
        interface: u32 = 64,
        expected_attach_type: u32 = 68,
        btf: u32 = 72,
        func_info_size: u32 = 76,
        func_info: u64 = 80,
        func_info_count: u32 = 88,
        line_info_size: u32 = 92,
        line_info: u64 = 96,
        line_info_count: u32 = 104,
        attach_btf_id: u32 = 108,
    }

    /// `BPF_OBJ_PIN`, `BPF_OBJ_GET`.
    Object = 16 {
        path: u64 = 0,
        descriptor: u32 = 8,
        flags: u32 = 12,
    }

    /// `BPF_PROG_TEST_RUN`.
    TestRun = 80 {
        program: u32 = 0,
        returned: u32 = 4,
        data_size_in: u32 = 8,
        data_size_out: u32 = 12,
        data_in: u64 = 16,
        data_out: u64 = 24,
        repeat: u32 = 32,
        duration: u32 = 36,
        context_size_in: u32 = 40,
        context_size_out: u32 = 44,
        context_in: u64 = 48,
        context_out: u64 = 56,
        flags: u32 = 64,
        cpu: u32 = 68,
        batch_size: u32 = 72,
        zero: u32 = 76,
    }

    /// `BPF_*_GET_NEXT_ID`, `BPF_*_GET_FD_BY_ID`.
    Id = 12 {
        id: u32 = 0,
        next_id: u32 = 4,
        open_flags: u32 = 8,
    }

    /// `BPF_OBJ_GET_INFO_BY_FD`.
    Info = 16 {
        descriptor: u32 = 0,
        length: u32 = 4,
        info: u64 = 8,
    }

    /// `BPF_RAW_TRACEPOINT_OPEN`.
    RawTracepoint = 16 {
        name: u64 = 0,
        program: u32 = 8,
        zero: u32 = 12,
    }

    /// `BPF_BTF_LOAD`.
    BtfLoad = 32 {
        btf: u64 = 0,
        log: u64 = 8,
        size: u32 = 16,
        log_size: u32 = 20,
        log_level: u32 = 24,
        zero: u32 = 28,
    }

    /// `BPF_LINK_CREATE`; `target` is a descriptor or an interface's index.
    LinkCreate = 24 {
        program: u32 = 0,
        target: u32 = 4,
        attach_type: u32 = 8,
        flags: u32 = 12,
        cookie: u64 = 16,
    }

    /// `struct bpf_map_info`, its beginning.
    MapInfo = 40 {
        kind: u32 = 0,
        id: u32 = 4,
        key_size: u32 = 8,
        value_size: u32 = 12,
        max_entries: u32 = 16,
        flags: u32 = 20,
        name: [u8; NAME] = 24,
    }

    /// `struct bpf_prog_info`, its beginning.
    ProgramInfo = 224 {
        kind: u32 = 0,
        id: u32 = 4,
        tag: [u8; 8] = 8,
        jited_length: u32 = 16,
        translated_length: u32 = 20,
        jited: u64 = 24,
        translated: u64 = 32,
        load_time: u64 = 40,
        user: u32 = 48,
        map_count: u32 = 52,
        maps: u64 = 56,
        name: [u8; NAME] = 64,
        interface: u32 = 80,
        gpl: u32 = 84,
        skipped: [u64; 13] = 88,
        run_time: u64 = 192,
        run_count: u64 = 200,
        recursion_misses: u64 = 208,
        verified_instructions: u32 = 216,
        attach_btf_object: u32 = 220,
    }

    /// `struct bpf_link_info`, its beginning.
    LinkInfo = 16 {
        kind: u32 = 0,
        id: u32 = 4,
        program: u32 = 8,
        zero: u32 = 12,
    }

    /// `struct bpf_btf_info`, its beginning.
    BtfInfo = 16 {
        btf: u64 = 0,
        size: u32 = 8,
        id: u32 = 12,
    }
}

/// `name` as the kernel takes it: its first 15 bytes, and `_` for what a name must not hold.
pub(crate) fn name(name: &str) -> [u8; NAME] {
    let mut bytes = [0; NAME];
    for (byte, c) in bytes.iter_mut().take(NAME.saturating_sub(1)).zip(name.bytes()) {
        *byte = if c.is_ascii_alphanumeric() || c == b'_' || c == b'.' { c } else { b'_' };
    }
    bytes
}

/// The text of a name that the kernel gave.
pub(crate) fn text(name: &[u8; NAME]) -> String {
    let text = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_cleaned() {
        assert_eq!(&name("test_PUSH_POP_map"), b"test_PUSH_POP_m\0");
        assert_eq!(text(&name("a-b/c.d")), "a_b_c.d");
        assert_eq!(text(&name("")), "");
    }
}
