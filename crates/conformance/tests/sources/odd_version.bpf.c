// A version section that is not four bytes.
#include "bpf.h"
u64 _version SEC("version") = 1;
SEC("socket") int one(void *context) { return 0; }
