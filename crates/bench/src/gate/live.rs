//! Gates on this machine, with hogs on all its CPUs.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use bench_gate::{Clock, Env, PairGate, PinError, Policy, Turn, Verdict, measure};

use super::Extent;
use super::rules::{TWO_SAMPLE, two_sigma};
use crate::measure::{cpus, median, pin};
use crate::report::Report;

/// Nanoseconds that nobody bends.
pub(super) struct RawClock;

impl Clock for RawClock {
    fn ticks(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicRaw);
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }

    fn hz(&self) -> u64 {
        1_000_000_000
    }
}

/// Where the thread runs; counters take longer to read than a sample to measure.
struct Here;

impl Env for Here {
    fn online(&self) -> u32 {
        1
    }

    fn cpu(&self) -> Option<u32> {
        u32::try_from(rustix::thread::sched_getcpu()).ok()
    }

    fn pin(&mut self, cpu: u32) -> Result<(), PinError> {
        pin(cpu as usize);
        Ok(())
    }

    fn disturbances(&self) -> Option<u64> {
        None
    }

    fn free_kib(&self) -> Option<u64> {
        None
    }
}

pub(super) fn run(report: &mut Report, extent: Extent) {
    let gates = match extent {
        Extent::Quick => 200,
        Extent::Usual => 1_000,
        Extent::Full => 10_000,
    };
    let loops = Work::calibrated(Kind::Loop);
    let chase = Work::calibrated(Kind::Chase);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // On each CPU one thread that never rests and one that moves memory.
        for cpu in 0..cpus() {
            let over = &over;
            scope.spawn(move || spin(cpu, over));
            scope.spawn(move || copy(cpu, over));
        }
        pin(cpus() - 1);
        report.table(format!(
            "gates under a busy loop and a memory hog on each of {} CPUs; samples of {:.0} us and {:.0} us",
            cpus(),
            loops.microseconds(),
            chase.microseconds()
        ));
        alarms(report, &loops, gates);
        let found = (gates / 10).max(60);
        power(report, &loops, "+3 %, CPU-bound", Policy::new().with_max_pairs(64), 30, found);
        power(report, &chase, "+3 %, memory-bound", Policy::new().with_max_pairs(256), 30, found);
        let narrow = Policy::new().with_margins(2_500, 10_000).with_max_pairs(64);
        power(report, &loops, "+1 %, zone 0.25 % to 1 %", narrow, 10, found);
        peers(report, &loops, found);
        over.store(true, Ordering::Relaxed);
    });
}

/// The same code on both sides.
fn alarms(report: &mut Report, work: &Work, gates: u32) {
    let (mut regressed, mut passed, mut pairs) = (0, 0, 0);
    for seed in 0..u64::from(gates) {
        let mut gate = PairGate::new(Policy::new(), seed).expect("a policy");
        let (a, b) = (|| work.once(0), || work.once(0));
        let found = measure(&mut gate, &RawClock, &Here, a, b, |_| {});
        match found.verdict {
            Verdict::Regressed { .. } => regressed += 1,
            Verdict::Pass { .. } => passed += 1,
            _ => {}
        }
        pairs += u64::from(found.pairs);
    }
    let share = 100.0 * f64::from(passed) / f64::from(gates);
    report.row(
        "no change",
        vec![
            ("gates", gates.into()),
            ("regressed", regressed.into()),
            ("passed, %", share),
            ("pairs", pairs as f64 / f64::from(gates)),
        ],
        false,
    );
    // What so few gates can show: of 1,000 one may be wrong.
    let most = (f64::from(gates) * 3.0 / 10_000.0).ceil();
    report.limit(format!("{gates} gates without a change: regressed"), regressed.into(), most);
}

fn power(report: &mut Report, work: &Work, name: &str, policy: Policy, permille: usize, gates: u32) {
    let (mut regressed, mut passed, mut pairs) = (0, 0, 0);
    for seed in 0..u64::from(gates) {
        let mut gate = PairGate::new(policy, seed).expect("a policy");
        let (a, b) = (|| work.once(0), || work.once(permille));
        let found = measure(&mut gate, &RawClock, &Here, a, b, |_| {});
        regressed += u32::from(matches!(found.verdict, Verdict::Regressed { .. }));
        passed += u32::from(matches!(found.verdict, Verdict::Pass { .. }));
        pairs += u64::from(found.pairs);
    }
    let share = 100.0 * f64::from(regressed) / f64::from(gates);
    let mean = pairs as f64 / f64::from(gates);
    report.row(
        name,
        vec![("gates", gates.into()), ("found, %", share), ("passed", passed.into()), ("pairs", mean)],
        false,
    );
    report.goal(format!("{name}: found in at most {} pairs, %", policy.max_pairs), share, 95.0);
}

/// Pairs that other rules see all of, and this gate until it has an answer.
fn peers(report: &mut Report, work: &Work, streams: u32) {
    const PAIRS: usize = 100;
    report.table(format!(
        "{streams} streams of {PAIRS} pairs under the same hogs; percent called regressed: without a change (all false), and slower by so much"
    ));
    let changes = [0, 30, 50];
    let mut hits = [[0_u32; 3]; 5];
    for (change, permille) in changes.into_iter().enumerate() {
        let mut means: Vec<f64> = Vec::new();
        for seed in 0..u64::from(streams) {
            let (baseline, candidate) = stream(work, permille, seed, PAIRS);
            let mut gate = PairGate::new(Policy::new().with_max_pairs(PAIRS as u16), seed).expect("a policy");
            for (a, b) in baseline.iter().zip(&candidate) {
                let _ = gate.push(*a, *b);
            }
            hits[0][change] += u32::from(matches!(gate.verdict(), Verdict::Regressed { .. }));
            let floats = |values: &[u64]| values.iter().map(|value| *value as f64).collect::<Vec<f64>>();
            let (a, b) = (floats(&baseline), floats(&candidate));
            // What it compares is one mean a night, the newest one against those before.
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            means.push(mean(&a));
            let last = &means[means.len().saturating_sub(30)..];
            let nights = [&last[..last.len() - 1], &[mean(&b)]].concat();
            hits[1][change] += u32::from(nights.len() >= 6 && two_sigma(&nights));
            for (hits, (_, rule)) in hits[2..].iter_mut().zip(TWO_SAMPLE) {
                hits[change] += u32::from(rule(&a, &b));
            }
        }
    }
    let names = ["this gate", "the original rule", "Welch", "Mann-Whitney", "criterion"];
    for (name, hits) in names.into_iter().zip(hits) {
        let share = |hits: u32| 100.0 * f64::from(hits) / f64::from(streams);
        report.row(
            name,
            vec![("no change", share(hits[0])), ("+3 %", share(hits[1])), ("+5 %", share(hits[2]))],
            false,
        );
    }
}

fn stream(work: &Work, permille: usize, seed: u64, pairs: usize) -> (Vec<u64>, Vec<u64>) {
    // Only for its coin.
    let mut coin = PairGate::new(Policy::new(), seed).expect("a policy");
    let (mut a, mut b) = (Vec::with_capacity(pairs), Vec::with_capacity(pairs));
    work.once(0);
    for index in 0..pairs as u64 {
        if coin.turn() == Turn::BaselineFirst {
            a.push(work.timed(0));
            b.push(work.timed(permille));
        } else {
            b.push(work.timed(permille));
            a.push(work.timed(0));
        }
        // Never decides.
        let _ = coin.push(100_000, if index % 4 < 2 { 110_000 } else { 100_000 });
    }
    (a, b)
}

#[derive(Clone, Copy)]
enum Kind {
    /// Multiplications, each of which waits for the one before.
    Loop,
    /// A walk through 8 MiB, each step of which waits for the memory.
    Chase,
}

/// Something that takes some tens of microseconds, and more by so many steps in a thousand.
struct Work {
    kind: Kind,
    steps: usize,
    next: Vec<u32>,
    at: Cell<u32>,
}

impl Work {
    fn calibrated(kind: Kind) -> Self {
        let length = match kind {
            Kind::Loop => 0,
            Kind::Chase => 2 << 20,
        };
        let mut work = Self { kind, steps: 2_000, next: cycle(length), at: Cell::new(0) };
        // What it takes when nothing else runs: the shortest of many.
        let shortest = (0..1000).map(|_| work.timed(0)).min().unwrap_or(1).max(1) as f64;
        // Far shorter than a thread's turn on a CPU, also when the hogs have made each step several times as long: the
        // two of a pair then find the caches in the same state, which longer samples do not even out.
        let wanted = match kind {
            Kind::Loop => 30_000.0,
            Kind::Chase => 10_000.0,
        };
        work.steps = ((2_000.0 * wanted / shortest) as usize).max(400);
        work
    }

    fn microseconds(&self) -> f64 {
        median((0..200).map(|_| self.timed(0) as f64).collect()) / 1e3
    }

    fn timed(&self, permille: usize) -> u64 {
        let start = RawClock.ticks();
        self.once(permille);
        RawClock.ticks() - start
    }

    fn once(&self, permille: usize) {
        // A hundredth of them more, for what a sample takes besides its steps: the whole of it is to be slower by no less.
        let steps = self.steps + (self.steps * permille).div_ceil(990);
        let mut at = self.at.get();
        match self.kind {
            Kind::Loop => {
                for _ in 0..steps {
                    at = black_box(at.wrapping_mul(0x9E37_79B1).wrapping_add(1));
                }
            }
            Kind::Chase => {
                for _ in 0..steps {
                    at = self.next[at as usize];
                }
            }
        }
        self.at.set(black_box(at));
    }
}

/// One cycle through all of so many words, in an order that no prefetcher guesses.
fn cycle(length: usize) -> Vec<u32> {
    let mut next: Vec<u32> = (0..length as u32).collect();
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    for index in (1..length).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Sattolo's shuffle: one cycle, not several.
        next.swap(index, (random >> 32) as usize % index);
    }
    next
}

fn spin(cpu: usize, over: &AtomicBool) {
    pin(cpu);
    let mut turn = 1_u64;
    while !over.load(Ordering::Relaxed) {
        turn = black_box(turn.wrapping_mul(3));
    }
}

fn copy(cpu: usize, over: &AtomicBool) {
    pin(cpu);
    let (from, mut to) = (vec![1_u8; 16 << 20], vec![0_u8; 16 << 20]);
    while !over.load(Ordering::Relaxed) {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_visits_everything_once() {
        let next = cycle(1000);
        let mut at = 0;
        let steps = (1..).find(|_| {
            at = next[at as usize];
            at == 0
        });
        assert_eq!(steps, Some(1000));
    }
}
