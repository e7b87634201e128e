//! Programs attached to hooks, and rings read through the loader.
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

use common::*;
use ebpf_loader::Object;
use ebpf_ringbuf::{Consumer, Query, Stopped};
use ebpf_vm::*;

/// A program that adds `amount` to the first word of its context and returns `amount`.
fn adds(vm: &Vm, kind: ProgramKind, amount: i32) -> VmProgram {
    let code = code![i(0x79, 2, 1, 0, 0), add(2, amount), i(0x7b, 1, 2, 0, 0), mov(0, amount), exit()];
    vm.load_program(&ProgramSpec {
        name: "adds",
        section: "",
        kind,
        expected_attach_type: 0,
        license: "GPL",
        instructions: &code,
    })
    .unwrap()
}

fn fired(vm: &Vm, kind: ProgramKind, hook: &str) -> (Vec<u64>, u64) {
    let mut context = [0; 8];
    let mut returned = Vec::new();
    vm.fire(kind, hook, &mut context, |_, outcome| returned.push(outcome.unwrap().return_value));
    (returned, u64::from_ne_bytes(context))
}

#[test]
fn an_event_runs_what_is_attached_there_in_order() {
    let vm = Vm::new();
    let [one, two] = [1, 2].map(|amount| adds(&vm, ProgramKind::XDP, amount));
    let tc = adds(&vm, ProgramKind::SCHED_CLS, 100);
    assert_eq!(fired(&vm, ProgramKind::XDP, "lo"), (vec![], 0));
    let first = vm.attach(&two, "lo").unwrap();
    let second = vm.attach(&one, "lo").unwrap();
    let third = vm.attach(&two, "lo").unwrap();
    let elsewhere = vm.attach(&one, "eth0").unwrap();
    let other = vm.attach(&tc, "lo").unwrap();
    assert_eq!(fired(&vm, ProgramKind::XDP, "lo"), (vec![2, 1, 2], 5));
    assert_eq!(fired(&vm, ProgramKind::SCHED_CLS, "lo"), (vec![100], 100), "another kind, another hook");
    assert_eq!((elsewhere.hook(), elsewhere.kind()), ("eth0", ProgramKind::XDP));
    vm.detach(first);
    assert_eq!(
        fired(&vm, ProgramKind::XDP, "lo"),
        (vec![1, 2], 3),
        "one attachment, not every one of that program"
    );
    vm.detach(third);
    vm.detach(second);
    assert_eq!((vm.attached(ProgramKind::XDP, "lo"), vm.attached(ProgramKind::XDP, "eth0")), (0, 1));
    vm.detach(elsewhere);
    vm.detach(other);
    drop((one, two, tc));
    assert_eq!(vm.memory_in_use(), 0, "nothing keeps the programs");
}

#[test]
fn what_happens_during_an_event_counts_from_the_next_one_on() {
    let vm = Vm::new();
    let program = adds(&vm, ProgramKind::XDP, 1);
    let mut link = Some(vm.attach(&program, "lo").unwrap());
    let mut late = None;
    let mut runs = 0;
    vm.fire(ProgramKind::XDP, "lo", &mut [0; 8], |_, _| {
        runs += 1;
        vm.detach(link.take().unwrap());
        late = Some(vm.attach(&program, "lo").unwrap());
    });
    assert_eq!((runs, vm.attached(ProgramKind::XDP, "lo")), (1, 1));
}

#[test]
fn a_program_that_faults_does_not_keep_the_others_from_running() {
    let vm = Vm::new();
    let bad = load(&vm, &code![i(0x79, 0, 1, 4096, 0), exit()]).unwrap();
    let good = load(&vm, &code![mov(0, 7), exit()]).unwrap();
    let _links = [&bad, &good].map(|program| vm.attach(program, "socket").unwrap());
    let mut outcomes = Vec::new();
    vm.fire(ProgramKind::SOCKET_FILTER, "socket", &mut [0; 8], |program, outcome| {
        outcomes.push((program.instructions(), outcome.map(|outcome| outcome.return_value)));
    });
    assert!(outcomes[0].1.is_err());
    assert_eq!(outcomes[1], (2, Ok(7)));
}

#[test]
fn a_ring_has_one_consumer_and_no_record_is_read_twice() {
    let bytes = include_bytes!("../../cli/programs/maps.bpf.o");
    let object: Object = Object::open_named("maps.bpf.o", bytes).unwrap();
    let vm = Vm::new();
    let mut scratch = vec![Instruction::default(); object.scratch_len().unwrap()];
    let mut loaded = object.on(&vm);
    loaded.load(&mut scratch).unwrap();
    let links = loaded.attach_all::<1>([("test_maps", "start")]).unwrap();
    let fire = || vm.fire(ProgramKind::SYSCALL, "start", &mut [0; 64], |_, outcome| assert!(outcome.is_ok()));

    fire();
    let map = loaded.map("events").unwrap();
    let whole = map.ring().unwrap().available();
    assert!(whole > 0);
    let mut consumer = loaded.ring("events").unwrap();
    assert!(matches!(vm.ring(map), Err(VmError::RingInUse { .. })), "there is one already");
    let mut read = 0;
    let mut payload = [0; 64];
    for _ in 0..3 {
        let record = consumer.next_record().unwrap();
        assert!(record.copy_to(&mut payload) >= 4 && payload.starts_with(b"MAPS"));
        read += 1;
    }
    let nothing = map.ring().unwrap().drain(usize::MAX, |_| read += 1);
    assert_eq!((nothing.records, read), (0, 3), "the consumer alone reads");
    drop(consumer);
    let rest = map.ring().unwrap().drain(usize::MAX, |_| read += 1);
    assert_eq!((rest.stopped, map.ring().unwrap().available()), (Stopped::Empty, 0));
    assert_eq!(read, 24, "each record once");

    // And the other way round.
    fire();
    let _ = map.ring().unwrap().drain(4, |_| {});
    let mut consumer: Consumer<RingMemory> = loaded.ring("events").unwrap();
    let drained = consumer.drain(usize::MAX, |_| std::ops::ControlFlow::Continue(()));
    assert_eq!((drained.records, consumer.query(Query::AvailableData)), (20, 0));
    let not = vm.ring(loaded.map("queue").unwrap());
    assert!(matches!(not, Err(VmError::NotARing { .. })));
    drop(links);
    assert_eq!(vm.attached(ProgramKind::SYSCALL, "start"), 0);
}
