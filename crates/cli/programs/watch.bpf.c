// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What happens on a machine, one program for each kind of event, of which a tool loads those that it was asked for. They stand at tracepoints, whose
// fields have fixed places, so nothing here depends on how the kernel lays out its structures.

#include "bpf.h"

enum kind {
    EXEC = 1,
    EXIT = 2,
    OPEN = 3,
};

enum {
    NAME = 16,
    PATH = 256,
};

/* A record: as much of the path as there is, its zero included. */
struct event {
    u32 kind;
    u32 pid;
    char command[NAME];
    char path[PATH];
};

enum {
    WITHOUT_PATH = sizeof(struct event) - PATH,
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} events SEC(".maps");

/* How many events found no room in the ring. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, u64);
} dropped SEC(".maps");

static INLINE void begin(struct event *event, enum kind kind)
{
    event->kind = kind;
    event->pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(event->command, NAME);
}

/* `length` is that of the path, or an error number. */
static INLINE int finish(const struct event *event, long length)
{
    u32 zero = 0;
    u64 *count;

    if (length < 0 || length > PATH)
        length = 0;
    if (bpf_ringbuf_output(&events, event, WITHOUT_PATH + length, 0) == 0)
        return 0;
    count = bpf_map_lookup_elem(&dropped, &zero);
    if (count)
        __sync_fetch_and_add(count, 1);
    return 0;
}

/* events/sched/sched_process_exec/format */
struct exec {
    u64 common;
    u32 path; /* where it stands, in the lower half */
};

SEC("tp/sched/sched_process_exec")
int on_exec(const struct exec *exec)
{
    struct event event;

    begin(&event, EXEC);
    return finish(&event, bpf_probe_read_kernel_str(event.path, PATH, (const char *)exec + (u16)exec->path));
}

SEC("tp/sched/sched_process_exit")
int on_exit(const void *exit)
{
    struct event event;
    u64 both = bpf_get_current_pid_tgid();

    /* The other threads of a process have numbers of their own. */
    if ((u32)both != both >> 32)
        return 0;
    begin(&event, EXIT);
    return finish(&event, 0);
}

/* events/syscalls/sys_enter_openat/format */
struct openat {
    u64 common;
    s64 number;
    u64 directory;
    const char *path;
};

SEC("tp/syscalls/sys_enter_openat")
int on_open(const struct openat *open)
{
    struct event event;

    begin(&event, OPEN);
    return finish(&event, bpf_probe_read_user_str(event.path, PATH, open->path));
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
