// A variable in a section that is not known to hold data, and a program that uses it.
#include "bpf.h"
u32 almost SEC(".database") = 10;
SEC("socket") int use(void *context) { return almost; }
