//! rbpf, with what a user of it has to bring: helpers are plain functions, so the maps stand in a thread's own storage, and
//! whatever a helper gives the address of has to be allowed beforehand.

#![allow(unsafe_code, reason = "helpers of this machine are given addresses")]

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};

use ebpf_loader::{Instruction, MapKind, MapSpec};
use ebpf_ringbuf::{
    Consumer, FlatRing, Mapped, PageOffset, Producer, Reservation, SharedMarks, SubmitFlags, marks_for,
};
use rbpf::EbpfVmRaw;

/// Bytes of the peer's rings.
const RING: usize = 1 << 20;

/// A map with values that stay where they are.
struct Values {
    value_size: usize,
    words: &'static mut [u64],
}

struct Ring {
    producer: Producer<Mapped<'static>, SharedMarks<'static>>,
    consumer: Consumer<Mapped<'static>>,
    data: u64,
}

enum Map {
    Array(Values, u64),
    Hash(Values, HashMap<u32, usize>),
    Queue { values: VecDeque<u32>, most: usize, is_stack: bool },
    Ring(&'static RefCell<Ring>, Option<Reservation<'static, Mapped<'static>>>),
}

thread_local! {
    static MAPS: RefCell<Vec<Map>> = const { RefCell::new(Vec::new()) };
}

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

impl Map {
    fn new(spec: &MapSpec<'_>) -> Self {
        let entries = spec.max_entries as usize;
        let values = || Values {
            value_size: spec.value_size as usize,
            words: leak(vec![0u64; entries * (spec.value_size as usize).div_ceil(8)]).as_mut_slice(),
        };
        match spec.kind {
            MapKind::ARRAY => Self::Array(values(), entries as u64),
            MapKind::HASH => {
                Self::Hash(values(), (0..spec.max_entries).map(|key| (key, key as usize)).collect())
            }
            MapKind::QUEUE | MapKind::STACK => {
                Self::Queue { values: VecDeque::new(), most: entries, is_stack: spec.kind == MapKind::STACK }
            }
            MapKind::RINGBUF => {
                let words = leak(vec![0u64; RING / 8]).as_mut_slice();
                let data = words.as_ptr() as u64;
                let ring = leak(FlatRing::<{ marks_for(RING) }>::new());
                let (producer, consumer) = ring.split(words, 4096, PageOffset::FromRing).expect("a ring");
                Self::Ring(leak(RefCell::new(Ring { producer, consumer, data })), None)
            }
            kind => panic!("no {kind} here"),
        }
    }

    fn addresses(&self) -> Option<std::ops::Range<u64>> {
        let (start, length) = match self {
            Self::Array(values, _) | Self::Hash(values, _) => {
                (values.words.as_ptr() as u64, values.words.len() as u64 * 8)
            }
            Self::Ring(ring, _) => (ring.borrow().data, RING as u64),
            Self::Queue { .. } => return None,
        };
        Some(start..start + length)
    }
}

/// Reads a number that a program keeps in its memory.
fn read(address: u64) -> u32 {
    // SAFETY: the programs of this benchmark give addresses on their stack.
    unsafe { (address as *const u32).read_unaligned() }
}

fn write(address: u64, value: u32) {
    // SAFETY: the programs of this benchmark give addresses on their stack.
    unsafe { (address as *mut u32).write_unaligned(value) }
}

fn with<T>(map: u64, work: impl FnOnce(&mut Map) -> T) -> T {
    MAPS.with_borrow_mut(|maps| work(&mut maps[map as usize]))
}

fn lookup(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    with(map, |map| match map {
        Map::Array(values, entries) => {
            let index = u64::from(read(key));
            if index < *entries {
                let stride = values.value_size.div_ceil(8);
                return values.words.as_ptr() as u64 + index * 8 * stride as u64;
            }
            0
        }
        Map::Hash(values, table) => table.get(&read(key)).map_or(0, |slot| {
            values.words.as_ptr() as u64 + (*slot * 8 * values.value_size.div_ceil(8)) as u64
        }),
        _ => 0,
    })
}

fn push(map: u64, value: u64, flags: u64, _: u64, _: u64) -> u64 {
    with(map, |map| {
        let Map::Queue { values, most, .. } = map else { return errno(22) };
        if values.len() >= *most {
            if flags != 2 {
                return errno(7);
            }
            values.pop_front();
        }
        values.push_back(read(value));
        0
    })
}

fn take(map: u64, out: u64, remove: bool) -> u64 {
    with(map, |map| {
        let Map::Queue { values, is_stack, .. } = map else { return errno(22) };
        let value = match (remove, *is_stack) {
            (true, true) => values.pop_back(),
            (true, false) => values.pop_front(),
            (false, true) => values.back().copied(),
            (false, false) => values.front().copied(),
        };
        write(out, value.unwrap_or(0));
        value.map_or(errno(2), |_| 0)
    })
}

fn pop(map: u64, out: u64, _: u64, _: u64, _: u64) -> u64 {
    take(map, out, true)
}

fn peek(map: u64, out: u64, _: u64, _: u64, _: u64) -> u64 {
    take(map, out, false)
}

fn output(map: u64, data: u64, size: u64, flags: u64, _: u64) -> u64 {
    // SAFETY: the programs of this benchmark give bytes on their stack.
    let payload = unsafe { std::slice::from_raw_parts(data as *const u8, size as usize) };
    with(map, |map| {
        let Map::Ring(ring, _) = map else { return errno(22) };
        let done = ring.borrow().producer.output(payload, SubmitFlags::from_bits_truncate(flags));
        if done.is_ok() { 0 } else { errno(11) }
    })
}

fn reserve(map: u64, size: u64, _: u64, _: u64, _: u64) -> u64 {
    with(map, |map| {
        let Map::Ring(ring, kept) = map else { return 0 };
        // SAFETY: the ring is leaked, so it lives on; it is borrowed mutably only to be drained, when no reservation is there.
        let producer = unsafe { &(*ring.as_ptr()).producer };
        let Ok(reservation) = producer.reserve(size as usize) else { return 0 };
        let place = (reservation.position() + 8) % RING;
        *kept = Some(reservation);
        ring.borrow().data + place as u64
    })
}

fn finish(flags: u64, discard: bool) -> u64 {
    MAPS.with_borrow_mut(|maps| {
        for map in maps {
            if let Map::Ring(_, kept) = map
                && let Some(reservation) = kept.take()
            {
                let flags = SubmitFlags::from_bits_truncate(flags);
                // Whoever drains looks by itself.
                let _ = if discard { reservation.discard(flags) } else { reservation.submit(flags) };
            }
        }
        0
    })
}

fn submit(_: u64, flags: u64, _: u64, _: u64, _: u64) -> u64 {
    finish(flags, false)
}

fn discard(_: u64, flags: u64, _: u64, _: u64, _: u64) -> u64 {
    finish(flags, true)
}

fn errno(number: i64) -> u64 {
    (-number).cast_unsigned()
}

const HELPERS: [(u32, rbpf::ebpf::Helper); 8] = [
    (1, lookup),
    (87, push),
    (88, pop),
    (89, peek),
    (130, output),
    (131, reserve),
    (132, submit),
    (133, discard),
];

/// A loaded program, interpreted or compiled.
pub(super) struct Peer {
    machine: EbpfVmRaw<'static>,
    maps: std::ops::Range<usize>,
    context: [u8; 64],
}

impl Peer {
    pub(super) fn new(specs: &[MapSpec<'_>], code: &[Instruction]) -> Self {
        let first = MAPS.with_borrow(Vec::len);
        let code = super::ours::refer(code, |number| i32::try_from(first + number).expect("few maps"));
        let bytes: Vec<u8> = code.iter().flat_map(|instruction| instruction.to_bytes()).collect();
        let mut machine = EbpfVmRaw::new(Some(leak(bytes).as_slice())).expect("a valid program");
        for (number, helper) in HELPERS {
            machine.register_helper(number, helper).expect("a helper");
        }
        for spec in specs {
            let map = Map::new(spec);
            if let Some(addresses) = map.addresses() {
                machine.register_allowed_memory(addresses);
            }
            MAPS.with_borrow_mut(|maps| maps.push(map));
        }
        Self { machine, maps: first..first + specs.len(), context: [0; 64] }
    }

    pub(super) fn run(&mut self) -> u64 {
        self.machine.execute_program(&mut self.context).expect("a run without fault")
    }

    pub(super) fn compile(&mut self) {
        self.machine.jit_compile().expect("compiled");
    }

    pub(super) fn run_compiled(&mut self) -> u64 {
        // SAFETY: the program is one of this benchmark's, which stay within their memory.
        unsafe { self.machine.execute_program_jit(&mut self.context) }.expect("a run without fault")
    }

    /// Takes every record out; gives the bytes.
    pub(super) fn drain(&self) -> usize {
        let mut bytes = 0;
        MAPS.with_borrow(|maps| {
            for map in &maps[self.maps.clone()] {
                if let Map::Ring(ring, _) = map {
                    let drained =
                        ring.borrow_mut().consumer.drain(usize::MAX, |_| std::ops::ControlFlow::Continue(()));
                    bytes += drained.bytes;
                }
            }
        });
        bytes
    }
}
