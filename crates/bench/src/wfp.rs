//! Transactions of the filter engine: how many a second, and how long one waits, on the model with commits of 1 ms.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use ebpf_windows::StdHost;
use parking_lot::{Mutex, RawMutex};
use wfp_txn::model::{Costs, Key, Kind, ModelEngine, Object};
use wfp_txn::{
    Access, Config, Grouped, OperationError, Policy, Prefix, Retrying, Serialized, Sessions, Strategy,
};

use crate::idle::{bare_transaction, grouped, serialized, transaction};
use crate::measure::{Contender, Stopwatch, find, median, pin, take_turns};
use crate::report::Report;

const COMMIT: Duration = Duration::from_millis(1);
const THREADS: [usize; 4] = [1, 2, 8, 32];
const STRATEGIES: [&str; 4] = ["serialized", "sessions", "grouped", "retry"];

type Model = ModelEngine<StdHost, RawMutex>;

pub(crate) fn run(report: &mut Report, turns: usize) {
    overhead(report, turns);
    // A turn of these takes a second: not as many.
    let turns = (turns / 8).max(1);
    for threads in THREADS {
        report.table(format!("transactions, {threads} threads, commits of 1 ms"));
        let mut rates: Vec<Vec<f64>> = vec![vec![]; STRATEGIES.len()];
        let mut waits: Vec<Waits> = vec![Waits::default(); STRATEGIES.len()];
        for turn in 0..turns {
            for index in 0..STRATEGIES.len() {
                // Each turn begins with another one.
                let which = (turn + index) % STRATEGIES.len();
                let (rate, waited) = contend(STRATEGIES[which], threads);
                rates[which].push(rate);
                waits[which].add(waited);
            }
        }
        for (index, name) in STRATEGIES.iter().enumerate() {
            let waits = &mut waits[index];
            waits.milliseconds.sort_by(f64::total_cmp);
            let figures = vec![
                ("ops/s", median(rates[index].clone())),
                ("p50 ms", waits.at(50)),
                ("p99 ms", waits.at(99)),
                ("max ms", waits.at(100)),
                ("max commits", waits.most_commits as f64),
            ];
            report.row(name, figures, false);
        }
        let ratios =
            rates[2].iter().zip(&rates[0]).map(|(grouped, serialized)| grouped / serialized).collect();
        let ratio = median(ratios);
        match threads {
            // Both sleep for the same millisecond; what differs beyond a part in fifty is theirs.
            1 => report.goal(
                "one thread: grouped beside serialized, not slower (within 2 %)",
                ratio / 0.98,
                1.0,
            ),
            32 => report.goal("32 threads: grouped beside serialized", ratio, 8.0),
            _ => {}
        }
        for index in [0, 2] {
            let allowed = (threads + 1) as f64 / waits[index].most_commits.max(1) as f64;
            report.goal(
                format!(
                    "{threads} threads, {}: nobody waits for more than threads + 1 commits",
                    STRATEGIES[index]
                ),
                allowed,
                1.0,
            );
        }
    }
}

#[derive(Clone, Default)]
struct Waits {
    milliseconds: Vec<f64>,
    /// Commits between the beginning and the end of one transaction, at most.
    most_commits: u64,
}

impl Waits {
    fn add(&mut self, other: Self) {
        self.milliseconds.extend(other.milliseconds);
        self.most_commits = self.most_commits.max(other.most_commits);
    }

    fn at(&self, percent: usize) -> f64 {
        self.milliseconds[(self.milliseconds.len() - 1) * percent / 100]
    }
}

fn contend(name: &str, threads: usize) -> (f64, Waits) {
    let engine = Model::new(StdHost::new(), Prefix::Kernel).with_costs(Costs::new().with_commit(COMMIT));
    // So that nobody is given up: what patience costs is what is measured.
    let policy = Policy::new().with_attempts(u32::MAX);
    let short = policy.with_delays(Duration::from_millis(1), Duration::from_millis(16));
    let config = Config::new().with_policy(policy);
    match name {
        "serialized" => {
            measure(&engine, &Serialized::<_, _, RawMutex>::new(&engine, StdHost::new(), config), threads)
        }
        "sessions" => {
            measure(&engine, &Sessions::<_, _, RawMutex, 4>::new(&engine, StdHost::new(), config), threads)
        }
        "grouped" => {
            measure(&engine, &Grouped::<_, _, RawMutex>::new(&engine, StdHost::new(), config), threads)
        }
        _ => measure(
            &engine,
            &Retrying::<_, _, RawMutex>::new(&engine, StdHost::new(), config.with_policy(short)),
            threads,
        ),
    }
}

/// Every thread adds a filter and deletes it again, as fast as it can, for as long as it takes for enough to have been done.
fn measure<'e, S>(engine: &'e Model, strategy: &S, threads: usize) -> (f64, Waits)
where
    S: Strategy<Engine = &'e Model> + Sync,
{
    let rounds = (128 / threads).max(16);
    let barrier = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let filter = Object::new(Kind::Filter, Key(thread as u64));
                    let mut waits = Waits::default();
                    barrier.wait();
                    for round in 0..rounds {
                        let (start, before) = (Instant::now(), engine.commits());
                        let done: Result<(), wfp_txn::Error<OperationError>> =
                            strategy.transact(Access::ReadWrite, |transaction| {
                                if round % 2 == 0 {
                                    transaction.add(&filter).map(drop)
                                } else {
                                    transaction.delete(&filter.id)
                                }
                            });
                        done.expect("a transaction goes well");
                        waits.most_commits = waits.most_commits.max(engine.commits() - before);
                        waits.milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
                    }
                    waits
                })
            })
            .collect();
        barrier.wait();
        let start = Instant::now();
        let mut waits = Waits::default();
        for worker in workers {
            waits.add(worker.join().expect("a worker ends well"));
        }
        ((threads * rounds) as f64 / start.elapsed().as_secs_f64(), waits)
    })
}

/// What the serializer itself costs when nobody else is there, beside a bare mutex around the same calls.
fn overhead(report: &mut Report, turns: usize) {
    report.table("one thread, an engine whose calls cost nothing: ns a transaction");
    pin(0);
    let bare = Mutex::new(());
    let (serialized, grouped) = (serialized(), grouped());
    let mut contenders = [
        Contender::new("bare mutex", || timed(|| bare_transaction(&bare))),
        Contender::new("serialized", || timed(|| transaction(&serialized))),
        Contender::new("grouped", || timed(|| transaction(&grouped))),
    ];
    let series = take_turns(&mut contenders, turns);
    report.nanoseconds("uncontended", &series);
    let share = find(&series, "serialized").nanoseconds() / COMMIT.as_nanos() as f64;
    report.row("of a commit of 1 ms, %", vec![("serialized", share * 100.0)], false);
}

fn timed(mut turn: impl FnMut()) -> f64 {
    const ROUNDS: u32 = 20_000;
    let watch = Stopwatch::start();
    for _ in 0..ROUNDS {
        turn();
    }
    watch.nanoseconds() / f64::from(ROUNDS)
}
