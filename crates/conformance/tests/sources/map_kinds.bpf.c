// Maps: every way to state a size, rings of every size, pinning, flags, extra, maps of maps, a table of programs.
#include "bpf.h"

struct pair { u32 a; u64 b; };
typedef u64 three[3];
struct inner_map {
	NUMBER(type, 2);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u32);
} inner_array SEC(".maps");
int target(void *context);

#define RING(name, size) struct { NUMBER(type, 27); NUMBER(max_entries, size); } name SEC(".maps")
RING(ring_of_none, 0);
RING(ring_of_one, 1);
RING(ring_of_a_thousand, 1000);
RING(ring_of_a_page, 4096);
RING(ring_of_a_page_and_one, 4097);
RING(ring_of_three_pages, 12288);
RING(ring_of_a_megabyte, 1 << 20);
struct { NUMBER(type, 31); NUMBER(max_entries, 5000); } user_ring SEC(".maps");
struct { NUMBER(type, 4); NUMBER(key_size, 4); NUMBER(value_size, 4); } perf SEC(".maps");
struct { NUMBER(type, 4); NUMBER(key_size, 4); NUMBER(value_size, 4); NUMBER(max_entries, 3); } perf_three SEC(".maps");
struct {
	NUMBER(type, 1);
	NUMBER(max_entries, 100);
	NUMBER(map_flags, 1);
	TYPE(key, struct pair);
	TYPE(value, three);
	NUMBER(pinning, 1);
} pinned SEC(".maps");
struct { NUMBER(type, 30); NUMBER(max_entries, 100); NUMBER(value_size, 8); NUMBER(map_extra, 3); } bloom SEC(".maps");
struct { NUMBER(type, 22); NUMBER(max_entries, 10); TYPE(value, struct pair); } queue SEC(".maps");
struct { NUMBER(type, 1); NUMBER(max_entries, 10); NUMBER(key_size, 12); TYPE(value, struct pair); NUMBER(numa_node, 0); } mixed SEC(".maps");
struct {
	NUMBER(type, 12);
	NUMBER(max_entries, 2);
	NUMBER(key_size, 4);
	NUMBER(value_size, 4);
	struct inner_map *values[];
} outer_typed SEC(".maps") = { .values = { &inner_array } };
struct {
	NUMBER(type, 3);
	NUMBER(max_entries, 2);
	NUMBER(key_size, 4);
	int (*values[])(void *);
} programs SEC(".maps") = { .values = { [1] = target } };
struct { NUMBER(type, 32); NUMBER(map_flags, 1); TYPE(key, int); TYPE(value, u64); } storage SEC(".maps");

SEC("socket") int target(void *context) { return 0; }
SEC("socket") int start(void *context)
{
	u32 key = 0;
	void *map = map_lookup(&outer_typed, &key);

	tail_call(context, &programs, 1);
	if (map)
		map_lookup(map, &key);
	ring_output(&ring_of_a_page, &key, 4, 0);
	return map_lookup(&pinned, &key) != 0;
}
