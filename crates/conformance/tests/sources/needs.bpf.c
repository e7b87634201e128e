// Everything that only a running kernel knows: configuration values of every type, addresses, variables and functions, there and not there.
#include "bpf.h"

enum libbpf_tristate { TRI_NO, TRI_YES, TRI_MODULE };
#define CONFIG __attribute__((section(".kconfig")))
#define KSYM __attribute__((section(".ksyms")))
#define WEAK __attribute__((weak))

extern int LINUX_KERNEL_VERSION CONFIG;
extern _Bool CONFIG_BPF_SYSCALL CONFIG;
extern enum libbpf_tristate CONFIG_TMPFS CONFIG;
extern char CONFIG_BPF CONFIG;
extern unsigned char CONFIG_SMALL CONFIG;
extern short CONFIG_NR_CPUS CONFIG;
extern int CONFIG_NEGATIVE CONFIG;
extern u64 CONFIG_ILLEGAL_POINTER_VALUE CONFIG;
extern char CONFIG_DEFAULT_HOSTNAME[33] CONFIG;
extern char CONFIG_CUT[4] CONFIG;
extern int CONFIG_NO_SUCH_NUMBER CONFIG WEAK;
extern char CONFIG_NO_SUCH_TEXT[7] CONFIG WEAK;
extern _Bool CONFIG_NO_SUCH_FLAG CONFIG WEAK;

extern const void bpf_prog_put KSYM;
extern const void no_such_address KSYM WEAK;
extern const int bpf_prog_active KSYM;
extern const u64 no_such_variable KSYM WEAK;
extern void bpf_rcu_read_lock(void) KSYM;
extern void bpf_rcu_read_unlock(void) KSYM WEAK;
extern int no_such_function(int) KSYM WEAK;
extern int another_missing_one(int) KSYM WEAK;

struct { NUMBER(type, 2); NUMBER(max_entries, 4); TYPE(key, u32); TYPE(value, u64); } first SEC(".maps");
struct { NUMBER(type, 1); NUMBER(max_entries, 4); TYPE(key, u32); TYPE(value, u64); } second SEC(".maps");
u64 counter = 5;

static NOINLINE u64 configuration(u64 sum)
{
	return sum + LINUX_KERNEL_VERSION + CONFIG_BPF_SYSCALL + CONFIG_TMPFS + CONFIG_BPF + CONFIG_NR_CPUS + CONFIG_NEGATIVE + CONFIG_SMALL;
}

SEC("tc") int nothing(void *context) { return counter; }
SEC("tc") int values(void *context)
{
	return configuration(CONFIG_ILLEGAL_POINTER_VALUE) + CONFIG_DEFAULT_HOSTNAME[5] + CONFIG_CUT[1]
		+ CONFIG_NO_SUCH_NUMBER + CONFIG_NO_SUCH_TEXT[2] + CONFIG_NO_SUCH_FLAG;
}
SEC("tc") int addresses(void *context) { return (u64)&bpf_prog_put + (u64)&no_such_address; }
SEC("tc") int variables(void *context) { return (u64)&bpf_prog_active + (u64)&no_such_variable; }
SEC("tc") int functions(void *context)
{
	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	if (no_such_function)
		no_such_function(1);
	return another_missing_one(2);
}
SEC("tc") int maps(void *context)
{
	u32 key = 0;

	return (map_lookup(&first, &key) != 0) + (map_lookup(&second, &key) != 0) + counter;
}

char terms[] SEC("license") = "GPL";
