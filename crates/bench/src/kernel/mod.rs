//! Draining a full ring of the running kernel, beside libbpf and aya; in `load`, loading programs.
//!
//! A BPF program fills the ring once for each pattern. A turn sets `consumer_pos` back to where it stood then, so that all contenders read the same
//! records at the same addresses of physical memory, each through a mapping of its own.

pub(crate) mod load;
mod ours;
mod peers;
mod ring;

use std::ffi::CStr;
use std::path::Path;
use std::process::Command;
use std::ptr::{self, NonNull};

use libbpf_sys as sys;

use crate::measure::{Contender, find, pin, take_turns};
use crate::report::Report;
use ring::KernelRing;

/// One way to fill the ring, and what draining it has to reach.
struct Pattern {
    name: &'static str,
    sizes: &'static [u32],
    random: bool,
    libbpf: f64,
    aya: Option<f64>,
}

const PATTERNS: [Pattern; 10] = [
    one("8 B", &[8], 2.5, Some(6.0)),
    one("16 B", &[16], 2.5, None),
    one("64 B", &[64], 2.0, None),
    one("256 B", &[256], 3.0, None),
    one("1024 B", &[1024], 1.5, None),
    one("8 and 16 B in turn", &[8, 16], 1.5, None),
    one("64 and 256 B in turn", &[64, 256], 1.5, None),
    one("16 and 1024 B in turn", &[16, 1024], 1.5, None),
    Pattern {
        name: "five sizes, random",
        sizes: &[8, 16, 64, 256, 1024],
        random: true,
        libbpf: 1.0,
        aya: None,
    },
    Pattern { name: "8 and 16 B, random", sizes: &[8, 16], random: true, libbpf: 1.0, aya: None },
];

const fn one(name: &'static str, sizes: &'static [u32], libbpf: f64, aya: Option<f64>) -> Pattern {
    Pattern { name, sizes, random: false, libbpf, aya }
}

/// What is possible when it is known where each record is.
const FLOOR: &str = "(known)";

pub(crate) fn run(report: &mut Report, turns: usize, filter: &str) {
    let ring = match KernelRing::load() {
        Ok(ring) => ring,
        Err(why) => return report.skip(format!("the kernel's ring: {why}")),
    };
    pin(0);
    report.table("draining a full 16 MiB ring of the kernel, one CPU, millions of records a second");
    for pattern in PATTERNS.iter().filter(|pattern| format!("kernel ring, {}", pattern.name).contains(filter))
    {
        let expected = match ring.fill(pattern.sizes, pattern.random) {
            Ok(expected) => expected,
            Err(why) => return report.skip(format!("filling the kernel's ring: {why}")),
        };
        let mut libbpf = peers::Libbpf::new(&ring);
        let turn = |(nanoseconds, seen): (f64, crate::measure::Seen)| {
            assert_eq!(seen, expected, "a contender read something else");
            nanoseconds / seen.records as f64
        };
        let mut contenders = vec![
            Contender::new("ours", || turn(ours::drain(&ring))),
            Contender::new("libbpf", || turn(libbpf.drain())),
            Contender::new("aya", || turn(peers::aya(&ring))),
            Contender::new("ours, one by one", || turn(ours::one_by_one(&ring))),
        ];
        if !pattern.random {
            contenders.push(Contender::new(FLOOR, || turn(ours::known(&ring, pattern.sizes))));
        }
        let series = take_turns(&mut contenders, turns);
        report.rates(pattern.name, &series);
        let own = find(&series, "ours");
        let peer = find(&series, "libbpf");
        let goal = format!("kernel ring, {}: libbpf", pattern.name);
        match series.iter().find(|series| series.name == FLOOR) {
            Some(floor) => {
                let possible = ("with known addresses", floor.against(peer));
                report.goal_below(goal, own.against(peer), pattern.libbpf, possible);
            }
            None => report.goal(goal, own.against(peer), pattern.libbpf),
        }
        if let Some(wanted) = pattern.aya {
            let reached = own.against(find(&series, "aya"));
            report.goal(format!("kernel ring, {}: aya", pattern.name), reached, wanted);
        }
    }
}

/// Compiles a program of `programs` and gives the object.
pub(crate) fn compile(program: &str) -> Result<Vec<u8>, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(program);
    let object = std::env::temp_dir().join(format!("ebpf-bench-{}.bpf.o", std::process::id()));
    let flags =
        ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-ffreestanding", "-nostdinc", "-Wall", "-Werror", "-c"];
    let status = Command::new("clang").args(flags).arg(source).arg("-o").arg(&object).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("clang: {status}")),
        Err(error) => return Err(format!("clang: {error} (apt-get install clang)")),
    }
    let bytes = std::fs::read(&object).map_err(|error| format!("{}: {error}", object.display()));
    let _ = std::fs::remove_file(&object);
    bytes
}

/// Compiles a program of `programs` and has libbpf load it; `needs` is what that takes.
pub(crate) fn load_object(program: &str, needs: &str) -> Result<NonNull<sys::bpf_object>, String> {
    let object = compile(program)?;
    // SAFETY: a callback that prints nothing; libbpf keeps no other state here.
    unsafe { sys::libbpf_set_print(None) };
    // SAFETY: the object's bytes are readable for the call, after which libbpf needs them no more.
    let object = unsafe { sys::bpf_object__open_mem(object.as_ptr().cast(), object.len() as _, ptr::null()) };
    let object = NonNull::new(object).ok_or("libbpf does not open the program")?;
    // SAFETY: the object is open.
    let result = unsafe { sys::bpf_object__load(object.as_ptr()) };
    if result != 0 {
        let error = std::io::Error::from_raw_os_error(-result);
        return Err(format!("the kernel does not load the program: {error} ({needs})"));
    }
    Ok(object)
}

/// The descriptor of a program of a loaded object.
pub(crate) fn program(object: NonNull<sys::bpf_object>, name: &CStr) -> i32 {
    // SAFETY: the object is loaded, the name a string.
    let program = unsafe { sys::bpf_object__find_program_by_name(object.as_ptr(), name.as_ptr()) };
    // SAFETY: the program belongs to the loaded object.
    unsafe { sys::bpf_program__fd(program) }
}
