// Every way to declare a map. Built with: clang -g -O2 -target bpf -c maps.bpf.c
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct event {
	__u64 when;
	char comm[16];
	const struct { __u32 pid; } volatile who[2];
};

typedef struct event event_t;

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 5);
	__type(key, __u32);
	__type(value, event_t);
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 5000);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE);
	__uint(numa_node, 1);
	__uint(max_entries, 100);
	__uint(key_size, 16);
	__type(key, char[16]);
	__type(value, event_t);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} a_map_with_a_long_name SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 3);
	__type(key, __u64);
	__array(values, struct inner);
} outer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, int (void *));
} tails SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 9);
	__type(value, int *);
	__uint(map_extra, 3);
} bloom SEC(".maps");

__attribute__((visibility("hidden"))) int hidden = 1;
int zero[3];
const int read_only[2] = { 1, 2 };
const char name[] SEC(".rodata.a_long_section_name") = "name";

SEC("kprobe/sys_nanosleep") int reads(void *ctx)
{
	bpf_printk("%d %d %c", hidden, zero[read_only[1] & 1], name[0]);
	return 0;
}
