// A static function in a program section: libbpf does not take it for a program.
#include "bpf.h"
SEC("socket") static int quiet(void *context) { return 0; }
SEC("socket") int loud(void *context) { return 1; }
