// No programs, a map and a licence.
#include "bpf.h"
struct {
	NUMBER(type, 1);
	NUMBER(max_entries, 3);
	NUMBER(key_size, 4);
	NUMBER(value_size, 8);
} alone SEC(".maps");
char _license[] SEC("license") = "";
