//! Judges samples of any size, voids some, hands some over: counters are those of exact arithmetic, an answer stays, the same input gives the same report, and what is
//! handed over comes out in order.
//!
//! Input: policy (4 bytes: rule and risks, margins, most pairs, part that may be voided), seed (8), then a byte for each call and two numbers of a byte and a shift each.
#![no_main]

use std::collections::VecDeque;

use bench_gate::{
    Better, Drift, Handover, History, HistoryPolicy, Pair, PairGate, Policy, Risk, Rule, Spread, Step, Threshold, Turn,
    Verdict, VoidReason,
};
use libfuzzer_sys::fuzz_target;

const PLACES: usize = 4;
const WINDOW: usize = 16;

fuzz_target!(|input: &[u8]| {
    let Some((&[kind, margin, most, voided], rest)) = input.split_first_chunk() else { return };
    let Some((seed, calls)) = rest.split_first_chunk() else { return };
    let seed = u64::from_le_bytes(*seed);
    let risk = |bits: u8| [Risk::E2, Risk::E3, Risk::E4][usize::from(bits % 3)];
    let tolerated = 1u32 << (margin % 32);
    let forbidden = tolerated.saturating_add(1 << (margin >> 3));
    let policy = Policy::new()
        .with_rule(if kind & 1 == 0 { Rule::Looks } else { Rule::Bets })
        .with_risks(risk(kind >> 1), risk(kind >> 3))
        .with_margins(tolerated, forbidden)
        .with_max_pairs(u16::from(most) * 5)
        .with_max_void_percent(voided);
    let Ok(mut gate) = PairGate::new(policy, seed) else {
        let error = policy.check().expect_err("what is refused has something wrong with it");
        assert!(!error.to_string().is_empty());
        return;
    };
    let mut again = PairGate::new(policy, seed).expect("as before");
    let mut naive = Naive::default();
    let mut handover = Handover::<_, _, PLACES>::new();
    let (mut giver, mut taker) = handover.split();
    let mut given = VecDeque::new();
    let history_policy = HistoryPolicy::new()
        .with_better(if kind & 32 == 0 { Better::Lower } else { Better::Higher })
        .with_margins(tolerated, forbidden);
    let mut history = History::<WINDOW>::new(history_policy).ok();
    let (mut drift, mut spread, mut threshold) = (None, Spread::new(), Threshold::new());

    for call in calls.chunks_exact(5) {
        let number = |at: usize| u64::from(call[at]) << (call[at + 1] % 57);
        let (baseline, candidate) = (number(1), number(3));
        match call[0] % 8 {
            0..=3 => {
                let was_over = gate.is_over();
                let (before, step) = (gate.report(), gate.push(baseline, candidate));
                assert_eq!(again.push(baseline, candidate), step, "the same samples give the same answer");
                if was_over {
                    assert_eq!(gate.report(), before, "an answer stays");
                } else {
                    naive.count(baseline, candidate, tolerated, forbidden);
                }
                spread.push(baseline, candidate);
            }
            4 => {
                if !gate.is_over() {
                    naive.voided += 1;
                }
                assert_eq!(gate.void(VoidReason::Disturbed), again.void(VoidReason::Disturbed));
            }
            5 => {
                let pair = Pair::new(baseline, candidate, Turn::BaselineFirst, None);
                match giver.give(pair) {
                    Ok(()) => given.push_back(pair),
                    Err(back) => assert!(back == pair && given.len() == PLACES, "only a full line refuses"),
                }
            }
            6 => assert_eq!(taker.take(), given.pop_front()),
            _ => {
                threshold.push(candidate as i32);
                let drift = drift.get_or_insert_with(|| Drift::new(history_policy.better, baseline, candidate));
                assert_eq!(drift.push(candidate), drift.is_alarmed());
                assert!((0..=400).contains(&drift.percent()));
                if let Some(history) = &mut history {
                    history.push(candidate);
                    judged(history);
                }
            }
        }
        let report = gate.report();
        assert_eq!(
            (report.pairs, report.slower, report.within, report.voided),
            (naive.pairs, naive.slower, naive.within, naive.voided)
        );
        let wins = match report.verdict {
            Verdict::Regressed { .. } => naive.slower,
            Verdict::Pass { .. } => naive.within,
            _ => u16::MAX,
        };
        assert!(wins > naive.pairs / 2, "no answer against the majority");
        assert!(!report.to_string().is_empty() && !matches!(gate.verdict(), Verdict::Pass { upper_ppm } if upper_ppm < 0));
    }
    assert_eq!(gate, again);
    assert!(matches!(gate.push(1, 1), Step::More | Step::Done(_)));
    let _ = (spread.median_ppm(), spread.sigma_ppm(), spread.bounds_ppm(&gate), threshold.adapt(policy));
});

#[derive(Default)]
struct Naive {
    pairs: u16,
    slower: u16,
    within: u16,
    voided: u16,
}

impl Naive {
    fn count(&mut self, baseline: u64, candidate: u64, tolerated: u32, forbidden: u32) {
        let raised = |ppm: u32| u128::from(baseline) * (1_000_000 + u128::from(ppm));
        let scaled = u128::from(candidate) * 1_000_000;
        self.pairs += 1;
        self.slower += u16::from(scaled > raised(tolerated));
        self.within += u16::from(scaled < raised(forbidden));
    }
}

fn judged(history: &History<WINDOW>) {
    let judgement = history.judge();
    assert_eq!(judgement, history.judge());
    assert!(judgement.window <= history.len() && history.len() <= WINDOW);
    match judgement.verdict {
        Verdict::Regressed { .. } => assert_eq!(judgement.beyond, 4, "all of the newest have to agree"),
        Verdict::Pass { .. } => assert!(judgement.within >= 3, "all of the newest but one have to agree"),
        _ => {}
    }
}
