/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The little a BPF program needs to be compiled without any header of the system: fixed-width types, the helpers these
 * programs call with the numbers the kernel gave them, the flags and error numbers they expect, and the macros by which
 * a loader finds programs and maps. Every number here is kernel ABI (include/uapi/linux/bpf.h, asm-generic/errno-base.h).
 */
#ifndef EBPF_BLOCKS_BPF_H
#define EBPF_BLOCKS_BPF_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
typedef long long s64;

/* A loader takes what stands in a section for a program, or for a map in `.maps`. */
#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))
#define INLINE inline __attribute__((always_inline))

/* A map is described by the BTF of a variable in `.maps`: a number is the length of an array, a type is what a pointer
 * points to. */
#define __uint(field, number) int(*field)[number]
#define __type(field, type) typeof(type) *field

enum map_type {
    BPF_MAP_TYPE_HASH = 1,
    BPF_MAP_TYPE_ARRAY = 2,
    BPF_MAP_TYPE_LRU_HASH = 9,
    BPF_MAP_TYPE_QUEUE = 22,
    BPF_MAP_TYPE_STACK = 23,
    BPF_MAP_TYPE_RINGBUF = 27,
};

enum update_flag {
    BPF_ANY = 0,
    BPF_NOEXIST = 1,
    BPF_EXIST = 2,
};

enum ring_flag {
    BPF_RB_NO_WAKEUP = 1,
    BPF_RB_FORCE_WAKEUP = 2,
};

enum ring_query {
    BPF_RB_AVAIL_DATA = 0,
    BPF_RB_RING_SIZE = 1,
};

enum errno {
    ENOENT = 2,
    E2BIG = 7,
    EAGAIN = 11,
    EEXIST = 17,
    EINVAL = 22,
};

/* A helper is called by its number: the address that the call names is that number. */
/* What changes maps returns an int: before Linux 6.4 the upper half of the register is zero, whatever the sign. */
static void *(*const bpf_map_lookup_elem)(const void *map, const void *key) = (void *)1;
static int (*const bpf_map_update_elem)(const void *map, const void *key, const void *value, u64 flags) = (void *)2;
static int (*const bpf_map_delete_elem)(const void *map, const void *key) = (void *)3;
static u64 (*const bpf_get_current_pid_tgid)(void) = (void *)14;
static long (*const bpf_get_current_comm)(void *name, u32 len) = (void *)16;
static int (*const bpf_map_push_elem)(const void *map, const void *value, u64 flags) = (void *)87;
static int (*const bpf_map_pop_elem)(const void *map, void *value) = (void *)88;
static int (*const bpf_map_peek_elem)(const void *map, void *value) = (void *)89;
static long (*const bpf_probe_read_user_str)(void *to, u32 len, const void *from) = (void *)114;
static long (*const bpf_probe_read_kernel_str)(void *to, u32 len, const void *from) = (void *)115;
static long (*const bpf_ringbuf_output)(const void *ring, const void *data, u64 len, u64 flags) = (void *)130;
static void *(*const bpf_ringbuf_reserve)(const void *ring, u64 len, u64 flags) = (void *)131;
static void (*const bpf_ringbuf_submit)(const void *record, u64 flags) = (void *)132;
static void (*const bpf_ringbuf_discard)(const void *record, u64 flags) = (void *)133;
static u64 (*const bpf_ringbuf_query)(const void *ring, u64 what) = (void *)134;

#endif
