// The way maps were declared before BTF: libbpf stopped taking them with 1.0.
#include "bpf.h"
struct { u32 type, key_size, value_size, max_entries, flags; } old SEC("maps") = { 1, 4, 8, 3, 0 };
SEC("xdp") int one(void *context) { u32 key = 0; return map_lookup(&old, &key) != 0; }
