// Programs that are off, each on its own and several to a section; weak, hidden and aliased ones; names that occur twice.
#include "bpf.h"
SEC("?xdp") int one(void *context) { return 1; }
SEC("?xdp") __attribute__((weak)) int two(void *context) { return 2; }
SEC("xdp") __attribute__((visibility("hidden"))) int three(void *context) { return 3; }
SEC("xdp") int four(void *context) { return 4; }
int alias_of_four(void *context) __attribute__((alias("four")));
SEC("?kprobe/some_function") int five(void *context) { return 5; }
SEC("?raw_tp.w/x") int six(void *context) { return 6; }
SEC("?no/such") int seven(void *context) { return 7; }
