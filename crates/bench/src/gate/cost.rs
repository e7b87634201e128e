//! What the gate itself costs.

use std::hint::black_box;
use std::num::NonZeroU16;

use bench_gate::{Barrier, Clock, PairGate, Policy, Rule, skew};

use super::live::RawClock;
use crate::measure::{Contender, Stopwatch, cpus, find, pin, take_turns};
use crate::report::Report;

pub(super) fn run(report: &mut Report) {
    pin(0);
    report.table("a gate, nanoseconds of this thread");
    let mut contenders = [
        Contender::new("push, looks", || push(Rule::Looks)),
        Contender::new("push, bets", || push(Rule::Bets)),
        Contender::new("turn", turn),
    ];
    let series = take_turns(&mut contenders, 21);
    report.nanoseconds("each", &series);
    report.limit("a pair pushed into the gate, ns", find(&series, "push, looks").nanoseconds(), 5.0);
    report.limit("state of a gate, bytes", size_of::<PairGate>() as f64, 64.0);
    if cpus() >= 2
        && let Some(mut skews) = barrier_skews()
    {
        skews.sort_unstable();
        let at = |part: usize| skews[skews.len() * part / 100] as f64;
        report.row("barrier, two CPUs", vec![("p50", at(50)), ("p90", at(90)), ("p99", at(99))], false);
    }
}

/// Pairs that never decide, all of the pairs that a gate takes.
fn push(rule: Rule) -> f64 {
    const GATES: u64 = 200;
    let pairs: Vec<(u64, u64)> = (0..1024_u64)
        .map(|index| (100_000 + index % 7, if index % 4 < 2 { 110_000 } else { 100_000 }))
        .collect();
    let policy = Policy::new().with_rule(rule);
    let watch = Stopwatch::start();
    for seed in 0..GATES {
        let mut gate = PairGate::new(black_box(policy), seed).expect("a policy");
        for (baseline, candidate) in black_box(&pairs) {
            let _ = gate.push(*baseline, *candidate);
        }
        assert_eq!(black_box(gate).report().pairs, 1024, "it must not have decided");
    }
    watch.nanoseconds() / (GATES * 1024) as f64
}

fn turn() -> f64 {
    const TURNS: u64 = 200_000;
    let gate = PairGate::new(Policy::new(), 1).expect("a policy");
    let watch = Stopwatch::start();
    for _ in 0..TURNS {
        black_box(black_box(&gate).turn());
    }
    watch.nanoseconds() / TURNS as f64
}

fn barrier_skews() -> Option<Vec<u64>> {
    const ROUNDS: usize = 2_000;
    let barrier = Barrier::new();
    let two = NonZeroU16::new(2)?;
    let leave = |cpu| {
        pin(cpu);
        let patience = RawClock.hz();
        (0..ROUNDS)
            .map(|_| barrier.wait(two, &RawClock, patience).ok().map(|passed| passed.at))
            .collect::<Option<Vec<u64>>>()
    };
    std::thread::scope(|scope| {
        let threads = [0, 1].map(|cpu| scope.spawn(move || leave(cpu)));
        let [a, b] = threads.map(|thread| thread.join().ok().flatten());
        Some(a?.into_iter().zip(b?).map(|(a, b)| skew(&[a, b])).collect())
    })
}
