//! Programs that write numbered records, as fast as the kernel runs them.

use ebpf_linux::{Error, Linux, LinuxMap, LinuxProgram, TestRun};
use ebpf_loader::{Instruction, MapKind, MapSpec, Platform, ProgramKind, ProgramSpec};

/// A program that writes one record each time it is run, and counts in a map of its own how often it has tried and how often there was no room.
pub(crate) struct Producer {
    program: LinuxProgram,
    counters: LinuxMap,
}

/// What a producer has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) tried: u64,
    pub(crate) refused: u64,
}

impl Producer {
    /// Writes to a ring or, if the map is an array of events, to the event of the CPU that it runs on.
    pub(crate) fn new(number: usize, map: &LinuxMap) -> Result<Self, Error> {
        let counters = LinuxMap::create(&MapSpec::new("counters", MapKind::ARRAY, 4, 16, 1))?;
        let number = i32::try_from(number).expect("a small number");
        let code = match map.kind() {
            MapKind::RINGBUF => to_ring(number, map, &counters),
            _ => to_event(number, map, &counters),
        };
        // A program for packets, because those can be run many times by one call; and not XDP, where each call waits for every CPU.
        let program = LinuxProgram::load(&ProgramSpec {
            name: "producer",
            section: "socket",
            kind: ProgramKind::SOCKET_FILTER,
            expected_attach_type: 0,
            license: "GPL",
            instructions: &code,
        })?;
        Ok(Self { program, counters })
    }

    /// Tries to write so many records; gives how often there was no room.
    pub(crate) fn run(&self, records: u32) -> Result<u64, Error> {
        let before = self.counted()?.refused;
        self.program.test_run(TestRun { repeat: records, data: &[0; 64], ..Default::default() })?;
        Ok(self.counted()?.refused - before)
    }

    pub(crate) fn counted(&self) -> Result<Counted, Error> {
        let mut value = [0; 16];
        self.counters.lookup(&[0; 4], &mut value)?;
        let word =
            |index: usize| u64::from_ne_bytes(value[index * 8..][..8].try_into().expect("eight bytes"));
        Ok(Counted { tried: word(0), refused: word(1) })
    }
}

const fn i(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Instruction {
    Instruction::new(opcode, dst, src, offset, imm)
}

fn wide(register: u8, source: u8, map: &LinuxMap) -> [Instruction; 2] {
    [i(0x18, register, source, 0, Linux.map_reference(map)), Instruction::default()]
}

/// `r6 = context; r7 = &counters; r8 = counters.tried++`
fn begin(counters: &LinuxMap) -> Vec<Instruction> {
    let [low, high] = wide(7, 2, counters);
    vec![
        i(0xbf, 6, 1, 0, 0),
        low,
        high,
        i(0x79, 8, 7, 0, 0),
        i(0xbf, 1, 8, 0, 0),
        i(0x07, 1, 0, 0, 1),
        i(0x7b, 7, 1, 0, 0),
    ]
}

/// The record, at `register` and `offset`: `number, producer, !number`.
fn record(register: u8, offset: i16, producer: i32) -> [Instruction; 5] {
    [
        i(0x7b, register, 8, offset, 0),
        i(0x7a, register, 0, offset + 8, producer),
        i(0xbf, 1, 8, 0, 0),
        i(0xa7, 1, 0, 0, -1),
        i(0x7b, register, 1, offset + 16, 0),
    ]
}

/// `return 2; refused: counters.refused++; return 2`, with `refused` two instructions in.
const END: [Instruction; 7] = [
    i(0xb7, 0, 0, 0, 2),
    i(0x95, 0, 0, 0, 0),
    i(0x79, 1, 7, 8, 0),
    i(0x07, 1, 0, 0, 1),
    i(0x7b, 7, 1, 8, 0),
    i(0xb7, 0, 0, 0, 2),
    i(0x95, 0, 0, 0, 0),
];

fn to_ring(producer: i32, ring: &LinuxMap, counters: &LinuxMap) -> Vec<Instruction> {
    let mut code = begin(counters);
    code.extend(wide(1, 1, ring));
    code.extend([
        i(0xb7, 2, 0, 0, 24),
        i(0xb7, 3, 0, 0, 0),
        i(0x85, 0, 0, 0, 131),   // bpf_ringbuf_reserve
        i(0x15, 0, 0, 5 + 5, 0), // to `refused`
    ]);
    code.extend(record(0, 0, producer));
    code.extend([i(0xbf, 1, 0, 0, 0), i(0xb7, 2, 0, 0, 0), i(0x85, 0, 0, 0, 132)]); // bpf_ringbuf_submit
    code.extend(END);
    code
}

fn to_event(producer: i32, events: &LinuxMap, counters: &LinuxMap) -> Vec<Instruction> {
    let mut code = begin(counters);
    code.extend(record(10, -24, producer));
    code.push(i(0xbf, 1, 6, 0, 0));
    code.extend(wide(2, 1, events));
    code.extend([
        i(0xb4, 3, 0, 0, -1), // BPF_F_CURRENT_CPU
        i(0xbf, 4, 10, 0, 0),
        i(0x07, 4, 0, 0, -24),
        i(0xb7, 5, 0, 0, 24),
        i(0x85, 0, 0, 0, 25), // bpf_perf_event_output
        i(0x55, 0, 0, 2, 0),  // to `refused`
    ]);
    code.extend(END);
    code
}
