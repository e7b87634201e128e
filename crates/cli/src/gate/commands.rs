//! `gate run`: two commands in turn, or two workers that answer with a time.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bench_gate::{Clock, Fitness, Needs, Pair, Policy, Reason, Step, Threshold, Turn, Verdict, VoidReason};

use super::judge::Judge;
use super::machine::{Host, HostClock, Switches, quiet_cpu};
use super::series::Series;
use super::{Answer, draw, plot, policy, usage};
use crate::args::GateRun;
use crate::console::{Console, Status};

/// Pairs of the baseline against itself, before anything else.
const PREFLIGHT_PAIRS: u16 = 64;
/// Pairs of one launch of two workers: what lies where in memory stays the same for as long.
const LAUNCH_PAIRS: usize = 8;

pub(super) fn run(arguments: &GateRun, console: &mut Console<'_>) -> io::Result<Status> {
    let policy = match policy(&arguments.policy) {
        Ok(policy) => policy,
        Err(error) => return usage("gate run", error, console),
    };
    let (Some(baseline), Some(candidate)) = (words(&arguments.baseline), words(&arguments.candidate)) else {
        return usage("gate run", "a command is empty, or its quotes do not match", console);
    };
    let subject = arguments.name.clone().unwrap_or_else(|| arguments.candidate.clone());
    let clock = HostClock::new();
    let mut needs = Needs::new();
    if let Some(cpu) = arguments.cpu.or_else(quiet_cpu).filter(|_| !arguments.no_pin) {
        needs = needs.with_pin(cpu);
    }
    // Children stay where this thread is.
    if let Err(reason) = Fitness::examine(&clock, &mut Host::new(), &needs).check(&needs) {
        return Answer::unfit(&subject, reason, "gate self-test says more".to_owned()).print(console);
    }
    let session =
        Session { clock, seed: arguments.policy.seed, turns: arguments.turns, warm_up: arguments.warm_up };
    let sides = [&baseline, &candidate].map(Vec::as_slice);
    match session.judged(&subject, policy, sides, arguments, console) {
        Ok(status) => status,
        Err(Broken::NotStarted(command, error)) => usage(&command, error, console),
        Err(broken) => Answer::unfit(&subject, Reason::Failed, broken.to_string()).print(console),
    }
}

fn words(command: &str) -> Option<Vec<String>> {
    shlex::split(command).filter(|words| !words.is_empty())
}

/// What all comparisons of one call have in common.
struct Session {
    clock: HostClock,
    seed: u64,
    turns: bool,
    warm_up: u16,
}

impl Session {
    fn judged(
        &self,
        subject: &str,
        mut policy: Policy,
        sides: [&[String]; 2],
        arguments: &GateRun,
        console: &mut Console<'_>,
    ) -> Result<io::Result<Status>, Broken> {
        if !arguments.no_preflight {
            let [baseline, _] = sides;
            let pairs = policy.max_pairs.min(PREFLIGHT_PAIRS);
            let preflight = self.compared(policy.with_max_pairs(pairs), [baseline, baseline], true)?;
            let fault = match preflight.judge.gate.verdict() {
                Verdict::Regressed { .. } => Some(Verdict::Unfit(Reason::Preflight)),
                Verdict::Unfit(reason) => Some(Verdict::Unfit(reason)),
                // So few pairs guess badly at how many it takes: only what is hopeless ends here.
                Verdict::TooNoisy { pairs_needed } if pairs_needed / 4 > policy.max_pairs.into() => {
                    Some(Verdict::TooNoisy { pairs_needed })
                }
                _ => None,
            };
            if let Some(verdict) = fault {
                let report = preflight.judge.gate.report();
                let detail = format!("the baseline against itself: {report}");
                return Ok(Answer { subject, verdict, detail, pairs: None }.print(console));
            }
            match preflight.threshold.adapt(policy) {
                Ok(adapted) => policy = adapted,
                Err(error) => {
                    let verdict = Verdict::TooNoisy { pairs_needed: u32::MAX };
                    let detail = format!("the baseline against itself, launch by launch: {error}");
                    return Ok(Answer { subject, verdict, detail, pairs: None }.print(console));
                }
            }
        }
        let compared = self.compared(policy, sides, false)?;
        let judge = &compared.judge;
        let report = judge.gate.report();
        let mut answer = Answer::of_pairs(subject, &report, &judge.spread, &judge.gate);
        if compared.switches != Switches::default() {
            let Switches { voluntary, involuntary } = compared.switches;
            answer.detail += &format!(
                "; the candidate left the CPU {voluntary} times by itself, {involuntary} times pushed aside"
            );
        }
        if let Some(prefix) = &arguments.save
            && let Err(error) = save(prefix, sides, judge, self.seed)
        {
            return Ok(usage(&prefix.to_string_lossy(), error, console));
        }
        let drawn = draw(arguments.plot.as_deref(), console, |path| {
            plot::pairs(path, subject, &report, &judge.pairs)
        });
        Ok(drawn.and_then(|()| answer.print(console)))
    }

    /// Pairs until the gate has an answer. With `launches` it goes on for eight launches at least, to know how they differ.
    fn compared(&self, policy: Policy, sides: [&[String]; 2], launches: bool) -> Result<Compared, Broken> {
        let judge = Judge::new(policy, self.seed).map_err(|error| Broken::Answer(error.to_string()))?;
        let mut compared = Compared { judge, switches: Switches::default(), threshold: Threshold::new() };
        if self.turns {
            self.by_turns(&mut compared, sides, launches)?;
        } else {
            self.by_processes(&mut compared, sides)?;
        }
        Ok(compared)
    }

    fn by_processes(
        &self,
        compared: &mut Compared,
        [baseline, candidate]: [&[String]; 2],
    ) -> Result<(), Broken> {
        for _ in 0..self.warm_up {
            let _ = (self.whole(baseline)?, self.whole(candidate)?);
        }
        let mut step = Step::More;
        while step == Step::More {
            let turn = compared.judge.gate.turn();
            let (first, second) = match turn {
                Turn::BaselineFirst => (baseline, candidate),
                _ => (candidate, baseline),
            };
            let slept = suspended();
            let (first, second) = (self.whole(first)?, self.whole(second)?);
            let (baseline, candidate) =
                if turn == Turn::BaselineFirst { (first, second) } else { (second, first) };
            let void = (suspended() != slept).then_some(VoidReason::Suspended);
            compared.switches.voluntary = compared.switches.voluntary.saturating_add(candidate.1.voluntary);
            compared.switches.involuntary =
                compared.switches.involuntary.saturating_add(candidate.1.involuntary);
            step = compared.judge.push(Pair::new(baseline.0, candidate.0, turn, void));
        }
        Ok(())
    }

    /// Runs a command to its end: nanoseconds, and how often it left the CPU.
    fn whole(&self, command: &[String]) -> Result<(u64, Switches), Broken> {
        let name = || command.join(" ");
        let mut process = prepared(command);
        process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let start = self.clock.ticks();
        let mut child = process.spawn().map_err(|error| Broken::NotStarted(name(), error))?;
        let switches = ended(&child);
        let ticks = self.clock.ticks().saturating_sub(start);
        let status = child.wait().map_err(|error| Broken::NotStarted(name(), error))?;
        if status.success() { Ok((ticks, switches)) } else { Err(Broken::Failed(name(), status.to_string())) }
    }

    fn by_turns(
        &self,
        compared: &mut Compared,
        [baseline, candidate]: [&[String]; 2],
        launches: bool,
    ) -> Result<(), Broken> {
        let mut launch = 0_u32;
        while !compared.judge.gate.is_over() || (launches && launch < 8) {
            let mut workers = [Worker::start(baseline)?, Worker::start(candidate)?];
            for _ in 0..self.warm_up.max(1) {
                for worker in &mut workers {
                    let _ = worker.turn()?;
                }
            }
            let mut differences = Vec::new();
            for _ in 0..LAUNCH_PAIRS {
                let turn = compared.judge.gate.turn();
                let [first, second] = &mut workers;
                let (baseline, candidate) = if turn == Turn::BaselineFirst {
                    let baseline = first.turn()?;
                    (baseline, second.turn()?)
                } else {
                    let candidate = second.turn()?;
                    (first.turn()?, candidate)
                };
                if compared.judge.gate.is_over() && !launches {
                    break;
                }
                let _: Step = compared.judge.push(Pair::new(baseline, candidate, turn, None));
                differences.push(difference_ppm(baseline, candidate));
            }
            differences.sort_unstable();
            compared.threshold.push(differences.get(differences.len() / 2).copied().unwrap_or(0));
            launch = launch.saturating_add(1);
        }
        Ok(())
    }
}

/// What a comparison has found.
struct Compared {
    judge: Judge,
    /// Of the candidate, all pairs together.
    switches: Switches,
    /// How launches of workers differ.
    threshold: Threshold,
}

fn difference_ppm(baseline: u64, candidate: u64) -> i32 {
    let difference = i128::from(candidate).saturating_sub(baseline.into()).saturating_mul(1_000_000);
    let ppm = difference.checked_div(baseline.into()).unwrap_or(i128::MAX);
    i32::try_from(ppm).unwrap_or(i32::MAX)
}

fn prepared(words: &[String]) -> Command {
    let (program, arguments) =
        words.split_first().map_or(("", words), |(first, rest)| (first.as_str(), rest));
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Waits for the end of a process without taking it away, so that it can still be asked.
#[cfg(target_os = "linux")]
fn ended(child: &Child) -> Switches {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // Where that fails the caller waits, and reports.
    let _ = pid.map(|pid| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
    Switches::of_process(child.id()).unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn ended(_: &Child) -> Switches {
    Switches::default()
}

/// How long the machine has slept since it was started, in seconds.
fn suspended() -> i64 {
    #[cfg(target_os = "linux")]
    {
        use rustix::time::{ClockId, clock_gettime};
        let (all, awake) = (clock_gettime(ClockId::Boottime), clock_gettime(ClockId::Monotonic));
        // Read one after the other: less than half a second apart is not asleep.
        let nanoseconds = |time: rustix::time::Timespec| {
            i128::from(time.tv_sec).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.into())
        };
        let asleep = nanoseconds(all).saturating_sub(nanoseconds(awake)).saturating_add(500_000_000);
        i64::try_from(asleep.div_euclid(1_000_000_000)).unwrap_or(0)
    }
    #[cfg(not(target_os = "linux"))]
    0
}

/// A process that, for each line it reads, does its work once and answers with the time it took, in ticks of whatever clock both sides use.
struct Worker {
    name: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn start(command: &[String]) -> Result<Self, Broken> {
        let name = command.join(" ");
        let mut process = prepared(command);
        process.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = process.spawn().map_err(|error| Broken::NotStarted(name.clone(), error))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Self { name, child, input, output: BufReader::new(output) }),
            _ => Err(Broken::Answer(format!("{name}: no pipes"))),
        }
    }

    fn turn(&mut self) -> Result<u64, Broken> {
        let mut line = String::new();
        let asked = self.input.write_all(b"\n").and_then(|()| self.input.flush());
        let answered = asked.and_then(|()| self.output.read_line(&mut line));
        match (answered, line.trim().parse()) {
            (Ok(_), Ok(ticks)) => Ok(ticks),
            (Ok(0), _) | (Err(_), _) => {
                let status =
                    self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(Broken::Failed(self.name.clone(), format!("ended between turns, {status}")))
            }
            (Ok(_), Err(_)) => Err(Broken::Answer(format!("{}: `{}` is no time", self.name, line.trim()))),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Whatever it still does, nobody asks for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Why there are no pairs.
enum Broken {
    NotStarted(String, io::Error),
    Failed(String, String),
    Answer(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(command, error) => write!(f, "`{command}`: {error}"),
            Self::Failed(command, how) => write!(f, "`{command}`: {how}"),
            Self::Answer(what) => f.write_str(what),
        }
    }
}

/// Stores both sides, so that `gate compare` says the same again.
fn save(prefix: &Path, sides: [&[String]; 2], judge: &Judge, seed: u64) -> Result<(), String> {
    let [baseline, candidate] = sides;
    for (side, words, ticks) in [
        ("baseline", baseline, (|pair: &Pair| pair.baseline) as fn(&Pair) -> u64),
        ("candidate", candidate, |pair| pair.candidate),
    ] {
        let mut name = prefix.as_os_str().to_owned();
        name.push(format!(".{side}.json"));
        let series = Series {
            name: words.join(" "),
            unit: "ns".to_owned(),
            interleaved: Some(seed),
            // Exact up to 2⁵³ ns, which is 104 days.
            values: judge
                .pairs
                .iter()
                .filter(|pair| pair.void.is_none())
                .map(|pair| ticks(pair) as f64)
                .collect(),
        };
        let text = serde_json::to_string(&series).map_err(|error| error.to_string())?;
        std::fs::write(&name, text + "\n").map_err(|error| format!("{}: {error}", name.display()))?;
    }
    Ok(())
}
