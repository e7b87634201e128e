// A map definition with a field that nobody knows.
#include "bpf.h"
struct { NUMBER(type, 1); NUMBER(max_entries, 3); TYPE(key, u32); TYPE(value, u64); NUMBER(colour, 3); } counts SEC(".maps");
SEC("socket") int one(void *context) { return 1; }
