// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Three programs that put maps to the test and say what they found through one ring. Each answers the same on every run
// and on every platform that keeps the kernel's rules, so their records can be compared byte for byte. Where the
// kernel leaves a choice (which entry an LRU map gives up, and how many at once) the programs ask only for what holds
// whatever is chosen. A program returns how many of its steps failed.
//
// Records: `struct step` for each step (reserve, then submit), then one `struct verdict` (output). A record that was
// reserved for an element that was not there is discarded.

#include "bpf.h"

/* Four letters that can be read in a dump. */
#define TAG(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)
#define TEST_LRU TAG('L', 'R', 'U', ' ')
#define TEST_PUSH_POP TAG('P', 'U', 'S', 'H')
#define TEST_MAPS TAG('M', 'A', 'P', 'S')

struct step {
    u32 test;
    u32 number;
    s64 expected;
    s64 actual;
};

struct verdict {
    u32 test;
    u32 steps;
    u32 failed;
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 * 1024);
} events SEC(".maps");

#define LRU_ENTRIES 4
#define LRU_KEYS 8

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, LRU_ENTRIES);
    __type(key, u32);
    __type(value, u64);
} lru SEC(".maps");

#define QUEUE_ENTRIES 4

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, QUEUE_ENTRIES);
    __type(value, u32);
} queue SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_STACK);
    __uint(max_entries, QUEUE_ENTRIES);
    __type(value, u32);
} stack SEC(".maps");

#define ARRAY_ENTRIES 4

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, ARRAY_ENTRIES);
    __type(key, u32);
    __type(value, u64);
} array SEC(".maps");

#define HASH_ENTRIES 4

struct flow {
    u32 address;
    u16 port;
    u16 protocol;
};

struct count {
    u64 packets;
    u64 bytes;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, HASH_ENTRIES);
    __type(key, struct flow);
    __type(value, struct count);
} hash SEC(".maps");

static INLINE void begin(struct verdict *verdict, u32 test)
{
    verdict->test = test;
    verdict->steps = 0;
    verdict->failed = 0;
}

static INLINE void note(struct verdict *verdict, struct step *step, s64 expected, s64 actual)
{
    verdict->steps++;
    if (expected != actual)
        verdict->failed++;
    step->test = verdict->test;
    step->number = verdict->steps;
    step->expected = expected;
    step->actual = actual;
}

static NOINLINE void expect(struct verdict *verdict, s64 expected, s64 actual)
{
    struct step *step = bpf_ringbuf_reserve(&events, sizeof(*step), 0);

    if (!step) {
        verdict->steps++;
        verdict->failed++;
        return;
    }
    note(verdict, step, expected, actual);
    bpf_ringbuf_submit(step, 0);
}

/* The record is reserved before the element is taken, so that no element is lost when the ring is full. Where no element
 * is there the record has nothing to say and is discarded; whether that was expected is for the caller to judge. */
static INLINE long pop(struct verdict *verdict, const void *map, u32 expected)
{
    struct step *step = bpf_ringbuf_reserve(&events, sizeof(*step), 0);
    u32 value = 0;
    long result;

    if (!step)
        return -EAGAIN;
    result = bpf_map_pop_elem(map, &value);
    if (result) {
        bpf_ringbuf_discard(step, 0);
        return result;
    }
    note(verdict, step, expected, value);
    bpf_ringbuf_submit(step, 0);
    return 0;
}

static INLINE void expect_pop(struct verdict *verdict, const void *map, u32 expected)
{
    if (pop(verdict, map, expected)) {
        verdict->steps++;
        verdict->failed++;
    }
}

static INLINE void expect_empty(struct verdict *verdict, const void *map)
{
    long result = pop(verdict, map, 0);

    verdict->steps++;
    if (result != -ENOENT)
        verdict->failed++;
}

static NOINLINE u32 finish(struct verdict *verdict)
{
    if (bpf_ringbuf_output(&events, verdict, sizeof(*verdict), BPF_RB_FORCE_WAKEUP))
        verdict->failed++;
    return verdict->failed;
}

SEC("xdp")
int test_LRU_map(void *context)
{
    struct verdict verdict;
    u64 *found;
    u64 value;
    s64 refused = 0;
    u32 present = 0;
    u32 key;
    u32 i;

    begin(&verdict, TEST_LRU);
    for (i = 0; i < LRU_KEYS; i++) {
        key = i;
        bpf_map_delete_elem(&lru, &key);
    }

    key = 0;
    value = 1000;
    expect(&verdict, 0, bpf_map_lookup_elem(&lru, &key) != 0);
    expect(&verdict, 0, bpf_map_update_elem(&lru, &key, &value, BPF_NOEXIST));
    expect(&verdict, -EEXIST, bpf_map_update_elem(&lru, &key, &value, BPF_NOEXIST));
    found = bpf_map_lookup_elem(&lru, &key);
    expect(&verdict, 1000, found ? *found : 0);

    /* An LRU map that is full gives up an old entry for a new one: a new key is never refused. */
    for (i = 1; i < LRU_KEYS; i++) {
        key = i;
        value = 1000 + i;
        refused |= bpf_map_update_elem(&lru, &key, &value, BPF_ANY);
    }
    expect(&verdict, 0, refused);

    for (i = 0; i < LRU_KEYS; i++) {
        key = i;
        if (bpf_map_lookup_elem(&lru, &key))
            present++;
    }
    expect(&verdict, 1, present >= 1 && present <= LRU_ENTRIES);

    key = LRU_KEYS - 1;
    found = bpf_map_lookup_elem(&lru, &key);
    expect(&verdict, 1000 + key, found ? *found : 0);
    expect(&verdict, 0, bpf_map_delete_elem(&lru, &key));
    expect(&verdict, -ENOENT, bpf_map_delete_elem(&lru, &key));

    return finish(&verdict);
}

SEC("tc")
int test_PUSH_POP_map(void *context)
{
    struct verdict verdict;
    u32 value;
    u32 i;

    begin(&verdict, TEST_PUSH_POP);
    for (i = 0; i < QUEUE_ENTRIES; i++) {
        bpf_map_pop_elem(&queue, &value);
        bpf_map_pop_elem(&stack, &value);
    }

    value = 0;
    expect(&verdict, -ENOENT, bpf_map_peek_elem(&queue, &value));
    expect(&verdict, -ENOENT, bpf_map_peek_elem(&stack, &value));

    for (i = 0; i < QUEUE_ENTRIES; i++) {
        value = 10 + i;
        expect(&verdict, 0, bpf_map_push_elem(&queue, &value, BPF_ANY));
        expect(&verdict, 0, bpf_map_push_elem(&stack, &value, BPF_ANY));
    }

    /* Full: refused, unless the flag says that the oldest may go. */
    value = 20;
    expect(&verdict, -E2BIG, bpf_map_push_elem(&queue, &value, BPF_ANY));
    expect(&verdict, -E2BIG, bpf_map_push_elem(&stack, &value, BPF_ANY));
    expect(&verdict, 0, bpf_map_push_elem(&queue, &value, BPF_EXIST));
    expect(&verdict, 0, bpf_map_push_elem(&stack, &value, BPF_EXIST));

    value = 0;
    expect(&verdict, 0, bpf_map_peek_elem(&queue, &value));
    expect(&verdict, 11, value);
    expect(&verdict, 0, bpf_map_peek_elem(&stack, &value));
    expect(&verdict, 20, value);

    /* First in, first out; last in, first out. */
    expect_pop(&verdict, &queue, 11);
    expect_pop(&verdict, &queue, 12);
    expect_pop(&verdict, &queue, 13);
    expect_pop(&verdict, &queue, 20);
    expect_empty(&verdict, &queue);

    expect_pop(&verdict, &stack, 20);
    expect_pop(&verdict, &stack, 13);
    expect_pop(&verdict, &stack, 12);
    expect_pop(&verdict, &stack, 11);
    expect_empty(&verdict, &stack);

    return finish(&verdict);
}

static INLINE void array_steps(struct verdict *verdict)
{
    u64 value = 0;
    u64 *slot;
    u32 index;
    u32 i;

    /* The counter is not the key: its address is taken, and older verifiers lose count of what stands in memory. */
    for (i = 0; i < ARRAY_ENTRIES; i++) {
        index = i;
        value = i * i;
        bpf_map_update_elem(&array, &index, &value, BPF_ANY);
    }

    index = ARRAY_ENTRIES - 1;
    slot = bpf_map_lookup_elem(&array, &index);
    expect(verdict, 9, slot ? *slot : 0);
    if (slot) {
        __sync_fetch_and_add(slot, 91);
        expect(verdict, 100, *slot);
        expect(verdict, 100, __sync_fetch_and_add(slot, 1));
        expect(verdict, 101, __sync_lock_test_and_set(slot, 7));
        expect(verdict, 7, __sync_val_compare_and_swap(slot, 7, 8));
        expect(verdict, 8, *slot);
    }

    /* Every element of an array exists from the start and for good. */
    expect(verdict, -EEXIST, bpf_map_update_elem(&array, &index, &value, BPF_NOEXIST));
    expect(verdict, -EINVAL, bpf_map_delete_elem(&array, &index));
    index = ARRAY_ENTRIES;
    expect(verdict, -E2BIG, bpf_map_update_elem(&array, &index, &value, BPF_ANY));
    expect(verdict, 0, bpf_map_lookup_elem(&array, &index) != 0);
}

static INLINE void hash_steps(struct verdict *verdict)
{
    struct flow flow;
    struct count count;
    struct count *found;
    u16 port;

    flow.address = 0x0a000001;
    flow.protocol = 6;
    count.packets = 1;
    count.bytes = 60;
    for (port = 0; port < HASH_ENTRIES + 1; port++) {
        flow.port = port;
        bpf_map_delete_elem(&hash, &flow);
    }

    flow.port = 0;
    expect(verdict, -ENOENT, bpf_map_update_elem(&hash, &flow, &count, BPF_EXIST));
    for (port = 0; port < HASH_ENTRIES; port++) {
        flow.port = port;
        count.bytes = 60 + port;
        expect(verdict, 0, bpf_map_update_elem(&hash, &flow, &count, BPF_NOEXIST));
    }
    expect(verdict, -EEXIST, bpf_map_update_elem(&hash, &flow, &count, BPF_NOEXIST));

    flow.port = HASH_ENTRIES;
    expect(verdict, -E2BIG, bpf_map_update_elem(&hash, &flow, &count, BPF_ANY));
    expect(verdict, 0, bpf_map_lookup_elem(&hash, &flow) != 0);

    flow.port = 2;
    found = bpf_map_lookup_elem(&hash, &flow);
    if (found) {
        found->packets += 41;
        found->bytes <<= 4;
    }
    found = bpf_map_lookup_elem(&hash, &flow);
    expect(verdict, 42, found ? found->packets : 0);
    expect(verdict, 992, found ? found->bytes : 0);

    expect(verdict, 0, bpf_map_delete_elem(&hash, &flow));
    expect(verdict, -ENOENT, bpf_map_delete_elem(&hash, &flow));
    expect(verdict, 0, bpf_map_lookup_elem(&hash, &flow) != 0);
}

SEC("syscall")
int test_maps(void *context)
{
    struct verdict verdict;

    begin(&verdict, TEST_MAPS);
    array_steps(&verdict);
    hash_steps(&verdict);

    return finish(&verdict);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
