// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Everything an object file can hold beside plain programs and maps: subprograms in `.text` (static, global, and one that
// calls another), constants in `.rodata`, initialised variables in `.data`, zeroed ones in `.bss`, two programs in one
// section, and a program that is off unless someone asks for it (`SEC("?…")`).

#include "bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 * 1024);
} events SEC(".maps");

/* One page: `flood` fills it in a single run. */
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} narrow SEC(".maps");

struct measurement {
    char name[8];
    u64 run;
    u64 value;
};

/* .rodata: what the loader gives is frozen before the program is verified, so that limits here bound loops. */
const volatile u32 rounds = 12;
const volatile u32 primes[8] = { 2, 3, 5, 7, 11, 13, 17, 19 };

/* .data */
u64 total = 1000;
static volatile u32 generation = 7;

/* .bss */
u64 runs_of_count = 0;
u64 runs_of_checksum = 0;
static u64 seen[8];

static NOINLINE u32 mix(u32 hash, u32 word)
{
    hash ^= word;
    hash *= 0x01000193;
    return (hash << 5) | (hash >> 27);
}

/* Calls a subprogram itself: two frames below the program. */
static NOINLINE u32 mix_primes(u32 hash)
{
    u32 i;

    for (i = 0; i < rounds; i++)
        hash = mix(hash, primes[i & 7]);
    return hash;
}

/* A global subprogram: the kernel verifies it once, for every argument there is. */
NOINLINE u64 gcd(u64 a, u64 b)
{
    u32 i;

    for (i = 0; i < 96; i++) {
        u64 rest;

        if (b == 0)
            break;
        rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static INLINE int emit(const char name[8], u64 run, u64 value)
{
    struct measurement *measurement = bpf_ringbuf_reserve(&events, sizeof(*measurement), 0);

    if (!measurement)
        return 1;
    __builtin_memcpy(measurement->name, name, sizeof(measurement->name));
    measurement->run = run;
    measurement->value = value;
    bpf_ringbuf_submit(measurement, 0);
    return 0;
}

/* First of two programs in one section: how `.data` and `.bss` keep what one run left for the next. */
SEC("tc")
int count(void *context)
{
    u32 slot = runs_of_count & 7;

    runs_of_count++;
    total += generation;
    seen[slot] = total;
    if (emit("count\0\0", runs_of_count, total))
        return 1;
    return emit("gcd\0\0\0\0", runs_of_count, gcd(seen[slot] * 6, 84));
}

/* The second, with the same global subprogram and the nested static ones. */
SEC("tc")
int checksum(void *context)
{
    u32 hash = 0x811c9dc5;

    runs_of_checksum++;
    hash = mix_primes(hash);
    hash = mix(hash, generation);
    if (emit("hash\0\0\0", runs_of_checksum, hash))
        return 1;
    return emit("gcd\0\0\0\0", runs_of_checksum, gcd(hash, 1000));
}

/* Off unless asked for. Records of a size that does not divide the ring go into one page until it refuses; then the page
 * is as full as it gets. The consumer is woken once, by the last. Returns how many were refused. */
SEC("?xdp")
int flood(void *context)
{
    u64 line[5] = {};
    u64 refused = 0;
    u32 i;

    for (i = 0; i < 128; i++) {
        line[0] = i;
        if (bpf_ringbuf_output(&narrow, line, 36, BPF_RB_NO_WAKEUP) == -EAGAIN)
            refused++;
    }
    emit("flood\0\0", bpf_ringbuf_query(&narrow, BPF_RB_RING_SIZE), refused);
    return refused;
}

/* A section of its own, a type of its own. */
SEC("syscall")
int primes_below(void *context)
{
    u64 sum = 0;
    u32 i;

    for (i = 0; i < 8; i++)
        sum += primes[i];
    return emit("primes\0", rounds, sum * rounds);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
