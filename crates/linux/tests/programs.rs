//! Programs of the running kernel: loading, refusals, runs.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics fails, which is what it is for"
)]

mod common;

use common::{Counter, able, call, exit, i, load, mov};
use ebpf_linux::{Btf, Error, Linux, LinuxMap, LinuxProgram, PerfOptions, PerfRings, TestRun, cpus, ids};
use ebpf_loader::{MapKind, MapSpec, Platform, ProgramKind};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

#[test]
fn a_refused_program_comes_with_the_verifiers_reason() {
    // r0 is never set.
    let error = load("no_return_value", ProgramKind::SOCKET_FILTER, &[exit()]).unwrap_err();
    if able(load("fine", ProgramKind::SOCKET_FILTER, &[mov(0, 0), exit()])).is_none() {
        return;
    }
    assert_eq!((error.call(), error.errno()), ("BPF_PROG_LOAD", 13));
    assert!(error.log().contains("R0 !read_ok"), "{}", error.log());
    let line = error.to_string();
    assert!(line.starts_with("BPF_PROG_LOAD of program `no_return_value` (socket_filter): "), "{line}");
    assert!(line.ends_with(": R0 !read_ok") && line.lines().count() == 1, "{line}");
}

#[test]
fn a_log_longer_than_the_first_buffer_is_kept_to_its_end() {
    if able(load("fine", ProgramKind::SOCKET_FILTER, &[mov(0, 0), exit()])).is_none() {
        return;
    }
    // Several thousand lines, each about one instruction, then one that is wrong: a read through a number.
    let mut code = vec![mov(2, 0)];
    code.extend((0..30_000).map(|n| i(0x07, 2, 0, 0, n)));
    code.extend([i(0x79, 0, 2, 0, 0), exit()]);
    let error = load("long_log", ProgramKind::SOCKET_FILTER, &code).unwrap_err();
    assert_eq!(error.errno(), 13);
    assert!(error.log().contains("R2 invalid mem access"), "{}", error.log());
    assert!(error.log().len() <= 4096 && error.to_string().contains("R2 invalid mem access"));
}

#[test]
fn a_loaded_program_has_a_number_and_goes_away() {
    let Some(counter) = able(Counter::new()) else { return };
    let Some(program) = able(load("has_a_number_of_its_own", ProgramKind::XDP, &counter.code(2))) else {
        return;
    };
    let info = program.info().unwrap();
    assert_eq!((info.name.as_str(), info.kind), ("has_a_number_of", ProgramKind::XDP));
    assert_eq!(info.maps, [counter.map.info().unwrap().id]);
    assert!(info.tag != [0; 8] && info.translated_len > 0 && info.verified_instructions > 0);
    assert!(ids::programs().unwrap().contains(&info.id));
    let same = LinuxProgram::open_id(info.id).unwrap();
    assert_eq!(same.info().unwrap(), info);
    drop((same, program));
    common::until("the program is gone", || {}, || LinuxProgram::open_id(info.id).is_err());
}

#[test]
fn packets_are_run_as_often_as_asked() {
    let Some(counter) = able(Counter::new()) else { return };
    let Some(program) = able(load("repeat", ProgramKind::XDP, &counter.code(2))) else { return };
    let packet: Vec<u8> = (0..64).collect();
    let mut out = [0; 128];
    let run = TestRun { repeat: 1000, data: &packet, data_out: &mut out, ..Default::default() };
    let outcome = program.test_run(run).unwrap();
    assert_eq!((outcome.returned, outcome.data_len, counter.value()), (2, 64, 1000));
    assert_eq!(out[..64], packet);
    assert!(outcome.duration.as_nanos() < 1_000_000, "nanoseconds of one run: {:?}", outcome.duration);
    let error = program.test_run(TestRun { data: &[0; 13], ..Default::default() }).unwrap_err();
    assert_eq!((error.call(), error.errno()), ("BPF_PROG_TEST_RUN", 22));
    assert!(error.to_string().contains("program `repeat` (xdp)"), "{error}");
}

#[test]
fn a_syscall_program_writes_its_context() {
    // *(u64 *)(r1 + 8) = *(u64 *)(r1 + 0) + 1
    let code = [i(0x79, 2, 1, 0, 0), i(0x07, 2, 0, 0, 1), i(0x7b, 1, 2, 8, 0), mov(0, 0), exit()];
    let Some(program) = able(load("context", ProgramKind::SYSCALL, &code)) else { return };
    let mut context = [41, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        program.test_run(TestRun { context: &mut context, ..Default::default() }).unwrap().returned,
        0
    );
    assert_eq!(context[8], 42);
}

#[test]
fn a_raw_tracepoint_runs_on_the_cpu_that_is_named() {
    // return bpf_get_smp_processor_id()
    let code = [call(8), exit()];
    let Some(program) = able(load("where", ProgramKind::RAW_TRACEPOINT, &code)) else { return };
    for cpu in cpus::online().unwrap() {
        let run = TestRun { cpu: Some(cpu), context: &mut [0; 16], ..Default::default() };
        assert_eq!(program.test_run(run).unwrap().returned, cpu);
    }
    let nowhere = TestRun { cpu: Some(100_000), ..Default::default() };
    assert!(program.test_run(nowhere).is_err());
    // And where the calling thread is bound.
    for cpu in cpus::allowed().unwrap() {
        let pinned = cpus::Pinned::to(cpu).unwrap();
        assert_eq!((pinned.cpu(), cpus::allowed().unwrap()), (cpu, vec![cpu]));
        assert_eq!(program.test_run(TestRun::default()).unwrap().returned, cpu);
    }
    assert!(cpus::Pinned::to(100_000).is_err());
    let first = cpus::Pinned::to_any().unwrap().cpu();
    assert_eq!(cpus::allowed().unwrap()[0], first, "free again");
}

#[test]
fn types_are_taken_and_bad_ones_explained() {
    // A header and one integer of 32 bits called `int`.
    let mut types = vec![0x9f, 0xeb, 1, 0];
    for word in [24u32, 0, 16, 16, 5] {
        types.extend(word.to_ne_bytes());
    }
    for word in [1u32, 1 << 24, 4, 1 << 24 | 32] {
        types.extend(word.to_ne_bytes());
    }
    types.extend(b"\0int\0");
    let Some(btf) = able(Btf::load(&types)) else { return };
    assert!(btf.id().unwrap() > 0);
    let bad = types.len() - 6;
    // 33 bits in four bytes.
    types[bad - 3] = 33;
    let error = Btf::load(&types).unwrap_err();
    assert_eq!((error.call(), error.errno()), ("BPF_BTF_LOAD", 22));
    assert!(!error.log().is_empty(), "{error}");
}

#[test]
fn without_rights_one_line_says_which_are_missing() {
    if able(load("fine", ProgramKind::XDP, &[mov(0, 2), exit()])).is_none() {
        return;
    }
    let missing = |drop: CapabilitySet, kind| {
        // Capabilities are a thread's own.
        std::thread::spawn(move || {
            let mut sets = capabilities(None).unwrap();
            sets.effective -= drop;
            set_capabilities(None, sets).unwrap();
            load("unprivileged", kind, &[mov(0, 0), exit()]).map(drop_it).map_err(|error| error.to_string())
        })
        .join()
        .unwrap()
    };
    let (admin, bpf) = (CapabilitySet::SYS_ADMIN, CapabilitySet::BPF);
    let (net, perf) = (CapabilitySet::NET_ADMIN, CapabilitySet::PERFMON);
    let xdp = missing(admin | bpf | net | perf, ProgramKind::XDP).unwrap_err();
    assert!(
        xdp.ends_with("this process lacks CAP_BPF and CAP_NET_ADMIN") && xdp.lines().count() == 1,
        "{xdp}"
    );
    let xdp = missing(admin | net, ProgramKind::XDP).unwrap_err();
    assert!(xdp.ends_with("this process lacks CAP_NET_ADMIN"), "{xdp}");
    let raw = missing(admin | perf, ProgramKind::RAW_TRACEPOINT).unwrap_err();
    assert!(raw.ends_with("this process lacks CAP_PERFMON"), "{raw}");
    assert!(missing(bpf | perf, ProgramKind::RAW_TRACEPOINT).is_ok(), "CAP_SYS_ADMIN stands for both");
    let map = std::thread::spawn(move || {
        let mut sets = capabilities(None).unwrap();
        sets.effective -= admin | bpf;
        set_capabilities(None, sets).unwrap();
        LinuxMap::create(&MapSpec::new("secret", MapKind::ARRAY, 4, 4, 1)).map(|map| Linux.destroy_map(map))
    });
    // Some kernels let anybody make arrays.
    if let Err(error) = map.join().unwrap() {
        assert_eq!(error.to_string().lines().count(), 1);
        assert!(
            error.is_permission() && error.to_string().ends_with("this process lacks CAP_BPF"),
            "{error}"
        );
    }
}

/// What a thread without these capabilities is told: one line.
fn told_without<T: Send>(
    drop: CapabilitySet,
    what: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<(), String> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective -= drop;
            set_capabilities(None, sets).unwrap();
            what().map(|_| ()).map_err(|error| {
                assert!(error.is_permission(), "{error}");
                error.to_string()
            })
        });
        thread.join().unwrap()
    })
}

#[test]
fn every_call_that_takes_rights_says_which() {
    let Some(ring) = able(LinuxMap::create(&MapSpec::new("events", MapKind::PERF_EVENT_ARRAY, 4, 4, 0)))
    else {
        return;
    };
    let Some(raw) = able(load("raw", ProgramKind::RAW_TRACEPOINT, &[mov(0, 0), exit()])) else { return };
    let (admin, bpf) = (CapabilitySet::SYS_ADMIN, CapabilitySet::BPF);
    let (net, perf) = (CapabilitySet::NET_ADMIN, CapabilitySet::PERFMON);
    let ends = |told: Result<(), String>, call: &str, end: &str| {
        let told = told.expect_err(call);
        assert!(told.starts_with(call) && told.ends_with(end) && told.lines().count() == 1, "{told}");
    };
    let all = admin | bpf | net | perf;
    // A program that is loaded may be run and attached by whoever has its descriptor.
    assert_eq!(told_without(all, || raw.test_run(TestRun::default())), Ok(()));
    ends(told_without(all, || Btf::load(&[0; 24])), "BPF_BTF_LOAD", "lacks CAP_BPF");
    ends(told_without(all, ids::programs), "BPF_PROG_GET_NEXT_ID", "lacks CAP_SYS_ADMIN");
    ends(told_without(all, || LinuxMap::open_id(1)), "BPF_MAP_GET_FD_BY_ID", "lacks CAP_SYS_ADMIN");
    // Where `perf_event_paranoid` is -1 anybody may.
    if std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").is_ok_and(|level| level.trim() >= "1")
    {
        let open = || PerfRings::open(&ring, PerfOptions::new(1));
        ends(told_without(admin | perf, open), "perf_event_open", "lacks CAP_PERFMON");
    }
}

fn drop_it(program: LinuxProgram) {
    drop(program);
}
