//! `gate self-test`: what the clock and the machine are worth.

use std::io;
use std::num::NonZeroU16;

use bench_gate::{Barrier, Clock, Env, Fitness, Needs, Reason, skew};
use serde::Serialize;

use super::machine::{Host, HostClock, cpus, load_average};
use crate::args::GateSelfTest;
use crate::console::{ALARM, Console, NAME, Status};

pub(super) fn self_test(arguments: &GateSelfTest, console: &mut Console<'_>) -> io::Result<Status> {
    let clock = HostClock::new();
    let all = cpus();
    let mut host = Host::new();
    let mut needs = Needs::new();
    // Without a way to bind there is nothing to ask for.
    if let Some(cpu) = arguments.cpu.or_else(|| all.first().copied()) {
        needs = needs.with_pin(cpu);
    }
    let fitness = Fitness::examine(&clock, &mut host, &needs);
    let unfit = fitness.check(&needs).err();
    let skew_ns = barrier_skew(host, &all);
    let line = Line {
        kind: "environment",
        fit: unfit.is_none(),
        reason: unfit.map(|reason| reason.to_string()),
        clock_resolution_ns: fitness.resolution_ns(),
        clock_cost_ns: fitness.cost_ticks,
        clock_backward: fitness.backward,
        hiccup_percent: fitness.hiccup_percent,
        cpus: fitness.online,
        cpu: fitness.cpu,
        pinned: needs.pin.is_some() && fitness.is_pinned,
        free_kib: fitness.free_kib,
        load: load_average(),
        barrier_skew_ns: skew_ns,
    };
    if console.json() {
        console.line(&line)?;
    } else {
        print(console, &line, unfit)?;
    }
    Ok(if unfit.is_none() { Status::Done } else { Status::Unfit })
}

fn print(console: &mut Console<'_>, line: &Line, unfit: Option<Reason>) -> io::Result<()> {
    let unknown = || "unknown".to_owned();
    let rows = [
        ("clock resolution", format!("{} ns", line.clock_resolution_ns)),
        ("clock cost", format!("{} ns a read", line.clock_cost_ns)),
        ("clock backward", format!("{} times", line.clock_backward)),
        ("hiccups", format!("a tenth of fixed loops take {} % longer or more", line.hiccup_percent)),
        ("CPUs", line.cpus.to_string()),
        (
            "bound",
            match line.cpu {
                Some(cpu) if line.pinned => format!("to CPU {cpu}"),
                _ => "no".to_owned(),
            },
        ),
        ("free memory", line.free_kib.map_or_else(unknown, |free| format!("{} MiB", free / 1024))),
        ("load", line.load.map_or_else(unknown, |load| format!("{load} threads"))),
        (
            "barrier",
            line.barrier_skew_ns
                .map_or_else(unknown, |skew| format!("two threads leave within {skew} ns of each other")),
        ),
    ];
    for (name, found) in rows {
        console.text(format_args!("{name:<18}{found}\n"))?;
    }
    match unfit {
        None => console.text(format_args!("{NAME}fit{NAME:#} to measure on\n")),
        Some(reason) => console.text(format_args!("{ALARM}unfit{ALARM:#}: {reason}\n")),
    }
}

/// How far apart two threads on different CPUs leave a barrier: the median of some times, in nanoseconds. None without two CPUs, or if they do not meet.
fn barrier_skew(host: Host, cpus: &[u32]) -> Option<u64> {
    const ROUNDS: usize = 101;
    let [one, other, ..] = cpus else { return None };
    let barrier = Barrier::new();
    let leave = |cpu: u32| {
        host.clone().pin(cpu).ok()?;
        let clock = HostClock::new();
        let patience = clock.hz() / 4;
        let rounds =
            (0..ROUNDS).map(|_| barrier.wait(NonZeroU16::MIN.saturating_add(1), &clock, patience).ok());
        rounds.map(|passed| passed.map(|passed| passed.at)).collect::<Option<Vec<u64>>>()
    };
    let (here, there) = std::thread::scope(|scope| {
        let threads = [*one, *other].map(|cpu| scope.spawn(move || leave(cpu)));
        let [here, there] = threads.map(|thread| thread.join().ok().flatten());
        (here, there)
    });
    let mut skews: Vec<u64> = here?.into_iter().zip(there?).map(|(a, b)| skew(&[a, b])).collect();
    skews.sort_unstable();
    skews.get(ROUNDS / 2).copied()
}

#[derive(Serialize)]
struct Line {
    kind: &'static str,
    fit: bool,
    reason: Option<String>,
    clock_resolution_ns: u64,
    clock_cost_ns: u64,
    clock_backward: u32,
    hiccup_percent: u32,
    cpus: u32,
    cpu: Option<u32>,
    pinned: bool,
    free_kib: Option<u64>,
    load: Option<f64>,
    barrier_skew_ns: Option<u64>,
}
