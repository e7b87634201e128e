//! Machines and samples that nobody would want.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use std::cell::{Cell, RefCell};
use std::num::{NonZeroU16, NonZeroU64};

use bench_gate::{
    Barrier, Better, Clock, Env, Fitness, History, HistoryPolicy, HistoryPolicyError, Needs, PairGate,
    PinError, Policy, PolicyError, Reason, Rule, Spread, Step, Verdict, VoidReason, measure, skew,
};

/// Gives these values in turn, the last one for ever.
struct Script(RefCell<Vec<u64>>);

impl Script {
    fn new(values: &[u64]) -> Self {
        Self(RefCell::new(values.iter().rev().copied().collect()))
    }
}

impl Clock for Script {
    fn ticks(&self) -> u64 {
        let mut values = self.0.borrow_mut();
        if values.len() > 1 { values.pop().unwrap() } else { values[0] }
    }

    fn hz(&self) -> u64 {
        1_000_000_000
    }
}

/// A clock that goes on by itself.
struct Running(Cell<u64>, u64);

impl Clock for Running {
    fn ticks(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(self.1));
        self.0.get()
    }

    fn hz(&self) -> u64 {
        1_000_000_000
    }
}

#[derive(Default)]
struct Machine {
    cpu: Cell<u32>,
    moves: bool,
    disturbs: bool,
    disturbances: Cell<u64>,
    refuses: bool,
    free_kib: Option<u64>,
}

impl Env for Machine {
    fn online(&self) -> u32 {
        2
    }

    fn cpu(&self) -> Option<u32> {
        if self.moves {
            self.cpu.set(self.cpu.get() + 1);
        }
        Some(self.cpu.get())
    }

    fn pin(&mut self, cpu: u32) -> Result<(), PinError> {
        if self.refuses {
            Err(PinError::new(cpu))
        } else {
            self.cpu.set(cpu);
            Ok(())
        }
    }

    fn disturbances(&self) -> Option<u64> {
        if self.disturbs {
            self.disturbances.set(self.disturbances.get() + 1);
        }
        Some(self.disturbances.get())
    }

    fn free_kib(&self) -> Option<u64> {
        self.free_kib
    }
}

fn gate() -> PairGate {
    PairGate::new(Policy::new(), 3).unwrap()
}

fn after(pair: (u64, u64)) -> Verdict {
    let mut gate = gate();
    while !gate.is_over() {
        let _ = gate.push(pair.0, pair.1);
    }
    gate.verdict()
}

#[test]
fn policies_that_are_none_are_refused_with_their_values() {
    let policy = Policy::new();
    for (policy, error) in [
        (policy.with_margins(10, 10), PolicyError::Margins { tolerated_ppm: 10, forbidden_ppm: 10 }),
        (policy.with_max_pairs(15), PolicyError::Pairs { max_pairs: 15 }),
        (policy.with_max_pairs(1025), PolicyError::Pairs { max_pairs: 1025 }),
        (policy.with_max_void_percent(91), PolicyError::Void { max_void_percent: 91 }),
    ] {
        assert_eq!(PairGate::new(policy, 0), Err(error));
        assert!(!error.to_string().is_empty());
    }
    assert!(policy.with_rule(Rule::Bets).with_max_pairs(u16::MAX).check().is_ok());
    assert_eq!(
        History::<11>::new(HistoryPolicy::new()).unwrap_err(),
        HistoryPolicyError::Window { window: 11, newest: 4, trimmed: 2 }
    );
    assert!(History::<0>::new(HistoryPolicy::new()).is_err());
    assert!(History::<255>::new(HistoryPolicy::new().with_newest(0)).is_err());
    assert!(History::<36>::new(HistoryPolicy::new().with_margins(5, 4)).is_err());
}

#[test]
fn nothing_is_no_answer() {
    assert_eq!(gate().verdict(), Verdict::TooNoisy { pairs_needed: u32::MAX });
    assert_eq!(gate().report().pairs, 0);
    let history = History::<36>::new(HistoryPolicy::new()).unwrap();
    assert_eq!(history.judge().verdict, Verdict::Unfit(Reason::TooFewRuns));
    assert!(history.is_empty());
    assert_eq!((Spread::new().median_ppm(), Spread::new().sigma_ppm()), (None, None));
    assert_eq!(Spread::new().bounds_ppm(&gate()), (None, None));
    assert_eq!(skew(&[]), 0);
}

#[test]
fn zeros_and_the_largest_values_are_samples_like_any() {
    assert_eq!(after((0, 0)), Verdict::Unfit(Reason::TooShort));
    assert_eq!(after((0, u64::MAX)), Verdict::Unfit(Reason::TooShort));
    assert_eq!(after((u64::MAX, 0)), Verdict::Unfit(Reason::TooShort));
    assert_eq!(after((u64::MAX, u64::MAX)), Verdict::Pass { upper_ppm: 30_000 });
    assert_eq!(after((u64::MAX / 102 * 100, u64::MAX / 100 * 98)), Verdict::Pass { upper_ppm: 30_000 });
    assert_eq!(after((u64::MAX / 103 * 100, u64::MAX)), Verdict::Regressed { lower_ppm: 10_000 });
    let mut spread = Spread::new();
    for pair in [(0, 0), (0, 1), (u64::MAX, 0), (1, u64::MAX), (u64::MAX, u64::MAX)] {
        spread.push(pair.0, pair.1);
    }
    // 0 has no ratio.
    assert!(spread.median_ppm().is_some_and(|median| median.abs() < 2_000), "{:?}", spread.median_ppm());
    for value in [0, u64::MAX] {
        for better in [Better::Lower, Better::Higher] {
            let mut history = History::<36>::new(HistoryPolicy::new().with_better(better)).unwrap();
            (0..36).for_each(|_| history.push(value));
            let expected = if value == 0 { "unfit" } else { "pass" };
            assert_eq!(history.judge().verdict.name(), expected, "{:?}", history.judge());
        }
    }
}

#[test]
fn samples_of_few_ticks_prove_nothing() {
    // 2 % between the margins: 400 ticks are needed.
    assert_eq!(Policy::new().shortest_sample(), 400);
    assert_eq!(after((399, 399)), Verdict::Unfit(Reason::TooShort));
    assert_eq!(after((400, 400)), Verdict::Pass { upper_ppm: 30_000 });
}

#[test]
fn what_took_turns_with_something_is_no_sequence_of_coins() {
    // Slower by 2 %, and by 0 %, in turn: always the same side of the coin in step with it.
    let mut gate = gate();
    let mut pairs = 0_u64;
    while !gate.is_over() {
        pairs += 1;
        let _ = gate.push(1_000_000, if pairs.is_multiple_of(2) { 1_040_000 } else { 1_000_000 });
    }
    assert_eq!((gate.verdict(), pairs), (Verdict::Unfit(Reason::Dependent), 64));
}

#[test]
fn voids_are_counted_and_too_many_are_unfit() {
    let mut gate = gate();
    for attempt in 0..200 {
        let step =
            if attempt % 4 == 3 { gate.void(VoidReason::Migrated) } else { gate.push(1_000_000, 1_020_000) };
        if step != Step::More {
            break;
        }
    }
    assert_ne!(gate.verdict(), Verdict::Unfit(Reason::Voided), "a quarter may be voided");
    let report = measure(
        &mut PairGate::new(Policy::new(), 3).unwrap(),
        &Running(Cell::new(0), 10_000),
        &Machine { moves: true, ..Machine::default() },
        || {},
        || {},
        |pair| assert_eq!(pair.void, Some(VoidReason::Migrated)),
    );
    assert_eq!((report.verdict, report.pairs, report.voided), (Verdict::Unfit(Reason::Voided), 0, 16));
    let report = measure(
        &mut PairGate::new(Policy::new(), 3).unwrap(),
        &Running(Cell::new(0), 10_000),
        &Machine { disturbs: true, ..Machine::default() },
        || {},
        || {},
        |pair| assert_eq!(pair.void, Some(VoidReason::Disturbed)),
    );
    assert_eq!(report.verdict, Verdict::Unfit(Reason::Voided));
}

#[test]
fn an_answer_stays() {
    let mut gate = gate();
    while gate.push(1_000_000, 1_100_000) == Step::More {}
    let before = gate;
    let _ = gate.push(1, 1);
    let _ = gate.void(VoidReason::Skew);
    let _ = gate.refuse(Reason::Failed);
    assert_eq!(gate, before);
}

#[test]
fn a_budget_ends_it_without_an_answer() {
    let policy = Policy::new().with_budget_ticks(NonZeroU64::new(30_000_000).unwrap());
    let mut gate = PairGate::new(policy, 0).unwrap();
    let pairs = (1..).find(|_| gate.push(1_000_000, 1_000_000) != Step::More);
    assert_eq!((pairs, gate.verdict()), (Some(15), Verdict::TooNoisy { pairs_needed: 16 }));
}

#[test]
fn a_clock_that_goes_back_ends_it() {
    let clock = Script::new(&[0, 100_000, 200_000, 300_000, 400_000, 399_999, 500_000, 600_000]);
    let report = measure(&mut gate(), &clock, &Machine::default(), || {}, || {}, |_| {});
    assert_eq!((report.verdict, report.pairs), (Verdict::Unfit(Reason::ClockBackward), 1));
    let stopped = measure(&mut gate(), &Script::new(&[5]), &Machine::default(), || {}, || {}, |_| {});
    assert_eq!(stopped.verdict, Verdict::Unfit(Reason::TooShort));
}

#[test]
fn a_machine_that_is_not_fit_is_refused_with_the_reason() {
    let examined = |clock: &dyn Clock, machine: Machine, needs: Needs| {
        let mut machine = machine;
        Fitness::examine(&clock, &mut machine, &needs).check(&needs)
    };
    let fine = || Running(Cell::new(0), 20);
    let needs = Needs::new().with_pin(1);
    assert_eq!(examined(&fine(), Machine::default(), needs), Ok(()));
    assert_eq!(examined(&Script::new(&[9]), Machine::default(), needs), Err(Reason::ClockStopped));
    assert_eq!(
        examined(&Script::new(&[9, 8, 10, 11]), Machine::default(), needs),
        Err(Reason::ClockBackward)
    );
    assert_eq!(
        examined(&Running(Cell::new(0), 15_000_000), Machine::default(), needs),
        Err(Reason::ClockCoarse)
    );
    assert_eq!(examined(&fine(), Machine::default(), needs.with_cpus(3)), Err(Reason::Cpus));
    assert_eq!(examined(&fine(), Machine { refuses: true, ..Machine::default() }, needs), Err(Reason::Pin));
    assert_eq!(examined(&fine(), Machine { moves: true, ..Machine::default() }, needs), Err(Reason::Pin));
    let poor = || Machine { free_kib: Some(1023), ..Machine::default() };
    assert_eq!(examined(&fine(), poor(), needs), Err(Reason::Memory));
    assert_eq!(examined(&fine(), poor(), needs.with_free_kib(1023)), Ok(()));
    // Loops that take 1 tick, and a fifth of them 1000.
    let mut now = 0;
    let times: Vec<u64> = (0..65 + 128)
        .map(|read: u64| {
            let is_slow_end = read >= 65 && read % 10 == 6;
            now += if is_slow_end { 1000 } else { 1 };
            now
        })
        .collect();
    let busy = Fitness::examine(&Script::new(&times), &mut Machine::default(), &needs);
    assert_eq!(busy.check(&needs), Err(Reason::Busy), "{busy:?}");
    let fit = Fitness::examine(&fine(), &mut Machine::default(), &needs);
    assert_eq!((fit.resolution_ns(), fit.cost_ticks, fit.backward, fit.cpu), (20, 20, 0, Some(1)));
}

#[test]
fn a_barrier_gives_up_and_can_be_used_again() {
    let barrier = Barrier::new();
    let clock = Running(Cell::new(0), 1);
    let two = NonZeroU16::new(2).unwrap();
    for _ in 0..3 {
        let error = barrier.wait(two, &clock, 50).unwrap_err();
        assert_eq!((error.here, error.limit), (1, 50));
        assert_eq!(error.to_string(), "1 of 2 threads were at the barrier after 50 ticks");
    }
    let one = NonZeroU16::new(1).unwrap();
    assert!(barrier.wait(one, &clock, 0).is_ok_and(|passed| passed.is_last));
    // Rounds wrap.
    for _ in 0..70_000 {
        assert!(barrier.wait(one, &clock, 0).is_ok());
    }
    assert!(barrier.wait(two, &clock, 1).is_err());
}
