// Section names at the edges of the matching rules: with and without a target, with a prefix of a longer name, in capitals.
#include "bpf.h"

#define PROGRAM(name, section) SEC(section) int name(void *context) { return 0; }
PROGRAM(p0, "kprobe") PROGRAM(p1, "kprobe/") PROGRAM(p2, "kprobes") PROGRAM(p3, "kprobe.multi/a*")
PROGRAM(p4, "xdp/") PROGRAM(p5, "xdp.frags") PROGRAM(p6, "xdp.frags/devmap") PROGRAM(p7, "xdp/devmap")
PROGRAM(p8, "xdp_prog") PROGRAM(p9, "XDP") PROGRAM(p10, "tc/ingress") PROGRAM(p11, "tc/other") PROGRAM(p12, "classifier")
PROGRAM(p13, "classifier/x") PROGRAM(p14, "socket") PROGRAM(p15, "socket1") PROGRAM(p16, "cgroup/skb")
PROGRAM(p17, "cgroup_skb/ingress") PROGRAM(p18, "cgroup/sock") PROGRAM(p19, "cgroup/sock_create") PROGRAM(p20, "cgroup/dev")
PROGRAM(p21, "sk_skb") PROGRAM(p22, "sk_skb/verdict") PROGRAM(p23, "sk_skb/other") PROGRAM(p24, "tp/a/b")
PROGRAM(p25, "tracepoint") PROGRAM(p26, "raw_tp.w/x") PROGRAM(p27, "raw_tracepoint/x") PROGRAM(p28, "tp_btf/x")
PROGRAM(p29, "fentry/x") PROGRAM(p30, "fentry.s/x") PROGRAM(p31, "fexit/x") PROGRAM(p32, "fmod_ret/x") PROGRAM(p33, "freplace/x")
PROGRAM(p34, "lsm/x") PROGRAM(p35, "lsm.s/x") PROGRAM(p36, "lsm_cgroup/x") PROGRAM(p37, "iter/task") PROGRAM(p38, "iter.s/task")
PROGRAM(p39, "syscall") PROGRAM(p40, "syscall/x") PROGRAM(p41, "perf_event") PROGRAM(p42, "perf_event/x") PROGRAM(p43, "sockops")
PROGRAM(p44, "sk_msg") PROGRAM(p45, "sk_lookup") PROGRAM(p46, "sk_lookup/x") PROGRAM(p47, "netfilter") PROGRAM(p48, "flow_dissector")
PROGRAM(p49, "sk_reuseport") PROGRAM(p50, "sk_reuseport/migrate") PROGRAM(p51, "usdt/a:b:c") PROGRAM(p52, "ksyscall/x")
PROGRAM(p53, "uprobe.multi.s/a:b") PROGRAM(p54, "kprobe.session/x") PROGRAM(p55, "netkit/peer") PROGRAM(p56, "tcx/egress")
PROGRAM(p57, "struct_ops/x") PROGRAM(p58, "struct_ops.s/x") PROGRAM(p59, "lwt_seg6local") PROGRAM(p60, "lirc_mode2")
PROGRAM(p61, "cgroup/getsockname_unix") PROGRAM(p62, "action") PROGRAM(p63, "?") PROGRAM(p64, "??xdp") PROGRAM(p65, "?.text")
PROGRAM(p66, "fsession/x") PROGRAM(p67, "fsession.s/x")
