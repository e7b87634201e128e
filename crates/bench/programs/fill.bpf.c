// Fills a ring until it refuses, with records whose sizes follow a pattern. Run by BPF_PROG_TEST_RUN.

typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))

#define BPF_MAP_TYPE_RINGBUF 27
#define BPF_RB_NO_WAKEUP 1

static u32 (*bpf_get_prandom_u32)(void) = (void *)7;
static long (*bpf_ringbuf_output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;
static long (*bpf_loop)(u32 count, void *body, void *context, u64 flags) = (void *)181;

struct {
    int (*type)[BPF_MAP_TYPE_RINGBUF];
    int (*max_entries)[16 * 1024 * 1024];
} ring SEC(".maps");

// The context of the run: what to fill the ring with.
struct fill {
    u32 sizes[8]; // payload bytes, at most 2047
    u32 count;    // sizes in use, at most 8
    u32 random;   // in turn (0) or in any order
};

static char payload[2048];
static u32 sizes[8];
static u32 count;
static u32 is_random;

static long record(u32 index, void *context)
{
    u32 which = is_random ? ((u64)bpf_get_prandom_u32() * count) >> 32 : index & (count - 1);
    u64 size = sizes[which & 7] & 2047;

    *(u64 *)payload = index;
    return bpf_ringbuf_output(&ring, payload, size, BPF_RB_NO_WAKEUP) != 0;
}

SEC("syscall")
int fill(struct fill *how)
{
    for (int i = 0; i < 8; i++)
        sizes[i] = how->sizes[i];
    count = how->count;
    is_random = how->random;
    return bpf_loop(1 << 23, record, 0, 0);
}

char _license[] SEC("license") = "GPL";
