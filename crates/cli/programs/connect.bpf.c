// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Two connection programs, one for each address family, as the stress run attaches them: they count what they are asked, and refuse the discard
// port.

#include "bpf.h"

/* struct bpf_sock_addr of the kernel's ABI, up to what is looked at here. */
struct sock_addr {
    u32 user_family;
    u32 user_ip4;
    u32 user_ip6[4];
    u32 user_port; /* network byte order */
};

enum {
    ALLOW = 1,
    REFUSE = 0,
    DISCARD_PORT = 0x0900, /* 9 */
};

/* By family: how often each program was asked. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, u32);
    __type(value, u64);
} asked SEC(".maps");

static INLINE int decide(const struct sock_addr *address, u32 family)
{
    u64 *count = bpf_map_lookup_elem(&asked, &family);

    if (count)
        __sync_fetch_and_add(count, 1);
    return (u16)address->user_port == DISCARD_PORT ? REFUSE : ALLOW;
}

SEC("cgroup/connect4")
int connect4(struct sock_addr *address)
{
    return decide(address, 0);
}

SEC("cgroup/connect6")
int connect6(struct sock_addr *address)
{
    return decide(address, 1);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
