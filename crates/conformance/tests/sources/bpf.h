// What every source here needs; nothing of the system's headers.
#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))
#define NUMBER(name, value) int (*name)[value]
#define TYPE(name, type) type *name

typedef unsigned int u32;
typedef unsigned long u64;

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const tail_call)(void *context, void *map, u32 index) = (void *)12;
static long (*const ring_output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;
static long (*const for_each)(void *map, void *callback, void *context, u64 flags) = (void *)164;
static long (*const loop)(u32 count, void *callback, void *context, u64 flags) = (void *)181;
