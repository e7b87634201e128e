// Three programs that each need another kind of map. Built with: clang -g -O2 -target bpf -c choose.bpf.c
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 16);
} lru SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__type(value, __u32);
	__uint(max_entries, 8);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 4);
} counters SEC(".maps");

SEC("xdp") int test_LRU_map(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 value = 2;

	return bpf_map_update_elem(&lru, &key, &value, BPF_ANY);
}

SEC("xdp") int test_PUSH_POP_map(struct xdp_md *ctx)
{
	__u32 value = 3;

	if (bpf_map_push_elem(&queue, &value, 0))
		return 1;
	return bpf_map_pop_elem(&queue, &value);
}

SEC("xdp") int test_maps(struct xdp_md *ctx)
{
	__u32 key = 2;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		*value += 1;
	return 0;
}
