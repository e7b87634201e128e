//! Whole objects on the running kernel, loaded by libbpf, and on the embedded machine, loaded by our loader: the same records in the same order,
//! byte for byte.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test: what goes wrong here is to stop it"
)]

use std::ops::ControlFlow;

use ebpf_conformance::bpf::{LoadedObject, not_possible, run, run_on_packet};
use ebpf_conformance::corpus;
use ebpf_conformance::libbpf::Errno;
use ebpf_linux::{LinuxMap, RingMemory};
use ebpf_loader::{Instruction, MapKind, Object, ProgramKind};
use ebpf_ringbuf::memory::Memory;
use ebpf_ringbuf::{Consumer, UserProducer};
use ebpf_vm::{Vm, VmConfig};

/// What a program returned, and the records of every ring.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    program: String,
    returned: u32,
    records: Vec<(String, Vec<Vec<u8>>)>,
}

/// So much context, or packet, is zero: these programs do not look at it.
const CONTEXT: usize = 64;

fn on_machine(bytes: &[u8], runs: &[&str]) -> Vec<Told> {
    let object = Object::<32, 32>::open(bytes).expect("an object");
    let mut scratch = vec![Instruction::default(); object.scratch_len().expect("it links")];
    let vm = Vm::with_config(
        VmConfig::new().with_cpus(std::thread::available_parallelism().unwrap().get() as u32),
    );
    let mut loaded = object.on(&vm);
    loaded.load(&mut scratch).expect("it loads");
    let run = |name: &&str| {
        let outcome = loaded.program(name).expect("a program").run(&mut [0; CONTEXT]).expect("no fault");
        let rings = loaded.maps().filter_map(|(map, handle)| Some((map.name().to_owned(), handle.ring()?)));
        let records = rings.map(|(name, ring)| {
            let mut records = Vec::new();
            let _ = ring.drain(usize::MAX, |record| records.push(record.to_vec()));
            (name, records)
        });
        Told {
            program: (*name).to_owned(),
            returned: outcome.return_value as u32,
            records: records.collect(),
        }
    };
    runs.iter().map(run).collect()
}

fn on_kernel(bytes: &[u8], runs: &[&str]) -> Result<Vec<Told>, Errno> {
    let loaded = LoadedObject::load(bytes, &[])?;
    let object = Object::<32, 32>::open(bytes).expect("an object");
    let mut rings = Vec::new();
    for map in object.file().maps().iter().filter(|map| map.definition().kind == MapKind::RINGBUF) {
        let handle =
            LinuxMap::from_descriptor(loaded.map(map.name())?.try_clone_to_owned().expect("a descriptor"));
        let memory = RingMemory::map(&handle.expect("a map")).expect("a ring");
        rings.push((map.name().to_owned(), Consumer::new(memory).expect("a position of the kernel's")));
    }
    let mut told = Vec::new();
    for name in runs {
        let kind = object.program(name).expect("a program").kind();
        let program = loaded.program(name)?;
        let returned = match kind {
            ProgramKind::SYSCALL => run(program, &mut [0; CONTEXT])?,
            _ => run_on_packet(program, &[0; CONTEXT])?,
        };
        let records = rings.iter_mut().map(|(name, consumer)| {
            let mut records = Vec::new();
            let _ = consumer.drain(usize::MAX, |payload| {
                records.push(payload.to_vec());
                ControlFlow::Continue(())
            });
            (name.clone(), records)
        });
        told.push(Told { program: (*name).to_owned(), returned, records: records.collect() });
    }
    Ok(told)
}

fn compare(name: &str, bytes: &[u8], runs: &[&str], least: usize) -> Result<(), String> {
    let kernel = match on_kernel(bytes, runs) {
        Ok(kernel) => kernel,
        Err(error) => return not_possible(name, error),
    };
    let machine = on_machine(bytes, runs);
    for (kernel, machine) in kernel.iter().zip(&machine) {
        let records =
            |told: &Told| told.records.iter().flat_map(|(_, records)| records.clone()).collect::<Vec<_>>();
        for (index, (kernel, machine)) in records(kernel).iter().zip(records(machine)).enumerate() {
            assert_eq!(*kernel, machine, "{name}: record {index}, the kernel's first");
        }
        assert_eq!(kernel, machine, "{name}");
        assert!(records(kernel).len() >= least, "{name}: {} records", records(kernel).len());
    }
    assert_eq!(kernel.len(), runs.len());
    Ok(())
}

#[test]
fn the_tools_programs() -> Result<(), String> {
    let samples = corpus::tool_programs();
    let sample = samples.iter().find(|sample| sample.name == "maps.bpf.o").expect("a committed object");
    let runs = ["test_LRU_map", "test_PUSH_POP_map", "test_maps"];
    // And once more, with what the first time left in the maps.
    compare("maps.bpf.o", &sample.bytes, &runs, 10)?;
    compare("maps.bpf.o, twice", &sample.bytes, &[runs, runs].concat(), 10)
}

#[test]
fn everything_that_is_the_same_on_every_run() -> Result<(), String> {
    let Some(sample) = corpus::source("machine_stream.bpf.c")? else {
        return match std::env::var_os("CI") {
            Some(_) => Err("clang is missing".to_owned()),
            None => {
                println!("skipped: clang is missing");
                Ok(())
            }
        };
    };
    compare("machine_stream", &sample.bytes, &["stream"], 80)
}

/// What a drain of a user ring answered, saw, and wrote down.
#[derive(Debug, PartialEq, Eq)]
struct Drain {
    order: [u8; 32],
    log: Vec<u8>,
}

/// Samples of many lengths; every third one is given up.
fn produce<M: Memory>(producer: &mut UserProducer<M>, from: usize) {
    for number in from..from + 20 {
        let Ok(mut sample) = producer.reserve(number * 7 % 90) else { return };
        let bytes: Vec<u8> = (0..sample.payload_len()).map(|byte| (byte + number) as u8).collect();
        sample.write(0, &bytes).expect("inside");
        if number % 3 == 1 { sample.discard() } else { sample.submit() }
    }
}

fn order(flags: u64, limit: u64) -> [u8; 32] {
    let mut order = [0; 32];
    order[..8].copy_from_slice(&flags.to_ne_bytes());
    order[8..16].copy_from_slice(&limit.to_ne_bytes());
    order
}

/// Drains all, drains five, with flags of all sorts.
const ORDERS: [(u64, u64); 6] = [(0, u64::MAX), (1, 5), (2, u64::MAX), (3, 1), (4, 1), (0, u64::MAX)];

#[test]
fn drains_of_a_user_ring() -> Result<(), String> {
    let Some(sample) = corpus::source("ring_user.bpf.c")? else {
        return if std::env::var_os("CI").is_some() { Err("clang is missing".to_owned()) } else { Ok(()) };
    };
    let program = "empty";
    let kernel = match LoadedObject::load(&sample.bytes, &[]) {
        Ok(kernel) => kernel,
        Err(error) => return not_possible("ring_user", error),
    };
    let handle = |name| {
        let map = kernel.map(name).expect("a map").try_clone_to_owned().expect("a descriptor");
        LinuxMap::from_descriptor(map).expect("a map")
    };
    let log = handle("samples");
    let mut producer = UserProducer::new(RingMemory::map(&handle("ring")).expect("a ring")).expect("at rest");
    let mut expected = Vec::new();
    for (turn, (flags, limit)) in ORDERS.into_iter().enumerate() {
        produce(&mut producer, turn * 20);
        let mut order = order(flags, limit);
        run(kernel.program(program).expect("a program"), &mut order).expect("a run");
        let mut bytes = vec![0; log.value_len()];
        assert!(log.lookup(&[0; 4], &mut bytes).expect("a lookup"));
        expected.push(Drain { order, log: bytes });
    }

    let object = Object::<32, 32>::open(&sample.bytes).expect("an object");
    let mut scratch = vec![Instruction::default(); object.scratch_len().expect("it links")];
    let vm = Vm::with_config(VmConfig::new().with_instruction_budget(1 << 30));
    let mut loaded = object.on(&vm);
    loaded.load(&mut scratch).expect("it loads");
    let mut producer = loaded.user_ring("ring").expect("a ring");
    for (turn, ((flags, limit), expected)) in ORDERS.into_iter().zip(expected).enumerate() {
        produce(&mut producer, turn * 20);
        let mut order = order(flags, limit);
        loaded.program(program).expect("a program").run(&mut order).expect("no fault");
        let map = loaded.map("samples").expect("a map");
        let mut bytes = vec![0; map.value_bytes()];
        map.lookup(&[0; 4], &mut bytes).expect("a lookup");
        let seen = Drain { order, log: bytes };
        assert_eq!(seen.order, expected.order, "turn {turn}: the kernel's second");
        assert!(seen == expected, "turn {turn}: the samples differ");
        assert!(flags > 3 || limit == 1 || seen.log.iter().any(|byte| *byte != 0));
    }
    Ok(())
}
