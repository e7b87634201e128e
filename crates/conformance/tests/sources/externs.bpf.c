// What only a running kernel can resolve: configuration, symbols, kernel functions, weak ones too; and a program without any.
#include "bpf.h"
extern int LINUX_KERNEL_VERSION SEC(".kconfig");
extern _Bool CONFIG_BPF SEC(".kconfig") __attribute__((weak));
extern const void jiffies SEC(".ksyms");
extern const void no_such_symbol SEC(".ksyms") __attribute__((weak));
extern void bpf_rcu_read_lock(void) SEC(".ksyms") __attribute__((weak));
extern void bpf_rcu_read_unlock(void) SEC(".ksyms") __attribute__((weak));

SEC("tc") int needs_nothing(void *context) { return 1; }
SEC("tc") int configuration(void *context) { return LINUX_KERNEL_VERSION + CONFIG_BPF; }
SEC("tc") int symbol(void *context) { return &jiffies != &no_such_symbol; }
SEC("tc") int function(void *context) { bpf_rcu_read_lock(); bpf_rcu_read_unlock(); return 0; }
