//! The error rates, computed: over all sequences of wins and losses, by dynamic programming.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests"
)]

use bench_gate::{PairGate, Policy, Reason, Risk, Rule, Step, Verdict};

const RISKS: [(Risk, f64); 3] = [(Risk::E2, 1e-2), (Risk::E3, 1e-3), (Risk::E4, 1e-4)];
const LOOKS: [u16; 25] = [
    16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768,
    896, 1024,
];

/// Baseline, and candidates that are slower than tolerated, between the margins, and faster.
const A: u64 = 1_000_000;
const SLOWER: u64 = 1_100_000;
const WITHIN: u64 = 1_000_000;

fn policy(rule: Rule, alarm: Risk, pass: Risk) -> Policy {
    Policy::new().with_rule(rule).with_risks(alarm, pass)
}

/// The wins that decide after `pairs` pairs, asked of a gate that has seen so many without an answer.
fn deciding(rule: Rule, risk: Risk, pairs: u16) -> u16 {
    let mut gate = PairGate::new(policy(rule, risk, risk), 0).unwrap();
    for index in 0..pairs {
        // Neither side is near a boundary; no two in a row for long, and not in turn for long either.
        let candidate = if index % 4 < 2 { SLOWER } else { WITHIN };
        assert_eq!(gate.push(A, candidate), Step::More, "after {index}");
        if index + 1 == pairs {
            break;
        }
    }
    gate.deciding().0
}

/// What the probability of crossing the boundary is if a pair is a win with probability `p`, and after how many pairs that is, on average (1024 if never).
struct Crossing {
    probability: f64,
    mean_pairs: f64,
    /// Crossed after at most so many pairs.
    by: Vec<f64>,
}

fn crossing(boundary: impl Fn(u16) -> Option<u16>, p: f64) -> Crossing {
    let mut open = vec![1.0];
    let (mut crossed, mut pairs_sum, mut by) = (0.0, 0.0, vec![0.0]);
    for pairs in 1..=1024_u16 {
        let mut next = vec![0.0; open.len() + 1];
        for (wins, mass) in open.iter().enumerate() {
            next[wins] += mass * (1.0 - p);
            next[wins + 1] += mass * p;
        }
        if let Some(boundary) = boundary(pairs) {
            for mass in next.iter_mut().skip(boundary.into()) {
                crossed += *mass;
                pairs_sum += *mass * f64::from(pairs);
                *mass = 0.0;
            }
        }
        open = next;
        by.push(crossed);
    }
    Crossing { probability: crossed, mean_pairs: pairs_sum + (1.0 - crossed) * 1024.0, by }
}

fn boundaries(rule: Rule, risk: Risk) -> Vec<Option<u16>> {
    let looks = |pairs: u16| match rule {
        Rule::Looks => LOOKS.contains(&pairs),
        _ => pairs >= 16,
    };
    (0..=1024)
        .map(|pairs| looks(pairs).then(|| deciding(rule, risk, pairs.min(1023))))
        .zip(0..)
        // The gate is over after 1024 pairs: ask one that is not.
        .map(|(boundary, pairs)| if pairs == 1024 { boundary.map(|_| last(rule, risk)) } else { boundary })
        .collect()
}

/// The boundary at 1024 pairs.
fn last(rule: Rule, risk: Risk) -> u16 {
    let mut gate = PairGate::new(policy(rule, risk, risk), 0).unwrap();
    for index in 0..1024_u16 {
        let _ = gate.push(A, if index % 4 < 2 { SLOWER } else { WITHIN });
    }
    gate.deciding().0
}

#[test]
fn risks_are_kept_and_the_tables_use_them_up() {
    for rule in [Rule::Looks, Rule::Bets] {
        for (risk, alpha) in RISKS {
            let boundaries = boundaries(rule, risk);
            // A tolerated slowdown: at most half of the pairs are wins, whatever the noise.
            let null = crossing(|pairs| boundaries[usize::from(pairs)], 0.5);
            println!("{rule:?} {risk:?}: {:.4e} of {alpha:e}", null.probability);
            assert!(null.probability <= alpha, "{rule:?} {risk:?}: {}", null.probability);
            let used = if rule == Rule::Looks { 0.98 } else { 0.7 };
            assert!(null.probability > used * alpha, "{rule:?} {risk:?}: {}", null.probability);
            // One win less at any one look, and it would not hold.
            if rule == Rule::Looks {
                for (index, look) in LOOKS.into_iter().enumerate() {
                    let so_far = alpha * (index + 1) as f64 / 25.0;
                    let lower = |pairs: u16| {
                        let boundary = boundaries[usize::from(pairs)]?;
                        Some(if pairs == look { boundary.min(look + 1) - 1 } else { boundary })
                    };
                    assert!(crossing(lower, 0.5).by[usize::from(look)] > so_far, "{risk:?} at {look}");
                }
            }
        }
    }
}

#[test]
fn power_is_what_the_documentation_says() {
    // Probability that a pair is a win; power; pairs on average.
    let looks = [
        (0.6, 0.997, 393.0),
        (0.65, 0.9999, 174.0),
        (0.7, 0.9999, 98.0),
        (0.8, 0.9999, 43.0),
        (0.9, 0.9999, 26.0),
        (0.99, 0.9999, 18.0),
    ];
    let bets = [(0.6, 0.987, 383.0), (0.7, 0.9999, 98.0), (0.8, 0.9999, 43.0), (0.9, 0.9999, 27.0)];
    for (rule, expected) in [(Rule::Looks, &looks[..]), (Rule::Bets, &bets[..])] {
        let boundaries = boundaries(rule, Risk::E3);
        for (p, power, pairs) in expected {
            let crossing = crossing(|pairs| boundaries[usize::from(pairs)], *p);
            println!("{rule:?} p {p}: power {:.5}, {:.1} pairs", crossing.probability, crossing.mean_pairs);
            assert!(crossing.probability >= *power && crossing.mean_pairs <= *pairs);
        }
    }
    // A slowdown that moves nine pairs in ten is found in 64 pairs with certainty, for practical purposes.
    let boundaries = boundaries(Rule::Looks, Risk::E3);
    assert!(crossing(|pairs| boundaries[usize::from(pairs)], 0.9).by[64] > 0.999);
    assert!(crossing(|pairs| boundaries[usize::from(pairs)], 0.81).by[64] > 0.95);
}

/// The gate decides where the boundaries say: with that many wins at that look, with one less not.
#[test]
fn the_gate_decides_at_its_boundaries() {
    for (risk, _) in RISKS {
        for look in LOOKS {
            let deciding =
                if look == 1024 { last(Rule::Looks, risk) } else { deciding(Rule::Looks, risk, look) };
            for wins in [deciding - 1, deciding] {
                if wins > look {
                    continue;
                }
                // In some order in which no earlier look decides.
                let verdict = (0..10_000).find_map(|seed| {
                    let mut gate = PairGate::new(policy(Rule::Looks, risk, Risk::E4), 0).unwrap();
                    for is_win in shuffled(wins, look - wins, seed) {
                        if gate.is_over() {
                            return None;
                        }
                        let _ = gate.push(A, if is_win { SLOWER } else { WITHIN });
                    }
                    // A shuffle may look as if it were none.
                    (gate.verdict() != Verdict::Unfit(Reason::Dependent)).then(|| gate.verdict())
                });
                let is_regressed = matches!(verdict, Some(Verdict::Regressed { .. }));
                assert!(verdict.is_some(), "{risk:?} {look} {wins}: no order without an earlier answer");
                assert_eq!(is_regressed, wins == deciding, "{risk:?} {look} {wins}: {verdict:?}");
            }
        }
    }
}

fn shuffled(wins: u16, losses: u16, seed: u64) -> Vec<bool> {
    let mut order: Vec<bool> = (0..wins + losses).map(|index| index < wins).collect();
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for index in (1..order.len()).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        order.swap(index, (random >> 32) as usize % (index + 1));
    }
    order
}

/// Runs over nights, if they are exchangeable: counted over all orders.
#[test]
fn runs_of_a_window_are_judged_with_these_chances() {
    let choose = |n: u64, k: u64| (0..k).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64);
    let (window, newest, trimmed) = (32, 4, 2);
    // All of the newest above all of the window but two.
    let alarm = choose(newest + trimmed, newest) / choose(window + newest, newest);
    assert!((alarm - 1.0 / 3927.0).abs() < 1e-12, "{alarm}");
    // At least three of them below all but two.
    let orders = |below: u64| choose(below + 2, below) * choose(window + newest - below - 3, newest - below);
    let pass = (orders(3) + orders(4)) / choose(window + newest, newest);
    assert!((0.005..0.006).contains(&pass), "{pass}");
}
