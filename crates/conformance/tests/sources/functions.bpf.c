// Subprograms: static, global, weak, hidden, nested, shared by two programs, unused; a callback and a tail call.
#include "bpf.h"

struct {
	NUMBER(type, 2);
	NUMBER(max_entries, 4);
	TYPE(key, u32);
	TYPE(value, u64);
} numbers SEC(".maps");

u64 global_counter;
static volatile u64 hidden_counter = 5;

static NOINLINE u64 leaf(u64 value) { return value * 3 + hidden_counter; }
NOINLINE u64 unused_global(u64 value) { return value + 1; }
NOINLINE u64 inner(u64 value) { return leaf(value) ^ global_counter; }
static NOINLINE u64 outer(u64 value) { return inner(value) + leaf(value + 1); }
__attribute__((weak)) NOINLINE u64 weak_one(u64 value) { return value * 7 + global_counter; }
__attribute__((visibility("hidden"))) NOINLINE u64 hidden_one(u64 value) { return weak_one(value) - inner(value); }
static long each(void *map, const void *key, u64 *value, void *context) { *value += leaf(*value); return 0; }
static long step(u32 index, u64 *sum) { *sum += index + hidden_counter; return 0; }

SEC("tc") int first(void *context) { return outer(global_counter); }
SEC("tc") int second(void *context) { return weak_one(leaf(1)) + outer(2); }
SEC("xdp") int third(void *context) { return hidden_one(4); }
SEC("syscall") int callbacks(void *context)
{
	u64 sum = 0;

	for_each(&numbers, each, context, 0);
	loop(10, step, &sum, 0);
	return sum + leaf(sum);
}
