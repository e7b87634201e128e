// 64 programs of eight lengths, all of them fine: to load some of them.

typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))

#define BPF_MAP_TYPE_ARRAY 2

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;

struct {
    int (*type)[BPF_MAP_TYPE_ARRAY];
    int (*max_entries)[1];
    u32 *key;
    u64 *value;
} counts SEC(".maps");

// An instruction that stays where it stands.
#define ONE asm volatile("%0 += 1" : "+r"(sum));
#define FOUR ONE ONE ONE ONE
#define SIXTEEN FOUR FOUR FOUR FOUR
#define LENGTH_0 SIXTEEN FOUR
#define LENGTH_1 LENGTH_0 SIXTEEN SIXTEEN
#define LENGTH_2 LENGTH_1 SIXTEEN SIXTEEN
#define LENGTH_3 LENGTH_2 SIXTEEN SIXTEEN SIXTEEN SIXTEEN
#define LENGTH_4 LENGTH_3 SIXTEEN SIXTEEN SIXTEEN SIXTEEN
#define LENGTH_5 LENGTH_4 SIXTEEN SIXTEEN SIXTEEN SIXTEEN
#define LENGTH_6 LENGTH_4 LENGTH_3
#define LENGTH_7 LENGTH_6 LENGTH_5

#define PROGRAM(tens, length)                                                                                          \
    SEC("socket") int program_##tens##_##length(void *context)                                                         \
    {                                                                                                                  \
        u32 key = 0;                                                                                                   \
        u64 sum = 0;                                                                                                   \
        u64 *count = bpf_map_lookup_elem(&counts, &key);                                                               \
        LENGTH_##length if (count) *count = sum;                                                                       \
        return 0;                                                                                                      \
    }

#define EIGHT(tens)                                                                                                    \
    PROGRAM(tens, 0)                                                                                                   \
    PROGRAM(tens, 1)                                                                                                   \
    PROGRAM(tens, 2)                                                                                                   \
    PROGRAM(tens, 3)                                                                                                   \
    PROGRAM(tens, 4)                                                                                                   \
    PROGRAM(tens, 5)                                                                                                   \
    PROGRAM(tens, 6)                                                                                                   \
    PROGRAM(tens, 7)

EIGHT(0)
EIGHT(1)
EIGHT(2)
EIGHT(3)
EIGHT(4)
EIGHT(5)
EIGHT(6)
EIGHT(7)

char LICENSE[] SEC("license") = "Dual MIT/GPL";
