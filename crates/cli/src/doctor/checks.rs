//! The questions, each asked by trying.

use std::fs;
use std::path::Path;

use ebpf_linux::{
    Capability, Error, Event, LinuxLink, LinuxMap, LinuxProgram, PerfOptions, PerfRing, RingMemory, Sampling,
    Target, TestRun, cpus, machine, missing_capabilities,
};
use ebpf_loader::{Instruction, MapKind, MapSpec, ProgramKind, ProgramSpec};

use super::Check;

/// All of them, what is required first.
pub(super) fn all() -> Vec<Check> {
    vec![
        kernel(),
        capabilities(),
        map(),
        program(),
        test_run(),
        ring(),
        unprivileged(),
        jit(),
        types(),
        tracefs(),
        raw_tracepoint(),
        perf_event(),
        perf_ring(),
        probes("uprobe", "CONFIG_UPROBE_EVENTS"),
        probes("kprobe", "CONFIG_KPROBE_EVENTS"),
        bpf_file_system(),
        cgroup2(),
        memory_lock(),
        processors(),
    ]
}

fn yes(name: &'static str, required: bool, found: impl Into<String>) -> Check {
    Check { name, required, ok: true, found: found.into(), advice: String::new() }
}

fn no(name: &'static str, required: bool, found: impl Into<String>, advice: impl Into<String>) -> Check {
    Check { name, required, ok: false, found: found.into(), advice: advice.into() }
}

/// A yes if the call went through, else a no with what the kernel said.
fn tried<T>(
    name: &'static str,
    required: bool,
    found: &str,
    result: Result<T, Error>,
    advice: &str,
) -> Check {
    match result {
        Ok(_) => yes(name, required, found),
        Err(error) => {
            let advice = if error.is_permission() { RIGHTS } else { advice };
            no(name, required, error.to_string(), advice)
        }
    }
}

const RIGHTS: &str = "run it as root, or give the executable the capabilities: setcap cap_bpf,cap_perfmon,cap_net_admin+ep; in a container: --cap-add and a seccomp profile that lets bpf(2) through";

fn kernel() -> Check {
    let release = machine::kernel_release();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {release}, {}", std::env::consts::ARCH);
    // Rings, and capabilities of their own.
    if version >= (5, 8) {
        yes("kernel", true, found)
    } else {
        no("kernel", true, found, "rings came with Linux 5.8: take a newer kernel")
    }
}

fn capabilities() -> Check {
    let wanted = [Capability::Bpf, Capability::PerfMon, Capability::NetAdmin];
    let missing: Vec<&str> =
        missing_capabilities(&wanted).iter().map(|capability| capability.name()).collect();
    let wanted = wanted.map(Capability::name).join(", ");
    if missing.is_empty() {
        return yes("capabilities", false, wanted);
    }
    no("capabilities", false, format!("this process lacks {}", missing.join(", ")), RIGHTS)
}

fn map() -> Check {
    let map = LinuxMap::create(&spec(MapKind::ARRAY, 4, 4, 1));
    tried("bpf(2)", true, "a map can be created", map, "the kernel needs CONFIG_BPF_SYSCALL=y")
}

fn program() -> Check {
    tried("verifier", true, "a program can be loaded", load(ProgramKind::SOCKET_FILTER), "")
}

fn test_run() -> Check {
    let run = load(ProgramKind::SOCKET_FILTER)
        .and_then(|program| program.test_run(TestRun { data: &[0; 64], ..Default::default() }));
    tried(
        "test runs",
        true,
        "programs can be run with BPF_PROG_TEST_RUN",
        run,
        "the kernel needs CONFIG_NET=y",
    )
}

fn ring() -> Check {
    let ring = LinuxMap::create(&spec(MapKind::RINGBUF, 0, 0, PAGES))
        .and_then(|map| RingMemory::map(&map).map(drop));
    tried("rings", true, "a ring can be created and mapped", ring, "rings came with Linux 5.8")
}

/// A power of two and a multiple of any page's size.
const PAGES: u32 = 1 << 16;

fn unprivileged() -> Check {
    let name = "unprivileged use";
    let path = "/proc/sys/kernel/unprivileged_bpf_disabled";
    match sysctl(path) {
        Some(0) => yes(name, false, "unprivileged_bpf_disabled is 0: anybody may load socket filters"),
        Some(value) => {
            let forever = if value == 1 { ", until the next boot" } else { "" };
            no(
                name,
                false,
                format!("unprivileged_bpf_disabled is {value}: only who has CAP_BPF may use bpf(2){forever}"),
                "leave it: it keeps others from attacking the verifier; run with CAP_BPF",
            )
        }
        None => no(name, false, format!("{path} cannot be read"), "mount procfs"),
    }
}

fn jit() -> Check {
    let name = "machine code";
    match sysctl("/proc/sys/net/core/bpf_jit_enable") {
        Some(0) => no(
            name,
            false,
            "bpf_jit_enable is 0: programs are interpreted",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        Some(value) => yes(name, false, format!("bpf_jit_enable is {value}")),
        // Kernels that always compile have no switch.
        None => yes(name, false, "there is no switch: always, or this process may not see it"),
    }
}

fn types() -> Check {
    let path = "/sys/kernel/btf/vmlinux";
    match fs::metadata(path) {
        Ok(metadata) => yes("kernel types", false, format!("{path}, {} bytes", metadata.len())),
        Err(error) => no(
            "kernel types",
            false,
            format!("{path}: {error}"),
            "a kernel with CONFIG_DEBUG_INFO_BTF=y; only CO-RE, tp_btf, fentry, LSM and struct_ops need it",
        ),
    }
}

fn tracefs() -> Check {
    match machine::tracefs() {
        Some(place) => yes("tracefs", false, place),
        None => no(
            "tracefs",
            false,
            "not mounted: tracepoints have no numbers",
            "mount -t tracefs tracefs /sys/kernel/tracing",
        ),
    }
}

fn raw_tracepoint() -> Check {
    let link = load(ProgramKind::RAW_TRACEPOINT)
        .and_then(|program| LinuxLink::attach(&program, Target::RawTracepoint("sys_enter")));
    tried("raw tracepoints", false, "a program can be attached", link, "the kernel needs CONFIG_BPF_EVENTS=y")
}

fn perf_event() -> Check {
    let paranoid = sysctl("/proc/sys/kernel/perf_event_paranoid");
    let found = paranoid.map_or_else(String::new, |level| format!(", perf_event_paranoid is {level}"));
    let event = first_cpu().and_then(|cpu| Event::cpu_clock(cpu, Sampling::Frequency(1)));
    let advice = "the kernel needs CONFIG_PERF_EVENTS=y";
    let mut check =
        tried("perf events", false, &format!("the events of a CPU can be sampled{found}"), event, advice);
    if !check.ok && paranoid.is_some_and(|level| level > 0) {
        check.advice = format!("run with CAP_PERFMON, or sysctl kernel.perf_event_paranoid=0{found}");
    }
    check
}

fn perf_ring() -> Check {
    let ring = first_cpu().and_then(|cpu| PerfRing::open(cpu, PerfOptions::new(8)));
    let kilobytes = sysctl("/proc/sys/kernel/perf_event_mlock_kb");
    let found =
        kilobytes.map_or_else(String::new, |kilobytes| format!(", perf_event_mlock_kb is {kilobytes}"));
    tried(
        "perf rings",
        false,
        &format!("a ring of 8 pages can be mapped{found}"),
        ring,
        "raise ulimit -l or kernel.perf_event_mlock_kb",
    )
}

fn probes(kind: &'static str, option: &str) -> Check {
    let path = format!("/sys/bus/event_source/devices/{kind}/type");
    match fs::read_to_string(&path) {
        Ok(number) => yes(kind, false, format!("event type {}", number.trim())),
        Err(error) => no(kind, false, format!("{path}: {error}"), format!("a kernel with {option}=y")),
    }
}

fn bpf_file_system() -> Check {
    match mounted("bpf") {
        Some(place) => yes("pins", false, format!("a file system of type bpf at {place}")),
        None => no("pins", false, "no file system of type bpf is mounted", "mount -t bpf bpf /sys/fs/bpf"),
    }
}

fn cgroup2() -> Check {
    match mounted("cgroup2") {
        Some(place) => yes("cgroup hooks", false, format!("cgroup2 at {place}")),
        None => no(
            "cgroup hooks",
            false,
            "no file system of type cgroup2 is mounted",
            "mount -t cgroup2 none /sys/fs/cgroup/unified",
        ),
    }
}

fn memory_lock() -> Check {
    let name = "locked memory";
    match machine::memory_lock_limit() {
        None => yes(name, false, "no limit"),
        Some(bytes) if bytes >= 1 << 20 => yes(
            name,
            false,
            format!(
                "{} KiB for perf rings; maps count since Linux 5.11 as memory of the cgroup",
                bytes >> 10
            ),
        ),
        Some(bytes) => no(
            name,
            false,
            format!("{} KiB", bytes >> 10),
            "ulimit -l unlimited; needed for large perf rings, and for maps before Linux 5.11",
        ),
    }
}

fn processors() -> Check {
    let name = "CPUs";
    match (cpus::possible(), cpus::online(), cpus::allowed()) {
        (Ok(possible), Ok(online), Ok(allowed)) => {
            let found =
                format!("{} possible, online {online:?}, this process may use {allowed:?}", possible.len());
            if online.iter().all(|cpu| allowed.contains(cpu)) {
                return yes(name, false, found);
            }
            let advice = "events of CPUs that are not allowed can be read, but nothing can be pinned there: taskset, cpuset";
            no(name, false, found, advice)
        }
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
            no(name, false, error.to_string(), "mount sysfs and procfs")
        }
    }
}

fn first_cpu() -> Result<u32, Error> {
    cpus::online().map(|cpus| cpus.first().copied().unwrap_or(0))
}

fn sysctl(path: &str) -> Option<i64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Where a file system of that type is mounted.
fn mounted(kind: &str) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        (fields.next()? == kind && Path::new(place).is_dir()).then(|| place.to_owned())
    })
}

fn spec(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> MapSpec<'static> {
    MapSpec::new("doctor", kind, key_size, value_size, max_entries)
}

/// `return 0`
fn load(kind: ProgramKind) -> Result<LinuxProgram, Error> {
    LinuxProgram::load(&ProgramSpec {
        name: "doctor",
        section: "",
        kind,
        expected_attach_type: 0,
        license: "GPL",
        instructions: &[Instruction::new(0xb7, 0, 0, 0, 0), Instruction::new(0x95, 0, 0, 0, 0)],
    })
}
