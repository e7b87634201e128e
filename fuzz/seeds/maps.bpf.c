// Seed for the fuzz targets: maps of several types, a ring, data sections, subprograms, an optional program.
#define SEC(name) __attribute__((section(name), used))
#define FIELD_NUMBER(name, value) int (*name)[value]
#define FIELD_TYPE(name, type) type *name

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const map_update)(void *map, const void *key, const void *value, unsigned long flags) = (void *)2;
static void *(*const ring_reserve)(void *ring, unsigned long size, unsigned long flags) = (void *)131;
static void (*const ring_submit)(void *data, unsigned long flags) = (void *)132;

struct {
	FIELD_NUMBER(type, 1);
	FIELD_NUMBER(max_entries, 8);
	FIELD_TYPE(key, unsigned int);
	FIELD_TYPE(value, unsigned long);
} counts SEC(".maps");

struct {
	FIELD_NUMBER(type, 27);
	FIELD_NUMBER(max_entries, 4096);
} events SEC(".maps");

unsigned long total;
unsigned int step = 3;
const volatile unsigned int limit = 5;
char _license[] SEC("license") = "Dual MIT/GPL";

static __attribute__((noinline)) unsigned long twice(unsigned long value)
{
	return value * 2 + step;
}

__attribute__((noinline)) int report(unsigned long value)
{
	unsigned long *record = ring_reserve(&events, sizeof(*record), 0);

	if (!record)
		return 1;
	*record = twice(value);
	ring_submit(record, 0);
	return 0;
}

SEC("tc")
int count(void *context)
{
	unsigned int key = total % limit;
	unsigned long *value = map_lookup(&counts, &key);
	unsigned long first = twice(total);

	total++;
	if (value)
		return report((*value)++);
	return map_update(&counts, &key, &first, 0);
}

SEC("?xdp")
int optional(void *context)
{
	return report(twice(limit));
}
