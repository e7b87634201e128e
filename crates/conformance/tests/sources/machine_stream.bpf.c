// What the embedded machine has and what has the same answer on every run, told through one ring. The context says which steps to take.
#include "bpf.h"

struct { NUMBER(type, 27); NUMBER(max_entries, 65536); } events SEC(".maps");

// Maps in a map.
struct inner { NUMBER(type, 2); NUMBER(max_entries, 1); TYPE(key, u32); TYPE(value, u64); };
struct inner first_inner SEC(".maps");
struct inner second_inner SEC(".maps");
struct {
	NUMBER(type, 12);
	NUMBER(max_entries, 3);
	TYPE(key, u32);
	struct inner *values[];
} outer SEC(".maps") = { .values = { &first_inner, [2] = &second_inner } };

// A program that goes on with another, which goes on with itself until it may not.
int second(void *context);
struct {
	NUMBER(type, 3);
	NUMBER(max_entries, 2);
	NUMBER(key_size, 4);
	int (*values[])(void *);
} programs SEC(".maps") = { .values = { [1] = second } };

struct { NUMBER(type, 2); NUMBER(max_entries, 5); TYPE(key, u32); TYPE(value, u64); } array SEC(".maps");
struct { NUMBER(type, 1); NUMBER(max_entries, 5); TYPE(key, u32); TYPE(value, u64); } hash SEC(".maps");
struct { NUMBER(type, 6); NUMBER(max_entries, 2); TYPE(key, u32); TYPE(value, u64); } each_cpu SEC(".maps");

static long (*const map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const map_delete)(void *map, const void *key) = (void *)3;
static long (*const csum_diff)(void *from, u32 from_size, void *to, u32 to_size, u32 seed) = (void *)28;
static u64 (*const ring_query)(void *ring, u64 what) = (void *)134;
static long (*const dynptr_from_mem)(void *data, u32 size, u64 flags, void *dynptr) = (void *)197;
static long (*const reserve_dynptr)(void *ring, u32 size, u64 flags, void *dynptr) = (void *)198;
static void (*const submit_dynptr)(void *dynptr, u64 flags) = (void *)199;
static void (*const discard_dynptr)(void *dynptr, u64 flags) = (void *)200;
static long (*const dynptr_read)(void *target, u32 length, const void *dynptr, u32 offset, u64 flags) = (void *)201;
static long (*const dynptr_write)(const void *dynptr, u32 offset, void *source, u32 length, u64 flags) = (void *)202;

struct record { u64 step; u64 value; };

static void tell(u64 step, u64 value)
{
	struct record record = { step, value };

	ring_output(&events, &record, sizeof(record), 0);
}

static void inner_maps(void)
{
#pragma unroll
	for (u32 slot = 0; slot < 4; slot++) {
		u32 key = slot, zero = 0;
		void *map = map_lookup(&outer, &key);
		u64 *value;

		if (!map) {
			tell(100 + slot, -1);
			continue;
		}
		value = map_lookup(map, &zero);
		if (value)
			tell(100 + slot, __sync_fetch_and_add(value, slot + 1));
	}
}

u64 sum;

static long add_element(void *map, u32 *key, u64 *value, void *context)
{
	sum = sum * 31 + *key * 7 + *value;
	tell(200 + *key, *value);
	return *key == 3;
}

static long add_entry(void *map, u32 *key, u64 *value, void *context)
{
	// In whatever order.
	sum += *key * *value;
	return 0;
}

static long turn(u32 index, void *context)
{
	tell(300 + index, index * index);
	return index == 4;
}

static void callbacks(void)
{
	for (u32 key = 0; key < 5; key++) {
		u32 place = key;
		u64 value = key * key + 1;

		map_update(&array, &place, &value, 0);
		map_update(&hash, &place, &value, 0);
	}
	sum = 0;
	tell(210, for_each(&array, add_element, 0, 0));
	tell(211, sum);
	sum = 0;
	tell(212, for_each(&hash, add_entry, 0, 0));
	tell(213, sum);
	tell(214, for_each(&hash, add_entry, 0, 1));
	tell(310, loop(9, turn, 0, 0));
	// Not with too many turns: where the verifier puts the loop in the call's place it answers -E2BIG in 32 bits, elsewhere in 64.
	tell(312, loop(1, turn, 0, 1));
}

char text[32] = "what a dynptr points to";

static void dynptrs(void)
{
	u64 record[2] __attribute__((aligned(8)));
	u64 memory[2] __attribute__((aligned(8)));
	u64 word = 0x1122334455667788;

	tell(400, reserve_dynptr(&events, 24, 0, record));
	tell(401, dynptr_write(record, 8, &word, 8, 0));
	tell(402, dynptr_write(record, 17, &word, 8, 0));
	word = 0;
	tell(403, dynptr_write(record, 0, &word, 8, 0));
	tell(404, dynptr_write(record, 16, &word, 8, 0));
	submit_dynptr(record, 0);
	tell(405, reserve_dynptr(&events, 1 << 20, 0, record));
	tell(406, dynptr_write(record, 0, &word, 8, 0));
	discard_dynptr(record, 0);
	tell(407, reserve_dynptr(&events, 8, 1, record));
	submit_dynptr(record, 0);
	tell(408, dynptr_from_mem(text, sizeof(text), 0, memory));
	tell(409, dynptr_read(&word, 8, memory, 7, 0));
	tell(410, word);
	tell(411, dynptr_read(&word, 8, memory, 25, 0));
	tell(412, dynptr_read(&word, 8, memory, 0, 1));
	tell(413, dynptr_from_mem(text, sizeof(text), 1, memory));
	tell(414, dynptr_read(&word, 8, memory, 0, 0));
}

static void others(void)
{
	u32 key = 1;
	u64 value = 7, *found;
	u32 words[2] = { 0x12345678, 0x9abcdef0 };

	tell(500, map_update(&each_cpu, &key, &value, 0));
	found = map_lookup(&each_cpu, &key);
	tell(501, found ? *found : -1);
	tell(502, map_delete(&each_cpu, &key));
	tell(503, ring_query(&events, 1));
	tell(504, ring_query(&events, 99));
	tell(505, csum_diff(0, 0, words, 8, 0));
	tell(506, csum_diff(words, 4, words, 8, 77));
	tell(507, csum_diff(words, 8, words, 8, 0xffff));
}

u32 turns;

SEC("tc") int second(void *context)
{
	turns++;
	tell(600 + turns, turns);
	tail_call(context, &programs, 1);
	return turns;
}

static NOINLINE long tell_of_calls(void)
{
	tell(700, 1);
	return 2;
}

SEC("tc") int stream(void *context)
{
	inner_maps();
	inner_maps();
	callbacks();
	dynptrs();
	others();
	tell(701, tell_of_calls());
	turns = 0;
	tail_call(context, &programs, 0);
	tell(702, 0);
	tail_call(context, &programs, 1);
	return 0;
}

char terms[] SEC("license") = "GPL";
