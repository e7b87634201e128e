//! Every way to attach, on the running kernel: what is attached runs, what is detached does not. A kernel that lacks one says so.
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

use std::hint::black_box;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use common::{Counter, able, lacks, load, load_for, until, with_mount};
use ebpf_linux::{Error, Event, LinuxLink, LinuxMap, LinuxProgram, Sampling, Target, XdpMode, cpus, ids};
use ebpf_loader::{MapKind, ProgramKind};

/// Attaches, lets `event` happen, detaches, lets it happen again.
fn comes_and_goes(
    counter: &Counter,
    program: &LinuxProgram,
    target: Target<'_>,
    mut event: impl FnMut(),
) -> Result<(), Error> {
    assert_eq!(counter.value(), 0);
    let link = LinuxLink::attach(program, target)?;
    assert_eq!(link.program(), program.name());
    counter.grows(&mut event);
    if let Some(id) = link.id()? {
        assert!(ids::links().unwrap().contains(&id));
    }
    drop(link);
    counter.stays(&mut event);
    Ok(())
}

/// A program that counts, or `None` where rights are missing.
fn counting(
    kind: ProgramKind,
    section: &str,
    expected: u32,
    returned: i32,
) -> Option<(Counter, LinuxProgram)> {
    let counter = able(Counter::new())?;
    let program = able(load_for("counting", kind, section, expected, &counter.code(returned)))?;
    Some((counter, program))
}

/// A packet over the loopback interface.
fn packet() -> impl FnMut() {
    let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    move || drop(from.send_to(b"packet", to.local_addr().unwrap()))
}

fn loopback() -> u32 {
    std::fs::read_to_string("/sys/class/net/lo/ifindex").unwrap().trim().parse().unwrap()
}

#[test]
fn raw_tracepoint() {
    let Some((counter, program)) = counting(ProgramKind::RAW_TRACEPOINT, "", 0, 0) else { return };
    comes_and_goes(&counter, &program, Target::RawTracepoint("sys_enter"), || {
        drop(black_box(std::fs::metadata("/")))
    })
    .unwrap();
    let error = LinuxLink::attach(&program, Target::RawTracepoint("no_such_point")).unwrap_err();
    assert_eq!((error.call(), error.errno()), ("BPF_RAW_TRACEPOINT_OPEN", 2));
    assert!(error.to_string().ends_with("there is no raw tracepoint `no_such_point`"), "{error}");
    let error = LinuxLink::attach(&program, Target::Section).unwrap_err();
    assert!(error.to_string().contains("name a target"), "{error}");
}

#[test]
fn raw_tracepoint_that_its_section_names() {
    for section in ["raw_tp/sys_enter", "raw_tracepoint/sys_enter"] {
        let Some((counter, program)) = counting(ProgramKind::RAW_TRACEPOINT, section, 0, 0) else { return };
        comes_and_goes(&counter, &program, Target::Section, || drop(black_box(std::fs::metadata("/"))))
            .unwrap();
    }
}

#[test]
fn tracepoint() {
    let Some((counter, program)) = counting(ProgramKind::TRACEPOINT, "tp/sched/sched_switch", 0, 0) else {
        return;
    };
    with_mount("tracefs", "/sys/kernel/tracing", || {
        let target = Target::Tracepoint { group: "sched", name: "sched_switch" };
        let event = || std::thread::yield_now();
        comes_and_goes(&counter, &program, target, event).unwrap();
        let link = LinuxLink::attach(&program, Target::Section).unwrap();
        let before = counter.value();
        until("the section names it too", || {}, || counter.value() > before);
        drop(link);
        for (group, name) in [("sched", "no_such_point"), ("../events", "x"), ("", "")] {
            let error = LinuxLink::attach(&program, Target::Tracepoint { group, name }).unwrap_err();
            assert!([2, 22].contains(&error.errno()), "{error}");
        }
    });
}

#[test]
fn xdp() {
    let Some((counter, program)) = counting(ProgramKind::XDP, "", 37, 2) else { return };
    let target = |mode| Target::Xdp { interface: loopback(), mode };
    comes_and_goes(&counter, &program, target(XdpMode::Generic), packet()).unwrap();
    let error = LinuxLink::attach(&program, target(XdpMode::Driver)).unwrap_err();
    assert_eq!(
        (error.call(), error.errno()),
        ("BPF_LINK_CREATE", 95),
        "the loopback interface has no driver: {error}"
    );
    let error =
        LinuxLink::attach(&program, Target::Xdp { interface: 999_999, mode: XdpMode::Any }).unwrap_err();
    assert!(
        error.to_string().contains("program `counting` (xdp)")
            && error.to_string().ends_with("to interface 999999"),
        "{error}"
    );
}

#[test]
fn tcx() {
    for egress in [false, true] {
        // TCX_NEXT
        let Some((counter, program)) = counting(ProgramKind::SCHED_CLS, "", if egress { 47 } else { 46 }, -1)
        else {
            return;
        };
        match comes_and_goes(&counter, &program, Target::Tcx { interface: loopback(), egress }, packet()) {
            Err(error) if error.errno() == 22 => return lacks(error),
            other => other.unwrap(),
        }
    }
}

/// The directory of this process's own cgroup, version 2.
fn cgroup() -> Option<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let place = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields[2] == "cgroup2")?;
    Some(Path::new(place[1]).join(path.trim_start_matches('/')))
}

#[test]
fn cgroup_hooks() {
    let Some(directory) = cgroup() else { return lacks("no cgroup2 is mounted") };
    let directory = std::fs::File::open(directory).unwrap();
    // Packets in and out, sockets made.
    let hooks = [
        (ProgramKind::CGROUP_SKB, 0),
        (ProgramKind::CGROUP_SKB, 1),
        (ProgramKind::CGROUP_SOCK, 2),
        (ProgramKind::CGROUP_SOCK_ADDR, 14),
    ];
    for (kind, attach_type) in hooks {
        let Some((counter, program)) = counting(kind, "", attach_type, 1) else { return };
        let event = || packet()();
        match comes_and_goes(&counter, &program, Target::Cgroup(directory.as_fd()), event) {
            Err(error) if error.errno() == 22 => lacks(error),
            other => other.unwrap(),
        }
    }
}

#[test]
fn network_namespace() {
    // A socket lookup that is not asked about our ports: it is attached, and gone again.
    let Some((_, program)) = counting(ProgramKind::SK_LOOKUP, "", 36, 1) else { return };
    let namespace = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    match LinuxLink::attach(&program, Target::NetworkNamespace(namespace.as_fd())) {
        Err(error) if error.errno() == 22 => lacks(error),
        link => {
            let link = link.unwrap();
            let id = link.id().unwrap().unwrap();
            drop(link);
            until("the link is gone", || {}, || !ids::links().unwrap().contains(&id));
        }
    }
}

#[test]
fn perf_event() {
    let Some((counter, program)) = counting(ProgramKind::PERF_EVENT, "", 0, 0) else { return };
    let cpu = cpus::allowed().unwrap()[0];
    for sampling in [Sampling::Frequency(1000), Sampling::Period(1_000_000)] {
        let event = Event::cpu_clock(cpu, sampling).unwrap();
        let link = LinuxLink::attach(&program, Target::Event(&event)).unwrap();
        let _pinned = cpus::Pinned::to(cpu).unwrap();
        counter.grows(busy);
        drop(link);
        counter.stays(busy);
    }
}

#[inline(never)]
extern "C" fn probed(value: u64) -> u64 {
    black_box(value).wrapping_mul(3)
}

fn run_probed() {
    assert_eq!(probed(black_box(14)), 42);
}

fn busy() {
    assert_ne!(black_box((0..100_000).sum::<u64>()), 0);
}

/// Where a function of this process stands in its executable.
fn file_offset(function: extern "C" fn(u64) -> u64) -> u64 {
    let address = function as *const () as u64;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .find_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (start, end) = fields.next()?.split_once('-')?;
            let [start, end] = [start, end].map(|number| u64::from_str_radix(number, 16).unwrap());
            let offset = u64::from_str_radix(fields.nth(1)?, 16).unwrap();
            (start..end).contains(&address).then(|| address - start + offset)
        })
        .unwrap()
}

#[test]
fn uprobe() {
    let file = std::env::current_exe().unwrap();
    let offset = file_offset(probed);
    for (on_return, process) in [(false, None), (true, None), (false, Some(std::process::id()))] {
        let Some((counter, program)) = counting(ProgramKind::KPROBE, "", 0, 0) else { return };
        let target = Target::Uprobe { file: &file, offset, on_return, process };
        match comes_and_goes(&counter, &program, target, run_probed) {
            Err(error) if error.call() == "read" => return lacks(error),
            other => other.unwrap(),
        }
    }
    let section = format!("uprobe/{}:{offset:#x}", file.display());
    let Some((counter, program)) = counting(ProgramKind::KPROBE, &section, 0, 0) else { return };
    comes_and_goes(&counter, &program, Target::Section, run_probed).unwrap();
    let nowhere =
        Target::Uprobe { file: Path::new("/no/such/file"), offset: 0, on_return: false, process: None };
    let error = LinuxLink::attach(&program, nowhere).unwrap_err();
    assert_eq!((error.call(), error.errno()), ("perf_event_open", 2));
}

#[test]
fn kprobe() {
    for on_return in [false, true] {
        let Some((counter, program)) = counting(ProgramKind::KPROBE, "", 0, 0) else { return };
        let target = Target::Kprobe { function: "do_sys_openat2", offset: 0, on_return };
        match comes_and_goes(&counter, &program, target, || drop(std::fs::File::open("/"))) {
            Err(error) if error.call() == "read" => return lacks(error),
            other => other.unwrap(),
        }
    }
}

#[test]
fn socket_filter() {
    let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    to.set_nonblocking(true).unwrap();
    let send = || assert_eq!(from.send_to(b"packet", to.local_addr().unwrap()).unwrap(), 6);
    // Returns how many bytes of a packet to keep: none.
    let Some((counter, program)) = counting(ProgramKind::SOCKET_FILTER, "", 0, 0) else { return };
    let link = LinuxLink::attach(&program, Target::Socket(to.as_fd())).unwrap();
    assert_eq!(link.id().unwrap(), None);
    assert_eq!(link.pin("/sys/fs/bpf/x").unwrap_err().errno(), 95);
    send();
    assert_eq!(counter.value(), 1);
    assert!(to.recv(&mut [0; 16]).is_err(), "dropped");
    drop(link);
    send();
    assert_eq!((counter.value(), to.recv(&mut [0; 16]).unwrap()), (1, 6), "let through");
    let pipe = std::io::pipe().unwrap().0;
    let error = LinuxLink::attach(&program, Target::Socket(pipe.as_fd())).unwrap_err();
    assert_eq!((error.call(), error.errno()), ("setsockopt(SO_ATTACH_BPF)", 88));
}

#[test]
fn what_is_pinned_stays_and_is_found_again() {
    let Some((counter, program)) = counting(ProgramKind::RAW_TRACEPOINT, "", 0, 0) else { return };
    let nowhere = tempfile::tempdir().unwrap();
    let error = program.pin(nowhere.path().join("x")).unwrap_err();
    assert_eq!((error.call(), error.errno()), ("BPF_OBJ_PIN", 1));
    assert!(error.to_string().contains("mount -t bpf bpf /sys/fs/bpf"), "{error}");
    with_mount("bpf", "/sys/fs/bpf", || {
        let place = |name: &str| Path::new("/sys/fs/bpf").join(name);
        counter.map.pin(place("map")).unwrap();
        program.pin(place("program")).unwrap();
        assert_eq!(program.pin(place("program")).unwrap_err().errno(), 17, "EEXIST");
        let id = program.info().unwrap().id;
        let link = LinuxLink::attach(&program, Target::RawTracepoint("sys_enter")).unwrap();
        link.pin(place("link")).unwrap();
        let value = counter.value();
        let Counter { map } = counter;
        drop((program, link, map));

        let counter = Counter { map: LinuxMap::open_pinned(place("map")).unwrap() };
        assert_eq!((counter.map.kind(), counter.map.name()), (MapKind::ARRAY, "count"));
        assert!(counter.value() >= value);
        counter.grows(|| drop(black_box(std::fs::metadata("/"))));
        let program = LinuxProgram::open_pinned(place("program")).unwrap();
        assert_eq!((program.info().unwrap().id, program.kind()), (id, ProgramKind::RAW_TRACEPOINT));
        assert!(
            LinuxMap::open_pinned(place("program")).is_err()
                && LinuxProgram::open_pinned(place("map")).is_err()
        );
        std::fs::remove_file(place("link")).unwrap();
        counter.stays(|| drop(black_box(std::fs::metadata("/"))));
        // Attached again by what was found.
        let link = LinuxLink::attach(&program, Target::RawTracepoint("sys_enter")).unwrap();
        counter.grows(|| drop(black_box(std::fs::metadata("/"))));
        drop(link);
        assert_eq!(LinuxMap::open_pinned(place("nothing")).unwrap_err().errno(), 2);
    });
}

#[test]
fn programs_of_another_kind_are_refused() {
    let Some(counter) = able(Counter::new()) else { return };
    let Some(program) = able(load("filter", ProgramKind::SOCKET_FILTER, &counter.code(0))) else { return };
    for target in [
        Target::RawTracepoint("sys_enter"),
        Target::Xdp { interface: loopback(), mode: XdpMode::Generic },
        Target::Tcx { interface: loopback(), egress: false },
    ] {
        let error = LinuxLink::attach(&program, target).unwrap_err();
        assert!(error.to_string().contains("program `filter` (socket_filter)"), "{error}");
        assert_eq!(error.errno(), 22, "{error}");
    }
}
