// A program whose offsets depend on the kernel's types, one that shares its section, and one in a section of its own.
#include "bpf.h"
struct task_struct { int pid; int tgid; } __attribute__((preserve_access_index));
static NOINLINE int of_task(struct task_struct *task) { return task->tgid; }

SEC("raw_tp/sys_enter") int needs_types(struct task_struct **context) { return __builtin_preserve_access_index(&context[0]->pid) != 0; }
SEC("raw_tp/sys_enter") int does_not(void *context) { return 3; }
SEC("raw_tp/sys_exit") int through_a_call(void *context) { return of_task(context) & 1; }
SEC("socket") int apart(void *context) { return 4; }
