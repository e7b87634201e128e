// A map definition without a type.
#include "bpf.h"
struct { NUMBER(max_entries, 3); TYPE(key, u32); TYPE(value, u64); } counts SEC(".maps");
SEC("socket") int one(void *context) { return 1; }
