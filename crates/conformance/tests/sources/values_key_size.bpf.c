// A hash of maps with keys of eight bytes that is to hold a map from the start.
#include "bpf.h"
struct inner { NUMBER(type, 2); NUMBER(max_entries, 1); TYPE(key, u32); TYPE(value, u32); } one SEC(".maps");
struct { NUMBER(type, 13); NUMBER(max_entries, 2); NUMBER(key_size, 8); struct inner *values[]; } outer SEC(".maps") = { .values = { &one } };
SEC("socket") int use(void *context) { u64 key = 0; return map_lookup(&outer, &key) != 0; }
