//! What holds for all samples.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests"
)]

use bench_gate::{
    Better, History, HistoryPolicy, PairGate, Policy, Report, Risk, Rule, Spread, Step, Turn, Verdict,
    VoidReason,
};
use proptest::prelude::*;

fn policy() -> impl Strategy<Value = Policy> {
    let risk = || prop_oneof![Just(Risk::E2), Just(Risk::E3), Just(Risk::E4)];
    let rule = prop_oneof![Just(Rule::Looks), Just(Rule::Bets)];
    (0..50_000_u32, 1..50_000_u32, risk(), risk(), rule, 16..=1024_u16).prop_map(
        |(tolerated, zone, alarm, pass, rule, pairs)| {
            Policy::new()
                .with_margins(tolerated, tolerated + zone)
                .with_risks(alarm, pass)
                .with_rule(rule)
                .with_max_pairs(pairs)
        },
    )
}

/// Pairs around a slowdown, and some that are anything.
fn pairs() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let around = (900_000..1_100_000_u64, 900_000..1_200_000_u64);
    let any = (any::<u64>(), any::<u64>());
    prop::collection::vec(prop_oneof![9 => around, 1 => any], 0..300)
}

fn judged(policy: Policy, seed: u64, pairs: &[(u64, u64)]) -> Report {
    let mut gate = PairGate::new(policy, seed).unwrap();
    for (baseline, candidate) in pairs {
        let _ = gate.push(*baseline, *candidate);
    }
    gate.report()
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass { .. } => 0,
        Verdict::TooNoisy { .. } => 1,
        Verdict::Regressed { .. } => 2,
        _ => 3,
    }
}

proptest! {
    #[test]
    fn one_sample_of_any_size_moves_a_counter_by_at_most_one(
        policy in policy(), pairs in pairs(), at in any::<prop::sample::Index>(), odd in any::<(u64, u64)>()
    ) {
        prop_assume!(!pairs.is_empty());
        let mut other = pairs.clone();
        let at = at.index(other.len());
        other[at] = odd;
        // Up to the pair after which either is over.
        for length in 0..=pairs.len() {
            let (a, b) = (judged(policy, 1, &pairs[..length]), judged(policy, 1, &other[..length]));
            if rank(a.verdict) != 1 || rank(b.verdict) != 1 {
                break;
            }
            prop_assert!(a.slower.abs_diff(b.slower) <= 1 && a.within.abs_diff(b.within) <= 1);
        }
    }

    /// Slower candidates never make a worse verdict better. (Unless the signs begin to look as if they depended on each other, which refuses the answer.)
    #[test]
    fn verdicts_are_monotone(
        policy in policy(), pairs in pairs(), more in prop::collection::vec(0..200_000_u64, 300)
    ) {
        let slower: Vec<(u64, u64)> =
            pairs.iter().zip(more).map(|((a, b), more)| (*a, b.saturating_add(more))).collect();
        let (a, b) = (judged(policy, 1, &pairs).verdict, judged(policy, 1, &slower).verdict);
        prop_assume!(rank(a) != 3 && rank(b) != 3);
        // An answer that came early may have been a pass of few pairs, or a regression of few: in that order.
        prop_assert!(rank(a) <= rank(b), "{a:?} became {b:?}");
    }

    #[test]
    fn the_unit_of_the_clock_does_not_matter(
        policy in policy(), seed in any::<u64>(),
        pairs in prop::collection::vec((9_000_000..11_000_000_u64, 9_000_000..12_000_000_u64), 0..300),
        unit in 1..1_000_000_u64
    ) {
        let scaled: Vec<(u64, u64)> = pairs.iter().map(|(a, b)| (a * unit, b * unit)).collect();
        prop_assert_eq!(judged(policy, seed, &pairs), judged(policy, seed, &scaled));
    }

    #[test]
    fn the_same_samples_and_seed_give_the_same_report_whatever_comes(
        policy in policy(), seed in any::<u64>(), pairs in pairs(), voids in prop::collection::vec(any::<bool>(), 300)
    ) {
        let run = || {
            let mut gate = PairGate::new(policy, seed).unwrap();
            let mut turns = Vec::new();
            for ((a, b), void) in pairs.iter().zip(&voids) {
                turns.push(gate.turn());
                let step = if *void { gate.void(VoidReason::Disturbed) } else { gate.push(*a, *b) };
                assert_eq!(gate.is_over(), matches!(step, Step::Done(_)));
            }
            (gate.report(), gate, turns)
        };
        prop_assert_eq!(run(), run());
        let report = run().0;
        prop_assert!(report.slower <= report.pairs && report.within <= report.pairs && report.short <= report.pairs);
        prop_assert!(!report.to_string().is_empty());
    }

    /// What a spread says lies on the right side of what the gate has shown.
    #[test]
    fn bounds_are_no_wider_than_the_margins(seed in any::<u64>(), shift in 0..200_000_u64) {
        let policy = Policy::new();
        let (mut gate, mut spread) = (PairGate::new(policy, seed).unwrap(), Spread::new());
        let mut noise = seed | 1;
        while !gate.is_over() {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            let (a, b) = (1_000_000 + noise % 30_000, 930_000 + shift + (noise >> 32) % 30_000);
            spread.push(a, b);
            let _ = gate.push(a, b);
        }
        let (lower, upper) = spread.bounds_ppm(&gate);
        // To within a bucket.
        match gate.verdict() {
            Verdict::Pass { upper_ppm } => prop_assert!(upper.is_some_and(|upper| upper <= upper_ppm + 1_954), "{upper:?}"),
            Verdict::Regressed { lower_ppm } => {
                prop_assert!(lower.is_none_or(|lower| lower >= lower_ppm - 1_954), "{lower:?}");
                prop_assert!(shift > 190_000 || lower.is_some());
            }
            _ => {}
        }
        if let (Some(lower), Some(upper)) = (lower, upper) {
            prop_assert!(lower < upper);
            let median = spread.median_ppm().unwrap();
            prop_assert!(lower <= median && median <= upper, "{lower} {median} {upper}");
        }
    }

    /// A window is read in the order of its runs, whatever their number; rates are times upside down.
    #[test]
    fn one_run_decides_nothing(
        runs in prop::collection::vec(990_000..1_010_000_u64, 36..120), odd in any::<u64>(), better in any::<bool>()
    ) {
        let better = if better { Better::Lower } else { Better::Higher };
        let mut history = History::<36>::new(HistoryPolicy::new().with_better(better)).unwrap();
        runs.iter().for_each(|run| history.push(*run));
        prop_assert_eq!(history.judge().verdict.name(), "pass");
        history.push(odd);
        for run in runs.iter().take(40) {
            prop_assert_eq!(history.judge().verdict.name(), "pass");
            history.push(*run);
        }
        // The same in fewer pushes: only the last 36 count.
        let mut fresh = History::<36>::new(HistoryPolicy::new().with_better(better)).unwrap();
        let all: Vec<u64> = runs.iter().chain([&odd]).chain(runs.iter().take(40)).copied().collect();
        all[all.len() - 36..].iter().for_each(|run| fresh.push(*run));
        prop_assert_eq!(history.judge(), fresh.judge());
    }
}

/// Noise of several kinds, at the margins and at no difference at all: no kind makes the risks larger. Seeds are fixed, so is the outcome.
#[test]
fn no_noise_makes_a_pass_of_what_is_forbidden_nor_an_alarm_of_what_is_tolerated() {
    const GATES: u64 = 4_000;
    type Noise = fn(u64, &mut u64) -> u64;
    let kinds: [(&str, Noise); 5] = [
        ("uniform", |_, random| 1_000_000 + next(random) % 100_000),
        // One in four is ten times as slow.
        ("spikes", |_, random| {
            if next(random).is_multiple_of(4) { 10_000_000 } else { 1_000_000 + next(random) % 10_000 }
        }),
        // Inverse of a uniform: no mean.
        ("heavy-tailed", |_, random| 1_000_000 + 4_000_000_000 / (1 + next(random) % 100_000)),
        ("drifting", |time, random| 1_000_000 + time * 997 + next(random) % 20_000),
        // In step with the measuring: every second sample, or every fourth, is slower.
        ("in step", |time, random| {
            1_000_000 + (time % 2) * 80_000 + (time / 2 % 2) * 40_000 + next(random) % 10_000
        }),
    ];
    let policy = Policy::new().with_max_pairs(256);
    for (name, noise) in kinds {
        for (slowdown_ppm, wrong) in [(0, 2), (10_000, 2), (30_000, 0)] {
            let mut wrongs = 0;
            let mut decided = 0;
            for seed in 0..GATES {
                let mut gate = PairGate::new(policy, seed).unwrap();
                let (mut random, mut time) = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, seed % 7);
                let mut sample = |ppm: u64| {
                    time += 1;
                    let base = noise(time, &mut random);
                    base + base * ppm / 1_000_000
                };
                while !gate.is_over() {
                    let _ = match gate.turn() {
                        Turn::BaselineFirst => {
                            let baseline = sample(0);
                            gate.push(baseline, sample(slowdown_ppm))
                        }
                        _ => {
                            let candidate = sample(slowdown_ppm);
                            gate.push(sample(0), candidate)
                        }
                    };
                }
                wrongs += u64::from(rank(gate.verdict()) == wrong);
                decided += u64::from(rank(gate.verdict()) != 1);
            }
            println!("{name}, {slowdown_ppm} ppm: {wrongs} of {GATES} wrong, {decided} decided");
            // One in a thousand each; a dozen of four thousand would be one chance in 700,000.
            assert!(wrongs < 12, "{name}, {slowdown_ppm} ppm: {wrongs} of {GATES}");
        }
    }
}

fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 20
}
