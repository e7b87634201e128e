//! Helpers: the ring's, `bpf_loop`, and what the host answers.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics fails, which is what it is for"
)]

mod common;

use std::sync::{Arc, Mutex};

use common::*;
use ebpf_vm::*;

const EAGAIN: u64 = -11i64 as u64;
const EINVAL: u64 = -22i64 as u64;

struct Ring {
    vm: Vm,
    map: VmMap,
    reference: i32,
}

impl Ring {
    fn new(size: u32) -> Self {
        let vm = Vm::new();
        let (map, reference) = map(&vm, spec(MapKind::RINGBUF, 0, 0, size));
        Self { vm, map, reference }
    }

    fn run(&self, code: Vec<Instruction>) -> u64 {
        run(&self.vm, &code).unwrap().return_value
    }

    fn output(&self, value: i32, size: i32, flags: i32) -> u64 {
        self.run(code![
            i(0x7a, 10, 0, -16, value),
            i(0x7a, 10, 0, -8, value),
            copy(2, 10),
            add(2, -16),
            mov(3, size),
            mov(4, flags),
            map_handle(1, self.reference),
            call(130),
            exit(),
        ])
    }

    /// Reserves `size` bytes, runs `fill` with r6 at them, submits; 1 if there was space.
    fn reserve(&self, size: i32, fill: Vec<Instruction>, commit: i32, flags: i32) -> u64 {
        let skip = fill.len() as i16 + 4;
        self.run(code![
            map_handle(1, self.reference),
            mov(2, size),
            mov(3, 0),
            call(131),
            copy(6, 0),
            mov(0, 0),
            i(0x15, 6, 0, skip, 0),
            fill,
            copy(1, 6),
            mov(2, flags),
            call(commit),
            mov(0, 1),
            exit(),
        ])
    }

    fn query(&self, what: i32) -> u64 {
        self.run(code![map_handle(1, self.reference), mov(2, what), call(134), exit()])
    }

    fn drain(&self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let drained = self.map.ring().unwrap().drain(usize::MAX, |record| records.push(record.to_vec()));
        assert_eq!(drained.records, records.len());
        assert_eq!(drained.stopped, Stopped::Empty);
        records
    }
}

#[test]
fn records_arrive_in_order_and_whole() {
    let ring = Ring::new(4096);
    assert_eq!(ring.output(0x0101_0101, 13, 0), 0);
    assert_eq!(
        ring.reserve(20, code![i(0x7a, 6, 0, 0, 1), i(0x7a, 6, 0, 8, 2), i(0x62, 6, 0, 16, 3)], 132, 0),
        1
    );
    assert_eq!(ring.reserve(8, vec![], 133, 0), 1);
    assert_eq!(ring.output(0, 0, 0), 0);
    let mut record = Vec::new();
    record.extend(1u64.to_ne_bytes());
    record.extend(2u64.to_ne_bytes());
    record.extend(3u32.to_ne_bytes());
    let first = 0x0101_0101u64.to_ne_bytes().repeat(2)[..13].to_vec();
    assert_eq!(ring.drain(), [first, record, vec![]]);
    let tally = ring.map.ring().unwrap().tally();
    assert_eq!((tally.reserved, tally.submitted, tally.discarded, tally.refused()), (4, 3, 1, 0));
    assert!(ring.map.is_empty());
}

#[test]
fn what_linux_refuses() {
    let ring = Ring::new(4096);
    // Found on a real kernel: 4080 bytes fit a ring of 4096, 4088 do not; 255 records of 16 bytes.
    assert_eq!(ring.reserve(4088, vec![], 133, 0), 0);
    assert_eq!(ring.reserve(4080, vec![], 133, 0), 1);
    assert!(ring.drain().is_empty());
    assert_eq!((0..300).take_while(|n| ring.output(*n, 8, 0) == 0).count(), 255);
    assert_eq!(ring.output(0, 8, 0), EAGAIN);
    assert_eq!(ring.output(0, 8, 4), EINVAL);
    assert_eq!(ring.reserve(8, vec![], 132, 0), 0);
    let values: Vec<u64> =
        ring.drain().iter().map(|r| u64::from_ne_bytes(r[..].try_into().unwrap())).collect();
    assert_eq!(values, (0..255).collect::<Vec<_>>());
    let flags = code![map_handle(1, ring.reference), mov(2, 8), mov(3, 1), call(131), exit()];
    assert_eq!(ring.run(flags), 0);
    let endless = code![map_handle(1, ring.reference), wide(2, u64::MAX), mov(3, 0), call(131), exit()];
    assert_eq!(ring.run(endless), 0);
    assert_eq!(ring.map.ring().unwrap().tally().refused(), 5);
}

#[test]
fn records_cross_the_end_of_the_ring() {
    let ring = Ring::new(4096);
    for round in 0..100 {
        // 1016 bytes each, so that the places move through the ring; the last bytes are written unaligned.
        let fill = code![i(0x7a, 6, 0, 0, round), i(0x7a, 6, 0, 997, -round - 1), i(0x6a, 6, 0, 505, round)];
        assert_eq!(ring.reserve(1005, fill, 132, 0), 1, "round {round}");
        let record = &ring.drain()[0];
        assert_eq!(record[..8], i64::from(round).to_ne_bytes());
        assert_eq!(record[997..], i64::from(-round - 1).to_ne_bytes());
        assert_eq!(record[505..507], (round as u16).to_ne_bytes());
    }
}

#[test]
fn query() {
    let ring = Ring::new(8192);
    ring.output(1, 8, 0);
    ring.output(1, 8, 0);
    assert_eq!([0, 1, 2, 3, 4, 99].map(|what| ring.query(what)), [32, 8192, 0, 32, 0, 0]);
    ring.drain();
    assert_eq!([0, 2, 3].map(|what| ring.query(what)), [0, 32, 32]);
}

/// Remembers what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Host for Told {
    fn monotonic_ns(&self) -> u64 {
        1
    }
    fn boot_ns(&self) -> u64 {
        2
    }
    fn coarse_ns(&self) -> u64 {
        3
    }
    fn random(&self) -> u32 {
        0xffff_fff0
    }
    fn processor(&self) -> u32 {
        5
    }
    fn pid_tgid(&self) -> u64 {
        6 << 32 | 7
    }
    fn uid_gid(&self) -> u64 {
        8 << 32 | 9
    }
    fn comm(&self) -> [u8; 16] {
        *b"a-long-task-name"
    }
    fn trace(&self, message: &[u8]) {
        self.0.lock().unwrap().push(String::from_utf8_lossy(message).into_owned());
    }
    fn wake(&self, ring: &VmMap) {
        self.0.lock().unwrap().push(format!("wake {}", ring.name()));
    }
}

fn told() -> (Arc<Told>, Vm) {
    let told = Arc::new(Told::default());
    (told.clone(), Vm::with_host(VmConfig::new(), told))
}

#[test]
fn the_host_answers() {
    let (_, vm) = told();
    for (helper, answer) in
        [(5, 1), (125, 2), (160, 3), (7, 0xffff_fff0), (8, 5), (14, 6 << 32 | 7), (15, 8 << 32 | 9)]
    {
        assert_eq!(run(&vm, &code![call(helper), exit()]).unwrap().return_value, answer, "helper {helper}");
    }
}

#[test]
fn comm_is_cut_and_padded() {
    let (_, vm) = told();
    for (size, expected) in
        [(16, &b"a-long-task-nam\0"[..]), (4, b"a-l\0"), (1, b"\0"), (20, b"a-long-task-nam\0\0\0\0\0")]
    {
        let mut context = [0xee; 24];
        let program = code![mov(2, size), call(16), exit()];
        assert_eq!(load(&vm, &program).unwrap().run(&mut context).unwrap().return_value, 0);
        assert_eq!(context[..size as usize], *expected);
        assert!(context[size as usize..].iter().all(|byte| *byte == 0xee));
    }
    assert_eq!(run(&vm, &code![mov(2, 0), call(16), exit()]).unwrap().return_value, EINVAL);
    assert!(run(&vm, &code![mov(2, 65), call(16), exit()]).is_err());
}

#[test]
fn printed_lines_reach_the_host() {
    let (told, vm) = told();
    let format = |text: &[u8; 8]| u64::from_ne_bytes(*text);
    let print = |text, size| {
        code![
            wide(6, text),
            i(0x7b, 10, 6, -8, 0),
            copy(1, 10),
            add(1, -8),
            mov(2, size),
            mov(3, -1),
            mov(4, 255),
            mov(5, 0),
            call(6),
            exit(),
        ]
    };
    assert_eq!(run(&vm, &print(format(b"%d %x!\0\0"), 7)).unwrap().return_value, 6);
    assert_eq!(run(&vm, &print(format(b"%q\0\0\0\0\0\0"), 3)).unwrap().return_value, EINVAL);
    assert_eq!(*told.0.lock().unwrap(), ["-1 ff!"]);
    assert!(run(&vm, &print(0, 9)).is_err());
}

#[test]
fn the_host_is_told_when_to_wake() {
    let (told, vm) = told();
    let (ring, reference) = map(&vm, spec(MapKind::RINGBUF, 0, 0, 4096));
    let output = |flags| {
        let program = code![
            copy(2, 10),
            add(2, -8),
            mov(3, 8),
            mov(4, flags),
            map_handle(1, reference),
            call(130),
            exit()
        ];
        run(&vm, &program).unwrap();
        std::mem::take(&mut *told.0.lock().unwrap()).len()
    };
    assert_eq!(output(0), 1, "the consumer has read everything");
    assert_eq!(output(0), 0, "it is behind");
    assert_eq!(output(2), 1, "BPF_RB_FORCE_WAKEUP");
    let _ = ring.ring().unwrap().drain(10, |_| {});
    assert_eq!(output(1), 0, "BPF_RB_NO_WAKEUP");
    assert_eq!(ring.ring().unwrap().wakeups(), 2);
    // A record that a stopped program leaves behind is discarded, and that is news for the consumer as well.
    let _ = ring.ring().unwrap().drain(10, |_| {});
    run(&vm, &code![map_handle(1, reference), mov(2, 8), mov(3, 0), call(131), exit()]).unwrap_err();
    assert_eq!(*told.0.lock().unwrap(), ["wake map"]);
}

/// `bpf_loop(repeats, callback, &r10[-8], flags)`, with the sum that the callback has made at r10-8; gives the answer and the sum.
/// The callback adds its index and gives 1 at index `stop`.
fn looped(vm: &Vm, repeats: i32, flags: i32, stop: i32) -> Result<(u64, u64, u64), Fault> {
    let program = code![
        copy(9, 1),
        i(0x7a, 10, 0, -8, 0),
        mov(6, 66),
        mov(1, repeats),
        i(0x18, 2, 4, 0, 9),
        i(0, 0, 0, 0, 0),
        copy(3, 10),
        add(3, -8),
        mov(4, flags),
        call(181),
        i(0x79, 1, 10, -8, 0),
        i(0x7b, 9, 1, 0, 0),
        i(0x7b, 9, 6, 8, 0),
        exit(),
        i(0x79, 3, 2, 0, 0),
        i(0x0f, 3, 1, 0, 0),
        i(0x7b, 2, 3, 0, 0),
        mov(6, 0),
        mov(0, 0),
        i(0x55, 1, 0, 1, stop),
        mov(0, 1),
        exit(),
    ];
    let mut context = [0; 16];
    let outcome = load(vm, &program).unwrap().run(&mut context)?;
    let word = |at: usize| u64::from_ne_bytes(context[at..at + 8].try_into().unwrap());
    Ok((outcome.return_value, word(0), word(8)))
}

#[test]
fn loops_call_back() {
    let vm = Vm::new();
    assert_eq!(looped(&vm, 10, 0, -1).unwrap(), (10, 45, 66), "register 6 is kept");
    assert_eq!(looped(&vm, 10, 0, 3).unwrap(), (4, 6, 66), "the callback that stops counts");
    assert_eq!(looped(&vm, 0, 0, -1).unwrap(), (0, 0, 66));
    assert_eq!(looped(&vm, 10, 1, -1).unwrap().0, EINVAL);
    assert_eq!(looped(&vm, (8 << 20) + 1, 0, -1).unwrap().0, -7i64 as u64);
    let fault = looped(&vm, 8 << 20, 0, -1).unwrap_err();
    assert!(matches!(fault.kind, FaultKind::BudgetExhausted { .. }));
}

#[test]
fn a_call_after_a_loop_is_no_loop() {
    let program = code![
        mov(1, 5),
        i(0x18, 2, 4, 0, 6),
        i(0, 0, 0, 0, 0),
        mov(3, 0),
        mov(4, 0),
        call(181),
        i(0x85, 0, 1, 0, 3), // the other function, with the frame that the loop had
        exit(),
        mov(0, 0),
        exit(),
        mov(0, 77),
        exit(),
    ];
    assert_eq!(run(&Vm::new(), &program).unwrap().return_value, 77);
}

#[test]
fn loops_nest_and_call_back_functions_only() {
    let vm = Vm::new();
    // Null, the stack, and the second instruction of a function.
    let function = code![i(0x18, 2, 4, 0, 6), i(0, 0, 0, 0, 0)];
    for callback in [code![mov(2, 0), mov(0, 0)], code![copy(2, 10), mov(0, 0)], function] {
        let program =
            code![callback, add(2, 1), mov(1, 1), mov(4, 0), call(181), exit(), mov(0, 0), mov(0, 0), exit()];
        let fault = run(&vm, &program).unwrap_err();
        assert!(matches!(fault.kind, FaultKind::NotAFunction { helper: 181, .. }), "{fault}");
    }
    // A callback that loops on itself runs out of frames.
    let recursive = code![
        i(0x05, 0, 0, 0, 0),
        mov(1, 1),
        i(0x18, 2, 4, 0, 4),
        i(0, 0, 0, 0, 0),
        mov(4, 0),
        call(181),
        exit(),
        mov(1, 1),
        i(0x18, 2, 4, 0, -2),
        i(0, 0, 0, 0, 0),
        mov(4, 0),
        call(181),
        mov(0, 0),
        exit(),
    ];
    assert_eq!(run(&vm, &recursive).unwrap_err().kind, FaultKind::CallDepth);
}

#[test]
fn the_default_host_is_the_same_in_every_run() {
    let sequence = || {
        let vm = Vm::new();
        let time = load(
            &vm,
            &code![call(5), copy(6, 0), call(7), i(0x67, 6, 0, 0, 32), i(0x4f, 0, 6, 0, 0), exit()],
        )
        .unwrap();
        [(); 4].map(|()| time.run(&mut []).unwrap().return_value)
    };
    let first = sequence();
    assert_eq!(first, sequence());
    assert!(first.windows(2).all(|pair| pair[0] < pair[1]), "the clock goes forward");
}

/// Notes how many records of a ring are counted when its consumer is woken.
#[derive(Default)]
struct Counting(Mutex<Vec<(usize, usize)>>);

impl Host for Counting {
    fn monotonic_ns(&self) -> u64 {
        0
    }

    fn random(&self) -> u32 {
        0
    }

    fn wake(&self, map: &VmMap) {
        let tally = map.ring().unwrap().tally();
        self.0.lock().unwrap().push((tally.submitted, tally.discarded));
    }
}

#[test]
fn records_are_counted_when_somebody_is_woken_and_when_the_run_is_over() {
    let host = Arc::new(Counting::default());
    let vm = Vm::with_host(VmConfig::new(), host.clone());
    let rings = [1, 2].map(|_| vm.create_map(&spec(MapKind::RINGBUF, 0, 0, 4096)).unwrap());
    let [first, second] = [0, 1].map(|ring: usize| vm.map_reference(&rings[ring]));
    let reserve =
        |ring| code![map_handle(1, ring), mov(2, 8), mov(3, 0), call(131), i(0x55, 0, 0, 1, 0), exit()];
    let finish = |helper, flags| code![copy(1, 0), mov(2, flags), call(helper)];
    let (silent, force) = (1, 2);
    let program = code![
        reserve(first),
        finish(132, silent),
        reserve(second),
        finish(133, silent),
        reserve(first),
        finish(133, force),
        reserve(second),
        finish(132, force),
        reserve(first),
        finish(132, silent),
        mov(0, 0),
        exit(),
    ];
    for run in 1..=2 {
        assert_eq!(load(&vm, &program).unwrap().run(&mut []).unwrap().return_value, 0);
        let told = core::mem::take(&mut *host.0.lock().unwrap());
        assert_eq!(told, [(2 * run - 1, run), (run, run)], "everything so far, of both runs");
        for (ring, submitted) in rings.iter().zip([2 * run, run]) {
            let tally = ring.ring().unwrap().tally();
            assert_eq!((tally.submitted, tally.discarded, tally.outstanding()), (submitted, run, 0));
            assert_eq!(tally.reserved, submitted + run);
        }
    }
}
