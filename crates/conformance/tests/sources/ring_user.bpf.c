// Drains a user ring: every sample's length is written down, and its beginning is copied.
#include "bpf.h"

#define SAMPLES 1024
#define BYTES 8192

struct sample { u64 length; unsigned char bytes[BYTES]; };

struct { NUMBER(type, 31); NUMBER(max_entries, 4096); } ring SEC(".maps");
struct {
	NUMBER(type, 2);
	NUMBER(max_entries, SAMPLES);
	NUMBER(map_flags, 1 << 10);
	TYPE(key, u32);
	TYPE(value, struct sample);
} samples SEC(".maps");

static long (*const drain)(void *ring, void *callback, void *context, u64 flags) = (void *)209;
static long (*const dynptr_read)(void *target, u32 length, const void *dynptr, u32 offset, u64 flags) = (void *)201;

// The largest length up to which the dynptr can be read, found by halves. Without branches, of which the verifier would follow every combination.
static u64 length_of(const void *dynptr)
{
	unsigned char byte;
	u32 length = 0;

#pragma unroll
	for (u32 step = 2 * BYTES; step; step >>= 1) {
		long refused = dynptr_read(&byte, 1, dynptr, length + step - 1, 0);

		length += step & ~(u32)(refused >> 63);
	}
	return length;
}

struct order { u64 flags; u64 limit; long answer; u64 seen; };

static long take(const void *dynptr, struct order *order)
{
	u32 index = order->seen++;
	struct sample *sample = map_lookup(&samples, &index);

	if (sample) {
		u32 length = length_of(dynptr);

		sample->length = length;
		if (length > BYTES)
			length = BYTES;
		if (length)
			dynptr_read(sample->bytes, length, dynptr, 0, 0);
	}
	return order->seen >= order->limit;
}

SEC("syscall") int empty(struct order *context)
{
	struct order order = *context;

	order.seen = 0;
	context->answer = drain(&ring, take, &order, order.flags);
	context->seen = order.seen;
	return 0;
}

// Counts, and looks at nothing.
static long count(const void *dynptr, struct order *order)
{
	return ++order->seen >= order->limit;
}

SEC("syscall") int empty_unseen(struct order *context)
{
	struct order order = *context;

	order.seen = 0;
	context->answer = drain(&ring, count, &order, order.flags);
	context->seen = order.seen;
	return 0;
}

char terms[] SEC("license") = "GPL";
