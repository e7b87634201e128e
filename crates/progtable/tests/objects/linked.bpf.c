// Subprograms, callbacks and variables. Built with: clang -g -O2 -target bpf -c linked.bpf.c
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

int calls;
const volatile int limit = 7;
static volatile int hidden_counter = 5;
int weights[4] SEC(".data.weights") = { 1, 2, 3, 4 };

static __attribute__((noinline)) int leaf(int x)
{
	hidden_counter += x;
	return x * 3;
}

__attribute__((noinline)) int shared(int x)
{
	calls += x;
	return leaf(x) + 1;
}

__attribute__((noinline)) int unused(int x)
{
	return x - calls;
}

static long each(__u32 index, void *ctx)
{
	calls += index;
	return 0;
}

SEC("?tc/ingress") int off(struct __sk_buff *skb)
{
	return shared(skb->len);
}

SEC("tc/ingress") int first(struct __sk_buff *skb)
{
	if (skb->len > limit)
		return leaf(skb->len);
	return shared(skb->len) + weights[skb->mark & 3];
}

SEC("tc/ingress") int second(struct __sk_buff *skb)
{
	return 2;
}

SEC("xdp") int loops(struct xdp_md *ctx)
{
	bpf_loop(10, each, 0, 0);
	return shared(1);
}

SEC("elsewhere") int untyped(void *ctx)
{
	return 0;
}
