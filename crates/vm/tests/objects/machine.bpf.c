// What clang makes of ordinary programs, for the test that runs the objects beside this file. Build: see objects.rs.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __noinline __attribute__((noinline))

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static void *(*const bpf_ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*const bpf_ringbuf_submit)(void *data, u64 flags) = (void *)132;
static void (*const bpf_ringbuf_discard)(void *data, u64 flags) = (void *)133;
static long (*const bpf_loop)(u32 repeats, void *callback, void *context, u64 flags) = (void *)181;

struct event {
	u32 length;
	u32 checksum;
	u64 sum;
};

struct {
	__uint(type, 27);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct {
	__uint(type, 1);
	__uint(max_entries, 16);
	__type(key, u32);
	__type(value, u64);
} lengths SEC(".maps");

volatile const u32 salt = 7;
u64 runs = 100;
u32 last[4];

struct input {
	u32 length;
	s32 divisor;
	u8 bytes[56];
};

static __noinline u32 mix(u32 state, u32 byte)
{
	return (state ^ byte) * 16777619u;
}

// Everything at once: a loop over the context, a function of .text, .rodata, .data, .bss, a hash map, the ring.
SEC("socket/observe")
int observe(struct input *input)
{
	u32 length = input->length, checksum = salt, i;
	u64 sum = 0;

	if (length > sizeof(input->bytes))
		return -1;
	for (i = 0; i < length; i++) {
		checksum = mix(checksum, input->bytes[i]);
		sum += (u64)input->bytes[i] << (i & 7);
	}
	__sync_fetch_and_add(&runs, 1);
	last[length & 3] = checksum;

	u64 one = 1, *count = bpf_map_lookup_elem(&lengths, &length);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&lengths, &length, &one, 0);

	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return -2;
	event->length = length;
	event->checksum = checksum;
	event->sum = sum;
	if (length & 1)
		bpf_ringbuf_discard(event, 0);
	else
		bpf_ringbuf_submit(event, 0);
	return checksum & 0x7fffffff;
}

// Signs, widths and shifts that compilers turn into extensions of their own.
SEC("socket/numbers")
s64 numbers(struct input *input)
{
	s32 a = (s32)input->length, b = input->divisor;
	u32 ua = input->length;
	s64 wide = (s64)a * b;
	u16 swapped = __builtin_bswap16((u16)ua);
	u64 result = (u64)(wide >> 3) ^ (u64)(ua >> 5) ^ ((u64)(signed char)ua << 32);

	if (a < b)
		result += swapped;
	if (ua < (u32)b)
		result ^= __builtin_bswap64(ua);
	if (wide == -1)
		result |= 1;
	return (s64)result - (a >> 2);
}

static long add(u32 index, u64 *sum)
{
	*sum += index * 3;
	return index == 9;
}

SEC("socket/looped")
int looped(struct input *input)
{
	u64 sum = 0;
	long turns = bpf_loop(input->length, add, &sum, 0);

	return (int)(turns * 1000 + sum);
}

char _license[] SEC("license") = "GPL";
