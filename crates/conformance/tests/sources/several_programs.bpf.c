// Several programs in one section, off and on, in an order that is not the alphabet's; long names.
#include "bpf.h"

SEC("xdp") int zeta(void *context) { return 1; }
SEC("?xdp") int off_first(void *context) { return 2; }
SEC("xdp") int alpha(void *context) { return 3; }
SEC("?xdp") int off_second_with_a_name_much_longer_than_the_kernel_keeps(void *context) { return 4; }
SEC("kprobe/do_nothing") int on_probe(void *context) { return 5; }
SEC("no/such/section") int unknown(void *context) { return 6; }
