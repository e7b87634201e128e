//! The machine: beside rbpf's interpreter, beside compilers to machine code, and how its prices grow.

mod example;
#[cfg(feature = "kernel")]
mod kernel;
mod ours;
mod peer;
mod programs;

use std::hint::black_box;

use crate::measure::{Contender, Series, Stopwatch, find, pin, take_turns};
use crate::report::Report;
use ours::Ours;
use peer::Peer;
use programs::Workload;

pub(crate) fn run(report: &mut Report, turns: usize, filter: &str) {
    pin(0);
    report.table("the same programs: nanoseconds per instruction executed");
    let workloads = [
        programs::alu(),
        programs::memory(),
        programs::array_lookup(),
        programs::hash_lookup(),
        programs::ring_output(),
        example::workload(),
    ];
    for workload in workloads.iter().filter(|workload| workload.name.contains(filter)) {
        beside(report, turns, workload);
    }
    if filter.is_empty() {
        entry(report, turns);
        regions(report, turns);
        runs_grow(report, turns);
        validation_grows(report, turns);
    }
}

/// One program on every machine. All must return the same and leave as many bytes in the ring.
fn beside(report: &mut Report, turns: usize, workload: &Workload) {
    let mut own = Ours::new(&workload.maps, &workload.code);
    let mut peer = Peer::new(&workload.maps, &workload.code);
    let (returned, executed) = own.run();
    assert_eq!(executed, workload.executed, "{}", workload.name);
    assert_eq!((returned, peer.run()), (0, 0), "{}", workload.name);
    assert_eq!(peer.drain(), own.drain(), "{}", workload.name);

    let runs = (200_000 / executed).clamp(4, 10_000);
    let mut contenders = vec![
        Contender::new("ours", || per_instruction(executed, runs, &mut own, |own| own.run().0, Ours::drain)),
        Contender::new("rbpf", || per_instruction(executed, runs, &mut peer, Peer::run, Peer::drain)),
    ];
    // What rbpf compiles calls helpers with a stack that is not aligned: they crash where the compiler uses vector moves.
    if workload.maps.is_empty() {
        let mut compiled = Peer::new(&workload.maps, &workload.code);
        compiled.compile();
        assert_eq!(compiled.run_compiled(), returned, "{}", workload.name);
        contenders.push(Contender::new("rbpf JIT", move || {
            per_instruction(executed, runs, &mut compiled, Peer::run_compiled, Peer::drain)
        }));
    }
    #[cfg(feature = "kernel")]
    match kernel::Kernel::new(&workload.maps, &workload.code) {
        Ok(mut kernel) => contenders
            .push(Contender::new("kernel JIT", move || kernel.nanoseconds_per_run() / executed as f64)),
        Err(why) => report.skip(format!("{} on the kernel: {why}", workload.name)),
    }
    let series = take_turns(&mut contenders, turns);
    drop(contenders);
    report.nanoseconds(workload.name, &series);
    let ratio = find(&series, "ours").against(find(&series, "rbpf"));
    report.goal(format!("{}: rbpf's interpreter", workload.name), ratio, 4.0);
}

/// Nanoseconds per instruction of so many runs; rings are emptied outside of the time, before they are full.
fn per_instruction<M>(
    executed: u64,
    runs: u64,
    machine: &mut M,
    run: impl Fn(&mut M) -> u64,
    drain: impl Fn(&M) -> usize,
) -> f64 {
    let mut nanoseconds = 0.0;
    // Of a ring of a megabyte, what is taken at most before it is emptied is far from the whole.
    let batch = 40;
    let mut left = runs;
    while left > 0 {
        let now = left.min(batch);
        let watch = Stopwatch::start();
        for _ in 0..now {
            black_box(run(machine));
        }
        nanoseconds += watch.nanoseconds();
        drain(machine);
        left -= now;
    }
    nanoseconds / (executed * runs) as f64
}

/// What it costs to begin and to end.
fn entry(report: &mut Report, turns: usize) {
    const ROUNDS: u32 = 20_000;
    report.table("a program that returns at once: nanoseconds per run");
    let code = programs::straight(2);
    let (mut own, mut peer) = (Ours::new(&[], &code), Peer::new(&[], &code));
    let mut contenders = [
        Contender::new("ours", || timed(ROUNDS, || black_box(&mut own).run().0)),
        Contender::new("rbpf", || timed(ROUNDS, || black_box(&mut peer).run())),
    ];
    let series = take_turns(&mut contenders, turns);
    report.nanoseconds("entry", &series);
    report.limit("entry: nanoseconds of the 20 allowed", find(&series, "ours").nanoseconds() / 20.0, 1.0);
}

fn timed(rounds: u32, mut turn: impl FnMut() -> u64) -> f64 {
    let watch = Stopwatch::start();
    for _ in 0..rounds {
        black_box(turn());
    }
    watch.nanoseconds() / f64::from(rounds)
}

/// Sixteen values of one map, or of sixteen.
fn regions(report: &mut Report, turns: usize) {
    report.table("sixteen loads a turn from values of one map, or of sixteen: nanoseconds per instruction");
    let [one, sixteen] = [programs::regions(1), programs::regions(16)];
    let mut one = Ours::new(&one.maps, &one.code);
    let mut sixteen = Ours::new(&sixteen.maps, &sixteen.code);
    let measure = |own: &mut Ours| {
        let executed = own.run().1;
        per_instruction(executed, 8, own, |own| own.run().0, Ours::drain)
    };
    let mut contenders =
        [Contender::new("one", || measure(&mut one)), Contender::new("sixteen", || measure(&mut sixteen))];
    let series = take_turns(&mut contenders, turns);
    report.nanoseconds("regions", &series);
    let ratio = find(&series, "one").against(find(&series, "sixteen"));
    report.limit("memory of sixteen regions beside one", ratio, 2.0);
}

/// Straight-line programs of one to a million instructions.
const LENGTHS: [usize; 7] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000];

fn runs_grow(report: &mut Report, turns: usize) {
    let mut programs: Vec<_> =
        LENGTHS.iter().map(|length| Ours::new(&[], &programs::straight(*length))).collect();
    let mut contenders: Vec<_> = programs
        .iter_mut()
        .map(|program| {
            Contender::new("run", move || {
                let rounds = u32::try_from(200_000 / program.run().1).unwrap_or(0).max(1);
                timed(rounds, || program.run().0)
            })
        })
        .collect();
    let series = take_turns(&mut contenders, turns);
    grows(report, "running", "runs of straight-line code: nanoseconds per instruction", &series);
}

fn validation_grows(report: &mut Report, turns: usize) {
    let vm = ours::machine();
    let codes: Vec<_> = LENGTHS.iter().map(|length| programs::straight(*length)).collect();
    let mut contenders: Vec<_> = codes
        .iter()
        .map(|code| {
            let vm = &vm;
            Contender::new("validate", move || {
                let rounds = u32::try_from(200_000 / code.len()).unwrap_or(0).max(1);
                timed(rounds, || ours::load(vm, code).instructions() as u64)
            })
        })
        .collect();
    let series = take_turns(&mut contenders, turns);
    grows(report, "validating", "validating straight-line code: nanoseconds per instruction", &series);
}

/// From a thousand instructions on, what begins and ends no longer counts: then the price of one stays the same, but for the cache.
fn grows(report: &mut Report, what: &str, title: &str, series: &[Series]) {
    report.table(title);
    let each = |(length, series): (&usize, &Series)| series.microseconds() * 1e3 / *length as f64;
    let prices: Vec<f64> = LENGTHS.iter().zip(series).map(each).collect();
    let names = ["1", "10", "100", "1000", "10 000", "100 000", "1 000 000"];
    report.row(what, names.into_iter().zip(prices.iter().copied()).collect(), false);
    report.limit(
        format!("{what}: a million instructions beside a thousand, each"),
        prices[6] / prices[3],
        2.0,
    );
}
