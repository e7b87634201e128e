// What only a kernel can supply. Built with: clang -g -O2 -target bpf -c externs.bpf.c
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "GPL";

extern int LINUX_KERNEL_VERSION __kconfig;
extern _Bool CONFIG_BPF __kconfig __weak;
extern char CONFIG_DEFAULT_HOSTNAME[33] __kconfig __weak;
extern const int bpf_prog_active __ksym;

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

SEC("raw_tp/sched_switch") int config(void *ctx)
{
	return LINUX_KERNEL_VERSION + CONFIG_BPF + CONFIG_DEFAULT_HOSTNAME[1];
}

SEC("raw_tp/sched_switch") int symbol(void *ctx)
{
	return (long)&bpf_prog_active;
}

SEC("fentry/do_exit") int field(struct task_struct *task)
{
	return task->pid;
}

SEC("fentry/do_exit") int plain(void *ctx)
{
	return 0;
}
