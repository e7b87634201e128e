//! The programs that every machine runs, and what they need.

use ebpf_loader::{Instruction, MapKind, MapSpec};

/// Turns of a program's loop.
pub(super) const TURNS: i32 = 1000;
/// Fewer, where every turn leaves a record in the ring.
const RECORDS: i32 = 100;
/// Bytes of a record of the ring program.
const RECORD: i32 = 64;

/// A program and its maps, which its instructions name by position.
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) maps: Vec<MapSpec<'static>>,
    pub(super) code: Vec<Instruction>,
    /// Instructions that one run executes.
    pub(super) executed: u64,
}

const fn map(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> MapSpec<'static> {
    MapSpec::new("map", kind, key_size, value_size, max_entries)
}

const fn i(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Instruction {
    Instruction::new(opcode, dst, src, offset, imm)
}

/// `r<dst> = map number`, in two slots.
const fn handle(dst: u8, number: i32) -> [Instruction; 2] {
    [i(0x18, dst, 1, 0, number), i(0, 0, 0, 0, 0)]
}

const EXIT: Instruction = i(0x95, 0, 0, 0, 0);

/// `before` once, then `body` so often, with r9 counting down.
fn looped(turns: i32, before: &[Instruction], body: &[Instruction]) -> (Vec<Instruction>, u64) {
    let mut code = before.to_vec();
    code.push(i(0xb7, 9, 0, 0, turns));
    code.extend(body);
    code.push(i(0x07, 9, 0, 0, -1));
    let back = -(i16::try_from(body.len()).expect("a short body") + 2);
    code.push(i(0x55, 9, 0, back, 0));
    code.extend([i(0xb7, 0, 0, 0, 0), EXIT]);
    let turns = u64::try_from(turns).expect("a positive number");
    (code, before.len() as u64 + 3 + turns * (body.len() as u64 + 2))
}

impl Workload {
    fn new(
        name: &'static str,
        maps: &[MapSpec<'static>],
        turns: i32,
        before: &[Instruction],
        body: &[Instruction],
    ) -> Self {
        let (code, executed) = looped(turns, before, body);
        Self { name, maps: maps.to_vec(), code, executed }
    }
}

/// What a hash of some words looks like: multiplications, shifts, exclusive or, of both widths.
pub(super) fn alu() -> Workload {
    let body = [
        i(0x0f, 0, 9, 0, 0),                             // r0 += r9
        i(0xbf, 1, 0, 0, 0),                             // r1 = r0
        i(0x67, 1, 0, 0, 13),                            // r1 <<= 13
        i(0xaf, 0, 1, 0, 0),                             // r0 ^= r1
        i(0xbf, 1, 0, 0, 0),                             // r1 = r0
        i(0x77, 1, 0, 0, 7),                             // r1 >>= 7
        i(0xaf, 0, 1, 0, 0),                             // r0 ^= r1
        i(0x27, 0, 0, 0, 0x85eb_ca6b_u32.cast_signed()), // r0 *= constant
        i(0xbc, 2, 0, 0, 0),                             // w2 = w0
        i(0x54, 2, 0, 0, 0xffff),                        // w2 &= 0xffff
        i(0x0c, 3, 2, 0, 0),                             // w3 += w2
        i(0x1f, 4, 3, 0, 0),                             // r4 -= r3
    ];
    Workload::new(
        "ALU loop",
        &[],
        TURNS,
        &[i(0xb7, 0, 0, 0, 1), i(0xb7, 3, 0, 0, 0), i(0xb7, 4, 0, 0, 0)],
        &body,
    )
}

/// Loads and stores of all sizes on the stack, through r10 and through a copy of it.
pub(super) fn memory() -> Workload {
    let body = [
        i(0x7b, 10, 9, -8, 0),  // *(u64 *)(r10 - 8) = r9
        i(0x79, 1, 10, -8, 0),  // r1 = *(u64 *)(r10 - 8)
        i(0x63, 6, 1, 16, 0),   // *(u32 *)(r6 + 16) = r1
        i(0x61, 2, 6, 16, 0),   // r2 = *(u32 *)(r6 + 16)
        i(0x6b, 6, 2, 22, 0),   // *(u16 *)(r6 + 22) = r2
        i(0x69, 3, 6, 22, 0),   // r3 = *(u16 *)(r6 + 22)
        i(0x73, 10, 3, -32, 0), // *(u8 *)(r10 - 32) = r3
        i(0x71, 4, 10, -32, 0), // r4 = *(u8 *)(r10 - 32)
        i(0x7b, 6, 4, 0, 0),    // *(u64 *)(r6 + 0) = r4
        i(0x79, 5, 6, 0, 0),    // r5 = *(u64 *)(r6 + 0)
    ];
    Workload::new("memory", &[], TURNS, &[i(0xbf, 6, 10, 0, 0), i(0x07, 6, 0, 0, -64)], &body)
}

/// Counts in an array, as clang makes it of `value = bpf_map_lookup_elem(&map, &key); if (value) *value += 1;`.
pub(super) fn array_lookup() -> Workload {
    lookup("map lookup, array", map(MapKind::ARRAY, 4, 8, 256), &[])
}

/// The same in a hash map whose keys are there.
pub(super) fn hash_lookup() -> Workload {
    lookup("map lookup, hash", map(MapKind::HASH, 4, 8, 256), &[])
}

fn lookup(name: &'static str, kind: MapSpec<'static>, before: &[Instruction]) -> Workload {
    let mut body = vec![
        i(0xbf, 1, 9, 0, 0),    // r1 = r9
        i(0x57, 1, 0, 0, 0xff), // r1 &= 255
        i(0x63, 10, 1, -4, 0),  // *(u32 *)(r10 - 4) = r1
        i(0xbf, 2, 10, 0, 0),   // r2 = r10
        i(0x07, 2, 0, 0, -4),   // r2 += -4
    ];
    body.extend(handle(1, 0));
    body.extend([
        i(0x85, 0, 0, 0, 1), // call bpf_map_lookup_elem
        i(0x15, 0, 0, 3, 0), // if r0 == 0 goto +3
        i(0x79, 1, 0, 0, 0), // r1 = *(u64 *)(r0 + 0)
        i(0x07, 1, 0, 0, 1), // r1 += 1
        i(0x7b, 0, 1, 0, 0), // *(u64 *)(r0 + 0) = r1
    ]);
    Workload::new(name, &[kind], TURNS, before, &body)
}

/// A record of 64 bytes, eight fields, built on the stack and copied to the ring.
pub(super) fn ring_output() -> Workload {
    let mut body = Vec::new();
    for field in 0..8i16 {
        let place = field * 8 - 64;
        // Each field is something: what a program reads from its context, masked and shifted.
        body.extend([
            i(0xbf, 1, 9, 0, 0),
            i(0x67, 1, 0, 0, i32::from(field)),
            i(0x57, 1, 0, 0, 0xffff),
            i(0x7b, 10, 1, place, 0),
        ]);
    }
    body.extend([i(0xbf, 2, 10, 0, 0), i(0x07, 2, 0, 0, -RECORD)]);
    body.extend(handle(1, 0));
    body.extend([
        i(0xb7, 3, 0, 0, RECORD), // r3 = 64
        i(0xb7, 4, 0, 0, 1),      // r4 = BPF_RB_NO_WAKEUP
        i(0x85, 0, 0, 0, 130),    // call bpf_ringbuf_output
    ]);
    Workload::new("ring output", &[map(MapKind::RINGBUF, 0, 0, 1 << 20)], RECORDS, &[], &body)
}

/// Reads one 8-byte word of each of `regions` maps in turn, sixteen in all per turn.
pub(super) fn regions(regions: i32) -> Workload {
    let maps = vec![map(MapKind::ARRAY, 4, 64, 1); 16];
    // Addresses of sixteen values, kept on the stack.
    let mut before = Vec::new();
    for number in 0..16 {
        let number = number % regions;
        before.extend([i(0x18, 1, 2, 0, number), i(0, 0, 0, 0, 8)]);
        before.push(i(0x7b, 10, 1, -8 * (i16::try_from(before.len() / 3).expect("few") + 1), 0));
    }
    let mut body = Vec::new();
    for number in 0..16 {
        body.extend([i(0x79, 1, 10, -8 * (number + 1), 0), i(0x79, 2, 1, 0, 0)]);
    }
    Workload::new("regions", &maps, TURNS, &before, &body)
}

/// Straight-line code of so many instructions.
pub(super) fn straight(instructions: usize) -> Vec<Instruction> {
    const PATTERN: [Instruction; 6] = [
        i(0x07, 0, 0, 0, 7),
        i(0x7b, 10, 0, -8, 0),
        i(0x79, 1, 10, -8, 0),
        i(0x15, 1, 0, 1, 3),
        i(0xaf, 2, 1, 0, 0),
        i(0xbc, 3, 2, 0, 0),
    ];
    let mut code: Vec<_> = PATTERN.iter().copied().cycle().take(instructions.saturating_sub(2)).collect();
    if instructions > 1 {
        code.push(i(0xb7, 0, 0, 0, 0));
    }
    code.push(EXIT);
    code
}
