// Maps that hold maps and programs from the start. Built with: clang -g -O2 -target bpf -c values.bpf.c; llvm-strip -g values.bpf.o
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __array(name, type) typeof(type) *name[]

struct inner {
	__uint(type, 2);
	__uint(max_entries, 5);
	__uint(key_size, 4);
	__uint(value_size, 32);
};

struct inner one SEC(".maps");
struct inner two SEC(".maps");

int second(void *context);
int third(void *context);

struct {
	__uint(type, 12);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { [1] = &two, [6] = &one } };

struct {
	__uint(type, 3);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__array(values, int (void *));
} tails SEC(".maps") = { .values = { [0] = third, [3] = second } };

SEC("xdp") int first(void *context)
{
	long (*tail_call)(void *, void *, unsigned int) = (void *)12;
	void *(*lookup)(void *, void *) = (void *)1;
	unsigned int key = 1;

	if (lookup(&outer, &key))
		tail_call(context, &tails, 3);
	return 0;
}
SEC("xdp") int second(void *context) { return 2; }
SEC("?xdp") int third(void *context) { return 3; }
