// Numbers, one after the other, a few in each run, into a ring that somebody reads meanwhile.
#include "bpf.h"

struct { NUMBER(type, 27); NUMBER(max_entries, 4096); } ring SEC(".maps");

static void *(*const reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*const submit)(void *record, u64 flags) = (void *)132;

struct order { u64 next; u64 count; };

static long produce(u32 index, struct order *order)
{
	u64 *record = reserve(&ring, sizeof(*record), 0);

	if (!record)
		return 1;
	*record = order->next++;
	submit(record, 0);
	return 0;
}

// `next` says afterwards how far it got: a full ring ends the run.
SEC("syscall") int stream(struct order *context)
{
	struct order order = *context;

	loop(order.count, produce, &order, 0);
	context->next = order.next;
	return 0;
}

char terms[] SEC("license") = "GPL";
