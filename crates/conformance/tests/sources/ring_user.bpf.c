// Drains a user ring and writes down every sample: its length, then its bytes up to a multiple of eight.
#include "bpf.h"

#define LOG 65536
#define LONGEST 16384

struct log { unsigned char bytes[LOG + 8 + LONGEST]; };

struct { NUMBER(type, 31); NUMBER(max_entries, 4096); } ring SEC(".maps");
struct {
	NUMBER(type, 2);
	NUMBER(max_entries, 1);
	NUMBER(map_flags, 1 << 10);
	TYPE(key, u32);
	TYPE(value, struct log);
} samples SEC(".maps");

static long (*const drain)(void *ring, void *callback, void *context, u64 flags) = (void *)209;
static long (*const dynptr_read)(void *target, u32 length, const void *dynptr, u32 offset, u64 flags) = (void *)201;

// The largest length up to which the dynptr can be read, found by halves. Without branches, of which the verifier would follow every combination.
static u64 length_of(const void *dynptr)
{
	unsigned char byte;
	u32 length = 0;

#pragma unroll
	for (u32 step = LONGEST / 2; step; step >>= 1) {
		long refused = dynptr_read(&byte, 1, dynptr, length + step - 1, 0);

		length += step & ~(u32)(refused >> 63);
	}
	return length;
}

struct order { u64 flags; u64 limit; long answer; u64 seen; };

// Not on the stack: there the verifier would know their values, and follow each.
u64 limit;
u64 seen;
u64 used;

static long take(const void *dynptr, void *context)
{
	u32 first = 0;
	struct log *log = map_lookup(&samples, &first);
	u64 at = used & ~7;

	seen++;
	if (log && at < LOG) {
		// Below `LONGEST` anyway, and now the verifier knows.
		u64 length = length_of(dynptr) & (LONGEST - 1);

		*(u64 *)(log->bytes + at) = length;
		dynptr_read(log->bytes + at + 8, length, dynptr, 0, 0);
		used = at + 8 + length + 7;
	}
	return seen >= limit;
}

SEC("syscall") int empty(struct order *order)
{
	seen = 0;
	used = 0;
	limit = order->limit;
	order->answer = drain(&ring, take, 0, order->flags);
	order->seen = seen;
	return 0;
}

// Counts, and looks at nothing.
static long count(const void *dynptr, void *context)
{
	return ++seen >= limit;
}

SEC("syscall") int empty_unseen(struct order *order)
{
	seen = 0;
	limit = order->limit;
	order->answer = drain(&ring, count, 0, order->flags);
	order->seen = seen;
	return 0;
}

char terms[] SEC("license") = "GPL";
