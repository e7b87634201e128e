// A licence longer than the 63 bytes that are kept, and a version of four bytes.
#include "bpf.h"
char _license[] SEC("license") = "Dual MIT/GPL, and then so much more text that no loader keeps all of it for the kernel";
u32 _version SEC("version") = 0x060c00;
SEC("socket") int one(void *context) { return 0; }
