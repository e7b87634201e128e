//! Every system call of a session fails once, out of memory: nothing may be left behind, and the error names the call.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that panics fails, which is what it is for"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::Path;

use ebpf_loader::{Instruction, MapKind, MapSpec, Platform, ProgramKind, ProgramSpec};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::map::duplicate;
use crate::sys::{Errno, inject};
use crate::*;

/// `r0 = 1; exit`
const ONE: [Instruction; 2] = [Instruction::new(0xb7, 0, 0, 0, 1), Instruction::new(0x95, 0, 0, 0, 0)];

fn program(name: &str, kind: ProgramKind) -> ProgramSpec<'_> {
    ProgramSpec { name, section: "", kind, expected_attach_type: 0, license: "GPL", instructions: &ONE }
}

/// A name that no other process gives, however many run this test at once.
fn named(name: &str) -> &'static str {
    format!("i{:x}_{name}", std::process::id()).leak()
}

/// One of everything that works on any kernel since 5.15.
fn session(socket: &UdpSocket) -> Result<(), Error> {
    let data = MapSpec {
        initial_value: Some(&[7; 8]),
        read_only: true,
        ..MapSpec::new(named("data"), MapKind::ARRAY, 4, 8, 1)
    };
    let data = Linux.create_map(&data)?;
    let per_cpu = Linux.create_map(&MapSpec::new(named("per_cpu"), MapKind::PERCPU_ARRAY, 4, 4, 1))?;
    let mut values = vec![0; per_cpu.value_len()];
    per_cpu.lookup(&[0; 4], &mut values)?;
    data.info()?;

    let outer = MapSpec::new(named("outer"), MapKind::ARRAY_OF_MAPS, 4, 4, 2);
    let inner = Linux.create_map(&MapSpec::new(named("inner"), MapKind::ARRAY, 4, 8, 1))?;
    let outer = LinuxMap::create_of_maps(&outer, &inner)?;
    outer.set_descriptor(1, inner.as_fd())?;

    let ring = Linux.create_map(&MapSpec::new(named("ring"), MapKind::RINGBUF, 0, 0, 4096))?;
    let memory = Linux.ring(&ring)?;
    let waiter = Waiter::new()?;
    waiter.add(&ring, 1, Interest::Readable, Trigger::Edge)?;
    drop(memory);
    // Given back, also when mapping it failed half-way.
    let _memory = Linux.ring(&ring)?;

    let events = Linux.create_map(&MapSpec::new(named("events"), MapKind::PERF_EVENT_ARRAY, 4, 4, 0))?;
    let rings = PerfRings::open(&events, PerfOptions::new(2))?;
    assert!(rings.iter().count() >= 1);
    let readers = rings.readers()?;
    for (_, ring) in rings.iter() {
        ring.lost()?;
        let event = duplicate(ring.as_fd())?;
        PerfRing::from_event(event, ring.cpu(), PerfOptions::new(2))?;
    }
    drop(readers);
    let user = Linux.create_map(&MapSpec::new(named("user"), MapKind::USER_RINGBUF, 0, 0, 4096));
    // Linux 6.1.
    match user {
        Err(error) if error.errno() == Errno::INVAL.raw_os_error() => {}
        user => drop(Linux.ring(&user?)?),
    }

    let traced = Linux.load_program(&program(named("raw"), ProgramKind::RAW_TRACEPOINT))?;
    traced.info()?;
    let _raw = Linux.attach(&traced, Target::RawTracepoint("sys_enter"))?;
    let filter = Linux.load_program(&program(named("socket"), ProgramKind::SOCKET_FILTER))?;
    filter.test_run(TestRun { data: &[0; 64], ..Default::default() })?;
    let _socket = Linux.attach(&filter, Target::Socket(socket.as_fd()))?;
    let sampled = Linux.load_program(&program(named("sample"), ProgramKind::PERF_EVENT))?;
    let clock = Event::cpu_clock(cpus::allowed()?[0], Sampling::Frequency(10))?;
    let _clock = Linux.attach(&sampled, Target::Event(&clock))?;
    let probed = Linux.load_program(&program(named("probe"), ProgramKind::KPROBE))?;
    let target =
        Target::Uprobe { file: Path::new("/proc/self/exe"), offset: 0x1000, on_return: false, process: None };
    let _probe = Linux.attach(&probed, target)?;
    let _types = Btf::load(&TYPES)?;
    // bpf_loop(1, callback, 0, 0): a program that takes types along.
    let code = [
        Instruction::new(0xb7, 1, 0, 0, 1),
        Instruction::new(0x18, 2, 4, 0, 6),
        Instruction::default(),
        Instruction::new(0xb7, 3, 0, 0, 0),
        Instruction::new(0xb7, 4, 0, 0, 0),
        Instruction::new(0x85, 0, 0, 0, 181),
        Instruction::new(0xb7, 0, 0, 0, 0),
        Instruction::new(0x95, 0, 0, 0, 0),
        Instruction::new(0xb7, 0, 0, 0, 0),
        Instruction::new(0x95, 0, 0, 0, 0),
    ];
    let calls = ProgramSpec { instructions: &code, ..program(named("loop"), ProgramKind::SOCKET_FILTER) };
    // Linux 5.17.
    match Linux.load_program(&calls) {
        Err(error) if !error.log().is_empty() => {}
        loaded => drop(loaded?),
    }
    let at_packets = Linux.load_program(&program(named("xdp"), ProgramKind::XDP))?;
    let loopback = Target::Xdp { interface: 1, mode: XdpMode::Generic };
    let _packets = Linux.attach(&at_packets, loopback)?;
    pins(&data, &traced, &_raw)
}

/// Names given, found again and removed, in the file system of [`with_names`].
fn pins(data: &LinuxMap, traced: &LinuxProgram, raw: &LinuxLink) -> Result<(), Error> {
    let place = |name: &str| Path::new(NAMES).join(named(name));
    let forget = |name: &str| drop(fs::remove_file(place(name)));
    let result = data
        .pin(place("map"))
        .and_then(|()| LinuxMap::open_pinned(place("map")))
        .and_then(|map| map.try_clone())
        .and_then(|_| traced.pin(place("program")))
        .and_then(|()| LinuxProgram::open_pinned(place("program")))
        .and_then(|_| raw.pin(place("link")));
    ["map", "program", "link"].iter().for_each(|name| forget(name));
    result
}

/// Where pins live, for one thread.
const NAMES: &str = "/sys/fs/bpf";

/// A header and one integer of 32 bits called `int`.
const TYPES: [u8; 45] = {
    let mut types = *b"\x9f\xeb\x01\0........................................\0";
    let words: [u32; 9] = [24, 0, 16, 16, 5, 1, 1 << 24, 4, 1 << 24 | 32];
    let mut index = 0;
    while index < words.len() * 4 {
        types[4 + index] = words[index / 4].to_le_bytes()[index % 4];
        index += 1;
    }
    let name = *b"\0int\0";
    index = 0;
    while index < name.len() {
        types[40 + index] = name[index];
        index += 1;
    }
    types
};

/// This thread gets mounts of its own, one of them for pins.
fn with_names() -> Result<(), Errno> {
    // SAFETY: a thread's own view of mounts; nobody else holds this thread's working directory to be the process's.
    #[expect(unsafe_code, reason = "the flag given is one that concerns this thread alone")]
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    mount("bpf", NAMES, "bpf", MountFlags::empty(), None)?;
    Ok(())
}

/// Open descriptors, mappings of bpf objects and events, and the numbers of our programs and maps.
fn what_there_is() -> (usize, usize, BTreeSet<u32>, BTreeSet<u32>) {
    // The directory itself is open while it is listed, every time.
    let descriptors = fs::read_dir("/proc/self/fd").expect("procfs").count();
    let mappings = fs::read_to_string("/proc/self/maps").expect("procfs");
    let mappings = mappings.lines().filter(|line| line.contains("anon_inode:")).count();
    let ours = |name: String| name.starts_with(named(""));
    let programs = ids::programs().expect("programs").into_iter();
    let programs = programs.filter(|id| {
        // Programs go away a moment after their last user.
        let info = LinuxProgram::open_id(*id).and_then(|program| program.info());
        info.is_ok_and(|info| ours(info.name))
    });
    let maps = ids::maps().expect("maps").into_iter();
    let maps = maps.filter(|id| LinuxMap::open_id(*id).is_ok_and(|map| ours(map.name().to_owned())));
    (descriptors, mappings, programs.collect(), maps.collect())
}

/// The kernel frees what nobody uses after a grace period: waits until it has, or long enough to be sure that it will not.
fn settled(
    before: &(usize, usize, BTreeSet<u32>, BTreeSet<u32>),
) -> (usize, usize, BTreeSet<u32>, BTreeSet<u32>) {
    let mut after = what_there_is();
    for _ in 0..200 {
        if after == *before {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        after = what_there_is();
    }
    after
}

#[test]
fn whichever_call_fails_nothing_is_left_behind() {
    if let Err(errno) = with_names() {
        assert!(std::env::var_os("CI").is_none(), "mount -t bpf: {errno}");
        return println!("skipped: mount -t bpf: {errno}");
    }
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let before = what_there_is();
    assert_eq!((before.1, before.2.len(), before.3.len()), (0, 0, 0), "nothing to begin with");
    if let Err(error) = session(&socket) {
        assert!(error.is_permission() && std::env::var_os("CI").is_none(), "{error}");
        println!("skipped: {error}");
        return;
    }
    assert_eq!(settled(&before), before, "a session leaves nothing");
    let mut calls = BTreeSet::new();
    let mut unnoticed = 0;
    for number in 0.. {
        let (result, injected) = inject::failing(number, || session(&socket));
        assert_eq!(settled(&before), before, "after failing call {number}: {result:?}");
        if !injected {
            result.expect("no call failed");
            break;
        }
        match result {
            Err(error) => {
                assert_eq!(error.errno(), 12, "call {number}: {error}");
                calls.insert(error.call());
            }

            Ok(()) => unnoticed += 1,
        }
    }
    // Dropping the perf rings takes each out of an array that goes itself the next moment: nobody is told.
    assert_eq!(unnoticed, cpus::online().expect("CPUs").len());
    for call in [
        "BPF_MAP_CREATE",
        "BPF_MAP_UPDATE_ELEM",
        "BPF_MAP_FREEZE",
        "BPF_MAP_LOOKUP_ELEM",
        "BPF_PROG_LOAD",
        "BPF_PROG_TEST_RUN",
        "BPF_BTF_LOAD",
        "BPF_OBJ_PIN",
        "BPF_OBJ_GET",
        "BPF_OBJ_GET_INFO_BY_FD",
        "BPF_RAW_TRACEPOINT_OPEN",
        "BPF_LINK_CREATE",
        "mmap",
        "perf_event_open",
        "ioctl(PERF_EVENT_IOC_ENABLE)",
        "epoll_create",
        "epoll_ctl(EPOLL_CTL_ADD)",
        "setsockopt(SO_ATTACH_BPF)",
        "fcntl(F_DUPFD_CLOEXEC)",
        "read",
    ] {
        assert!(calls.contains(call), "{call} was never made to fail: {calls:?}");
    }
}
