// An extern in a section that holds none.
#include "bpf.h"
extern int elsewhere __attribute__((section(".elsewhere")));
SEC("socket") int use(void *context) { return elsewhere; }
