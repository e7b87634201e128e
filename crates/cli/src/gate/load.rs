//! `gate load`: this project's own path from the bytes of an object to programs that can run.

use std::io;

use bench_gate::{Env, Fitness, Needs, Reason, Verdict, measure};
use ebpf_loader::{Instruction, Object, Platform};
use ebpf_vm::Vm;
use serde::Serialize;

use super::judge::Judge;
use super::machine::{Host, HostClock, Switches, quiet_cpu};
use super::{Answer, draw, plot, policy, usage};
use crate::args::GateLoad;
use crate::console::{Console, FAINT, Status};
use crate::source::{self, file_name};
use crate::{MAPS, PROGRAMS};

/// The object of the project's own story, for who names none.
const BUILT_IN: &[u8] = include_bytes!("../../programs/maps.bpf.o");

pub(super) fn load(arguments: &GateLoad, console: &mut Console<'_>) -> io::Result<Status> {
    let (name, data) = match &arguments.object {
        None => ("maps".to_owned(), BUILT_IN.to_vec()),
        Some(path) => match source::read(path) {
            Ok(data) => (file_name(path), data),
            Err(error) => return usage(&path.to_string_lossy(), error, console),
        },
    };
    let baseline = match &arguments.baseline {
        None => (name.clone(), data.clone()),
        Some(path) => match source::read(path) {
            Ok(data) => (file_name(path), data),
            Err(error) => return usage(&path.to_string_lossy(), error, console),
        },
    };
    let sides = Sides { baseline, candidate: (name, data) };
    let mut needs = Needs::new();
    if let Some(cpu) = arguments.cpu.or_else(quiet_cpu) {
        needs = needs.with_pin(cpu);
    }
    let clock = HostClock::new();
    if let Err(reason) = Fitness::examine(&clock, &mut Host::new(), &needs).check(&needs) {
        return Answer::unfit("load", reason, "gate self-test says more".to_owned()).print(console);
    }
    let embedded = sides.judged("load on the embedded machine", &Vm::new(), &clock, arguments, console)?;
    #[cfg(target_os = "linux")]
    let kernel = sides.judged("load on the kernel", &ebpf_linux::Linux, &clock, arguments, console)?;
    #[cfg(not(target_os = "linux"))]
    let kernel = Status::Done;
    Ok(embedded.max(kernel))
}

struct Sides {
    baseline: (String, Vec<u8>),
    candidate: (String, Vec<u8>),
}

impl Sides {
    fn judged<P: Platform>(
        &self,
        subject: &str,
        platform: &P,
        clock: &HostClock,
        arguments: &GateLoad,
        console: &mut Console<'_>,
    ) -> io::Result<Status> {
        // Where it is not allowed nothing can be measured, and nothing is wrong.
        for side in [&self.baseline, &self.candidate] {
            if let Err(error) = loaded(platform, side) {
                if console.json() {
                    console.line(&Skipped { kind: "skipped", subject, reason: &error })?;
                } else {
                    console.text(format_args!("{subject}: {FAINT}skipped: {error}{FAINT:#}\n"))?;
                }
                return Ok(Status::Done);
            }
        }
        let policy = match policy(&arguments.policy) {
            Ok(policy) => policy,
            Err(error) => return usage("gate load", error, console),
        };
        let mut judge = match Judge::new(policy, arguments.policy.seed) {
            Ok(judge) => judge,
            Err(error) => return usage("gate load", error, console),
        };
        let mut gate = judge.gate;
        let mut failed = None;
        let mut times = Vec::new();
        let mut load = |side: &(String, Vec<u8>)| {
            if let Err(error) = loaded(platform, side) {
                failed = Some(error);
            }
        };
        let before = Switches::of_this_thread();
        let load = std::cell::RefCell::new(&mut load);
        let report = measure(
            &mut gate,
            clock,
            &Quiet(Host::new()),
            || (load.borrow_mut())(&self.baseline),
            || (load.borrow_mut())(&self.candidate),
            |pair| {
                times.push(pair.candidate);
                judge.see(pair);
            },
        );
        let switches = before.zip(Switches::of_this_thread()).map(|(before, after)| after.since(before));
        judge.gate = gate;
        if let Some(error) = failed {
            return Answer::unfit(subject, Reason::Failed, error).print(console);
        }
        draw(arguments.plot.as_deref(), console, |path| plot::pairs(path, subject, &report, &judge.pairs))?;
        times.sort_unstable();
        let median_us = times.get(times.len() / 2).copied().unwrap_or(0) as f64 / 1e3;
        let mut answer = Answer::of_pairs(subject, &report, &judge.spread, &judge.gate);
        answer.detail = format!("{median_us:.1} us a load; {}", answer.detail);
        // What loads in memory has nobody to wait for.
        if let Some(Switches { voluntary, involuntary }) = switches {
            answer.detail += &format!(
                "; in {} loads the thread left the CPU {voluntary} times by itself, {involuntary} times pushed aside",
                judge.pairs.len().saturating_mul(2)
            );
        }
        if arguments.baseline.is_none() && matches!(answer.verdict, Verdict::Regressed { .. }) {
            answer.verdict = Verdict::Unfit(Reason::Preflight);
        }
        answer.print(console)
    }
}

/// Opens and loads, and lets go of everything.
fn loaded<P: Platform>(platform: &P, (name, data): &(String, Vec<u8>)) -> Result<(), String> {
    let object = Object::<'_, PROGRAMS, MAPS>::open_named(name, data).map_err(|error| error.to_string())?;
    let length = object.scratch_len().map_err(|error| error.to_string())?;
    let mut scratch = vec![Instruction::default(); length];
    object.on(platform).load(&mut scratch).map_err(|error| error.to_string())
}

/// The thread's CPU, and no counters: reading them takes longer than what is measured. They are read before the first pair and after the last one.
struct Quiet(Host);

impl Env for Quiet {
    fn online(&self) -> u32 {
        self.0.online()
    }

    fn cpu(&self) -> Option<u32> {
        self.0.cpu()
    }

    fn pin(&mut self, cpu: u32) -> Result<(), bench_gate::PinError> {
        self.0.pin(cpu)
    }

    fn disturbances(&self) -> Option<u64> {
        None
    }

    fn free_kib(&self) -> Option<u64> {
        None
    }
}

#[derive(Serialize)]
struct Skipped<'a> {
    kind: &'static str,
    subject: &'a str,
    reason: &'a str,
}
