//! Groups of instructions do what the instructions do.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::collections::BTreeMap;

use ebpf_loader::{Instruction, MapKind, MapSpec, Platform, ProgramKind};

use super::*;
use crate::account::Account;
use crate::error::Fault;
use crate::host::DeterministicHost;
use crate::numbers::HelperNumbers;
use crate::program::{Outcome, Parts, VmProgram};
use crate::validate::{Rules, validate};
use crate::vm::Vm;

const fn i(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Instruction {
    Instruction::new(opcode, dst, src, offset, imm)
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % limit
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// Mostly beginnings of groups that go on as they must, or nearly; jumps lead anywhere, also into the middle of one.
fn program(random: &mut Random, [array, queue, ring]: [i32; 3]) -> Vec<Instruction> {
    let mut code = alloc::vec![i(0xbf, 6, 1, 0, 0), i(0xbf, 7, 10, 0, 0), i(0x07, 7, 0, 0, -16)];
    let length = 1 + random.below(20);
    for _ in 0..length {
        let (d, s) = (random.of(&[0u8, 1, 2, 3]), random.of(&[0u8, 1, 2, 3, 6, 7, 10]));
        let near = if random.below(8) == 0 { random.of(&[0u8, 1, 2, 3]) } else { d };
        let (k, place) = (random.of(&[0, 1, -1, 32, 31, 64, 0xff, i32::MIN]), random.of(&[0i16, 8, 4]));
        match random.below(24) {
            0 => code.extend([i(0xbf, d, s, 0, 0), i(0x07, near, 0, 0, k)]),
            1 => code.extend([i(0xbf, d, s, 0, 0), i(0x57, near, 0, 0, k)]),
            2 => code.extend([i(random.of(&[0xbf, 0xbc]), d, s, 0, 0)]),
            3 | 4 => {
                let down = random.of(&[0x77, 0xc7]);
                code.extend([i(0x67, d, 0, 0, 32), i(down, near, 0, 0, random.of(&[32, 32, 31]))]);
            }
            5 => {
                let (shift, by) = (random.of(&[0x67, 0x77]), random.of(&[0, 1, 13, 32, 63]));
                code.extend([i(shift, d, 0, 0, by), i(0x57, near, 0, 0, k)]);
            }
            6 => code.push(i(0xb7, d, 0, 0, k)),
            7 => code.extend([i(0x18, d, 0, 0, k), i(0, 0, 0, 0, 7)]),
            8 | 9 => {
                let base =
                    if random.below(16) == 0 { random.of(&[0u8, 10, d]) } else { random.of(&[6u8, 7]) };
                let (load, add, store) =
                    random.of(&[(0x61, 0x04, 0x63), (0x79, 0x07, 0x7b), (0x61, 0x07, 0x63)]);
                let back = if random.below(8) == 0 { 0 } else { place };
                code.extend([i(load, d, base, place, 0), i(add, near, 0, 0, k), i(store, base, d, back, 0)]);
                if random.below(2) == 0 {
                    let jump = random.of(&[0x55, 0x55, 0x15]);
                    code.push(i(jump, random.of(&[d, d, 0]), 0, random.of(&[-4, 1, 2]), random.of(&[0, k])));
                }
            }
            10 => code
                .extend([i(0x07, d, 0, 0, k), i(0x55, near, 0, random.of(&[-3, 1, 2]), random.of(&[0, k]))]),
            11 | 12 => {
                // A key that is there as a rule, in the stack; then what the lookup gives.
                code.extend([i(0x62, 10, 0, -4, random.of(&[0, 1, 7, 8])), i(0xbf, 2, 10, 0, 0)]);
                code.extend([i(0x07, 2, 0, 0, if random.below(16) == 0 { -2 } else { -4 })]);
                let target = if random.below(16) == 0 { 3 } else { 1u8 };
                code.extend([i(0x18, target, 1, 0, array), i(0, 0, 0, 0, 0), i(0x85, 0, 0, 0, 1)]);
                let nearly = random.below(8) == 0;
                code.push(i(
                    0x15,
                    u8::from(nearly),
                    0,
                    random.of(&[3, 3, 3, 1]),
                    i32::from(random.below(8) == 0),
                ));
                code.extend([i(0x79, 1, 0, 0, 0), i(0x07, 1, 0, 0, 1), i(0x7b, 0, 1, 0, 0)]);
            }
            13 => code.push(i(random.of(&[0x15, 0x55, 0x25]), d, 0, random.of(&[-9, -4, -1, 1, 2, 5]), k)),
            14 => code.push(i(random.of(&[0x0f, 0xaf, 0x1f, 0x27]), d, random.of(&[0, 1, 2]), 0, 0)),
            15 | 16 => {
                let nearly = random.below(16) == 0;
                code.extend([i(0x18, 1 + u8::from(nearly), 1, 0, queue), i(0, 0, 0, 0, 0)]);
                code.push(i(0xbf, if random.below(8) == 0 { 4 } else { 2 }, random.of(&[7, 7, 7, 6]), 0, 0));
                let flags = [i(0xb7, random.of(&[3, 3, 3, 4]), 0, 0, random.of(&[0, 2, 2, 1]))];
                let helper = random.of(&[87, 87, 88, 89]);
                code.extend_from_slice(&flags[..usize::from(helper == 87)]);
                code.push(i(0x85, 0, 0, 0, helper));
            }
            17 | 18 => {
                let nearly = random.below(16) == 0;
                code.extend([i(0x18, 1, 1, 0, ring), i(0, 0, 0, 0, 0)]);
                code.push(i(0xb7, 2 + u8::from(nearly), 0, 0, random.of(&[16, 16, 24, 5000])));
                code.extend([i(0xb7, 3, 0, 0, i32::from(random.below(16) == 0)), i(0x85, 0, 0, 0, 131)]);
                code.push(i(0x15, 0, 0, random.of(&[7, 7, 7, 1]), 0));
                let store = random.of(&[0x7b, 0x63]);
                let (first, second) = (random.of(&[8, 8, 4, 0, 1]), random.of(&[0, 4, 5, 8, 8, 12, 16, -4]));
                if random.below(2) == 0 {
                    code.extend([i(0x7b, 0, 1, 8, 0), i(0x7b, 0, 7, random.of(&[0, 0, 1]), 0)]);
                }
                code.extend([i(store, 0, 2, first, 0), i(store, 0, 3, second, 0)]);
                code.extend([i(0x61, d, 0, 8, 0), i(0x63, 0, d, 12, 0)]);
                code.extend([
                    i(0xbf, if random.below(8) == 0 { 3 } else { 1 }, random.of(&[0, 0, 0, 0, 7]), 0, 0),
                    i(0xb7, 2, 0, 0, random.of(&[0, 1, 2])),
                ]);
                code.push(i(0x85, 0, 0, 0, random.of(&[132, 133])));
            }
            19 | 20 => {
                if random.below(2) == 0 {
                    code.extend([i(random.of(&[0xbf, 0xbc]), 3, d, 0, 0), i(0x67, 3, 0, 0, 32)]);
                    code.push(i(random.of(&[0xc7, 0xc7, 0x77]), 3, 0, 0, 32));
                }
                code.extend([
                    i(0xbf, random.of(&[1, 1, 3]), s, 0, 0),
                    i(0xb7, 2, 0, 0, k),
                    i(0x85, 0, 1, 0, 0),
                ]);
            }
            21 => code.extend([
                i(0xbf, d, s, 0, 0),
                i(0xbf, near, d, 0, 0),
                i(0xbf, random.of(&[0, 1, 2, 3]), near, 0, 0),
            ]),
            22 => {
                code.extend([i(0xbf, 2, 10, 0, 0), i(0x07, if near == d { 2 } else { 3 }, 0, 0, -8)]);
                code.extend([i(0x18, d, 1, 0, random.of(&[array, queue])), i(0, 0, 0, 0, 0)]);
                if d == 1 && random.below(2) == 0 {
                    code.extend([
                        i(0x85, 0, 0, 0, random.of(&[1, 88])),
                        i(0x15, 0, 0, random.of(&[1, 2]), 0),
                    ]);
                }
            }
            _ => {
                let store = random.of(&[0x7b, 0x63]);
                code.push(i(store, 10, d, random.of(&[-16, -8, -4]), 0));
                code.push(i(random.of(&[store, store, 0x6b]), 10, near, random.of(&[-16, -8, -4, -2]), 0));
            }
        }
    }
    code.extend([i(0x0f, 0, 1, 0, 0), i(0x0f, 0, 2, 0, 0), i(0x0f, 0, 3, 0, 0), i(0x95, 0, 0, 0, 0)]);
    // Reserved fields, and jumps out of the program or into a load: made good.
    let halves: Vec<usize> = (1..code.len()).filter(|at| code[at - 1].opcode() == 0x18).collect();
    let last = code.len() as i64 - 1;
    for (at, place) in code.iter_mut().enumerate() {
        let instruction = *place;
        *place = match instruction.opcode() {
            0x0f | 0xaf | 0x1f => i(instruction.opcode(), instruction.dst(), instruction.src(), 0, 0),
            0x27 => i(0x27, instruction.dst(), 0, 0, 3),
            0x15 | 0x55 | 0x25 => {
                let mut target = (at as i64 + 1 + i64::from(instruction.offset())).clamp(0, last);
                target -= i64::from(halves.contains(&(target as usize)));
                let offset = i16::try_from(target - at as i64 - 1).unwrap();
                i(instruction.opcode(), instruction.dst(), 0, offset, instruction.imm())
            }
            // To the function behind the program.
            0x85 if instruction.src() == 1 => i(0x85, 0, 1, 0, last as i32 - at as i32),
            _ => instruction,
        };
    }
    code.extend([i(0xbf, 0, 1, 0, 0), i(0x0f, 0, 2, 0, 0), i(0x0f, 0, 3, 0, 0)]);
    code.extend([i(0xb7, 3, 0, 0, 1), i(0x7b, 10, 3, -8, 0), i(0x95, 0, 0, 0, 0)]);
    code
}

#[derive(Debug, PartialEq)]
struct Seen {
    ended: Result<Outcome, Fault>,
    context: [u8; 16],
    /// Of the array, then of the queue.
    values: Vec<u64>,
    records: Vec<Vec<u8>>,
}

fn run(code: &[Instruction], fuses: bool, budget: u64, groups: &mut BTreeMap<u8, u32>) -> Seen {
    // New ones each time: their addresses and what was in them are the same then.
    let vm = Vm::new();
    let maps = [(MapKind::ARRAY, 4, 8, 8), (MapKind::QUEUE, 0, 8, 3), (MapKind::RINGBUF, 0, 0, 4096)].map(
        |(kind, key, value, entries)| vm.create_map(&MapSpec::new("map", kind, key, value, entries)).unwrap(),
    );
    let host = Arc::new(DeterministicHost::new());
    let rules = Rules { numbers: HelperNumbers::Linux, host: &*host };
    let mut validated =
        validate(code, rules, |number| maps.get(number as usize).cloned()).expect("a valid program");
    if fuses {
        fuse(&mut validated.ops);
    }
    for op in validated.ops.iter().filter(|op| op.code as u8 > Trap as u8) {
        *groups.entry(op.code as u8).or_default() += 1;
    }
    let [array, queue, ring] = &maps;
    for key in 0..8u32 {
        array.update(&key.to_ne_bytes(), &[0; 8], 0).unwrap();
    }
    let program = VmProgram::new(Parts {
        name: Box::from("program"),
        kind: ProgramKind::XDP,
        ops: validated.ops,
        maps: validated.maps,
        frames: validated.frames,
        reserves: validated.reserves,
        budget,
        numbers: HelperNumbers::Linux,
        host,
        charge: Account::new(u64::MAX).open(),
    });
    let mut context = [0x5a; 16];
    let ended = program.run(&mut context);
    let mut values = Vec::new();
    let mut value = [0; 8];
    for key in 0..8u32 {
        array.lookup(&key.to_ne_bytes(), &mut value).unwrap();
        values.push(u64::from_ne_bytes(value));
    }
    while queue.pop(&mut value).is_ok() {
        values.push(u64::from_ne_bytes(value));
    }
    let mut records = Vec::new();
    let _ = ring.ring().unwrap().drain(usize::MAX, |record| records.push(record.to_vec()));
    Seen { ended, context, values, records }
}

#[test]
fn fused_and_one_by_one_are_the_same() {
    let mut random = Random(1);
    let (mut groups, mut none) = (BTreeMap::new(), BTreeMap::new());
    let (mut returned, mut stopped) = (0, 0);
    for _ in 0..6000 {
        let code = program(&mut random, [0, 1, 2]);
        let budget = random.of(&[7, 30, 100, 1000]);
        let one_by_one = run(&code, false, budget, &mut none);
        let fused = run(&code, true, budget, &mut groups);
        assert_eq!(fused, one_by_one, "{code:#?}");
        match fused.ended {
            Ok(_) => returned += 1,
            Err(_) => stopped += 1,
        }
    }
    assert!(none.is_empty());
    let all = MovMov as u8..=LookupJeq as u8;
    assert_eq!(groups.keys().copied().collect::<Vec<_>>(), all.collect::<Vec<_>>(), "{groups:?}");
    assert!(returned > 100 && stopped > 100, "{returned} returned, {stopped} were stopped");
}
