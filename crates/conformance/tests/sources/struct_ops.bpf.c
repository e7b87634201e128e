// A table of kernel callbacks.
#include "bpf.h"
struct sock;
struct tcp_congestion_ops { void (*init)(struct sock *); u32 (*ssthresh)(struct sock *); char name[16]; };
SEC("struct_ops/start") void start(u64 *context) {}
SEC("struct_ops/threshold") u32 threshold(u64 *context) { return 2; }
SEC(".struct_ops") struct tcp_congestion_ops ours = { .init = (void *)start, .ssthresh = (void *)threshold, .name = "ours" };
SEC("?.struct_ops.link") struct tcp_congestion_ops off = { .init = (void *)start, .name = "off" };
