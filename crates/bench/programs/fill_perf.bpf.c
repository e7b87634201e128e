// Writes samples to the perf ring of the CPU it runs on, until it refuses. Run by BPF_PROG_TEST_RUN.

typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))

#define BPF_MAP_TYPE_PERF_EVENT_ARRAY 4
#define BPF_F_CURRENT_CPU 0xffffffffULL

// Samples a run writes at most.
#define BATCH 512

static u32 (*bpf_get_prandom_u32)(void) = (void *)7;
static long (*bpf_perf_event_output)(void *ctx, void *map, u64 flags, void *data, u64 size) = (void *)25;

struct {
    int (*type)[BPF_MAP_TYPE_PERF_EVENT_ARRAY];
    int (*key_size)[sizeof(u32)];
    int (*value_size)[sizeof(u32)];
    int (*max_entries)[1024];
} events SEC(".maps");

// The arguments of the run: what to fill the ring with.
struct fill {
    u64 sizes[8]; // payload bytes, at most 2047
    u64 count;    // sizes in use, a power of two up to 8 unless random
    u64 random;   // in turn (0) or in any order
};

static char payload[2048];
static u64 written;

SEC("raw_tp")
int fill(struct fill *how)
{
    u64 sizes[8];

    for (int i = 0; i < 8; i++)
        sizes[i] = how->sizes[i];
    for (int i = 0; i < BATCH; i++) {
        u32 which = how->random ? ((u64)bpf_get_prandom_u32() * how->count) >> 32 : i & (how->count - 1);
        u64 size = sizes[which & 7] & 2047;

        *(u64 *)payload = written++;
        if (bpf_perf_event_output(how, &events, BPF_F_CURRENT_CPU, payload, size))
            return 1;
    }
    return 0;
}

char _license[] SEC("license") = "GPL";
