// A call to a function that is nowhere.
#include "bpf.h"
int nowhere(void *context);
SEC("xdp") int caller(void *context) { return nowhere(context) + 1; }
