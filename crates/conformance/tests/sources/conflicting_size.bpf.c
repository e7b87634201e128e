// A key that is said to be of two sizes.
#include "bpf.h"
struct { NUMBER(type, 1); NUMBER(max_entries, 3); NUMBER(key_size, 8); TYPE(key, u32); TYPE(value, u64); } counts SEC(".maps");
SEC("socket") int one(void *context) { return 1; }
