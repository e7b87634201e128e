// A configuration value of a type that none can have.
#include "bpf.h"
struct pair { int a, b; };
extern struct pair CONFIG_PAIR __attribute__((section(".kconfig")));
SEC("socket") int use(void *context) { return CONFIG_PAIR.a; }
